"""Gradient estimators against enumerated, analytic and quadrature gradients; each with a wrong edit that must fail."""

import math
from functools import partial

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from torch.distributions import Bernoulli, Beta, Categorical, Gamma, Normal

from genmodels import estimators as est
from genmodels.core import generator

F64 = torch.float64
PAYOFF = torch.tensor([1.0, -2.0, 0.5, 4.0, 0.0], dtype=F64)
LOGITS = torch.tensor([0.3, -1.1, 0.8, 0.1, -0.4], dtype=F64)


def exact_gradient(logits=LOGITS):
    theta = logits.clone().requires_grad_()
    est.expectation(Categorical(logits=theta), lambda z: PAYOFF[z]).backward()
    return theta.grad


def enumerated_mean(surrogate):
    """The mean over every outcome of the gradient of ``surrogate(log_prob, value)``: no sampling at all."""
    total = torch.zeros(5, dtype=F64)
    for k in range(5):
        theta = LOGITS.clone().requires_grad_()
        dist = Categorical(logits=theta)
        loss = surrogate(dist.log_prob(torch.tensor(k)), PAYOFF[k])
        (grad,) = torch.autograd.grad(loss, theta)
        total += dist.probs[k].detach() * grad
    return total


def test_enumerated_gradient_is_the_finite_difference():
    h, got = 1e-6, exact_gradient()
    for i in range(5):
        step = torch.zeros(5, dtype=F64)
        step[i] = h
        value = [(p.softmax(0) * PAYOFF).sum() for p in (LOGITS + step, LOGITS - step)]
        assert float(got[i]) == pytest.approx(float((value[0] - value[1]) / (2 * h)), abs=1e-8)


@pytest.mark.parametrize("baseline", [0.0, 1.7, -30.0])
def test_score_function_is_unbiased_for_every_baseline(baseline):
    mean = enumerated_mean(lambda log_prob, value: est.score_function(log_prob, value, baseline))
    torch.testing.assert_close(mean, exact_gradient(), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda lp, v: -est.score_function(lp, v),
        lambda lp, v: est.score_function(lp, v, v / 2),
        lambda lp, v: v * lp.exp(),
    ],
    ids=["sign", "baseline of its own sample", "probability for log-probability"],
)
def test_wrong_score_functions_are_seen(wrong):
    assert (enumerated_mean(wrong) - exact_gradient()).abs().max() > 0.01


def test_surrogate_has_the_value_of_f_and_keeps_its_direct_gradient():
    scale = torch.tensor(3.0, dtype=F64, requires_grad=True)
    value = scale * PAYOFF
    surrogate = est.score_function(LOGITS.log_softmax(0), value, 1.0)
    torch.testing.assert_close(surrogate, value)
    (grad,) = torch.autograd.grad(surrogate.sum(), scale)
    assert float(grad) == pytest.approx(float(PAYOFF.sum()))


def test_leave_one_out_is_unbiased_over_all_pairs_and_needs_two():
    """Every ordered pair of outcomes with its probability: the mean is the exact gradient."""
    total = torch.zeros(5, dtype=F64)
    for i in range(5):
        for j in range(5):
            theta = LOGITS.clone().requires_grad_()
            dist = Categorical(logits=theta)
            z = torch.tensor([i, j])
            value = PAYOFF[z]
            surrogate = est.score_function(dist.log_prob(z), value, est.leave_one_out(value)).mean()
            (grad,) = torch.autograd.grad(surrogate, theta)
            total += dist.probs[i].detach() * dist.probs[j].detach() * grad
    torch.testing.assert_close(total, exact_gradient(), atol=1e-12, rtol=0)
    others = est.leave_one_out(torch.tensor([1.0, 2.0, 6.0]))
    torch.testing.assert_close(others, torch.tensor([4.0, 3.5, 1.5]))
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        est.leave_one_out(torch.ones(1))


def test_optimal_baseline_has_the_least_variance_on_a_grid():
    g = generator(0)
    z = torch.randn(4000, dtype=F64, generator=g) + 0.7
    value, score = (z**2), (z - 0.7)
    best = est.optimal_baseline(value, score)
    grid = torch.linspace(-3, 6, 181, dtype=F64)
    second_moment = ((value - grid[:, None]) * score).square().mean(1)
    assert abs(float(grid[second_moment.argmin()] - best)) <= 0.05 / 2 + 1e-9
    assert abs(float(value.mean() - best)) > 0.2, "the mean is not the optimal baseline"


def test_pathwise_gradient_of_a_quadratic_and_of_a_sine():
    mean, std = (torch.tensor(v, dtype=F64, requires_grad=True) for v in (0.4, 1.3))
    torch.manual_seed(0)
    n = 200_000
    draws = []
    for f in (lambda z: z**2, torch.sin):
        z = Normal(mean, std).rsample((n,))
        slope = torch.autograd.grad(f(z).sum(), z)[0].detach()
        eps = ((z - mean) / std).detach()
        draws.append(torch.stack([slope, slope * eps], 1))
    # Per-sample pathwise gradients are (f'(z), f'(z) eps); truths: (2 mean, 2 std), and quadrature for the sine.
    dens = scipy.stats.norm(0.4, 1.3).pdf
    sine = [
        scipy.integrate.quad(lambda x: dens(x) * math.cos(x), -12, 13)[0],
        scipy.integrate.quad(lambda x: dens(x) * math.cos(x) * (x - 0.4) / 1.3, -12, 13)[0],
    ]
    for sample, truth in zip(draws, ([0.8, 2.6], sine), strict=True):
        m = est.moments(sample, torch.tensor(truth, dtype=F64))
        assert (m.bias.abs() < 4.5 * m.stderr).all(), f"n={n} {m}"
    surrogate = est.pathwise(Normal(mean, std), lambda z: z**2, n).mean()
    grads = torch.stack(torch.autograd.grad(surrogate, [mean, std]))
    assert ((grads - torch.tensor([0.8, 2.6])).abs() < 4.5 * (draws[0].std(0) / n**0.5)).all()
    with pytest.raises(ValueError, match="Categorical cannot be reparameterised"):
        est.pathwise(Categorical(logits=LOGITS), lambda z: z, 3)


def test_variances_are_ordered_and_match_their_closed_forms():
    """For f = z^2, z ~ N(m, 1): Var pathwise = 4; the score function's is E[z^4 (z-m)^2] - 4 m^2."""
    m, n, k = 1.5, 200_000, 4
    z = m + torch.randn(n, k, dtype=F64, generator=generator(1))
    value, score = z**2, z - m
    truth = torch.tensor(2 * m, dtype=F64)
    draws = {
        "pathwise": (2 * z).mean(1),
        "rloo": ((value - est.leave_one_out(value.T).T) * score).mean(1),
        "reinforce": (value * score).mean(1),
    }
    moments = {name: est.moments(d, truth) for name, d in draws.items()}
    for name, got in moments.items():
        assert abs(got.bias) < 4.5 * got.stderr, f"{name}: n={n}, z={float(got.bias / got.stderr):.2f}"
    assert moments["pathwise"].variance < moments["rloo"].variance < moments["reinforce"].variance
    # E[(m + e)^4 e^2] = m^4 + 6 m^2 E e^4 + E e^6 = m^4 + 18 m^2 + 15
    reinforce = (m**4 + 18 * m**2 + 15 - 4 * m**2) / k
    assert float(moments["pathwise"].variance) == pytest.approx(4 / k, rel=0.02)
    assert float(moments["reinforce"].variance) == pytest.approx(reinforce, rel=0.05)
    assert float(moments["rloo"].variance) == pytest.approx(rloo_variance(m, k), rel=0.05)


def rloo_variance(m, k):
    """RLOO is the U-statistic of the kernel (f(x) - f(y)) (s(x) - s(y)) / 2; Hoeffding's formula, by quadrature."""
    e, w = (torch.tensor(v) for v in np.polynomial.hermite_e.hermegauss(20))
    w, f = w / w.sum(), (m + e) ** 2
    kernel = (f[:, None] - f) * (e[:, None] - e) / 2
    variance = lambda v, p: (p * v**2).sum() - (p * v).sum() ** 2
    one, two = variance(kernel @ w, w), variance(kernel, w[:, None] * w)
    return float((4 * (k - 2) * one + 2 * two) / (k * (k - 1)))


@pytest.mark.parametrize("tau", [0.1, 0.7, 3.0])
def test_argmax_of_gumbel_softmax_is_categorical_for_every_temperature(tau):
    n = 60_000
    soft = est.gumbel_softmax(LOGITS.expand(n, 5), tau, generator=generator(2))
    torch.testing.assert_close(soft.sum(-1), torch.ones(n, dtype=F64))
    counts = soft.argmax(-1).bincount(minlength=5)
    p = scipy.stats.chisquare(counts.numpy(), (n * LOGITS.softmax(0)).numpy()).pvalue
    assert p > 1e-4, f"n={n}, chi-square p={p:.2g}"
    # The sabotage twin: noise of the wrong sign is not Gumbel and gives other frequencies.
    g = generator(3)
    wrong = (LOGITS.expand(n, 5) - est.gumbel((n, 5), generator=g)).argmax(-1).bincount(minlength=5)
    assert scipy.stats.chisquare(wrong.numpy(), (n * LOGITS.softmax(0)).numpy()).pvalue < 1e-4


def test_gumbel_softmax_limits():
    def mean_entropy(tau):
        soft = est.gumbel_softmax(LOGITS.expand(500, 5), tau, generator=generator(4))
        return float(torch.special.entr(soft).sum(-1).mean())

    assert mean_entropy(1e-3) < 0.01
    assert mean_entropy(1e3) == pytest.approx(math.log(5), abs=1e-4)
    with pytest.raises(ValueError, match="must be positive, got 0"):
        est.gumbel_softmax(LOGITS, 0)


def test_straight_through_is_one_hot_exactly_with_the_soft_gradient():
    logits = LOGITS.float().expand(400, 5).clone().requires_grad_()
    weight = torch.randn(400, 5, generator=generator(5))
    hard = est.gumbel_softmax(logits, 0.6, hard=True, generator=generator(6))
    assert set(hard.unique().tolist()) == {0.0, 1.0} and (hard.sum(-1) == 1).all()
    (got,) = torch.autograd.grad((hard * weight).sum(), logits)
    soft = est.gumbel_softmax(logits, 0.6, generator=generator(6))
    (want,) = torch.autograd.grad((soft * weight).sum(), logits)
    torch.testing.assert_close(got, want)
    # The usual formula hard + soft - soft.detach() is not exact in floating point: why ours is its own function.
    assert not torch.equal((hard + soft - soft.detach()).detach(), hard.detach())
    with pytest.raises(ValueError, match="must have the same shape"):
        est.straight_through(torch.ones(2), torch.ones(3))


def test_plain_straight_through_draws_from_the_right_distribution_with_a_known_bias():
    n = 60_000
    logits = LOGITS.expand(n, 5).clone().requires_grad_()
    z = est.one_hot_sample(logits, generator=generator(7))
    p = scipy.stats.chisquare(z.detach().sum(0).numpy(), (n * LOGITS.softmax(0)).numpy()).pvalue
    assert p > 1e-4, f"n={n}, chi-square p={p:.2g}"
    # For a linear payoff the plain estimator is exact: the gradient of probs @ payoff.
    (grad,) = torch.autograd.grad((z @ PAYOFF).sum(), logits)
    torch.testing.assert_close(grad[0], exact_gradient())


def test_plain_straight_through_is_biased_where_the_payoff_is_not_linear():
    """f(z) = (z @ payoff)^2 at a one-hot z. The mean over all draws of the estimate, each gradient by hand."""
    p = LOGITS.softmax(0)
    truth = torch.autograd.functional.jacobian(lambda t: t.softmax(0) @ PAYOFF**2, LOGITS)
    slope = torch.autograd.functional.jacobian(lambda t: t.softmax(0), LOGITS)
    mean = sum(p[k] * 2 * PAYOFF[k] * (PAYOFF @ slope) for k in range(5))
    assert (mean - truth).abs().max() > 0.5, "the bias is the lesson"
    n = 60_000
    logits = LOGITS.expand(n, 5).clone().requires_grad_()
    z = est.one_hot_sample(logits, generator=generator(12))
    (each,) = torch.autograd.grad(((z @ PAYOFF) ** 2).sum(), logits)
    m = est.moments(each, mean)
    assert (m.bias.abs() < 4.5 * m.stderr).all(), f"n={n} {m}"


def test_moments_by_hand():
    m = est.moments(torch.tensor([[1.0, 5.0], [3.0, 5.0], [8.0, 5.0]], dtype=F64), torch.tensor([1.0, 7.0], dtype=F64))
    assert m.mean.tolist() == [4, 5] and m.variance.tolist() == [(9 + 1 + 16) / 2, 0]
    assert m.bias.tolist() == [3, -2] and m.stderr.tolist() == pytest.approx([math.sqrt(13 / 3), 0])


def test_gumbel_softmax_is_biased_and_less_so_when_cold():
    """The lesson of the chapter: f(z) = (z @ payoff)^2 is not linear, so relaxing z changes the gradient."""
    n, truth = 200_000, LOGITS.clone().requires_grad_()
    est.expectation(Categorical(logits=truth), lambda z: PAYOFF[z] ** 2).backward()

    def bias(tau):
        theta = LOGITS.expand(n, 5).clone().requires_grad_()
        soft = est.gumbel_softmax(theta, tau, generator=generator(8))
        (g,) = torch.autograd.grad(((soft @ PAYOFF) ** 2).sum(), theta)
        return est.moments(g, truth.grad)

    warm, cold = bias(2.0), bias(0.3)
    assert (warm.bias.abs() > 4.5 * warm.stderr).any(), "the bias is real, not noise"
    assert cold.bias.norm() < warm.bias.norm() / 2
    assert cold.variance.sum() > warm.variance.sum()


@pytest.mark.parametrize("family", ["gamma", "beta"])
def test_implicit_gradients_of_torch_meet_the_derivative_of_the_mean(family):
    a = torch.tensor(1.7, dtype=F64, requires_grad=True)
    make = {"gamma": lambda a: Gamma(a, 1.0), "beta": lambda a: Beta(a, torch.tensor(2.5, dtype=F64))}[family]
    frozen = {"gamma": lambda s: scipy.stats.gamma(s), "beta": lambda s: scipy.stats.beta(s, 2.5)}[family]
    torch.manual_seed(3)
    n, h = 40_000, 1e-4
    z = make(a.expand(n)).rsample()
    f = torch.sin(3 * z)
    leaves = torch.autograd.grad(f.sum(), a, retain_graph=True)[0] / n
    means = [frozen(1.7 + s).expect(lambda x: math.sin(3 * x)) for s in (h, -h)]
    slope = torch.autograd.grad(f.sum(), z)[0]
    # Per-sample gradients for the standard error, by one backward over independent parameters.
    each = torch.full((n,), 1.7, dtype=F64, requires_grad=True)
    torch.manual_seed(3)
    (per_sample,) = torch.autograd.grad(torch.sin(3 * make(each).rsample()).sum(), each)
    error = per_sample.std() / n**0.5
    assert slope.isfinite().all()
    assert abs(float(leaves) - (means[0] - means[1]) / (2 * h)) < 4.5 * float(error), f"n={n}, se={float(error):.2g}"


def test_our_implicit_gradient_equals_the_explicit_one():
    mean, std = (torch.tensor(v, dtype=F64, requires_grad=True) for v in (0.3, 1.4))
    dist = Normal(mean, std)
    z = dist.rsample((50,))
    weight = torch.randn(50, dtype=F64, generator=generator(9))
    want = torch.autograd.grad((z * weight).sum(), [mean, std])
    through = est.implicit(z, dist.cdf, dist.log_prob)
    torch.testing.assert_close(through, z)
    got = torch.autograd.grad((through * weight).sum(), [mean, std])
    torch.testing.assert_close(got, want)
    # The sabotage twin: without the density the gradient is another.
    flat = est.implicit(z, dist.cdf, torch.zeros_like)
    wrong = torch.autograd.grad((flat * weight).sum(), [mean, std])
    assert (torch.stack(wrong) - torch.stack(want)).abs().max() > 0.1


def test_normal_reparameterises_with_a_private_stream():
    mean, std = torch.zeros(3, 2, dtype=F64, requires_grad=True), torch.full((3, 2), 2.0, dtype=F64)
    a, b = (est.normal(mean, std, generator=generator(1)) for _ in range(2))
    assert torch.equal(a, b) and a.std() > 0.5
    torch.testing.assert_close(torch.autograd.grad(a.sum(), mean)[0], torch.ones(3, 2, dtype=F64))


def test_expectation_refuses_what_cannot_be_enumerated():
    assert float(est.expectation(Bernoulli(torch.tensor(0.3)), lambda z: 10 * z)) == pytest.approx(3.0)
    with pytest.raises(ValueError, match="Normal has no finite support"):
        est.expectation(Normal(0.0, 1.0), lambda z: z)
    with pytest.raises(ValueError, match="at least 2 draws, got 1"):
        est.moments(torch.ones(1, 2), torch.ones(2))


def test_smooth_surrogates_and_where_they_mislead():
    logits = torch.tensor([[5.0, 0.0, 1.0], [0.0, 0.2, 3.0]], dtype=F64)
    torch.testing.assert_close(est.expected_argmax(logits, 1e-3), torch.tensor([0.0, 2.0], dtype=F64))
    bimodal = torch.tensor([10.0, 0.0, 10.0], dtype=F64)
    assert float(est.expected_argmax(bimodal)) == pytest.approx(1.0, abs=1e-3), "the mean index is the worst class"
    with pytest.raises(ValueError, match="must be positive, got -1"):
        est.expected_argmax(logits, -1)

    labels = torch.tensor([0, 1])
    torch.manual_seed(0)
    sampled = torch.stack([Categorical(logits=logits).sample() == labels for _ in range(4000)]).double()
    error = float(sampled.std() / sampled.numel() ** 0.5)
    assert abs(float(sampled.mean() - est.soft_accuracy(logits, labels))) < 4.5 * error, f"n=8000, se={error:.3g}"

    from sklearn.metrics import f1_score

    truth, guess = torch.tensor([1.0, 0, 1, 1, 0, 0, 1]), torch.tensor([1.0, 1, 1, 0, 0, 0, 1])
    assert float(est.soft_f1(guess, truth)) == pytest.approx(f1_score(truth, guess), abs=1e-6)
    halves = [est.soft_f1(guess[s], truth[s]) for s in (slice(0, 3), slice(3, 7))]
    assert abs(float(sum(halves) / 2 - est.soft_f1(guess, truth))) > 0.01, "batches of F1 do not average to F1"
    with pytest.raises(ValueError, match="0/0"):
        est.soft_f1(torch.zeros(3), torch.zeros(3))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: est.score_function(torch.zeros(4), torch.zeros(4, 1)), r"\(4,\), value \(4, 1\)"),
        (lambda: est.score_function(torch.zeros(4), torch.zeros(4), torch.zeros(4, 1)), r"baseline \(4, 4\)"),
        (lambda: est.gumbel_softmax(torch.zeros(3, dtype=torch.long), 1.0), "floating point, got torch.int64"),
        (lambda: est.soft_f1(torch.zeros(3), torch.ones(3, 1)), "differ in shape"),
        (lambda: est.soft_accuracy(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)), "got 0 for 0"),
    ],
)
def test_shapes_that_would_broadcast_are_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# --- sabotage: what is wrong, the oracle that must notice, where, the text and what replaces it ----------------------

TWINS = {
    "log for the probability": (
        test_enumerated_gradient_is_the_finite_difference,
        est.expectation,
        "dist.log_prob(z).exp()",
        "dist.log_prob(z)",
    ),
    "value lost from the surrogate": (
        test_surrogate_has_the_value_of_f_and_keeps_its_direct_gradient,
        est.score_function,
        "return value + weight",
        "return weight",
    ),
    "baseline not subtracted in expectation": (
        partial(test_score_function_is_unbiased_for_every_baseline, 1.7),
        est.score_function,
        "log_prob - log_prob.detach()",
        "log_prob.exp() - log_prob.exp().detach()",
    ),
    "its own sample in the baseline": (
        test_leave_one_out_is_unbiased_over_all_pairs_and_needs_two,
        est.leave_one_out,
        " - value) / (len(value) - 1)",
        ") / len(value)",
    ),
    "the mean as best baseline": (
        test_optimal_baseline_has_the_least_variance_on_a_grid,
        est.optimal_baseline,
        "(value * score.square()).mean() / score.square().mean()",
        "value.mean()",
    ),
    "sample cut from the spread": (
        test_pathwise_gradient_of_a_quadratic_and_of_a_sine,
        est.pathwise,
        "f(dist.rsample((n,)))",
        "f(dist.mean + (dist.rsample((n,)) - dist.mean).detach() + 0 * dist.stddev)",
    ),
    "baseline of all samples": (
        test_variances_are_ordered_and_match_their_closed_forms,
        est.leave_one_out,
        " - value) / (len(value) - 1)",
        ") / len(value)",
    ),
    "noise not divided by tau": (
        partial(test_argmax_of_gumbel_softmax_is_categorical_for_every_temperature, 3.0),
        est.gumbel_softmax,
        "(logits + noise) / tau",
        "logits / tau + noise",
    ),
    "temperature upside down": (
        test_gumbel_softmax_limits,
        est.gumbel_softmax,
        "(logits + noise) / tau",
        "(logits + noise) * tau",
    ),
    "soft value in place of the hard": (
        test_straight_through_is_one_hot_exactly_with_the_soft_gradient,
        est.gumbel_softmax,
        "if not hard:",
        "if hard or not hard:",
    ),
    "gradient of the logits": (
        test_plain_straight_through_draws_from_the_right_distribution_with_a_known_bias,
        est.one_hot_sample,
        "straight_through(hard, logits.softmax(-1))",
        "straight_through(hard, logits)",
    ),
    "gradient of a relaxed draw": (
        test_plain_straight_through_is_biased_where_the_payoff_is_not_linear,
        est.one_hot_sample,
        "straight_through(hard, logits.softmax(-1))",
        "logits.softmax(-1)",
    ),
    "truth minus mean": (test_moments_by_hand, est.moments, "mean - truth", "truth - mean"),
    "spread of a draw for that of the mean": (
        test_moments_by_hand,
        est.moments,
        "(variance / len(draws)).sqrt()",
        "variance.sqrt()",
    ),
    "cold is warm": (
        test_gumbel_softmax_is_biased_and_less_so_when_cold,
        est.gumbel_softmax,
        "(logits + noise) / tau",
        "(logits + noise) * tau",
    ),
    "sign of the implicit gradient": (
        test_our_implicit_gradient_equals_the_explicit_one,
        est.implicit,
        "z - (level",
        "z + (level",
    ),
    "mean twice": (
        test_normal_reparameterises_with_a_private_stream,
        est.normal,
        "return mean + std *",
        "return 2 * mean + std *",
    ),
    "product for the sum": (
        test_smooth_surrogates_and_where_they_mislead,
        est.soft_f1,
        "probs.sum() + labels.sum()",
        "probs.sum() * labels.sum()",
    ),
}


@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
def test_oracle_notices(twin, notices):
    notices(*twin)
