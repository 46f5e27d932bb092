"""A slot of the mix: beside a plain loop that exchanges the same cells, and with a keystream over all links or none."""

from kept import Spread

from .case import Case, bench, rows
from .table import Row, Table, percent, ratio

SLOT, LINK = "slot", "link"
# Ranks, and lengths of cells in bytes.
SHAPES = ((6, 16384), (7, 5888))
CARRIERS = {"shared": "shared memory", "messages": "messages"}


def cases(setup):
    slots, rounds = (20, 1) if setup.quick else (300, 5)
    for ranks, cell in SHAPES:
        words = bench(setup, "slot", "--cells", cell, "--link", "off,all", "--slots", slots, "--rounds", rounds, ranks=ranks)
        yield Case(SLOT, f"{ranks}x{cell}", "bench", words, rows, 5, ranks=ranks)


def _rounds(results, ranks, cell, blocks):
    """What each round has of slots of one shape: by part and link, the row."""
    for found in results.of(f"{SLOT} {ranks}x{cell} bench"):
        chosen = {(row["part"], row["link"]): row for row in found["rows"]
                  if row["blocks"] == blocks and row["part"] in ("slot", "alone")}
        if chosen:
            # A plain loop knows no links.
            alone = next((row for (part, _), row in chosen.items() if part == "alone"), None)
            yield chosen.get(("slot", "off")), chosen.get(("slot", "all")), alone


def _micros(found):
    """The median of the rounds, with the least and the largest mean."""
    middle = Spread.of(row["avg_us"] for row in found)
    return f"{middle.median:.0f} us ({min(row['low_us'] for row in found):.0f} to {max(row['high_us'] for row in found):.0f})"


def tables(results):
    slots, links = [], []
    for ranks, cell in SHAPES:
        for blocks, carrier in CARRIERS.items():
            found = list(_rounds(results, ranks, cell, blocks))
            if not found or not all(off and every and alone for off, every, alone in found):
                continue
            off, every, alone = zip(*found)
            key, label = f"{ranks}x{cell}, {blocks}", f"{ranks} ranks, cells of {cell} bytes, {carrier}"
            to_alone = Spread(Spread.of(row["to_alone"] for row in off).median, min(row["to_alone_low"] for row in off),
                              max(row["to_alone_high"] for row in off), len(off))
            slots.append(Row(key, [label, _micros(off), _micros(alone), ratio(to_alone), percent(_best(off))],
                             {"the plain loop by it": 1 / to_alone.median}))
            cost = Spread.of(with_it["avg_us"] / without["avg_us"] for without, with_it in zip(off, every))
            links.append(Row(key, [label, _micros(off), _micros(every), ratio(cost)], {"without by with it": 1 / cost.median}))
    titles = ["a slot, 3 hops, one cell a lane", "of mixnn", "to seal, exchange and open the same cells, and nothing else", "ratio",
              "of what cores can do at best"]
    yield Table(SLOT, titles, slots)
    yield Table(LINK, ["a slot, 3 hops, one cell a lane", '`mix.link = "off"`', '`"all"`', "ratio, turn by turn"], links)


def _best(found):
    """Percent of what the machine can do at best, the median of the rounds."""
    return Spread.of(row["of_best_percent"] for row in found).median
