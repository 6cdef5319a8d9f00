"""Steps on a Gaussian path, each a closure (x, t, s) -> x at the less noisy time s.

Along the probability-flow ODE, dx = x_0 hat d(alpha) + eps hat d(sigma). Holding both estimates over the step gives
DDIM; averaging them over its two ends gives Heun. Neither needs a derivative of the path, on any path: on EDM's, where
alpha = 1 and sigma = t, and on the straight one they are the Euler and Heun steps in t of the papers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from genmodels.core import require
from genmodels.diffusion import Denoise, noise_in
from genmodels.schedule import Point, Schedule, noise_like

from .loop import Step

__all__ = ["churn", "ddim", "ddim_coefficients", "euler", "heun", "langevin", "sde"]


def ddim_coefficients(p: Point, q: Point, eta: float) -> tuple[float, float, float]:
    """(c_x, c_0, tau): x_s = c_x x_t + c_0 x_0 hat + tau z, for p the path at t and q at s  [Song et al. 2021, eq. 12].

    The noise kept is sqrt(sigma_s^2 - tau^2) eps, tau^2 = eta^2 (sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2)
    sigma_s^2 / sigma_t^2: eta = 1 is the posterior q(x_s | x_t, x_0) of DDPM on every path, eta = 0 is DDIM.
    """
    if not p.noisy:  # inversion leaves t = 0, where the data is known and its noise is estimated by 0
        return q.alpha / p.alpha, 0.0, 0.0
    variance = (p.sigma**2 - (p.alpha / q.alpha * q.sigma) ** 2) * (q.sigma / p.sigma) ** 2
    tau = eta * math.sqrt(max(variance, 0.0))
    c_x = math.sqrt(max(q.sigma**2 - tau**2, 0.0)) / p.sigma
    return c_x, q.alpha - c_x * p.alpha, tau if q.noisy else 0.0


def ddim(denoise: Denoise, schedule: Schedule, eta: float = 0.0, *, generator: torch.Generator | None = None) -> Step:
    """One step of the DDIM family: eta = 0 is deterministic (DDIM), 1 the DDPM posterior  [Song et al. 2021, sec. 4].

    Its noise is drawn only where tau > 0: not for eta = 0, nor in the last step. On the straight path eta = 0 *is*
    Euler's step on the velocity.
    """
    require(0 <= eta <= 1, f"eta must lie in [0, 1], got {eta}")

    def step(x: Tensor, t: float, s: float) -> Tensor:
        require(s < t or eta == 0, f"only eta = 0 can step towards noise; got t = {t:g}, s = {s:g}, eta = {eta}")
        c_x, c_0, tau = ddim_coefficients(schedule.at(t), schedule.at(s), eta)
        x = torch.add(c_x * x, denoise(x, t), alpha=c_0)  # c_x x + c_0 x_0 hat, with one kernel fewer
        return x + tau * noise_like(x, generator) if tau > 0 else x

    return step


def heun(denoise: Denoise, schedule: Schedule) -> Step:
    """The trapezoidal step, second order: on EDM's path it is algorithm 1 of Karras et al. 2022.

    Two evaluations a step, but one where s has no noise left and no second estimate exists: 2 n - 1 in all.
    """

    def step(x: Tensor, t: float, s: float) -> Tensor:
        p, q = schedule.at(t), schedule.at(s)
        x0 = denoise(x, t)
        c_x, c_0, _ = ddim_coefficients(p, q, 0.0)
        ahead = c_x * x + c_0 * x0
        if not q.noisy:
            return ahead
        x0_ahead = denoise(ahead, s)
        eps_mean = (noise_in(x, x0, p) + noise_in(ahead, x0_ahead, q)) / 2
        return x + (q.alpha - p.alpha) / 2 * (x0 + x0_ahead) + (q.sigma - p.sigma) * eps_mean

    return step


def churn(
    denoise: Denoise,
    schedule: Schedule,
    gamma: float,
    *,
    low: float = 0.05,
    high: float = 50.0,
    inflate: float = 1.003,
    generator: torch.Generator | None = None,
) -> Step:
    """Add a little noise, then Heun from there: algorithm 2 of Karras et al. 2022.

    gamma     the noise level sigma / alpha is first raised to (1 + gamma) of it; the paper's is
              min(S_churn / steps, sqrt(2) - 1)
    low, high the noise levels between which this is done (S_min, S_max), and not where it would pass the path's end
    inflate   factor on the std of the new noise (S_noise)
    """
    require(0 <= gamma <= math.sqrt(2) - 1 + 1e-12, f"gamma must lie in [0, sqrt(2) - 1], got {gamma}")
    descend = heun(denoise, schedule)
    raised = cache(lambda t: schedule.time_at(schedule.log_snr(t) - 2 * math.log1p(gamma)))

    def step(x: Tensor, t: float, s: float) -> Tensor:
        p = schedule.at(t)
        if not (gamma > 0 and low <= p.sigma / p.alpha <= high and raised(t) < schedule.t_max):
            return descend(x, t, s)
        q = schedule.at(raised(t))
        signal = q.alpha / p.alpha
        added = math.sqrt(q.sigma**2 - (signal * p.sigma) ** 2)
        return descend(signal * x + inflate * added * noise_like(x, generator), raised(t), s)

    return step


def euler(velocity: Callable[[Tensor, float], Tensor]) -> Step:
    """x + (s - t) velocity(x, t): Euler's step on any field of dx/dt, first order."""
    return lambda x, t, s: x + (s - t) * velocity(x, t)


def sde(
    denoise: Denoise,
    schedule: Schedule,
    diffusion: Callable[[float], float] | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Step:
    """Euler-Maruyama on the reverse SDE, x - h (velocity - g^2 / 2 score) + g sqrt(h) z, h = t - s  [Song et al. 2021].

    Every diffusion coefficient g(t) >= 0 has the same marginals: 0 is the probability-flow ODE, the default is the g of
    the forward process, g^2 = -sigma^2 d(log-SNR)/dt, which is infinite where alpha = 0 (ValueError: start below, or
    give another g). No noise is drawn in the last step, to time 0.
    """

    def step(x: Tensor, t: float, s: float) -> Tensor:
        require(s < t, f"the reverse SDE runs from noise to data; got t = {t:g}, s = {s:g}")
        p = schedule.at(t)
        g = forward_diffusion(p) if diffusion is None else diffusion(t)
        require(
            0 <= g < 1e4, f"the diffusion coefficient at t = {t:g} is {g:.3g}: start a little below, or give another"
        )
        x0 = denoise(x, t)
        eps = noise_in(x, x0, p)
        # score = -eps / sigma
        x = x - (t - s) * (p.rates[0] * x0 + (p.rates[1] + g**2 / (2 * p.sigma)) * eps)
        return x + g * math.sqrt(t - s) * noise_like(x, generator) if g > 0 and s > 0 else x

    return step


def forward_diffusion(p: Point) -> float:
    """g of the forward SDE dx = (alpha' / alpha) x dt + g dW whose marginals the path has."""
    return math.sqrt(max(2 * p.sigma * (p.rates[1] - p.rates[0] / p.alpha * p.sigma), 0.0))


def langevin(denoise: Denoise, schedule: Schedule, size: float, *, generator: torch.Generator | None = None) -> Step:
    """x + size score + sqrt(2 size) z at time t: mixes within one marginal, so its grid repeats one time
    [Roberts & Tweedie 1996].

    Unadjusted: for a Gaussian of variance v the stationary variance is v / (1 - size / (2 v)), off by O(size).
    """
    require(size > 0, f"the step size must be positive, got {size}")

    def step(x: Tensor, t: float, s: float) -> Tensor:  # noqa: ARG001 - a corrector stays at t
        p = schedule.at(t)
        return x - size / p.sigma * noise_in(x, denoise(x, t), p) + math.sqrt(2 * size) * noise_like(x, generator)

    return step
