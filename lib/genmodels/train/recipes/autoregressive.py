"""Chapter 01: autoregressive models of binarised digits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genmodels.autoregressive import MADE, Autoregressive, GatedPixelCNN, PixelCNN
from genmodels.train.recipe import Profile, Recipe
from genmodels.train.settings import Settings

__all__ = ["RECIPES"]


def _grey() -> Float[Tensor, "n 1 28 28"]:
    from genmodels.data import mnist

    return mnist("train").x


def _flat_grey() -> Float[Tensor, "n 784"]:
    return _grey().flatten(1)


def _binarise(x: Tensor, generator: torch.Generator) -> Tensor:
    """Black or white by Bernoulli(grey level), drawn afresh each time an image comes: as good as more data."""
    return torch.bernoulli(x, generator=generator)


def _loss(model: nn.Module, x: Tensor) -> Float[Tensor, "b"]:
    return -model.log_prob(x)


@torch.no_grad()
def _nats(model: Autoregressive) -> float:
    """Mean negative log-likelihood of the test digits, whose binarisation is fixed."""
    from genmodels.data import mnist

    x = mnist("test", binary=True).x.reshape(-1, *model.shape)
    return torch.cat([-model.log_prob(part) for part in x.split(500)]).mean().item()


def _pixels(model: type[nn.Module], **size: int) -> Callable[[], nn.Module]:
    """Convolutions on one or a few channels run faster with the channels last in memory."""
    return lambda: model(**size).to(memory_format=torch.channels_last)


def _adamw(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.99), fused=True)


# Likelihoods measured on the course's machine (2 cores): see the table of the pretrained weights.
_SMOKE = Settings(steps=30, lr=2e-3, optimizer=_adamw, schedule="cosine", warmup=3, ema=0.9)
_MADE = Settings(steps=3700, lr=2e-3, optimizer=_adamw, schedule="cosine", warmup=185)
_PIXELS = Settings(steps=1000, lr=3e-3, optimizer=_adamw, schedule="cosine", warmup=50)
_GPU = Settings(
    steps=50_000, lr=1e-3, optimizer=_adamw, schedule="cosine", warmup=1000, clip=1.0, ema=0.9995,
    precision="bf16-mixed", compile=True,
)  # fmt: skip

RECIPES = (
    Recipe(
        name="made",
        about="masked autoencoder on binarised digits (arXiv 1502.03509)",
        data=_flat_grey,
        transform=_binarise,
        loss=_loss,
        metric=_nats,
        metric_name="test nats",
        profiles={
            "smoke": Profile(partial(MADE, 784, (64,)), 48, _SMOKE),
            "laptop": Profile(partial(MADE, 784, (500,)), 100, _MADE),
            "gpu": Profile(partial(MADE, 784, (2000, 2000), dropout=0.1), 512, _GPU),
        },
    ),
    Recipe(
        name="pixelcnn",
        about="masked convolutions on binarised digits (arXiv 1601.06759)",
        data=_grey,
        transform=_binarise,
        loss=_loss,
        metric=_nats,
        metric_name="test nats",
        profiles={
            "smoke": Profile(_pixels(PixelCNN, channels=8, blocks=2), 16, _SMOKE),
            "laptop": Profile(_pixels(PixelCNN, channels=64, blocks=6), 16, _PIXELS),
            "gpu": Profile(_pixels(PixelCNN, channels=128, blocks=12), 256, _GPU),
        },
    ),
    Recipe(
        name="gated_pixelcnn",
        about="two stacks without a blind spot, on binarised digits (arXiv 1606.05328)",
        data=_grey,
        transform=_binarise,
        loss=_loss,
        metric=_nats,
        metric_name="test nats",
        profiles={
            "smoke": Profile(_pixels(GatedPixelCNN, channels=8, layers=2), 16, _SMOKE),
            "laptop": Profile(_pixels(GatedPixelCNN, channels=32, layers=6), 16, _PIXELS),
            "gpu": Profile(_pixels(GatedPixelCNN, channels=128, layers=12), 256, _GPU),
        },
    ),
)
