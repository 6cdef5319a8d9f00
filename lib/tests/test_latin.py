"""Latin squares: the count is known, puzzles have one solution, and the enumerated denoiser is Bayes' rule."""

import pytest
import torch

from genmodels import schedule
from genmodels.core import generator
from genmodels.discrete import Masking, at_random, by_confidence, in_order
from genmodels.samplers import confidence, last, sample
from genmodels.toy import LatinSquares

latin = LatinSquares()


def test_there_are_576_and_all_are_valid():
    assert latin.squares.shape == (576, 16)  # OEIS A002860
    assert len(latin.squares.unique(dim=0)) == 576
    assert latin.is_valid(latin.squares).all()


def test_a_repeated_symbol_or_a_mask_is_not_valid():
    row, column, masked = latin.squares[0].clone(), latin.squares[0].clone(), latin.squares[0].clone()
    row[[0, 1]] = row[[1, 0]]  # columns 0 and 1 break
    column[[0, 4]] = column[[4, 0]]  # rows 0 and 1 break
    masked[5] = latin.mask
    assert not latin.is_valid(torch.stack([row, column, masked])).any()


def test_halves_share_nothing():
    both = torch.cat([latin.split("train"), latin.split("test")])
    assert len(both) == len(both.unique(dim=0)) == 576
    with pytest.raises(ValueError, match="valid"):
        latin.split("valid")


def test_puzzles_have_one_solution_and_no_clue_to_spare():
    squares = latin.squares[::40]
    for square, puzzle in zip(squares, latin.puzzles(squares, generator=generator(0)), strict=True):
        solutions = lambda p: latin.squares[((latin.squares == p) | (p == latin.mask)).all(1)]
        assert torch.equal(solutions(puzzle), square[None])
        for clue in (puzzle != latin.mask).nonzero()[:, 0]:
            fewer = puzzle.clone()
            fewer[clue] = latin.mask
            assert len(solutions(fewer)) > 1


def test_denoiser_is_a_count_of_the_squares_that_agree():
    x = torch.full((1, 16), latin.mask)
    assert torch.allclose(latin(x).exp()[..., :4], torch.tensor(0.25, dtype=torch.float64))
    x[0, 0] = 2
    p = latin(x).exp()[0, :, :4]
    assert not latin(x).exp()[..., 4].any()
    assert torch.equal(p[0], torch.tensor([0.0, 0, 1, 0], dtype=torch.float64))
    for same_line in (1, 2, 3, 4, 8, 12):
        assert torch.allclose(p[same_line], torch.tensor([1 / 3, 1 / 3, 0, 1 / 3], dtype=torch.float64))
    with pytest.raises(ValueError, match="no Latin square"):
        latin(torch.zeros(1, 16, dtype=torch.long))


@pytest.mark.parametrize("rank", [in_order(range(16)), by_confidence, at_random(generator(1))])
def test_with_the_perfect_network_every_order_solves_every_puzzle(rank):
    squares = latin.split("test")[:20]
    puzzles = latin.puzzles(squares, generator=generator(0))
    step = confidence(latin, Masking(latin.v, schedule.rectified()), rank=rank, temperature=0)
    assert torch.equal(last(sample(step, puzzles, torch.linspace(1, 0, 17))), squares)
