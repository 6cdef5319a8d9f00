"""The distributions of one dimension, against torch.distributions, sums and frequencies."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import AffineTransform, SigmoidTransform, TransformedDistribution, Uniform

from coursekit.checks import CheckFailed, close, distributed, finite, normalised
from genmodels.autoregressive import (
    Bernoulli,
    Categorical,
    DiscretizedLogisticMixture,
    discretized_logistic_mixture_log_prob,
)
from genmodels.core import generator

F64 = torch.float64


def mixture(m=3, d=5, seed=0):
    g = generator(seed)
    means = 2 * torch.rand(d, m, generator=g, dtype=F64) - 1
    return (torch.randn(d, m, generator=g, dtype=F64), means, torch.randn(d, m, generator=g, dtype=F64) - 2)


def masses(bins, parameters, log_prob=discretized_logistic_mixture_log_prob):
    """Log-probabilities (bins, d) of every bin in every dimension."""
    x = torch.arange(bins, dtype=F64)[:, None].expand(-1, len(parameters[0]))
    return log_prob(x, *(p.expand(bins, *p.shape) for p in parameters), bins=bins)


def by_the_cdf(x, weights, means, log_scales, bins=256):
    """The same bin masses as differences of the CDF of torch's logistic distribution."""
    zero, one = torch.zeros((), dtype=F64), torch.ones((), dtype=F64)
    logistic = TransformedDistribution(
        Uniform(zero, one, validate_args=False),
        [SigmoidTransform().inv, AffineTransform(means, log_scales.exp())],
        validate_args=False,
    )
    axis = (2 * x / (bins - 1) - 1)[..., None]
    upper, lower = logistic.cdf(axis + 1 / (bins - 1)), logistic.cdf(axis - 1 / (bins - 1))
    upper = torch.where(x[..., None] == bins - 1, one, upper)
    lower = torch.where(x[..., None] == 0, zero, lower)
    return (weights.softmax(-1) * (upper - lower)).sum(-1).log()


@pytest.mark.parametrize("bins", [2, 7, 256])
def test_masses_of_all_bins_sum_to_one_and_are_cdf_differences(bins):
    parameters = mixture()
    log_mass = masses(bins, parameters)
    for d in range(5):
        normalised(log_mass[:, d], torch.arange(bins)[:, None].double(), "logistic mixture", atol=1e-10)
    x = torch.arange(bins, dtype=F64)[:, None].expand(-1, 5)
    want = by_the_cdf(x, *(p.expand(bins, *p.shape) for p in parameters), bins=bins)
    close(log_mass.exp(), want.exp(), "bin masses", atol=1e-12)


def density_at_the_centre(x, weights, means, log_scales, bins):
    """The mistake: the density times the bin's width, no edge bins."""
    z = ((2 * x / (bins - 1) - 1)[..., None] - means) / log_scales.exp()
    log_density = -z - 2 * F.softplus(-z) - log_scales + math.log(2 / (bins - 1))
    return torch.logsumexp(weights.log_softmax(-1) + log_density, -1)


def no_edge_bins(x, weights, means, log_scales, bins):
    return discretized_logistic_mixture_log_prob(
        x + 1, weights, (means * (bins - 1)) / (bins + 1), log_scales + math.log((bins - 1) / (bins + 1)), bins=bins + 2
    )


def weights_not_normalised(x, weights, means, log_scales, bins):
    parts = [
        discretized_logistic_mixture_log_prob(x, one, mean, scale, bins=bins)
        for one, mean, scale in zip(*(p.split(1, -1) for p in (weights, means, log_scales)), strict=True)
    ]
    return torch.logsumexp(weights + torch.stack(parts, -1), -1)


@pytest.mark.parametrize("wrong", [density_at_the_centre, no_edge_bins, weights_not_normalised])
def test_wrong_discretisations_do_not_sum_to_one(wrong):
    with pytest.raises(CheckFailed):
        log_mass = masses(7, mixture(), wrong)
        normalised(log_mass[:, 0], torch.arange(7)[:, None].double())


def test_far_tails_and_tiny_scales_stay_finite_with_finite_gradients():
    x = torch.tensor([0.0, 1.0, 128.0, 254.0, 255.0])
    means = torch.tensor([[5.0], [-9.0], [0.0], [1.0], [-1.0]], requires_grad=True)
    scales = torch.tensor([[-7.0], [-7.0], [-7.0], [3.0], [-7.0]], requires_grad=True)
    log_prob = discretized_logistic_mixture_log_prob(x, torch.zeros(5, 1), means, scales)
    finite(log_prob, "log_prob")
    log_prob.sum().backward()
    finite(means.grad, "gradient of the means")
    finite(scales.grad, "gradient of the scales")
    naive = by_the_cdf(x.double(), torch.zeros(5, 1).double(), means.detach().double(), scales.detach().double())
    assert not bool(naive.isfinite().all())  # which is why it is not computed that way


HEADS = {
    "Bernoulli": (Bernoulli(), 2),
    "Categorical": (Categorical(5), 5),
    "logistic mixture": (DiscretizedLogisticMixture(3, bins=9), 9),
}


def numbers(head, seed=0):
    shape = () if head.size == 1 else (head.size,)
    return 1.5 * torch.randn(shape, generator=generator(seed), dtype=F64)


@pytest.mark.parametrize("name", HEADS)
def test_heads_draw_what_their_log_prob_says(name):
    head, levels = HEADS[name]
    params, n = numbers(head), 100_000
    every = torch.arange(levels, dtype=F64)
    log_prob = head.log_prob(params.expand(levels, *params.shape), every)
    normalised(log_prob, every[:, None], name, atol=1e-10)
    drawn = head.sample(params.expand(n, *params.shape), generator=generator(1))
    distributed(drawn.long(), log_prob.exp(), name)
    head.check(drawn)


def scales_are_bounded_below_and_means_start_apart():
    """exp(-7) is narrower than a bin; above, a log-scale follows the network's number one to one."""
    head = DiscretizedLogisticMixture(3)
    p = torch.linspace(-60, 60, 121, dtype=F64)[:, None].expand(121, 9)
    weights, means, log_scales = head.split(p)
    assert float(log_scales.min()) >= -7 and bool((log_scales.diff(dim=0) >= 0).all())
    close(log_scales[-1] - log_scales[-11], torch.full((3,), 10.0), "ten steps far above the bound")
    close(means - p[:, 3:6], torch.tensor([-1.0, 0.0, 1.0]).expand(121, 3), "where the means start")
    close(weights, p[:, :3], "the weights")


def test_scales_are_bounded_below_and_means_start_apart():
    scales_are_bounded_below_and_means_start_apart()


@pytest.mark.parametrize(
    ("old", "new"),
    [("MIN_LOG_SCALE + F.softplus(log_scales - MIN_LOG_SCALE - 2)", "log_scales"), ("means + spread", "means")],
)
def test_oracle_of_the_split_notices(old, new, notices):
    notices(scales_are_bounded_below_and_means_start_apart, DiscretizedLogisticMixture.split, old, new)


@pytest.mark.parametrize("name", HEADS)
def test_the_network_sees_the_levels_evenly_from_0_to_1(name):
    head, levels = HEADS[name]
    close(head.encode(torch.arange(levels, dtype=F64)), torch.linspace(0, 1, levels, dtype=F64), name, atol=1e-12)


def test_a_scale_that_does_not_reach_1_is_noticed(notices):
    oracle = lambda: test_the_network_sees_the_levels_evenly_from_0_to_1("Categorical")
    notices(oracle, Categorical.encode, "(self.levels - 1)", "self.levels")


@pytest.mark.parametrize("name", HEADS)
def test_heads_drawing_from_numbers_of_another_size_are_noticed(name):
    """The twin: a temperature of 2."""
    head, levels = HEADS[name]
    params, every = numbers(head), torch.arange(levels, dtype=F64)
    log_prob = head.log_prob(params.expand(levels, *params.shape), every)
    with pytest.raises(CheckFailed):
        drawn = head.sample(params.expand(100_000, *params.shape) / 2, generator=generator(1))
        distributed(drawn.long(), log_prob.exp(), name)


def test_log_probs_equal_torch_distributions():
    x = torch.tensor([0.0, 1.0, 1.0], dtype=F64)
    logits = torch.tensor([0.3, -2.0, 40.0], dtype=F64)
    close(Bernoulli().log_prob(logits, x), torch.distributions.Bernoulli(logits=logits).log_prob(x), "Bernoulli")
    logits, x = torch.randn(6, 4, dtype=F64), torch.tensor([0, 3, 2, 1, 1, 0]).double()
    want = torch.distributions.Categorical(logits=logits).log_prob(x)
    close(Categorical(4).log_prob(logits, x), want, "Categorical")


@pytest.mark.parametrize("name", HEADS)
def test_values_outside_the_range_are_refused(name):
    head, levels = HEADS[name]
    for bad in (-1.0, 0.5, float(levels)):
        with pytest.raises(ValueError, match=rf"whole numbers in 0..{levels - 1}"):
            head.check(torch.tensor([0.0, bad]))
    with pytest.raises(ValueError, match=r"floating point, got torch.int64: use x.float\(\)"):
        Bernoulli().check(torch.tensor([0, 1]))
    for make, words in [
        (lambda: Categorical(1), "at least 2 levels"),
        (lambda: DiscretizedLogisticMixture(0), "at least 1 component"),
        (lambda: DiscretizedLogisticMixture(2, bins=1), "at least 2 bins"),
    ]:
        with pytest.raises(ValueError, match=words):
            make()
    with pytest.raises(ValueError, match="at least 2 bins"):
        discretized_logistic_mixture_log_prob(torch.zeros(1), *[torch.zeros(1, 1)] * 3, bins=1)
