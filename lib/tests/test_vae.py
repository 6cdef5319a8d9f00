"""Bounds against models whose likelihood is known: linear-Gaussian, and discrete latents by enumeration."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from genmodels import vae
from genmodels.core import generator
from genmodels.likelihoods import bernoulli_log_prob, gaussian_log_prob

F64 = torch.float64


def linear_model(d=5, k=2, std=0.7, seed=0):
    g = generator(seed)
    weight, bias = torch.randn(d, k, generator=g, dtype=F64), torch.randn(d, generator=g, dtype=F64)
    return vae.LinearGaussian(weight, bias, std)


def diagonal_vae(model, mean_map, logvar):
    """A VAE whose decoder is the linear model and whose encoder is linear with a fixed log-variance."""
    d, k = model.weight.shape

    class Encoder(nn.Module):
        def forward(self, x):
            return torch.cat([(x - model.bias) @ mean_map.T, logvar.expand(len(x), k)], 1)

    class Decoder(nn.Module):
        def forward(self, z):
            return z @ model.weight.T + model.bias

    return vae.VAE(Encoder(), Decoder(), lambda m, x: gaussian_log_prob(m, x, model.log_std.exp()), k)


@pytest.fixture
def setting():
    model = linear_model()
    g = generator(1)
    x = torch.randn(4, 2, generator=g, dtype=F64) @ model.weight.detach().T + model.bias.detach()
    x = x + 0.7 * torch.randn(4, 5, generator=g, dtype=F64)
    var = (2 * model.log_std).exp().detach()
    m = model.weight.detach().T @ model.weight.detach() + var * torch.eye(2, dtype=F64)
    # Near the true posterior, so that importance weights behave, but not on it.
    mean_map = torch.linalg.solve(m, model.weight.detach().T) * 0.9
    logvar = (var / m.diagonal()).log() + torch.tensor([0.5, 0.2], dtype=F64)
    return model, diagonal_vae(model, mean_map, logvar), x, logvar


def test_gaussian_kl_is_torchs_and_monte_carlo():
    g = generator(2)
    mean, logvar = torch.randn(3, 4, generator=g, dtype=F64), torch.randn(3, 4, generator=g, dtype=F64)
    q, p = Normal(mean, (logvar / 2).exp()), Normal(torch.zeros((), dtype=F64), 1.0)
    exact = vae.gaussian_kl(mean, logvar)
    torch.testing.assert_close(exact, kl_divergence(q, p))
    torch.manual_seed(0)
    n = 100_000
    z = q.sample((n,))
    draws = (q.log_prob(z) - p.log_prob(z)).sum((1, 2))
    assert abs(float(draws.mean() - exact.sum())) < 4.5 * float(draws.std()) / n**0.5, f"n={n}"
    for wrong in ((mean**2 + (2 * logvar).exp() - 1 - 2 * logvar) / 2, exact + 0.5, -exact):
        assert (wrong - kl_divergence(q, p)).abs().max() > 0.1


def test_marginal_likelihood_of_the_linear_model_is_a_gaussian():
    model, x = linear_model(), torch.randn(6, 5, dtype=F64, generator=generator(3))
    cov = model.weight @ model.weight.T + (2 * model.log_std).exp() * torch.eye(5, dtype=F64)
    torch.testing.assert_close(model.log_prob(x), MultivariateNormal(model.bias, cov).log_prob(x))


def test_elbo_is_tight_exactly_at_the_posterior_and_the_gap_is_a_kl():
    model, x = linear_model(), torch.randn(6, 5, dtype=F64, generator=generator(4))
    posterior = model.posterior(x)
    torch.testing.assert_close(model.elbo(x, posterior), model.log_prob(x))
    other = MultivariateNormal(posterior.mean + 0.3, 0.5 * torch.eye(2, dtype=F64))
    gap = model.log_prob(x) - model.elbo(x, other)
    torch.testing.assert_close(gap, kl_divergence(other, posterior))
    assert (gap > 0.05).all()


def test_sampled_elbo_and_its_gradient_meet_the_closed_form(setting):
    model, net, x, logvar = setting
    mean, _ = net.posterior(x)
    q = MultivariateNormal(mean, torch.diag_embed(logvar.exp().expand(4, 2)))
    exact = model.elbo(x, q)
    want = torch.autograd.grad(exact.sum(), list(model.parameters()))
    n = 20_000
    bound = vae.elbo(net, x.repeat(n, 1), generator=generator(5))
    draws = bound.elbo.reshape(n, 4)
    error = draws.std(0) / n**0.5
    assert ((draws.mean(0) - exact).abs() < 4.5 * error).all(), f"n={n}, se={error}"
    got = torch.autograd.grad(bound.elbo.sum() / n, list(model.parameters()))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=0.12, rtol=0.03)
    torch.testing.assert_close(bound.elbo, bound.reconstruction - bound.kl)


def test_the_gradient_reaches_the_encoder_without_bias(setting):
    """d ELBO / d (mean, logvar) of q: n independent estimates against autograd of the closed form."""
    model, net, x, logvar = setting
    mean, n = net.posterior(x[:1])[0], 20_000
    exact = [mean.detach().clone().requires_grad_(), logvar.clone().requires_grad_()]
    want = torch.autograd.grad(
        model.elbo(x[:1], MultivariateNormal(exact[0], torch.diag_embed(exact[1].exp()[None]))).sum(), exact
    )
    out = torch.cat([mean.detach(), logvar[None]], 1).repeat(n, 1).requires_grad_()
    net.posterior = lambda _: out.chunk(2, 1)
    bound = vae.elbo(net, x[:1].expand(n, 5), generator=generator(17))
    (each,) = torch.autograd.grad(bound.elbo.sum(), out)
    truth = torch.cat([want[0][0], want[1]])
    z = (each.mean(0) - truth) / (each.std(0) / n**0.5)
    assert (z.abs() < 4.5).all(), f"n={n}, z={z}"
    assert (truth.abs() > 0.1).any()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda b: b.reconstruction + b.kl,
        lambda b: b.reconstruction,
        lambda b: b.reconstruction / 5 - b.kl,
        lambda b: b.reconstruction - b.kl / 2,
    ],
    ids=["sign of the KL", "no KL", "mean reconstruction", "half the KL"],
)
def test_wrong_bounds_miss_the_closed_form(setting, wrong):
    model, net, x, logvar = setting
    q = MultivariateNormal(net.posterior(x)[0], torch.diag_embed(logvar.exp().expand(4, 2)))
    n = 4000
    draws = wrong(vae.elbo(net, x.repeat(n, 1), generator=generator(6))).reshape(n, 4)
    assert ((draws.mean(0) - model.elbo(x, q)).abs() > 4.5 * draws.std(0) / n**0.5).any()


def test_beta_and_free_bits_change_the_objective_only(setting):
    _, net, x, _ = setting
    runs = [vae.elbo(net, x, beta=b, generator=generator(7)) for b in (1.0, 4.0)]
    torch.testing.assert_close(runs[0].reconstruction, runs[1].reconstruction)
    torch.testing.assert_close(runs[1].elbo, runs[1].reconstruction - 4 * runs[1].kl)
    held = vae.elbo(net, x, floor=100.0, generator=generator(7))
    torch.testing.assert_close(held.kl, torch.full((4,), 200.0, dtype=F64))


def test_free_bits_take_the_maximum_after_the_batch_mean():
    kl = torch.tensor([[0.0, 3.0], [1.0, 1.0]], dtype=F64, requires_grad=True)
    value = vae.free_bits(kl, 0.8)
    assert float(value.mean()) == pytest.approx(0.8 + 2.0)
    assert float(kl.detach().clamp_min(0.8).sum(1).mean()) != pytest.approx(2.8), "per sample is another objective"
    (grad,) = torch.autograd.grad(value.mean(), kl)
    torch.testing.assert_close(grad, torch.tensor([[0.0, 0.5], [0.0, 0.5]], dtype=F64))
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        vae.free_bits(kl, -1)


def test_iwae_rises_with_k_to_the_exact_likelihood(setting):
    model, net, x, _ = setting
    exact = model.log_prob(x).detach()
    means = []
    for k in (1, 5, 50):
        n = 2000
        draws = vae.iwae(net, x.repeat(n, 1), k, generator=generator(8)).detach().reshape(n, 4)
        error = draws.std(0) / n**0.5
        assert (draws.mean(0) < exact + 4.5 * error).all()
        means.append(draws.mean(0).sum())
    assert means[0] < means[1] < means[2] < exact.sum()
    many = vae.iwae(net, x, 200_000, generator=generator(9)).detach()
    torch.testing.assert_close(many, exact, atol=0.02, rtol=0)
    # The sabotage twin: the mean of the log-weights is the ELBO however many samples it uses.
    assert vae.log_weights(net, x, 20_000, generator=generator(9)).mean(0).sum() < exact.sum() - 0.5
    with pytest.raises(ValueError, match="at least 1 importance sample"):
        vae.iwae(net, x, 0)


def test_importance_weights_average_to_the_likelihood(setting):
    model, net, x, _ = setting
    n = 400_000
    w = vae.log_weights(net, x, n, generator=generator(10)).detach().exp()
    z = (w.mean(0) - model.log_prob(x).detach().exp()) / (w.std(0) / n**0.5)
    assert (z.abs() < 4.5).all(), f"n={n}, z={z}"


def test_maximum_likelihood_is_principal_components():
    from sklearn.decomposition import PCA

    g = generator(11)
    x = torch.randn(500, 2, generator=g, dtype=F64) @ torch.randn(2, 6, generator=g, dtype=F64)
    x = x + 0.3 * torch.randn(500, 6, generator=g, dtype=F64) + 1
    model = vae.LinearGaussian.fit(x, 2)
    pca = PCA(2).fit(x.numpy())
    basis = torch.linalg.qr(model.weight.detach()).Q
    components = torch.tensor(pca.components_.T.copy())
    torch.testing.assert_close(basis @ basis.T, components @ components.T)
    values = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))
    assert float((2 * model.log_std).exp()) == pytest.approx(float(values[:-2].mean()))
    loss = model.log_prob(x).mean()
    assert max(float(g.abs().max()) for g in torch.autograd.grad(loss, list(model.parameters()))) < 1e-8
    with pytest.raises(ValueError, match=r"latent must lie in 1\.\.5, got 6"):
        vae.LinearGaussian.fit(x, 6)


def categorical_vae(groups=2, classes=3, d=6):
    torch.manual_seed(0)
    code = groups * classes
    decoder = nn.Sequential(nn.Linear(code, 7), nn.Tanh(), nn.Linear(7, d))
    return vae.CategoricalVAE(nn.Linear(d, code), decoder, bernoulli_log_prob, groups, classes).double()


def test_discrete_latents_against_enumeration():
    model = categorical_vae()
    x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=F64)] * 6)
    exact, bound = model.enumerate(x)
    assert float(exact.exp().sum().detach()) == pytest.approx(1.0, abs=1e-9)
    assert (bound <= exact + 1e-12).all() and (exact - bound).max() > 1e-3
    n, picked = 20_000, x[13:14]
    draws = model.elbo(picked.repeat(n, 1), 0.5, hard=True, generator=generator(12)).elbo
    z = float((draws.mean() - bound[13]) / (draws.std() / n**0.5))
    assert abs(z) < 4.5, f"n={n}, z={z:.2f}"
    # The lesson: relaxed codes give a number that is not this bound.
    soft = model.elbo(picked.repeat(n, 1), 2.0, generator=generator(12)).elbo
    assert abs(float((soft.mean() - bound[13]) / (soft.std() / n**0.5))) > 10


def test_discrete_bound_is_tight_with_the_true_posterior():
    model = categorical_vae(groups=1, classes=5)
    x = torch.randint(2, (1, 6), generator=generator(13)).double()
    codes = torch.eye(5, dtype=F64)
    posterior = torch.stack([model.likelihood(model.decoder(c[None]), x) for c in codes], 1).log_softmax(1).detach()
    model.encoder = nn.Linear(6, 5).double()
    with torch.no_grad():
        model.encoder.weight.zero_()
        model.encoder.bias.copy_(posterior[0])
    exact, bound = model.enumerate(x)
    torch.testing.assert_close(exact, bound)


def test_a_decoder_that_ignores_its_code_wants_no_information():
    """Posterior collapse, the control: with p(x|z) = p(x) the best q is the prior, KL 0."""
    mean = torch.randn(3, 2, dtype=F64, generator=generator(14), requires_grad=True)
    logvar = torch.randn(3, 2, dtype=F64, generator=generator(15), requires_grad=True)
    optimiser = torch.optim.Adam([mean, logvar], 0.1)
    for _ in range(300):
        optimiser.zero_grad()
        vae.gaussian_kl(mean, logvar).sum().backward()
        optimiser.step()
    assert float(vae.gaussian_kl(mean, logvar).sum().detach()) < 1e-4


def test_samples_come_from_the_prior(setting):
    _, net, *_ = setting
    net.register_parameter("anchor", nn.Parameter(torch.zeros(1, dtype=F64)))
    x = net.sample(50_000, generator=generator(16)).detach()
    want = net.decoder(torch.zeros(1, 2, dtype=F64)).detach()[0]
    assert ((x.mean(0) - want).abs() < 4.5 * x.std(0) / 50_000**0.5).all()


ID = nn.Identity()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: vae.VAE(ID, ID, bernoulli_log_prob, 0), "at least 1 dimension, got 0"),
        (lambda: vae.VAE(nn.Linear(3, 3), ID, bernoulli_log_prob, 2).posterior(torch.ones(5, 3)), "mean and logvar"),
        (lambda: vae.CategoricalVAE(ID, ID, bernoulli_log_prob, 1, 1), "classes >= 2, got 1 and 1"),
        (lambda: vae.CategoricalVAE(ID, ID, bernoulli_log_prob, 13, 2).enumerate(torch.ones(1, 26)), "8192 codes"),
        (lambda: vae.LinearGaussian(torch.ones(3, 2), torch.ones(2), 1.0), r"bias \(d,\); got \(3, 2\) and \(2,\)"),
        (
            lambda: vae.CategoricalVAE(nn.Linear(3, 5), ID, bernoulli_log_prob, 2, 3).posterior(torch.ones(4, 3)),
            r"logits \(4, 6\); got \(4, 5\)",
        ),
        (lambda: vae.LinearGaussian(torch.ones(2, 1), torch.ones(2), 0.0), "noise must be positive"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_units_are_nats_per_sample():
    """A decoder of fair coins pays log 2 a pixel."""
    net = vae.VAE(nn.Linear(4, 2), nn.Linear(1, 4), bernoulli_log_prob, 1).double()
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    bound = vae.elbo(net, torch.ones(3, 4, dtype=F64))
    torch.testing.assert_close(bound.elbo, torch.full((3,), -4 * math.log(2), dtype=F64))


# --- sabotage: what is wrong, the oracle that must notice, where, the text and what replaces it ----------------------

TWINS = {
    "half forgotten": (
        test_gaussian_kl_is_torchs_and_monte_carlo,
        vae.gaussian_kl,
        "logvar.exp() - 1 - logvar) / 2",
        "logvar.exp() - 1 - logvar)",
    ),
    "deviation for the variance": (
        test_marginal_likelihood_of_the_linear_model_is_a_gaussian,
        vae.LinearGaussian.log_prob,
        "(2 * self.log_std).exp()",
        "self.log_std.exp()",
    ),
    "spread of the code forgotten": (
        test_elbo_is_tight_exactly_at_the_posterior_and_the_gap_is_a_kl,
        vae.LinearGaussian.elbo,
        " + spread",
        "",
    ),
    "posterior as wide as M": (
        test_elbo_is_tight_exactly_at_the_posterior_and_the_gap_is_a_kl,
        vae.LinearGaussian.posterior,
        "precision_matrix=m / var",
        "precision_matrix=m",
    ),
    "free bits of each sample": (
        test_free_bits_take_the_maximum_after_the_batch_mean,
        vae.free_bits,
        "kl.mean(0, keepdim=True) <= floor",
        "kl <= floor",
    ),
    "noise of the largest eigenvalues": (
        test_maximum_likelihood_is_principal_components,
        vae.LinearGaussian.fit.__func__,
        "values[:-latent].mean()",
        "values[-latent:].mean()",
    ),
    "prior of a code forgotten": (
        test_discrete_latents_against_enumeration,
        vae.CategoricalVAE.enumerate,
        "each + log_prior, 1",
        "each, 1",
    ),
    "entropy for the divergence": (
        test_discrete_latents_against_enumeration,
        vae.CategoricalVAE.elbo,
        " + math.log(self.classes)",
        "",
    ),
    "code counted with its own weight": (
        test_discrete_bound_is_tight_with_the_true_posterior,
        vae.CategoricalVAE.enumerate,
        "each + log_prior - log_q",
        "each + log_prior",
    ),
    "divergence without a minimum at the prior": (
        test_a_decoder_that_ignores_its_code_wants_no_information,
        vae.gaussian_kl,
        "logvar.exp() - 1",
        "1.2 * logvar.exp() - 1",
    ),
}


@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
def test_oracle_notices(twin, notices):
    notices(*twin)


BOUND_TWINS = {
    "variance for the deviation": (
        test_sampled_elbo_and_its_gradient_meet_the_closed_form, vae.elbo, "(logvar / 2).exp()", "logvar.exp()"
    ),
    "sample cut from the encoder": (
        test_the_gradient_reaches_the_encoder_without_bias, vae.elbo, "model.decoder(z)", "model.decoder(z.detach())"
    ),
    "beta forgotten": (test_beta_and_free_bits_change_the_objective_only, vae.elbo, "beta * kl", "kl"),
    "logarithm inside the mean": (
        test_iwae_rises_with_k_to_the_exact_likelihood,
        vae.iwae,
        "log_mean_exp(log_weights(model, x, k, generator=generator), 0)",
        "log_weights(model, x, k, generator=generator).mean(0)",
    ),
    "proposal not divided out": (
        test_importance_weights_average_to_the_likelihood, vae.log_weights, "(joint - log_q)", "joint"
    ),
    "a shifted prior": (test_samples_come_from_the_prior, vae.VAE.sample, "random(torch", "1 + random(torch"),
}  # fmt: skip


@pytest.mark.parametrize("twin", BOUND_TWINS.values(), ids=BOUND_TWINS)
def test_oracle_of_the_bound_notices(twin, setting, notices):
    oracle, *change = twin
    notices(partial(oracle, setting), *change)
