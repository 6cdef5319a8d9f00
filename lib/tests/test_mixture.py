"""The perfect denoisers against torch.distributions, autograd and quadrature; each oracle has its sabotage twins."""

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from coursekit import checks
from genmodels.core import generator
from genmodels.schedule import cosine, edm, linear_vp, rectified
from genmodels.toy import EmpiricalDenoiser, GaussianMixture, face, grid

PATHS = (rectified, cosine, linear_vp, edm)


def some_mixture(k=4, d=3, seed=0):
    g = generator(seed)
    a = torch.randn(k, d, d, generator=g, dtype=torch.float64) * 0.5
    covs = a @ a.mT + 0.04 * torch.eye(d, dtype=torch.float64)
    weights = torch.rand(k, generator=g, dtype=torch.float64) + 0.2
    return GaussianMixture(weights, torch.randn(k, d, generator=g, dtype=torch.float64), covs)


def points(n, d=3, seed=1):
    return 1.5 * torch.randn(n, d, generator=generator(seed), dtype=torch.float64)


def torchs(m, alpha, sigma):
    """The noised marginal, built by torch from the definition of x_t."""
    d = m.means.shape[1]
    covs = alpha**2 * m.covs + sigma**2 * torch.eye(d, dtype=torch.float64)
    return MixtureSameFamily(Categorical(m.weights), MultivariateNormal(alpha * m.means, covs))


LEVELS = [(1.0, 0.0), (0.9, 0.3), (0.2, 1.7), (1.0, 40.0)]


def density_is_torchs():
    m, x = some_mixture(), points(7)
    for alpha, sigma in LEVELS:
        checks.close(m.log_prob(x, alpha, sigma), torchs(m, alpha, sigma).log_prob(x), "log_prob", atol=1e-9)
    alpha, sigma = torch.rand(2, 7, dtype=torch.float64, generator=generator(2)) + 0.1
    rows = [torchs(m, alpha[i], sigma[i]).log_prob(x[i]) for i in range(7)]
    checks.close(m.log_prob(x, alpha, sigma), torch.stack(rows), "log_prob with a level for each sample", atol=1e-9)


def numbers_for_covariances_are_standard_deviations():
    w, mean, std = (
        torch.tensor(v, dtype=torch.float64) for v in ([1.0, 2.0], [[0.0, 1.0, 0.3], [1.0, -1, 0.5]], [0.3, 2.0])
    )
    whole = GaussianMixture(w, mean, torch.stack([s**2 * torch.eye(3, dtype=torch.float64) for s in std]))
    m, x = GaussianMixture(w, mean, std), points(7)
    checks.close(m.log_prob(x), whole.log_prob(x), "log_prob", atol=1e-10)
    gap = m.component(1).sample(20000, generator=generator(7))[0] - mean[1]
    checks.unbiased(gap**2, torch.full((3,), 4.0), "variance of a component")


def score_is_the_gradient():
    m, x = some_mixture(), points(7)
    for alpha, sigma in LEVELS:
        want = checks.grad(lambda y, a=alpha, s=sigma: torchs(m, a, s).log_prob(y).sum(), x)
        checks.close(m.score(x, alpha, sigma), want, "score", atol=1e-9)


def denoiser_is_the_posterior_mean():
    """E[x_0 | x_t] by quadrature over x_0 on the line, for two points and three levels."""
    m = GaussianMixture(torch.tensor([1.0, 3.0]), torch.tensor([[-1.0], [0.8]]), torch.tensor([0.3, 0.2]))
    m = GaussianMixture(m.weights.double(), m.means.double(), m.covs.double())
    x0 = torch.linspace(-6, 6, 40001, dtype=torch.float64)
    prior = m.log_prob(x0[:, None])
    for alpha, sigma in [(0.9, 0.3), (0.3, 0.9), (1.0, 2.0)]:
        for x in (-0.7, 0.4):
            w = (prior - 0.5 * ((x - alpha * x0) / sigma) ** 2).softmax(0)
            got = m.denoise(torch.tensor([[x]], dtype=torch.float64), alpha, sigma)
            checks.close(got.squeeze(), (w * x0).sum(), "E[x_0 | x_t]", atol=1e-8)
    m, x = some_mixture(), points(5)  # and by Tweedie's formula where there are several dimensions
    want = (x + 0.6**2 * checks.grad(lambda y: torchs(m, 0.8, 0.6).log_prob(y).sum(), x)) / 0.8
    checks.close(m.denoise(x, 0.8, 0.6), want, "E[x_0 | x_t]", atol=1e-8)


def velocity_is_the_mean_of_its_conditionals():
    """E[d x_t / dt | x_t] by self-normalised sums over x_0 on a grid."""
    m = GaussianMixture(
        torch.tensor([1.0, 2.0]).double(), torch.tensor([[-1.0], [1.2]]).double(), torch.tensor([0.3, 0.5]).double()
    )
    x0 = torch.linspace(-7, 7, 40001, dtype=torch.float64)
    for make in PATHS:
        p = make()
        for fraction in (0.1, 0.6):
            t = fraction * p.t_max if p.t_max == 1 else fraction
            q, h, x = p.at(t), 1e-5, 0.3
            w = (m.log_prob(x0[:, None]) - 0.5 * ((x - q.alpha * x0) / q.sigma) ** 2).softmax(0)
            eps = (x - q.alpha * x0) / q.sigma
            along = lambda t, eps=eps, p=p: p.at(t).alpha * x0 + p.at(t).sigma * eps
            want = (w * (along(t + h) - along(t - h)) / (2 * h)).sum()
            got = m.velocity(p)(torch.tensor([[x]], dtype=torch.float64), t)
            checks.close(got.squeeze(), want, f"velocity on {p.name}", atol=1e-6)


def samples_follow_the_mixture():
    m = some_mixture()
    x, label = m.sample(20000, generator=generator(3))
    checks.distributed(label, m.weights, "components")
    for k in range(4):
        own = x[label == k]
        checks.unbiased(own, m.means[k], f"mean of component {k}")
        centred = own - m.means[k]
        checks.unbiased(centred[:, :, None] * centred[:, None], m.covs[k], f"covariance of component {k}")


def flow_carries_the_density():
    """Gaussian to Gaussian in closed form: along the flow the whitened coordinates stay, m(t) + C(t)^(1/2) z."""
    m = some_mixture(k=1)
    for make in (rectified, cosine, edm):
        p = make()
        t, s = (0.8 * p.t_max, 0.1) if p.t_max == 1 else (9.0, 0.1)
        x = p.at(t).sigma * points(3)
        root = lambda q, e=m.variances[0]: (q.alpha**2 * e + q.sigma**2).sqrt()
        z = ((x - p.at(t).alpha * m.means[0]) @ m.axes[0]) / root(p.at(t))
        want = p.at(s).alpha * m.means[0] + (root(p.at(s)) * z) @ m.axes[0].T
        checks.close(m.flow(x, p, t, s), want, f"flow on {p.name}", atol=1e-8)


def flow_follows_the_velocity():
    """The flow asks the schedule for its two ends: its slope in t must still be the velocity."""
    m, h = some_mixture(), 1e-4
    for make in (rectified, cosine, edm):
        p = make()
        t = 0.5 * p.t_max if p.t_max == 1 else 2.0
        x = p.at(t).alpha * m.means[:3] + p.at(t).sigma * points(3)
        slope = (m.flow(x, p, t, t + h) - m.flow(x, p, t, t - h)) / (2 * h)
        checks.close(slope, m.velocity(p)(x, t), f"slope of the flow on {p.name}", atol=1e-5)


def test_the_flow_turns_back():
    m, x, p = some_mixture(), points(3), rectified()
    checks.close(m.flow(m.flow(x, p, 1.0, 0.2), p, 0.2, 1.0), x, "there and back", atol=1e-6)


def empirical_is_the_posterior_mean():
    data = points(6, 10, seed=4).reshape(6, 2, 5)
    e, x = EmpiricalDenoiser(data), points(3, 10, seed=5).reshape(3, 2, 5)
    for alpha, sigma in [(0.9, 0.5), (0.2, 1.3)]:
        want = torch.zeros_like(x)
        for i in range(3):
            likelihood = torch.stack([torch.distributions.Normal(alpha * p, sigma).log_prob(x[i]).sum() for p in data])
            want[i] = torch.einsum("n,nij->ij", likelihood.exp() / likelihood.exp().sum(), data)
        checks.close(e.denoise(x, alpha, sigma), want, "the empirical denoiser", atol=1e-10)
    # a mixture of points without width is the same model
    m = GaussianMixture(torch.ones(6).double(), data.flatten(1), torch.zeros(6).double())
    checks.close(m.denoise(x.flatten(1), 0.9, 0.5), e.denoise(x, 0.9, 0.5).flatten(1), "zero width", atol=1e-10)
    checks.close(e.denoise(0.9 * data, 0.9, 1e-6), data, "with little noise the data themselves", atol=1e-9)


ORACLES = [
    density_is_torchs,
    numbers_for_covariances_are_standard_deviations,
    score_is_the_gradient,
    denoiser_is_the_posterior_mean,
    velocity_is_the_mean_of_its_conditionals,
    samples_follow_the_mixture,
    flow_carries_the_density,
    flow_follows_the_velocity,
    empirical_is_the_posterior_mean,
]


@pytest.mark.parametrize("oracle", ORACLES)
def test_mixture(oracle):
    oracle()


G, E = GaussianMixture, EmpiricalDenoiser
SABOTAGE = [
    (density_is_torchs, G._parts, "alpha**2 * variances", "alpha * variances"),
    (density_is_torchs, G._parts, "var.log() + ", "2 * var.log() + "),
    (density_is_torchs, G._parts, "weights.log() + log_normal", "log_normal"),
    (density_is_torchs, G._parts, "sigma**2", "sigma"),
    (numbers_for_covariances_are_standard_deviations, G.__init__, "covs.square()[:", "covs[:"),
    (score_is_the_gradient, G.score, "return -", "return "),
    (score_is_the_gradient, G.score, "bkj,kdj->bd", "bkd,kdj->bj"),
    (score_is_the_gradient, G.score, "offset / var", "offset"),
    (denoiser_is_the_posterior_mean, G.denoise, "alpha * self.variances", "self.variances"),
    (denoiser_is_the_posterior_mean, G.denoise, "self.means.to(x) + shift", "self.means.to(x) - shift"),
    (velocity_is_the_mean_of_its_conditionals, G.velocity, "-p.sigma", "p.sigma"),
    (velocity_is_the_mean_of_its_conditionals, G.velocity, "p.rates[1], x", "p.rates[0], x"),
    (samples_follow_the_mixture, G.sample, ".sqrt()", ""),
    (samples_follow_the_mixture, G.sample, "ndj,nj->nd", "njd,nj->nd"),
    (samples_follow_the_mixture, G.sample, "self.weights.log()", "self.weights"),
    (flow_carries_the_density, G.flow, "(start, stop)", "(stop, start)"),
    (flow_carries_the_density, G.flow, "r_1 * torch", "torch"),
    (flow_follows_the_velocity, G.flow, "(start, stop)", "(stop, start)"),
    (flow_follows_the_velocity, G.flow, "+ c * self", "+ self"),
    (flow_follows_the_velocity, G.flow, ".double() / r_0)", ".double())"),
    (empirical_is_the_posterior_mean, E.posterior, "sigma**2", "sigma"),
    (empirical_is_the_posterior_mean, E.posterior, "alpha**2 * ", ""),
]


@pytest.mark.parametrize(("oracle", "where", "old", "new"), SABOTAGE)
def test_oracle_notices(edit, oracle, where, old, new):
    edit(where, old, new)
    with pytest.raises(AssertionError):
        oracle()


def test_float_times_and_tensor_times_agree():
    m, x = some_mixture(), points(5)
    e = EmpiricalDenoiser(points(4))
    for field in (m.denoiser(cosine()), m.velocity(cosine()), e.denoiser(cosine())):
        t = torch.full((5,), 0.3, dtype=torch.float64)
        checks.close(field(x, t), field(x, 0.3), "one time for all", atol=1e-12)
        assert not torch.allclose(field(x, 0.3), field(x, 0.5))
        assert field(x.float(), 0.3).dtype == torch.float32
        assert all(v.isfinite().all() for v in (field(x, 0.0), field(x, 1.0)))


def test_parts_of_the_whole():
    m, x = some_mixture(), points(6)
    checks.close(m.responsibilities(x, 0.7, 0.4).sum(1), torch.ones(6).double(), "responsibilities")
    whole = sum(w * m.component(k).log_prob(x, 0.7, 0.4).exp() for k, w in enumerate(m.weights))
    checks.close(m.log_prob(x, 0.7, 0.4).exp(), whole, "the sum of the components")
    want = m.weights[2] * m.component(2).log_prob(x, 0.7, 0.4).exp() / whole
    checks.close(m.responsibilities(x, 0.7, 0.4)[:, 2], want, "Bayes' rule")
    line = GaussianMixture(torch.ones(2).double(), torch.tensor([[-1.0], [1.0]]).double(), torch.ones(2).double() / 2)
    grid = torch.linspace(-12, 12, 4001, dtype=torch.float64)[:, None]
    checks.normalised(lambda x: line.log_prob(x, 0.6, 0.8), grid, "the noised density", cell=24 / 4000)


def test_bad_input_is_named():
    w, mean = torch.ones(2), torch.zeros(2, 3)
    for args, words in [
        ((torch.ones(3), mean, torch.ones(2)), "2 positive weights"),
        ((torch.tensor([1.0, 0.0]), mean, torch.ones(2)), "positive weights"),
        ((w, mean, torch.ones(2, 2, 2)), r"covs must be \(2,\) or \(2, 3, 3\)"),
        ((w, mean, -torch.eye(3).expand(2, 3, 3)), "negative eigenvalue"),
    ]:
        with pytest.raises(ValueError, match=words):
            GaussianMixture(*args)
    m, e = GaussianMixture(w, mean, torch.ones(2)), EmpiricalDenoiser(torch.zeros(5, 3))
    for x in (torch.zeros(4, 2), torch.zeros(3), torch.zeros(4, 3, dtype=torch.long)):
        with pytest.raises(ValueError, match=r"points \(b, 3\) in floating point; got"):
            m.log_prob(x)
    with pytest.raises(ValueError, match=r"shape \(3,\); got a batch \(4, 2\)"):
        e.denoise(torch.zeros(4, 2), 1.0, 0.5)
    with pytest.raises(ValueError, match="at least one point"):
        EmpiricalDenoiser(torch.zeros(0, 2))


def test_the_face_is_symmetric_and_lies_in_the_frame():
    f, mirror = face(), torch.tensor([-1.0, 1.0], dtype=torch.float64)
    x = points(50, 2)
    assert torch.allclose(f.log_prob(x), f.log_prob(x * mirror), rtol=0, atol=1e-9)
    cells, area = grid(3.0, 300)
    assert abs(float(f.log_prob(cells).exp().sum() * area) - 1) < 1e-3
    eye, nose = torch.tensor([[1.15, 1.3], [0.0, 0.0]], dtype=torch.float64)
    assert f.log_prob(eye[None]) > f.log_prob(nose[None]) + 5
