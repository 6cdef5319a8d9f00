"""Chapter 10: right answers in other styles, and the mistakes that people make, each with what they should read."""

import math
from itertools import pairwise

import numpy as np
import torch

from autograde.authoring import right, wrong

# ---------------------------------------------------------------- split_noise


@right("split_noise")
def by_precisions(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    if sigma_s == 0:
        return 0.0, 0.0
    ratio = alpha_t / alpha_s
    added = sigma_t**2 - ratio**2 * sigma_s**2
    if added <= 0:
        return sigma_s, 0.0
    fresh = eta / math.sqrt(1 / sigma_s**2 + ratio**2 / added)
    return math.sqrt(abs(sigma_s**2 - fresh**2)), fresh


@right("split_noise")
def with_tensors(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    at, bt, a, b = torch.tensor([alpha_t, sigma_t, alpha_s, sigma_s], dtype=torch.float64)
    variance = (eta * b / bt) ** 2 * (bt**2 - (at * b / a) ** 2).clamp(min=0)
    return (b**2 - variance).clamp(min=0).sqrt(), variance.sqrt()


@right("split_noise")
def by_an_angle(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    share = np.sqrt(np.clip(1 - (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2, 0, 1))
    angle = np.arcsin(eta * share)
    return [sigma_s * np.cos(angle), sigma_s * np.sin(angle)]


def root(v):
    return math.sqrt(max(v, 0.0))


def chain(at, bt, a, b):
    """The noise that the chain adds from s to t."""
    return root(bt**2 - (at / a * b) ** 2)


def fresh_of(at, bt, a, b, eta):
    return eta * b / bt * chain(at, bt, a, b)


@wrong("split_noise", "the root is missing: (4) is a standard deviation, not a variance")
def variance_for_std(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = eta * fresh_of(alpha_t, sigma_t, alpha_s, sigma_s, 1.0) ** 2
    return root(sigma_s**2 - tau**2), tau


@wrong("split_noise", "eta multiplies tau, not tau^2")
def eta_under_the_root(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = fresh_of(alpha_t, sigma_t, alpha_s, sigma_s, math.sqrt(eta))
    return root(sigma_s**2 - tau**2), tau


@wrong(
    "split_noise",
    "this is the noise that the chain adds from s to t, sigma_t|s; tau is sigma_s / sigma_t times it",
)
def noise_of_the_chain(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = eta * chain(alpha_t, sigma_t, alpha_s, sigma_s)
    return root(sigma_s**2 - tau**2), tau


@wrong("split_noise", "the ratio is inverted: sigma_s / sigma_t stands before the root")
def inverted_ratio(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = eta * sigma_t / sigma_s * chain(alpha_t, sigma_t, alpha_s, sigma_s)
    return root(sigma_s**2 - tau**2), tau


@wrong("split_noise", "k must make room for the fresh noise: k^2 + tau^2 = sigma_s^2")
def keeps_everything(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    return sigma_s, fresh_of(alpha_t, sigma_t, alpha_s, sigma_s, eta)


@wrong("split_noise", "the noises are independent, so their squares add up to sigma_s^2")
def adds_lengths(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = fresh_of(alpha_t, sigma_t, alpha_s, sigma_s, eta)
    return sigma_s - tau, tau


@wrong("split_noise", "k is that of eta = 1; it must fit the tau that is used")
def kept_ignores_eta(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = fresh_of(alpha_t, sigma_t, alpha_s, sigma_s, 1.0)
    return root(sigma_s**2 - tau**2), eta * tau


@wrong("split_noise", "the two legs are exchanged: (k, tau), old noise first")
def wrong_order(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = fresh_of(alpha_t, sigma_t, alpha_s, sigma_s, eta)
    return tau, root(sigma_s**2 - tau**2)


@wrong("split_noise", "this tau holds only where alpha^2 + sigma^2 = 1")
def only_on_vp_paths(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = eta * sigma_s / sigma_t * root(1 - (alpha_t / alpha_s) ** 2)
    return root(sigma_s**2 - tau**2), tau


@wrong(
    "split_noise",
    "a radicand of 0 may come out as -1e-17, and its root is an error: take max(..., 0.0) first",
)
def no_guard_against_rounding(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = eta * sigma_s / sigma_t * math.sqrt(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2)
    return math.sqrt(sigma_s**2 - tau**2), tau


@wrong("split_noise", "eta multiplies tau itself; this is eta^2")
def eta_squared(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = fresh_of(alpha_t, sigma_t, alpha_s, sigma_s, eta**2)
    return root(sigma_s**2 - tau**2), tau


@wrong("split_noise", "the ratio under the root is upside down: it is alpha_t / alpha_s")
def alphas_upside_down(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    inside = sigma_t**2 - (alpha_s / max(alpha_t, 1e-9) * sigma_s) ** 2
    tau = eta * sigma_s / sigma_t * root(inside)
    return root(sigma_s**2 - tau**2), tau


@wrong(
    "split_noise",
    "sigma_s / sigma_t stands before the root of (4); under it, it would have to be squared",
)
def ratio_under_the_root(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = eta * math.sqrt(sigma_s / sigma_t) * chain(alpha_t, sigma_t, alpha_s, sigma_s)
    return root(sigma_s**2 - tau**2), tau


@wrong("split_noise", "the hypotenuse is sigma_s, the noise of x_s; this k is made from sigma_t")
def k_from_sigma_t(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = fresh_of(alpha_t, sigma_t, alpha_s, sigma_s, eta)
    return root(sigma_t**2 - tau**2), tau


@wrong("split_noise", "k lacks its root: k^2 = sigma_s^2 - tau^2")
def k_not_rooted(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = fresh_of(alpha_t, sigma_t, alpha_s, sigma_s, eta)
    return sigma_s**2 - tau**2, tau


@wrong("split_noise", "k holds only where alpha^2 + sigma^2 = 1; use sigma_s")
def k_of_another_path(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = fresh_of(alpha_t, sigma_t, alpha_s, sigma_s, eta)
    return root(1 - alpha_s**2 - tau**2), tau


@wrong(
    "split_noise",
    "k^2 = sigma_s^2 - tau^2, with a minus: the legs are shorter than the hypotenuse",
)
def legs_longer(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = fresh_of(alpha_t, sigma_t, alpha_s, sigma_s, eta)
    return math.sqrt(sigma_s**2 + tau**2), tau


@wrong("split_noise", "these are the squares, k^2 and tau^2")
def squares_of_both(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = fresh_of(alpha_t, sigma_t, alpha_s, sigma_s, eta)
    return sigma_s**2 - tau**2, tau**2


@wrong("split_noise", "the ratio alpha_t / alpha_s must be squared together with sigma_s")
def ratio_not_squared(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = eta * sigma_s / sigma_t * root(sigma_t**2 - alpha_t / alpha_s * sigma_s**2)
    return root(sigma_s**2 - tau**2), tau


@wrong(
    "split_noise",
    "this is the papers' formula, whose alpha-bar is alpha^2 here: 1 - alpha_s is not sigma_s^2",
)
def papers_formula(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    inside = (1 - alpha_s) / (1 - alpha_t) * (1 - alpha_t / alpha_s) if alpha_t < 1 else 0.0
    tau = eta * root(inside)
    return root(1 - alpha_s - tau**2), tau


# ---------------------------------------------------------------- generate


def legs(at, bt, a, b, eta):
    tau = eta * b / bt * math.sqrt(max(bt**2 - (at / a * b) ** 2, 0.0))
    return math.sqrt(max(b**2 - tau**2, 0.0)), tau


@right("generate")
def by_index(denoise, path, x, times, eta, generator=None):
    result = []
    for i in range(len(times) - 1):
        a, b = path(times[i])
        c, d = path(times[i + 1])
        k, tau = legs(a, b, c, d, eta)
        clean = denoise(x, times[i])
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = c * clean + k * ((x - a * clean) / b) + tau * z
        result = result + [x]
    return result


@right("generate")
def by_coefficients(denoise, path, x, times, eta, generator=None):
    states = [x]
    for t, s in zip(times, times[1:]):
        (a, b), (c, d) = path(t), path(s)
        variance = (eta * d / b) ** 2 * max(b**2 - (a * d / c) ** 2, 0.0)
        ratio = math.sqrt(max(d**2 - variance, 0.0)) / b
        mean = ratio * states[-1] + (c - ratio * a) * denoise(states[-1], t)
        states.append(
            mean + math.sqrt(variance) * torch.empty_like(mean).normal_(generator=generator)
        )
    return states[1:]


@right("generate")
def stacked(denoise, path, x, times, eta, generator=None):
    states = []
    for t, s in pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = path(t), path(s)
        k, tau = legs(alpha_t, sigma_t, alpha_s, sigma_s, eta)
        x0 = denoise(x, t)
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = alpha_s * x0 + k * (x - alpha_t * x0) / sigma_t + tau * z
        states.append(x)
    return torch.stack(states)


@right("generate")
def in_place_on_its_own(denoise, path, x, times, eta, generator=None):
    g, states = generator or torch.default_generator, []
    for t, s in pairwise(times):
        (a, b), (c, d) = path(t), path(s)
        kept, fresh = legs(a, b, c, d, eta)
        guess = denoise(x, t)
        eps = x.clone()
        eps -= a * guess
        eps /= b
        x = c * guess
        x += kept * eps
        if fresh:
            x += fresh * torch.normal(0.0, 1.0, x.shape, generator=g, dtype=x.dtype)
        states.append(x.clone())
    return tuple(states)


def loop(
    denoise,
    path,
    x,
    times,
    eta,
    generator,
    ask=lambda i, t, s: t,
    guess=lambda g, x, a, b: g,
    eps=lambda x, x0, a, b, d: (x - a * x0) / b,
    split=legs,
    clean=lambda a, c: c,
    draw=None,
    pairs=pairwise,
    keep=lambda new, x0: new,
):
    """The sampler with one thing changed."""
    states = []
    draw = draw or (lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype))
    for i, (t, s) in enumerate(pairs(times)):
        (a, b), (c, d) = path(t), path(s)
        k, tau = split(a, b, c, d, eta)
        x0 = guess(denoise(x, ask(i, t, s)), x, a, b)
        x = clean(a, c) * x0 + k * eps(x, x0, a, b, d) + tau * draw(x)
        states.append(keep(x, x0))
    return states


@wrong("generate", "the network is asked about s; x is at time t, so ask denoise(x, t)")
def asks_about_s(denoise, path, x, times, eta, generator=None):
    return loop(denoise, path, x, times, eta, generator, ask=lambda i, t, s: max(s, 1e-3))


@wrong("generate", "the network is asked about the index of the loop, not about the time t")
def asks_about_the_index(denoise, path, x, times, eta, generator=None):
    return loop(denoise, path, x, times, eta, generator, ask=lambda i, t, s: i / len(times))


@wrong("generate", "the signal must be taken out in full: eps = (x - alpha_t x0) / sigma_t")
def forgets_alpha(denoise, path, x, times, eta, generator=None):
    return loop(denoise, path, x, times, eta, generator, eps=lambda x, x0, a, b, d: (x - x0) / b)


@wrong("generate", "the clean picture comes back with alpha_s, not alpha_t")
def alpha_of_t(denoise, path, x, times, eta, generator=None):
    return loop(denoise, path, x, times, eta, generator, clean=lambda a, c: a)


@wrong("generate", "the clean picture comes back with alpha_s in front")
def clean_picture_unfaded(denoise, path, x, times, eta, generator=None):
    return loop(denoise, path, x, times, eta, generator, clean=lambda a, c: 1.0)


@wrong(
    "generate",
    "eps must be computed anew at each step, from the same guess that is used beside it",
)
def one_eps_for_all(denoise, path, x, times, eta, generator=None):
    first = []

    def eps(x, x0, a, b, d):
        first.append((x - a * x0) / b)
        return first[0]

    return loop(denoise, path, x, times, eta, generator, eps=eps)


@wrong("generate", "the fresh noise has size 1; its size is tau")
def noise_of_size_one(denoise, path, x, times, eta, generator=None):
    def split(a, b, c, d, eta):
        k, tau = legs(a, b, c, d, eta)
        return k, 1.0 if tau > 0 else 0.0

    return loop(denoise, path, x, times, eta, generator, split=split)


@wrong(
    "generate",
    "at eta = 0 the result must not depend on the generator: the fresh noise has size 0",
)
def noise_at_eta_zero(denoise, path, x, times, eta, generator=None):
    def split(a, b, c, d, eta):
        k, tau = legs(a, b, c, d, eta)
        return k, max(tau, 1e-7)

    return loop(denoise, path, x, times, eta, generator, split=split)


@wrong("generate", "there is no fresh noise: this is DDIM for every eta")
def never_any_noise(denoise, path, x, times, eta, generator=None):
    return loop(denoise, path, x, times, 0.0, generator)


@wrong("generate", "eta is not used: this is DDPM for every eta")
def always_ddpm(denoise, path, x, times, eta, generator=None):
    return loop(denoise, path, x, times, 1.0, generator)


@wrong("generate", "the old noise is not reduced: with fresh noise in, only k of it may stay")
def old_noise_not_reduced(denoise, path, x, times, eta, generator=None):
    split = lambda a, b, c, d, eta: (d, legs(a, b, c, d, eta)[1])
    return loop(denoise, path, x, times, eta, generator, split=split)


@wrong("generate", "no old noise is kept: k eps is missing")
def old_noise_forgotten(denoise, path, x, times, eta, generator=None):
    split = lambda a, b, c, d, eta: (0.0, legs(a, b, c, d, eta)[1])
    return loop(denoise, path, x, times, eta, generator, split=split)


@wrong("generate", "all samples get the same fresh noise: draw z with the shape of x")
def one_noise_for_the_batch(denoise, path, x, times, eta, generator=None):
    draw = lambda x: torch.randn(x.shape[1:], generator=generator, dtype=x.dtype)
    return loop(denoise, path, x, times, eta, generator, draw=draw)


@wrong("generate", "all entries of a sample get the same fresh noise: draw z with the shape of x")
def one_number_for_a_sample(denoise, path, x, times, eta, generator=None):
    draw = lambda x: torch.randn(len(x), *[1] * (x.ndim - 1), generator=generator, dtype=x.dtype)
    return loop(denoise, path, x, times, eta, generator, draw=draw)


@wrong("generate", "the start is among the states; they are those after each step")
def start_included(denoise, path, x, times, eta, generator=None):
    return [x, *loop(denoise, path, x, times, eta, generator)]


@wrong("generate", "the noise does not come from `generator`")
def ignores_the_generator(denoise, path, x, times, eta, generator=None):
    draw = lambda x: torch.randn(x.shape, dtype=x.dtype)
    return loop(denoise, path, x, times, eta, generator, draw=draw)


@wrong("generate", "the generator is seeded anew inside: it must go on where it stands")
def seeds_the_generator(denoise, path, x, times, eta, generator=None):
    draw = lambda x: torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    return loop(denoise, path, x, times, eta, generator, draw=draw)


@wrong("generate", "eps is divided by sigma_t, not by its square")
def sigma_squared(denoise, path, x, times, eta, generator=None):
    eps = lambda x, x0, a, b, d: (x - a * x0) / b**2
    return loop(denoise, path, x, times, eta, generator, eps=eps)


@wrong("generate", "the noise in x_t has size sigma_t: divide by sigma_t, not by sigma_s")
def divided_by_sigma_s(denoise, path, x, times, eta, generator=None):
    eps = lambda x, x0, a, b, d: (x - a * x0) / max(d, 1e-3)
    return loop(denoise, path, x, times, eta, generator, eps=eps)


@wrong("generate", "every step adds the same z: draw anew in each")
def one_z_for_all_steps(denoise, path, x, times, eta, generator=None):
    z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return loop(denoise, path, x, times, eta, generator, draw=lambda x: z)


@wrong("generate", "tau is a standard deviation already: do not square it")
def tau_squared(denoise, path, x, times, eta, generator=None):
    def split(a, b, c, d, eta):
        k, tau = legs(a, b, c, d, eta)
        return k, tau**2

    return loop(denoise, path, x, times, eta, generator, split=split)


@wrong("generate", "z is uniform on [0, 1]: that is torch.rand; normal is torch.randn")
def uniform_noise(denoise, path, x, times, eta, generator=None):
    draw = lambda x: torch.rand(x.shape, generator=generator, dtype=x.dtype)
    return loop(denoise, path, x, times, eta, generator, draw=draw)


@wrong(
    "generate",
    "the guess was clipped to [-1, 1]; not all data lives there: take it as it comes",
)
def guess_clipped(denoise, path, x, times, eta, generator=None):
    guess = lambda g, x, a, b: g.clamp(-1, 1)
    return loop(denoise, path, x, times, eta, generator, guess=guess)


@wrong("generate", "denoise returns the guess x_0 itself, not eps")
def guess_read_as_noise(denoise, path, x, times, eta, generator=None):
    guess = lambda g, x, a, b: (x - b * g) / a
    return loop(denoise, path, x, times, eta, generator, guess=guess)


@wrong("generate", "these are the guesses x_0 hat; keep the states x")
def guesses_kept(denoise, path, x, times, eta, generator=None):
    return loop(denoise, path, x, times, eta, generator, keep=lambda new, x0: x0)


@wrong("generate", "the last step is missing: n + 1 times make n steps")
def last_step_left_out(denoise, path, x, times, eta, generator=None):
    return loop(denoise, path, x, times[:-1], eta, generator)


@wrong("generate", "the derivative in x is lost: do not compute under no_grad, nor detach")
def without_a_gradient(denoise, path, x, times, eta, generator=None):
    with torch.no_grad():
        return loop(denoise, path, x, times, eta, generator)


# ---------------------------------------------------------------- subsequence


@right("subsequence")
def rounded(T, n):
    if n > T:
        raise ValueError("more steps than levels")
    return [round(T * (1 - i / n)) for i in range(n + 1)]


@right("subsequence")
def by_linspace(T, n):
    if not n <= T:
        raise ValueError(f"n = {n} > T = {T}")
    return torch.linspace(T, 0, n + 1, dtype=torch.float64).round().long().tolist()


@right("subsequence")
def with_numpy(T, n):
    if n > T:
        raise ValueError(f"{n} steps on {T} levels")
    return np.floor(np.arange(n, -1, -1) * T / n + 1e-9).astype(int)


@right("subsequence")
def gap_by_gap(T, n):
    small, extra = divmod(T, n)
    if small == 0:
        raise ValueError("too many steps")
    levels = [T]
    for i in range(n):
        levels.append(levels[-1] - small - (i < extra))
    return levels


def fits(T, n):
    if n > T:
        raise ValueError("too many steps")


@wrong("subsequence", "the grid must end at 0: else noise is left in the sample")
def never_arrives(T, n):
    fits(T, n)
    return [T - i * (T // (n + 1)) for i in range(n + 1)]


@wrong("subsequence", "the grid must start at T, where there is nothing but noise")
def starts_below(T, n):
    fits(T, n)
    return [(T - 1) * (n - i) // n for i in range(n + 1)]


@wrong("subsequence", "n levels are only n - 1 steps; n steps need n + 1 levels")
def n_levels(T, n):
    fits(T, n)
    return [T * (n - 1 - i) // max(n - 1, 1) for i in range(n)] if n > 1 else [T, 0]


@wrong("subsequence", "noise comes first, so the numbers must go down")
def upwards(T, n):
    fits(T, n)
    return [T * i // n for i in range(n + 1)]


@wrong("subsequence", "the levels must be whole numbers")
def not_rounded(T, n):
    fits(T, n)
    return [T * (n - i) / n for i in range(n + 1)]


@wrong("subsequence", "a fixed stride T // n fits only if n divides T: the last step is too long")
def fixed_stride(T, n):
    fits(T, n)
    return [T - i * (T // n) for i in range(n)] + [0]


@wrong("subsequence", "n > T must raise a ValueError: a level would come twice")
def duplicates_when_too_many(T, n):
    return [T * (n - i) // n for i in range(n + 1)]


@wrong("subsequence", "the gaps grow towards the noise; spread evenly, they differ by at most 1")
def quadratic(T, n):
    fits(T, n)
    levels = sorted({round(T * (i / n) ** 2) for i in range(n + 1)}, reverse=True)
    spare = [k for k in range(1, T) if k not in levels]
    return sorted(levels + spare[: n + 1 - len(levels)], reverse=True)


@wrong("subsequence", "n = T is not too many: every level is visited then")
def refuses_all_levels(T, n):
    if n >= T:
        raise ValueError("too many steps")
    return [T * (n - i) // n for i in range(n + 1)]


@wrong("subsequence", "more steps than levels must raise a ValueError, no other error")
def asserts(T, n):
    assert n <= T, "too many steps"
    return [T * (n - i) // n for i in range(n + 1)]


@wrong("subsequence", "range(T, 0, -stride) does not reach 0, and has n + 1 levels only by chance")
def by_range(T, n):
    fits(T, n)
    return list(range(T, 0, -(T // n)))


# ---------------------------------------------------------------- slerp


@right("slerp")
def sample_by_sample(a, b, w):
    out = []
    for p, q in zip(a, b):
        cosine = (p * q).sum() / (p.norm() * q.norm())
        theta = torch.acos(cosine.clamp(-1, 1))
        if theta.sin() < 1e-6:
            out.append((1 - w) * p + w * q)
        else:
            out.append((((1 - w) * theta).sin() * p + (w * theta).sin() * q) / theta.sin())
    return torch.stack(out)


@right("slerp")
def with_keepdim(a, b, w):
    dims = tuple(range(1, a.ndim))
    size = lambda x: x.square().sum(dims, keepdim=True).sqrt()
    theta = torch.arccos(((a * b).sum(dims, keepdim=True) / size(a) / size(b)).clip(-1, 1))
    straight = torch.lerp(a, b, w)
    round_ = (torch.sin((1 - w) * theta) * a + torch.sin(w * theta) * b) / torch.sin(
        theta
    ).clamp_min(1e-12)
    return torch.where(theta.sin().abs() < 1e-5, straight, round_)


@right("slerp")
def by_atan2(a, b, w):
    ones = (-1, *[1] * (a.ndim - 1))
    u, v = (x.flatten(1) / x.flatten(1).norm(dim=1, keepdim=True) for x in (a, b))
    theta = 2 * torch.atan2((u - v).norm(dim=1), (u + v).norm(dim=1)).reshape(ones)
    weight = lambda share: torch.where(
        theta < 1e-6, torch.full_like(theta, share), (share * theta).sin() / theta.sin()
    )
    return weight(1 - w) * a + weight(w) * b


def wide(v, x):
    return v.reshape(-1, *[1] * (x.ndim - 1))


def cosine_of(a, b):
    u, v = a.flatten(1), b.flatten(1)
    return (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))


def weighted(a, b, w, theta, near=1e-6, straight=None):
    """Equation (8) with this angle for each sample."""
    sine = theta.sin()
    flat = sine.abs() < near
    sine = torch.where(flat, 1.0, sine)
    of_a = torch.where(flat, 1 - w, ((1 - w) * theta).sin() / sine)
    of_b = torch.where(flat, w, (w * theta).sin() / sine)
    return wide(of_a, a) * a + wide(of_b, b) * b


def angle_of(a, b):
    return cosine_of(a, b).clamp(-1, 1).acos()


@wrong("slerp", "this is the straight line, on which the codes get too short")
def linear(a, b, w):
    return (1 - w) * a + w * b


@wrong("slerp", "w is the share of b: at w = 0 the result is a")
def reversed_share(a, b, w):
    return weighted(b, a, w, angle_of(a, b))


@wrong("slerp", "one angle for the whole batch; each sample has its own")
def angle_of_the_batch(a, b, w):
    theta = ((a * b).sum() / (a.norm() * b.norm())).clamp(-1, 1).acos()
    return weighted(a, b, w, theta.expand(len(a)))


@wrong("slerp", "the angle is taken over the last dimension only; flatten each sample first")
def angle_of_each_row(a, b, w):
    cosine = (a * b).sum(-1, keepdim=True) / (
        a.norm(dim=-1, keepdim=True) * b.norm(dim=-1, keepdim=True)
    )
    theta = cosine.clamp(-1, 1).acos()
    straight = (1 - w) * a + w * b
    arc = (((1 - w) * theta).sin() * a + (w * theta).sin() * b) / theta.sin()
    return torch.where(theta.sin() < 1e-6, straight, arc)


@wrong("slerp", "the arc cosine is missing: theta is an angle, not its cosine")
def cosine_for_angle(a, b, w):
    return weighted(a, b, w, cosine_of(a, b))


@wrong("slerp", "the division by sin(theta) is missing")
def not_divided(a, b, w):
    theta = wide(angle_of(a, b), a)
    return ((1 - w) * theta).sin() * a + (w * theta).sin() * b


@wrong(
    "slerp",
    "a straight line pulled back to the sphere has uneven speed: at w the angle must be w theta",
)
def line_pulled_back(a, b, w):
    line = (1 - w) * a + w * b
    length = lambda x: wide(x.flatten(1).norm(dim=1), x)
    return line / length(line) * length(a)


@wrong("slerp", "where sin(theta) is 0, 0 / 0 is no number: there the straight line is right")
def nan_where_equal(a, b, w):
    theta = wide(angle_of(a, b), a)
    return (((1 - w) * theta).sin() * a + (w * theta).sin() * b) / theta.sin()


@wrong("slerp", "a and b were brought to length 1: (8) takes them as they are")
def normalised_first(a, b, w):
    length = lambda x: wide(x.flatten(1).norm(dim=1), x)
    return weighted(a / length(a), b / length(b), w, angle_of(a, b))


@wrong("slerp", "all have the length of a: (8) takes a and b as they are")
def length_of_a(a, b, w):
    length = lambda x: wide(x.flatten(1).norm(dim=1), x)
    return weighted(a, b / length(b) * length(a), w, angle_of(a, b))


@wrong("slerp", "one angle, the mean, for the whole batch; each sample has its own")
def mean_angle(a, b, w):
    return weighted(a, b, w, angle_of(a, b).mean().expand(len(a)))


@wrong("slerp", "the cosine is divided by the lengths, not by their squares")
def squares_of_the_lengths(a, b, w):
    u, v = a.flatten(1), b.flatten(1)
    cosine = (u * v).sum(1) / (u.square().sum(1) * v.square().sum(1))
    return weighted(a, b, w, cosine.clamp(-1, 1).acos())


@wrong("slerp", "theta is the arc cosine; this is the arc sine")
def arc_sine(a, b, w):
    return weighted(a, b, w, cosine_of(a, b).clamp(-1, 1).asin())


@wrong("slerp", "the weight of a is made of 1 - w (here both are made of w)")
def both_weights_of_w(a, b, w):
    theta = angle_of(a, b)
    sine = torch.where(theta.sin() < 1e-6, 1.0, theta.sin())
    weight = torch.where(theta.sin() < 1e-6, w, (w * theta).sin() / sine)
    return wide(weight, a) * (a + b)


@wrong("slerp", "an angle beyond 90 degrees stays one: the cosine keeps its sign")
def angle_never_obtuse(a, b, w):
    return weighted(a, b, w, cosine_of(a, b).abs().clamp(-1, 1).acos())


@wrong(
    "slerp",
    "the straight line is taken too early; it is for codes that point the same way to rounding",
)
def straight_too_early(a, b, w):
    return weighted(a, b, w, angle_of(a, b), near=0.1)


@wrong(
    "slerp",
    "a cosine above 0.9995 is an angle below 1.8 degrees, not none: there the straight line is wrong already",
)
def popular_threshold(a, b, w):
    theta = angle_of(a, b)
    sine = torch.where(theta.cos() > 0.9995, 1.0, theta.sin())
    of_a = torch.where(theta.cos() > 0.9995, 1 - w, ((1 - w) * theta).sin() / sine)
    of_b = torch.where(theta.cos() > 0.9995, w, (w * theta).sin() / sine)
    return wide(of_a, a) * a + wide(of_b, b) * b


@wrong("slerp", "the angle is taken over dimension 1 only; flatten each sample first")
def angle_over_channels(a, b, w):
    theta = torch.nn.functional.cosine_similarity(a, b).clamp(-1, 1).acos().unsqueeze(1)
    straight = (1 - w) * a + w * b
    sine = torch.where(theta.sin() < 1e-6, 1.0, theta.sin())
    arc = ((1 - w) * theta).sin() / sine * a + (w * theta).sin() / sine * b
    return torch.where(theta.sin() < 1e-6, straight, arc)


@wrong("slerp", "this takes every pair for orthogonal; theta is the angle between a and b")
def right_angle(a, b, w):
    return math.cos(w * math.pi / 2) * a + math.sin(w * math.pi / 2) * b


@wrong(
    "slerp",
    "a small number added to sin(theta) gives 0 where theta is 0; the straight line is right there",
)
def small_number_below(a, b, w):
    theta = wide(angle_of(a, b), a)
    sine = theta.sin() + 1e-8
    return ((1 - w) * theta).sin() / sine * a + (w * theta).sin() / sine * b


@wrong("slerp", "the angle is in degrees; sin wants radians")
def in_degrees(a, b, w):
    return weighted(a, b, w, angle_of(a, b).rad2deg())


# ---------------------------------------------------------------- encode


@right("encode")
def in_scaled_coordinates(denoise, path, x, times):
    for s, t in pairwise(times):
        (a, b), (c, d) = path(s), path(t)
        eps = (x - a * denoise(x, s)) / b
        x = c * (x / a + (d / c - b / a) * eps)
    return x


@right("encode")
def by_ratio(denoise, path, x, times):
    for i in range(1, len(times)):
        a, b = path(times[i - 1])
        c, d = path(times[i])
        x = d / b * x + (c - d / b * a) * denoise(x, times[i - 1])
    return x


@right("encode")
def backwards_over_a_stack(denoise, path, x, times):
    todo = list(zip(times, times[1:]))[::-1]
    while todo:
        s, t = todo.pop()
        a, b = path(s)
        guess = denoise(x, s)
        c, d = path(t)
        x = torch.add(c * guess, (x - a * guess) / b, alpha=d)
    return x


def climb(
    denoise,
    path,
    x,
    times,
    ask=lambda s, t: s,
    guess=lambda g, first: g,
    eps=lambda x, x0, a, b, c, d: (x - a * x0) / b,
    back=lambda x0, e, c, d: c * x0 + d * e,
    pairs=pairwise,
):
    """The way up with one thing changed."""
    first = None
    for s, t in pairs(times):
        (a, b), (c, d) = path(s), path(t)
        x0 = denoise(x, ask(s, t))
        first = x0 if first is None else first
        x0 = guess(x0, first)
        x = back(x0, eps(x, x0, a, b, c, d), c, d)
    return x


@wrong("encode", "the network is asked at the time where x is going to, not where it is")
def asks_ahead(denoise, path, x, times):
    return climb(denoise, path, x, times, ask=lambda s, t: t)


@wrong("encode", "take the noise out with sigma of the time where x is")
def divides_by_the_next_sigma(denoise, path, x, times):
    return climb(denoise, path, x, times, eps=lambda x, x0, a, b, c, d: (x - a * x0) / d)


@wrong("encode", "take the picture out with alpha of the time where x is")
def next_alpha(denoise, path, x, times):
    return climb(denoise, path, x, times, eps=lambda x, x0, a, b, c, d: (x - c * x0) / b)


@wrong("encode", "the signal must be taken out in full: eps = (x - alpha_s x0) / sigma_s")
def signal_not_faded(denoise, path, x, times):
    return climb(denoise, path, x, times, eps=lambda x, x0, a, b, c, d: (x - x0) / b)


@wrong("encode", "this is where generate goes, down the times; here they go up")
def stepping_down(denoise, path, x, times):
    return climb(denoise, path, x, times[::-1])


@wrong("encode", "the guess is made once; each step needs a new one")
def one_guess(denoise, path, x, times):
    return climb(denoise, path, x, [times[0], times[-1]])


@wrong("encode", "the first guess is kept as x0; each step needs a new one")
def first_guess_as_truth(denoise, path, x, times):
    first = denoise(x, times[0])
    for s, t in pairwise(times):
        (a, b), (c, d) = path(s), path(t)
        x = c * first + d * (x - a * denoise(x, s)) / b
    return x


@wrong(
    "encode", "the first guess is used in every step; each needs a new one, beside it and in eps"
)
def first_guess_everywhere(denoise, path, x, times):
    return climb(denoise, path, x, times, guess=lambda g, first: first)


@wrong("encode", "this is the last eps, not the state at times[-1]")
def returns_eps(denoise, path, x, times):
    x = climb(denoise, path, x, times[:-1])
    a, b = path(times[-2])
    return (x - a * denoise(x, times[-2])) / b


@wrong("encode", "noise is added on the way up; there is no coin at eta = 0")
def adds_noise(denoise, path, x, times):
    back = lambda x0, e, c, d: c * x0 + d * e + 1e-9 * torch.randn_like(x0)
    return climb(denoise, path, x, times, back=back)


@wrong("encode", "eps is divided by sigma_s, not by its square")
def sigma_squared_up(denoise, path, x, times):
    return climb(denoise, path, x, times, eps=lambda x, x0, a, b, c, d: (x - a * x0) / b**2)


@wrong("encode", "the given picture was taken for x_0; each step needs the network's guess")
def picture_for_guess(denoise, path, x, times):
    return climb(lambda y, t: x + 0 * denoise(y, t), path, x, times)


@wrong("encode", "the clean picture comes back with alpha_t in front")
def clean_picture_not_faded(denoise, path, x, times):
    return climb(denoise, path, x, times, back=lambda x0, e, c, d: x0 + d * e)


@wrong("encode", "s and t are exchanged: x is at the smaller time and goes to the larger")
def times_exchanged(denoise, path, x, times):
    return climb(denoise, path, x, times, pairs=lambda v: [(t, s) for s, t in pairwise(v)])


@wrong("encode", "the last step is missing: the code is the state at times[-1]")
def last_step_missing(denoise, path, x, times):
    return climb(denoise, path, x, times[:-1])


@wrong("encode", "use sigma_t; sqrt(1 - alpha_t^2) is it only where alpha^2 + sigma^2 = 1")
def sigma_from_alpha(denoise, path, x, times):
    return climb(
        denoise, path, x, times, back=lambda x0, e, c, d: c * x0 + math.sqrt(1 - c * c) * e
    )


@wrong("encode", "a list of all states came back; the code is the last state alone")
def list_of_codes(denoise, path, x, times):
    return [climb(denoise, path, x, times[:k]) for k in range(2, len(times) + 1)]


@wrong("encode", "the derivative in x is lost: do not compute under no_grad, nor detach")
def code_without_a_gradient(denoise, path, x, times):
    with torch.no_grad():
        return climb(denoise, path, x, times)


# ---------------------------------------------------------------- guided


@right("guided")
def weighted_mean(denoise, x, t, labels, scale):
    nothing = -torch.ones_like(labels)
    return (1 - scale) * denoise(x, t, nothing) + scale * denoise(x, t, labels)


@right("guided")
def one_double_batch(denoise, x, t, labels, scale):
    both = torch.cat([labels, labels * 0 - 1])
    told, untold = denoise(torch.cat([x, x]), t, both).chunk(2)
    return torch.lerp(untold, told, scale)


@right("guided")
def asks_once_where_once_will_do(denoise, x, t, labels, scale):
    hidden = labels.new_full(labels.shape, -1)
    if scale == 0:
        return denoise(x, t, hidden)
    told = denoise(x, t, labels)
    return told if scale == 1 else told + (scale - 1) * (told - denoise(x, t, hidden))


def both(denoise, x, t, labels, hidden=None):
    hidden = torch.full_like(labels, -1) if hidden is None else hidden
    return denoise(x, t, labels), denoise(x, t, hidden)


@wrong("guided", "told and untold are exchanged: scale 1 must be the conditional model")
def exchanged(denoise, x, t, labels, scale):
    told, untold = both(denoise, x, t, labels)
    return told + scale * (untold - told)


@wrong(
    "guided",
    "this is (1 + scale), the paper's convention; in (10) scale 1 is the conditional model",
)
def one_plus_scale(denoise, x, t, labels, scale):
    told, untold = both(denoise, x, t, labels)
    return (1 + scale) * told - scale * untold


@wrong("guided", "the labels were overwritten before they were used, and the caller's are lost")
def labels_in_place(denoise, x, t, labels, scale):
    labels[:] = -1
    untold = denoise(x, t, labels)
    told = denoise(x, t, labels)
    return untold + scale * (told - untold)


@wrong("guided", "the scale is ignored: this is the conditional model")
def conditional_only(denoise, x, t, labels, scale):
    return both(denoise, x, t, labels)[0]


@wrong("guided", "only the first attribute is hidden; told nothing means all of them -1")
def hides_one_attribute(denoise, x, t, labels, scale):
    hidden = labels.clone()
    hidden[:, 0] = -1
    told, untold = both(denoise, x, t, labels, hidden)
    return untold + scale * (told - untold)


@wrong("guided", "0 is an attribute's first value; -1 hides it")
def hides_with_zero(denoise, x, t, labels, scale):
    told, untold = both(denoise, x, t, labels, torch.zeros_like(labels))
    return untold + scale * (told - untold)


@wrong("guided", "the two guesses are added, not their difference")
def added(denoise, x, t, labels, scale):
    told, untold = both(denoise, x, t, labels)
    return untold + scale * told


@wrong("guided", "the untold guess is missing in front of the difference")
def difference_only(denoise, x, t, labels, scale):
    told, untold = both(denoise, x, t, labels)
    return scale * (told - untold)


@wrong("guided", "the scale must not be kept within [0, 1], nor above 0")
def scale_at_least_zero(denoise, x, t, labels, scale):
    told, untold = both(denoise, x, t, labels)
    return untold + max(scale, 0.0) * (told - untold)


@wrong("guided", "the network is asked three times; guidance costs two evaluations each")
def three_calls(denoise, x, t, labels, scale):
    nothing = torch.full_like(labels, -1)
    return denoise(x, t, nothing) + scale * (denoise(x, t, labels) - denoise(x, t, nothing))


@wrong("guided", "the difference is told - untold: this goes away from what was asked for")
def difference_turned(denoise, x, t, labels, scale):
    told, untold = both(denoise, x, t, labels)
    return told + (scale - 1) * (untold - told)


@wrong("guided", "the guess was clipped to [-1, 1]; (10) may leave that range")
def clipped(denoise, x, t, labels, scale):
    told, untold = both(denoise, x, t, labels)
    return (untold + scale * (told - untold)).clamp(-1, 1)


@wrong("guided", "the sign of the labels was turned; told nothing means all of them -1")
def labels_negated(denoise, x, t, labels, scale):
    told, untold = both(denoise, x, t, labels, -labels)
    return untold + scale * (told - untold)


@wrong("guided", "the labels must stay whole numbers: torch.full_like keeps them so")
def labels_of_floats(denoise, x, t, labels, scale):
    told, untold = both(denoise, x, t, labels, -torch.ones(labels.shape))
    return untold + scale * (told - untold)


@wrong("guided", "the derivative in x is lost: do not compute under no_grad, nor detach")
def guess_without_a_gradient(denoise, x, t, labels, scale):
    with torch.no_grad():
        told, untold = both(denoise, x, t, labels)
    return untold + scale * (told - untold)


# ---------------------------------------------------------------- keeps_marginals


@right("keeps_marginals")
def with_random_numbers(step):
    g = torch.Generator().manual_seed(5)
    x0, eps, z = torch.randn(3, 60_000, 1, generator=g, dtype=torch.float64)
    for a, b, c, d in [
        (0.2, 0.9, 0.9, 0.3),
        (0.5, 0.5, 0.7, 0.3),
        (1.0, 3.0, 1.0, 1.0),
        (0.5, 0.7, 1.0, 0.0),
    ]:
        for eta in (0.0, 0.25, 0.5, 1.0):
            noise = step(a * x0 + b * eps, x0, a, b, c, d, eta, z) - c * x0
            if (
                abs(float((noise * x0).mean())) > 0.02 * max(d, 0.5)
                or abs(float(noise.var()) - d * d) > 0.02 * d * d + 1e-5
            ):
                return False
    return True


@right("keeps_marginals")
def on_a_grid_of_pairs(step):
    basis = torch.eye(3, dtype=torch.float64)[:, :, None]  # rows: x0, eps, z; three samples
    x0, eps, z = basis[0], basis[1], basis[2]
    ok = True
    for a, b, c, d in [
        (0.1, 0.99, 0.6, 0.8),
        (0.3, 0.7, 0.6, 0.4),
        (0.8, 0.6, 1.0, 0.0),
        (1.0, 9.0, 1.0, 2.0),
    ]:
        for eta in torch.linspace(0, 1, 6).tolist():
            factor = step(a * x0 + b * eps, x0, a, b, c, d, eta, z).flatten()
            ok &= bool((factor[0] - c).abs() < 1e-4) and bool(
                (factor[1:].square().sum() - d * d).abs() < 1e-4
            )
    return ok


@right("keeps_marginals")
def by_autograd(step):
    places = [(0.28, 0.96, 0.8, 0.6), (0.4, 1.1, 0.9, 0.5), (0.6, 0.8, 1.0, 0.0)]
    for a, b, c, d in places:
        for eta in (0.0, 0.3, 0.7, 1.0):
            x0, eps, z = torch.zeros(3, 2, 2, dtype=torch.float64).requires_grad_()
            out = step(a * x0 + b * eps, x0, a, b, c, d, eta, z).sum()
            mean, old, new = (
                0 * v if g is None else g
                for v, g in zip(
                    (x0, eps, z), torch.autograd.grad(out, (x0, eps, z), allow_unused=True)
                )
            )
            if not torch.allclose(mean, torch.full_like(mean, c), atol=1e-5):
                return False
            if not torch.allclose(old**2 + new**2, torch.full_like(old, d * d), atol=1e-5):
                return False
    return True


PLACES = [(0.3, 0.95, 0.8, 0.6), (0.2, 0.8, 0.7, 0.3), (1.0, 2.0, 1.0, 0.0)]
VP = [(0.28, 0.96, 0.8, 0.6), (0.6, 0.8, 1.0, 0.0)]
ETAS = (0.0, 0.5, 1.0)


def factors(step, a, b, c, d, eta):
    """What x_s has of x0, eps and z."""
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    units = (one, zero, zero), (zero, one, zero), (zero, zero, one)
    return [float(step(a * p + b * e, p, a, b, c, d, eta, z)) for p, e, z in units]


def every(step, keeps, places=PLACES, etas=ETAS):
    for place in places:
        for eta in etas:
            if not keeps(*factors(step, *place, eta), *place, eta):
                return False
    return True


def right_mean(p, c, off=1e-4):
    return abs(p - c) < off


def right_noise(e, z, d, off=1e-4):
    return abs(e * e + z * z - d * d) < off


def keeps(p, e, z, a, b, c, d, eta):
    return right_mean(p, c) and right_noise(e, z, d)


@wrong(
    "keeps_marginals",
    "the noise may be split in other ways than (4): ask for k^2 + tau^2 = sigma_s^2 only",
)
def accepts_only_the_family(step):
    def like_4(p, e, z, a, b, c, d, eta):
        tau = eta * d / b * math.sqrt(max(b**2 - (a / c * d) ** 2, 0.0))
        k = math.sqrt(max(d * d - tau * tau, 0.0))
        return right_mean(p, c) and abs(abs(e) - k) < 1e-4 and abs(abs(z) - tau) < 1e-4

    return every(step, like_4)


@wrong(
    "keeps_marginals", "every step that is wrong only between eta = 0 and 1 passes: try one there"
)
def only_the_ends(step):
    return every(step, keeps, etas=(0.0, 1.0))


@wrong(
    "keeps_marginals",
    "every step that is right only where alpha^2 + sigma^2 = 1 passes: try another path",
)
def only_vp_paths(step):
    return every(step, keeps, places=VP)


@wrong("keeps_marginals", "every step that is wrong only in the last one, to sigma_s = 0, passes")
def never_the_last_step(step):
    return every(step, keeps, places=[(0.28, 0.96, 0.8, 0.6), (0.2, 0.7, 0.5, 0.4)])


@wrong("keeps_marginals", "every step with a wrong mean passes: the factor of x_0 must be alpha_s")
def forgets_the_mean(step):
    return every(step, lambda p, e, z, a, b, c, d, eta: right_noise(e, z, d))


@wrong(
    "keeps_marginals",
    "every step with the wrong noise passes: only the mean is looked at",
)
def forgets_the_noise(step):
    return every(step, lambda p, e, z, a, b, c, d, eta: right_mean(p, c))


@wrong(
    "keeps_marginals",
    "a step that turns the picture into its negative passes: the mean has a sign",
)
def mean_by_its_square(step):
    return every(
        step,
        lambda p, e, z, a, b, c, d, eta: right_mean(p * p, c * c) and right_noise(e, z, d),
    )


@wrong("keeps_marginals", "rounding is no mistake: allow 1e-4")
def too_strict(step):
    return every(
        step,
        lambda p, e, z, a, b, c, d, eta: right_mean(p, c, 1e-12) and right_noise(e, z, d, 1e-12),
    )


@wrong("keeps_marginals", "old noise with the other sign is as good: only the squares count")
def wants_positive_noise(step):
    return every(
        step,
        lambda p, e, z, a, b, c, d, eta: right_mean(p, c) and e > -1e-4 and right_noise(e, z, d),
    )


@wrong("keeps_marginals", "every step that is wrong only at eta = 0 passes: try that too")
def never_eta_zero(step):
    return every(step, keeps, etas=(0.3, 1.0))


@wrong("keeps_marginals", "every step that is wrong only at eta = 1 passes: try that too")
def never_eta_one(step):
    return every(step, keeps, etas=(0.0, 0.4))


@wrong("keeps_marginals", "what happens in any step but the last has no influence on the verdict")
def looks_only_at_the_last_step(step):
    return every(step, keeps, places=[(0.6, 0.8, 1.0, 0.0)])


@wrong("keeps_marginals", "the squares of the two factors add up to sigma_s^2, not the factors")
def sum_of_factors(step):
    return every(step, lambda p, e, z, a, b, c, d, eta: right_mean(p, c) and abs(e + z - d) < 1e-4)


@wrong(
    "keeps_marginals",
    "every step passes that is right at eta = 0 on a path with alpha^2 + sigma^2 = 1",
)
def judges_after_one_case(step):
    return every(step, keeps, places=[(0.28, 0.96, 0.8, 0.6)], etas=(0.0,))
