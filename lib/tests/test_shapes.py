"""The plane's densities integrate to 1, and their samples follow them."""

import math

import pytest
import torch

from coursekit import checks
from genmodels import toy
from genmodels.core import generator
from genmodels.toy import shapes

NAMES = list(toy.SHAPES)
N = 40_000


def histogram_test(samples, log_prob, cells=20, fine=16):
    """Chi-square of a cells x cells histogram against the density integrated over each cell by the midpoint rule."""
    points, area = toy.grid(4.0, cells * fine)
    p = (log_prob(points).exp() * area).reshape(cells, fine, cells, fine).sum((1, 3)).flatten()
    column, row = ((samples.double() + 4) * cells / 8).floor().long().clamp(0, cells - 1).T
    checks.distributed(row * cells + column, p.clamp_min(1e-12) / p.sum(), "sample")


@pytest.mark.parametrize("name", NAMES)
def test_density_integrates_to_one(name):
    points, area = toy.grid(4.0, 320)
    checks.normalised(toy.shape(name).log_prob, points, name, cell=area, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_samples_follow_the_density(name):
    s = toy.shape(name)
    histogram_test(s.sample(N, generator=torch.Generator().manual_seed(1)), s.log_prob)


@pytest.mark.parametrize("name", NAMES)
def test_the_histogram_test_sees_a_wrong_density_and_wrong_samples(name):
    s = toy.shape(name)
    x = s.sample(N, generator=torch.Generator().manual_seed(1))
    with pytest.raises(checks.CheckFailed):
        histogram_test(x * 1.03, s.log_prob)
    with pytest.raises(checks.CheckFailed):
        histogram_test(x + 0.03, s.log_prob)


@pytest.mark.parametrize("edit", ["no jacobian", "no fold", "no wrap", "twist the other way"])
def test_each_part_of_the_polar_density_is_needed(edit, monkeypatch):
    """Wide arms, for which folding and wrapping matter; removing one part must break an oracle."""
    wide = shapes.Polar((shapes.Arm(0.3, 1.0, 0.3, 2.5, 2.5, 0.8, (0.2, -0.3)),), twist=1.5)
    x = wide.sample(N, generator=torch.Generator().manual_seed(2))
    points, area = toy.grid(4.0, 500)
    checks.normalised(wide.log_prob, points, cell=area, atol=5e-3)  # the density has a pole at the centre
    histogram_test(x, wide.log_prob)
    r = lambda x: torch.hypot(x[:, 0] - 0.2, x[:, 1] + 0.3)
    blurred = shapes._log_blurred

    def without(condition):
        return lambda x, low, high, std: blurred(x, low, high, std).masked_fill(condition(x, low), -math.inf)

    wrong = {
        "no jacobian": lambda x: wide.log_prob(x) + r(x).log(),
        "no fold": wide.log_prob,
        "no wrap": wide.log_prob,
        "twist the other way": shapes.Polar(wide.arms, twist=-1.5).log_prob,
    }[edit]
    if edit == "no fold":
        monkeypatch.setattr(shapes, "_log_blurred", without(lambda x, low: (x < 0) & (low > 0)))
    if edit == "no wrap":
        monkeypatch.setattr(shapes, "_log_blurred", without(lambda x, low: (x.abs() > math.pi) & (low < 0)))
    with pytest.raises(checks.CheckFailed):
        checks.normalised(wrong, points, cell=area, atol=5e-3)
        histogram_test(x, wrong)


@pytest.mark.parametrize("low, high", [(-0.4, 1.1), (0.7, 0.7)])
def test_blurred_uniform_against_quadrature_and_in_the_far_tail(low, high):
    x = torch.linspace(-30, 30, 241, dtype=torch.float64, requires_grad=True)
    got = shapes._log_blurred(x, low, high, 0.3)
    normal = torch.distributions.Normal(0.0, torch.tensor(0.3, dtype=torch.float64))
    nodes = torch.linspace(low, high, 4001, dtype=torch.float64)[:, None]
    weights = torch.full((4001, 1), 1 / 4000, dtype=torch.float64)
    weights[[0, -1]] /= 2
    log_terms = normal.log_prob(x.detach() - nodes) + (weights / weights.sum()).log()
    torch.testing.assert_close(got, torch.logsumexp(log_terms, 0), atol=1e-3, rtol=1e-3, check_dtype=False)
    near = x.detach().abs() < 3
    torch.testing.assert_close(got[near], torch.logsumexp(log_terms, 0)[near], atol=1e-5, rtol=1e-5)
    checks.finite(torch.autograd.grad(got.sum(), x)[0], "the slope of the log-density")


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_finite_seeds_repeat_and_points_stay_in_the_frame(name):
    s = toy.shape(name)
    a = s.sample(999, generator=torch.Generator().manual_seed(3))
    assert torch.equal(a, s.sample(999, generator=torch.Generator().manual_seed(3)))
    assert not torch.equal(a, s.sample(999, generator=torch.Generator().manual_seed(4)))
    assert a.dtype == torch.float32 and s.sample(3, dtype=torch.float64).dtype == torch.float64
    assert a.abs().max() < 4 and 0.5 < a.std() < 1.6
    assert s.log_prob(a).dtype == torch.float32 and s.log_prob(a).isfinite().all()
    if name != "checkerboard":  # flat: its score is zero
        checks.finite(checks.grad(s.log_prob, toy.grid(4.0, 41)[0]), "score")


def test_unknown_names_and_odd_boards():
    with pytest.raises(ValueError, match="'star'.*eight_gaussians.*spiral"):
        toy.shape("star")
    with pytest.raises(ValueError, match="n >= 1 cells a side.*got 0 and 4.0"):
        toy.grid(4.0, 0)
    with pytest.raises(ValueError, match="even"):
        toy.Checkerboard(3)


def test_named_shapes_have_the_structure_their_names_promise():
    turn = lambda x, a: x @ torch.tensor([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]], dtype=x.dtype)
    x = torch.randn(50, 2, dtype=torch.float64, generator=generator(0))
    pinwheel = toy.pinwheel().log_prob
    torch.testing.assert_close(pinwheel(turn(x, 2 * math.pi / 5)), pinwheel(x))
    assert (pinwheel(turn(x, math.pi / 5)) - pinwheel(x)).abs().max() > 0.1, "five blades, not ten"
    board = toy.gaussian_grid().log_prob
    inner = torch.rand(50, 2, dtype=torch.float64, generator=generator(1)) - 0.5
    torch.testing.assert_close(board(inner), board(inner + torch.tensor([1.0, -1.0])), atol=1e-9, rtol=0)
    moons = toy.two_moons().sample(4000, generator=generator(2))
    assert moons.mean(0).abs().max() < 0.3 and moons.std(0).min() > 0.3
