"""The stand-ins of chapter 09 against the formulas of the papers, term by term."""

import math

import torch
from torch.distributions import Normal

from coursekit.views import chain
from genmodels import core

ABAR = torch.tensor([1.0, 0.9, 0.6, 0.25, 0.04], dtype=torch.float64)


def noise(*shape, seed):
    return torch.randn(*shape, generator=core.generator(seed), dtype=torch.float64)


def test_a_jump_fades_each_sample_to_its_own_step():
    x0, eps, k = noise(3, 2, seed=0), noise(3, 2, seed=1), torch.tensor([0, 2, 4])
    left = ABAR[k][:, None]
    got = chain.jump(x0, k, 1 - ABAR[1:] / ABAR[:-1], eps)
    assert torch.allclose(got, left.sqrt() * x0 + (1 - left).sqrt() * eps)


def test_the_posterior_is_bayes_on_a_grid():
    x0, xk, j, k = 0.7, -0.4, 1, 3
    y, a = torch.linspace(-6, 6, 20_001, dtype=torch.float64), ABAR[k] / ABAR[j]
    prior = Normal(ABAR[j].sqrt() * x0, (1 - ABAR[j]).sqrt()).log_prob(y)
    p = (prior + Normal(a.sqrt() * y, (1 - a).sqrt()).log_prob(torch.tensor(xk).double())).exp()
    p = p / p.sum()
    one = torch.ones(1, 1, dtype=torch.float64)
    mean, variance = chain.posterior(x0 * one, xk * one, float(ABAR[k]), float(ABAR[j]))
    assert math.isclose(float(mean), float((p * y).sum()), abs_tol=1e-6)
    assert math.isclose(variance, float((p * (y - (p * y).sum()) ** 2).sum()), abs_tol=1e-6)


def test_the_bound_uses_the_given_noise_and_sums_over_levels_to_one():
    levels, eps = 5, noise(4, 5, 1, seed=2)
    x0 = torch.linspace(-1, 1, levels, dtype=torch.float64)[:, None]
    denoise = lambda x, k: 0.1 * k + 0.5 * x
    arrived, steps, last = chain.bound_terms(x0, denoise, ABAR, eps, levels)
    for k in (2, 3, 4):
        x = ABAR[k].sqrt() * x0 + (1 - ABAR[k]).sqrt() * eps[k - 1]
        snr = lambda i: ABAR[i] / (1 - ABAR[i])
        assert torch.allclose(steps[k - 2], (snr(k - 1) - snr(k)) / 2 * (x0 - denoise(x, k))[:, 0] ** 2)
    kl = torch.distributions.kl_divergence(Normal(ABAR[4].sqrt() * x0, (1 - ABAR[4]).sqrt()), Normal(0.0, 1.0))
    assert torch.allclose(arrived, kl[:, 0])
    blind = chain.bound_terms(x0, lambda x, k: torch.zeros_like(x) + 0.2, ABAR, eps, levels)[2]
    assert math.isclose(float((-blind).exp().sum()), 1.0, abs_tol=1e-9) and last.shape == (5,)


def test_solving_gives_back_picture_and_noise():
    x0, eps = noise(3, 2, seed=3), noise(3, 2, seed=4)
    a, b, alpha, sigma = (torch.tensor(v).double()[:, None] for v in ([1, 0, -0.8], [0, 1, 0.6], [0.6] * 3, [0.8] * 3))
    got = chain.solve_target(a * x0 + b * eps, alpha * x0 + sigma * eps, a, b, alpha, sigma)
    assert torch.allclose(got[0], x0) and torch.allclose(got[1], eps)


def test_the_loss_hides_the_labels_of_single_samples():
    x0, labels, k = torch.zeros(2, 1), torch.tensor([[2], [2]]), torch.tensor([1, 1])
    say = lambda x, t, y: y[:, :1].to(x.dtype)
    given = torch.ones(2, 1), torch.tensor([0.9, 0.1]), torch.tensor([1.0, 0.5])
    assert torch.allclose(chain.diffusion_loss(say, x0, labels, k, *given, "eps", 0.5), torch.tensor([1.0, 4.0]))


def test_the_way_back_of_one_point_retraces_the_chain():
    start = ABAR[4].sqrt() * 1.5 + (1 - ABAR[4]).sqrt() * noise(20_000, 1, seed=5)
    point = lambda x, k: torch.full_like(x, 1.5)
    states = chain.ancestral_sample(point, start, ABAR, [4, 2, 1, 0], core.generator(6))
    for j, x in zip((2, 1), states, strict=False):
        assert abs(float(x.mean() - ABAR[j].sqrt() * 1.5)) < 5 * float(((1 - ABAR[j]) / 20_000).sqrt())
        assert abs(float(x.std() / (1 - ABAR[j]).sqrt()) - 1) < 5 / 40_000**0.5
    assert states.shape == (3, 20_000, 1) and (states[-1] - 1.5).abs().max() < 1e-9
