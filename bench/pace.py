#!/usr/bin/env python3
"""What protection costs, with hidden times and without: seconds an epoch of each job, in each profile.

    python3 bench/pace.py --mnist data/mnist --json bench/results/NAME-pace.json

Needs: target/release/mixnn (`make build`; or --mixnn), MNIST (mixnn data fetch mnist), mpirun. Runs each job in one process and in each
profile, turn about, and the two that hide who computes what beside processes that keep cores busy, too. Times the last epoch of each run,
and prints a table with ratios, turn by turn. Run it on a machine that does nothing else. --from JSON prints the table of an earlier run's
file, and times nothing.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import machine
from runs import ROOT, loops, output, spread

# Characters of the text that the character model is trained on.
TEXT = 100_000
# No run takes longer, in seconds.
LIMIT = 580
# The job, how many stages it has, settings, and how many epochs a run has. The first warms up, where there are two.
JOBS = {
    "mnist-mlp, batch 64": ("jobs/mnist-mlp.toml", 3, {}, 2),
    "mnist-mlp, batch 512": ("jobs/mnist-mlp.toml", 3, {"train.batch": 512, "train.micro_batch": 64}, 3),
    "lenet-mnist, batch 64": ("jobs/lenet-mnist.toml", 4, {}, 1),
    "gpt-text, 100,000 characters": ("jobs/gpt-text.toml", 4, {}, 1),
}
# Settings, and how many ranks there are beside the owner and the stages. `None`: one process.
WAYS = {
    "one process": None,
    "`bare`": ({"mix.profile": "bare"}, 0),
    "`sealed`": ({"mix.profile": "sealed"}, 0),
    "`mixed`, lockstep": ({"mix.pace": "lockstep"}, 3),
    "`mixed`, hidden times": ({"mix.pace": "auto"}, 3),
}
# What the last of these is held against.
LOCKSTEP, HIDDEN = list(WAYS)[-2:]


def run(args, job, way):
    """Seconds of a run's last epoch, and its digest of weights."""
    path, stages, sets, epochs = JOBS[job]
    data = args.text if "text" in path else args.mnist
    sets = sets | {"data.path": data, "train.epochs": epochs, "checkpoint.every": "never"}
    if WAYS[way] is None:
        launcher, behind = [], ["--single"]
    else:
        launcher, behind = [args.mpirun, "-n", 1 + stages + WAYS[way][1]], []
        sets |= WAYS[way][0]
    with tempfile.TemporaryDirectory() as out:
        words = [*launcher, args.mixnn, "run", path, "--json", "--quiet", "--out", f"{out}/run", *behind]
        result = json.loads(output([*words, *(word for key, value in sets.items() for word in ("--set", f"{key}={value}"))], LIMIT))
    return result["epochs"][-1]["seconds"], result["weights_sha256"]


def measure(args, job, busy):
    """A row: the job beside `busy` processes."""
    ways = [way for way in WAYS if busy == 0 or way in (LOCKSTEP, HIDDEN)]
    taken, digests = {way: [] for way in ways}, set()
    for turn in range(args.rounds):
        for way in ways if turn % 2 == 0 else reversed(ways):
            with loops(busy):
                seconds, digest = run(args, job, way)
            taken[way].append(seconds)
            digests.add(digest)
    if len(digests) != 1:
        sys.exit(f"{job}: not the same weights in all profiles: {', '.join(sorted(digests))}")
    ratios = [hidden / lockstep for hidden, lockstep in zip(taken[HIDDEN], taken[LOCKSTEP])]
    row = {"job": job, "busy": busy, "seconds": {way: spread(seconds) for way, seconds in taken.items()},
           "hidden_over_lockstep": spread(ratios), "weights_sha256": digests.pop()}
    print(f"{job}, beside {busy}: " + ", ".join(f"{way} {statistics.median(s):.2f}" for way, s in taken.items()), flush=True)
    return row


def table(found):
    described = found["machine"]
    lines = [f"{described['processor']} with {described['instructions']}, {described['cores']} cores, {described['system']}, "
             f"{described['mpi']}, commit {described['commit']}; seconds an epoch, medians of {found['rounds']} turns.", "",
             "| job | beside busy processes | " + " | ".join(WAYS) + " | hidden times / lockstep, turn by turn |",
             "|---" * (len(WAYS) + 3) + "|"]
    for row in found["rows"]:
        cells = [f"{row['seconds'][way]['median']:.2f}" if way in row["seconds"] else "" for way in WAYS]
        ratio = row["hidden_over_lockstep"]
        lines.append(f"| {row['job']} | {row['busy']} | {' | '.join(cells)} "
                     f"| {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f}) |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", default="data/mnist")
    parser.add_argument("--mixnn", type=Path, default=ROOT / "target/release/mixnn")
    parser.add_argument("--mpirun", default="mpirun")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=lambda text: text.split(";"), default=list(JOBS), help="such as \"mnist-mlp, batch 64;...\"")
    parser.add_argument("--busy", type=int, nargs="*", default=[0, 2], help="numbers of busy processes, such as 0 2")
    parser.add_argument("--json", type=Path, help="where to write all that was measured")
    parser.add_argument("--from", dest="earlier", type=Path, help="a file of --json: its table again")
    args = parser.parse_args()
    if args.earlier:
        print(table(json.loads(args.earlier.read_text())))
        return
    unknown = [job for job in args.jobs if job not in JOBS]
    args.mixnn, args.mnist = args.mixnn.resolve(), str(Path(args.mnist).resolve())
    absent = [f"no job {job!r}, but: {'; '.join(JOBS)}" for job in unknown]
    absent += [how for there, how in [
        (args.mixnn.exists(), f"{args.mixnn}: make build, or --mixnn"),
        (machine.runs([args.mpirun, "--version"]), f"{args.mpirun}: an MPI library, or --mpirun"),
        ((Path(args.mnist) / "train-images-idx3-ubyte").exists(), f"MNIST in {args.mnist}: mixnn data fetch mnist, or --mnist FOLDER"),
    ] if not there]
    if absent:
        print("needs, and does not find:\n  " + "\n  ".join(absent), file=sys.stderr)
        sys.exit(3)
    text = (ROOT / "jobs/moby-dick.txt").read_text()
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as part:
        # With every character once, as the job's vocabulary has them.
        part.write(text[:TEXT] + "".join(sorted(set(text))))
        part.flush()
        args.text = part.name
        described = machine.described(args.mpirun, sys.executable, args.mixnn)
        rows = []
        for job in args.jobs:
            rows += [measure(args, job, busy) for busy in args.busy]
            # An interrupted measurement keeps its rows.
            found = {"machine": described, "rounds": args.rounds, "rows": rows}
            if args.json:
                args.json.parent.mkdir(parents=True, exist_ok=True)
                args.json.write_text(json.dumps(found, indent=2) + "\n")
    print("\n" + table(found))


if __name__ == "__main__":
    main()
