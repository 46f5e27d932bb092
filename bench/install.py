"""A Python with the peers: a virtual environment of this repository's own, or one that is named. What cannot be installed is left out."""

import shutil
import subprocess
import sys

from machine import runs
from processes import ROOT, last, plain

FOLDER = ROOT / "target/bench/venv"
# What PyTorch's wheels take, unpacked, and while they are installed, where its wheel comes with CUDA.
GIGABYTES = 12
# How long an installation may take, in seconds.
LIMIT = 1800
# By the package that a peer needs: what pip is told, call after call.
WORDS = {
    "torch": [["-r", "bench/requirements.txt"]],
    # CrypTen asks for `sklearn`, a name that PyPI refuses to install: so what it needs is listed here, and it comes alone.
    "crypten": [["-r", "bench/requirements-crypten.txt"], ["--no-deps", "crypten==0.4.1"]],
}
# What shows that the peer runs.
TRIED = {
    "torch": "import torch, numpy, torch.distributed.pipelining",
    "crypten": "import sys; sys.path.insert(0, 'bench/peers'); import private; private.import_crypten()",
}


def there(python):
    """The packages that `python` has, of those that peers need."""
    return {package for package, words in TRIED.items() if python and runs([python, "-c", words])}


def installed(say, folder=FOLDER):
    """A Python with as many peers as can be installed, and why others are left out, by package."""
    python = folder / "bin/python"
    found = there(python) if python.exists() else set()
    if set(WORDS) <= found:
        return python, {}
    free = shutil.disk_usage(ROOT).free / 1e9
    if "torch" not in found and free < GIGABYTES:
        return None, dict.fromkeys(WORDS, f"installing PyTorch takes up to {GIGABYTES} GB of disk, and there are {free:.0f}")
    if not python.exists():
        say(f"a virtual environment in {folder.relative_to(ROOT)}")
        wrong = _done([sys.executable, "-m", "venv", folder])
        if wrong:
            return None, dict.fromkeys(WORDS, f"no virtual environment: {wrong}")
    left_out = {}
    for package, calls in WORDS.items():
        if package in found:
            continue
        if package != "torch" and "torch" in left_out:
            left_out[package] = "it needs PyTorch"
            continue
        say(f"pip installs {package}" + ("; that takes minutes" if package == "torch" else ""))
        wrong = next(filter(None, (_done([python, "-m", "pip", "install", "--quiet", "--retries", "1", *words]) for words in calls)), None)
        left_out |= {package: wrong} if wrong else {}
        if not wrong and package not in there(python):
            left_out[package] = f"it does not run: {_done([python, '-c', TRIED[package]])}"
    return python, left_out


def _done(words):
    """Runs a command. Returns what is wrong, or nothing."""
    try:
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, cwd=ROOT, timeout=LIMIT)
    except (OSError, subprocess.TimeoutExpired) as error:
        return plain(str(error))
    return plain(last(done.stderr)) if done.returncode else None
