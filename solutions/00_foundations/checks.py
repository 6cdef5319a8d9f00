"""Chapter 00: the cases of each exercise, and the truth of each."""

import math

import torch
import torch.distributions as td
from scipy.stats import rv_histogram, sem

from autograde.authoring import Exercise, recipe
from coursekit.checks import Wrong

EXACT = {"atol": 1e-10, "rtol": 1e-9}
g = torch.Generator().manual_seed(0)
double = lambda values: torch.tensor(values, dtype=torch.float64)
normal = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)


# ---------------------------------------------------------------- fit_gaussian


def mean_and_std(answer, x):
    got = answer(x)
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise Wrong("a pair must come back: (mean, std)")
    return {"mean": got[0], "std": got[1]}


def from_pairs(x):
    """The variance is half the mean squared distance of two dots, drawn with replacement."""
    y = x.double()
    mean = y[0] + sum(row - y[0] for row in y) / len(y)
    variance = (y[:, None] - y[None]).square().sum((0, 1)) / (2 * len(y) ** 2)
    return mean.to(x.dtype), variance.sqrt().to(x.dtype)


# a fit is not differentiated in the data
fit_gaussian = Exercise(
    truth=from_pairs, view=mean_and_std, equivalent=["the gradient is cut"], **EXACT
)


def dots(text, x, hidden=False, room=1.0):
    where = "far" if x.mean() > 1e5 else "near"
    return fit_gaussian.case(
        text,
        (x,),
        hidden=hidden,
        room=room,
        dots=x.shape[0],
        coordinates=x.shape[1],
        from_zero=where,
    )


dots("4 dots with 2 coordinates", double([[1.0, 10.0], [2.0, 35.0], [4.0, 20.0], [9.0, 80.0]]))
seven = dots(
    "7 dots with 3 coordinates",
    normal(7, 3) * double([0.5, 2.0, 1.3]) + double([4.0, -1.0, 0.7]),
)
dots("5 dots near 1,000,000", normal(5, 2) + 1e6)
dots("60 dots near 100,000,000", normal(60, 2) + 1e8, hidden=True, room=1e4)
dots("5 dots with one coordinate", 3 * normal(5, 1) - 8, hidden=True)
dots("3 dots with 3 coordinates", 2 * normal(3, 3) + 1, hidden=True)
dots("a single dot", normal(1, 4), hidden=True)
fit_gaussian.again(seven)


# ---------------------------------------------------------------- mixture_log_prob


def by_torch(x, log_weights, means, stds):
    parts = td.Independent(td.Normal(means, stds), 1)
    return td.MixtureSameFamily(
        td.Categorical(logits=log_weights, validate_args=False), parts
    ).log_prob(x)


mixture_log_prob = Exercise(truth=by_torch, gradient=("x", "means"), **EXACT)


def mixture(text, n, k, d, hidden=False, away=1.0, empty=False, fact=""):
    log_weights = normal(k).log_softmax(0)
    means = 2 * normal(k, d)
    stds = 0.4 + torch.rand(k, d, generator=g, dtype=torch.float64)
    x = away * 2 * normal(n, d)
    if empty:
        log_weights = log_weights.masked_fill(torch.arange(k) == 1, -math.inf).log_softmax(0)
    return mixture_log_prob.case(
        text,
        (x, log_weights, means, stds),
        hidden=hidden,
        fact=fact,
        far_away=away > 1,
        coordinates=d,
    )


first = mixture("5 points in 3 dimensions, 4 components", 5, 4, 3)
mixture("4 points on the line, 2 components", 4, 2, 1)
mixture(
    "3 points about 100 standard deviations away", 3, 2, 2, away=50.0,
      fact="so far away every density is 0 in a computer; its log is a harmless number")  # fmt: skip
mixture("points thousands of deviations away", 2, 4, 3, hidden=True, away=900.0)
mixture("one component, 6 dimensions", 2, 1, 6, hidden=True)
mixture("as many points as components and dimensions", 3, 3, 3, hidden=True)
mixture("a single point", 1, 3, 2, hidden=True)
mixture("a component of weight 0", 4, 3, 2, hidden=True, empty=True)
mixture_log_prob.again(first)


# ---------------------------------------------------------------- kl


def of_tables(answer, log_p, log_q):
    """The tables are normalised on the way, so that a gradient stays among probabilities."""
    return answer(log_p.log_softmax(-1), log_q.log_softmax(-1))


def entropies(log_p, log_q):
    p, q = log_p.exp(), log_q.exp()
    return -torch.special.xlogy(p, q).sum(-1) - torch.special.entr(p).sum(-1)


kl = Exercise(truth=entropies, view=of_tables, gradient=("log_p", "log_q"), **EXACT)


def logs(*shape):
    return (1.3 * normal(*shape)).log_softmax(-1)


def tables(exercise, text, log_p, log_q, want=None, hidden=False, fact=""):
    least = min(log_p.min(), log_q.min())
    some = (
        "some are 0"
        if least == -math.inf
        else "some below exp(-700)"
        if least < -700
        else "moderate"
    )
    return exercise.case(
        text, (log_p, log_q), want, hidden=hidden, fact=fact, probabilities=some, tables=log_p[..., 0].numel()
    )  # fmt: skip


def zeros(exercise, text, p, q, hidden=False, fact=""):
    """Tables with states of probability 0: values only, no derivative in the log of 0."""
    p, q = double(p), double(q)
    tables(exercise, text, p.log(), q.log(), exercise.truth(p.log(), q.log()), hidden, fact)


FAIR, BENT = double([0.5, 0.5]).log(), double([0.75, 0.25]).log()
batch = tables(kl, "3 pairs of tables with 5 states", logs(3, 5), logs(3, 5))
tables(kl, "a fair coin coded as a bent one", FAIR, BENT)
zeros(
    kl, "p has two states of probability 0", [0.2, 0.0, 0.8, 0.0], [0.3, 0.4, 0.2, 0.1],
    fact="a state with p = 0 adds nothing: 0 log 0 = 0",
)  # fmt: skip
zeros(
    kl, "q has a state of probability 0, p has not", [0.5, 0.3, 0.2], [0.6, 0.4, 0.0],
    fact="where q = 0 and p is not, the price is infinite",
)  # fmt: skip
zeros(kl, "both are 0 in one state", [[0.5, 0.5, 0.0, 0.0], [0.2, 0.8, 0.0, 0.0]],
      [[0.1, 0.2, 0.7, 0.0], [0.3, 0.3, 0.4, 0.0]], fact="a state with p = 0 adds nothing, even where q = 0 too")  # fmt: skip
zeros(kl, "q lacks a state", [[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]], [[0.5, 0.5, 0.0], [0.1, 0.1, 0.8]],
      hidden=True)  # fmt: skip
tables(kl, "a batch of 2 x 3 pairs", logs(2, 3, 4), logs(2, 3, 4), hidden=True)
tables(kl, "as many tables as states", logs(4, 4), logs(4, 4), hidden=True)
tables(kl, "a batch of one pair", logs(1, 3), logs(1, 3), hidden=True)
tables(
    kl, "q is as small as exp(-900)", double([-1e-13, -30.0]), double([-900.0, 0.0]), double(900.0),
    hidden=True,
)  # fmt: skip
kl.again(batch)


# ---------------------------------------------------------------- bits_per_dim


def mean_and_error(answer, log_prob, dims, levels):
    """The error to two digits: dividing by n or by n - 1 inside the standard deviation is the same there."""
    got = answer(log_prob, dims) if levels == 1 else answer(log_prob, dims, levels)
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise Wrong("two numbers must come back: (mean, standard error)")
    return {"mean": float(got[0]), "standard error, to two digits": float(f"{float(got[1]):.1e}")}


bits_per_dim = Exercise(view=mean_and_error, atol=1e-7)


def pictures(text, n, dims, levels=1, hidden=False, least=1.5, dtype=torch.float64):
    """Log-likelihoods made from known bits per dimension: a picture of probability 2 ** -(bits * dims)."""
    while True:
        bits = least + torch.rand(n, generator=g, dtype=torch.float64)
        errors = [float(sem(bits.numpy(), ddof=k)) for k in (0, 1)]
        if len({f"{e * s:.1e}" for e in errors for s in (1.0, 1.001, 0.999)}) == 1:
            break
    log_prob = ((math.log2(levels) - bits) * dims * math.log(2)).to(dtype)
    bits_per_dim.case(
        text,
        (log_prob, dims, levels),
        {
            "mean": bits.mean().item(),
            "standard error, to two digits": float(f"{errors[0]:.1e}"),
        },
        hidden=hidden,
        room=1 if dtype == torch.float64 else 30,
        levels=levels,
        pixels=dims,
    )


pictures("35 pictures of 12 pixels", 35, 12)
pictures("40 pictures of 7 pixels with 17 levels", 40, 7, 17, least=2.0)
pictures("60 pictures of 5 pixels with 4 levels", 60, 5, 4, least=0.3)
pictures("90 pictures of 30 pixels with 256 levels", 90, 30, 256, hidden=True, least=5.0)
pictures("70 densities above 1", 70, 9, hidden=True, least=-3.0)
pictures("200 pictures, float32", 200, 64, 17, hidden=True, dtype=torch.float32)


# ---------------------------------------------------------------- inverse_cdf


def quantiles(u, edges, mass):
    heights = (mass.double() / edges.double().diff()).numpy()
    x = rv_histogram((heights, edges.double().numpy()), density=True).ppf(u.double().numpy())
    return torch.from_numpy(x).to(u.dtype)


# nobody differentiates a quantile in u here; and which side of an edge u itself belongs to has probability 0
AS_GOOD = ["the gradient is cut", "line 7: True becomes False"]
inverse_cdf = Exercise(truth=quantiles, dtype=False, equivalent=AS_GOOD, **EXACT)


def cells(text, edges, mass, u, want=None, hidden=False):
    widths = double(edges).diff()
    return inverse_cdf.case(
        text,
        (double(u), double(edges), double(mass)),
        want if want is None else double(want),
        hidden=hidden,
        cells="of equal width" if widths.max() - widths.min() < 1e-9 else "of unequal width",
        empty_cells=mass.count(0.0),
    )


cells("4 cells of equal width", [-1.0, 0.0, 1.0, 2.0, 3.0], [0.1, 0.4, 0.2, 0.3],
      [0.05, 0.35, 0.62, 0.9, 0.17])  # fmt: skip
uneven = cells(
    "3 cells of unequal width", [-2.0, 0.0, 0.5, 4.0], [0.2, 0.5, 0.3], [0.81, 0.1, 0.4, 0.95]
)
cells("5 cells, one of them empty", [0.0, 1.0, 3.0, 3.5, 5.0, 6.0], [0.3, 0.1, 0.0, 0.4, 0.2],
      [0.15, 0.35, 0.45, 0.9])  # fmt: skip
cells(
    "7 cells, the outer ones empty", [-3.0, -2.5, 0.0, 0.1, 1.0, 4.0, 4.5, 9.0],
    [0.0, 0.25, 0.2, 0.0, 0.05, 0.5, 0.0], [0.01, 0.2, 0.26, 0.44, 0.46, 0.48, 0.52, 0.77, 0.99], hidden=True,
)  # fmt: skip
tenths, below_one = [0.1] * 10, 1 - 2.0**-53
cells(
    "the ends: u = 0 and the last number below 1", [float(k * k) for k in range(11)], tenths,
    [below_one, 0.0, 0.55], [100.0, 0.0, 30.5], hidden=True,
)  # fmt: skip
cells("u at the height of an edge", [0.0, 1.0, 4.0, 5.0], [0.25, 0.5, 0.25], [0.75, 0.25], [4.0, 1.0],
      hidden=True)  # fmt: skip
cells("one cell, one u", [2.0, 7.0], [1.0], [0.3], hidden=True)
cells(
    "a wide range", [-1e4, -3.0, 2e3, 5e5], [0.7, 0.2, 0.1], [0.69, 0.71, 0.89, 0.91, 0.001, 0.999], hidden=True
)  # fmt: skip
inverse_cdf.again(uneven)


# ---------------------------------------------------------------- ring_log_prob


def by_jacobian(x, radius, width, stretch):
    """The map itself, noise to ring, and the determinant of its Jacobian by autograd; the noise by solving back."""

    def ring(noise):
        turn, z = noise[0], noise[1]
        r = radius * torch.exp(width * z)
        angle = 2 * math.pi * turn
        return torch.stack([stretch * r * torch.cos(angle), r * torch.sin(angle)])

    flat = torch.stack([x[:, 0] / stretch, x[:, 1]], 1).to(torch.float64)
    z = (torch.complex(flat[:, 0], flat[:, 1]).abs() / radius).log() / width
    turn = torch.atan2(flat[:, 1], flat[:, 0]) / (2 * math.pi)
    jacobian = torch.func.vmap(torch.func.jacrev(ring))(torch.stack([turn, z], 1))
    noise = td.Normal(torch.zeros((), dtype=torch.float64), 1.0).log_prob(z)
    return (noise - torch.linalg.slogdet(jacobian).logabsdet).to(x.dtype)


# wide enough for torch.distributions, whose parameters are float32 when they come from Python numbers
ring_log_prob = Exercise(truth=by_jacobian, gradient=("x",), atol=1e-5, rtol=1e-5)


def on_the_ring(text, n, radius, width, stretch, hidden=False, fact="", away=1.0):
    turn = torch.rand(n, generator=g, dtype=torch.float64)
    r = radius * torch.exp(away * width * normal(n))
    x = torch.stack([stretch * r * (6.2 * turn).cos(), r * (6.2 * turn).sin()], 1)
    facets = {"stretch": stretch, "width": width, "radius": radius}
    return ring_log_prob.case(text, (x, radius, width, stretch), hidden=hidden, fact=fact, **facets)


on_the_ring("5 points of a round ring, radius 1, width 1", 5, 1.0, 1.0, 1.0)
on_the_ring("4 points of a round ring, radius 2, width 0.4", 4, 2.0, 0.4, 1.0)
on_the_ring("6 points of a stretched ring, radius 1, width 1", 6, 1.0, 1.0, 3.0)
ring_case = on_the_ring("3 points, radius 1.5, width 0.3, stretch 0.6", 3, 1.5, 0.3, 0.6)
on_the_ring("7 points, radius 0.2, width 0.7, stretch 2.5", 7, 0.2, 0.7, 2.5, hidden=True)
on_the_ring("2 points far off the ring", 2, 1.2, 0.2, 1.7, hidden=True, away=12.0)
on_the_ring("a single point", 1, 3.0, 0.5, 0.4, hidden=True)
ring_log_prob.again(ring_case)


# ---------------------------------------------------------------- is_consistent


def model(claimed, low, high, drawn=(), shape="tent", factor=1.0, power=1.0, flaw="", seed=0):
    """A heap of tents, bells or blocks (weight, centre, width): its density, and samples of what is drawn instead."""
    table = lambda rows: torch.tensor(rows, dtype=torch.float64).T
    weights, centres, widths = table(claimed)
    stream = torch.Generator().manual_seed(seed)

    def log_prob(x):
        z = (x.unsqueeze(-1) - centres) / widths
        if shape == "tent":
            p = (1 - z.abs()).clamp_min(0)
        elif shape == "block":
            p = (z.abs() <= 0.5).to(z.dtype)
        else:
            p = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        return power * (factor * (weights / widths * p).sum(-1)).log()

    def fresh(n):
        w, c, h = table(drawn or claimed)
        u, v = torch.rand(2, n, generator=stream, dtype=torch.float64)
        z = {"tent": u + v - 1, "block": u - 0.5}.get(shape)
        if "teeth" in flaw:
            k = 20 if "fine" in flaw else 8
            z = ((u * k).floor() + (u * k).frac() / 2) / k - 0.5
        if z is None:
            z = torch.randn(n, generator=stream, dtype=torch.float64)
        j = torch.multinomial(w, n, True, generator=stream)
        return c[j] + h[j] * z

    stored = fresh(300 if flaw == "few" else 25)

    def sample(n):
        x = fresh(n)
        if flaw in ("memory", "few"):
            x = stored[torch.randint(len(stored), (n,), generator=stream)]
        if flaw == "outside":
            x = x + 5 * (high - low) * (torch.arange(n) % 4 == 0)
        if flaw == "below":
            x = torch.where(torch.arange(n) % 8 == 0, low - x.abs() - 1, x)
        if flaw == "stuck":
            x = torch.full_like(x, float(stored[0]))
        return x

    return log_prob, sample, low, high


is_consistent = Exercise(verdict="model", show=False)


def meet(text, right, claimed, low, high, hidden=False, fact="", off=None, **change):
    facets = {
        "integral of the density": round(change.get("factor", 1.0), 3),
        "samples": off or "as claimed",
        "shape": change.get("shape", "tent"),
    }
    inputs = recipe(
        model, claimed=claimed, low=low, high=high, seed=len(is_consistent.cases), **change
    )
    is_consistent.case(text, inputs, right, hidden=hidden, fact=fact, **facets)


ONE, TWO = [(1.0, 0.4, 3.0)], [(0.7, -1.5, 1.6), (0.3, 2.0, 1.0)]
RARE, BLOCK = [(0.96, -1.5, 2.0), (0.04, 3.0, 0.6)], [(1.0, 1.0, 4.0)]
SPIKE, BELL = [(0.8, -1.0, 3.0), (0.2, 3.0, 0.1)], [(1.0, 0.0, 1.0)]
NORMAL, EVERY = "the density must integrate to 1", "the counts of every bin must fit"
meet("a bell", True, BELL, -7, 7, shape="bell")
meet("one tent", True, ONE, -4, 5)
meet("two tents", True, TWO, -5, 5)
meet("a block, whose log-density is minus infinity outside", True, BLOCK, -2, 4, shape="block")
meet("a tent and a narrow spike", True, SPIKE, -5, 5)
meet("the density integrates to 2", False, TWO, -5, 5, factor=2.0, fact=NORMAL)
meet("the density integrates to 1.05", False, ONE, -4, 5, factor=1.05, fact=NORMAL)
meet("the density integrates to 0.9", False, BELL, -7, 7, factor=0.9, shape="bell", fact=NORMAL)
meet("nats and bits confused", False, TWO, -5, 5, power=1 / math.log(2), fact=NORMAL)
meet(
    "the likelier component alone is drawn", False, TWO, -5, 5, drawn=TWO[:1], off="a part missing"
)
meet("a variance for a standard deviation in the sampler", False, TWO, -5, 5,
     drawn=[(0.7, -1.5, 2.56), (0.3, 2.0, 1.0)], off="another width", fact=EVERY)  # fmt: skip
meet("the weights are forgotten in the sampler", False, TWO, -5, 5,
     drawn=[(0.5, -1.5, 1.6), (0.5, 2.0, 1.0)], off="other weights", fact=EVERY)  # fmt: skip
meet("the same mean and variance, another distribution", False, BELL, -7, 7,
     drawn=[(0.5, -0.9, 0.19**0.5), (0.5, 0.9, 0.19**0.5)], shape="bell", off="another shape", fact=EVERY)  # fmt: skip
meet("a memory of 25 points", False, BELL, -7, 7, shape="bell", flaw="memory", off="a memory",
     fact="25 values fill few bins, and those too much")  # fmt: skip
meet("a quarter of the samples lies outside [low, high]", False, ONE, -4, 5, flaw="outside", off="outside",
     fact="the count of a bin has mean n * mass, where n counts all samples, also those outside")  # fmt: skip
meet("a block that is drawn as a comb of 8 teeth", False, BLOCK, -2, 4, shape="block", flaw="teeth",
     off="another shape", fact="a few wide bins cannot see the gaps")  # fmt: skip
meet(
    "every sample is the same",
    False,
    BELL,
    -7,
    7,
    shape="bell",
    flaw="stuck",
    off="a memory",
)
meet("one sample of 8 lies below low", False, SPIKE, -5, 5, flaw="below", off="outside")
meet("a block that is drawn as a comb of 20 teeth", False, BLOCK, -2, 4, shape="block",
     flaw="fine teeth", off="another shape")  # fmt: skip
meet("the density integrates to 0.96", False, SPIKE, -5, 5, factor=0.96, fact=NORMAL)
meet("the same mean and variance, on a larger scale", False, [(1.0, 3.0, 2.0)], -11, 17,
     drawn=[(0.5, 1.2, 2 * 0.19**0.5), (0.5, 4.8, 2 * 0.19**0.5)], shape="bell", off="another shape", fact=EVERY)  # fmt: skip
meet("the rare component, 4 % of the mass, is never drawn", False, RARE, -5, 5, drawn=RARE[:1],
     off="a part missing", fact=EVERY)  # fmt: skip
meet("a bell on a large scale", True, [(1.0, 500.0, 90.0)], -300, 1300, hidden=True, shape="bell")
meet("a tent on a small scale", True, [(1.0, 0.002, 0.001)], 0.0, 0.004, hidden=True)
meet("three blocks", True, [(0.2, -3.0, 1.0), (0.5, 0.0, 0.5), (0.3, 2.0, 2.0)], -5, 4, hidden=True,
     shape="block")  # fmt: skip
meet(
    "a spike that holds nearly everything",
    True,
    [(0.97, 1.0, 0.3), (0.03, -2.0, 3.0)],
    -6,
    3,
    hidden=True,
)
meet("the density integrates to 1.03", False, TWO, -5, 5, hidden=True, factor=1.03, fact=NORMAL)
meet("a memory of 300 points", False, TWO, -5, 5, hidden=True, flaw="few", off="a memory")
meet("a rare, wide component is never drawn", False, [(0.97, -1.5, 2.0), (0.03, 3.0, 1.5)], -5, 5, hidden=True,
     drawn=[(1.0, -1.5, 2.0)], off="a part missing")  # fmt: skip
meet("a small piece of a bell is drawn elsewhere", False, [(1.0, 0.5, 1.0)], -7, 8, hidden=True, shape="bell",
     drawn=[(0.96, 0.5, 1.0), (0.04, 2.5, 0.05)], off="other weights")  # fmt: skip
meet("the spike is drawn twice as often", False, SPIKE, -5, 5, hidden=True,
     drawn=[(0.6, -1.0, 3.0), (0.4, 3.0, 0.1)], off="other weights")  # fmt: skip
meet("a mirror image is drawn", False, TWO, -5, 5, hidden=True, drawn=[(0.7, 1.5, 1.6), (0.3, -2.0, 1.0)],
     off="another place")  # fmt: skip
meet("two tents of which one is rare", True, RARE, -5, 5, hidden=True)  # fmt: skip
meet("samples shifted by a fifth of a deviation", False, BELL, -7, 7, drawn=[(1.0, 0.2, 1.0)], shape="bell",
     off="another place", fact=EVERY, hidden=True)  # fmt: skip
