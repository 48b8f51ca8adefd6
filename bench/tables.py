"""Numbers for people: percentiles and Markdown tables."""

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """Returns the value at the nearest rank; `values` need not be sorted but must not be empty."""
    ranked = sorted(values)
    return ranked[max(math.ceil(len(ranked) * percent / 100) - 1, 0)]


def milliseconds(seconds: float) -> str:
    """Returns a duration given in seconds as text in milliseconds."""
    return f"{seconds * 1000:.1f} ms"


def ratio(value: float) -> str:
    """Returns a ratio as text."""
    return f"{value:.2f}"


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table under a heading."""
    lines = [f"### {title}", "", _line(head), _line(["---"] * len(head)), *(_line(row) for row in rows), ""]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
