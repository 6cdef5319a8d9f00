"""The small UNet's training step against diffusers' ``UNet2DModel`` of the same parameter count.

Both sides get the default layout of their library: diffusers' two residual blocks a level with attention on the
coarsest, its widths chosen to match our count. Same data, loss, optimiser, schedule, batch and noise.
"""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genmodels import data
from genmodels.bench import Row, compare_times
from genmodels.core import expand, generator, parameter_count
from genmodels.nets import UNet

BATCH, LEARNING_RATE, WARMUP = 64, 1e-3, 0.05
SECONDS = float(os.environ.get("BENCH_SECONDS", 80))  # of training for each side; the comparison of losses

Predict = Callable[[Tensor, Tensor], Tensor]


def rival() -> nn.Module:
    """diffusers' UNet for 16 x 16 colour pictures."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=(32, 48, 56),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
    )


def sides() -> list[tuple[nn.Module, Predict]]:
    """Ours and the rival's: the module, and how to call it with a time in [0, 1]."""
    torch.manual_seed(0)
    ours, theirs = UNet(3), rival()
    return [(ours, ours), (theirs, lambda x, t: theirs(x, 1000 * t).sample)]


def flow_loss(predict: Predict, x0: Float[Tensor, "b c h w"], t: Tensor, eps: Tensor) -> Tensor:
    """Rectified flow: the squared error of the velocity eps - x0 at x_t = (1 - t) x0 + t eps, mean over everything."""
    s = expand(t, x0)
    return (predict((1 - s) * x0 + s * eps, t) - (eps - x0)).square().mean()


def training(model: nn.Module, predict: Predict, pictures: Tensor, done: Callable[[], float]) -> Iterator[None]:
    """Endless training steps; ``done`` says which part of the time is over, and sets the learning rate."""
    random = generator(1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    while True:
        part = done()
        cosine = 0.5 * (1 + math.cos(math.pi * (part - WARMUP) / (1 - WARMUP)))
        optimiser.param_groups[0]["lr"] = LEARNING_RATE * (part / WARMUP if part < WARMUP else cosine)
        x0 = pictures[torch.randint(len(pictures), (BATCH,), generator=random)]
        t, eps = torch.rand(BATCH, generator=random), torch.randn(x0.shape, generator=random)
        optimiser.zero_grad()
        flow_loss(predict, x0, t, eps).backward()
        optimiser.step()
        yield


def losses_after(seconds: float) -> tuple[list[float], list[int]]:
    """Validation losses of both sides after the same time each, and their steps; who has used less goes next."""
    train, valid = 2 * data.portraits("train").x - 1, 2 * data.portraits("valid").x - 1
    contenders, used, steps = sides(), [0.0, 0.0], [0, 0]
    loops = [
        training(model, predict, train, lambda k=k: min(1.0, used[k] / seconds))
        for k, (model, predict) in enumerate(contenders)
    ]
    while min(used) < seconds:
        k = used.index(min(used))
        start = time.perf_counter()
        next(loops[k])
        used[k] += time.perf_counter() - start
        steps[k] += 1
    random, total = generator(2), [0.0, 0.0]
    with torch.no_grad():
        for x0 in valid.split(250):
            t, eps = torch.rand(len(x0), generator=random), torch.randn(x0.shape, generator=random)
            for k, (model, predict) in enumerate(contenders):
                model.eval()
                total[k] += float(flow_loss(predict, x0, t, eps)) * len(x0) / len(valid)
    return total, steps


def run() -> list[Row]:
    """Images a second of a training step at 64 x 3 x 16 x 16, then the loss after the same seconds."""
    contenders = sides()
    pictures = torch.rand(256, 3, 16, 16, generator=generator(0))
    loops = [training(model, predict, pictures, itertools.repeat(0.5).__next__) for model, predict in contenders]
    seconds = compare_times([lambda loop=loop: next(loop) for loop in loops])
    ours, theirs = (parameter_count(model) for model, _ in contenders)
    loss, steps = losses_after(SECONDS)
    name = "diffusers UNet2DModel"
    return [
        Row(
            "UNet training step, 64x3x16x16",
            BATCH / seconds[0],
            BATCH / seconds[1],
            "images/s",
            name,
            target=2.0,
            note=f"{ours:,} parameters against {theirs:,}, {torch.get_num_threads()} threads",
        ),
        Row(
            f"flow loss after {SECONDS:g} s each",
            loss[0],
            loss[1],
            "per number",
            name,
            target=1.0,
            more_is_better=False,
            note=f"{steps[0]} steps against {steps[1]}, validation portraits",
        ),
    ]
