"""Chapter 09: the cases of each exercise, and the truth of each."""

import math
from itertools import pairwise

import torch
from torch.distributions import Normal, kl_divergence

from autograde.authoring import Exercise, recipe
from coursekit.checks import Sampled, Wrong
from genmodels import diffusion, samplers, schedule

# ---------------------------------------------------------------- what several exercises share


def numbers(seed):
    """A function that draws standard normal numbers, float64, one after the other."""
    g = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)


# ---------------------------------------------------------------- jump


def faded(answer, x0, k, betas, eps):
    first = answer(x0.clone(), k.clone(), betas.clone(), eps.clone())
    second = answer(x0, k, betas, eps)
    return {"x_k": first, "a second call with the same arguments, minus the first": second - first}


def walked(x0, k, betas, eps):
    """Signal and variance step by step, by equation (1) alone."""
    states = []
    for picture, steps, noise in zip(x0, k.tolist(), eps):
        signal, variance = 1.0, 0.0
        for beta in betas[:steps].tolist():
            signal, variance = math.sqrt(1 - beta) * signal, (1 - beta) * variance + beta
        states.append(signal * picture + math.sqrt(variance) * noise)
    return torch.stack(states)


def along_the_linear_schedule(T, k, shape, seed):
    g = torch.Generator().manual_seed(seed)
    draw = lambda: torch.randn(len(k), *shape, generator=g, dtype=torch.float64)
    return 3 * draw(), torch.tensor(k), torch.linspace(1e-4, 0.02, T, dtype=torch.float64), draw()


# data and noise need no derivative: nothing of the course asks for one here
jump = Exercise(truth=walked, view=faded, atol=1e-10, rtol=1e-9, equivalent=["the gradient is cut"])
SIX, THREE = [0.05, 0.1, 0.02, 0.3, 0.2, 0.4], [0.6, 0.05, 0.3]
normal = numbers(91)
for shape, k, betas, hidden in [
    ((3,), [5, 2, 0], SIX, False),
    ((2, 2, 3), [4, 0, 6], SIX, False),
    ((2,), [1, 3, 2, 3], THREE, False),
    ((1, 3, 2), [6, 1], SIX, False),
    ((), [2, 0, 1], THREE, True),
    ((4,), [0], THREE, True),
    ((2, 3), [3, 3, 0, 1, 2], [0.999, 0.01, 0.5], True),
]:
    kind = {0: "numbers", 1: "vectors"}.get(len(shape), "pictures")
    new = jump.case(
        f"{len(k)} {kind} {(len(k), *shape)} at k = {', '.join(map(str, k))} of T = {len(betas)}",
        (
            normal(len(k), *shape) + 0.5,
            torch.tensor(k),
            torch.tensor(betas, dtype=torch.float64),
            normal(len(k), *shape),
        ),
        hidden=hidden,
        a_sample_at_k_0="yes" if 0 in k else "no",
        samples_are=kind,
        last_axis_as_long_as_the_batch=bool(shape) and shape[-1] == len(k),
    )
    if shape in ((2, 2, 3), (2,)):
        jump.again(new)
jump.case(
    "1000 steps of the linear schedule",
    recipe(along_the_linear_schedule, T=1000, k=[1000, 1, 999, 500], shape=(1, 2, 4), seed=92),
    hidden=True,
    a_sample_at_k_0="no",
    samples_are="pictures",
)

# ---------------------------------------------------------------- posterior


def mean_and_variance(answer, x0, xk, abar_k, abar_j):
    pair = answer(x0.clone(), xk.clone(), abar_k, abar_j)
    again = answer(x0, xk, abar_k, abar_j)
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise Wrong(f"a {type(pair).__name__} came back, not the pair (mean, variance)")
    mean, variance = torch.as_tensor(pair[0]), torch.as_tensor(pair[1], dtype=torch.float64)
    if mean.numel() == 1 < variance.numel():
        raise Wrong(
            "the first of the two is one number, the second has the shape of x_0: (mean, variance)"
        )
    spread = variance.double().flatten()
    if len(spread) and bool((spread - spread[0]).abs().max() > 1e-9 * spread[0].abs()):
        raise Wrong("the variance differs from entry to entry: it is one number for all of them")
    return {
        "mean": mean,
        "variance": spread[0],
        "a second call with the same arguments, minus the first": torch.as_tensor(again[0]) - mean,
    }


def bayes_on_a_grid(x0, xk, abar_k, abar_j):
    """Mean and variance of equation (5), entry by entry: two densities multiplied on 20,001 points."""
    if abar_j == 1:  # x_j is x_0 itself, whatever x_k is
        return x0.clone(), 0.0
    a, size = abar_k / abar_j, math.sqrt(1 - abar_j)
    around, seen = math.sqrt(abar_j) * x0.double().reshape(-1, 1), xk.double().reshape(-1, 1)
    axis = around + size * torch.linspace(-14, 14, 20_001, dtype=torch.float64)
    log_q = -((seen - math.sqrt(a) * axis) ** 2) / (1 - a) / 2 - ((axis - around) / size) ** 2 / 2
    p = log_q.softmax(1)
    mean = (p * axis).sum(1, keepdim=True)
    variance = (p * (axis - mean) ** 2).sum(1)
    return mean.reshape(x0.shape).to(x0.dtype), variance.mean()


# nobody differentiates a posterior in the course; the variance may come back as a float32 number
posterior = Exercise(
    truth=bayes_on_a_grid,
    view=mean_and_variance,
    atol=1e-8,
    rtol=1e-6,
    equivalent=["the gradient is cut"],
)
normal = numbers(93)
for shape, abar_k, abar_j, hidden in [
    ((2, 3), 0.55, 0.6, False),
    ((2, 3), 0.1, 0.8, False),
    ((1, 2, 2), 0.3, 0.31, False),
    ((3, 2), 0.9, 1.0, False),
    ((2, 2), 0.2, 1.0, False),
    ((1, 4), 1e-4, 0.97, True),
    ((2, 1, 3), 2e-5, 3e-5, True),
    ((1, 1), 0.5, 1.0, True),
    ((5,), 0.7, 0.72, True),
]:
    new = posterior.case(
        f"from abar_k = {abar_k:g} to abar_j = {abar_j:g}, x_0 of shape {shape}",
        (1.5 * normal(*shape) - 0.4, normal(*shape), abar_k, abar_j),
        hidden=hidden,
        fact="j = 0: x_j is x_0 itself, and nothing is uncertain" if abar_j == 1 else "",
        the_last_step=abar_j == 1,
        abar_k_over_abar_j=abar_k / abar_j,
    )
    if abar_k in (0.1, 0.2):
        posterior.again(new)

# ---------------------------------------------------------------- bound_terms


def three_terms(answer, x0, denoise, abar, eps, levels):
    asked = set()

    def watched(x, k):
        asked.add(int(k))
        return denoise(x, k)

    got = answer(x0, watched, abar, eps, levels)
    if not isinstance(got, (tuple, list)) or len(got) != 3:
        raise Wrong(f"a {type(got).__name__} came back, not three tensors (L_T, steps, L_0)")
    names = ("L_T", "L_1, ..., L_{T-1}", "L_0")
    told = ", ".join(map(str, sorted(asked)))
    return dict(zip(names, got)) | {"notes": {"the denoiser was asked about k": told}}


def pictures(shape, levels, at, abar, seed, dtype):
    """Grey pictures, and a denoiser that is wrong in its own way at every k."""
    g = torch.Generator().manual_seed(seed)
    draw = lambda *size: torch.randn(*size, generator=g, dtype=torch.float64).to(dtype)
    x0 = (2 * torch.tensor(at, dtype=torch.float64) / (levels - 1) - 1).to(dtype).reshape(shape)
    d = x0[0].numel()
    W = draw(d, d) / d**0.5
    denoise = lambda x, k: torch.tanh(x.flatten(1) @ W + 0.2 * k - 0.5).reshape(x.shape)
    abar = torch.tensor(abar, dtype=torch.float64).to(dtype)
    return x0, denoise, abar, draw(len(abar) - 1, *shape), levels


def by_the_definition(x0, denoise, abar, eps, levels):
    """Equation (8): torch's KL of the Gaussians of (5) and (7), and bins between half-way points."""
    T = len(abar) - 1
    point = lambda k: schedule.Point(float(abar[k]) ** 0.5, (1 - float(abar[k])) ** 0.5, None)
    noisy = [abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1] for k in range(T + 1)]
    arrived = kl_divergence(Normal(abar[T].sqrt() * x0, (1 - abar[T]).sqrt()), Normal(0.0, 1.0))
    steps = []
    for k in range(2, T + 1):
        c_x, c_0, std = samplers.ddim_coefficients(point(k), point(k - 1), 1.0)
        q, p = (Normal(c_x * noisy[k] + c_0 * x, std) for x in (x0, denoise(noisy[k], k)))
        steps.append(kl_divergence(q, p).flatten(1).sum(1))
    edges = torch.linspace(-1, 1, levels, dtype=x0.dtype)
    end = torch.tensor([math.inf], dtype=x0.dtype)
    edges = torch.cat([-end, (edges[1:] + edges[:-1]) / 2, end])
    at = ((x0 + 1) / 2 * (levels - 1)).round().long()
    low, high = (
        (edges[i] - denoise(noisy[1], 1)) / ((1 - abar[1]) / abar[1]).sqrt() for i in (at, at + 1)
    )
    flip = low > 0  # mirrored into the left tail: no difference of two numbers near 1
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    mass = (torch.erfc(-high / 2**0.5) - torch.erfc(-low / 2**0.5)) / 2
    return arrived.flatten(1).sum(1), torch.stack(steps), -mass.log().flatten(1).sum(1)


bound_terms = Exercise(truth=by_the_definition, view=three_terms, gradient=("eps",), show=False)
FOUR, FIVE = [1.0, 0.9, 0.5, 0.1], [1.0, 0.8, 0.65, 0.3, 0.05]
for shape, levels, at, abar, hidden, dtype in [
    ((2, 3), 5, [0, 3, 4, 2, 0, 1], FOUR, False, torch.float64),
    ((2, 1, 2, 2), 9, [8, 3, 0, 6, 1, 8, 4, 0], FIVE, False, torch.float64),
    ((3, 2), 6, [1, 3, 2, 4, 3, 1], FOUR[:3], False, torch.float64),
    ((2, 3), 4, [3, 1, 2, 2, 3, 3], FIVE[:4], False, torch.float64),
    ((1, 2, 3), 7, [0, 2, 0, 1, 5, 0], FIVE, True, torch.float64),
    ((2, 4), 256, [0, 255, 128, 3, 17, 250, 99, 0], [1.0, 0.97, 0.8, 0.5, 0.3, 0.05], True, torch.float64),
    ((7, 1), 7, [0, 1, 2, 3, 4, 5, 6], FOUR, True, torch.float64),
    ((2, 3), 2, [0, 1, 1, 0, 1, 0], FOUR, True, torch.float64),
    ((2, 3), 5, [0, 3, 4, 2, 0, 1], FOUR, True, torch.float32),
]:  # fmt: skip
    edge = {(0,): "dark", (1,): "bright", (0, 1): "dark and bright"}
    extremes = tuple(i for i, v in enumerate((0, levels - 1)) if v in at)
    name = str(dtype)[6:]
    bound_terms.case(
        f"pictures {shape} of {levels} grey levels, T = {len(abar) - 1}"
        + (f", {name}" if dtype == torch.float32 else ""),
        recipe(
            pictures, shape=shape, levels=levels, at=at, abar=abar,
            seed=94 + len(bound_terms.cases), dtype=dtype,
        ),
        hidden=hidden,
        room=3e4 if dtype == torch.float32 else 1.0,
        pixels_at_an_edge=edge.get(extremes, "none"),
        dtype=name,
        grey_levels=levels,
    )  # fmt: skip

# ---------------------------------------------------------------- solve_target


def both(answer, prediction, x, a, b, alpha, sigma):
    got = answer(prediction, x, a, b, alpha, sigma)
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise Wrong(f"a {type(got).__name__} came back, not the pair (x_0, eps)")
    return {"x_0": got[0], "eps": got[1]}


def entry_by_entry(prediction, x, a, b, alpha, sigma):
    """A 2x2 system for every entry, by LAPACK."""
    row = lambda p, q: torch.stack([p.expand_as(x), q.expand_as(x)], -1)
    system = torch.stack([row(alpha, sigma), row(a, b)], -2)
    found = torch.linalg.solve(system, torch.stack([x, prediction], -1))
    return found[..., 0], found[..., 1]


solve_target = Exercise(
    truth=entry_by_entry, view=both, gradient=("prediction", "x"), atol=1e-10, rtol=1e-9
)
normal = numbers(95)


def mixed(text, alpha, sigma, row, shape=(3,), hidden=False, **facets):
    column = lambda v: torch.tensor(v, dtype=torch.float64).reshape(-1, *[1] * len(shape))
    preserving = all(abs(s**2 + n**2 - 1) < 1e-9 for s, n in zip(alpha, sigma))
    alpha, sigma = column(alpha), column(sigma)
    x0, eps = 1.7 * normal(len(alpha), *shape) + 0.3, normal(len(alpha), *shape)
    a, b = row(alpha, sigma)
    case = solve_target.case(
        text,
        (a * x0 + b * eps, alpha * x0 + sigma * eps, a, b, alpha, sigma),
        hidden=hidden,
        path="variance preserving" if preserving else "another",
        alpha_or_sigma_is_0="yes" if bool((alpha * sigma == 0).any()) else "no",
        **facets,
    )
    back = entry_by_entry(*case.inputs)
    assert torch.allclose(back[0], x0) and torch.allclose(back[1], eps), text
    return case


const = lambda p, q: lambda alpha, sigma: (p + 0 * alpha, q + 0 * sigma)
of_v = lambda alpha, sigma: (-sigma, alpha)
on_the_circle = [0.9, 0.28], [math.sqrt(1 - 0.81), 0.96]
plain = mixed("from 0.3 x_0 + 1.7 eps", *on_the_circle, const(0.3, 1.7), target="another")
mixed("from v = alpha eps - sigma x_0", [0.8, 0.28], [0.6, 0.96], of_v, (2, 2), target="v")
mixed("from a prediction of x_0", [0.96, 0.2], [0.28, 0.96**0.5], const(1.0, 0.0), target="x_0")
mixed("from eps where alpha = 1", [1.0, 1.0], [0.4, 3.0], const(0.0, 1.0), target="eps")
mixed("from 0.8 x_0 + 0.1 eps", [2.8, 1.7], [0.7, 1.6], const(0.8, 0.1), target="another")
at_both_ends = mixed("from v where alpha or sigma is 0", [1.0, 0.0], [0.0, 1.0], of_v, target="v")
mixed(
    "from 0.2 x_0 + eps at the noisy end",
    [0.0],
    [1.0],
    const(0.2, 1),
    hidden=True,
    target="another",
)
mixed(
    "from the velocity of a straight path",
    [0.7, 0.5, 0.1],
    [0.3, 0.5, 0.9],
    const(-1.0, 1.0),
    (1, 2, 2),
    hidden=True,
    target="velocity",
)
for case in (plain, at_both_ends):
    solve_target.again(case)

# ---------------------------------------------------------------- diffusion_loss


def loss_and_slope(answer, network, x0, labels, k, eps, u, abar, target, drop):
    """The loss, its slope through the network, and what the network was told.

    The slope is that in eps (in x0 where eps is predicted), which the loss sees through the network alone.
    """
    told = []

    def watched(x, t, y, *args, **options):
        told.append((t.detach().double().flatten(), y.detach().double().reshape(len(y), -1)))
        return network(x, t, y, *args, **options)

    x0, eps = x0.clone(), eps.clone()
    leaf = (x0 if target == "eps" else eps).requires_grad_(target in ("x0", "eps"))
    loss = answer(watched, x0, labels, k, eps, u, abar, target, drop)
    line = lambda v: " ".join(f"{n:.3g}" for n in v.tolist())
    notes = {}
    if told:
        notes["the network was told t ="] = line(torch.cat([t for t, _ in told]))
        rows = torch.cat([y for _, y in told])
        notes["it was told the labels"] = "; ".join(line(row) for row in rows)
    found = {"loss": loss, "notes": notes}
    if leaf.requires_grad:
        if isinstance(loss, torch.Tensor) and loss.requires_grad:
            weights = torch.arange(1, loss.numel() + 1).to(loss.dtype)
            total = (loss.flatten() * weights).sum()
            slope = torch.autograd.grad(total, leaf, allow_unused=True)[0]
        else:
            slope = None
        found["slope of the loss through the network"] = (
            torch.zeros_like(leaf) if slope is None else slope
        )
    return found


def batch(shape, k, u, abar, target, drop, seed, dtype, attributes=3):
    """A batch, and a network that listens to everything it is given."""
    g = torch.Generator().manual_seed(seed)
    draw = lambda *size: torch.randn(*size, generator=g, dtype=torch.float64).to(dtype)
    x0, eps = draw(len(k), *shape) + 0.3, draw(len(k), *shape)
    labels = torch.randint(1, 7, (len(k), attributes), generator=g)
    d = x0[0].numel()
    W, voice = draw(d, d) / d**0.5, draw(8, attributes, d)

    def network(x, t, y):
        heard = voice[(y.long() + 1) % 8, torch.arange(attributes)].sum(1)
        inside = x.to(dtype).flatten(1) @ W + heard + torch.sin(3 * t.to(dtype)).reshape(-1, 1)
        return torch.tanh(inside).reshape(x.shape)

    u, abar = (torch.tensor(v, dtype=torch.float64).to(dtype) for v in (u, abar))
    return network, x0, labels, torch.tensor(k), eps, u, abar, target, drop


def sample_by_sample(network, x0, labels, k, eps, u, abar, target, drop):
    """One picture after the other, by the library's loss on the library's path."""
    path = schedule.from_betas(1 - abar[1:] / abar[:-1])
    losses = []
    for i in range(len(x0)):
        told = labels[i : i + 1] if float(u[i]) >= drop else torch.full_like(labels[i : i + 1], -1)
        time = k[i : i + 1].to(x0.dtype) / (len(abar) - 1)
        model = diffusion.Denoiser(network, path, target)
        losses.append(
            diffusion.loss(model, x0[i : i + 1], time, weight=target, y=told, eps=eps[i : i + 1])
        )
    return torch.cat(losses)


diffusion_loss = Exercise(
    truth=sample_by_sample,
    view=loss_and_slope,
    atol=1e-7,
    show=False,
)
HALF, FULL = torch.float32, torch.float64
CHAIN, OTHER = [1.0, 0.98, 0.9, 0.6, 0.45, 0.2], [1.0, 0.6, 0.55, 0.4]
for shape, k, u, abar, target, drop, hidden, dtype in [
    ((2, 3), [3, 1, 5, 2], [0.05, 0.9, 0.31, 0.29], CHAIN, "v", 0.3, False, FULL),
    ((2, 3), [3, 1, 5, 2], [0.05, 0.9, 0.31, 0.29], CHAIN, "x0", 0.3, False, FULL),
    ((2, 3), [3, 1, 5, 2], [0.05, 0.9, 0.31, 0.29], CHAIN, "eps", 0.3, False, FULL),
    ((4,), [2, 3, 1], [0.55, 0.2, 0.7], OTHER, "v", 0.6, False, FULL),
    ((4,), [1, 2, 3], [0.0, 0.4, 0.02], OTHER, "eps", 0.0, False, FULL),
    ((1, 2, 2), [3, 1, 2], [0.5, 0.49, 0.0], OTHER, "eps", 0.5, True, FULL),
    ((1, 2, 2), [3, 1, 2], [0.5, 0.49, 0.51], OTHER, "x0", 0.5, True, FULL),
    ((3,), [5], [0.99], CHAIN, "v", 1.0, True, FULL),
    ((3,), [4, 1], [0.15, 0.05], CHAIN, "x0", 0.1, True, FULL),
    ((2, 3), [3, 1, 5, 2], [0.05, 0.9, 0.31, 0.29], CHAIN, "eps", 0.3, True, HALF),
    ((2, 3), [3, 1, 5, 2], [0.05, 0.9, 0.31, 0.29], CHAIN, "v", 0.3, True, HALF),
]:
    name = str(dtype)[6:]
    diffusion_loss.case(
        f"{len(k)} samples of shape {shape}, target {target}, drop = {drop:g}"
        + (f", {name}" if dtype == HALF else ""),
        recipe(
            batch, shape=shape, k=k, u=u, abar=abar, target=target, drop=drop,
            seed=200 + len(diffusion_loss.cases), dtype=dtype,
        ),
        hidden=hidden,
        room=3e4 if dtype == HALF else 1.0,
        fact="drop = 0 and one u is 0: no label may be hidden" if drop == 0 else "",
        target=target,
        drop=drop,
        dtype=name,
    )  # fmt: skip

# ---------------------------------------------------------------- ancestral_sample


def walk(answer, abar, steps, gain, shift, c_x, c_0, std, seed):
    """Run the sampler on a straight denoiser; z = (x_j - the mean that the last state asks for) / the right deviation."""
    asked, n, shape = [], 4000, gain.shape[1:]
    make = lambda s: torch.Generator().manual_seed(s)

    def denoise(x, k):
        if asked[-1:] != [int(k)]:
            asked.append(int(k))
        return gain[int(k)] * x + shift[int(k)]

    start = 0.6 + 1.2 * torch.randn(n, *shape, generator=make(seed), dtype=gain.dtype)
    x = start.clone()
    got = answer(denoise, x, abar, list(steps), make(seed + 1))
    want = (len(steps) - 1, n, *shape)
    if not isinstance(got, torch.Tensor):
        raise Wrong(f"a {type(got).__name__} came back, not one tensor: torch.stack(states)")
    if got.shape != want:
        raise Wrong(
            f"the shape is {tuple(got.shape)}, not {want}: all states after the start, stacked"
        )
    if not torch.equal(x, start):
        raise Wrong("the x that was given has changed: work on a copy")
    first, few = asked[:], start[:50]
    again = [answer(denoise, few.clone(), abar, list(steps), make(s)) for s in (1, 1, 2)]
    before = torch.stack([start, *got[:-1]])
    mean = torch.stack(
        [a * b + c * (gain[k] * b + shift[k]) for a, c, b, k in zip(c_x, c_0, before, steps)]
    )
    noisy = std > 0
    exact = {
        "the levels that the denoiser is asked about": first,
        "entries of another dtype than x": int(got.dtype != x.dtype),
        "difference of two runs with equal generators": (again[0] - again[1]).abs().max(),
        "two runs with different generators are alike": int(torch.equal(again[0], again[2])),
        "last state minus the guess, in the step to 0": (got - mean)[~noisy].abs().max(),
    }
    if not noisy.any():
        return exact
    size = std[noisy].reshape(-1, *[1] * (got.ndim - 1))
    rows = [
        f"the step {k} to {j}" for (k, j), on in zip(zip(steps, steps[1:]), noisy.tolist()) if on
    ]
    z = ((got - mean)[noisy] / size).movedim(1, 0).flatten(2)
    old = before[noisy].movedim(1, 0).flatten(2)
    noise = {
        "mean of the noise z": Sampled(z, rows),
        "mean of z^2": Sampled(z**2, rows),
        "mean of |z|": Sampled(z.abs(), rows),
        "z times the state before": Sampled(z * (old - old.mean(0)) / old.std(0), rows),
        "z times the z of the step before": Sampled(z[:, 1:] * z[:, :-1], rows[1:]),
        "z times the z of the next sample": Sampled(z * z.roll(1, 0), rows),
        "z of one coordinate times z of the next": Sampled(z * z.roll(1, 2), rows),
    }
    return exact | noise


CENTRE, WIDTH = (
    torch.tensor([0.8, -1.5], dtype=torch.float64),
    torch.tensor([0.5, 1.3], dtype=torch.float64),
)
ABOUT = "z = (x_j - the posterior's mean, from the guess and your own x_k) / its standard deviation: N(0, 1), fresh for each step, sample, entry"
ancestral_sample = Exercise(view=walk, atol=1e-9, about=ABOUT, show=False)


def chain(text, betas, steps, hidden=False, dtype=torch.float64, shape=(2,)):
    """Data N(CENTRE, WIDTH^2): the perfect denoiser is a straight line, and all the numbers of a step are known."""
    abar = torch.cat(
        [torch.ones(1), (1 - torch.tensor(betas, dtype=torch.float64)).cumprod(0)]
    ).double()
    a, b = abar[torch.tensor(steps[:-1])], abar[torch.tensor(steps[1:])]
    gain = abar.sqrt()[:, None] * WIDTH**2 / (abar[:, None] * WIDTH**2 + 1 - abar[:, None])
    shift = CENTRE * (1 - gain * abar.sqrt()[:, None])
    c_0, c_x = b.sqrt() * (1 - a / b) / (1 - a), (a / b).sqrt() * (1 - b) / (1 - a)
    std = ((1 - a / b) * (1 - b) / (1 - a)).sqrt()
    gain, shift = (v.reshape(-1, *shape).to(dtype) for v in (gain, shift))
    m = len(steps) - 2
    want = {
        "the levels that the denoiser is asked about": steps[:-1],
        "entries of another dtype than x": 0,
        "difference of two runs with equal generators": 0.0,
        "two runs with different generators are alike": int(m == 0),
        "last state minus the guess, in the step to 0": 0.0,
    }
    table = lambda value, n=m: torch.full((n, 2), float(value))
    want |= (
        {
            "mean of the noise z": table(0),
            "mean of z^2": table(1),
            "mean of |z|": table((2 / math.pi) ** 0.5),
            "z times the state before": table(0),
            "z times the z of the step before": table(0, m - 1),
            "z times the z of the next sample": table(0),
            "z of one coordinate times z of the next": table(0),
        }
        if m > 0
        else {}
    )
    inputs = (
        abar,
        steps,
        gain,
        shift,
        c_x.to(dtype),
        c_0.to(dtype),
        std.to(dtype),
        10 * len(ancestral_sample.cases),
    )
    left_out = any(k - j > 1 for k, j in pairwise(steps))
    ancestral_sample.case(
        text,
        inputs,
        want,
        hidden=hidden,
        states_left_out=left_out,
        entries=str(dtype)[6:],
        shape_of_a_sample=str(shape),
    )


BETAS = [0.05, 0.1, 0.15, 0.3, 0.4, 0.5, 0.7]
chain("all steps [7, 6, ..., 0]", BETAS, [7, 6, 5, 4, 3, 2, 1, 0])
chain("the steps [7, 4, 1, 0]", BETAS, [7, 4, 1, 0])
chain("the steps [6, 3, 2, 0]", BETAS, [6, 3, 2, 0])
chain("all steps [4, 3, 2, 1, 0]", BETAS[3:], [4, 3, 2, 1, 0], hidden=True)
chain("the steps [5, 0]", BETAS, [5, 0], hidden=True)
cosine = [math.cos((k / 60 + 0.008) / 1.008 * math.pi / 2) ** 2 for k in range(61)]
cosine = [min(1 - cosine[k + 1] / cosine[k], 0.999) for k in range(60)]
chain(
    "the steps [60, 45, 30, 12, 3, 0] of a cosine chain",
    cosine,
    [60, 45, 30, 12, 3, 0],
    hidden=True,
)
chain(
    "all steps [3, 2, 1, 0], samples of shape (1, 2)",
    BETAS[4:],
    [3, 2, 1, 0],
    hidden=True,
    shape=(1, 2),
)

# ---------------------------------------------------------------- retraces


def sampler(at="nowhere", data=1.0, noise=1.0, add=0.0, shift=0.0, means=1.0, variant=""):
    """A sampler for data that is one point; at the steps named by ``at`` something is changed.

    data and noise multiply their coefficients, means the mean; add is more noise, shift moves the state. What is
    changed in one state alone is not carried on.
    """

    def changed(i, last, k, j):
        holds = {"every step": True, "every step but the last": j > 0, "the last": j == 0}
        holds |= {"the first": i == 0, "the one before the last": i == last - 1}
        holds |= {"one in the middle": i == last // 2, "after a skip": k - j > 1 and j > 0}
        holds["the first two"] = i < 2 and j > 0
        return holds.get(at, False)

    def reverse(c, x, abar, steps, seed):
        g, states, x = torch.Generator().manual_seed(int(seed)), [], torch.as_tensor(x).double()
        steps, left = [int(v) for v in steps], torch.as_tensor(abar).double()
        level = lambda v: schedule.Point(float(left[v]) ** 0.5, (1 - float(left[v])) ** 0.5, None)
        for i, (k, j) in enumerate(pairwise(steps)):
            skipped = variant == "single steps" and k - j > 1 and j > 0
            step = samplers.ddim_coefficients(level(k), level(k - 1 if skipped else j), 1.0)
            z = torch.randn(x.shape, generator=g, dtype=torch.float64)
            here = changed(i, len(steps) - 2, k, j)
            if here and variant == "shared":
                z = z[:1].expand(x.shape)
            right = step[0] * x + step[1] * c + step[2] * z
            size = step[2] * noise + add
            if variant == "forward":
                size = float(1 - left[k] / left[j]) ** 0.5
            other = means * (step[0] * x + data * step[1] * c) + size * z + shift
            if variant == "in turn":
                other = right + shift * (-1) ** i * (1 - left[j]).sqrt()
            if variant == "mirrored":
                other = -right
            states.append(other if here else right)
            x = other if here and at.startswith("every step") else right
        return torch.stack(states)

    return (reverse,)


retraces = Exercise(verdict="sampler", show=False)
EACH, SOME, END = "every state", "one state", "the last state"
BUT_LAST = "every step but the last"
for text, changes, want, hidden, facets in [
    ("the posterior", {}, True, False, ()),
    ("the posterior, its noise with the other sign", {"at": "every step", "noise": -1.0}, True, False, ()),
    ("the posterior, rounded otherwise", {"at": "every step", "data": 1 + 1e-13}, True, False, ()),
    ("it adds no noise", {"at": "every step", "noise": 0.0}, False, False, ("spread", EACH)),
    ("it adds noise in the last step", {"at": "the last", "add": 0.3}, False, False, ("spread", END)),
    ("its noise is 15 % too small", {"at": BUT_LAST, "noise": 0.85}, False, False, ("spread", EACH)),
    ("its noise has the forward variance beta", {"at": BUT_LAST, "variant": "forward"}, False, False, ("spread", EACH)),
    ("half of the data's share is missing in every step", {"at": BUT_LAST, "data": 0.5}, False, False, ("mean", EACH)),
    ("every mean is pulled 3 % to 0", {"at": BUT_LAST, "means": 0.97}, False, False, ("mean", EACH)),
    ("all samples get the same noise", {"at": BUT_LAST, "variant": "shared"}, False, False, ("spread", EACH)),
    ("it is right only where no state is skipped", {"variant": "single steps"}, False, False, ("after a skip", SOME)),
    ("only states after a skip are moved", {"at": "after a skip", "shift": -0.3}, False, False, ("after a skip", SOME)),
    ("it ends 1 % beside the data", {"at": "the last", "data": 1.01}, False, False, ("mean", END)),
    ("it ends a thousandth above the data", {"at": "the last", "shift": 1e-3}, False, False, ("mean", END)),
    ("only its first state is too wide", {"at": "the first", "add": 0.35}, False, False, ("spread", SOME)),
    ("only its first state is moved up", {"at": "the first", "shift": 0.3}, False, False, ("mean", SOME)),
    ("only the state before the last is moved up", {"at": "the one before the last", "shift": 0.4}, False, False, ("mean", SOME)),
    ("only the state before the last is too wide", {"at": "the one before the last", "add": 0.4}, False, False, ("spread", SOME)),
    ("its first state is moved up, its second as far down", {"at": "the first two", "shift": 0.3, "variant": "in turn"}, False, False, ("mean", SOME)),
    ("one state in the middle has its sign turned", {"at": "one in the middle", "variant": "mirrored"}, False, False, ("mean", SOME)),
    ("its first state is moved down, its second as far up", {"at": "the first two", "shift": -0.2, "variant": "in turn"}, False, True, ("mean", SOME)),
    ("the state before the last has its sign turned", {"at": "the one before the last", "variant": "mirrored"}, False, False, ("mean", SOME)),
    ("the posterior, its means rounded otherwise", {"at": "every step", "means": 1 + 1e-13}, True, True, ()),
    ("its noise is 15 % too large", {"at": BUT_LAST, "noise": 1.15}, False, True, ("spread", EACH)),
    ("only its first state is moved down", {"at": "the first", "shift": -0.3}, False, True, ("mean", SOME)),
    ("only one state in the middle is moved", {"at": "one in the middle", "shift": 0.3}, False, True, ("mean", SOME)),
    ("only one state in the middle is too wide", {"at": "one in the middle", "add": 0.4}, False, True, ("spread", SOME)),
    ("it ends at the data plus a thousandth of noise", {"at": "the last", "add": 1e-3}, False, True, ("spread", END)),
]:  # fmt: skip
    what, where = facets or ("nothing", "nowhere")
    retraces.case(
        text,
        recipe(sampler, **changes),
        want,
        hidden=hidden,
        what_is_wrong=what,
        where_it_is_wrong=where,
    )
