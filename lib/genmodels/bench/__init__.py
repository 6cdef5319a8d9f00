"""Speed against other libraries, as ratios measured in one run: ``python -m genmodels.bench [NAME ...]``.

Each module here has ``run() -> list[Row]``; nothing else registers it. Times of two sides are taken in turns, so that a
machine that slows down slows both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Row", "compare_times", "table"]


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement beside its rival's; ``target``: the ratio ours / rival's that was aimed at, if any."""

    what: str
    ours: float
    rivals: float
    unit: str
    rival: str
    target: float | None = None
    more_is_better: bool = True
    note: str = ""

    @property
    def ratio(self) -> float:
        """Ours divided by the rival's."""
        return self.ours / self.rivals

    @property
    def reached(self) -> bool | None:
        """Whether the ratio is on the right side of its target; None without one."""
        if self.target is None:
            return None
        return self.ratio >= self.target if self.more_is_better else self.ratio <= self.target


def compare_times(sides: Sequence[Callable[[], object]], *, rounds: int = 7, warm: int = 2) -> list[float]:
    """Median wall seconds of a call of each side, called in turns after ``warm`` calls that do not count."""
    for _ in range(warm):
        for side in sides:
            side()
    seconds: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, taken in zip(sides, seconds, strict=True):
            start = time.perf_counter()
            side()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text."""
    cells = [("what", "ours", "rival's", "unit", "ratio", "target", "", "rival")]
    for row in rows:
        target = "" if row.target is None else f"{'>=' if row.more_is_better else '<='} {row.target:g}"
        verdict = {None: "", True: "reached", False: "NOT reached"}[row.reached]
        cells.append(
            (row.what, f"{row.ours:.4g}", f"{row.rivals:.4g}", row.unit, f"{row.ratio:.2f}", target, verdict, row.rival)
        )
    widths = [max(len(line[k]) for line in cells) for k in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines + [f"{row.what}: {row.note}" for row in rows if row.note])
