"""Results that nobody has measured, for tests."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "bench"))

import kept  # noqa: E402
import tables  # noqa: E402
from tables.case import Setup  # noqa: E402

SETUP = Setup(ROOT / "target/release/mixnn")
HEAD = {
    "machine": {"processor": "AMD EPYC", "instructions": "AVX-512", "cores": 2, "system": "Linux 6", "mpi": "Open MPI 4", "pytorch": "2.15",
                "commit": "abc1234"},
    "settings": {"rounds": 3, "quick": False, "threads": 2}, "tables": ["process"], "peers": True, "date": "2026-01-02",
}


def bench_rows(case):
    """What `mixnn bench` prints for a case, as far as tables look at it."""
    if case.table == "slot":
        slot = {"part": "slot", "avg_us": 300, "low_us": 290, "high_us": 400, "to_alone": 1.1, "to_alone_low": 1, "to_alone_high": 1.5,
                "of_best_percent": 40}
        alone = {"part": "alone", "link": None, "avg_us": 280, "low_us": 270, "high_us": 390}
        return [row | {"blocks": blocks} for blocks in ("shared", "messages")
                for row in (slot | {"link": "off"}, slot | {"link": "all", "avg_us": 360}, {"part": "wait", "link": "off"}, alone)]
    if case.table == "crypto":
        return [{"cell_bytes": cell, "library": library, "part": part, "gb_per_s": 8.5, "of_aes_percent": 80}
                for cell in (1024, 5808, 16384, 65536) for library in ("aws-lc", "ring", "rust") for part in ("seal", "open")]
    if case.table == "gemm":
        return [{"stage": stage, "product": "forward", "m": 16, "n": 256, "k": 784, "gflop_per_s": 90, "of_core_percent": 70}
                for stage in ((1, 2) if case.row == "mlp" else (None,))]
    if case.table == "scale":
        return [{"scaling": "weak", "ranks": ranks, "message_bytes": 65536, "cell_bytes": 5888, "avg_us": 500.0, "to_first": 1.0,
                 "of_best_percent": 30} for ranks in (6, 12)]
    return [{"way": "mixed", "ranks": 7, "hops": hops, "relays": 3, "pace": "lockstep", "median_s": 0.05, "to_single": 40.0}
            for hops in (3, 4)]


def row(case, seconds=2.0):
    """A row of a case."""
    if case.column == "bench":
        return {"rows": bench_rows(case), "settings": {}}
    if case.column == "demand":
        return {"cores_used": 1.9, "threads_that_want_one": 6.5}
    if case.table == "model":
        run = {"name": "64-32-10", "way": "mixed", "ranks": 7, "predicted_us": 9e4, "measured_us": 1e5}
        jobs = [{"job": "mnist-mlp", "way": way, "predicted": 1.1, "measured": 1.0} for way in (case.row, "single")]
        far = {"each": "core", "ranks": 8, "message_bytes": 65536, "cell_bytes": 5888, "bare_ms": 6.0, "mixed_ms": 9.0, "to_bare": 1.5}
        return {"rows": [far, far | {"each": "GPU"}], "assumed": {}, "runs": [run], "jobs": jobs}
    if case.table == "network":
        slot = {"held_us": 0, "round_trip_us": 40.0, "cell_bytes": 2048, "ranks": 7, "predicted_us": 900.0, "measured_us": 1000.0}
        return {"rows": [slot | {"megabits": None}, slot | {"megabits": 500}]}
    if case.table == "cores":
        return {"nanoseconds": 100}
    return {"seconds": seconds, "accuracy": 0.97, "loss": 0.1, "weights": "w"} | ({"batches": 12} if case.row == "crypten" else {})


def results(folder, seconds=lambda case, number: 2.0, rounds=3, head=HEAD):
    """Writes a row for each case and round to `folder`."""
    lines = [head]
    for number in range(1, rounds + 1):
        for case in tables.cases(SETUP):
            if number == 1 or not case.once:
                lines.append({"case": case.name, "round": number, "took": 1.0, **row(case, seconds(case, number))})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / kept.FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return kept.Results(folder)
