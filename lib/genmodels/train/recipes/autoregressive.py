"""Chapter 01: autoregressive models of binarised digits."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genmodels.autoregressive import MADE, GatedPixelCNN, PixelCNN
from genmodels.train.recipe import Profile, Recipe
from genmodels.train.settings import Settings

__all__ = ["RECIPES"]


def _images() -> Float[Tensor, "n 1 28 28"]:
    from genmodels.data import mnist

    return mnist("train", binary=True).reshape(-1, 1, 28, 28).float()


def _vectors() -> Float[Tensor, "n 784"]:
    return _images().flatten(1)


def _loss(model: nn.Module, x: Tensor) -> Float[Tensor, "b"]:
    return -model.log_prob(x)


@torch.no_grad()
def _nats(model: nn.Module, flat: bool) -> float:
    """Mean negative log-likelihood of the test digits."""
    from genmodels.data import mnist

    x = mnist("test", binary=True).reshape(-1, 1, 28, 28).float()
    x = x.flatten(1) if flat else x
    return float(torch.cat([-model.log_prob(part) for part in x.split(500)]).mean())


_FAST = Settings(steps=30, lr=1e-3, warmup=3, clip=1.0, ema=0.99)
_MINUTES = Settings(steps=1500, lr=2e-3, schedule="cosine", warmup=100, clip=1.0, ema=0.999)
_LONG = Settings(
    steps=50_000, lr=1e-3, schedule="cosine", warmup=1000, clip=1.0, ema=0.9995, precision="bf16-mixed", compile=True
)

RECIPES = (
    Recipe(
        name="made",
        about="masked autoencoder on binarised digits (arXiv 1502.03509)",
        data=_vectors,
        loss=_loss,
        metric=partial(_nats, flat=True),
        metric_name="test nats",
        profiles={
            "smoke": Profile(partial(MADE, 784, (64,)), 48, _FAST),
            "laptop": Profile(partial(MADE, 784, (500,)), 100, _MINUTES),
            "gpu": Profile(partial(MADE, 784, (2000, 2000), dropout=0.1), 512, _LONG),
        },
    ),
    Recipe(
        name="pixelcnn",
        about="masked convolutions on binarised digits (arXiv 1601.06759)",
        data=_images,
        loss=_loss,
        metric=partial(_nats, flat=False),
        metric_name="test nats",
        profiles={
            "smoke": Profile(partial(PixelCNN, channels=8, blocks=2, patch=2), 16, _FAST),
            "laptop": Profile(partial(PixelCNN, channels=32, blocks=4, patch=2), 64, _MINUTES),
            "gpu": Profile(partial(PixelCNN, channels=128, blocks=12), 256, _LONG),
        },
    ),
    Recipe(
        name="gated_pixelcnn",
        about="two stacks without a blind spot, on binarised digits (arXiv 1606.05328)",
        data=_images,
        loss=_loss,
        metric=partial(_nats, flat=False),
        metric_name="test nats",
        profiles={
            "smoke": Profile(partial(GatedPixelCNN, channels=8, layers=2, patch=2), 16, _FAST),
            "laptop": Profile(partial(GatedPixelCNN, channels=32, layers=4, patch=2), 64, _MINUTES),
            "gpu": Profile(partial(GatedPixelCNN, channels=128, layers=12), 256, _LONG),
        },
    ),
)
