"""Tables: of all that is measured there is one, documents get them between their marks, and say what was measured."""

import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from made_up import HEAD, ROOT, SETUP, results

import documents
import kept
import machine
import tables
from processes import plain


class Tables(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_all_that_is_measured_is_shown(self):
        found = tables.tables(results(self.folder / "all"))
        shown = set(tables.NAMES) - ({"cores"} if not (SETUP.mixnn.parent / "examples/cores").exists() else set())
        self.assertEqual(set(found), shown)
        for table in found.values():
            keys = [row.key for row in table.rows]
            self.assertEqual(len(keys), len(set(keys)), table.name)
            for row in table.rows:
                self.assertEqual(len(row.cells), len(table.titles), table.name)
        wanted = {case.table for case in tables.cases(SETUP)}
        self.assertEqual(wanted, {tables.measured_by(name) for name in shown})

    def test_a_row_has_the_median_of_the_ratios_turn_by_turn(self):
        # PyTorch takes 3, 9, 4 seconds beside 1, 2, 4: 3, 4.5 and 1 times as long.
        times = {"mixnn": (1.0, 2.0, 4.0), "pytorch": (3.0, 9.0, 4.0)}
        found = results(self.folder / "turns", lambda case, number: times.get(case.column, (2.0,) * 3)[number - 1])
        row = tables.tables(found)["process"].rows[0]
        self.assertEqual(row.cells[:4], ["784-256-128-10, batch 64", "2.00 (1.00 to 4.00)", "4.00 (3.00 to 9.00)", "3.00 (1.00 to 4.50)"])
        self.assertEqual(list(row.scores.values()), [3.0])

    def test_what_was_not_measured_is_left_empty_or_out(self):
        (self.folder / kept.FILE).write_text("")
        found = kept.Results(self.folder)
        found.append(HEAD)
        self.assertEqual(tables.tables(found), {})
        found.append({"case": "process mlp-64 mixnn", "round": 1, "seconds": 0.5, "accuracy": 0.9})
        table = tables.tables(found)["process"]
        self.assertEqual([row.cells[1:] for row in table.rows], [["0.500 (0.500 to 0.500)", "", "", "90.0 %", ""]])

    def test_extrapolated_figures_say_so(self):
        rows = {row.key: row for row in tables.tables(results(self.folder / "all"))["split"].rows}
        self.assertIn("from 12 batches", " ".join(rows["crypten"].cells))
        self.assertNotIn("batches", " ".join(rows["gloo"].cells[2:]))

    def test_documents_get_tables_between_their_marks(self):
        found = results(self.folder / "2-core-epyc-2026-01-02")
        text = ("before\n<!-- table: process from older -->\nold\n<!-- end -->\nbetween\n<!-- table: unheard from older -->\nkept\n"
                "<!-- end -->\nafter\n")
        made = tables.tables(found)
        filled, got = documents.filled(text, ROOT / "docs", made, found, {"process": {"mlp-64": 0.5}})
        self.assertEqual(got, ["process"])
        lines = filled.splitlines()
        self.assertEqual(lines[:2], ["before", "<!-- table: process from 2-core-epyc-2026-01-02 -->"])
        self.assertIn("`bench/run --only process` on AMD EPYC, 2 cores, AVX-512", lines[2])
        self.assertIn("commit abc1234; medians of 3 turns", lines[2])
        self.assertIn("**(red: 0.50 of before)**", filled)
        self.assertNotIn("\nold\n", filled)
        self.assertTrue(filled.endswith("between\n<!-- table: unheard from older -->\nkept\n<!-- end -->\nafter\n"))
        self.assertEqual(documents.filled(filled, ROOT / "docs", made, found, {"process": {"mlp-64": 0.5}})[0], filled)

    def test_tables_of_documents_are_those_of_their_results(self):
        for name in documents.DOCUMENTS:
            path = ROOT / name
            text = path.read_text()
            for table, folder in documents.wanted(text):
                self.assertIn(table, tables.NAMES, name)
                place = ROOT / "bench/results" / folder
                self.assertTrue(folder == "-" or place.exists(), f"{name}: {table} is from {folder}")
                if place.is_dir() and folder != "-":
                    of_it = kept.Results(place)
                    made = {table: tables.tables(of_it)[table]}
                    filled, _ = documents.filled(text, path.parent, made, of_it)
                    self.assertEqual(documents.MARK.findall(filled), documents.MARK.findall(text), f"{name}: {table}")

    def test_documents_name_what_is_there(self):
        options = subprocess.run([sys.executable, ROOT / "bench/run", "--help"], capture_output=True, text=True).stdout
        for name in documents.DOCUMENTS:
            text = (ROOT / name).read_text()
            for path in re.findall(r"\b(?:bench|jobs)/[\w/-]+\.(?:py|toml|json|rs|txt)\b", text):
                # A file that a command writes stands in capitals.
                self.assertTrue("NAME" in path or (ROOT / path).exists(), f"{name}: {path}")
            for line in re.findall(r"bench/run( [^`#\n]*)", text):
                self.assertLessEqual(set(re.findall(r"--[\w-]+", line)), set(re.findall(r"--[\w-]+", options)), f"{name}: {line}")
                for table in re.findall(r"--only ([\w,-]+)", line):
                    self.assertLessEqual(set(table.split(",")), set(tables.NAMES), f"{name}: {line}")

    def test_documents_take_no_table_without_rows_to_look_at(self):
        for head, due in ((HEAD, "is not in bench/results"), (HEAD | {"settings": HEAD["settings"] | {"quick": True}}, "--quick")):
            folder = results(self.folder / due[:3].strip(), head=head).folder
            done = subprocess.run([sys.executable, ROOT / "bench/run", "--write", folder], capture_output=True, text=True)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn(due, done.stderr)

    def test_results_name_no_machine(self):
        name = lambda processor: machine.host({"cores": 2, "processor": processor})
        self.assertEqual(name("AMD EPYC"), "2-core-epyc")
        self.assertEqual(name("Intel(R) Xeon(R) Platinum 8480C CPU @ 2.00GHz"), "2-core-xeon-platinum-8480c")
        self.assertEqual(plain("cannot download https://example.org/a/b.gz"), "cannot download https://example.org/a/b.gz")
        self.assertEqual(plain(f"no {ROOT}/bench/run, no /home/me/x.txt: and/or 1/2"), "no bench/run, no x.txt: and/or 1/2")


if __name__ == "__main__":
    unittest.main()
