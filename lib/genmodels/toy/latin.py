"""Latin squares of order 4 as texts of 16 symbols: puzzles where the order of writing decides, all answers known."""

from __future__ import annotations

import itertools
from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from genmodels.core import random, require

__all__ = ["LatinSquares"]

ORDER = 4


class LatinSquares:
    """The uniform distribution over all 576 squares whose rows and columns hold each of 4 symbols once.

    ``squares`` (576, 16) lists them row by row; symbols are 0 .. 3 and the mask is 4. Called as a network,
    ``latin(x, t)``, it is the perfect masked denoiser: the log-probabilities (b, 16, 5) of each cell, given those seen.
    """

    v, l, mask = ORDER, ORDER**2, ORDER

    def __init__(self) -> None:
        self.squares = _squares()

    def split(self, name: str) -> Int[Tensor, "288 16"]:
        """ "train" and "test" halves of the squares, shuffled once and for all."""
        require(name in ("train", "test"), f'the split is "train" or "test"; got {name!r}')
        shuffled = self.squares[torch.randperm(len(self.squares), generator=torch.Generator().manual_seed(0))]
        half = len(shuffled) // 2
        return shuffled[:half] if name == "train" else shuffled[half:]

    def is_valid(self, x: Int[Tensor, "b 16"]) -> Bool[Tensor, "b"]:
        """Whether every row and every column holds each symbol once; False where a cell is masked."""
        grid = x.view(-1, ORDER, ORDER)
        rows, columns = (g.sort(-1).values.eq(torch.arange(ORDER, device=x.device)) for g in (grid, grid.mT))
        return rows.flatten(1).all(1) & columns.flatten(1).all(1)

    def puzzles(self, squares: Int[Tensor, "b 16"], *, generator: torch.Generator | None = None) -> Int[Tensor, "b 16"]:
        """Each square with as many cells masked as its clues still leave one solution; cells are tried in random order.

        No clue can go without a second solution appearing. In 576 tried, 4 to 7 of the 16 cells stayed visible.
        """
        squares = squares.cpu()
        orders = random(torch.rand, squares.shape, generator=generator, dtype=torch.float64).argsort(1)
        agree = self.squares[None] == squares[:, None]  # (b, 576, 16)
        kept = torch.ones_like(squares, dtype=torch.bool)
        for cell in orders.T:
            fewer = kept.scatter(1, cell[:, None], False)
            unique = (agree | ~fewer[:, None]).all(2).sum(1) == 1
            kept = torch.where(unique[:, None], fewer, kept)
        return torch.where(kept, squares, self.mask)

    def __call__(self, x: Int[Tensor, "b 16"], t: Tensor | float = 0.0) -> Float[Tensor, "b 16 5"]:  # noqa: ARG002
        """log p(x0_i = k | visible cells); ValueError where no square agrees with them."""
        fits = ((self.squares[None] == x.cpu()[:, None]) | (x.cpu() == self.mask)[:, None]).all(2).double()
        require(bool(fits.any(1).all()), "no Latin square has these visible cells")
        counts = fits @ torch.nn.functional.one_hot(self.squares, ORDER).flatten(1).double()
        log_p = (counts.view(-1, self.l, ORDER) / fits.sum(1)[:, None, None]).log()
        return torch.nn.functional.pad(log_p, (0, 1), value=-torch.inf).to(x.device)


@cache
def _squares() -> Int[Tensor, "576 16"]:
    rows = list(itertools.permutations(range(ORDER)))
    clash = lambda one, other: any(a == b for a, b in zip(one, other, strict=True))
    found: list[tuple[tuple[int, ...], ...]] = [()]
    for _ in range(ORDER):
        found = [(*square, row) for square in found for row in rows if not any(clash(row, r) for r in square)]
    return torch.tensor(found).flatten(1)
