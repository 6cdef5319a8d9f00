"""What a deterministic flow gives besides samples: exact inversion, likelihoods, and how straight its paths are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from genmodels.core import require, sum_except_batch
from genmodels.diffusion import divergence

from .loop import Step

__all__ = ["invert", "log_likelihood", "standard_normal", "straightness"]


@torch.no_grad()
def invert(step: Step, x: Tensor, times: Sequence[float], *, iterations: int = 50, tol: float = 1e-6) -> Tensor:
    """The noise from which ``sample(step, ., times)`` ends at x: each step solved backwards by fixed-point iteration.

    Walking the grid upwards (``sample(step, x, times[::-1])``) is wrong by O(h^2) a step; here x itself is the first
    guess, corrected by how far the step misses until it does not. ValueError if that does not converge.
    """
    for t, s in reversed(list(pairwise(times))):
        y, size = x, x.abs().max() + 1
        for _ in range(iterations):
            miss = x - step(y, t, s)
            y = y + miss
            if miss.abs().max() <= tol * size:
                break
        else:
            require(False, f"the step from t = {t:g} to {s:g} could not be inverted to {tol:g}: use a finer grid")
        x = y
    return x


def standard_normal(std: float = 1.0) -> Callable[[Tensor], Tensor]:
    """log density of N(0, std^2 I), summed over dimensions: (b, *d) -> (b,)."""
    require(std > 0, f"std must be positive, got {std}")
    return lambda x: -0.5 * sum_except_batch((x / std) ** 2 + math.log(2 * math.pi * std**2))


@torch.no_grad()
def log_likelihood(
    velocity: Callable[[Tensor, float], Tensor],
    x: Float[Tensor, "b *d"],
    times: Sequence[float],
    *,
    prior: Callable[[Tensor], Tensor] | None = None,
    probes: Float[Tensor, "k b *d"] | None = None,
) -> tuple[Float[Tensor, "b"], Float[Tensor, "b *d"]]:
    """(log p(x) in nats, the noise x flows to): log p_0(x_0) = log p_1(x_1) + integral of div velocity dt.

    Instantaneous change of variables [Chen et al. 2018; Song et al. 2021, eq. 39], by the classical Runge-Kutta step.

    times    ascending; from a little above 0 where the velocity is infinite at 0: then the density is that of x_t there
    prior    log density at times[-1]; standard normal if not given
    probes   None for the exact trace, d passes an evaluation; or noise, the same along the whole path (Hutchinson)
    """
    require(len(times) >= 2, f"a grid needs at least two times, got {len(times)}")
    require(all(t < s for t, s in pairwise(times)), "the grid of a likelihood ascends, from data to noise")
    slope = lambda y, t: divergence(lambda y: velocity(y, t), y, probes)
    total = x.new_zeros(len(x))
    for t, s in pairwise(times):
        h, middle = s - t, (t + s) / 2
        v1, d1 = slope(x, t)
        v2, d2 = slope(x + h / 2 * v1, middle)
        v3, d3 = slope(x + h / 2 * v2, middle)
        v4, d4 = slope(x + h * v3, s)
        x = x + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
        total = total + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
    return (prior or standard_normal())(x) + total, x


def straightness(states: Iterable[Tensor], times: Sequence[float]) -> Float[Tensor, "b"]:
    """Integral over time of |(x_1 - x_0) - dx_t/dt|^2 along a trajectory; 0 iff straight at even speed.

    [Liu et al. 2022, eq. 9.] ``states`` are those at ``times``, the first included: [x, *sample(step, x, times)].
    """
    states = list(states)
    require(len(states) == len(times), f"{len(times)} times need as many states, the first included; got {len(states)}")
    require(len(states) >= 2, f"a trajectory has at least two states, got {len(states)}")
    chord = (states[0] - states[-1]) / (times[0] - times[-1])
    legs = zip(pairwise(times), pairwise(states), strict=True)
    return sum((t - s) * sum_except_batch((chord - (x - y) / (t - s)) ** 2) for (t, s), (x, y) in legs)
