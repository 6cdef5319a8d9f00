"""Chapter 09: right answers in other styles, and the mistakes that people make, each with what they should read."""

import math
from itertools import pairwise

import torch

from autograde.authoring import right, wrong
from genmodels import core

# ---------------------------------------------------------------- jump


def levels(betas):
    return torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])


def faded(x0, eps, signal, size):
    """signal x_0 + size eps, with a number for each sample."""
    return core.expand(signal, x0) * x0 + core.expand(size, x0) * eps


@right("jump")
def walks_the_chain(x0, k, betas, eps):
    out = []
    for picture, steps, noise in zip(x0, k.tolist(), eps):
        signal, variance = 1.0, 0.0
        for beta in betas[:steps].tolist():
            signal, variance = signal * (1 - beta) ** 0.5, variance * (1 - beta) + beta
        out.append(signal * picture + variance**0.5 * noise)
    return torch.stack(out)


@right("jump")
def with_logs(x0, k, betas, eps):
    log_abar = torch.nn.functional.pad(torch.log1p(-betas).cumsum(0), (1, 0))[k]
    shape = (len(x0),) + (1,) * (x0.dim() - 1)
    signal, size = (log_abar / 2).exp().view(shape), (-torch.expm1(log_abar)).sqrt().view(shape)
    return torch.addcmul(signal * x0, size, eps)


@right("jump")
def with_einsum(x0, k, betas, eps):
    abar = torch.stack([torch.prod(1 - betas[:i]) for i in range(len(betas) + 1)])
    return torch.einsum("b,b...->b...", abar[k] ** 0.5, x0) + torch.einsum(
        "b,b...->b...", (1 - abar[k]) ** 0.5, eps
    )


@right("jump")
def with_numpy(x0, k, betas, eps):
    import numpy as np

    abar = np.concatenate([[1.0], np.cumprod(1 - betas.double().numpy())])[k.numpy()]
    abar = abar.reshape(-1, *[1] * (x0.ndim - 1))
    x = np.sqrt(abar) * x0.double().numpy() + np.sqrt(1 - abar) * eps.double().numpy()
    return torch.from_numpy(x).to(x0.dtype)


@right("jump")
def in_place_on_a_copy(x0, k, betas, eps):
    x = x0.clone()
    for i, steps in enumerate(k):
        left = (1 - betas[: int(steps)]).prod()
        x[i].mul_(left.sqrt()).add_((1 - left).sqrt() * eps[i])
    return x


@wrong("jump", "1 - abar is a variance; the noise is multiplied by its root")
def variance_for_size(x0, k, betas, eps):
    a = levels(betas)[k]
    return faded(x0, eps, a.sqrt(), 1 - a)


@wrong("jump", "abar is a variance too; the picture is multiplied by its root")
def signal_without_root(x0, k, betas, eps):
    a = levels(betas)[k]
    return faded(x0, eps, a, (1 - a).sqrt())


@wrong("jump", "these are sizes 1 - abar and abar; both need a root")
def no_root_at_all(x0, k, betas, eps):
    a = levels(betas)[k]
    return faded(x0, eps, a, 1 - a)


@wrong("jump", "this is the last step only, 1 - beta_k; all steps up to k multiply")
def alpha_for_alpha_bar(x0, k, betas, eps):
    a = torch.cat([betas.new_ones(1), 1 - betas])[k]
    return faded(x0, eps, a.sqrt(), (1 - a).sqrt())


@wrong("jump", "the product must be of 1 - beta, not of beta")
def product_of_betas(x0, k, betas, eps):
    a = torch.cat([betas.new_ones(1), betas.cumprod(0)])[k]
    return faded(x0, eps, a.sqrt(), (1 - a).sqrt())


@wrong("jump", "k = 0 must return the data; index -1 silently takes the last entry")
def index_minus_one(x0, k, betas, eps):
    a = (1 - betas).cumprod(0)[k - 1]
    return faded(x0, eps, a.sqrt(), (1 - a).sqrt())


@wrong("jump", "off by one: with abar_0 = 1 in front, entry k belongs to k steps (this is k + 1)")
def one_step_too_many(x0, k, betas, eps):
    a = (1 - betas).cumprod(0)[k.clamp_max(len(betas) - 1)]
    return faded(x0, eps, a.sqrt(), (1 - a).sqrt())


@wrong(
    "jump",
    "abar[k] of shape (b,) was lined up with the last axis; give it a 1 for every axis but the first",
)
def not_expanded(x0, k, betas, eps):
    left = levels(betas)[k]
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


@wrong("jump", "signal and noise are swapped: at k = 0 all must be data")
def swapped(x0, k, betas, eps):
    a = levels(betas)[k]
    return faded(x0, eps, (1 - a).sqrt(), a.sqrt())


@wrong("jump", "the factors multiply; 1 - (beta_1 + ... + beta_k) is only their first order")
def sum_of_betas(x0, k, betas, eps):
    a = torch.cat([betas.new_ones(1), 1 - betas.cumsum(0)])[k].clamp_min(0)
    return faded(x0, eps, a.sqrt(), (1 - a).sqrt())


@wrong(
    "jump",
    "abar[k] was given the shape (b, 1, 1, 1), which fits pictures only: one 1 for each further axis of x0",
)
def pictures_only(x0, k, betas, eps):
    left = levels(betas)[k].reshape(-1, 1, 1, 1)
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


@wrong("jump", "every picture was faded to the first one's k; each has its own")
def one_k_for_all(x0, k, betas, eps):
    left = levels(betas)[k[0]]
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


@wrong("jump", "the noise has size sqrt(1 - abar); this is the root of 1 - sqrt(abar)")
def one_minus_the_signal(x0, k, betas, eps):
    signal = levels(betas)[k].sqrt()
    return faded(x0, eps, signal, (1 - signal).sqrt())


@wrong("jump", "the noise has size sqrt(1 - abar), not 1 - sqrt(abar)")
def weights_that_sum_to_one(x0, k, betas, eps):
    signal = levels(betas)[k].sqrt()
    return faded(x0, eps, signal, 1 - signal)


@wrong("jump", "abar was taken for the signal's size alpha; alpha is its root")
def alpha_bar_for_alpha(x0, k, betas, eps):
    a = levels(betas)[k]
    return faded(x0, eps, a, (1 - a**2).sqrt())


@wrong("jump", "noise is added, but the picture is not shrunk: it must fade by sqrt(abar)")
def picture_not_shrunk(x0, k, betas, eps):
    a = levels(betas)[k]
    return faded(x0, eps, torch.ones_like(a), (1 - a).sqrt())


@wrong(
    "jump", "one root too many: 1 - beta is multiplied up, and the root is taken once, at the end"
)
def roots_multiplied_and_rooted(x0, k, betas, eps):
    a = levels(betas)[k].sqrt()
    return faded(x0, eps, a.sqrt(), (1 - a).sqrt())


@wrong("jump", "k = 0 was treated as k = 1: nothing happens in 0 steps")
def zero_clamped_to_one(x0, k, betas, eps):
    a = (1 - betas).cumprod(0)[(k - 1).clamp_min(0)]
    return faded(x0, eps, a.sqrt(), (1 - a).sqrt())


@wrong("jump", "use the noise that is given: this draws its own")
def noise_of_its_own(x0, k, betas, eps):
    a = levels(betas)[k]
    return faded(x0, torch.randn_like(x0), a.sqrt(), (1 - a).sqrt())


@wrong("jump", "every picture got the first one's noise; eps holds one for each")
def one_noise_for_the_batch(x0, k, betas, eps):
    a = levels(betas)[k]
    return faded(x0, eps[:1].expand_as(x0), a.sqrt(), (1 - a).sqrt())


# ---------------------------------------------------------------- posterior


def bayes(
    x0, xk, abar_k, abar_j, a=None, root_j=None, root_a=None, below=None, mean=None, variance=None
):
    """Equation (6) with one number changed."""
    a = abar_k / abar_j if a is None else a
    root_j = abar_j**0.5 if root_j is None else root_j
    root_a = a**0.5 if root_a is None else root_a
    below = 1 - abar_k if below is None else below
    if mean is None:
        mean = (root_j * (1 - a) * x0 + root_a * (1 - abar_j) * xk) / below
    return mean, (1 - a) * (1 - abar_j) / (1 - abar_k) if variance is None else variance


@right("posterior")
def by_precisions(x0, xk, abar_k, abar_j):
    if abar_j == 1:
        return x0, 0.0
    a = abar_k / abar_j
    of_step, of_start = a / (1 - a), 1 / (1 - abar_j)
    variance = 1 / (of_step + of_start)
    return variance * (of_step * xk / math.sqrt(a) + of_start * math.sqrt(abar_j) * x0), variance


@right("posterior")
def by_the_noise(x0, xk, abar_k, abar_j):
    variance = (1 - abar_j) / (1 - abar_k) * (1 - abar_k / abar_j)
    eps = (xk - abar_k**0.5 * x0) / (1 - abar_k) ** 0.5
    return abar_j**0.5 * x0 + math.sqrt(max(1 - abar_j - variance, 0.0)) * eps, torch.tensor(
        variance
    ).double()


@right("posterior")
def by_regression(x0, xk, abar_k, abar_j):
    """Given x_0, the pair (x_j, x_k) is Gaussian: regress one on the other."""
    a = abar_k / abar_j
    slope = math.sqrt(a) * (1 - abar_j) / (1 - abar_k)
    mean = math.sqrt(abar_j) * x0 + slope * (xk - math.sqrt(abar_k) * x0)
    return mean, torch.full_like(x0, (1 - abar_j) - slope * math.sqrt(a) * (1 - abar_j))


@right("posterior")
def in_float64_and_back(x0, xk, abar_k, abar_j):
    k, j = torch.tensor([abar_k, abar_j], dtype=torch.float64)
    a = k / j
    mean = (j.sqrt() * (1 - a) * x0.double() + a.sqrt() * (1 - j) * xk.double()) / (1 - k)
    return [mean.to(x0.dtype), ((1 - a) * (1 - j) / (1 - k)).item()]


@wrong(
    "posterior",
    "the coefficients are swapped: x_0 comes with sqrt(abar_j) (1 - a), x_k with sqrt(a) (1 - abar_j)",
)
def coefficients_swapped(x0, xk, abar_k, abar_j):
    return bayes(xk, x0, abar_k, abar_j)


@wrong("posterior", "the root of abar_j is missing")
def no_root_of_abar_j(x0, xk, abar_k, abar_j):
    return bayes(x0, xk, abar_k, abar_j, root_j=abar_j)


@wrong("posterior", "the root of a is missing")
def no_root_of_a(x0, xk, abar_k, abar_j):
    return bayes(x0, xk, abar_k, abar_j, root_a=abar_k / abar_j)


@wrong(
    "posterior",
    "abar_k stands where a = abar_k / abar_j belongs: only the steps between j and k count here",
)
def abar_for_a(x0, xk, abar_k, abar_j):
    return bayes(x0, xk, abar_k, abar_j, a=abar_k)


@wrong("posterior", "the roots of abar_k and abar_j are mixed up: x_0 comes with sqrt(abar_j)")
def root_of_abar_k(x0, xk, abar_k, abar_j):
    return bayes(x0, xk, abar_k, abar_j, root_j=abar_k**0.5)


@wrong("posterior", "this is the mean of q(x_j | x_0): x_k is not used")
def mean_of_the_forward_chain(x0, xk, abar_k, abar_j):
    return bayes(x0, xk, abar_k, abar_j, mean=abar_j**0.5 * x0)


@wrong(
    "posterior",
    "this is q(x_j | x_0), mean and variance: knowing x_k moves one and shrinks the other",
)
def forward_chain(x0, xk, abar_k, abar_j):
    return abar_j**0.5 * x0, 1 - abar_j


@wrong(
    "posterior",
    "this is DDIM's mean, sqrt(abar_j) x_0 + sqrt(1 - abar_j) eps, which leaves no room for the posterior's variance",
)
def mean_of_ddim(x0, xk, abar_k, abar_j):
    eps = (xk - abar_k**0.5 * x0) / (1 - abar_k) ** 0.5
    return bayes(x0, xk, abar_k, abar_j, mean=abar_j**0.5 * x0 + (1 - abar_j) ** 0.5 * eps)


@wrong(
    "posterior",
    "the noise in x_k is (x_k - sqrt(abar_k) x_0) / sqrt(1 - abar_k); a root is missing",
)
def noise_without_root(x0, xk, abar_k, abar_j):
    a, eps = abar_k / abar_j, (xk - abar_k**0.5 * x0) / (1 - abar_k)
    return bayes(x0, xk, abar_k, abar_j, mean=(xk - (1 - a) / (1 - abar_k) ** 0.5 * eps) / a**0.5)


@wrong(
    "posterior",
    "this is the forward step's variance 1 - a (beta_k); Bayes makes it smaller, by (1 - abar_j) / (1 - abar_k)",
)
def forward_variance(x0, xk, abar_k, abar_j):
    return bayes(x0, xk, abar_k, abar_j, variance=1 - abar_k / abar_j)


@wrong("posterior", "this is a standard deviation; the variance is asked")
def std_returned(x0, xk, abar_k, abar_j):
    mean, variance = bayes(x0, xk, abar_k, abar_j)
    return mean, variance**0.5


@wrong("posterior", "this is the variance of q(x_j | x_0); knowing x_k makes it smaller")
def variance_of_the_forward_chain(x0, xk, abar_k, abar_j):
    return bayes(x0, xk, abar_k, abar_j, variance=1 - abar_j)


@wrong("posterior", "the ratio is upside down: (1 - abar_j) / (1 - abar_k) is below 1")
def ratio_upside_down(x0, xk, abar_k, abar_j):
    v = (1 - abar_k / abar_j) * (1 - abar_k) / (1 - abar_j) if abar_j < 1 else 0.0
    return bayes(x0, xk, abar_k, abar_j, variance=v)


@wrong("posterior", "the denominator must be 1 - abar_k (this is 1 - abar_j)")
def wrong_denominator(x0, xk, abar_k, abar_j):
    return bayes(x0, xk, abar_k, abar_j, below=1 - abar_j)


@wrong(
    "posterior",
    "at j = 0, where abar_j = 1, something is divided by 1 - abar_j = 0: the mean is x_0, the variance 0",
)
def nan_at_the_end(x0, xk, abar_k, abar_j):
    a = abar_k / abar_j
    precision = torch.tensor(a / (1 - a)).double() + 1 / torch.tensor(1 - abar_j).double()
    mean = (
        a**0.5 / (1 - a) * xk + abar_j**0.5 / torch.tensor(1 - abar_j).double() * x0
    ) / precision
    return mean.to(x0.dtype), 1 / precision


@wrong("posterior", "a is upside down: it is abar_k / abar_j, below 1")
def ratio_of_levels_inverted(x0, xk, abar_k, abar_j):
    return bayes(x0, xk, abar_k, abar_j, a=abar_j / abar_k)


@wrong(
    "posterior",
    "1 - a stands where a belongs, and a where 1 - a does: a is what the steps between keep",
)
def beta_for_a(x0, xk, abar_k, abar_j):
    return bayes(x0, xk, abar_k, abar_j, a=1 - abar_k / abar_j)


@wrong("posterior", "parentheses are missing: (...) / 1 - abar_k divides by 1 and then subtracts")
def parentheses_missing(x0, xk, abar_k, abar_j):
    a = abar_k / abar_j
    return bayes(x0, xk, abar_k, abar_j, variance=(1 - a) * (1 - abar_j) / 1 - abar_k)


@wrong("posterior", "the ratio (1 - abar_j) / (1 - abar_k) has no root: this is a variance")
def root_of_the_ratio(x0, xk, abar_k, abar_j):
    v = (1 - abar_k / abar_j) * ((1 - abar_j) / (1 - abar_k)) ** 0.5
    return bayes(x0, xk, abar_k, abar_j, variance=v)


@wrong("posterior", "the mean was not divided by 1 - abar_k")
def mean_not_divided(x0, xk, abar_k, abar_j):
    return bayes(x0, xk, abar_k, abar_j, below=1)


@wrong(
    "posterior",
    "this draws from the posterior; return its mean and variance, the sampler draws later",
)
def drawn_already(x0, xk, abar_k, abar_j):
    mean, variance = bayes(x0, xk, abar_k, abar_j)
    return mean + variance**0.5 * torch.randn_like(mean), variance


# ---------------------------------------------------------------- bound_terms


def log_of_mass(lower, upper):
    """log P(lower < N(0, 1) < upper), as the chapter's log_mass."""
    mirrored = lower + upper > 0
    lower, upper = (
        torch.where(mirrored, -upper, lower),
        torch.where(mirrored, -lower, upper),
    )
    top = torch.special.log_ndtr(upper)
    return top + torch.log(-torch.expm1(torch.special.log_ndtr(lower) - top))


def bound(
    x0,
    denoise,
    abar,
    eps,
    levels,
    prior=lambda x0, left: left * x0**2 - left - (1 - left).log(),
    end=lambda T: T,
    weight=lambda snr, abar, k: (snr[k - 1] - snr[k]) / 2,
    noise=lambda k: k - 1,
    ask=lambda k: k,
    half=lambda levels: 1 / (levels - 1),
    size=lambda abar, snr: (1 / snr[1]).sqrt(),
    dark=True,
    bright=True,
    turned=1,
    error_at_1=None,
    add=lambda v: v.flatten(1).sum(1),
    sign=-1,
    order=lambda T: range(2, T + 1),
):
    """The three terms with one thing changed."""
    T, snr = len(abar) - 1, abar / (1 - abar)

    def error(k):
        return x0 - denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[noise(k)], ask(k))

    arrived = add(prior(x0, abar[end(T)])) / 2
    steps = [weight(snr, abar, k) * add(error(k) ** 2) for k in order(T)]
    h, s, z = half(levels), size(abar, snr), turned * error(1)
    z = z if error_at_1 is None else error_at_1(x0, abar, eps)
    lower, upper, edge = (z - h) / s, (z + h) / s, 1 / (levels - 1)
    lower = torch.where(x0 < -1 + edge, -math.inf, lower) if dark else lower
    upper = torch.where(x0 > 1 - edge, math.inf, upper) if bright else upper
    return arrived, torch.stack(steps), sign * add(log_of_mass(lower, upper))


@right("bound_terms")
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
    return arrived, torch.stack(steps), -log_of_mass(low, high).sum(dims)


@right("bound_terms")
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
    return [first, steps, -flat(log_of_mass(low, high))]


@right("bound_terms")
def one_picture_at_a_time(x0, denoise, abar, eps, levels):
    each = [bound(x0[i : i + 1], denoise, abar, eps[:, i : i + 1], levels) for i in range(len(x0))]
    first, steps, last = zip(*each)
    return torch.cat(first), torch.cat(steps, 1), torch.cat(last)


@wrong(
    "bound_terms",
    "the two edge bins must reach to infinity, or the probabilities do not sum to 1",
)
def no_edge_bins(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, dark=False, bright=False)


@wrong("bound_terms", "L_0 is the density at x_0 here; a pixel has the mass of its bin")
def density_for_mass(x0, denoise, abar, eps, levels):
    first, steps, _ = bound(x0, denoise, abar, eps, levels)
    guess = denoise(abar[1].sqrt() * x0 + (1 - abar[1]).sqrt() * eps[0], 1)
    log_p = torch.distributions.Normal(guess, ((1 - abar[1]) / abar[1]).sqrt()).log_prob(x0)
    return first, steps, -log_p.flatten(1).sum(1)


@wrong("bound_terms", "the bins are twice too wide: half a bin is 1 / (levels - 1)")
def bins_too_wide(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, half=lambda levels: 2 / (levels - 1))


@wrong("bound_terms", "s is a variance here; divide by the standard deviation")
def divided_by_variance(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, size=lambda abar, snr: 1 / snr[1])


@wrong("bound_terms", "the signs are turned: SNR falls with k, so it is SNR_{k-1} - SNR_k")
def snr_difference_turned(x0, denoise, abar, eps, levels):
    return bound(
        x0, denoise, abar, eps, levels, weight=lambda snr, abar, k: (snr[k] - snr[k - 1]) / 2
    )


@wrong(
    "bound_terms",
    "all steps weigh the same here: this is the squared error without the SNR difference",
)
def unweighted(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, weight=lambda snr, abar, k: 1.0)


@wrong("bound_terms", "the 1/2 of equation (9) is missing")
def step_without_half(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, weight=lambda snr, abar, k: snr[k - 1] - snr[k])


@wrong(
    "bound_terms", "the weight is SNR_k alone; it must be half the fall of the SNR over the step"
)
def weighted_by_snr(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, weight=lambda snr, abar, k: snr[k])


@wrong("bound_terms", "L_T lacks the log of the variance")
def no_log_in_prior(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, prior=lambda x0, left: left * x0**2 - left)


@wrong("bound_terms", "the 1/2 of L_T is missing")
def prior_without_half(x0, denoise, abar, eps, levels):
    first, steps, last = bound(x0, denoise, abar, eps, levels)
    return 2 * first, steps, last


@wrong("bound_terms", "the KL of L_T is the wrong way round: q(x_T | x_0) comes first")
def prior_turned(x0, denoise, abar, eps, levels):
    turned = lambda x0, left: (1 + left * x0**2) / (1 - left) - 1 + (1 - left).log()
    return bound(x0, denoise, abar, eps, levels, prior=turned)


@wrong("bound_terms", "a signal of size sqrt(abar_T) has the square abar_T x_0^2")
def signal_squared_twice(x0, denoise, abar, eps, levels):
    squared = lambda x0, left: left**2 * x0**2 - left - (1 - left).log()
    return bound(x0, denoise, abar, eps, levels, prior=squared)


@wrong("bound_terms", "L_T is taken at abar[T - 1], one step too early; the chain ends at abar[T]")
def ends_too_early(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, end=lambda T: T - 1)


@wrong("bound_terms", "the steps are in the order T, ..., 2; L_1 comes first")
def steps_reversed(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, order=lambda T: range(T, 1, -1))


@wrong(
    "bound_terms",
    "one number for each step *and* picture: (T - 1, b); the steps were summed",
)
def steps_summed(x0, denoise, abar, eps, levels):
    first, steps, last = bound(x0, denoise, abar, eps, levels)
    return first, steps.sum(0), last


@wrong("bound_terms", "the step k = 1 has no KL; it is L_0")
def a_kl_for_the_last_step(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, order=lambda T: range(1, T + 1))


@wrong("bound_terms", "the denoiser was asked about another k than that of its x_k")
def asks_about_the_next(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, ask=lambda k: max(k - 1, 1))


@wrong("bound_terms", "all three are averaged over the numbers of a picture; they must be summed")
def averaged(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, add=lambda v: v.flatten(1).mean(1))


@wrong("bound_terms", "the pictures of the batch were added up; each has its own bound")
def summed_over_the_batch(x0, denoise, abar, eps, levels):
    add = lambda v: v.flatten(1).sum(1).sum().expand(len(v))
    return bound(x0, denoise, abar, eps, levels, add=add)


@wrong(
    "bound_terms", "half a bin is 1 / (levels - 1), for the `levels` that are given, not always 1/4"
)
def five_levels_always(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, half=lambda levels: 0.25)


@wrong(
    "bound_terms", "half a bin is 1 / (levels - 1), for the `levels` that are given, not for 256"
)
def bytes_always(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, half=lambda levels: 1 / 255)


@wrong("bound_terms", "every x_k was made with eps[0]; x_k has a noise of its own, eps[k - 1]")
def one_noise_for_all_steps(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, noise=lambda k: 0)


@wrong(
    "bound_terms", "the weight is half the fall of the SNR, abar / (1 - abar); this is that of abar"
)
def fall_of_abar(x0, denoise, abar, eps, levels):
    return bound(
        x0, denoise, abar, eps, levels, weight=lambda snr, abar, k: (abar[k - 1] - abar[k]) / 2
    )


@wrong("bound_terms", "s^2 is (1 - abar_1) / abar_1: the noise of x_1 seen on the scale of x_0")
def noise_of_x1_unscaled(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, size=lambda abar, snr: (1 - abar[1]).sqrt())


@wrong("bound_terms", "log_mass wants standard deviations: divide both ends of the bin by s")
def bins_not_standardised(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, size=lambda abar, snr: 1.0)


@wrong("bound_terms", "half a bin is 1 / (levels - 1), not 1 / levels")
def half_a_bin_by_levels(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, half=lambda levels: 1 / levels)


@wrong("bound_terms", "the brightest bin reaches to infinity, but the darkest does not")
def dark_edge_forgotten(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, dark=False)


@wrong("bound_terms", "the darkest bin reaches to infinity, but the brightest does not")
def bright_edge_forgotten(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, bright=False)


@wrong(
    "bound_terms",
    "the bins are mirrored: the darkest begins at minus infinity, and the error is x_0 - x_0 hat",
)
def error_turned(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, turned=-1)


@wrong(
    "bound_terms",
    "the bin lies around x_0 hat, what the denoiser says of x_1, not around x_1",
)
def bin_around_x1(x0, denoise, abar, eps, levels):
    from_x1 = lambda x0, abar, eps: x0 - abar[1].sqrt() * x0 - (1 - abar[1]).sqrt() * eps[0]
    return bound(x0, denoise, abar, eps, levels, error_at_1=from_x1)


@wrong("bound_terms", "the sign is that of a log-likelihood; L_0 is its negative")
def log_likelihood_for_loss(x0, denoise, abar, eps, levels):
    return bound(x0, denoise, abar, eps, levels, sign=1)


@wrong("bound_terms", "the gradient is cut: who trains by this bound needs it through the denoiser")
def denoiser_detached(x0, denoise, abar, eps, levels):
    return bound(x0, lambda x, k: denoise(x, k).detach(), abar, eps, levels)


# ---------------------------------------------------------------- solve_target


@right("solve_target")
def by_linear_algebra(prediction, x, a, b, alpha, sigma):
    full = [v.expand_as(x) for v in (alpha, sigma, a, b)]
    system = torch.stack(full, -1).reshape(*x.shape, 2, 2)
    found = torch.linalg.solve(system, torch.stack([x, prediction], -1))
    return found[..., 0], found[..., 1]


@right("solve_target")
def by_inverse_matrix(prediction, x, a, b, alpha, sigma):
    scale = 1 / (alpha * b - a * sigma)
    rows = (b * scale, -sigma * scale), (-a * scale, alpha * scale)
    return [p * x + q * prediction for p, q in rows]


@right("solve_target")
def sample_by_sample(prediction, x, a, b, alpha, sigma):
    found = []
    for F, y, p, q, s, n in zip(prediction, x, a, b, alpha, sigma):
        det = s * q - n * p
        found.append(((q * y - n * F) / det, (s * F - p * y) / det))
    return tuple(torch.stack(v) for v in zip(*found))


@wrong("solve_target", "the two results are swapped: (x_0, eps)")
def results_swapped(prediction, x, a, b, alpha, sigma):
    determinant = alpha * b - sigma * a
    return (alpha * prediction - a * x) / determinant, (b * x - sigma * prediction) / determinant


@wrong("solve_target", "the determinant is alpha b - sigma a (this has a plus)")
def plus_in_determinant(prediction, x, a, b, alpha, sigma):
    determinant = alpha * b + sigma * a
    return (b * x - sigma * prediction) / determinant, (alpha * prediction - a * x) / determinant


@wrong("solve_target", "the sign of the determinant is turned")
def determinant_turned(prediction, x, a, b, alpha, sigma):
    determinant = sigma * a - alpha * b
    return (b * x - sigma * prediction) / determinant, (alpha * prediction - a * x) / determinant


@wrong("solve_target", "nothing was divided by the determinant")
def undivided(prediction, x, a, b, alpha, sigma):
    return b * x - sigma * prediction, alpha * prediction - a * x


@wrong("solve_target", "the determinant is multiplied; it divides")
def multiplied(prediction, x, a, b, alpha, sigma):
    determinant = alpha * b - sigma * a
    return (b * x - sigma * prediction) * determinant, (alpha * prediction - a * x) * determinant


@wrong(
    "solve_target",
    "in x_0 the roles of a and b are mixed up: b goes with x, and sigma with the prediction",
)
def a_for_b(prediction, x, a, b, alpha, sigma):
    determinant = alpha * b - sigma * a
    return (a * x - sigma * prediction) / determinant, (alpha * prediction - a * x) / determinant


@wrong("solve_target", "the sign inside is wrong: b x - sigma F and alpha F - a x")
def plus_inside(prediction, x, a, b, alpha, sigma):
    determinant = alpha * b - sigma * a
    return (b * x + sigma * prediction) / determinant, (alpha * prediction + a * x) / determinant


@wrong("solve_target", "the determinant is alpha b - sigma a (this is alpha a - sigma b)")
def determinant_of_the_other_rows(prediction, x, a, b, alpha, sigma):
    determinant = alpha * a - sigma * b
    return (b * x - sigma * prediction) / determinant, (alpha * prediction - a * x) / determinant


@wrong("solve_target", "this takes the prediction for eps, whatever a and b are")
def always_eps(prediction, x, a, b, alpha, sigma):
    return (x - sigma * prediction) / alpha, prediction


@wrong("solve_target", "this takes the prediction for x_0, whatever a and b are")
def always_x0(prediction, x, a, b, alpha, sigma):
    return prediction, (x - alpha * prediction) / sigma


@wrong(
    "solve_target",
    "where alpha is 0 it divides by 0: divide by the determinant alone, never by alpha",
)
def divides_by_alpha(prediction, x, a, b, alpha, sigma):
    eps = (alpha * prediction - a * x) / (alpha * b - sigma * a)
    return (x - sigma * eps) / alpha, eps


@wrong(
    "solve_target",
    "this holds only where alpha^2 + sigma^2 = 1; the determinant alone is right on every path",
)
def unit_circle_only(prediction, x, a, b, alpha, sigma):
    scale = (alpha**2 + sigma**2) / (alpha * b - sigma * a)
    return (b * x - sigma * prediction) * scale, (alpha * prediction - a * x) * scale


@wrong("solve_target", "this takes the prediction for v, whatever a and b are")
def v_whatever_it_is(prediction, x, a, b, alpha, sigma):
    return alpha * x - sigma * prediction, sigma * x + alpha * prediction


@wrong("solve_target", "the sign of eps is turned: alpha F - a x")
def sign_of_eps(prediction, x, a, b, alpha, sigma):
    det = alpha * b - sigma * a
    return (b * x - sigma * prediction) / det, (a * x - alpha * prediction) / det


@wrong("solve_target", "the determinant may be negative (for x_0 it is -sigma): do not clamp it")
def determinant_clamped(prediction, x, a, b, alpha, sigma):
    det = (alpha * b - sigma * a).clamp_min(1e-6)
    return (b * x - sigma * prediction) / det, (alpha * prediction - a * x) / det


@wrong(
    "solve_target", "a constant was added to the determinant; it is 0 only where there is no answer"
)
def determinant_padded(prediction, x, a, b, alpha, sigma):
    det = alpha * b - sigma * a + 1e-3
    return (b * x - sigma * prediction) / det, (alpha * prediction - a * x) / det


@wrong("solve_target", "x_0 was clipped to [-1, 1]; a solve does not clip")
def guess_clipped(prediction, x, a, b, alpha, sigma):
    det = alpha * b - sigma * a
    return ((b * x - sigma * prediction) / det).clamp(-1, 1), (alpha * prediction - a * x) / det


@wrong("solve_target", "alpha and sigma are exchanged in front of the prediction")
def alpha_and_sigma_exchanged(prediction, x, a, b, alpha, sigma):
    det = alpha * b - sigma * a
    return (b * x - alpha * prediction) / det, (sigma * prediction - a * x) / det


@wrong(
    "solve_target",
    "the numbers are right, but the gradient is cut: a network may be trained through this solve",
)
def solved_and_detached(prediction, x, a, b, alpha, sigma):
    det = alpha * b - sigma * a
    found = (b * x - sigma * prediction) / det, (alpha * prediction - a * x) / det
    return tuple(v.detach() for v in found)


# ---------------------------------------------------------------- diffusion_loss

ROWS = {
    "x0": lambda alpha, sigma: (torch.ones_like(alpha), torch.zeros_like(alpha)),
    "eps": lambda alpha, sigma: (torch.zeros_like(alpha), torch.ones_like(alpha)),
    "v": lambda alpha, sigma: (-sigma, alpha),
}


def summed(error):
    return core.sum_except_batch(error**2)


def trained(
    network,
    x0,
    labels,
    k,
    eps,
    u,
    abar,
    target,
    drop,
    hide=lambda labels, u, drop: torch.where((u < drop)[:, None], -1, labels),
    time=lambda k, T: k / T,
    level=lambda k: k,
    see=lambda x0, eps, alpha, sigma: alpha * x0 + sigma * eps,
    aim=lambda x0, eps, a, b, alpha, sigma, target: a * x0 + b * eps,
    cost=summed,
    weight=lambda left: 1.0,
    sign=-1,
):
    """The loss with one thing changed."""
    left = abar[level(k)]
    alpha, sigma = core.expand(left.sqrt(), x0), core.expand((1 - left).sqrt(), x0)
    a, b = ROWS[target](alpha, sigma)
    told = hide(labels, u, drop)
    found = network(see(x0, eps, alpha, sigma), time(k, len(abar) - 1), told)
    return cost(found + sign * aim(x0, eps, a, b, alpha, sigma, target)) * weight(abar[k])


@right("diffusion_loss")
def with_masked_fill(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    shape = (-1,) + (1,) * (x0.dim() - 1)
    left = abar[k].view(shape)
    alpha, sigma = left**0.5, (1 - left) ** 0.5
    told = labels.clone()
    told[u < drop] = -1
    a, b = ROWS[target](alpha, sigma)
    wanted = a * x0 + b * eps
    found = network(alpha * x0 + sigma * eps, k.double() / (abar.shape[0] - 1), told)
    return (found - wanted).pow(2).flatten(1).sum(dim=1)


@right("diffusion_loss")
def case_by_case(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    alpha, sigma = (
        torch.einsum("b,b...->b...", v, torch.ones_like(x0))
        for v in (abar[k].sqrt(), (1 - abar[k]).sqrt())
    )
    wanted = {"x0": x0, "eps": eps, "v": alpha * eps - sigma * x0}[target]
    hidden = (u < drop).long()[:, None]
    found = network(alpha * x0 + sigma * eps, k / (len(abar) - 1), labels * (1 - hidden) - hidden)
    return torch.nn.functional.mse_loss(found, wanted, reduction="none").reshape(len(x0), -1).sum(1)


@right("diffusion_loss")
def sample_after_sample(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    return torch.cat(
        [
            trained(network, *(v[i : i + 1] for v in (x0, labels, k, eps, u)), abar, target, drop)
            for i in range(len(x0))
        ]
    )


@wrong("diffusion_loss", "averaged over the numbers of a picture; they must be summed")
def mean_for_sum(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    return trained(
        network, x0, labels, k, eps, u, abar, target, drop, cost=lambda e: (e**2).flatten(1).mean(1)
    )


@wrong("diffusion_loss", "one number for the batch; give one for each sample")
def batch_mean(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    return trained(network, x0, labels, k, eps, u, abar, target, drop).mean()


@wrong("diffusion_loss", "this is one mean over batch and pixels; give each sample's sum")
def mean_squared_error(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    return trained(network, x0, labels, k, eps, u, abar, target, drop, cost=lambda e: (e**2).mean())


@wrong("diffusion_loss", "no label was hidden: a sample with u < drop is told nothing")
def never_drops(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    return trained(
        network, x0, labels, k, eps, u, abar, target, drop, hide=lambda labels, u, drop: labels
    )


@wrong("diffusion_loss", "the wrong samples lose their labels: hide them where u < drop")
def drops_the_others(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    others = lambda labels, u, drop: torch.where((u < drop)[:, None], labels, -1)
    return trained(network, x0, labels, k, eps, u, abar, target, drop, hide=others)


@wrong("diffusion_loss", "labels are hidden for the whole batch; each sample is decided on its own")
def drops_the_batch(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    all_of_it = lambda labels, u, drop: torch.full_like(labels, -1) if u[0] < drop else labels
    return trained(network, x0, labels, k, eps, u, abar, target, drop, hide=all_of_it)


@wrong("diffusion_loss", "0 is a class; the null label is -1")
def null_is_zero(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    zeros = lambda labels, u, drop: torch.where((u < drop)[:, None], 0, labels)
    return trained(network, x0, labels, k, eps, u, abar, target, drop, hide=zeros)


@wrong("diffusion_loss", "only the first attribute is hidden; a sample loses all of them")
def first_attribute_only(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    def first(labels, u, drop):
        told = labels.clone()
        told[u < drop, 0] = -1
        return told

    return trained(network, x0, labels, k, eps, u, abar, target, drop, hide=first)


@wrong("diffusion_loss", "the network was told k; it wants the time k / T in [0, 1]")
def told_the_index(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    return trained(network, x0, labels, k, eps, u, abar, target, drop, time=lambda k, T: k)


@wrong("diffusion_loss", "the time was cut to a whole number: k // T is 0 until the end")
def integer_division(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    return trained(network, x0, labels, k, eps, u, abar, target, drop, time=lambda k, T: k // T)


@wrong("diffusion_loss", "the network saw the clean picture; it must see x_k")
def sees_the_answer(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    clean = lambda x0, eps, alpha, sigma: x0
    return trained(network, x0, labels, k, eps, u, abar, target, drop, see=clean)


@wrong("diffusion_loss", "the noise was scaled by its variance; x_k has sqrt(1 - abar) eps")
def variance_in_the_mix(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    mix = lambda x0, eps, alpha, sigma: alpha * x0 + sigma**2 * eps
    return trained(network, x0, labels, k, eps, u, abar, target, drop, see=mix)


@wrong("diffusion_loss", "the network was compared with eps, whatever `target` says")
def noise_whatever(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    return trained(network, x0, labels, k, eps, u, abar, "eps", drop)


@wrong("diffusion_loss", "the network was compared with x_0, whatever `target` says")
def picture_whatever(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    return trained(network, x0, labels, k, eps, u, abar, "x0", drop)


@wrong("diffusion_loss", "the network was compared with v, whatever `target` says")
def v_whatever(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    return trained(network, x0, labels, k, eps, u, abar, "v", drop)


@wrong("diffusion_loss", "v is alpha eps - sigma x_0: the sign of a is turned")
def v_with_a_plus(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    turned = lambda x0, eps, a, b, alpha, sigma, target: b * eps - a * x0
    return trained(network, x0, labels, k, eps, u, abar, target, drop, aim=turned)


@wrong("diffusion_loss", "the sign of the target is turned")
def target_added(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    return trained(network, x0, labels, k, eps, u, abar, target, drop, sign=1)


@wrong("diffusion_loss", "the square is missing")
def absolute_error(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    return trained(
        network, x0, labels, k, eps, u, abar, target, drop, cost=lambda e: e.abs().flatten(1).sum(1)
    )


@wrong(
    "diffusion_loss", "labels are hidden with the probability `drop` that is given, not always 0.3"
)
def three_tenths_always(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    return trained(network, x0, labels, k, eps, u, abar, target, 0.3)


@wrong(
    "diffusion_loss", "labels are hidden with the probability `drop` that is given, not always 0.1"
)
def a_tenth_always(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    return trained(network, x0, labels, k, eps, u, abar, target, 0.1)


@wrong("diffusion_loss", "t = k / T: abar[0] is k = 0 (this is (k - 1) / T)")
def time_of_the_step_before(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    return trained(
        network, x0, labels, k, eps, u, abar, target, drop, time=lambda k, T: (k - 1) / T
    )


@wrong("diffusion_loss", "t = k / T with T = len(abar) - 1 (this is k / (T + 1))")
def time_over_all_entries(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    return trained(
        network, x0, labels, k, eps, u, abar, target, drop, time=lambda k, T: k / (T + 1)
    )


@wrong("diffusion_loss", "abar[k] belongs to k, since abar[0] = 1 (this is abar[k - 1])")
def level_of_the_step_before(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    return trained(network, x0, labels, k, eps, u, abar, target, drop, level=lambda k: k - 1)


@wrong("diffusion_loss", "every picture was faded to the first one's k; each has its own")
def one_level_for_the_batch(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    return trained(
        network, x0, labels, k, eps, u, abar, target, drop, level=lambda k: k[:1].expand(len(k))
    )


@wrong("diffusion_loss", "the target mixes x_0 and eps: a x_0 + b eps (this is a x_k + b eps)")
def target_from_the_noisy_picture(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    noisy = lambda x0, eps, a, b, alpha, sigma, target: a * (alpha * x0 + sigma * eps) + b * eps
    return trained(network, x0, labels, k, eps, u, abar, target, drop, aim=noisy)


@wrong("diffusion_loss", "there is no weight in (15) (this is multiplied by the SNR)")
def weighted_once_more(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    snr = lambda left: left / (1 - left)
    return trained(network, x0, labels, k, eps, u, abar, target, drop, weight=snr)


@wrong(
    "diffusion_loss",
    "strictly below: with drop = 0 no label is ever hidden, not even where u = 0",
)
def hides_at_equality(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    equal = lambda labels, u, drop: torch.where((u <= drop)[:, None], -1, labels)
    return trained(network, x0, labels, k, eps, u, abar, target, drop, hide=equal)


@wrong(
    "diffusion_loss",
    "all random numbers are given; this decides by numbers of its own whose labels are hidden",
)
def coins_of_its_own(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    own = lambda labels, u, drop: torch.where((torch.rand(len(u)) < drop)[:, None], -1, labels)
    return trained(network, x0, labels, k, eps, u, abar, target, drop, hide=own)


@wrong("diffusion_loss", "the loss is right, but its gradient is cut: this trains nothing")
def no_gradient(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    with torch.no_grad():
        return trained(network, x0, labels, k, eps, u, abar, target, drop)


@wrong(
    "diffusion_loss",
    "the labels that are given were overwritten: they are the data's own, work on a copy",
)
def labels_overwritten(network, x0, labels, k, eps, u, abar, target="v", drop=0.1):
    labels[u < drop] = -1
    return trained(network, x0, labels, k, eps, u, abar, target, drop)


# ---------------------------------------------------------------- ancestral_sample


def posterior_of(x0, xk, abar_k, abar_j):
    a = abar_k / abar_j
    mean = (abar_j**0.5 * (1 - a) * x0 + a**0.5 * (1 - abar_j) * xk) / (1 - abar_k)
    return mean, (1 - a) * (1 - abar_j) / (1 - abar_k)


@right("ancestral_sample")
def by_hand(denoise, x, abar, steps, generator=None):
    states = torch.empty(len(steps) - 1, *x.shape, dtype=x.dtype)
    for i in range(len(steps) - 1):
        k, j = steps[i], steps[i + 1]
        ak, aj = float(abar[k]), float(abar[j])
        a = ak / aj
        z = torch.empty_like(x).normal_(generator=generator)
        guess = denoise(x, k)
        x = (aj**0.5 * (1 - a) * guess + a**0.5 * (1 - aj) * x) / (1 - ak)
        if j > 0:
            x = x + ((1 - a) * (1 - aj) / (1 - ak)) ** 0.5 * z
        states[i] = x
    return states


@right("ancestral_sample")
def through_the_noise(denoise, x, abar, steps, generator=None):
    states = []
    for k, j in zip(steps[:-1], steps[1:]):
        clean = denoise(x, k)
        eps = (x - abar[k].sqrt() * clean) / (1 - abar[k]).sqrt()
        tau = ((1 - abar[j]) / (1 - abar[k]) * (1 - abar[k] / abar[j])).sqrt()
        x = abar[j].sqrt() * clean + (1 - abar[j] - tau**2).clamp_min(0).sqrt() * eps
        x = x + tau * torch.randn(*x.shape, generator=generator, dtype=x.dtype)
        states += [x]
    return torch.stack(states)


def step(mean, variance, z, **_):
    return mean + math.sqrt(variance) * z


def loop(
    denoise,
    x,
    abar,
    steps,
    generator,
    step=step,
    pairs=pairwise,
    keep=None,
    level=lambda k, j: j,
    ask=lambda k, j: k,
    draw=None,
    guess_of=lambda g: g,
    swap=False,
    carry=True,
    before=False,
):
    """The sampler with one thing changed."""
    draw, states = draw or (lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)), []
    for k, j in pairs(steps):
        guess = guess_of(denoise(x, ask(k, j)))
        first = (x, guess) if swap else (guess, x)
        mean, variance = posterior_of(*first, float(abar[k]), float(abar[level(k, j)]))
        new = step(mean, variance, draw(x), k=k, j=j, abar=abar, guess=guess)
        states.append(x if before else guess if keep else new)
        x = new if carry else x
    return torch.stack(states)


@wrong(
    "ancestral_sample",
    "no noise is added: each step must draw from the posterior, not take its mean",
)
def no_noise_anywhere(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, step=lambda m, v, z, **_: m)


@wrong(
    "ancestral_sample", "almost no noise is added: its size is the root of the posterior's variance"
)
def only_the_mean(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, step=lambda m, v, z, **_: m + 1e-4 * z)


@wrong("ancestral_sample", "the noise is multiplied by the variance; it needs its root")
def variance_for_root(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, step=lambda m, v, z, **_: m + v * z)


@wrong("ancestral_sample", "noise is added in the last step; the posterior's variance is 0 there")
def noise_at_the_end(denoise, x, abar, steps, generator=None):
    return loop(
        denoise,
        x,
        abar,
        steps,
        generator,
        step=lambda m, v, z, j, k, abar, **_: m + math.sqrt(v if j else 1 - float(abar[k])) * z,
    )


@wrong(
    "ancestral_sample",
    "the noise has the forward variance beta; the posterior's is smaller, and 0 in the last step",
)
def forward_noise(denoise, x, abar, steps, generator=None):
    return loop(
        denoise,
        x,
        abar,
        steps,
        generator,
        step=lambda m, v, z, j, k, abar, **_: (
            m + math.sqrt(1 - float(abar[k]) / float(abar[j])) * z
        ),
    )


@wrong(
    "ancestral_sample",
    "x_k is forgotten: this draws from q(x_j | x_0 hat), not from q(x_j | x_k, x_0 hat)",
)
def noised_again(denoise, x, abar, steps, generator=None):
    return loop(
        denoise,
        x,
        abar,
        steps,
        generator,
        step=lambda m, v, z, j, abar, guess, **_: (
            float(abar[j]) ** 0.5 * guess + (1 - float(abar[j])) ** 0.5 * z
        ),
    )


@wrong("ancestral_sample", "the denoiser was asked about j; the picture that it sees is x_k")
def asks_about_j(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, ask=lambda k, j: j)


@wrong("ancestral_sample", "x_0 hat and x_k are exchanged: posterior_of(guess, x, ...)")
def guess_and_state_exchanged(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, swap=True)


@wrong("ancestral_sample", "every step begins again at the first x: carry the new state on")
def always_from_the_first(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, carry=False)


@wrong(
    "ancestral_sample",
    "the posterior is that of one step, from k to k - 1; j is the next state of `steps`",
)
def posterior_of_one_step(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, level=lambda k, j: k - 1)


@wrong("ancestral_sample", "the step to j = 1 adds noise as well; only the step to j = 0 does not")
def quiet_one_step_early(denoise, x, abar, steps, generator=None):
    return loop(
        denoise,
        x,
        abar,
        steps,
        generator,
        step=lambda m, v, z, j, **_: m + (math.sqrt(v) * z if j > 1 else 0),
    )


@wrong("ancestral_sample", "the guess was clipped to [-1, 1]; not all data lives there")
def guess_clipped_on_the_way(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, guess_of=lambda g: g.clamp(-1, 1))


@wrong("ancestral_sample", "the states are kept before the step: keep x after it")
def kept_before_the_step(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, before=True)


@wrong("ancestral_sample", "the guesses x_0 hat came back; return the states x_j that were drawn")
def guesses_for_states(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, keep=True)


@wrong("ancestral_sample", "`steps` goes from the noise to 0, in this order; do not sort it")
def ascending(denoise, x, abar, steps, generator=None):
    return loop(
        denoise, x, abar, steps, generator, pairs=lambda s: [(k, j) for j, k in pairwise(sorted(s))]
    )


@wrong("ancestral_sample", "every level was walked through; `steps` says which states to visit")
def every_step_whatever(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, pairs=lambda s: pairwise(range(s[0], -1, -1)))


@wrong("ancestral_sample", "the first step is left out: it goes from steps[0] to steps[1]")
def first_state_left_out(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, pairs=lambda s: pairwise(s[1:]))


@wrong(
    "ancestral_sample",
    "all samples get the same noise: each needs its own, torch.randn(x.shape, ...)",
)
def one_noise_for_all(denoise, x, abar, steps, generator=None):
    return loop(
        denoise,
        x,
        abar,
        steps,
        generator,
        draw=lambda x: torch.randn(x.shape[1:], generator=generator, dtype=x.dtype),
    )


@wrong("ancestral_sample", "all noise must come from `generator`")
def another_generator(denoise, x, abar, steps, generator=None):
    return loop(
        denoise, x, abar, steps, generator, draw=lambda x: torch.randn(x.shape, dtype=x.dtype)
    )


@wrong("ancestral_sample", "every step adds the same z: draw anew in each")
def one_noise_for_all_steps_back(denoise, x, abar, steps, generator=None):
    z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return loop(denoise, x, abar, steps, generator, draw=lambda x: z)


@wrong("ancestral_sample", "the walk must begin at the x that is given, not at noise of its own")
def begins_at_its_own_noise(denoise, x, abar, steps, generator=None):
    return loop(
        denoise, torch.randn(x.shape, generator=generator, dtype=x.dtype), abar, steps, generator
    )


@wrong("ancestral_sample", "all states after the start are asked for, not the last alone")
def only_the_last(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator)[-1]


@wrong("ancestral_sample", "one tensor is asked for: torch.stack(states)")
def a_list_of_states(denoise, x, abar, steps, generator=None):
    return list(loop(denoise, x, abar, steps, generator))


# ---------------------------------------------------------------- retraces

ABAR = torch.cat([torch.ones(1), torch.linspace(3, -6, 10).sigmoid()]).double()
WHOLE, HOLES = list(range(10, -1, -1)), [10, 7, 4, 3, 0]


def judged(
    reverse,
    n=8000,
    c=1.5,
    lists=(WHOLE, HOLES),
    states=lambda steps: range(len(steps) - 1),
    mean=lambda gap, spread, n: abs(gap) <= 5 * spread / n**0.5 + 1e-6,
    deviation=lambda gap, spread, n: abs(gap) <= 5 * spread / (2 * n) ** 0.5 + 1e-6,
    end=1e-6,
):
    """The reference's test with one thing changed."""
    for steps in lists:
        g = torch.Generator().manual_seed(1)
        noise = torch.randn(n, 1, generator=g, dtype=torch.float64)
        x = ABAR[10].sqrt() * c + (1 - ABAR[10]).sqrt() * noise
        found = reverse(c, x, ABAR, steps, 2)
        for i in states(steps):
            j, x = steps[i + 1], found[i]
            spread = float((1 - ABAR[j]).sqrt())
            if j == 0:
                if float((x - c).abs().max()) > end:
                    return False
            elif not mean(float(x.mean() - ABAR[j].sqrt() * c), spread, n):
                return False
            elif not deviation(float(x.std()) - spread, spread, n):
                return False
    return True


def anything(gap, spread, n):
    return True


@right("retraces")
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


@right("retraces")
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


@right("retraces")
def with_numpy_and_a_seed_of_its_own(reverse):
    import numpy as np

    n, c, T = 10_000, 0.7, 12
    abar = np.concatenate([[1.0], np.cumprod(1 - np.linspace(0.1, 0.6, T))])
    for seed, steps in enumerate(([*range(T, -1, -1)], [T, 9, 8, 3, 0])):
        noise = np.random.default_rng(seed).standard_normal((n, 1))
        start = np.sqrt(abar[T]) * c + np.sqrt(1 - abar[T]) * noise
        states = reverse(c, torch.tensor(start), torch.tensor(abar), steps, seed).numpy()
        for j, x in zip(steps[1:], states):
            size = np.sqrt(1 - abar[j])
            if abs(x.mean() - np.sqrt(abar[j]) * c) > 5 * size / np.sqrt(n) + 1e-8:
                return False
            if abs(x.std() - size) > 5 * size / np.sqrt(2 * n) + 1e-8:
                return False
    return True


@wrong(
    "retraces",
    "only a wrong end is noticed: every state on the way has a mean and a standard deviation too",
)
def looks_at_the_end_only(reverse):
    return judged(reverse, mean=anything, deviation=anything)


@wrong("retraces", "a wrong spread goes unnoticed: compare standard deviations as well as means")
def looks_at_means_only(reverse):
    return judged(reverse, deviation=anything)


@wrong("retraces", "a wrong mean goes unnoticed: compare means as well as standard deviations")
def looks_at_spreads_only(reverse):
    return judged(reverse, mean=anything)


@wrong("retraces", "means that are pulled to 0 go unnoticed: that is what data c = 0 does")
def data_at_zero(reverse):
    return judged(reverse, c=0.0)


@wrong(
    "retraces",
    "a sampler that is wrong only where states are skipped is accepted: try a list of steps with holes, "
    "such as [10, 7, 4, 3, 0], and judge it like the first",
)
def never_skips(reverse):
    return judged(reverse, lists=(WHOLE,))


@wrong(
    "retraces",
    "small deviations are accepted: with 4,000 samples or more, five standard errors are small enough to see them",
)
def too_few_samples(reverse):
    return judged(reverse, n=100)


@wrong("retraces", "the last state is the data itself: a small distance from it is accepted")
def loose_at_the_end(reverse):
    return judged(reverse, end=0.05)


@wrong("retraces", "the last state is not looked at: it is the data itself")
def end_forgotten(reverse):
    return judged(reverse, end=math.inf)


@wrong("retraces", "a spread that is too large is accepted: compare the absolute difference")
def too_wide_is_fine(reverse):
    narrow = lambda gap, spread, n: gap >= -5 * spread / (2 * n) ** 0.5 - 1e-6
    return judged(reverse, deviation=narrow)


@wrong("retraces", "a spread that is too small is accepted: compare the absolute difference")
def too_narrow_is_fine(reverse):
    wide = lambda gap, spread, n: gap <= 5 * spread / (2 * n) ** 0.5 + 1e-6
    return judged(reverse, deviation=wide)


@wrong("retraces", "a mean that is too large is accepted: compare the absolute difference")
def above_is_fine(reverse):
    return judged(reverse, mean=lambda gap, spread, n: gap >= -5 * spread / n**0.5 - 1e-6)


@wrong("retraces", "a mean that is too small is accepted: compare the absolute difference")
def below_is_fine(reverse):
    return judged(reverse, mean=lambda gap, spread, n: gap <= 5 * spread / n**0.5 + 1e-6)


@wrong("retraces", "what is wrong in the first state alone is accepted: look at every state")
def first_state_left_alone(reverse):
    return judged(reverse, states=lambda steps: range(1, len(steps) - 1))


@wrong(
    "retraces", "what is wrong in the state before the last alone is accepted: look at every state"
)
def state_before_the_last_left_alone(reverse):
    return judged(
        reverse, states=lambda steps: [i for i in range(len(steps) - 1) if i != len(steps) - 3]
    )


@wrong("retraces", "deviations of opposite sign cancel in your test: judge each state alone")
def deviations_averaged(reverse):
    total = []

    def noted(gap, spread, n):
        total.append(gap / spread)
        return True

    if not judged(reverse, mean=noted):
        return False
    return abs(sum(total)) <= 5 * len(total) / 8000**0.5


@wrong(
    "retraces",
    "a mean with the wrong sign is accepted: squares do not see it, compare the mean itself",
)
def second_moments(reverse):
    n, c = 8000, 1.5
    for steps in (WHOLE, HOLES):
        g = torch.Generator().manual_seed(1)
        x = ABAR[10].sqrt() * c + (1 - ABAR[10]).sqrt() * torch.randn(n, 1, generator=g).double()
        for j, x in zip(steps[1:], reverse(c, x, ABAR, steps, 2)):
            right, spread = ABAR[j] * c**2 + 1 - ABAR[j], (x**2).std()
            if (
                abs((x**2).mean() - right) > 5 * spread / n**0.5 + 1e-6
                or abs((x**4).mean() - (right**2 + 2 * (1 - ABAR[j]) * (right + ABAR[j] * c**2)))
                > 5 * (x**4).std() / n**0.5 + 1e-5
            ):
                return False
    return True
