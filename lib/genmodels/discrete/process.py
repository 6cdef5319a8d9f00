"""Noise on tokens: q(x_t | x_0) = alpha(t) delta + (1 - alpha(t)) pi, with the same alpha as the continuous models.

A token keeps its value with probability alpha(t), else it is redrawn from pi: the mask symbol (``Masking``) or any
symbol (``Uniform``). Everything else follows from Bayes' rule, once for both. Matrices go from row to column.
Where a device lacks float64, which these formulas need, they are computed, and their results stay, on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from genmodels.core import holds, random, require, to_float64_device
from genmodels.schedule import uniform_times

__all__ = ["Fade", "Masking", "Process", "Time", "Uniform", "score_entropy"]

# Training times stop just short of 1, where the jump rate of uniform noise, -alpha'/alpha, is infinite.
LAST = 1 - 1e-6

Time = Float[Tensor, ""] | Float[Tensor, "b"] | Float[Tensor, "b l"] | float
Denoise = Callable[[Tensor, Time], Tensor]


@runtime_checkable
class Fade(Protocol):
    """What a noise process asks of a ``schedule.Schedule``: the share of tokens left untouched at time t in [0, 1]."""

    def alpha(self, t: Tensor) -> Tensor:
        """1 at t = 0, decreasing."""


def score_entropy(log_score: Float[Tensor, "..."], ratio: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """s - r log s + r log r - r for every entry: >= 0, and 0 only where s = r [SEDD, Lou et al. 2024, eq. 5]."""
    some = ratio > 0  # 0 log 0 = 0, and so is its gradient
    r, log_s = torch.where(some, ratio, 1.0), torch.where(some, log_score, 0.0)
    return log_score.exp() + torch.where(some, r * (r.log() - log_s), 0.0) - ratio


class Process:
    """A noise process; the two below differ in ``states`` and ``pi`` only.

    Times are one number, (b,) or, for a time of each token, (b, l); 0 <= s < t <= 1.
    """

    def __init__(self, schedule: Fade, pi: Float[Tensor, "v"]):
        self.schedule, self.pi, self.states = schedule, pi, len(pi)
        self.clean = torch.ones(self.states, dtype=torch.bool)  # the symbols that a text may hold
        self.all_clean = True  # as ``clean.all()``, known without a look at a device
        self._sent: dict[tuple, Tensor] = {}

    def alpha(self, t: Time, x: Int[Tensor, "b l"]) -> Float[Tensor, "#b #l"]:
        """Probability that a token of x has kept its value at time t."""
        return self.schedule.alpha(_per_token(t, x))

    def only_clean(self, log_p0: Float[Tensor, "b l v"]) -> Float[Tensor, "b l v"]:
        """Log-probabilities of symbols that a text may hold, normalised: what a network gives the mask is taken away.

        ValueError where it gives all (not looked for on another device than the CPU).
        """
        if self.all_clean:
            return log_p0
        kept = log_p0.masked_fill(~self._send(self.clean, log_p0.device), -torch.inf)
        total = kept.logsumexp(-1, keepdim=True)
        require(
            holds(total > -torch.inf), "the denoiser gives no symbol of the text any probability: see discrete.subs"
        )
        return kept - total

    def rate(self, t: Time, x: Int[Tensor, "b l"]) -> Float[Tensor, "#b #l"]:
        """Redraws per unit of time, sigma'(t) = -d log alpha / dt, by a forward derivative of the schedule."""
        alpha, slope = self._alpha_slope(t, x)
        require(holds(alpha > 0), "the rate is infinite where alpha(t) = 0: stay at t < 1")
        return -slope / alpha

    def rate_matrix(self, t: float) -> Float[Tensor, "v v"]:
        """Generator Q_t of one token, d p_t / dt = p_t Q_t for a row p_t; its rows sum to 0."""
        rate = self.rate(t, torch.zeros(1, 1, dtype=torch.long))
        return rate * (self.pi.expand(self.states, -1) - torch.eye(self.states, dtype=self.pi.dtype))

    def transition(self, t: float, s: float = 0.0) -> Float[Tensor, "v v"]:
        """P(x_t = column | x_s = row) of one token, in closed form."""
        one = torch.zeros(1, 1, dtype=torch.long)
        a = self.alpha(t, one) / self.alpha(s, one)
        return self.through(torch.eye(self.states, dtype=self.pi.dtype), a)

    def through(self, w: Float[Tensor, "*b v"], alpha: Tensor) -> Float[Tensor, "*b v"]:
        """Send a row of masses through the noise: alpha w + (1 - alpha) pi sum(w)."""
        alpha = alpha.to(w.dtype)
        return alpha * w + (1 - alpha) * self._pi(w) * w.sum(-1, keepdim=True)

    def arrive(self, x: Int[Tensor, "b l"], a: Float[Tensor, "#b #l"]) -> Float[Tensor, "b l v"]:
        """Probability that noise with survival a turns each symbol into the one in x: a column of the transition."""
        stay = F.one_hot(x, self.states).to(a.dtype)
        return a[..., None] * stay + ((1 - a) * self._pi(a)[x])[..., None]

    def prior(
        self, shape: tuple[int, int], *, generator: torch.Generator | None = None, device: str | torch.device = "cpu"
    ) -> Int[Tensor, "b l"]:
        """Independent draws from pi: x_1 where alpha(1) = 0."""
        raise NotImplementedError("each process draws from its own pi")

    def corrupt(self, x0: Int[Tensor, "b l"], t: Time, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw x_t given x_0."""
        require(not x0.is_floating_point(), f"tokens are whole numbers, got {x0.dtype}: use x0.long()")
        device, x0 = x0.device, to_float64_device(x0)
        u = random(torch.rand, x0.shape, generator=generator, dtype=torch.float64, device=x0.device)
        noise = self.prior(tuple(x0.shape), generator=generator, device=x0.device)
        return torch.where(u < self.alpha(t, x0), x0, noise).to(device)

    def likelihood(self, x_t: Int[Tensor, "b l"], t: Time) -> Float[Tensor, "b l v"]:
        """q(x_t | x_0 = k) for every clean symbol k."""
        return self.arrive(x_t, self.alpha(t, x_t))

    def posterior(
        self, x_t: Int[Tensor, "b l"], p0: Float[Tensor, "b l v"], t: Time, s: Time
    ) -> Float[Tensor, "b l v"]:
        """q(x_s | x_t) where x_0 ~ p0 given x_t; for a one-hot p0, q(x_s | x_t, x_0) [D3PM, Austin 2021, eq. 3].

        p0 is renormalised over the clean symbols that x_t allows; mass on the mask, which no text holds, is dropped.
        """
        x_t, p0 = to_float64_device(x_t), to_float64_device(p0)
        alpha_t, alpha_s = self.alpha(t, x_t), self.alpha(s, x_t)
        require(holds(alpha_s > alpha_t), "posterior goes back in time: alpha(s) must exceed alpha(t), so s < t")
        back = self.through(self._weights(x_t, p0, alpha_t), alpha_s[..., None])
        joint = back * self.arrive(x_t, alpha_t / alpha_s)
        return joint / joint.sum(-1, keepdim=True)

    def ratio(self, x_t: Int[Tensor, "b l"], p0: Float[Tensor, "b l v"], t: Time) -> Float[Tensor, "b l v"]:
        """Concrete score p_t(y) / p_t(x_t), y being x_t with one token replaced by each symbol; 1 where y = x_t.

        From the denoiser p0 = p(x_0 | x_t): sum_k p0(k) q(y | k) / q(x_t | k) [SEDD, theorem 3.6]. Defined where every
        clean symbol can become x_t, so under masking at the masks only; a visible token never jumps back.
        """
        x_t, p0 = to_float64_device(x_t), to_float64_device(p0)
        alpha = self.alpha(t, x_t)
        return self.through(self._weights(x_t, p0, alpha), alpha[..., None])

    def reverse_rates(self, x_t: Int[Tensor, "b l"], ratio: Float[Tensor, "b l v"], t: Time) -> Float[Tensor, "b l v"]:
        """Rates of the time-reversed jumps from x_t: Q_t(y, x_t) p_t(y) / p_t(x_t); 0 where y = x_t."""
        x_t, ratio = to_float64_device(x_t), to_float64_device(ratio)
        here = F.one_hot(x_t, self.states).bool()
        forward = (self.rate(t, x_t) * self._pi(ratio)[x_t])[..., None]
        return (forward * ratio).masked_fill(here, 0.0)

    def score_entropy_loss(
        self, log_score: Float[Tensor, "b l v"], x0: Int[Tensor, "b l"], x_t: Int[Tensor, "b l"], t: Time
    ) -> Float[Tensor, "b"]:
        """Diffusion-weighted denoising score entropy at (t, x_t), summed over tokens; its mean over t and x_t is
        the bound on -log p(x_0) [SEDD, theorem 3.6]."""
        x0, x_t, log_score = to_float64_device(x0), to_float64_device(x_t), to_float64_device(log_score)
        ratio = self.ratio(x_t, F.one_hot(x0, self.states).to(log_score.dtype), t)
        here = F.one_hot(x_t, self.states).bool()
        jumps = score_entropy(log_score, ratio).masked_fill(here, 0.0).sum(-1)
        # A symbol that noise never draws is never left on the way back; 0 x inf is no part of the bound.
        forward = self.rate(t, x_t) * self._pi(ratio)[x_t]
        return torch.where(forward > 0, forward * jumps, 0.0).sum(1)

    def nelbo_at(
        self, log_p0: Float[Tensor, "b l v"], x0: Int[Tensor, "b l"], x_t: Int[Tensor, "b l"], t: Time
    ) -> Float[Tensor, "b"]:
        """Integrand of the bound for a denoiser: the score entropy of the ratio it implies, in float64 (ratios near 1
        cancel while the rate is large)."""
        p0 = to_float64_device(log_p0).double().exp()
        return self.score_entropy_loss(self.ratio(x_t, p0, t).log(), x0, x_t, t)

    def nelbo(
        self,
        denoise: Denoise,
        x0: Int[Tensor, "b l"],
        t: Time | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "b"]:
        """One-sample estimate of an upper bound on -log p(x_0) in nats; t is drawn, stratified, unless given.

        Unbiased for uniform t in (0, 1]; under masking its variance is infinite, because a few early times weigh 1/t
        (narrower times, or ``llada_nelbo``, tame it). Where alpha(1) > 0 the bound needs ``prior_kl`` too.
        """
        if t is None:
            t = uniform_times(len(x0), generator=generator, device=x0.device, t_max=LAST)
            t = to_float64_device(t).double()
        x_t = self.corrupt(x0, t, generator=generator)
        return self.nelbo_at(denoise(x_t, t), x0, x_t, t)

    def step_kl(
        self, log_p0: Float[Tensor, "b l v"], x0: Int[Tensor, "b l"], x_t: Int[Tensor, "b l"], t: Time, s: Time
    ) -> Float[Tensor, "b"]:
        """KL(q(x_s | x_t, x_0) || p(x_s | x_t)): the term of one step in D3PM's bound in discrete time."""
        x0, x_t, log_p0 = to_float64_device(x0), to_float64_device(x_t), to_float64_device(log_p0)
        exact = self.posterior(x_t, F.one_hot(x0, self.states).to(log_p0.dtype), t, s)
        model = self.posterior(x_t, log_p0.exp(), t, s)
        return _kl(exact, model).sum(1)

    def prior_kl(self, x0: Int[Tensor, "b l"]) -> Float[Tensor, "b"]:
        """KL(q(x_1 | x_0) || prior): what the bound pays where noise has not erased everything."""
        x0 = to_float64_device(x0)
        end = self.through(F.one_hot(x0, self.states).to(self.pi.dtype), self.alpha(1.0, x0)[..., None])
        return _kl(end, self._pi(end).expand_as(end)).sum(1)

    def _alpha_slope(self, t: Time, x: Tensor) -> tuple[Tensor, Tensor]:
        t = _per_token(t, x)
        return torch.func.jvp(self.schedule.alpha, (t,), (torch.ones_like(t),))

    def _pi(self, like: Tensor) -> Float[Tensor, "v"]:
        return self._send(self.pi, like.device, like.dtype)

    def _send(self, constant: Tensor, *key) -> Tensor:
        """``pi`` or ``clean`` where the numbers are, sent there once."""
        return self._sent[key] if key in self._sent else self._sent.setdefault(key, constant.to(*key))

    def _weights(self, x_t: Tensor, p0: Tensor, alpha: Tensor) -> Float[Tensor, "b l v"]:
        """p0(k) / q(x_t | k) with p0 on the clean symbols alone, and 0 where x_t could not have come from k."""
        q = self.arrive(x_t, alpha).to(p0.dtype)
        if not self.all_clean:
            p0 = torch.where(self._send(self.clean, q.device), p0, 0.0)
            p0 = p0 / p0.sum(-1, keepdim=True)
        return torch.where(q > 0, p0 / torch.where(q > 0, q, 1.0), 0.0)


class Masking(Process):
    """Absorbing noise: a token turns into the mask, symbol ``v``, and stays it. There are v + 1 states."""

    def __init__(self, v: int, schedule: Fade):
        require(v >= 1, f"a text needs at least 1 symbol, got {v}")
        super().__init__(schedule, F.one_hot(torch.tensor(v), v + 1).double())
        self.v, self.mask = v, v
        self.clean[v] = self.all_clean = False

    def prior(
        self,
        shape: tuple[int, int],
        *,
        generator: torch.Generator | None = None,  # noqa: ARG002 nothing is left to chance
        device: str | torch.device = "cpu",
    ) -> Int[Tensor, "b l"]:
        """Nothing but masks."""
        return torch.full(shape, self.mask, device=device)

    def weight(self, t: Time, x: Int[Tensor, "b l"]) -> Float[Tensor, "#b #l"]:
        """-alpha'(t) / (1 - alpha(t)), the weight of a masked token's cross-entropy; 1/t on the linear schedule."""
        alpha, slope = self._alpha_slope(t, to_float64_device(x))
        require(holds(alpha < 1), "the weight is infinite where alpha(t) = 1: stay at t > 0")
        return -slope / (1 - alpha)

    def posterior(
        self, x_t: Int[Tensor, "b l"], p0: Float[Tensor, "b l v"], t: Time, s: Time
    ) -> Float[Tensor, "b l v"]:
        """As for every process; a visible token stays what it is, also a prompt's at t = 1, where noise leaves none."""
        x_t, p0 = to_float64_device(x_t), to_float64_device(p0)
        certain = F.one_hot(x_t, self.states).to(p0.dtype)
        return torch.where((x_t == self.mask)[..., None], super().posterior(x_t, p0, t, s), certain)

    def nelbo_at(
        self, log_p0: Float[Tensor, "b l v"], x0: Int[Tensor, "b l"], x_t: Int[Tensor, "b l"], t: Time
    ) -> Float[Tensor, "b"]:
        """Weighted cross-entropy of the masked tokens, what score entropy becomes [MDLM, Sahoo 2024, eq. 10]."""
        x0, x_t = to_float64_device(x0), to_float64_device(x_t)
        nll = -to_float64_device(log_p0).gather(2, x0[..., None])[..., 0]
        return (self.weight(t, x_t) * torch.where(x_t == self.mask, nll, 0.0)).sum(1)


class Uniform(Process):
    """A token is redrawn from all v symbols with equal chance, so no symbol says whether it was touched."""

    def __init__(self, v: int, schedule: Fade):
        require(v >= 2, f"noise changes a symbol to another: at least 2 are needed, got {v}")
        super().__init__(schedule, torch.full((v,), 1 / v, dtype=torch.float64))
        self.v = v

    def prior(
        self, shape: tuple[int, int], *, generator: torch.Generator | None = None, device: str | torch.device = "cpu"
    ) -> Int[Tensor, "b l"]:
        """Any symbols."""
        return random(torch.randint, self.v, shape, generator=generator, device=device)


def _kl(p: Float[Tensor, "*b v"], q: Float[Tensor, "*b v"]) -> Float[Tensor, "*b"]:
    """sum p log(p / q), 0 where p = 0; there its gradient is 0 too, where xlogy's is 0 / 0."""
    some = p > 0
    p, q = torch.where(some, p, 1.0), torch.where(some, q, 1.0)
    return torch.where(some, p * (p.log() - q.log()), 0.0).sum(-1)


def _per_token(t: Time, x: Int[Tensor, "b l"]) -> Float[Tensor, "#b #l"]:
    """A time as (1, 1), (b, 1) or (b, l), in float64 unless it comes in another precision."""
    x = to_float64_device(x)
    t = t.to(x.device) if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64, device=x.device)
    if not holds((t >= 0) & (t <= 1)):
        raise ValueError(f"times lie in [0, 1]; got {float(t.min()):.4g} .. {float(t.max()):.4g}")
    if t.ndim == 2:
        require(t.shape == x.shape, f"a time of each token must have shape {tuple(x.shape)}; got {tuple(t.shape)}")
        return t
    require(t.ndim == 0 or t.shape == x.shape[:1], f"expected one time or {len(x)} of them; got shape {tuple(t.shape)}")
    return t.reshape(-1, 1)
