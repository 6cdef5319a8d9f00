"""Samplers of tokens: on a tiny language the distribution each ends in is computed, then compared with draws."""

import itertools
from functools import partial

import pytest
import torch

from coursekit import checks
from genmodels.core import generator
from genmodels.discrete import Masking, Uniform, at_random, by_confidence, by_margin, subs
from genmodels.samplers import confidence, guessing, last, sample
from genmodels.samplers.discrete import (
    Cached,
    _normalised,
    ancestral,
    ancestral_kernel,
    concrete_score,
    draw,
    first_hitting,
    hitting_times,
    semi_autoregressive,
    tau_leaping,
    tau_leaping_kernel,
    tweedie,
    tweedie_kernel,
)
from genmodels.schedule import cosine, rectified
from genmodels.toy.language import TinyLanguage

V, L, N = 3, 2, 20_000
PROCESSES = {"masking": Masking, "uniform": Uniform}
both = pytest.mark.parametrize("kind", PROCESSES)


def setting(kind, schedule=None, l=L, seed=11, spread=1.5):
    process = PROCESSES[kind](V, schedule or rectified())
    language = TinyLanguage.random(V, l, seed=seed, spread=spread)

    def denoise(x, t):
        p = language.posterior(process.likelihood(x, t)[..., :V].log())
        return torch.nn.functional.pad(p, (0, process.states - V)).log()

    return language, process, denoise


def grid(n, start=1.0, stop=0.0):
    return torch.linspace(start, stop, n + 1, dtype=torch.float64).tolist()


def all_states(process, l=L):
    return torch.tensor(list(itertools.product(range(process.states), repeat=l)))


def start_distribution(process, x, t):
    """The exact p_t is replaced by the prior, as in every sampler."""
    return process.pi[x].prod(1)


def push(process, kernel, times, l=L, p=None):
    """Distribution over all texts after all steps: a product of transition matrices."""
    x = all_states(process, l)
    p = start_distribution(process, x, times[0]) if p is None else p
    for t, s in itertools.pairwise(times):
        reached = p > 0
        probs = kernel(x[reached], t, s)  # (n, l, states)
        step = torch.ones(int(reached.sum()), 1, dtype=torch.float64)
        for i in range(l):
            step = (step[:, :, None] * probs[:, i, None, :]).flatten(1)
        p = p[reached] @ step
    return p


def target(language, process, l=L):
    """p_0 among all states; a text with a mask has none."""
    p = torch.zeros((process.states,) * l, dtype=torch.float64)
    p[(slice(V),) * l] = language.log_probs.exp().reshape((V,) * l)
    return p.flatten()


def total_variation(p, q):
    return float((p - q).abs().sum() / 2)


# --- kernels ---------------------------------------------------------------------------------------------------------


@both
def test_ancestral_sampling_of_one_token_is_exact_for_any_number_of_steps(kind):
    language, process, denoise = setting(kind, l=1)
    for n in (1, 2, 9):
        p = push(process, ancestral_kernel(denoise, process), grid(n), l=1)
        checks.close(p, target(language, process, 1), "p_0", atol=1e-10)

    def everything_at_once(x, t, s):
        return process.posterior(x, denoise(x, t).exp(), t, 0.5 * s)

    middle = push(process, everything_at_once, [1.0, 0.5], l=1)
    exact = push(process, ancestral_kernel(denoise, process), [1.0, 0.5], l=1)
    assert total_variation(middle, exact) > 0.01


@both
@pytest.mark.parametrize("schedule", [rectified(), cosine()], ids=["rectified", "cosine"])
def test_error_of_ancestral_sampling_falls_with_the_steps(kind, schedule):
    language, process, denoise = setting(kind, schedule)
    truth = target(language, process)
    errors = [total_variation(push(process, ancestral_kernel(denoise, process), grid(n)), truth) for n in (1, 8, 64)]
    # One step draws the tokens independently: wrong for a language whose tokens depend on each other.
    assert errors[0] > 0.1 and errors[1] < errors[0] / 3 and errors[2] < errors[1] / 4, errors
    assert abs(push(process, ancestral_kernel(denoise, process), grid(8)).sum() - 1) < 1e-12


@both
def test_analytic_step_on_the_exact_score_is_the_posterior(kind):
    _, process, denoise = setting(kind)
    x = all_states(process)

    def oracle(kernel):
        for t, s in ((0.9, 0.5), (0.4, 0.1), (0.3, 0.0)):
            checks.close(kernel(x, t, s), process.posterior(x, denoise(x, t).exp(), t, s), "kernel", atol=1e-9)

    score = concrete_score(denoise, process)
    oracle(tweedie_kernel(score, process))
    with pytest.raises(AssertionError):  # the score exponentiated twice
        oracle(tweedie_kernel(lambda x, t: score(x, t).exp(), process))
    with pytest.raises(AssertionError):  # the ratio inverted
        oracle(tweedie_kernel(lambda x, t: (-score(x, t)).clamp(-20, 20), process))


@both
def test_tau_leaping_is_of_first_order(kind):
    language, process, denoise = setting(kind, cosine())
    score = concrete_score(denoise, process)
    truth = target(language, process)
    times = 0.98
    # Start from the exact marginal, so that only the steps err.
    p = truth
    for axis in range(L):
        table = p.reshape((process.states,) * L)
        p = torch.tensordot(table, process.transition(times), dims=([axis], [0])).movedim(-1, axis).flatten()
    counts = (20, 40, 80)

    def oracle(kernel):
        errors = [total_variation(push(process, kernel, grid(n, times), p=p), truth) for n in counts]
        checks.order(errors, counts, 1)
        assert errors[-1] < 0.03, errors

    oracle(tau_leaping_kernel(score, process))
    with pytest.raises(AssertionError):  # the root of the ratio
        oracle(tau_leaping_kernel(lambda x, t: score(x, t) / 2, process))
    with pytest.raises(AssertionError):  # the score exponentiated twice
        oracle(tau_leaping_kernel(lambda x, t: score(x, t).exp(), process))


@both
@pytest.mark.parametrize("make", ["ancestral", "tweedie", "tau_leaping"])
def test_draws_follow_the_computed_distribution(kind, make):
    _, process, denoise = setting(kind)
    score = concrete_score(denoise, process)
    g = generator(3)
    if make == "ancestral":
        kernel, step = ancestral_kernel(denoise, process), ancestral(denoise, process, generator=g)
    elif make == "tweedie":
        kernel, step = tweedie_kernel(score, process), tweedie(score, process, generator=g)
    else:
        kernel, step = tau_leaping_kernel(score, process), tau_leaping(score, process, generator=g)
    times = grid(3, 0.97)
    x = last(sample(step, process.prior((N, L), generator=g), times))
    checks.distributed(x, push(process, kernel, times), make, states=all_states(process))
    with pytest.raises(AssertionError):  # another number of steps is another distribution
        checks.distributed(x, push(process, kernel, grid(1, 0.97)), make, states=all_states(process))


@pytest.mark.parametrize("kernel_of", [tweedie_kernel, tau_leaping_kernel])
def test_no_mask_is_left_at_the_end_even_with_a_wrong_score(kernel_of):
    _, process, denoise = setting("masking", cosine())
    score = concrete_score(denoise, process)
    kernel = kernel_of(lambda x, t: score(x, t) + 1.5 * (torch.arange(4) != x[..., None]), process)
    for t, s in itertools.pairwise(grid(4, 0.95)):
        probs = kernel(all_states(process), t, s)
        assert (probs >= 0).all(), "a negative probability"
        checks.close(probs.sum(-1), torch.ones(16, 2), "rows", atol=1e-12)
    p = push(process, kernel, grid(4, 0.95)).reshape(4, 4)
    assert p[3].sum() == 0 and p[:, 3].sum() == 0 and abs(p.sum() - 1) < 1e-12


def test_a_prompt_is_kept_and_the_rest_drawn_from_its_conditional():
    """Also at t = 1, where noise itself would leave nothing visible."""
    language, process, denoise = masked_setting(3)
    x = all_states(process, 3)
    start = (x == torch.tensor([3, 2, 3])).all(1).double()
    got = push(process, ancestral_kernel(denoise, process), grid(100), l=3, p=start)
    p = target(language, process, 3) * (x[:, 1] == 2)
    assert abs(got.sum() - 1) < 1e-12 and total_variation(got, p / p.sum()) < 0.01
    assert total_variation(got, target(language, process, 3)) > 0.1


# --- first hitting ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [rectified(), cosine()], ids=["rectified", "cosine"])
def test_hitting_times_are_the_moments_of_unmasking(schedule):
    process = Masking(V, schedule)
    x = torch.tensor([[3, 3, 3, 1]]).repeat(N, 1)
    times = hitting_times(x, process, generator=generator(0))
    assert times.shape == (5, N) and (times[0] == 1).all() and (times[4] == 0).all()
    assert (times.diff(dim=0) <= 0).all()
    # All three are still masked at t with probability (1 - alpha)^3: 1 - alpha(first) is the largest of 3 uniforms.
    for row, mean in ((1, 3 / 4), (2, 2 / 4), (3, 1 / 4)):
        checks.unbiased(1 - schedule.alpha(times[row]), mean, f"time {row}")


def test_first_hitting_sampler_is_exact():
    language, process, denoise = setting("masking", cosine(), l=3)
    g = generator(1)

    def run(step_of):
        x = process.prior((N, 3), generator=g)
        return list(sample(step_of, x, hitting_times(x, process, generator=g)))

    calls = []
    states = run(first_hitting(lambda x, t: calls.append(1) or denoise(x, 0.5), process, generator=g))
    assert [int((x == 3).sum(1).unique()) for x in states] == [2, 1, 0] and len(calls) == 3
    checks.distributed(states[-1], language.log_probs.exp(), "first hitting", states=language.sequences)

    def two_at_once(x, t, s):
        y = first_hitting(denoise_any, process, generator=g)(x, t, s)
        return torch.where(y == 3, first_hitting(denoise_any, process, generator=g)(x, t, s), y)

    def denoise_any(x, t):
        return denoise(x, 0.5)

    with pytest.raises(AssertionError):  # two tokens drawn from one prediction
        checks.distributed(run(two_at_once)[-1], language.log_probs.exp(), states=language.sequences)


def test_first_hitting_is_the_limit_of_ancestral_sampling():
    language, process, denoise = setting("masking", l=2)
    p = push(process, ancestral_kernel(denoise, process), grid(400))
    g = generator(2)
    x = process.prior((N, 2), generator=g)
    x = last(
        sample(
            first_hitting(lambda x, t: denoise(x, 0.5), process, generator=g), x, hitting_times(x, process, generator=g)
        )
    )
    checks.distributed(x, p, "first hitting", states=all_states(process))


# --- confidence ------------------------------------------------------------------------------------------------------


def masked_setting(l, seed=3):
    language = TinyLanguage.random(V, l, seed=seed, spread=1.5)
    return language, Masking(V, rectified()), lambda x, t: language(x)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("schedule", [rectified(), cosine(0.0)], ids=["rectified", "cosine"])
def test_confidence_reveals_every_token_once_and_keeps_the_prompt(steps, schedule):
    _, _, denoise = masked_setting(7)
    process = Masking(V, schedule)
    x0 = torch.tensor([[3, 1, 3, 3, 3, 3, 3], [3, 3, 3, 3, 3, 3, 0]])
    states = [x0, *sample(confidence(denoise, process, generator=generator(0)), x0, grid(steps))]
    for before, after in itertools.pairwise(states):
        visible = before != 3
        assert torch.equal(before[visible], after[visible])
    revealed = [int(((a == 3) & (b != 3))[0].sum()) for a, b in itertools.pairwise(states)]
    assert sum(revealed) == 6 and (states[-1] != 3).all()
    if schedule.name == "rectified" and steps == 4:
        assert revealed == [2, 2, 1, 1]


def test_random_order_one_at_a_time_is_exact_and_confidence_is_biased():
    language, process, denoise = masked_setting(3)
    x = torch.full((N, 3), 3)
    truth = language.log_probs.exp()

    def run(**options):
        g = generator(5)
        if options.pop("random", False):
            options["rank"] = at_random(g)
        return last(sample(confidence(denoise, process, generator=g, **options), x, grid(3)))

    checks.distributed(run(random=True), truth, "random order", states=language.sequences)
    for options in ({}, {"rank": by_margin, "temperature": 0.5}):
        drawn = run(**options)
        index = (drawn * torch.tensor([9, 3, 1])).sum(1)
        p = torch.bincount(index, minlength=27) / N
        assert total_variation(p, truth) > 0.05, options


def test_most_confident_position_first_and_temperature_zero_is_greedy():
    language, process, denoise = masked_setting(3)
    x = torch.full((1, 3), 3)
    p = language.conditionals(x)[0]
    step = confidence(denoise, process, temperature=0.0)
    first = step(x, 1.0, 2 / 3)
    place = int(p.max(1).values.argmax())
    want = torch.full((1, 3), 3)
    want[0, place] = p[place].argmax()
    assert torch.equal(first, want)
    assert torch.equal(last(sample(step, x, grid(3))), last(sample(step, x, grid(3))))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_sharpens_each_guess(temperature):
    """One token alone: softmax(log p / temperature)."""
    language, process, denoise = masked_setting(1)
    x = confidence(denoise, process, temperature=temperature, generator=generator(6))(torch.full((N, 1), 3), 1.0, 0.0)
    p = language.log_probs.exp() ** (1 / temperature)
    checks.distributed(x[:, 0], p / p.sum(), f"temperature {temperature}")


def test_semi_autoregressive_writes_blocks_from_left_to_right():
    language, process, denoise = masked_setting(6)
    g = generator(1)
    x = torch.tensor([[3, 3, 3, 2, 3, 3]]).repeat(5, 1)
    states = list(
        semi_autoregressive(lambda w: confidence(denoise, process, within=w, generator=g), x, grid(2), block=2)
    )
    assert len(states) == 6
    for n, state in enumerate(states):
        done = 2 * ((n + 1) // 2)
        assert (state[:, :done] != 3).all() and (state[:, done + 2 :] == x[:, done + 2 :]).all()
    assert (states[-1][:, 3] == 2).all() and (states[-1] != 3).all()
    whole = list(semi_autoregressive(lambda w: confidence(denoise, process, within=w, temperature=0), x, grid(3), 6))
    plain = list(sample(confidence(denoise, process, temperature=0), x, grid(3)))
    assert all(torch.equal(a, b) for a, b in zip(whole, plain, strict=True))  # one block is the plain sampler


def test_one_block_of_one_token_at_a_time_is_autoregression():
    language, process, denoise = masked_setting(3)
    g = generator(8)
    x = torch.full((N, 3), 3)
    x = last(semi_autoregressive(lambda w: confidence(denoise, process, within=w, generator=g), x, grid(1), block=1))
    checks.distributed(x, language.log_probs.exp(), "block 1", states=language.sequences)


# --- cache -----------------------------------------------------------------------------------------------------------


def test_cached_sampler_draws_the_same_and_calls_less():
    language, process, denoise = masked_setting(4)
    runs = []
    for network in (denoise, cached := Cached(denoise)):
        g = generator(4)
        runs.append(last(sample(ancestral(network, process, generator=g), torch.full((9, 4), 3), grid(200))))
    assert torch.equal(*runs)
    assert cached.calls <= 1 + 9 * 4  # one for the start, one after each token

    text, watched = torch.full((1, 4), 3), Cached(denoise)
    before = watched(text, 0.5).clone()
    text[0, 0] = 1  # a sampler may write into its own tensor
    checks.close(watched(text, 0.5), denoise(text, 0.5), "after a change in place")
    assert not torch.equal(watched(text, 0.5), before) and watched.calls == 2

    class Stale(Cached):
        def __call__(self, x, t):
            if self._log_p is None:
                super().__call__(x, t)
            return subs(self._log_p, x, 3)

    stale = Stale(denoise)
    x = last(sample(ancestral(stale, process, generator=generator(4)), torch.full((2_000, 4), 3), grid(200)))
    with pytest.raises(AssertionError):  # a cache that is never renewed
        checks.distributed(x, language.log_probs.exp(), states=language.sequences)


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda p, d: confidence(d, p, temperature=-1.0), "temperature must be >= 0"),
        (lambda p, d: list(semi_autoregressive(lambda w: None, torch.full((1, 2), 3), [1.0, 0.0], 0)), "at least 1"),
        (lambda p, d: tweedie_kernel(d, p)(torch.full((1, 2), 3), 1.0, 0.5), "start at t < 1"),
        (lambda p, d: tau_leaping_kernel(d, p)(torch.full((1, 2), 3), 0.5, 0.6), "goes back in time"),
    ],
)
def test_bad_input_is_named(act, message):
    _, process, denoise = setting("masking")
    with pytest.raises(ValueError, match=message):
        act(process, denoise)


# --- sabotage: what is wrong, the oracle that must notice, where, the text and what replaces it ----------------------

TWINS = {
    "aimed before s": (
        partial(test_ancestral_sampling_of_one_token_is_exact_for_any_number_of_steps, "uniform"),
        ancestral_kernel,
        "(x, denoise(x, t).exp(), t, s)",
        "(x, denoise(x, t).exp().flip(-1), t, s)",
    ),
    "every step the whole way": (
        partial(test_error_of_ancestral_sampling_falls_with_the_steps, "uniform", rectified()),
        ancestral_kernel,
        "(x, denoise(x, t).exp(), t, s)",
        "(x, denoise(x, t).exp(), t, 0 * s)",
    ),
    "noise added, not undone": (
        partial(test_analytic_step_on_the_exact_score_is_the_posterior, "uniform"),
        tweedie_kernel,
        "1 / a[..., None]",
        "a[..., None]",
    ),
    "twice the time": (
        partial(test_tau_leaping_is_of_first_order, "uniform"),
        tau_leaping_kernel,
        "* -a.log()",
        "* -2 * a.log()",
    ),
    "probabilities for their logarithms": (
        partial(test_draws_follow_the_computed_distribution, "masking", "ancestral"),
        draw,
        "kernel(x, t, s).log()",
        "kernel(x, t, s)",
    ),
    "negative masses": (
        partial(test_no_mask_is_left_at_the_end_even_with_a_wrong_score, tweedie_kernel),
        tweedie_kernel,
        "1 / a[..., None]).clamp_min(0)",
        "1 / a[..., None])",
    ),
    "the caller's own tensor kept": (
        test_cached_sampler_draws_the_same_and_calls_less,
        Cached.__call__,
        "x.clone()",
        "x",
    ),
    "masks stay at the end": (
        partial(test_no_mask_is_left_at_the_end_even_with_a_wrong_score, tau_leaping_kernel),
        _normalised,
        "torch.where(done & ~process.clean.to(x.device), 0.0, probs)",
        "probs",
    ),
    "schedule ignored": (
        partial(test_hitting_times_are_the_moments_of_unmasking, cosine()),
        hitting_times,
        "1 - process.schedule.alpha(middle) < u",
        "middle < u",
    ),
    "two at once": (
        test_first_hitting_sampler_is_exact,
        first_hitting,
        "torch.ones_like(x[:, 0])",
        "2 * torch.ones_like(x[:, 0])",
    ),
    "always the first mask": (
        test_first_hitting_is_the_limit_of_ancestral_sampling,
        first_hitting,
        "denoise(x, s)",
        "denoise(torch.full_like(x, process.mask), s)",
    ),
    "one token too many": (
        partial(test_confidence_reveals_every_token_once_and_keeps_the_prompt, 4, rectified()),
        guessing._scheduled,
        "hidden, n - left)",
        "hidden, n - left + 1)",
    ),
    "the greedy order for any": (
        test_random_order_one_at_a_time_is_exact_and_confidence_is_biased,
        at_random,
        "random(torch.rand, guess.shape, generator=generator, device=log_p.device, dtype=torch.float64)",
        "log_p.gather(2, guess[..., None])[..., 0]",
    ),
    "least confident first": (
        test_most_confident_position_first_and_temperature_zero_is_greedy,
        by_confidence,
        "return log_p",
        "return -log_p",
    ),
    "temperature multiplied": (
        partial(test_temperature_sharpens_each_guess, 0.5),
        guessing._step,
        "log_p / temperature",
        "log_p * temperature",
    ),
    "blocks overlap": (
        test_semi_autoregressive_writes_blocks_from_left_to_right,
        semi_autoregressive,
        "position < start + block",
        "position <= start + block",
    ),
    "all blocks at once": (
        test_one_block_of_one_token_at_a_time_is_autoregression,
        semi_autoregressive,
        "(position >= start) & (position < start + block)",
        "position >= start",
    ),
    "answer never renewed": (
        test_cached_sampler_draws_the_same_and_calls_less,
        Cached.__call__,
        "not torch.equal(x, self._x)",
        "False",
    ),
}


@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
def test_oracle_notices(twin, notices):
    notices(*twin)
