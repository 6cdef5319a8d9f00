"""The lowest layer: shapes, exact sampling, overflow, devices."""

import math

import pytest
import scipy.stats
import torch

from genmodels import core

F64 = torch.float64


def test_require_raises_its_sentence():
    core.require(True, "never said")
    with pytest.raises(ValueError, match="k must be positive, got -1"):
        core.require(False, "k must be positive, got -1")


def test_expand_puts_one_value_on_each_sample():
    x, v = torch.ones(3, 2, 5), torch.tensor([1.0, 2.0, 3.0])
    assert core.expand(v, x).shape == (3, 1, 1)
    torch.testing.assert_close((core.expand(v, x) * x)[:, 1, 4], v)
    assert core.expand(0.5, x).ndim == 0
    with pytest.raises(ValueError, match=r"one value for each of the 3 samples, got shape \(2,\)"):
        core.expand(torch.ones(2), x)


def test_sum_except_batch_sums_all_but_the_first_axis():
    x = torch.randn(3, 2, 4, dtype=F64, generator=core.generator(0))
    torch.testing.assert_close(core.sum_except_batch(x), x.sum((1, 2)))
    torch.testing.assert_close(core.sum_except_batch(x[:, 0, 0]), x[:, 0, 0])


def test_log_mean_exp_is_the_log_of_the_mean_and_does_not_overflow():
    x = torch.randn(4, 7, dtype=F64, generator=core.generator(1))
    torch.testing.assert_close(core.log_mean_exp(x, 1), x.exp().mean(1).log())
    assert float(core.log_mean_exp(torch.full((3,), 1e4), 0)) == pytest.approx(1e4)
    assert not torch.full((3,), 1e4).exp().mean().log().isfinite(), "the naive formula overflows here"


def test_gumbel_noise_has_its_distribution_and_reaches_far():
    n = 100_000
    g = core.gumbel((n,), generator=core.generator(2))
    assert g.dtype == F64
    assert scipy.stats.kstest(g.numpy(), scipy.stats.gumbel_r.cdf).pvalue > 1e-4, f"n={n}"
    assert scipy.stats.kstest((-g).numpy(), scipy.stats.gumbel_r.cdf).pvalue < 1e-4, "the wrong sign must be seen"


def test_categorical_draws_follow_softmax_and_never_take_a_forbidden_class():
    n, logits = 50_000, torch.tensor([0.5, -math.inf, 2.0, -1.0])
    draws = core.sample_categorical(logits.expand(n, 4), generator=core.generator(3))
    counts = draws.bincount(minlength=4)
    assert counts[1] == 0
    keep = [0, 2, 3]
    p = scipy.stats.chisquare(counts[keep].numpy(), (n * logits.double().softmax(0))[keep].numpy()).pvalue
    assert p > 1e-4, f"n={n}, chi-square p={p:.2g}"


def test_straight_through_is_hard_forward_and_soft_backward():
    soft = torch.tensor([0.2, 0.8], requires_grad=True)
    y = core.straight_through(torch.tensor([0.0, 1.0]), soft)
    assert y.tolist() == [0.0, 1.0]
    (grad,) = torch.autograd.grad((y * torch.tensor([3.0, 5.0])).sum(), soft)
    assert grad.tolist() == [3.0, 5.0]


def test_parameter_count_counts_tied_and_frozen_parameters_right():
    a, b = torch.nn.Linear(3, 4), torch.nn.Linear(3, 4)
    b.weight = a.weight
    b.bias.requires_grad_(False)
    assert core.parameter_count(torch.nn.ModuleList([a, b])) == 3 * 4 + 4


def test_device_and_generator():
    assert core.device("cpu") == torch.device("cpu")
    assert core.device().type in {"cpu", "cuda", "mps"}
    a, b = (torch.rand(3, generator=core.generator(7)) for _ in range(2))
    assert torch.equal(a, b) and not torch.equal(a, torch.rand(3, generator=core.generator(8)))


def test_full_precision_turns_autocast_off_where_it_exists():
    a = torch.randn(4, 4, generator=core.generator(0))
    with torch.autocast("cpu", torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
        with core.full_precision(a.device):
            assert torch.equal(a @ a, (a.double() @ a.double()).float()) or (a @ a).dtype == torch.float32
    with core.full_precision(torch.device("meta")):
        pass


@pytest.mark.parametrize(
    "draw",
    [lambda g: core.random(torch.randn, 3, 4, generator=g), lambda g: core.random(torch.randperm, 9, generator=g)],
)
def test_random_draws_what_torch_draws(draw):
    g = core.generator(5)
    want = torch.randn(3, 4, generator=g) if draw(core.generator(5)).ndim == 2 else torch.randperm(9, generator=g)
    assert torch.equal(draw(core.generator(5)), want)


def test_float64_is_lacking_on_apples_gpu_alone():
    assert core.lacks_float64("mps") and not core.lacks_float64("cpu") and not core.lacks_float64("cuda:1")
    x = torch.ones(3)
    assert core.to_float64_device(x) is x
