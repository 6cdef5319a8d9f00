"""Masked samplers that guess every hidden token and keep some of the guesses: fast, and biased unless one at a time.

A guess is drawn for each token, and which guesses stay is decided afterwards, so a step is no product over tokens. Its
law is still a sum over all guesses, which the kernels here compute: (b, states ** l), in the order of
``toy.all_sequences(states, l)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from genmodels.core import require, sample_categorical, to_float64_device
from genmodels.discrete import Masking, Rank, Time, by_confidence, keep_top
from genmodels.samplers.loop import Step
from genmodels.toy import all_sequences

__all__ = ["confidence", "confidence_kernel", "threshold", "threshold_kernel"]

Denoise = Callable[[Tensor, Time], Tensor]
Pick = Callable[[Tensor, Tensor, Tensor, Time, Time], Tensor]  # log_p, guess, hidden, t, s -> which guesses to keep


def confidence(
    denoise: Denoise,
    process: Masking,
    *,
    rank: Rank = by_confidence,
    temperature: float = 1.0,
    within: Bool[Tensor, "*b l"] | None = None,
    generator: torch.Generator | None = None,
) -> Step:
    """Guess every masked token, keep the best-ranked guesses, mask the rest again [LLaDA, algorithm 5].

    The share of masks falls as 1 - alpha(t) does, so none is left at s = 0; visible tokens never change. ``within``
    limits the step to some positions. Fast, but greedy orders change the distribution.
    """
    return _step(denoise, process, _scheduled(process, rank), temperature, within, generator)


def confidence_kernel(
    denoise: Denoise, process: Masking, *, rank: Rank | Sequence[Rank] = by_confidence, temperature: float = 1.0
) -> Callable[[Tensor, Time, Time], Float[Tensor, "b n"]]:
    """The law of the text after a step of ``confidence``; a list of ranks is a fair draw of one of them.

    So the law of random order is that of ``[in_order(p) for p in itertools.permutations(range(l))]``.
    """
    ranks = [rank] if callable(rank) else list(rank)
    kernels = [_kernel(denoise, process, _scheduled(process, r), temperature) for r in ranks]
    return lambda x, t, s: sum(kernel(x, t, s) for kernel in kernels) / len(kernels)


def threshold(
    denoise: Denoise,
    process: Masking,
    level: float,
    *,
    temperature: float = 0.0,
    within: Bool[Tensor, "*b l"] | None = None,
    generator: torch.Generator | None = None,
) -> Step:
    """Keep every guess whose probability exceeds ``level``, and at least the most probable one [Fast-dLLM, Wu et al.
    2025, algorithm 1].

    The times are not looked at: as many steps as there are masks always suffice, and a step on a finished text calls no
    network. ``level`` 1 writes one token a step; 0 writes all of them in the first.
    """
    return _step(denoise, process, _above(level), temperature, within, generator)


def threshold_kernel(
    denoise: Denoise, process: Masking, level: float, *, temperature: float = 0.0
) -> Callable[[Tensor, Time, Time], Float[Tensor, "b n"]]:
    """The law of the text after a step of ``threshold``."""
    return _kernel(denoise, process, _above(level), temperature)


def _scheduled(process: Masking, rank: Rank) -> Pick:
    """As many of the best-ranked as the schedule wants."""

    def pick(log_p: Tensor, guess: Tensor, hidden: Tensor, t: Time, s: Time) -> Bool[Tensor, "b l"]:
        noise_t, noise_s = 1 - process.alpha(t, guess), 1 - process.alpha(s, guess)
        require(bool((noise_s < noise_t).all()), "a step goes back in time: alpha(s) must exceed alpha(t), so s < t")
        n = hidden.sum(1)
        share = (noise_s / noise_t).expand(len(guess), 1)[:, 0]
        left = (n.to(share) * share + 1e-9).floor().to(n)  # the small number keeps whole numbers whole
        return keep_top(rank(log_p, guess), hidden, n - left)

    return pick


def _above(level: float) -> Pick:
    """All that are probable enough, or the most probable one."""
    require(0 <= level <= 1, f"the level is a probability; got {level}")

    def pick(log_p: Tensor, guess: Tensor, hidden: Tensor, t: Time, s: Time) -> Bool[Tensor, "b l"]:  # noqa: ARG001
        sure = by_confidence(log_p, guess)
        best = keep_top(sure, hidden, torch.ones_like(guess[:, 0]))
        return best | (hidden & (sure.exp() > level))

    return pick


def _tempered(log_p: Tensor, temperature: float) -> Float[Tensor, "b l v"]:
    """Log-probabilities of the guess."""
    if temperature == 0:
        best = log_p.argmax(-1, keepdim=True)
        return torch.full_like(log_p, -torch.inf).scatter(-1, best, 0.0)
    return (log_p / temperature).log_softmax(-1)


def _step(
    denoise: Denoise,
    process: Masking,
    pick: Pick,
    temperature: float,
    within: Tensor | None,
    generator: torch.Generator | None,
) -> Step:
    require(temperature >= 0, f"temperature must be >= 0 (0 takes the likeliest symbol); got {temperature}")

    def step(x: Tensor, t: Time, s: Time) -> Tensor:
        hidden = x == process.mask
        if within is not None:
            hidden = hidden & within
        if not bool(hidden.any()):
            return x
        log_p = process.only_clean(denoise(x, t))
        guess = log_p.argmax(-1) if temperature == 0 else sample_categorical(log_p / temperature, generator=generator)
        return torch.where(pick(log_p, guess, hidden, t, s), guess, x)

    return step


def _kernel(
    denoise: Denoise, process: Masking, pick: Pick, temperature: float
) -> Callable[[Tensor, Time, Time], Float[Tensor, "b n"]]:
    require(temperature >= 0, f"temperature must be >= 0 (0 takes the likeliest symbol); got {temperature}")

    def kernel(x: Int[Tensor, "b l"], t: Time, s: Time) -> Float[Tensor, "b n"]:
        b, l = x.shape
        log_p = process.only_clean(denoise(x, t))
        guesses = all_sequences(process.v, l).to(x.device)
        m = len(guesses)
        hidden = x == process.mask
        symbol = to_float64_device(_tempered(log_p, temperature)).double().exp()
        chance = (
            symbol[:, None].expand(b, m, l, -1).gather(3, guesses.to(symbol.device)[None, ..., None].expand(b, m, l, 1))
        )
        chance = torch.where(hidden[:, None], chance[..., 0].to(x.device), (guesses == x[:, None]).to(chance))
        each = lambda v: v[:, None].expand(b, m, *v.shape[1:]).flatten(0, 1)
        guess = guesses.expand(b, m, l).flatten(0, 1)
        after = torch.where(pick(each(log_p), guess, each(hidden), t, s), guess, each(x)).unflatten(0, (b, m))
        place = after @ (process.states ** torch.arange(l - 1, -1, -1, device=x.device))
        return chance.new_zeros(b, process.states**l).scatter_add_(1, place, chance.prod(2))

    return kernel
