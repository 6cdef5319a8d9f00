"""Languages small enough to know everything about: each conditional by enumeration, or the entropy rate.

They stand in for a trained network, with its interface, so that samplers and bounds can be proved instead of believed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from genmodels.core import generator as seeded
from genmodels.core import require, sample_categorical

__all__ = ["MarkovText", "TinyLanguage", "all_sequences", "parallel_cost"]


def all_sequences(v: int, l: int) -> Int[Tensor, "n l"]:
    """Every sequence of ``l`` symbols out of ``v``, in lexicographic order."""
    require(v**l <= 1_000_000, f"v^l = {v**l} sequences are too many to enumerate; keep it below 1e6")
    return torch.tensor(list(itertools.product(range(v), repeat=l)), dtype=torch.long).reshape(v**l, l)


@runtime_checkable
class Noise(Protocol):
    """What a noise process must offer here."""

    states: int

    def likelihood(self, x_t: Int[Tensor, "b l"], t: Tensor | float) -> Float[Tensor, "b l states"]:
        """q(x_t | x_0 = k) for every symbol k."""


def parallel_cost(p: Float[Tensor, "*v"], groups: Iterable[Iterable[int]]) -> float:
    """KL(p || q) in nats, where q writes the tokens of a group independently, given those of the earlier groups.

    p        the probability of every text, one axis a token; the axes may differ in length
    groups   the positions in the order in which they are written; each once, all of them

    It is the sum over groups of sum_i H(x_i | before) - H(group | before), a conditional total correlation each.
    """
    groups = [list(group) for group in groups]
    given = sorted(i for group in groups for i in group)
    require(given == list(range(p.ndim)), f"groups must hold each of the {p.ndim} positions once; got {groups}")
    p = p.double() / p.double().sum()

    def entropy(kept: set[int]) -> float:
        out = [i for i in range(p.ndim) if i not in kept]
        return float(torch.special.entr(p.sum(out) if out else p).sum())

    cost, before = 0.0, set()
    for group in groups:
        cost += sum(entropy(before | {i}) - entropy(before) for i in group)
        before |= set(group)
    return cost - entropy(before)


class TinyLanguage:
    """A distribution over all v^l sequences, in float64; the mask symbol is ``v``.

    Given probabilities of shape (v,) * l, or drawn at random by ``TinyLanguage.random``. Called as a network,
    ``language(x, t)``, it is the perfect masked denoiser.
    """

    def __init__(self, probs: Float[Tensor, "*v"]):
        probs = torch.as_tensor(probs, dtype=torch.float64)
        v, l = probs.shape[0], probs.ndim
        require(set(probs.shape) == {v}, f"probs must have shape (v,) * l; got {tuple(probs.shape)}")
        require(bool((probs >= 0).all()) and float(probs.sum()) > 0, "probs must be non-negative and not all zero")
        self.v, self.l, self.mask = v, l, v
        self.sequences = all_sequences(v, l)
        self.log_probs = (probs.flatten() / probs.sum()).log()

    @classmethod
    def random(cls, v: int, l: int, seed: int = 0, spread: float = 1.0) -> TinyLanguage:
        """Log-probabilities from N(0, spread^2), normalised: every position depends on every other."""
        logits = spread * torch.randn((v,) * l, generator=seeded(seed), dtype=torch.float64)
        return cls(logits.exp())

    def _index(self, x: Int[Tensor, "b l"]) -> Int[Tensor, "b"]:
        require(x.ndim == 2 and x.shape[1] == self.l, f"expected shape (b, {self.l}), got {tuple(x.shape)}")
        require(bool(((x >= 0) & (x < self.v)).all()), f"symbols must lie in 0 .. {self.v - 1}; unmask x first")
        return (x.cpu() * self.v ** torch.arange(self.l - 1, -1, -1)).sum(1)

    def log_prob(self, x: Int[Tensor, "b l"]) -> Float[Tensor, "b"]:
        """Exact log p(x) in nats."""
        return self.log_probs[self._index(x)]

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Int[Tensor, "n l"]:
        """``n`` independent sequences."""
        return self.sequences[sample_categorical(self.log_probs.expand(n, -1), generator=generator)]

    def entropy(self) -> float:
        """-sum p log p in nats: what no model can beat on average."""
        return float(torch.special.entr(self.log_probs.exp()).sum())

    def posterior(self, log_likelihood: Float[Tensor, "b l v"]) -> Float[Tensor, "b l v"]:
        """p(x0_i = k | observation) for a memoryless observation with log q(observed_i | x0_i = k), by Bayes' rule.

        Any corruption of independent tokens is such an observation. Raises ValueError where it is impossible.
        """
        picked = torch.gather(
            log_likelihood.double()[:, None].expand(-1, len(self.sequences), -1, -1),
            3,
            self.sequences[None, :, :, None].expand(len(log_likelihood), -1, -1, -1),
        )
        log_joint = picked[..., 0].sum(2) + self.log_probs
        require(bool(log_joint.isfinite().any(1).all()), "an observation is impossible under this language")
        weight = log_joint.softmax(1)  # (b, v^l)
        one_hot = torch.nn.functional.one_hot(self.sequences, self.v).double()
        return torch.einsum("bn,nlv->blv", weight, one_hot)

    def denoiser(self, process: Noise) -> Callable[[Tensor, Tensor | float], Tensor]:
        """The perfect network under a noise of independent tokens: (x_t, t) -> log p(x0_i = k | x_t), (b, l, states).

        Under masking, a noise with one state more than there are symbols, it is the language itself, at any time.
        """
        require(
            process.states in (self.v, self.v + 1),
            f"a noise on {self.v} symbols has {self.v} states, or {self.v + 1} with the mask; got {process.states}",
        )
        if process.states == self.v + 1:
            return self

        def denoise(x: Int[Tensor, "b l"], t: Tensor | float) -> Float[Tensor, "b l v"]:
            return self.posterior(process.likelihood(x, t).cpu().log()).log().to(x.device)

        return denoise

    def total_correlation(
        self, x: Int[Tensor, "b l"], together: Bool[Tensor, "b l"] | None = None
    ) -> Float[Tensor, "b"]:
        """sum_i H(x_i | visible) - H(all of them | visible), in nats, of the masked tokens of x (or of those marked in
        ``together``): what drawing them at once, each from its own conditional, loses [Watanabe 1960].

        It is the KL from the truth to their independent draws, and 0 for a single token.
        """
        hidden = x.cpu() == self.mask
        chosen = hidden if together is None else hidden & together.cpu()
        seen = torch.where(hidden, 0, x.cpu())
        agrees = (hidden[:, None] | (self.sequences == seen[:, None])).all(2)
        log_joint = torch.where(agrees, self.log_probs, -torch.inf)
        require(bool(log_joint.isfinite().any(1).all()), "a text of visible tokens is impossible under this language")
        weight = log_joint.softmax(1)
        alone = torch.where(chosen, torch.special.entr(self.conditionals(x.cpu())).sum(2), 0.0).sum(1)
        group = torch.where(chosen[:, None], self.sequences, 0) @ self.v ** torch.arange(self.l - 1, -1, -1)
        joint = torch.zeros_like(weight).scatter_add_(1, group, weight)
        return alone - torch.special.entr(joint).sum(1)

    def conditionals(self, x: Int[Tensor, "b l"]) -> Float[Tensor, "b l v"]:
        """p(x0_i = k | the symbols of x that are not masked), for any pattern of masks; visible ones are certain."""
        require(
            bool(((x >= 0) & (x <= self.v)).all()), f"symbols must lie in 0 .. {self.v - 1}, or be the mask {self.v}"
        )
        visible = torch.nn.functional.one_hot(x, self.v + 1)[..., : self.v].double().log()
        return self.posterior(torch.where((x == self.mask)[..., None], 0.0, visible))

    def __call__(self, x: Int[Tensor, "b l"], t: Tensor | float | None = None) -> Float[Tensor, "b l states"]:  # noqa: ARG002
        """Log-probabilities over v symbols and the mask (-inf): the perfect masked denoiser, which needs no time."""
        return torch.nn.functional.pad(self.conditionals(x), (0, 1)).log()


class MarkovText:
    """Text whose next symbol depends on the last one only; the entropy rate is known.

    transition   (v, v) rows sum to 1. The first symbol comes from the stationary distribution.
    """

    def __init__(self, transition: Float[Tensor, "v v"] | list[list[float]]):
        transition = torch.as_tensor(transition, dtype=torch.float64)
        require(
            transition.ndim == 2 and transition.shape[0] == transition.shape[1],
            f"transition must be square; got shape {tuple(transition.shape)}",
        )
        off = float((transition.sum(1) - 1).abs().max())
        require(off < 1e-9 and bool((transition >= 0).all()), f"rows must be probabilities; a row is off by {off:.2g}")
        self.transition, self.v = transition, len(transition)
        # The left eigenvector of eigenvalue 1, by least squares on pi (P - I) = 0 and sum pi = 1.
        system = torch.cat([transition.T - torch.eye(self.v), torch.ones(1, self.v)]).double()
        target = torch.zeros(self.v + 1, 1, dtype=torch.float64)
        target[-1] = 1
        self.stationary = torch.linalg.lstsq(system, target, driver="gelsd").solution[:, 0].clamp_min(0)

    @classmethod
    def random(cls, v: int, seed: int = 0, spread: float = 1.5) -> MarkovText:
        """Rows are the softmax of N(0, spread^2)."""
        logits = spread * torch.randn(v, v, generator=seeded(seed), dtype=torch.float64)
        return cls(logits.softmax(1))

    def entropy_rate(self) -> float:
        """-sum_i pi_i sum_j P_ij log P_ij in nats per symbol: the loss of the perfect model of long text."""
        return float((self.stationary[:, None] * torch.special.entr(self.transition)).sum())

    def log_prob(self, x: Int[Tensor, "b l"]) -> Float[Tensor, "b"]:
        """Exact log p(x) in nats."""
        return self.stationary.log()[x[:, 0]] + self.transition.log()[x[:, :-1], x[:, 1:]].sum(1)

    def sample(self, n: int, l: int, *, generator: torch.Generator | None = None) -> Int[Tensor, "n l"]:
        """``n`` texts of ``l`` symbols."""
        require(l >= 1, f"a text has at least 1 symbol, got l = {l}")
        log_p = self.transition.log()
        x = [sample_categorical(self.stationary.log().expand(n, -1), generator=generator)]
        for _ in range(l - 1):
            x.append(sample_categorical(log_p[x[-1]], generator=generator))
        return torch.stack(x, 1)
