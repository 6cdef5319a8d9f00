"""Samplers that may take a token back: remasking, and the mixture of a step towards the data with fresh noise.

Each keeps the marginals of the noise process, whatever its strength, because it replaces a part of x_t's own way from t
to s by an independent draw of q(x_s | x_0). An early mistake of the denoiser is then met again and can be mended.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from genmodels.core import require, to_float64_device
from genmodels.discrete import Masking, Process, Time
from genmodels.samplers.discrete import Denoise, Kernel, draw
from genmodels.samplers.loop import Step

__all__ = ["psi", "psi_kernel", "remdm", "remdm_kernel"]

Remask = Callable[[Tensor], Tensor]


def remdm_kernel(
    denoise: Denoise, process: Masking, remask: Remask, *, within: Bool[Tensor, "*b l"] | None = None
) -> Kernel:
    """Masked sampling in which a visible token turns into a mask with probability sigma [ReMDM, Wang et al. 2025,
    eq. 5; arXiv 2503.00307].

    A mask is revealed with probability (alpha_s - (1 - sigma) alpha_t) / (1 - alpha_t), so that more appear where more
    go. ``remask`` maps the largest sigma that is possible, min(1, (1 - alpha_s) / alpha_t), to sigma: for example
    ``lambda most: most.clamp_max(0.04)`` (the paper's cap) or ``lambda most: 0.1 * most`` (its rescaling). 0 is
    ancestral sampling. ``within`` are the positions that may change: leave out a prompt.
    """

    def kernel(x: Tensor, t: Time, s: Time) -> Float[Tensor, "b l v"]:
        p0 = to_float64_device(process.only_clean(denoise(x, t))).exp()
        home = to_float64_device(x)
        alpha_t, alpha_s = process.alpha(t, home), process.alpha(s, home)
        require(bool((alpha_s > alpha_t).all()), "a step goes back in time: alpha(s) must exceed alpha(t), so s < t")
        most = ((1 - alpha_s) / alpha_t.clamp_min(1e-300)).clamp_max(1)
        sigma = remask(most)
        possible = bool(((sigma >= 0) & (sigma <= most)).all())
        require(possible, f"remask must give a probability of at most {float(most.min()):.3g}; got {sigma.tolist()}")
        reveal = ((alpha_s - (1 - sigma) * alpha_t) / (1 - alpha_t))[..., None]
        mask = torch.nn.functional.one_hot(torch.tensor(process.mask), process.states).to(p0)
        here = torch.nn.functional.one_hot(home, process.states).to(p0)
        hidden = (home == process.mask)[..., None]
        kept = torch.ones_like(hidden) if within is None else to_float64_device(within)[..., None]
        moved = torch.where(
            hidden, reveal * p0 + (1 - reveal) * mask, (1 - sigma[..., None]) * here + sigma[..., None] * mask
        )
        return torch.where(kept, moved, here)

    return kernel


def remdm(
    denoise: Denoise,
    process: Masking,
    remask: Remask,
    *,
    within: Bool[Tensor, "*b l"] | None = None,
    generator: torch.Generator | None = None,
) -> Step:
    """Draw from ``remdm_kernel``."""
    return draw(remdm_kernel(denoise, process, remask, within=within), generator=generator)


def psi_kernel(denoise: Denoise, process: Process, kappa: float) -> Kernel:
    """kappa q(x_s | x_t, x_0) + (1 - kappa) q(x_s | x_0), averaged over the denoiser's x_0: predictor and corrector in
    one step, for any noise [Psi-samplers, Deschenaux et al. 2026, arXiv 2602.21185].

    kappa 1 is ancestral sampling, 0 draws a whole text and noises it afresh. Under masking it is ``remdm`` with
    sigma = (1 - kappa) (1 - alpha_s).
    """
    require(0 <= kappa <= 1, f"kappa must lie in [0, 1], got {kappa}")

    def kernel(x: Tensor, t: Time, s: Time) -> Float[Tensor, "b l v"]:
        p0, home = to_float64_device(process.only_clean(denoise(x, t))).exp(), to_float64_device(x)
        afresh = process.through(p0, process.alpha(s, home)[..., None])
        return kappa * process.posterior(home, p0, t, s) + (1 - kappa) * afresh

    return kernel


def psi(denoise: Denoise, process: Process, kappa: float, *, generator: torch.Generator | None = None) -> Step:
    """Draw from ``psi_kernel``."""
    return draw(psi_kernel(denoise, process, kappa), generator=generator)
