"""Chapter 11: right answers in other styles, and the mistakes that people make, each with what they should read."""

import math

import numpy as np
import torch

from autograde.authoring import right, wrong


def wide(v, x):
    return v.reshape(-1, *[1] * (x.ndim - 1))


# ---------------------------------------------------------------- two_unknowns


@right("two_unknowns")
def by_linear_solver(x, prediction, a, b, alpha, sigma):
    matrix = torch.stack([torch.stack([alpha, sigma], -1), torch.stack([a, b], -1)], -2)
    sides = torch.stack([x.reshape(len(x), -1), prediction.reshape(len(x), -1)], 1)
    both = torch.linalg.solve(matrix, sides)
    return both[:, 0].reshape(x.shape), both[:, 1].reshape(x.shape)


@right("two_unknowns")
def dimensions_by_hand(x, prediction, a, b, alpha, sigma):
    a, b, alpha, sigma = (v.reshape(-1, *[1] * (x.ndim - 1)) for v in (a, b, alpha, sigma))
    det = alpha * b - sigma * a
    return (b * x - sigma * prediction) / det, (alpha * prediction - a * x) / det


@right("two_unknowns")
def inverses_one_by_one(x, prediction, a, b, alpha, sigma):
    pairs = []
    for k in range(len(x)):
        inverse = torch.tensor([[alpha[k], sigma[k]], [a[k], b[k]]], dtype=x.dtype).inverse()
        pairs.append([inverse[i, 0] * x[k] + inverse[i, 1] * prediction[k] for i in range(2)])
    return torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])


@right("two_unknowns")
def eps_from_the_system(x, prediction, a, b, alpha, sigma):
    det = alpha * b - sigma * a
    eps = torch.einsum("b,b...->b...", alpha / det, prediction)
    eps = eps - torch.einsum("b,b...->b...", a / det, x)
    x0 = torch.einsum("b,b...->b...", b / det, x)
    return [x0 - torch.einsum("b,b...->b...", sigma / det, prediction), eps]


def solved(x, f, a, b, alpha, sigma, det=None):
    a, b, alpha, sigma = (wide(v, x) for v in (a, b, alpha, sigma))
    det = alpha * b - sigma * a if det is None else det(a, b, alpha, sigma)
    return (b * x - sigma * f) / det, (alpha * f - a * x) / det


@wrong("two_unknowns", "x_0 and eps are exchanged: return (x_0, eps)")
def exchanged(x, prediction, a, b, alpha, sigma):
    x0, eps = solved(x, prediction, a, b, alpha, sigma)
    return eps, x0


@wrong("two_unknowns", "the determinant is alpha b - sigma a, not sigma a - alpha b")
def determinant_reversed(x, prediction, a, b, alpha, sigma):
    return solved(x, prediction, a, b, alpha, sigma, lambda a, b, p, q: q * a - p * b)


@wrong("two_unknowns", "the determinant is alpha b - sigma a; yours has a plus")
def determinant_with_a_plus(x, prediction, a, b, alpha, sigma):
    return solved(x, prediction, a, b, alpha, sigma, lambda a, b, p, q: q * a + p * b)


@wrong("two_unknowns", "the determinant is missing")
def no_determinant(x, prediction, a, b, alpha, sigma):
    return solved(x, prediction, a, b, alpha, sigma, lambda a, b, p, q: 1.0)


@wrong("two_unknowns", "a and b are exchanged: a belongs to x_0, b to eps")
def a_for_b(x, prediction, a, b, alpha, sigma):
    return solved(x, prediction, b, a, alpha, sigma)


@wrong("two_unknowns", "the prediction is taken for eps, whatever a and b say")
def always_eps(x, prediction, a, b, alpha, sigma):
    return (x - wide(sigma, x) * prediction) / wide(alpha, x), prediction


@wrong("two_unknowns", "this is the matrix (2) itself; its inverse is asked")
def not_inverted(x, prediction, a, b, alpha, sigma):
    a, b, alpha, sigma = (wide(v, x) for v in (a, b, alpha, sigma))
    return alpha * x + sigma * prediction, a * x + b * prediction


@wrong(
    "two_unknowns",
    "this is the transpose of the inverse: the numerators are b x - sigma F and alpha F - a x",
)
def inverse_transposed(x, prediction, a, b, alpha, sigma):
    a, b, alpha, sigma = (wide(v, x) for v in (a, b, alpha, sigma))
    det = alpha * b - sigma * a
    return (b * x - a * prediction) / det, (alpha * prediction - sigma * x) / det


@wrong("two_unknowns", "every sample got the numbers of the first one")
def first_sample_for_all(x, prediction, a, b, alpha, sigma):
    return solved(x, prediction, *(v[:1].expand(len(x)) for v in (a, b, alpha, sigma)))


@wrong("two_unknowns", "a number for each sample became (b, 1); a picture needs (b, 1, 1, 1)")
def for_points_only(x, prediction, a, b, alpha, sigma):
    a, b, alpha, sigma = (v[:, None] for v in (a, b, alpha, sigma))
    det = alpha * b - sigma * a
    return (b * x - sigma * prediction) / det, (alpha * prediction - a * x) / det


@wrong("two_unknowns", "(b,) lines up with the last dimension of x, not with its samples")
def no_dimensions(x, prediction, a, b, alpha, sigma):
    det = alpha * b - sigma * a
    return (b * x - sigma * prediction) / det, (alpha * prediction - a * x) / det


@wrong(
    "two_unknowns",
    "the terms of the numerator are subtracted, not added: b x - sigma F, alpha F - a x",
)
def added(x, prediction, a, b, alpha, sigma):
    a, b, alpha, sigma = (wide(v, x) for v in (a, b, alpha, sigma))
    det = alpha * b - sigma * a
    return (b * x + sigma * prediction) / det, (alpha * prediction + a * x) / det


@wrong("two_unknowns", "the sign of eps is reversed: its numerator is alpha F - a x")
def minus_eps(x, prediction, a, b, alpha, sigma):
    x0, eps = solved(x, prediction, a, b, alpha, sigma)
    return x0, -eps


@wrong(
    "two_unknowns",
    "only the second term is divided by the determinant: write (b x - sigma F) / det",
)
def forgotten_brackets(x, prediction, a, b, alpha, sigma):
    a, b, alpha, sigma = (wide(v, x) for v in (a, b, alpha, sigma))
    det = alpha * b - sigma * a
    return b * x - sigma * prediction / det, alpha * prediction - a * x / det


@wrong("two_unknowns", "the two (x_0, eps) must come back")
def nothing_returned(x, prediction, a, b, alpha, sigma):
    solved(x, prediction, a, b, alpha, sigma)


@wrong("two_unknowns", "sigma is made from alpha as on the circle; other paths have another")
def circle_assumed(x, prediction, a, b, alpha, sigma):
    return solved(x, prediction, a, b, alpha, (1 - alpha**2).sqrt())


@wrong("two_unknowns", "the derivative is lost: do not compute under no_grad, nor detach")
def solved_without_a_gradient(x, prediction, a, b, alpha, sigma):
    with torch.no_grad():
        return solved(x, prediction, a, b, alpha, sigma)


# ---------------------------------------------------------------- borrow


@right("borrow")
def by_the_sigmas(denoise, source, time_at, x, alpha, sigma):
    time = time_at(sigma / alpha)
    return denoise(x * source(time)[1] / sigma, time)


@right("borrow")
def through_edm(denoise, source, time_at, x, alpha, sigma):
    in_edm, level = x / alpha, sigma / alpha
    time = time_at(level)
    a, _ = source(time)
    return denoise(a * in_edm, time)


@right("borrow")
def by_the_lengths(denoise, source, time_at, x, alpha, sigma):
    time = time_at(sigma / alpha)
    return denoise(x * (math.hypot(*source(time)) / math.hypot(alpha, sigma)), time)


@right("borrow")
def with_a_tensor_for_a_time(denoise, source, time_at, x, alpha, sigma):
    time = torch.tensor(time_at(sigma / alpha))  # in float32
    return denoise(x * (source(float(time))[0] / alpha), time)


def there(source, time_at, alpha, sigma):
    """The time of the same noise level, and the factor for x."""
    time = time_at(sigma / alpha)
    return time, source(time)[0] / alpha


@wrong("borrow", "x is not rescaled: the network expects alpha_* x_0 + sigma_* eps")
def not_rescaled(denoise, source, time_at, x, alpha, sigma):
    return denoise(x, time_at(sigma / alpha))


@wrong("borrow", "x is scaled the wrong way: multiply by alpha_*, divide by alpha")
def wrong_way(denoise, source, time_at, x, alpha, sigma):
    time, k = there(source, time_at, alpha, sigma)
    return denoise(x / k, time)


@wrong("borrow", "x_0 is the same on every path: do not scale the answer back")
def scaled_back(denoise, source, time_at, x, alpha, sigma):
    time, k = there(source, time_at, alpha, sigma)
    return denoise(x * k, time) / k


@wrong("borrow", "the answer is scaled too; x_0 is the same on every path")
def scaled_twice(denoise, source, time_at, x, alpha, sigma):
    time, k = there(source, time_at, alpha, sigma)
    return denoise(x * k, time) * k


@wrong("borrow", "the noise level is sigma / alpha, not sigma")
def sigma_for_level(denoise, source, time_at, x, alpha, sigma):
    time = time_at(sigma)
    return denoise(x * source(time)[0] / alpha, time)


@wrong("borrow", "the noise level is upside down: sigma / alpha")
def level_upside_down(denoise, source, time_at, x, alpha, sigma):
    time = time_at(alpha / sigma)
    return denoise(x * source(time)[0] / alpha, time)


@wrong("borrow", "the noise level is taken for the time: ask time_at(sigma / alpha)")
def level_for_time(denoise, source, time_at, x, alpha, sigma):
    level = sigma / alpha
    return denoise(x * source(level)[0] / alpha, level)


@wrong("borrow", "x is divided by alpha, as if the source were VE: multiply by alpha_* as well")
def source_taken_for_ve(denoise, source, time_at, x, alpha, sigma):
    return denoise(x / alpha, time_at(sigma / alpha))


@wrong("borrow", "x is multiplied by alpha_* but not divided by alpha")
def not_divided(denoise, source, time_at, x, alpha, sigma):
    time = time_at(sigma / alpha)
    return denoise(x * source(time)[0], time)


@wrong(
    "borrow", "this holds only for a source with alpha^2 + sigma^2 = 1: read alpha_* from source(t)"
)
def vp_assumed(denoise, source, time_at, x, alpha, sigma):
    level = sigma / alpha
    return denoise(x / alpha / math.sqrt(1 + level**2), time_at(level))


@wrong("borrow", "the network is told the noise level; it wants the time t_*")
def told_the_level(denoise, source, time_at, x, alpha, sigma):
    return denoise(x * there(source, time_at, alpha, sigma)[1], sigma / alpha)


@wrong("borrow", "x is right for another time: read alpha_* at t_*, not at the noise level")
def scaled_for_another_time(denoise, source, time_at, x, alpha, sigma):
    level = sigma / alpha
    return denoise(x * source(level)[0] / alpha, time_at(level))


@wrong("borrow", "sigma_* is taken for alpha_*: source(t) gives (alpha, sigma)")
def the_other_number(denoise, source, time_at, x, alpha, sigma):
    time = time_at(sigma / alpha)
    return denoise(x * source(time)[1] / alpha, time)


@wrong("borrow", "this is the guess of the noise; the guess of x_0 is asked")
def the_noise(denoise, source, time_at, x, alpha, sigma):
    time, k = there(source, time_at, alpha, sigma)
    return (x - alpha * denoise(x * k, time)) / sigma


@wrong("borrow", "the derivative in x is lost: do not compute under no_grad, nor detach")
def borrowed_without_a_gradient(denoise, source, time_at, x, alpha, sigma):
    time, k = there(source, time_at, alpha, sigma)
    return denoise(x.detach() * k, time)


# ---------------------------------------------------------------- preconditioning


@right("preconditioning")
def by_equation_6(level, data_std):
    u2, s2 = level.square(), data_std**2
    c_skip = s2 / (u2 + s2)
    c_out = ((1 - c_skip) ** 2 * s2 + c_skip**2 * u2).sqrt()
    return c_skip, c_out, torch.rsqrt(u2 + s2), 0.25 * torch.log(level)


@right("preconditioning")
def by_hypot(level, data_std):
    size = torch.hypot(level, torch.full_like(level, data_std))
    return [(data_std / size) ** 2, level / size * data_std, size.reciprocal(), level.log() / 4]


@right("preconditioning")
def in_one_tensor(level, data_std):
    v = level**2 + data_std**2
    return torch.stack([data_std**2 / v, level * data_std / v.sqrt(), v**-0.5, level.log() / 4])


@right("preconditioning")
def one_level_at_a_time(level, data_std):
    rows = []
    for u in level:
        v = u * u + data_std * data_std
        rows.append([data_std**2 / v, u * data_std / v**0.5, v**-0.5, torch.log(u) / 4])
    return tuple(torch.stack(column) for column in zip(*rows))


def seven(u, s):
    """Equation (7), by name."""
    size = (u**2 + s**2).sqrt()
    return {"skip": (s / size) ** 2, "out": u * s / size, "in": 1 / size, "noise": u.log() / 4}


def but(u, s, **other):
    """Equation (7) with some of the four replaced."""
    found = seven(u, s) | {k.rstrip("_"): v for k, v in other.items()}
    return found["skip"], found["out"], found["in"], found["noise"]


@wrong(
    "preconditioning",
    "in c_skip variances are weighed, not standard deviations: s^2 / (u^2 + s^2)",
)
def skip_by_std(level, data_std):
    return but(level, data_std, skip=data_std / (level + data_std))


@wrong("preconditioning", "c_skip has s^2 in its numerator, not s")
def skip_without_square(level, data_std):
    return but(level, data_std, skip=data_std / (level**2 + data_std**2))


@wrong("preconditioning", "this c_skip is the share of the noise; it is that of the data")
def skip_of_noise(level, data_std):
    return but(level, data_std, skip=level**2 / (level**2 + data_std**2))


@wrong("preconditioning", "one root too many: c_skip has none")
def skip_rooted(level, data_std):
    return but(level, data_std, skip=data_std / (level**2 + data_std**2).sqrt())


@wrong("preconditioning", "the sign of c_out is reversed: the network would have to learn -F")
def minus_out(level, data_std):
    return but(level, data_std, out=-seven(level, data_std)["out"])


@wrong("preconditioning", "this is c_out^2: its root is missing")
def out_is_a_variance(level, data_std):
    return but(level, data_std, out=seven(level, data_std)["out"] ** 2)


@wrong("preconditioning", "the root of c_out's denominator is missing")
def out_without_root(level, data_std):
    return but(level, data_std, out=level * data_std / (level**2 + data_std**2))


@wrong(
    "preconditioning", "the root of c_in is missing: the input would have variance 1 / (u^2 + s^2)"
)
def in_without_root(level, data_std):
    return but(level, data_std, in_=1 / (level**2 + data_std**2))


@wrong("preconditioning", "in c_in standard deviations do not add, variances do: sqrt(u^2 + s^2)")
def in_by_sum(level, data_std):
    return but(level, data_std, in_=1 / (level + data_std))


@wrong("preconditioning", "c_noise is a quarter of ln u; this is ln u")
def whole_log(level, data_std):
    return but(level, data_std, noise=level.log())


@wrong("preconditioning", "c_noise is made of the natural logarithm; this is that to base 10")
def base_ten(level, data_std):
    return but(level, data_std, noise=level.log10() / 4)


@wrong("preconditioning", "c_noise is ln(u) / 4, not ln(u / 4)")
def quarter_inside_the_log(level, data_std):
    return but(level, data_std, noise=(level / 4).log())


@wrong("preconditioning", "data_std is fixed at 0.5; use the argument")
def always_one_half(level, data_std):
    return but(level, 0.5)


@wrong("preconditioning", "c_out and c_in are exchanged; the order is c_skip, c_out, c_in, c_noise")
def in_for_out(level, data_std):
    found = seven(level, data_std)
    return but(level, data_std, out=found["in"], in_=found["out"])


@wrong(
    "preconditioning",
    "in c_out the roots of the two terms of (6) are added; take the root of their sum",
)
def sum_of_roots(level, data_std):
    c_skip = seven(level, data_std)["skip"]
    return but(level, data_std, out=(1 - c_skip) * data_std + c_skip * level)


@wrong(
    "preconditioning",
    "u is missing in the numerator of c_out: it must vanish where the noise does",
)
def out_without_level(level, data_std):
    return but(level, data_std, out=data_std * seven(level, data_std)["in"])


@wrong(
    "preconditioning", "c_in would leave the input with the data's standard deviation s; 1 is asked"
)
def in_of_size_s(level, data_std):
    return but(level, data_std, in_=data_std * seven(level, data_std)["in"])


@wrong("preconditioning", "c_in multiplies x: it is 1 / sqrt(u^2 + s^2), not the root itself")
def in_upside_down(level, data_std):
    return but(level, data_std, in_=1 / seven(level, data_std)["in"])


@wrong("preconditioning", "in c_in data_std is taken to be 1; use the argument")
def in_for_unit_data(level, data_std):
    return but(level, data_std, in_=1 / (level**2 + 1).sqrt())


@wrong("preconditioning", "c_noise is a quarter of ln u; this is 4 ln u")
def four_times_the_log(level, data_std):
    return but(level, data_std, noise=4 * level.log())


@wrong(
    "preconditioning",
    "the derivative in the level is lost: do not go through item(), tolist() or detach",
)
def coefficients_without_a_gradient(level, data_std):
    return but(level.detach(), data_std)


# ---------------------------------------------------------------- edm_loss


@right("edm_loss")
def weighted_before_the_sum(denoise, x0, level, eps, data_std):
    u = level.reshape(-1, *[1] * (x0.ndim - 1))
    c_out = u * data_std / (u**2 + data_std**2).sqrt()
    return (((denoise(x0 + u * eps, level) - x0) / c_out) ** 2).flatten(1).sum(1)


@right("edm_loss")
def two_terms(denoise, x0, level, eps, data_std):
    noisy = x0 + torch.einsum("b,b...->b...", level, eps)
    gap = (x0 - denoise(noisy, level)).square().reshape(len(x0), -1).sum(-1)
    return gap / data_std**2 + gap / level**2


@right("edm_loss")
def with_mse_loss(denoise, x0, level, eps, data_std):
    u = level.view(len(level), *(1 for _ in x0.shape[1:]))
    guess = denoise(torch.addcmul(x0, u, eps), level)
    gap = torch.nn.functional.mse_loss(guess, x0, reduction="none").flatten(1).sum(1)
    return gap * (level**2 + data_std**2) / (level * data_std).pow(2)


def loss(
    denoise,
    x0,
    level,
    eps,
    s,
    noisy=lambda x0, u, eps: x0 + u * eps,
    ask=lambda u: u,
    target=lambda x0, x, eps: x0,
    weight=lambda u, s: (u**2 + s**2) / (u * s) ** 2,
    total=lambda gap, w: w * (gap**2).flatten(1).sum(1),
):
    """The loss with one thing changed."""
    x = noisy(x0, wide(level, x0), eps)
    gap = denoise(x, ask(level)) - target(x0, x, eps)
    return total(gap, weight(level, s))


@wrong("edm_loss", "the noise is not scaled by the level: x = x_0 + u eps")
def noise_not_scaled(denoise, x0, level, eps, data_std):
    return loss(denoise, x0, level, eps, data_std, noisy=lambda x0, u, eps: x0 + eps)


@wrong("edm_loss", "the level is added instead of noise: x = x_0 + u eps")
def level_for_noise(denoise, x0, level, eps, data_std):
    return loss(denoise, x0, level, eps, data_std, noisy=lambda x0, u, eps: x0 + u)


@wrong("edm_loss", "no noise is added: the denoiser sees the clean data")
def no_noise(denoise, x0, level, eps, data_std):
    return loss(denoise, x0, level, eps, data_std, noisy=lambda x0, u, eps: x0)


@wrong("edm_loss", "x is VP-noised; in EDM's coordinates alpha is 1")
def vp_noised(denoise, x0, level, eps, data_std):
    noisy = lambda x0, u, eps: (1 - u**2).clamp_min(0).sqrt() * x0 + u * eps
    return loss(denoise, x0, level, eps, data_std, noisy=noisy)


@wrong("edm_loss", "the denoiser is compared with eps; it guesses x_0")
def compared_with_eps(denoise, x0, level, eps, data_std):
    return loss(denoise, x0, level, eps, data_std, target=lambda x0, x, eps: eps)


@wrong("edm_loss", "the denoiser is compared with the noisy x; it guesses x_0")
def compared_with_the_noisy(denoise, x0, level, eps, data_std):
    return loss(denoise, x0, level, eps, data_std, target=lambda x0, x, eps: x)


@wrong("edm_loss", "x0 is overwritten by the noisy x: make a new tensor")
def x0_overwritten(denoise, x0, level, eps, data_std):
    x0 += wide(level, x0) * eps
    return loss(denoise, x0, level, 0 * eps, data_std)


@wrong("edm_loss", "the weight has (u + s)^2 where u^2 + s^2 belongs")
def square_of_the_sum(denoise, x0, level, eps, data_std):
    weight = lambda u, s: (u + s) ** 2 / (u * s) ** 2
    return loss(denoise, x0, level, eps, data_std, weight=weight)


@wrong("edm_loss", "the weight is upside down")
def weight_upside_down(denoise, x0, level, eps, data_std):
    weight = lambda u, s: (u * s) ** 2 / (u**2 + s**2)
    return loss(denoise, x0, level, eps, data_std, weight=weight)


@wrong("edm_loss", "the weight is missing")
def no_weight(denoise, x0, level, eps, data_std):
    return loss(denoise, x0, level, eps, data_std, weight=lambda u, s: 1.0)


@wrong("edm_loss", "the weight is that of eps, 1 / u^2; here it is (u^2 + s^2) / (u s)^2")
def weight_of_eps(denoise, x0, level, eps, data_std):
    return loss(denoise, x0, level, eps, data_std, weight=lambda u, s: u**-2)


@wrong("edm_loss", "the weight is 1 / c_out; 1 / c_out^2 is asked")
def root_of_the_weight(denoise, x0, level, eps, data_std):
    weight = lambda u, s: (u**2 + s**2).sqrt() / (u * s)
    return loss(denoise, x0, level, eps, data_std, weight=weight)


@wrong("edm_loss", "averaged over the numbers of a sample; sum them")
def mean_over_numbers(denoise, x0, level, eps, data_std):
    total = lambda gap, w: w * (gap**2).flatten(1).mean(1)
    return loss(denoise, x0, level, eps, data_std, total=total)


@wrong("edm_loss", "this is one number for the batch; give one for each sample")
def mean_over_batch(denoise, x0, level, eps, data_std):
    return loss(denoise, x0, level, eps, data_std).mean()


@wrong("edm_loss", "summed over the batch as well: give one loss for each sample")
def sum_over_batch(denoise, x0, level, eps, data_std):
    return loss(denoise, x0, level, eps, data_std).sum()


@wrong("edm_loss", "data_std is fixed at 0.5; use the argument")
def half_for_data_std(denoise, x0, level, eps, data_std):
    return loss(denoise, x0, level, eps, 0.5)


@wrong("edm_loss", "the level became (b, 1); a picture needs (b, 1, 1, 1)")
def loss_for_points_only(denoise, x0, level, eps, data_std):
    weight = (level**2 + data_std**2) / (level * data_std) ** 2
    gap = denoise(x0 + level[:, None] * eps, level) - x0
    return weight * (gap**2).flatten(1).sum(1)


@wrong("edm_loss", "(b,) lines up with the last dimension of x0, not with its samples")
def level_along_the_last_dimension(denoise, x0, level, eps, data_std):
    return loss(denoise, x0, level, eps, data_std, noisy=lambda x0, u, eps: x0 + level * eps)


@wrong("edm_loss", "denoise takes the level itself; c_noise is made inside it")
def told_c_noise(denoise, x0, level, eps, data_std):
    return loss(denoise, x0, level, eps, data_std, ask=lambda u: u.log() / 4)


@wrong("edm_loss", "denoise takes x itself; c_in is applied inside it")
def scaled_before(denoise, x0, level, eps, data_std):
    noisy = lambda x0, u, eps: (x0 + u * eps) / (u**2 + data_std**2).sqrt()
    return loss(denoise, x0, level, eps, data_std, noisy=noisy)


@wrong("edm_loss", "the square is missing in the weight's denominator (u s)^2")
def denominator_not_squared(denoise, x0, level, eps, data_std):
    weight = lambda u, s: (u**2 + s**2) / (u * s)
    return loss(denoise, x0, level, eps, data_std, weight=weight)


@wrong("edm_loss", "the weight is squared as well: multiply by it after the square")
def weight_inside_the_square(denoise, x0, level, eps, data_std):
    total = lambda gap, w: ((wide(w, gap) * gap) ** 2).flatten(1).sum(1)
    return loss(denoise, x0, level, eps, data_std, total=total)


@wrong("edm_loss", "the error is not squared")
def absolute_error(denoise, x0, level, eps, data_std):
    total = lambda gap, w: w * gap.abs().flatten(1).sum(1)
    return loss(denoise, x0, level, eps, data_std, total=total)


@wrong("edm_loss", "the errors are summed before they are squared")
def summed_before_squared(denoise, x0, level, eps, data_std):
    total = lambda gap, w: w * gap.flatten(1).sum(1) ** 2
    return loss(denoise, x0, level, eps, data_std, total=total)


@wrong("edm_loss", "x0 is detached where it is compared: the loss depends on it there too")
def target_detached(denoise, x0, level, eps, data_std):
    return loss(denoise, x0, level, eps, data_std, target=lambda x0, x, eps: x0.detach())


@wrong("edm_loss", "no gradient passes through the network: a detach() or no_grad() cuts the graph")
def without_a_gradient(denoise, x0, level, eps, data_std):
    return loss(lambda x, u: denoise(x, u).detach(), x0, level, eps, data_std)


# ---------------------------------------------------------------- trained_where


@right("trained_where")
def through_the_level(weight, density, alpha, sigma, alpha_slope, sigma_slope):
    level = sigma / alpha
    rate = (sigma_slope * alpha - sigma * alpha_slope) / alpha**2
    return weight * density * level / rate


@right("trained_where")
def by_the_determinant(weight, density, alpha, sigma, alpha_slope, sigma_slope):
    return weight * density * (alpha * sigma) / (alpha * sigma_slope - sigma * alpha_slope)


@right("trained_where")
def by_the_tangent_of_the_logs(weight, density, alpha, sigma, alpha_slope, sigma_slope):
    log_u = lambda h: (sigma + h * sigma_slope).log() - (alpha + h * alpha_slope).log()
    rate = torch.func.jvp(log_u, (torch.zeros_like(alpha),), (torch.ones_like(alpha),))[1]
    return weight * density / rate


@wrong(
    "trained_where",
    "the density is still one of t: it must be divided by the derivative of ln u by t",
)
def no_change_of_variables(weight, density, alpha, sigma, alpha_slope, sigma_slope):
    return weight * density


@wrong("trained_where", "the density is multiplied by the derivative of ln u; it must be divided")
def times_the_slope(weight, density, alpha, sigma, alpha_slope, sigma_slope):
    return weight * density * (sigma_slope / sigma - alpha_slope / alpha)


@wrong("trained_where", "this is the weight per unit of u, not of ln u")
def per_unit_of_u(weight, density, alpha, sigma, alpha_slope, sigma_slope):
    return weight * density * alpha**2 / (sigma_slope * alpha - sigma * alpha_slope)


@wrong("trained_where", "the slope of alpha is missing: u is sigma / alpha")
def sigma_only(weight, density, alpha, sigma, alpha_slope, sigma_slope):
    return weight * density * sigma / sigma_slope


@wrong("trained_where", "the slopes of the logarithms are added: ln u is a difference")
def slopes_added(weight, density, alpha, sigma, alpha_slope, sigma_slope):
    return weight * density / (sigma_slope / sigma + alpha_slope / alpha)


@wrong("trained_where", "the sign is wrong: u grows with t, so that a density stays positive")
def wrong_sign(weight, density, alpha, sigma, alpha_slope, sigma_slope):
    return weight * density / (alpha_slope / alpha - sigma_slope / sigma)


@wrong("trained_where", "the weight is missing: this is the density of ln u alone")
def weight_forgotten(weight, density, alpha, sigma, alpha_slope, sigma_slope):
    return density / (sigma_slope / sigma - alpha_slope / alpha)


@wrong(
    "trained_where", "the density of the times is missing: how often a level is drawn counts too"
)
def density_forgotten(weight, density, alpha, sigma, alpha_slope, sigma_slope):
    return weight / (sigma_slope / sigma - alpha_slope / alpha)


@wrong(
    "trained_where",
    "the slopes of sigma and alpha are subtracted; those of their logarithms are needed",
)
def slopes_without_logarithms(weight, density, alpha, sigma, alpha_slope, sigma_slope):
    return weight * density / (sigma_slope - alpha_slope)


@wrong("trained_where", "ln u itself stands where its derivative belongs")
def the_log_level_itself(weight, density, alpha, sigma, alpha_slope, sigma_slope):
    return weight * density / (sigma / alpha).log()


@wrong(
    "trained_where",
    "the derivative of sigma / alpha is taken term by term: use the quotient rule, or logarithms",
)
def divided_by_the_level(weight, density, alpha, sigma, alpha_slope, sigma_slope):
    return weight * density * (sigma / alpha) / (sigma_slope / alpha_slope)


@wrong("trained_where", "the weights are divided by their sum; omega is asked as it is")
def normalised(weight, density, alpha, sigma, alpha_slope, sigma_slope):
    omega = weight * density / (sigma_slope / sigma - alpha_slope / alpha)
    return omega / omega.sum()


# ---------------------------------------------------------------- heun_step


@right("heun_step")
def ddim_then_mean(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    first = denoise(x, t)
    noise = (x - al * first) / si
    ahead = als * first + sis * noise
    if sis < 1e-12:
        return ahead
    second = denoise(ahead, s)
    noise2 = (ahead - als * second) / sis
    return ahead + 0.5 * ((als - al) * (second - first) + (sis - si) * (noise2 - noise))


@right("heun_step")
def with_a_helper(denoise, path, x, t, s):
    def guesses(y, time):
        alpha, sigma = path(time)
        x0 = denoise(y, time)
        return x0, (y - alpha * x0) / sigma

    d_alpha, d_sigma = (b - a for a, b in zip(path(t), path(s)))
    x0, eps = guesses(x, t)
    move = d_alpha * x0 + d_sigma * eps
    if path(s)[1] == 0:
        return x + move
    x0_s, eps_s = guesses(x + move, s)
    return x + (move + d_alpha * x0_s + d_sigma * eps_s) / 2


@right("heun_step")
def two_steps_of_euler_averaged(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    ahead = x + (als - al) * x0 + (sis - si) * eps
    if s == 0:
        return x0
    y0 = denoise(ahead, s)
    e2 = (ahead - als * y0) / sis
    beyond = ahead + (als - al) * y0 + (sis - si) * e2
    return (x + beyond) / 2


def heun(
    denoise,
    path,
    x,
    t,
    s,
    ask=lambda t, s: s,
    point=lambda x, ahead: ahead,
    noise=lambda x, ahead, y0, here, there: (ahead - there[0] * y0) / there[1],
    first=lambda x, x0, here: (x - here[0] * x0) / here[1],
    look=lambda x, x0, eps, da, ds: x + da * x0 + ds * eps,
    end=lambda x, ahead, x0, y0, eps, e2, da, ds: x + da * (x0 + y0) / 2 + ds * (eps + e2) / 2,
    last=lambda x, ahead, x0: ahead,
):
    """The step with one thing changed."""
    here, there = path(t), path(s)
    da, ds = there[0] - here[0], there[1] - here[1]
    x0 = denoise(x, t)
    eps = first(x, x0, here)
    ahead = look(x, x0, eps, da, ds)
    if there[1] == 0:
        return last(x, ahead, x0)
    y0 = denoise(point(x, ahead), ask(t, s))
    e2 = noise(x, ahead, y0, here, there)
    return end(x, ahead, x0, y0, eps, e2, da, ds)


@wrong("heun_step", "this is Euler's step; look at its end and take the mean")
def euler(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    return x + (als - al) * x0 + (sis - si) * (x - al * x0) / si


def noise_here(x, ahead, y0, here, there):
    return (ahead - here[0] * y0) / here[1]


@wrong("heun_step", "the second guess is made at the time t, and its noise with the path at t")
def second_at_old_level(denoise, path, x, t, s):
    return heun(denoise, path, x, t, s, ask=lambda t, s: t, noise=noise_here)


@wrong("heun_step", "the second guess is made at the time t; ask denoise(ahead, s)")
def asked_at_old_time(denoise, path, x, t, s):
    return heun(denoise, path, x, t, s, ask=lambda t, s: t)


@wrong("heun_step", "the second guess is made at the old point x; ask at the end of Euler's step")
def second_at_old_point(denoise, path, x, t, s):
    noise = lambda x, ahead, y0, here, there: (x - there[0] * y0) / there[1]
    return heun(denoise, path, x, t, s, point=lambda x, ahead: x, noise=noise)


@wrong("heun_step", "the second noise is computed with the path at t; there it is at s")
def second_noise_with_old_path(denoise, path, x, t, s):
    return heun(denoise, path, x, t, s, noise=noise_here)


@wrong("heun_step", "only the second guess is used; take the mean of both")
def second_guess_only(denoise, path, x, t, s):
    end = lambda x, ahead, x0, y0, eps, e2, da, ds: x + da * y0 + ds * e2
    return heun(denoise, path, x, t, s, end=end)


@wrong("heun_step", "the step with the mean starts at x, not at the end of Euler's step")
def from_the_end_of_euler(denoise, path, x, t, s):
    end = lambda x, ahead, x0, y0, eps, e2, da, ds: ahead + da * (x0 + y0) / 2 + ds * (eps + e2) / 2
    return heun(denoise, path, x, t, s, end=end)


@wrong("heun_step", "the two guesses are added but not halved")
def not_halved(denoise, path, x, t, s):
    end = lambda x, ahead, x0, y0, eps, e2, da, ds: x + da * (x0 + y0) + ds * (eps + e2)
    return heun(denoise, path, x, t, s, end=end)


@wrong("heun_step", "the sign of the step is reversed: it goes from t to s")
def away_from_the_data(denoise, path, x, t, s):
    end = lambda x, ahead, x0, y0, eps, e2, da, ds: x - da * (x0 + y0) / 2 - ds * (eps + e2) / 2
    return heun(denoise, path, x, t, s, end=end)


@wrong("heun_step", "the term of alpha is missing; alpha changes on this path")
def for_ve_only(denoise, path, x, t, s):
    end = lambda x, ahead, x0, y0, eps, e2, da, ds: x + ds * (eps + e2) / 2
    return heun(denoise, path, x, t, s, end=end)


@wrong("heun_step", "where sigma_s is 0 there is no second noise: return Euler's step")
def second_look_at_no_noise(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    ahead = x + (als - al) * x0 + (sis - si) * eps
    y0 = denoise(ahead, s)
    e2 = (ahead - als * y0) / torch.as_tensor(sis, dtype=x.dtype)
    return x + (als - al) * (x0 + y0) / 2 + (sis - si) * (eps + e2) / 2


@wrong("heun_step", "the last step asks the denoiser twice; one evaluation is enough there")
def wasted_evaluation(denoise, path, x, t, s):
    def last(x, ahead, x0):
        denoise(ahead, s)
        return ahead

    return heun(denoise, path, x, t, s, last=last)


@wrong("heun_step", "the second noise is computed from x; it belongs to the end of Euler's step")
def second_noise_from_x(denoise, path, x, t, s):
    noise = lambda x, ahead, y0, here, there: (x - there[0] * y0) / there[1]
    return heun(denoise, path, x, t, s, noise=noise)


@wrong("heun_step", "the noise of a guess is (x - alpha x_0) / sigma; alpha is missing")
def noise_without_alpha(denoise, path, x, t, s):
    first = lambda x, x0, here: (x - x0) / here[1]
    noise = lambda x, ahead, y0, here, there: (ahead - y0) / there[1]
    return heun(denoise, path, x, t, s, first=first, noise=noise)


@wrong("heun_step", "the look ahead has no term of alpha; Euler's step (9) has two terms")
def looks_ahead_on_ve(denoise, path, x, t, s):
    look = lambda x, x0, eps, da, ds: x + ds * eps
    return heun(denoise, path, x, t, s, look=look, last=lambda x, ahead, x0: x0)


@wrong(
    "heun_step", "this is the step of VE, s - t times the mean noise; elsewhere alpha changes too"
)
def step_of_ve(denoise, path, x, t, s):
    end = lambda x, ahead, x0, y0, eps, e2, da, ds: x + (s - t) * (eps + e2) / 2
    return heun(denoise, path, x, t, s, end=end)


@wrong("heun_step", "alpha_s - alpha_t is reversed")
def alpha_backwards(denoise, path, x, t, s):
    end = lambda x, ahead, x0, y0, eps, e2, da, ds: x - da * (x0 + y0) / 2 + ds * (eps + e2) / 2
    return heun(denoise, path, x, t, s, end=end)


@wrong(
    "heun_step", "this is the midpoint rule, of order 2 as well; (12) looks at the end of the step"
)
def midpoint_rule(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    if sis == 0:
        return x0
    alm, sim = path((t + s) / 2)
    half = x + (alm - al) * x0 + (sim - si) * eps
    y0 = denoise(half, (t + s) / 2)
    return x + (als - al) * y0 + (sis - si) * (half - alm * y0) / sim


@wrong("heun_step", "the guesses of the noise are averaged, those of x_0 are not")
def noise_averaged_only(denoise, path, x, t, s):
    end = lambda x, ahead, x0, y0, eps, e2, da, ds: x + da * x0 + ds * (eps + e2) / 2
    return heun(denoise, path, x, t, s, end=end)


@wrong("heun_step", "the guesses of x_0 are averaged, those of the noise are not")
def guesses_averaged_only(denoise, path, x, t, s):
    end = lambda x, ahead, x0, y0, eps, e2, da, ds: x + da * (x0 + y0) / 2 + ds * eps
    return heun(denoise, path, x, t, s, end=end)


@wrong("heun_step", "the step is only half done: where sigma_s is 0 return all of Euler's step")
def half_a_last_step(denoise, path, x, t, s):
    return heun(denoise, path, x, t, s, last=lambda x, ahead, x0: (x + ahead) / 2)


@wrong("heun_step", "nothing was done: where sigma_s is 0 return Euler's step")
def no_last_step(denoise, path, x, t, s):
    return heun(denoise, path, x, t, s, last=lambda x, ahead, x0: x)


@wrong(
    "heun_step",
    "below some noise level only Euler's step is made: it must do only where sigma_s is 0",
)
def euler_near_the_end(denoise, path, x, t, s):
    if path(s)[1] < 0.5:
        return euler(denoise, path, x, t, s)
    return heun(denoise, path, x, t, s)


@wrong(
    "heun_step",
    "this is Heun's rule in the coordinates x / alpha; (12) moves along alpha and sigma, which is another step",
)
def in_ve_coordinates(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    u, v = si / al, sis / als
    slope = lambda y, denoised, level: (y - denoised) / level
    first = slope(x / al, denoise(x, t), u)
    ahead = x / al + (v - u) * first
    if sis == 0:
        return als * ahead
    second = slope(ahead, denoise(als * ahead, s), v)
    return als * (x / al + (v - u) * (first + second) / 2)


@wrong("heun_step", "the derivative in x is lost: do not compute under no_grad, nor detach")
def step_without_a_gradient(denoise, path, x, t, s):
    with torch.no_grad():
        return heun(denoise, path, x, t, s)


# ---------------------------------------------------------------- is_second_order


@right("is_second_order")
def by_a_fitted_slope(solve, data_std):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(6, 3, generator=g, dtype=torch.float64) * 2
    width = lambda u: math.sqrt(data_std**2 + u**2)
    counts, logs = (6, 12, 24, 48), []
    for n in counts:
        levels = torch.linspace(3.0, 0.2, n + 1).tolist()
        gap = (solve(x, levels) - x * width(levels[-1]) / width(levels[0])).abs().mean().item()
        if not math.isfinite(gap):
            return False
        logs.append(math.log(gap + 1e-14))
    u = [math.log(n) for n in counts]
    mean_u, mean_v = sum(u) / 4, sum(logs) / 4
    slope = sum((a - mean_u) * (b - mean_v) for a, b in zip(u, logs)) / sum(
        (a - mean_u) ** 2 for a in u
    )
    last = solve(x, [3.0, 1.0, 0.3, 0.0])
    return slope < -1.6 and bool(torch.isfinite(last).all())


@right("is_second_order")
def by_each_doubling(solve, data_std):
    x = torch.tensor([[-2.5], [0.4], [1.7]], dtype=torch.float64)
    end = x * ((data_std**2 + 0.09) / (data_std**2 + 4.0)) ** 0.5
    if not torch.isfinite(solve(x, [2.0, 0.7, 0.0])).all():
        return False
    errors = []
    for n in (10, 20, 40, 80):
        errors.append(float((solve(x, [2.0 - 1.7 * i / n for i in range(n + 1)]) - end).norm()))
    return all(after < before / 3 for before, after in zip(errors, errors[1:]))


@right("is_second_order")
def by_a_line_through_logarithms(solve, data_std):
    x = np.linspace(-3, 3, 8).reshape(4, 2)
    start, errors, counts = torch.from_numpy(x), [], (8, 16, 32, 64)
    truth = x * np.sqrt((data_std**2 + 0.25**2) / (data_std**2 + 2.0**2))
    for n in counts:
        levels = np.linspace(2.0, 0.25, n + 1).tolist()
        errors.append(np.abs(solve(start, levels).numpy() - truth).max() + 1e-15)
    slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    end = solve(start, [2.0, 1.0, 0.0]).numpy()
    return bool((slope < -1.7) & np.isfinite(end).all())


def grids(high, low, n):
    return [high + (low - high) * i / n for i in range(n + 1)]


POINTS = torch.linspace(-3, 3, 8, dtype=torch.float64).reshape(4, 2)


def order_of(solve, data_std, x=POINTS, high=2.0, low=0.25, power=0.5, counts=(8, 64), truth=None):
    """The order that errors on two grids show."""
    if truth is None:
        truth = x * ((data_std**2 + low**2) / (data_std**2 + high**2)) ** power
    a, b = ((solve(x, grids(high, low, n)) - truth).abs().max().item() for n in counts)
    return math.log(max(a, 1e-15) / max(b, 1e-15)) / math.log(counts[1] / counts[0])


def survives(solve):
    return bool(solve(POINTS, [2.0, 1.0, 0.25, 0.0]).isfinite().all())


@wrong("is_second_order", "every sampler of order 1 passes; ask for 2")
def order_one_is_enough(solve, data_std):
    return survives(solve) and order_of(solve, data_std) > 0.8


@wrong(
    "is_second_order",
    "a small error is not a high order: order 1 with many small steps passes; compare several grids",
)
def one_grid_only(solve, data_std):
    end = POINTS * math.sqrt((data_std**2 + 0.0625) / (data_std**2 + 4))
    return (
        survives(solve) and (solve(POINTS, grids(2.0, 0.25, 64)) - end).abs().max().item() < 0.006
    )


@wrong("is_second_order", "what breaks only on a grid that ends at 0 passes: try one")
def never_goes_to_zero(solve, data_std):
    return order_of(solve, data_std) > 1.7


@wrong(
    "is_second_order",
    "infinity passes on a grid that ends at 0: look for that too, not for nan alone",
)
def only_not_a_number(solve, data_std):
    end = solve(POINTS, [2.0, 1.0, 0.25, 0.0])
    return not bool(end.isnan().any()) and order_of(solve, data_std) > 1.7


@wrong("is_second_order", "order 2 or better: a higher order is right too")
def exactly_two(solve, data_std):
    return survives(solve) and abs(order_of(solve, data_std) - 2) < 0.3


@wrong(
    "is_second_order",
    "a sampler that is right for one point only passes: use several different ones",
)
def a_single_point(solve, data_std):
    one = torch.full((1, 1), 2.0, dtype=torch.float64)
    return survives(solve) and order_of(solve, data_std, one) > 1.7


@wrong("is_second_order", "what is compared with is the ratio of the variances; (18) has its root")
def variances_for_widths(solve, data_std):
    return survives(solve) and order_of(solve, data_std, power=1.0) > 1.7


@wrong(
    "is_second_order",
    "samplers that converge to something else pass: compare with (18), not with the finest grid",
)
def against_its_own_finest(solve, data_std):
    finest = solve(POINTS, grids(2.0, 0.25, 256))
    return survives(solve) and order_of(solve, data_std, truth=finest, counts=(8, 32)) > 1.7


@wrong(
    "is_second_order",
    "every right sampler is rejected: is the comparison that of (18), and are the steps fine enough for the order to show?",
)
def from_eighty_down(solve, data_std):
    return survives(solve) and order_of(solve, data_std, high=80.0, low=0.002) > 1.7


@wrong("is_second_order", "right samplers are rejected where data_std is not 0.5: use the argument")
def always_one_half_wide(solve, data_std):
    return survives(solve) and order_of(solve, 0.5) > 1.7
