"""Paths against recursions, quadrature and another library; each oracle has its sabotage twins."""

import copy
import math
from itertools import pairwise

import pytest
import torch
from scipy import integrate

from coursekit import checks
from genmodels.core import generator
from genmodels.schedule import (
    Point,
    Schedule,
    cosine,
    cosine_betas,
    edm,
    from_betas,
    karras_grid,
    linear_betas,
    linear_vp,
    log_snr_grid,
    lognormal_times,
    noise_like,
    path,
    rectified,
    uniform_grid,
    ve,
)

VP = {
    "cosine": cosine,
    "circle": lambda: cosine(0.0),
    "linear_vp": linear_vp,
    "chain": lambda: from_betas(linear_betas(41)),
    "cosine chain": lambda: from_betas(cosine_betas(37)),
}


PATHS = VP | {"rectified": rectified, "edm": edm, "ve": ve}


def inner_times(p, n=13):
    """Times inside the path, on no grid point."""
    return torch.linspace(0.013, 0.987, n, dtype=torch.float64) * p.t_max


def variance_is_preserved():
    for make in VP.values():
        q = make().at(inner_times(make()))
        checks.close(q.alpha**2 + q.sigma**2, torch.ones(13, dtype=torch.float64), "alpha^2 + sigma^2", atol=1e-14)


def noise_only_grows():
    for make in PATHS.values():
        p = make()
        lam = p.log_snr(inner_times(p, 201))
        assert (lam.diff() < 0).all(), p.name


def ends_are_data_and_noise():
    for name, make in PATHS.items():
        p = make()
        start, end = p.at(0.0), p.at(p.t_max)
        assert start.alpha == pytest.approx(1, abs=1e-14)
        assert start.sigma == (0.01 if name == "ve" else path.TINY)
        assert end.alpha / end.sigma < {"edm": 0.0126, "ve": 0.021}.get(name, 0.01), name
        assert all(math.isfinite(r) for q in (start, end) for r in (*q.rates, q.snr)), name
        assert end.noisy and start.noisy == (name == "ve")


def chain_is_its_composition():
    """Mean and variance of q(x_k | x_0), one kernel N(sqrt(1 - beta) x, beta) after the other."""
    betas = torch.rand(29, dtype=torch.float64, generator=generator(0)) * 0.4 + 0.01
    p, mean, var = from_betas(betas), 1.0, 0.0
    for k, beta in enumerate(betas.tolist(), 1):
        mean, var = math.sqrt(1 - beta) * mean, (1 - beta) * var + beta
        for t in (k / 29, torch.tensor(k / 29, dtype=torch.float64)):
            q = p.at(t)
            assert float(q.alpha) == pytest.approx(mean, rel=1e-12)
            assert float(q.sigma) == pytest.approx(math.sqrt(var), rel=1e-12)


def linear_vp_solves_its_sde():
    """dx = -beta/2 x dt + sqrt(beta) dW: mean' = -beta/2 mean, var' = beta - beta var, integrated numerically."""
    p, beta = linear_vp(0.3, 11.0), lambda t: 0.3 + (11.0 - 0.3) * t
    for t in (0.1, 0.45, 1.0):
        moments = lambda t, y: [-beta(t) / 2 * y[0], beta(t) * (1 - y[1])]
        mean, var = integrate.solve_ivp(moments, (0, t), [1.0, 0.0], rtol=1e-11, atol=1e-13).y[:, -1]
        assert p.at(t).alpha == pytest.approx(mean, rel=1e-8)
        assert p.at(t).sigma ** 2 == pytest.approx(var, rel=1e-8)


def cosine_meets_diffusers():
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(num_train_timesteps=150, beta_schedule="squaredcos_cap_v2").betas.double()
    checks.close(cosine_betas(150), theirs, "cosine betas", atol=1e-7)
    chain, smooth = from_betas(cosine_betas(150)), cosine()
    k = torch.arange(1, 150, dtype=torch.float64) / 150
    checks.close(chain.at(k).alpha, smooth.at(k).alpha, "the chain at its grid", atol=1e-12)


def linear_betas_are_ddpms():
    from diffusers import DDPMScheduler

    checks.close(linear_betas(), DDPMScheduler(1000).betas.double(), "linear betas", atol=1e-8)
    for steps in (60, 250):  # the noise at the end does not depend on the number of steps
        assert math.log(from_betas(linear_betas(steps)).at(1.0).alpha) == pytest.approx(math.log(0.00635), rel=0.15)


def rates_are_derivatives():
    for make in PATHS.values():
        p = make()
        t = inner_times(p).requires_grad_()
        for f, got in zip((p.alpha, p.sigma), p.rates(t.detach()), strict=True):
            out = f(t)
            want = torch.autograd.grad(out.sum(), t)[0] if out.requires_grad else torch.zeros_like(t)
            checks.close(got, want, f"rate of {p.name}", atol=1e-12)
            h = 1e-6 * p.t_max
            checks.close(got, (f(t + h) - f(t - h)).detach() / (2 * h), f"rate of {p.name}", atol=1e-4, rtol=1e-6)


def floats_are_tensors():
    for make in PATHS.values():
        p, t = make(), inner_times(make(), 3)
        table = p.at(t)
        for i, one in enumerate(t.tolist()):
            q = p.at(one)
            assert isinstance(q.alpha, float) and isinstance(q.rates[1], float)
            want = [v[i].item() for v in (table.alpha, table.sigma, *table.rates)]
            assert [q.alpha, q.sigma, *q.rates] == pytest.approx(want, rel=1e-13)
            assert q.snr == pytest.approx(math.exp(p.log_snr(one)), rel=1e-12)


def time_is_found_by_its_noise():
    for make in PATHS.values():
        p, t = make(), inner_times(make())
        checks.close(p.time_at(p.log_snr(t)), t, f"time_at on {p.name}", atol=1e-9, rtol=1e-9)
    assert linear_vp().time_at(-1e3) == 1.0 and rectified().time_at(0.0) == pytest.approx(0.5)


def corruption_has_its_moments():
    x0 = torch.tensor([[3.0, -1.0, 0.5]], dtype=torch.float64).expand(4000, 3)
    for make in (cosine, edm):
        p = make()
        t = torch.full((4000,), 0.4 * p.t_max, dtype=torch.float64)
        xt, eps = p.corrupt(x0, t, generator=generator(1))
        q = p.at(0.4 * p.t_max)
        checks.unbiased(xt, q.alpha * x0[0], "x_t")
        checks.unbiased((xt - q.alpha * x0) ** 2, torch.full((3,), q.sigma**2).double(), "variance of x_t")
        checks.close(p.corrupt(x0, t, eps=eps)[0], xt, "x_t given eps")
        checks.close((xt - q.alpha * x0) / q.sigma, eps, "the eps returned")


ORACLES = [
    variance_is_preserved,
    noise_only_grows,
    ends_are_data_and_noise,
    chain_is_its_composition,
    linear_vp_solves_its_sde,
    cosine_meets_diffusers,
    linear_betas_are_ddpms,
    rates_are_derivatives,
    floats_are_tensors,
    time_is_found_by_its_noise,
    corruption_has_its_moments,
]


@pytest.mark.parametrize("oracle", ORACLES)
def test_truth(oracle):
    oracle()


SABOTAGE = [
    (variance_is_preserved, path._vp, "(-torch.expm1(log_abar(t))).sqrt()", "-torch.expm1(log_abar(t))"),
    (variance_is_preserved, cosine, "torch.sin(u + start)", "torch.sin(u)"),
    (noise_only_grows, ve, "ratio * t", "-ratio * t"),
    (ends_are_data_and_noise, from_betas, "torch.zeros(1, dtype=torch.float64)", "torch.log1p(-betas[:1])"),
    (ends_are_data_and_noise, Schedule.rates, "t.clamp_min(RATE_MIN)", "t"),
    (chain_is_its_composition, from_betas, "torch.log1p(-betas).cumsum(0)", "torch.log(betas).cumsum(0)"),
    (chain_is_its_composition, from_betas, "t * steps - left", "t * steps"),
    (linear_vp_solves_its_sde, linear_vp, "* t**2 / 2", "* t**2"),
    (linear_vp_solves_its_sde, path._vp, "(log_abar(t) / 2)", "log_abar(t)"),
    (cosine_meets_diffusers, cosine_betas, "abar[1:] / abar[:-1]", "abar[:-1] / abar[1:]"),
    (cosine_meets_diffusers, cosine_betas, ".clamp_max(largest)", ""),
    (cosine_meets_diffusers, cosine, "lambda t: math.pi / 2 * (t + s)", "lambda t: math.pi / 2 * t"),
    (linear_betas_are_ddpms, linear_betas, "1000 / steps", "1"),
    (rates_are_derivatives, Schedule.rates, "(torch.ones_like(t),)", "(t,)"),
    (floats_are_tensors, Schedule.tabulate, "self.sigma(t).", "self.sigma(t).square()."),
    (time_is_found_by_its_noise, Schedule.time_at, "<= target", ">= target"),
    (corruption_has_its_moments, Schedule.corrupt, "expand(p.sigma, x0) * eps", "expand(p.sigma, x0) ** 2 * eps"),
    (corruption_has_its_moments, Schedule.corrupt, "expand(p.alpha, x0) * x0", "x0"),
]


@pytest.mark.parametrize(("oracle", "where", "old", "new"), SABOTAGE)
def test_oracle_notices(edit, oracle, where, old, new):
    edit(where, old, new)
    with pytest.raises(AssertionError):
        oracle()


def test_bad_input_is_named():
    for call, words in [
        (
            lambda: from_betas(torch.tensor([0.1, 1.0, -0.2])),
            r"strictly between 0 and 1; got \[1.0, -0.2.*index \[1, 2\]",
        ),
        (lambda: from_betas(torch.tensor([0.1, math.nan])), r"got \[nan\] at index \[1\]"),
        (lambda: from_betas(torch.zeros(0)), r"a vector of at least one; got \(0,\)"),
        (lambda: from_betas(torch.full((2, 3), 0.1)), r"got \(2, 3\)"),
        (lambda: cosine_betas(0), "at least one step, got 0"),
        (lambda: edm(0.0), "sigma_max must be positive"),
        (lambda: karras_grid(edm(), 5, rho=0.0), "rho must be positive"),
        (lambda: noise_like(torch.ones(2, dtype=torch.uint8)), r"floating point; got torch.uint8: use x.float\(\)"),
        (
            lambda: rectified().corrupt(torch.ones(3, 2), 0.4, eps=torch.ones(3, 1)),
            r"one shape; got \(3, 1\) and \(3, 2\)",
        ),
        (lambda: rectified().at(1.2), r"rectified lie in \[0, 1\]; got \[1.2\]"),
        (lambda: rectified().at(float("nan")), "lie in"),
        (lambda: linear_betas(5), "at least 21"),
        (lambda: linear_vp(2.0, 1.0), "beta_min <= beta_max"),
        (lambda: cosine(-0.1), "offset"),
        (lambda: ve(0.0, 1.0), "sigma_min"),
        (lambda: uniform_grid(rectified(), 0), "at least one step"),
        (lambda: uniform_grid(rectified(), 4, start=2.0), "stop < start"),
        (lambda: karras_grid(edm(), 1), "two steps"),
        (lambda: karras_grid(edm(), 5, sigma_min=90.0), "sigma_min < sigma_max"),
        (lambda: log_snr_grid(rectified(), 5, low=3, high=3), "low < high"),
        (lambda: log_snr_grid(linear_vp(), 9, low=-30), "narrow the range"),
        (lambda: lognormal_times(3, std=0.0), "std must be positive"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()


def test_a_grid_is_computed_once(monkeypatch):
    p, calls, jvp = linear_vp(), [], torch.func.jvp
    monkeypatch.setattr(torch.func, "jvp", lambda *a: calls.append(a) or jvp(*a))
    grid = uniform_grid(p, 20)
    assert all(p.at(t).sigma > 0 for t in grid) and not calls, "no rates unless they are asked for"
    assert all(p.at(t).rates[1] > 0 for t in grid) and len(calls) == 1, "one differentiation for the grid"
    assert all(s < t for t, s in pairwise(grid))


def test_types_and_copies():
    p = copy.deepcopy(cosine())
    q = p.at(torch.rand(3))
    assert q.alpha.dtype == q.rates[0].dtype == torch.float32
    assert p.prior_std == pytest.approx(1) and edm(3.0).prior_std == pytest.approx(math.sqrt(10))
    x = torch.zeros(2, 3, dtype=torch.float64)
    assert noise_like(x, generator(5)).equal(noise_like(x, generator(5)))
    assert not noise_like(x).equal(noise_like(x)) and noise_like(x).dtype == torch.float64
    own = Schedule("own", lambda t: 1 - t**2, lambda t: t)
    assert own.at(0.5).rates == pytest.approx((-1, 1))


def test_a_point_is_made_of_floats_at_a_float_and_of_tensors_at_a_tensor():
    """A solver's loop works with floats: no tensor is made, none is copied to a device."""
    path = rectified()
    one, many = path.at(0.25), path.at(torch.tensor([0.25, 0.5], dtype=torch.float64))
    assert isinstance(one, Point) and isinstance(one.alpha, float) and isinstance(one.sigma, float)
    assert many.alpha.tolist() == [0.75, 0.5] and many.sigma.tolist() == [0.25, 0.5]


def test_a_float_time_is_found_in_float64():
    path = cosine()
    for t in (1e-3, 0.2, 0.7):
        assert path.time_at(path.log_snr(t)) == pytest.approx(t, abs=1e-13)
