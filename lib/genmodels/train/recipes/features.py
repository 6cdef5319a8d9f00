"""Small recognisers of the course's own pictures, whose features make distances between sets of pictures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genmodels.nets import FeatureNet
from genmodels.train.recipe import Profile, Recipe
from genmodels.train.settings import Settings

__all__ = ["ATTRIBUTE_CLASSES", "RECIPES", "portraits_and_labels"]

ATTRIBUTE_CLASSES = (45, 11, 8, 23, 12, 12, 23, 11, 9, 15, 5)  # of data.portraits(...).words, in its order

Labelled = tuple[Float[Tensor, "n c h w"], Int[Tensor, "n a"]]


def portraits_and_labels(split: str) -> Labelled:
    """Portraits on [0, 1] and their eleven attributes, as columns in the order of ``data.portraits``."""
    from genmodels.data import portraits

    data = portraits(split)
    return data.x, torch.stack(list(data.attributes.values()), 1)


def _digits_and_labels(split: str) -> Labelled:
    from genmodels.data import mnist

    data = mnist(split)
    return data.x, data.label[:, None]


def _jitter(batch: Labelled, generator: torch.Generator) -> Labelled:
    """A little noise on every pixel, so that no feature hangs on the last digit of a colour."""
    x, labels = batch
    return x + NOISE * torch.randn(x.shape, generator=generator, device=x.device), labels


NOISE = 0.02


def _loss(model: nn.Module, batch: Labelled) -> Float[Tensor, "b"]:
    return model.loss(*batch)


@torch.no_grad()
def _accuracy(model: nn.Module, load: Callable[[str], Labelled]) -> float:
    """Share of the test pictures' attributes that are recognised."""
    parts = zip(*(part.split(500) for part in load("test")), strict=True)
    return torch.cat([model.correct(x, labels) for x, labels in parts]).mean().item()


def _recipe(
    name: str,
    about: str,
    load: Callable[[str], Labelled],
    shape: tuple[int, int, tuple[int, ...]],
    widths: dict[str, tuple[int, int]],
    steps: int,
) -> Recipe:
    settings = {
        "smoke": (24, Settings(steps=30, lr=3e-3, warmup=3, ema=0.9)),
        "laptop": (64, Settings(steps=steps, lr=3e-3, schedule="cosine", warmup=100, ema=0.998)),
        "gpu": (256, Settings(steps=10_000, lr=2e-3, schedule="cosine", warmup=300, ema=0.999, compile=True)),
    }
    return Recipe(
        name=name,
        about=about,
        data=partial(load, "train"),
        transform=_jitter,
        loss=_loss,
        metric=partial(_accuracy, load=load),
        metric_name="test accuracy, mean of the attributes",
        profiles={
            profile: Profile(partial(FeatureNet, *shape, width=widths[profile][0], dim=widths[profile][1]), batch, how)
            for profile, (batch, how) in settings.items()
        },
    )


RECIPES = (
    _recipe(
        "features",
        "recogniser of the portraits' attributes; its features measure portraits",
        portraits_and_labels,
        (3, 16, ATTRIBUTE_CLASSES),
        {"smoke": (8, 16), "laptop": (32, 64), "gpu": (64, 64)},
        2000,
    ),
    _recipe(
        "digit_features",
        "recogniser of handwritten digits; its features measure digits",
        _digits_and_labels,
        (1, 28, (10,)),
        {"smoke": (8, 8), "laptop": (16, 32), "gpu": (32, 32)},
        2000,
    ),
)
