"""Targets, losses, bound, guidance and change of path, against autograd, quadrature and papers; with sabotage twins.

Expectations over Gaussian noise are Gauss-Hermite sums: exact to rounding, so no seed and no tolerance for chance.
"""

import copy
import math
from functools import partial
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from genmodels import checks
from genmodels.core import generator
from genmodels.diffusion import (
    TARGETS,
    WEIGHTS,
    Denoiser,
    conditioned,
    determinant,
    divergence,
    drop_labels,
    edm_target,
    edm_weight,
    express,
    guided,
    implicit_score_matching,
    inverse,
    loss,
    min_snr_weight,
    noise_in,
    rescale,
    scaled,
    solve,
    variational_bound,
)
from genmodels.schedule import Schedule, cosine, edm, from_betas, linear_betas, linear_vp, log_snr_grid, rectified
from genmodels.toy import EmpiricalDenoiser, GaussianMixture

PATHS = {"rectified": rectified, "cosine": cosine, "vp": linear_vp, "edm": lambda: edm(5.0)}
F64 = torch.float64


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=generator(seed))


def hermite(n=60):
    """Nodes and weights for expectations under N(0, 1)."""
    z, w = np.polynomial.hermite_e.hermegauss(n)
    return torch.from_numpy(z), torch.from_numpy(w / w.sum())


def line_mixture():
    """A mixture on the line, skewed enough that no symmetry hides a sign."""
    column = lambda *v: torch.tensor(v, dtype=F64)
    return GaussianMixture(column(1.0, 2.5), column(-1.1, 0.7)[:, None], column(0.35, 0.2))


def plane_mixture(k=3, d=2):
    return GaussianMixture(
        torch.rand(k, dtype=F64, generator=generator(3)) + 0.3, randn(k, d, seed=4), randn(k).abs() + 0.2
    )


def estimate(x, t, seed=7):
    """Some non-linear function of x and t in place of a trained denoiser."""
    d = x[0].numel()
    w = randn(d, d, seed=seed).to(x)
    t = t[:, None] if isinstance(t, torch.Tensor) else t
    return (torch.tanh(x.flatten(1) @ w + t) + 0.3 * x.flatten(1) * t).reshape(x.shape)


class Predicts(nn.Module):
    """A network that answers in a target's terms what a denoiser answers in terms of x_0."""

    def __init__(self, target, denoise, path):
        super().__init__()
        self.field, self.path = express(target, denoise, path), path

    def forward(self, x, t):
        return self.field(x, t * self.path.t_max)


class Net(nn.Module):
    """A small network of (x, t) or (x, t, y) with random weights, so that zero initialisation hides nothing."""

    def __init__(self, d=1, seed=0):
        super().__init__()
        self.a, self.b = (
            nn.Parameter(0.7 * randn(d + 1, 8, seed=seed)),
            nn.Parameter(0.7 * randn(8, d, seed=seed + 50)),
        )

    def forward(self, x, t, y=None):
        h = torch.cat([x, t[:, None] + (0 if y is None else y[:, None])], 1)
        return torch.tanh(h @ self.a) @ self.b


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


def network_sees_unit_variance():
    """Data +-0.7, whose mean square is exactly 0.7^2; the noise by quadrature."""
    seen = {}

    def network(x, t):
        seen.update(x=x, t=t)
        return torch.zeros_like(x)

    z, w = hermite()
    x0, eps, w = torch.tensor([0.7, -0.7], dtype=F64).repeat(60), z.repeat_interleave(2), w.repeat_interleave(2) / 2
    for make in PATHS.values():
        p = make()
        model = Denoiser(network, p, "edm", data_std=0.7)
        for t in (0.001 * p.t_max, 0.5 * p.t_max, 0.97 * p.t_max):
            q = p.at(t)
            model((q.alpha * x0 + q.sigma * eps)[:, None], t)
            assert (w * seen["x"][:, 0] ** 2).sum().item() == pytest.approx(1, abs=1e-10)
            assert seen["t"].tolist() == pytest.approx([math.log(q.sigma / q.alpha) / 4] * 120)
            a, b = model.target(q)
            assert (w * (a * x0 + b * eps) ** 2).sum().item() == pytest.approx(1, abs=1e-10)
            c_skip, c_out = inverse(model.target, q)[0]
            c = c_skip + torch.linspace(-0.5, 0.5, 101).double()[:, None]
            leftover = (w * (x0 - c * (q.alpha * x0 + q.sigma * eps)) ** 2).sum(1)
            assert leftover.argmin() == 50  # c_skip leaves the network the least to say
            assert abs(c_out) == pytest.approx(leftover.min().sqrt().item(), rel=1e-9)
            assert edm_weight(0.7)(q) * c_out**2 == pytest.approx(1, rel=1e-12)
    q = edm().at(2.3)
    assert edm_weight(0.5)(q) == pytest.approx((2.3**2 + 0.5**2) / (2.3 * 0.5) ** 2)


def weights_are_squared_errors_of_their_targets():
    x0, eps = randn(6, 2), randn(6, 2, seed=1)
    square = lambda d: (d**2).sum(1)
    for make in PATHS.values():
        p = make()
        t = torch.linspace(0.07, 0.93, 6, dtype=F64) * p.t_max
        xt, _ = p.corrupt(x0, t, eps=eps)
        guess, q = estimate(xt, t), p.at(t)
        al, si = q.alpha[:, None], q.sigma[:, None]
        eps_guess = (xt - al * guess) / si
        h, snr = 1e-6 * p.t_max, lambda t, p=p: (p.alpha(t) / p.sigma(t)) ** 2
        da, ds = ((f(t + h) - f(t - h))[:, None] / (2 * h) for f in (p.alpha, p.sigma))
        papers = {
            "x0": square(x0 - guess),
            "eps": square(eps - eps_guess),
            "v": square((al * eps - si * x0) - (al * eps_guess - si * guess)),
            "velocity": square((da * x0 + ds * eps) - (da * guess + ds * eps_guess)),
            "score": square(eps / si - eps_guess / si),
            "elbo": -0.5 * (snr(t + h) - snr(t - h)) / (2 * h) * square(x0 - guess),
            "min_snr": snr(t).minimum(torch.tensor(5.0)) * square(x0 - guess),
        }
        assert papers.keys() == WEIGHTS.keys()
        for name in TARGETS:
            model = Denoiser(Predicts(name, estimate, p), p, name)
            for weight, want in papers.items():
                got = loss(model, x0, t, weight=weight, eps=eps)
                checks.close(got, want, f"the {weight} loss of a network for {name} on {p.name}", atol=1e-7, rtol=1e-6)
    assert min_snr_weight(3.0)(p.at(0.9)) == pytest.approx(1 / 0.81) and min_snr_weight(3.0)(p.at(0.1)) == 3.0


def training_finds_the_posterior_mean():
    """On three points the derivative of the expected loss vanishes at the empirical denoiser, along any direction."""
    data = torch.tensor([[-1.0], [0.2], [1.5]], dtype=F64)
    z, w = hermite(120)
    x0, eps, w = data.repeat(120, 1), z.repeat_interleave(3)[:, None], w.repeat_interleave(3) / 3
    for make in (rectified, linear_vp):
        p = make()
        best = EmpiricalDenoiser(data).denoiser(p)
        for weight in WEIGHTS:
            size = torch.zeros((), dtype=F64, requires_grad=True)
            model = Denoiser(lambda x, t, best=best, size=size: best(x, t) + size * estimate(x, t), p, "x0")
            t = torch.full((360,), 0.6, dtype=F64)
            expected = (w * loss(model, x0, t, weight=weight, eps=eps)).sum()
            slope = torch.autograd.grad(expected, size)[0]
            assert abs(slope) < 1e-6 < expected, f"{weight}: slope {slope:.2g} of a loss {expected:.3g}"


def regression_on_samples_is_regression_on_the_truth():
    """Denoising and explicit score matching, and conditional and marginal flow matching, differ by a constant."""
    m, (z, w) = line_mixture(), hermite(60)
    parts = [(m.means[k] + m.variances[k].sqrt() * z, m.weights[k] * w) for k in range(2)]
    x0, wx = (torch.cat(v) for v in zip(*parts, strict=True))
    x0, eps, w = x0.repeat_interleave(60)[:, None], z.repeat(120)[:, None], (wx[:, None] * w).flatten()
    for make, name in [(linear_vp, "score"), (rectified, "velocity")]:
        p = make()
        t = torch.full((len(x0),), 0.55, dtype=F64)
        xt, _ = p.corrupt(x0, t, eps=eps)
        q = p.at(0.55)
        truth = {"score": m.score(xt, q.alpha, q.sigma), "velocity": m.velocity(p)(xt, 0.55)}[name]
        gaps, third = [], []
        for seed in range(3):
            model = Denoiser(Net(seed=seed), p, name)
            sampled = (w * loss(model, x0, t, weight=name, eps=eps)).sum()
            exact = (w * ((model.predict(xt, t) - truth) ** 2).sum(1)).sum()
            gaps.append(sampled - exact)
            for a, b in zip(*(torch.autograd.grad(v, model.parameters()) for v in (sampled, exact)), strict=True):
                checks.close(a, b, f"gradient of the {name} loss", atol=1e-6)
            score = lambda x, model=model, t=t: model.predict(x, t)
            third.append(2 * (w * implicit_score_matching(score, xt)).sum() - exact)
        checks.close(gaps, [gaps[0]] * 3, "the constant between the two losses", atol=1e-6)
        assert gaps[0] > 0.01, "the loss on samples does not reach 0"
        if name == "score":
            checks.close(third, [third[0]] * 3, "the constant of implicit score matching", atol=1e-6)


def gaussian_data(variance):
    one = torch.ones(1, dtype=F64)
    return GaussianMixture(one, 0.4 * one[:, None], math.sqrt(variance) * one)


def expected_bound(p, denoise, x0, times, **options):
    """The bound's terms averaged over the noise exactly: every draw is replaced by the same quadrature nodes."""
    z, w = hermite()
    nodes = z.repeat(len(x0))[:, None]
    with mock.patch("genmodels.schedule.path.noise_like", lambda *_: nodes):
        terms = variational_bound(denoise, p, x0.repeat_interleave(60, 0), times, **options)
    return terms, lambda v: (v.reshape(*v.shape[:-1], -1, 60) * w).sum(-1)


def bound_terms_are_kl_divergences():
    p, times = linear_vp(), [1.0, 0.7, 0.35, 0.1, 0.0]
    x0 = torch.tensor([[0.9], [-0.4]], dtype=F64)
    terms, _ = expected_bound(p, estimate, x0, times)
    x0, eps = x0.repeat_interleave(60, 0), hermite()[0].repeat(2)[:, None]
    for k, (t, s) in enumerate([(1.0, 0.7), (0.7, 0.35), (0.35, 0.1)]):
        a, b = p.at(t), p.at(s)
        r = a.alpha / b.alpha
        kernel = a.sigma**2 - r**2 * b.sigma**2  # Bayes' rule for Gaussians, in precisions
        precision = 1 / b.sigma**2 + r**2 / kernel
        xt = a.alpha * x0 + a.sigma * eps
        of = lambda x, b=b, r=r, c=kernel, n=precision, xt=xt: Normal(
            (b.alpha * x / b.sigma**2 + r * xt / c) / n, n**-0.5
        )
        want = kl_divergence(of(x0), of(estimate(xt, t))).sum(1)
        checks.close(terms.diffusion[k], want, f"KL from t = {t} to {s}", atol=1e-10)
    a = p.at(1.0)
    want = kl_divergence(Normal(a.alpha * x0, a.sigma), Normal(torch.zeros_like(x0), 1.0)).sum(1)
    checks.close(terms.prior, want, "L_T", atol=1e-10)
    a = p.at(0.1)
    want = -Normal(estimate(a.alpha * x0 + a.sigma * eps, 0.1), a.sigma / a.alpha).log_prob(x0).sum(1)
    checks.close(terms.reconstruction, want, "L_0", atol=1e-10)
    checks.close(terms.total, terms.prior + terms.diffusion.sum(0) + terms.reconstruction, "the sum")


def bound_becomes_the_likelihood():
    m, p = gaussian_data(0.6), linear_vp()
    z, w = hermite(20)
    x0 = (0.4 + math.sqrt(0.6) * z)[:, None]
    truth, gaps, sizes = -(w * m.log_prob(x0)).sum(), [], (160, 320, 640)
    for steps in sizes:
        terms, mean = expected_bound(p, m.denoiser(p), x0, log_snr_grid(p, steps, low=-10, high=16))
        gaps.append((w * mean(terms.total)).sum() - truth)
    assert all(g > 0 for g in gaps), "a bound lies above"
    checks.order(gaps, sizes, 1.0, "the bound's gap", tolerance=0.2)
    assert gaps[-1] < 0.2


def elbo_loss_is_the_likelihood():
    """In continuous time, with a perfect network, prior + reconstruction + the integral of the loss is -log p(x_0)."""
    m, p = gaussian_data(0.6), linear_vp()
    (z, w), pieces = hermite(20), 1500
    edges = torch.linspace(15, -10, pieces + 1, dtype=F64)
    t = p.time_at((edges[1:] + edges[:-1]) / 2)  # the middle of each piece, even in log-SNR
    dt = p.time_at(edges).diff()
    model = Denoiser(Predicts("v", m.denoiser(p), p), p, "v")
    for x0 in (-0.7, 1.3):
        x = torch.full((20 * pieces, 1), x0, dtype=F64)
        values = loss(model, x, t.repeat(20), weight="elbo", eps=z.repeat_interleave(pieces)[:, None])
        integral = (w[:, None] * values.reshape(20, pieces) * dt).sum()
        first, last = p.time_at(15.0), p.time_at(-10.0)
        ends, mean = expected_bound(p, m.denoiser(p), x[:1], [1.0, first, 0.0])
        assert last == pytest.approx(1.0, abs=0.01)
        total = (integral + mean(ends.prior) + mean(ends.reconstruction)).item()
        assert total == pytest.approx(-m.log_prob(x[:1]).item(), abs=2e-3)


def bins_share_all_mass():
    p, width = rectified(), 0.1
    values = torch.linspace(-1, 1, 21, dtype=F64)[:, None]
    for t in (0.02, 0.5, 0.9):
        guess = lambda x, t: torch.full_like(x, 0.23)
        terms = variational_bound(guess, p, values, [1.0, t, 0.0], bin_width=width)
        checks.normalised(lambda _, v=terms: -v.reconstruction, values, "the mass of all bins")
        std = p.at(t).sigma / p.at(t).alpha
        inner = torch.special.ndtr((values + 0.05 - 0.23) / std) - torch.special.ndtr((values - 0.05 - 0.23) / std)
        checks.close((-terms.reconstruction[1:-1]).exp(), inner[1:-1, 0], "the mass of an inner bin", atol=1e-10)


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


def divergence_is_the_trace():
    x = randn(5, 2, 2)
    value, trace = divergence(partial(estimate, t=0.4), x)
    checks.close(value, estimate(x, 0.4), "the field")
    want = [checks.jacobian(lambda y: estimate(y[None], 0.4)[0], one).reshape(4, 4).trace() for one in x]
    checks.close(trace, torch.stack(want), "divergence", atol=1e-10)
    axes = 2 * torch.eye(4, dtype=F64).reshape(4, 1, 2, 2).expand(4, 5, 2, 2)  # sum z z^T / 4 = identity
    checks.close(divergence(partial(estimate, t=0.4), x, axes)[1], torch.stack(want), "Hutchinson", atol=1e-10)
    many = x[:1].expand(4000, 2, 2)
    noisy = divergence(partial(estimate, t=0.4), many, randn(1, 4000, 2, 2, seed=3))[1]
    checks.unbiased(noisy, want[0], "Hutchinson's estimate")


ORACLES = [
    solve_undoes_the_table,
    targets_are_what_they_are_called,
    circle_velocity_is_v,
    lipmans_time_runs_the_other_way,
    express_is_tweedie,
    denoiser_returns_x0_whatever_the_target,
    network_sees_unit_variance,
    weights_are_squared_errors_of_their_targets,
    training_finds_the_posterior_mean,
    regression_on_samples_is_regression_on_the_truth,
    bound_terms_are_kl_divergences,
    bound_becomes_the_likelihood,
    elbo_loss_is_the_likelihood,
    bins_share_all_mass,
    guidance_is_exact_only_without_noise,
    rescaling_is_exact,
    divergence_is_the_trace,
]


@pytest.mark.parametrize("oracle", ORACLES)
def test_diffusion(oracle):
    oracle()


def one_for_all(name, new):
    """A wrong line of the table of targets."""
    return lambda monkeypatch, _: monkeypatch.setitem(TARGETS, name, new)


def weight_for_all(name, new):
    return lambda monkeypatch, _: monkeypatch.setitem(WEIGHTS, name, new)


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
    "c_in without the root": (network_sees_unit_variance, text(Denoiser.predict, "** -0.5", "** -1.0")),
    "c_noise not quartered": (network_sees_unit_variance, text(Denoiser.predict, ") / 4", ")")),
    "weight (s + sd)^2": (
        network_sees_unit_variance,
        text(
            edm_weight,
            "squared_error(edm_target(data_std))",
            "lambda p: ((p.sigma + data_std) / (p.sigma * data_std)) ** 2",
        ),
    ),
    "det for det^2": (weights_are_squared_errors_of_their_targets, weight_for_all("eps", lambda p: p.alpha / p.sigma)),
    "loss forgets its units": (weights_are_squared_errors_of_their_targets, text(loss, "** 2 * sum", "** 0 * sum")),
    "loss averages": (
        weights_are_squared_errors_of_their_targets,
        text(loss, "sum_except_batch(error**2)", "(error**2).mean(1)"),
    ),
    "bound without its half": (
        weights_are_squared_errors_of_their_targets,
        weight_for_all("elbo", lambda p: 2 * p.alpha * determinant(TARGETS["velocity"], p) / p.sigma**3),
    ),
    "max for min": (
        weights_are_squared_errors_of_their_targets,
        weight_for_all("min_snr", lambda p: p.snr.clamp_min(5.0)),
    ),
    "x_0 in an eps loss": (
        training_finds_the_posterior_mean,
        text(loss, "scaled(b, x0) * eps", "scaled(b, x0) * x0 + eps"),
    ),
    "posterior of another noise": (
        training_finds_the_posterior_mean,
        text(EmpiricalDenoiser.posterior, "sigma**2", "(1.1 * sigma) ** 2"),
    ),
    "target at x_0": (
        regression_on_samples_is_regression_on_the_truth,
        text(loss, "scaled(a, x0) * x0 + scaled(b, x0) * eps", "scaled(a, x0) * eps + scaled(b, x0) * x0"),
    ),
    "trace without its half": (
        regression_on_samples_is_regression_on_the_truth,
        text(implicit_score_matching, "0.5 * ", ""),
    ),
    "KL without its half": (
        bound_terms_are_kl_divergences,
        text(variational_bound, "0.5 * (schedule", "1.0 * (schedule"),
    ),
    "KL of t for s": (
        bound_terms_are_kl_divergences,
        text(variational_bound, "schedule.at(s).snr - schedule.at(t).snr", "schedule.at(s).snr"),
    ),
    "prior without log": (bound_terms_are_kl_divergences, text(variational_bound, " - 2 * math.log(ratio)", "")),
    "L_0 without constant": (bound_terms_are_kl_divergences, text(variational_bound, "2 * math.pi * ", "")),
    "wrong decoder": (bound_becomes_the_likelihood, text(variational_bound, "std**2)", "std)")),
    "error at s": (bound_becomes_the_likelihood, text(variational_bound, "error(t) ** 2", "error(s) ** 2")),
    "rates of another time": (
        elbo_loss_is_the_likelihood,
        text(Schedule.rates, "t = t.clamp_min(RATE_MIN)", "t = 0.99 * t"),
    ),
    "edge bins closed": (bins_share_all_mass, text(variational_bound, "math.inf, z + half", "z, z + half")),
    "half a bin": (bins_share_all_mass, text(variational_bound, "bin_width / 2", "bin_width / 4")),
    "tails not mirrored": (
        bins_share_all_mass,
        text(variational_bound, "_log_normal_mass(lower", "_log_normal_mass(lower - 1"),
    ),
    "w for 1 + w": (guidance_is_exact_only_without_noise, text(guided, "(x, t), scale)", "(x, t), 1 + scale)")),
    "guidance reversed": (
        guidance_is_exact_only_without_noise,
        text(guided, "unconditional(x, t), conditional(x, t)", "conditional(x, t), unconditional(x, t)"),
    ),
    "x not rescaled": (rescaling_is_exact, text(rescale, "scaled(ratio, x) * x", "x")),
    "same t, other path": (rescaling_is_exact, text(rescale, "else matching(t)", "else t")),
    "root forgotten": (rescaling_is_exact, text(rescale, "** 0.5", "** 1.0")),
    "J eps without eps": (divergence_is_the_trace, text(divergence, "z * pull(z)[0]", "pull(z)[0]")),
    "sum of probes": (divergence_is_the_trace, text(divergence, " / len(probes)", "")),
    "trace of half": (divergence_is_the_trace, text(divergence, "for e in basis", "for e in basis[::2]")),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_oracle_notices(name, monkeypatch, edit):
    oracle, sabotage = SABOTAGE[name]
    sabotage(monkeypatch, edit)
    with pytest.raises(AssertionError):
        oracle()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("target", [*TARGETS, "edm"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_two_ends_are_finite(path, target, dtype):
    p = PATHS[path]()
    model = Denoiser(Net(2).to(dtype), p, target, data_std=0.5 if target == "edm" else None)
    x, t = randn(3, 2).to(dtype), torch.tensor([0.0, 0.5, 1.0], dtype=dtype) * p.t_max
    assert model(x, t).isfinite().all()
    t = torch.tensor([1e-6, 0.5, 1.0], dtype=dtype) * p.t_max
    for weight in [*WEIGHTS, edm_weight(0.5)]:
        assert loss(model, x, t, weight=weight).isfinite().all(), weight
        assert loss(model, x, t, weight=weight).dtype == dtype
    assert model(x, 0.0).isfinite().all() and model(x, 0.0).dtype == dtype


@pytest.mark.parametrize("target", ["eps", "score"])
def test_a_target_blind_at_pure_noise_says_so(target):
    model = Denoiser(Net(2).float(), rectified(), target)
    with pytest.raises(
        ValueError, match="at t = 1 the path rectified has alpha = 1e-15.*start the grid a little below"
    ):
        model(torch.zeros(3, 2), 1.0)
    assert model(torch.zeros(3, 2), 0.999).isfinite().all()
    assert Denoiser(Net(2).float(), from_betas(linear_betas()), target)(torch.zeros(3, 2), 1.0).isfinite().all()


def test_gradients_reach_every_parameter():
    x, t = randn(6, 2), torch.rand(6, dtype=F64)
    for target in [*TARGETS, "edm"]:
        model = Denoiser(Net(2), cosine(), target, data_std=0.7)
        assert len(list(model.parameters())) == 2
        for values in (loss(model, x, t, eps=randn(6, 2)), model(x, t).sum(1)):
            assert values.shape == (6,)
            for g in torch.autograd.grad(values.mean(), model.parameters()):
                assert (g != 0).any()
    grads = torch.autograd.grad(implicit_score_matching(lambda y: model.predict(y, t), x).mean(), model.parameters())
    assert all((g != 0).any() for g in grads)


def test_every_argument_matters():
    x, t, y = randn(6, 2), torch.linspace(0.1, 0.9, 6, dtype=F64), torch.tensor([0, 1, 2, 0, 1, 2])
    model = Denoiser(Net(2), cosine())
    assert not torch.allclose(model(x, t), model(x, t.flip(0)))
    assert not torch.allclose(model(x, t), model(x, t, y))
    assert conditioned(model, y)(x, 0.4).equal(model(x, 0.4, y))
    base = loss(model, x, t, eps=randn(6, 2))
    assert not torch.allclose(base, loss(model, x, t, eps=randn(6, 2, seed=9)))
    assert not torch.allclose(base, loss(model, x, t, eps=randn(6, 2), y=y))
    assert loss(model, x, t, generator=generator(1)).equal(loss(model, x, t, generator=generator(1)))
    clipped = Denoiser(model.network, cosine(), clip=0.2)
    checks.close(clipped(x, t), model(x, t).clamp(-0.2, 0.2), "clipped")
    assert model.state_dict().keys() == {"network.a", "network.b"}
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.network.a.add_(1)
    assert not torch.allclose(twin(x, t), model(x, t)), "a copy, as an average of weights needs it, is independent"


def test_labels_are_dropped_one_by_one():
    y = torch.arange(20000) % 7
    dropped = drop_labels(y, 7, 0.1, generator=generator(0))
    assert (y == torch.arange(20000) % 7).all(), "the caller's labels are left alone"
    checks.unbiased((dropped == 7).double(), 0.1, "the share of dropped labels")
    assert (dropped[dropped != 7] == y[dropped != 7]).all()
    several = drop_labels(torch.ones(500, 3).long(), -1, 0.5)
    assert {tuple(row) for row in several.tolist()} == {(1, 1, 1), (-1, -1, -1)}, "a sample loses all or none"
    assert drop_labels(y, 7, 0.0).equal(y) and (drop_labels(y, 7, 1.0) == 7).all()


def test_a_tensor_without_gradient_stays_so():
    model, x = Denoiser(Net(2), cosine()), randn(3, 2)
    with torch.no_grad():
        assert not model(x, 0.3).requires_grad
        assert implicit_score_matching(lambda y: model.predict(y, 0.3), x).shape == (3,)


def test_bad_input_is_named():
    x, t = torch.zeros(3, 2), torch.rand(3)
    for call, words in [
        (lambda: Denoiser(nn.Identity(), cosine(), "noise"), "unknown target 'noise'; known: x0, eps"),
        (lambda: Denoiser(nn.Identity(), cosine(), "edm"), "needs data_std"),
        (lambda: edm_target(0.0), "data_std must be positive"),
        (lambda: express("x", estimate, cosine()), "unknown target 'x'"),
        (lambda: loss(Denoiser(Net(2), cosine()), x, t, weight="snr"), "unknown weight 'snr'; known: x0, eps"),
        (lambda: loss(Denoiser(Net(2), cosine()), x, t[:2]), "one value for each of the 3"),
        (lambda: drop_labels(torch.zeros(3).long(), 1, 1.5), "probability"),
        (lambda: variational_bound(estimate, cosine(), x, [1.0, 0.5]), "must end at 0"),
        (lambda: variational_bound(estimate, cosine(), x, [0.5, 0.7, 0.0]), "must decrease"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
