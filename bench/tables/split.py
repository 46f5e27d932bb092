"""Layers that stand in processes of their own: mixnn's `mixed` beside what others offer, unprotected and private."""

from .case import BETWEEN, Case, peer, told, training
from .table import Row, Table, median, ratio, share

NAME = "split"
BATCHES = (64, 512)
# The rows: what it is, and what it protects.
ROWS = {
    "mixed-4": ("mixnn, `mixed` on 7 ranks, 4 micro-batches", "who hosts what, who sends to whom, all contents"),
    "mixed-2": ("mixnn, `mixed` on 7 ranks, 2 micro-batches", "who hosts what, who sends to whom, all contents"),
    "gloo": ("PyTorch, an owner and a process for each of 3 layers, gloo, one batch in flight", "nothing"),
    "pipelined": ("PyTorch, a process for each of 3 layers, `torch.distributed.pipelining` (GPipe), 4 micro-batches", "nothing"),
    "crypten": ("CrypTen, two parties, a trusted dealer", "data and weights, by secret sharing"),
}
# What the others are held against.
OURS = "mixed-4"
# Seconds that a row takes for each batch.
SECONDS = {"mixed-4": (8, 6), "mixed-2": (8, 6), "gloo": (15, 10), "pipelined": (22, 12), "crypten": (12, 13)}
# How many batches CrypTen is timed in: the rest of its epoch is extrapolated.
TIMED = {64: 12, 512: 6}


def cases(setup):
    for at, batch in enumerate(BATCHES):
        for row in ROWS:
            about = {"seconds": SECONDS[row][at], "mnist": True}
            if row.startswith("mixed"):
                sets = {
                    "data.path": setup.mnist, "data.validation": 0, "train.epochs": 3, "train.optimizer.momentum": 0,
                    "train.batch": batch, "train.micro_batch": batch // int(row[-1]),
                }
                yield Case(NAME, row, str(batch), training(setup, "jobs/mnist-mlp.toml", sets, ranks=7), BETWEEN, ranks=7,
                           gigabytes=1.5, **about)
                continue
            words, package = ("--batch", batch, "--threads", 1), "torch"
            if row == "crypten":
                words, package = (*words, "--batches", 2 if setup.quick else TIMED[batch]), "crypten"
            else:
                words = (*words, "--epochs", 2, "--warmup", 1, *(("--micro-batches", 4) if row == "pipelined" else ()))
            script = {"gloo": "layers", "pipelined": "pipelined", "crypten": "private"}[row]
            yield Case(NAME, row, str(batch), peer(setup, script, *words), told, peer=package, gigabytes=3, **about)


def tables(results):
    rows = []
    for row, (label, protects) in ROWS.items():
        cells, scores = [label, protects], {}
        for batch in BATCHES:
            name, ours = f"{NAME} {row} {batch}", f"{NAME} {OURS} {batch}"
            slower = results.ratio(name, ours)
            seconds, right = median(results.spread(name)), share(results.spread(name, "accuracy"))
            timed = {found["batches"] for found in results.of(name) if "batches" in found}
            if timed:
                seconds, right = f"{seconds}, from {max(timed)} batches", f"{right} after these"
            cells += [seconds, "" if row == OURS else ratio(slower), right]
            if slower and row.startswith("mixed"):
                scores |= {f"batch {batch}, against {OURS}": 1 / slower.median} if row != OURS else {}
            elif slower:
                scores |= {f"batch {batch}, its time by mixnn's": slower.median}
        if any(results.of(f"{NAME} {row} {batch}") for batch in BATCHES):
            rows.append(Row(row, cells, scores))
    titles = ["784-256-128-10", "protects"]
    for batch in BATCHES:
        titles += [f"batch {batch}, s", "by the first row, turn by turn", "gets right"]
    yield Table(NAME, titles, rows)
