"""The functions of chapter 09 from the library's parts: what its labs use until a student's own is written."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genmodels import diffusion, samplers, schedule

__all__ = ["ancestral_sample", "bound_terms", "diffusion_loss", "jump", "posterior", "solve_target"]


def _path(abar: Float[Tensor, "T+1"]) -> schedule.Schedule:
    """The chain with these abar, abar[0] = 1, as a path whose time is k / T."""
    return schedule.from_betas((1 - abar[1:].double() / abar[:-1].double()).clamp(1e-12, 1 - 1e-12))


def jump(
    x0: Float[Tensor, "b *d"], k: Int[Tensor, "b"], betas: Float[Tensor, "T"], eps: Float[Tensor, "b *d"]
) -> Float[Tensor, "b *d"]:
    """x_k = sqrt(abar_k) x_0 + sqrt(1 - abar_k) eps [Ho et al. 2020, eq. 4]."""
    return schedule.from_betas(betas).corrupt(x0, k.to(x0.dtype) / len(betas), eps=eps)[0]


def posterior(
    x0: Float[Tensor, "b *d"], xk: Float[Tensor, "b *d"], abar_k: float, abar_j: float
) -> tuple[Float[Tensor, "b *d"], float]:
    """Mean and variance of q(x_j | x_k, x_0): the library's step with eta = 1 [Ho et al. 2020, eqs. 6 and 7]."""
    at = lambda abar: schedule.Point(math.sqrt(abar), math.sqrt(1 - abar), lambda: (math.nan, math.nan))
    c_x, c_0, std = samplers.ddim_coefficients(at(abar_k), at(abar_j), 1.0)
    return c_0 * x0 + c_x * xk, std**2


def bound_terms(
    x0: Float[Tensor, "b *d"],
    denoise: Callable[[Tensor, int], Tensor],
    abar: Float[Tensor, "T+1"],
    eps: Float[Tensor, "T b *d"],
    levels: int,
) -> tuple[Float[Tensor, "b"], Float[Tensor, "T-1 b"], Float[Tensor, "b"]]:
    """(L_T, [L_1, ..., L_{T-1}], L_0) in nats; ``eps[k - 1]`` makes x_k [Ho et al. 2020, eqs. 5 and 13]."""
    path, T = _path(abar), len(abar) - 1
    at_step, grid = lambda x, t: denoise(x, round(t * T)), schedule.uniform_grid(path, T)
    terms = diffusion.variational_bound(at_step, path, x0, grid, bin_width=2 / (levels - 1), eps=eps.flip(0))
    return terms.prior, terms.diffusion.flip(0), terms.reconstruction


def solve_target(
    prediction: Float[Tensor, "b *d"], x: Float[Tensor, "b *d"], a: Tensor, b: Tensor, alpha: Tensor, sigma: Tensor
) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
    """(x_0, eps) with x = alpha x_0 + sigma eps and prediction = a x_0 + b eps."""
    point = schedule.Point(alpha.reshape(-1), sigma.reshape(-1), lambda: (math.nan, math.nan))
    return diffusion.solve(lambda _: (a.reshape(-1), b.reshape(-1)), x, prediction, point)


def diffusion_loss(network, x0, labels, k, eps, u, abar, target="v", drop=0.1) -> Float[Tensor, "b"]:
    """|network(x_k, k / T, labels) - (a x_0 + b eps)|^2 [Ho et al. 2020, eq. 14]; labels are -1 where u < drop."""
    told = labels.masked_fill((u < drop)[:, None], -1)
    model, t = diffusion.Denoiser(network, _path(abar), target), k.to(x0.dtype) / (len(abar) - 1)
    return diffusion.loss(model, x0, t, weight=target, y=told, eps=eps)


def ancestral_sample(denoise, x, abar, steps, generator=None) -> Float[Tensor, "n b *d"]:
    """The states at steps[1:], from x at steps[0] [Ho et al. 2020, algorithm 2]."""
    T = len(abar) - 1
    step = samplers.ddim(lambda x, t: denoise(x, round(t * T)), _path(abar), eta=1.0, generator=generator)
    return torch.stack(list(samplers.sample(step, x, [k / T for k in steps])))
