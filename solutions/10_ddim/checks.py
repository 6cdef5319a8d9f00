"""Chapter 10: the cases of each exercise, and the truth of each."""

import math
from itertools import pairwise

import torch

from autograde.authoring import Exercise, recipe
from coursekit.checks import Wrong
from coursekit.checks.asking import gradient
from coursekit.views import noise
from genmodels import samplers, schedule

F64 = torch.float64


def circle(t):
    return math.cos(math.pi / 2 * t), math.sin(math.pi / 2 * t)


def straight(t):
    return 1 - t, t


def exploding(t):
    return 1.0, 5 * t


PATHS = {"circle": circle, "straight": straight, "alpha = 1": exploding}


def legs(path, t, s, eta):
    """(k, tau) from the covariance of x_s and x_t in the chain, by conditioning, and Pythagoras."""
    (a, b), (c, d) = path(t), path(s)
    joint = torch.tensor([[d * d, a / c * d * d], [a / c * d * d, b * b]], dtype=F64)
    tau = eta * float((joint[0, 0] - joint[0, 1] ** 2 / joint[1, 1]).clamp_min(0)) ** 0.5
    return math.sqrt(max(d * d - tau * tau, 0.0)), tau


# ---------------------------------------------------------------- split_noise


def two_numbers(answer, *args):
    got = answer(*args)
    if not (isinstance(got, (tuple, list)) or hasattr(got, "__len__")) or len(got) != 2:
        raise Wrong("two numbers must come back, (k, tau)")
    return {"k, the old noise": got[0], "tau, the fresh noise": got[1]}


def by_conditioning(alpha_t, sigma_t, alpha_s, sigma_s, eta):
    places = {1: (alpha_t, sigma_t), 0: (alpha_s, sigma_s)}
    return legs(places.get, 1, 0, eta)


split_noise = Exercise(truth=by_conditioning, view=two_numbers, atol=1e-7)


def one_step(text, before, after, eta, hidden=False, fact=""):
    size = before[0] ** 2 + before[1] ** 2, after[0] ** 2 + after[1] ** 2
    kept = all(abs(v - 1) < 1e-9 for v in size)
    split_noise.case(
        text,
        (*before, *after, eta),
        hidden=hidden,
        fact=fact,
        eta=eta,
        the_last_step=after[1] == 0,
        **{"alpha^2 + sigma^2 is 1": kept},
    )


for name, t, s, eta in [
    ("circle", 0.9, 0.3, 1.0),
    ("circle", 0.52, 0.5, 0.3),
    ("straight", 0.8, 0.35, 0.6),
    ("straight", 0.7, 0.5, 0.0),
    ("straight", 0.6, 0.25, 1.0),
]:
    one_step(
        f"{name} path, from t = {t:g} to {s:g}, eta = {eta:g}", PATHS[name](t), PATHS[name](s), eta
    )
one_step("from no signal, sigma from 0.83 to 0.45, eta = 1", (0.0, 0.83), (0.5, 0.45), 1.0)
for k, eta in enumerate((0.0, 0.6, 1.0)):
    one_step(f"to no noise, {eta}", circle(0.4), circle(0.0), eta, hidden=True)
    one_step(f"alpha = 1, {eta}", (1.0, 56.0), (1.0, 16.0), eta, hidden=True)
    noises = [(0.62, 0.31), (0.35, 0.22), (0.78, 0.8)][k]
    one_step(f"from no signal, {eta}", (0.0, noises[0]), (0.5, noises[1]), 1.0, hidden=True)
    one_step(f"a tiny step, {eta}", straight(0.5), straight(0.5 - 1e-6), eta, hidden=True)

# ---------------------------------------------------------------- generate


def any_guess(x, t):
    """No network, but as good for a test: bent, with entries that depend on each other."""
    return torch.tanh((1 + t) * x) * 1.6 + 0.4 * x.flip(-1) + t / 2


def walk(answer, denoise, path, x, times, eta, seed, c_x, c_0, tau):
    """Run the sampler; z = (x_s - the mean that the last state asks for) / tau."""
    asked, steps, rows = [], len(times) - 1, 0
    make = lambda s: torch.Generator().manual_seed(s)

    def watched(y, t):
        nonlocal rows
        rows += y.numel()
        if asked[-1:] != [float(t)]:
            asked.append(float(t))
        return denoise(y, min(max(float(t), 0.0), 1.0))

    def states(x, s, network=denoise):
        got = answer(network, path, x, list(times), eta, make(s))
        if isinstance(got, (list, tuple)):
            if len(got) != steps:
                raise Wrong(
                    f"{len(got)} states came back for {len(times)} times; {steps} are asked, one after each step"
                )
            if not all(isinstance(v, torch.Tensor) and v.shape == x.shape for v in got):
                raise Wrong("the states do not all have the shape of x")
            got = torch.stack(list(got))
        if not isinstance(got, torch.Tensor):
            raise Wrong(
                f"a {type(got).__name__} came back; a list of the states after each step is asked"
            )
        if got.shape != (steps, *x.shape):
            raise Wrong(f"the shape is {tuple(got.shape)}, not {(steps, *x.shape)}")
        return got

    got = states(x, seed, watched)
    found = {
        "times at which the network is asked": asked[:],
        "questions to the network for each sample": rows / x.numel(),
    }
    few = x[:50]
    one, same, other = (states(few, s) for s in (1, 1, 2))
    found["two runs with equal generators differ"] = int(not torch.equal(one, same))
    found["two runs with different generators differ"] = int(not torch.equal(one, other))
    found["states of another dtype than x"] = int(got.dtype != x.dtype)
    if eta == 0:
        leaf = x.clone().requires_grad_()
        return {
            "the states": got,
            "gradient in x": gradient(states(leaf * 1.0, seed), leaf),
        } | found
    before = torch.stack([x, *got[:-1]])
    mean = torch.stack(
        [p * y + q * denoise(y, t) for p, q, y, t in zip(c_x, c_0, before, times[:-1])]
    )
    fresh = torch.tensor(tau) > 0
    if not fresh.all():
        found["last state, minus the one that alpha_s x0 + k eps gives"] = (got - mean)[-1]
    if not fresh.any():
        return found
    rows = [f"the step from {t:g} to {s:g}" for t, s in zip(times, times[1:])]
    rows = [name for name, on in zip(rows, fresh.tolist()) if on]
    size = torch.tensor(tau, dtype=x.dtype)[fresh].reshape(-1, *[1] * x.ndim)
    return found | noise.looked_at((got - mean)[fresh] / size, before[fresh], rows)


def world(path, shape, times, eta, seed, c_x, c_0, tau, dtype):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 1), dtype=dtype)
    return any_guess, PATHS[path], x, times, eta, seed, c_x, c_0, tau


def by_legs(denoise, path, x, times, eta, generator):
    """In the coordinates x / alpha, where the kept noise only changes its size."""
    states = []
    for t, s in pairwise(times):
        (a, b), (c, _) = path(t), path(s)
        k, tau = legs(path, t, s, eta)
        bar, guess = x / a, denoise(x, t)
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = c * (guess + a * k / (b * c) * (bar - guess)) + tau * z
        states.append(x)
    return states


generate = Exercise(
    truth=by_legs,
    view=walk,
    show=False,
    about="z = (x_s - alpha_s x0 - k eps) / tau, with x0 and eps from your own x_t: N(0, 1), fresh for each step, sample and entry",
)


def run(path, times, eta, shape=(4000, 2), dtype=F64, hidden=False):
    seed = 10 * len(generate.cases)
    coefficients = []
    for t, s in pairwise(times):
        (a, b), (c, _) = PATHS[path](t), PATHS[path](s)
        k, tau = legs(PATHS[path], t, s, eta)
        coefficients.append((k / b, c - k * a / b, tau))
    c_x, c_0, tau = (list(v) for v in zip(*coefficients))
    noisy = sum(v > 0 for v in tau)
    want = {
        "times at which the network is asked": times[:-1],
        "questions to the network for each sample": float(len(times) - 1),
        "two runs with equal generators differ": 0,
        "two runs with different generators differ": int(noisy > 0),
        "states of another dtype than x": 0,
    }
    if eta > 0:
        want |= noise.standard(noisy, math.prod(shape[1:])) if noisy else {}
        if tau[-1] == 0:
            want["last state, minus the one that alpha_s x0 + k eps gives"] = torch.zeros(
                shape, dtype=dtype
            )
    options = {"path": path, "shape": list(shape), "times": times, "eta": eta, "seed": seed}
    inputs = recipe(world, **options, c_x=c_x, c_0=c_0, tau=tau, dtype=dtype)
    grid = ", ".join(f"{t:g}" for t in times)
    generate.case(
        f"eta = {eta:g}, {path} path, times {grid}, x of shape {tuple(shape)}",
        inputs,
        want,
        hidden=hidden,
        room=1.0 if dtype == F64 else 3e4,
        eta=eta,
        path=path,
        ends_without_noise=PATHS[path](times[-1])[1] == 0,
        dtype=str(dtype)[6:],
        one_sample_is=f"{len(shape) - 1}-dimensional",
    )


run("circle", [0.95, 0.7, 0.42, 0.2, 0.0], 0.0, (3, 2))
run("straight", [0.99, 0.6, 0.5, 0.1], 0.0, (4, 3))
run("circle", [0.97, 0.6, 0.4, 0.2, 0.0], 1.0)
run("straight", [0.9, 0.75, 0.3, 0.05], 0.5)
run("alpha = 1", [1.0, 0.4, 0.15], 0.0, (3, 2, 1, 4), hidden=True)
run("straight", [0.8, 0.3, 0.0], 0.0, (5, 2), torch.float32, hidden=True)
run("circle", [0.9, 0.0], 0.0, (1, 3), hidden=True)
run("circle", [0.9, 0.55, 0.4, 0.0], 0.7, (3000, 2, 3), hidden=True)
run("alpha = 1", [1.0, 0.5, 0.1, 0.03], 1.0, (4000, 1), hidden=True)
run("straight", [0.95, 0.6, 0.3, 0.1], 0.8, (4000, 2), torch.float32, hidden=True)

# ---------------------------------------------------------------- subsequence


def properties(answer, T, n):
    try:
        got = answer(T, n)
    except Exception as error:
        if n <= T or getattr(error, "remote_type", type(error).__name__) != "ValueError":
            raise
        return {"a ValueError": True}
    if n > T:
        raise Wrong(
            f"no ValueError: {n} steps need {n} different levels above 0, and there are {T}"
        )
    if not isinstance(got, (list, tuple, range)) and not hasattr(got, "tolist"):
        raise Wrong(f"a {type(got).__name__} came back, not a list of levels")
    levels = [float(k) for k in (got.tolist() if hasattr(got, "tolist") else got)]
    if not levels:
        raise Wrong("the list is empty")
    gaps = [a - b for a, b in zip(levels, levels[1:])]
    off = max(gaps) - min(gaps) if gaps else 0
    return {
        "the first level": levels[0],
        "the last level": levels[-1],
        "number of levels": len(levels),
        "levels that are not whole": sum(k != int(k) for k in levels),
        "levels that come again": len(levels) - len(set(levels)),
        "steps that go up": sum(gap < 0 for gap in gaps),
        "by how much more than 1 two gaps differ": max(off - 1, 0),
    }


def spread(T, n):
    if n > T:
        raise ValueError
    marks = torch.linspace(T, 0, n + 1, dtype=F64)
    return [math.floor(v + 0.5 + 1e-9) for v in marks.tolist()]


subsequence = Exercise(truth=spread, view=properties)
SIZES = [(1000, 20), (7, 3), (29, 6), (23, 5), (9, 9), (4, 4), (5, 6), (2, 5)]
HIDDEN = [
    (1000, 1), (1000, 30), (1000, 999), (10, 10), (1, 1), (11, 4), (5, 4), (1000, 7), (997, 600),
    (60, 51), (20, 23),
]  # fmt: skip
for T, n in [*SIZES, *HIDDEN]:
    subsequence.case(
        f"T = {T}, n = {n}",
        (T, n),
        hidden=(T, n) in HIDDEN,
        n_divides_T=T % n == 0,
        levels_and_steps="n > T" if n > T else "n = T" if n == T else "n < T",
    )

# ---------------------------------------------------------------- slerp


def along(answer, a, b, w):
    """The point, and its derivatives where no two codes are parallel."""
    found = {"result": answer(a, b, w)}
    flat = torch.linalg.svdvals(torch.stack([a.flatten(1), b.flatten(1)], 1).double())[:, -1]
    if flat.min() > 1e-2:
        p, q = a.clone().requires_grad_(), b.clone().requires_grad_()
        point = answer(p * 1.0, q * 1.0, w)
        found |= {"gradient in a": gradient(point, p), "gradient in b": gradient(point, q)}
    return found


def turned(a, b, w):
    """a, turned by w times the angle in the plane of a and b: the coordinates there from two equations."""
    points = []
    for p, q in zip(a, b):
        u, v = p / p.norm(), q / q.norm()
        theta = 2 * torch.atan2((u - v).norm(), (u + v).norm())
        if theta < 1e-9:
            points.append(p + w * (q - p))
            continue
        along_v = (w * theta).sin() / theta.sin()
        along_u = (w * theta).cos() - along_v * theta.cos()
        points.append(along_u * p + along_v * q)
    return torch.stack(points)


slerp = Exercise(truth=turned, view=along)


def gauss(*shape, seed, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def at_angles(degrees, seed, lengths):
    """Pairs with these angles, and |b| / |a| = lengths."""
    a, c = gauss(len(degrees), 4, seed=seed), gauss(len(degrees), 4, seed=seed + 1)
    side = c - (a * c).sum(1, keepdim=True) / (a * a).sum(1, keepdim=True) * a
    side = side / side.norm(dim=1, keepdim=True) * a.norm(dim=1, keepdim=True)
    angle = torch.tensor(degrees, dtype=F64).deg2rad()[:, None]
    return a, (angle.cos() * a + angle.sin() * side) * torch.tensor(lengths, dtype=F64)[:, None]


def codes(text, a, b, w, hidden=False, angle="any", **more):
    return slerp.case(text, (a, b, w), hidden=hidden, angle=angle, w=w, **more)


PICTURES = codes(
    "2 pictures of 1 x 2 x 3, w = 0.25",
    gauss(2, 1, 2, 3, seed=1),
    gauss(2, 1, 2, 3, seed=2),
    0.25,
    codes="pictures",
)
codes(
    "4 points of 3 numbers, w = 2/3",
    gauss(4, 3, seed=3),
    gauss(4, 3, seed=4),
    2 / 3,
    codes="points",
)
codes(
    "3 pictures of 3 x 1 x 2, w = 0.7",
    gauss(3, 3, 1, 2, seed=21),
    gauss(3, 3, 1, 2, seed=22),
    0.7,
    codes="pictures",
)
codes("angles of 3, 40 and 150 degrees, w = 0.3", *at_angles([3, 40, 150], 5, [1, 1, 1]), 0.3)
codes(
    "an angle of 1 degree, w = 0.4", *at_angles([1], 7, [1.5]), 0.4, angle="between 0 and 3 degrees"
)
codes(
    "an angle of 0.6 degrees, w = 0.7",
    *at_angles([0.6], 23, [0.8]),
    0.7,
    angle="between 0 and 3 degrees",
)
ALIKE = gauss(2, 3, seed=9)
codes(
    "two codes that point the same way, w = 0.3",
    ALIKE,
    ALIKE * torch.tensor([[2.0], [1.0]], dtype=F64),
    0.3,
    angle="0",
)
FROM, TO = gauss(3, 5, seed=11), gauss(3, 5, seed=12)
for w in (0.0, 1.0, 0.5):
    codes(f"w = {w}", FROM, TO, w, hidden=True)
codes("mixed", torch.cat([FROM, FROM]), torch.cat([TO, 0.5 * FROM]), 0.8, hidden=True, angle="0")
codes(
    "angles between 0 and 3",
    *at_angles([0.02, 0.3, 2], 13, [1, 2, 0.7]),
    0.3,
    hidden=True,
    angle="between 0 and 3 degrees",
)
codes(
    "angles near 180",
    *at_angles([165, 176, 179], 15, [1, 0.5, 1]),
    0.35,
    hidden=True,
    angle="beyond 160 degrees",
)
codes(
    "a picture alone",
    gauss(1, 3, 4, 4, seed=17),
    gauss(1, 3, 4, 4, seed=18),
    0.6,
    hidden=True,
    codes="pictures",
)
slerp.again(PICTURES, torch.float32)
NEAR = gauss(3, 6, seed=19, dtype=torch.float32)
slerp.case(
    "nearly equal, float32",
    (NEAR, NEAR * (1 + 1e-7), 0.5),
    hidden=True,
    room=3e4,
    angle="0",
    dtype="float32",
)

# ---------------------------------------------------------------- encode


def climb(answer, denoise, path, x, times):
    asked = []

    def watched(x, t):
        if asked[-1:] != [float(t)]:
            asked.append(float(t))
        return denoise(x, float(t))

    got = answer(watched, path, x, list(times))
    if isinstance(got, (list, tuple)):
        raise Wrong(
            f"a {type(got).__name__} of {len(got)} came back; the code is the last state alone"
        )
    first = asked[:]
    again = answer(denoise, path, x, list(times))
    return {
        "the code": got,
        "times at which the network is asked": first,
        "two runs differ": int(not torch.equal(got, again)),
    }


def a_world(path, x, times, kind):
    guesses = {
        "bent": lambda x, t: torch.tanh((1 + t) * x) * 1.6 + 0.4 * x.flip(-1) + t / 2,
        "straight": lambda x, t: 0.6 * x * (1 - t) + t * t - 0.3,
    }
    return guesses[kind], PATHS[path], x, times


def up_in_euler_steps(denoise, path, x, times):
    """Euler's method in x / alpha against sigma / alpha, equation (12)."""
    bar = x / path(times[0])[0]
    for s, t in pairwise(times):
        (a, b), (c, d) = path(s), path(t)
        bar = bar + (d / c - b / a) * (bar - denoise(a * bar, s)) * a / b
    return bar * path(times[-1])[0]


encode = Exercise(
    truth=up_in_euler_steps, view=climb, gradient=["x"], show=False, atol=1e-8, rtol=1e-7
)


def lifted(path, times, x, kind="bent", hidden=False):
    dtype = str(x.dtype)[6:]
    grid = ", ".join(f"{t:g}" for t in times)
    encode.case(
        f"{path} path, times {grid}, {len(x)} x {' x '.join(map(str, x.shape[1:]))} numbers",
        recipe(a_world, path=path, x=x, times=times, kind=kind),
        hidden=hidden,
        room=1.0 if x.dtype == F64 else 3e4,
        path=path,
        steps=len(times) - 1,
        dtype=dtype,
    )


lifted("circle", [0.02, 0.1, 0.3, 0.45, 0.8, 0.95], gauss(3, 2, seed=31))
lifted("straight", [0.05, 0.25, 0.3, 0.9], gauss(2, 3, seed=32), "straight")
lifted("alpha = 1", [0.1, 0.4], gauss(2, 2, seed=33))
lifted("straight", [0.01, 0.3, 0.7], gauss(5, 2, seed=34), hidden=True)
lifted("alpha = 1", [0.01, 0.4, 1.0], gauss(2, 3, 4, 5, seed=35), hidden=True)
lifted("circle", [0.1, 0.5, 0.9], gauss(1, 4, seed=36, dtype=torch.float32), hidden=True)

# ---------------------------------------------------------------- guided


def asked_twice(answer, denoise, x, t, labels, scale):
    calls = []

    def watched(x, t, labels):
        if not isinstance(labels, torch.Tensor):
            raise Wrong(
                f"the network got a {type(labels).__name__} for its labels; told nothing is a tensor of -1"
            )
        if labels.shape[:1] != x.shape[:1] or labels.ndim != 2:
            raise Wrong(
                f"the network got labels of shape {tuple(labels.shape)} for {len(x)} samples"
            )
        if labels.is_floating_point():
            raise Wrong(
                f"the network got labels of dtype {str(labels.dtype)[6:]}; they are whole numbers"
            )
        calls.append(len(x))
        return denoise(x, t, labels)

    found = {"the guess": answer(watched, x, t, labels, scale)}
    if scale not in (0.0, 1.0):
        found["evaluations of the network for each sample"] = sum(calls) / len(x)
    return found


def telling(x, t, labels, scale, classes, seed):
    """A network that can be told attributes: each value moves the guess by a vector of its own; -1 is the last row."""
    g, d = torch.Generator().manual_seed(seed), x[0].numel()
    tables = [torch.randn(n + 1, d, generator=g, dtype=x.dtype) for n in classes]

    def network(x, t, labels):
        told = sum(table[k] for table, k in zip(tables, labels.T)).reshape(x.shape)
        return 1.4 * torch.tanh((1 + t) * x + told) + 0.2 * x.flip(-1)

    return network, x, t, labels, scale


def between(denoise, x, t, labels, scale):
    return (1 - scale) * denoise(x, t, labels * 0 - 1) + scale * denoise(x, t, labels)


guided = Exercise(truth=between, view=asked_twice, gradient=["x"])


def louder(scale, x, t, labels, classes, hidden=False, **more):
    seed = 40 + len(guided.cases)
    guided.case(
        f"scale {scale:g}, {len(x)} samples with {len(classes)} attributes{', a hidden one' * (-1 in labels)}",
        recipe(
            telling,
            x=x,
            t=t,
            labels=torch.tensor(labels),
            scale=scale,
            classes=list(classes),
            seed=seed,
        ),
        hidden=hidden,
        room=1.0 if x.dtype == F64 else 3e4,
        scale=scale,
        attributes=len(classes),
        dtype=str(x.dtype)[6:],
        **more,
    )


louder(3.0, gauss(3, 2, seed=51), 0.4, [[1, -1, 4], [-1, 0, 0], [0, 2, 5]], (4, 3, 6))
louder(1.0, gauss(3, 2, seed=52), 0.4, [[1, 1], [3, 0], [0, 2]], (4, 3))
louder(0.0, gauss(2, 3, seed=53), 0.7, [[1, 2, 4], [2, 0, 3]], (4, 3, 6))
louder(7.5, gauss(4, 2, seed=54), 0.2, [[2, 0], [1, 1], [3, 2], [0, 1]], (4, 3))
louder(-0.7, gauss(2, 2, seed=55), 0.6, [[1, 2], [3, 0]], (4, 3))
louder(-1.5, gauss(3, 2, seed=59), 0.5, [[1, 2], [-1, 0], [2, 2]], (4, 3), hidden=True)
louder(0.5, gauss(1, 5, seed=56), 0.9, [[2]], (4,), hidden=True)
louder(
    2.0,
    gauss(3, 2, 4, 5, seed=57),
    0.6,
    [[1, 0], [-1, 2], [3, 1]],
    (4, 3),
    hidden=True,
    samples="pictures",
)
louder(2.5, gauss(4, 3, seed=58, dtype=torch.float32), 0.3, [[1], [0], [2], [3]], (4,), hidden=True)

# ---------------------------------------------------------------- keeps_marginals


def step_that(rule, sign_of_k=1, sign_of_tau=1, signal=1.0, off=0.0, fault="none", hits="all"):
    """A step (x, x0, alpha_t, ..., z): one of two rules for tau, and perhaps a fault, perhaps only somewhere."""

    def step(x, x0, alpha_t, sigma_t, alpha_s, sigma_s, eta, z):
        places = (schedule.Point(*p, tuple) for p in ((alpha_t, sigma_t), (alpha_s, sigma_s)))
        tau = samplers.ddim_coefficients(*places, eta)[2] if rule == "(4)" else eta * sigma_s
        k, mean = sign_of_k * math.sqrt(max(sigma_s**2 - tau**2, 0.0)), signal * alpha_s + off
        hit = {
            "all": True,
            "eta between 0 and 1": 0 < eta < 1,
            "eta = 0": eta == 0,
            "eta = 1": eta == 1,
            "the last step": sigma_s == 0,
            "any but the last step": sigma_s > 0,
            "paths with another alpha^2 + sigma^2": abs(alpha_s**2 + sigma_s**2 - 1) > 1e-6,
        }[hits]
        if hit and fault == "tau^2 for tau":
            tau = tau**2
        elif hit and fault == "all old noise":
            k = sigma_s
        elif hit and fault == "noise of the chain":
            tau = tau * sigma_t / sigma_s if sigma_s > 0 else eta * sigma_t
        elif hit and fault == "no fresh noise":
            tau = 0.0
        elif hit and fault == "nothing kept":
            k = 0.0
        elif hit and fault == "lengths add up":
            k = sigma_s - tau
        elif hit and fault == "more noise":
            tau = tau + 0.2
        elif hit and fault == "a rest of noise":
            tau = 0.05
        elif hit and fault == "alpha_t for alpha_s":
            mean = alpha_t
        elif hit and fault == "the guess leaks into the noise":
            return mean * x0 + k * (x - 0.8 * alpha_t * x0) / sigma_t + sign_of_tau * tau * z
        eps = (x - alpha_t * x0) / sigma_t
        return mean * x0 + k * eps + sign_of_tau * tau * z

    return (step,)


keeps_marginals = Exercise(verdict="step", show=False)


def judged(text, fact, want=False, hidden=False, **options):
    rule = options.setdefault("rule", "(4)")
    keeps_marginals.case(
        text,
        recipe(step_that, **options),
        want=want,
        hidden=hidden,
        fact=fact,
        how_the_noise_is_split="as in (4)" if rule == "(4)" else "by another rule",
        sign_of_the_old_noise="+" if options.get("sign_of_k", 1) > 0 else "-",
        rounding=abs(options.get("off", 0.0)) > 0 and want,
        it_is_wrong="nowhere" if want else options.get("hits", "all").replace("all", "everywhere"),
        what_is_wrong="nothing"
        if want
        else "the mean"
        if options.get("fault", "none") in ("none", "alpha_t for alpha_s")
        else "the noise",
    )


SQUARES = "noise is symmetric: only the squares of the two factors count"
judged("the family of (4)", "it is the rule of this chapter, on every path", True)
judged(
    "tau = eta sigma_s",
    "(3) is all that is asked; (4) is only one way to split the noise",
    True,
    rule="eta",
)
judged("(4), old noise with the other sign", SQUARES, True, sign_of_k=-1)
judged("tau = eta sigma_s, old noise with the other sign", SQUARES, True, rule="eta", sign_of_k=-1)
judged("(4), alpha_s off by 1e-7", "a difference of 1e-7 is rounding", True, off=1e-7)
judged("tau = eta sigma_s, alpha_s off by 1e-7", "rounding", True, rule="eta", off=1e-7)
MEAN = "the mean of x_s given x_0 must be alpha_s x_0, and here it is not"
judged(
    "all of the old noise stays", "its k^2 + tau^2 is larger than sigma_s^2", fault="all old noise"
)
judged(
    "k = sigma_s - tau",
    "its k + tau is sigma_s; it is the squares that must add up",
    fault="lengths add up",
)
judged("alpha_t where alpha_s belongs", MEAN, fault="alpha_t for alpha_s")
judged("the clean picture 5 % too faint", MEAN, signal=0.95)
for rule, name in (("(4)", "(4)"), ("eta", "tau = eta sigma_s")):
    judged(f"{name}, the clean picture as a negative", MEAN, rule=rule, signal=-1.0)
    for hits, fault, what, fact in [
        (
            "eta between 0 and 1",
            "more noise",
            "more noise",
            "it is right at eta = 0 and at eta = 1",
        ),
        ("eta = 0", "nothing kept", "nothing kept", "it is right for every eta > 0"),
        ("the last step", "a rest of noise", "noise left", "it is right in all steps but the last"),
        (
            "paths with another alpha^2 + sigma^2",
            "lengths add up" if rule == "(4)" else "all old noise",
            "wrong noise",
            "it is right where alpha^2 + sigma^2 = 1",
        ),
    ]:
        text = f"{name}, {what} {'in' if 'step' in hits else 'on' if 'path' in hits else 'at'} {hits} only"
        judged(text, fact, rule=rule, fault=fault, hits=hits)
for fault in ("tau^2 for tau", "noise of the chain", "no fresh noise", "nothing kept"):
    judged(f"{fault}, everywhere", "", hidden=True, fault=fault)
judged("eta = 1", "", hidden=True, fault="no fresh noise", hits="eta = 1", rule="eta")
judged("(4), fresh noise with the other sign", SQUARES, True, hidden=True, sign_of_tau=-1)
judged("both signs", SQUARES, True, hidden=True, sign_of_k=-1, sign_of_tau=-1, rule="eta")
judged("nothing fresh at eta = 1", "", hidden=True, fault="no fresh noise", hits="eta = 1")
judged("rounding, below", "", True, hidden=True, off=-1e-7, rule="eta")
judged("5 % too bright", "", hidden=True, signal=1.05, rule="eta")
judged("lengths inside", "", hidden=True, fault="lengths add up", hits="eta between 0 and 1")
judged(
    "wrong in all but the last",
    "",
    hidden=True,
    fault="all old noise",
    hits="any but the last step",
    rule="eta",
)
judged("some of x0 in the noise", "", hidden=True, fault="the guess leaks into the noise")
