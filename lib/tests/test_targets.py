"""What a network may predict, against autograd and the papers' definitions; with sabotage twins."""

import math

import pytest
import torch
from exact_diffusion import F64, Predicts, estimate, randn
from torch.distributions import Normal

from coursekit import checks
from genmodels.core import generator
from genmodels.diffusion import (
    TARGETS,
    Denoiser,
    drop_labels,
    edm_target,
    express,
    guided,
    inverse,
    noise_in,
    rescale,
    scaled,
    solve,
)
from genmodels.schedule import Schedule, cosine, edm, linear_vp, rectified
from genmodels.toy import GaussianMixture

PATHS = {"rectified": rectified, "cosine": cosine, "vp": linear_vp, "edm": lambda: edm(5.0)}


def plane_mixture(k=3, d=2):
    return GaussianMixture(
        torch.rand(k, dtype=F64, generator=generator(3)) + 0.3, randn(k, d, seed=4), randn(k).abs() + 0.2
    )


def solve_undoes_the_table():
    x0, eps = randn(6, 3, 2), randn(6, 3, 2, seed=1)
    for make in PATHS.values():
        p = make()
        for t in (0.31 * p.t_max, torch.linspace(0.05, 0.95, 6, dtype=F64) * p.t_max):
            q = p.at(t)
            xt = scaled(q.alpha, x0) * x0 + scaled(q.sigma, x0) * eps
            for name, target in {**TARGETS, "edm": edm_target(0.6)}.items():
                a, b = target(q)
                found = solve(target, xt, scaled(a, x0) * x0 + scaled(b, x0) * eps, q)
                checks.close(found[0], x0, f"x_0 from {name}", atol=1e-10)
                checks.close(found[1], eps, f"eps from {name}", atol=1e-10)
                checks.close(noise_in(xt, x0, q), eps, "eps from x_t and x_0", atol=1e-10)


def targets_are_what_they_are_called():
    """Each (a, b) against the quantity's own definition: derivatives by autograd, EDM's F by the paper's constants."""
    x0, eps = randn(5), randn(5, seed=1)
    for make in PATHS.values():
        p = make()
        t = 0.4 * p.t_max
        q, xt = p.at(t), p.at(t).alpha * x0 + p.at(t).sigma * eps
        of = lambda target, q=q: target(q)[0] * x0 + target(q)[1] * eps
        score = checks.grad(lambda x, q=q: Normal(q.alpha * x0, q.sigma).log_prob(x).sum(), xt)
        checks.close(of(TARGETS["score"]), score, "score", atol=1e-10)
        moved = [p.at(t + h).alpha * x0 + p.at(t + h).sigma * eps for h in (1e-6, -1e-6)]
        checks.close(of(TARGETS["velocity"]), (moved[0] - moved[1]) / 2e-6, "velocity", atol=1e-6)
        if make is not PATHS["edm"] and make is not PATHS["rectified"]:  # v: d x / d angle, alpha = cos, sigma = sin
            angle = math.atan2(q.sigma, q.alpha)
            turned = [math.cos(angle + h) * x0 + math.sin(angle + h) * eps for h in (1e-6, -1e-6)]
            v = (turned[0] - turned[1]) / 2e-6
            checks.close(of(TARGETS["v"]), v, "v", atol=1e-6)
            checks.close(of(edm_target(1.0)), -v, "EDM's F on a VP path with unit data", atol=1e-6)
    sd, sigma = 0.5, edm().at(1.7).sigma
    c_skip, c_out = sd**2 / (sigma**2 + sd**2), sigma * sd / math.sqrt(sigma**2 + sd**2)  # Karras et al., table 1
    a, b = edm_target(sd)(edm().at(1.7))
    checks.close(a * x0 + b * eps, (x0 - c_skip * (x0 + sigma * eps)) / c_out, "F", atol=1e-12)
    checks.close(inverse(edm_target(sd), edm().at(1.7))[0], (c_skip, c_out), "c_skip and c_out", atol=1e-12)


def no_noise_is_found_where_there_is_none():
    """At t = 0 the data is known; what differs from it is rounding, not noise of 1e15 times its size."""
    x, x0 = randn(5, 2), randn(5, 2, seed=1)
    for make in PATHS.values():
        p = make()
        zero = torch.zeros(5, dtype=F64)
        for point in (p.at(0.0), p.at(zero)):
            checks.close(noise_in(x, x0, point), torch.zeros_like(x), f"eps at t = 0 on {p.name}", atol=0)


def circle_velocity_is_v():
    q = cosine(0.0).at(0.37)
    checks.close(
        [r for r in TARGETS["velocity"](q)], [math.pi / 2 * c for c in TARGETS["v"](q)], "velocity", atol=1e-12
    )


def lipmans_time_runs_the_other_way():
    """Their psi_tau = (1 - tau) noise + tau data has velocity data - noise; tau = 1 - t turns its sign."""
    p, data, noise, tau = rectified(), randn(5), randn(5, seed=1), 0.3
    q = p.at(1 - tau)
    checks.close(q.alpha * data + q.sigma * noise, (1 - tau) * noise + tau * data, "x_t", atol=1e-12)
    a, b = TARGETS["velocity"](q)
    checks.close(a * data + b * noise, -(data - noise), "velocity", atol=1e-12)


def express_is_tweedie():
    m, x = plane_mixture(), randn(5, 2)
    for make in PATHS.values():
        p = make()
        for t in (0.02 * p.t_max, 0.3 * p.t_max, 0.95 * p.t_max):
            q, denoise = p.at(t), m.denoiser(p)
            want = checks.grad(lambda y, q=q: m.log_prob(y, q.alpha, q.sigma).sum(), x)
            checks.close(express("score", denoise, p)(x, t), want, f"score on {p.name}", atol=1e-8)
            checks.close(express("eps", denoise, p)(x, t), -q.sigma * want, f"eps on {p.name}", atol=1e-8)
            checks.close(express("velocity", denoise, p)(x, t), m.velocity(p)(x, t), "velocity", atol=1e-8)


def denoiser_returns_x0_whatever_the_target():
    x = randn(5, 2)
    for make in PATHS.values():
        p = make()
        for name in TARGETS:
            model = Denoiser(Predicts(name, estimate, p), p, name)
            for t in (0.4 * p.t_max, torch.linspace(0.1, 0.9, 5, dtype=F64) * p.t_max):
                checks.close(model(x, t), estimate(x, t), f"x_0 hat from {name} on {p.name}", atol=1e-9)
            one = torch.tensor(0.4 * p.t_max, dtype=F64)
            checks.close(model(x, one), model(x, one.item()), "a time tensor without dimensions", atol=1e-10)


def gaussian_data(variance):
    one = torch.ones(1, dtype=F64)
    return GaussianMixture(one, 0.4 * one[:, None], math.sqrt(variance) * one)


def guidance_is_exact_only_without_noise():
    """For two Gaussians p(x)^(1 - w) p(x | y)^w is a Gaussian, and the guided field its score at sigma 0."""
    whole, part, w, p = gaussian_data(2.0), gaussian_data(0.5), 2.5, edm()
    part = GaussianMixture(part.weights, part.means + 0.6, part.covs)
    precision = (1 - w) / 2.0 + w / 0.5
    mean = ((1 - w) * 0.4 / 2.0 + w * 1.0 / 0.5) / precision
    field = express("score", guided(part.denoiser(p), whole.denoiser(p), w), p)
    x = torch.linspace(-2, 2, 9, dtype=F64)[:, None]
    sharpened = lambda sigma: -(x - mean) / (1 / precision + sigma**2)
    checks.close(field(x, 1e-3), sharpened(1e-3), "the guided score without noise", atol=1e-4)
    assert (field(x, 1.0) - sharpened(1.0)).abs().max() > 0.05, "with noise it is another field"
    for scale, one in [(0.0, whole), (1.0, part)]:
        assert guided(part.denoiser(p), whole.denoiser(p), scale)(x, 0.7).equal(one.denoiser(p)(x, 0.7))


def rescaling_is_exact():
    m, x = plane_mixture(), randn(4, 2)
    for source in PATHS.values():
        for other in PATHS.values():
            a, b = source(), other()
            moved = rescale(m.denoiser(a), a, b)
            for t in (0.2 * b.t_max, torch.linspace(0.1, 0.8, 4, dtype=F64) * b.t_max):
                if a.name == "edm" and not isinstance(t, float):
                    continue  # its noise ends at 5, some of these times are beyond
                checks.close(moved(x, t), m.denoiser(b)(x, t), f"{a.name} as {b.name}", atol=1e-8)


ORACLES = [
    solve_undoes_the_table,
    targets_are_what_they_are_called,
    no_noise_is_found_where_there_is_none,
    circle_velocity_is_v,
    lipmans_time_runs_the_other_way,
    express_is_tweedie,
    denoiser_returns_x0_whatever_the_target,
    rescaling_is_exact,
    guidance_is_exact_only_without_noise,
]


@pytest.mark.parametrize("oracle", ORACLES)
def test_truth(oracle):
    oracle()


def one_for_all(name, new):
    """A wrong line of the table of targets."""
    return lambda monkeypatch, _: monkeypatch.setitem(TARGETS, name, new)


def text(function, old, new):
    return lambda _, edit: edit(function, old, new)


SABOTAGE = {
    "det's sign": (solve_undoes_the_table, text(inverse, "b - p.sigma", "b + p.sigma")),
    "x_0 with eps's row": (solve_undoes_the_table, text(inverse, "b / det, -p.sigma / det", "-a / det, p.alpha / det")),
    "noise not divided": (solve_undoes_the_table, text(noise_in, "p.noisy / p.sigma", "p.noisy")),
    "v's sign": (targets_are_what_they_are_called, one_for_all("v", lambda p: (p.sigma, -p.alpha))),
    "score of unit noise": (targets_are_what_they_are_called, one_for_all("score", lambda _: (0.0, -1.0))),
    "velocity reversed": (
        targets_are_what_they_are_called,
        one_for_all("velocity", lambda p: tuple(-r for r in p.rates)),
    ),
    "c_out's sign": (targets_are_what_they_are_called, text(edm_target, "-p.alpha * data_std", "p.alpha * data_std")),
    "c_skip with sigma": (targets_are_what_they_are_called, text(edm_target, "p.sigma**2)", "p.sigma)")),
    "rounding for noise": (no_noise_is_found_where_there_is_none, text(noise_in, "p.noisy / p.sigma", "1 / p.sigma")),
    "v is not scaled": (
        circle_velocity_is_v,
        text(Schedule.rates, "torch.ones_like(t)", "2 / math.pi * torch.ones_like(t)"),
    ),
    "t for 1 - t": (lipmans_time_runs_the_other_way, one_for_all("velocity", lambda p: (-p.rates[0], -p.rates[1]))),
    "data for noise": (express_is_tweedie, text(express, "noise_in(x, x0, p)", "x0")),
    "network gets log t": (
        denoiser_returns_x0_whatever_the_target,
        text(Denoiser.predict, "label.to(x)", "label.log().to(x)"),
    ),
    "t is not scaled": (
        denoiser_returns_x0_whatever_the_target,
        text(Denoiser.predict, "t / self.schedule.t_max", "t"),
    ),
    "skip and out swapped": (
        denoiser_returns_x0_whatever_the_target,
        text(Denoiser.forward, "(skip, out)", "(out, skip)"),
    ),
    "w for 1 + w": (guidance_is_exact_only_without_noise, text(guided, "(x, t), scale)", "(x, t), 1 + scale)")),
    "guidance reversed": (
        guidance_is_exact_only_without_noise,
        text(guided, "unconditional(x, t), conditional(x, t)", "conditional(x, t), unconditional(x, t)"),
    ),
    "x not rescaled": (rescaling_is_exact, text(rescale, "scaled(ratio, x) * x", "x")),
    "same t, other path": (rescaling_is_exact, text(rescale, "else matching(t)", "else t")),
    "root forgotten": (rescaling_is_exact, text(rescale, "** 0.5", "** 1.0")),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_oracle_notices(name, monkeypatch, edit):
    oracle, sabotage = SABOTAGE[name]
    sabotage(monkeypatch, edit)
    with pytest.raises(AssertionError):
        oracle()


def test_labels_are_dropped_one_by_one():
    y = torch.arange(20000) % 7
    dropped = drop_labels(y, 7, 0.1, generator=generator(0))
    assert (y == torch.arange(20000) % 7).all(), "the caller's labels are left alone"
    checks.unbiased((dropped == 7).double(), 0.1, "the share of dropped labels")
    assert (dropped[dropped != 7] == y[dropped != 7]).all()
    several = drop_labels(torch.ones(500, 3).long(), -1, 0.5)
    assert {tuple(row) for row in several.tolist()} == {(1, 1, 1), (-1, -1, -1)}, "a sample loses all or none"
    assert drop_labels(y, 7, 0.0).equal(y) and (drop_labels(y, 7, 1.0) == 7).all()
