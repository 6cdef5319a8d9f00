"""Characters as tokens."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Int
from torch import Tensor

from genmodels.core import require

__all__ = ["CharTokenizer"]


class CharTokenizer:
    """One token a character, in sorted order; ``mask`` = v is the first symbol that is no character.

    text   any string or strings that hold every character to be used
    """

    def __init__(self, text: str | Iterable[str]):
        self.alphabet = "".join(sorted(set("".join(text))))
        require(len(self.alphabet) > 0, "a tokenizer needs at least one character; got empty text")
        self.v = self.mask = len(self.alphabet)
        self._index = {c: i for i, c in enumerate(self.alphabet)}

    def encode(self, text: str) -> Int[Tensor, "l"]:
        """Tokens of a text. Raises ValueError naming the first unknown character and its place."""
        unknown = next((i for i, c in enumerate(text) if c not in self._index), None)
        if unknown is not None:
            raise ValueError(f"character {text[unknown]!r} at {unknown} is not among the {self.v} of this tokenizer")
        return torch.tensor([self._index[c] for c in text], dtype=torch.long)

    def decode(self, tokens: Int[Tensor, "l"], *, hole: str = "_") -> str:
        """Text of the tokens, a masked one shown as ``hole``. Raises ValueError for any other number."""
        numbers = [int(i) for i in tokens]
        bad = next((i for i in numbers if not 0 <= i <= self.v), None)
        require(bad is None, f"token {bad} is out of range: characters are 0 .. {self.v - 1}, the mask is {self.v}")
        return "".join(hole if i == self.mask else self.alphabet[i] for i in numbers)
