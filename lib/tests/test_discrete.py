"""Noise on tokens and its bounds against matrix exponentials, Bayes' rule by loops, quadrature and permutations."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.integrate import quad_vec
from scipy.linalg import expm

from coursekit import checks
from genmodels.core import generator
from genmodels.discrete import (
    Masking,
    Process,
    Uniform,
    at_random,
    by_confidence,
    by_entropy,
    by_margin,
    exact_masked_nelbo,
    guided,
    keep_top,
    llada_nelbo,
    score_entropy,
    subs,
)
from genmodels.schedule import cosine, linear_vp, rectified, uniform_times
from genmodels.toy.language import TinyLanguage


class Power:
    """alpha = 1 - t^n: any object with an alpha will do."""

    def __init__(self, n):
        self.alpha = lambda t: 1 - t**n


SCHEDULES = {"rectified": rectified(), "cosine": cosine(), "linear_vp": linear_vp()}
PROCESSES = {"masking": Masking, "uniform": Uniform}
both = pytest.mark.parametrize("kind", PROCESSES)
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


def states_of(process, l):
    return torch.tensor(list(itertools.product(range(process.states), repeat=l)))


def exact_denoiser(language, process):
    """p(x_0 | x_t) by enumeration, for any process: (b, l, states)."""

    def p0(x, t):
        p = language.posterior(process.likelihood(x, t)[..., : language.v].log())
        return torch.nn.functional.pad(p, (0, process.states - language.v))

    return p0


def marginal(language, process, t):
    """p_t over all states^l noisy texts, by the transition matrix applied to each position of the table."""
    v, l = language.v, language.l
    p = torch.zeros((process.states,) * l, dtype=torch.float64)
    p[(slice(v),) * l] = language.log_probs.exp().reshape((v,) * l)
    for axis in range(l):
        p = torch.tensordot(p, process.transition(t), dims=([axis], [0])).movedim(-1, axis)
    return p


# --- the forward process ---------------------------------------------------------------------------------------------


@both
@every_schedule
def test_transition_is_the_exponential_of_the_integrated_generator(kind, schedule):
    process = PROCESSES[kind](4, schedule)

    def oracle(transition):
        for s, t in ((0.0, 0.35), (0.2, 0.8)):
            integral, _ = quad_vec(lambda u: process.rate_matrix(float(u)).numpy(), s, t, epsabs=1e-12)
            checks.close(transition(t, s), torch.from_numpy(expm(integral)), "transition", atol=1e-8)

    oracle(process.transition)
    with pytest.raises(AssertionError):  # sigma for its derivative, or any other time
        oracle(lambda t, s: process.transition(t**1.1, s))
    with pytest.raises(AssertionError):  # the noise that keeps what it should redraw
        oracle(lambda t, s: process.transition(s + 1 - t, s))


@both
@every_schedule
def test_transition_rows_semigroup_and_limit(kind, schedule):
    process = PROCESSES[kind](4, schedule)
    ones = torch.ones(process.states, dtype=torch.float64)
    checks.close(process.transition(0.7).sum(1), ones, "rows", atol=1e-12)
    checks.close(process.rate_matrix(0.7).sum(1), 0 * ones, "rows of the generator", atol=1e-12)
    checks.close(
        process.transition(0.3) @ process.transition(0.7, 0.3), process.transition(0.7), "two steps", atol=1e-12
    )
    checks.close(process.transition(0.0), torch.eye(process.states).double(), "t = 0", atol=1e-12)
    end = schedule.alpha(torch.tensor(1.0, dtype=torch.float64))
    limit = process.pi.expand(process.states, -1)
    checks.close(process.transition(1.0), end * torch.eye(process.states) + (1 - end) * limit, "t = 1", atol=1e-12)


@both
@every_schedule
def test_rate_is_minus_the_derivative_of_log_alpha(kind, schedule):
    process = PROCESSES[kind](3, schedule)
    t = torch.tensor([0.15, 0.5, 0.85], dtype=torch.float64)
    h = 1e-6
    want = -(schedule.alpha(t + h).log() - schedule.alpha(t - h).log()) / (2 * h)
    checks.close(process.rate(t, torch.zeros(3, 2, dtype=torch.long))[:, 0], want, "rate", atol=1e-7)


@both
def test_corrupt_follows_the_transition_matrix_token_by_token(kind):
    process = PROCESSES[kind](3, cosine())
    n = 20_000
    x0 = torch.tensor([[0, 2]]).repeat(n, 1)
    t = torch.tensor([[0.3, 0.6]], dtype=torch.float64).repeat(n, 1)  # a time of each token

    def oracle(x):
        joint = torch.outer(process.transition(0.3)[0], process.transition(0.6)[2]).flatten()
        checks.distributed(x, joint, "corrupt", states=states_of(process, 2))

    oracle(process.corrupt(x0, t, generator=generator(1)))
    with pytest.raises(AssertionError):  # the times of the tokens exchanged
        oracle(process.corrupt(x0, t.flip(1), generator=generator(1)))
    with pytest.raises(AssertionError):  # one draw for all tokens
        u = torch.rand(n, 1, generator=generator(1), dtype=torch.float64)
        noise = process.prior((n, 2), generator=generator(2))
        oracle(torch.where(u < cosine().alpha(t), x0, noise))
    one = process.corrupt(x0, 0.4, generator=generator(3))
    assert torch.equal(one, process.corrupt(x0, torch.full((n,), 0.4).double(), generator=generator(3)))
    checks.distributed(one[:, 1], process.transition(0.4)[2], "one time for all")


@both
def test_prior(kind):
    process = PROCESSES[kind](3, rectified())
    x = process.prior((5_000, 2), generator=generator(0))
    assert x.shape == (5_000, 2)
    checks.distributed(x.flatten(), process.pi, "prior")


def test_uniform_with_two_symbols_flips_bits():
    """A bit that flips at rate r is flipped with probability (1 - e^{-2 r t}) / 2; here r = sigma'(t) / 2."""
    process = Uniform(2, linear_vp())
    for t in (0.1, 0.5, 0.9):
        integral, _ = quad_vec(lambda u: process.rate(float(u), torch.zeros(1, 1).long()).numpy(), 0, t)
        flip = (1 - math.exp(-integral.item())) / 2
        checks.close(process.transition(t)[0, 1], flip, "flip", atol=1e-8)


# --- the backward process --------------------------------------------------------------------------------------------


def posterior_by_hand(process, x_t, p0, t, s):
    """sum_k p0(k | x_t) q(x_t | x_s) q(x_s | k) / q(x_t | k), one symbol at a time."""
    step, start, whole = process.transition(t, s), process.transition(s), process.transition(t)
    out = torch.zeros(process.states, dtype=torch.float64)
    for j in range(process.states):
        for k in range(process.states):
            if p0[k] > 0:
                out[j] += p0[k] * step[j, x_t] * start[k, j] / whole[k, x_t]
    return out


@both
@every_schedule
def test_posterior_is_bayes_rule_for_all_pairs_and_averaged(kind, schedule):
    process = PROCESSES[kind](3, schedule)
    t, s = 0.7, 0.25
    n = process.states

    def oracle(posterior):
        for x_t in range(n):
            allowed = [k for k in range(3) if process.transition(t)[k, x_t] > 0]
            one_hots = [torch.eye(n)[k].double() for k in allowed]
            mixed = sum(w * e for w, e in zip(torch.tensor([0.2, 0.7, 0.1]).double(), one_hots, strict=False))
            for p0 in [*one_hots, mixed / mixed.sum()]:
                got = posterior(torch.tensor([[x_t]]), p0[None, None], t, s)[0, 0]
                checks.close(got, posterior_by_hand(process, x_t, p0, t, s), "posterior", atol=1e-12)
                checks.close(got.sum(), 1.0, "posterior", atol=1e-12)

    oracle(process.posterior)
    wrong = [
        lambda x, p, t, s: process.posterior(x, p, t, s * 0.9),  # another time
        lambda x, p, t, s: process.posterior(x, p, t, s) * schedule.alpha(torch.tensor(s)),  # alpha_s / alpha_t
        lambda x, p, t, s: process.posterior(x, p.roll(1, -1), t, s),
    ]
    for f in wrong:
        with pytest.raises(AssertionError):
            oracle(f)


@both
def test_posterior_carries_the_marginal_back(kind):
    """sum_x p_t(x) q(x_s | x) = p_s on one token, with the exact denoiser."""
    process = PROCESSES[kind](4, rectified())
    language = TinyLanguage.random(4, 1, seed=3)
    x = states_of(process, 1)
    p = exact_denoiser(language, process)(x, 0.8)
    kernel = process.posterior(x, p, 0.8, 0.3)[:, 0]
    checks.close(
        marginal(language, process, 0.8) @ kernel, marginal(language, process, 0.3), "marginal at s", atol=1e-10
    )


@both
def test_ratio_is_the_ratio_of_marginals(kind):
    process = PROCESSES[kind](4, cosine())
    language = TinyLanguage.random(4, 2, seed=7)
    t = 0.6
    p_t = marginal(language, process, t)
    x = states_of(process, 2)

    def oracle(ratio):
        got = ratio(x, exact_denoiser(language, process)(x, t), t)
        for n, row in enumerate(x):
            for i, y in itertools.product(range(2), range(process.states)):
                if kind == "masking" and row[i] != process.mask and y != row[i]:
                    continue  # a visible token never jumps, and its ratios are not defined by the denoiser
                other = row.clone()
                other[i] = y
                checks.close(got[n, i, y], p_t[tuple(other)] / p_t[tuple(row)], "ratio", atol=1e-8)

    oracle(process.ratio)
    with pytest.raises(AssertionError):  # inverted
        oracle(lambda *a: 1 / process.ratio(*a))
    with pytest.raises(AssertionError):  # another time
        oracle(lambda x, p, t: process.ratio(x, p, 0.9 * t))


@both
def test_reverse_rates_carry_the_marginal_back(kind):
    """d p / dt = -p R for the generator R of the exact reverse rates: the matrix ODE from t to s meets p_s."""
    process = PROCESSES[kind](3, rectified())
    language = TinyLanguage.random(3, 2, seed=2)
    x = states_of(process, 2)
    v = process.states
    denoise = exact_denoiser(language, process)

    def generator_matrix(t, rates):
        r = rates(x, process.ratio(x, denoise(x, t), t), t)
        matrix = torch.zeros(len(x), len(x), dtype=torch.float64)
        for n, (a, b) in enumerate(x.tolist()):
            for y in range(v):
                matrix[n, y * v + b] += r[n, 0, y]
                matrix[n, a * v + y] += r[n, 1, y]
        return matrix - matrix.sum(1).diag()

    def oracle(rates):
        p = marginal(language, process, 0.9).flatten()
        times = torch.linspace(0.9, 0.2, 41).tolist()
        for t, s in itertools.pairwise(times):  # midpoint exponential: second order
            p = p @ torch.linalg.matrix_exp((t - s) * generator_matrix((t + s) / 2, rates))
        checks.close(p, marginal(language, process, 0.2).flatten(), "p at the end", atol=2e-4)

    oracle(process.reverse_rates)
    with pytest.raises(AssertionError):  # the forward rates, without the ratio
        oracle(lambda x, r, t: process.reverse_rates(x, torch.ones_like(r), t))
    with pytest.raises(AssertionError):  # sigma in the place of its derivative
        oracle(lambda x, r, t: process.reverse_rates(x, r, t) * 0.9)


# --- score entropy ---------------------------------------------------------------------------------------------------


def test_score_entropy_is_a_divergence():
    ratio = torch.tensor([0.0, 0.2, 1.0, 3.0], dtype=torch.float64)

    def oracle(loss):
        at_truth = loss(ratio.log(), ratio)
        checks.close(at_truth, torch.zeros(4), "at the truth", atol=1e-12)
        for shift in (-1.0, 0.3, 2.0):
            assert (loss(ratio[1:].log() + shift, ratio[1:]) > 1e-3).all()
        slope = checks.grad(lambda s: loss(s, ratio[1:]), ratio[1:].log())
        checks.close(slope, torch.zeros(3), "gradient at the truth", atol=1e-12)
        checks.close(loss(torch.zeros(1).double(), torch.zeros(1).double()), torch.ones(1), "s = 1 where r = 0")

    oracle(score_entropy)
    with pytest.raises(AssertionError):  # the log-score exponentiated twice
        oracle(lambda s, r: score_entropy(s.exp(), r))
    with pytest.raises(AssertionError):  # the constant left out
        oracle(lambda s, r: s.exp() - r * s)


@every_schedule
def test_absorbing_score_entropy_is_weighted_cross_entropy(schedule):
    """The general formula of ``Process`` and the short one of ``Masking`` agree at every point."""
    process = Masking(4, schedule)
    g = generator(1)
    x0 = torch.randint(4, (6, 5), generator=g)
    t = torch.rand(6, 5, generator=g, dtype=torch.float64) * 0.9 + 0.05
    x_t = process.corrupt(x0, t, generator=g)
    log_p0 = subs(torch.randn(6, 5, 5, generator=g, dtype=torch.float64), x_t, 4)
    general = super(Masking, process).nelbo_at(log_p0, x0, x_t, t)
    checks.close(process.nelbo_at(log_p0, x0, x_t, t), general, "nelbo_at", atol=1e-10)
    alpha = schedule.alpha(t)
    nll = torch.where(x_t == 4, -log_p0.gather(2, x0[..., None])[..., 0], 0.0)
    by_hand = (process.rate(t, x0) * alpha / (1 - alpha) * nll).sum(1)
    checks.close(general, by_hand, "sigma' alpha / (1 - alpha) cross-entropy", atol=1e-10)


def integrated_bound(process, log_score, x0, *, rate=1.0):
    """The bound for one x_0: sum over x_t, Gauss-Legendre over t with nodes crowded at the ends."""
    x = states_of(process, len(x0))
    nodes, weights = np.polynomial.legendre.leggauss(60)
    u = (nodes + 1) / 2
    total = 0.0
    for t, w in zip(3 * u**2 - 2 * u**3, 6 * u * (1 - u) * weights / 2, strict=True):
        q = process.likelihood(x, float(t)).gather(2, x0.expand(len(x), -1)[..., None])[..., 0].prod(1)
        loss = process.score_entropy_loss(log_score(x, float(t)), x0.expand(len(x), -1), x, float(t))
        total += w * rate * float((q * torch.where(q > 0, loss, 0.0)).sum())
    return total


@both
@pytest.mark.parametrize("schedule", [rectified(), cosine()], ids=["rectified", "cosine"])
def test_integral_of_score_entropy_with_exact_ratios_is_minus_log_p(kind, schedule):
    process = PROCESSES[kind](3, schedule)
    language = TinyLanguage.random(3, 2, seed=11)
    denoise = exact_denoiser(language, process)

    def exact(x, t):
        return process.ratio(x, denoise(x, t), t).log()

    def noisy(x, t):
        return exact(x, t) + 0.3 * torch.randn(len(x), 2, process.states, generator=generator(5), dtype=torch.float64)

    for x0 in torch.tensor([[0, 1], [2, 2]]):
        truth = -language.log_prob(x0[None]).item()
        assert abs(integrated_bound(process, exact, x0) - truth) < 2e-5 * truth
        assert abs(integrated_bound(process, exact, x0, rate=0.95) - truth) > 1e-2  # the oracle would notice
    # Imperfect scores cannot beat the entropy on average (for a single text they can).
    every = zip(language.sequences, language.log_probs.exp(), strict=True)
    assert sum(float(p) * integrated_bound(process, noisy, x0) for x0, p in every) > language.entropy() + 1e-2


def test_bound_of_uniform_noise_through_nelbo_is_unbiased():
    process = Uniform(3, rectified())
    language = TinyLanguage.random(3, 2, seed=11)
    denoise = exact_denoiser(language, process)
    n = 20_000
    x0 = torch.tensor([[0, 1]]).repeat(n, 1)
    loss = process.nelbo(lambda x, t: denoise(x, t).log(), x0, generator=generator(0))
    checks.unbiased(loss, -language.log_prob(x0[:1])[0], "nelbo of uniform noise")


@both
def test_sum_of_step_kl_is_minus_log_p_for_any_number_of_steps(kind):
    """D3PM's bound in discrete time is tight for one token with its true posterior."""
    process = PROCESSES[kind](3, rectified())
    language = TinyLanguage.random(3, 1, seed=3)
    x0 = torch.tensor([1])

    def steps(n, step_kl):
        total = 0.0
        for t, s in itertools.pairwise(torch.linspace(1, 0, n + 1).double().tolist()):
            x = states_of(process, 1)
            q = process.likelihood(x, t).gather(2, x0.expand(len(x), 1)[..., None])[:, 0, 0]
            x, q = x[q > 0], q[q > 0]
            log_p0 = exact_denoiser(language, process)(x, t).log()
            total += float((q * step_kl(log_p0, x0.expand(len(x), 1), x, t, s)).sum())
        return total

    def late(*a):
        return process.step_kl(*a[:-1], 0.9 * a[-1])

    truth = -language.log_prob(x0[None]).item()
    for n in (1, 7, 40):
        assert abs(steps(n, process.step_kl) - truth) < 1e-9
        assert n == 1 or abs(steps(n, late) - truth) > 1e-4


def test_prior_kl_is_what_noise_left_over():
    process = Uniform(3, linear_vp(beta_max=4.0))
    x0 = torch.tensor([[0, 2]])
    row = process.transition(1.0)[0]
    want = 2 * sum(float(p) * math.log(float(p) * 3) for p in row)
    checks.close(process.prior_kl(x0), torch.tensor([want]), "prior_kl", atol=1e-10)
    checks.close(Uniform(3, rectified()).prior_kl(x0), torch.zeros(1), "all noise", atol=1e-12)
    assert torch.isinf(Masking(3, linear_vp(beta_max=4.0)).prior_kl(x0)).all()  # a visible token is no prior's


# --- masked prediction -----------------------------------------------------------------------------------------------


def corrupted_network(language, seed=0, scale=0.7):
    """A network that is wrong, differently for every mask pattern: log-probabilities that depend on all of x."""
    table = scale * torch.randn(
        4**language.l, language.l, language.v + 1, generator=generator(seed), dtype=torch.float64
    )
    place = 4 ** torch.arange(language.l)

    def predict(x, t=None):
        return subs(language(x).clamp_min(-50) + table[(x * place).sum(1)], x, language.mask)

    return predict


def any_order_nll(predict, x0, mask):
    """Mean over all l! orders of the autoregressive loss in that order."""
    l = x0.shape[1]
    total = 0.0
    for order in itertools.permutations(range(l)):
        x = torch.full_like(x0, mask)
        for i in order:
            total = total - predict(x)[torch.arange(len(x0)), i, x0[:, i]]
            x = x.clone()
            x[:, i] = x0[:, i]
    return total / math.factorial(l)


def test_exact_bound_is_the_mean_over_all_orders():
    language = TinyLanguage.random(3, 4, seed=1)
    x0 = language.sample(6, generator=generator(0))
    predict = corrupted_network(language)

    def oracle(bound):
        checks.close(bound(predict, x0, 3), any_order_nll(predict, x0, 3), "bound", atol=1e-11)
        checks.close(bound(language, x0, 3), -language.log_prob(x0), "with exact conditionals", atol=1e-11)

    oracle(exact_masked_nelbo)
    with pytest.raises(AssertionError):  # loss over visible tokens too: invisible under SUBS, so without it
        bad = lambda x: language(x).clamp_min(-50).roll(1, -1)  # noqa: E731
        checks.close(exact_masked_nelbo(bad, x0, 3), -bad(x0).gather(2, x0[..., None]).sum((1, 2)), "bound")
    with pytest.raises(AssertionError):  # half of the tokens at a time
        oracle(lambda p, x, m: exact_masked_nelbo(p, x, m, block=2))


def expected_loss(process, predict, x0, low=0.0):
    """Mean of the loss over t uniform in [low, 1] and all masks of one x_0, by quadrature and enumeration."""
    patterns = torch.tensor(list(itertools.product([False, True], repeat=len(x0))))
    x = torch.where(patterns, process.mask, x0)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    total = 0.0
    for u, w in zip((nodes + 1) / 2, weights / 2, strict=True):
        t = low + (1 - low) * float(u)
        q = process.likelihood(x, t).gather(2, x0.expand(len(x), -1)[..., None])[..., 0].prod(1)
        total += w * float((q * process.nelbo_at(predict(x), x0.expand(len(x), -1), x, t)).sum())
    return total


@pytest.mark.parametrize("schedule", [rectified(), cosine(0.0), Power(3)], ids=["rectified", "cosine", "cubic"])
def test_expected_loss_is_the_exact_bound_on_every_schedule(schedule):
    language = TinyLanguage.random(3, 4, seed=1)
    predict = corrupted_network(language)
    process = Masking(3, schedule)
    x0 = torch.tensor([2, 0, 1, 1])
    truth = exact_masked_nelbo(predict, x0[None], 3)

    def oracle(process):
        checks.close(expected_loss(process, predict, x0), truth[0], "expected loss", atol=1e-6)

    oracle(process)
    for change in (lambda w: 1 / w, lambda w: w / 4, torch.ones_like):  # multiplied, length divided out, missing
        wrong = Masking(3, schedule)
        wrong.weight = lambda t, x, change=change: change(process.weight(t, x))
        with pytest.raises(AssertionError):
            oracle(wrong)


def test_monte_carlo_loss_meets_its_expectation():
    """On t >= 0.05: over all of (0, 1] the mean exists but the variance, the integral of 1/t, does not."""
    language = TinyLanguage.random(3, 4, seed=1)
    predict = corrupted_network(language)
    process = Masking(3, rectified())
    x0 = torch.tensor([[2, 0, 1, 1]]).repeat(20_000, 1)
    g = generator(2)

    def oracle(t):
        truth = expected_loss(process, predict, x0[0], low=0.05)
        checks.unbiased(process.nelbo(lambda x, t: predict(x), x0, t, generator=g), truth, "nelbo")

    oracle(0.05 + 0.95 * torch.rand(len(x0), generator=g).double())
    with pytest.raises(AssertionError):  # one time for the whole batch
        oracle(0.9)
    seen = []
    process.nelbo(lambda x, t: seen.append(t) or predict(x), x0[:50], generator=g)
    assert (seen[0] * 50).ceil().sort().values.tolist() == list(range(1, 51)), "drawn times are one in each slice"


def test_llada_count_estimator_is_unbiased():
    language = TinyLanguage.random(3, 4, seed=1)
    predict = corrupted_network(language)
    x0 = torch.tensor([[2, 0, 1, 1]])
    truth = exact_masked_nelbo(predict, x0, 3)[0]

    def oracle(estimate):
        checks.unbiased(estimate(x0.repeat(20_000, 1)), truth, "llada_nelbo")

    oracle(lambda x: llada_nelbo(predict, x, 3, generator=generator(1)))
    with pytest.raises(AssertionError):  # the weight of the other estimator
        oracle(lambda x: llada_nelbo(predict, x, 3, generator=generator(1)) / 4)
    with pytest.raises(AssertionError):  # a mask that is not random
        oracle(lambda x: llada_nelbo(lambda y: predict(y.sort(1).values), x, 3, generator=generator(1)))


def test_stratified_times_and_fixed_counts_lower_the_variance():
    """A network whose loss grows with the share of masks, as every network's does; the clip keeps variances finite."""
    process = Masking(2, rectified())
    b, l, repeats = 8, 32, 400
    x0 = torch.zeros(b, l, dtype=torch.long)

    def predict(x, t=None):
        share = (x == 2).double().mean(1)[:, None, None]
        return torch.cat([-share, -share, -share], 2).expand(-1, l, -1)

    g = generator(1)

    def variance(draw_times):
        return torch.stack([process.nelbo(predict, x0, draw_times(), generator=g).mean() for _ in range(repeats)]).var()

    stratified = variance(lambda: 0.05 + 0.95 * uniform_times(b, generator=g).double())
    independent = variance(lambda: 0.05 + 0.95 * torch.rand(b, generator=g).double())
    assert stratified < 0.7 * independent, (stratified, independent)


def test_fixed_counts_have_less_variance_than_independent_masks():
    """Second moments by enumeration: "k of l" is finite, and below that of 1/t, which grows without end as t -> 0."""
    language = TinyLanguage.random(3, 4, seed=1)
    predict = corrupted_network(language)
    x0 = torch.tensor([2, 0, 1, 1])
    patterns = torch.tensor(list(itertools.product([False, True], repeat=4)))[1:]
    k = patterns.sum(1)
    x = torch.where(patterns, 3, x0)
    nll = torch.where(patterns, -predict(x).gather(2, x0.expand(15, 4)[..., None])[..., 0], 0.0).sum(1)
    chance = torch.tensor([1 / 4 / math.comb(4, int(n)) for n in k])
    counted = float((chance * (4 / k * nll) ** 2).sum())
    draws = llada_nelbo(predict, x0.repeat(20_000, 1), 3, generator=generator(4))
    checks.unbiased(draws**2, counted, "second moment of llada_nelbo")

    def independent(low):
        u = torch.linspace(math.log(low), 0, 4001, dtype=torch.float64)  # dt = t du
        t = u.exp()[:, None]
        q = t**k * (1 - t) ** (4 - k)
        return float(torch.trapezoid((q * (nll / t) ** 2).sum(1) * t[:, 0], u))

    assert counted < independent(1e-2) < independent(1e-4) - 1 < independent(1e-6) - 2


@pytest.mark.parametrize("schedule", [rectified(), cosine()], ids=["rectified", "cosine"])
def test_weight_by_finite_differences_and_one_over_t(schedule):
    process = Masking(3, schedule)
    t = torch.tensor([0.2, 0.6, 1.0], dtype=torch.float64)
    x = torch.zeros(3, 1, dtype=torch.long)
    h = 1e-6
    slope = (schedule.alpha(t) - schedule.alpha(t - h)) / h
    checks.close(process.weight(t, x)[:, 0], -slope / (1 - schedule.alpha(t)), "weight", atol=1e-4)
    if schedule.name == "rectified":
        checks.close(process.weight(t, x)[:, 0], 1 / t, "1/t", atol=1e-12)


def test_guidance_is_the_prediction_at_one_its_opposite_number_at_zero_and_else_the_formula():
    language = TinyLanguage.random(3, 4, seed=1)
    predict = corrupted_network(language)
    calls = []

    def denoise(x, t):
        calls.append(x)
        return predict(x)

    prompt = torch.tensor([[True, True, False, False]])
    x = torch.tensor([[2, 0, 3, 3], [1, 1, 3, 3]])
    checks.close(guided(denoise, prompt, 3, 1.0)(x, 0.5), predict(x), "scale 1", atol=0)
    assert len(calls) == 1  # the second network call is not paid
    checks.close(guided(denoise, prompt, 3, 0.0)(x, 0.5), predict(torch.full_like(x, 3)), "scale 0", atol=0)
    got = guided(denoise, prompt, 3, 2.5)(x, 0.5)
    c, u = predict(x), predict(torch.full_like(x, 3))
    want = (c[:, 2:, :3] + 1.5 * (c - u)[:, 2:, :3]).log_softmax(-1)
    checks.close(got[:, 2:, :3], want, "guided", atol=1e-10)
    checks.close(got.exp().sum(-1), torch.ones(2, 4), "rows", atol=1e-12)
    assert (got.exp()[:, 0].argmax(-1) == x[:, 0]).all() and (got.exp()[..., 3] == 0).all()


# --- remasking strategies --------------------------------------------------------------------------------------------


def test_ranks_by_hand():
    p = torch.tensor([[[0.5, 0.3, 0.2], [0.6, 0.39, 0.01], [0.98, 0.01, 0.01]]], dtype=torch.float64)
    guess = torch.tensor([[2, 0, 1]])
    checks.close(by_confidence(p.log(), guess).exp(), torch.tensor([[0.2, 0.6, 0.01]]), "confidence")
    checks.close(by_margin(p.log(), guess), torch.tensor([[0.2, 0.21, 0.97]]), "margin")
    want = [[sum(q * math.log(q) for q in row) for row in p[0].tolist()]]
    checks.close(by_entropy(p.log(), guess), torch.tensor(want), "entropy")
    r = at_random(generator(0))(p.log().expand(20_000, -1, -1), guess.expand(20_000, -1))
    checks.distributed(r.argmax(1), torch.ones(3) / 3, "random rank")


def test_keep_top_counts_and_never_leaves_the_eligible():
    rank = torch.tensor([[0.1, 0.9, 0.5, 0.7], [4.0, 3.0, 2.0, 1.0]])
    eligible = torch.tensor([[True, False, True, True], [True, True, True, True]])
    got = keep_top(rank, eligible, torch.tensor([2, 3]))
    assert got.tolist() == [[False, False, True, True], [True, True, True, False]]
    assert keep_top(rank, eligible, torch.tensor([9, 0])).tolist() == [[True, False, True, True], [False] * 4]


# --- sabotage: what is wrong, the oracle that must notice, where, the text and what replaces it ----------------------

TWINS = {
    "survival since zero": (
        partial(test_transition_rows_semigroup_and_limit, "masking", rectified()),
        Process.transition,
        "self.alpha(t, one) / self.alpha(s, one)",
        "self.alpha(t, one)",
    ),
    "slope for the rate": (
        partial(test_rate_is_minus_the_derivative_of_log_alpha, "uniform", cosine()),
        Process.rate,
        "-slope / alpha",
        "-slope",
    ),
    "a symbol never drawn": (
        partial(test_prior, "uniform"),
        Uniform.prior,
        "random(torch.randint, self.v,",
        "random(torch.randint, self.v - 1,",
    ),
    "survival squared": (
        test_uniform_with_two_symbols_flips_bits,
        Process.through,
        "alpha = alpha.to(w.dtype)",
        "alpha = alpha.to(w.dtype) ** 2",
    ),
    "noise since zero in Bayes' rule": (
        partial(test_posterior_carries_the_marginal_back, "uniform"),
        Process.posterior,
        "alpha_t / alpha_s)",
        "alpha_t)",
    ),
    "weight by what survives": (
        partial(test_absorbing_score_entropy_is_weighted_cross_entropy, cosine()),
        Masking.weight,
        "-slope / (1 - alpha)",
        "-slope / alpha",
    ),
    "chance of the drawn symbol lost": (
        partial(test_integral_of_score_entropy_with_exact_ratios_is_minus_log_p, "uniform", rectified()),
        Process.score_entropy_loss,
        " * self._pi(ratio)[x_t]",
        "",
    ),
    "only early times": (
        test_bound_of_uniform_noise_through_nelbo_is_unbiased,
        Process.nelbo,
        "t_max=LAST",
        "t_max=0.5",
    ),
    "divergence the other way round": (
        partial(test_sum_of_step_kl_is_minus_log_p_for_any_number_of_steps, "uniform"),
        Process.step_kl,
        "_kl(exact, model)",
        "_kl(model, exact)",
    ),
    "before the end": (
        test_prior_kl_is_what_noise_left_over,
        Process.prior_kl,
        "self.alpha(1.0, x0)",
        "self.alpha(0.9, x0)",
    ),
    "one mask too many": (
        test_fixed_counts_have_less_variance_than_independent_masks,
        llada_nelbo,
        "order.to(k) < k",
        "order.to(k) <= k",
    ),
    "weight without the slope": (
        partial(test_weight_by_finite_differences_and_one_over_t, cosine()),
        Masking.weight,
        "-slope / (1 - alpha)",
        "1 / (1 - alpha)",
    ),
    "guided away": (
        test_guidance_is_the_prediction_at_one_its_opposite_number_at_zero_and_else_the_formula,
        guided,
        "(unconditional, conditional)), scale",
        "(unconditional, conditional)), scale + 1",
    ),
    "one position too many": (
        test_keep_top_counts_and_never_leaves_the_eligible,
        keep_top,
        "order.to(k) < k",
        "order.to(k) <= k",
    ),
    "second best forgotten": (test_ranks_by_hand, by_margin, "best[..., 0] - best[..., 1]", "best[..., 0]"),
    "the least certain first": (test_ranks_by_hand, by_entropy, "return -torch", "return torch"),
}


@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
def test_oracle_notices(twin, notices):
    notices(*twin)
