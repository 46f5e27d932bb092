"""Puts tables where documents want them: between <!-- table: NAME from DIR --> and <!-- end -->.

A table stands there with the command that measures it, the machine, and a link to its rows. No figure of it is typed by hand.
"""

import os
import re

from processes import ROOT
from tables import measured_by

DOCUMENTS = ("README.md", "docs/BENCHMARKS.md")
WORDS = {"instructions": "{}", "system": "{}", "mpi": "{}", "pytorch": "PyTorch {}", "commit": "commit {}"}
MARK = re.compile(r"<!-- table: (?P<name>[\w-]+) from (?P<folder>\S+) -->\n(?P<table>.*?)<!-- end -->", re.DOTALL)


def shown(table, results, below, red=None):
    """The table with what it was measured by and on, as lines. `below` is the folder of the document."""
    machine, settings = results.head["machine"], results.head["settings"]
    where = [machine["processor"], f"{machine['cores']} cores"]
    where += [form.format(machine[key]) for key, form in WORDS.items() if machine.get(key)]
    rounds = max((len(found) for name, found in results.measured.items() if name.startswith(f"{measured_by(table.name)} ")), default=0)
    how = "one turn" if rounds == 1 else f"medians of {rounds} turns"
    if settings["quick"]:
        how += ", all of it small: this says nothing about speed"
    folder = results.folder.resolve()
    rows = f" ([rows]({os.path.relpath(folder, below)}/rows.jsonl))" if folder.is_relative_to(ROOT) else ""
    return [f"`bench/run --only {measured_by(table.name)}` on {', '.join(where)}; {how}{rows}.", "", *table.markdown(red)]


def filled(text, below, tables, results, red=None):
    """`text` with each of `tables` that it wants, and the names of those that it has got."""
    got = []

    def fill(match):
        table = tables.get(match["name"])
        if not table:
            return match[0]
        got.append(table.name)
        lines = shown(table, results, below, (red or {}).get(table.name))
        return "\n".join([f"<!-- table: {table.name} from {results.folder.name} -->", *lines, "<!-- end -->"])

    return MARK.sub(fill, text), got


def wanted(text):
    """The names of the tables that a document wants, and where each is from."""
    return [(match["name"], match["folder"]) for match in MARK.finditer(text)]


def write(tables, results, red=None):
    """Writes the tables into all documents. Returns, by document, which."""
    written = {}
    for name in DOCUMENTS:
        path = ROOT / name
        text, got = filled(path.read_text(), path.parent, tables, results, red)
        path.write_text(text)
        written[name] = got
    return written
