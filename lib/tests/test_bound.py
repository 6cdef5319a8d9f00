"""The bound and score matching by exact quadrature: no seed, no tolerance for chance; with sabotage twins."""

import math
from functools import partial
from unittest import mock

import pytest
import torch
from exact_diffusion import F64, Net, Predicts, estimate, hermite, randn
from torch.distributions import Normal, kl_divergence

from coursekit import checks
from genmodels.diffusion import (
    Denoiser,
    divergence,
    implicit_score_matching,
    loss,
    variational_bound,
)
from genmodels.diffusion.bound import _log_normal_mass
from genmodels.schedule import Schedule, cosine, edm, linear_vp, log_snr_grid, rectified
from genmodels.toy import GaussianMixture


def line_mixture():
    """A mixture on the line, skewed enough that no symmetry hides a sign."""
    column = lambda *v: torch.tensor(v, dtype=F64)
    return GaussianMixture(column(1.0, 2.5), column(-1.1, 0.7)[:, None], column(0.35, 0.2))


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
    wide = edm(3.0)  # here the prior's std, sqrt(1 + 3^2), is not 1
    own, _ = expected_bound(wide, estimate, x0[::60], [3.0, 1.0, 0.0])
    want = kl_divergence(Normal(x0, 3.0), Normal(torch.zeros_like(x0), math.sqrt(10.0))).sum(1)
    checks.close(own.prior, want, "L_T where the variance explodes", atol=1e-10)
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
    # Forty standard deviations away the mass is e^-800; its logarithm by the tail's series phi(z) / z (1 - 1 / z^2).
    for side in (1.0, -1.0):
        guess, x0 = lambda x, _, side=side: torch.full_like(x, -0.8 * side), torch.full((1, 1), 0.85 * side).double()
        far = variational_bound(guess, p, x0, [1.0, 0.04, 0.0], bin_width=width).reconstruction
        std = p.at(0.04).sigma / p.at(0.04).alpha
        z = (0.85 + 0.8 - 0.05) / std
        want = z**2 / 2 + 0.5 * math.log(2 * math.pi) + math.log(z) + 1 / z**2
        checks.close(far, torch.tensor([want]), "the mass of a bin far out", rtol=1e-6)


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
    regression_on_samples_is_regression_on_the_truth,
    bound_terms_are_kl_divergences,
    bound_becomes_the_likelihood,
    elbo_loss_is_the_likelihood,
    bins_share_all_mass,
    divergence_is_the_trace,
]


@pytest.mark.parametrize("oracle", ORACLES)
def test_truth(oracle):
    oracle()


def text(function, old, new):
    return lambda _, edit: edit(function, old, new)


SABOTAGE = {
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
    "prior of unit width": (
        bound_terms_are_kl_divergences,
        text(variational_bound, "p.sigma / schedule.prior_std", "p.sigma"),
    ),
    "one tail only": (bins_share_all_mass, text(_log_normal_mass, "lower + upper > 0", "lower + upper > math.inf")),
    "edge bins closed": (bins_share_all_mass, text(variational_bound, "math.inf, z + half", "z, z + half")),
    "half a bin": (bins_share_all_mass, text(variational_bound, "bin_width / 2", "bin_width / 4")),
    "tails not mirrored": (
        bins_share_all_mass,
        text(variational_bound, "_log_normal_mass(lower", "_log_normal_mass(lower - 1"),
    ),
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


def test_a_tensor_without_gradient_stays_so():
    model, x = Denoiser(Net(2), cosine()), randn(3, 2)
    with torch.no_grad():
        assert not model(x, 0.3).requires_grad
        assert implicit_score_matching(lambda y: model.predict(y, 0.3), x).shape == (3,)
