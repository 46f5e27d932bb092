#!/usr/bin/env python3
"""A GPU: whether its results are right, its speeds beside its own ceilings, and whole jobs beside PyTorch on the same GPU, in one run.

    cargo build --release --locked --bins --example gpu
    python3 bench/gpu.py --mnist data/mnist --json bench/results/NAME.json

Builds nothing: mixnn and the example may come from another machine (without MPI: --no-default-features --features cuda). Needs MNIST
(mixnn data fetch mnist) and a Python with PyTorch for CUDA (--python). Ten minutes at most. Seconds an epoch with plain SGD, of the 60,000
training samples of MNIST, or of the sequences of a text; PyTorch's convolutions in fp32, as its products are.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Name, job, batch, PyTorch's words for it.
JOBS = [
    ("784-256-128-10, batch 512", "jobs/mnist-mlp.toml", 512, []),
    ("784-2048-2048-2048-10, batch 512", "bench/mlp-2048.toml", 512, ["--hidden", "2048,2048,2048"]),
    ("LeNet-5, batch 512", "jobs/lenet-mnist.toml", 512, ["--model", "lenet"]),
    ("transformer block, batch 16", "bench/transformer.toml", 16, ["--model", "transformer"]),
]


def output(command):
    done = subprocess.run(["timeout", "-k", "10", "300", *map(str, command)], capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def mixnn(args, how, job, batch, epochs):
    """Seconds an epoch, the first left out, and the model's digest."""
    with tempfile.TemporaryDirectory() as out:
        sets = {
            "data.validation": 0, "train.epochs": epochs + 1, "train.optimizer.momentum": 0, "train.batch": batch,
            "train.micro_batch": batch, "compute.backend": "cuda",
            "data.path": str(ROOT / "jobs/moby-dick.txt") if "transformer" in job else args.mnist,
        }
        command = [args.mixnn, "run", job, "--json", "--out", f"{out}/run", *how]
        for key, value in sets.items():
            command += ["--set", f"{key}={value}"]
        result = json.loads(output(command))
    return [epoch["seconds"] for epoch in result["epochs"][1:]], result["weights_sha256"]


def torch(args, batch, model, epochs):
    command = [args.python, "bench/peers/single.py", "--device", "cuda", "--mnist", args.mnist, "--batch", batch, "--epochs",
               epochs, "--warmup", 1, "--threads", 8, *model]
    return json.loads(output(command).splitlines()[-1])["epoch_seconds"]


def ratio(above, below):
    """Median, least and most of the turns, each of which has the medians of its epochs."""
    turns = sorted(statistics.median(a) / statistics.median(b) for a, b in zip(above, below))
    return {"median": statistics.median(turns), "least": turns[0], "most": turns[-1]}


def shown(of):
    return f"{of['median']:.2f} ({of['least']:.2f} to {of['most']:.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", default="data/mnist")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--mixnn", default="target/release/mixnn")
    parser.add_argument("--gpu", default="target/release/examples/gpu")
    parser.add_argument("--epochs", type=int, default=3, help="epochs timed in each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.mnist = str(Path(args.mnist).resolve())
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        print(output([args.gpu, "--json", f"{folder}/found"]), flush=True)
        found = json.loads(Path(folder, "found").read_text())
    rows = []
    print(f"{'seconds an epoch':<36} {'--single':>9} {'PyTorch':>9} {'ratio':>19} {'mixed, 7 ranks':>15} {'to --single':>19}")
    for name, job, batch, model in JOBS:
        ours, theirs, mixed, digests = [], [], [], set()
        for _ in range(args.rounds):
            seconds, digest = mixnn(args, ["--single"], job, batch, args.epochs)
            ours.append(seconds)
            digests.add(digest)
            theirs.append(torch(args, batch, model, args.epochs))
            seconds, digest = mixnn(args, ["--local", "7"], job, batch, args.epochs)
            mixed.append(seconds)
            digests.add(digest)
        a, b, c = (statistics.median(sum(turns, [])) for turns in (ours, theirs, mixed))
        faster, slower = ratio(theirs, ours), ratio(mixed, ours)
        print(f"{name:<36} {a:9.3f} {b:9.3f} {shown(faster):>19} {c:15.3f} {shown(slower):>19}", flush=True)
        rows.append({"what": name, "single_seconds": ours, "pytorch_seconds": theirs, "mixed_seconds": mixed,
                     "times_faster": faster, "mixed_to_single": slower, "weights_sha256": sorted(digests)})
        if len(digests) != 1:
            found.setdefault("wrong", []).append(f"{name}: other bits from run to run, or on ranks")
    found["jobs"] = rows
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    if found.get("wrong"):
        sys.exit(f"wrong: {found['wrong']}")


if __name__ == "__main__":
    main()
