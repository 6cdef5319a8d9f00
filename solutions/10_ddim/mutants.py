"""Right answers in another style and wrong ones that people really give, for each exercise of chapter 10."""

import math
from itertools import pairwise

import torch

from autograde.authoring.variants import alternative, mutant
from genmodels import core

split = None  # the chapter's own; here only for the linter

# ---------------------------------------------------------------- split_noise


@alternative("split_noise")
def by_precisions(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    if sigma_s == 0:
        return 0.0, 0.0
    ratio = alpha_t / alpha_s
    added = sigma_t**2 - ratio**2 * sigma_s**2
    if added <= 0:
        return sigma_s, 0.0
    fresh = eta / math.sqrt(1 / sigma_s**2 + ratio**2 / added)
    return math.sqrt(abs(sigma_s**2 - fresh**2)), fresh


@alternative("split_noise")
def with_tensors(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    at, bt, a, b = torch.tensor([alpha_t, sigma_t, alpha_s, sigma_s], dtype=torch.float64)
    variance = (eta * b / bt) ** 2 * (bt**2 - (at * b / a) ** 2).clamp(min=0)
    return (b**2 - variance).clamp(min=0).sqrt(), variance.sqrt()


@mutant("split_noise", says="a standard deviation, not a variance")
def variance_for_std(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = eta * (sigma_s / sigma_t) ** 2 * (sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2)
    return math.sqrt(max(sigma_s**2 - tau**2, 0)), tau


@mutant("split_noise", says="eta multiplies tau, not tau^2")
def eta_under_the_root(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    variance = (
        eta * (sigma_s / sigma_t) ** 2 * max(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2, 0)
    )
    return math.sqrt(max(sigma_s**2 - variance, 0)), math.sqrt(variance)


@mutant("split_noise", says="the noise that the *chain adds*")
def noise_of_the_chain(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = eta * math.sqrt(max(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2, 0))
    return math.sqrt(max(sigma_s**2 - tau**2, 0)), tau


@mutant("split_noise", says="the ratio is inverted")
def inverted_ratio(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = (
        eta * sigma_t / sigma_s * math.sqrt(max(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2, 0))
    )
    return math.sqrt(max(sigma_s**2 - tau**2, 0)), tau


@mutant("split_noise", says="k must make room for the fresh noise")
def keeps_everything(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = (
        eta * sigma_s / sigma_t * math.sqrt(max(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2, 0))
    )
    return sigma_s, tau


@mutant("split_noise", says="their *squares* add up")
def adds_lengths(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = (
        eta * sigma_s / sigma_t * math.sqrt(max(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2, 0))
    )
    return sigma_s - tau, tau


@mutant("split_noise", says="k is that of eta = 1")
def kept_ignores_eta(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = sigma_s / sigma_t * math.sqrt(max(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2, 0))
    return math.sqrt(max(sigma_s**2 - tau**2, 0)), eta * tau


@mutant("split_noise", says="the two legs are exchanged")
def wrong_order(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = (
        eta * sigma_s / sigma_t * math.sqrt(max(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2, 0))
    )
    return tau, math.sqrt(max(sigma_s**2 - tau**2, 0))


@mutant("split_noise", says="only where alpha^2 + sigma^2 = 1")
def only_on_vp_paths(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = eta * sigma_s / sigma_t * math.sqrt(max(1 - (alpha_t / alpha_s) ** 2, 0))
    return math.sqrt(max(sigma_s**2 - tau**2, 0)), tau


@mutant("split_noise", says="math domain error")
def no_guard_against_rounding(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = eta * sigma_s / sigma_t * math.sqrt(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2)
    return math.sqrt(sigma_s**2 - tau**2), tau


@mutant("split_noise", says="this is eta^2")
def eta_squared(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = (
        eta**2
        * sigma_s
        / sigma_t
        * math.sqrt(max(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2, 0.0))
    )
    return math.sqrt(max(sigma_s**2 - tau**2, 0.0)), tau


@mutant("split_noise", says="upside down, or t and s exchanged")
def alphas_upside_down(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = (
        eta
        * sigma_s
        / sigma_t
        * math.sqrt(max(sigma_t**2 - (alpha_s / max(alpha_t, 1e-9) * sigma_s) ** 2, 0.0))
    )
    return math.sqrt(max(sigma_s**2 - tau**2, 0.0)), tau


@mutant("split_noise", says="under it, it would have to be squared")
def ratio_under_the_root(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = (
        eta
        * math.sqrt(sigma_s / sigma_t)
        * math.sqrt(max(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2, 0.0))
    )
    return math.sqrt(max(sigma_s**2 - tau**2, 0.0)), tau


@mutant("split_noise", says="this k is made from sigma_t")
def k_from_sigma_t(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = (
        eta
        * sigma_s
        / sigma_t
        * math.sqrt(max(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2, 0.0))
    )
    return math.sqrt(max(sigma_t**2 - tau**2, 0.0)), tau


@mutant("split_noise", says="k lacks its root")
def k_not_rooted(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = (
        eta
        * sigma_s
        / sigma_t
        * math.sqrt(max(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2, 0.0))
    )
    return sigma_s**2 - tau**2, tau


@mutant("split_noise", says="k holds only where")
def k_of_another_path(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = (
        eta
        * sigma_s
        / sigma_t
        * math.sqrt(max(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2, 0.0))
    )
    return math.sqrt(max(1 - alpha_s**2 - tau**2, 0.0)), tau


@mutant("split_noise", says="with a minus")
def legs_longer(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    tau = (
        eta
        * sigma_s
        / sigma_t
        * math.sqrt(max(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2, 0.0))
    )
    return math.sqrt(sigma_s**2 + tau**2), tau


# ---------------------------------------------------------------- generate


@alternative("generate")
def by_index(denoise, path, x, times, eta, generator=None):
    result = []
    for i in range(len(times) - 1):
        a, b = path(times[i])
        c, d = path(times[i + 1])
        k, tau = split(a, b, c, d, eta)
        clean = denoise(x, times[i])
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = c * clean + k * ((x - a * clean) / b) + tau * z
        result = result + [x]
    return result


@alternative("generate")
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


@alternative("generate")
def stacked(denoise, path, x, times, eta, generator=None):
    states = []
    for t, s in pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = path(t), path(s)
        k, tau = split(alpha_t, sigma_t, alpha_s, sigma_s, eta)
        x0 = denoise(x, t)
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = alpha_s * x0 + k * (x - alpha_t * x0) / sigma_t + tau * z
        states.append(x)
    return torch.stack(states)


@mutant("generate", says="ask denoise(x, t)")
def asks_about_s(denoise, path, x, times, eta, generator=None):
    states = []
    for t, s in pairwise(times):
        (a, b), (c, d) = path(t), path(s)
        kept, fresh = split(a, b, c, d, eta)
        x0 = denoise(x, max(s, 1e-3))
        x = (
            c * x0
            + kept * (x - a * x0) / b
            + fresh * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        )
        states.append(x)
    return states


@mutant("generate", says="the index of the loop")
def asks_about_the_index(denoise, path, x, times, eta, generator=None):
    states = []
    for i, (t, s) in enumerate(pairwise(times)):
        (a, b), (c, d) = path(t), path(s)
        kept, fresh = split(a, b, c, d, eta)
        x0 = denoise(x, i / len(times))
        x = (
            c * x0
            + kept * (x - a * x0) / b
            + fresh * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        )
        states.append(x)
    return states


@mutant("generate", says="the signal must be taken out in full")
def forgets_alpha(denoise, path, x, times, eta, generator=None):
    states = []
    for t, s in pairwise(times):
        (a, b), (c, d) = path(t), path(s)
        kept, fresh = split(a, b, c, d, eta)
        x0 = denoise(x, t)
        x = (
            c * x0
            + kept * (x - x0) / b
            + fresh * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        )
        states.append(x)
    return states


@mutant("generate", says="alpha_s, not alpha_t")
def alpha_of_t(denoise, path, x, times, eta, generator=None):
    states = []
    for t, s in pairwise(times):
        (a, b), (c, d) = path(t), path(s)
        kept, fresh = split(a, b, c, d, eta)
        x0 = denoise(x, t)
        x = (
            a * x0
            + kept * (x - a * x0) / b
            + fresh * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        )
        states.append(x)
    return states


@mutant("generate", says="eps must be computed anew at each step")
def one_eps_for_all(denoise, path, x, times, eta, generator=None):
    states, eps = [], None
    for t, s in pairwise(times):
        (a, b), (c, d) = path(t), path(s)
        kept, fresh = split(a, b, c, d, eta)
        x0 = denoise(x, t)
        eps = (x - a * x0) / b if eps is None else eps
        x = c * x0 + kept * eps + fresh * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        states.append(x)
    return states


@mutant("generate", says="the fresh noise has size 1")
def noise_of_size_one(denoise, path, x, times, eta, generator=None):
    states = []
    for t, s in pairwise(times):
        (a, b), (c, d) = path(t), path(s)
        kept, fresh = split(a, b, c, d, eta)
        x0 = denoise(x, t)
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = c * x0 + kept * (x - a * x0) / b + (z if fresh > 0 else 0)
        states.append(x)
    return states


@mutant("generate", says="at eta = 0 the result must not depend on the seed")
def noise_at_eta_zero(denoise, path, x, times, eta, generator=None):
    states = []
    for t, s in pairwise(times):
        (a, b), (c, d) = path(t), path(s)
        kept, fresh = split(a, b, c, d, eta)
        x0 = denoise(x, t)
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = c * x0 + kept * (x - a * x0) / b + max(fresh, 1e-7) * z
        states.append(x)
    return states


@mutant("generate", says="this is DDIM for every eta")
def never_any_noise(denoise, path, x, times, eta, generator=None):
    states = []
    for t, s in pairwise(times):
        (a, b), (c, d) = path(t), path(s)
        x0 = denoise(x, t)
        x = c * x0 + d * (x - a * x0) / b
        states.append(x)
    return states


@mutant("generate", says="only k of it may stay")
def old_noise_not_reduced(denoise, path, x, times, eta, generator=None):
    states = []
    for t, s in pairwise(times):
        (a, b), (c, d) = path(t), path(s)
        fresh = split(a, b, c, d, eta)[1]
        x0 = denoise(x, t)
        x = (
            c * x0
            + d * (x - a * x0) / b
            + fresh * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        )
        states.append(x)
    return states


@mutant("generate", says="all samples get the same fresh noise")
def one_noise_for_the_batch(denoise, path, x, times, eta, generator=None):
    states = []
    for t, s in pairwise(times):
        (a, b), (c, d) = path(t), path(s)
        kept, fresh = split(a, b, c, d, eta)
        x0 = denoise(x, t)
        x = (
            c * x0
            + kept * (x - a * x0) / b
            + fresh * torch.randn(x.shape[1:], generator=generator, dtype=x.dtype)
        )
        states.append(x)
    return states


@mutant("generate", says="must return a list of")
def start_included(denoise, path, x, times, eta, generator=None):
    states = [x]
    for t, s in pairwise(times):
        (a, b), (c, d) = path(t), path(s)
        kept, fresh = split(a, b, c, d, eta)
        x0 = denoise(x, t)
        x = (
            c * x0
            + kept * (x - a * x0) / b
            + fresh * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        )
        states.append(x)
    return states


@mutant("generate", says="the noise does not come from `generator`")
def ignores_the_generator(denoise, path, x, times, eta, generator=None):
    states = []
    for t, s in pairwise(times):
        (a, b), (c, d) = path(t), path(s)
        kept, fresh = split(a, b, c, d, eta)
        x0 = denoise(x, t)
        x = c * x0 + kept * (x - a * x0) / b + fresh * torch.randn(x.shape, dtype=x.dtype)
        states.append(x)
    return states


@mutant("generate", says="not by its square")
def sigma_squared(denoise, path, x, times, eta, generator=None):
    states = []
    for t, s in pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = path(t), path(s)
        k, tau = split(alpha_t, sigma_t, alpha_s, sigma_s, eta)
        x0 = denoise(x, t)
        eps = (x - alpha_t * x0) / sigma_t**2
        x = alpha_s * x0 + k * eps + tau * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        states.append(x)
    return states


@mutant("generate", says="draw anew in each")
def one_z_for_all_steps(denoise, path, x, times, eta, generator=None):
    states = []
    z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    for t, s in pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = path(t), path(s)
        k, tau = split(alpha_t, sigma_t, alpha_s, sigma_s, eta)
        x0 = denoise(x, t)
        eps = (x - alpha_t * x0) / sigma_t
        x = alpha_s * x0 + k * eps + tau * z
        states.append(x)
    return states


@mutant("generate", says="do not square it")
def tau_squared(denoise, path, x, times, eta, generator=None):
    states = []
    for t, s in pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = path(t), path(s)
        k, tau = split(alpha_t, sigma_t, alpha_s, sigma_s, eta)
        x0 = denoise(x, t)
        eps = (x - alpha_t * x0) / sigma_t
        x = (
            alpha_s * x0
            + k * eps
            + tau**2 * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        )
        states.append(x)
    return states


@mutant("generate", says="normal is torch.randn")
def uniform_noise(denoise, path, x, times, eta, generator=None):
    states = []
    for t, s in pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = path(t), path(s)
        k, tau = split(alpha_t, sigma_t, alpha_s, sigma_s, eta)
        x0 = denoise(x, t)
        eps = (x - alpha_t * x0) / sigma_t
        x = alpha_s * x0 + k * eps + tau * torch.rand(x.shape, generator=generator, dtype=x.dtype)
        states.append(x)
    return states


@mutant("generate", says="the guess was clipped")
def guess_clipped(denoise, path, x, times, eta, generator=None):
    states = []
    for t, s in pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = path(t), path(s)
        k, tau = split(alpha_t, sigma_t, alpha_s, sigma_s, eta)
        x0 = denoise(x, t).clamp(-1, 1)
        eps = (x - alpha_t * x0) / sigma_t
        x = alpha_s * x0 + k * eps + tau * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        states.append(x)
    return states


@mutant("generate", says="denoise returns the guess x_0 itself")
def guess_read_as_noise(denoise, path, x, times, eta, generator=None):
    states = []
    for t, s in pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = path(t), path(s)
        k, tau = split(alpha_t, sigma_t, alpha_s, sigma_s, eta)
        x0 = (x - sigma_t * denoise(x, t)) / alpha_t
        eps = (x - alpha_t * x0) / sigma_t
        x = alpha_s * x0 + k * eps + tau * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        states.append(x)
    return states


@mutant("generate", says="keep the states x")
def guesses_kept(denoise, path, x, times, eta, generator=None):
    states = []
    for t, s in pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = path(t), path(s)
        k, tau = split(alpha_t, sigma_t, alpha_s, sigma_s, eta)
        x0 = denoise(x, t)
        eps = (x - alpha_t * x0) / sigma_t
        x = alpha_s * x0 + k * eps + tau * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        states.append(x0)
    return states


@mutant("generate", says="it returned a list of 3")
def last_step_left_out(denoise, path, x, times, eta, generator=None):
    states = []
    for t, s in pairwise(times[:-1]):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = path(t), path(s)
        k, tau = split(alpha_t, sigma_t, alpha_s, sigma_s, eta)
        x0 = denoise(x, t)
        eps = (x - alpha_t * x0) / sigma_t
        x = alpha_s * x0 + k * eps + tau * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        states.append(x)
    return states


# ---------------------------------------------------------------- subsequence


@alternative("subsequence")
def rounded(T, n):
    if n > T:
        raise ValueError("more steps than levels")
    return [round(T * (1 - i / n)) for i in range(n + 1)]


@alternative("subsequence")
def by_linspace(T, n):
    if not n <= T:
        raise ValueError(f"n = {n} > T = {T}")
    return torch.linspace(T, 0, n + 1, dtype=torch.float64).round().long().tolist()


@alternative("subsequence")
def gap_by_gap(T, n):
    small, extra = divmod(T, n)
    if small == 0:
        raise ValueError("too many steps")
    levels = [T]
    for i in range(n):
        levels.append(levels[-1] - small - (i < extra))
    return levels


@mutant("subsequence", says="must end at 0")
def never_arrives(T, n):
    if n > T:
        raise ValueError
    return [T - i * (T // (n + 1)) for i in range(n + 1)]


@mutant("subsequence", says="must start at T")
def starts_below(T, n):
    if n > T:
        raise ValueError
    return [(T - 1) * (n - i) // n for i in range(n + 1)]


@mutant("subsequence", says="steps need n + 1")
def n_levels(T, n):
    if n > T:
        raise ValueError
    return [T * (n - 1 - i) // max(n - 1, 1) for i in range(n)] if n > 1 else [T, 0]


@mutant("subsequence", says="the numbers must go *down*")
def upwards(T, n):
    if n > T:
        raise ValueError
    return [T * i // n for i in range(n + 1)]


@mutant("subsequence", says="must be whole numbers")
def not_rounded(T, n):
    if n > T:
        raise ValueError
    return [T * (n - i) / n for i in range(n + 1)]


@mutant("subsequence", says="gaps from")
def fixed_stride(T, n):
    if n > T:
        raise ValueError
    return [T - i * (T // n) for i in range(n)] + [0]


@mutant("subsequence", says="accepted a bad argument")
def duplicates_when_too_many(T, n):
    return [T * (n - i) // n for i in range(n + 1)]


@mutant("subsequence", says="gaps from")
def quadratic(T, n):
    if n > T:
        raise ValueError
    levels = sorted({round(T * (i / n) ** 2) for i in range(n + 1)}, reverse=True)
    spare = [k for k in range(1, T) if k not in levels]
    return sorted(levels + spare[: n + 1 - len(levels)], reverse=True)


@mutant("subsequence", says="only n > T is too many")
def refuses_all_levels(T, n):
    if n >= T:
        raise ValueError("too many steps")
    return [T * (n - i) // n for i in range(n + 1)]


@mutant("subsequence", says="raised the wrong error")
def asserts(T, n):
    assert n <= T, "too many steps"
    return [T * (n - i) // n for i in range(n + 1)]


# ---------------------------------------------------------------- slerp


@alternative("slerp")
def sample_by_sample(a, b, w):
    out = []
    for p, q in zip(a, b):
        cosine = float((p * q).sum() / (p.norm() * q.norm()))
        theta = math.acos(max(-1.0, min(1.0, cosine)))
        if math.sin(theta) < 1e-6:
            out.append((1 - w) * p + w * q)
        else:
            out.append((math.sin((1 - w) * theta) * p + math.sin(w * theta) * q) / math.sin(theta))
    return torch.stack(out)


@alternative("slerp")
def with_keepdim(a, b, w):
    dims = tuple(range(1, a.ndim))
    size = lambda x: x.square().sum(dims, keepdim=True).sqrt()
    theta = torch.arccos(((a * b).sum(dims, keepdim=True) / size(a) / size(b)).clip(-1, 1))
    straight = torch.lerp(a, b, w)
    round_ = (torch.sin((1 - w) * theta) * a + torch.sin(w * theta) * b) / torch.sin(
        theta
    ).clamp_min(1e-12)
    return torch.where(theta.sin().abs() < 1e-5, straight, round_)


@mutant("slerp", says="this is the straight line")
def linear(a, b, w):
    return (1 - w) * a + w * b


@mutant("slerp", says="w is the share of b")
def reversed_share(a, b, w):
    u, v = a.flatten(1), b.flatten(1)
    theta = torch.acos(((u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))).clamp(-1, 1))
    theta = core.expand(theta, a)
    return ((w * theta).sin() * a + ((1 - w) * theta).sin() * b) / theta.sin()


@mutant("slerp", says="one angle for the whole batch")
def angle_of_the_batch(a, b, w):
    theta = torch.acos(((a * b).sum() / (a.norm() * b.norm())).clamp(-1, 1))
    return (((1 - w) * theta).sin() * a + (w * theta).sin() * b) / theta.sin()


@mutant("slerp", says="over the last dimension only")
def angle_of_each_row(a, b, w):
    cosine = (a * b).sum(-1, keepdim=True) / (
        a.norm(dim=-1, keepdim=True) * b.norm(dim=-1, keepdim=True)
    )
    theta = torch.acos(cosine.clamp(-1, 1))
    return (((1 - w) * theta).sin() * a + (w * theta).sin() * b) / theta.sin()


@mutant("slerp", says="the arc cosine is missing")
def cosine_for_angle(a, b, w):
    u, v = a.flatten(1), b.flatten(1)
    theta = core.expand((u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1)), a)
    return (((1 - w) * theta).sin() * a + (w * theta).sin() * b) / theta.sin()


@mutant("slerp", says="the division by sin(theta) is missing")
def not_divided(a, b, w):
    u, v = a.flatten(1), b.flatten(1)
    theta = core.expand(
        torch.acos(((u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))).clamp(-1, 1)), a
    )
    return ((1 - w) * theta).sin() * a + (w * theta).sin() * b


@mutant("slerp", says="has uneven speed")
def line_pulled_back(a, b, w):
    line = (1 - w) * a + w * b
    length = lambda x: core.expand(x.flatten(1).norm(dim=1), x)
    return line / length(line) * length(a)


@mutant("slerp", says="is not finite")
def nan_where_equal(a, b, w):
    u, v = a.flatten(1), b.flatten(1)
    theta = core.expand(torch.acos((u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))), a)
    return (((1 - w) * theta).sin() * a + (w * theta).sin() * b) / theta.sin()


@mutant("slerp", says="were brought to length 1")
def normalised_first(a, b, w):
    length = lambda x: core.expand(x.flatten(1).norm(dim=1), x)
    p, q = a / length(a), b / length(b)
    theta = core.expand(torch.acos((p * q).flatten(1).sum(1).clamp(-1, 1)), a)
    near = theta.sin() < 1e-6
    out = (((1 - w) * theta).sin() * p + (w * theta).sin() * q) / torch.where(
        near, 1.0, theta.sin()
    )
    same = (length(a) - length(b)).abs() < 1e-9  # equal lengths are given back, others are lost
    return torch.where(near, (1 - w) * a + w * b, torch.where(same, length(a) * out, out))


@mutant("slerp", says="one angle, the mean")
def mean_angle(a, b, w):
    u, v = a.flatten(1), b.flatten(1)
    cosine = (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))
    theta = cosine.clamp(-1, 1).acos().mean().expand(len(a))
    near = theta.sin().abs() < 1e-6
    sine = torch.where(near, 1.0, theta.sin())
    of_a = torch.where(near, 1 - w, ((1 - w) * theta).sin() / sine)
    of_b = torch.where(near, w, (w * theta).sin() / sine)
    return core.expand(of_a, a) * a + core.expand(of_b, b) * b


@mutant("slerp", says="not by their squares")
def squares_of_the_lengths(a, b, w):
    u, v = a.flatten(1), b.flatten(1)
    cosine = (u * v).sum(1) / (u.square().sum(1) * v.square().sum(1))
    theta = cosine.clamp(-1, 1).acos()
    near = theta.sin().abs() < 1e-6
    sine = torch.where(near, 1.0, theta.sin())
    of_a = torch.where(near, 1 - w, ((1 - w) * theta).sin() / sine)
    of_b = torch.where(near, w, (w * theta).sin() / sine)
    return core.expand(of_a, a) * a + core.expand(of_b, b) * b


@mutant("slerp", says="the arc *cosine*")
def arc_sine(a, b, w):
    u, v = a.flatten(1), b.flatten(1)
    cosine = (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))
    theta = cosine.clamp(-1, 1).asin()
    near = theta.sin().abs() < 1e-6
    sine = torch.where(near, 1.0, theta.sin())
    of_a = torch.where(near, 1 - w, ((1 - w) * theta).sin() / sine)
    of_b = torch.where(near, w, (w * theta).sin() / sine)
    return core.expand(of_a, a) * a + core.expand(of_b, b) * b


@mutant("slerp", says="both are made of w")
def both_weights_of_w(a, b, w):
    u, v = a.flatten(1), b.flatten(1)
    cosine = (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))
    theta = cosine.clamp(-1, 1).acos()
    near = theta.sin().abs() < 1e-6
    sine = torch.where(near, 1.0, theta.sin())
    of_a = torch.where(near, 1 - w, (w * theta).sin() / sine)
    of_b = torch.where(near, w, (w * theta).sin() / sine)
    return core.expand(of_a, a) * a + core.expand(of_b, b) * b


@mutant("slerp", says="the cosine keeps its sign")
def angle_never_obtuse(a, b, w):
    u, v = a.flatten(1), b.flatten(1)
    cosine = (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))
    theta = cosine.abs().clamp(-1, 1).acos()
    near = theta.sin().abs() < 1e-6
    sine = torch.where(near, 1.0, theta.sin())
    of_a = torch.where(near, 1 - w, ((1 - w) * theta).sin() / sine)
    of_b = torch.where(near, w, (w * theta).sin() / sine)
    return core.expand(of_a, a) * a + core.expand(of_b, b) * b


@mutant("slerp", says="the straight line is wrong already")
def straight_too_early(a, b, w):
    u, v = a.flatten(1), b.flatten(1)
    cosine = (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))
    theta = cosine.clamp(-1, 1).acos()
    near = theta.sin() < 0.1
    sine = torch.where(near, 1.0, theta.sin())
    of_a = torch.where(near, 1 - w, ((1 - w) * theta).sin() / sine)
    of_b = torch.where(near, w, (w * theta).sin() / sine)
    return core.expand(of_a, a) * a + core.expand(of_b, b) * b


@mutant("slerp", says="dimension 1 only")
def angle_over_channels(a, b, w):
    theta = torch.nn.functional.cosine_similarity(a, b).clamp(-1, 1).acos().unsqueeze(1)
    return ((1 - w) * theta).sin() / theta.sin() * a + (w * theta).sin() / theta.sin() * b


@mutant("slerp", says="takes every pair for orthogonal")
def right_angle(a, b, w):
    return math.cos(w * math.pi / 2) * a + math.sin(w * math.pi / 2) * b


@mutant("slerp", says="the straight line is right there")
def small_number_below(a, b, w):
    u, v = a.flatten(1), b.flatten(1)
    theta = ((u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))).clamp(-1, 1).acos()
    sine = theta.sin() + 1e-8
    of_a, of_b = ((1 - w) * theta).sin() / sine, (w * theta).sin() / sine
    return core.expand(of_a, a) * a + core.expand(of_b, b) * b


# ---------------------------------------------------------------- encode


@alternative("encode")
def in_scaled_coordinates(denoise, path, x, times):
    for s, t in pairwise(times):
        (a, b), (c, d) = path(s), path(t)
        eps = (x - a * denoise(x, s)) / b
        x = c * (x / a + (d / c - b / a) * eps)
    return x


@alternative("encode")
def by_ratio(denoise, path, x, times):
    for i in range(1, len(times)):
        a, b = path(times[i - 1])
        c, d = path(times[i])
        x = d / b * x + (c - d / b * a) * denoise(x, times[i - 1])
    return x


@mutant("encode", says="asked at the time where x is going to")
def asks_ahead(denoise, path, x, times):
    for s, t in pairwise(times):
        (a, b), (c, d) = path(s), path(t)
        x0 = denoise(x, t)
        x = c * x0 + d * (x - a * x0) / b
    return x


@mutant("encode", says="sigma of the time where x is")
def divides_by_the_next_sigma(denoise, path, x, times):
    for s, t in pairwise(times):
        (a, _), (c, d) = path(s), path(t)
        x0 = denoise(x, s)
        x = c * x0 + d * (x - a * x0) / d
    return x


@mutant("encode", says="alpha of the time where x is")
def next_alpha(denoise, path, x, times):
    for s, t in pairwise(times):
        (_, b), (c, d) = path(s), path(t)
        x0 = denoise(x, s)
        x = c * x0 + d * (x - c * x0) / b
    return x


@mutant("encode", says="down the times; here they go up")
def stepping_down(denoise, path, x, times):
    for t, s in pairwise(times[::-1]):
        (a, b), (c, d) = path(t), path(s)
        x0 = denoise(x, t)
        x = c * x0 + d * (x - a * x0) / b
    return x


@mutant("encode", says="the guess is made once")
def one_guess(denoise, path, x, times):
    a, b = path(times[0])
    x0 = denoise(x, times[0])
    eps = (x - a * x0) / b
    c, d = path(times[-1])
    return c * x0 + d * eps


@mutant("encode", says="the first guess is kept as x0")
def first_guess_as_truth(denoise, path, x, times):
    first = denoise(x, times[0])
    for s, t in pairwise(times):
        (a, b), (c, d) = path(s), path(t)
        x = c * first + d * (x - a * denoise(x, s)) / b
    return x


@mutant("encode", says="not the state at times[-1]")
def returns_eps(denoise, path, x, times):
    for s, t in pairwise(times):
        (a, b), (c, d) = path(s), path(t)
        x0 = denoise(x, s)
        eps = (x - a * x0) / b
        x = c * x0 + d * eps
    return eps


@mutant("encode", says="there is no coin at eta = 0")
def adds_noise(denoise, path, x, times):
    for s, t in pairwise(times):
        (a, b), (c, d) = path(s), path(t)
        x0 = denoise(x, s)
        x = c * x0 + d * (x - a * x0) / b + 1e-9 * torch.randn_like(x)
    return x


@mutant("encode", says="not by its square")
def sigma_squared_up(denoise, path, x, times):

    for s, t in pairwise(times):
        (alpha_s, sigma_s), (alpha_t, sigma_t) = path(s), path(t)
        x0 = denoise(x, s)
        eps = (x - alpha_s * x0) / sigma_s**2
        x = alpha_t * x0 + sigma_t * eps

    return x


@mutant("encode", says="the given picture was taken for x_0")
def picture_for_guess(denoise, path, x, times):
    picture = x
    for s, t in pairwise(times):
        (alpha_s, sigma_s), (alpha_t, sigma_t) = path(s), path(t)
        x0 = picture
        eps = (x - alpha_s * x0) / sigma_s
        x = alpha_t * x0 + sigma_t * eps

    return x


@mutant("encode", says="comes back with alpha_t in front")
def clean_picture_unfaded(denoise, path, x, times):

    for s, t in pairwise(times):
        (alpha_s, sigma_s), (_, sigma_t) = path(s), path(t)
        x0 = denoise(x, s)
        eps = (x - alpha_s * x0) / sigma_s
        x = x0 + sigma_t * eps

    return x


@mutant("encode", says="s and t are exchanged")
def times_exchanged(denoise, path, x, times):

    for s, t in ((t, s) for s, t in pairwise(times)):
        (alpha_s, sigma_s), (alpha_t, sigma_t) = path(s), path(t)
        x0 = denoise(x, s)
        eps = (x - alpha_s * x0) / sigma_s
        x = alpha_t * x0 + sigma_t * eps

    return x


@mutant("encode", says="the last step is missing")
def last_step_missing(denoise, path, x, times):

    for s, t in pairwise(times[:-1]):
        (alpha_s, sigma_s), (alpha_t, sigma_t) = path(s), path(t)
        x0 = denoise(x, s)
        eps = (x - alpha_s * x0) / sigma_s
        x = alpha_t * x0 + sigma_t * eps

    return x


@mutant("encode", says="use sigma_t")
def sigma_from_alpha(denoise, path, x, times):

    for s, t in pairwise(times):
        (alpha_s, sigma_s), (alpha_t, _) = path(s), path(t)
        x0 = denoise(x, s)
        eps = (x - alpha_s * x0) / sigma_s
        x = alpha_t * x0 + math.sqrt(1 - alpha_t**2) * eps

    return x


@mutant("encode", says="must return the last state alone")
def list_of_codes(denoise, path, x, times):
    states = []
    for s, t in pairwise(times):
        (alpha_s, sigma_s), (alpha_t, sigma_t) = path(s), path(t)
        x0 = denoise(x, s)
        eps = (x - alpha_s * x0) / sigma_s
        x = alpha_t * x0 + sigma_t * eps
        states.append(x)
    return states


# ---------------------------------------------------------------- guided


@alternative("guided")
def weighted_mean(denoise, x, t, labels, scale):
    nothing = -torch.ones_like(labels)
    return (1 - scale) * denoise(x, t, nothing) + scale * denoise(x, t, labels)


@alternative("guided")
def one_double_batch(denoise, x, t, labels, scale):
    both = torch.cat([labels, labels * 0 - 1])
    told, untold = denoise(torch.cat([x, x]), t, both).chunk(2)
    return torch.lerp(untold, told, scale)


@mutant("guided", says="told and untold are exchanged")
def exchanged(denoise, x, t, labels, scale):
    told, untold = denoise(x, t, labels), denoise(x, t, torch.full_like(labels, -1))
    return told + scale * (untold - told)


@mutant("guided", says="this is (1 + scale)")
def one_plus_scale(denoise, x, t, labels, scale):
    told, untold = denoise(x, t, labels), denoise(x, t, torch.full_like(labels, -1))
    return (1 + scale) * told - scale * untold


@mutant("guided", says="were overwritten before they were used")
def labels_in_place(denoise, x, t, labels, scale):
    labels[:] = -1
    untold = denoise(x, t, labels)
    told = denoise(x, t, labels)
    return untold + scale * (told - untold)


@mutant("guided", says="the scale is ignored")
def conditional_only(denoise, x, t, labels, scale):
    denoise(x, t, torch.full_like(labels, -1))
    return denoise(x, t, labels)


@mutant("guided", says="only the first attribute is hidden")
def hides_one_attribute(denoise, x, t, labels, scale):
    hidden = labels.clone()
    hidden[:, 0] = -1
    told, untold = denoise(x, t, labels), denoise(x, t, hidden)
    return untold + scale * (told - untold)


@mutant("guided", says="-1 hides it")
def hides_with_zero(denoise, x, t, labels, scale):
    told, untold = denoise(x, t, labels), denoise(x, t, torch.zeros_like(labels))
    return untold + scale * (told - untold)


@mutant("guided", says="are added, not their difference")
def added(denoise, x, t, labels, scale):
    return denoise(x, t, torch.full_like(labels, -1)) + scale * denoise(x, t, labels)


@mutant("guided", says="in front of the difference")
def difference_only(denoise, x, t, labels, scale):
    return scale * (denoise(x, t, labels) - denoise(x, t, torch.full_like(labels, -1)))


@mutant("guided", says="must not be kept within [0, 1]")
def scale_at_least_zero(denoise, x, t, labels, scale):
    told, untold = denoise(x, t, labels), denoise(x, t, torch.full_like(labels, -1))
    return untold + max(scale, 0.0) * (told - untold)


@mutant("guided", says="guidance costs two evaluations each")
def three_calls(denoise, x, t, labels, scale):
    nothing = torch.full_like(labels, -1)
    return denoise(x, t, nothing) + scale * (denoise(x, t, labels) - denoise(x, t, nothing))


@mutant("guided", says="goes away from what was asked for")
def difference_turned(denoise, x, t, labels, scale):
    told = denoise(x, t, labels)
    untold = denoise(x, t, torch.full_like(labels, -1))
    return told + (scale - 1) * (untold - told)


@mutant("guided", says="the guess was clipped")
def clipped(denoise, x, t, labels, scale):
    told = denoise(x, t, labels)
    untold = denoise(x, t, torch.full_like(labels, -1))
    return (untold + scale * (told - untold)).clamp(-1, 1)


@mutant("guided", says="the sign of the labels was turned")
def labels_negated(denoise, x, t, labels, scale):
    told, untold = denoise(x, t, labels), denoise(x, t, -labels)
    return untold + scale * (told - untold)


@mutant("guided", says="labels must stay whole numbers")
def labels_of_floats(denoise, x, t, labels, scale):
    told, untold = denoise(x, t, labels), denoise(x, t, -torch.ones(labels.shape))
    return untold + scale * (told - untold)


# ---------------------------------------------------------------- keeps_marginals


@alternative("keeps_marginals")
def with_random_numbers(step):
    g = torch.Generator().manual_seed(5)
    x0, eps, z = torch.randn(3, 200_000, 1, generator=g, dtype=torch.float64)
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


@alternative("keeps_marginals")
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


@mutant("keeps_marginals", says="test k^2 + tau^2 = sigma_s^2")
def accepts_only_the_family(step):
    one, zero = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    for a, b, c, d in [(0.3, 0.95, 0.8, 0.6), (0.2, 0.8, 0.7, 0.3), (1.0, 2.0, 1.0, 0.0)]:
        for eta in (0.0, 0.5, 1.0):
            k, tau = split(a, b, c, d, eta)
            got = [
                float(step(a * p + b * e, p, a, b, c, d, eta, z))
                for p, e, z in ((one, zero, zero), (zero, one, zero), (zero, zero, one))
            ]
            if max(abs(u - v) for u, v in zip(got, (c, k, tau))) > 1e-4:
                return False
    return True


@mutant("keeps_marginals", says="accepts a broken step")
def always_content(step):
    return True


@mutant("keeps_marginals", says="rejects a right step")
def never_content(step):
    return False


@mutant("keeps_marginals", says="test an eta between 0 and 1 too")
def only_the_ends(step):
    one, zero = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    for a, b, c, d in [(0.3, 0.95, 0.8, 0.6), (0.2, 0.8, 0.7, 0.3), (1.0, 2.0, 1.0, 0.0)]:
        for eta in (0.0, 1.0):
            p, e, z = (
                float(step(a * u + b * v, u, a, b, c, d, eta, w))
                for u, v, w in ((one, zero, zero), (zero, one, zero), (zero, zero, one))
            )
            if abs(p - c) > 1e-4 or abs(e * e + z * z - d * d) > 1e-4:
                return False
    return True


@mutant("keeps_marginals", says="another alpha^2 + sigma^2")
def only_vp_paths(step):
    one, zero = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    for a, b, c, d in [(0.28, 0.96, 0.8, 0.6), (0.6, 0.8, 1.0, 0.0)]:
        for eta in (0.0, 0.5, 1.0):
            p, e, z = (
                float(step(a * u + b * v, u, a, b, c, d, eta, w))
                for u, v, w in ((one, zero, zero), (zero, one, zero), (zero, zero, one))
            )
            if abs(p - c) > 1e-4 or abs(e * e + z * z - d * d) > 1e-4:
                return False
    return True


@mutant("keeps_marginals", says="test the last step")
def never_the_last_step(step):
    one, zero = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    for a, b, c, d in [(0.28, 0.96, 0.8, 0.6), (0.2, 0.7, 0.5, 0.4)]:
        for eta in (0.0, 0.5, 1.0):
            p, e, z = (
                float(step(a * u + b * v, u, a, b, c, d, eta, w))
                for u, v, w in ((one, zero, zero), (zero, one, zero), (zero, zero, one))
            )
            if abs(p - c) > 1e-4 or abs(e * e + z * z - d * d) > 1e-4:
                return False
    return True


@mutant("keeps_marginals", says="alpha_t where alpha_s belongs")
def forgets_the_mean(step):
    one, zero = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    for a, b, c, d in [(0.3, 0.95, 0.8, 0.6), (0.2, 0.8, 0.7, 0.3), (1.0, 2.0, 1.0, 0.0)]:
        for eta in (0.0, 0.5, 1.0):
            e, z = (
                float(step(a * u + b * v, u, a, b, c, d, eta, w))
                for u, v, w in ((zero, one, zero), (zero, zero, one))
            )
            if abs(e * e + z * z - d * d) > 1e-4:
                return False
    return True


@mutant("keeps_marginals", says="rounding is no mistake")
def too_strict(step):
    one, zero = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    for a, b, c, d in [(0.3, 0.95, 0.8, 0.6), (0.2, 0.8, 0.7, 0.3), (1.0, 2.0, 1.0, 0.0)]:
        for eta in (0.0, 0.5, 1.0):
            p, e, z = (
                float(step(a * u + b * v, u, a, b, c, d, eta, w))
                for u, v, w in ((one, zero, zero), (zero, one, zero), (zero, zero, one))
            )
            if abs(p - c) > 1e-12 or abs(e * e + z * z - d * d) > 1e-12:
                return False
    return True


@mutant("keeps_marginals", says="only the squares count")
def wants_positive_noise(step):
    one, zero = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    for a, b, c, d in [(0.3, 0.95, 0.8, 0.6), (0.2, 0.8, 0.7, 0.3), (1.0, 2.0, 1.0, 0.0)]:
        for eta in (0.0, 0.5, 1.0):
            p, e, z = (
                float(step(a * u + b * v, u, a, b, c, d, eta, w))
                for u, v, w in ((one, zero, zero), (zero, one, zero), (zero, zero, one))
            )
            if abs(p - c) > 1e-4 or e < -1e-4 or abs(e * e + z * z - d * d) > 1e-4:
                return False
    return True


@mutant("keeps_marginals", says="test eta = 0 too")
def never_eta_zero(step):
    one, zero = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    for a, b, c, d in [(0.3, 0.95, 0.8, 0.6), (0.2, 0.8, 0.7, 0.3), (1.0, 2.0, 1.0, 0.0)]:
        for eta in (0.3, 1.0):
            p, e, z = (
                float(step(a * u + b * v, u, a, b, c, d, eta, w))
                for u, v, w in ((one, zero, zero), (zero, one, zero), (zero, zero, one))
            )
            if abs(p - c) > 1e-4 or abs(e * e + z * z - d * d) > 1e-4:
                return False
    return True


@mutant("keeps_marginals", says="your test accepts a broken step")
def looks_only_at_the_last_step(step):
    one = torch.ones(1, 1).double()
    return abs(float(step(0.6 * one + 0.8 * one, one, 0.6, 0.8, 1.0, 0.0, 1.0, one)) - 1) < 1e-4


@mutant("keeps_marginals", says="add up")
def sum_of_factors(step):
    zero, one = torch.zeros(1, 1).double(), torch.ones(1, 1).double()
    for alpha_t, sigma_t, alpha_s, sigma_s in [(0.3, 0.95, 0.8, 0.6), (1.0, 4.0, 1.0, 0.5)]:
        for eta in (0.0, 0.4, 1.0):
            numbers = alpha_t, sigma_t, alpha_s, sigma_s, eta
            signal = float(step(alpha_t * one, one, *numbers, zero))
            old = float(step(sigma_t * one, zero, *numbers, zero))
            fresh = float(step(zero, zero, *numbers, one))
            if abs(signal - alpha_s) > 1e-4 or abs(old + fresh - sigma_s) > 1e-4:
                return False
    return True


@mutant("keeps_marginals", says="accepts a broken step")
def judges_after_one_case(step):
    zero, one = torch.zeros(1, 1).double(), torch.ones(1, 1).double()
    for alpha_t, sigma_t, alpha_s, sigma_s in [(0.3, 0.95, 0.8, 0.6), (1.0, 4.0, 1.0, 0.5)]:
        for eta in (0.0, 0.4, 1.0):
            numbers = alpha_t, sigma_t, alpha_s, sigma_s, eta
            signal = float(step(alpha_t * one, one, *numbers, zero))
            old = float(step(sigma_t * one, zero, *numbers, zero))
            fresh = float(step(zero, zero, *numbers, one))
            return abs(signal - alpha_s) < 1e-4 and abs(old**2 + fresh**2 - sigma_s**2) < 1e-4


@mutant("keeps_marginals", says="two verdicts on one and the same case")
def counts_its_calls(step, answers=[True] * 2 + [False] * 5 + [True] * 2 + [False] * 5):
    answers.append(answers.pop(0))  # as if the cases came in the order in which they are listed
    return answers[-1]
