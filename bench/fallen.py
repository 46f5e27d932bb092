"""Holds the tables of one result against those of an earlier one: a row has fallen where a score is a quarter lower or more.

Scores are ratios of things that were measured in the same run, so that a machine which was slower in one of them makes no row fall.
"""

# A score that is this part of the one before, or less, has fallen.
FALLEN = 0.75


def fallen(now, before):
    """The rows of the tables `now` that have fallen: by table and row, the names of scores with how far each has."""
    found = {}
    for name, table in now.items():
        earlier = {row.key: row.scores for row in before[name].rows} if name in before else {}
        for row in table.rows:
            parts = {score: value / earlier[row.key][score] for score, value in row.scores.items()
                     if earlier.get(row.key, {}).get(score)}
            lower = {score: part for score, part in parts.items() if part <= FALLEN}
            if lower:
                found.setdefault(name, {})[row.key] = lower
    return found


def compared(now, before):
    """How many rows stand in both."""
    keys = lambda tables: {(name, row.key) for name, table in tables.items() for row in table.rows if row.scores}
    return len(keys(now) & keys(before))


def newest(results, others):
    """The newest of `others` that is of such a machine as `results`, and measured as these were, or None."""
    alike = [other for other in others if other.head and other.folder.resolve() != results.folder.resolve()
             and _machine(other) == _machine(results) and other.head["settings"] == results.head["settings"]]
    return max(alike, key=lambda other: (other.head["date"], other.folder.name), default=None)


def _machine(results):
    machine = results.head["machine"]
    return machine["processor"], machine["instructions"], machine["cores"]
