"""DDIM and its loop against Bayes on a grid, diffusers and recursions; with sabotage twins."""

import math
import os
from functools import partial
from itertools import pairwise

import pytest
import torch
from exact_diffusion import F64, gaussian, level, moments, plane_mixture, randn

from coursekit import checks
from genmodels.core import generator
from genmodels.diffusion import express, rescale
from genmodels.samplers import (
    churn,
    ddim,
    ddim_coefficients,
    euler,
    heun,
    langevin,
    last,
    sample,
    sde,
)
from genmodels.schedule import (
    cosine,
    cosine_betas,
    edm,
    from_betas,
    karras_grid,
    linear_betas,
    linear_vp,
    rectified,
    ve,
)
from genmodels.schedule import uniform_grid as uniform

PATHS = {"rectified": rectified, "cosine": cosine, "vp": linear_vp, "edm": edm, "ve": ve}


def posterior_is_bayes_rule():
    """q(x_s | x_t, x_0) as prior times likelihood on a fine grid, for eta = 1 and every path."""
    for make in PATHS.values():
        p = make()
        t, s, x0, xt = level(p, 0.7), level(p, 0.4), 0.8, -0.5
        a, b = p.at(t), p.at(s)
        xs = torch.linspace(-15, 15, 30001, dtype=F64)
        ratio = a.alpha / b.alpha
        log = -0.5 * ((xs - b.alpha * x0) / b.sigma) ** 2
        log = log - 0.5 * (xt - ratio * xs) ** 2 / (a.sigma**2 - ratio**2 * b.sigma**2)
        w = log.softmax(0)
        mean = (w * xs).sum()
        c_x, c_0, tau = ddim_coefficients(a, b, 1.0)
        checks.close(c_x * xt + c_0 * x0, mean, f"posterior mean on {p.name}", atol=1e-9)
        checks.close(tau**2, (w * (xs - mean) ** 2).sum(), f"posterior variance on {p.name}", atol=1e-9)


def marginals_stay_for_every_eta():
    """With the true x_0 known, x_s ~ N(alpha_s x_0, sigma_s^2) whatever eta: the idea of DDIM."""
    for make in PATHS.values():
        p = make()
        for eta in (0.0, 0.3, 0.8, 1.0):
            step = ddim(lambda x, t: torch.full_like(x, 0.8), p, eta)
            t = level(p, 0.9)
            start = (p.at(t).alpha * 0.8, p.at(t).sigma ** 2)
            for s, mean, var in moments(step, [t, level(p, 0.6), level(p, 0.25), level(p, 0.1)], *start):
                assert mean == pytest.approx(p.at(s).alpha * 0.8, abs=1e-10)
                assert var == pytest.approx(p.at(s).sigma ** 2, abs=1e-10)


def sampler_follows_its_recursion(eta):
    """40,000 samples of a Gaussian against the closed-form recursion of mean and variance."""
    m, p = gaussian(0.7, 0.5), cosine()
    times = uniform(p, 6)
    x = randn(40000, 1)
    mean, var = 0.0, 1.0
    states = sample(ddim(m.denoiser(p), p, eta, generator=generator(5)), x, times)
    for (t, s), x in zip(pairwise(times), states, strict=True):
        a, b = p.at(t), p.at(s)
        gain = a.alpha * 0.25 / (a.alpha**2 * 0.25 + a.sigma**2)  # x_0 hat = 0.7 + gain (x - alpha 0.7)
        tau2 = eta**2 * (1 - (a.alpha / b.alpha) ** 2 * b.sigma**2 / a.sigma**2) * b.sigma**2 if s > 0 else 0.0
        keep = math.sqrt(max(b.sigma**2 - tau2, 0)) / a.sigma
        slope = keep + (b.alpha - keep * a.alpha) * gain
        mean = (b.alpha - keep * a.alpha) * 0.7 * (1 - gain * a.alpha) + slope * mean
        var = slope**2 * var + tau2
        checks.unbiased(x[:, 0], mean, f"mean at t = {s:.2f}")
        checks.unbiased((x[:, 0] - mean) ** 2, var, f"variance at t = {s:.2f}")


def double_precision(scheduler, betas):
    """Their tables in float64, so that parity is to rounding."""
    scheduler.alphas_cumprod = (1 - betas).cumprod(0)
    scheduler.one = scheduler.final_alpha_cumprod = torch.ones((), dtype=F64)
    return scheduler


def ddpm_meets_diffusers():
    from diffusers import DDPMScheduler

    for betas in (linear_betas(40), cosine_betas(30)):
        p, steps, m = from_betas(betas), len(betas), plane_mixture()
        theirs = double_precision(DDPMScheduler(steps, clip_sample=False, variance_type="fixed_small"), betas)
        x = y = randn(3, 2)
        g, h = generator(1), generator(1)
        step, eps = ddim(m.denoiser(p), p, 1.0, generator=g), express("eps", m.denoiser(p), p)
        for k in range(steps, 0, -1):  # their index k - 1 is our time k / T
            x = step(x, k / steps, (k - 1) / steps)
            y = theirs.step(eps(y, k / steps), k - 1, y, generator=h).prev_sample
            checks.close(x, y, f"DDPM's step {k}", atol=1e-8)


def ddim_meets_diffusers():
    from diffusers import DDIMScheduler

    betas, m = linear_betas(60), plane_mixture()
    p = from_betas(betas)
    for eta in (0.0, 0.5, 1.0):
        theirs = double_precision(DDIMScheduler(60, clip_sample=False, timestep_spacing="leading"), betas)
        theirs.set_timesteps(12)
        x = y = randn(3, 2)
        g, h = generator(1), generator(1)
        step, eps = ddim(m.denoiser(p), p, eta, generator=g), express("eps", m.denoiser(p), p)
        index = theirs.timesteps.tolist()
        assert index[0] == 55 and index[-1] == 0
        for k, (t, s) in zip(index, pairwise([(k + 1) / 60 for k in index] + [0.0]), strict=True):
            x = step(x, t, s)
            y = theirs.step(eps(y, t), k, y, eta=eta, generator=h).prev_sample
            checks.close(x, y, f"DDIM's step at {k}, eta = {eta}", atol=1e-8)


def ddim_is_euler():
    m, x = plane_mixture(), randn(4, 2)
    p = rectified()
    for ours, plain in zip(
        sample(ddim(m.denoiser(p), p), x, uniform(p, 9)), sample(euler(m.velocity(p)), x, uniform(p, 9)), strict=True
    ):
        checks.close(ours, plain, "DDIM on the straight path", atol=1e-12)
    for make in PATHS.values():  # and on every path in the coordinates y = x / alpha, u = sigma / alpha
        p = make()
        t, s = level(p, 0.6), level(p, 0.35)
        a, b = p.at(t), p.at(s)
        dy = express("eps", m.denoiser(p), p)(x, t) * (b.sigma / b.alpha - a.sigma / a.alpha)
        checks.close(ddim(m.denoiser(p), p)(x, t, s) / b.alpha, x / a.alpha + dy, f"DDIM on {p.name}", atol=1e-10)


def sampling_commutes_with_rescaling():
    """DDIM and Heun in VP coordinates, and the same model in EDM's at the same noise levels."""
    m, a, b = plane_mixture(), linear_vp(), edm()
    times = karras_grid(b, 8, sigma_max=60.0)
    x = 60 * randn(4, 2)
    ours = a.tabulate([a.time_at(b.log_snr(t)) for t in times[:-1]] + [0.0])
    own = last(sample(ddim(m.denoiser(a), a), x * a.at(ours[0]).alpha, ours))
    moved = last(sample(ddim(rescale(m.denoiser(a), a, b), b), x, times))
    checks.close(moved, own, "the same samples in both coordinates", atol=1e-8)
    checks.close(
        last(sample(heun(rescale(m.denoiser(a), a, b), b), x, times)),
        last(sample(heun(m.denoiser(b), b), x, times)),
        "Heun after rescaling",
        atol=1e-8,
    )


ORACLES = [
    posterior_is_bayes_rule,
    marginals_stay_for_every_eta,
    *(partial(sampler_follows_its_recursion, eta) for eta in (0.0, 0.6, 1.0)),
    ddpm_meets_diffusers,
    ddim_meets_diffusers,
    ddim_is_euler,
    sampling_commutes_with_rescaling,
]


@pytest.mark.parametrize("oracle", ORACLES)
def test_truth(oracle):
    oracle()


C = ddim_coefficients


SABOTAGE = {
    "variance for std": (posterior_is_bayes_rule, C, "eta * math.sqrt(max(variance, 0.0))", "eta * variance"),
    "ratio inverted": (posterior_is_bayes_rule, C, "p.alpha / q.alpha * q.sigma", "q.alpha / p.alpha * q.sigma"),
    "noise not reduced": (marginals_stay_for_every_eta, C, "q.sigma**2 - tau**2", "q.sigma**2"),
    "x_0 counted twice": (marginals_stay_for_every_eta, C, "q.alpha - c_x * p.alpha", "q.alpha"),
    "eta squared": (partial(sampler_follows_its_recursion, 0.6), C, "tau = eta * ", "tau = eta**2 * "),
    "noise at the last step": (ddpm_meets_diffusers, C, "tau if q.noisy else 0.0", "tau + 1e-3"),
    "beta for its posterior": (ddpm_meets_diffusers, C, "* (q.sigma / p.sigma) ** 2", ""),
    "alpha of t for s": (ddim_meets_diffusers, C, "q.alpha - c_x * p.alpha", "p.alpha - c_x * p.alpha"),
    "noise at eta 0": (ddim_meets_diffusers, ddim, "if tau > 0 else x", "if tau > 0 else x + 0.01 * noise_like(x)"),
    "the network is asked at s": (ddim_is_euler, ddim, "denoise(x, t)", "denoise(x, s)"),
    "integrated backwards": (ddim_is_euler, euler, "(s - t) * velocity", "(t - s) * velocity"),
    "x not rescaled": (sampling_commutes_with_rescaling, rescale, "scaled(ratio, x) * x", "x"),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_oracle_notices(name, edit):
    oracle, where, old, new = SABOTAGE[name]
    edit(where, old, new)
    with pytest.raises(AssertionError):
        oracle()


def test_the_loop_yields_every_state():
    step = lambda x, t, s: x + (t - s)
    states = list(sample(step, torch.zeros(2), [1.0, 0.5, 0.2, 0.0]))
    checks.close([x[0].item() for x in states], [0.5, 0.8, 1.0], "the states")
    assert last(iter(states)) is states[-1]
    w = torch.ones(1, requires_grad=True)
    if os.environ.get("GENMODELS_TYPES") != "1":  # the checks wrap a generator, and torch.no_grad cannot see one inside
        assert not last(sample(lambda x, t, s: w * x, torch.ones(1), [1.0, 0.0])).requires_grad


def test_determinism():
    m, p, x = plane_mixture(), cosine(), randn(4, 2)
    times = uniform(p, 5)
    run = lambda eta, seed: last(sample(ddim(m.denoiser(p), p, eta, generator=generator(seed)), x, times))
    assert run(0.0, 1).equal(run(0.0, 2))
    assert run(1.0, 1).equal(run(1.0, 1)) and not run(1.0, 1).equal(run(1.0, 2))
    g = generator(3)
    before = g.get_state()
    last(sample(ddim(m.denoiser(p), p, generator=g), x, times))
    assert g.get_state().equal(before), "eta = 0 draws nothing"
    calls = []
    last(sample(ddim(lambda x, t: calls.append(t) or x, p), x, times))
    assert calls == times[:-1], "one evaluation a step, at the noisier end"


def test_every_step_keeps_the_type():
    m = plane_mixture()
    for make in PATHS.values():
        p = make()
        d = m.denoiser(p)
        steps = [
            ddim(d, p),
            ddim(d, p, 1.0),
            heun(d, p),
            churn(d, p, 0.3),
            sde(d, p, lambda t: 0.1),
            langevin(d, p, 0.01),
        ]
        for dtype in (torch.float32, torch.float64):
            x = p.prior_std * randn(3, 2).to(dtype)
            for step in [*steps, euler(m.velocity(p))]:
                assert all(y.isfinite().all() and y.dtype == dtype for y in sample(step, x, uniform(p, 4)))
