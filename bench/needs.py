"""What a measurement needs, brought where that can be done, and why a case cannot be run without the rest."""

import subprocess
import sys
from dataclasses import dataclass, field

import inputs
import install
import machine
from processes import ROOT

MIXNN, MNIST = ROOT / "target/release/mixnn", ROOT / "data/mnist"


class Missing(Exception):
    """Nothing can be measured."""


def program(named, build, say):
    """The path of mixnn. It is built where nobody names one. `Missing`."""
    if named:
        if not named.exists():
            raise Missing(f"{named} is not there")
        return named.resolve()
    for words in (["make", "build"], ["cargo", "build", "--release", "--locked", "--example", "cores"]) if build else ():
        say(" ".join(words))
        try:
            # What compilers print stays apart from tables.
            code = subprocess.run(words, cwd=ROOT, stdout=sys.stderr).returncode
        except OSError as error:
            raise Missing(f"{words[0]}: {error.strerror}; name a program with --mixnn") from None
        if code:
            raise Missing(f"{' '.join(words)} failed; name a program with --mixnn")
    return MIXNN


def peers(named, make, say):
    """A Python with the peers, and why those that it has not are left out, by package. `make`: install them where nobody names a Python."""
    if make and not named:
        python, left_out = install.installed(say)
        return python and str(python), left_out
    made = install.FOLDER / "bin/python"
    python = named or (str(made) if made.exists() else sys.executable)
    found = install.there(python)
    return python, {package: "it is not installed" for package in install.WORDS if package not in found}


def mnist(named, mixnn, fetch, say):
    """The folder of MNIST's files, and what is wrong with it, or nothing."""
    folder = named.resolve() if named else MNIST
    if inputs.has_mnist(folder):
        return folder, None
    if named or not fetch:
        return folder, "its four files are not there, unpacked"
    say("mixnn data fetch mnist")
    return folder, inputs.fetch_mnist(mixnn, folder)


def most_ranks(mpirun, wanted):
    """How many ranks `mpirun` starts, of the numbers `wanted`."""
    starts = lambda ranks: machine.first_line([mpirun, "-n", str(ranks), "true"], 60) is not None
    return next((ranks for ranks in sorted(set(wanted), reverse=True) if ranks > 1 and starts(ranks)), 1)


@dataclass(frozen=True)
class There:
    """What this machine has."""

    ranks: int
    # In gigabytes; `None` where that is not known.
    memory: float | None
    instructions: str
    # Why there is no MNIST, if there is none.
    no_mnist: str | None = None
    # Why packages are left out, by their names.
    left_out: dict = field(default_factory=dict)

    def lacks(self, case):
        """Why `case` cannot be run, or nothing."""
        if case.peer in self.left_out:
            return f"no {case.peer}: {self.left_out[case.peer]}"
        if case.mnist and self.no_mnist:
            return f"no MNIST: {self.no_mnist}"
        if case.ranks > self.ranks:
            return f"it takes {case.ranks} ranks, and mpirun starts {self.ranks if self.ranks > 1 else 'none'}"
        if self.memory is not None and case.gigabytes > self.memory:
            return f"it takes about {case.gigabytes:.1f} GB of memory, and there are {self.memory:.1f}"
        if case.instructions and case.instructions != self.instructions:
            return f"it asks what there is without {case.instructions}, which this processor has not"
        return None

    def sorted(self, cases):
        """The cases that can be run, and a note for each reason why others cannot, with the names of these."""
        can, why = [], {}
        for case in cases:
            lack = self.lacks(case)
            if lack:
                why.setdefault(lack, []).append(case.name)
            else:
                can.append(case)
        return can, [f"left out: {', '.join(names)}: {lack}" for lack, names in why.items()]
