"""The tiny language and Markov text against sums written as loops, eigenvectors and samples."""

import itertools
import math

import pytest
import torch

from coursekit import checks
from genmodels.core import generator
from genmodels.toy.language import MarkovText, TinyLanguage, all_sequences, parallel_cost


def test_all_sequences_are_there_once_in_order():
    got = all_sequences(3, 2).tolist()
    assert got == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [2, 2]]


def test_probabilities_are_the_table_normalised():
    table = torch.rand(3, 3, 3, 3, generator=generator(0), dtype=torch.float64)
    language = TinyLanguage(table)
    checks.normalised(language.log_prob, language.sequences, "log_prob")
    checks.close(language.log_prob(torch.tensor([[2, 0, 1, 1]])).exp(), table[2, 0, 1, 1][None] / table.sum(), "p")
    want = -sum(p * math.log(p) for p in (table / table.sum()).flatten().tolist())
    assert math.isclose(language.entropy(), want, rel_tol=1e-12)


def conditionals_by_hand(language, x):
    """p(x0_i = k | visible) = sum of p over sequences that agree and have k at i / sum over those that agree."""
    out = torch.zeros(language.l, language.v, dtype=torch.float64)
    for sequence in itertools.product(range(language.v), repeat=language.l):
        if all(a in (language.mask, b) for a, b in zip(x.tolist(), sequence, strict=True)):
            p = language.log_prob(torch.tensor([sequence])).exp().item()
            for i, k in enumerate(sequence):
                out[i, k] += p
    return out / out.sum(1, keepdim=True)


def test_conditionals_of_every_mask_pattern():
    language = TinyLanguage.random(3, 3, seed=4)
    x = torch.tensor(list(itertools.product(range(4), repeat=3)))
    got = language.conditionals(x)
    want = torch.stack([conditionals_by_hand(language, row) for row in x])
    checks.close(got, want, "conditionals", atol=1e-12)
    independent = torch.stack([conditionals_by_hand(language, torch.full((3,), 3))] * len(x))
    with pytest.raises(AssertionError):  # forgetting what is visible
        checks.close(got, independent, "conditionals", atol=1e-12)


def test_as_a_network_it_gives_log_probabilities_without_the_mask():
    language = TinyLanguage.random(3, 2)
    x = torch.tensor([[3, 1], [3, 3]])
    log_p = language(x, 0.5)
    assert log_p.shape == (2, 2, 4) and log_p[..., 3].isneginf().all()
    checks.close(log_p.exp()[..., :3], language.conditionals(x), "network")


def test_posterior_under_a_noisy_channel_is_bayes_rule():
    language = TinyLanguage.random(3, 2, seed=1)
    likelihood = torch.rand(4, 2, 3, generator=generator(2), dtype=torch.float64)
    got = language.posterior(likelihood.log())
    p = language.log_probs.exp().reshape(3, 3)
    for b in range(4):
        joint = p * likelihood[b, 0][:, None] * likelihood[b, 1]
        joint = joint / joint.sum()
        checks.close(got[b], torch.stack([joint.sum(1), joint.sum(0)]), "posterior", atol=1e-12)


def test_spread_is_the_scale_of_the_random_log_probabilities():
    """Up to normalisation: 0 makes everything equally likely, twice the spread doubles every difference."""
    for make, table in (
        (lambda s: TinyLanguage.random(3, 2, seed=4, spread=s), lambda language: language.log_probs),
        (lambda s: MarkovText.random(4, seed=4, spread=s), lambda text: text.transition.log()),
    ):
        one, two = (table(make(s)) - table(make(s)).mean(-1, keepdim=True) for s in (0.7, 1.4))
        checks.close(two, 2 * one, "centred log-probabilities", atol=1e-12)
        checks.close(table(make(0.0)), table(make(0.0)).flatten()[0].expand_as(one), "spread 0", atol=1e-12)
        assert one.std() > 0.3


def test_samples_follow_the_table():
    language = TinyLanguage.random(3, 3, seed=5)
    x = language.sample(20_000, generator=generator(0))
    checks.distributed(x, language.log_probs.exp(), "sample", states=language.sequences)
    with pytest.raises(AssertionError):
        checks.distributed(x.flip(1), language.log_probs.exp(), "sample", states=language.sequences)


def test_markov_text_stationary_and_entropy_rate():
    text = MarkovText.random(5, seed=1)
    checks.close(text.stationary @ text.transition, text.stationary, "stationary", atol=1e-12)
    checks.close(text.stationary.sum(), 1.0, "stationary", atol=1e-12)
    # The chain rule: H(x_1 .. x_l) - H(x_1 .. x_{l-1}) by enumeration is the entropy rate for every l >= 2.
    entropies = [-(p.exp() * p).sum().item() for p in (text.log_prob(all_sequences(5, l)) for l in (2, 3, 4))]
    assert math.isclose(entropies[1] - entropies[0], text.entropy_rate(), rel_tol=1e-10)
    assert math.isclose(entropies[2] - entropies[1], text.entropy_rate(), rel_tol=1e-10)
    uniform_start = -(text.transition * text.transition.log()).sum(1).mean().item()
    assert not math.isclose(uniform_start, text.entropy_rate(), rel_tol=1e-3)  # weighting by pi matters


def test_markov_text_probabilities_and_samples():
    text = MarkovText.random(3, seed=3)
    states = all_sequences(3, 4)
    checks.normalised(text.log_prob, states, "log_prob")
    checks.distributed(text.sample(20_000, 4, generator=generator(1)), text.log_prob(states).exp(), states=states)


def test_markov_text_empirical_entropy_rate_meets_the_exact_one():
    text = MarkovText.random(6, seed=8)
    x = text.sample(2_000, 40, generator=generator(2))
    truth = (text.entropy_rate() * 39 + _entropy(text.stationary)) / 40
    checks.unbiased(-text.log_prob(x) / 40, truth, "nats a symbol")


def _entropy(p):
    return -(p * p.log()).sum().item()


def test_a_chain_with_a_transient_symbol_and_a_deterministic_row():
    text = MarkovText([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    checks.close(text.stationary, torch.tensor([1 / 3, 2 / 3, 0.0]), "stationary", atol=1e-10)
    assert math.isclose(text.entropy_rate(), 2 / 3 * math.log(2), rel_tol=1e-9)
    assert (text.sample(50, 10, generator=generator(0)) != 2).all()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: TinyLanguage(torch.ones(2, 3)), r"shape \(v,\) \* l"),
        (lambda: TinyLanguage(-torch.ones(2, 2)), "non-negative"),
        (lambda: TinyLanguage.random(3, 2).log_prob(torch.tensor([[0, 3]])), "unmask x first"),
        (lambda: TinyLanguage.random(3, 2).log_prob(torch.tensor([[0, 1, 2]])), r"expected shape \(b, 2\)"),
        (lambda: TinyLanguage(torch.eye(2)).conditionals(torch.tensor([[0, 1]])), "impossible under this language"),
        (lambda: TinyLanguage.random(3, 2).conditionals(torch.tensor([[0, 4]])), "be the mask 3"),
        (lambda: MarkovText.random(3).sample(2, 0), "at least 1 symbol"),
        (lambda: MarkovText(torch.ones(2, 2)), "rows must be probabilities"),
        (lambda: MarkovText(torch.ones(2, 3)), "must be square"),
        (lambda: all_sequences(10, 7), "too many to enumerate"),
    ],
)
def test_bad_input_is_named(act, message):
    with pytest.raises(ValueError, match=message):
        act()


# --- sabotage: what is wrong, the oracle that must notice, where, the text and what replaces it ----------------------

TWINS = {
    "index from the other end": (
        test_probabilities_are_the_table_normalised,
        TinyLanguage._index,
        "self.l - 1, -1, -1",
        "self.l",
    ),
    "language as wide as ever": (
        test_spread_is_the_scale_of_the_random_log_probabilities,
        TinyLanguage.random.__func__,
        "logits = spread * ",
        "logits = ",
    ),
    "text as wide as ever": (
        test_spread_is_the_scale_of_the_random_log_probabilities,
        MarkovText.random.__func__,
        "logits = spread * ",
        "logits = ",
    ),
    "prior forgotten": (
        test_posterior_under_a_noisy_channel_is_bayes_rule,
        TinyLanguage.posterior,
        ".sum(2) + self.log_probs",
        ".sum(2)",
    ),
    "masks taken for symbols": (
        test_conditionals_of_every_mask_pattern,
        TinyLanguage.conditionals,
        "torch.where((x == self.mask)[..., None], 0.0, visible)",
        "torch.where((x == self.mask).any(1)[:, None, None], 0.0, visible)",
    ),
    "entropy rate over a uniform start": (
        test_markov_text_stationary_and_entropy_rate,
        MarkovText.entropy_rate,
        "self.stationary[:, None] *",
        "1 / self.v *",
    ),
    "chain read backwards": (
        test_markov_text_probabilities_and_samples,
        MarkovText.log_prob,
        "x[:, :-1], x[:, 1:]",
        "x[:, 1:], x[:, :-1]",
    ),
    "every symbol after the first": (
        test_markov_text_empirical_entropy_rate_meets_the_exact_one,
        MarkovText.sample,
        "log_p[x[-1]]",
        "log_p[x[0]]",
    ),
}


@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
def test_oracle_notices(twin, notices):
    notices(*twin)


@pytest.mark.parametrize("groups", [[[0, 1, 2]], [[2], [0, 1]], [[0, 2], [1]], [[1], [0], [2]]])
def test_the_price_of_writing_at_once_is_the_divergence_of_the_law_that_is_written(groups):
    table = torch.rand(2, 3, 4, generator=generator(1), dtype=torch.float64)
    table[0, 1] = 0
    p = table / table.sum()
    want = 0.0
    for text in itertools.product(*map(range, p.shape)):
        if p[text] > 0:
            q, before = 1.0, set()
            marginal = lambda kept, text=text: p[tuple(text[i] if i in kept else slice(None) for i in range(3))].sum()
            for group in groups:
                for i in group:
                    q *= float(marginal(before | {i}) / marginal(before))
                before |= set(group)
            want += float(p[text]) * math.log(float(p[text]) / q)
    assert math.isclose(parallel_cost(table, groups), want, abs_tol=1e-12)
    assert (want < 1e-12) == (max(map(len, groups)) == 1)


def test_the_price_of_one_group_is_total_correlation():
    language = TinyLanguage.random(3, 3, seed=2)
    p = language.log_probs.exp().reshape(3, 3, 3)
    all_hidden = torch.full((1, 3), language.mask)
    assert math.isclose(parallel_cost(p, [range(3)]), float(language.total_correlation(all_hidden)), rel_tol=1e-10)
    with pytest.raises(ValueError, match="each of the 3 positions once"):
        parallel_cost(p, [[0], [1, 1]])
