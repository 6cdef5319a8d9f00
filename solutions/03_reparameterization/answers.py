"""Chapter 03: right answers in other styles, and the mistakes that people make, each with what they should read."""

from autograde.authoring import right, wrong


@right("is_unbiased")
def coordinate_by_coordinate(draws, truth):
    n = draws.shape[0]
    for column, want in zip(draws.T, truth):
        error = (column.var(unbiased=False) / n).sqrt()
        if abs(column.mean() - want) > 4.5 * error + 1e-8:
            return False
    return True


@right("is_unbiased")
def by_z_scores(draws, truth):
    deviation = draws - truth
    error = deviation.std(dim=0) / draws.size(0) ** 0.5
    z = deviation.mean(0) / (error + 1e-10)
    return z.abs().max() < 4.5


def off(draws, truth):
    return draws.mean(0) - truth


def se(draws):
    return draws.std(0) / len(draws) ** 0.5


@wrong("is_unbiased", "a fixed tolerance: it must grow with the noise of the estimates")
def fixed_tolerance(draws, truth):
    return bool((off(draws, truth).abs() < 0.1).all())


@wrong("is_unbiased", "the standard deviation of one estimate is not divided by sqrt(n)")
def deviation_for_error(draws, truth):
    return bool((off(draws, truth).abs() <= 4.5 * draws.std(0) + 1e-9).all())


@wrong("is_unbiased", "a bias may be negative: compare absolute values")
def one_sided(draws, truth):
    return bool((off(draws, truth) <= 4.5 * se(draws) + 1e-9).all())


@wrong("is_unbiased", "one good coordinate is not enough: every coordinate must pass")
def any_coordinate(draws, truth):
    return bool((off(draws, truth).abs() <= 4.5 * se(draws) + 1e-9).any())


@wrong("is_unbiased", "the deviations are added up and cancel: look at each coordinate alone")
def deviations_added(draws, truth):
    return bool(off(draws, truth).sum().abs() <= 4.5 * se(draws.sum(1)) + 1e-9)


@wrong("is_unbiased", "the limit is 4.5 standard errors; yours is tighter")
def one_sigma(draws, truth):
    return bool((off(draws, truth).abs() <= 2.7 * se(draws) + 1e-9).all())


@wrong("is_unbiased", "the limit is 4.5 standard errors; yours is wider")
def ten_sigma(draws, truth):
    return bool((off(draws, truth).abs() <= 6.5 * se(draws) + 1e-9).all())


@wrong(
    "is_unbiased",
    "an estimator that is exact at every draw must pass: never divide by a standard error of 0, and allow 1e-9 for rounding",
)
def divides_by_zero(draws, truth):
    return bool(((off(draws, truth) / se(draws)).abs() <= 4.5).all())


@wrong(
    "is_unbiased", "no spread is no proof: with a standard error of 0 the mean must be the truth"
)
def nothing_to_see(draws, truth):
    z = (off(draws, truth) / se(draws)).abs()
    return bool((z[se(draws) > 1e-12] <= 4.5).all())


@wrong("is_unbiased", "one True or False must come back")
def p_value(draws, truth):
    return (off(draws, truth).abs() / se(draws)).max().item()
