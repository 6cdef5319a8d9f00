"""What one dimension's distribution looks like: the heads turn a network's numbers into a log-probability and a draw.

A head has ``size`` (how many numbers it wants for a dimension), ``encode`` (data to network input), ``check`` (does
this data belong to it), ``log_prob`` and ``sample``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from genmodels.core import random, require, sample_categorical, to_float64_device
from genmodels.likelihoods import logistic_bin_log_mass

__all__ = ["Bernoulli", "Categorical", "DiscretizedLogisticMixture", "discretized_logistic_mixture_log_prob"]

# exp(-7) is a thousandth of the range: narrower than a bin of 256, so smaller scales change nothing but overflow.
MIN_LOG_SCALE = -7.0


def _check_bins(x: Tensor, bins: int, what: str) -> None:
    if x.numel() == 0:
        return
    low, high = float(x.min()), float(x.max())
    require(
        0 <= low and high <= bins - 1 and bool((x == x.round()).all()),
        f"{what} wants whole numbers in 0..{bins - 1}; got values in [{low:g}, {high:g}]",
    )


@dataclass(frozen=True)
class Bernoulli:
    """x in {0, 1} with P(x = 1) = sigmoid(logit): one number a dimension, so logits have the shape of x."""

    size: ClassVar[int] = 1

    def encode(self, x: Float[Tensor, "*d"]) -> Float[Tensor, "*d"]:
        """The network sees x as it is."""
        return x

    def check(self, x: Tensor) -> None:
        """Raise ValueError unless every value is 0 or 1."""
        require(x.is_floating_point(), f"a Bernoulli model wants floating point, got {x.dtype}: use x.float()")
        _check_bins(x, 2, "a Bernoulli model")

    def log_prob(self, logits: Float[Tensor, "*d"], x: Float[Tensor, "*d"]) -> Float[Tensor, "*d"]:
        """x log sigmoid(l) + (1 - x) log sigmoid(-l), in nats."""
        return -F.binary_cross_entropy_with_logits(logits, x.to(logits.dtype), reduction="none")

    def sample(self, logits: Float[Tensor, "*d"], *, generator: torch.Generator | None = None) -> Float[Tensor, "*d"]:
        """One draw for each logit."""
        u = random(torch.rand, logits.shape, generator=generator, device=logits.device, dtype=torch.float64)
        return (u < torch.sigmoid(logits.to(u))).to(logits)


@dataclass(frozen=True)
class Categorical:
    """x in {0, ..., levels - 1}, any distribution over them: ``levels`` numbers a dimension (a softmax)."""

    levels: int

    def __post_init__(self) -> None:
        require(self.levels >= 2, f"a choice needs at least 2 levels, got {self.levels}")

    @property
    def size(self) -> int:
        """One logit a level."""
        return self.levels

    def encode(self, x: Float[Tensor, "*d"]) -> Float[Tensor, "*d"]:
        """Levels are grey values: scaled to [0, 1]."""
        return x / (self.levels - 1)

    def check(self, x: Tensor) -> None:
        """Raise ValueError unless every value is a level."""
        _check_bins(x, self.levels, "this categorical model")

    def log_prob(self, logits: Float[Tensor, "*d v"], x: Float[Tensor, "*d"]) -> Float[Tensor, "*d"]:
        """log softmax(logits)[x], in nats."""
        return logits.log_softmax(-1).gather(-1, x.long()[..., None])[..., 0]

    def sample(self, logits: Float[Tensor, "*d v"], *, generator: torch.Generator | None = None) -> Float[Tensor, "*d"]:
        """One draw for each row of logits."""
        return sample_categorical(logits, generator=generator).to(logits.dtype)


def discretized_logistic_mixture_log_prob(
    x: Float[Tensor, "*d"],
    weights: Float[Tensor, "*d m"],
    means: Float[Tensor, "*d m"],
    log_scales: Float[Tensor, "*d m"],
    *,
    bins: int = 256,
) -> Float[Tensor, "*d"]:
    """Log-probability, in nats, of x in 0..bins-1 under a mixture of logistics cut into bins.

    Bin x covers [x - 1/2, x + 1/2]; means and scales live on the axis where the bins run from -1 to 1, and the two
    edge bins take everything beyond them, so the masses sum to 1 [PixelCNN++, arXiv 1701.05517, eq. 2].
    ``weights`` are logits of the mixture.
    """
    centre = 2 * x.to(means.dtype) / (bins - 1) - 1
    log_mass = logistic_bin_log_mass(means, log_scales, centre[..., None], bins)
    return torch.logsumexp(weights.log_softmax(-1) + log_mass, -1)


@dataclass(frozen=True)
class DiscretizedLogisticMixture:
    """x in {0, ..., bins - 1} as a mixture of ``components`` logistics: 3 numbers a component and dimension.

    Neighbouring grey values share probability by construction, which 256 free logits have to learn.
    """

    components: int = 5
    bins: int = 256

    def __post_init__(self) -> None:
        require(self.components >= 1, f"a mixture needs at least 1 component, got {self.components}")
        require(self.bins >= 2, f"at least 2 bins are needed, got {self.bins}")

    @property
    def size(self) -> int:
        """Weight, mean and log-scale of each component."""
        return 3 * self.components

    def encode(self, x: Float[Tensor, "*d"]) -> Float[Tensor, "*d"]:
        """Grey values scaled to [0, 1]."""
        return x / (self.bins - 1)

    def check(self, x: Tensor) -> None:
        """Raise ValueError unless every value is a bin."""
        _check_bins(x, self.bins, "this discretised logistic model")

    def split(self, params: Float[Tensor, "*d p"]) -> tuple[Tensor, Tensor, Tensor]:
        """Weights, means and log-scales. Means start spread over the range; scales are bounded below."""
        weights, means, log_scales = params.chunk(3, -1)
        spread = torch.linspace(-1, 1, self.components, dtype=params.dtype, device=params.device)
        return weights, means + spread, MIN_LOG_SCALE + F.softplus(log_scales - MIN_LOG_SCALE - 2)

    def log_prob(self, params: Float[Tensor, "*d p"], x: Float[Tensor, "*d"]) -> Float[Tensor, "*d"]:
        """The mixture's log-probability of the bin, in nats."""
        return discretized_logistic_mixture_log_prob(x, *self.split(params), bins=self.bins)

    def sample(self, params: Float[Tensor, "*d p"], *, generator: torch.Generator | None = None) -> Float[Tensor, "*d"]:
        """A component, a logistic draw by its inverse CDF, then its bin."""
        weights, means, log_scales = self.split(to_float64_device(params).double())
        which = sample_categorical(weights, generator=generator)[..., None]
        mean, log_scale = means.gather(-1, which)[..., 0], log_scales.gather(-1, which)[..., 0]
        u = random(torch.rand, mean.shape, generator=generator, device=mean.device, dtype=torch.float64)
        tiny = torch.finfo(torch.float64).tiny  # rand may return 0 exactly
        value = mean + torch.exp(log_scale) * torch.logit(u.clamp(tiny, 1 - math.ulp(1.0)))
        return ((value + 1) * (self.bins - 1) / 2).round().clamp(0, self.bins - 1).to(params)
