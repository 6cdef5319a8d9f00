"""Chapter 11: the cases of each exercise, and the truth of each."""

import math

import torch

from autograde.authoring import Exercise, recipe
from coursekit.checks import Wrong

F64 = torch.float64


def vp(t):
    return math.cos(math.pi / 2 * t), math.sin(math.pi / 2 * t)


def straight(t):
    return 1 - t, t


def ve(t):
    return 1.0, t


PATHS = {"VP": vp, "straight": straight, "VE": ve}


def bent(x, t):
    """No network, but as good for a test: bent, with entries that depend on each other, at any time or level."""
    return (
        1.3 * torch.tanh(1.2 * x) * (1 - 0.4 * t / (1 + t)) + 0.3 * x.flip(-1) / (1 + t) + 0.2 * t
    )


def gauss(*shape, seed, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def kind_of(shape):
    return "points" if len(shape) == 2 else "pictures"


# ---------------------------------------------------------------- two_unknowns


def both(answer, x, prediction, a, b, alpha, sigma):
    got = answer(x, prediction, a, b, alpha, sigma)
    if not isinstance(got, (tuple, list, torch.Tensor)) or len(got) != 2:
        name = type(got).__name__
        raise Wrong(f"the two (x_0, eps) must come back, not {name}")
    return {"x_0": got[0], "eps": got[1]}


def by_matrices(x, prediction, a, b, alpha, sigma):
    """Sample by sample, as a 2 x 2 system."""
    pairs = []
    for k in range(len(x)):
        matrix = torch.stack([torch.stack([alpha[k], sigma[k]]), torch.stack([a[k], b[k]])])
        right = torch.stack([x[k].flatten(), prediction[k].flatten()])
        pairs.append(torch.linalg.solve(matrix, right))
    return tuple(torch.stack([p[i] for p in pairs]).reshape(x.shape) for i in (0, 1))


two_unknowns = Exercise(truth=by_matrices, view=both, gradient=["x", "prediction"])


def question(name, path, times, *shape, hidden=False, text=""):
    t = torch.tensor(times, dtype=F64)
    alpha, sigma = (torch.tensor(v, dtype=F64) for v in zip(*(PATHS[path](u) for u in times)))
    one, zero, s = torch.ones_like(t), torch.zeros_like(t), 0.7
    std = ((s * alpha) ** 2 + sigma**2).sqrt()
    asked = {
        "the noise": (zero, one),
        "the clean data": (one, zero),
        "v": (-sigma, alpha),
        "the velocity of the straight path": (-one, one),
        "the score": (zero, -1 / sigma),
        "F of EDM": (sigma / (s * std), -s * alpha / std),
        "another question for each sample": (gauss(len(t), seed=3), gauss(len(t), seed=4)),
    }
    seed = 10 * len(two_unknowns.cases)
    shape = (len(times), *shape)
    return two_unknowns.case(
        f"{name}, {path} path, {kind_of(shape)} {shape}{text}",
        (gauss(*shape, seed=seed + 1), gauss(*shape, seed=seed + 2), *asked[name], alpha, sigma),
        hidden=hidden,
        question=name,
        path=path,
        samples=kind_of(shape),
        samples_as_many_as_numbers=len(times) == shape[-1],
    )


question("the velocity of the straight path", "straight", [0.1, 0.35, 0.8], 2)
question("another question for each sample", "VP", [0.3, 0.6, 0.85], 3)
POINTS = question("F of EDM", "VE", [0.2, 1.3], 3)
question("the noise", "VP", [0.7, 0.25], 1, 3, 2)
question("v", "straight", [0.15, 0.6, 0.4], 2, 2, 1)
question("the score", "VP", [0.7, 0.2, 0.45, 0.9, 0.05], 2, 3, 5, hidden=True)
question("the clean data", "straight", [0.3, 0.8, 0.6, 0.1], 4, hidden=True)
question("another question for each sample", "VE", [2.0], 6, hidden=True)
question("another question for each sample", "straight", [0.2, 0.7], 3, 4, 4, hidden=True)
two_unknowns.again(POINTS, torch.float32)

# ---------------------------------------------------------------- borrow


def guessed(answer, denoise, source, time_at, x, alpha, sigma):
    lent = lambda x, t: denoise(x, float(t))
    return {"the guess": answer(lent, source, time_at, x, alpha, sigma)}


def lender(source, x, alpha, sigma):
    clocks = {
        "VP": lambda u: 2 / math.pi * math.atan(u),
        "straight": lambda u: u / (1 + u),
        "VE": lambda u: u,
    }
    return bent, PATHS[source], clocks[source], x, alpha, sigma


def by_bisection(denoise, source, time_at, x, alpha, sigma):
    """Where the source has the wanted ratio of sigma and alpha: the time by halving, the scale by the sigmas."""
    low, high = 0.0, 1.0 if source(1.0)[0] < 0.5 else 1e4
    for _ in range(200):
        middle = (low + high) / 2
        a, b = source(middle)
        low, high = (middle, high) if b * alpha < sigma * a else (low, middle)
    return denoise(x / sigma * source(low)[1], low)


borrow = Exercise(
    truth=by_bisection, view=guessed, gradient=["x"], show=False, atol=1e-5, rtol=1e-5
)


def asks(source, alpha, sigma, *shape, hidden=False, dtype=F64):
    seed = 100 + len(borrow.cases)
    borrow.case(
        f"a network of the {source} path, x of shape {shape} at alpha = {alpha:.3g}, sigma = {sigma:.3g}",
        recipe(
            lender, source=source, x=gauss(*shape, seed=seed, dtype=dtype), alpha=alpha, sigma=sigma
        ),
        hidden=hidden,
        room=1.0 if dtype == F64 else 10.0,
        source=source,
        alpha=alpha,
        noise_level=sigma / alpha,
        samples=kind_of(shape),
        dtype=str(dtype)[6:],
    )


asks("VP", 0.7, 0.3, 3, 2)
asks("VP", 1.0, 3.0, 2, 3)
asks("straight", *vp(0.25), 2, 2)
asks("straight", 1.0, 1.7, 2, 1, 3)
asks("VE", 2.5, 0.4, 3, 2)
asks("VP", 0.1, 0.9, 4, 3, hidden=True)
asks("straight", 0.3, 2.0, 3, 2, 4, 5, hidden=True)
asks("VE", *vp(0.6), 1, 4, hidden=True)
asks("VE", *straight(0.1), 5, 2, hidden=True, dtype=torch.float32)
asks("VP", 3.0, 0.06, 4, 2, hidden=True)

# ---------------------------------------------------------------- preconditioning


def four(answer, level, data_std):
    got = answer(level, data_std)
    if not isinstance(got, (tuple, list, torch.Tensor)) or len(got) != 4:
        raise Wrong("the four (c_skip, c_out, c_in, c_noise) must come back")
    return dict(zip(("c_skip", "c_out", "c_in", "c_noise"), got))


def by_least_squares(level, data_std):
    """Data +-s and noise +-u, each with probability one half: x_0 regressed on x over four cases, and what is left."""
    x0 = data_std * torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=level.dtype)
    x = x0 + level[:, None] * torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=level.dtype)
    c_skip = (x0 * x).mean(1) / (x * x).mean(1)
    left = (x0 - c_skip[:, None] * x).square().mean(1).sqrt()
    return c_skip, left, 1 / x.square().mean(1).sqrt(), level.log2() * math.log(2) / 4


preconditioning = Exercise(truth=by_least_squares, view=four, gradient=["level"])


def wrapped(levels, data_std, hidden=False):
    return preconditioning.case(
        f"levels {', '.join(f'{u:g}' for u in levels)}; data_std = {data_std:g}",
        (torch.tensor(levels, dtype=F64), data_std),
        hidden=hidden,
        data_std=data_std,
    )


LEVELS = wrapped([0.02, 0.11, 0.5, 2.3, 80.0], 0.5)
wrapped([0.03, 0.7, 1.9, 11.0], 1.3)
wrapped([3.0], 0.21)
wrapped([0.4, 7.0], 2.0, hidden=True)
wrapped([0.002, 300.0, 0.5], 0.5, hidden=True)
wrapped([1.0, 0.25, 6.0], 1, hidden=True)
preconditioning.again(LEVELS, torch.float32)

# ---------------------------------------------------------------- edm_loss


def losses(answer, denoise, x0, level, eps, data_std):
    asked = []

    def watched(x, u):
        asked.append(u)
        return denoise(x, u)

    return {
        "the losses": answer(watched, x0, level, eps, data_std),
        "calls of the denoiser": len(asked),
    }


def no_good_network(x0, level, eps, data_std):
    wide = lambda u, x: torch.as_tensor(u, dtype=x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    return (lambda x, u: bent(x, wide(u, x))), x0, level, eps, data_std


def sample_by_sample(denoise, x0, level, eps, data_std):
    """1 / c_out^2 is 1 / s^2 + 1 / u^2: the precisions of data and noise."""
    noisy = torch.stack([x + u * e for x, u, e in zip(x0, level, eps)])
    guess = denoise(noisy, level)
    total = []
    for k in range(len(x0)):
        gap = (guess[k] - x0[k]).flatten()
        total.append((gap @ gap) * (level[k] ** -2 + float(data_std) ** -2))
    return torch.stack(total)


edm_loss = Exercise(truth=sample_by_sample, view=losses, gradient=["x0"], show=False)


def fresh(levels, *shape, data_std, hidden=False, dtype=F64):
    seed, shape = 200 + 10 * len(edm_loss.cases), (len(levels), *shape)
    edm_loss.case(
        f"{kind_of(shape)} {shape}, levels {', '.join(f'{u:g}' for u in levels)}; data_std = {data_std:g}",
        recipe(
            no_good_network,
            x0=gauss(*shape, seed=seed + 1, dtype=dtype),
            level=torch.tensor(levels, dtype=dtype),
            eps=gauss(*shape, seed=seed + 2, dtype=dtype),
            data_std=data_std,
        ),
        hidden=hidden,
        room=1.0 if dtype == F64 else 3e4,
        samples=kind_of(shape),
        samples_as_many_as_numbers=len(levels) == shape[-1],
        data_std=data_std,
        dtype=str(dtype)[6:],
    )


fresh([0.3, 1.4], 3, data_std=0.7)
fresh([0.2, 0.9, 3.0], 3, data_std=0.5)
fresh([0.6, 0.07, 2.0], 2, 1, 2, data_std=1.3)
fresh([0.002, 80.0, 0.5, 6.0], 2, data_std=0.4, hidden=True)
fresh([1.7], 5, data_std=0.21, hidden=True)
fresh([0.3, 0.8], 3, 4, 4, data_std=1, hidden=True)
fresh([0.3, 0.8, 0.1], 4, data_std=0.5, hidden=True, dtype=torch.float32)

# ---------------------------------------------------------------- trained_where


def by_two_levels(weight, density, alpha, sigma, alpha_slope, sigma_slope):
    """How far ln u moves when the point moves a little along the tangent, by arctanh: ln(u2/u1) = 2 arctanh(d/(u1+u2))."""
    h = 1e-5 / (alpha_slope.abs() / alpha + sigma_slope.abs() / sigma)
    before = (sigma - h * sigma_slope) / (alpha - h * alpha_slope)
    after = (sigma + h * sigma_slope) / (alpha + h * alpha_slope)
    moved = 2 * torch.atanh((after - before) / (after + before))
    return weight * density * 2 * h / moved


trained_where = Exercise(truth=by_two_levels, gradient=["weight", "density"], atol=1e-10, rtol=1e-8)


def other(t):
    """A path with another scale and another clock, on which alpha grows."""
    return 1 + 0.5 * t * t, 0.3 * t + t**3


def drawn(name, path, times, seed, hidden=False):
    t = torch.tensor(times, dtype=F64)
    h = 1e-5
    values = [torch.tensor([path(v + d) for v in times], dtype=F64).T for d in (-h, 0.0, h)]
    slopes = (values[2] - values[0]) / (2 * h)
    weight, density = gauss(len(t), seed=seed).abs() + 0.2, gauss(len(t), seed=seed + 1).abs() + 0.1
    return trained_where.case(
        f"the {name} path at t = {', '.join(f'{v:g}' for v in times)}",
        (weight, density, *values[1], *slopes),
        hidden=hidden,
        path=name,
        alpha_changes=name != "VE",
        sigma_changes_at_rate_one=name in ("VE", "straight"),
    )


drawn("VE", ve, [0.3, 2.0, 11.0], 410)
AT_STRAIGHT = drawn("straight", straight, [0.1, 0.35, 0.8], 420)
drawn("VP", vp, [0.15, 0.4, 0.7, 0.9], 430)
drawn("growing", other, [0.4, 0.7, 1.3], 440)
drawn("VP", vp, [0.05, 0.55], 450, hidden=True)
drawn("straight", straight, [0.02, 0.5, 0.9, 0.97], 460, hidden=True)
drawn("VE", ve, [0.002, 80.0], 470, hidden=True)
drawn("growing", other, [0.2, 0.9, 1.6, 0.05], 480, hidden=True)

# ---------------------------------------------------------------- heun_step


def stepped(answer, denoise, path, x, t, s):
    asked = []

    def watched(x, t):
        asked.append(float(t))
        return denoise(x, float(t))

    return {
        "the new x": answer(watched, path, x, t, s),
        "times at which the denoiser is asked": asked,
    }


def place(path, x, t, s):
    return bent, PATHS[path], x, t, s


def half_way_to_two_steps(denoise, path, x, t, s):
    """Two of Euler's steps with the same increments, and the middle of start and end."""
    (a, b), (c, d) = path(t), path(s)
    y = x
    for time, at in ((t, (a, b)), (s, (c, d)))[: 1 if d == 0 else 2]:
        guess = denoise(y, time)
        y = y + (c - a) * guess + (d - b) / at[1] * (y - at[0] * guess)
    return y if d == 0 else (x + y) / 2


heun_step = Exercise(truth=half_way_to_two_steps, view=stepped, gradient=["x"], show=False)


def one_step(path, t, s, *shape, hidden=False, dtype=F64):
    x = 1.3 * gauss(*shape, seed=300 + len(heun_step.cases), dtype=dtype)
    heun_step.case(
        f"{path} path, from t = {t:g} to {s:g}, {kind_of(shape)} {shape}",
        recipe(place, path=path, x=x, t=t, s=s),
        hidden=hidden,
        room=1.0 if dtype == F64 else 3e4,
        path=path,
        alpha_changes=path != "VE",
        sigma_s=PATHS[path](s)[1],
        dtype=str(dtype)[6:],
    )


one_step("VE", 1.1, 0.6, 3, 2)
one_step("VP", 0.7, 0.45, 2, 3)
one_step("straight", 0.8, 0.5, 2, 1, 3)
one_step("VE", 0.4, 0.0, 2, 3)
one_step("VP", 0.3, 0.0, 2, 2)
one_step("straight", 0.15, 0.04, 2, 4)
one_step("straight", 0.2, 0.01, 4, 2, hidden=True)
one_step("VE", 0.3, 0.05, 1, 5, hidden=True)
one_step("VE", 80.0, 50.0, 3, 2, hidden=True)
one_step("VP", 0.2, 0.002, 2, 3, 4, 4, hidden=True)
one_step("straight", 0.6, 0.0, 3, 2, 2, hidden=True)
one_step("straight", 0.6, 0.5, 3, 2, hidden=True, dtype=torch.float32)

# ---------------------------------------------------------------- is_second_order


def sampler_of(rule, data_std, fault="none", size=0.0):
    """A sampler of N(0, data_std^2): stages of a rule for dx/du = x u / (s^2 + u^2), and perhaps a fault.

    rule: rows of (weight of this slope in the step, [how far along each slope before], how far in u).
    """
    s = data_std * (size if fault == "another width" else 1.0)
    slope = lambda x, u: x * u / (s * s + u * u)
    draw = torch.Generator().manual_seed(5)

    def move(x, u, h):
        if fault == "variances":
            return x * (s * s + (u + h) ** 2) / (s * s + u * u) * (1 + 0.05 * abs(h) ** 3)
        seen = []
        for _, along, at in rule:
            point = x + h * sum(w * k for w, k in zip(along, seen))
            seen.append(
                slope(point[:1].expand_as(point) if fault == "first point" else point, u + at * h)
            )
        return x + h * sum(w * k for (w, _, _), k in zip(rule, seen))

    def solve(x, levels):
        levels = [float(u) for u in levels]
        for u, v in zip(levels, levels[1:]):
            parts = int(size) if fault == "small steps" else 1
            for k in range(parts):
                h = (v - u) / parts
                x = move(x, u + k * h, -h if fault == "backwards" else h)
            if v == 0 and fault == "not a number at 0":
                x = x * math.nan
            if v == 0 and fault == "infinite at 0":
                x = x / torch.zeros_like(x)
        if fault == "too large":
            x = x * (1 + size)
        if fault == "shifted":
            x = x + size
        if fault == "noise":
            x = x + size * torch.randn(x.shape, generator=draw, dtype=x.dtype)
        return x

    return solve, data_std


HEUN = [(0.5, [], 0.0), (0.5, [1.0], 1.0)]
MIDPOINT = [(0.0, [], 0.0), (1.0, [0.5], 0.5)]
RALSTON = [(0.25, [], 0.0), (0.75, [2 / 3], 2 / 3)]
KUTTA = [(1 / 6, [], 0.0), (1 / 3, [0.5], 0.5), (1 / 3, [0, 0.5], 0.5), (1 / 6, [0, 0, 1.0], 1.0)]
EULER = [(1.0, [], 0.0)]
OLD_LEVEL = [(0.5, [], 0.0), (0.5, [1.0], 0.0)]
OLD_POINT = [(0.5, [], 0.0), (0.5, [0.0], 1.0)]
UNEQUAL = [(0.4, [], 0.0), (0.6, [1.0], 1.0)]

is_second_order = Exercise(verdict="sampler", show=False)


def judged(text, rule, fact, order=0, fault="none", size=0.0, data_std=0.5, hidden=False):
    want = order >= 2 and fault == "none"
    is_second_order.case(
        text,
        recipe(sampler_of, rule=[list(r) for r in rule], data_std=data_std, fault=fault, size=size),
        want=want,
        hidden=hidden,
        fact=fact,
        order=order,
        data_std=data_std,
        what_is_wrong="nothing"
        if want
        else "the order"
        if fault in ("none", "small steps")
        else "the limit"
        if fault in ("another width", "variances", "too large", "shifted", "backwards", "nothing")
        else "what becomes of 0"
        if "0" in fault
        else "points that are not the first"
        if fault == "first point"
        else "chance",
    )


HALF = "twice the steps make its error half as large, no better: order 1"
judged("Heun", HEUN, "twice the steps make its error a quarter", 2)
judged("the midpoint rule", MIDPOINT, "order 2 or better: on this flow it has 3", 3)
judged("Ralston's rule", RALSTON, "twice the steps make its error a quarter", 2)
judged("Runge and Kutta's rule", KUTTA, "order 2 or better: it has 4", 4)
judged("Heun, data_std = 1.1", HEUN, "twice the steps make its error a quarter", 2, data_std=1.1)
judged("Euler", EULER, HALF, 1)
judged("Euler with 40 small steps in each", EULER, HALF, 1, "small steps", 40)
judged("Heun with the second slope at the old level", OLD_LEVEL, HALF, 1)
judged("Heun with the second slope at the old point", OLD_POINT, HALF, 1)
judged("the two slopes weighed 0.4 and 0.6", UNEQUAL, HALF, 1)
judged("Heun for another data_std", HEUN, "it converges, but not to (18)", 2, "another width", 0.83)
judged(
    "Heun whose end is 2 % too large", HEUN, "it converges, but not to (18)", 2, "too large", 0.02
)
judged(
    "the ratio of the variances, not of the widths",
    HEUN,
    "it converges, but not to (18)",
    2,
    "variances",
)
judged("Heun, backwards", HEUN, "it goes up where it should go down", 2, "backwards")
judged("does nothing", [(0.0, [], 0.0)], "the points stay where they are", 0, "nothing")
judged(
    "Heun that divides by the level 0",
    HEUN,
    "on a grid that ends at 0 it gives nan",
    2,
    "not a number at 0",
)
judged(
    "Heun that moves every point by the first one's slope",
    HEUN,
    "it is right for a single point",
    2,
    "first point",
)
judged(
    "Heun that gives infinity at the level 0",
    HEUN,
    "on a grid that ends at 0 it gives infinity",
    2,
    "infinite at 0",
)
judged("the midpoint rule, data_std = 1.1", MIDPOINT, "order 2 or better", 3, data_std=1.1)
judged(
    "the midpoint rule, every point by the first one's slope",
    MIDPOINT,
    "it is right for a single point",
    3,
    "first point",
)
judged("Heun, 0.35", HEUN, "", 2, data_std=0.35, hidden=True)
judged("midpoint, 0.35", MIDPOINT, "", 3, data_std=0.35, hidden=True)
judged("Kutta, 0.35", KUTTA, "", 4, data_std=0.35, hidden=True)
judged("Ralston, 1.1", RALSTON, "", 2, data_std=1.1, hidden=True)
judged("Euler, 1.1", EULER, "", 1, data_std=1.1, hidden=True)
judged("old level, 0.35", OLD_LEVEL, "", 1, data_std=0.35, hidden=True)
judged("four small steps", EULER, "", 1, "small steps", 4, hidden=True)
judged("ten small steps", EULER, "", 1, "small steps", 10, data_std=0.35, hidden=True)
judged("another width, 0.35", HEUN, "", 2, "another width", 1.2, data_std=0.35, hidden=True)
judged("too small", HEUN, "", 2, "too large", -0.03, data_std=0.35, hidden=True)
judged("shifted", HEUN, "", 2, "shifted", 0.05, data_std=0.35, hidden=True)
judged("variances, 0.35", HEUN, "", 2, "variances", data_std=0.35, hidden=True)
judged("noise", HEUN, "", 2, "noise", 0.003, data_std=0.35, hidden=True)
judged("first point, 0.35", HEUN, "", 2, "first point", data_std=0.35, hidden=True)
judged("nan at 0", HEUN, "", 2, "not a number at 0", data_std=0.35, hidden=True)
judged("infinite, 1.1", HEUN, "", 2, "infinite at 0", data_std=1.1, hidden=True)
