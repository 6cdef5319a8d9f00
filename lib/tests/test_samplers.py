"""Steps against Bayes on a grid, other libraries, the papers' algorithms and measured orders; with sabotage twins."""

import math
from itertools import pairwise
from unittest import mock

import pytest
import torch

from genmodels import checks
from genmodels.core import generator
from genmodels.diffusion import express, rescale
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
from genmodels.samplers.continuous import forward_diffusion
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
from genmodels.toy import GaussianMixture

F64 = torch.float64
PATHS = {"rectified": rectified, "cosine": cosine, "vp": linear_vp, "edm": edm, "ve": ve}


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=generator(seed))


def plane_mixture():
    """Three wide components: every flow map is smooth, so that an order shows at few steps."""
    means = torch.tensor([[-1.0, 0.3], [0.8, 0.9], [0.5, -1.1]], dtype=F64)
    return GaussianMixture(torch.tensor([0.5, 1.0, 0.8], dtype=F64), means, torch.tensor([0.6, 0.5, 0.7], dtype=F64))


def gaussian(mean, std):
    one = torch.ones(1, dtype=F64)
    return GaussianMixture(one, mean * one[:, None], std * one)


def level(path, fraction):
    """A time at the same share of every path, away from the ends where EDM's 80 is nothing but noise."""
    return fraction * min(path.t_max, 3.0)


def affine(step, t, s):
    """(offset, slope in x, slope in z) of a step that is affine in its state and its noise, on the line."""

    def at(x, z):
        with mock.patch("genmodels.samplers.continuous.noise_like", lambda x, _: torch.full_like(x, z)):
            return step(torch.tensor([[x]], dtype=F64), t, s).item()

    return at(0.0, 0.0), at(1.0, 0.0) - at(0.0, 0.0), at(0.0, 1.0) - at(0.0, 0.0)


def moments(step, times, mean, var):
    """Mean and variance after each step of an affine step, exactly."""
    for t, s in pairwise(times):
        offset, slope, noise = affine(step, t, s)
        mean, var = offset + slope * mean, slope**2 * var + noise**2
        yield s, mean, var


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


def sampler_follows_its_recursion():
    """40,000 samples of a Gaussian, eta = 0.6, against the closed-form recursion of mean and variance."""
    m, p = gaussian(0.7, 0.5), cosine()
    times = uniform(p, 6)
    x = randn(40000, 1)
    mean, var = 0.0, 1.0
    states = sample(ddim(m.denoiser(p), p, 0.6, generator=generator(5)), x, times)
    for (t, s), x in zip(pairwise(times), states, strict=True):
        a, b = p.at(t), p.at(s)
        gain = a.alpha * 0.25 / (a.alpha**2 * 0.25 + a.sigma**2)  # x_0 hat = 0.7 + gain (x - alpha 0.7)
        tau2 = 0.36 * (1 - (a.alpha / b.alpha) ** 2 * b.sigma**2 / a.sigma**2) * b.sigma**2 if s > 0 else 0.0
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


def grid_for(p, n):
    """Grids smooth in n, dense where the path's noise grows like sqrt(t)."""
    if p.name == "edm":
        return karras_grid(p, n, sigma_min=0.01)
    return p.tabulate([(1 - i / n) ** 2 for i in range(n + 1)]) if p.name.startswith("linear") else uniform(p, n)


def orders_are_one_and_two():
    m, sizes = plane_mixture(), (32, 64, 128)
    for make in (rectified, lambda: cosine(0.0), linear_vp, edm):
        p = make()
        x = p.prior_std * randn(12, 2)
        truth = m.flow(x, p, p.t_max, 0.0)
        for build, order in [(ddim, 1.0), (heun, 2.0)]:
            step = build(m.denoiser(p), p)
            errors = [(last(sample(step, x, grid_for(p, n))) - truth).abs().mean() for n in sizes]
            checks.order(errors, sizes, order, f"{build.__name__} on {p.name}", tolerance=0.2)


def heun_is_karras_algorithm_1():
    m, p = plane_mixture(), edm()
    denoise, times = m.denoiser(p), karras_grid(edm(), 9)
    x = y = 80 * randn(5, 2)
    for i, (t, s) in enumerate(pairwise(times)):
        slope = (y - denoise(y, t)) / t
        ahead = y + (s - t) * slope
        if s != 0:
            ahead = y + (s - t) * (slope / 2 + (ahead - denoise(ahead, s)) / s / 2)
        y, x = ahead, heun(denoise, p)(x, t, s)
        checks.close(x, y, f"Karras' step {i}", atol=1e-9, rtol=1e-10)
    calls = []
    last(sample(heun(lambda x, t: calls.append(t) or denoise(x, t), p), x, times))
    assert len(calls) == 2 * 9 - 1


def churn_is_karras_algorithm_2():
    m, p = plane_mixture(), edm()
    denoise, times, gamma = m.denoiser(p), karras_grid(edm(), 9), 0.3
    g = generator(4)
    x = y = 80 * randn(5, 2)
    step = churn(denoise, p, gamma, generator=generator(4))
    for i, (t, s) in enumerate(pairwise(times)):
        hat = t
        if 0.05 <= t <= 50:
            hat = t + gamma * t
            z = torch.randn(5, 2, dtype=F64, generator=g)
            y = y + math.sqrt(hat**2 - t**2) * 1.003 * z
        slope = (y - denoise(y, hat)) / hat
        ahead = y + (s - hat) * slope
        if s != 0:
            ahead = y + (s - hat) * (slope + (ahead - denoise(ahead, s)) / s) / 2
        y, x = ahead, step(x, t, s)
        checks.close(x, y, f"Karras' stochastic step {i}", atol=1e-8, rtol=1e-9)


def churn_moves_along_the_path():
    """On every path, with x_0 known: lifting the noise keeps the marginal, so the step does too (S_noise = 1)."""
    for make in (rectified, cosine, linear_vp, edm):
        p = make()
        t, s = level(p, 0.5), level(p, 0.2)
        step = churn(lambda x, t: torch.full_like(x, 0.8), p, 0.2, low=0.0, high=99.0, inflate=1.0)
        start = (p.at(t).alpha * 0.8, p.at(t).sigma ** 2)
        ((_, mean, var),) = moments(step, [t, s], *start)
        assert affine(step, t, s)[2] > 0, "noise is added"
        assert mean == pytest.approx(p.at(s).alpha * 0.8, abs=1e-8)
        assert var == pytest.approx(p.at(s).sigma ** 2, abs=1e-8)


def diffusion_is_the_forward_process():
    p = linear_vp(0.3, 9.0)
    for t in (0.01, 0.5, 1.0):  # dx = -beta/2 x dt + sqrt(beta) dW
        assert forward_diffusion(p.at(t)) ** 2 == pytest.approx(0.3 + 8.7 * t, rel=1e-9)
    assert forward_diffusion(edm().at(3.0)) ** 2 == pytest.approx(2 * 3.0)  # d sigma^2 / dt


def every_diffusion_has_the_same_marginals():
    """The reverse SDE's variance of a Gaussian, exactly by its affine recursion, is right up to O(h) for every g."""
    m, sizes = gaussian(0.7, 0.5), (50, 100, 200)
    for make, g in [
        (cosine, None),
        (linear_vp, None),
        (rectified, lambda t: 0.0),
        (rectified, lambda t: 1.3 * t),
        (edm, None),
    ]:
        p = make()
        start, stop = (0.8, 0.2) if p.t_max == 1 else (3.0, 0.5)
        at = lambda t, p=p: (p.at(t).alpha * 0.7, p.at(t).alpha ** 2 * 0.25 + p.at(t).sigma ** 2)
        gaps = []
        for n in sizes:
            times = uniform(p, n, start=start, stop=stop)
            *_, (_, mean, var) = moments(sde(m.denoiser(p), p, g), times, *at(start))
            gaps.append([abs(mean - at(stop)[0]), abs(var - at(stop)[1])])
        gaps = torch.tensor(gaps, dtype=F64)
        checks.order(gaps[:, 1], sizes, 1.0, f"the variance on {p.name}", tolerance=0.15)
        assert (gaps[-1] < 0.02).all()


def sde_and_ode_share_marginals():
    """Samples of a mixture at a time in between, against exact draws, by a permutation test of the energy distance."""
    m, p, n = plane_mixture(), linear_vp(), 500
    x, _ = m.sample(n, generator=generator(0))
    end = p.at(1.0)
    start = end.alpha * x + end.sigma * randn(n, 2, seed=2)
    fresh, _ = m.sample(n, generator=generator(3))
    want, _ = p.corrupt(fresh, 0.3, generator=generator(4))
    for step in (sde(m.denoiser(p), p, generator=generator(5)), ddim(m.denoiser(p), p), heun(m.denoiser(p), p)):
        got = last(sample(step, start, uniform(p, 60, stop=0.3)))
        both = torch.cdist(torch.cat([got, want]), torch.cat([got, want]))

        def energy(side, d=both):
            sign = torch.where(side, 1.0, -1.0).double()
            return -(sign @ d @ sign)

        side = torch.arange(2 * n) < n
        g = generator(6)
        null = torch.stack([energy(side[torch.randperm(2 * n, generator=g)]) for _ in range(300)])
        assert energy(side) < null.mean() + 5 * null.std(), f"energy {energy(side):.3g}, null {null.mean():.3g}"


def langevin_has_its_bias():
    """For N(mean, v) the unadjusted chain settles at variance v / (1 - h / (2 v)): its affine map's fixed point."""
    m, p = gaussian(0.7, 0.5), cosine()
    v = p.at(0.4).alpha ** 2 * 0.25 + p.at(0.4).sigma ** 2
    for size in (0.02, 0.1):
        step = langevin(m.denoiser(p), p, size)
        offset, slope, noise = affine(step, 0.4, 0.4)
        assert offset / (1 - slope) == pytest.approx(p.at(0.4).alpha * 0.7, abs=1e-8)
        assert noise**2 / (1 - slope**2) == pytest.approx(v / (1 - size / (2 * v)), abs=1e-8)


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
    posterior_is_bayes_rule,
    marginals_stay_for_every_eta,
    sampler_follows_its_recursion,
    ddpm_meets_diffusers,
    ddim_meets_diffusers,
    ddim_is_euler,
    orders_are_one_and_two,
    heun_is_karras_algorithm_1,
    churn_is_karras_algorithm_2,
    churn_moves_along_the_path,
    diffusion_is_the_forward_process,
    every_diffusion_has_the_same_marginals,
    sde_and_ode_share_marginals,
    langevin_has_its_bias,
    sampling_commutes_with_rescaling,
    likelihood_is_the_mixtures,
    noise_comes_back,
    straight_only_for_the_optimal_pairs,
    reflow_uncrosses_paths,
    reflow_cannot_raise_the_cost,
]


@pytest.mark.parametrize("oracle", ORACLES)
def test_samplers(oracle):
    oracle()


C = ddim_coefficients
SABOTAGE = {
    "variance for std": (posterior_is_bayes_rule, C, "eta * math.sqrt(max(variance, 0.0))", "eta * variance"),
    "ratio inverted": (posterior_is_bayes_rule, C, "p.alpha / q.alpha * q.sigma", "q.alpha / p.alpha * q.sigma"),
    "noise not reduced": (marginals_stay_for_every_eta, C, "q.sigma**2 - tau**2", "q.sigma**2"),
    "x_0 counted twice": (marginals_stay_for_every_eta, C, "q.alpha - c_x * p.alpha", "q.alpha"),
    "eta squared": (sampler_follows_its_recursion, C, "tau = eta * ", "tau = eta**2 * "),
    "noise at the last step": (ddpm_meets_diffusers, C, "tau if q.noisy else 0.0", "tau + 1e-3"),
    "beta for its posterior": (ddpm_meets_diffusers, C, "* (q.sigma / p.sigma) ** 2", ""),
    "alpha of t for s": (ddim_meets_diffusers, C, "q.alpha - c_x * p.alpha", "p.alpha - c_x * p.alpha"),
    "noise at eta 0": (ddim_meets_diffusers, ddim, "if tau > 0 else x", "if tau > 0 else x + 0.01 * noise_like(x)"),
    "the network is asked at s": (ddim_is_euler, ddim, "denoise(x, t)", "denoise(x, s)"),
    "integrated backwards": (ddim_is_euler, euler, "(s - t) * velocity", "(t - s) * velocity"),
    "Heun without its second slope": (orders_are_one_and_two, heun, "denoise(ahead, s)", "x0"),
    "Heun's second slope at t": (orders_are_one_and_two, heun, "denoise(ahead, s)", "denoise(ahead, t)"),
    "DDIM at the wrong time": (orders_are_one_and_two, ddim, "denoise(x, t)", "denoise(x, (t + s) / 2)"),
    "Heun at sigma 0": (heun_is_karras_algorithm_1, heun, "if not q.noisy:", "if False:"),
    "noise not averaged": (
        heun_is_karras_algorithm_1,
        heun,
        "noise_in(ahead, x0_ahead, q)) / 2",
        "noise_in(x, x0, p)) / 2",
    ),
    "S_noise left out": (churn_is_karras_algorithm_2, churn, "inflate * added", "added"),
    "gamma for 1 + gamma": (churn_is_karras_algorithm_2, churn, "2 * math.log1p(gamma)", "math.log1p(gamma)"),
    "descends from t": (churn_is_karras_algorithm_2, churn, "generator), raised(t), s)", "generator), t, s)"),
    "signal not shrunk": (churn_moves_along_the_path, churn, "descend(signal * x", "descend(x"),
    "too much noise": (churn_moves_along_the_path, churn, "(signal * p.sigma) ** 2", "0"),
    "g for g^2": (diffusion_is_the_forward_process, forward_diffusion, "math.sqrt(max(2 * ", "(max(2 * "),
    "drift ignored": (
        diffusion_is_the_forward_process,
        forward_diffusion,
        "p.rates[1] - p.rates[0]",
        "p.rates[1] + p.rates[0]",
    ),
    "half left out": (every_diffusion_has_the_same_marginals, sde, "(2 * p.sigma)", "p.sigma"),
    "noise by h": (every_diffusion_has_the_same_marginals, sde, "g * math.sqrt(t - s)", "g * (t - s)"),
    "score's sign": (every_diffusion_has_the_same_marginals, sde, "p.rates[1] + g**2", "p.rates[1] - g**2"),
    "noise too small": (sde_and_ode_share_marginals, sde, "g * math.sqrt(t - s)", "0.3 * g * math.sqrt(t - s)"),
    "Langevin without its 2": (langevin_has_its_bias, langevin, "math.sqrt(2 * size)", "math.sqrt(size)"),
    "eps for the score": (langevin_has_its_bias, langevin, "size / p.sigma", "size"),
    "x not rescaled": (sampling_commutes_with_rescaling, rescale, "scaled(ratio, x) * x", "x"),
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


def test_the_loop_yields_every_state():
    step = lambda x, t, s: x + (t - s)
    states = list(sample(step, torch.zeros(2), [1.0, 0.5, 0.2, 0.0]))
    checks.close([x[0].item() for x in states], [0.5, 0.8, 1.0], "the states")
    assert last(iter(states)) is states[-1]
    w = torch.ones(1, requires_grad=True)
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
        (lambda: straightness([x, x], [1.0, 0.5, 0.0]), "as many states"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
