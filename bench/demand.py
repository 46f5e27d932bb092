"""How many cores a run uses and how many it wants, of what the kernel counts for each thread (/proc/PID/task/*/schedstat)."""

import contextlib
import subprocess
import time
from pathlib import Path

from processes import Failed, end, start, wait_for

# Seconds between two looks at what threads have had, and before the first.
LOOK, BEFORE = 2.0, 1.0


def family(parent):
    """The process numbers of `parent` and of all that it has started, and they."""
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


def demand(words, program):
    """Starts a run that does not end by itself, looks at it in the midst of its epochs, and ends it. `program` is what its ranks run."""
    program = Path(program).resolve()
    out = next(Path(words[at + 1]) for at, word in enumerate(words) if word == "--out")
    run = start(words, stdout=subprocess.DEVNULL)
    try:
        metrics = out / "metrics.jsonl"
        wait_for(lambda: metrics.exists() and metrics.stat().st_size, 60)
        time.sleep(BEFORE)
        began, first = time.monotonic(), had(run.pid, program)
        time.sleep(LOOK)
        took, second = time.monotonic() - began, had(run.pid, program)
    finally:
        end(run)
    both = [(second[thread], first.get(thread, (0, 0))) for thread in second]
    ran, waited = (sum(now[at] - then[at] for now, then in both) / 1e9 / took for at in (0, 1))
    if ran == 0:
        raise Failed("no thread of it is found to run: /proc/PID/task/*/schedstat")
    return {"cores_used": round(ran, 3), "threads_that_want_one": round(ran + waited, 3)}
