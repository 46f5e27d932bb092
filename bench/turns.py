"""Measures cases in turns: each once a round, every other round in the opposite order, so that no case always follows the same one."""

import datetime
import tempfile
import time
from pathlib import Path

from processes import Failed


class Wrong(Exception):
    """Runs that must end with the same weights do not."""


def order(cases, number):
    """The cases of a round: forwards in the first, backwards in the second, and so on."""
    chosen = [case for case in cases if number == 1 or not case.once]
    return chosen if number % 2 else chosen[::-1]


def left(cases, rounds, results):
    """What is still to be measured: pairs of a case and the number of its round."""
    return [(case, number) for number in range(1, rounds + 1) for case in order(cases, number)
            if number not in results.measured.get(case.name, {})]


def about(due, results):
    """About how many seconds it takes: as long as a case took before, or else as it takes on two cores."""
    took = {name: row["took"] for name, rounds in results.measured.items() for row in rounds.values()}
    return sum(took.get(case.name, case.seconds) for case, _ in due)


def minutes(seconds):
    return f"about {max(1, round(seconds / 60))} minutes" if seconds >= 90 else f"about {max(1, round(seconds))} seconds"


def measure(cases, rounds, results, say, deadline=None):
    """Measures all that is left of `rounds` rounds, and keeps each row as it comes. Returns whether the time was enough.

    A case that fails is told of, and not tried in later rounds. `Wrong` where weights differ that must not.
    """
    broken, number = set(), 0
    due = left(cases, rounds, results)
    for at, (case, turn) in enumerate(due):
        if case.name in broken:
            continue
        if turn != number:
            number = turn
            say(f"round {turn} of {rounds}: {minutes(about(due[at:], results))} left")
        if deadline and time.monotonic() > deadline:
            return False
        began = time.monotonic()
        try:
            with tempfile.TemporaryDirectory() as out:
                row = case.measured(Path(out))
        except Failed as error:
            broken.add(case.name)
            results.append({"case": case.name, "round": turn, "failed": str(error)})
            say(f"  {case.name}: {error}")
            continue
        row["took"] = round(time.monotonic() - began, 2)
        results.append({"case": case.name, "round": turn, "at": datetime.datetime.now().strftime("%H:%M:%S"), **row})
        say(f"  {case.name}: {summary(row)}")
        same_weights(case, cases, results)
    return True


def summary(row):
    """What a row says in short."""
    words = [f"{row['seconds']:.3f} s"] if row.get("seconds") is not None else []
    if row.get("accuracy") is not None:
        words.append(f"{100 * row['accuracy']:.1f} % right")
    if row.get("batches"):
        words.append(f"from {row['batches']} batches")
    if "rows" in row:
        words.append(f"{len(row['rows'])} rows")
    return ", ".join(words) or ", ".join(f"{key} {value}" for key, value in row.items() if key != "took")


def same_weights(case, cases, results):
    """`Wrong` where a run ended with other weights than one that computes the same."""
    if not case.same:
        return
    digests = {}
    for other in cases:
        if other.same == case.same:
            for row in results.of(other.name):
                if "weights" in row:
                    digests.setdefault(row["weights"], other.name)
    if len(digests) > 1:
        raise Wrong(f"{' and '.join(sorted(digests.values()))} end with other weights: nothing that is measured of them can be compared")
