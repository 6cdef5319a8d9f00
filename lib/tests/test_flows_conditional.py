"""Conditional flows of every family, and flows at the ends of their domain."""

import math

import pytest
import torch
from torch import nn

from genmodels import flows
from genmodels.core import generator
from genmodels.nets import MLP

F64 = torch.float64


class Field(nn.Module):
    """A smooth field of (x, t, context)."""

    def __init__(self, d, context):
        super().__init__()
        self.net = MLP(d + 1 + context, (16,), d, activation=nn.Tanh)

    def forward(self, x, t, context=None):
        told = [] if context is None else [context]
        return self.net(torch.cat([x, t[:, None], *told], 1))


def planar(d, context):
    return flows.Flow(flows.Inverse(flows.Planar(d, context=context)), d)


FAMILIES = {
    "real_nvp": lambda d, c: flows.real_nvp(d, 3, (8,), context=c),
    "spline": lambda d, c: flows.spline_flow(d, 3, (8,), bins=4, context=c),
    "maf": lambda d, c: flows.autoregressive_flow(d, 2, (9,), context=c),
    "maf of splines": lambda d, c: flows.autoregressive_flow(d, 2, (9,), family=flows.spline(4), context=c),
    "iaf": lambda d, c: flows.inverse_autoregressive_flow(d, 2, (9,), context=c),
    "planar": planar,
    "cnf": lambda d, c: flows.Flow(flows.CNF(Field(d, c), steps=8, context=c), d),
}
every_family = pytest.mark.parametrize("name", FAMILIES)


def randomised(model, seed=0):
    with torch.no_grad():
        for p in model.double().parameters():
            p.copy_(0.6 * torch.randn(p.shape, generator=generator(seed), dtype=F64))
            seed += 1
    return model


@every_family
def test_each_context_has_its_own_density_that_integrates_to_one(name):
    flow = randomised(FAMILIES[name](2, 3))
    n, limit = 300, 12.0
    axis = torch.linspace(-limit, limit, n, dtype=F64)
    points = torch.cartesian_prod(axis, axis)
    totals, peaks = [], []
    for seed in (1, 2):
        context = torch.randn(1, 3, generator=generator(seed), dtype=F64)
        with torch.no_grad():
            density = flow.log_prob(points, context.expand(len(points), -1)).exp()
        totals.append(float(density.sum()) * (2 * limit / (n - 1)) ** 2)
        peaks.append(density)
    assert totals == pytest.approx([1, 1], abs=5e-3)
    assert (peaks[0] - peaks[1]).abs().max() > 1e-3, "the context changes nothing"


@every_family
def test_a_row_of_the_batch_reads_its_own_context_and_both_ways_agree(name):
    flow = randomised(FAMILIES[name](3, 2))
    x, context = (
        torch.randn(5, 3, generator=generator(3), dtype=F64),
        torch.randn(5, 2, generator=generator(4), dtype=F64),
    )
    y, logdet = flow.bijection(x, context)
    back, opposite = flow.bijection.inverse(y, context)
    atol = 1e-3 if name == "cnf" else 1e-7
    torch.testing.assert_close(back, x, atol=atol, rtol=0)
    torch.testing.assert_close(opposite, -logdet, atol=atol, rtol=0)
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(flow.log_prob(x[order], context[order]), flow.log_prob(x, context)[order])
    moved = context.clone()
    moved[2] += 1
    change = (flow.log_prob(x, moved) - flow.log_prob(x, context)).abs()
    assert float(change[2]) > 1e-6 and float(change[[0, 1, 3, 4]].max()) < 1e-12
    for i in range(5):
        jacobian = torch.autograd.functional.jacobian(
            lambda v, i=i: flow.bijection(v[None], context[i : i + 1])[0][0], x[i]
        )
        assert float(jacobian.det().abs().log()) == pytest.approx(float(logdet[i].detach()), abs=atol)


@every_family
def test_every_number_of_the_context_reaches_every_dimension_that_may_read_it(name):
    flow = randomised(FAMILIES[name](3, 2))
    x, context = torch.randn(1, 3, generator=generator(5), dtype=F64), torch.zeros(1, 2, dtype=F64)
    jacobian = torch.autograd.functional.jacobian(lambda c: flow.bijection(x, c)[0][0], context)
    assert (jacobian.abs() > 1e-9).all()


@every_family
def test_samples_follow_their_context(name):
    flow = randomised(FAMILIES[name](2, 1))
    context = torch.tensor([[-1.0], [1.0]], dtype=F64).repeat_interleave(4000, 0)
    x, log_p = flow.rsample_with_log_prob(8000, context, generator=generator(6))
    torch.testing.assert_close(log_p, flow.log_prob(x, context), atol=1e-3, rtol=1e-3)
    assert torch.equal(flow.sample(8000, context, generator=generator(6)), x.detach())


@every_family
def test_a_context_is_never_dropped_and_never_missing(name):
    plain, told = FAMILIES[name](2, 0), FAMILIES[name](2, 3)
    x, context = torch.zeros(4, 2), torch.zeros(4, 3)
    for call in (
        lambda c: plain.log_prob(x, c),
        lambda c: plain.sample(4, c),
        lambda c: plain.rsample_with_log_prob(4, c),
    ):
        with pytest.raises(ValueError, match="no layer of this flow reads a context"):
            call(context)
    with pytest.raises(ValueError, match=r"give a context \(4, 3\)"):
        told.log_prob(x)
    with pytest.raises(ValueError, match=r"expected a context \(4, 3\), got \(4, 2\)"):
        told.log_prob(x, context[:, :2])
    with pytest.raises(ValueError, match=r"expected a context \(5, 3\)"):
        told.sample(5, context)


def test_glow_reads_a_context_at_every_pixel():
    flow = randomised(flows.glow((1, 4, 4), 2, 1, 6, context=3).eval())
    x, context = torch.randn(2, 1, 4, 4, generator=generator(7), dtype=F64), torch.randn(2, 3, dtype=F64)
    y, logdet = flow.bijection(x, context)
    back, opposite = flow.bijection.inverse(y, context)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(opposite, -logdet)
    jacobian = torch.autograd.functional.jacobian(lambda c: flow.bijection(x, c)[0], context)
    assert (jacobian[0, :, 0].abs().sum(0) > 0).all() and not jacobian[0, :, 1].any()


def test_a_probe_can_be_seeded_and_be_any():
    probe = flows.rademacher(generator(8))(torch.zeros(2000, 3, dtype=F64))
    assert (probe.abs() == 1).all() and abs(float(probe.mean())) < 4.5 / 6000**0.5
    field, x = Field(3, 0).double(), torch.randn(5, 3, dtype=F64)
    density = lambda seed: flows.CNF(field, steps=4, probe=flows.rademacher(generator(seed)))(x)[1]
    assert torch.equal(density(1), density(1)) and not torch.equal(density(1), density(2))
    basis = [torch.eye(3, dtype=F64)[i].expand(5, -1) * 3**0.5 for i in range(3)]
    mean = sum(flows.CNF(field, steps=4, probe=lambda x, e=e: e)(x)[1] for e in basis) / 3
    torch.testing.assert_close(mean, flows.CNF(field, steps=4)(x)[1], atol=1e-6, rtol=1e-4)


def test_variance_of_gaussian_and_rademacher_probes():
    """A = [[1,2,0],[0,-1,3],[1,0,.5]]: 2 |S|^2 for Gaussians, S the symmetric part, less its diagonal for signs."""
    a = torch.tensor([[1.0, 2, 0], [0, -1, 3], [1, 0, 0.5]], dtype=F64)
    n = 200_000
    x = torch.zeros(n, 3, dtype=F64)
    normal = torch.randn(n, 3, generator=generator(9), dtype=F64)
    for probe, want in ((normal, 18.5), (flows.rademacher(generator(10))(x), 14.0)):
        _, trace = flows.hutchinson_divergence(lambda x: x @ a.T, x, probe)
        assert float(trace.mean()) == pytest.approx(0.5, abs=4.5 * (want / n) ** 0.5)
        assert float(trace.var()) == pytest.approx(want, rel=0.05)


# --- the ends ---------------------------------------------------------------------------------------------------------


def test_splines_are_those_of_zuko_and_invert_in_float32():
    from zuko.transforms import MonotonicRQSTransform

    family, n = flows.spline(8, 5.0), 20_000
    for dtype, tolerance in ((F64, 1e-9), (torch.float32, 3e-2)):
        params = 2 * torch.randn(n, 23, generator=generator(11), dtype=F64).to(dtype)
        x = (10 * torch.rand(n, generator=generator(12), dtype=F64) - 5).to(dtype)
        y, log_slope = family.forward(x, params)
        theirs = MonotonicRQSTransform(params[:, :8], params[:, 8:16], params[:, 16:], bound=5.0)
        want, want_slope = theirs.call_and_ladj(x)
        torch.testing.assert_close(y, want, atol=1e-3 * tolerance**0.5, rtol=1e-4)
        torch.testing.assert_close(log_slope, want_slope, atol=tolerance, rtol=1e-3)
        back, opposite = family.inverse(y, params)
        torch.testing.assert_close(back, x, atol=tolerance, rtol=0)
        torch.testing.assert_close(opposite, -log_slope, atol=tolerance, rtol=0)


@pytest.mark.parametrize("scale", [20.0, 1e3, 1e8])
def test_extreme_parameters_give_no_nan_in_float32(scale):
    n = 50_000
    x = 12 * torch.rand(n, generator=generator(13)) - 6
    for family in (flows.spline(8, 5.0), flows.affine()):
        params = (scale * torch.randn(n, family.size, generator=generator(14))).requires_grad_()
        for way in (family.forward, family.inverse):
            value, log_slope = way(x, params)
            assert value.isfinite().all() and log_slope.isfinite().all()
            (slope,) = torch.autograd.grad(value.sum() + log_slope.sum(), params)
            assert slope.isfinite().all()


def test_density_outside_the_support_is_zero():
    flow = flows.Flow(flows.Logit(0.05), 2)
    edge = 0.05 / 0.9
    x = torch.tensor([[0.0, 0.5], [1.0, 0.5], [-edge - 1e-6, 0.5], [0.5, 1 + edge + 1e-6], [-0.2, 3.0]], dtype=F64)
    log_p = flow.double().log_prob(x)
    assert log_p[:2].isfinite().all() and (log_p[2:] == -math.inf).all()
    x.requires_grad_()
    (slope,) = torch.autograd.grad(flow.log_prob(x)[:2].sum(), x)
    assert slope.isfinite().all()
    deeper = flows.Flow(flows.Chain(flows.Logit(), flows.Permute(2), flows.Mixing(2)), 2)
    assert (deeper.log_prob(torch.tensor([[-0.2, 0.5]])) == -math.inf).all()


def test_actnorm_leaves_a_constant_channel_its_scale():
    x = torch.randn(50, 3, generator=generator(15))
    x[:, 1] = 1e4 / 3
    layer = flows.ActNorm(3)
    y, logdet = layer(x)
    assert layer.log_scale[1] == 0 and y[:, 1].abs().max() < 1e-2
    torch.testing.assert_close(y[:, [0, 2]].std(0, correction=0), torch.ones(2))
    assert logdet.isfinite().all() and float(layer.inverse(y)[0].sub(x).abs().max()) < 1e-2
    with pytest.raises(ValueError, match="NaN"):
        flows.ActNorm(1)(torch.tensor([[1.0], [math.nan]]))


class Halve(flows.Bijection):
    """Only the columns go to channels: not the squeeze of the library."""

    def forward_shape(self, shape):
        c, h, w = shape
        return 2 * c, h, w // 2

    def forward(self, x, context=None):
        b, c, h, w = x.shape
        return x.reshape(b, c, h, w // 2, 2).movedim(-1, 2).reshape(b, 2 * c, h, w // 2), x.new_zeros(b)

    def inverse(self, y, context=None):
        b, c, h, w = y.shape
        return y.reshape(b, c // 2, 2, h, w).movedim(2, -1).reshape(b, c // 2, h, 2 * w), y.new_zeros(b)


def test_multiscale_takes_levels_of_any_shape():
    for levels in ([Halve(), flows.Squeeze()], [flows.Permute(2), Halve()], [flows.Chain(Halve(), Halve())]):
        shape = (2, 4, 8)
        flow = flows.MultiScale(levels, shape)
        x = torch.randn(3, *shape, generator=generator(16))
        y, _ = flow(x)
        assert y.shape == (3, 64) and torch.equal(flow.inverse(y)[0], x)


def test_multiscale_names_a_level_that_does_not_tell_its_shape():
    class Silent(Halve):
        def forward_shape(self, shape):
            return shape

    with pytest.raises(ValueError, match="level 0 returned"):
        flows.MultiScale([Silent()], (2, 4, 4))(torch.zeros(1, 2, 4, 4))
    with pytest.raises(ValueError, match="level 0 must end with an even number of channels"):
        flows.MultiScale([flows.Permute(3), flows.Squeeze()], (3, 4, 4))


def test_nothing_to_dequantise_is_told():
    with pytest.raises(ValueError, match="nothing to dequantise"):
        flows.dequantized_log_prob(flows.real_nvp(2), torch.zeros(0, 2, dtype=torch.long), 4)


def test_noise_without_a_context_may_dequantise_too():
    noise = flows.Flow(flows.Logit(1e-6), 2)
    x = torch.tensor([[0, 3], [1, 2]])
    assert flows.dequantized_log_prob(flows.real_nvp(2), x, 4, noise=noise, generator=generator(17)).isfinite().all()


# --- a Transformer over patches ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def patch_flow():
    flow = flows.tarflow((2, 4, 6), 2, 3, width=8, layers=2, heads=2, context=3)
    return randomised(flow)


def test_tarflow_is_a_bijection_with_its_log_determinant(patch_flow):
    x, context = torch.randn(2, 2, 4, 6, generator=generator(20), dtype=F64), torch.randn(2, 3, dtype=F64)
    y, logdet = patch_flow.bijection(x, context)
    assert y.shape == (2, 6, 8)
    for grad in (True, False):  # the inverse reads all again, or with the cache
        with torch.set_grad_enabled(grad):
            back, opposite = patch_flow.bijection.inverse(y, context)
        torch.testing.assert_close(back, x, atol=1e-8, rtol=1e-8)
        torch.testing.assert_close(opposite, -logdet, atol=1e-8, rtol=1e-8)
    one = lambda v: patch_flow.bijection(v.reshape(1, 2, 4, 6), context[:1])[0].flatten()
    jacobian = torch.autograd.functional.jacobian(one, x[0].flatten())
    assert float(jacobian.slogdet()[1]) == pytest.approx(float(logdet[0].detach()))


def test_patches_are_cut_row_after_row_and_put_together_again():
    cut = flows.Patches((1, 4, 6), 2)
    x = torch.arange(24.0).reshape(1, 1, 4, 6)
    y, logdet = cut(x)
    assert y[0, 1].tolist() == [2, 3, 8, 9] and y.shape[1:] == cut.forward_shape((1, 4, 6)) and not logdet.any()
    assert torch.equal(cut.inverse(y)[0], x)


def test_a_patch_depends_on_itself_and_on_every_earlier_one_alone():
    layer = randomised(flows.PatchAutoregressive(5, 3, width=8, layers=1, heads=2))
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x[None])[0][0], torch.randn(5, 3, dtype=F64))
    reach = jacobian.abs().amax((1, 3)) > 1e-12
    assert torch.equal(reach, torch.ones(5, 5, dtype=torch.bool).tril())
    assert (jacobian[0, :, 0] - torch.diag(jacobian[0, :, 0].diagonal())).abs().max() == 0


def test_tarflow_starts_as_the_identity_and_samples_by_its_density(patch_flow):
    fresh = flows.tarflow((1, 4, 4), 2, 2, width=8, heads=2)
    x = torch.randn(3, 1, 4, 4, generator=generator(21))
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(fresh.log_prob(x), normal)
    context = torch.randn(4, 3, generator=generator(22), dtype=F64)
    with torch.no_grad():
        draw, log_p = patch_flow.rsample_with_log_prob(4, context, generator=generator(23))
        torch.testing.assert_close(patch_flow.log_prob(draw, context), log_p)
    with pytest.raises(ValueError, match="divisible by 3"):
        flows.tarflow((1, 4, 4), 3)


def test_the_gradient_of_a_tarflow_sample_reaches_every_weight(patch_flow):
    context = torch.randn(4, 3, generator=generator(24), dtype=F64)
    patch_flow.rsample(4, context, generator=generator(25)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in patch_flow.parameters())
    patch_flow.zero_grad()
