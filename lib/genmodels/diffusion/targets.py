"""What a network may predict: one table of combinations a x_0 + b eps, one 2 x 2 solve, one table of loss weights."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from genmodels.core import expand, require
from genmodels.schedule import Point, Schedule

__all__ = [
    "TARGETS",
    "WEIGHTS",
    "Denoise",
    "Target",
    "Weight",
    "edm_target",
    "edm_weight",
    "determinant",
    "express",
    "inverse",
    "min_snr_weight",
    "noise_in",
    "scaled",
    "solve",
    "squared_error",
]

Denoise = Callable[[Tensor, Tensor | float], Tensor]  # (x_t, t) -> estimate of x_0
Target = Callable[[Point], tuple]  # the path at t -> (a, b)
Weight = Callable[[Point], Tensor | float]  # the path at t -> weight of |x_0 - x_0 hat|^2

# A network that is asked for a x_0 + b eps, at the optimum, returns the posterior mean of it.
TARGETS: dict[str, Target] = {
    "x0": lambda _: (1.0, 0.0),
    "eps": lambda _: (0.0, 1.0),  # Ho et al. 2020
    "v": lambda p: (-p.sigma, p.alpha),  # Salimans & Ho 2022
    "velocity": lambda p: p.rates,  # dx_t/dt: Lipman et al. 2022, Liu et al. 2022
    "score": lambda p: (0.0, -1.0 / p.sigma),  # grad log q(x_t | x_0) = -eps / sigma: Vincent 2011
}


def edm_target(data_std: float = 0.5) -> Target:
    """EDM's F on any path: the combination that is uncorrelated with x_t, scaled to unit variance.

    [Karras et al. 2022.] F = (sigma / data_std x_0 - alpha data_std eps) / sqrt(Var x_t).
    On a VP path with data_std = 1 it is -v.
    """
    require(data_std > 0, f"data_std must be positive, got {data_std}")

    def target(p: Point) -> tuple:
        std = ((p.alpha * data_std) ** 2 + p.sigma**2) ** 0.5
        return p.sigma / (data_std * std), -p.alpha * data_std / std

    return target


def determinant(target: Target, p: Point) -> Tensor | float:
    """Of the system x_t = alpha x_0 + sigma eps, F = a x_0 + b eps."""
    a, b = target(p)
    return p.alpha * b - p.sigma * a


def scaled(v: Tensor | float, x: Float[Tensor, "b *d"]) -> Tensor | float:
    """A factor for x: a float as it is (no tensor, hence no copy to a device), a (b,) tensor as (b, 1, ..., 1)."""
    return expand(v, x) if isinstance(v, Tensor) else v


def inverse(target: Target, p: Point) -> tuple[tuple, tuple]:
    """Rows of the inverse 2 x 2 system, by Cramer's rule: x_0 and eps as combinations of (x_t, F)."""
    a, b = target(p)
    det = p.alpha * b - p.sigma * a
    return (b / det, -p.sigma / det), (-a / det, p.alpha / det)


def solve(
    target: Target, x: Float[Tensor, "b *d"], prediction: Float[Tensor, "b *d"], p: Point
) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
    """(x_0, eps) from x_t and a prediction of a x_0 + b eps: this replaces every conversion formula."""
    x0, eps = (scaled(c, x) * x + scaled(f, x) * prediction for c, f in inverse(target, p))
    return x0, eps


def noise_in(x: Float[Tensor, "b *d"], x0: Float[Tensor, "b *d"], p: Point) -> Float[Tensor, "b *d"]:
    """The eps that x_t contains if its data is x0: (x_t - alpha x0) / sigma, and 0 where there is no noise."""
    return scaled(p.noisy / p.sigma, x) * (x - scaled(p.alpha, x) * x0)


def express(target: str, denoise: Denoise, schedule: Schedule) -> Denoise:
    """A denoiser as a predictor of another quantity: its score, its velocity field, its eps (a name of TARGETS).

    Tweedie's formula is the case "score": (alpha x_0 hat - x_t) / sigma^2 is the score of the marginal at t.
    """
    require(target in TARGETS, f"unknown target {target!r}; known: {', '.join(TARGETS)}")

    def predict(x: Float[Tensor, "b *d"], t: Float[Tensor, "b"] | Float[Tensor, ""] | float) -> Float[Tensor, "b *d"]:
        p = schedule.at(t)
        x0 = denoise(x, t)
        a, b = TARGETS[target](p)
        return scaled(a, x) * x0 + scaled(b, x) * noise_in(x, x0, p)

    return predict


def squared_error(target: Target) -> Weight:
    """The weight that turns |x_0 - x_0 hat|^2 into the squared error of another target: an error d in x_0 is one of
    det / sigma d in a x_0 + b eps, for x_t is known."""
    return lambda p: (determinant(target, p) / p.sigma) ** 2


def min_snr_weight(gamma: float = 5.0) -> Weight:
    """min(SNR, gamma): eps-weighting that does not grow without bound at low noise  [Hang et al. 2023]."""
    require(gamma > 0, f"gamma must be positive, got {gamma}")
    return lambda p: p.snr.clamp_max(gamma) if isinstance(p.snr, Tensor) else min(p.snr, gamma)


def edm_weight(data_std: float = 0.5) -> Weight:
    """Unit weight on EDM's F: (sigma^2 + data_std^2) / (sigma data_std)^2 on its own path  [Karras et al. 2022]."""
    return squared_error(edm_target(data_std))


WEIGHTS: dict[str, Weight] = {
    **{name: squared_error(target) for name, target in TARGETS.items()},  # "eps" is DDPM's L_simple: SNR
    # -1/2 dSNR/dt: with t uniform on [0, 1] the mean is the bound on -log p(x_0), in nats  [Kingma et al. 2021, eq. 17]
    "elbo": lambda p: p.alpha * determinant(TARGETS["velocity"], p) / p.sigma**3,
    "min_snr": min_snr_weight(),
}
