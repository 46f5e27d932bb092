#!/usr/bin/env python3
"""How long a run takes beside processes that keep cores busy, against what its fair share of the cores would give.

    python3 bench/busy.py --json bench/results/NAME-busy.json

Needs: target/release/mixnn (`make build`; or --mixnn), mpirun, Linux. Runs jobs/digits.toml on seven ranks, alone and beside shell
loops that this script starts, turn about, and prints a table: seconds of all epochs, and how many times as many as the fair share
gives. Run it on a machine that does nothing else. --from JSON prints the table of an earlier run's file, and times nothing.

The fair share. A scheduler gives each process that wants a core as much as any other. Alone, a run uses u cores, and k of its
threads have a core or wait for one, on average (what the kernel counts for each thread, in /proc/PID/task/*/schedstat, over two
seconds). Beside B loops, on c cores, it may have c k / (k + B) cores where that is less than it uses. So T seconds alone become
T u (k + B) / (c k), or stay T where that is less.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
from runs import ROOT, end, loops, output, spread, start

# Seconds between two looks at what threads have had, and before the first.
LOOK, BEFORE = 2.0, 1.0
# No run takes longer.
LIMIT = 580


def ways(mpirun):
    """How seven ranks run: what stands before the program, and behind it."""
    return {
        "`mpirun -n 7`": ([mpirun, "-n", "7"], []),
        "`--local 7`": ([], ["--local", "7"]),
        "`mpirun -n 7`, every block a message": ([mpirun, "-n", "7"], ["--set", "transport.windows=false"]),
    }


def command(args, way, out, epochs):
    before, behind = ways(args.mpirun)[way]
    return [*before, args.mixnn, "run", "jobs/digits.toml", "--json", "--out", f"{out}/run", "--set", f"train.epochs={epochs}",
            *behind]


def seconds(args, way, epochs):
    """Of all epochs of a run."""
    with tempfile.TemporaryDirectory() as out:
        said = output(command(args, way, out, epochs), LIMIT)
    return sum(epoch["seconds"] for epoch in json.loads(said)["epochs"])


def family(parent):
    """The process numbers of `parent` and all that it has started, and they."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            children.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found, known = [], [parent]
    while known:
        found.append(known.pop())
        known += children.get(found[-1], [])
    return found


def had(parent, program):
    """Nanoseconds that all threads of `program` under `parent` have had a core, and have waited for one; by thread."""
    threads = {}
    for process in family(parent):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{process}/exe").resolve() != program:
                continue
            for thread in Path(f"/proc/{process}/task").iterdir():
                ran, waited, _ = map(int, (thread / "schedstat").read_text().split())
                threads[thread.name] = (ran, waited)
    return threads


def demand(args, way):
    """How many cores a run uses alone (u), and how many of its threads want one (k)."""
    with tempfile.TemporaryDirectory() as out:
        run = start(command(args, way, out, 1_000_000), stdout=subprocess.DEVNULL)
        try:
            # Once it is in the midst of its epochs.
            metrics, patience = Path(out) / "run/metrics.jsonl", time.monotonic() + 60
            while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < patience:
                time.sleep(0.05)
            time.sleep(BEFORE)
            program, began, first = Path(args.mixnn).resolve(), time.monotonic(), had(run.pid, Path(args.mixnn).resolve())
            time.sleep(LOOK)
            took, second = time.monotonic() - began, had(run.pid, program)
        finally:
            end(run)
    both = [(second[thread], first.get(thread, (0, 0))) for thread in second]
    ran = sum(now[0] - then[0] for now, then in both) / 1e9 / took
    waited = sum(now[1] - then[1] for now, then in both) / 1e9 / took
    if ran == 0:
        sys.exit(f"{way}: no thread of it is found to run: /proc/PID/task/*/schedstat")
    return {"cores_used": round(ran, 3), "threads_that_want_one": round(ran + waited, 3)}


def fair(alone, wants, cores, busy):
    """Seconds that `alone` seconds become."""
    used, wanting = wants["cores_used"], wants["threads_that_want_one"]
    return max(alone, alone * used * (wanting + busy) / (cores * wanting))


def measure(args, way, cores):
    wants = demand(args, way)
    taken = {busy: [] for busy in args.busy}
    for _ in range(args.rounds):
        for busy in args.busy:
            with loops(busy):
                taken[busy].append(seconds(args, way, args.epochs))
    alone = statistics.median(taken[0])
    row = {"what": way, **wants, "beside": []}
    for busy, took in taken.items():
        share = fair(alone, wants, cores, busy)
        row["beside"].append({"busy": busy, "seconds": spread(took), "fair_seconds": round(share, 3),
                              "times_fair": round(statistics.median(took) / share, 3)})
        print(f"{way}, beside {busy}: {row['beside'][-1]}", flush=True)
    return row


def table(found):
    machine = found["machine"]
    busy = [cell["busy"] for cell in found["rows"][0]["beside"]]
    lines = [f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, {machine['mpi']}, commit {machine['commit']}; "
             f"{found['epochs']} epochs, medians of {found['rounds']} turns.", "",
             "| `jobs/digits.toml` on 7 ranks | " + " | ".join(f"beside {n}" if n else "alone, s" for n in busy) + " |",
             "|---" * (len(busy) + 1) + "|"]
    for row in found["rows"]:
        cells = [f"{cell['seconds']['median']:.2f}" + (f" ({cell['times_fair']:.2f})" if cell["busy"] else "")
                 for cell in row["beside"]]
        lines.append(f"| {row['what']} (u = {row['cores_used']:.2f}, k = {row['threads_that_want_one']:.2f}) | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixnn", type=Path, default=ROOT / "target/release/mixnn")
    parser.add_argument("--mpirun", default="mpirun")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--busy", type=lambda text: sorted({0, *map(int, text.split(","))}), default=[0, 2, 4, 8],
                        help="numbers of loops, such as 2,4")
    parser.add_argument("--json", type=Path, help="where to write all that was measured")
    parser.add_argument("--from", dest="earlier", type=Path, help="a file of --json: its table again")
    args = parser.parse_args()
    if args.earlier:
        print(table(json.loads(args.earlier.read_text())))
        return
    args.mixnn = args.mixnn.resolve()
    if not args.mixnn.exists() or not machine.runs([args.mpirun, "--version"]):
        print(f"needs {args.mixnn} (make build, or --mixnn) and {args.mpirun} (an MPI library, or --mpirun)", file=sys.stderr)
        sys.exit(3)
    described = machine.described(args.mpirun, sys.executable, args.mixnn)
    rows = [measure(args, way, described["cores"]) for way in ways(args.mpirun)]
    found = {"machine": described, "rounds": args.rounds, "epochs": args.epochs, "rows": rows}
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(found, indent=2) + "\n")
    print("\n" + table(found))


main()
