"""Right answers in another style, and the mistakes that the checks of chapter 11 must catch and name."""

from __future__ import annotations

import math

import torch

from autograde.authoring.variants import alternative, mutant
from genmodels import core

# ---------------------------------------------------------------- two_unknowns


@alternative("two_unknowns")
def by_linear_solver(x, prediction, a, b, alpha, sigma):
    matrix = torch.stack([torch.stack([alpha, sigma], -1), torch.stack([a, b], -1)], -2)
    right = torch.stack([x.reshape(len(x), -1), prediction.reshape(len(x), -1)], 1)
    both = torch.linalg.solve(matrix, right)
    return both[:, 0].reshape(x.shape), both[:, 1].reshape(x.shape)


@alternative("two_unknowns")
def dimensions_by_hand(x, prediction, a, b, alpha, sigma):
    a, b, alpha, sigma = (v.reshape(-1, *[1] * (x.ndim - 1)) for v in (a, b, alpha, sigma))
    det = alpha * b - sigma * a
    return (b * x - sigma * prediction) / det, (alpha * prediction - a * x) / det


@alternative("two_unknowns")
def sample_by_sample(x, prediction, a, b, alpha, sigma):
    pairs = []
    for k in range(len(x)):
        inverse = torch.tensor([[alpha[k], sigma[k]], [a[k], b[k]]], dtype=x.dtype).inverse()
        pairs.append([inverse[i, 0] * x[k] + inverse[i, 1] * prediction[k] for i in range(2)])
    return torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])


@mutant("two_unknowns", says="x_0 and eps are exchanged")
def exchanged(x, prediction, a, b, alpha, sigma):
    a, b, alpha, sigma = (core.expand(v, x) for v in (a, b, alpha, sigma))
    det = alpha * b - sigma * a
    return (alpha * prediction - a * x) / det, (b * x - sigma * prediction) / det


@mutant("two_unknowns", says="the determinant is alpha b - sigma a, not sigma a - alpha b")
def determinant_reversed(x, prediction, a, b, alpha, sigma):
    a, b, alpha, sigma = (core.expand(v, x) for v in (a, b, alpha, sigma))
    det = sigma * a - alpha * b
    return (b * x - sigma * prediction) / det, (alpha * prediction - a * x) / det


@mutant("two_unknowns", says="yours has a plus")
def determinant_with_a_plus(x, prediction, a, b, alpha, sigma):
    a, b, alpha, sigma = (core.expand(v, x) for v in (a, b, alpha, sigma))
    det = sigma * a + alpha * b
    return (b * x - sigma * prediction) / det, (alpha * prediction - a * x) / det


@mutant("two_unknowns", says="the determinant is missing")
def no_determinant(x, prediction, a, b, alpha, sigma):
    a, b, alpha, sigma = (core.expand(v, x) for v in (a, b, alpha, sigma))
    return b * x - sigma * prediction, alpha * prediction - a * x


@mutant("two_unknowns", says="a and b are exchanged")
def a_for_b(x, prediction, a, b, alpha, sigma):
    b, a, alpha, sigma = (core.expand(v, x) for v in (a, b, alpha, sigma))
    det = alpha * b - sigma * a
    return (b * x - sigma * prediction) / det, (alpha * prediction - a * x) / det


@mutant("two_unknowns", says="the prediction is taken for eps")
def always_eps(x, prediction, a, b, alpha, sigma):
    alpha, sigma = core.expand(alpha, x), core.expand(sigma, x)
    return (x - sigma * prediction) / alpha, prediction


@mutant("two_unknowns", says="this is the matrix (2) itself")
def not_inverted(x, prediction, a, b, alpha, sigma):
    a, b, alpha, sigma = (core.expand(v, x) for v in (a, b, alpha, sigma))
    return alpha * x + sigma * prediction, a * x + b * prediction


@mutant("two_unknowns", says="every sample got the numbers of the first one")
def first_sample_for_all(x, prediction, a, b, alpha, sigma):
    a, b, alpha, sigma = (v[0] for v in (a, b, alpha, sigma))
    det = alpha * b - sigma * a
    return (b * x - sigma * prediction) / det, (alpha * prediction - a * x) / det


@mutant("two_unknowns", says="must match the size of tensor")
def for_points_only(x, prediction, a, b, alpha, sigma):
    a, b, alpha, sigma = (v[:, None] for v in (a, b, alpha, sigma))
    det = alpha * b - sigma * a
    return (b * x - sigma * prediction) / det, (alpha * prediction - a * x) / det


@mutant("two_unknowns", says="must match the size of tensor")
def no_dimensions(x, prediction, a, b, alpha, sigma):
    det = alpha * b - sigma * a
    return (b * x - sigma * prediction) / det, (alpha * prediction - a * x) / det


@alternative("two_unknowns")
def eps_from_x0(x, prediction, a, b, alpha, sigma):
    a, b, alpha, sigma = (core.expand(v, x) for v in (a, b, alpha, sigma))
    x0 = (b * x - sigma * prediction) / (alpha * b - sigma * a)
    return [x0, (x - alpha * x0) / sigma]


@mutant("two_unknowns", says="are subtracted, not added")
def added(x, prediction, a, b, alpha, sigma):
    a, b, alpha, sigma = (core.expand(v, x) for v in (a, b, alpha, sigma))
    det = alpha * b - sigma * a
    return (b * x + sigma * prediction) / det, (alpha * prediction + a * x) / det


@mutant("two_unknowns", says="only the second term is divided")
def forgotten_brackets(x, prediction, a, b, alpha, sigma):
    a, b, alpha, sigma = (core.expand(v, x) for v in (a, b, alpha, sigma))
    det = alpha * b - sigma * a
    return b * x - sigma * prediction / det, alpha * prediction - a * x / det


@mutant("two_unknowns", says="must return the two (x_0, eps), not NoneType")
def nothing_returned(x, prediction, a, b, alpha, sigma):
    a, b, alpha, sigma = (core.expand(v, x) for v in (a, b, alpha, sigma))
    (b * x - sigma * prediction) / (alpha * b - sigma * a)


@mutant("two_unknowns", says="sigma is made from alpha as on the circle")
def circle_assumed(x, prediction, a, b, alpha, sigma):
    a, b, alpha = (core.expand(v, x) for v in (a, b, alpha))
    sigma = (1 - alpha**2).sqrt()
    det = alpha * b - sigma * a
    return (b * x - sigma * prediction) / det, (alpha * prediction - a * x) / det


# ---------------------------------------------------------------- borrow


@alternative("borrow")
def by_the_sigmas(denoise, source, time_at, x, alpha, sigma):
    time = time_at(sigma / alpha)
    return denoise(x * source(time)[1] / sigma, time)


@alternative("borrow")
def through_edm(denoise, source, time_at, x, alpha, sigma):
    in_edm, level = x / alpha, sigma / alpha
    time = time_at(level)
    a, _ = source(time)
    return denoise(a * in_edm, time)


@alternative("borrow")
def by_the_lengths(denoise, source, time_at, x, alpha, sigma):
    time = time_at(sigma / alpha)
    return denoise(x * (math.hypot(*source(time)) / math.hypot(alpha, sigma)), time)


@mutant("borrow", says="x is not rescaled")
def not_rescaled(denoise, source, time_at, x, alpha, sigma):
    return denoise(x, time_at(sigma / alpha))


@mutant("borrow", says="x is scaled the wrong way")
def wrong_way(denoise, source, time_at, x, alpha, sigma):
    time = time_at(sigma / alpha)
    return denoise(x * alpha / source(time)[0], time)


@mutant("borrow", says="do not scale the answer back")
def scaled_back(denoise, source, time_at, x, alpha, sigma):
    time = time_at(sigma / alpha)
    k = source(time)[0] / alpha
    return denoise(x * k, time) / k


@mutant("borrow", says="the answer is scaled too")
def scaled_twice(denoise, source, time_at, x, alpha, sigma):
    time = time_at(sigma / alpha)
    k = source(time)[0] / alpha
    return denoise(x * k, time) * k


@mutant("borrow", says="the noise level is sigma / alpha, not sigma")
def sigma_for_level(denoise, source, time_at, x, alpha, sigma):
    time = time_at(sigma)
    return denoise(x * source(time)[0] / alpha, time)


@mutant("borrow", says="the noise level is upside down")
def level_upside_down(denoise, source, time_at, x, alpha, sigma):
    time = time_at(alpha / sigma)
    return denoise(x * source(time)[0] / alpha, time)


@mutant("borrow", says="the noise level is taken for the time")
def level_for_time(denoise, source, time_at, x, alpha, sigma):
    level = sigma / alpha
    return denoise(x * source(level)[0] / alpha, level)


@mutant("borrow", says="as if the source were VE")
def source_taken_for_ve(denoise, source, time_at, x, alpha, sigma):
    return denoise(x / alpha, time_at(sigma / alpha))


@mutant("borrow", says="but not divided by alpha")
def not_divided(denoise, source, time_at, x, alpha, sigma):
    time = time_at(sigma / alpha)
    return denoise(x * source(time)[0], time)


@mutant("borrow", says="is wrong in")
def vp_assumed(denoise, source, time_at, x, alpha, sigma):
    # right for a source that preserves the variance only
    level = sigma / alpha
    return denoise(x / alpha / math.sqrt(1 + level**2), time_at(level))


@alternative("borrow")
def with_a_tensor_for_a_time(denoise, source, time_at, x, alpha, sigma):
    time = torch.tensor(time_at(sigma / alpha))  # in float32
    return denoise(x * (source(float(time))[0] / alpha), time)


@mutant("borrow", says="the network is told the noise level")
def told_the_level(denoise, source, time_at, x, alpha, sigma):
    time = time_at(sigma / alpha)
    return denoise(x * source(time)[0] / alpha, sigma / alpha)


@mutant("borrow", says="read alpha_* at t_*")
def scaled_for_another_time(denoise, source, time_at, x, alpha, sigma):
    level = sigma / alpha
    return denoise(x * source(level)[0] / alpha, time_at(level))


@mutant("borrow", says="sigma_* is taken for alpha_*")
def the_other_number(denoise, source, time_at, x, alpha, sigma):
    time = time_at(sigma / alpha)
    return denoise(x * source(time)[1] / alpha, time)


@mutant("borrow", says="this is the guess of the noise")
def the_noise(denoise, source, time_at, x, alpha, sigma):
    time = time_at(sigma / alpha)
    return (x - alpha * denoise(x * source(time)[0] / alpha, time)) / sigma


# ---------------------------------------------------------------- preconditioning


@alternative("preconditioning")
def by_equation_6(level, data_std):
    u2, s2 = level.square(), data_std**2
    c_skip = s2 / (u2 + s2)
    c_out = ((1 - c_skip) ** 2 * s2 + c_skip**2 * u2).sqrt()
    return c_skip, c_out, torch.rsqrt(u2 + s2), 0.25 * torch.log(level)


@alternative("preconditioning")
def by_hypot(level, data_std):
    size = torch.hypot(level, torch.full_like(level, data_std))
    return [(data_std / size) ** 2, level / size * data_std, size.reciprocal(), level.log() / 4]


@alternative("preconditioning")
def one_by_one(level, data_std):
    rows = []
    for u in level.tolist():
        v = u * u + data_std * data_std
        rows.append(
            [data_std**2 / v, u * data_std / math.sqrt(v), 1 / math.sqrt(v), math.log(u) / 4]
        )
    return tuple(torch.tensor(rows, dtype=level.dtype).T)


@mutant("preconditioning", says="variances are weighed, not standard deviations")
def skip_by_std(level, data_std):
    v = level**2 + data_std**2
    return data_std / (level + data_std), level * data_std / v.sqrt(), 1 / v.sqrt(), level.log() / 4


@mutant("preconditioning", says="s and not s^2 in the numerator")
def skip_without_square(level, data_std):
    v = level**2 + data_std**2
    return data_std / v, level * data_std / v.sqrt(), 1 / v.sqrt(), level.log() / 4


@mutant("preconditioning", says="this is the share of the noise")
def skip_of_noise(level, data_std):
    v = level**2 + data_std**2
    return level**2 / v, level * data_std / v.sqrt(), 1 / v.sqrt(), level.log() / 4


@mutant("preconditioning", says="the sign is reversed")
def minus_out(level, data_std):
    v = level**2 + data_std**2
    return data_std**2 / v, -level * data_std / v.sqrt(), 1 / v.sqrt(), level.log() / 4


@mutant("preconditioning", says="this is c_out^2")
def out_is_a_variance(level, data_std):
    v = level**2 + data_std**2
    return data_std**2 / v, level**2 * data_std**2 / v, 1 / v.sqrt(), level.log() / 4


@mutant("preconditioning", says="the root of the denominator is missing")
def out_without_root(level, data_std):
    v = level**2 + data_std**2
    return data_std**2 / v, level * data_std / v, 1 / v.sqrt(), level.log() / 4


@mutant("preconditioning", says="the root is missing: the input would have variance")
def in_without_root(level, data_std):
    v = level**2 + data_std**2
    return data_std**2 / v, level * data_std / v.sqrt(), 1 / v, level.log() / 4


@mutant("preconditioning", says="standard deviations do not add")
def in_by_sum(level, data_std):
    v = level**2 + data_std**2
    return data_std**2 / v, level * data_std / v.sqrt(), 1 / (level + data_std), level.log() / 4


@mutant("preconditioning", says="a quarter of it is asked")
def whole_log(level, data_std):
    v = level**2 + data_std**2
    return data_std**2 / v, level * data_std / v.sqrt(), 1 / v.sqrt(), level.log()


@mutant("preconditioning", says="the natural one is asked")
def base_ten(level, data_std):
    v = level**2 + data_std**2
    return data_std**2 / v, level * data_std / v.sqrt(), 1 / v.sqrt(), level.log10() / 4


@mutant("preconditioning", says="data_std is fixed at 0.5")
def always_one_half(level, data_std):
    v = level**2 + 0.25
    return 0.25 / v, level * 0.5 / v.sqrt(), 1 / v.sqrt(), level.log() / 4


@mutant("preconditioning", says="this is c_in; the order is")
def in_for_out(level, data_std):
    v = level**2 + data_std**2
    return data_std**2 / v, 1 / v.sqrt(), level * data_std / v.sqrt(), level.log() / 4


@mutant("preconditioning", says="the roots of the two terms of (6) are added")
def sum_of_roots(level, data_std):
    v = level**2 + data_std**2
    c_skip = data_std**2 / v
    return c_skip, (1 - c_skip) * data_std + c_skip * level, 1 / v.sqrt(), level.log() / 4


@mutant("preconditioning", says="u is missing in the numerator")
def out_without_level(level, data_std):
    v = level**2 + data_std**2
    return data_std**2 / v, data_std / v.sqrt(), 1 / v.sqrt(), level.log() / 4


@mutant("preconditioning", says="the input would have the data's standard deviation")
def in_of_size_s(level, data_std):
    v = level**2 + data_std**2
    return data_std**2 / v, level * data_std / v.sqrt(), data_std / v.sqrt(), level.log() / 4


@mutant("preconditioning", says="data_std is taken to be 1")
def in_for_unit_data(level, data_std):
    v = level**2 + data_std**2
    return data_std**2 / v, level * data_std / v.sqrt(), 1 / (level**2 + 1).sqrt(), level.log() / 4


@mutant("preconditioning", says="this is 4 ln u")
def four_times_the_log(level, data_std):
    v = level**2 + data_std**2
    return data_std**2 / v, level * data_std / v.sqrt(), 1 / v.sqrt(), 4 * level.log()


# ---------------------------------------------------------------- edm_loss


@alternative("edm_loss")
def weighted_before_the_sum(denoise, x0, level, eps, data_std):
    wide = level.reshape(-1, *[1] * (x0.ndim - 1))
    c_out = wide * data_std / (wide**2 + data_std**2).sqrt()
    return (((denoise(x0 + wide * eps, level) - x0) / c_out) ** 2).flatten(1).sum(1)


@alternative("edm_loss")
def two_terms(denoise, x0, level, eps, data_std):
    noisy = x0 + torch.einsum("b,b...->b...", level, eps)
    gap = (x0 - denoise(noisy, level)).square().reshape(len(x0), -1).sum(-1)
    return gap / data_std**2 + gap / level**2


@mutant("edm_loss", says="the noise is not scaled by the level")
def noise_not_scaled(denoise, x0, level, eps, data_std):
    weight = (level**2 + data_std**2) / (level * data_std) ** 2
    return weight * core.sum_except_batch((denoise(x0 + eps, level) - x0) ** 2)


@mutant("edm_loss", says="the level is added instead of noise")
def level_for_noise(denoise, x0, level, eps, data_std):
    weight = (level**2 + data_std**2) / (level * data_std) ** 2
    x = x0 + core.expand(level, x0)
    return weight * core.sum_except_batch((denoise(x, level) - x0) ** 2)


@mutant("edm_loss", says="the denoiser sees the clean data")
def no_noise(denoise, x0, level, eps, data_std):
    weight = (level**2 + data_std**2) / (level * data_std) ** 2
    return weight * core.sum_except_batch((denoise(x0, level) - x0) ** 2)


@mutant("edm_loss", says="the denoiser is compared with eps")
def compared_with_eps(denoise, x0, level, eps, data_std):
    weight = (level**2 + data_std**2) / (level * data_std) ** 2
    x = x0 + core.expand(level, x0) * eps
    return weight * core.sum_except_batch((denoise(x, level) - eps) ** 2)


@mutant("edm_loss", says="the weight has (u + s)^2")
def square_of_the_sum(denoise, x0, level, eps, data_std):
    weight = (level + data_std) ** 2 / (level * data_std) ** 2
    x = x0 + core.expand(level, x0) * eps
    return weight * core.sum_except_batch((denoise(x, level) - x0) ** 2)


@mutant("edm_loss", says="the weight is upside down")
def weight_upside_down(denoise, x0, level, eps, data_std):
    weight = (level * data_std) ** 2 / (level**2 + data_std**2)
    x = x0 + core.expand(level, x0) * eps
    return weight * core.sum_except_batch((denoise(x, level) - x0) ** 2)


@mutant("edm_loss", says="the weight is missing")
def no_weight(denoise, x0, level, eps, data_std):
    x = x0 + core.expand(level, x0) * eps
    return core.sum_except_batch((denoise(x, level) - x0) ** 2)


@mutant("edm_loss", says="1 / c_out^2 is asked")
def root_of_the_weight(denoise, x0, level, eps, data_std):
    weight = (level**2 + data_std**2).sqrt() / (level * data_std)
    x = x0 + core.expand(level, x0) * eps
    return weight * core.sum_except_batch((denoise(x, level) - x0) ** 2)


@mutant("edm_loss", says="averaged over the numbers of a sample")
def mean_over_numbers(denoise, x0, level, eps, data_std):
    weight = (level**2 + data_std**2) / (level * data_std) ** 2
    x = x0 + core.expand(level, x0) * eps
    return weight * ((denoise(x, level) - x0) ** 2).flatten(1).mean(1)


@mutant("edm_loss", says="one number for the batch")
def mean_over_batch(denoise, x0, level, eps, data_std):
    weight = (level**2 + data_std**2) / (level * data_std) ** 2
    x = x0 + core.expand(level, x0) * eps
    return (weight * core.sum_except_batch((denoise(x, level) - x0) ** 2)).mean()


@mutant("edm_loss", says="data_std is fixed at 0.5")
def half_for_data_std(denoise, x0, level, eps, data_std):
    weight = (level**2 + 0.25) / (level * 0.5) ** 2
    x = x0 + core.expand(level, x0) * eps
    return weight * core.sum_except_batch((denoise(x, level) - x0) ** 2)


@mutant("edm_loss", says="must match the size of tensor")
def loss_for_points_only(denoise, x0, level, eps, data_std):
    weight = (level**2 + data_std**2) / (level * data_std) ** 2
    x = x0 + level[:, None] * eps
    return weight * core.sum_except_batch((denoise(x, level) - x0) ** 2)


@mutant("edm_loss", says="is compared with the noisy x")
def x0_overwritten(denoise, x0, level, eps, data_std):
    weight = (level**2 + data_std**2) / (level * data_std) ** 2
    x0 += core.expand(level, x0) * eps
    return weight * core.sum_except_batch((denoise(x0, level) - x0) ** 2)


@mutant("edm_loss", says="c_noise is made inside it")
def told_c_noise(denoise, x0, level, eps, data_std):
    weight = (level**2 + data_std**2) / (level * data_std) ** 2
    x = x0 + core.expand(level, x0) * eps
    return weight * core.sum_except_batch((denoise(x, level.log() / 4) - x0) ** 2)


@mutant("edm_loss", says="c_in is applied inside it")
def scaled_before(denoise, x0, level, eps, data_std):
    var = level**2 + data_std**2
    x = (x0 + core.expand(level, x0) * eps) / core.expand(var.sqrt(), x0)
    return var / (level * data_std) ** 2 * core.sum_except_batch((denoise(x, level) - x0) ** 2)


@mutant("edm_loss", says="the square is missing in the weight's denominator")
def denominator_not_squared(denoise, x0, level, eps, data_std):
    weight = (level**2 + data_std**2) / (level * data_std)
    x = x0 + core.expand(level, x0) * eps
    return weight * core.sum_except_batch((denoise(x, level) - x0) ** 2)


@mutant("edm_loss", says="the weight is squared as well")
def weight_inside_the_square(denoise, x0, level, eps, data_std):
    wide = core.expand(level, x0)
    weight = (wide**2 + data_std**2) / (wide * data_std) ** 2
    return core.sum_except_batch((weight * (denoise(x0 + wide * eps, level) - x0)) ** 2)


@mutant("edm_loss", says="summed before they are squared")
def summed_before_squared(denoise, x0, level, eps, data_std):
    weight = (level**2 + data_std**2) / (level * data_std) ** 2
    x = x0 + core.expand(level, x0) * eps
    return weight * core.sum_except_batch(denoise(x, level) - x0) ** 2


@mutant("edm_loss", says="no gradient passes through the network")
def without_a_gradient(denoise, x0, level, eps, data_std):
    weight = (level**2 + data_std**2) / (level * data_std) ** 2
    with torch.no_grad():
        guess = denoise(x0 + core.expand(level, x0) * eps, level)
    return weight * core.sum_except_batch((guess - x0) ** 2)


# ---------------------------------------------------------------- karras_levels


@alternative("karras_levels")
def level_by_level(steps, low, high, rho):
    a, b = high ** (1 / rho), low ** (1 / rho)
    levels = [(a + i / (steps - 1) * (b - a)) ** rho for i in range(steps)]
    return torch.tensor([*levels, 0.0], dtype=torch.float64)


@alternative("karras_levels")
def linspace_of_roots(steps, low, high, rho):
    roots = torch.linspace(high ** (1 / rho), low ** (1 / rho), steps, dtype=torch.float64)
    return torch.nn.functional.pad(roots.pow(rho), (0, 1))


@mutant("karras_levels", says="the exponents are exchanged")
def exponents_exchanged(steps, low, high, rho):
    fraction = torch.linspace(0, 1, steps, dtype=torch.float64)
    root = high**rho + fraction * (low**rho - high**rho)
    levels = root.clamp_min(low**rho) ** (1 / rho)
    return torch.cat([levels, torch.zeros(1, dtype=torch.float64)])


@mutant("karras_levels", says="the levels ascend; sampling starts with the noise")
def ascending(steps, low, high, rho):
    roots = torch.linspace(low ** (1 / rho), high ** (1 / rho), steps, dtype=torch.float64)
    return torch.cat([torch.zeros(1, dtype=torch.float64), roots**rho])


@mutant("karras_levels", says="with the 0 at the end")
def ascending_then_zero(steps, low, high, rho):
    roots = torch.linspace(low ** (1 / rho), high ** (1 / rho), steps, dtype=torch.float64)
    return torch.cat([roots**rho, torch.zeros(1, dtype=torch.float64)])


@mutant("karras_levels", says="the last 0 is missing")
def no_last_zero(steps, low, high, rho):
    return torch.linspace(high ** (1 / rho), low ** (1 / rho), steps, dtype=torch.float64) ** rho


@mutant("karras_levels", says="the last 0 took the place of a level")
def zero_within(steps, low, high, rho):
    roots = torch.linspace(high ** (1 / rho), low ** (1 / rho), steps - 1, dtype=torch.float64)
    return torch.cat([roots**rho, torch.zeros(1, dtype=torch.float64)])


@mutant("karras_levels", says="so that low is reached")
def fractions_too_small(steps, low, high, rho):
    fraction = torch.arange(steps, dtype=torch.float64) / steps
    root = high ** (1 / rho) + fraction * (low ** (1 / rho) - high ** (1 / rho))
    return torch.cat([root**rho, torch.zeros(1, dtype=torch.float64)])


@mutant("karras_levels", says="not raised to the power rho")
def roots_only(steps, low, high, rho):
    roots = torch.linspace(high ** (1 / rho), low ** (1 / rho), steps, dtype=torch.float64)
    return torch.cat([roots, torch.zeros(1, dtype=torch.float64)])


@mutant("karras_levels", says="this is uniform in the level")
def uniform(steps, low, high, rho):
    levels = torch.linspace(high, low, steps, dtype=torch.float64)
    return torch.cat([levels, torch.zeros(1, dtype=torch.float64)])


@mutant("karras_levels", says="is wrong in")
def rho_fixed_at_seven(steps, low, high, rho):
    roots = torch.linspace(high ** (1 / 7), low ** (1 / 7), steps, dtype=torch.float64)
    return torch.cat([roots**7, torch.zeros(1, dtype=torch.float64)])


@mutant("karras_levels", says="no root was taken before")
def power_without_root(steps, low, high, rho):
    levels = torch.linspace(high, low, steps, dtype=torch.float64) ** rho
    return torch.cat([levels, torch.zeros(1, dtype=torch.float64)])


@mutant("karras_levels", says="the grid runs down to 0 in equal roots")
def down_to_zero(steps, low, high, rho):
    return torch.linspace(high ** (1 / rho), 0, steps + 1, dtype=torch.float64) ** rho


# ---------------------------------------------------------------- heun_step


@alternative("heun_step")
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


@alternative("heun_step")
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


@mutant("heun_step", says="this is Euler's step")
def euler(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    return x + (als - al) * x0 + (sis - si) * (x - al * x0) / si


@mutant("heun_step", says="the second guess is made at the time t, and its noise")
def second_at_old_level(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    ahead = x + (als - al) * x0 + (sis - si) * eps
    if sis == 0:
        return ahead
    y0 = denoise(ahead, t)
    e2 = (ahead - al * y0) / si
    return x + (als - al) * (x0 + y0) / 2 + (sis - si) * (eps + e2) / 2


@mutant("heun_step", says="the second guess is made at the time t; ask denoise(ahead, s)")
def asked_at_old_time(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    ahead = x + (als - al) * x0 + (sis - si) * eps
    if sis == 0:
        return ahead
    y0 = denoise(ahead, t)
    e2 = (ahead - als * y0) / sis
    return x + (als - al) * (x0 + y0) / 2 + (sis - si) * (eps + e2) / 2


@mutant("heun_step", says="the second guess is made at the old point")
def second_at_old_point(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    if sis == 0:
        return x + (als - al) * x0 + (sis - si) * eps
    y0 = denoise(x, s)
    e2 = (x - als * y0) / sis
    return x + (als - al) * (x0 + y0) / 2 + (sis - si) * (eps + e2) / 2


@mutant("heun_step", says="the second noise is computed with the path at t")
def second_noise_with_old_path(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    ahead = x + (als - al) * x0 + (sis - si) * eps
    if sis == 0:
        return ahead
    y0 = denoise(ahead, s)
    e2 = (ahead - al * y0) / si
    return x + (als - al) * (x0 + y0) / 2 + (sis - si) * (eps + e2) / 2


@mutant("heun_step", says="only the second guess is used")
def second_guess_only(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    ahead = x + (als - al) * x0 + (sis - si) * (x - al * x0) / si
    if sis == 0:
        return ahead
    y0 = denoise(ahead, s)
    return x + (als - al) * y0 + (sis - si) * (ahead - als * y0) / sis


@mutant("heun_step", says="starts at x, not at the end of Euler's step")
def from_the_end_of_euler(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    ahead = x + (als - al) * x0 + (sis - si) * eps
    if sis == 0:
        return ahead
    y0 = denoise(ahead, s)
    e2 = (ahead - als * y0) / sis
    return ahead + (als - al) * (x0 + y0) / 2 + (sis - si) * (eps + e2) / 2


@mutant("heun_step", says="added but not halved")
def not_halved(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    ahead = x + (als - al) * x0 + (sis - si) * eps
    if sis == 0:
        return ahead
    y0 = denoise(ahead, s)
    e2 = (ahead - als * y0) / sis
    return x + (als - al) * (x0 + y0) + (sis - si) * (eps + e2)


@mutant("heun_step", says="the sign of the step is reversed")
def away_from_the_data(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    ahead = x + (als - al) * x0 + (sis - si) * eps
    if sis == 0:
        return ahead
    y0 = denoise(ahead, s)
    e2 = (ahead - als * y0) / sis
    return x - (als - al) * (x0 + y0) / 2 - (sis - si) * (eps + e2) / 2


@mutant("heun_step", says="the term of alpha is missing")
def for_ve_only(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    ahead = x + (als - al) * x0 + (sis - si) * eps
    if sis == 0:
        return ahead
    y0 = denoise(ahead, s)
    return x + (sis - si) * (eps + (ahead - als * y0) / sis) / 2


@mutant("heun_step", says="where sigma_s is 0 there is no second noise")
def second_look_at_no_noise(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    ahead = x + (als - al) * x0 + (sis - si) * eps
    y0 = denoise(ahead, s)
    e2 = (ahead - als * y0) / torch.as_tensor(sis, dtype=x.dtype)
    return x + (als - al) * (x0 + y0) / 2 + (sis - si) * (eps + e2) / 2


@mutant("heun_step", says="one evaluation, at 0.4, is enough")
def wasted_evaluation(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    ahead = x + (als - al) * x0 + (sis - si) * eps
    y0 = denoise(ahead, s)
    if sis == 0:
        return ahead
    e2 = (ahead - als * y0) / sis
    return x + (als - al) * (x0 + y0) / 2 + (sis - si) * (eps + e2) / 2


@alternative("heun_step")
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


@mutant("heun_step", says="the second noise is computed from x")
def second_noise_from_x(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    ahead = x + (als - al) * x0 + (sis - si) * eps
    if sis == 0:
        return ahead
    y0 = denoise(ahead, s)
    e2 = (x - als * y0) / sis
    return x + (als - al) * (x0 + y0) / 2 + (sis - si) * (eps + e2) / 2


@mutant("heun_step", says="alpha is missing")
def noise_without_alpha(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - x0) / si
    ahead = x + (als - al) * x0 + (sis - si) * eps
    if sis == 0:
        return ahead
    y0 = denoise(ahead, s)
    e2 = (ahead - y0) / sis
    return x + (als - al) * (x0 + y0) / 2 + (sis - si) * (eps + e2) / 2


@mutant("heun_step", says="the look ahead has no term of alpha")
def looks_ahead_on_ve(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    ahead = x + (sis - si) * eps
    if sis == 0:
        return x0
    y0 = denoise(ahead, s)
    e2 = (ahead - als * y0) / sis
    return x + (als - al) * (x0 + y0) / 2 + (sis - si) * (eps + e2) / 2


@mutant("heun_step", says="this is the step of VE")
def step_of_ve(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    ahead = x + (als - al) * x0 + (sis - si) * eps
    if sis == 0:
        return ahead
    e2 = (ahead - als * denoise(ahead, s)) / sis
    return x + (s - t) * (eps + e2) / 2


@mutant("heun_step", says="alpha_s - alpha_t is reversed")
def alpha_backwards(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    ahead = x + (als - al) * x0 + (sis - si) * eps
    if sis == 0:
        return ahead
    y0 = denoise(ahead, s)
    e2 = (ahead - als * y0) / sis
    return x + (al - als) * (x0 + y0) / 2 + (sis - si) * (eps + e2) / 2


@mutant("heun_step", says="this is the midpoint rule")
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


@mutant("heun_step", says="those of x_0 are not")
def noise_averaged_only(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    ahead = x + (als - al) * x0 + (sis - si) * eps
    if sis == 0:
        return ahead
    y0 = denoise(ahead, s)
    e2 = (ahead - als * y0) / sis
    return x + (als - al) * x0 + (sis - si) * (eps + e2) / 2


@mutant("heun_step", says="the step is only half done")
def half_a_last_step(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    ahead = x + (als - al) * x0 + (sis - si) * eps
    if sis == 0:
        return x + ((als - al) * x0 + (sis - si) * eps) / 2
    y0 = denoise(ahead, s)
    e2 = (ahead - als * y0) / sis
    return x + (als - al) * (x0 + y0) / 2 + (sis - si) * (eps + e2) / 2


@mutant("heun_step", says="nothing was done")
def no_last_step(denoise, path, x, t, s):
    (al, si), (als, sis) = path(t), path(s)
    x0 = denoise(x, t)
    eps = (x - al * x0) / si
    ahead = x + (als - al) * x0 + (sis - si) * eps
    if sis == 0:
        return x
    y0 = denoise(ahead, s)
    e2 = (ahead - als * y0) / sis
    return x + (als - al) * (x0 + y0) / 2 + (sis - si) * (eps + e2) / 2


# ---------------------------------------------------------------- is_second_order


@alternative("is_second_order")
def by_a_fitted_slope(solve, data_std):
    x = torch.randn(6, 3, generator=core.generator(1), dtype=torch.float64) * 2
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
    return slope < -1.6 and not bool(torch.isnan(last).any())


@alternative("is_second_order")
def by_each_doubling(solve, data_std):
    x = torch.tensor([[-2.5], [0.4], [1.7]], dtype=torch.float64)
    end = x * ((data_std**2 + 0.09) / (data_std**2 + 4.0)) ** 0.5
    if not torch.isfinite(solve(x, [2.0, 0.7, 0.0])).all():
        return False
    errors = []
    for n in (10, 20, 40, 80):
        errors.append(float((solve(x, [2.0 - 1.7 * i / n for i in range(n + 1)]) - end).norm()))
    return all(after < before / 3 for before, after in zip(errors, errors[1:]))


@mutant("is_second_order", says="accepts a broken sampler")
def accepts_all(solve, data_std):
    return True


@mutant("is_second_order", says="rejects a right sampler")
def rejects_all(solve, data_std):
    return False


@mutant("is_second_order", says="accepts a broken sampler: Euler's rule")
def order_one_is_enough(solve, data_std):
    x = torch.linspace(-3, 3, 8, dtype=torch.float64).reshape(4, 2)
    truth = x * math.sqrt((data_std**2 + 0.0625) / (data_std**2 + 4))
    errors = [
        (solve(x, [2 - 1.75 * i / n for i in range(n + 1)]) - truth).abs().max().item()
        for n in (8, 64)
    ]
    end = solve(x, [2.0, 1.0, 0.25, 0.0])
    return bool(end.isfinite().all()) and math.log2(errors[0] / errors[1]) / 3 > 0.8


@mutant("is_second_order", says="however small its error")
def one_grid_only(solve, data_std):
    x = torch.linspace(-3, 3, 8, dtype=torch.float64).reshape(4, 2)
    truth = x * math.sqrt((data_std**2 + 0.0625) / (data_std**2 + 4))
    error = (solve(x, [2 - 1.75 * i / 64 for i in range(65)]) - truth).abs().max().item()
    end = solve(x, [2.0, 1.0, 0.25, 0.0])
    return bool(end.isfinite().all()) and error < 0.006


@mutant("is_second_order", says="accepts a broken sampler: Heun that divides by the level 0")
def never_goes_to_zero(solve, data_std):
    x = torch.linspace(-3, 3, 8, dtype=torch.float64).reshape(4, 2)
    truth = x * math.sqrt((data_std**2 + 0.0625) / (data_std**2 + 4))
    errors = [
        (solve(x, [2 - 1.75 * i / n for i in range(n + 1)]) - truth).abs().max().item()
        for n in (8, 64)
    ]
    return math.log2(errors[0] / errors[1]) / 3 > 1.7


@mutant("is_second_order", says="a higher order is right too")
def exactly_two(solve, data_std):
    x = torch.linspace(-3, 3, 8, dtype=torch.float64).reshape(4, 2)
    truth = x * math.sqrt((data_std**2 + 0.0625) / (data_std**2 + 4))
    errors = [
        (solve(x, [2 - 1.75 * i / n for i in range(n + 1)]) - truth).abs().max().item()
        for n in (8, 64)
    ]
    end = solve(x, [2.0, 1.0, 0.25, 0.0])
    return bool(end.isfinite().all()) and abs(math.log2(errors[0] / errors[1]) / 3 - 2) < 0.3


@mutant("is_second_order", says="one point is not enough")
def a_single_point(solve, data_std):
    x = torch.full((1, 1), 2.0, dtype=torch.float64)
    truth = x * math.sqrt((data_std**2 + 0.0625) / (data_std**2 + 4))
    errors = [
        (solve(x, [2 - 1.75 * i / n for i in range(n + 1)]) - truth).abs().max().item()
        for n in (8, 64)
    ]
    end = solve(x, [2.0, 1.0, 0.25, 0.0])
    return bool(end.isfinite().all()) and math.log2(errors[0] / errors[1]) / 3 > 1.7


@mutant("is_second_order", says="rejects a right sampler")
def variances_for_widths(solve, data_std):
    x = torch.linspace(-3, 3, 8, dtype=torch.float64).reshape(4, 2)
    truth = x * (data_std**2 + 0.0625) / (data_std**2 + 4)
    errors = [
        (solve(x, [2 - 1.75 * i / n for i in range(n + 1)]) - truth).abs().max().item()
        for n in (8, 64)
    ]
    return math.log2(errors[0] / errors[1]) / 3 > 1.7


@mutant("is_second_order", says="it converges, but not to (18)")
def against_its_own_finest(solve, data_std):
    x = torch.linspace(-3, 3, 8, dtype=torch.float64).reshape(4, 2)
    run = lambda n: solve(x, [2 - 1.75 * i / n for i in range(n + 1)])
    finest = run(256)
    errors = [(run(n) - finest).abs().max().item() for n in (8, 32)]
    end = solve(x, [2.0, 1.0, 0.25, 0.0])
    return bool(end.isfinite().all()) and math.log2(errors[0] / max(errors[1], 1e-15)) / 2 > 1.7


@alternative("is_second_order")
def with_numpy(solve, data_std):
    import numpy as np

    x = np.linspace(-3, 3, 8).reshape(4, 2)
    start, errors, counts = torch.from_numpy(x), [], (8, 16, 32, 64)
    truth = x * np.sqrt((data_std**2 + 0.25**2) / (data_std**2 + 2.0**2))
    for n in counts:
        levels = np.linspace(2.0, 0.25, n + 1).tolist()
        errors.append(np.abs(solve(start, levels).numpy() - truth).max() + 1e-15)
    slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    end = solve(start, [2.0, 1.0, 0.0]).numpy()
    return (slope < -1.7) & np.isfinite(end).all()


@mutant("is_second_order", says="too coarse for the order to show")
def from_eighty_down(solve, data_std):
    x = torch.linspace(-3, 3, 8, dtype=torch.float64).reshape(4, 2)
    truth = x * math.sqrt((data_std**2 + 0.002**2) / (data_std**2 + 80**2))
    errors = [
        (solve(x, [80 - 79.998 * i / n for i in range(n + 1)]) - truth).abs().max().item()
        for n in (8, 64)
    ]
    end = solve(x, [80.0, 1.0, 0.25, 0.0])
    return bool(end.isfinite().all()) and math.log2(errors[0] / errors[1]) / 3 > 1.7


@mutant("is_second_order", says="rejects a right sampler: Heun")
def always_one_half_wide(solve, data_std):
    x = torch.linspace(-3, 3, 8, dtype=torch.float64).reshape(4, 2)
    truth = x * math.sqrt((0.25 + 0.0625) / (0.25 + 4))
    errors = [
        (solve(x, [2 - 1.75 * i / n for i in range(n + 1)]) - truth).abs().max().item()
        for n in (8, 64)
    ]
    end = solve(x, [2.0, 1.0, 0.25, 0.0])
    return bool(end.isfinite().all()) and math.log2(errors[0] / errors[1]) / 3 > 1.7


@mutant("is_second_order", says="two verdicts on one and the same case")
def counts_its_calls(solve, data_std, answers=[True] * 2 + [False] * 7 + [True] * 3 + [False] * 7):
    answers.append(answers.pop(0))  # as if the cases came in the order in which they are listed
    return answers[-1]
