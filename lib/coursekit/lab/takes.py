"""What a lab is told: one run of the student's function, the charts linked to it, the settings that can be moved."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor

from coursekit.plot.style import SERIES, colours
from genmodels.core import require

__all__ = ["Chart", "Control", "Take", "as_take", "chart_data", "controls_of", "label", "numbers", "pick"]

Line = tuple[Sequence[float] | Tensor, Sequence[float] | Tensor]


@dataclass(frozen=True)
class Take:
    """What one run gives beyond its states.

    states   the frames: tensors of one shape, a list or a generator
    times    one number a frame, shown beside the time line
    caption  one line under the picture, such as "20 evaluations, sliced W2 0.13 (floor 0.08)"
    charts   {title of the chart: {name of the line: (xs, ys)}}; a line of one point leaves a mark for each setting
    """

    states: Iterable[Tensor]
    times: Sequence[float] | Tensor | None = None
    caption: str = ""
    charts: Mapping[str, Mapping[str, Line]] = field(default_factory=dict)


@dataclass(frozen=True)
class Chart:
    """A chart beside the player. Where its x axis is named "t", a marker follows the frame that is shown."""

    title: str
    x: str = "network evaluations"
    y: str = "error"
    log_x: bool = True
    log_y: bool = True


@dataclass(frozen=True)
class Picked:
    """What ``pick`` makes."""

    values: tuple[Any, ...]
    start: Any


def pick(values: Sequence[Any], start: Any) -> Picked:
    """The values of a control, and the one that is set first."""
    values = tuple(values)
    require(start in values, f"start={start!r} is not one of the values {list(values)}")
    return Picked(values, start)


@dataclass(frozen=True)
class Control:
    """One setting: its name, its values, the position of the first one, and how it is moved (slider, switch, list)."""

    name: str
    values: tuple[Any, ...]
    start: int
    kind: str

    def spec(self) -> dict[str, Any]:
        """What the page needs to know of it."""
        values = ["off", "on"] if self.kind == "switch" else [label(v) for v in self.values]
        return {"name": self.name.replace("_", " "), "kind": self.kind, "values": values}


def label(value: Any) -> str:
    """A value as a reader writes it: 0.1 for 0.1000000001, a function by its name."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(getattr(value, "__name__", value))


def _kind(values: Sequence[Any]) -> str:
    if all(isinstance(v, bool) for v in values):
        return "switch" if tuple(values) == (False, True) else "list"
    return "slider" if all(isinstance(v, Real) and not isinstance(v, bool) for v in values) else "list"


def controls_of(given: Mapping[str, Any]) -> list[Control]:
    """Sliders for numbers, switches for booleans, lists for the rest: {name: values} or {name: pick(values, start)}."""
    found = []
    for name, values in given.items():
        picked = isinstance(values, Picked)
        chosen = values.values if picked else values
        one = isinstance(chosen, str) or not isinstance(chosen, Iterable)
        require(not one, f"{name}={chosen!r}: a control needs a sequence of values, such as {name}=[{chosen!r}]")
        chosen = tuple(v.item() if isinstance(v, np.generic | Tensor) else v for v in chosen)
        require(bool(chosen), f"the control {name!r} has no values")
        if _kind(chosen) == "list" and set(map(type, chosen)) == {bool}:
            chosen = tuple(sorted(set(chosen)))  # a switch is off first, whatever order it was given in
        first = chosen.index(values.start) if picked else _first(chosen)
        found.append(Control(name, chosen, first, _kind(chosen)))
    return found


def _first(values: tuple[Any, ...]) -> int:
    return (len(values) - 1) // 2 if _kind(values) == "slider" else 0


def as_take(result: Any) -> Take:
    """A run's result: a Take as it is, anything else as its states."""
    if isinstance(result, Take):
        return result
    states = isinstance(result, Iterable) and not isinstance(result, str | Mapping)
    require(states, f"run must return its states (a list or a generator of tensors) or a lab.Take; got {result!r:.80}")
    return Take(result)


def numbers(values: Any, what: str) -> list[float | None]:
    """A row of plain numbers, six digits each; None for what is not finite."""
    array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else list(values), dtype=float)
    require(array.ndim == 1, f"{what} must be a row of numbers; got shape {array.shape}")
    return [float(f"{v:.6g}") if math.isfinite(v) else None for v in array]


def chart_data(take: Take, charts: Sequence[Chart], seen: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """The lines of each chart as plain numbers; ``seen`` keeps one colour for a name through all settings."""
    titles = [chart.title for chart in charts]
    data = {}
    for title, lines in take.charts.items():
        require(title in titles, f"the take draws on a chart {title!r}, but play was given charts {titles}")
        new = [name for name in lines if name not in seen]
        seen.update(zip(new, colours([*seen, *new])[len(seen) :], strict=True))
        data[title] = []
        for name, (xs, ys) in lines.items():
            x, y = numbers(xs, f"x of {name!r}"), numbers(ys, f"y of {name!r}")
            require(len(x) == len(y), f"the line {name!r} on {title!r} has {len(x)} x values and {len(y)} y values")
            data[title].append({"name": name, "colour": slot(seen[name]), "x": x, "y": y})
    return data


def slot(colour: str) -> str:
    """The name of a colour of the house style on the page, where the dark theme has its own shade of it."""
    return f"c{SERIES.index(colour)}" if colour in SERIES else "exact"
