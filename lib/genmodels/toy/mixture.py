"""Perfect denoisers: of a Gaussian mixture, whose every noised marginal is known, and of a finite data set."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genmodels.core import expand, random, require, sample_categorical

__all__ = ["EmpiricalDenoiser", "GaussianMixture", "face"]

Number = Float[Tensor, "b"] | Float[Tensor, ""] | float
Field = Callable[[Tensor, Number], Tensor]


@runtime_checkable
class Path(Protocol):
    """What a schedule must offer here: ``at(t)`` with alpha, sigma and rates."""

    def at(self, t: Number) -> Any:
        """The path at time t."""


class GaussianMixture:
    """sum_k w_k N(m_k, C_k) in R^d; under x_t = alpha x_0 + sigma eps, sum_k w_k N(alpha m_k, alpha^2 C_k + sigma^2 I).

    Hence exact densities, scores and denoisers at every noise level: the methods below take ``alpha`` and ``sigma``,
    numbers or (b,), and without them speak of the data itself.

    weights (k,)   positive, scaled to sum to 1
    means (k, d)
    covs           (k, d, d) positive semi-definite, or (k,) standard deviations of round components
    """

    def __init__(
        self,
        weights: Float[Tensor, "k"],
        means: Float[Tensor, "k d"],
        covs: Float[Tensor, "k *dd"] | Float[Tensor, "k"],
    ) -> None:
        k, d = means.shape
        require(weights.shape == (k,) and bool((weights > 0).all()), f"expected {k} positive weights, got {weights}")
        if covs.shape == (k,):
            covs = covs.square()[:, None, None] * torch.eye(d, dtype=means.dtype, device=means.device)
        require(covs.shape == (k, d, d), f"covs must be ({k},) or ({k}, {d}, {d}), got {tuple(covs.shape)}")
        variances, axes = torch.linalg.eigh(covs)
        require(bool((variances > -1e-10).all()), f"a covariance has a negative eigenvalue: {variances.min():.3g}")
        self.weights, self.means, self.covs = weights / weights.sum(), means, covs
        self.variances, self.axes = variances.clamp_min(0), axes

    def component(self, k: int) -> GaussianMixture:
        """One Gaussian of the mixture alone: the data of class k."""
        return GaussianMixture(self.weights[k : k + 1], self.means[k : k + 1], self.covs[k : k + 1])

    def sample(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "n d"], Int[Tensor, "n"]]:
        """n points and the components they came from."""
        label = sample_categorical(self.weights.log().expand(n, -1), generator=generator)
        like = self.means
        z = random(torch.randn, n, like.shape[1], generator=generator, dtype=like.dtype, device=like.device)
        return self.means[label] + torch.einsum("ndj,nj->nd", self.axes[label], self.variances[label].sqrt() * z), label

    def _parts(self, x: Tensor, alpha: Number, sigma: Number) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For each x and component: log w_k N(x), offset from the mean along the principal axes, variances, alpha."""
        if not (x.ndim == 2 and x.shape[1] == self.means.shape[1] and x.is_floating_point()):
            raise ValueError(
                f"expected points (b, {self.means.shape[1]}) in floating point; got {tuple(x.shape)} {x.dtype}"
            )
        means, axes, variances, weights = (v.to(x) for v in (self.means, self.axes, self.variances, self.weights))
        alpha, sigma = (expand(v, x)[..., None] for v in (alpha, sigma))  # to meet (b, k, d)
        offset = torch.einsum("bkd,kdj->bkj", x[:, None] - alpha * means, axes)
        var = alpha**2 * variances + sigma**2
        log_normal = -0.5 * (offset**2 / var + var.log() + math.log(2 * math.pi)).sum(-1)
        return weights.log() + log_normal, offset, var, alpha

    def log_prob(self, x: Float[Tensor, "b d"], alpha: Number = 1.0, sigma: Number = 0.0) -> Float[Tensor, "b"]:
        """log p(x_t) in nats."""
        return self._parts(x, alpha, sigma)[0].logsumexp(1)

    def responsibilities(
        self, x: Float[Tensor, "b d"], alpha: Number = 1.0, sigma: Number = 0.0
    ) -> Float[Tensor, "b k"]:
        """p(component | x_t)."""
        return self._parts(x, alpha, sigma)[0].softmax(1)

    def score(self, x: Float[Tensor, "b d"], alpha: Number = 1.0, sigma: Number = 0.0) -> Float[Tensor, "b d"]:
        """grad log p(x_t): each component pulls with its precision, weighted by its responsibility."""
        log_joint, offset, var, _ = self._parts(x, alpha, sigma)
        return -torch.einsum("bk,bkj,kdj->bd", log_joint.softmax(1), offset / var, self.axes.to(x))

    def denoise(self, x: Float[Tensor, "b d"], alpha: Number, sigma: Number) -> Float[Tensor, "b d"]:
        """E[x_0 | x_t = x]: the mean of the components' posterior means, so no division by alpha or sigma."""
        log_joint, offset, var, alpha = self._parts(x, alpha, sigma)
        shift = torch.einsum("bkj,kdj->bkd", alpha * self.variances.to(x) / var * offset, self.axes.to(x))
        return torch.einsum("bk,bkd->bd", log_joint.softmax(1), self.means.to(x) + shift)

    def denoiser(self, schedule: Path) -> Field:
        """The perfect network: (x, t) -> E[x_0 | x_t = x]."""

        def denoise(x: Float[Tensor, "b d"], t: Number) -> Float[Tensor, "b d"]:
            p = schedule.at(t)
            return self.denoise(x, p.alpha, p.sigma)

        return denoise

    def velocity(self, schedule: Path) -> Field:
        """The marginal velocity E[dx_t/dt | x_t = x] = alpha' x_0 hat + sigma' eps hat, with eps hat = -sigma score."""

        def velocity(x: Float[Tensor, "b d"], t: Number) -> Float[Tensor, "b d"]:
            p = schedule.at(t)
            eps = expand(-p.sigma, x) * self.score(x, p.alpha, p.sigma)
            return expand(p.rates[0], x) * self.denoise(x, p.alpha, p.sigma) + expand(p.rates[1], x) * eps

        return velocity

    def mean_velocity(self, schedule: Path, steps: int = 32) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """(x_t, r, t) -> (x_t - x_r) / (t - r) along the probability-flow ODE, the velocity itself at r = t: what
        MeanFlow learns [Geng et al. 2025].

        The mean of the velocity over ``steps`` Runge-Kutta steps of order 4, differentiable in x, r and t (b,).
        """
        require(steps >= 1, f"at least 1 step is needed, got {steps}")
        velocity = self.velocity(schedule)

        def average(x: Float[Tensor, "b d"], r: Float[Tensor, "b"], t: Float[Tensor, "b"]) -> Float[Tensor, "b d"]:
            h, total = (r - t) / steps, torch.zeros_like(x)
            for i in range(steps):
                at, half, whole = t + i * h, h[:, None] / 2, h[:, None]
                v1 = velocity(x, at)
                v2 = velocity(x + half * v1, at + h / 2)
                v3 = velocity(x + half * v2, at + h / 2)
                v4 = velocity(x + whole * v3, at + h)
                slope = (v1 + 2 * v2 + 2 * v3 + v4) / 6
                x, total = x + whole * slope, total + slope
            return total / steps

        return average

    def flow(self, x: Float[Tensor, "b d"], schedule: Path, start: float, stop: float) -> Float[Tensor, "b d"]:
        """Where the probability-flow ODE carries x from time ``start`` to ``stop``, to nine digits (scipy's DOP853).

        Every Gaussian path is the circle alpha = cos phi, sigma = sin phi, times a scale: with y = x / r,
        r^2 = alpha^2 + sigma^2, the ODE of all of them is dy/dphi = -sin(phi) x_0 hat + cos(phi) eps hat. It asks
        the schedule for its two ends alone (the rates of each step would take more than ten times as long).
        """
        from scipy.integrate import solve_ivp

        (r_0, phi_0), (r_1, phi_1) = (
            (math.hypot(p.alpha, p.sigma), math.atan2(p.sigma, p.alpha)) for p in map(schedule.at, (start, stop))
        )

        def field(phi: float, y: Any) -> Any:
            c, s, y = math.cos(phi), math.sin(phi), torch.from_numpy(y).reshape(x.shape)
            return (-s * (self.denoise(y, c, s) + c * self.score(y, c, s))).flatten().numpy()

        y = (x.detach().cpu().double() / r_0).flatten().numpy()
        end = solve_ivp(field, (phi_0, phi_1), y, method="DOP853", rtol=1e-11, atol=1e-12)
        require(end.success, f"the ODE solver failed between t = {start} and {stop}: {end.message}")
        return r_1 * torch.from_numpy(end.y[:, -1]).reshape(x.shape).to(x)


class EmpiricalDenoiser:
    """E[x_0 | x_t] for data that are exactly these points, all equally likely: what the training loss is minimised by.

    A sampler with it returns the training points: a trained network generates because it is *not* this.
    """

    def __init__(self, points: Float[Tensor, "n *d"]) -> None:
        require(len(points) > 0, "an empirical denoiser needs at least one point")
        self.points = points

    def posterior(self, x: Float[Tensor, "b *d"], alpha: Number, sigma: Number) -> Float[Tensor, "b n"]:
        """p(x_0 = point_i | x_t = x) = softmax_i of -|x - alpha point_i|^2 / (2 sigma^2)."""
        if x.shape[1:] != self.points.shape[1:]:
            raise ValueError(f"points have shape {tuple(self.points.shape[1:])}; got a batch {tuple(x.shape)}")
        points, flat = self.points.to(x).flatten(1), x.flatten(1)
        alpha, sigma = expand(alpha, flat), expand(sigma, flat)
        half_distance = alpha**2 * points.square().sum(1) / 2 - alpha * (flat @ points.T)  # up to |x|^2 / 2
        return (-half_distance / sigma**2).softmax(1)

    def denoise(self, x: Float[Tensor, "b *d"], alpha: Number, sigma: Number) -> Float[Tensor, "b *d"]:
        """The points' mean under that posterior."""
        return (self.posterior(x, alpha, sigma) @ self.points.to(x).flatten(1)).reshape(x.shape)

    def denoiser(self, schedule: Path) -> Field:
        """The same as a function of (x, t)."""

        def denoise(x: Float[Tensor, "b *d"], t: Number) -> Float[Tensor, "b *d"]:
            p = schedule.at(t)
            return self.denoise(x, p.alpha, p.sigma)

        return denoise


def face() -> GaussianMixture:
    """A face on the plane: two round eyes, and a mouth of five long Gaussians along an arc, inside [-3, 3]^2."""
    means, covs = [(-1.15, 1.3), (1.15, 1.3)], [0.22**2 * torch.eye(2, dtype=torch.float64)] * 2
    for degrees in (205, 237.5, 270, 302.5, 335):
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        along, across = torch.tensor([[-s, c], [c, s]], dtype=torch.float64)
        means.append((2.1 * c, 0.35 + 2.1 * s))
        covs.append(0.36**2 * torch.outer(along, along) + 0.13**2 * torch.outer(across, across))
    weights = torch.tensor([0.18] * 2 + [0.128] * 5, dtype=torch.float64)
    return GaussianMixture(weights, torch.tensor(means, dtype=torch.float64), torch.stack(covs))
