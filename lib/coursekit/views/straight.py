"""The functions of chapter 12 from the library's parts: what its labs use until a student's own is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from genmodels import diffusion, samplers, schedule, toy

__all__ = ["euler_path", "flow_loss", "marginal_velocity", "stochastic_step", "straightness"]


def marginal_velocity(x: Float[Tensor, "b d"], t: float, data: Float[Tensor, "n d"]) -> Float[Tensor, "b d"]:
    """E[eps - x0 | x_t = x] on the straight path for data that are these points [Liu et al. 2022, eq. 2]."""
    return (x - toy.EmpiricalDenoiser(data).denoise(x, 1 - t, t)) / t


def flow_loss(
    velocity: Callable, x0: Float[Tensor, "b *d"], eps: Float[Tensor, "b *d"], t: Float[Tensor, "b"]
) -> Float[Tensor, "b"]:
    """|velocity(x_t, t) - (eps - x0)|^2 for each sample, x_t = (1 - t) x0 + t eps [Liu et al. 2022, eq. 1]."""
    model = diffusion.Denoiser(velocity, schedule.rectified(), "velocity")
    return diffusion.loss(model, x0, t, weight="velocity", eps=eps)


def euler_path(velocity: Callable, x: Float[Tensor, "b *d"], times: Sequence[float]) -> Float[Tensor, "k b *d"]:
    """The states at all times, the first included, by Euler steps on the velocity."""
    return torch.stack([x, *samplers.sample(samplers.euler(velocity), x, times)])


def straightness(states: Float[Tensor, "k b *d"], times: Sequence[float]) -> Float[Tensor, "b"]:
    """Integral of |chord - dx/dt|^2 over the walk, for each traveller [S(Z) of Liu et al. 2022]."""
    return samplers.straightness(list(states), times)


def stochastic_step(
    velocity: Callable, x: Float[Tensor, "b *d"], t: float, s: float, g: float, z: Float[Tensor, "b *d"]
) -> Float[Tensor, "b *d"]:
    """Euler's step from t down to s with the score's drift g^2 / 2 and the given kicks z [Albergo et al. 2023]."""
    h, v = t - s, velocity(x, t)
    score = -(x + (1 - t) * v) / t
    return x - h * v + h * g**2 / 2 * score + g * math.sqrt(h) * z
