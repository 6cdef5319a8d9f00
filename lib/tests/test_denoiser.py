"""Denoisers and their losses, against the papers' formulas and quadrature; with sabotage twins."""

import copy
import math

import pytest
import torch
from exact_diffusion import F64, Net, Predicts, estimate, hermite, randn
from torch import nn

from coursekit import checks
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
    implicit_score_matching,
    inverse,
    loss,
    min_snr_weight,
    variational_bound,
)
from genmodels.schedule import cosine, edm, from_betas, linear_betas, linear_vp, rectified
from genmodels.toy import EmpiricalDenoiser

PATHS = {"rectified": rectified, "cosine": cosine, "vp": linear_vp, "edm": lambda: edm(5.0)}


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


ORACLES = [network_sees_unit_variance, weights_are_squared_errors_of_their_targets, training_finds_the_posterior_mean]


@pytest.mark.parametrize("oracle", ORACLES)
def test_truth(oracle):
    oracle()


def weight_for_all(name, new):
    return lambda monkeypatch, _: monkeypatch.setitem(WEIGHTS, name, new)


def text(function, old, new):
    return lambda _, edit: edit(function, old, new)


SABOTAGE = {
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


def test_an_empty_batch_has_no_losses():
    assert loss(Denoiser(Net(2), cosine()), randn(0, 2), torch.zeros(0, dtype=F64)).shape == (0,)


def test_far_from_the_data_a_score_still_tells_x_0():
    """Not the coefficient of the score is what makes it blind, 4e6 here, but how an error of it weighs: 2000."""
    p = edm(2000.0)
    model = Denoiser(Predicts("score", estimate, p), p, "score")
    checks.close(model(randn(3, 2), 2000.0), estimate(randn(3, 2), 2000.0), "x_0 hat at a noise of 2000", atol=1e-6)


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


def test_bad_input_is_named():
    x, t = torch.zeros(3, 2), torch.rand(3)
    for call, words in [
        (lambda: Denoiser(nn.Identity(), cosine(), "noise"), "unknown target 'noise'; known: x0, eps"),
        (lambda: Denoiser(nn.Identity(), cosine(), "edm"), "needs data_std"),
        (lambda: Denoiser(nn.Identity(), cosine(), data_std=0.0), "data_std must be positive, got 0.0"),
        (lambda: Denoiser(nn.Identity(), cosine(), clip=-1.0), "clip is the largest"),
        (lambda: Denoiser(lambda x, t: x[:, :1], cosine())(x, 0.3), r"shape of x, \(3, 2\); got \(3, 1\)"),
        (lambda: loss(Denoiser(lambda x, t: x[:, 0], cosine()), x, t), r"shape of x, \(3, 2\); got \(3,\)"),
        (lambda: min_snr_weight(0.0), "gamma must be positive"),
        (lambda: variational_bound(estimate, cosine(), x, [0.5, 0.0], bin_width=0.0), "bin_width must be positive"),
        (lambda: divergence(torch.tanh, x, torch.zeros(0, 3, 2)), "needs at least one"),
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
