"""A case: one command that is run once a round, and what its words come to. Nothing here knows a table."""

import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from processes import loops, output

# Stands in a command for a folder that is there for one run.
OUT = "{out}"
# No run takes longer, in seconds.
LIMIT = 580


@dataclass(frozen=True)
class Setup:
    """With what cases are made."""

    mixnn: Path
    mpirun: str = "mpirun"
    # A Python with the peers, if there is one.
    python: str | None = None
    # The folder with MNIST's four files.
    mnist: Path = Path("data/mnist")
    # The file with the beginning of a text, by its length in characters.
    text: Callable[[int], Path] = field(default=lambda length: Path("jobs/moby-dick.txt"))
    # Threads of what runs in one process.
    threads: int = 2
    # Everything is small, and says nothing about speed.
    quick: bool = False


@dataclass(frozen=True)
class Case:
    """One thing that is measured. A table finds its rows by its name."""

    table: str
    row: str
    column: str
    words: tuple
    # Makes a row of what the command prints.
    read: Callable[[str], dict]
    # About how long it takes on two cores, in seconds, with the start.
    seconds: float
    ranks: int = 1
    # About how much memory it takes.
    gigabytes: float = 0.5
    # The package that must be there, of those that peers need.
    peer: str = ""
    # Whether it needs MNIST.
    mnist: bool = False
    # The vector instructions without which it says nothing.
    instructions: str = ""
    env: dict = field(default_factory=dict)
    # How many processes keep cores busy meanwhile.
    busy: int = 0
    # It is run in the first round alone.
    once: bool = False
    # Cases of one such name must end with the same weights.
    same: str = ""
    # Measures it, where that is more than to run its command to the end.
    by: Callable | None = None

    @property
    def name(self):
        return f"{self.table} {self.row} {self.column}"

    def measured(self, out):
        """Runs the case once, with the folder `out` to write to. Returns its row. `Failed`."""
        words = [str(word).replace(OUT, str(out)) for word in self.words]
        with loops(self.busy):
            return self.by(words) if self.by else self.read(output(words, LIMIT, self.env))


def training(setup, job, sets, ranks=1):
    """The command that trains `job`: in one process, or on so many ranks."""
    launcher = () if ranks == 1 else (setup.mpirun, "-n", ranks)
    settings = {"checkpoint.every": "never"} | sets
    return (*launcher, setup.mixnn, "run", job, "--json", "--quiet", "--out", f"{OUT}/run", *(("--single",) if ranks == 1 else ()),
            *(word for key, value in settings.items() for word in ("--set", f"{key}={value}")))


def trained(epochs):
    """Reads what training has come to. `epochs` chooses those that count, of a list of their seconds."""

    def read(said):
        result = json.loads(said)
        seconds = statistics.fmean(epochs([epoch["seconds"] for epoch in result["epochs"]]))
        return {"seconds": round(seconds, 5), "accuracy": result["test_accuracy"], "loss": result["test_loss"],
                "weights": result["weights_sha256"]}

    return read


# The last epoch, which takes the test in.
LAST = trained(lambda seconds: seconds[-1:])
# All but the first, which warms up, and the last, which takes the test in.
BETWEEN = trained(lambda seconds: seconds[1:-1])


def peer(setup, script, *words):
    """The command of a script of bench/peers."""
    return (setup.python or "python3", f"bench/peers/{script}.py", "--mnist", setup.mnist, *words)


def told(said):
    """Reads the line that a script of bench/peers prints last."""
    line = json.loads(said.splitlines()[-1])
    row = {"seconds": line["seconds"], "accuracy": line["test_accuracy"], "loss": line["test_loss"]}
    return row | ({"batches": line["batches"]} if "batches" in line else {})


def bench(setup, what, *words, ranks=1):
    """The command `mixnn bench`, on so many ranks."""
    launcher = () if ranks == 1 else (setup.mpirun, "-n", ranks)
    return (*launcher, setup.mixnn, "bench", what, *words, "--json", "--quiet")


def rows(said):
    """Reads what `mixnn bench --json` prints: settings, and behind them rows. Its first line also names the host, which is left out."""
    head, *found = map(json.loads, said.splitlines())
    return {"settings": head["settings"], "rows": found}

