"""A table of Markdown, and how well each of its rows does. Nothing here knows what was measured."""

from dataclasses import dataclass, field


@dataclass
class Row:
    """A row of a table."""

    # What it is of, in this table.
    key: str
    cells: list
    # How well it does, by name: ratios to something that was measured in the same run. More is better.
    scores: dict = field(default_factory=dict)


@dataclass
class Table:
    """A table. Two tables of one name have the same columns."""

    name: str
    titles: list
    rows: list
    # What is to be said of it in a sentence or two, if anything.
    said: str = ""

    def markdown(self, red=None):
        """The lines of the table. `red` has the keys of rows that have fallen, and how far."""
        lines = [f"| {' | '.join(self.titles)} |", "|---" * len(self.titles) + "|"]
        for row in self.rows:
            first, *others = row.cells
            mark = f" **(red: {red[row.key]:.2f} of before)**" if row.key in (red or {}) else ""
            lines.append(f"| {' | '.join([first + mark, *others])} |")
        return lines


def number(value):
    """A number with about three digits."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 20 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def median(spread):
    return number(spread.median) if spread else ""


def spread(of):
    """A median, with the least and the largest."""
    return f"{number(of.median)} ({number(of.least)} to {number(of.most)})" if of else ""


def ratio(of):
    """A ratio, with the least and the largest of the turns."""
    form = lambda value: f"{value:.2f}" if value < 20 else f"{value:.0f}"
    return f"{form(of.median)} ({form(of.least)} to {form(of.most)})" if of else ""


def percent(value):
    return "" if value is None else f"{value:.0f} %"


def share(of):
    """A share of the test samples."""
    return f"{100 * of.median:.1f} %" if of else ""
