"""Flows of 1,024 points against zuko's of the same sizes: evaluating the density, and sampling."""

from __future__ import annotations

from collections.abc import Callable

import torch

from genmodels import flows
from genmodels.bench import Row, compare_times
from genmodels.core import generator

POINTS = 1024
TARGET = 0.8


def run() -> list[Row]:
    """One row a flow and direction, in 2 and in 16 dimensions."""
    return [row for d in (2, 16) for row in rows(d)]


def rows(d: int, *, points: int = POINTS, rounds: int = 25) -> list[Row]:
    """The three families in d dimensions: same number of layers, widths, bins and activation on both sides."""
    import zuko

    hidden = (64, 64)
    pairs: dict[str, tuple[flows.Flow, Callable]] = {
        "RealNVP": (flows.real_nvp(d, 4, hidden), zuko.flows.NICE(d, transforms=4, hidden_features=hidden)),
        "spline": (
            flows.spline_flow(d, 4, hidden, bins=8),
            zuko.flows.NSF(d, transforms=4, bins=8, hidden_features=hidden, passes=2),
        ),
        "MAF": (flows.autoregressive_flow(d, 3, hidden), zuko.flows.MAF(d, transforms=3, hidden_features=hidden)),
    }
    x, out = torch.randn(points, d, generator=generator(0)), []
    for name, (mine, theirs) in pairs.items():
        verbs = {
            "log_prob": (lambda f=mine: f.log_prob(x), lambda f=theirs: f().log_prob(x)),
            "sample": (lambda f=mine: f.sample(points), lambda f=theirs: f().sample((points,))),
        }
        for verb, sides in verbs.items():
            with torch.no_grad():
                ours, rivals = compare_times(sides, rounds=rounds, warm=3)
            what = f"{name} {verb}, {points} x {d}"
            out.append(Row(what, 1e3 * ours, 1e3 * rivals, "ms", "zuko", TARGET, more_is_better=False))
    return out
