"""Chapter 12: the cases of each exercise, and the truth of each."""

import itertools
import math

import torch

from autograde.authoring import Exercise, recipe
from coursekit.checks import Wrong


def noise(*shape, seed, dtype=torch.float64):
    """Standard normal numbers of their own stream."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)


# ---------------------------------------------------------------- marginal_velocity


def by_the_generating_function(x, t, data):
    """The mean of the lines' velocities is the slope of log E[exp(b . u)] at b = 0."""
    b = torch.zeros_like(x, requires_grad=True)
    lines = (x[:, None] - data) / t
    likely = torch.distributions.Normal((1 - t) * data, t).log_prob(x[:, None]).sum(-1)
    total = torch.logsumexp(likely + (b[:, None] * lines).sum(-1), 1).sum()
    return torch.autograd.grad(total, b, create_graph=True)[0]


marginal_velocity = Exercise(truth=by_the_generating_function, gradient=("x", "data"))


def places(text, x, t, data, hidden=False, fact=""):
    return marginal_velocity.case(
        text,
        (x, t, data),
        hidden=hidden,
        fact=fact,
        t=t,
        places=len(x),
        data_points=len(data),
        dimensions=x.shape[1],
        far_from_all_data=bool(((torch.cdist(x, (1 - t) * data).amin(1) / t) > 38).any()),
    )


FAR = "exp(-|eps|^2 / 2) of a far line is 0 in floating point; the softmax subtracts the largest exponent first"
six = 1.3 * noise(6, 3, seed=2) + 0.4
first = places("4 places, 6 data points in 3 dimensions, t = 0.35", noise(4, 3, seed=1), 0.35, six)
places(
    "5 places, 5 data points in 2 dimensions, t = 0.8",
    noise(5, 2, seed=3),
    0.8,
    noise(5, 2, seed=4) - 0.3,
)
places(
    "7 places, 2 data points on a line, t = 0.6",
    noise(7, 1, seed=5),
    0.6,
    0.8 * noise(2, 1, seed=6),
)
near = noise(3, 2, seed=7)
places(
    "3 places, of which one is far from all data, t = 0.05",
    torch.cat([near[:2] * 0.95 + 0.02, near[2:] + 9.0]), 0.05, near, fact=FAR,
)  # fmt: skip
places(
    "3 places at t = 1", noise(3, 2, seed=8), 1.0, noise(4, 2, seed=9),
    fact="at t = 1 the place is the noise of every line alike: all lines count the same, and nothing is divided by 1 - t",
)  # fmt: skip
places("hidden 1", noise(6, 5, seed=10), 1.0, 0.7 * noise(3, 5, seed=11), hidden=True)
places("hidden 2", six[:5] + 1e-3, 0.004, six, hidden=True)
places("hidden 3", torch.cat([six[:2] + 9.0, 0.9 * six[:2]]), 0.1, six, hidden=True)
places("hidden 4", noise(1, 2, seed=12), 0.5, noise(1, 2, seed=13), hidden=True)
places("hidden 5", noise(3, 2, seed=14), 0.45, noise(4, 2, seed=15)[[0, 1, 1, 2, 3]], hidden=True)
places("hidden 6", noise(4, 4, seed=16), 0.3, noise(4, 4, seed=17), hidden=True)
marginal_velocity.again(first)

# ---------------------------------------------------------------- flow_loss


def wavy(shape, seed, dtype="float64", times=None):
    """A field that depends on place and time in no simple way, a batch, and times of their own."""
    kind = getattr(torch, dtype)
    g = torch.Generator().manual_seed(seed)
    draw = lambda *s: torch.randn(*s, generator=g, dtype=torch.float64).to(kind)
    x0, eps, a = draw(*shape), draw(*shape), draw(3)
    t = torch.rand(shape[0], generator=g, dtype=torch.float64).to(kind)
    t = t if times is None else torch.tensor(times, dtype=kind)

    def velocity(x, t):
        if getattr(t, "shape", None) != x.shape[:1]:
            got = tuple(getattr(t, "shape", ()))
            raise ValueError(f"the network wants one time a sample, shape ({len(x)},); got {got}")
        time = t.reshape(-1, *[1] * (x.ndim - 1))
        return torch.sin(a[0] * x + 3 * a[1] * time) + a[2] * x.roll(1, -1) * time

    return velocity, x0, eps, t


def sample_by_sample(velocity, x0, eps, t):
    losses = []
    for i in range(len(t)):
        along = eps[i] - x0[i]
        gap = velocity((x0[i] + t[i] * along)[None], t[i : i + 1])[0] - along
        losses.append((gap.flatten() @ gap.flatten()).reshape(1))
    return torch.cat(losses)


flow_loss = Exercise(truth=sample_by_sample, gradient=("x0", "eps"), show=False)


def batches(text, shape, seed, hidden=False, room=1.0, fact="", **options):
    flow_loss.case(
        text,
        recipe(wavy, shape=shape, seed=seed, **options),
        hidden=hidden,
        room=room,
        fact=fact,
        dimensions_of_a_sample=len(shape) - 1,
        numbers_in_a_sample=math.prod(shape[1:]),
        batch=shape[0],
        dtype=options.get("dtype", "float64"),
    )


batches("5 points in 3 dimensions", (5, 3), 20)
batches(
    "4 points in 4 dimensions", (4, 4), 21,
    fact="here the batch is as long as a sample: a t that is not reshaped meets the wrong dimension without an error",
)  # fmt: skip
batches("3 pictures of shape (2, 5, 3)", (3, 2, 5, 3), 22)
batches("3 points, one of them at t = 0 and one at t = 1", (3, 2), 23, times=[0.0, 0.3, 1.0])
batches("hidden 1", (2, 1, 3, 2), 24, hidden=True)
batches("hidden 2", (1, 4), 25, hidden=True)
batches("hidden 3", (3, 3, 3), 26, hidden=True)
batches("hidden 4", (6, 3), 27, hidden=True, dtype="float32", room=3e4)
batches("hidden 5", (4, 1), 28, hidden=True)

# ---------------------------------------------------------------- euler_path


def linear(shape, times, seed, dtype="float64"):
    """The field a x + c t + b, for which Euler's states are plain products."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=g, dtype=torch.float64).to(getattr(torch, dtype))
    return (lambda x, t: 0.8 * x + 1.7 * t - 0.4), x, times


def states_and_questions(answer, velocity, x, times):
    asked = []

    def watched(x, t):
        asked.append(float(t))
        return velocity(x, t)

    states = answer(watched, x, times)
    if isinstance(states, (list, tuple)):
        if not states or len({tuple(s.shape) for s in states}) > 1:
            raise Wrong("a list whose states have different shapes, or none, came back")
        states = torch.stack(list(states))
    return {"states": states, "times at which the velocity is asked": asked}


def by_products(velocity, x, times):
    """Each step is the affine map y -> (1 + 0.8 h) y + h (1.7 t - 0.4); its k-fold product acts on x."""
    states, factor, offset = [x], 1.0, 0.0
    for t, s in itertools.pairwise(times):
        a, b = 1 + 0.8 * (s - t), (s - t) * (1.7 * t - 0.4)
        factor, offset = a * factor, a * offset + b
        states.append(factor * x + offset)
    return torch.stack(states)


euler_path = Exercise(truth=by_products, view=states_and_questions, gradient=("x",), show=False)


def walks(text, shape, times, seed, hidden=False, room=1.0, fact="", **options):
    euler_path.case(
        text,
        recipe(linear, shape=shape, times=times, seed=seed, **options),
        {"times at which the velocity is asked": times[:-1]},
        hidden=hidden,
        room=room,
        fact=fact,
        direction="to the noise" if times[-1] > times[0] else "to the data",
        steps=len(times) - 1,
        dtype=options.get("dtype", "float64"),
    )


walks("5 points, the times 1, 0.7, 0.65, 0.2, 0", (5, 2), [1.0, 0.7, 0.65, 0.2, 0.0], 30)
walks("3 points, the times 0.9, 0.3, 0.25, 0.1", (3, 4), [0.9, 0.3, 0.25, 0.1], 31)
walks(
    "2 pictures, the rising times 0, 0.1, 0.45, 1", (2, 1, 3, 4), [0.0, 0.1, 0.45, 1.0], 32,
    fact="the times rise, so s - t is positive: the same lines walk from data to noise",
)  # fmt: skip
walks("hidden 1", (1, 3), [1.0, 0.0], 33, hidden=True)
walks("hidden 2", (4, 1), [0.8, 0.5, 0.6, 0.2, 0.15, 0.0], 34, hidden=True)
walks("hidden 3", (3, 2), [1.0, 0.4, 0.3], 35, hidden=True, dtype="float32", room=3e4)
walks("hidden 4", (2, 2), [0.2, 0.25, 0.9], 36, hidden=True)

# ---------------------------------------------------------------- straightness


def squares_minus_square(states, times):
    """The integral of |v - mean v|^2 is that of |v|^2 minus the duration times |mean v|^2."""
    size = lambda v: torch.stack([row.flatten() @ row.flatten() for row in v])
    total = -size(states[0] - states[-1]) / (times[0] - times[-1])
    for k, h in enumerate(a - b for a, b in itertools.pairwise(times)):
        total = total + size(states[k] - states[k + 1]) / h
    return total


straightness = Exercise(truth=squares_minus_square, gradient=("states",), atol=1e-7)


def roads(text, states, times, hidden=False, fact=""):
    gaps = [round(a - b, 9) for a, b in itertools.pairwise(times)]
    return straightness.case(
        text,
        (states, times),
        hidden=hidden,
        fact=fact,
        legs_of_equal_duration=len(set(gaps)) == 1,
        duration=times[0] - times[-1],
        numbers_in_a_place=states[0, 0].numel(),
        legs=len(gaps),
    )


p, q = noise(2, 3, seed=41), noise(2, 3, seed=42)
UNEVEN = [1.0, 0.8, 0.55, 0.5, 0.1, 0.0]
winding = roads("4 winding roads in 3 dimensions, uneven times", noise(6, 4, 3, seed=40), UNEVEN)
roads("2 pictures between t = 0.9 and 0.3", noise(4, 2, 2, 2, seed=43), [0.9, 0.75, 0.7, 0.3])
roads(
    "2 straight roads at an even speed", torch.stack([p + t * q for t in UNEVEN]), UNEVEN,
    fact="on a straight road at an even speed every leg has the chord's velocity: S = 0",
)  # fmt: skip
roads(
    "2 straight roads at an uneven speed", torch.stack([p, p - 0.9 * q, p - q]), [1.0, 0.6, 0.0],
    fact="the direction never changes here, but the speed does, and it counts",
)  # fmt: skip
roads("hidden 1", noise(2, 3, 2, seed=44), [0.7, 0.2], hidden=True)
roads("hidden 2", noise(5, 1, 4, seed=45), [1.0, 0.75, 0.5, 0.25, 0.0], hidden=True)
roads(
    "hidden 3",
    noise(9, 5, 1, seed=46),
    [1.0, 0.99, 0.9, 0.6, 0.5, 0.45, 0.2, 0.15, 0.1],
    hidden=True,
)
roads("hidden 4", noise(4, 3, 3, 3, seed=47), [0.5, 0.4, 0.1, 0.05], hidden=True)
straightness.again(winding)

# ---------------------------------------------------------------- pair_up


def two_batches(shape, seed, stretch=1.5, twins=(), dtype="float64"):
    """Data and noise of one shape; ``twins``: pairs of noises that are made equal."""
    g = torch.Generator().manual_seed(seed)
    kind = getattr(torch, dtype)
    x0 = stretch * torch.randn(*shape, generator=g, dtype=torch.float64) + 0.5
    eps = torch.randn(*shape, generator=g, dtype=torch.float64)
    for i, j in twins:
        eps[j] = eps[i]
    return x0.to(kind), eps.to(kind)


def married(answer, x0, eps):
    order, n = answer(x0, eps), len(x0)
    if isinstance(order, tuple):
        raise Wrong(
            f"{len(order)} things came back; one row of {n} whole numbers is asked, the columns"
        )
    if order is None:
        raise Wrong("None came back: is the `return` missing?")
    order = torch.as_tensor(order)
    if order.shape != (n,):
        raise Wrong(
            f"numbers of shape {tuple(order.shape)} came back; order[i] is one whole number for data point i, ({n},)"
        )
    if order.is_floating_point() or order.dtype == torch.bool:
        raise Wrong(
            f"the numbers are {str(order.dtype)[6:]}; whole numbers are asked, which can be an index"
        )
    order = order.long()
    if order.min() < 0 or order.max() >= n:
        raise Wrong(
            f"an order runs from 0 to {n - 1}; yours from {int(order.min())} to {int(order.max())}"
        )
    cost = (x0.double() - eps.double()[order]).square().sum()
    found = {"noises that nobody got": n - len(order.unique()), "total squared distance": cost}
    return found if len(eps.flatten(1).unique(dim=0)) < n else {"order": order} | found


def best_of_all(x0, eps):
    """Up to 7: every permutation is tried. Beyond: the linear programme over all couplings."""
    price = (x0.double().flatten(1)[:, None] - eps.double().flatten(1)).square().sum(-1)
    n = len(price)
    if n <= 7:
        every = torch.tensor(list(itertools.permutations(range(n))))
        return every[price[torch.arange(n), every].sum(1).argmin()]
    from genmodels import ot

    even = torch.full((n,), 1 / n, dtype=torch.float64)
    return ot.plan(even, even, price).coupling.argmax(1)


pair_up = Exercise(truth=best_of_all, view=married, show=False)


def couples(text, shape, seed, hidden=False, **options):
    pair_up.case(
        text,
        recipe(two_batches, shape=shape, seed=seed, **options),
        hidden=hidden,
        room=3e4 if options.get("dtype") == "float32" else 1.0,
        pairs=shape[0],
        dimensions_of_a_sample=len(shape) - 1,
        numbers_in_a_sample=math.prod(shape[1:]),
        equal_noises="twins" in options,
    )


couples("7 points in 2 dimensions", (7, 2), 61)
couples("6 points in 3 dimensions, data and noise of one size", (6, 3), 70, stretch=1.0)
couples("5 pictures of shape (1, 3, 2)", (5, 1, 3, 2), 65)
couples("7 points on a line", (7, 1), 66)
couples("7 points in 2 dimensions, close together", (7, 2), 77, stretch=0.3)
couples("hidden 1", (40, 2), 68, hidden=True)
couples("hidden 2", (6, 2), 69, hidden=True, twins=[(0, 3), (1, 2)])
couples("hidden 3", (1, 2), 71, hidden=True)
couples("hidden 4", (6, 2), 72, hidden=True, dtype="float32")
couples("hidden 5", (6, 2, 2, 2), 73, hidden=True, stretch=1.0)

# ---------------------------------------------------------------- stochastic_step

MEANS, WIDTHS = [0.7, -0.4, 1.1], [0.4, 0.9, 1.3]


def bell(shape, t, s, g, seed, dtype="float64"):
    """Data N(m, w^2) in each coordinate: a straight field at every time."""
    kind = getattr(torch, dtype)
    stream = torch.Generator().manual_seed(seed)
    m, w = (torch.tensor(v[: shape[-1]], dtype=kind) for v in (MEANS, WIDTHS))
    x, z = (torch.randn(*shape, generator=stream, dtype=torch.float64).to(kind) for _ in range(2))

    def velocity(x, t):
        r = (t - (1 - t) * w**2) / (((1 - t) * w) ** 2 + t**2)
        return r * (x - (1 - t) * m) - m

    return velocity, 0.5 + x, t, s, g, z


def one_step(answer, velocity, x, t, s, g, z):
    asked = []

    def watched(x, t):
        asked.append(round(float(t), 9))
        return velocity(x, t)

    new = answer(watched, x, t, s, g, z)
    return {"x at time s": new, "times at which the velocity is asked": sorted(set(asked))}


def by_the_score(velocity, x, t, s, g, z):
    """The score of p_t from the Gaussian's own density, by automatic differentiation."""
    m, w = (torch.tensor(v[: x.shape[-1]], dtype=x.dtype) for v in (MEANS, WIDTHS))
    y = x if x.requires_grad else x.clone().requires_grad_()
    p_t = torch.distributions.Normal((1 - t) * m, (((1 - t) * w) ** 2 + t**2).sqrt())
    (score,) = torch.autograd.grad(p_t.log_prob(y).sum(), y, create_graph=True)
    drift = velocity(x, t) - g**2 / 2 * score
    return x - (t - s) * drift + g * (t - s) ** 0.5 * z


stochastic_step = Exercise(truth=by_the_score, view=one_step, gradient=("x", "z"), show=False)


def throws(text, t, s, g, seed, shape=(5, 3), hidden=False, fact="", dtype="float64"):
    stochastic_step.case(
        text,
        recipe(bell, shape=shape, t=t, s=s, g=g, seed=seed, dtype=dtype),
        {"times at which the velocity is asked": [t]},
        hidden=hidden,
        fact=fact,
        room=3e4 if dtype == "float32" else 1.0,
        t=t,
        s=s,
        g=g,
        dimensions_of_a_sample=len(shape) - 1,
        dtype=dtype,
    )


throws("from t = 0.6 to 0.45 with g = 1.3", 0.6, 0.45, 1.3, 80)
throws("from t = 0.3 to 0.05 with g = 0.7", 0.3, 0.05, 0.7, 81)
throws(
    "from t = 1 to 0.9 with g = 2", 1.0, 0.9, 2.0, 82,
    fact="at t = 1 the score is -x: in (17) nothing is divided by 1 - t",
)  # fmt: skip
throws(
    "from t = 0.5 to 0.2 without dice, g = 0",
    0.5,
    0.2,
    0.0,
    83,
    fact="with g = 0 the step is Euler's",
)
throws("hidden 1", 1.0, 0.7, 0.6, 84, hidden=True)
throws("hidden 2", 0.2, 0.0, 1.1, 85, hidden=True)
throws("hidden 3", 0.8, 0.5, 1.7, 86, shape=(2, 1, 2, 3), hidden=True)
throws("hidden 4", 0.7, 0.4, 0.9, 87, shape=(1, 2), hidden=True, dtype="float32")
throws("hidden 5", 0.45, 0.449, 3.0, 88, hidden=True)

# ---------------------------------------------------------------- carries


def crowd(
    t,
    rates,
    bend,
    seed,
    speed=1.0,
    wind=0.0,
    stir=0.0,
    clock=False,
    last=1.0,
    bumps=(),
    width=0.005,
    n=40,
    flat=False,
):
    """A Gaussian that is stretched and bent: x_i = exp(r_i t) u_i + bend t sin(x_{i-1}); its density and its field.

    speed, wind, stir, clock, last, bumps: what is done to the field; bumps: factors at the points of fastest change.
    """
    d = len(rates)
    start = lambda x, i: x[:, i - 1] if i else torch.full_like(x[:, 0], 0.7)

    def log_density(x, t):
        if flat:
            return 0 * x[:, 0] - sum(rates) * t
        u = torch.stack(
            [(x[:, i] - bend * t * start(x, i).sin()) * math.exp(-rates[i] * t) for i in range(d)],
            1,
        )
        return -0.5 * (u**2).sum(1) - sum(rates) * t - 0.5 * d * math.log(2 * math.pi)

    def exact(x, t):
        v = []
        for i in range(d):
            y = start(x, i)
            v.append(
                rates[i] * (x[:, i] - bend * t * y.sin())
                + bend * y.sin()
                + (bend * t * y.cos() * v[-1] if i else 0)
            )
        return torch.stack(v, 1)

    density = lambda x, t: log_density(x, t).exp()
    points = 1.2 * torch.randn(
        n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    change = density(points, t + 1e-4) - density(points, t - 1e-4)
    first = int(change.abs().argmax())
    second = int((change.abs() * ((points - points[first]).norm(dim=1) > 0.5)).argmax())

    def velocity(x, s):
        v = exact(x, 1 - s if clock else s) * speed + wind
        v[:, -1] = v[:, -1] * last
        for k, factor in zip((first, second), bumps):
            balance = 1.0 if k == first else float(-change[first] / change[second])
            v = v * (
                1
                + factor
                * balance
                * torch.exp(-(x - points[k]).square().sum(1, keepdim=True) / width)
            )
        if stir:
            y = x.clone().requires_grad_()
            with torch.enable_grad():  # the grader calls a lent function without
                (up,) = torch.autograd.grad(log_density(y, s).sum(), y)
            v = v + stir * torch.cat([-up[:, 1:2], up[:, :1], 0 * up[:, 2:]], 1)
        return v.detach()

    return density, velocity, points, t


def watched(answer, density, velocity, x, t):
    """The verdict, and what the test asked of the two functions on the way."""
    calls = {"density": [set(), set()], "velocity": [set(), set()]}

    def watch(name, f):
        def asked(y, s):
            moved = int(((y - x).abs().amax(0) > 0).sum()) if y.shape == x.shape else -1
            calls[name][0].add("t" if abs(s - t) < 1e-12 else "before t" if s < t else "after t")
            calls[name][1].add(
                {-1: "other points", 0: "as given", 1: "moved in one coordinate"}.get(
                    moved, "moved in several coordinates"
                )
            )
            return f(y, s)

        return asked

    result = answer(watch("density", density), watch("velocity", velocity), x, t)
    seen = {
        f"{k} was asked": f"at {', '.join(sorted(a))}; x {', '.join(sorted(b))}" if a else "never"
        for k, (a, b) in calls.items()
    }
    return {"result": result, "notes": seen}


carries = Exercise(view=watched, verdict="field", show=False)
FLAT, DEEP = {"rates": [0.5, -0.8], "bend": 0.6}, {"rates": [0.5, -0.9, 0.4], "bend": 0.5}


def field(text, right, hidden=False, world=FLAT, seed=1, t=0.55, fact="", **change):
    carries.case(
        f"{text} ({len(world['rates'])}-D, t = {t})",
        recipe(crowd, t=t, seed=seed, **world, **change),
        want={"result": right},
        hidden=hidden,
        fact=fact,
        factor_on_the_field=change.get("speed", 1.0),
        dimensions=len(world["rates"]),
        points_looked_at=change.get("n", 40),
        flat="flat" in change,
        points_where_it_is_wrong=str(len(change["bumps"])) if "bumps" in change else "all",
        a_wind="wind" in change,
    )


field("the exact field", True)
field(
    "the exact field and a stirring that moves no density",
    True,
    stir=0.7,
    fact="only the continuity equation counts; another field may be as right as the one you expect",
)
field("an honest error of 0.5 %", True, speed=1.005, fact="1 % of the largest |dp/dt| is allowed")
BENT = {"rates": [-0.6, -0.5], "bend": 0.8}
for k, fact in [
    (-1.0, "dp/dt and the divergence of p v have the same sign here: they add up"),
    (0.0, "nobody moves, while the density changes"),
    (0.5, ""),
    (1.03, "the largest residual is 3 % of the largest |dp/dt|; 1 % is allowed"),
    (2.0, ""),
]:
    field(f"{k:g} times the exact field", False, speed=k, fact=fact)
    field(f"{k:g} times the exact field", False, world=BENT, seed=9, t=0.4, speed=k, fact=fact)
field("its clock runs the other way", False, clock=True)
for seed in (3, 4, 6):
    field(
        f"its sign is reversed; one point to look at (number {seed})",
        False,
        speed=-1.0,
        n=1,
        seed=seed,
    )
field(
    "a flat crowd that thins out evenly", True, flat=True, world={"rates": [0.5, 0.8], "bend": 0.0}
)
field(
    "a flat crowd of density 1 that thins out evenly",
    True,
    flat=True,
    world={"rates": [0.5, 0.8], "bend": 0.0},
    t=0.0,
)
for seed in (12, 14):
    field(f"right everywhere but at one point (number {seed})", False, bumps=(0.3,), seed=seed)
THIN = {"rates": [2.0, 1.6], "bend": 0.3}
field(
    "a flat crowd that gathers evenly", True, flat=True, world={"rates": [-0.5, -0.8], "bend": 0.0}
)
field("the exact field in a thin crowd", True, world=THIN, seed=7, t=0.9)
field("1.2 times the exact field in a thin crowd", False, world=THIN, seed=7, t=0.9, speed=1.2)
field(
    "a wind is added, the same everywhere",
    False,
    wind=0.3,
    fact="a wind has no divergence, yet it carries the density away",
)
field("right everywhere but at one point", False, bumps=(0.3,), fact="all points must agree")
field(
    "right everywhere but at another point, too slow there",
    False,
    bumps=(-0.3,),
    seed=5,
    fact="all points must agree",
)
field(
    "1.5 % too fast, at one point alone",
    False,
    bumps=(0.015,),
    fact="1 % is allowed at every point",
)
for seed in (1, 9):
    field(
        f"too fast at one point, too slow at another: residuals that cancel (number {seed})",
        False,
        seed=seed,
        bumps=(0.3, 0.3),
        width=0.0002,
    )
for world, seed, t in [
    (DEEP, 2, 0.35),
    ({"rates": [0.7], "bend": 0.3}, 3, 0.7),
    ({"rates": [-3.0, -2.0], "bend": 1.0}, 4, 0.3),
    ({"rates": [0.02, -0.03, 0.01], "bend": 0.01}, 8, 0.5),
]:
    field("the exact field", True, True, world, seed, t)
    field("a millionth too fast", True, True, world, seed, t, speed=1 + 1e-6)
    field("3 % too fast", False, True, world, seed, t, speed=1.03)
    field("3 % too slow", False, True, world, seed, t, speed=0.97)
    field("its sign is reversed", False, True, world, seed, t, speed=-1.0)
field(
    "right in all coordinates but the last",
    False,
    True,
    DEEP,
    2,
    0.35,
    last=0.5,
    fact="the sum runs over all d coordinates",
)
field(
    "the exact field and a very weak wind",
    True,
    wind=0.0006,
    fact="1 % of the largest |dp/dt| is allowed at every point",
)
field(
    "the exact field and a very weak wind",
    True,
    True,
    DEEP,
    2,
    0.35,
    wind=0.0006,
    fact="1 % of the largest |dp/dt| is allowed at every point",
)
field(
    "right everywhere but at one point",
    False,
    True,
    DEEP,
    6,
    0.35,
    bumps=(0.2,),
    fact="all points must agree",
)
