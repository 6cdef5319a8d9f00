"""Average velocities: one call carries x from any time to any earlier one (MeanFlow)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from genmodels.core import require

__all__ = ["mean_flow", "mean_flow_step"]

# (x_t, r, t) -> u, the mean velocity between r and t: x_r = x_t - (t - r) u
MeanVelocity = Callable[[Tensor, Tensor, Tensor], Tensor]


def mean_flow(
    average: MeanVelocity,
    x: Float[Tensor, "b *d"],
    velocity: Float[Tensor, "b *d"],
    r: Float[Tensor, "b"],
    t: Float[Tensor, "b"],
) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
    """(u, v - (t - r) du/dt) at (x_t, r, t): equal for the mean velocity of the field v, and only for it [Geng et al.
    2025, arXiv 2505.13447, eq. 6].

    du/dt = v du/dx + du/dt is the derivative along the path, one forward pass with torch.func.jvp. To train, give the
    conditional velocity eps - x_0 as v and regress u on the second of the two, detached; r = t is flow matching.
    """
    require(
        r.shape == t.shape == x.shape[:1], f"expected {len(x)} times r and t; got {tuple(r.shape)}, {tuple(t.shape)}"
    )
    require(velocity.shape == x.shape, f"velocity {tuple(velocity.shape)} and x {tuple(x.shape)} must have one shape")
    u, change = torch.func.jvp(average, (x.contiguous(), r, t), (velocity, torch.zeros_like(r), torch.ones_like(t)))
    return u, velocity - (t - r).reshape(-1, *[1] * (x.ndim - 1)) * change


def mean_flow_step(average: MeanVelocity) -> Callable[[Tensor, float, float], Tensor]:
    """The sampler's step x_s = x_t - (t - s) u(x_t, s, t): exact at any length for the true mean velocity."""

    def step(x: Tensor, t: float, s: float) -> Tensor:
        return x - (t - s) * average(x, x.new_full((len(x),), s), x.new_full((len(x),), t))

    return step
