"""Which times: decreasing grids to sample on, and random draws to train on."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from genmodels.core import random, require

from .path import Schedule

__all__ = [
    "karras_grid",
    "log_snr_grid",
    "logit_normal_times",
    "lognormal_times",
    "uniform_grid",
    "uniform_times",
]


def uniform_grid(path: Schedule, steps: int, *, start: float | None = None, stop: float = 0.0) -> list[float]:
    """``steps + 1`` equally spaced times from ``start`` (t_max) down to ``stop``, both included."""
    start = path.t_max if start is None else start
    require(steps >= 1, f"a grid needs at least one step, got {steps}")
    require(0 <= stop < start <= path.t_max, f"expected 0 <= stop < start <= {path.t_max}, got {start} to {stop}")
    return path.tabulate([*(start + (stop - start) * i / steps for i in range(steps)), stop])


def karras_grid(
    path: Schedule, steps: int, *, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0
) -> list[float]:
    """Noise levels sigma / alpha uniform in their rho-th root, then 0  [Karras et al. 2022, eq. 5]; ``steps`` steps.

    On another path than EDM's these are the times with the same signal-to-noise ratio; a noise level beyond the
    path's end is the end. Large rho puts the steps where the noise is small; rho = 1 is linear. ValueError where two
    levels lie beyond the end, which would be a step of no length.
    """
    require(steps >= 2, f"the grid joins sigma_max, sigma_min and 0: at least two steps, got {steps}")
    require(0 < sigma_min < sigma_max, f"expected 0 < sigma_min < sigma_max, got {sigma_min} and {sigma_max}")
    require(rho > 0, f"rho must be positive, got {rho}")
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    levels = [(high + (low - high) * i / (steps - 1)) ** rho for i in range(steps)]
    return _at_log_snr(path, [-2 * math.log(u) for u in levels])


def log_snr_grid(path: Schedule, steps: int, *, low: float = -10.0, high: float = 10.0) -> list[float]:
    """Times whose log-SNR climbs evenly from ``low`` to ``high``, then 0; ``steps`` steps  [Lu et al. 2022].

    ValueError where two of them lie beyond the path's end.
    """
    require(steps >= 2, f"the grid joins low, high and no noise at all: at least two steps, got {steps}")
    require(low < high, f"expected low < high, got {low} and {high}")
    return _at_log_snr(path, [low + (high - low) * i / (steps - 1) for i in range(steps)])


def _at_log_snr(path: Schedule, levels: list[float]) -> list[float]:
    times = path.time_at(torch.tensor(levels, dtype=torch.float64)).tolist()
    falling = all(s < t for t, s in zip(times, times[1:], strict=False))
    require(falling, f"log-SNR from {levels[0]:g} to {levels[-1]:g} leaves the path {path.name}: narrow the range")
    return path.tabulate([*times, 0.0])


def uniform_times(
    n: int, *, generator: torch.Generator | None = None, device: str | torch.device = "cpu", t_max: float = 1.0
) -> Float[Tensor, "n"]:
    """Times in (0, t_max], one in each n-th of it, shuffled: a mean over them varies less than over independent ones.

    Never 0, where the data is known and every weight that divides by sigma is infinite. After the low-discrepancy
    sampler of [Kingma et al. 2021], which shares one draw among all cells.
    """
    shuffled = random(torch.randperm, n, generator=generator, device=device)
    u = 1 - random(torch.rand, n, generator=generator, device=device)
    return t_max * (shuffled + u) / n


def logit_normal_times(
    n: int,
    *,
    mean: float = 0.0,
    std: float = 1.0,
    generator: torch.Generator | None = None,
    device: str | torch.device = "cpu",
) -> Float[Tensor, "n"]:
    """sigmoid(N(mean, std^2)): more draws in the middle of a straight path, where it is hard  [Esser et al. 2024]."""
    return torch.sigmoid(_normal(n, mean, std, generator, device))


def lognormal_times(
    n: int,
    *,
    mean: float = -1.2,
    std: float = 1.2,
    generator: torch.Generator | None = None,
    device: str | torch.device = "cpu",
) -> Float[Tensor, "n"]:
    """exp(N(mean, std^2)): EDM's noise levels, which are its times  [Karras et al. 2022, table 1]."""
    return torch.exp(_normal(n, mean, std, generator, device))


def _normal(n: int, mean: float, std: float, generator: torch.Generator | None, device: str | torch.device) -> Tensor:
    require(std > 0, f"std must be positive, got {std}")
    return mean + std * random(torch.randn, n, generator=generator, device=device)
