"""What a decoder's numbers say about data: log-likelihoods with every constant, in nats per sample (b,)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from genmodels.core import require, require_all, sum_except_batch

__all__ = [
    "bernoulli_log_prob",
    "discretized_logistic_log_prob",
    "gaussian_log_prob",
    "logistic_bin_log_mass",
    "standard_normal_log_prob",
]


def bernoulli_log_prob(logits: Float[Tensor, "b *d"], x: Float[Tensor, "b *d"]) -> Float[Tensor, "b"]:
    """sum_d x log p + (1 - x) log(1 - p) with p = sigmoid(logits): a log-probability only for x in {0, 1}."""
    require(logits.shape == x.shape, f"logits {tuple(logits.shape)} and x {tuple(x.shape)} must have the same shape")
    return -sum_except_batch(F.binary_cross_entropy_with_logits(logits, x.to(logits.dtype), reduction="none"))


def gaussian_log_prob(
    mean: Float[Tensor, "b *d"], x: Float[Tensor, "b *d"], std: Float[Tensor, "..."] | float = 1.0
) -> Float[Tensor, "b"]:
    """log N(x; mean, std^2 I), the constant d/2 log(2 pi) included: a squared error alone is not a likelihood."""
    require(mean.shape == x.shape, f"mean {tuple(mean.shape)} and x {tuple(x.shape)} must have the same shape")
    if not isinstance(std, Tensor):
        require(std > 0, f"the standard deviation must be positive, got {std}")
        std = torch.tensor(std, dtype=x.dtype, device=x.device)
    require_all(std > 0, "every standard deviation must be positive: pass log_std.exp(), or softplus of a number")
    return sum_except_batch(-(((x - mean) / std).square()) / 2 - std.log() - 0.5 * math.log(2 * math.pi))


def standard_normal_log_prob(z: Float[Tensor, "b *d"]) -> Float[Tensor, "b"]:
    """log N(z; 0, I)."""
    return gaussian_log_prob(torch.zeros_like(z), z)


def discretized_logistic_log_prob(
    mean: Float[Tensor, "b *d"], log_scale: Float[Tensor, "b *d"], x: Float[Tensor, "b *d"], bins: int = 256
) -> Float[Tensor, "b"]:
    """log-mass that a logistic density gives to the bin of each x, x on the grid of ``bins`` values from -1 to 1.

    The bins at both ends reach to infinity, so the masses sum to one [Kingma et al. 2016; Salimans et al. 2017, eq. 2].
    """
    require(mean.shape == x.shape, f"mean {tuple(mean.shape)} and x {tuple(x.shape)} must have the same shape")
    require(
        x.is_floating_point(), f"x lies on a grid from -1 to 1, got {x.dtype}: for 0..bins-1, 2 * x / (bins - 1) - 1"
    )
    return sum_except_batch(logistic_bin_log_mass(mean, log_scale, x, bins))


def logistic_bin_log_mass(mean: Tensor, log_scale: Tensor, x: Tensor, bins: int) -> Tensor:
    """Elementwise log(CDF(right edge) - CDF(left edge)), stable where the two are nearly equal."""
    require(bins >= 2, f"at least 2 bins are needed, got {bins}")
    half = 1 / (bins - 1)
    log_scale = log_scale.clamp_min(math.log(torch.finfo(log_scale.dtype).tiny))  # whose inverse is finite
    sharpness = (-log_scale).exp()
    left, right = (x - mean - half) * sharpness, (x - mean + half) * sharpness
    # sigmoid(r) - sigmoid(l) = sigmoid(r) sigmoid(-l) (1 - exp(l - r)): a product, so its logarithm never sees 0 - 0.
    # Where r - l is tiny its last factor is r - l itself, whose logarithm is known even if it rounds to 0.
    width = 2 * half * sharpness
    tiny = width < torch.finfo(width.dtype).eps
    factor = torch.where(tiny, math.log(2 * half) - log_scale, torch.log(-torch.expm1(-torch.where(tiny, 1.0, width))))
    inside = F.logsigmoid(right) + F.logsigmoid(-left) + factor
    first, last = x < -1 + half, x > 1 - half
    return torch.where(first, F.logsigmoid(right), torch.where(last, F.logsigmoid(-left), inside))
