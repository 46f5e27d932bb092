"""Turns: what is interrupted keeps its rows and goes on, what fails is told of, and what cannot be measured is said first."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from made_up import HEAD, ROOT

import kept
import turns
from needs import There
from tables.case import Case

SAYS = "import sys, json; print(json.dumps({{'seconds': {seconds}, 'weights': '{weights}'}})); sys.exit({code})"


def case(row, seconds=1.0, weights="w", code=0, **more):
    """A case whose command prints a row."""
    program = SAYS.format(seconds=seconds, weights=weights, code=code)
    return Case("made-up", row, "x", (sys.executable, "-c", program), json.loads, 1, **more)


class Turns(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def begun(self):
        results = kept.Results(self.folder / "results")
        if not results.head:
            results.append(HEAD)
        return results

    def measured(self, cases, rounds=2, **more):
        """Measures, and returns the results and what was said."""
        said, results = [], self.begun()
        turns.measure(cases, rounds, results, said.append, **more)
        return results, said

    def test_each_case_is_run_once_a_round_forwards_and_backwards(self):
        cases = [case("a"), case("b", once=True), case("c")]
        names = [(name.row, number) for name, number in turns.left(cases, 3, self.begun())]
        self.assertEqual(names, [("a", 1), ("b", 1), ("c", 1), ("c", 2), ("a", 2), ("a", 3), ("c", 3)])
        results, _ = self.measured(cases, 3)
        counts = {name: len(rounds) for name, rounds in results.measured.items()}
        self.assertEqual(counts, {"made-up a x": 3, "made-up b x": 1, "made-up c x": 3})
        self.assertEqual(turns.left(cases, 3, results), [])

    def test_an_interrupted_measurement_goes_on(self):
        cases = [case("a"), case("b")]

        def stop():
            raise KeyboardInterrupt

        # Ctrl-C comes when the third row has been kept: two lines say that rounds begin.
        results, ran = self.begun(), []
        with self.assertRaises(KeyboardInterrupt):
            turns.measure(cases, 2, results, lambda line: ran.append(line) or (len(ran) == 5 and stop()))
        kept_before = sum(map(len, kept.Results(results.folder).measured.values()))
        self.assertEqual(kept_before, 3)
        # A row that was being written is lost, and no other.
        path = results.folder / kept.FILE
        path.write_text(path.read_text() + '{"case": "made-up a x", "rou')
        again, said = self.measured(cases)
        self.assertEqual(sum(map(len, again.measured.values())), 4)
        self.assertEqual(sum(line.startswith("  made-up") for line in said), 4 - kept_before)
        self.assertEqual(kept.Results(results.folder).measured.keys(), again.measured.keys())

    def test_a_case_that_fails_is_told_of_and_not_tried_again(self):
        results, said = self.measured([case("a"), case("bad", code=7)], 3)
        self.assertEqual(len(results.of("made-up a x")), 3)
        self.assertEqual({at: row["failed"] for at, row in results.failed["made-up bad x"].items()}, {1: "ended with 7: without a word"})
        self.assertEqual(sum("bad" in line for line in said), 1)
        self.assertNotIn("/", json.dumps(results.failed))

    def test_runs_that_must_agree_and_do_not_end_the_measurement(self):
        self.measured([case("a", same="job"), case("b", same="job"), case("c", weights="others")])
        with self.assertRaises(turns.Wrong):
            self.measured([case("a", same="job"), case("d", weights="others", same="job")])

    def test_the_time_is_kept(self):
        results = self.begun()
        self.assertFalse(turns.measure([case("a")], 1, results, lambda _: None, deadline=time.monotonic() - 1))
        self.assertEqual(results.measured, {})

    def test_what_cannot_be_is_said(self):
        there = There(ranks=7, memory=4.0, instructions="AVX2", no_mnist="none", left_out={"torch": "no room"})
        for more, due in (
            ({}, None), ({"ranks": 7, "gigabytes": 4.0}, None), ({"ranks": 8}, "8 ranks"), ({"gigabytes": 5}, "5.0 GB of memory"),
            ({"mnist": True}, "MNIST"), ({"peer": "torch"}, "no room"), ({"peer": "crypten"}, None),
            ({"instructions": "AVX-512"}, "AVX-512"),
        ):
            lack = there.lacks(case("a", **more))
            self.assertTrue(due in lack if due else lack is None, f"{more}: {lack}")
        can, notes = there.sorted([case("a"), case("b", ranks=8), case("c", ranks=8)])
        self.assertEqual([at.row for at in can], ["a"])
        self.assertEqual(notes, ["left out: made-up b x, made-up c x: it takes 8 ranks, and mpirun starts 7"])

    def test_folders_of_other_measurements_are_left_alone(self):
        wanted, always, never = self.folder / "day", lambda _: True, lambda _: False
        self.assertEqual(kept.free(wanted, HEAD, never).folder, wanted)
        kept.Results(wanted).append(HEAD)
        self.assertEqual(kept.free(wanted, HEAD, always).folder, wanted)
        self.assertEqual(kept.free(wanted, HEAD, never).folder.name, "day-2")
        self.assertEqual(kept.free(wanted, HEAD | {"tables": []}, always).folder.name, "day-2")


# What mixnn is to these calls: a training that prints a result, or does not end.
FAKE = """#!{python}
import json, sys, time
if "--version" in sys.argv: sys.exit(print("mixnn 0"))
if "{hangs}" in " ".join(sys.argv): time.sleep(600)
epoch = {{"seconds": 0.5}}
print(json.dumps({{"epochs": [epoch] * 3, "test_accuracy": 0.9, "test_loss": 0.3, "weights_sha256": "w"}}))
"""


class Program(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def words(self, hangs, *more):
        program = self.folder / "mixnn"
        program.write_text(FAKE.format(python=sys.executable, hangs=hangs))
        program.chmod(0o755)
        words = ["--quick", "--no-peers", "--only", "process", "--mixnn", program, "--mpirun", "false"]
        return [sys.executable, ROOT / "bench/run", *words, *more]

    def test_sigterm_keeps_rows_and_resume_goes_on(self):
        out = self.folder / "out"
        run = subprocess.Popen(self.words("lenet", "--out", out), stdout=subprocess.PIPE, text=True)
        while not (out / kept.FILE).exists() or len(kept.Results(out).measured) < 2:
            self.assertIsNone(run.poll())
            time.sleep(0.05)
        os.kill(run.pid, signal.SIGTERM)
        said, _ = run.communicate()
        self.assertEqual(run.returncode, 143, said)
        self.assertIn(f"bench/run --resume {out} goes on", said)
        self.assertEqual(set(kept.Results(out).measured), {"process mlp-64 mixnn", "process mlp-512 mixnn"})
        done = subprocess.run([*self.words("no such job"), "--resume", out], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(len(kept.Results(out).measured), 5)
        self.assertEqual(done.stdout.count("  process mlp-64"), 0)
        self.assertIn("| LeNet-5, batch 512 | 0.500 (0.500 to 0.500) |", done.stdout)

    def test_what_takes_too_long_or_is_missing_is_said_first(self):
        for more, due in ((["--max-time", "0.01"], "longer than --max-time 0.01"), (["--mixnn", "none"], "none is not there"),
                          (["--only", "split"], "nothing is left to measure")):
            done = subprocess.run(self.words("no such job", "--out", self.folder / "out", *more), capture_output=True, text=True)
            self.assertEqual(done.returncode, 3, done.stdout + done.stderr)
            self.assertIn(due, done.stderr)
            self.assertFalse((self.folder / "out").exists())
        self.assertIn("it takes 7 ranks, and mpirun starts none", done.stdout)


if __name__ == "__main__":
    unittest.main()
