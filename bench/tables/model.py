"""What the model of jobs predicts, beside what was measured: epochs here, slots over a network that is set, and ranks that are not here."""

import json
import sys

from kept import Spread
from processes import output

from .case import LIMIT, OUT, Case, bench
from .table import Row, Table, number

MODEL, NETWORK, PREDICT = "model", "network", "predict"
RANKS = 7
# Where ranks run: what the table says of it, and how many ranks measure.
WAYS = {"mpirun": (f"`mpirun -n {RANKS}`", RANKS), "local": (f"`--local {RANKS}`", 1)}
# The job, and what is set: samples of a batch, of a micro-batch.
BATCHES = ((64, 16), (512, 64))
EPOCHS = 4
# What is kept of a prediction for ranks that are not here.
FAR = ("each", "ranks", "message_bytes", "cell_bytes", "bare_ms", "mixed_ms", "to_bare")


def cases(setup):
    slots, rounds = (20, 1) if setup.quick else (200, 3)
    for way, (_, ranks) in WAYS.items():
        local = ("--local", 12) if way == "local" else ()
        words = bench(setup, "model", "--out", f"{OUT}/model.json", "--slots", slots, "--rounds", rounds, *local, ranks=ranks)
        yield Case(MODEL, way, "held", words, None, 50, ranks=RANKS, mnist=True, gigabytes=1.5,
                   by=lambda words, way=way: _held(setup, words, way))
    quick = ("--quick",) if setup.quick else ()
    yield Case(NETWORK, "two hosts", "netns", (sys.executable, "bench/netns", "--mixnn", setup.mixnn, *quick),
               lambda said: json.loads(said.splitlines()[-1]), 60, ranks=RANKS)


def _held(setup, words, way):
    """Measures a model, then jobs that it is held against. Returns a row: what was predicted and measured, and what is predicted elsewhere."""
    model = words[words.index("--out") + 1]
    fits = [json.loads(line) for line in output(words, LIMIT).splitlines()[1:]]
    runs = [{key: row[key] for key in ("name", "way", "ranks", "predicted_us", "measured_us")} for row in fits if row["kind"] == "run"]
    jobs = []
    for batch, micro_batch in BATCHES:
        sets = {"data.path": setup.mnist, "train.batch": batch, "train.micro_batch": micro_batch, "train.epochs": EPOCHS,
                "checkpoint.every": "never"}
        given = ("jobs/mnist-mlp.toml", *(word for key, value in sets.items() for word in ("--set", f"{key}={value}")))
        predicted = json.loads(output((setup.mixnn, "check", *given, "--model", model, "--json"), LIMIT))["predicted"]
        for how in (way, "single"):
            launcher = (setup.mpirun, "-n", RANKS) if how == "mpirun" else ()
            where = {"single": ("--single",), "local": ("--local", RANKS), "mpirun": ()}[how]
            folder = f"{model}-{how}-{batch}"
            run = json.loads(output((*launcher, setup.mixnn, "run", *given, *where, "--json", "--quiet", "--out", folder), LIMIT))
            # Not the first epoch, which warms up, nor the last, which takes the test in.
            took = Spread.of(epoch["seconds"] for epoch in run["epochs"][1:-1]).median
            key = "single_seconds_per_epoch" if how == "single" else "seconds_per_epoch"
            jobs.append({"job": f"mnist-mlp, batch {batch}, micro-batch {micro_batch}", "way": how, "predicted": predicted[key],
                         "measured": took})
    said = output((setup.mixnn, "bench", "model", "--predict", "--model", model, "--json"), LIMIT).splitlines()
    far = [{key: row[key] for key in FAR} for row in map(json.loads, said[1:])]
    return {"rows": far, "assumed": json.loads(said[0])["settings"], "runs": runs, "jobs": jobs}


def _off(predicted, measured):
    """By how many percent predictions are off, the median of the rounds."""
    middle = Spread.of(100 * (p / m - 1) for p, m in zip(predicted, measured))
    return f"{middle.median:+.0f} % ({middle.least:+.0f} to {middle.most:+.0f})"


def _line(key, label, pairs):
    predicted, measured = zip(*pairs)
    return Row(key, [*label, number(Spread.of(predicted).median), number(Spread.of(measured).median), _off(predicted, measured)])


def tables(results):
    rows, elsewhere = [], []
    for way, (where, _) in WAYS.items():
        rounds = results.of(f"{MODEL} {way} held")
        for at in range(len(rounds[0]["jobs"]) if rounds else 0):
            found = [row["jobs"][at] for row in rounds]
            label = where if found[0]["way"] == way else "`--single`"
            rows.append(_line(f"{way} {found[0]['way']} {found[0]['job']}", [found[0]["job"], f"{label}, model of {where}"],
                              [(job["predicted"], job["measured"]) for job in found]))
        for at in range(len(rounds[0]["runs"]) if rounds else 0):
            found = [row["runs"][at] for row in rounds]
            how = "`--single`" if found[0]["way"] == "single" else f"`{found[0]['way']}`, {found[0]['ranks']} ranks"
            rows.append(_line(f"{way} {found[0]['way']} {found[0]['name']}", [found[0]["name"], f"{how}, model of {where}"],
                              [(run["predicted_us"] / 1e6, run["measured_us"] / 1e6) for run in found]))
        if way == "mpirun" and rounds:
            elsewhere = list(_elsewhere(rounds))
    yield Table(MODEL, ["an epoch", "how", "predicted, s", "measured, s", "off"], rows)
    network, rounds = [], results.of(f"{NETWORK} two hosts netns")
    for at in range(len(rounds[0]["rows"]) if rounds else 0):
        found = [row["rows"][at] for row in rounds]
        one = found[0]
        rate = f"{one['megabits'] / 1000:g} Gb/s" if one["megabits"] else "not limited"
        back = Spread.of(row["round_trip_us"] for row in found).median
        key = f"{one['held_us']} {one['megabits']} {one['cell_bytes']}"
        network.append(_line(key, [f"{one['held_us']} us", f"{back:.0f} us", rate, str(one["cell_bytes"])],
                             [(row["predicted_us"], row["measured_us"]) for row in found]))
    yield Table(NETWORK, ["interfaces hold back", "a message there and back", "bandwidth", "a cell, bytes", "predicted, us a slot",
                          "measured, us a slot", "off"], network)
    yield Table(PREDICT, ["**prediction**: ranks", "each", "a message, bytes", "a cell, bytes", "`bare`, ms a slot", "`mixed`, ms a slot",
                          "`mixed` by `bare`", "measured"], elsewhere)


def _elsewhere(rounds):
    """Rows of what is predicted where nothing was measured."""
    for at, one in enumerate(rounds[0]["rows"]):
        found = [row["rows"][at] for row in rounds]
        middle = lambda key: Spread.of(row[key] for row in found).median
        yield Row(f"{one['each']} {one['ranks']}",
                  [str(one["ranks"]), f"a {one['each']}", str(one["message_bytes"]), str(one["cell_bytes"]), number(middle("bare_ms")),
                   number(middle("mixed_ms")), f"{middle('to_bare'):.2f}", "no"])
