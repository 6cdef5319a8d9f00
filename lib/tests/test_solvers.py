"""Heun, churn, the reverse SDE and Langevin: the papers' algorithms, orders and exact moments; with sabotage twins."""

import math
from itertools import pairwise

import pytest
import torch
from exact_diffusion import F64, affine, gaussian, level, moments, plane_mixture, randn

from coursekit import checks
from genmodels.core import generator
from genmodels.samplers import (
    churn,
    ddim,
    heun,
    langevin,
    last,
    sample,
    sde,
)
from genmodels.samplers.continuous import forward_diffusion
from genmodels.schedule import (
    cosine,
    edm,
    karras_grid,
    linear_vp,
    rectified,
)
from genmodels.schedule import uniform_grid as uniform


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


def edges_of_the_path_are_left_alone():
    """Churn raises no noise past the end, nor outside [low, high] of sigma / alpha; no step ends in noise at t = 0."""
    m, x = plane_mixture(), randn(5, 2)
    for make in (rectified, cosine, linear_vp, edm):
        p = make()
        d = m.denoiser(p)
        near, inside = 0.99 * p.t_max, p.time_at(-2 * math.log(3.0))
        wide = churn(d, p, 0.3, low=0.0, high=math.inf)
        if p.log_snr(near) - 2 * math.log(1.3) <= p.log_snr(p.t_max):
            checks.close(wide(x, near, 0.1), heun(d, p)(x, near, 0.1), f"churn at the end of {p.name}", atol=0)
        for bounds in ({"low": 3.01}, {"high": 2.99}):
            got = churn(d, p, 0.3, **bounds)(x, inside, 0.1)
            checks.close(got, heun(d, p)(x, inside, 0.1), f"churn outside its noise levels on {p.name}", atol=0)
        assert not torch.equal(churn(d, p, 0.3, low=2.99, high=3.01)(x, inside, 0.1), heun(d, p)(x, inside, 0.1))
        for step in (sde(d, p, lambda t: 0.7), ddim(d, p, 1.0)):
            t = level(p, 0.4)
            assert torch.equal(step(x, t, 0.0), step(x, t, 0.0)), "the last step is deterministic"
            assert not torch.equal(step(x, t, t / 2), step(x, t, t / 2))


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


ORACLES = [
    orders_are_one_and_two,
    heun_is_karras_algorithm_1,
    churn_is_karras_algorithm_2,
    churn_moves_along_the_path,
    diffusion_is_the_forward_process,
    edges_of_the_path_are_left_alone,
    every_diffusion_has_the_same_marginals,
    sde_and_ode_share_marginals,
    langevin_has_its_bias,
]


@pytest.mark.parametrize("oracle", ORACLES)
def test_truth(oracle):
    oracle()


SABOTAGE = {
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
    "raised past the end": (edges_of_the_path_are_left_alone, churn, " and raised(t) < schedule.t_max", ""),
    "levels by sigma alone": (edges_of_the_path_are_left_alone, churn, "p.sigma / p.alpha <= high", "p.sigma <= high"),
    "noise at the end": (edges_of_the_path_are_left_alone, sde, "if g > 0 and s > 0 else x", "if g > 0 else x"),
    "half left out": (every_diffusion_has_the_same_marginals, sde, "(2 * p.sigma)", "p.sigma"),
    "noise by h": (every_diffusion_has_the_same_marginals, sde, "g * math.sqrt(t - s)", "g * (t - s)"),
    "score's sign": (every_diffusion_has_the_same_marginals, sde, "p.rates[1] + g**2", "p.rates[1] - g**2"),
    "noise too small": (sde_and_ode_share_marginals, sde, "g * math.sqrt(t - s)", "0.3 * g * math.sqrt(t - s)"),
    "Langevin without its 2": (langevin_has_its_bias, langevin, "math.sqrt(2 * size)", "math.sqrt(size)"),
    "eps for the score": (langevin_has_its_bias, langevin, "size / p.sigma", "size"),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_oracle_notices(name, edit):
    oracle, where, old, new = SABOTAGE[name]
    edit(where, old, new)
    with pytest.raises(AssertionError):
        oracle()
