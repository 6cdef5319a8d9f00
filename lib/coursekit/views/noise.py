"""The noise that a sampler drew, step by step: is it standard normal, and fresh for each step, sample and entry?"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from coursekit.checks import Sampled

__all__ = ["looked_at", "standard"]


def looked_at(z: Tensor, before: Tensor, rows: list[str]) -> dict[str, Sampled]:
    """Means that tell how the noise was drawn.

    z       the noise of each step, (steps, samples, ...): (state - its mean given the last one) / standard deviation
    before  the states that the steps started from, of the same shape
    rows    what each step is called
    """
    z, old = (v.detach().movedim(1, 0).flatten(2) for v in (z, before))
    half, entries = len(z) // 2, z.shape[2]
    found = {
        "mean of the noise z": Sampled(z, rows),
        "mean of z^2": Sampled(z**2, rows),
        "mean of |z|": Sampled(z.abs(), rows),
        "z times the state before": Sampled(z * (old - old.mean(0)) / old.std(0), rows),
        "z times the z of the next sample": Sampled(z * z.roll(1, 0), rows),
        "z times the z of a sample half the batch away": Sampled(z[:half] * z[half : 2 * half], rows),
    }
    if z.shape[1] > 1:
        found["z times the z of the step before"] = Sampled(z[:, 1:] * z[:, :-1], rows[1:])
    if entries > 1:
        i, j = torch.combinations(torch.arange(entries)).T
        found["z of one entry times z of another"] = Sampled(z[:, :, i] * z[:, :, j], rows)
    return found


def standard(steps: int, entries: int) -> dict[str, Tensor]:
    """The means of ``looked_at`` for noise that is standard normal and fresh."""
    table = lambda mean, rows=steps, columns=entries: torch.full((rows, columns), float(mean))
    means = {
        "mean of the noise z": table(0),
        "mean of z^2": table(1),
        "mean of |z|": table(math.sqrt(2 / math.pi)),
        "z times the state before": table(0),
        "z times the z of the next sample": table(0),
        "z times the z of a sample half the batch away": table(0),
    }
    if steps > 1:
        means["z times the z of the step before"] = table(0, steps - 1)
    if entries > 1:
        means["z of one entry times z of another"] = table(0, steps, entries * (entries - 1) // 2)
    return means
