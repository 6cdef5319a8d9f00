"""Every check passes the right answer, and meets each wrong one with its own sentence."""

import math

import numpy as np
import pytest
import torch

from coursekit import checks
from coursekit.checks import CheckFailed

G = torch.Generator().manual_seed(20)
V = torch.randn(5, generator=G, dtype=torch.float64)
M = torch.randn(3, 4, generator=G, dtype=torch.float64)
S = torch.randn(4, 4, generator=G, dtype=torch.float64)
P = torch.rand(5, generator=G, dtype=torch.float64) + 0.1
BIG = torch.randn(7, 5, 3, generator=G, dtype=torch.float64)
LOG_2PI = math.log(2 * math.pi)


def message(check, *args, **options) -> str:
    with pytest.raises(CheckFailed) as caught:
        check(*args, **options)
    text = str(caught.value)
    assert all(len(line) <= 160 for line in text.split("\n")), "a line of the message is too long to read"
    return text


@pytest.mark.parametrize(
    "got, want",
    [
        (V, V),
        (V + 1e-8, V),
        (V.numpy(), V),
        (V.tolist(), V),
        (3, 3.0),
        (np.float32(0.5), 0.5),
        (V.clone().requires_grad_(), V),
        (torch.tensor([0.0, -math.inf]), torch.tensor([0.0, -math.inf])),
        (S.tril().bool().int(), S.tril().bool()),
        ((V, M), [V, M]),
        ({"mu": V, "std": P}, {"std": P, "mu": V}),
        (torch.tensor([1 + 2j]), torch.tensor([1 + 2j])),
    ],
)
def test_close_accepts_what_is_equal_in_any_form(got, want):
    checks.close(got, want)


SLIPS = [
    (-V, V, "sign is reversed"),
    (2 * V, V, "twice"),
    (V / 2, V, "half"),
    (-2 * V, V, "twice as large and of the wrong sign"),
    (V * 0, V, "all zeros"),
    (V**2, V, "squares"),
    (P.sqrt(), P, "roots"),
    (P.log(), P, "logs"),
    (V.exp(), V, "exp of"),
    (1 / V, V, "upside down"),
    (V.sigmoid(), V, "sigmoid too many"),
    ((P / 2).logit(), P / 2, "sigmoid is missing"),
    (M.softmax(1), M, "a softmax over dimension 1"),
    (M.log_softmax(0), M, "a log_softmax over dimension 0"),
    (M.cumsum(1), M, "running sum along dimension 1"),
    (1 - V, V, "1 - the expected"),
    (V.abs(), V, "sign is lost"),
    (V / 7, V, "size 7"),
    (V * -9, V, "size 9? The sign is reversed too"),
    (V / math.log(2), V, "in bits"),
    (V * math.log(2), V, "in nats"),
    (V * 1.234, V, "1.234 times"),
    (V - 1.5 * LOG_2PI, V, "-3 x log(2 pi)/2"),
    (V + 0.1234, V, "constant 0.1234"),
    (V + 1, V, "one too much"),
    (S.T, S, "transposed"),
    (M.T, M, "transposed"),
    (S.tril(-1), S.tril(), "only the diagonal"),
    (V.flip(0), V, "reversed along dimension 0"),
    (M.flip(1), M, "reversed along dimension 1"),
    (V.roll(1), V, "shifted by one along dimension 0: entry i holds what belongs to i - 1"),
    (M.roll(-1, 1), M, "shifted by one along dimension 1: entry i holds what belongs to i + 1"),
    (V[[2, 0, 1, 4, 3]], V, "another order"),
    (M[:1].expand(3, 4), M, "value of the first one"),
    (torch.ones(5) * 0.37, V, "same for every sample"),
    ((10 * V).trunc(), 10 * V, "cut off"),
    ((10 * V).round(), 10 * V, "rounded"),
    (V * math.nan, V, "NaN everywhere"),
    (V.log(), V, "NaN in some"),
    (V / 0, V, "infinite"),
    (V.half(), V, "float16"),
    (V[:, None] - V, V, "(5, 1) was combined with a (5,)"),
    (V[:, None], V, "dimension of size 1"),
    (M, M.sum(1), "sum over the last dimension(s) is missing"),
    (BIG, BIG.mean((1, 2)), "mean over the last dimension(s) is missing"),
    (V.mean(), V, "averaged over the batch"),
    (V.sum(), V, "summed over the batch"),
    (V[1:], V, "too few along dimension 0: the first one"),
    (V[:-1], V, "too few along dimension 0: the last one"),
    (torch.cat([V, V[:1]]), V, "too many along dimension 0: the last one"),
    (M.flatten(), M, "another shape"),
    (None, V, "without `return`"),
    (torch.sin, V, "call it"),
]


@pytest.mark.parametrize("got, want, sentence", SLIPS, ids=[s for *_, s in SLIPS])
def test_close_names_the_slip(got, want, sentence):
    text = message(checks.close, got, want, "f(x)")
    assert text.startswith("f(x)")
    assert sentence in text.split("Likely mistake: ")[1]


def test_close_does_not_call_every_mask_with_as_many_ones_a_permutation():
    mask = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [1, 0, 1, 0]]).bool()
    assert "Likely" not in message(checks.close, mask.flatten()[torch.randperm(12, generator=G)].reshape(3, 4), mask)


def test_close_guesses_nothing_about_noise():
    wrong = V + torch.randn(5, generator=G, dtype=torch.float64)
    assert "Likely" not in message(checks.close, wrong, V)


@pytest.mark.parametrize("scale", [1e-30, 1e-7, 1.0, 1e12])
def test_a_reversed_sign_never_passes_at_any_scale_with_no_absolute_tolerance(scale):
    message(checks.close, -V * scale, V * scale, atol=0.0)


def test_known_mistakes_come_first_and_are_computed_only_after_a_failure():
    def never():
        raise RuntimeError("evaluated although the answer is right")

    checks.close(V, V, mistakes={"x": never})
    text = message(checks.close, 2 * V, V, mistakes={"other": V + 3, "the 1/2 of the KL is missing.": lambda: 2 * V})
    assert "Likely mistake: the 1/2 of the KL" in text and "twice" not in text


def test_large_answers_are_shown_by_their_worst_entry():
    wrong = BIG.clone()
    wrong[2, 4, 1] += 0.5
    wrong[2, 0, 0] += 0.1
    text = message(checks.close, wrong, BIG, "net(x)")
    assert "2 of 105" in text and "at [2, 4, 1]" in text and "index 2 in dimension 0" in text


def test_tiny_differences_are_shown_with_enough_digits():
    text = message(checks.close, 1 / 3 + 1e-8, 1 / 3, atol=0.0, rtol=1e-10)
    assert "0.333333343333" in text and "the largest is 1e-08" in text


def test_parts_and_dtype():
    assert "[1]" in message(checks.close, (V, -M), (V, M), "f")
    assert "number of parts" in message(checks.close, (V,), (V, M), "f")
    assert "['a']" in message(checks.close, {"a": V}, {"a": V, "b": V}, "f")
    assert "wrong dtype" in message(checks.close, V.float(), V.float(), dtype=torch.float64)
    assert "first half" in message(checks.close, (V, 3 * M), (V, M), "f", mistakes={"first half": (V, 3 * M)})


def test_answers_of_the_wrong_kind_are_named():
    assert "an object of type dict" in message(checks.close, {"a": V}, V, "f")
    assert "is not a tuple of 2" in message(checks.close, M, (V, M, V)[:2], "f")
    assert "is not a dict" in message(checks.close, V, {"a": V}, "f")
    assert "3 parts of different shapes" in message(checks.close, [V, M, V], V, "f")
    assert "an object of type set" in message(checks.close, {1}, {"a": V}, "f")
    assert "dimension(s) is missing" in message(checks.shape, BIG, (7,))
    assert "Likely" not in message(checks.close, torch.tensor([1j, 2.0]), torch.tensor([2.0, 1j]))


def test_shape_and_finite():
    checks.shape(M, (3, None))
    checks.finite(M)
    assert "(3, any, 2)" in message(checks.shape, M, (3, None, 2))
    assert "transposed" in message(checks.shape, M, (4, 3))
    assert "1 NaN and 1 infinite of 3 entries, the first at [1]" in message(checks.finite, [0.0, math.nan, math.inf])


def test_raises():
    def strict(x):
        if x < 0:
            raise ValueError(f"sigma must be positive; got {x}")
        return x

    checks.raises(ValueError, strict, -1.0, match="sigma")
    assert "accepted a bad argument" in message(checks.raises, ValueError, strict, 1.0)
    assert "does not name" in message(checks.raises, ValueError, strict, -1.0, match="alpha")
    assert "TypeError" in message(checks.raises, ValueError, strict, "a")


def test_fallback(capsys):
    def made_masks(n):
        raise NotImplementedError("made_masks: write your answer here")

    theirs = lambda n: n
    assert checks.fallback(made_masks, theirs, works=lambda f: f(3) == 3) is theirs
    assert "made_masks is not solved yet (NotImplementedError)" in capsys.readouterr().out
    assert checks.fallback(abs, theirs, works=lambda f: f(-3) == 4) is theirs
    assert "abs is not right yet (its check fails)" in capsys.readouterr().out
    assert checks.fallback(abs, theirs, works=lambda f: f(-3) == 3) is abs
    assert checks.fallback(abs, theirs, works=lambda f: f("x")) is theirs
    assert "TypeError" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("mine", "good"),
    [
        (lambda x: (x, 2 * x), True),
        (lambda x: (x, 2 * x + 1e-7), True),
        (lambda x: (x, 2 * x + 1e-3), False),
        (lambda x: (x,), False),
        (lambda x: (x, 2 * x[:, None]), False),
        (lambda x: (x, x * math.nan), False),
    ],
)
def test_a_fallback_compares_two_functions_at_given_arguments(mine, good):
    theirs = lambda x: (x, x + x)
    assert (checks.fallback(mine, theirs, at=(torch.arange(3.0),)) is mine) == good


def test_a_notebook_shows_the_explanation_alone(capsys):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    result = shell.run_cell("from coursekit import checks\nchecks.close(2.0, 1.0, 'f(x)')")
    assert isinstance(result.error_in_exec, CheckFailed)
    shown = capsys.readouterr().out
    assert "Likely mistake: twice" in shown and "values.py" not in shown and "checks.close" not in shown
