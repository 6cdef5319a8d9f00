"""Right answers in another style and wrong ones that people really give, for each exercise of chapter 09."""

import math

import torch

from autograde.authoring.variants import alternative, mutant

# Names that the chapter's notebook binds before these answers run.
core = posterior_of = log_mass = TARGETS = pairwise = ...

# ---------------------------------------------------------------- jump


@alternative("jump")
def walks_the_chain(x0, k, betas, eps):
    out = []
    for picture, steps, noise in zip(x0, k.tolist(), eps):
        signal, variance = 1.0, 0.0
        for beta in betas[:steps].tolist():
            signal, variance = signal * (1 - beta) ** 0.5, variance * (1 - beta) + beta
        out.append(signal * picture + variance**0.5 * noise)
    return torch.stack(out)


@alternative("jump")
def with_logs(x0, k, betas, eps):
    log_abar = torch.nn.functional.pad(torch.log1p(-betas).cumsum(0), (1, 0))[k]
    shape = (len(x0),) + (1,) * (x0.dim() - 1)
    signal, size = (log_abar / 2).exp().view(shape), (-torch.expm1(log_abar)).sqrt().view(shape)
    return torch.addcmul(signal * x0, size, eps)


@alternative("jump")
def with_einsum(x0, k, betas, eps):
    abar = torch.stack([torch.prod(1 - betas[:i]) for i in range(len(betas) + 1)])
    return torch.einsum("b,b...->b...", abar[k] ** 0.5, x0) + torch.einsum(
        "b,b...->b...", (1 - abar[k]) ** 0.5, eps
    )


@mutant("jump", says="1 - abar is a variance")
def variance_for_size(x0, k, betas, eps):
    left = core.expand(torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])[k], x0)
    return left.sqrt() * x0 + (1 - left) * eps


@mutant("jump", says="abar is a variance too")
def signal_without_root(x0, k, betas, eps):
    left = core.expand(torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])[k], x0)
    return left * x0 + (1 - left).sqrt() * eps


@mutant("jump", says="this is the last step only")
def alpha_for_alpha_bar(x0, k, betas, eps):
    left = core.expand(torch.cat([betas.new_ones(1), 1 - betas])[k], x0)
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


@mutant("jump", says="the product must be of 1 - beta")
def product_of_betas(x0, k, betas, eps):
    left = core.expand(torch.cat([betas.new_ones(1), betas.cumprod(0)])[k], x0)
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


@mutant("jump", says="k = 0 must return the data")
def index_minus_one(x0, k, betas, eps):
    left = core.expand((1 - betas).cumprod(0)[k - 1], x0)
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


@mutant("jump", says="off by one")
def one_step_too_many(x0, k, betas, eps):
    left = core.expand((1 - betas).cumprod(0)[k.clamp_max(len(betas) - 1)], x0)
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


@mutant("jump", says="lined up with the last axis")
def not_expanded(x0, k, betas, eps):
    left = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])[k]
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


@mutant("jump", says="signal and noise are swapped")
def swapped(x0, k, betas, eps):
    left = core.expand(torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])[k], x0)
    return (1 - left).sqrt() * x0 + left.sqrt() * eps


@mutant("jump", says="the factors multiply")
def sum_of_betas(x0, k, betas, eps):
    left = core.expand(torch.cat([betas.new_ones(1), 1 - betas.cumsum(0)])[k].clamp_min(0), x0)
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


@mutant("jump", says="jump of 5 vectors")
def pictures_only(x0, k, betas, eps):
    """Passes the visible check, which has pictures."""
    left = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])[k].reshape(-1, 1, 1, 1)
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


@mutant("jump", says="each has its own")
def one_k_for_all(x0, k, betas, eps):
    left = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])[k[0]]
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


@mutant("jump", says="this is the root of 1 - sqrt(abar)")
def one_minus_the_signal(x0, k, betas, eps):
    abar = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
    signal = core.expand(abar[k].sqrt(), x0)
    return signal * x0 + (1 - signal).sqrt() * eps


@mutant("jump", says="the picture is not shrunk")
def picture_not_shrunk(x0, k, betas, eps):
    abar = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
    return x0 + core.expand(1 - abar[k], x0).sqrt() * eps


@mutant("jump", says="one root too many")
def roots_multiplied_and_rooted(x0, k, betas, eps):
    abar = torch.cat([betas.new_ones(1), (1 - betas).sqrt().cumprod(0)])
    left = core.expand(abar[k], x0)
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


@mutant("jump", says="k = 0 was treated as k = 1")
def zero_clamped_to_one(x0, k, betas, eps):
    left = core.expand((1 - betas).cumprod(0)[(k - 1).clamp_min(0)], x0)
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


@mutant("jump", says="use the noise that is given")
def noise_of_its_own(x0, k, betas, eps):
    abar = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
    left = core.expand(abar[k], x0)
    return left.sqrt() * x0 + (1 - left).sqrt() * torch.randn_like(x0)


# ---------------------------------------------------------------- posterior


@alternative("posterior")
def by_precisions(x0, xk, abar_k, abar_j):
    if abar_j == 1:
        return x0, 0.0
    a = abar_k / abar_j
    of_step, of_start = a / (1 - a), 1 / (1 - abar_j)
    variance = 1 / (of_step + of_start)
    return variance * (of_step * xk / math.sqrt(a) + of_start * math.sqrt(abar_j) * x0), variance


@alternative("posterior")
def by_the_noise(x0, xk, abar_k, abar_j):
    variance = (1 - abar_j) / (1 - abar_k) * (1 - abar_k / abar_j)
    eps = (xk - abar_k**0.5 * x0) / (1 - abar_k) ** 0.5
    return abar_j**0.5 * x0 + math.sqrt(max(1 - abar_j - variance, 0.0)) * eps, torch.tensor(
        variance
    ).double()


@alternative("posterior")
def by_regression(x0, xk, abar_k, abar_j):
    """Given x_0, the pair (x_j, x_k) is Gaussian: regress one on the other."""
    a = abar_k / abar_j
    slope = math.sqrt(a) * (1 - abar_j) / (1 - abar_k)
    mean = math.sqrt(abar_j) * x0 + slope * (xk - math.sqrt(abar_k) * x0)
    return mean, torch.full_like(x0, (1 - abar_j) - slope * math.sqrt(a) * (1 - abar_j))


@mutant("posterior", says="the coefficients are swapped")
def coefficients_swapped(x0, xk, abar_k, abar_j):
    a = abar_k / abar_j
    variance = (1 - a) * (1 - abar_j) / (1 - abar_k)
    return (abar_j**0.5 * (1 - a) * xk + a**0.5 * (1 - abar_j) * x0) / (1 - abar_k), variance


@mutant("posterior", says="the root of abar_j is missing")
def no_root_of_abar_j(x0, xk, abar_k, abar_j):
    a = abar_k / abar_j
    variance = (1 - a) * (1 - abar_j) / (1 - abar_k)
    return (abar_j * (1 - a) * x0 + a**0.5 * (1 - abar_j) * xk) / (1 - abar_k), variance


@mutant("posterior", says="the root of a is missing")
def no_root_of_a(x0, xk, abar_k, abar_j):
    a = abar_k / abar_j
    variance = (1 - a) * (1 - abar_j) / (1 - abar_k)
    return (abar_j**0.5 * (1 - a) * x0 + a * (1 - abar_j) * xk) / (1 - abar_k), variance


@mutant("posterior", says="abar_k stands where a")
def abar_for_a(x0, xk, abar_k, abar_j):
    variance = (1 - abar_k) * (1 - abar_j) / (1 - abar_k)
    return (abar_j**0.5 * (1 - abar_k) * x0 + abar_k**0.5 * (1 - abar_j) * xk) / (
        1 - abar_k
    ), variance


@mutant("posterior", says="this is the forward step's variance")
def forward_variance(x0, xk, abar_k, abar_j):
    a = abar_k / abar_j
    return (abar_j**0.5 * (1 - a) * x0 + a**0.5 * (1 - abar_j) * xk) / (1 - abar_k), 1 - a


@mutant("posterior", says="this is a standard deviation")
def std_returned(x0, xk, abar_k, abar_j):
    a = abar_k / abar_j
    variance = (1 - a) * (1 - abar_j) / (1 - abar_k)
    return (abar_j**0.5 * (1 - a) * x0 + a**0.5 * (1 - abar_j) * xk) / (1 - abar_k), variance**0.5


@mutant("posterior", says="the ratio is upside down")
def ratio_upside_down(x0, xk, abar_k, abar_j):
    a = abar_k / abar_j
    mean = (abar_j**0.5 * (1 - a) * x0 + a**0.5 * (1 - abar_j) * xk) / (1 - abar_k)
    return mean, (1 - a) * (1 - abar_k) / (1 - abar_j) if abar_j < 1 else 0.0


@mutant("posterior", says="the denominator must be 1 - abar_k")
def wrong_denominator(x0, xk, abar_k, abar_j):
    a = abar_k / abar_j
    variance = (1 - a) * (1 - abar_j) / (1 - abar_k)
    return (abar_j**0.5 * (1 - a) * x0 + a**0.5 * (1 - abar_j) * xk) / (1 - abar_j), variance


@mutant("posterior", says="the last step")
def nan_at_the_end(x0, xk, abar_k, abar_j):
    a = abar_k / abar_j
    precision = torch.tensor(a / (1 - a)).double() + 1 / torch.tensor(1 - abar_j).double()
    mean = (
        a**0.5 / (1 - a) * xk + abar_j**0.5 / torch.tensor(1 - abar_j).double() * x0
    ) / precision
    return mean, 1 / precision


@mutant("posterior", says="a is upside down")
def ratio_of_levels_inverted(x0, xk, abar_k, abar_j):
    a = abar_j / abar_k
    mean = (abar_j**0.5 * (1 - a) * x0 + a**0.5 * (1 - abar_j) * xk) / (1 - abar_k)
    return mean, (1 - a) * (1 - abar_j) / (1 - abar_k)


@mutant("posterior", says="a is what the steps between keep")
def beta_for_a(x0, xk, abar_k, abar_j):
    a = 1 - abar_k / abar_j
    mean = (abar_j**0.5 * (1 - a) * x0 + a**0.5 * (1 - abar_j) * xk) / (1 - abar_k)
    return mean, (1 - a) * (1 - abar_j) / (1 - abar_k)


@mutant("posterior", says="parentheses are missing")
def parentheses_missing(x0, xk, abar_k, abar_j):
    a = abar_k / abar_j
    mean = (abar_j**0.5 * (1 - a) * x0 + a**0.5 * (1 - abar_j) * xk) / (1 - abar_k)
    return mean, (1 - a) * (1 - abar_j) / 1 - abar_k


@mutant("posterior", says="has no root: this is a variance")
def root_of_the_ratio(x0, xk, abar_k, abar_j):
    a = abar_k / abar_j
    mean = (abar_j**0.5 * (1 - a) * x0 + a**0.5 * (1 - abar_j) * xk) / (1 - abar_k)
    return mean, (1 - a) * ((1 - abar_j) / (1 - abar_k)) ** 0.5


@mutant("posterior", says="nothing was divided by 1 - abar_k")
def mean_not_divided(x0, xk, abar_k, abar_j):
    a = abar_k / abar_j
    mean = abar_j**0.5 * (1 - a) * x0 + a**0.5 * (1 - abar_j) * xk
    return mean, (1 - a) * (1 - abar_j) / (1 - abar_k)


@mutant("posterior", says="the sampler draws later")
def drawn_already(x0, xk, abar_k, abar_j):
    a = abar_k / abar_j
    mean = (abar_j**0.5 * (1 - a) * x0 + a**0.5 * (1 - abar_j) * xk) / (1 - abar_k)
    variance = (1 - a) * (1 - abar_j) / (1 - abar_k)
    return mean + variance**0.5 * torch.randn_like(mean), variance


# ---------------------------------------------------------------- bound_terms


@alternative("bound_terms")
def with_distributions(x0, denoise, abar, eps, levels):
    from torch.distributions import Normal, kl_divergence

    T, dims = len(abar) - 1, tuple(range(1, x0.ndim))
    noisy = [x0] + [
        abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1] for k in range(1, T + 1)
    ]
    arrived = kl_divergence(
        Normal(abar[T].sqrt() * x0, (1 - abar[T]).sqrt()), Normal(0.0, 1.0)
    ).sum(dims)
    steps = []
    for k in range(2, T + 1):
        a = abar[k] / abar[k - 1]
        std = ((1 - a) * (1 - abar[k - 1]) / (1 - abar[k])).sqrt()
        means = [
            (abar[k - 1].sqrt() * (1 - a) * clean + a.sqrt() * (1 - abar[k - 1]) * noisy[k])
            / (1 - abar[k])
            for clean in (x0, denoise(noisy[k], k))
        ]
        steps.append(kl_divergence(Normal(means[0], std), Normal(means[1], std)).sum(dims))
    centre, s, h = denoise(noisy[1], 1), ((1 - abar[1]) / abar[1]).sqrt(), 1 / (levels - 1)
    low = ((x0 - h - centre) / s).masked_fill(x0 < h - 1, -math.inf)
    high = ((x0 + h - centre) / s).masked_fill(x0 > 1 - h, math.inf)
    return arrived, torch.stack(steps), -log_mass(low, high).sum(dims)


@alternative("bound_terms")
def all_in_one_loop(x0, denoise, abar, eps, levels):
    T, flat = len(abar) - 1, lambda v: v.flatten(1).sum(1)
    snr = [math.inf] + [float(abar[k] / (1 - abar[k])) for k in range(1, T + 1)]
    squares = {}
    for k in range(T, 0, -1):
        squares[k] = x0 - denoise(
            float(abar[k]) ** 0.5 * x0 + float(1 - abar[k]) ** 0.5 * eps[k - 1], k
        )
    steps = torch.stack(
        [0.5 * (snr[k - 1] - snr[k]) * flat(squares[k] ** 2) for k in range(2, T + 1)]
    )
    left = float(abar[T])
    first = 0.5 * flat(left * x0**2 + (1 - left) - 1 - math.log(1 - left))
    h, inverse = 1 / (levels - 1), snr[1] ** 0.5
    low = torch.where(
        (x0 + 1).abs() < h, torch.full_like(x0, -math.inf), inverse * (squares[1] - h)
    )
    high = torch.where(
        (x0 - 1).abs() < h, torch.full_like(x0, math.inf), inverse * (squares[1] + h)
    )
    return [first, steps, -flat(log_mass(low, high))]


@mutant("bound_terms", says="the two edge bins must reach to infinity")
def no_edge_bins(x0, denoise, abar, eps, levels):
    T, snr = len(abar) - 1, abar / (1 - abar)
    guess = lambda k: denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1], k)
    arrived = core.sum_except_batch(abar[T] * x0**2 - abar[T] - (1 - abar[T]).log()) / 2
    steps = [
        (snr[k - 1] - snr[k]) / 2 * core.sum_except_batch((x0 - guess(k)) ** 2)
        for k in range(2, T + 1)
    ]
    h, s, error = 1 / (levels - 1), (1 / snr[1]).sqrt(), x0 - guess(1)
    return (
        arrived,
        torch.stack(steps),
        -core.sum_except_batch(log_mass((error - h) / s, (error + h) / s)),
    )


@mutant("bound_terms", says="this is the density at x_0")
def density_for_mass(x0, denoise, abar, eps, levels):
    T, snr = len(abar) - 1, abar / (1 - abar)
    guess = lambda k: denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1], k)
    arrived = core.sum_except_batch(abar[T] * x0**2 - abar[T] - (1 - abar[T]).log()) / 2
    steps = [
        (snr[k - 1] - snr[k]) / 2 * core.sum_except_batch((x0 - guess(k)) ** 2)
        for k in range(2, T + 1)
    ]
    log_p = torch.distributions.Normal(guess(1), (1 / snr[1]).sqrt()).log_prob(x0)
    return arrived, torch.stack(steps), -core.sum_except_batch(log_p)


@mutant("bound_terms", says="half a bin is 1 / (levels - 1)")
def bins_too_wide(x0, denoise, abar, eps, levels):
    T, snr = len(abar) - 1, abar / (1 - abar)
    guess = lambda k: denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1], k)
    arrived = core.sum_except_batch(abar[T] * x0**2 - abar[T] - (1 - abar[T]).log()) / 2
    steps = [
        (snr[k - 1] - snr[k]) / 2 * core.sum_except_batch((x0 - guess(k)) ** 2)
        for k in range(2, T + 1)
    ]
    h, s, error = 2 / (levels - 1), (1 / snr[1]).sqrt(), x0 - guess(1)
    lower = torch.where(x0 < -1 + h / 2, -math.inf, (error - h) / s)
    upper = torch.where(x0 > 1 - h / 2, math.inf, (error + h) / s)
    return arrived, torch.stack(steps), -core.sum_except_batch(log_mass(lower, upper))


@mutant("bound_terms", says="s is a variance here")
def divided_by_variance(x0, denoise, abar, eps, levels):
    T, snr = len(abar) - 1, abar / (1 - abar)
    guess = lambda k: denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1], k)
    arrived = core.sum_except_batch(abar[T] * x0**2 - abar[T] - (1 - abar[T]).log()) / 2
    steps = [
        (snr[k - 1] - snr[k]) / 2 * core.sum_except_batch((x0 - guess(k)) ** 2)
        for k in range(2, T + 1)
    ]
    h, s, error = 1 / (levels - 1), 1 / snr[1], x0 - guess(1)
    lower = torch.where(x0 < -1 + h, -math.inf, (error - h) / s)
    upper = torch.where(x0 > 1 - h, math.inf, (error + h) / s)
    return arrived, torch.stack(steps), -core.sum_except_batch(log_mass(lower, upper))


@mutant("bound_terms", says="the signs are turned")
def snr_difference_turned(x0, denoise, abar, eps, levels):
    T, snr = len(abar) - 1, abar / (1 - abar)
    guess = lambda k: denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1], k)
    arrived = core.sum_except_batch(abar[T] * x0**2 - abar[T] - (1 - abar[T]).log()) / 2
    steps = [
        (snr[k] - snr[k - 1]) / 2 * core.sum_except_batch((x0 - guess(k)) ** 2)
        for k in range(2, T + 1)
    ]
    h, s, error = 1 / (levels - 1), (1 / snr[1]).sqrt(), x0 - guess(1)
    lower = torch.where(x0 < -1 + h, -math.inf, (error - h) / s)
    upper = torch.where(x0 > 1 - h, math.inf, (error + h) / s)
    return arrived, torch.stack(steps), -core.sum_except_batch(log_mass(lower, upper))


@mutant("bound_terms", says="without the SNR difference")
def unweighted(x0, denoise, abar, eps, levels):
    T, snr = len(abar) - 1, abar / (1 - abar)
    guess = lambda k: denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1], k)
    arrived = core.sum_except_batch(abar[T] * x0**2 - abar[T] - (1 - abar[T]).log()) / 2
    steps = [core.sum_except_batch((x0 - guess(k)) ** 2) for k in range(2, T + 1)]
    h, s, error = 1 / (levels - 1), (1 / snr[1]).sqrt(), x0 - guess(1)
    lower = torch.where(x0 < -1 + h, -math.inf, (error - h) / s)
    upper = torch.where(x0 > 1 - h, math.inf, (error + h) / s)
    return arrived, torch.stack(steps), -core.sum_except_batch(log_mass(lower, upper))


@mutant("bound_terms", says="L_T lacks the log of the variance")
def no_log_in_prior(x0, denoise, abar, eps, levels):
    T, snr = len(abar) - 1, abar / (1 - abar)
    guess = lambda k: denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1], k)
    arrived = core.sum_except_batch(abar[T] * x0**2 - abar[T]) / 2
    steps = [
        (snr[k - 1] - snr[k]) / 2 * core.sum_except_batch((x0 - guess(k)) ** 2)
        for k in range(2, T + 1)
    ]
    h, s, error = 1 / (levels - 1), (1 / snr[1]).sqrt(), x0 - guess(1)
    lower = torch.where(x0 < -1 + h, -math.inf, (error - h) / s)
    upper = torch.where(x0 > 1 - h, math.inf, (error + h) / s)
    return arrived, torch.stack(steps), -core.sum_except_batch(log_mass(lower, upper))


@mutant("bound_terms", says="L_1 comes first")
def steps_reversed(x0, denoise, abar, eps, levels):
    T, snr = len(abar) - 1, abar / (1 - abar)
    guess = lambda k: denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1], k)
    arrived = core.sum_except_batch(abar[T] * x0**2 - abar[T] - (1 - abar[T]).log()) / 2
    steps = [
        (snr[k - 1] - snr[k]) / 2 * core.sum_except_batch((x0 - guess(k)) ** 2)
        for k in range(T, 1, -1)
    ]
    h, s, error = 1 / (levels - 1), (1 / snr[1]).sqrt(), x0 - guess(1)
    lower = torch.where(x0 < -1 + h, -math.inf, (error - h) / s)
    upper = torch.where(x0 > 1 - h, math.inf, (error + h) / s)
    return arrived, torch.stack(steps), -core.sum_except_batch(log_mass(lower, upper))


@mutant("bound_terms", says="another k than that of its x_k")
def asks_about_the_next(x0, denoise, abar, eps, levels):
    T, snr = len(abar) - 1, abar / (1 - abar)
    guess = lambda k: denoise(
        abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1], max(k - 1, 1)
    )
    arrived = core.sum_except_batch(abar[T] * x0**2 - abar[T] - (1 - abar[T]).log()) / 2
    steps = [
        (snr[k - 1] - snr[k]) / 2 * core.sum_except_batch((x0 - guess(k)) ** 2)
        for k in range(2, T + 1)
    ]
    h, s, error = 1 / (levels - 1), (1 / snr[1]).sqrt(), x0 - guess(1)
    lower = torch.where(x0 < -1 + h, -math.inf, (error - h) / s)
    upper = torch.where(x0 > 1 - h, math.inf, (error + h) / s)
    return arrived, torch.stack(steps), -core.sum_except_batch(log_mass(lower, upper))


@mutant("bound_terms", says="L_T is averaged over the numbers")
def averaged(x0, denoise, abar, eps, levels):
    T, snr = len(abar) - 1, abar / (1 - abar)
    guess = lambda k: denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1], k)
    mean = lambda v: v.flatten(1).mean(1)
    arrived = mean(abar[T] * x0**2 - abar[T] - (1 - abar[T]).log()) / 2
    steps = [(snr[k - 1] - snr[k]) / 2 * mean((x0 - guess(k)) ** 2) for k in range(2, T + 1)]
    h, s, error = 1 / (levels - 1), (1 / snr[1]).sqrt(), x0 - guess(1)
    lower = torch.where(x0 < -1 + h, -math.inf, (error - h) / s)
    upper = torch.where(x0 > 1 - h, math.inf, (error + h) / s)
    return arrived, torch.stack(steps), -mean(log_mass(lower, upper))


@mutant("bound_terms", says="L_0 of bound_terms")
def five_levels_always(x0, denoise, abar, eps, levels):
    """Passes the visible check, whose pictures have five grey levels."""
    T, snr = len(abar) - 1, abar / (1 - abar)
    guess = lambda k: denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1], k)
    arrived = core.sum_except_batch(abar[T] * x0**2 - abar[T] - (1 - abar[T]).log()) / 2
    steps = [
        (snr[k - 1] - snr[k]) / 2 * core.sum_except_batch((x0 - guess(k)) ** 2)
        for k in range(2, T + 1)
    ]
    h, s, error = 0.25, (1 / snr[1]).sqrt(), x0 - guess(1)
    lower = torch.where(x0 < -1 + h, -math.inf, (error - h) / s)
    upper = torch.where(x0 > 1 - h, math.inf, (error + h) / s)
    return arrived, torch.stack(steps), -core.sum_except_batch(log_mass(lower, upper))


@mutant("bound_terms", says="a noise of its own")
def one_noise_for_all_steps(x0, denoise, abar, eps, levels):
    T, snr, h = len(abar) - 1, abar / (1 - abar), 1 / (levels - 1)

    def error(k):
        return x0 - denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[0], k)

    arrived = core.sum_except_batch(abar[T] * x0**2 - abar[T] - (1 - abar[T]).log()) / 2
    steps = [
        (snr[k - 1] - snr[k]) / 2 * core.sum_except_batch(error(k) ** 2) for k in range(2, T + 1)
    ]
    s, z = (1 / snr[1]).sqrt(), error(1)
    lower, upper = (
        torch.where(x0 < -1 + h, -math.inf, (z - h) / s),
        torch.where(x0 > 1 - h, math.inf, (z + h) / s),
    )
    return arrived, torch.stack(steps), -core.sum_except_batch(log_mass(lower, upper))


@mutant("bound_terms", says="half the fall of the SNR")
def fall_of_abar(x0, denoise, abar, eps, levels):
    T, snr, h = len(abar) - 1, abar / (1 - abar), 1 / (levels - 1)

    def error(k):
        return x0 - denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1], k)

    arrived = core.sum_except_batch(abar[T] * x0**2 - abar[T] - (1 - abar[T]).log()) / 2
    steps = [
        (abar[k - 1] - abar[k]) / 2 * core.sum_except_batch(error(k) ** 2) for k in range(2, T + 1)
    ]
    s, z = (1 / snr[1]).sqrt(), error(1)
    lower, upper = (
        torch.where(x0 < -1 + h, -math.inf, (z - h) / s),
        torch.where(x0 > 1 - h, math.inf, (z + h) / s),
    )
    return arrived, torch.stack(steps), -core.sum_except_batch(log_mass(lower, upper))


@mutant("bound_terms", says="seen on the scale of x_0")
def noise_of_x1_unscaled(x0, denoise, abar, eps, levels):
    T, snr, h = len(abar) - 1, abar / (1 - abar), 1 / (levels - 1)

    def error(k):
        return x0 - denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1], k)

    arrived = core.sum_except_batch(abar[T] * x0**2 - abar[T] - (1 - abar[T]).log()) / 2
    steps = [
        (snr[k - 1] - snr[k]) / 2 * core.sum_except_batch(error(k) ** 2) for k in range(2, T + 1)
    ]
    s, z = (1 - abar[1]).sqrt(), error(1)
    lower, upper = (
        torch.where(x0 < -1 + h, -math.inf, (z - h) / s),
        torch.where(x0 > 1 - h, math.inf, (z + h) / s),
    )
    return arrived, torch.stack(steps), -core.sum_except_batch(log_mass(lower, upper))


@mutant("bound_terms", says="divide both ends of the bin by s")
def bins_not_standardised(x0, denoise, abar, eps, levels):
    T, snr, h = len(abar) - 1, abar / (1 - abar), 1 / (levels - 1)

    def error(k):
        return x0 - denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1], k)

    arrived = core.sum_except_batch(abar[T] * x0**2 - abar[T] - (1 - abar[T]).log()) / 2
    steps = [
        (snr[k - 1] - snr[k]) / 2 * core.sum_except_batch(error(k) ** 2) for k in range(2, T + 1)
    ]
    s, z = 1.0, error(1)
    lower, upper = (
        torch.where(x0 < -1 + h, -math.inf, (z - h) / s),
        torch.where(x0 > 1 - h, math.inf, (z + h) / s),
    )
    return arrived, torch.stack(steps), -core.sum_except_batch(log_mass(lower, upper))


@mutant("bound_terms", says="not 1 / levels")
def half_a_bin_by_levels(x0, denoise, abar, eps, levels):
    T, snr, h = len(abar) - 1, abar / (1 - abar), 1 / levels

    def error(k):
        return x0 - denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1], k)

    arrived = core.sum_except_batch(abar[T] * x0**2 - abar[T] - (1 - abar[T]).log()) / 2
    steps = [
        (snr[k - 1] - snr[k]) / 2 * core.sum_except_batch(error(k) ** 2) for k in range(2, T + 1)
    ]
    s, z = (1 / snr[1]).sqrt(), error(1)
    lower, upper = (
        torch.where(x0 < -1 + h, -math.inf, (z - h) / s),
        torch.where(x0 > 1 - h, math.inf, (z + h) / s),
    )
    return arrived, torch.stack(steps), -core.sum_except_batch(log_mass(lower, upper))


@mutant("bound_terms", says="but the darkest does not")
def dark_edge_forgotten(x0, denoise, abar, eps, levels):
    T, snr, h = len(abar) - 1, abar / (1 - abar), 1 / (levels - 1)

    def error(k):
        return x0 - denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1], k)

    arrived = core.sum_except_batch(abar[T] * x0**2 - abar[T] - (1 - abar[T]).log()) / 2
    steps = [
        (snr[k - 1] - snr[k]) / 2 * core.sum_except_batch(error(k) ** 2) for k in range(2, T + 1)
    ]
    s, z = (1 / snr[1]).sqrt(), error(1)
    lower, upper = (z - h) / s, torch.where(x0 > 1 - h, math.inf, (z + h) / s)
    return arrived, torch.stack(steps), -core.sum_except_batch(log_mass(lower, upper))


@mutant("bound_terms", says="the bins are mirrored")
def error_turned(x0, denoise, abar, eps, levels):
    T, snr, h = len(abar) - 1, abar / (1 - abar), 1 / (levels - 1)

    def error(k):
        return x0 - denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1], k)

    arrived = core.sum_except_batch(abar[T] * x0**2 - abar[T] - (1 - abar[T]).log()) / 2
    steps = [
        (snr[k - 1] - snr[k]) / 2 * core.sum_except_batch(error(k) ** 2) for k in range(2, T + 1)
    ]
    s, z = (1 / snr[1]).sqrt(), -error(1)
    lower, upper = (
        torch.where(x0 < -1 + h, -math.inf, (z - h) / s),
        torch.where(x0 > 1 - h, math.inf, (z + h) / s),
    )
    return arrived, torch.stack(steps), -core.sum_except_batch(log_mass(lower, upper))


@mutant("bound_terms", says="not around x_1")
def bin_around_x1(x0, denoise, abar, eps, levels):
    T, snr, h = len(abar) - 1, abar / (1 - abar), 1 / (levels - 1)

    def error(k):
        return x0 - denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1], k)

    arrived = core.sum_except_batch(abar[T] * x0**2 - abar[T] - (1 - abar[T]).log()) / 2
    steps = [
        (snr[k - 1] - snr[k]) / 2 * core.sum_except_batch(error(k) ** 2) for k in range(2, T + 1)
    ]
    s, z = (1 / snr[1]).sqrt(), x0 - abar[1].sqrt() * x0 - (1 - abar[1]).sqrt() * eps[0]
    lower, upper = (
        torch.where(x0 < -1 + h, -math.inf, (z - h) / s),
        torch.where(x0 > 1 - h, math.inf, (z + h) / s),
    )
    return arrived, torch.stack(steps), -core.sum_except_batch(log_mass(lower, upper))


# ---------------------------------------------------------------- solve_target


@alternative("solve_target")
def by_linear_algebra(prediction, x, a, b, alpha, sigma):
    full = [v.expand_as(x) for v in (alpha, sigma, a, b)]
    system = torch.stack(full, -1).reshape(*x.shape, 2, 2)
    found = torch.linalg.solve(system, torch.stack([x, prediction], -1))
    return found[..., 0], found[..., 1]


@alternative("solve_target")
def by_inverse_matrix(prediction, x, a, b, alpha, sigma):
    scale = 1 / (alpha * b - a * sigma)
    rows = (b * scale, -sigma * scale), (-a * scale, alpha * scale)
    return [p * x + q * prediction for p, q in rows]


@mutant("solve_target", says="the two results are swapped")
def results_swapped(prediction, x, a, b, alpha, sigma):
    determinant = alpha * b - sigma * a
    return (alpha * prediction - a * x) / determinant, (b * x - sigma * prediction) / determinant


@mutant("solve_target", says="this has a plus")
def plus_in_determinant(prediction, x, a, b, alpha, sigma):
    determinant = alpha * b + sigma * a
    return (b * x - sigma * prediction) / determinant, (alpha * prediction - a * x) / determinant


@mutant("solve_target", says="the sign of the determinant is turned")
def determinant_turned(prediction, x, a, b, alpha, sigma):
    determinant = sigma * a - alpha * b
    return (b * x - sigma * prediction) / determinant, (alpha * prediction - a * x) / determinant


@mutant("solve_target", says="nothing was divided by the determinant")
def undivided(prediction, x, a, b, alpha, sigma):
    return b * x - sigma * prediction, alpha * prediction - a * x


@mutant("solve_target", says="a and b are mixed up")
def a_for_b(prediction, x, a, b, alpha, sigma):
    determinant = alpha * b - sigma * a
    return (a * x - sigma * prediction) / determinant, (alpha * prediction - a * x) / determinant


@mutant("solve_target", says="the sign inside is wrong")
def plus_inside(prediction, x, a, b, alpha, sigma):
    determinant = alpha * b - sigma * a
    return (b * x + sigma * prediction) / determinant, (alpha * prediction + a * x) / determinant


@mutant("solve_target", says="takes the prediction for eps")
def always_eps(prediction, x, a, b, alpha, sigma):
    return (x - sigma * prediction) / alpha, prediction


@mutant("solve_target", says="divide by the determinant alone")
def divides_by_alpha(prediction, x, a, b, alpha, sigma):
    eps = (alpha * prediction - a * x) / (alpha * b - sigma * a)
    return (x - sigma * eps) / alpha, eps


@mutant("solve_target", says="on a path where alpha^2 + sigma^2 is not 1")
def unit_circle_only(prediction, x, a, b, alpha, sigma):
    """Right on variance-preserving paths."""
    scale = (alpha**2 + sigma**2) / (alpha * b - sigma * a)
    return (b * x - sigma * prediction) * scale, (alpha * prediction - a * x) * scale


@mutant("solve_target", says="takes the prediction for v")
def v_whatever_it_is(prediction, x, a, b, alpha, sigma):
    return alpha * x - sigma * prediction, sigma * x + alpha * prediction


@mutant("solve_target", says="the sign of eps is turned")
def sign_of_eps(prediction, x, a, b, alpha, sigma):
    det = alpha * b - sigma * a
    return (b * x - sigma * prediction) / det, (a * x - alpha * prediction) / det


@mutant("solve_target", says="do not clamp it")
def determinant_clamped(prediction, x, a, b, alpha, sigma):
    det = (alpha * b - sigma * a).clamp_min(1e-6)
    return (b * x - sigma * prediction) / det, (alpha * prediction - a * x) / det


@mutant("solve_target", says="a solve does not clip")
def guess_clipped(prediction, x, a, b, alpha, sigma):
    det = alpha * b - sigma * a
    return ((b * x - sigma * prediction) / det).clamp(-1, 1), (alpha * prediction - a * x) / det


@mutant("solve_target", says="alpha and sigma are exchanged")
def alpha_and_sigma_exchanged(prediction, x, a, b, alpha, sigma):
    det = alpha * b - sigma * a
    return (b * x - alpha * prediction) / det, (sigma * prediction - a * x) / det


# ---------------------------------------------------------------- diffusion_loss


@alternative("diffusion_loss")
def with_masked_fill(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    shape = (-1,) + (1,) * (x0.dim() - 1)
    left = abar[k].view(shape)
    alpha, sigma = left**0.5, (1 - left) ** 0.5
    told = labels.clone()
    told[u < drop] = -1
    a, b = TARGETS[target](alpha, sigma)
    wanted = a * x0 + b * eps
    found = network(alpha * x0 + sigma * eps, k.double() / (abar.shape[0] - 1), told)
    return (found - wanted).pow(2).flatten(1).sum(dim=1)


@alternative("diffusion_loss")
def case_by_case(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = (
        torch.einsum("b,b...->b...", v, torch.ones_like(x0))
        for v in (abar[k].sqrt(), (1 - abar[k]).sqrt())
    )
    wanted = {"x0": x0, "eps": eps, "v": alpha * eps - sigma * x0}[target]
    hidden = (u < drop).long()[:, None]
    found = network(alpha * x0 + sigma * eps, k / (len(abar) - 1), labels * (1 - hidden) - hidden)
    return torch.nn.functional.mse_loss(found, wanted, reduction="none").reshape(len(x0), -1).sum(1)


@mutant("diffusion_loss", says="averaged over the numbers of a picture")
def mean_for_sum(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = core.expand(abar[k].sqrt(), x0), core.expand((1 - abar[k]).sqrt(), x0)
    told = torch.where((u < drop)[:, None], -1, labels)
    a, b = TARGETS[target](alpha, sigma)
    error = network(alpha * x0 + sigma * eps, k / (len(abar) - 1), told) - (a * x0 + b * eps)
    return error.square().flatten(1).mean(1)


@mutant("diffusion_loss", says="one number for the batch")
def batch_mean(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = core.expand(abar[k].sqrt(), x0), core.expand((1 - abar[k]).sqrt(), x0)
    told = torch.where((u < drop)[:, None], -1, labels)
    a, b = TARGETS[target](alpha, sigma)
    error = network(alpha * x0 + sigma * eps, k / (len(abar) - 1), told) - (a * x0 + b * eps)
    return core.sum_except_batch(error**2).mean()


@mutant("diffusion_loss", says="no label was hidden")
def never_drops(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = core.expand(abar[k].sqrt(), x0), core.expand((1 - abar[k]).sqrt(), x0)
    a, b = TARGETS[target](alpha, sigma)
    error = network(alpha * x0 + sigma * eps, k / (len(abar) - 1), labels) - (a * x0 + b * eps)
    return core.sum_except_batch(error**2)


@mutant("diffusion_loss", says="the wrong samples lose their labels")
def drops_the_others(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = core.expand(abar[k].sqrt(), x0), core.expand((1 - abar[k]).sqrt(), x0)
    told = torch.where((u < drop)[:, None], labels, -1)
    a, b = TARGETS[target](alpha, sigma)
    error = network(alpha * x0 + sigma * eps, k / (len(abar) - 1), told) - (a * x0 + b * eps)
    return core.sum_except_batch(error**2)


@mutant("diffusion_loss", says="each sample is decided on its own")
def drops_the_batch(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = core.expand(abar[k].sqrt(), x0), core.expand((1 - abar[k]).sqrt(), x0)
    told = torch.full_like(labels, -1) if u[0] < drop else labels
    a, b = TARGETS[target](alpha, sigma)
    error = network(alpha * x0 + sigma * eps, k / (len(abar) - 1), told) - (a * x0 + b * eps)
    return core.sum_except_batch(error**2)


@mutant("diffusion_loss", says="the null label is -1")
def null_is_zero(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = core.expand(abar[k].sqrt(), x0), core.expand((1 - abar[k]).sqrt(), x0)
    told = torch.where((u < drop)[:, None], 0, labels)
    a, b = TARGETS[target](alpha, sigma)
    error = network(alpha * x0 + sigma * eps, k / (len(abar) - 1), told) - (a * x0 + b * eps)
    return core.sum_except_batch(error**2)


@mutant("diffusion_loss", says="it wants the time k / T")
def told_the_index(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = core.expand(abar[k].sqrt(), x0), core.expand((1 - abar[k]).sqrt(), x0)
    told = torch.where((u < drop)[:, None], -1, labels)
    a, b = TARGETS[target](alpha, sigma)
    error = network(alpha * x0 + sigma * eps, k, told) - (a * x0 + b * eps)
    return core.sum_except_batch(error**2)


@mutant("diffusion_loss", says="the time was cut to a whole number")
def integer_division(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = core.expand(abar[k].sqrt(), x0), core.expand((1 - abar[k]).sqrt(), x0)
    told = torch.where((u < drop)[:, None], -1, labels)
    a, b = TARGETS[target](alpha, sigma)
    error = network(alpha * x0 + sigma * eps, k // (len(abar) - 1), told) - (a * x0 + b * eps)
    return core.sum_except_batch(error**2)


@mutant("diffusion_loss", says="the network saw the clean picture")
def sees_the_answer(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = core.expand(abar[k].sqrt(), x0), core.expand((1 - abar[k]).sqrt(), x0)
    told = torch.where((u < drop)[:, None], -1, labels)
    a, b = TARGETS[target](alpha, sigma)
    error = network(x0, k / (len(abar) - 1), told) - (a * x0 + b * eps)
    return core.sum_except_batch(error**2)


@mutant("diffusion_loss", says="the noise was scaled by its variance")
def variance_in_the_mix(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = core.expand(abar[k].sqrt(), x0), core.expand((1 - abar[k]).sqrt(), x0)
    told = torch.where((u < drop)[:, None], -1, labels)
    a, b = TARGETS[target](alpha, sigma)
    error = network(alpha * x0 + sigma**2 * eps, k / (len(abar) - 1), told) - (a * x0 + b * eps)
    return core.sum_except_batch(error**2)


@mutant("diffusion_loss", says="compared with eps, whatever")
def noise_whatever(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = core.expand(abar[k].sqrt(), x0), core.expand((1 - abar[k]).sqrt(), x0)
    told = torch.where((u < drop)[:, None], -1, labels)
    error = network(alpha * x0 + sigma * eps, k / (len(abar) - 1), told) - eps
    return core.sum_except_batch(error**2)


@mutant("diffusion_loss", says="diffusion_loss")
def three_tenths_always(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    """Passes the visible check, which drops with probability 0.3."""
    alpha, sigma = core.expand(abar[k].sqrt(), x0), core.expand((1 - abar[k]).sqrt(), x0)
    told = torch.where((u < 0.3)[:, None], -1, labels)
    a, b = TARGETS[target](alpha, sigma)
    error = network(alpha * x0 + sigma * eps, k / (len(abar) - 1), told) - (a * x0 + b * eps)
    return core.sum_except_batch(error**2)


@mutant("diffusion_loss", says="this is (k - 1) / T")
def time_of_the_step_before(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = core.expand(abar[k].sqrt(), x0), core.expand((1 - abar[k]).sqrt(), x0)
    a, b = TARGETS[target](alpha, sigma)
    x = alpha * x0 + sigma * eps
    told = torch.where((u < drop)[:, None], -1, labels)
    error = network(x, (k - 1) / (len(abar) - 1), told) - (a * x0 + b * eps)
    return core.sum_except_batch(error**2)


@mutant("diffusion_loss", says="this is k / (T + 1)")
def time_over_all_entries(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = core.expand(abar[k].sqrt(), x0), core.expand((1 - abar[k]).sqrt(), x0)
    a, b = TARGETS[target](alpha, sigma)
    x = alpha * x0 + sigma * eps
    told = torch.where((u < drop)[:, None], -1, labels)
    error = network(x, k / len(abar), told) - (a * x0 + b * eps)
    return core.sum_except_batch(error**2)


@mutant("diffusion_loss", says="this is abar[k - 1]")
def level_of_the_step_before(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = core.expand(abar[k - 1].sqrt(), x0), core.expand((1 - abar[k - 1]).sqrt(), x0)
    a, b = TARGETS[target](alpha, sigma)
    x = alpha * x0 + sigma * eps
    told = torch.where((u < drop)[:, None], -1, labels)
    error = network(x, k / (len(abar) - 1), told) - (a * x0 + b * eps)
    return core.sum_except_batch(error**2)


@mutant("diffusion_loss", says="this is a x_k + b eps")
def target_from_the_noisy_picture(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = core.expand(abar[k].sqrt(), x0), core.expand((1 - abar[k]).sqrt(), x0)
    a, b = TARGETS[target](alpha, sigma)
    x = alpha * x0 + sigma * eps
    told = torch.where((u < drop)[:, None], -1, labels)
    error = network(x, k / (len(abar) - 1), told) - (a * x + b * eps)
    return core.sum_except_batch(error**2)


@mutant("diffusion_loss", says="multiplied by the SNR")
def weighted_once_more(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = core.expand(abar[k].sqrt(), x0), core.expand((1 - abar[k]).sqrt(), x0)
    a, b = TARGETS[target](alpha, sigma)
    x = alpha * x0 + sigma * eps
    told = torch.where((u < drop)[:, None], -1, labels)
    error = network(x, k / (len(abar) - 1), told) - (a * x0 + b * eps)
    return core.sum_except_batch(error**2) * abar[k] / (1 - abar[k])


@mutant("diffusion_loss", says="strictly below")
def hides_at_equality(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = core.expand(abar[k].sqrt(), x0), core.expand((1 - abar[k]).sqrt(), x0)
    a, b = TARGETS[target](alpha, sigma)
    x = alpha * x0 + sigma * eps
    told = torch.where((u <= drop)[:, None], -1, labels)
    error = network(x, k / (len(abar) - 1), told) - (a * x0 + b * eps)
    return core.sum_except_batch(error**2)


@mutant("diffusion_loss", says="all random numbers are given")
def coins_of_its_own(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = core.expand(abar[k].sqrt(), x0), core.expand((1 - abar[k]).sqrt(), x0)
    a, b = TARGETS[target](alpha, sigma)
    x = alpha * x0 + sigma * eps
    told = torch.where((torch.rand(len(u)) < drop)[:, None], -1, labels)
    error = network(x, k / (len(abar) - 1), told) - (a * x0 + b * eps)
    return core.sum_except_batch(error**2)


# ---------------------------------------------------------------- retraces


@alternative("retraces")
def many_lists(reverse):
    abar = torch.tensor([1.0, 0.95, 0.8, 0.55, 0.3, 0.1, 0.01], dtype=torch.float64)
    n, c, random = 9000, -2.0, torch.Generator().manual_seed(7)
    for steps in ([6, 5, 4, 3, 2, 1, 0], [6, 3, 0], [5, 4, 1, 0]):
        top = abar[steps[0]]
        x = top.sqrt() * c + (1 - top).sqrt() * torch.randn(
            n, 1, generator=random, dtype=torch.float64
        )
        states = reverse(c, x, abar, steps, 3)
        if not torch.allclose(states[-1], torch.full_like(states[-1], c), atol=1e-6):
            return False
        for j, state in zip(steps[1:-1], states):
            z = (state - abar[j].sqrt() * c) / (1 - abar[j]).sqrt()
            if abs(z.mean()) > 5 / n**0.5 or abs(z.std() - 1) > 5 / (2 * n) ** 0.5:
                return False
    return True


@alternative("retraces")
def by_moments(reverse):
    abar = torch.cat([torch.ones(1), torch.linspace(2.5, -5, 8).sigmoid()]).double()
    good, n, c = [], 20_000, 1.0
    for steps in (list(range(8, -1, -1)), [8, 5, 2, 0]):
        e = torch.randn(n, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        states = reverse(c, abar[8].sqrt() * c + (1 - abar[8]).sqrt() * e, abar, steps, 1)
        middle = torch.tensor(steps[1:-1])
        mean, square = (
            states[:-1].mean((1, 2)),
            (states[:-1] - abar[middle].sqrt()[:, None, None] * c).pow(2).mean((1, 2)),
        )
        variance = 1 - abar[middle]
        good.append(((mean - abar[middle].sqrt() * c).abs() < 5 * (variance / n).sqrt()).all())
        good.append(((square / variance - 1).abs() < 5 * (2 / n) ** 0.5).all())
        good.append((states[-1] - c).abs().max() < 1e-6)
    return bool(torch.stack(good).all())


@mutant("retraces", says="accepts a broken sampler: it adds no noise")
def looks_at_the_end_only(reverse):
    abar = torch.cat([torch.ones(1), torch.linspace(3, -6, 10).sigmoid()]).double()
    x = reverse(1.5, torch.randn(4000, 1).double(), abar, list(range(10, -1, -1)), 0)[-1]
    return bool((x - 1.5).abs().max() < 1e-6)


@mutant("retraces", says="accepts a broken sampler: it adds no noise")
def looks_at_means_only(reverse):
    n, c = 8000, 1.5
    abar = torch.cat([torch.ones(1), torch.linspace(3, -6, 10).sigmoid()]).double()
    for steps in (list(range(10, -1, -1)), [10, 7, 4, 3, 0]):
        e = torch.randn(n, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        for j, x in zip(
            steps[1:], reverse(c, abar[10].sqrt() * c + (1 - abar[10]).sqrt() * e, abar, steps, 2)
        ):
            if (
                abs(float(x.mean() - abar[j].sqrt() * c))
                > 5 * float((1 - abar[j]).sqrt()) / n**0.5 + 1e-6
            ):
                return False
    return True


@mutant("retraces", says="accepts a broken sampler: it forgets the data")
def looks_at_spreads_only(reverse):
    n, c = 8000, 1.5
    abar = torch.cat([torch.ones(1), torch.linspace(3, -6, 10).sigmoid()]).double()
    for steps in (list(range(10, -1, -1)), [10, 7, 4, 3, 0]):
        e = torch.randn(n, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        for j, x in zip(
            steps[1:], reverse(c, abar[10].sqrt() * c + (1 - abar[10]).sqrt() * e, abar, steps, 2)
        ):
            spread = float((1 - abar[j]).sqrt())
            if abs(float(x.std()) - spread) > 5 * spread / (2 * n) ** 0.5 + 1e-6:
                return False
    return True


@mutant("retraces", says="accepts a broken sampler: it forgets the data")
def data_at_zero(reverse):
    n, c = 8000, 0.0
    abar = torch.cat([torch.ones(1), torch.linspace(3, -6, 10).sigmoid()]).double()
    for steps in (list(range(10, -1, -1)), [10, 7, 4, 3, 0]):
        e = torch.randn(n, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        for j, x in zip(steps[1:], reverse(c, (1 - abar[10]).sqrt() * e, abar, steps, 2)):
            spread = float((1 - abar[j]).sqrt())
            if j == 0 and float(x.abs().max()) > 1e-6:
                return False
            if abs(float(x.mean())) > 5 * spread / n**0.5 + 1e-6:
                return False
            if abs(float(x.std()) - spread) > 5 * spread / (2 * n) ** 0.5 + 1e-6:
                return False
    return True


@mutant("retraces", says="try a list of steps with holes")
def never_skips(reverse):
    n, c = 8000, 1.5
    abar = torch.cat([torch.ones(1), torch.linspace(3, -6, 10).sigmoid()]).double()
    steps = list(range(10, -1, -1))
    e = torch.randn(n, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for j, x in zip(
        steps[1:], reverse(c, abar[10].sqrt() * c + (1 - abar[10]).sqrt() * e, abar, steps, 2)
    ):
        spread = float((1 - abar[j]).sqrt())
        if j == 0 and float((x - c).abs().max()) > 1e-6:
            return False
        if abs(float(x.mean() - abar[j].sqrt() * c)) > 5 * spread / n**0.5 + 1e-6:
            return False
        if abs(float(x.std()) - spread) > 5 * spread / (2 * n) ** 0.5 + 1e-6:
            return False
    return True


@mutant("retraces", says="compare standard deviations, with 4,000 samples or more")
def too_few_samples(reverse):
    n, c = 100, 1.5
    abar = torch.cat([torch.ones(1), torch.linspace(3, -6, 10).sigmoid()]).double()
    for steps in (list(range(10, -1, -1)), [10, 7, 4, 3, 0]):
        e = torch.randn(n, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        for j, x in zip(
            steps[1:], reverse(c, abar[10].sqrt() * c + (1 - abar[10]).sqrt() * e, abar, steps, 2)
        ):
            spread = float((1 - abar[j]).sqrt())
            if j == 0 and float((x - c).abs().max()) > 1e-6:
                return False
            if abs(float(x.mean() - abar[j].sqrt() * c)) > 5 * spread / n**0.5 + 1e-6:
                return False
            if abs(float(x.std()) - spread) > 5 * spread / (2 * n) ** 0.5 + 1e-6:
                return False
    return True


@mutant("retraces", says="the last state is the data itself")
def loose_at_the_end(reverse):
    n, c = 8000, 1.5
    abar = torch.cat([torch.ones(1), torch.linspace(3, -6, 10).sigmoid()]).double()
    for steps in (list(range(10, -1, -1)), [10, 7, 4, 3, 0]):
        e = torch.randn(n, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        for j, x in zip(
            steps[1:], reverse(c, abar[10].sqrt() * c + (1 - abar[10]).sqrt() * e, abar, steps, 2)
        ):
            spread = float((1 - abar[j]).sqrt())
            if j == 0:
                if abs(float(x.mean()) - c) > 0.05 or float(x.std()) > 0.05:
                    return False
                continue
            if abs(float(x.mean() - abar[j].sqrt() * c)) > 5 * spread / n**0.5:
                return False
            if abs(float(x.std()) - spread) > 5 * spread / (2 * n) ** 0.5:
                return False
    return True


@mutant("retraces", says="rejects a right sampler")
def expects_no_fluctuation(reverse):
    abar = torch.cat([torch.ones(1), torch.linspace(3, -6, 10).sigmoid()]).double()
    steps, c = list(range(10, -1, -1)), 1.5
    x = abar[10].sqrt() * c + (1 - abar[10]).sqrt() * torch.randn(2000, 1).double()
    states = reverse(c, x, abar, steps, 0)
    return all(abs(float(s.mean() - abar[j].sqrt() * c)) < 1e-4 for j, s in zip(steps[1:], states))


@mutant("retraces", says="rejects a right sampler")
def starts_at_the_wrong_place(reverse):
    n, c = 8000, 1.5
    abar = torch.cat([torch.ones(1), torch.linspace(3, -1, 10).sigmoid()]).double()
    steps = list(range(10, -1, -1))
    states = reverse(c, torch.randn(n, 1).double(), abar, steps, 2)
    return all(
        abs(float(x.mean() - abar[j].sqrt() * c)) < 5 * float((1 - abar[j]).sqrt()) / n**0.5 + 1e-6
        for j, x in zip(steps[1:], states)
    )


@mutant("retraces", says="accepts a broken sampler")
def trusting(reverse):
    return True


@mutant("retraces", says="try a list of steps with holes")
def returns_after_the_first_list(reverse):
    abar = torch.cat([torch.ones(1), torch.linspace(3, -6, 10).sigmoid()]).double()
    n, c = 8000, 1.5
    for steps in (list(range(10, -1, -1)), [10, 7, 4, 3, 0]):
        start = abar[10].sqrt() * c + (1 - abar[10]).sqrt() * torch.randn(n, 1).double()
        for j, x in zip(steps[1:], reverse(c, start, abar, steps, 2)):
            spread = float((1 - abar[j]).sqrt())
            if j == 0:
                return bool((x - c).abs().max() < 1e-6)
            if abs(float(x.mean() - abar[j].sqrt() * c)) > 5 * spread / n**0.5:
                return False
            if abs(float(x.std()) - spread) > 5 * spread / (2 * n) ** 0.5:
                return False


@mutant("retraces", says="rejects a right sampler")
def states_of_the_step_before(reverse):
    abar = torch.cat([torch.ones(1), torch.linspace(3, -6, 10).sigmoid()]).double()
    n, c = 8000, 1.5
    for steps in (list(range(10, -1, -1)), [10, 7, 4, 3, 0]):
        start = abar[10].sqrt() * c + (1 - abar[10]).sqrt() * torch.randn(n, 1).double()
        for k, x in zip(steps, reverse(c, start, abar, steps, 2)):
            spread = float((1 - abar[k]).sqrt())
            if abs(float(x.mean() - abar[k].sqrt() * c)) > 5 * spread / n**0.5:
                return False
    return True


@mutant("retraces", says="two verdicts on one and the same case")
def counts_its_calls(reverse, answers=[True] + [False] * 5 + [True] * 2 + [False] * 6):
    answers.append(answers.pop(0))  # as if the cases came in the order in which they are listed
    return answers[-1]
