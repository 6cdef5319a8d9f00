"""Objectives that need more than one squared error: the variational bound, and score matching without the noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from genmodels.core import require, sum_except_batch
from genmodels.schedule import Schedule

from .targets import Denoise

__all__ = ["Bound", "divergence", "implicit_score_matching", "variational_bound"]


class Bound(NamedTuple):
    """The terms of -log p(x_0) <= L_T + sum L_t + L_0, in nats per sample: unbiased estimates from one draw each."""

    prior: Float[Tensor, "b"]
    diffusion: Float[Tensor, "k b"]
    reconstruction: Float[Tensor, "b"]

    @property
    def total(self) -> Float[Tensor, "b"]:
        """The bound itself."""
        return self.prior + self.diffusion.sum(0) + self.reconstruction


def variational_bound(
    denoise: Denoise,
    schedule: Schedule,
    x0: Float[Tensor, "b *d"],
    times: Sequence[float],
    *,
    bin_width: float | None = None,
    eps: Float[Tensor, "k+1 b *d"] | None = None,
    generator: torch.Generator | None = None,
) -> Bound:
    """The bound of the chain that samples on the grid ``times`` (down to 0) with eta = 1  [Ho et al. 2020, eq. 5].

    L_t  the KL of two Gaussians of one variance, which is (SNR(s) - SNR(t)) / 2 |x_0 - x_0 hat|^2  [Kingma et al. 2021,
         eq. 13]; one (x_t given x_0) is drawn for each step
    L_T  the KL of q(x_T | x_0) to N(0, prior_std^2)
    L_0  -log N(x_0; x_0 hat, (sigma / alpha)^2) at the last time before 0: a density; or with ``bin_width``, for data
         rounded to bins of that width on [-1, 1], the mass of x_0's bin (the outermost two reach to infinity)
    eps  the noise at each time but the last, in place of the generator's
    """
    require(len(times) >= 2 and times[-1] == 0, f"the grid of a bound must end at 0; got {list(times)[-3:]}")
    require(all(s < t for t, s in pairwise(times)), "the grid of a bound must decrease")
    require(bin_width is None or bin_width > 0, f"bin_width must be positive, got {bin_width}")

    given = {} if eps is None else dict(zip(times[:-1], eps, strict=True))

    def error(t: float) -> Tensor:
        xt, _ = schedule.corrupt(x0, t, eps=given.get(t), generator=generator)
        return x0 - denoise(xt, t)

    steps = [
        0.5 * (schedule.at(s).snr - schedule.at(t).snr) * sum_except_batch(error(t) ** 2)
        for t, s in pairwise(times[:-1])
    ]
    diffusion = torch.stack(steps) if steps else x0.new_zeros(0, len(x0))

    p = schedule.at(times[0])
    mean, ratio = p.alpha * x0 / schedule.prior_std, p.sigma / schedule.prior_std
    prior = 0.5 * sum_except_batch(mean**2 + ratio**2 - 1 - 2 * math.log(ratio))

    p = schedule.at(times[-2])
    z, std = error(times[-2]) * (p.alpha / p.sigma), p.sigma / p.alpha
    if bin_width is None:
        return Bound(prior, diffusion, 0.5 * sum_except_batch(z**2 + math.log(2 * math.pi * std**2)))
    half = bin_width / 2
    upper = torch.where(x0 > 1 - half, math.inf, z + half / std)
    lower = torch.where(x0 < half - 1, -math.inf, z - half / std)
    return Bound(prior, diffusion, -sum_except_batch(_log_normal_mass(lower, upper)))


def _log_normal_mass(lower: Tensor, upper: Tensor) -> Tensor:
    """log P(lower < N(0, 1) < upper), accurate far out in both tails."""
    right = lower + upper > 0  # there both cdfs are 1 to rounding: mirror the interval into the left tail
    lower, upper = torch.where(right, -upper, lower), torch.where(right, -lower, upper)
    top = torch.special.log_ndtr(upper)
    return top + torch.log(-torch.expm1(torch.special.log_ndtr(lower) - top))


def divergence(
    field: Callable[[Tensor], Tensor], x: Float[Tensor, "b *d"], probes: Float[Tensor, "k b *d"] | None = None
) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b"]]:
    """(field(x), its divergence): the trace of each sample's Jacobian, samples not interacting.

    Exact with one backward pass a dimension; or with probes z of zero mean and unit covariance the unbiased mean of
    z^T J z, one pass a probe  [Hutchinson 1989; Grathwohl et al. 2019].
    """
    value, pull = torch.func.vjp(field, x)
    if probes is None:
        d = x[0].numel()
        basis = torch.eye(d, dtype=x.dtype, device=x.device).reshape(d, 1, *x.shape[1:]).expand(d, *x.shape)
        return value, sum(sum_except_batch(e * pull(e)[0]) for e in basis)
    require(len(probes) > 0, "the mean over probes needs at least one: shape (k, b, *d)")
    return value, sum(sum_except_batch(z * pull(z)[0]) for z in probes) / len(probes)


def implicit_score_matching(
    score: Callable[[Tensor], Tensor], x: Float[Tensor, "b *d"], probes: Float[Tensor, "k b *d"] | None = None
) -> Float[Tensor, "b"]:
    """|s|^2 / 2 + div s: in the mean, half the squared error to the data's score, up to a constant  [Hyvarinen 2005].

    No noise and no density is needed, but a trace; with probes it is sliced score matching  [Song et al. 2019].
    """
    s, trace = divergence(score, x, probes)
    return 0.5 * sum_except_batch(s**2) + trace
