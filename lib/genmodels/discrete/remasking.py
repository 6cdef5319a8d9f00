"""Which guesses to keep: strategies that rank the masked positions of a partly written text.

A strategy is ``rank(log_p, guess) -> (b, l)``: the higher, the sooner a position is revealed. One position a step, a
strategy that does not look at the guess leaves the distribution of a perfect network right, for the next position is
then chosen by what is visible alone. ``by_confidence`` looks at it: likely symbols are kept oftener than drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from genmodels.core import random, require

__all__ = ["Rank", "at_random", "by_confidence", "by_entropy", "by_margin", "in_order", "keep_top"]

Rank = Callable[[Tensor, Tensor], Tensor]


def by_confidence(log_p: Float[Tensor, "b l v"], guess: Int[Tensor, "b l"]) -> Float[Tensor, "b l"]:
    """Log-probability of the guess: low-confidence remasking [LLaDA; MaskGIT, Chang et al. 2022]."""
    return log_p.gather(2, guess[..., None])[..., 0]


def by_margin(log_p: Float[Tensor, "b l v"], guess: Int[Tensor, "b l"]) -> Float[Tensor, "b l"]:  # noqa: ARG001
    """Probability of the best symbol minus that of the second [Kim et al. 2025, arXiv 2502.06768]."""
    require(log_p.shape[-1] >= 2, f"a margin is between two symbols; got {log_p.shape[-1]}")
    best = log_p.exp().topk(2, -1).values
    return best[..., 0] - best[..., 1]


def by_entropy(log_p: Float[Tensor, "b l v"], guess: Int[Tensor, "b l"]) -> Float[Tensor, "b l"]:  # noqa: ARG001
    """Minus the entropy of the prediction."""
    return -torch.special.entr(log_p.exp()).sum(-1)


def at_random(generator: torch.Generator | None = None) -> Rank:
    """Any position is as good as another."""

    def rank(log_p: Tensor, guess: Tensor) -> Tensor:
        return random(torch.rand, guess.shape, generator=generator, device=log_p.device, dtype=torch.float64)

    return rank


def in_order(order: Sequence[int]) -> Rank:
    """Positions in a given order, the first one soonest: ``range(l)`` writes from left to right."""
    soon = -torch.tensor(list(order)).argsort().double()

    def rank(log_p: Tensor, guess: Tensor) -> Tensor:  # noqa: ARG001
        require(guess.shape[1] == len(soon), f"an order of {len(soon)} positions for texts of {guess.shape[1]}")
        return soon.to(guess.device, log_p.dtype).expand(guess.shape)

    return rank


def keep_top(rank: Float[Tensor, "b l"], eligible: Bool[Tensor, "b l"], k: Int[Tensor, "b"]) -> Bool[Tensor, "b l"]:
    """The ``k`` eligible positions of highest rank in each row, as a boolean mask; all where there are fewer."""
    ranked = torch.where(eligible.to(rank.device), rank, -torch.inf)
    order = ranked.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return (order.to(k) < k[:, None]) & eligible
