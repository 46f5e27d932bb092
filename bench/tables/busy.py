"""A run beside processes that keep cores busy, against what its fair share of the cores would give.

The fair share. A scheduler gives each process that wants a core as much as any other. Alone, a run uses u cores, and k of its threads have
a core or wait for one, on average (demand.py). Beside B processes, on c cores, it may have c k / (k + B) cores where that is less than
it uses. So T seconds alone become T u (k + B) / (c k), or stay T where that is less.
"""

from demand import demand

from .case import Case, trained, training
from .table import Row, Table, number

NAME = "busy"
BUSY = (0, 2, 4, 8)
RANKS = 7
# How seven ranks run. `None`: as threads of one process.
WAYS = {
    "mpirun": ("`mpirun -n 7`", {}),
    "local": ("`--local 7`", None),
    "messages": ("`mpirun -n 7`, every block a message", {"transport.windows": "false"}),
}
DEMAND = "demand"
# Reads the seconds of all epochs.
ALL = trained(lambda seconds: [sum(seconds)])


def cases(setup):
    for way, (_, sets) in WAYS.items():
        short = _words(setup, sets, 2 if setup.quick else 20)
        # More epochs than it will come to: it is ended as soon as it has been looked at.
        long = _words(setup, sets, 1_000_000)
        yield Case(NAME, way, DEMAND, long, None, 5, ranks=RANKS, once=True, by=lambda words: demand(words, setup.mixnn))
        for busy in BUSY:
            yield Case(NAME, way, str(busy), short, ALL, 2.5 + (1 if busy else 0), ranks=RANKS, busy=busy, same="digits")


def _words(setup, sets, epochs):
    words = training(setup, "jobs/digits.toml", {"train.epochs": epochs} | (sets or {}), ranks=RANKS)
    if sets is not None:
        return words
    # Behind the launcher: `mpirun -n 7`.
    return (*words[3:], "--local", RANKS)


def fair(alone, wants, cores, busy):
    """Seconds that `alone` seconds become beside `busy` processes."""
    used, wanting = wants["cores_used"], wants["threads_that_want_one"]
    return max(alone, alone * used * (wanting + busy) / (cores * wanting))


def tables(results):
    rows, cores = [], results.head["machine"]["cores"]
    for way, (label, _) in WAYS.items():
        wants, alone = results.of(f"{NAME} {way} {DEMAND}"), results.spread(f"{NAME} {way} 0")
        if not wants or not alone:
            continue
        cells, scores = [label, number(wants[0]["cores_used"]), number(wants[0]["threads_that_want_one"])], {}
        for busy in BUSY:
            took = results.spread(f"{NAME} {way} {busy}")
            if not took:
                cells.append("")
                continue
            times = took.median / fair(alone.median, wants[0], cores, busy)
            cells.append(number(took.median) + (f" ({times:.2f})" if busy else ""))
            scores |= {f"beside {busy}, the fair time by its own": 1 / times} if busy else {}
        rows.append(Row(way, cells, scores))
    titles = ["`jobs/digits.toml` on 7 ranks: seconds of all epochs", "cores it uses (u)", "threads that want one (k)",
              *(f"beside {busy} (times the fair share)" if busy else "alone" for busy in BUSY)]
    yield Table(NAME, titles, rows)
