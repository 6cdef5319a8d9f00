"""Chapter 08: flows on the 8 x 8 digits, as densities of dequantised grey levels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genmodels.core import generator as seeded
from genmodels.flows import Chain, Flow, Logit, autoregressive_flow, dequantized_log_prob, glow, real_nvp, spline_flow
from genmodels.train.recipe import Profile, Recipe
from genmodels.train.settings import Settings

__all__ = ["RECIPES"]

LEVELS = 17  # grey levels 0..16 of the 8 x 8 digits
SHAPE = (1, 8, 8)


def _digits(split: str) -> Int[Tensor, "n 1 8 8"]:
    from genmodels.data import digits

    return (digits(split).x * (LEVELS - 1)).round().long()


def _vectors(split: str) -> Int[Tensor, "n 64"]:
    return _digits(split).flatten(1)


def _on_unit_cube(flow: Flow) -> Flow:
    """The same flow for data in (0, 1)."""
    return Flow(Chain(Logit(), flow.bijection), tuple(flow.loc.shape))


def _loss(model: nn.Module, x: Tensor) -> Float[Tensor, "b"]:
    return -dequantized_log_prob(model, x, LEVELS)


@torch.no_grad()
def _nats(model: nn.Module, load: Callable[[str], Tensor]) -> float:
    """Mean bound on the negative log-probability of the test digits, over 20 draws of the dequantisation noise."""
    return -dequantized_log_prob(model, load("test"), LEVELS, samples=20, generator=seeded(0)).mean().item()


@torch.no_grad()
def _start_actnorm(model: nn.Module, x: Tensor) -> None:
    model.train()
    dequantized_log_prob(model, x, LEVELS, generator=seeded(0))


def _recipe(
    name: str,
    about: str,
    flow: Callable[..., Flow],
    sizes: dict[str, dict[str, object]],
    load: Callable[[str], Tensor] = _vectors,
    prepare: Callable[[nn.Module, Tensor], None] | None = None,
) -> Recipe:
    # Single precision on the GPU too: a log-determinant summed in bf16 would be off by whole nats.
    settings = {
        "smoke": (32, Settings(steps=30, lr=2e-3, warmup=3, clip=100.0, ema=0.9)),
        "laptop": (100, Settings(steps=2000, lr=2e-3, schedule="cosine", warmup=100, clip=100.0, ema=0.995)),
        "gpu": (
            256,
            Settings(steps=30_000, lr=1e-3, schedule="cosine", warmup=500, clip=100.0, ema=0.999),
        ),
    }  # fmt: skip
    profiles = {
        profile: Profile(lambda size=sizes[profile]: _on_unit_cube(flow(**size)), batch, how)
        for profile, (batch, how) in settings.items()
    }
    return Recipe(
        name=name,
        about=about,
        data=partial(load, "train"),
        loss=_loss,
        metric=partial(_nats, load=load),
        metric_name="test nats",
        profiles=profiles,
        prepare=prepare,
    )


def _vector_sizes(layers: tuple[int, int, int], hidden: tuple[int, int, int]) -> dict[str, dict[str, object]]:
    names = ("smoke", "laptop", "gpu")
    return {
        name: {"d": 64, "layers": depth, "hidden": (width, width)}
        for name, depth, width in zip(names, layers, hidden, strict=True)
    }


RECIPES = (
    _recipe(
        "real_nvp",
        "affine coupling flow of 8 x 8 digits (arXiv 1605.08803)",
        real_nvp,
        _vector_sizes((2, 8, 16), (16, 128, 512)),
    ),
    _recipe(
        "spline_flow",
        "rational-quadratic coupling flow of 8 x 8 digits (arXiv 1906.04032)",
        spline_flow,
        _vector_sizes((2, 6, 12), (16, 128, 512)),
    ),
    _recipe(
        "maf",
        "masked autoregressive flow of 8 x 8 digits (arXiv 1705.07057)",
        autoregressive_flow,
        _vector_sizes((2, 5, 10), (16, 256, 1024)),
    ),
    _recipe(
        "glow",
        "multi-scale flow with 1x1 convolutions of 8 x 8 digits (arXiv 1807.03039)",
        glow,
        {
            "smoke": {"shape": SHAPE, "levels": 2, "depth": 1, "width": 8},
            "laptop": {"shape": SHAPE, "levels": 2, "depth": 4, "width": 48},
            "gpu": {"shape": SHAPE, "levels": 2, "depth": 16, "width": 256},
        },
        _digits,
        _start_actnorm,
    ),
)
