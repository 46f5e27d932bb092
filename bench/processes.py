"""How processes are started, waited for and ended. Nothing here knows what they measure."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Let Open MPI start more ranks than there are cores, as any user: version 4 reads the first names, version 5 the last.
LAUNCH = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
# How many seconds a launcher has for ending its ranks.
PATIENCE = 20


class Failed(Exception):
    """A command failed. Its text names no folder of this machine, so that it may stand in a result."""


def start(words, env=None, **more):
    """Starts a command in a session of its own: what it starts can be ended with it."""
    return subprocess.Popen([str(word) for word in words], cwd=ROOT, env=os.environ | LAUNCH | (env or {}), stderr=subprocess.PIPE,
                            text=True, start_new_session=True, **more)


def end(run):
    """Lets a launcher end its ranks, and ends what is left."""
    run.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.communicate(timeout=PATIENCE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)
    run.communicate()


def output(words, limit, env=None):
    """What a command prints. `Failed` where it fails, or takes longer than `limit` seconds."""
    try:
        run = start(words, env, stdout=subprocess.PIPE)
    except OSError as error:
        raise Failed(plain(f"{words[0]} does not start: {error.strerror}")) from None
    try:
        said, complaint = run.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        end(run)
        raise Failed(f"no end within {limit} s") from None
    except BaseException:
        # Ctrl-C reaches this process alone, since the command has a session of its own.
        end(run)
        raise
    if run.returncode != 0:
        raise Failed(plain(f"ended with {run.returncode}: {last(complaint)}"))
    return said


def last(text):
    """The last line of a complaint that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" -*^~\t")]
    return lines[-1][:300] if lines else "without a word"


def plain(text):
    """`text` without the folders and the name of this machine."""
    text = text.replace(f"{ROOT}/", "")
    # What follows a second slash is an address.
    text = re.sub(r"(?<![\w./])/(?:[\w.+@-]+/)+", "", text)
    return re.sub(rf"\b{re.escape(socket.gethostname())}\b", "HOST", text)


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


def wait_for(there, limit):
    """Waits until `there()` is true, or so many seconds. Returns whether it is."""
    patience = time.monotonic() + limit
    while not there():
        if time.monotonic() > patience:
            return False
        time.sleep(0.05)
    return True
