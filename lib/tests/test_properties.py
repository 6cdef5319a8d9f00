"""Properties that hold for every shape, precision and size of number: some hundred examples, always the same."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genmodels import core, estimators, flows, gan, likelihoods, metrics, ot, quantize, schedule
from genmodels import text as texts
from genmodels.autoregressive import discretized_logistic_mixture_log_prob
from genmodels.core import generator
from genmodels.diffusion import TARGETS, edm_target, express, solve
from genmodels.discrete import Masking, Uniform, keep_top, score_entropy
from genmodels.vae import free_bits, gaussian_kl

few = settings(max_examples=25, derandomize=True, deadline=None, database=None)
DTYPES = st.sampled_from([torch.float32, torch.float64])
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
SEEDS = st.integers(0, 2**16)
SCALES = st.sampled_from([1e-30, 1e-6, 1.0, 30.0, 1e4])
LOGITS = st.sampled_from([1e-6, 1.0, 30.0, 1e3, 1e30])
PATHS = st.sampled_from([schedule.rectified(), schedule.cosine(), schedule.linear_vp(), schedule.cosine(0.0)])


def normal(shape, seed, dtype, scale=1.0):
    return (scale * torch.randn(shape, generator=generator(seed), dtype=torch.float64)).to(dtype)


def tolerance(dtype):
    return {torch.float32: 1e-4, torch.float64: 1e-11}[dtype]


def log_table(shape, seed, dtype, scale):
    """Log-probabilities along the last axis, some of them -inf, none of the rows empty."""
    x = normal(shape, seed, dtype, scale)
    gone = torch.rand(shape, generator=generator(seed + 1)) < 0.3
    gone[..., 0] = False
    return x.masked_fill(gone, -math.inf).log_softmax(-1)


@few
@given(SHAPES, st.integers(1, 6), SEEDS, DTYPES, LOGITS)
def test_categorical_draws_are_possible_symbols(shape, v, seed, dtype, scale):
    log_p = log_table((*shape, v), seed, dtype, scale)
    x = core.sample_categorical(log_p, generator=generator(seed))
    assert x.shape == shape and (log_p.gather(-1, x[..., None]) > -math.inf).all()


@few
@given(SHAPES, st.integers(1, 6), SEEDS, DTYPES, LOGITS)
def test_divergences_of_tables_keep_their_bounds_and_have_gradients(shape, k, seed, dtype, scale):
    p, q = (log_table((*shape, k), seed + i, dtype, scale).requires_grad_() for i in (0, 9))
    kl, js, tv = metrics.kl(p, q), metrics.jensen_shannon(p, q), metrics.total_variation(p, q)
    slack = tolerance(dtype) * k
    assert (kl >= -slack).all() and (js >= -slack).all() and (js <= math.log(2) + slack).all()
    assert (tv >= 0).all() and (tv <= 1 + slack).all() and (metrics.kl(p, p).abs() <= slack).all()
    seen = kl < math.inf
    assert ((2 * tv**2)[seen] <= kl[seen] * (1 + slack) + slack).all(), "Pinsker's inequality"
    for value in [js.sum(), kl.sum()][: 1 + bool(seen.all())]:  # an infinite divergence has no slope
        for slope in torch.autograd.grad(value, (p, q), retain_graph=True, allow_unused=True):
            assert slope is None or not slope.isnan().any()


@few
@given(st.sampled_from(sorted(gan.DIVERGENCES)), SEEDS, DTYPES, SCALES)
def test_f_is_convex_with_its_minimum_of_zero_at_one_and_meets_its_conjugate(name, seed, dtype, scale):
    f = gan.DIVERGENCES[name]
    r = normal((50,), seed, dtype, min(scale, 30.0)).clamp(-30, 30)
    centred = f.f(r) - f.slope(torch.zeros((), dtype=dtype)) * r.expm1()  # a multiple of u - 1 changes no divergence
    size = 1 + f.f(r).abs() + r.exp()
    assert (centred >= -tolerance(dtype) * size).all()
    t = f.slope(r)
    young = r.exp() * t - f.conjugate(t) - f.f(r)
    good = (r.abs() < 6) | torch.tensor(dtype is torch.float64)
    scale = (size + (r.exp() * t).abs() + f.conjugate(t).abs())[good]
    assert (young[good].abs() <= 10 * tolerance(dtype) * scale).all(), "Fenchel and Young meet at the slope"


@few
@given(SHAPES, SEEDS, DTYPES, st.sampled_from([-300.0, -60.0, -7.0, 0.0, 40.0, 300.0]), st.integers(2, 256))
def test_discretised_logistics_sum_to_one_at_any_scale(shape, seed, dtype, log_scale, bins):
    mean = normal(shape, seed, dtype, 2.0).requires_grad_()
    scale = torch.full(shape, log_scale, dtype=dtype, requires_grad=True)
    grid = torch.linspace(-1, 1, bins, dtype=dtype)
    log_mass = torch.stack([likelihoods.logistic_bin_log_mass(mean, scale, x.expand(shape), bins) for x in grid])
    assert not log_mass.isnan().any()
    torch.testing.assert_close(log_mass.exp().sum(0), torch.ones(shape, dtype=dtype), atol=2e-3, rtol=0)
    for slope in torch.autograd.grad(log_mass[log_mass > -1e6].sum(), (mean, scale)):
        assert not slope.isnan().any()


@few
@given(SEEDS, DTYPES, st.sampled_from([1e-3, 1.0, 100.0]), st.integers(1, 4))
def test_logistic_mixtures_sum_to_one(seed, dtype, scale, m):
    weights, means, log_scales = (normal((3, m), seed + i, dtype, scale) for i in range(3))
    x = torch.arange(9, dtype=dtype)
    log_p = torch.stack(
        [discretized_logistic_mixture_log_prob(v.expand(3), weights, means, log_scales, bins=9) for v in x]
    )
    torch.testing.assert_close(log_p.exp().sum(0), torch.ones(3, dtype=dtype), atol=1e-4, rtol=0)


@few
@given(SHAPES, SEEDS, DTYPES, SCALES)
def test_likelihoods_are_finite_and_one_number_a_sample(shape, seed, dtype, scale):
    shape = (3, *shape)
    logits, bits = normal(shape, seed, dtype, scale), (normal(shape, seed + 1, dtype) > 0).to(dtype)
    value = likelihoods.bernoulli_log_prob(logits, bits)
    assert value.shape == (3,) and value.isfinite().all() and (value <= 0).all()
    assert likelihoods.bernoulli_log_prob(logits[:0], bits[:0]).shape == (0,)
    gauss = likelihoods.gaussian_log_prob(logits, logits, 0.5)
    d = math.prod(shape[1:])
    torch.testing.assert_close(gauss, torch.full((3,), -d * math.log(0.5 * math.sqrt(2 * math.pi)), dtype=dtype))


@few
@given(st.integers(1, 7), st.integers(1, 7), SEEDS, DTYPES, st.sampled_from([1.0, 1.5, 2.0, 7.0, math.inf]), SCALES)
def test_distance_on_the_line_is_a_metric_that_scales(n, m, seed, dtype, p, scale):
    x, y, z = (normal((k,), seed + i, dtype) for i, k in enumerate((n, m, 4)))
    w = lambda a, b: float(ot.wasserstein_1d(a, b, p))
    slack = 1e-4 if dtype is torch.float32 else 1e-9
    assert w(x, x) == 0 and w(x, y) >= 0 and abs(w(x, y) - w(y, x)) < slack
    assert w(x, y) <= w(x, z) + w(z, y) + slack
    assert abs(w(x + 1.5, x) - 1.5) < slack
    if scale <= 30:
        assert abs(w(scale * x, scale * y) - scale * w(x, y)) <= slack * max(1.0, scale)
    x = x.requires_grad_()
    (slope,) = torch.autograd.grad(ot.wasserstein_1d(x, y, p), x)
    assert slope.isfinite().all()


@few
@given(st.integers(2, 9), st.integers(1, 4), SEEDS, DTYPES)
def test_a_linear_function_is_as_steep_as_its_norm_says(n, d, seed, dtype):
    points, w = normal((n, d), seed, dtype), normal((d,), seed + 1, dtype)
    assert float(ot.steepest_slope(points @ w, points)) <= float(w.norm()) * (1 + 1e-3) + 1e-6
    if d == 1:
        assert abs(float(ot.steepest_slope(points @ w, points)) / float(w.abs()[0]) - 1) < 1e-2


@few
@given(SHAPES, st.integers(1, 9), st.integers(1, 5), SEEDS, DTYPES, st.sampled_from([1e-4, 1.0, 1e3]))
def test_the_nearest_code_is_nearest_and_a_code_is_its_own(shape, k, d, seed, dtype, scale):
    z, book = normal((*shape, d), seed, dtype, scale), normal((k, d), seed + 1, dtype, scale)
    gap = (z.double()[..., None, :] - book.double()).square().sum(-1)
    chosen = gap.gather(-1, quantize.nearest(z, book)[..., None])[..., 0]
    assert (chosen <= gap.min(-1).values + 100 * torch.finfo(dtype).eps * scale**2 * d).all()
    assert torch.equal(book[quantize.nearest(book, book)], book)


@few
@given(SHAPES, st.integers(2, 5), SEEDS, DTYPES, SCALES)
def test_the_rotation_keeps_codes_and_finite_gradients(shape, d, seed, dtype, scale):
    z, code = normal((*shape, d), seed, dtype, scale).requires_grad_(), normal((*shape, d), seed + 1, dtype)
    out = quantize.rotate_to(z, code)
    (slope,) = torch.autograd.grad(out.sum(), z)
    assert torch.equal(out, code) and slope.isfinite().all()


@few
@given(st.lists(st.integers(2, 9), min_size=1, max_size=4), SHAPES, SEEDS, DTYPES, SCALES)
def test_finite_scalar_codes_are_a_bijection(levels, shape, seed, dtype, scale):
    fsq = quantize.FSQ(tuple(levels))
    out = fsq(normal((*shape, len(levels)), seed, dtype, scale))
    assert ((out.indices >= 0) & (out.indices < fsq.codes)).all()
    torch.testing.assert_close(fsq.decode(out.indices).to(dtype), out.z)


@few
@given(SEEDS, DTYPES, st.sampled_from([1e-3, 1.0, 3.0, 1e2, 1e6]), st.integers(2, 9))
def test_elementwise_maps_increase_and_their_slopes_are_opposite(seed, dtype, scale, bins):
    for family in (flows.spline(bins, 3.0), flows.affine()):
        params = normal((1, family.size), seed, dtype, scale).expand(200, -1)
        x = torch.linspace(-4, 4, 200, dtype=dtype)
        y, slope = family.forward(x, params)
        assert (y.diff() >= 0).all() and y.isfinite().all() and slope.isfinite().all()
        back, opposite = family.inverse(y, params)
        again, _ = family.forward(back, params)
        assert back.isfinite().all() and opposite.isfinite().all()
        if scale <= 3:
            slack = 1e-2 if dtype is torch.float32 else 1e-8
            torch.testing.assert_close(again, y, atol=slack, rtol=slack)
            torch.testing.assert_close(opposite, -slope, atol=10 * slack, rtol=slack)


@few
@given(PATHS, SEEDS, st.floats(0.01, 0.99), st.sampled_from([*TARGETS, "edm"]))
def test_every_target_is_solved_for_data_and_noise(path, seed, t, name):
    target = edm_target(0.7) if name == "edm" else TARGETS[name]
    x0, p = normal((4, 3), seed, torch.float64), path.at(t)
    xt, eps = path.corrupt(x0, t, generator=generator(seed))
    a, b = target(p)
    got = solve(target, xt, a * x0 + b * eps, p)
    for value, want in zip(got, (x0, eps), strict=True):
        torch.testing.assert_close(value, want, atol=1e-6, rtol=1e-6)
    if name in TARGETS:
        torch.testing.assert_close(express(name, lambda x, t: x0, path)(xt, t), a * x0 + b * eps, atol=1e-6, rtol=1e-6)


@few
@given(PATHS, st.floats(1e-6, 1.0))
def test_a_time_is_found_again_from_its_signal_to_noise_ratio(path, t):
    assert abs(path.time_at(path.log_snr(t)) - t) < 1e-6


@few
@given(st.sampled_from([Masking, Uniform]), PATHS, st.integers(2, 5), SEEDS, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_posteriors_and_transitions_are_probabilities(kind, path, v, seed, one, other):
    s, t = sorted((one, other))
    process = kind(v, path)
    if not bool(process.alpha(t, torch.zeros(1, 1).long()) < process.alpha(s, torch.zeros(1, 1).long())):
        return
    x0 = torch.randint(v, (3, 4), generator=generator(seed))
    x = process.corrupt(x0, t, generator=generator(seed))
    p0 = torch.nn.functional.one_hot(x0, process.states).double()
    soft = 0.9 * p0 + 0.1 * normal(p0.shape, seed, torch.float64).softmax(-1)
    for guess in (p0, soft):
        q = process.posterior(x, guess, t, s)
        assert (q >= 0).all() and ((q.sum(-1) - 1).abs() < 1e-9).all()
    kl = process.step_kl(soft.log(), x0, x, t, s)
    assert (kl >= -1e-12).all() and kl.isfinite().all()
    assert ((process.transition(t, 0.0).sum(1) - 1).abs() < 1e-12).all()


@few
@given(SHAPES, SEEDS, st.sampled_from([0.0, 1e-6, 1.0, 40.0]))
def test_score_entropy_is_never_negative_and_zero_at_the_ratio(shape, seed, size):
    ratio = size * normal(shape, seed, torch.float64).abs()
    log_s = normal(shape, seed + 1, torch.float64)
    assert (score_entropy(log_s, ratio) >= -1e-12).all()
    exact = score_entropy(ratio.log(), ratio)
    assert (exact.abs() <= 1e-9 * (1 + ratio)).all()


@few
@given(st.integers(1, 5), st.integers(1, 6), SEEDS)
def test_keep_top_keeps_as_many_as_it_may(b, l, seed):
    rank, eligible = normal((b, l), seed, torch.float64), normal((b, l), seed + 1, torch.float64) > 0
    k = torch.randint(l + 2, (b,), generator=generator(seed))
    kept = keep_top(rank, eligible, k)
    assert torch.equal(kept.sum(1), torch.minimum(k, eligible.sum(1))) and not (kept & ~eligible).any()


@few
@given(
    st.integers(1, 4), st.integers(1, 5), SEEDS, DTYPES, st.sampled_from([1e-6, 1.0, 30.0]), st.sampled_from([0.0, 0.5])
)
def test_gaussian_kl_and_free_bits(b, k, seed, dtype, scale, floor):
    mean, logvar = normal((b, k), seed, dtype, scale), normal((b, k), seed + 1, dtype, scale)
    kl = gaussian_kl(mean, logvar)
    assert (kl >= -tolerance(dtype)).all()
    if kl.isfinite().all():
        want = kl.mean(0).clamp_min(floor).sum()
        torch.testing.assert_close(free_bits(kl, floor).mean(), want)


@few
@given(SHAPES, st.integers(2, 6), SEEDS, DTYPES, LOGITS, st.sampled_from([0.0, 0.01, 1.0, 50.0]))
def test_restricted_logits_still_have_a_symbol(shape, v, seed, dtype, scale, temperature):
    logits = normal((*shape, v), seed, dtype, scale)
    kept = texts.restrict(logits, temperature=temperature, top_k=2, top_p=0.9)
    p = kept.softmax(-1)
    assert (
        not p.isnan().any() and ((p > 0).sum(-1) <= 2).all() and (p.gather(-1, logits.argmax(-1)[..., None]) > 0).all()
    )


@few
@given(st.integers(2, 6), st.integers(1, 4), SEEDS, DTYPES, SCALES)
def test_leave_one_out_is_the_mean_of_the_others_and_the_surrogate_the_value(k, b, seed, dtype, scale):
    value = normal((k, b), seed, dtype, scale)
    log_prob = normal((k, b), seed + 1, dtype).requires_grad_()
    baseline = estimators.leave_one_out(value)
    want = torch.stack([torch.cat([value[:i], value[i + 1 :]]).mean(0) for i in range(k)])
    torch.testing.assert_close(baseline, want, atol=1e-5 * scale, rtol=1e-4)
    surrogate = estimators.score_function(log_prob, value, baseline)
    assert torch.equal(surrogate.detach(), value)
    torch.testing.assert_close(torch.autograd.grad(surrogate.sum(), log_prob)[0], value - baseline)


@few
@given(SHAPES, SEEDS, DTYPES, LOGITS)
def test_log_mean_exp_lies_between_mean_and_maximum(shape, seed, dtype, scale):
    x = normal(shape, seed, dtype, scale)
    value = core.log_mean_exp(x, 0)
    slack = 10 * torch.finfo(dtype).eps * (1 + x.abs().max())
    assert (value <= x.amax(0) + slack).all() and (value >= x.mean(0) - slack).all()
