"""Samplers of tokens: from noise at t = 1 to text at t = 0.

A step is ``step(x, t, s) -> x``, for the one loop of this package. Where a step draws every token independently, its
probabilities are a function of their own, a kernel ``kernel(x, t, s) -> (b, l, states)``: on a tiny language the
distribution that a sampler ends in can then be computed, not estimated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genmodels.core import random, require, sample_categorical, to_float64_device
from genmodels.discrete import Masking, Process, Time, keep_top
from genmodels.samplers.loop import Step, sample

__all__ = [
    "Cached",
    "ancestral",
    "ancestral_kernel",
    "concrete_score",
    "draw",
    "first_hitting",
    "hitting_times",
    "semi_autoregressive",
    "tau_leaping",
    "tau_leaping_kernel",
    "tweedie",
    "tweedie_kernel",
]

Denoise = Callable[[Tensor, Time], Tensor]
Kernel = Callable[[Tensor, Time, Time], Tensor]
Random = torch.Generator | None


def draw(kernel: Kernel, *, generator: Random = None) -> Step:
    """The step that draws every token from a kernel, in float64."""
    return lambda x, t, s: sample_categorical(kernel(x, t, s).log(), generator=generator).to(x.device)


def ancestral_kernel(denoise: Denoise, process: Process) -> Kernel:
    """q(x_s | x_t) averaged over the denoiser's x_0: exact for one token, and for any number as the steps get small."""
    return lambda x, t, s: process.posterior(x, denoise(x, t).exp(), t, s)


def ancestral(denoise: Denoise, process: Process, *, generator: Random = None) -> Step:
    """Draw from the posterior of the denoiser [D3PM; MDLM, eq. 7]; ``denoise(x, t)`` gives log-probabilities."""
    return draw(ancestral_kernel(denoise, process), generator=generator)


def concrete_score(denoise: Denoise, process: Process) -> Denoise:
    """The log score log p_t(y) / p_t(x) that a denoiser implies: lets any model use the samplers of SEDD."""
    return lambda x, t: process.ratio(x, denoise(x, t).exp(), t).log()


def tweedie_kernel(log_score: Denoise, process: Process) -> Kernel:
    """Undo the noise between s and t on the score, then apply Bayes' rule [SEDD, theorem 4.2].

    The inverse of the transition is the transition with survival 1/a. With the exact score this is the posterior; an
    inexact one may give small negative masses, which are set to zero. Needs alpha(t) > 0.
    """

    def kernel(x: Tensor, t: Time, s: Time) -> Tensor:
        x, score = to_float64_device(x), to_float64_device(log_score(x, t)).exp()
        a = _survival(process, x, t, s)
        before = process.through(score, 1 / a[..., None]).clamp_min(0)
        return _normalised(before * process.arrive(x, a), process, x, s)

    return kernel


def tweedie(log_score: Denoise, process: Process, *, generator: Random = None) -> Step:
    """SEDD's analytic sampler; ``log_score(x, t)`` is a concrete score network or ``concrete_score(denoise, ...)``."""
    return draw(tweedie_kernel(log_score, process), generator=generator)


def tau_leaping_kernel(log_score: Denoise, process: Process) -> Kernel:
    """Freeze the score at t and let each token jump at its reverse rates until s [Campbell et al. 2022; SEDD, eq. 17].

    A token jumps with probability 1 - exp(-rate), where the time-change of the noise between t and s is exact. At s = 0
    a mask that has not jumped must: it is no symbol of any text. Needs alpha(t) > 0.
    """

    def kernel(x: Tensor, t: Time, s: Time) -> Tensor:
        x, score = to_float64_device(x), to_float64_device(log_score(x, t)).exp()
        a = _survival(process, x, t, s)
        jumps = process.reverse_rates(x, score, t) / process.rate(t, x)[..., None]
        expected = jumps * -a.log()[..., None]  # integral of the noise rate over [s, t]
        total = expected.sum(-1, keepdim=True)
        stay = torch.nn.functional.one_hot(x, process.states) * (-total).exp()
        leave = torch.where(total > 0, -torch.expm1(-total) * expected / total, 0.0)
        return _normalised(stay + leave, process, x, s)

    return kernel


def tau_leaping(log_score: Denoise, process: Process, *, generator: Random = None) -> Step:
    """First-order sampler of the reverse jump process, with an error that falls in proportion to the step."""
    return draw(tau_leaping_kernel(log_score, process), generator=generator)


def semi_autoregressive(
    step_within: Callable[[Tensor], Step], x: Int[Tensor, "b l"], times: Sequence[float], block: int
) -> Iterator[Int[Tensor, "b l"]]:
    """Write block after block from left to right, each by a whole run of a masked sampler; yields every state.

    ``step_within(window)`` makes the step for the positions in ``window`` (l,), such as
    ``lambda window: confidence(denoise, process, within=window)`` [LLaDA, section 2.4].
    """
    require(block >= 1, f"block must be at least 1 token; got {block}")
    position = torch.arange(x.shape[1], device=x.device)
    for start in range(0, x.shape[1], block):
        step = step_within((position >= start) & (position < start + block))
        for x in sample(step, x, times):  # noqa: B020 the next block starts from the last state of this one
            yield x


def hitting_times(x: Int[Tensor, "b l"], process: Masking, *, generator: Random = None) -> Float[Tensor, "n b"]:
    """When ancestral sampling in infinitely small steps reveals its tokens: 1, then the l times from late to early.

    Each masked token is revealed at an independent time with P(time <= t) = 1 - alpha(t) [first-hitting sampler,
    Zheng et al. 2024, arXiv 2409.02908]; alpha is inverted by bisection. Rows for tokens that are visible are 0.
    """
    u = random(torch.rand, x.shape, generator=generator, dtype=torch.float64, device=x.device)
    low, high = torch.zeros_like(u), torch.ones_like(u)
    for _ in range(60):
        middle = (low + high) / 2
        early = 1 - process.schedule.alpha(middle) < u
        low, high = torch.where(early, middle, low), torch.where(early, high, middle)
    times = torch.where(to_float64_device(x) == process.mask, high, 0.0).sort(1, descending=True).values
    return torch.cat([torch.ones_like(times[:, :1]), times], 1).T


def first_hitting(denoise: Denoise, process: Masking, *, generator: Random = None) -> Step:
    """Reveal exactly one token, anywhere, at time s: with ``hitting_times`` it equals ancestral sampling in the limit
    of small steps, for l calls of the network."""

    def step(x: Tensor, t: Time, s: Time) -> Tensor:  # noqa: ARG001
        masked = x == process.mask
        guess = sample_categorical(process.only_clean(denoise(x, s)), generator=generator)
        order = random(torch.rand, x.shape, generator=generator, dtype=torch.float64, device=x.device)
        return torch.where(keep_top(order, masked, torch.ones_like(x[:, 0])), guess, x)

    return step


class Cached:
    """A denoiser that does not depend on time, called again only when a token has changed [MDLM, section 4.2].

    ``calls`` counts the calls of the network.
    """

    def __init__(self, denoise: Denoise):
        self.denoise, self.calls = denoise, 0
        self._x: Tensor | None = None
        self._log_p: Tensor | None = None

    def __call__(self, x: Int[Tensor, "b l"], t: Time) -> Float[Tensor, "b l v"]:
        """The denoiser's answer, kept from the last call where x is the same."""
        if self._x is None or not torch.equal(x, self._x):
            self._x, self._log_p, self.calls = x.clone(), self.denoise(x, t), self.calls + 1
        return self._log_p


def _survival(process: Process, x: Tensor, t: Time, s: Time) -> Float[Tensor, "#b #l"]:
    alpha_t, alpha_s = process.alpha(t, x), process.alpha(s, x)
    require(bool((alpha_t > 0).all()), "a score says nothing where alpha(t) = 0: start at t < 1, such as 0.999")
    require(bool((alpha_s > alpha_t).all()), "a step goes back in time: alpha(s) must exceed alpha(t), so s < t")
    return alpha_t / alpha_s


def _normalised(probs: Tensor, process: Process, x: Tensor, s: Time) -> Tensor:
    """Probabilities; where all noise is gone, without the symbols that only noise makes."""
    done = (1 - process.alpha(s, x) < 1e-12)[..., None]
    probs = torch.where(done & ~process.clean.to(x.device), 0.0, probs)
    return probs / probs.sum(-1, keepdim=True)
