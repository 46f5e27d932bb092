"""A row whose ratio is a quarter lower than before, or more, is red, and the exit code is 1."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from made_up import HEAD, ROOT, results

import fallen
import tables


class Fallen(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def slower(self, factor, name="now"):
        """Results in which PyTorch beside one network of mixnn is so many times as slow as before."""
        return results(self.folder / name, lambda case, _: 2.0 * (factor if case.name == "process mlp-64 pytorch" else 1))

    def test_the_threshold_is_a_quarter(self):
        before = tables.tables(self.slower(1, "before"))
        for factor, falls in ((2, False), (1, False), (0.76, False), (0.75, True), (0.5, True)):
            found = fallen.fallen(tables.tables(self.slower(factor)), before)
            due = {"process": {"mlp-64": {"PyTorch's time by mixnn's": factor}}} if falls else {}
            self.assertEqual(found, due, factor)

    def test_a_machine_that_is_slower_makes_no_row_fall(self):
        now = tables.tables(results(self.folder / "slow", lambda *_: 8.0))
        self.assertEqual(fallen.fallen(now, tables.tables(results(self.folder / "fast"))), {})

    def test_the_program_says_it(self):
        self.slower(1, "before")
        for factor, code in ((0.76, 0), (0.74, 1)):
            self.slower(factor)
            words = [sys.executable, ROOT / "bench/run", "--from", self.folder / "now", "--against", self.folder / "before"]
            done = subprocess.run(words, capture_output=True, text=True)
            self.assertEqual(done.returncode, code, done.stdout + done.stderr)
            self.assertEqual("red: process, mlp-64: PyTorch's time by mixnn's: 0.74 of before" in done.stdout, code == 1, done.stdout)
            self.assertIn(f"{code} of ", done.stdout)
            self.assertNotIn("\033", done.stdout)

    def test_the_newest_of_such_a_machine_is_taken(self):
        other = HEAD | {"machine": HEAD["machine"] | {"cores": 4}}
        found = [results(self.folder / f"{at}", head=head) for at, head in
                 enumerate([HEAD, HEAD | {"date": "2026-02-01"}, other | {"date": "2026-03-01"}, HEAD | {"date": "2026-01-03"}])]
        self.assertEqual(fallen.newest(found[0], found).folder.name, "1")
        self.assertIsNone(fallen.newest(found[2], found))


if __name__ == "__main__":
    unittest.main()
