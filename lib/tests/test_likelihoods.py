"""Likelihood constants: every one sums or integrates to one, and equals torch's."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import Bernoulli, Normal, TransformedDistribution
from torch.distributions.transforms import AffineTransform, SigmoidTransform
from torch.distributions.uniform import Uniform

from genmodels import likelihoods as lik

F64 = torch.float64
RNG = torch.Generator().manual_seed(0)


def randn(*shape):
    return torch.randn(*shape, dtype=F64, generator=RNG)


def test_bernoulli_sums_to_one_over_all_pictures():
    logits = randn(1, 2, 3).expand(64, 2, 3)
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=F64)] * 6).reshape(64, 2, 3)
    log_prob = lik.bernoulli_log_prob(logits, states)
    assert float(log_prob.exp().sum()) == pytest.approx(1.0, abs=1e-12)
    torch.testing.assert_close(log_prob, Bernoulli(logits=logits).log_prob(states).sum((1, 2)))
    mean = log_prob / 6
    assert abs(float(mean.exp().sum()) - 1) > 1, "a mean over pixels is not a likelihood"


def test_a_grey_pixel_pays_for_both_ends_in_proportion():
    """Not a probability, but what grey data are trained with: linear in x between the two outcomes."""
    logits, grey = randn(3, 4), torch.rand(3, 4, dtype=F64, generator=RNG)
    dark, bright = (Bernoulli(logits=logits).log_prob(torch.full((3, 4), v, dtype=F64)) for v in (0.0, 1.0))
    torch.testing.assert_close(lik.bernoulli_log_prob(logits, grey), ((1 - grey) * dark + grey * bright).sum(1))


def test_gaussian_is_torchs_and_integrates_to_one():
    mean, x, std = randn(5, 3), randn(5, 3), randn(5, 3).exp()
    torch.testing.assert_close(lik.gaussian_log_prob(mean, x, std), Normal(mean, std).log_prob(x).sum(1))
    grid = torch.linspace(-30, 30, 20_001, dtype=F64)[:, None]
    density = lik.gaussian_log_prob(torch.full_like(grid, 0.4), grid, 1.7).exp()
    assert float(torch.trapezoid(density, grid[:, 0])) == pytest.approx(1.0, abs=1e-9)
    torch.testing.assert_close(lik.standard_normal_log_prob(x), Normal(0.0, 1.0).log_prob(x).sum(1))
    squared_error = -(x - mean).square().sum(1) / 2
    assert (squared_error - lik.gaussian_log_prob(mean, x)).abs().min() > 1, "a squared error lacks 3/2 log(2 pi)"


@pytest.mark.parametrize(("mean", "log_scale"), [(0.1, -2.0), (-1.3, -4.0), (0.95, 0.5), (0.0, -7.5)])
def test_discretized_logistic_masses_sum_to_one_and_are_cdf_differences(mean, log_scale):
    x = torch.linspace(-1, 1, 256, dtype=F64)[:, None]
    params = torch.full_like(x, mean), torch.full_like(x, log_scale)
    mass = lik.discretized_logistic_log_prob(*params, x).exp()
    assert float(mass.sum()) == pytest.approx(1.0, abs=1e-9)
    logistic = TransformedDistribution(
        Uniform(torch.zeros((), dtype=F64), 1.0), [SigmoidTransform().inv, AffineTransform(mean, math.exp(log_scale))]
    )
    edges = torch.linspace(-1, 1, 256, dtype=F64)[:-1] + 1 / 255
    cdf = torch.cat([torch.zeros(1, dtype=F64), logistic.cdf(edges), torch.ones(1, dtype=F64)])
    torch.testing.assert_close(mass, cdf.diff(), atol=1e-10, rtol=1e-6)


def test_edge_bins_and_narrow_scales_are_stable():
    x = torch.tensor([[0.3], [-1.0], [1.0]], requires_grad=False)
    mean = torch.zeros(3, 1, requires_grad=True)
    log_prob = lik.discretized_logistic_log_prob(mean, torch.full((3, 1), -9.0), x)
    assert log_prob.isfinite().all()
    log_prob.sum().backward()
    assert mean.grad.isfinite().all()
    # The sabotage twin: without the open end bins the masses of a wide logistic do not reach one.
    grid = torch.linspace(-1, 1, 256, dtype=F64)[:, None]
    inside = lik.logistic_bin_log_mass(torch.zeros_like(grid) + 9, torch.zeros_like(grid), grid + 9, 256).exp()
    assert float(inside.sum()) < 0.999 or float(inside.sum()) > 1.001


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: lik.bernoulli_log_prob(torch.ones(2, 3), torch.ones(3, 2)), "same shape"),
        (lambda: lik.gaussian_log_prob(torch.ones(2, 3), torch.ones(2, 3), 0.0), "must be positive, got 0.0"),
        (lambda: lik.gaussian_log_prob(torch.ones(2, 3), torch.ones(2, 1)), "same shape"),
        (lambda: lik.discretized_logistic_log_prob(torch.ones(1, 1), torch.ones(1, 1), torch.ones(1, 1), 1), "got 1"),
        (lambda: lik.discretized_logistic_log_prob(*[torch.ones(1, 2)] * 2, torch.ones(2, 1)), "same shape"),
        (lambda: lik.discretized_logistic_log_prob(*[torch.ones(1, 2)] * 2, torch.tensor([[0, 255]])), "from -1 to 1"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# --- sabotage: what is wrong, the oracle that must notice, where, the text and what replaces it ----------------------

TWINS = {
    "logits for probabilities": (
        test_bernoulli_sums_to_one_over_all_pictures,
        lik.bernoulli_log_prob,
        "binary_cross_entropy_with_logits(logits,",
        "binary_cross_entropy_with_logits(logits.sigmoid(),",
    ),
    "grey made white": (
        test_a_grey_pixel_pays_for_both_ends_in_proportion,
        lik.bernoulli_log_prob,
        "x.to(logits.dtype)",
        "(x > 0).to(logits.dtype)",
    ),
    "constant left out": (
        test_gaussian_is_torchs_and_integrates_to_one,
        lik.gaussian_log_prob,
        " - 0.5 * math.log(2 * math.pi)",
        "",
    ),
    "scale left out": (test_gaussian_is_torchs_and_integrates_to_one, lik.gaussian_log_prob, " - std.log()", ""),
    "bins that end at the edge": (
        partial(test_discretized_logistic_masses_sum_to_one_and_are_cdf_differences, 0.1, -2.0),
        lik.logistic_bin_log_mass,
        "torch.where(first, F.logsigmoid(right), torch.where(last, F.logsigmoid(-left), inside))",
        "inside",
    ),
    "bins of half the width": (
        partial(test_discretized_logistic_masses_sum_to_one_and_are_cdf_differences, 0.1, -2.0),
        lik.logistic_bin_log_mass,
        "1 / (bins - 1)",
        "0.5 / (bins - 1)",
    ),
}


@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
def test_oracle_notices(twin, notices):
    notices(*twin)
