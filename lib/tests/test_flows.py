"""Flows against the autograd Jacobian, quadrature and closed forms; every layer with random parameters."""

import math
from functools import partial

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn
from torch.distributions import Gamma, Independent, MultivariateNormal, StudentT, kl_divergence

from genmodels import flows, metrics
from genmodels.core import generator
from genmodels.flows import elementwise
from genmodels.nets import MLP

F64 = torch.float64


def randomised(module, scale=0.4, seed=0):
    g = generator(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(scale * torch.randn(p.shape, generator=g))
    return module.double()


def keep(*marks):
    return torch.tensor(marks, dtype=torch.bool)


class Field(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.net = MLP(d + 1, (9,), d, activation=nn.Tanh)

    def forward(self, x, t):
        return self.net(torch.cat([x, t[:, None]], 1))


def vector_layers():
    torch.manual_seed(0)
    affine, spline = flows.affine(), flows.spline(bins=5, bound=3.0)
    uneven = keep(True, False, True, True, False)
    yield "actnorm", flows.ActNorm(5)
    yield "permute", flows.Permute(5, torch.tensor([2, 0, 4, 1, 3]))
    yield "reverse", flows.Permute(5)
    yield "mixing", flows.Mixing(5, generator=generator(1))
    yield "planar", flows.Planar(5)
    yield "affine coupling", flows.Coupling(uneven, MLP(3, (7,), 4), affine)
    yield "affine coupling, front kept", flows.Coupling(keep(1, 1, 0, 0, 0), MLP(2, (7,), 6), affine)
    yield "affine coupling, back kept", flows.Coupling(keep(0, 0, 1, 1, 1), MLP(3, (7,), 4), affine)
    yield "spline coupling", flows.Coupling(uneven, MLP(3, (7,), 2 * spline.size), spline)
    yield "masked autoregressive", flows.MaskedAutoregressive(5, (11, 13), affine)
    yield "masked autoregressive spline", flows.MaskedAutoregressive(5, (11,), spline)
    yield "inverse autoregressive", flows.Inverse(flows.MaskedAutoregressive(5, (11, 13), affine))
    yield "cnf", flows.CNF(Field(5), steps=12)
    mixed = [flows.Coupling(uneven, MLP(3, (7,), 4), affine), flows.Permute(5), flows.Planar(5), flows.ActNorm(5)]
    yield "chain", flows.Chain(*mixed)


VECTORS = {name: randomised(layer).eval() for name, layer in vector_layers()}


def jacobian_logdet(f, x):
    """log|det| of the Jacobian of one sample's map, by autograd and a determinant: shares nothing with the layers."""
    rows = [torch.autograd.functional.jacobian(lambda v: f(v[None])[0].flatten(), one) for one in x]
    return torch.stack([torch.linalg.slogdet(j.reshape(j.shape[0], -1)).logabsdet for j in rows])


@pytest.mark.parametrize("name", VECTORS)
def test_round_trip_and_logdet_of_every_vector_layer(name):
    layer, x = VECTORS[name], 1.3 * torch.randn(4, 5, dtype=F64, generator=generator(2))
    tolerance = {"atol": 1e-6 if name == "cnf" else 1e-9, "rtol": 0}
    y, logdet = layer(x)
    assert logdet.shape == (4,) and y.shape == x.shape
    assert (y - x).abs().max() > 1e-3, "the test must not run on the identity"
    back, logdet_back = layer.inverse(y)
    torch.testing.assert_close(back, x, **tolerance)
    torch.testing.assert_close(logdet_back, -logdet, **tolerance)
    forth, _ = layer(layer.inverse(x)[0])
    torch.testing.assert_close(forth, x, **tolerance)
    torch.testing.assert_close(logdet, jacobian_logdet(lambda v: layer(v)[0], x), **tolerance)


WRONG_LOGDETS = {
    "sign": lambda logdet: -logdet,
    "summed over the batch": lambda logdet: logdet.sum().expand_as(logdet),
    "mean over dimensions": lambda logdet: logdet / 5,
    "exponential": lambda logdet: logdet.exp(),
}


@pytest.mark.parametrize("wrong", WRONG_LOGDETS)
def test_the_jacobian_oracle_sees_wrong_logdets(wrong):
    layer, x = VECTORS["affine coupling"], torch.randn(4, 5, dtype=F64, generator=generator(3))
    exact = jacobian_logdet(lambda v: layer(v)[0], x)
    assert (WRONG_LOGDETS[wrong](layer(x)[1]) - exact).abs().max() > 1e-2


def picture_layers():
    torch.manual_seed(1)
    yield "actnorm", flows.ActNorm(4), (4, 2, 6)
    yield "mixing", flows.Mixing(4, generator=generator(4)), (4, 2, 6)
    yield "squeeze", flows.Squeeze(), (3, 4, 2)
    yield "logit", flows.Inverse(flows.Logit(0.03)), (2, 3, 2)
    net = nn.Conv2d(2, 4, 3, padding=1)
    yield "coupling", flows.Coupling(keep(1, 0, 1, 0), net, flows.affine()), (4, 2, 3)
    yield "glow", flows.glow((1, 4, 8), levels=2, depth=1, width=5, generator=generator(5)).bijection, (1, 4, 8)


PICTURES = {name: (randomised(layer, 0.2).eval(), shape) for name, layer, shape in picture_layers()}


@pytest.mark.parametrize("name", PICTURES)
def test_round_trip_and_logdet_of_every_picture_layer(name):
    layer, shape = PICTURES[name]
    x = 0.7 * torch.randn(3, *shape, dtype=F64, generator=generator(6))
    y, logdet = layer(x)
    back, logdet_back = layer.inverse(y)
    torch.testing.assert_close(back, x, atol=1e-9, rtol=0)
    torch.testing.assert_close(logdet_back, -logdet, atol=1e-9, rtol=0)
    torch.testing.assert_close(logdet, jacobian_logdet(lambda v: layer(v)[0], x), atol=1e-9, rtol=0)


def test_mixing_is_h_w_log_det_and_reads_its_own_matrix():
    layer = PICTURES["mixing"][0]
    weight = layer.weight()
    x = torch.randn(3, 4, 2, 6, dtype=F64, generator=generator(7))
    y, logdet = layer(x)
    torch.testing.assert_close(logdet, (12 * torch.linalg.slogdet(weight).logabsdet).expand(3))
    torch.testing.assert_close(y, torch.nn.functional.conv2d(x, weight[..., None, None]))
    assert abs(float((logdet[0] - torch.linalg.slogdet(weight).logabsdet).detach())) > 0.1, (
        "once a pixel, not once a picture"
    )


def test_actnorm_starts_from_its_first_training_batch_and_only_that():
    layer = flows.ActNorm(3).double()
    x = 4 + 3 * torch.randn(50, 3, 4, 5, dtype=F64, generator=generator(8))
    layer.eval()
    torch.testing.assert_close(layer(x)[0], x)
    layer.train()
    y, _ = layer(x)
    flat = y.transpose(0, 1).flatten(1)
    torch.testing.assert_close(flat.mean(1), torch.zeros(3, dtype=F64), atol=1e-6, rtol=0)
    torch.testing.assert_close(flat.std(1, correction=0), torch.ones(3, dtype=F64), atol=1e-5, rtol=0)
    again, _ = layer(2 * x)
    assert float(again.detach().std()) > 1.5, "the second batch must not start it anew"


def test_a_loaded_actnorm_does_not_start_again():
    first, second = flows.ActNorm(3).double().train(), flows.ActNorm(3).double().train()
    x = 4 + 3 * torch.randn(50, 3, dtype=F64, generator=generator(8))
    first(x)
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(second(2 * x)[0], first(2 * x)[0])
    assert float(second(2 * x)[0].detach().std()) > 1.5


def test_the_order_is_turned_round_between_masked_layers():
    """One layer is triangular; after two every dimension depends on every other one, the first included."""
    x = torch.randn(9, 4, dtype=F64, generator=generator(26))

    def seen(layers):
        torch.manual_seed(3)
        f = randomised(flows.autoregressive_flow(4, layers, (16,))).bijection
        rows = [torch.autograd.functional.jacobian(lambda v: f(v[None])[0][0], one) for one in x]
        return torch.stack(rows).abs().amax(0) > 1e-9

    assert torch.equal(seen(1), torch.ones(4, 4).tril().bool())
    assert seen(2).all()


def test_planar_inner_product_stays_above_minus_one():
    torch.manual_seed(0)
    layer = flows.Planar(3)
    with torch.no_grad():
        layer.u.copy_(-9 * layer.w / layer.w.square().sum())
    w, u, _ = layer.parts()
    assert float((w * u).sum().detach()) > -1
    assert float((layer.w @ layer.u).detach()) < -1, "uncorrected, the map would fold"


@pytest.mark.parametrize("name", ["masked autoregressive", "masked autoregressive spline"])
def test_masked_autoregressive_jacobian_is_triangular(name):
    layer, points = VECTORS[name], torch.randn(9, 5, dtype=F64, generator=generator(9))
    j = torch.stack([torch.autograd.functional.jacobian(lambda v: layer(v[None])[0][0], x) for x in points])
    torch.testing.assert_close(j, j.tril(), atol=0, rtol=0)
    assert (j.diagonal(dim1=1, dim2=2) > 0).all()
    # Every earlier dimension is used somewhere: at one point alone its rectified units may all be off.
    assert (j.abs().amax(0) > 0).sum() == 15


@pytest.mark.parametrize("name", ["planar", "masked autoregressive", "spline coupling", "cnf"])
def test_gradients_flow_through_both_directions(name):
    layer, x = VECTORS[name], torch.randn(4, 5, dtype=F64, generator=generator(10))
    for direction in (layer.forward, layer.inverse):
        y, logdet = direction(x)
        grads = torch.autograd.grad((y.square().sum() + logdet.sum()), list(layer.parameters()))
        assert all(float(g.abs().max()) > 0 for g in grads)


def test_gradient_of_a_numerical_inverse_is_implicit():
    """Planar: the derivative of f^-1(y; theta) by finite differences."""
    layer, y = VECTORS["planar"], torch.randn(2, 5, dtype=F64, generator=generator(11))
    (got,) = torch.autograd.grad(layer.inverse(y)[0].sum(), layer.b)
    values = []
    for h in (1e-5, -1e-5):
        with torch.no_grad():
            layer.b.add_(h)
            values.append(float(layer.inverse(y)[0].sum()))
            layer.b.sub_(h)
    assert float(got) == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-6)


def test_spline_is_monotone_passes_its_knots_and_is_the_identity_outside():
    family = flows.spline(bins=6, bound=2.0)
    params = 2 * torch.randn(family.size, dtype=F64, generator=generator(12))
    x = torch.linspace(-3, 3, 1201, dtype=F64)
    y, log_slope = family.forward(x, params.expand(1201, -1))
    assert (y.diff() > 0).all()
    outside = x.abs() >= 2
    assert torch.equal(y[outside], x[outside]) and not log_slope[outside].any()
    slope = torch.autograd.functional.jacobian(lambda v: family.forward(v, params.expand(1201, -1))[0].sum(), x)
    torch.testing.assert_close(log_slope.exp()[~outside], slope[~outside])
    clip = lambda v: v / (1 + v.abs() / (math.log(1e3) / 2))
    widths, heights = (4 * clip(v).softmax(0) for v in (params[:6], params[6:12]))
    knots_x, knots_y = widths.cumsum(0)[:-1] - 2, heights.cumsum(0)[:-1] - 2
    torch.testing.assert_close(family.forward(knots_x, params.expand(5, -1))[0], knots_y)
    back, _ = family.inverse(y, params.expand(1201, -1))
    torch.testing.assert_close(back, x)


def test_zero_parameters_are_the_identity_for_both_families():
    x = torch.linspace(-4, 4, 33, dtype=F64)
    for family in (flows.affine(), flows.spline(4, 3.0)):
        y, log_slope = family.forward(x, torch.zeros(33, family.size, dtype=F64))
        torch.testing.assert_close(y, x)
        torch.testing.assert_close(log_slope, torch.zeros_like(x), atol=1e-12, rtol=0)


MODELS = {
    "real_nvp": lambda d: flows.real_nvp(d, 4, (16,)),
    "spline_flow": lambda d: flows.spline_flow(d, 4, (16,), bins=4),
    "coupling_flow": lambda d: flows.coupling_flow(d, flows.affine(1.5), 3, (16,)),
    "maf": lambda d: flows.autoregressive_flow(d, 2, (16,)),
    "iaf": lambda d: flows.inverse_autoregressive_flow(d, 2, (16,)),
    "cnf": lambda d: flows.Flow(flows.CNF(Field(d), steps=8), d),
}


def model(name, d, scale=0.1):
    torch.manual_seed(2)
    return randomised(MODELS[name](d), scale, seed=3).eval()


def mass_on_grid(log_prob, half=9.0, n=241):
    axis = torch.linspace(-half, half, n, dtype=F64)
    grid = torch.cartesian_prod(axis, axis)
    density = log_prob(grid).detach().exp().reshape(n, n)
    return axis, density


@pytest.mark.parametrize("name", MODELS)
def test_density_integrates_to_one_and_samples_follow_it(name):
    flow = model(name, 2)
    axis, density = mass_on_grid(flow.log_prob)
    assert float(torch.trapezoid(torch.trapezoid(density, axis), axis)) == pytest.approx(1.0, abs=5e-3)
    n, cells = 20_000, 4
    x = flow.sample(n, generator=generator(13))
    # Cells between grid lines next to the quartiles of either coordinate; their shares by quadrature.
    inner = torch.quantile(x, torch.linspace(0, 1, cells + 1, dtype=F64)[1:-1], 0)
    at = torch.searchsorted(axis, inner.T.contiguous())
    ends = [torch.cat([torch.tensor([0]), i, torch.tensor([len(axis) - 1])]) for i in at]
    cdf = torch.cumulative_trapezoid(torch.cumulative_trapezoid(density, axis, dim=0), axis, dim=1)
    cdf = nn.functional.pad(cdf, (1, 0, 1, 0))[ends[0]][:, ends[1]]
    shares = cdf.diff(dim=0).diff(dim=1).flatten()
    column, row = (torch.bucketize(v.contiguous(), axis[i]) for v, i in zip(x.T, at, strict=True))
    counts = (column * cells + row).bincount(minlength=cells**2)
    p = scipy.stats.chisquare(counts.numpy(), (n * shares / shares.sum()).numpy()).pvalue
    assert p > 1e-4, f"n={n}, chi-square p={p:.2g}"


@pytest.mark.parametrize("family", [flows.affine(1.5), flows.spline(5, 3.0)], ids=["affine", "spline"])
def test_samples_on_the_line_follow_the_integral_of_the_density(family):
    layers = [flows.MaskedAutoregressive(1, (4,), family) for _ in range(2)]
    flow, n = randomised(flows.Flow(flows.Chain(flows.Logit(0.1), *layers), 1), 0.3), 5_000
    points = torch.linspace(-0.1 / 0.8, 0.9 / 0.8, 4003, dtype=F64)[1:-1]  # all that Logit(0.1) can give back
    density = flow.log_prob(points[:, None]).detach().exp()
    cdf = torch.cumulative_trapezoid(density, points)
    assert float(cdf[-1]) == pytest.approx(1.0, abs=1e-3)
    x = flow.sample(n, generator=generator(25))[:, 0]
    p = scipy.stats.kstest(x.numpy(), lambda v: np.interp(v, points[1:].numpy(), cdf.numpy())).pvalue
    assert p > 1e-4, f"n={n}, Kolmogorov-Smirnov p={p:.2g}"


def test_a_lost_logdet_does_not_integrate_to_one():
    flow = model("real_nvp", 2)
    axis, density = mass_on_grid(lambda x: flow.base.log_prob(flow.bijection(x)[0]))
    assert abs(float(torch.trapezoid(torch.trapezoid(density, axis), axis)) - 1) > 0.02


@pytest.mark.parametrize("name", ["real_nvp", "maf"])
def test_density_integrates_to_one_in_five_dimensions(name):
    """Importance sampling from a heavy-tailed product; n and standard error in the message."""
    flow, n = model(name, 5, scale=0.05), 200_000
    wide = Independent(StudentT(torch.tensor(4.0, dtype=F64), torch.zeros(5, dtype=F64), 1.5), 1)
    torch.manual_seed(4)
    x = wide.sample((n,))
    with torch.no_grad():
        weight = (flow.log_prob(x) - wide.log_prob(x)).exp()
    error = float(weight.std()) / n**0.5
    assert abs(float(weight.mean()) - 1) < 4.5 * error, f"n={n}, se={error:.2g}"
    assert error < 0.05


@pytest.mark.parametrize("name", MODELS)
def test_log_prob_of_a_sample_is_the_same_in_both_directions(name):
    flow = model(name, 3)
    x, log_prob = flow.rsample_with_log_prob(6, generator=generator(14))
    torch.testing.assert_close(flow.log_prob(x), log_prob, atol=1e-6, rtol=0)
    assert not flow.sample(2).requires_grad and flow.rsample(2).requires_grad


def test_affine_flow_learns_a_gaussian_to_zero_divergence():
    torch.manual_seed(5)
    mean = torch.tensor([1.0, -2.0], dtype=F64)
    target = MultivariateNormal(mean, torch.tensor([[1.5, 0.9], [0.9, 1.0]], dtype=F64))
    flow = flows.Flow(flows.Chain(flows.Mixing(2, generator=generator(15)), flows.ActNorm(2)), 2).double().eval()
    optimiser = torch.optim.LBFGS(flow.parameters(), max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-12)
    # The exact cross-entropy of a Gaussian target under an affine flow needs two moments, no samples.
    second = target.covariance_matrix

    def loss():
        optimiser.zero_grad()
        z_mean, logdet = flow.bijection(mean[None])
        jac = torch.diag(flow.bijection.layers[1].log_scale.exp()) @ flow.bijection.layers[0].weight()
        quadratic = z_mean.square().sum() + torch.trace(jac @ second @ jac.T)
        value = quadratic / 2 + math.log(2 * math.pi) - logdet[0]
        value.backward()
        return value

    optimiser.step(loss)
    jac = torch.diag(flow.bijection.layers[1].log_scale.exp()) @ flow.bijection.layers[0].weight()
    inverse = torch.linalg.inv(jac.detach())
    at_zero = flow.bijection.inverse(torch.zeros(1, 2, dtype=F64))[0][0].detach()
    fitted = MultivariateNormal(at_zero, inverse @ inverse.T)
    assert float(kl_divergence(target, fitted)) < 1e-8


def test_dequantised_bound_lies_below_the_exact_mass_and_scales_by_levels():
    """A density on [0, 1) whose mass in each of 8 bins is known by quadrature."""
    torch.manual_seed(6)
    flow = flows.Flow(flows.Chain(flows.Logit(0.1), randomised(flows.ActNorm(1), 0.5)), 1).double().eval()
    levels, per_bin = 8, 2000
    x = torch.arange(levels)[:, None]
    fine = ((torch.arange(levels * per_bin, dtype=F64) + 0.5) / (levels * per_bin))[:, None]
    density = flow.log_prob(fine).detach().exp().reshape(levels, per_bin)
    exact = (density.mean(1) / levels).log()
    bound_mean = (density.log().mean(1)) - math.log(levels)
    n = 4000
    got = flows.dequantized_log_prob(flow, x.repeat(n, 1), levels, generator=generator(16)).detach().reshape(n, levels)
    error = got.std(0) / n**0.5
    assert ((got.mean(0) - bound_mean).abs() < 4.5 * error + 1e-9).all(), f"n={n}"
    assert (bound_mean < exact).all()
    many = flows.dequantized_log_prob(flow, x, levels, samples=500, generator=generator(17)).detach()
    assert ((many - bound_mean).abs() < 4.5 * got.std(0) / 500**0.5).all()


def test_bits_shift_by_eight_when_pixels_are_scaled_by_256():
    """The same distribution as a flow of pixel values and as one on [0, 1): 8 bits a dimension apart."""
    scale, unit = flows.ActNorm(6).double(), flows.Flow(randomised(flows.ActNorm(6)), 6).double().eval()
    with torch.no_grad():
        scale.log_scale.fill_(-math.log(256))
    pixels = flows.Flow(flows.Chain(scale, unit.bijection), 6).double().eval()
    u = torch.rand(5, 6, dtype=F64, generator=generator(18))
    shift = metrics.bits_per_dim(-pixels.log_prob(256 * u), 6) - metrics.bits_per_dim(-unit.log_prob(u), 6)
    torch.testing.assert_close(shift, torch.full((5,), 8.0, dtype=F64))
    x = (u * 256).long()
    got = flows.dequantized_log_prob(unit, x, 256, generator=generator(19))
    noise = torch.rand(5, 6, generator=generator(19), dtype=F64)
    torch.testing.assert_close(got, pixels.log_prob(x + noise))
    bits = metrics.bits_per_dim(-unit.log_prob((x + noise) / 256), 6, levels=256)
    torch.testing.assert_close(metrics.bits_per_dim(-got, 6), bits)


def test_variational_dequantisation_is_a_bound_and_can_be_tighter():
    """Noise that follows the density inside each bin closes the gap; here it is learnt in a hundred steps."""
    torch.manual_seed(7)
    data = flows.Flow(flows.Chain(flows.Logit(0.05), flows.ActNorm(1)), 1).double().eval()
    with torch.no_grad():
        data.bijection.layers[1].log_scale.fill_(1.2)
        data.bijection.layers[1].shift.fill_(1.0)
    levels, x = 2, torch.tensor([[0], [1]])
    noise = flows.Flow(flows.Chain(flows.Logit(0.01), Conditional(1)), 1).double()
    fine = ((torch.arange(20_000, dtype=F64) + 0.5) / 20_000)[:, None]
    exact = (data.log_prob(fine).detach().exp().reshape(2, -1).mean(1) / 2).log().sum()
    uniform = flows.dequantized_log_prob(data, x.repeat(4000, 1), levels).detach().mean() * 2
    optimiser = torch.optim.Adam(noise.parameters(), 0.05)
    for _ in range(150):
        optimiser.zero_grad()
        (-flows.dequantized_log_prob(data, x.repeat(64, 1), levels, noise=noise).mean()).backward()
        optimiser.step()
    draws = flows.dequantized_log_prob(data, x.repeat(4000, 1), levels, noise=noise).detach()
    learnt, error = draws.mean() * 2, draws.std() / 8000**0.5 * 2
    assert uniform + 0.05 < learnt < exact + 4.5 * error


class Conditional(flows.Bijection):
    """A scale and a shift per dimension that depend on the context."""

    def __init__(self, d):
        super().__init__()
        self.net, self.context_dim = MLP(d, (16,), 2 * d), d

    def forward(self, x, context=None):
        scale, shift = self.net(context).chunk(2, 1)
        return x * scale.exp() + shift, scale.sum(1)

    def inverse(self, y, context=None):
        scale, shift = self.net(context).chunk(2, 1)
        return (y - shift) * (-scale).exp(), -scale.sum(1)


def test_context_reaches_a_coupling():
    layer = randomised(flows.Coupling(keep(True, False), MLP(3, (7,), 2), flows.affine(), context=2))
    x, c = torch.randn(4, 2, dtype=F64), torch.randn(4, 2, dtype=F64)
    y, logdet = layer(x, c)
    assert (layer(x, c + 1)[1] - logdet).abs().min() > 1e-6
    torch.testing.assert_close(layer.inverse(y, c)[0], x)


def test_hutchinson_is_unbiased_for_the_exact_divergence():
    net, n = randomised(Field(4)), 20_000
    x = torch.randn(1, 4, dtype=F64, generator=generator(20)).expand(n, 4)
    t = torch.full((n,), 0.3, dtype=F64)
    field = lambda v: net(v, t[: len(v)])
    _, exact = flows.exact_divergence(field, x[:1])
    j = torch.autograd.functional.jacobian(lambda v: field(v[None])[0], x[0])
    torch.testing.assert_close(exact[0], j.trace())
    probe = torch.randint(2, (n, 4), generator=generator(21)).double() * 2 - 1
    _, draws = flows.hutchinson_divergence(field, x, probe)
    error = draws.std() / n**0.5
    assert abs(float((draws.mean() - exact[0]).detach())) < 4.5 * float(error.detach()), f"n={n}"
    _, square = flows.hutchinson_divergence(field, x[:1], torch.ones(1, 4, dtype=F64))
    assert abs(float((square[0] - exact[0]).detach())) > 1e-3, "one fixed probe is not the trace"


def test_cnf_of_a_linear_field_is_the_matrix_exponential_and_converges_at_order_four():
    a = torch.tensor([[0.3, -1.1], [0.7, -0.2]], dtype=F64)

    class Linear(nn.Module):
        def forward(self, x, t):  # noqa: ARG002
            return x @ a.T

    x, errors = torch.randn(3, 2, dtype=F64, generator=generator(22)), []
    exact = x @ torch.linalg.matrix_exp(a).T
    for steps in (4, 8, 16):
        y, logdet = flows.CNF(Linear(), steps=steps)(x)
        errors.append(float((y - exact).detach().abs().max()))
        torch.testing.assert_close(logdet, a.trace().expand(3))
    orders = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert all(3.8 < order < 4.3 for order in orders), orders
    back, _ = flows.CNF(Linear(), steps=16).inverse(exact)
    torch.testing.assert_close(back, x, atol=1e-5, rtol=0)


def test_cnf_meets_torchdiffeq():
    from torchdiffeq import odeint

    net, x = randomised(Field(3)), torch.randn(4, 3, dtype=F64, generator=generator(23))
    with torch.no_grad():
        y, _ = flows.CNF(net, steps=40)(x)
        times = torch.tensor([0.0, 1.0], dtype=F64)
        theirs = odeint(lambda t, v: net(v, t.expand(len(v))), x, times, rtol=1e-10, atol=1e-12)[-1]
    torch.testing.assert_close(y, theirs, atol=1e-7, rtol=0)


def test_hutchinson_flow_has_the_exact_flows_density_on_average():
    net, x = randomised(Field(2)), torch.randn(1, 2, dtype=F64, generator=generator(24))
    torch.manual_seed(8)
    n = 4000
    with torch.no_grad():
        exact = flows.CNF(net, steps=6)(x)[1]
        draws = flows.CNF(net, steps=6, probe=flows.rademacher(generator(5)))(x.expand(n, 2))[1]
    assert abs(float(draws.mean() - exact)) < 4.5 * float(draws.std()) / n**0.5, f"n={n}"


def test_a_base_of_torch_can_be_anything():
    skewed = lambda: Independent(Gamma(torch.tensor([2.0, 3.0], dtype=F64), 1.0), 1)
    layer = randomised(flows.ActNorm(2)).eval()
    flow = flows.Flow(layer, skewed)
    x = flow.rsample(5)
    z, logdet = layer(x)
    torch.testing.assert_close(flow.log_prob(x), skewed().log_prob(z) + logdet)
    with pytest.raises(ValueError, match="global random state"):
        flow.rsample(5, generator=generator(0))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: flows.Chain(), "at least one layer"),
        (lambda: flows.Permute(3, torch.tensor([0, 0, 2])), r"permutation of 0\.\.2"),
        (lambda: flows.Coupling(keep(1, 1), nn.Identity(), flows.affine()), "some channels, not all"),
        (lambda: flows.affine(0), "must be positive, got 0"),
        (lambda: flows.spline(1), "bins >= 2"),
        (lambda: flows.spline(8, slope=1.2), "must lie in"),
        (lambda: flows.MaskedAutoregressive(3, (), flows.affine()), "at least one hidden layer"),
        (lambda: flows.real_nvp(1), "d >= 2"),
        (lambda: flows.autoregressive_flow(3, 0), "at least 1 layer"),
        (lambda: flows.glow((1, 6, 8), levels=2), "divisible by 4, got 6 x 8"),
        (lambda: flows.Squeeze()(torch.ones(1, 1, 3, 4)), "must be even"),
        (lambda: flows.Logit(0.5), "must lie in"),
        (lambda: flows.MultiScale([], (1, 2, 2)), "at least one level"),
        (lambda: flows.MultiScale([flows.Squeeze()], (1, 2, 2))(torch.ones(1, 1, 4, 4)), "expected pictures of shape"),
        (lambda: flows.CNF(nn.Identity(), steps=0), "at least 1 step"),
        (lambda: flows.ActNorm(2)(torch.ones(1, 2)), "at least 2 samples, got 1"),
        (lambda: flows.dequantized_log_prob(flows.real_nvp(2), torch.tensor([[0, 256]])), r"0\.\.255, got 0\.\.256"),
        (lambda: flows.dequantized_log_prob(flows.real_nvp(2), torch.tensor([[0, 2]]), samples=0), "at least 1 draw"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# --- sabotage: what is wrong, the oracle that must notice, where, the text and what replaces it ----------------------

TWINS = {
    "once a picture": (
        partial(test_round_trip_and_logdet_of_every_picture_layer, "actnorm"),
        flows.ActNorm.forward,
        "_pixels(x) * self",
        "self",
    ),
    "once a picture, mixed": (
        test_mixing_is_h_w_log_det_and_reads_its_own_matrix,
        flows.Mixing.forward,
        "_pixels(x) * self",
        "self",
    ),
    "shift before the scale": (
        test_actnorm_starts_from_its_first_training_batch_and_only_that,
        flows.ActNorm._start,
        " * self.log_scale.exp()",
        "",
    ),
    "started anew each time": (
        test_actnorm_starts_from_its_first_training_batch_and_only_that,
        flows.ActNorm.forward,
        " and not self._started:\n        if not self.ready:",
        ":\n        if True:",
    ),
    "map that folds": (
        test_planar_inner_product_stays_above_minus_one,
        flows.Planar.parts,
        "return w, u + ",
        "return w, u + 0 * ",
    ),
    "slope of the bend lost": (
        partial(test_round_trip_and_logdet_of_every_vector_layer, "planar"),
        flows.Planar.forward,
        "(1 - h.square()) * ",
        "",
    ),
    "root without a gradient": (
        test_gradient_of_a_numerical_inverse_is_implicit,
        flows.Planar.inverse,
        "a = a - (a + gain",
        "a = a - 0 * (a + gain",
    ),
    "layers undone in the order of doing": (
        partial(test_round_trip_and_logdet_of_every_vector_layer, "chain"),
        flows.Chain.inverse,
        "reversed(self.layers)",
        "self.layers",
    ),
    "curvature of the spline lost": (
        test_spline_is_monotone_passes_its_knots_and_is_the_identity_outside,
        elementwise._rational,
        "2 * slope * cross + ",
        "slope * cross + ",
    ),
    "log-determinant with the wrong sign": (
        partial(test_density_integrates_to_one_and_samples_follow_it, "real_nvp"),
        flows.Flow.log_prob,
        "+ logdet",
        "- logdet",
    ),
    "twice as steep on the way back": (
        partial(test_samples_on_the_line_follow_the_integral_of_the_density, flows.affine(1.5)),
        flows.Logit.inverse,
        "torch.sigmoid(y) - self.margin",
        "torch.sigmoid(2 * y) - self.margin",
    ),
    "drawn from another half": (
        partial(test_density_integrates_to_one_and_samples_follow_it, "spline_flow"),
        flows.Coupling.inverse,
        "self.family.inverse)",
        "self.family.forward)",
    ),
    "log-determinant forgotten": (
        partial(test_density_integrates_to_one_in_five_dimensions, "maf"),
        flows.Flow.log_prob,
        " + logdet",
        "",
    ),
    "density of a sample with the wrong sign": (
        partial(test_log_prob_of_a_sample_is_the_same_in_both_directions, "iaf"),
        flows.Flow.rsample_with_log_prob,
        "- logdet",
        "+ logdet",
    ),
    "shift undone after the scale": (
        test_affine_flow_learns_a_gaussian_to_zero_divergence,
        flows.ActNorm.inverse,
        "(y - shift) * scale",
        "y * scale - shift",
    ),
    "volume of a level lost": (
        test_dequantised_bound_lies_below_the_exact_mass_and_scales_by_levels,
        flows.dequantized_log_prob,
        " - x[0].numel() * math.log(levels)",
        "",
    ),
    "levels forgotten in the noise": (
        test_bits_shift_by_eight_when_pixels_are_scaled_by_256,
        flows.dequantized_log_prob,
        "context + u / levels",
        "context + u",
    ),
    "noise at no cost": (
        test_variational_dequantisation_is_a_bound_and_can_be_tighter,
        flows.dequantized_log_prob,
        " - log_q",
        "",
    ),
    "probe once": (
        test_hutchinson_is_unbiased_for_the_exact_divergence,
        flows.hutchinson_divergence,
        "pulled * probe",
        "pulled",
    ),
    "middle slopes once": (
        test_cnf_of_a_linear_field_is_the_matrix_exponential_and_converges_at_order_four,
        flows.CNF._solve,
        "(f1 + 2 * f2 + 2 * f3 + f4)",
        "(f1 + f2 + f3 + f4) * 1.5",
    ),
    "time stands still": (test_cnf_meets_torchdiffeq, flows.CNF._solve, "t = start + i * dt", "t = start"),
    "pulled back twice": (
        test_hutchinson_flow_has_the_exact_flows_density_on_average,
        flows.hutchinson_divergence,
        "pulled * probe",
        "pulled * pulled",
    ),
    "context unread": (
        test_context_reaches_a_coupling,
        flows.Coupling._map,
        "self._everywhere(context, passed)",
        "self._everywhere(0 * context, passed)",
    ),
}


@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
def test_oracle_notices(twin, notices):
    notices(*twin)
