"""Chapters 05 and 06: two players on the 16 x 16 portraits, with R1 or with a gradient penalty."""

from __future__ import annotations

import math
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genmodels.core import generator as seeded
from genmodels.gan import LOSSES, gradient_penalty, r1
from genmodels.metrics import energy
from genmodels.train.recipe import GanRecipe, Profile
from genmodels.train.settings import Settings

__all__ = ["RECIPES", "Painter", "critic"]

CHANNELS = 3
R1_WEIGHT = 1.0  # gamma / 2 of arXiv 1801.04406
PENALTY_WEIGHT = 10.0  # lambda of arXiv 1704.00028


def _norm(channels: int) -> nn.GroupNorm:
    """Within each sample, so that a portrait does not depend on its batch, nor on how processes share it."""
    return nn.GroupNorm(math.gcd(8, channels), channels)


class Painter(nn.Module):
    """Noise to portraits on [-1, 1]: a 4 x 4 map of features, twice enlarged by two, convolved in between."""

    def __init__(self, latent: int, width: int) -> None:
        super().__init__()
        self.latent = latent
        layers: list[nn.Module] = [nn.Linear(latent, 4 * width * 16), nn.Unflatten(1, (4 * width, 4, 4))]
        for c_in, c_out in ((4 * width, 2 * width), (2 * width, width)):
            layers += [_norm(c_in), nn.ReLU(), nn.Upsample(scale_factor=2)]
            layers += [nn.Conv2d(c_in, c_out, 3, padding=1)]
        last = nn.Conv2d(width, CHANNELS, 3, padding=1)
        self.layers = nn.Sequential(*layers, _norm(width), nn.ReLU(), last, nn.Tanh())

    def forward(self, z: Float[Tensor, "b latent"]) -> Float[Tensor, "b 3 16 16"]:
        """Portraits of these latents, in the precision of the weights: data, also where autocast rounds the layers."""
        return self.layers(z).to(self.layers[0].weight.dtype)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n 3 16 16"]:
        """Portraits of fresh latents."""
        device = self.layers[0].weight.device
        where = device if generator is None else generator.device
        return self(torch.randn(n, self.latent, generator=generator, device=where).to(device))


def critic(width: int) -> nn.Sequential:
    """Portraits to one number each; no normalisation across the batch, which a penalty for each sample forbids."""
    layers: list[nn.Module] = [nn.Conv2d(CHANNELS, width, 3, padding=1), nn.LeakyReLU(0.2)]
    for c in (width, 2 * width):
        layers += [nn.Conv2d(c, 2 * c, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * width * 16, 1), nn.Flatten(0))


def _portraits(split: str) -> Float[Tensor, "n 3 16 16"]:
    from genmodels.data import portraits

    return portraits(split).x * 2 - 1


def _generator_loss(g: nn.Module, c: nn.Module, x: Tensor, game: str) -> Float[Tensor, "b"]:
    return LOSSES[game].generator(c(g.sample(len(x))))


def _critic_r1(g: nn.Module, c: nn.Module, x: Tensor) -> Float[Tensor, "b"]:
    return LOSSES["non_saturating"].critic(c(x), c(g.sample(len(x)).detach())) + R1_WEIGHT * r1(c, x)


def _critic_penalty(g: nn.Module, c: nn.Module, x: Tensor) -> Float[Tensor, "b"]:
    fake = g.sample(len(x)).detach()
    return LOSSES["wasserstein"].critic(c(x), c(fake)) + PENALTY_WEIGHT * gradient_penalty(c, x, fake)


@torch.no_grad()
def _energy(model: nn.Module) -> float:
    """Energy distance between samples and as many test portraits, in pixels on [-1, 1]."""
    x = _portraits("test")
    return energy(model.sample(len(x), generator=seeded(0)), x).item()


def _adam(parameters, lr: float) -> torch.optim.Optimizer:
    """No momentum: the opponent moves, so old gradients mislead [arXiv 1801.04406]."""
    return torch.optim.Adam(parameters, lr=lr, betas=(0.0, 0.99), fused=True)


_HOW = {
    "smoke": Settings(steps=30, lr=1e-3, optimizer=_adam, ema=0.9),
    "laptop": Settings(steps=2500, lr=5e-4, optimizer=_adam, ema=0.995),
    # Single precision: the penalties differentiate twice.
    "gpu": Settings(steps=100_000, lr=2e-4, optimizer=_adam, ema=0.999),
}
_SIZE = {"smoke": (8, 4, 12), "laptop": (64, 24, 48), "gpu": (128, 128, 256)}  # latent, width, batch


def _recipe(name: str, about: str, game: str, critic_loss, n_critic: int) -> GanRecipe:
    return GanRecipe(
        name=name,
        about=about,
        data=partial(_portraits, "train"),
        loss=partial(_generator_loss, game=game),
        metric=_energy,
        metric_name="squared energy distance to the test portraits",
        profiles={
            profile: Profile(partial(Painter, latent, width), batch, _HOW[profile])
            for profile, (latent, width, batch) in _SIZE.items()
        },
        critics={profile: partial(critic, width) for profile, (_, width, _) in _SIZE.items()},
        critic_loss=critic_loss,
        n_critic=n_critic,
    )


RECIPES = (
    _recipe("gan", "non-saturating game with R1 (arXiv 1406.2661, 1801.04406)", "non_saturating", _critic_r1, 1),
    _recipe("wgan_gp", "Wasserstein critic, gradient penalty (arXiv 1704.00028)", "wasserstein", _critic_penalty, 3),
)
