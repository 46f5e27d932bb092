"""How far apart two cores are. On virtual machines that changes while a bench runs, and ranks that share memory feel it."""

from .case import Case
from .table import Row, Table, number

NAME = "cores"


def cases(setup):
    program = setup.mixnn.parent / "examples/cores"
    if program.exists():
        yield Case(NAME, "line", "ns", (program,), lambda said: {"nanoseconds": int(said)}, 1)


def tables(results):
    found, rows = results.spread(f"{NAME} line ns", "nanoseconds"), []
    if found:
        rows.append(Row("line", ["a cache line, from one core to another and back", *map(number, (found.median, found.least, found.most))]))
    yield Table(NAME, ["nanoseconds", "median of the rounds", "least", "most"], rows)
