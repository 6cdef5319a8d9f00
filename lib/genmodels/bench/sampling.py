"""50 DDIM steps: what the sampling loop adds to the network's own time, ours and diffusers' around the same network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from genmodels.bench import Row, compare_times
from genmodels.core import generator
from genmodels.diffusion import Denoiser
from genmodels.nets import MLP, UNet
from genmodels.samplers import ddim, last, sample
from genmodels.schedule import Schedule, from_betas, linear_betas, rectified, uniform_grid

STEPS = 50


class TimedMLP(nn.Module):
    """The network of the 2-D labs: time as one more input, three hidden layers of 128."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = MLP(3, (128, 128, 128), 2)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Predict from x (b, 2) and t (b,)."""
        return self.layers(torch.cat([x, t[:, None]], 1))


def bare(network: nn.Module, x: Tensor) -> Callable[[], object]:
    """Nothing but the network calls."""
    t = torch.full((len(x),), 0.5)

    @torch.no_grad()
    def run() -> None:
        for _ in range(STEPS):
            network(x, t)

    return run


def ours(network: nn.Module, x: Tensor, schedule: Callable[[], Schedule], target: str) -> Callable[[], object]:
    """Our loop from nothing: the path, its grid and its coefficients are made anew each time."""

    def run() -> Tensor:
        path = schedule()
        return last(sample(ddim(Denoiser(network, path, target), path), x, uniform_grid(path, STEPS)))

    return run


def diffusers(network: nn.Module, x: Tensor) -> Callable[[], object]:
    """Their scheduler around the network, as in their tutorials."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(1000, clip_sample=False)
    scheduler.set_timesteps(STEPS)

    @torch.no_grad()
    def run() -> Tensor:
        y = x
        for t in scheduler.timesteps:
            y = scheduler.step(network(y, (t / 1000).expand(len(y))), t, y).prev_sample
        return y

    return run


def run() -> list[Row]:
    """Milliseconds of 50 steps against those of 50 calls of the network, for two networks and two paths."""
    torch.manual_seed(0)
    cases = [
        ("MLP, 512 points", TimedMLP().eval(), torch.randn(512, 2, generator=generator(0)), 41),
        ("UNet, 8x3x16x16", UNet(3).eval(), torch.randn(8, 3, 16, 16, generator=generator(0)), 7),
    ]
    chain = lambda: from_betas(linear_betas(1000))
    rows = []
    for name, network, x, rounds in cases:
        sides = [
            bare(network, x),
            ours(network, x, chain, "eps"),
            ours(network, x, rectified, "velocity"),
            diffusers(network, x),
        ]
        alone, noise, velocity, theirs = (1000 * s for s in compare_times(sides, rounds=rounds, warm=3))
        limit = {"target": 1.15, "more_is_better": False}
        rows += [
            Row(f"{STEPS} DDIM steps, eps, {name}", noise, alone, "ms", "the bare network calls", **limit),
            Row(f"{STEPS} DDIM steps, velocity, {name}", velocity, alone, "ms", "the bare network calls", **limit),
            Row(
                f"{STEPS} DDIM steps, eps, {name}",
                noise,
                theirs,
                "ms",
                "diffusers DDIMScheduler",
                more_is_better=False,
                note=f"diffusers' loop takes {theirs / alone:.2f} of the bare network calls",
            ),
        ]
    return rows
