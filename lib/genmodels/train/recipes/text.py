"""Chapters 02 and 14: the same Transformer on Shakespeare's characters, causal or filling in masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from genmodels.core import generator as seeded
from genmodels.discrete import llada_nelbo, subs
from genmodels.nets import Transformer
from genmodels.train.recipe import Profile, Recipe
from genmodels.train.settings import Settings

__all__ = ["RECIPES"]

LENGTH = 128  # characters in a window
STRIDE = 16  # between the starts of two training windows
SYMBOLS = 69  # of the text; the mask is one more
MASK = SYMBOLS


def _windows(split: str, length: int, stride: int) -> Int[Tensor, "n length"]:
    from genmodels.data import shakespeare

    return shakespeare(split).tokens.unfold(0, length, stride)


def _next_loss(model: nn.Module, x: Int[Tensor, "b l+1"]) -> Float[Tensor, "b"]:
    """-log p(x_1 .. x_l | x_0) of each window."""
    logits = model(x[:, :-1])
    return F.cross_entropy(logits.transpose(1, 2), x[:, 1:], reduction="none").sum(1)


def _masked_loss(model: nn.Module, x: Int[Tensor, "b l"], *, generator: torch.Generator | None = None) -> Tensor:
    """The masked bound on -log p(x) of each window."""
    return llada_nelbo(lambda seen: subs(model(seen), seen, MASK), x, MASK, generator=generator)


@torch.no_grad()
def _next_bits(model: nn.Module) -> float:
    """Bits per character of the test plays, in windows that do not overlap: early characters see little context."""
    windows = _windows("test", LENGTH + 1, LENGTH)
    nats = torch.cat([_next_loss(model, part) for part in windows.split(64)])
    return nats.mean().item() / (LENGTH * math.log(2))


@torch.no_grad()
def _masked_bits(model: nn.Module, draws: int = 4) -> float:
    """Bits per character of the same windows by the masked bound, its expectation over ``draws`` random masks each."""
    windows, random = _windows("test", LENGTH, LENGTH), seeded(0)
    nats = torch.cat([_masked_loss(model, part, generator=random) for part in windows.repeat(draws, 1).split(64)])
    return nats.mean().item() / (LENGTH * math.log(2))


def _recipe(name: str, about: str, loss: Callable[..., Tensor], causal: bool) -> Recipe:
    length = LENGTH + 1 if causal else LENGTH
    vocab = SYMBOLS if causal else SYMBOLS + 1

    def model(d_model: int, layers: int, heads: int, dropout: float = 0.0) -> Callable[[], nn.Module]:
        return partial(Transformer, vocab, d_model, layers, heads, max_len=2 * LENGTH, causal=causal, dropout=dropout)

    return Recipe(
        name=name,
        about=about,
        data=partial(_windows, "train", length, STRIDE),
        loss=loss,
        metric=_next_bits if causal else _masked_bits,
        metric_name="test bits per character",
        profiles={
            "smoke": Profile(model(16, 1, 2), 12, Settings(steps=30, lr=1e-2, warmup=1, clip=100.0, ema=0.9)),
            "laptop": Profile(
                model(128, 4, 4), 32, Settings(steps=1000, lr=2e-3, schedule="cosine", warmup=100, clip=100.0)
            ),
            "gpu": Profile(
                model(512, 8, 8, 0.1),
                256,
                Settings(steps=20_000, lr=6e-4, schedule="cosine", warmup=1000, clip=100.0, ema=0.999,
                         precision="bf16-mixed", compile=True),
            ),
        },
    )  # fmt: skip


RECIPES = (
    _recipe("char_transformer", "next character of Shakespeare (arXiv 1706.03762)", _next_loss, causal=True),
    _recipe("masked_text", "masked characters of Shakespeare (arXiv 2502.09992)", _masked_loss, causal=False),
)
