"""Chapters 09 to 12: denoisers of the 16 x 16 portraits on the paths of DDPM, EDM and rectified flow.

One of them, ``ddpm``, can be told any of the portraits' attributes, for guidance; untold, it is a model of them all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genmodels import schedule
from genmodels.core import generator as seeded
from genmodels.diffusion import Denoiser, Weight, drop_labels, edm_weight, loss
from genmodels.nets import DiT
from genmodels.nets.unet import UNet
from genmodels.train.recipe import Profile, Recipe
from genmodels.train.recipes.features import ATTRIBUTE_CLASSES, portraits_and_labels
from genmodels.train.settings import Settings

__all__ = ["DATA_STD", "RECIPES", "hide_labels"]

DATA_STD = 0.5  # of the pixels on [-1, 1], as EDM assumes
UNTOLD = 0.2  # share of samples whose attributes are all hidden
CHANNELS, SIZE = 3, 16
NUMBERS = CHANNELS * SIZE * SIZE

Times = Callable[..., Float[Tensor, "n"]]


def _portraits(split: str) -> Float[Tensor, "n 3 16 16"]:
    """Portraits on [-1, 1]."""
    return portraits_and_labels(split)[0] * 2 - 1


def _told_portraits(split: str) -> tuple[Float[Tensor, "n 3 16 16"], Int[Tensor, "n 11"]]:
    """Portraits on [-1, 1] and their attributes."""
    x, labels = portraits_and_labels(split)
    return x * 2 - 1, labels


def hide_labels(batch: tuple[Tensor, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each sample's labels hidden (-1): all with probability ``UNTOLD``, else each with one drawn for the sample.

    The first is what classifier-free guidance needs [arXiv 2207.12598]; the second, the root of a uniform number and so
    more often large than small, lets the model be told any few attributes, and one or none most of all.
    """
    x, labels = batch
    draw = partial(torch.rand, generator=generator, device=labels.device)
    few = labels.masked_fill(draw(labels.shape) < draw(len(labels), 1).sqrt(), -1)
    return x, drop_labels(few, -1, UNTOLD, generator=generator)


def _loss(model: nn.Module, batch: Tensor | tuple[Tensor, Tensor], times: Times, weight: str | Weight) -> Tensor:
    x, labels = batch if isinstance(batch, tuple | list) else (batch, None)
    return loss(model, x, times(len(x), device=x.device), weight=weight, y=labels)


@torch.no_grad()
def _error(model: nn.Module, times: Times, weight: str | Weight) -> float:
    """The training loss on the test portraits, per number, with fixed times and noise and no attribute told."""
    x, draws = _portraits("test"), seeded(0)
    parts = [
        loss(model, part, times(len(part), generator=draws), weight=weight, generator=draws) for part in x.split(100)
    ]
    return torch.cat(parts).mean().item() / NUMBERS


def _recipe(
    name: str,
    about: str,
    network: dict[str, Callable[[], nn.Module]],
    denoiser: Callable[[nn.Module], Denoiser],
    times: Times,
    weight: str | Weight,
    told: bool = False,
    steps: int = 1500,
) -> Recipe:
    settings = {
        "smoke": (12, Settings(steps=30, lr=3e-3, warmup=1, ema=0.9)),
        "laptop": (32, Settings(steps=steps, lr=2e-3, schedule="cosine", warmup=100, clip=1000.0, ema=0.999)),
        "gpu": (
            512,
            Settings(steps=50_000, lr=5e-4, warmup=1000, clip=1000.0, ema=0.9999, precision="bf16-mixed",
                     compile=True),
        ),
    }  # fmt: skip
    return Recipe(
        name=name,
        about=about,
        data=partial(_told_portraits if told else _portraits, "train"),
        transform=hide_labels if told else None,
        loss=partial(_loss, times=times, weight=weight),
        metric=partial(_error, times=times, weight=weight),
        metric_name="test loss per number",
        profiles={
            profile: Profile(lambda make=network[profile]: denoiser(make()), batch, how)
            for profile, (batch, how) in settings.items()
        },
    )


def _unet(classes: tuple[int, ...] = ()) -> dict[str, Callable[[], nn.Module]]:
    sizes = {
        "smoke": {"widths": (8, 16), "attention": ()},
        "laptop": {"widths": (32, 64, 96)},
        "gpu": {"widths": (128, 256, 256), "blocks": 2, "attention": (1, 2), "dropout": 0.1},
    }
    return {profile: partial(UNet, CHANNELS, classes=classes, **size) for profile, size in sizes.items()}


_DIT = {
    "smoke": partial(DiT, SIZE, CHANNELS, patch=4, d_model=16, layers=1, heads=2),
    "laptop": partial(DiT, SIZE, CHANNELS, patch=4, d_model=128, layers=4, heads=4),
    "gpu": partial(DiT, SIZE, CHANNELS, patch=2, d_model=384, layers=12, heads=6),
}

RECIPES = (
    _recipe(
        "ddpm",
        "v prediction, cosine path, attributes told or not (arXiv 2006.11239, 2102.09672, 2202.00512, 2207.12598)",
        _unet(ATTRIBUTE_CLASSES),
        # Not eps: near t = 1 an error of it is one of sigma / alpha in x_0, a hundred times as large, and the guess at
        # x_0 there decides how bright the portrait becomes. Distance to data (300 portraits, 50 steps, floor 250): eps
        # 755, v 535, v with these times and 500 steps more 437.
        lambda net: Denoiser(net, schedule.cosine(), "v"),
        partial(schedule.logit_normal_times, std=1.2),
        "v",
        told=True,
        steps=2000,
    ),
    _recipe(
        "edm",
        "preconditioned denoiser (arXiv 2206.00364)",
        _unet(),
        lambda net: Denoiser(net, schedule.edm(), "edm", data_std=DATA_STD),
        schedule.lognormal_times,
        edm_weight(DATA_STD),
    ),
    _recipe(
        "rectified_flow",
        "velocity on the straight path (arXiv 2209.03003, times of 2403.03206)",
        _unet(),
        lambda net: Denoiser(net, schedule.rectified(), "velocity"),
        schedule.logit_normal_times,
        "velocity",
    ),
    _recipe(
        "dit",
        "rectified flow with a Transformer (arXiv 2212.09748)",
        _DIT,
        lambda net: Denoiser(net, schedule.rectified(), "velocity"),
        schedule.logit_normal_times,
        "velocity",
    ),
)
