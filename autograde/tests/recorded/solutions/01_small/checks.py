"""Chapter 01: the cases of each exercise, and the truth of each."""

import math

import torch

from autograde.authoring import Exercise, recipe
from coursekit.checks import Sampled

# ---------------------------------------------------------------- softened


def one_by_one(x, scale):
    rows = []
    for row in x.reshape(-1, x.shape[-1]).tolist():
        total, sums = 0.0, []
        for value in row:
            total += scale / (1 + math.exp(-value))
            sums.append(total)
        rows.append(sums)
    return torch.tensor(rows, dtype=x.dtype).reshape(x.shape)


def draws(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


softened = Exercise(truth=one_by_one, gradient=["x"])
first = softened.case("two rows of five", (draws(2, 5, seed=0), 1.5), rows=2)
softened.case("three rows of four", (draws(3, 4, seed=1), 0.5), rows=3)
softened.case("one row of nine", (draws(9, seed=2), 1.0), rows=1)
softened.case("a cube", (draws(2, 3, 4, seed=3), -2.0), hidden=True, rows=6)
softened.again(first)

# ---------------------------------------------------------------- noisy


def standardised(answer, mean, std, n):
    x = torch.full((n, 2), mean, dtype=torch.float64)
    make = lambda: torch.Generator().manual_seed(int(torch.randint(10**6, ())))
    z = (answer(x, std, make()) - mean) / std
    seed = int(torch.randint(10**6, ()))
    twice = [answer(x[:3], std, torch.Generator().manual_seed(s)) for s in (seed, seed, seed + 1)]
    return {
        "entries of another dtype than x": int(z.dtype != x.dtype),
        "mean of z": Sampled(z),
        "mean of z^2": Sampled(z**2),
        "mean of |z|": Sampled(z.abs()),
        "first z times second": Sampled(z[:, 0] * z[:, 1]),
        "one sample's z times the next's": Sampled(z * z.roll(1, 0)),
        "difference of two runs with equal generators": (twice[0] - twice[1]).abs().max(),
        "runs with different generators are alike": int(torch.equal(twice[0], twice[2])),
    }


WANT = {
    "entries of another dtype than x": 0,
    "mean of z": [0.0, 0.0],
    "mean of z^2": [1.0, 1.0],
    "mean of |z|": [math.sqrt(2 / math.pi)] * 2,
    "first z times second": 0.0,
    "one sample's z times the next's": [0.0, 0.0],
    "difference of two runs with equal generators": 0.0,
    "runs with different generators are alike": 0,
}
noisy = Exercise(view=standardised, equivalent=["the gradient is cut", "computed in float32"])
noisy.case("4,000 draws around 0", (0.0, 1.0, 4000), WANT, std=1.0)
noisy.case("4,000 draws around 3, standard deviation 2", (3.0, 2.0, 4000), WANT, std=2.0)
noisy.case("4,000 draws around -2, standard deviation 3", (-2.0, 3.0, 4000), WANT, std=3.0)
noisy.case("draws around -1, standard deviation 1/2", (-1.0, 0.5, 3000), WANT, hidden=True, std=0.5)

# ---------------------------------------------------------------- is_even


def polynomial(coefficients, hole=0.0, at=1.0):
    def f(x):
        bump = hole * torch.exp(-((x - at) ** 2) / 0.01)
        return sum(c * x**k for k, c in enumerate(coefficients)) + bump

    return (f,)


is_even = Exercise(verdict="function", show=False)
for text, c, hole, want, hidden in [
    ("x^2 with a bump at 2 only", [0, 0, 1.0], 2.0, False, False),
    ("x^2", [0, 0, 1.0], 0.0, True, False),
    ("3 - x^4", [3.0, 0, 0, 0, -1.0], 0.0, True, False),
    ("x^3", [0, 0, 0, 1.0], 0.0, False, False),
    ("x + x^3", [0, 1.0, 0, 1.0], 0.0, False, False),
    ("x^2 - 0.02 x", [0, -0.02, 1.0], 0.0, False, False),
    ("x^4 with a bump at 1 only", [0, 0, 0, 0, 1.0], 1.0, False, False),
    ("x^2 + 0.01 x", [0, 0.01, 1.0], 0.0, False, False),
    ("x^2 with a bump at 1 only", [0, 0, 1.0], 1.0, False, False),
    ("a constant", [2.0], 0.0, True, True),
    ("another constant", [-3.0], 0.0, True, True),
    ("x", [0, 1.0], 0.0, False, True),
]:
    is_even.case(
        text, recipe(polynomial, coefficients=c, hole=float(hole > 0), at=hole), want, hidden=hidden, a_bump=bool(hole)
    )
