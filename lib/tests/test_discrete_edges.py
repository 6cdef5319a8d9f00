"""Discrete diffusion at its edges: what is certain stays certain, large vocabularies, and input that makes no sense."""

import math

import pytest
import torch

from genmodels import checks
from genmodels.core import generator, gumbel, sample_categorical
from genmodels.discrete import (
    Masking,
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
        (lambda: subs(torch.zeros(2, 3, 4), X, 4), "mask must be one of the 4"),
        (lambda: exact_masked_nelbo(lambda x: x, X, 3, block=2), "block must divide the length 3"),
        (lambda: exact_masked_nelbo(lambda x: x, torch.zeros(1, 20).long(), 3), "too many to enumerate"),
    ],
)
def test_bad_input_is_named(act, message):
    with pytest.raises(ValueError, match=message):
        act()
