"""Random numbers as a pure function of (seed, index): the same bits on every machine and in every version.

A library's random stream may change with its version; the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast
splittable pseudorandom number generators", OOPSLA 2014) is 64-bit integer arithmetic and cannot. Splits and the
binarisation of MNIST depend on it, so that they never change.
"""

from __future__ import annotations

import numpy as np

__all__ = ["bernoulli", "permutation", "splitmix64"]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, made odd


def splitmix64(index: np.ndarray, seed: int) -> np.ndarray:
    """The ``index``-th output (from 0) of SplitMix64 started at ``seed``: 64 random bits each, as uint64."""
    z = np.uint64(seed) + (index.astype(np.uint64) + np.uint64(1)) * GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def permutation(n: int, seed: int) -> np.ndarray:
    """A fixed permutation of 0..n-1."""
    return np.argsort(splitmix64(np.arange(n), seed), kind="stable")


def bernoulli(level: np.ndarray, first: int, seed: int) -> np.ndarray:
    """uint8 draws of Bernoulli(level / 255) for uint8 levels; entry i uses counter ``first`` + i.

    In integers: 1 where (32 random bits) * 255 < level * 2^32. Levels 0 and 255 need no draw.
    """
    flat = level.reshape(-1)
    out = (flat == 255).astype(np.uint8)
    where = np.flatnonzero((flat > 0) & (flat < 255))
    bits = splitmix64(where + first, seed) >> np.uint64(32)
    out[where] = bits * np.uint64(255) < flat[where].astype(np.uint64) << np.uint64(32)
    return out.reshape(level.shape)
