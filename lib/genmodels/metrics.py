"""How far a model is from the data: likelihood in its units, distances between two sets of samples, and their floors.

A distance between finite sets is never zero, even between two sets of real data: print it beside ``floor``. Distances
take samples (n, *d) and, where it makes sense, ``features``: a function from samples to (n, k) numbers. None of them is
the FID, which needs one particular network.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from genmodels.core import random, require, to_float64_device

__all__ = [
    "Estimate",
    "bits_per_dim",
    "energy",
    "floor",
    "frechet",
    "frechet_gaussians",
    "jensen_shannon",
    "kl",
    "mean_and_error",
    "mmd",
    "modes",
    "nats",
    "precision_recall",
    "sliced_w2",
    "total_variation",
]

Features = Callable[[Tensor], Tensor]


class Estimate(NamedTuple):
    """A mean with its standard error and sample size; prints as ``205.7 +- 0.5 (n = 10000)``."""

    mean: float
    error: float
    n: int

    def __str__(self) -> str:
        if not (self.error > 0 and math.isfinite(self.error)):
            return f"{self.mean:.4g} (n = {self.n})"
        digits = max(0, -math.floor(math.log10(self.error)))  # one significant digit of the error
        return f"{self.mean:.{digits}f} +- {self.error:.{digits}f} (n = {self.n})"


def mean_and_error(x: Float[Tensor, "n"]) -> Estimate:
    """Mean of independent values and its standard error std / sqrt(n)."""
    require(x.ndim == 1 and len(x) >= 2, f"expected at least 2 values in one dimension; got shape {tuple(x.shape)}")
    x = to_float64_device(x.detach()).double()
    return Estimate(float(x.mean()), float(x.std()) / math.sqrt(len(x)), len(x))


def bits_per_dim(nats_per_sample: float | Tensor, dims: int, levels: int = 1) -> float | Tensor:
    """Nats per sample to bits per dimension: nats / (dims log 2) + log2(levels).

    levels  1 for a probability of discrete data. For the density of data with that many levels which were dequantised
            and scaled to an interval of length 1: ``levels``, so that the result bounds the bits of the discrete data
            [Theis et al. 2016].
    """
    require(dims > 0 and levels > 0, f"dims and levels must be positive; got {dims} and {levels}")
    return nats_per_sample / (dims * math.log(2)) + math.log2(levels)


def nats(bits_per_dim: float | Tensor, dims: int, levels: int = 1) -> float | Tensor:
    """Bits per dimension back to nats per sample: the inverse of ``bits_per_dim``."""
    require(dims > 0 and levels > 0, f"dims and levels must be positive; got {dims} and {levels}")
    return (bits_per_dim - math.log2(levels)) * dims * math.log(2)


def kl(log_p: Float[Tensor, "*b k"], log_q: Float[Tensor, "*b k"]) -> Float[Tensor, "*b"]:
    """sum_k p_k (log p_k - log q_k) over the last dimension, of tables of log-probabilities; 0 log 0 counts as 0."""
    some = log_p.exp() > 0
    log_p, log_q = torch.where(some, log_p, 0.0), torch.where(some, log_q, 0.0)  # so that the gradient is 0 there too
    return torch.where(some, log_p.exp() * (log_p - log_q), 0.0).sum(-1)


def jensen_shannon(log_p: Float[Tensor, "*b k"], log_q: Float[Tensor, "*b k"]) -> Float[Tensor, "*b"]:
    """KL(p | m) / 2 + KL(q | m) / 2 with m = (p + q) / 2, of tables: at most log 2 (Lin 1991)."""
    never = (log_p == -torch.inf) & (log_q == -torch.inf)  # there logaddexp has no gradient
    log_m = torch.logaddexp(torch.where(never, 0.0, log_p), torch.where(never, 0.0, log_q)) - math.log(2)
    return (kl(log_p, log_m) + kl(log_q, log_m)) / 2


def total_variation(log_p: Float[Tensor, "*b k"], log_q: Float[Tensor, "*b k"]) -> Float[Tensor, "*b"]:
    """sum_k |p_k - q_k| / 2, of tables: the largest difference that p and q make on any event."""
    return (log_p.exp() - log_q.exp()).abs().sum(-1) / 2


def _points(x: Tensor, features: Features | None = None, least: int = 2) -> Float[Tensor, "n d"]:
    """Samples, or their features, as float64 rows."""
    require(len(x) >= least, f"{len(x)} samples are too few for this distance; give at least {least}")
    with torch.no_grad():
        x = (x if features is None else features(x)).detach().reshape(len(x), -1)
    x = to_float64_device(x).double()
    require(bool(x.isfinite().all()), "samples contain NaN or infinite values: the distance would be meaningless")
    return x


def _pair(x: Tensor, y: Tensor, features: Features | None = None, least: int = 2) -> tuple[Tensor, Tensor]:
    x, y = _points(x, features, least), _points(y, features, least)
    require(x.shape[1] == y.shape[1], f"samples of different size: {x.shape[1]} and {y.shape[1]} numbers each")
    return x, y


def _mean_of_pairs(k: Float[Tensor, "n n"]) -> Tensor:
    """Mean over pairs of different points: leaving out the diagonal is what makes the estimates unbiased."""
    n = len(k)
    return (k.sum() - k.diagonal().sum()) / (n * (n - 1))


def mmd(
    x: Float[Tensor, "n *d"],
    y: Float[Tensor, "m *d"],
    bandwidths: tuple[float, ...] | None = None,
    features: Features | None = None,
) -> Float[Tensor, ""]:
    """Squared maximum mean discrepancy, E k(x,x') + E k(y,y') - 2 E k(x,y), unbiased: it can be negative.

    k is the mean over bandwidths h of exp(-|x - y|^2 / (2 h^2)) (Gretton et al. 2012, eq. 3). The default bandwidths
    are 1/2, 1 and 2 times the median distance of the pooled samples; give them to compare numbers across models.
    """
    x, y = _pair(x, y, features)
    pooled = torch.cdist(torch.cat([x, y]), torch.cat([x, y]))
    if bandwidths is None:
        upper = pooled[tuple(torch.triu_indices(len(pooled), len(pooled), 1))]
        bandwidths = tuple(float(upper.median()) * s for s in (0.5, 1.0, 2.0))
    require(all(h > 0 for h in bandwidths), f"bandwidths must be positive; got {bandwidths}")
    k = sum(torch.exp(-(pooled**2) / (2 * h**2)) for h in bandwidths) / len(bandwidths)
    n = len(x)
    return _mean_of_pairs(k[:n, :n]) + _mean_of_pairs(k[n:, n:]) - 2 * k[:n, n:].mean()


def energy(x: Float[Tensor, "n *d"], y: Float[Tensor, "m *d"], features: Features | None = None) -> Float[Tensor, ""]:
    """Energy distance 2 E|x - y| - E|x - x'| - E|y - y'| (Szekely and Rizzo 2013), unbiased; no bandwidth to choose."""
    x, y = _pair(x, y, features)
    return 2 * torch.cdist(x, y).mean() - _mean_of_pairs(torch.cdist(x, x)) - _mean_of_pairs(torch.cdist(y, y))


def _sorted(x: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """Each column in rising order; on a CPU by numpy, several times quicker than torch, which also keeps the places."""
    return torch.from_numpy(np.sort(x.numpy(), axis=0)) if x.device.type == "cpu" else x.sort(0).values


def _w2_on_lines(x: Float[Tensor, "n k"], y: Float[Tensor, "m k"]) -> Float[Tensor, "k"]:
    """Squared W2 of the columns: the integral over u of the squared difference of the two quantile functions."""
    x, y = _sorted(x), _sorted(y)
    if len(x) == len(y):
        return (x - y).square().mean(0)
    n, m = len(x), len(y)
    cuts = torch.cat([torch.arange(n + 1) * m, torch.arange(m + 1) * n]).unique()  # whole numbers of 1/(n m)
    width = cuts.diff().double() / (n * m)
    left = cuts[:-1]
    return (width[:, None] * (x[left // m] - y[left // n]).square()).sum(0)


def sliced_w2(
    x: Float[Tensor, "n *d"],
    y: Float[Tensor, "m *d"],
    projections: int = 128,
    features: Features | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """Root of the mean over random directions of the squared 1-D Wasserstein-2 distance (Bonneel et al. 2015)."""
    require(projections > 0, f"projections must be positive; got {projections}")
    x, y = _pair(x, y, features, least=1)
    w = random(torch.randn, x.shape[1], projections, generator=generator, dtype=torch.float64).to(x.device)
    w = w / w.norm(dim=0)
    return _w2_on_lines(x @ w, y @ w).mean().sqrt()


def _root(c: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """Symmetric root of a positive semidefinite matrix; eigenvalues below 0 are rounding and count as 0."""
    value, vector = torch.linalg.eigh((c + c.T) / 2)
    return (vector * value.clamp_min(0).sqrt()) @ vector.T


def frechet_gaussians(
    mean_x: Float[Tensor, "d"], cov_x: Float[Tensor, "d d"], mean_y: Float[Tensor, "d"], cov_y: Float[Tensor, "d d"]
) -> Float[Tensor, ""]:
    """Squared Wasserstein-2 distance of two Gaussians: |m - m'|^2 + tr C + tr C' - 2 tr (C^1/2 C' C^1/2)^1/2.

    (Dowson and Landau 1982.) The symmetric product has real non-negative eigenvalues, unlike C C', so no complex
    numbers appear.
    """
    root = _root(cov_x)
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp_min(0).sqrt().sum()
    return (mean_x - mean_y).square().sum() + cov_x.trace() + cov_y.trace() - 2 * cross


def frechet(x: Float[Tensor, "n *d"], y: Float[Tensor, "m *d"], features: Features | None = None) -> Float[Tensor, ""]:
    """Frechet distance: ``frechet_gaussians`` of the means and covariances of the samples' features.

    Biased upwards by an amount that grows with d / n, so compare equal sample sizes only, beside the floor. It is not
    the FID, whatever the features.
    """
    x, y = _pair(x, y, features)
    return frechet_gaussians(x.mean(0), _covariance(x), y.mean(0), _covariance(y))


def _covariance(x: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    gap = x - x.mean(0)
    return gap.T @ gap / (len(x) - 1)


class PrecisionRecall(NamedTuple):
    """The share of model samples that look real, and of real samples that the model can make."""

    precision: float
    recall: float


def precision_recall(
    real: Float[Tensor, "n *d"], model: Float[Tensor, "m *d"], k: int = 3, features: Features | None = None
) -> PrecisionRecall:
    """Improved precision and recall (Kynkaanniemi et al. 2019).

    A set covers a point that lies within the distance to the k-th nearest neighbour of one of its members.
    """
    require(k >= 1, f"k must be at least 1; got {k}")
    x, y = _pair(real, model, features, least=k + 1)
    across = torch.cdist(x, y)

    def radius(a: Tensor) -> Tensor:
        return torch.cdist(a, a).kthvalue(k + 1, dim=1).values  # the nearest neighbour of a point is itself

    precision = (across <= radius(x)[:, None]).any(0).double().mean()
    recall = (across <= radius(y)[None, :]).any(1).double().mean()
    return PrecisionRecall(float(precision), float(recall))


class Modes(NamedTuple):
    """How many modes were hit, how the hits share out, and what part of the samples hit any."""

    covered: int
    counts: Int[Tensor, "k"]
    quality: float


def modes(x: Float[Tensor, "n d"], centres: Float[Tensor, "k d"], radius: float) -> Modes:
    """Modes covered: a sample hits the nearest centre only if it lies within ``radius`` of it."""
    require(radius > 0, f"radius must be positive; got {radius}")
    x, centres = _pair(x, centres, least=1)
    distance, nearest = torch.cdist(x, centres).min(1)
    hit = distance <= radius
    counts = torch.bincount(nearest[hit], minlength=len(centres))
    return Modes(int((counts > 0).sum()), counts, float(hit.double().mean()))


def floor(
    metric: Callable[[Tensor, Tensor], Tensor | float],
    real: Float[Tensor, "n *d"],
    size: int | None = None,
    repeats: int = 5,
    *,
    generator: torch.Generator | None = None,
) -> Estimate:
    """What ``metric`` gives between two disjoint random sets of ``size`` real samples: no model can do better.

    Use the size at which the model is measured; the default is half of the data. The error is that over ``repeats``
    random cuts, which share data, so it is a rough one.
    """
    size = len(real) // 2 if size is None else size
    require(1 <= size <= len(real) // 2, f"two sets of {size} need {2 * size} real samples; got {len(real)}")
    require(repeats >= 2, f"repeats must be at least 2; got {repeats}")
    values = []
    for _ in range(repeats):
        order = random(torch.randperm, len(real), generator=generator).to(real.device)
        values.append(float(metric(real[order[:size]], real[order[size : 2 * size]])))
    return mean_and_error(torch.tensor(values, dtype=torch.float64))
