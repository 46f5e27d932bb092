"""What a measurement was made on: without it a figure says nothing."""

import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# By the names of /proc/cpuinfo, the widest first.
INSTRUCTIONS = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX", "asimd": "NEON"}


def first_line(command):
    """What a command says first, or None where it cannot be run."""
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=ROOT, timeout=120)
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


def host(described):
    """What the files of results of such a machine are named after: its cores, processor and instructions."""
    words = f"{described['cores']}-core {described['processor']} {described['instructions']}"
    return "-".join("".join(c if c.isalnum() else " " for c in words.lower()).split())


def described(mpirun, python, mixnn):
    cpuinfo = Path("/proc/cpuinfo")
    model, instructions = processor(cpuinfo.read_text() if cpuinfo.exists() else "", platform.machine())
    changed = first_line(["git", "status", "--porcelain", "--untracked-files=no"])
    return {
        "processor": model,
        "instructions": instructions,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "mpi": first_line([mpirun, "--version"]),
        "pytorch": first_line([python, "-c", "import torch; print(torch.__version__)"]),
        "python": first_line([python, "--version"]),
        "rustc": first_line(["rustc", "--version"]),
        "mixnn": first_line([mixnn, "--version"]),
        "commit": (first_line(["git", "rev-parse", "--short", "HEAD"]) or "unknown") + (" and changes" if changed else ""),
    }
