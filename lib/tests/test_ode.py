"""Likelihood, inversion and straightness of the flow against the exact mixture; with sabotage twins."""

import math

import pytest
import torch
from exact_diffusion import F64, gaussian, plane_mixture, randn

from coursekit import checks
from genmodels.core import generator
from genmodels.samplers import (
    churn,
    ddim,
    ddim_coefficients,
    euler,
    heun,
    invert,
    langevin,
    last,
    log_likelihood,
    sample,
    sde,
    standard_normal,
    straightness,
)
from genmodels.schedule import (
    cosine,
    edm,
    rectified,
)
from genmodels.schedule import uniform_grid as uniform
from genmodels.toy import GaussianMixture


def likelihood_is_the_mixtures():
    m, x = plane_mixture(), randn(5, 2)
    whole = torch.distributions.Normal(0.0, 2.0).log_prob(x).sum(1)
    checks.close(standard_normal(2.0)(x), whole, "the prior", atol=1e-12)
    for make, low, high in [(rectified, 0.0, 0.95), (cosine, 0.02, 0.97), (edm, 0.05, 6.0)]:
        p = make()
        a, b = p.at(low), p.at(high)
        prior = lambda y, b=b: m.log_prob(y, b.alpha, b.sigma)
        times = p.tabulate([low + (high - low) * (i / 60) ** 2 for i in range(61)])
        lp, noise = log_likelihood(m.velocity(p), x, times, prior=prior)
        checks.close(lp, m.log_prob(x, a.alpha, a.sigma), f"log p on {p.name}", atol=2e-5)
        checks.close(noise, m.flow(x, p, low, high), f"where x flows on {p.name}", atol=1e-4)
    many, z = x[:1].expand(400, 2), randn(1, 400, 2, seed=8).sign()
    p = rectified()
    times, prior = uniform(p, 8, start=0.9)[::-1], lambda y: m.log_prob(y, *((q := p.at(0.9)).alpha, q.sigma))
    exact, _ = log_likelihood(m.velocity(p), x[:1], times, prior=prior)
    noisy, _ = log_likelihood(m.velocity(p), many, times, prior=prior, probes=z)
    checks.unbiased(noisy, exact[0], "Hutchinson's likelihood")
    errors = []
    for n in (4, 8, 16):
        lp, _ = log_likelihood(m.velocity(p), x, uniform(p, n, start=0.9)[::-1], prior=prior)
        errors.append((lp - m.log_prob(x)).abs().mean())
    checks.order(errors, (4, 8, 16), 4.0, "the likelihood", tolerance=0.6)


def noise_comes_back():
    """Data to noise and back: exactly by solving each step, to second order by walking the grid upwards with Heun."""
    m, x = plane_mixture(), randn(4, 2)
    for make in (rectified, cosine, lambda: edm(4.0)):
        p = make()
        step, times = ddim(m.denoiser(p), p), uniform(p, 30)
        noise = invert(step, x, times, tol=1e-11, iterations=400)
        checks.close(last(sample(step, noise, times)), x, f"there and back on {p.name}", atol=1e-7)
        checks.close(invert(step, x, times), noise, f"to the tolerance by default on {p.name}", atol=1e-4, rtol=1e-4)
    p, errors = rectified(), []
    for n in (20, 40, 80):
        step, times = heun(m.denoiser(p), p), uniform(p, n)
        there = last(sample(step, x, times[::-1]))
        errors.append((last(sample(step, there, times)) - x).abs().mean())
    assert errors[0] < 0.01
    checks.order(errors, (20, 40, 80), 2.0, "the way there and back", tolerance=0.5)


def straight_only_for_the_optimal_pairs():
    """N(0.7, 0.5^2): independent pairs give curved paths, the monotone pairs (reflow) straight ones, one step exact."""
    m, p, z = gaussian(0.7, 0.5), rectified(), torch.linspace(-2, 2, 7, dtype=F64)[:, None]
    times = uniform(p, 64)
    bent = straightness([z, *sample(ddim(m.denoiser(p), p), z, times)], times)
    x0 = 0.7 + 0.5 * z  # the flow map: increasing, hence the optimal transport
    checks.close(m.flow(z, p, 1.0, 0.0), x0, "the flow of the independent pairs", atol=1e-8)
    field = lambda x, t: (x - 0.7 * (1 - t)) / (0.5 * (1 - t) + t) * 0.5 - 0.7  # x_t = (1 - t)(0.7 + 0.5 z) + t z
    checks.close(field((1 - 0.3) * x0 + 0.3 * z, 0.3), z - x0, "velocity of the new pairs", atol=1e-12)
    straight = straightness([z, *sample(euler(field), z, times)], times)
    assert bent.max() > 0.01
    checks.close(straight, torch.zeros(7, dtype=F64), "straightness after reflow", atol=1e-20)
    checks.close(last(sample(euler(field), z, [1.0, 0.0])), x0, "one step", atol=1e-12)
    # the integral itself, on a path known in closed form: x_t = t^2 has speed 2 t, and integral (1 - 2 t)^2 = 1/3
    fine = [i / 1000 for i in range(1000, -1, -1)]
    curve = [torch.full((1, 1), t**2, dtype=F64) for t in fine]
    checks.close(straightness(curve, fine), torch.full((1,), 1 / 3, dtype=F64), "straightness of a parabola", atol=1e-5)


def reflow_uncrosses_paths():
    """On the line two straight paths cross iff their ends are in opposite order: the flow's pairs never do."""
    column = torch.tensor([[-1.5], [1.0]], dtype=F64)
    m, p, n = GaussianMixture(torch.ones(2, dtype=F64), column, torch.tensor([0.3, 0.5], dtype=F64)), rectified(), 60
    noise, (data, _) = randn(n, 1), m.sample(n, generator=generator(1))
    flowed = last(sample(heun(m.denoiser(p), p), noise, uniform(p, 60)))

    def crossings(x0):
        return ((noise > noise.T) & (x0 < x0.T)).sum()

    assert crossings(data) > n, "independent pairs cross"
    assert crossings(flowed) == 0
    checks.close(flowed, m.flow(noise, p, 1.0, 0.0), "the flow's pairs", atol=5e-3)


def reflow_cannot_raise_the_cost():
    """E|x_0 - x_1|^2 under the flow's pairs is at most the independent pairs'; both marginals are kept."""
    m, p, n = plane_mixture(), rectified(), 4000
    noise = randn(n, 2)
    data, _ = m.sample(n, generator=generator(1))
    flowed = last(sample(heun(m.denoiser(p), p), noise, uniform(p, 40)))
    saved = ((data - noise) ** 2).sum(1) - ((flowed - noise) ** 2).sum(1)
    assert saved.mean() > 4.5 * saved.std() / math.sqrt(n)
    second = m.covs + m.means[:, :, None] * m.means[:, None]
    checks.unbiased(flowed, m.weights @ m.means, "mean of the data end", std_error=0.05)
    moment = torch.einsum("k,kij->ij", m.weights, second)
    checks.unbiased(flowed[:, :, None] * flowed[:, None], moment, "second moments of the data end")


ORACLES = [
    likelihood_is_the_mixtures,
    noise_comes_back,
    straight_only_for_the_optimal_pairs,
    reflow_uncrosses_paths,
    reflow_cannot_raise_the_cost,
]


@pytest.mark.parametrize("oracle", ORACLES)
def test_truth(oracle):
    oracle()


C = ddim_coefficients


SABOTAGE = {
    "divergence's sign": (likelihood_is_the_mixtures, log_likelihood, "(x) + total, x", "(x) - total, x"),
    "divergence by Euler": (likelihood_is_the_mixtures, log_likelihood, "(d1 + 2 * d2 + 2 * d3 + d4)", "6 * d1"),
    "a slope at t": (likelihood_is_the_mixtures, log_likelihood, "h / 2 * v1, middle", "h / 2 * v1, t"),
    "prior of unit width": (likelihood_is_the_mixtures, standard_normal, "(x / std) ** 2", "x**2"),
    "inverted the wrong way": (noise_comes_back, invert, "x - step(y, t, s)", "x - step(y, s, t)"),
    "not iterated": (noise_comes_back, invert, "<= tol * size", "<= size"),
    "eps at t 0 from rounding": (
        noise_comes_back,
        C,
        "return q.alpha / p.alpha, 0.0, 0.0",
        "return q.alpha / p.alpha, 0.1, 0.0",
    ),
    "against the wrong chord": (
        straight_only_for_the_optimal_pairs,
        straightness,
        "states[0] - states[-1]",
        "states[-1] - states[0]",
    ),
    "not weighted by time": (straight_only_for_the_optimal_pairs, straightness, "(t - s) * sum", "sum"),
    "Heun goes back to noise": (reflow_uncrosses_paths, heun, "x0 + x0_ahead", "x0 - 2 * x0_ahead"),
    "the flow stops early": (
        reflow_cannot_raise_the_cost,
        heun,
        "(q.sigma - p.sigma) * eps",
        "(q.sigma - p.sigma) / 2 * eps",
    ),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_oracle_notices(name, edit):
    oracle, where, old, new = SABOTAGE[name]
    edit(where, old, new)
    with pytest.raises(AssertionError):
        oracle()


def test_bad_input_is_named():
    m, p, x = plane_mixture(), rectified(), randn(3, 2)
    d = m.denoiser(p)
    for call, words in [
        (lambda: list(sample(ddim(d, p), x, [1.0])), "at least two times"),
        (lambda: last([]), "no last state"),
        (lambda: ddim(d, p, 1.5), "eta must lie"),
        (lambda: ddim(d, p, 0.5)(x, 0.2, 0.4), "only eta = 0"),
        (lambda: churn(d, p, 0.5), "gamma must lie"),
        (lambda: sde(d, p)(x, 1.0, 0.9), "start a little below"),
        (lambda: sde(d, p)(x, 0.2, 0.4), "from noise to data"),
        (lambda: langevin(d, p, 0.0), "step size"),
        (lambda: invert(ddim(d, p), x, uniform(p, 3), iterations=1, tol=1e-12), "finer grid"),
        (lambda: log_likelihood(m.velocity(p), x, [1.0, 0.0]), "ascends"),
        (lambda: log_likelihood(m.velocity(p), x, [0.5]), "at least two times, got 1"),
        (lambda: standard_normal(0.0), "std must be positive"),
        (lambda: straightness([x], [1.0]), "at least two states, got 1"),
        (lambda: straightness([x, x], [1.0, 0.5, 0.0]), "as many states"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
