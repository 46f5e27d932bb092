#!/usr/bin/env python3
"""Speeds of mixnn against PyTorch on the same machine, in one run, turn about: medians, spreads, ratios.

    make bench                                     or
    make bench BENCH="--rounds 5 --readme README.md"

Needs: target/release/mixnn and the examples beside it, which `make bench` builds, MNIST (mixnn data fetch mnist), mpirun, and a
Python with PyTorch (--python; bench/requirements.txt). It installs nothing, and says at the start what is missing. Times seconds an
epoch with plain SGD: of the 60,000 training samples of MNIST, or of the sequences of a text. Beside the ratio of each turn stands how
far apart the cores were (bench/cores.rs): ranks that exchange through shared memory feel it. Run it on a machine that does nothing
else: two threads of PyTorch beside another busy process are several times slower.

What was measured goes to bench/results/HOST-DATE.json, or where --json says. It is held against the newest measurement there of such a
host, or the one that --against names: a row whose ratio has fallen by more than a quarter is shown in red, and the exit code is 1.

Prints README's tables at the end; --readme writes them into a file between the lines <!-- figures --> and <!-- end of figures -->,
so that no figure is typed by hand. --from JSON makes them of an earlier run's file, holds that against others, and times nothing.
"""

import argparse
import datetime
import json
import statistics
import sys
import tempfile
from pathlib import Path

import figures
import machine
from runs import ROOT, output, spread

MIXNN = ROOT / "target/release/mixnn"
CORES = ROOT / "target/release/examples/cores"
# What a slot alone is measured with.
SLOT = ["bench", "slot", "--cells", "16384", "--link", "off", "--slots", "300", "--rounds", "15", "--json", "--quiet"]
RESULTS = ROOT / "bench/results"
# A ratio that is less than this part of the one before has fallen.
FALLEN = 0.75
# Characters of the text that the transformer is timed on.
TEXT = 150_000
# No run takes longer, in seconds.
LIMIT = 580


def mixnn(args, mode, batch, micro_batch, threads, job="jobs/mnist-mlp.toml", epochs=None):
    """Seconds an epoch, the first left out."""
    with tempfile.TemporaryDirectory() as out:
        launcher = [args.mpirun, "-n", "7"] if mode == "mixed" else []
        sets = {
            "data.validation": 0, "train.epochs": (epochs or args.epochs) + 1, "train.optimizer.momentum": 0,
            "train.batch": batch, "train.micro_batch": micro_batch, "compute.threads": threads,
        }
        sets["data.path"] = args.text if "transformer" in job else args.mnist
        command = launcher + [MIXNN, "run", job, "--json", "--out", f"{out}/run"]
        command += ["--single"] if mode == "single" else []
        for key, value in sets.items():
            command += ["--set", f"{key}={value}"]
        result = json.loads(output(command, LIMIT))
    return [epoch["seconds"] for epoch in result["epochs"][1:]]


def torch(args, mode, batch, threads, *model, epochs=None):
    command = [args.python, "bench/pytorch.py", "--mnist", args.mnist, "--mode", mode, "--batch", batch,
               "--threads", threads, "--epochs", epochs or args.epochs, "--warmup", 1, *model]
    return json.loads(output(command, LIMIT).splitlines()[-1])["epoch_seconds"]


def cores():
    return int(output([CORES], LIMIT))


def pair(name, rounds, ours, theirs):
    """Takes turns; the ratio of each turn's medians: above 1 mixnn is faster."""
    a, b, turns = [], [], []
    for _ in range(rounds):
        before, x, after, y = cores(), ours(), cores(), theirs()
        a += x
        b += y
        turns.append({"times_faster": round(statistics.median(y) / statistics.median(x), 3),
                      "line_round_trip_ns": [before, after]})
    ratios = [turn["times_faster"] for turn in turns]
    row = {"what": name, "mixnn_seconds": spread(a), "pytorch_seconds": spread(b), "times_faster": spread(ratios),
           "turns": turns}
    r = row["times_faster"]
    print(f"{name:<46} {row['mixnn_seconds']['median']:8.3f} {row['pytorch_seconds']['median']:9.3f}"
          f" {r['median']:8.2f} ({r['min']:.2f} to {r['max']:.2f})  "
          + " ".join(f"{t['times_faster']:.2f}@{t['line_round_trip_ns'][0]}-{t['line_round_trip_ns'][1]}ns" for t in turns),
          flush=True)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", default="data/mnist")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--mpirun", default="mpirun")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2, help="epochs timed in each turn")
    parser.add_argument("--json", type=Path, help="where to write all that was measured (bench/results/HOST-DATE.json)")
    parser.add_argument("--against", type=Path, help="an earlier measurement to compare with (the newest of such a host)")
    parser.add_argument("--readme", type=Path, help="the file whose tables are made anew")
    parser.add_argument("--from", dest="earlier", type=Path, help="a file of --json: its tables again")
    args = parser.parse_args()
    if args.earlier:
        return show(json.loads(args.earlier.read_text()), args.earlier, args)
    args.mnist = str(Path(args.mnist).resolve())
    missing(args)
    text = (ROOT / "jobs/moby-dick.txt").read_text()
    part = tempfile.NamedTemporaryFile("w", suffix=".txt")
    # With every character once, as the job's vocabulary has them.
    part.write(text[:TEXT] + "".join(sorted(set(text))))
    part.flush()
    args.text = part.name

    print(f"{'seconds an epoch; 784-256-128-10 on MNIST':<46} {'mixnn':>8} {'PyTorch':>9} {'ratio':>8}")
    rows = []
    for batch in (64, 512):
        rows.append(pair(f"one process, 2 threads, batch {batch}", args.rounds,
                         lambda: mixnn(args, "single", batch, batch, 2), lambda: torch(args, "single", batch, 2)))
    for batch in (64, 512):
        rows.append(pair(f"LeNet-5, one process, 2 threads, batch {batch}", args.rounds,
                         lambda: mixnn(args, "single", batch, batch, 2, "jobs/lenet-mnist.toml"),
                         lambda: torch(args, "single", batch, 2, "--model", "lenet")))
    rows.append(pair("784-2048-2048-2048-10, 2 threads, batch 512", args.rounds,
                     lambda: mixnn(args, "single", 512, 512, 2, "bench/mlp-2048.toml", epochs=1),
                     lambda: torch(args, "single", 512, 2, "--hidden", "2048,2048,2048", "--optimizer", "fused", epochs=1)))
    rows.append(pair("transformer block, 2 threads, batch 16", args.rounds,
                     lambda: mixnn(args, "single", 16, 16, 2, "bench/transformer.toml", epochs=1),
                     lambda: torch(args, "single", 16, 2, "--model", "transformer", "--text", args.text,
                                   "--optimizer", "fused", epochs=1)))
    for micro_batch in (16, 32):
        rows.append(pair(f"mixed, 7 ranks, batch 64 in {micro_batch} | split, 4 processes", args.rounds,
                         lambda: mixnn(args, "mixed", 64, micro_batch, 0), lambda: torch(args, "split", 64, 1)))
    slot = [json.loads(line) for line in output([args.mpirun, "-n", "6", MIXNN, *SLOT], LIMIT).splitlines()]
    found = {"machine": machine.described(args.mpirun, args.python, MIXNN), "rounds": args.rounds, "rows": rows,
             "slot": slot}
    date = datetime.date.today().isoformat()
    file = args.json or RESULTS / f"{machine.host(found['machine'])}-{date}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found | {"date": date}, indent=2) + "\n")
    show(found, file, args)


def missing(args):
    """Ends, before anything is timed, where something is not there."""
    wants = [(path.exists(), f"{path.relative_to(ROOT)}: make build; cargo build --release --locked --examples")
             for path in (MIXNN, CORES)]
    wants += [
        ((Path(args.mnist) / "train-images-idx3-ubyte").exists(),
         f"MNIST in {args.mnist}: target/release/mixnn data fetch mnist, or --mnist FOLDER"),
        (machine.runs([args.mpirun, "--version"]), f"{args.mpirun}: an MPI library, or --mpirun"),
        (machine.runs([args.python, "-c", "import torch, numpy"]),
         f"PyTorch and NumPy for {args.python}: pip install -r bench/requirements.txt, or --python PYTHON"),
    ]
    absent = [how for there, how in wants if not there]
    if absent:
        print("the comparison needs, and does not find:\n  " + "\n  ".join(absent), file=sys.stderr)
        sys.exit(3)


def newest(found, file):
    """The newest measurement in bench/results of such a host, other than `file`, or None."""
    of_host = []
    for path in RESULTS.glob("*.json"):
        kept = json.loads(path.read_text())
        # bench/busy.py and bench/gpu.py keep measurements of other kinds there.
        if "rows" in kept and "slot" in kept and path.resolve() != file.resolve():
            if machine.host(kept["machine"]) == machine.host(found["machine"]):
                of_host.append((kept.get("date", ""), path.stat().st_mtime, path))
    return max(of_host)[-1] if of_host else None


def fallen(found, earlier):
    """The rows whose median ratio has fallen by more than a quarter: what, before, now."""
    before = {row["what"]: row["times_faster"]["median"] for row in earlier["rows"]}
    now = {row["what"]: row["times_faster"]["median"] for row in found["rows"]}
    return [(what, before[what], ratio) for what, ratio in now.items() if what in before and ratio < FALLEN * before[what]]


def show(found, file, args):
    tables = figures.tables(found, file)
    print("\n" + tables)
    if args.readme:
        figures.write(args.readme, tables)
    against = args.against or newest(found, file)
    if not against:
        print(f"\nno earlier measurement of a {machine.host(found['machine'])} to compare with")
        return
    rows = fallen(found, json.loads(against.read_text()))
    red, plain = ("\033[31m", "\033[0m") if sys.stdout.isatty() else ("", "")
    for what, before, now in rows:
        print(f"{red}FALLEN  {what}: {before:.2f} times as fast as PyTorch before, {now:.2f} now{plain}")
    print(f"\ncompared with {against}: {len(rows)} of {len(found['rows'])} rows have fallen by more than a quarter")
    if rows:
        sys.exit(1)


main()
