"""Publish a number of a notebook, so that a run of the whole course can collect it again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

__all__ = ["MIME", "metric", "milliseconds"]

MIME = "application/vnd.genmodels.metric+json"


def metric(name: str, value: float, unit: str = "", *, floor: float | None = None, note: str = "") -> None:
    """Show one measured number; in a notebook it also travels as data, which ``autograde run`` reads back.

    name, unit  such as "test likelihood", "nats"
    value       one number; NaN and infinities are shown as what they are
    floor       what a perfect model would score here (real data against real data), where that is known
    note        a short remark, such as "90 s of training"
    """
    from genmodels.core import require

    require(bool(name), "name must say what was measured")
    value = float(value)
    shown = f"{name}: {value:.4g}{' ' * bool(unit)}{unit}"
    shown += f" (floor {float(floor):.4g})" if floor is not None else ""
    shown += f", {note}" if note else ""
    if "IPython" not in sys.modules or sys.modules["IPython"].get_ipython() is None:
        print(shown)
        return
    from IPython.display import display

    # JSON knows neither NaN nor infinity: they travel as text
    data = {"name": name, "value": value if abs(value) < float("inf") else str(value), "unit": unit, "note": note}
    data["floor"] = None if floor is None else float(floor)
    display({MIME: data, "text/plain": shown}, raw=True)


def milliseconds(draw: Callable[[], object], count: int = 1, *, repeats: int = 3) -> float:
    """Wall time for one of the ``count`` things that a call of ``draw`` makes, in milliseconds: the least of several.

    A GPU has finished its work when the clock is read.
    """
    from genmodels.core import require

    require(count >= 1 and repeats >= 1, f"count and repeats must be at least 1, got {count} and {repeats}")
    import torch

    least = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        draw()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        least = min(least, time.perf_counter() - begin)
    return least / count * 1000
