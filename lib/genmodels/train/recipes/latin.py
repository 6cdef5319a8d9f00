"""Chapter 14: Latin squares by filling in masks, where the order of writing decides."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genmodels import schedule
from genmodels.core import generator as seeded
from genmodels.nets import Transformer
from genmodels.toy.latin import LatinSquares
from genmodels.train.recipe import Profile, Recipe
from genmodels.train.recipes.text import adamw, masked_loss
from genmodels.train.settings import Settings

__all__ = ["RECIPES"]

PUZZLES = 2  # for each test square


def _model(d_model: int, layers: int, heads: int) -> nn.Module:
    return Transformer(LatinSquares.v + 1, d_model, layers, heads, max_len=LatinSquares.l, causal=False)


def _loss(model: nn.Module, x: Int[Tensor, "b 16"]) -> Float[Tensor, "b"]:
    return masked_loss(model, x, LatinSquares.mask)


@torch.no_grad()
def _solved(model: nn.Module) -> float:
    """Share of puzzles of unseen squares solved by writing the surest cell, one a step."""
    from genmodels.discrete import Masking, subs
    from genmodels.samplers import last, sample, threshold

    latin = LatinSquares()
    x = latin.puzzles(latin.split("test").repeat(PUZZLES, 1), generator=seeded(0))
    denoise = lambda x, t: subs(model(x), x, latin.mask)  # noqa: ARG005
    step = threshold(denoise, Masking(latin.v, schedule.rectified()), 1.0)
    return float(latin.is_valid(last(sample(step, x, torch.linspace(1, 0, latin.l + 1)))).double().mean())


RECIPES = (
    Recipe(
        "latin",
        "masked cells of 288 Latin squares of order 4 (order of writing as in arXiv 2502.06768)",
        partial(LatinSquares.split, LatinSquares(), "train"),
        _loss,
        _solved,
        "unseen puzzles solved",
        {
            "smoke": Profile(partial(_model, 16, 1, 2), 12, Settings(steps=30, lr=1e-2, warmup=1, ema=0.9)),
            "laptop": Profile(
                partial(_model, 64, 3, 4),
                64,
                Settings(steps=1500, lr=3e-3, optimizer=adamw, schedule="cosine", warmup=75),
            ),
            "gpu": Profile(
                partial(_model, 128, 6, 4),
                288,
                Settings(
                    steps=10_000,
                    lr=1e-3,
                    optimizer=adamw,
                    schedule="cosine",
                    warmup=500,
                    precision="bf16-mixed",
                    compile=True,
                ),
            ),
        },  # fmt: skip
        unit="squares",
    ),
)
