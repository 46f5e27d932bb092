"""What a measurement was made on, without which a figure says nothing; and how much memory there is for it."""

import os
import platform
import subprocess
from pathlib import Path

from processes import LAUNCH, ROOT

# By the names of /proc/cpuinfo, the widest first.
INSTRUCTIONS = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX", "asimd": "NEON"}
# Words of a processor's name that tell nothing.
NOISE = {"amd", "intel", "r", "tm", "cpu", "processor", "with"}


def first_line(command, limit=120):
    """What a command says first, or None where it cannot be run."""
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=ROOT, timeout=limit,
                              env=os.environ | LAUNCH)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.strip().splitlines()
    return (lines[0] if lines else "") if done.returncode == 0 else None


def runs(command):
    return first_line(command) is not None


def processor(said, architecture):
    """The model and its vector instructions, of what /proc/cpuinfo says; as src/compute/processor.rs names it."""
    values = {}
    for line in said.splitlines():
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), " ".join(value.split()))
    flags = (values.get("flags") or values.get("Features") or "").split()
    name = values.get("model name")
    if not name and values.get("CPU implementer") and values.get("CPU part"):
        name = f"{architecture}, implementer {values['CPU implementer']}, part {values['CPU part']}"
    return name or architecture, next((word for flag, word in INSTRUCTIONS.items() if flag in flags), "none known")


def here():
    """The model of this machine's processor and its vector instructions."""
    cpuinfo = Path("/proc/cpuinfo")
    return processor(cpuinfo.read_text() if cpuinfo.exists() else "", platform.machine())


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def host(described):
    """What the results of such a machine are named after: its cores and its processor, and never its own name."""
    model = described["processor"].lower().partition("@")[0]
    words = "".join(c if c.isalnum() else " " for c in model).split()
    return "-".join([f"{described['cores']}-core", *(word for word in words if word not in NOISE)])


def memory():
    """How many gigabytes processes may still take, or None where that is not known."""
    left = []
    meminfo, group = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
    if meminfo.exists():
        values = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        left.append(int(values["MemAvailable"].split()[0]) * 1024)
    try:
        left.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):
        # There is no group, or it has no limit.
        pass
    return min(left) / 1e9 if left else None


def described(mpirun, python, mixnn):
    model, instructions = here()
    changed = first_line(["git", "status", "--porcelain", "--untracked-files=no"])
    version = lambda package: python and first_line([python, "-c", f"import {package}; print({package}.__version__)"])
    return {
        "processor": model,
        "instructions": instructions,
        "cores": cores(),
        "system": f"{platform.system()} {platform.release()}",
        "mpi": first_line([mpirun, "--version"]),
        "pytorch": version("torch"),
        "python": f"Python {platform.python_version()}",
        "rustc": first_line(["rustc", "--version"]),
        "mixnn": first_line([mixnn, "--version"]),
        "commit": (first_line(["git", "rev-parse", "--short", "HEAD"]) or "unknown") + (" and changes" if changed else ""),
    }
