"""Chapter 03: the cases of each exercise, and the truth of each."""

import torch

from autograde.authoring import Exercise, recipe

# ---------------------------------------------------------------- is_unbiased


def with_z(z, n, noise, truth, seed, power=3):
    """n draws whose mean is off by exactly z standard errors in each coordinate; power 3: heavy tails, 2: skewed."""
    x = torch.randn(n, len(z), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = x**power
    x = noise * (x - x.mean(0)) / x.std(0)
    truth = torch.tensor(truth, dtype=torch.float64)
    return x + truth + torch.tensor(z, dtype=torch.float64) * noise / n**0.5, truth


def constant(value, n, truth):
    return torch.tensor(value, dtype=torch.float64).expand(n, -1).clone(), torch.tensor(
        truth, dtype=torch.float64
    )


T = [0.4, -1.3, 0.9]
is_unbiased = Exercise(verdict="estimator", show=False)


def shifted(z, n=2000, noise=1.0, hidden=False, power=3, note=""):
    worst = max(z, key=abs)
    text = f"off by {', '.join(f'{x:.3g}' for x in z)} standard errors (n = {n}, deviation {noise:g}{note})"
    fact = f"one standard error is {noise:g} / sqrt({n}) = {noise / n**0.5:.2g}; the limit is 4.5 of them in each coordinate"
    facets = {
        "size of the bias": abs(worst) * noise / n**0.5,
        "standard error": noise / n**0.5,
        "standard errors off": abs(worst),
        "sign of the worst deviation": "+" if worst > 0 else "-",
        "coordinates beyond the limit": sum(abs(x) > 4.5 for x in z),
        "all draws alike": False,
    }
    inputs = recipe(
        with_z, z=z, n=n, noise=noise, truth=T, seed=len(is_unbiased.cases), power=power
    )
    is_unbiased.case(text, inputs, want=abs(worst) < 4.5, hidden=hidden, fact=fact, **facets)


shifted([1.0, -2.0, 0.3])
shifted([-2.5, 2.0, 1.5], 500, 40.0)
shifted([0.2, -1.0, 2.9], 1000, 0.02)
shifted([2.0, 1.0, -4.2])
shifted([0.2, -0.1, 0.1], 100, 2.0)
shifted([0.5, 9.0, 0.0], 20_000, 0.2)
shifted([-12.0, 0.3, 0.1])
shifted([0.0, 0.4, 30.0], 400, 40.0)
shifted([8.0, -8.0, 0.0])
shifted([0.0, 4.9, 0.0])
shifted([40.0, 35.0, 30.0])
shifted([0.3, 1.0, -7.0], 200, 3.0)
shifted([0.1, 0.0, 5.2], 3000, 0.7)
shifted([1.0, -2.9, 0.4], power=2, note=", skewed", hidden=True)
shifted([4.1, 4.2, -4.1], 300, 0.3, hidden=True)
shifted([0.0, 0.0, -5.2], 3000, hidden=True)
shifted([6.0, 0.0, 0.0], 50, 5.0, hidden=True)
length = [1.3 * x / sum(t * t for t in T) ** 0.5 for x in T]
for value, truth, want in [
    (T, T, True),
    ([2.0, 0.1], [2.0, 0.1], True),
    ([t + 0.02 for t in T], T, False),
    ([2.0, 0.1], [2.0, 0.4], False),
]:
    text = (
        "every draw is "
        + ("the truth" if want else "the same wrong number, as with a fixed seed")
        + f" {tuple(truth)}"
    )
    is_unbiased.case(
        text,
        recipe(constant, value=value, n=50, truth=truth),
        want=want,
        fact="all draws agree, so the standard error is 0",
        all_draws_alike=True,
        standard_error=0.0,
        size_of_the_bias=max(abs(a - b) for a, b in zip(value, truth)),
    )
turned = [T[1] - T[0], T[2] - T[1], T[0] - T[2]]  # the right length, another direction
for text, off in [
    ("a quarter too short", [-0.25 * t for t in T]),
    ("the right length, another direction", turned),
]:
    shifted([x * 2000**0.5 for x in off], note=f": {text}", hidden=True)
