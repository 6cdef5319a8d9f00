"""Chapters 02 and 14: Tang poems of 32 characters, written one after the other or by filling in masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genmodels import text
from genmodels.core import generator as seeded
from genmodels.nets import Transformer
from genmodels.train.muon import Muon
from genmodels.train.recipe import Profile, Recipe
from genmodels.train.recipes.text import adamw, masked_bound, masked_loss
from genmodels.train.settings import Settings

__all__ = ["LENGTH", "RECIPES", "SYMBOLS"]

LENGTH = 32  # characters of a poem
SYMBOLS = 4753
EXTRA = SYMBOLS  # the mask, or the start symbol: one more than there are characters


def _poems(split: str) -> Int[Tensor, "n 32"]:
    from genmodels.data import quatrains

    return quatrains(split).tokens


def _muon(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Muon for the hidden matrices; the embedding has a row for each symbol, the positions one for each place."""
    return Muon(parameters, lambda p: len(p) not in (SYMBOLS + 1, LENGTH), lr=lr)


def _causal_loss(model: nn.Module, x: Int[Tensor, "b 32"]) -> Float[Tensor, "b"]:
    """-log p of each poem after the start symbol."""
    return -text.log_prob(model, x, start=EXTRA)


def _masked_loss(model: nn.Module, x: Int[Tensor, "b 32"]) -> Float[Tensor, "b"]:
    return masked_loss(model, x, EXTRA)


@torch.no_grad()
def _bits(model: nn.Module, loss: Callable[..., Tensor], draws: int = 1) -> float:
    """Bits per character of the test poems, marks included."""
    x = _poems("test").repeat(draws, 1)
    return torch.cat([loss(model, part) for part in x.split(64)]).mean().item() / (LENGTH * math.log(2))


def _masked_bits(model: nn.Module) -> float:
    """By the bound, its expectation over 4 random masks for each poem."""
    return _bits(model, partial(masked_bound, mask=EXTRA, generator=seeded(0)), draws=4)


def _recipe(
    name: str,
    about: str,
    loss: Callable[[nn.Module, Tensor], Tensor],
    metric: Callable[[nn.Module], float],
    metric_name: str,
    steps: int,
    *,
    causal: bool,
) -> Recipe:
    def model(d_model: int, layers: int, heads: int, dropout: float) -> Callable[[], nn.Module]:
        # Learned positions: the marks always stand at the same places, and rhymes at the ends of lines.
        return partial(
            Transformer, SYMBOLS + 1, d_model, layers, heads,
            max_len=LENGTH, causal=causal, positions="learned", dropout=dropout,
        )  # fmt: skip

    profiles = {
        "smoke": Profile(model(16, 1, 2, 0.0), 12, Settings(steps=30, lr=1e-2, warmup=1, clip=100.0, ema=0.9)),
        "laptop": Profile(
            model(96, 2, 4, 0.1),
            32,
            Settings(steps=steps, lr=0.02, optimizer=_muon, schedule="cosine", warmup=steps // 20, clip=100.0),
        ),
        "gpu": Profile(
            model(384, 6, 6, 0.3),
            256,
            Settings(steps=4000, lr=6e-4, optimizer=adamw, schedule="cosine", warmup=400, clip=100.0, ema=0.999,
                     precision="bf16-mixed", compile=True),
        ),
    }  # fmt: skip
    return Recipe(
        name, about, partial(_poems, "train"), loss, metric, metric_name, profiles, unit="characters", units=LENGTH
    )


RECIPES = (
    _recipe(
        "causal_quatrains",
        "next character of Tang quatrains (arXiv 1706.03762)",
        _causal_loss,
        partial(_bits, loss=_causal_loss),
        "test bits per character",
        700,
        causal=True,
    ),
    _recipe(
        "quatrains",
        "masked characters of Tang quatrains (arXiv 2502.09992)",
        _masked_loss,
        _masked_bits,
        "test bits per character (bound)",
        1500,
        causal=False,
    ),
)
