"""Chapter 04: a variational autoencoder of binarised digits."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genmodels.core import generator as seeded
from genmodels.likelihoods import bernoulli_log_prob
from genmodels.nets import MLP
from genmodels.train.recipe import Profile, Recipe
from genmodels.train.settings import Settings
from genmodels.vae import VAE, elbo, iwae

__all__ = ["RECIPES"]

IMPORTANCE_SAMPLES = 50  # of the reported bound, and so many test digits at a time that they fit in memory
MEASURED = 2000


def _grey() -> Float[Tensor, "n 784"]:
    from genmodels.data import mnist

    return mnist("train").x.flatten(1)


def _binarise(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.bernoulli(x, generator=generator)


def _model(width: int, latent: int) -> VAE:
    encoder, decoder = MLP(784, (width, width), 2 * latent), MLP(latent, (width, width), 784)
    return VAE(encoder, decoder, bernoulli_log_prob, latent)


def _loss(model: nn.Module, x: Tensor) -> Float[Tensor, "b"]:
    return -elbo(model, x).elbo


@torch.no_grad()
def _bound(model: nn.Module) -> float:
    """Mean importance-weighted bound of the first test digits, as nats to pay."""
    from genmodels.data import mnist

    x, draws = mnist("test", binary=True, limit=MEASURED).x.flatten(1), seeded(0)
    bounds = [iwae(model, part, IMPORTANCE_SAMPLES, generator=draws) for part in x.split(100)]
    return -torch.cat(bounds).mean().item()


def _recipe(name: str, about: str, latent: int, laptop: Settings) -> Recipe:
    """One autoencoder; the laptop size is the one that chapter 04 trains."""
    return Recipe(
        name=name,
        about=about,
        data=_grey,
        transform=_binarise,
        loss=_loss,
        metric=_bound,
        metric_name=f"test nats (bound with {IMPORTANCE_SAMPLES} samples, {MEASURED} digits)",
        profiles={
            "smoke": Profile(partial(_model, 64, min(4, latent)), 48, Settings(steps=30, lr=2e-3, warmup=3, ema=0.9)),
            "laptop": Profile(partial(_model, 400, latent), 100, laptop),
            "gpu": Profile(
                partial(_model, 1000, latent),
                512,
                Settings(steps=50_000, lr=1e-3, schedule="cosine", warmup=1000, clip=100.0, ema=0.999,
                         precision="bf16-mixed", compile=True),
            ),
        },
    )  # fmt: skip


RECIPES = (
    _recipe(
        "vae",
        "variational autoencoder of binarised digits (arXiv 1312.6114)",
        32,
        Settings(steps=12_000, lr=4e-3, schedule="cosine", warmup=600),
    ),
    _recipe(
        "vae-2d",
        "the same with two latents, whose plane can be shown",
        2,
        Settings(steps=3000, lr=3e-3, schedule="cosine", warmup=150),
    ),
)
