"""Pictures: 8x8 digits, MNIST in grey or black and white, and 16x16 portraits with attributes."""

from __future__ import annotations

import functools
import io
import lzma
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from genmodels.core import require

from .counter import bernoulli, permutation
from .files import locate, read
from .splits import bounds

__all__ = ["Images", "Portraits", "digits", "mnist", "portraits"]

TRAIN, TEST, SIDE = 60_000, 10_000, 28  # MNIST
DIGITS_SEED, PORTRAITS_SEED, BINARY_SEED = 8, 16, 28  # the sides of the pictures, for want of a better name


class Images(NamedTuple):
    """Pictures with one class each."""

    x: Float[Tensor, "n c h w"]  # float32 in [0, 1]
    label: Int[Tensor, "n"]
    classes: tuple[str, ...]


class Portraits(NamedTuple):
    """Pictures with several attributes each: ``words[a][attributes[a][i]]`` describes picture i."""

    x: Float[Tensor, "n 3 16 16"]  # float32 in [0, 1]
    attributes: dict[str, Int[Tensor, "n"]]
    words: dict[str, tuple[str, ...]]


def _unit(x: np.ndarray, top: float) -> Float[Tensor, "..."]:
    """Whole levels 0..top as float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)) / top


def digits(split: str) -> Images:
    """scikit-learn's 1,797 digits of 8x8 pixels in 17 grey levels k/16: 1,297 train, 250 valid, 250 test."""
    part = bounds(split, 1297, 250, 250)
    from sklearn.datasets import load_digits

    source = load_digits()
    order = permutation(len(source.images), DIGITS_SEED)[part]
    label = torch.from_numpy(source.target[order].astype(np.int64))
    return Images(_unit(source.images[order, None], 16.0), label, tuple("0123456789"))


@functools.lru_cache(maxsize=1)
def _mnist_raw(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """All 70,000 images (n, 1, 28, 28) and labels (n,) as uint8, train before test: 55 MB kept in memory."""
    raw = np.frombuffer(lzma.decompress(read(path)), np.uint8)
    pixels = (TRAIN + TEST) * SIDE**2
    return raw[:pixels].reshape(-1, 1, SIDE, SIDE), raw[pixels:]


def mnist(split: str, binary: bool = False, limit: int | None = None, *, side: int = SIDE) -> Images:
    """MNIST, 28x28: 50,000 train, 10,000 valid (the last of the original training set), 10,000 test.

    binary  each pixel drawn once and for all from Bernoulli(level / 255), the same bits on every machine. This is not
            Larochelle's fixed sample: a likelihood on it is comparable with the published table, not identical.
    limit   only the first ``limit`` images; float32 copies of all 50,000 take 157 MB
    side    14 averages each 2x2 pixels, to the nearest of the 256 grey levels, halves upwards
    """
    part = bounds(split, TRAIN - 10_000, 10_000, TEST)
    require(limit is None or limit > 0, f"limit must be positive or None; got {limit}")
    if limit is not None:
        part = slice(part.start, min(part.start + limit, part.stop))
    x, label = _mnist_raw(locate("mnist.xz"))
    require(side in (SIDE, SIDE // 2), f"side must be {SIDE} or {SIDE // 2} pixels; got {side}")
    require(side == SIDE or not binary, f"black and white pixels exist at side {SIDE} only; got side = {side}")
    x = x[part]
    if side != SIDE:
        blocks = x.reshape(-1, 1, side, 2, side, 2).astype(np.uint16)
        x = ((blocks.sum((3, 5)) + 2) // 4).astype(np.uint8)
    x = _unit(bernoulli(x, part.start * SIDE**2, BINARY_SEED), 1.0) if binary else _unit(x, 255.0)
    return Images(x, torch.from_numpy(label[part].astype(np.int64)), tuple("0123456789"))


@functools.lru_cache(maxsize=1)
def _portraits_raw(path: Path) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(read(path)), allow_pickle=False) as z:
        return {name: z[name] for name in z.files}


def portraits(split: str) -> Portraits:
    """10,000 distinct 16x16 colour portraits with 11 attributes: 8,000 train, 1,000 valid, 1,000 test.

    Index 0 of glasses, hat, beard and accessories is 'None'. The portraits are combinations of drawn parts, so a test
    portrait is a new combination of parts that were all seen in training.
    """
    part = bounds(split, 8000, 1000, 1000)
    raw = _portraits_raw(locate("pixel_avatars.npz"))
    order = permutation(len(raw["x"]), PORTRAITS_SEED)[part]
    names = [name.removeprefix("attr_") for name in raw if name.startswith("attr_")]
    return Portraits(
        _unit(raw["x"][order].transpose(0, 3, 1, 2), 255.0),
        {name: torch.from_numpy(raw[f"attr_{name}"][order].astype(np.int64)) for name in names},
        {name: tuple(map(str, raw[f"names_{name}"])) for name in names},
    )
