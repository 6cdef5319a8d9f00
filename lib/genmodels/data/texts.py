"""Texts as characters: nine plays of Shakespeare, and Tang poems of fixed length."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from .counter import splitmix64
from .files import locate, read
from .splits import SPLITS, bounds

__all__ = ["Text", "quatrains", "shakespeare"]

POEM = 32  # characters of a quatrain: four lines of seven and a mark
QUATRAINS_SEED = 7


class Text(NamedTuple):
    """Characters as whole numbers; the alphabet is that of the whole data set, so it is the same for every split."""

    tokens: Int[Tensor, "*n"]  # (n,) characters of running text, or (n, 32): one poem a row
    alphabet: str  # alphabet[token] is the character

    def encode(self, text: str) -> Int[Tensor, "n"]:
        """The tokens of a string; an unknown character is an error that names it."""
        index = {c: i for i, c in enumerate(self.alphabet)}
        unknown = sorted(set(text) - set(index))
        if unknown:
            raise ValueError(f"not in the alphabet of {len(index)} characters: {' '.join(map(repr, unknown[:8]))}")
        return torch.tensor([index[c] for c in text], dtype=torch.int64)

    def decode(self, tokens: Int[Tensor, "*n"]) -> str:
        """The string of some tokens; rows are separated by new lines."""
        if tokens.ndim > 1:
            return "\n".join(map(self.decode, tokens))
        return "".join(map(self.alphabet.__getitem__, tokens.tolist()))


def _codes(text: str) -> tuple[np.ndarray, str]:
    """Every character as its place in the sorted alphabet."""
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    letters, codes = np.unique(points, return_inverse=True)
    return codes.reshape(-1), "".join(map(chr, letters))


@functools.lru_cache(maxsize=1)
def _shakespeare(path: Path) -> tuple[np.ndarray, str, int, int]:
    """All tokens, the alphabet, and the two cuts: the last blank line before 80 % and 90 % of the text."""
    text = read(path).decode("ascii")
    cuts = [text.rindex("\n\n", 0, len(text) * tenths // 10) + 2 for tenths in (8, 9)]
    return *_codes(text), *cuts


def shakespeare(split: str) -> Text:
    """Nine plays as one text of 1,168,813 characters, 69 symbols: about 80 % train, 10 % valid, 10 % test, in order.

    Other plays than the training ones make up most of valid and test, so the likelihood there is that of unseen plays.
    """
    bounds(split, 0, 0, 0)  # a wrong name fails before anything is read
    codes, alphabet, first, second = _shakespeare(locate("shakespeare.txt"))
    part = bounds(split, first, second - first, len(codes) - second)
    return Text(torch.from_numpy(codes[part].astype(np.int64)), alphabet)


@functools.lru_cache(maxsize=1)
def _quatrains(path: Path) -> tuple[np.ndarray, str, np.ndarray]:
    """All poems as tokens (n, 32), the alphabet, and the split of each poem as 0, 1, 2."""
    poems = read(path).decode("utf-8").split()
    codes, alphabet = _codes("".join(poems))
    draw = splitmix64(_families(poems), QUATRAINS_SEED) % np.uint64(10)
    return codes.reshape(-1, POEM), alphabet, np.maximum(draw.astype(int) - 7, 0)


def _families(poems: list[str]) -> np.ndarray:
    """One number for each poem, the same for variants of a poem.

    About 800 poems have a near twin (one poem in two collections, a few characters changed). Poems that share the
    first four or the last four characters of a line, in the same place, are put into one family, and a family into
    one split; otherwise the test set would contain training poems.
    """
    parent = list(range(len(poems)))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    seen: dict[tuple[int, str], int] = {}
    for i, poem in enumerate(poems):
        for start in (0, 3, 8, 11, 16, 19, 24, 27):
            a, b = find(i), find(seen.setdefault((start, poem[start : start + 4]), i))
            parent[max(a, b)] = min(a, b)
    return np.array([find(i) for i in range(len(poems))])


def quatrains(split: str) -> Text:
    """10,159 Tang poems of four seven-character lines, (n, 32) tokens with marks, 4,753 symbols: about 80/10/10 %."""
    bounds(split, 0, 0, 0)
    codes, alphabet, which = _quatrains(locate("tang_quatrains.txt"))
    return Text(torch.from_numpy(codes[which == SPLITS.index(split)].astype(np.int64)), alphabet)
