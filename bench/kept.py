"""The rows of a measurement: a folder with a file of JSON lines, to which each row is appended as it comes.

The first line says on what was measured (`machine`) and how (`settings`). A row has the case's name, the round and what was measured, or,
where the case failed, `failed`. A line `note` says what was left out, and why. Nothing that was written is lost when a measurement is
interrupted: who opens the folder again goes on behind it.
"""

import json
import statistics
from dataclasses import dataclass

FILE = "rows.jsonl"


@dataclass(frozen=True)
class Spread:
    """The median of some values, the least and the largest of them, and how many there are."""

    median: float
    least: float
    most: float
    count: int

    @classmethod
    def of(cls, values):
        values = list(values)
        return cls(statistics.median(values), min(values), max(values), len(values)) if values else None


class Results:
    """All that a folder has."""

    def __init__(self, folder):
        self.folder, self.head, self.notes = folder, {}, []
        # By the name of the case, by the round.
        self.measured, self.failed = {}, {}
        path = folder / FILE
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                self._take(json.loads(line))
            except json.JSONDecodeError:
                # The writer was killed within this line.
                continue

    def _take(self, line):
        if "machine" in line:
            self.head = self.head or line
        elif "note" in line:
            self.notes.append(line["note"])
        else:
            of = self.failed if "failed" in line else self.measured
            of.setdefault(line["case"], {})[line["round"]] = line

    def append(self, line):
        """Keeps `line`, on the disk first."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / FILE
        torn = path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n")
        with path.open("a") as file:
            file.write(("\n" if torn else "") + json.dumps(line) + "\n")
        self._take(line)

    def note(self, text):
        """Keeps a remark, once."""
        if text not in self.notes:
            self.append({"note": text})

    def of(self, name):
        """The rows of a case, in the order of the rounds."""
        rounds = self.measured.get(name, {})
        return [rounds[at] for at in sorted(rounds)]

    def spread(self, name, key="seconds"):
        """The spread of a case's values, or None where it has none."""
        return Spread.of(row[key] for row in self.of(name) if row.get(key) is not None)

    def ratio(self, above, below):
        """The spread of one case's seconds by another's, turn by turn, or None where no round has both."""
        ours, theirs = self.measured.get(above, {}), self.measured.get(below, {})
        return Spread.of(ours[at]["seconds"] / theirs[at]["seconds"] for at in sorted(ours.keys() & theirs.keys()))


def same(one, other):
    """Whether two first lines are of the same measurement, so that one can go on with the other's rows."""
    return all(one[key] == other[key] for key in ("machine", "settings", "tables", "peers"))


def free(folder, head, unfinished):
    """The first of the folders `folder`, `folder`-2, and so on that holds nothing, or this measurement, interrupted."""
    at = 1
    while True:
        results = Results(folder if at == 1 else folder.with_name(f"{folder.name}-{at}"))
        if not results.head or (same(results.head, head) and unfinished(results)):
            return results
        at += 1
