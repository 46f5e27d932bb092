"""One process: mixnn with `--single` beside PyTorch, as many threads each."""

from dataclasses import dataclass

from .case import BETWEEN, LAST, Case, peer, told, training
from .table import Row, Table, ratio, share, spread

NAME = "process"
# Characters of the text that the transformer is trained on.
TEXT = 150_000


@dataclass(frozen=True)
class Network:
    """A network, and what both programs call it."""

    label: str
    job: str
    batch: int
    torch: tuple
    # About how long both take, in seconds.
    seconds: tuple
    # It is so slow that its first epoch, and only one, is timed.
    slow: bool = False


NETWORKS = {
    "mlp-64": Network("784-256-128-10, batch 64", "jobs/mnist-mlp.toml", 64, (), (2.5, 11)),
    "mlp-512": Network("784-256-128-10, batch 512", "jobs/mnist-mlp.toml", 512, (), (2, 8)),
    "lenet-512": Network("LeNet-5, batch 512", "jobs/lenet-mnist.toml", 512, ("--model", "lenet", "--optimizer", "fused"), (10, 16)),
    "wide-512": Network("784-2048-2048-2048-10, batch 512, the first epoch", "bench/mlp-2048.toml", 512,
                        ("--hidden", "2048,2048,2048", "--optimizer", "fused"), (20, 25), slow=True),
    "transformer-16": Network(
        "a transformer block, width 256, 4 heads, 128 tokens, between an embedding and a linear layer, batch 16",
        "bench/transformer.toml", 16, ("--model", "transformer", "--optimizer", "fused"), (14, 17)),
}


def cases(setup):
    for key, network in NETWORKS.items():
        text = setup.text(TEXT) if "transformer" in network.job else None
        sets = {
            "data.path": text or setup.mnist, "data.validation": 0, "train.epochs": 1 if network.slow else 3,
            "train.optimizer.momentum": 0, "train.batch": network.batch, "train.micro_batch": network.batch,
            "compute.threads": setup.threads,
        }
        # Both train for three epochs. mixnn's last one has the test in it, so PyTorch is timed in one more.
        words = ("--batch", network.batch, "--threads", setup.threads, "--epochs", 1 if network.slow else 2,
                 "--warmup", 0 if network.slow else 1, *network.torch, *(("--text", text) if text else ()))
        ours, theirs = network.seconds
        yield Case(NAME, key, "mixnn", training(setup, network.job, sets), LAST if network.slow else BETWEEN, ours, mnist=not text,
                   gigabytes=1)
        yield Case(NAME, key, "pytorch", peer(setup, "single", *words), told, theirs, peer="torch", mnist=not text, gigabytes=1.5)


def tables(results):
    rows = []
    for key, network in NETWORKS.items():
        ours, theirs = f"{NAME} {key} mixnn", f"{NAME} {key} pytorch"
        if not results.of(ours):
            continue
        faster = results.ratio(theirs, ours)
        rows.append(Row(key, [
            network.label, spread(results.spread(ours)), spread(results.spread(theirs)), ratio(faster),
            share(results.spread(ours, "accuracy")), share(results.spread(theirs, "accuracy")),
        ], {"PyTorch's time by mixnn's": faster.median} if faster else {}))
    threads = results.head["settings"]["threads"]
    titles = [f"one process, {threads} threads", "mixnn, s", "PyTorch, s", "PyTorch / mixnn, turn by turn", "mixnn gets right",
              "PyTorch gets right"]
    yield Table(NAME, titles, rows)
