"""Tokens at the ends of their domain: no NaN in a value or a gradient, no mask left in a text, one guidance."""

import itertools

import pytest
import torch

from coursekit import checks
from genmodels import discrete, samplers
from genmodels.core import generator, sample_categorical
from genmodels.discrete import Masking, Uniform, guided, score_entropy
from genmodels.schedule import cosine, rectified
from genmodels.toy import TinyLanguage

F64 = torch.float64
LANGUAGE = TinyLanguage.random(3, 2, seed=3, spread=1.5)


def gradient(loss, x):
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(loss(x).sum(), x)
    return slope


def test_the_last_step_of_the_bound_has_a_gradient_under_both_noises():
    """At s = 0 the exact posterior has zeros: KL's 0 log 0, and its gradient, are 0. By finite differences."""
    x0 = LANGUAGE.sequences
    for process in (Masking(3, rectified()), Uniform(3, rectified())):
        x_t = process.corrupt(x0, 0.7, generator=generator(0))
        logits = torch.randn(9, 2, process.states, generator=generator(1), dtype=F64)

        def loss(z, process=process, x_t=x_t):
            return process.step_kl(process.only_clean(z.log_softmax(-1)), x0, x_t, 0.4, 0.0)

        slope = gradient(loss, logits)
        at = (4, 1, 2)
        nudge = torch.zeros_like(logits)
        nudge[at] = 1e-6
        with torch.no_grad():
            by_hand = (loss(logits + nudge) - loss(logits - nudge)).sum() / 2e-6
        checks.close(slope[at], by_hand, f"slope under {type(process).__name__}", atol=1e-7)
        assert slope.isfinite().all()


def test_score_entropy_of_an_impossible_jump_costs_the_score_alone():
    log_s = torch.tensor([-torch.inf, 0.0, 1.0], dtype=F64)
    checks.close(score_entropy(log_s, torch.zeros(3, dtype=F64)), log_s.exp(), "ratio 0")
    assert (
        gradient(lambda z: score_entropy(z, torch.tensor([0.0, 1.0], dtype=F64)), torch.zeros(2, dtype=F64))
        .isfinite()
        .all()
    )
    slope = gradient(lambda r: score_entropy(torch.zeros(2, dtype=F64), r), torch.tensor([0.0, 1.0], dtype=F64))
    assert slope.isfinite().all()


def honest(x, t):
    return LANGUAGE(x, t)


def leaky(x, t):
    """The same network with seven tenths of every prediction on the mask."""
    mask = torch.tensor([0.0, 0.0, 0.0, 0.7], dtype=F64)
    return (0.3 * LANGUAGE(x, t).exp() + mask).log()


STEPS = {
    "ancestral": lambda d, p, g: samplers.ancestral(d, p, generator=g),
    "tweedie": lambda d, p, g: samplers.tweedie(samplers.concrete_score(d, p), p, generator=g),
    "tau_leaping": lambda d, p, g: samplers.tau_leaping(samplers.concrete_score(d, p), p, generator=g),
    "confidence": lambda d, p, g: samplers.confidence(d, p, generator=g),
    "greedy": lambda d, p, g: samplers.confidence(d, p, temperature=0, generator=g),
    "first_hitting": lambda d, p, g: samplers.first_hitting(d, p, generator=g),
}


@pytest.mark.parametrize("name", STEPS)
def test_mass_that_a_network_gives_the_mask_leaves_no_mask_and_changes_nothing(name):
    process, start = Masking(3, cosine()), torch.full((500, 2), 3)
    last = [
        samplers.last(samplers.sample(STEPS[name](d, process, generator(4)), start, [0.999, 0.5, 0.0]))
        for d in (honest, leaky)
    ]
    assert (last[1] < 3).all()
    assert torch.equal(*last), "the same draws from the same conditional distribution"


@pytest.mark.parametrize("name", ["ancestral", "confidence", "first_hitting"])
def test_a_network_that_gives_the_mask_everything_is_told(name):
    nothing = torch.tensor([-torch.inf] * 3 + [0.0]).expand(5, 2, 4)
    step = STEPS[name](lambda x, t: nothing, Masking(3, rectified()), generator(0))
    with pytest.raises(ValueError, match="any probability|finite largest"):
        step(torch.full((5, 2), 3), 0.9, 0.1)


@pytest.mark.parametrize("row", [[-torch.inf] * 3, [0.0, torch.nan, 1.0], [0.0, torch.inf, 1.0]])
def test_no_symbol_is_drawn_from_a_row_that_says_nothing(row):
    with pytest.raises(ValueError, match="finite largest"):
        sample_categorical(torch.tensor([[0.0, 0.0, 0.0], row]))


def test_guidance_means_the_same_on_tokens_and_on_a_gaussian_path():
    """Scale 0 forgets the condition, 1 is the condition, in between the normalised product of powers."""
    from genmodels import diffusion

    x = torch.tensor([[1, 3]])
    prompt = torch.tensor([[True, False]])
    told, untold = LANGUAGE(x), LANGUAGE(torch.full_like(x, 3))
    for scale in (0.0, 0.3, 1.0, 2.5):
        want = ((1 - scale) * untold + scale * told)[:, 1, :3].log_softmax(-1)
        checks.close(guided(LANGUAGE, prompt, 3, scale)(x, 0.5)[:, 1, :3], want, f"tokens, scale {scale}", atol=1e-12)
        points = torch.tensor([[1.0, 2.0]])
        got = diffusion.guided(lambda x, t: x, lambda x, t: -x, scale)(points, 0.5)
        checks.close(got, (2 * scale - 1) * points, f"Gaussian path, scale {scale}")


def test_guidance_has_no_nan_where_one_prediction_excludes_a_symbol():
    table = {True: torch.tensor([0.5, 0.5, 0.0, 0.0]).log(), False: torch.tensor([1.0, 0.0, 0.0, 0.0]).log()}
    denoise = lambda x, t: table[bool((x == 0).any())].expand(1, 2, 4)
    for scale in (0.0, 0.5, 1.0, 3.0):
        p = guided(denoise, torch.tensor([[True, False]]), 3, scale)(torch.tensor([[0, 3]]), 0.5).exp()
        assert not p.isnan().any() and (p[..., 2:] == 0).all()
    with pytest.raises(ValueError, match="not negative"):
        guided(denoise, torch.tensor([[True, False]]), 3, -1.0)


def test_a_step_that_goes_nowhere_is_refused():
    process = Masking(3, rectified())
    for t, s in ((0.5, 0.5), (0.2, 0.6), (0.0, 0.0)):
        for name in ("ancestral", "confidence"):
            with pytest.raises(ValueError, match="alpha\\(s\\) must exceed|s < t"):
                STEPS[name](honest, process, generator(0))(torch.full((2, 2), 3), t, s)


def test_a_margin_needs_two_symbols():
    with pytest.raises(ValueError, match="between two symbols"):
        discrete.by_margin(torch.zeros(1, 2, 1), torch.zeros(1, 2, dtype=torch.long))


def test_only_clean_is_conditioning():
    process = Masking(3, rectified())
    log_p = torch.randn(5, 2, 4, generator=generator(0), dtype=F64).log_softmax(-1)
    kept = process.only_clean(log_p).exp()
    p = log_p.exp()
    for b, i, v in itertools.product(range(5), range(2), range(3)):
        assert abs(float(kept[b, i, v] - p[b, i, v] / (1 - p[b, i, 3]))) < 1e-12
    assert (kept[..., 3] == 0).all()
    uniform = Uniform(4, rectified())
    assert uniform.only_clean(log_p) is log_p
