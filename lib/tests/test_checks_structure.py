"""Checks of structure and of distributions pass what is right and name what is wrong."""

import math

import pytest
import torch

from coursekit import checks
from coursekit.checks import CheckFailed

G = torch.Generator().manual_seed(21)
V = torch.randn(5, generator=G, dtype=torch.float64)
S = torch.randn(4, 4, generator=G, dtype=torch.float64)
P = torch.rand(5, generator=G, dtype=torch.float64) + 0.1
LOG_2PI = math.log(2 * math.pi)


def message(check, *args, **options) -> str:
    with pytest.raises(CheckFailed) as caught:
        check(*args, **options)
    return str(caught.value)


STATES = torch.cartesian_prod(*[torch.arange(2)] * 4).double()
Q = torch.rand(16, generator=G, dtype=torch.float64) + 0.05
Q /= Q.sum()


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        (-Q.log(), "sign is reversed"),
        (Q, "a log is missing"),
        (Q.log2(), "in bits"),
        (Q.log() / 4, "averaged over the 4 dimensions"),
        (2 * Q.log(), "counted twice"),
        (Q.log() + 3, "exceed 1"),
        (Q.log()[:, None].expand(16, 4) / 4, "wrong shape"),
        (Q.log() * math.nan, "NaN"),
        (Q.log() + 0.01, "a total of 1.01005"),
    ],
)
def test_normalised(wrong, sentence):
    checks.normalised(lambda _: Q.log(), STATES)
    assert sentence in message(checks.normalised, lambda _: wrong, STATES)


def test_normalised_on_a_grid_and_with_known_mistakes():
    x = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    lp = -0.5 * x**2 - 0.5 * LOG_2PI
    checks.normalised(lp, x[:, None], cell=18 / 4000)
    mistakes = {"log(2 pi) is missing.": math.sqrt(2 * math.pi)}
    assert "log(2 pi)" in message(checks.normalised, lp + LOG_2PI / 2, x[:, None], cell=18 / 4000, mistakes=mistakes)


D = 5
X = torch.randn(3, D, generator=G, dtype=torch.float64)
W = torch.randn(D, D, generator=G, dtype=torch.float64)
ORDER = [3, 0, 4, 1, 2]
RANK = torch.tensor([1, 3, 4, 0, 2])  # variable 3 comes first, then 0, ...
ALLOWED = (RANK[None, :] < RANK[:, None]).double()


@pytest.mark.parametrize(
    "mask, sentence",
    [
        (ALLOWED + torch.eye(D), "sees itself"),
        (ALLOWED.T, "transposed"),
        (torch.ones(D, D), "may not see"),
        (ALLOWED * 0, "depends on no input at all"),
        (torch.ones(D, D).tril(-1), "generated number"),
    ],
)
def test_triangular(mask, sentence):
    checks.triangular(lambda x: (x @ (W * ALLOWED).T).tanh(), X, ORDER, complete=True)
    assert sentence in message(checks.triangular, lambda x: (x @ (W * mask).T).tanh(), X, ORDER, "MADE")


def test_triangular_finds_blind_spots_mixed_samples_and_pictures():
    blind = torch.ones(D, D).tril(-1) - torch.ones(D, D).tril(-4)
    f = lambda x: x @ (W * blind).T
    checks.triangular(f, X)
    assert "input 0" in message(checks.triangular, f, X, complete=True)
    batch_norm = lambda x: (x - x.mean(0)) @ (W * W.tril(-1)).T
    assert "BatchNorm" in message(checks.triangular, batch_norm, X)
    conv = torch.nn.Conv2d(1, 1, 3, padding=1).double()
    assert "output [0, 0, 0] depends on input [0, 0, 0]" in message(
        checks.triangular, conv, torch.randn(2, 1, 3, 4, dtype=torch.float64)
    )
    with torch.no_grad():
        conv.weight.view(-1)[4:] = 0  # the centre of a 3 x 3 kernel and what follows it
    checks.triangular(conv, torch.randn(2, 1, 3, 4, dtype=torch.float64))
    checks.triangular(lambda x: x @ W.tril().T, X, strict=False)
    known = {"two steps back": torch.ones(D, D).tril(-1).bool() | torch.eye(D, dtype=torch.bool)}
    assert "two steps back" in message(checks.triangular, lambda x: x @ W.tril().T, X, mistakes=known)


def test_derivatives_of_functions_that_ignore_their_input_are_zero():
    assert not checks.grad(lambda x: torch.ones(3), V).any()
    assert not checks.jacobian(lambda x: torch.ones(3), V).any()
    torch.testing.assert_close(checks.grad(lambda a, b: a * b**2, V, P[:5], wrt=1), 2 * V * P[:5])
    torch.testing.assert_close(checks.jacobian(lambda x: S @ x, V[:4]), S)


def test_the_grader_can_replace_the_derivatives(monkeypatch):
    calls = []
    original = checks.jacobian
    monkeypatch.setattr(checks, "jacobian", lambda f, x: calls.append(1) or original(f, x))
    checks.triangular(lambda x: x @ W.tril(-1).T, X)
    monkeypatch.setattr(checks, "parameter_grads", lambda f, module, *args: {"w": None})
    assert "not reached  w" in message(checks.gradient_reaches, torch.nn.Linear(2, 2), torch.ones(3, 2))
    assert calls == [1]


def test_gradient_reaches():
    a, b = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)
    both = torch.nn.Sequential(a, b)
    x = torch.randn(5, 3, generator=G)
    checks.gradient_reaches(both, x)
    checks.gradient_reaches(torch.nn.Sequential(a, b, torch.nn.Softmax(-1)), x)  # the rows sum to 1
    cut = lambda x: b(a(x).detach())
    assert "not reached  0.weight, 0.bias" in message(checks.gradient_reaches, both, x, f=cut)
    checks.gradient_reaches(both, x, f=cut, never=["0."])
    assert "goes where it must not" in message(checks.gradient_reaches, both, x, never=["0."])
    assert "not finite" in message(checks.gradient_reaches, both, x * math.inf)


def test_depends_on():
    checks.depends_on(lambda x, s, k: x * s + k, V, 2.0, 1, changed={2: 2})
    text = message(checks.depends_on, lambda x, s: x, V, 2.0, names=["x", "sigma"], what="step(x, sigma)")
    assert "step(x, sigma) ignores sigma" in text
    assert "two results" in message(checks.depends_on, lambda x: x * torch.rand(1), V)
    with pytest.raises(ValueError, match="changed"):
        checks.depends_on(lambda n: n, 3)


N = 20_000


@pytest.mark.parametrize(
    "shift, scale, sentence",
    [(-4.0, 1.0, "sign is reversed"), (2.0, 1.0, "twice"), (0.05, 1.0, "standard errors over n = 20000")],
)
def test_unbiased(shift, scale, sentence):
    x = 2 + scale * torch.randn(N, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    truth = torch.full((3,), 2.0)
    checks.unbiased(x, truth, std_error=0.01)
    assert sentence in message(checks.unbiased, x + shift, truth)
    assert "too noisy" in message(checks.unbiased, x, truth, std_error=0.001)


def test_unbiased_names_known_mistakes_and_wants_samples():
    x = torch.randn(N, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 1.7
    assert "baseline" in message(checks.unbiased, x, 2.0, mistakes={"the baseline sees its own sample.": 1.7})
    assert "wrong mean" in message(checks.unbiased, x * math.nan, 2.0)
    with pytest.raises(ValueError, match="at least 30"):
        checks.unbiased(x[:5], 2.0)


def draw(p, n=N, seed=3):
    return torch.multinomial(p, n, True, generator=torch.Generator().manual_seed(seed))


def independent():
    marginal = Q @ STATES
    return (torch.rand(N, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64) < marginal).double()


@pytest.mark.parametrize(
    "samples, sentence",
    [
        (draw(Q**2), "squared"),
        (draw(Q.sqrt()), "roots"),
        (draw(torch.ones(16)), "equally likely"),
        (draw(Q.flip(0)), "reverse"),
        (torch.full((N,), 3), "argmax"),
        (draw(Q.roll(1)), "rolled"),
        (draw(0.9 * Q + 0.1 / 16), "chi-square"),
        (draw(Q) + 1, "no category"),
        (draw(Q) * 0.5, "no category"),
    ],
)
def test_distributed(samples, sentence):
    checks.distributed(draw(Q), Q, mistakes={"rolled by one.": Q.roll(1)})
    assert sentence in message(checks.distributed, samples, Q, mistakes={"rolled by one.": Q.roll(1)})


def test_distributed_over_states():
    checks.distributed(STATES[draw(Q)], Q, states=STATES)
    assert "independently of each other" in message(checks.distributed, independent(), Q, states=STATES)
    assert "does not exist" in message(checks.distributed, STATES + 1, Q, states=STATES)
    assert "wrong shape" in message(checks.distributed, STATES[:, :2], Q, states=STATES)
    never = torch.tensor([0.5, 0.5, 0.0])
    assert "chi-square inf" in message(checks.distributed, torch.tensor([0, 1, 2] * 30), never)


def test_chi_square_agrees_with_scipy_and_rejects_as_often_as_it_says():
    from scipy.stats import chisquare

    from coursekit.checks.statistics import chi_square

    counts = torch.bincount(draw(Q), minlength=16).double()
    want = chisquare(counts.numpy(), (N * Q).numpy())
    got = chi_square(counts, Q)
    assert got[0] == pytest.approx(want.pvalue) and got[1] == pytest.approx(want.statistic) and got[2] == 15
    few = [chi_square(torch.bincount(draw(Q, 60, seed), minlength=16).double(), Q)[0] < 0.05 for seed in range(600)]
    assert 0.01 < sum(few) / 600 < 0.1  # n = 600 tests at level 0.05: standard error 0.009


@pytest.mark.parametrize(
    "errors, sentence",
    [
        ([0.1, 0.05, 0.025], "Euler's order"),
        ([0.1, 0.1, 0.1], "do not help"),
        ([1.0, 0.125, 0.015625], "faster"),
        ([1.0, 0.0, 0.0], "not positive"),
    ],
)
def test_order(errors, sentence):
    checks.order([1.0, 0.26, 0.0624], [8, 16, 32], 2)
    assert sentence in message(checks.order, errors, [8, 16, 32], 2, "heun")


def test_answers_without_the_asked_structure_are_named():
    assert "wrong shape" in message(checks.triangular, lambda x: x[:, :2], X, what="MADE")
    frozen = torch.nn.Linear(2, 2).requires_grad_(False)
    assert "no trainable parameter" in message(checks.gradient_reaches, frozen, torch.ones(1, 2))
    assert "not reached  weight" in message(checks.gradient_reaches, torch.nn.Linear(2, 2), f=lambda: torch.ones(3))
    big = torch.randn(99, 60, generator=G, dtype=torch.float64)
    assert " at [" in message(checks.unbiased, big, big.mean(0) + 0.7 * torch.arange(60), "grad")
