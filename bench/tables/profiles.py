"""What protection costs: a job in one process and in each profile, with hidden times and without, alone and beside busy processes."""

from .case import LAST, Case, training
from .table import Row, Table, median, ratio

NAME, BESIDE = "profiles", "profiles-busy"
# Characters of the text that the character model is trained on.
TEXT = 100_000
# How many processes keep cores busy beside the runs of the second table.
BUSY = 2
# The label, the job, how many stages it has, settings, how many epochs, and how long an epoch takes in each way. The first epoch warms
# up, where there are two.
JOBS = {
    "mlp-64": ("mnist-mlp, batch 64", "jobs/mnist-mlp.toml", 3, {}, 2, (0.7, 0.7, 0.9, 1.9, 4.2)),
    "mlp-512": ("mnist-mlp, batch 512", "jobs/mnist-mlp.toml", 3, {"train.batch": 512, "train.micro_batch": 64}, 3,
                (0.5, 0.6, 0.7, 1.3, 2.0)),
    "lenet-64": ("lenet-mnist, batch 64", "jobs/lenet-mnist.toml", 4, {}, 1, (4.1, 4.4, 5.3, 10.9, 21.8)),
    "gpt": ("gpt-text, 100,000 characters", "jobs/gpt-text.toml", 4, {}, 1, (3.7, 4.6, 4.7, 6.1, 9.3)),
}
# The jobs of the second table: in time they are the cheapest.
SHORT = ("mlp-64", "mlp-512")
# The label, settings, and how many ranks there are beside the owner and the stages. `None`: one process.
WAYS = {
    "single": ("one process", None),
    "bare": ("`bare`", ({"mix.profile": "bare"}, 0)),
    "sealed": ("`sealed`", ({"mix.profile": "sealed"}, 0)),
    "lockstep": ("`mixed`, lockstep", ({"mix.pace": "lockstep"}, 3)),
    "hidden": ("`mixed`, hidden times", ({"mix.pace": "auto"}, 3)),
}
MIXED = ("lockstep", "hidden")


def cases(setup):
    for key in JOBS:
        yield from (_case(setup, NAME, key, way, 0) for way in WAYS)
    for key in SHORT:
        yield from (_case(setup, BESIDE, key, way, BUSY) for way in MIXED)


def _case(setup, table, key, way, busy):
    _, job, stages, settings, epochs, seconds = JOBS[key]
    sets = {"data.path": setup.text(TEXT) if "text" in job else setup.mnist, "train.epochs": epochs} | settings
    more, relays = WAYS[way][1] or ({}, -stages)
    about = (1 + seconds[list(WAYS).index(way)] * epochs) * (1.8 if busy else 1)
    return Case(table, key, way, training(setup, job, sets | more, ranks=1 + stages + relays), LAST, about, ranks=1 + stages + relays,
                gigabytes=2, mnist="text" not in job, busy=busy, same=key)


def tables(results):
    rows = []
    for key, (label, *_) in JOBS.items():
        names = {way: f"{NAME} {key} {way}" for way in WAYS}
        if any(map(results.of, names.values())):
            costs = {way: results.ratio(names["single"], names[way]) for way in WAYS if way != "single"}
            scores = {f"{way}: one process by it": cost.median for way, cost in costs.items() if cost}
            rows.append(Row(key, [label, *(median(results.spread(name)) for name in names.values()),
                                  ratio(results.ratio(names["hidden"], names["lockstep"]))], scores))
    titles = ["job: seconds of the last epoch", *(label for label, _ in WAYS.values()), "hidden times / lockstep, turn by turn"]
    yield Table(NAME, titles, rows)
    rows = []
    for key in SHORT:
        lockstep, hidden = (f"{BESIDE} {key} {way}" for way in MIXED)
        costs = results.ratio(hidden, lockstep)
        if results.of(lockstep) or results.of(hidden):
            rows.append(Row(key, [JOBS[key][0], median(results.spread(lockstep)), median(results.spread(hidden)), ratio(costs)],
                            {"lockstep by hidden times": 1 / costs.median} if costs else {}))
    yield Table(BESIDE, [f"job, beside {BUSY} busy processes", *(WAYS[way][0] for way in MIXED), "hidden times / lockstep, turn by turn"],
                rows)
