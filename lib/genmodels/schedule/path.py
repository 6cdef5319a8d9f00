"""The path from data to noise, x_t = alpha(t) x_0 + sigma(t) eps, t = 0 data and t = t_max noise; each is two lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from genmodels.core import expand, random, require, to_float64_device

__all__ = [
    "Point",
    "Schedule",
    "cosine",
    "cosine_betas",
    "edm",
    "from_betas",
    "linear_betas",
    "linear_vp",
    "noise_like",
    "rectified",
    "ve",
]

# alpha and sigma of a Point are at least TINY, so that ratios at the two ends, where one of them is 0, stay finite
# (log-SNR within +-69). Its square and its inverse's square exist in float32.
TINY = 1e-15
# Rates are taken at t >= RATE_MIN: where sigma ~ sqrt(t), as on every VP path, sigma' is infinite at 0 itself.
RATE_MIN = 1e-12


class Point:
    """The path at one time: alpha, sigma, rates = (alpha', sigma'); floats when t is a float, tensors (b,) else."""

    def __init__(self, alpha: Tensor | float, sigma: Tensor | float, rates: Callable[[], tuple]) -> None:
        self.alpha, self.sigma, self._rates, self._known = alpha, sigma, rates, None

    @property
    def rates(self) -> tuple:
        """(d alpha / dt, d sigma / dt), computed when first asked for."""
        if self._known is None:  # not functools.cached_property, whose lock stops torch.compile
            self._known = self._rates()
        return self._known

    @property
    def snr(self) -> Tensor | float:
        """Signal-to-noise ratio alpha^2 / sigma^2 (of variances; not in decibel)."""
        return (self.alpha / self.sigma) ** 2

    @property
    def noisy(self) -> bool | Tensor:
        """Whether x_t contains noise, so that there is some to estimate: False at t = 0 (unless the path is ve)."""
        return self.sigma > 2 * TINY


@dataclass(frozen=True)
class Schedule:
    """A Gaussian path from data to noise: x_t = alpha(t) x_0 + sigma(t) eps  [Kingma et al. 2021, eq. 1].

    alpha, sigma   elementwise functions of a time tensor, differentiable by torch; sigma / alpha increases
    t_max          the time of pure noise: 1, or the largest noise level where time *is* the noise level
    """

    name: str
    alpha: Callable[[Tensor], Tensor]
    sigma: Callable[[Tensor], Tensor]
    t_max: float = 1.0
    _table: dict[float, Point] = field(default_factory=dict, init=False, repr=False, compare=False)

    def at(self, t: Float[Tensor, "*b"] | float) -> Point:
        """The path at time t. Floats are computed in float64 and remembered, so that samplers pay for them once.

        ValueError for a float outside [0, t_max]; a tensor's values are not looked at (see ``corrupt``).
        """
        if isinstance(t, Tensor):
            return Point(self.alpha(t).clamp_min(TINY), self.sigma(t).clamp_min(TINY), lambda: self.rates(t))
        if t not in self._table:
            self.tabulate([t])
        return self._table[t]

    def tabulate(self, times: Iterable[float]) -> list[float]:
        """Compute a whole grid at once, so that a sampler's loop is left with floats; returns the grid.

        The rates, which few samplers need, are computed for the whole grid when one of them is first asked for.
        """
        times = [float(t) for t in times]
        outside = [t for t in times if not 0 <= t <= self.t_max]
        require(not outside, f"times of the path {self.name} lie in [0, {self.t_max:g}]; got {outside}")
        t = torch.tensor(times, dtype=torch.float64)
        alphas, sigmas = self.alpha(t).clamp_min(TINY).tolist(), self.sigma(t).clamp_min(TINY).tolist()
        rates = cache(lambda: list(zip(*(r.tolist() for r in self.rates(t)), strict=True)))
        for i, time in enumerate(times):
            self._table[time] = Point(alphas[i], sigmas[i], lambda i=i: rates()[i])
        return times

    def rates(self, t: Float[Tensor, "*b"]) -> tuple[Tensor, Tensor]:
        """alpha'(t) and sigma'(t), by forward differentiation."""
        t = t.clamp_min(RATE_MIN)
        return torch.func.jvp(lambda t: (self.alpha(t), self.sigma(t)), (t,), (torch.ones_like(t),))[1]

    def log_snr(self, t: Float[Tensor, "*b"] | float) -> Tensor | float:
        """lambda(t) = log alpha^2 / sigma^2, decreasing; +-69 stands for the infinite ends."""
        p = self.at(t)
        log = torch.log if isinstance(t, Tensor) else math.log
        return 2 * (log(p.alpha) - log(p.sigma))

    def time_at(self, log_snr: Float[Tensor, "*b"] | float) -> Tensor | float:
        """The time where the path has this log-SNR, by bisection; the nearer end if it never has."""
        given = log_snr if isinstance(log_snr, Tensor) else torch.tensor(log_snr, dtype=torch.float64)
        target = to_float64_device(given).double()
        low, high = torch.zeros_like(target), torch.full_like(target, self.t_max)
        for _ in range(100):  # more halvings than float64 has bits, for times close to 0 are tiny
            middle = (low + high) / 2
            noisier = self.log_snr(middle) <= target
            low, high = torch.where(noisier, low, middle), torch.where(noisier, middle, high)
        return high.to(log_snr) if isinstance(log_snr, Tensor) else high.item()

    def corrupt(
        self,
        x0: Float[Tensor, "b *d"],
        t: Float[Tensor, "b"] | Float[Tensor, ""] | float,
        *,
        eps: Float[Tensor, "b *d"] | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        """(x_t, eps): jump from data to time t in one step; eps is drawn unless given.

        ValueError for a float t off the path. The value of a tensor t is not looked at: that would wait for the device.
        """
        eps = noise_like(x0, generator) if eps is None else eps
        if eps.shape != x0.shape:
            raise ValueError(f"eps and x0 must have one shape; got {tuple(eps.shape)} and {tuple(x0.shape)}")
        p = self.at(t)
        return expand(p.alpha, x0) * x0 + expand(p.sigma, x0) * eps, eps

    @property
    def prior_std(self) -> float:
        """Standard deviation of x at t_max for data of unit variance: where sampling starts (1 on VP paths)."""
        p = self.at(self.t_max)
        return math.hypot(p.alpha, p.sigma)


def rectified() -> Schedule:
    """The straight path (1 - t) x_0 + t eps of rectified flow and flow matching  [Liu et al. 2022; Lipman et al. 2022].

    Lipman et al. run time the other way: their t is our 1 - t.
    """
    return Schedule("rectified", lambda t: 1 - t, lambda t: t)


def cosine(s: float = 0.008) -> Schedule:
    """VP path with abar(t) = f(t) / f(0), f(t) = cos^2(pi/2 (t + s) / (1 + s))  [Nichol & Dhariwal 2021, eq. 17].

    s = 0 is the circle alpha = cos(pi t / 2), sigma = sin(pi t / 2). Either way alpha(1) = 0.
    """
    require(s >= 0, f"the offset s must not be negative, got {s}")
    start = math.pi / 2 * s / (1 + s)
    angle = lambda t: math.pi / 2 * (t + s) / (1 + s)
    # 1 - cos^2(u) / cos^2(w) = sin(u - w) sin(u + w) / cos^2(w): no cancellation where sigma is small
    noise = lambda u: torch.sin(u - start) * torch.sin(u + start)
    return Schedule(
        f"cosine(s={s:g})",
        lambda t: torch.cos(angle(t)) / math.cos(start),
        lambda t: noise(angle(t)).clamp_min(0).sqrt() / math.cos(start),
    )


def linear_vp(beta_min: float = 0.1, beta_max: float = 20.0) -> Schedule:
    """The continuous DDPM: noise rate beta(t) linear, abar(t) = exp(-integral of beta)  [Song et al. 2021, eq. 29]."""
    require(0 < beta_min <= beta_max, f"expected 0 < beta_min <= beta_max, got {beta_min} and {beta_max}")
    log_abar = lambda t: -(beta_min * t + (beta_max - beta_min) * t**2 / 2)
    return _vp(f"linear_vp({beta_min:g}, {beta_max:g})", log_abar)


def from_betas(betas: Float[Tensor, "T"]) -> Schedule:
    """The chain q(x_k | x_{k-1}) = N(sqrt(1 - beta_k) x_{k-1}, beta_k) as a path, x_k at t = k / T  [Ho et al. 2020].

    Exact at the grid; between two grid points the noise rate is constant, so log abar is linear.
    """
    betas = torch.as_tensor(betas, dtype=torch.float64)
    require(betas.ndim == 1 and len(betas) > 0, f"betas must be a vector of at least one; got {tuple(betas.shape)}")
    bad = (~((betas > 0) & (betas < 1))).nonzero().flatten().tolist()  # NaN is bad too
    require(not bad, f"betas must lie strictly between 0 and 1; got {[betas[k].item() for k in bad]} at index {bad}")
    steps = len(betas)
    table = torch.cat([torch.zeros(1, dtype=torch.float64), torch.log1p(-betas).cumsum(0)])

    def log_abar(t: Tensor) -> Tensor:
        knots = table.to(t)
        left = (t * steps).long().clamp(0, steps - 1)
        return knots[left] + (t * steps - left) * (knots[left + 1] - knots[left])

    return _vp(f"from_betas(T={steps})", log_abar)


def edm(sigma_max: float = 80.0) -> Schedule:
    """Time is the noise level: x_t = x_0 + t eps, t up to sigma_max  [Karras et al. 2022]."""
    require(sigma_max > 0, f"sigma_max must be positive, got {sigma_max}")
    return Schedule("edm", torch.ones_like, lambda t: t, t_max=sigma_max)


def ve(sigma_min: float = 0.01, sigma_max: float = 50.0) -> Schedule:
    """Variance exploding, noise level geometric in t; t = 0 keeps sigma_min of it  [Song et al. 2021, eq. 31]."""
    require(0 < sigma_min < sigma_max, f"expected 0 < sigma_min < sigma_max, got {sigma_min} and {sigma_max}")
    ratio = math.log(sigma_max / sigma_min)
    return Schedule(f"ve({sigma_min:g}, {sigma_max:g})", torch.ones_like, lambda t: sigma_min * torch.exp(ratio * t))


def _vp(name: str, log_abar: Callable[[Tensor], Tensor]) -> Schedule:
    """alpha^2 = abar, alpha^2 + sigma^2 = 1."""
    return Schedule(name, lambda t: (log_abar(t) / 2).exp(), lambda t: (-torch.expm1(log_abar(t))).sqrt())


def linear_betas(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Float[Tensor, "T"]:
    """DDPM's betas [Ho et al. 2020, sec. 4], given for 1000 steps and scaled by 1000 / T: every T ends at one noise."""
    require(steps >= 21, f"with {steps} steps some scaled beta would reach 1: use at least 21, or the cosine betas")
    scale = 1000 / steps
    return torch.linspace(scale * first, scale * last, steps, dtype=torch.float64)


def cosine_betas(steps: int = 1000, s: float = 0.008, largest: float = 0.999) -> Float[Tensor, "T"]:
    """The cosine path's betas, 1 - abar_k / abar_{k-1}, the last clipped below 1  [Nichol & Dhariwal 2021]."""
    require(steps >= 1, f"a chain has at least one step, got {steps}")
    abar = cosine(s).alpha(torch.linspace(0, 1, steps + 1, dtype=torch.float64)) ** 2
    return (1 - abar[1:] / abar[:-1]).clamp_max(largest)


def noise_like(x: Float[Tensor, "*d"], generator: torch.Generator | None = None) -> Float[Tensor, "*d"]:
    """Standard normal noise of x's shape, type and device, from the generator's own device when there is one."""
    if not x.is_floating_point():
        raise ValueError(f"noise has the type of x, which must be floating point; got {x.dtype}: use x.float()")
    return random(torch.randn, x.shape, generator=generator, device=x.device, dtype=x.dtype)
