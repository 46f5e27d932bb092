"""What the mix costs beside one process, each with the micro-batches that suit it, and with the loss at the last stage."""

from .case import LAST, Case, training
from .table import Row, Table, median, ratio

NAME = "price"
# The label, the job, how many stages it has, its batch, the micro-batches of one process and of many, how many epochs, and how many seconds
# an epoch takes in each way. The last epoch counts; the first warms up, where there are two.
JOBS = {
    "mlp-64": ("784-256-128-10, batch 64", "jobs/mnist-mlp.toml", 3, 64, 64, 16, 2, (0.5, 0.9, 2.0, 1.6)),
    "mlp-512": ("784-256-128-10, batch 512", "jobs/mnist-mlp.toml", 3, 512, 128, 64, 3, (0.5, 0.7, 1.3, 1.2)),
    "lenet-512": ("LeNet-5, batch 512", "jobs/lenet-mnist.toml", 4, 512, 128, 16, 1, (3.2, 5.3, 7.8, 7.4)),
    "wide-2048": ("784-2048-2048-2048-10, batch 2048", "bench/mlp-2048.toml", 4, 2048, 512, 64, 1, (19, 25, 29, 28)),
}
# The label, settings, and how many relays there are. `None`: one process.
WAYS = {
    "single": ("one process, s", None),
    "sealed": ("`sealed`, s", ({"mix.profile": "sealed"}, 0)),
    "mixed": ("`mixed`, s", ({}, 3)),
    "last": ('`mixed`, `loss_at = "last"`, s', ({"train.loss_at": "last"}, 3)),
}


def cases(setup):
    for key, (_, job, stages, batch, alone, among, epochs, seconds) in JOBS.items():
        for way, (_, settings) in WAYS.items():
            more, relays = settings or ({}, -stages)
            sets = {"data.path": setup.mnist, "data.validation": 0, "train.epochs": epochs, "train.batch": batch,
                    "train.micro_batch": among if settings else alone, "train.optimizer.momentum": 0, "mix.relays": max(relays, 0)} | more
            ranks = 1 + stages + relays
            about = 1 + seconds[list(WAYS).index(way)] * epochs
            # The bits depend on the micro-batch.
            same = f"{NAME} {key}" if settings else ""
            yield Case(NAME, key, way, training(setup, job, sets, ranks=ranks), LAST, about, ranks=ranks, gigabytes=3, mnist=True, same=same)


def tables(results):
    rows = []
    for key, (label, *_) in JOBS.items():
        names = {way: f"{NAME} {key} {way}" for way in WAYS}
        if not any(map(results.of, names.values())):
            continue
        cells, scores = [label, median(results.spread(names["single"]))], {}
        for way in list(WAYS)[1:]:
            cost = results.ratio(names[way], names["single"])
            cells += [median(results.spread(names[way])), ratio(cost)]
            scores |= {f"{way}: one process by it": 1 / cost.median} if cost else {}
        rows.append(Row(key, cells, scores))
    titles = ["seconds of the last epoch", WAYS["single"][0]]
    for way in list(WAYS)[1:]:
        titles += [WAYS[way][0], "to one process, turn by turn"]
    yield Table(NAME, titles, rows)
