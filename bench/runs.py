"""How the scripts beside this one start runs, and what they make of their times."""

import contextlib
import os
import signal
import statistics
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Lets Open MPI start more ranks than there are cores, as any user.
LAUNCH = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}


def start(words, **more):
    """Starts a command in a session of its own: a launcher's ranks can be ended with it."""
    return subprocess.Popen([str(word) for word in words], cwd=ROOT, env=os.environ | LAUNCH, stderr=subprocess.PIPE, text=True,
                            start_new_session=True, **more)


def end(run):
    """Lets a launcher end its ranks."""
    run.send_signal(signal.SIGTERM)
    try:
        run.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()


def output(words, limit):
    """What a command prints. `SystemExit` where it fails, or takes longer than `limit` seconds."""
    run = start(words, stdout=subprocess.PIPE)
    try:
        said, complaint = run.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        end(run)
        raise SystemExit(f"{' '.join(map(str, words))}: no end within {limit} s") from None
    if run.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, words))}\nended with {run.returncode}:\n{complaint}")
    return said


@contextlib.contextmanager
def loops(count):
    """As many processes that do nothing but keep a core busy."""
    started = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in started:
            loop.kill()
            loop.wait()


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}
