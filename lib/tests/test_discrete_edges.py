"""Discrete diffusion at its edges: what is certain stays certain, large vocabularies, and input that makes no sense."""

import math
from functools import partial

import pytest
import torch

from coursekit import checks
from genmodels.core import generator, gumbel, sample_categorical
from genmodels.discrete import (
    Masking,
    Process,
    Uniform,
    exact_masked_nelbo,
    subs,
)
from genmodels.schedule import rectified

# --- what is certain -------------------------------------------------------------------------------------------------


def test_subs_forbids_the_mask_and_carries_visible_tokens_over():
    logits = torch.randn(3, 5, 4, generator=generator(0), dtype=torch.float64) * 2
    x = torch.tensor([[3, 0, 1, 3, 2]]).repeat(3, 1)

    def oracle(f):
        p = f(logits, x, 3).exp()
        checks.close(p.sum(-1), torch.ones(3, 5), "rows", atol=1e-12)
        assert (p[..., 3] == 0).all(), "the mask is predictable"
        visible = x != 3
        assert (p.gather(2, x[..., None])[..., 0][visible] == 1).all(), "a visible token changed"
        checks.close(p[:, 0], logits[:, 0, :3].softmax(-1).new_zeros(3, 4).index_copy(
            1, torch.arange(3), logits[:, 0, :3].softmax(-1)), "a masked token", atol=1e-12)  # fmt: skip

    oracle(subs)
    with pytest.raises(AssertionError, match="visible"):
        oracle(lambda z, x, m: z.index_fill(2, torch.tensor([m]), -torch.inf).log_softmax(-1))
    with pytest.raises(AssertionError, match="mask"):
        oracle(lambda z, x, m: z.log_softmax(-1))


@pytest.mark.parametrize("make", [Masking, Uniform])
def test_staying_is_no_jump(make):
    """What a network says of the symbol that is already there costs nothing and moves nothing."""
    process, g = make(3, rectified()), generator(1)
    x0 = torch.randint(3, (5, 4), generator=g)
    x_t, t = process.corrupt(x0, 0.6, generator=g), torch.full((5,), 0.6, dtype=torch.float64)
    log_score = torch.randn(5, 4, process.states, generator=g, dtype=torch.float64)
    here = torch.nn.functional.one_hot(x_t, process.states).bool()
    loss = process.score_entropy_loss(log_score, x0, x_t, t)
    checks.close(process.score_entropy_loss(log_score + 3.0 * here, x0, x_t, t), loss, "loss", atol=1e-12)
    assert (process.score_entropy_loss(log_score + 3.0 * ~here, x0, x_t, t) - loss).abs().max() > 0.1
    rates = process.reverse_rates(x_t, log_score.exp(), t)
    assert (rates[here] == 0).all() and (rates > 0).any()


def test_visible_tokens_of_a_mask_process_are_never_left_so_their_scores_may_be_anything():
    process, g = Masking(3, rectified()), generator(1)
    x0 = torch.randint(3, (5, 4), generator=g)
    x_t, t = process.corrupt(x0, 0.6, generator=g), torch.full((5,), 0.6, dtype=torch.float64)
    log_score = torch.randn(5, 4, 4, generator=g, dtype=torch.float64)
    wild = torch.where((x_t == 3)[..., None], log_score, 1e4)  # exp of it is infinite
    assert (x_t == 3).any() and (x_t != 3).any()
    loss = process.score_entropy_loss(log_score, x0, x_t, t)
    checks.close(process.score_entropy_loss(wild, x0, x_t, t), loss, "loss", atol=1e-12)


# --- precision -------------------------------------------------------------------------------------------------------


def test_float32_gumbel_lowers_the_temperature_of_a_large_vocabulary():
    """One likely symbol and 5e4 rare ones that together hold 0.2 %: in float32 they come less than half as often.

    The float32 sampler's probability is exact: a sum over the 2^24 values of its uniform numbers.
    """
    v, tail = 50_000, 0.002
    gap = math.log((1 - tail) / (tail / v))
    k = torch.arange(1, 2**24, dtype=torch.float64) / 2**24
    k = k[k > 1 - 1e-3]  # the largest of 5e4 uniform numbers is below only once in e^50
    minus_log = -k.log()  # e^{-Gumbel noise}
    best = torch.diff(k**v, prepend=torch.zeros(1).double())  # P(the largest of v uniform numbers is this value)
    float32_tail = float((best * torch.exp(-minus_log * math.exp(gap))).sum())
    assert 0.4 * tail < float32_tail < 0.5 * tail

    def on_the_grid(noise):
        u = torch.exp(-torch.exp(-noise.double())) * 2**24
        return ((u - u.round()).abs() < 1e-6).double().mean()

    # The library's noise is not confined to that grid; noise made of float32 uniform numbers is.
    assert on_the_grid(gumbel((100_000,), generator=generator(0))) < 1e-3
    coarse = torch.rand(100_000, generator=generator(0)).clamp_min(2**-24).double()
    assert on_the_grid(-(-coarse.log()).log()) > 0.999
    logits = torch.tensor([0.0, -9.0, -10.0], dtype=torch.float16)
    draws = sample_categorical(logits.expand(200_000, -1), generator=generator(1))
    checks.distributed(draws, logits.double().softmax(0), "half-precision logits")


def test_the_bound_of_a_float32_network_is_added_up_in_float64():
    """At an early time the ratios are near 1 and cancel: in float32 hardly a digit of the loss would be left."""
    process, g = Uniform(5, rectified()), generator(3)
    x0 = torch.randint(5, (7, 4), generator=g)
    t = torch.full((7,), 0.9999, dtype=torch.float64)
    x_t = process.corrupt(x0, t, generator=g)
    log_p0 = torch.randn(7, 4, 5, generator=g).log_softmax(-1)
    exact = process.nelbo_at(log_p0.double(), x0, x_t, t)
    checks.close(process.nelbo_at(log_p0, x0, x_t, t), exact, "nelbo_at of float32", rtol=1e-9)
    coarse = process.score_entropy_loss(process.ratio(x_t, log_p0.exp(), t).log(), x0, x_t, t)
    assert ((coarse - exact) / exact).abs().max() > 1e-3


# --- errors ----------------------------------------------------------------------------------------------------------

X = torch.zeros(2, 3, dtype=torch.long)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Uniform(3, rectified()).alpha(1.2, X), r"times lie in \[0, 1\]"),
        (lambda: Uniform(3, rectified()).alpha(torch.tensor([0.1, 0.2, 0.3]), X), "one time or 2"),
        (lambda: Uniform(3, rectified()).alpha(torch.rand(3, 2), X), "a time of each token"),
        (lambda: Uniform(3, rectified()).rate(1.0, X), "rate is infinite"),
        (lambda: Masking(3, rectified()).weight(0.0, X), "weight is infinite"),
        (lambda: Uniform(3, rectified()).posterior(X, torch.ones(2, 3, 3) / 3, 0.3, 0.5), "goes back in time"),
        (lambda: Uniform(1, rectified()), "at least 2 are needed, got 1"),
        (lambda: Masking(0, rectified()), "at least 1 symbol"),
        (lambda: Uniform(3, rectified()).corrupt(torch.zeros(2, 3), 0.5), "whole numbers, got torch.float32"),
        (lambda: subs(torch.zeros(2, 5, 4), X, 3), r"each token of \(2, 3\); got \(2, 5, 4\)"),
        (lambda: subs(torch.zeros(2, 3, 4), X, 4), "mask must be one of the 4"),
        (lambda: exact_masked_nelbo(lambda x: x, X, 3, block=2), "block must divide the length 3"),
        (lambda: exact_masked_nelbo(lambda x: x, torch.zeros(1, 20).long(), 3), "too many to enumerate"),
    ],
)
def test_bad_input_is_named(act, message):
    with pytest.raises(ValueError, match=message):
        act()


# --- sabotage: what is wrong, the oracle that must notice, where, the text and what replaces it ----------------------

TWINS = {
    "a price on staying": (
        partial(test_staying_is_no_jump, Uniform),
        Process.score_entropy_loss,
        "score_entropy(log_score, ratio).masked_fill(here, 0.0)",
        "score_entropy(log_score, ratio)",
    ),
    "nothing times infinity": (
        test_visible_tokens_of_a_mask_process_are_never_left_so_their_scores_may_be_anything,
        Process.score_entropy_loss,
        "torch.where(forward > 0, forward * jumps, 0.0)",
        "(forward * jumps)",
    ),
    "jumps onto itself": (
        partial(test_staying_is_no_jump, Masking),
        Process.reverse_rates,
        ".masked_fill(here, 0.0)",
        "",
    ),
    "precision of the network": (
        test_the_bound_of_a_float32_network_is_added_up_in_float64,
        Process.nelbo_at,
        "(log_p0).double()",
        "(log_p0)",
    ),
    "the mask is a symbol": (
        test_subs_forbids_the_mask_and_carries_visible_tokens_over,
        subs,
        "logits.masked_fill(symbols == mask, -torch.inf)",
        "logits",
    ),
}


@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
def test_oracle_notices(twin, notices):
    notices(*twin)
