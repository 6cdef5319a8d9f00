"""Gradients of an expectation whose distribution has the parameters: d/dtheta E_{z ~ p_theta} f(z).

Every estimator here is written as a *surrogate*: a tensor (n,) whose value is f(z) and whose gradient is the estimate,
so ``surrogate.mean().backward()`` is all that a training loop needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Distribution
from torch.nn import functional as F

from genmodels.core import gumbel, random, require, straight_through

__all__ = [
    "Moments",
    "expectation",
    "expected_argmax",
    "gumbel_softmax",
    "implicit",
    "leave_one_out",
    "moments",
    "normal",
    "one_hot_sample",
    "optimal_baseline",
    "pathwise",
    "score_function",
    "soft_accuracy",
    "soft_f1",
    "straight_through",
]


def expectation(dist: Distribution, f: Callable[[Tensor], Tensor]) -> Tensor:
    """E_{z ~ dist} f(z) by enumeration, differentiable: its gradient is the exact answer every estimator aims at.

    ``dist`` has a finite support (Bernoulli, Categorical, ...); ``f`` maps its k outcomes (k, ...) to values
    (k, ...). Raises ValueError for a distribution that cannot be enumerated.
    """
    require(
        dist.has_enumerate_support, f"{type(dist).__name__} has no finite support to enumerate; use pathwise instead"
    )
    z = dist.enumerate_support()
    return (dist.log_prob(z).exp() * f(z)).sum(0)


def normal(
    mean: Float[Tensor, "*#s"], std: Float[Tensor, "*#s"], *, generator: torch.Generator | None = None
) -> Float[Tensor, "..."]:
    """A draw z = mean + std * eps, eps ~ N(0, I): differentiable in both parameters [Kingma & Welling 2014]."""
    shape = torch.broadcast_shapes(mean.shape, std.shape)
    return mean + std * random(torch.randn, shape, generator=generator, dtype=mean.dtype, device=mean.device)


def pathwise(dist: Distribution, f: Callable[[Tensor], Tensor], n: int) -> Float[Tensor, "n ..."]:
    """The surrogate f(z) with z = g(eps, theta): the gradient flows through the sample itself.

    ``dist`` must be reparameterised (``has_rsample``); Gamma, Beta and Dirichlet are too, by implicit differentiation
    [Figurnov et al. 2018]. Draws from torch's global random state. Raises ValueError for discrete distributions.
    """
    require(dist.has_rsample, f"{type(dist).__name__} cannot be reparameterised; use score_function or gumbel_softmax")
    return f(dist.rsample((n,)))


def score_function(
    log_prob: Float[Tensor, "*n"], value: Float[Tensor, "*n"], baseline: Float[Tensor, "*n"] | float = 0.0
) -> Float[Tensor, "*n"]:
    """REINFORCE as a surrogate: value f(z), gradient (f(z) - baseline) d log p(z) + d f(z) [Williams 1992].

    ``log_prob`` is log p_theta(z) of the same, detached, sample z that gave ``value``. The baseline must not depend on
    its own sample, or the estimate is biased.
    """
    weight = (value - baseline).detach()
    require(  # (n, 1) against (n,) would broadcast to n x n without a word
        log_prob.shape == value.shape == weight.shape,
        f"log_prob {tuple(log_prob.shape)}, value {tuple(value.shape)} and value - baseline {tuple(weight.shape)} must "
        "have one shape",
    )
    return value + weight * (log_prob - log_prob.detach())


def leave_one_out(value: Float[Tensor, "k *b"]) -> Float[Tensor, "k *b"]:
    """For each of k samples the mean of the *other* k - 1 values: an unbiased baseline (RLOO) [Kool et al. 2019]."""
    require(len(value) > 1, f"a leave-one-out baseline needs at least 2 samples, got {len(value)}")
    return (value.sum(0, keepdim=True) - value) / (len(value) - 1)


def optimal_baseline(value: Float[Tensor, "n"], score: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """The constant b = E[f score^2] / E[score^2] that minimises the variance of (f - b) score [Weaver & Tao 2001]."""
    return (value * score.square()).mean() / score.square().mean()


def gumbel_softmax(
    logits: Float[Tensor, "*b v"], tau: float, *, hard: bool = False, generator: torch.Generator | None = None
) -> Float[Tensor, "*b v"]:
    """A relaxed one-hot draw softmax((logits + g) / tau), g Gumbel [Jang et al. 2017; Maddison et al. 2017, eq. 10].

    Its argmax is an exact draw from softmax(logits) for every tau > 0; tau -> 0 gives one-hot vectors, tau -> infinity
    the uniform one. ``hard=True`` returns the one-hot argmax with the soft gradient.
    """
    require(tau > 0, f"the temperature tau must be positive, got {tau}")
    require(logits.is_floating_point(), f"logits must be floating point, got {logits.dtype}")
    noise = gumbel(tuple(logits.shape), generator=generator, device=logits.device).to(logits)
    soft = ((logits + noise) / tau).softmax(-1)
    if not hard:
        return soft
    return straight_through(F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype), soft)


def one_hot_sample(logits: Float[Tensor, "*b v"], *, generator: torch.Generator | None = None) -> Float[Tensor, "*b v"]:
    """A one-hot draw from softmax(logits) with the gradient of the probabilities: plain straight-through
    [Bengio et al. 2013].
    """
    noise = gumbel(tuple(logits.shape), generator=generator, device=logits.device)
    hard = F.one_hot((logits.detach().to(noise) + noise).argmax(-1), logits.shape[-1]).to(logits)
    return straight_through(hard, logits.softmax(-1))


def implicit(z: Float[Tensor, "*n"], cdf: Callable[[Tensor], Tensor], log_prob: Callable[[Tensor], Tensor]) -> Tensor:
    """A sample z with dz/dtheta = -(dF/dtheta)(z) / p(z): no inverse CDF needed [Figurnov et al. 2018, eq. 6].

    ``cdf`` and ``log_prob`` are one-dimensional, differentiable in their parameters, and taken at the detached z.
    """
    z = z.detach()
    level = cdf(z)
    return z - (level - level.detach()) / log_prob(z).detach().exp()


class Moments(NamedTuple):
    """What repeated draws say of an estimator, per parameter: variance of one draw, bias with standard error."""

    mean: Tensor
    variance: Tensor
    bias: Tensor
    stderr: Tensor


def moments(draws: Float[Tensor, "n *p"], truth: Float[Tensor, "*p"]) -> Moments:
    """Mean, variance, bias and the standard error of the bias over n independent gradient estimates."""
    require(len(draws) > 1, f"a variance needs at least 2 draws, got {len(draws)}")
    mean, variance = draws.mean(0), draws.var(0)
    return Moments(mean, variance, mean - truth, (variance / len(draws)).sqrt())


def expected_argmax(logits: Float[Tensor, "*b v"], tau: float = 1.0) -> Float[Tensor, "*b"]:
    """A smooth argmax: the mean index under softmax(logits / tau); equals the argmax as tau -> 0.

    It averages indices: with two far-apart candidates it points *between* them, misleading where order means nothing.
    """
    require(tau > 0, f"the temperature tau must be positive, got {tau}")
    index = torch.arange(logits.shape[-1], dtype=logits.dtype, device=logits.device)
    return (logits / tau).softmax(-1) @ index


def soft_accuracy(logits: Float[Tensor, "b v"], labels: Int[Tensor, "b"]) -> Float[Tensor, ""]:
    """The accuracy that *sampled* predictions would have on average: mean probability of the right class, in [0, 1]."""
    require(len(logits) == len(labels) > 0, f"expected one label for each row; got {len(labels)} for {len(logits)}")
    return logits.softmax(-1).gather(-1, labels[:, None]).mean()


def soft_f1(probs: Float[Tensor, "b"], labels: Float[Tensor, "b"]) -> Float[Tensor, ""]:
    """F1 with counts replaced by their means: 2 TP / (2 TP + FP + FN) with TP = sum p y; equals F1 for p in {0, 1}.

    It is a ratio of means, not the mean of a ratio, so the mean over batches is not the value over all data.
    Raises ValueError when neither a positive label nor a positive prediction exists (0 / 0).
    """
    require(probs.shape == labels.shape, f"probs {tuple(probs.shape)} and labels {tuple(labels.shape)} differ in shape")
    hit = (probs * labels).sum()
    total = probs.sum() + labels.sum()
    require(bool(total > 0), "F1 is 0/0: there is no positive label and no positive prediction")
    return 2 * hit / total
