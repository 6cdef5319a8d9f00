"""Chapter 01: the cases of each exercise, and the truth of each."""

import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F

from autograde.authoring import Exercise, recipe
from coursekit.checks import Sampled, Wrong

g = torch.Generator().manual_seed(1)
double = lambda values: torch.tensor(values, dtype=torch.float64)
normal = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)
states = lambda n: double(list(itertools.product([0.0, 1.0], repeat=n)))


def world(n, least=0.3):
    """Probabilities of all 2^n pictures, none of them small."""
    p = least + torch.rand(2**n, generator=g, dtype=torch.float64)
    return p / p.sum()


# ---------------------------------------------------------------- chain_log_prob


def log_odds(joint, past):
    """The logit of the next pixel after ``past`` under a table of all pictures; 0 where no pixel is left."""
    i = past.shape[1]
    if 2**i >= len(joint):
        return torch.zeros(len(past), dtype=past.dtype)
    place = (past.long() * 2 ** torch.arange(i).flip(0)).sum(1)
    zero, one = joint.reshape(2**i, 2, -1).sum(-1)[place].T
    return (one.log() - zero.log()).to(past.dtype)


def from_table(joint, x):
    return lambda past: log_odds(joint, past), x


def always(logit, x):
    return lambda past: torch.full((len(past),), logit, dtype=past.dtype), x


def with_pasts(answer, conditional, x):
    lengths = set()

    def asked(past):
        lengths.add(past.shape[1])
        return conditional(past)

    return {"log p": answer(asked, x), "lengths of the pasts asked about": sorted(lengths)}


chain_log_prob = Exercise(view=with_pasts, atol=1e-10, rtol=1e-9, show=False)


def weigh(text, inputs, log_p, n, hidden=False, room=1.0, fact="", **facets):
    want = {"log p": log_p, "lengths of the pasts asked about": list(range(n))}
    chain_log_prob.case(text, inputs, want, hidden=hidden, room=room, fact=fact, pixels=n, **facets)


def pictures(text, n, rows, hidden=False, dtype=torch.float64):
    joint = world(n, 0.1)
    x, log_p = states(n)[rows].to(dtype), joint[rows].log().to(dtype)
    room = 1 if dtype == torch.float64 else 3e4
    weigh(text, recipe(from_table, joint=joint, x=x), log_p, n, hidden, room, logits="moderate")


pictures("all 8 pictures of 3 pixels", 3, list(range(8)))
pictures("5 pictures of 4 pixels", 4, [3, 14, 0, 9, 8])
weigh("every logit is 800", recipe(always, logit=800.0, x=double([[1, 0, 1], [0, 0, 1]])),
      double([-800.0, -1600.0]), 3, logits="800",
      fact="sigmoid(-800) is 0 in a computer; its log is -800, a harmless number")  # fmt: skip
weigh("every logit is -700", recipe(always, logit=-700.0, x=double([[1, 1], [0, 1], [0, 0]])),
      double([-1400.0, -700.0, 0.0]), 2, hidden=True, logits="-700")  # fmt: skip
pictures("7 pictures of 5 pixels", 5, [3, 30, 0, 17, 12, 9, 21], hidden=True)
pictures("one picture", 4, [11], hidden=True)
pictures("one pixel", 1, [1, 0, 1], hidden=True)
pictures("as many pictures as pixels", 3, [6, 1, 5], hidden=True)
pictures("float32", 4, [1, 2, 13, 7, 7, 8], hidden=True, dtype=torch.float32)


# ---------------------------------------------------------------- nade_logits


def unrolled(x, W, c, V, b):
    """Without the recursion: a_i is c plus the columns of all earlier pixels."""
    seen = torch.ones(len(b), len(b), dtype=x.dtype).tril(-1)
    return (((x[:, None] * seen) @ W.T + c).sigmoid() * V).sum(-1) + b


nade_logits = Exercise(truth=unrolled, gradient=("x", "W", "c", "V", "b"), atol=1e-10, rtol=1e-9)


def nade(text, count, n, d, hidden=False, ink=None):
    x = torch.randint(2, (count, n), generator=g).double() if ink is None else double(ink)
    params = normal(d, n), normal(d), normal(n, d), normal(n)
    return nade_logits.case(
        text, (x, *params), hidden=hidden, pixels=n, hidden_units=d, pictures=count
    )


six = nade("6 pictures of 5 pixels, 3 hidden units", 6, 5, 3)
nade(
    "4 pictures of 3 pixels, 2 hidden units",
    4,
    3,
    2,
    ink=[[0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 1]],
)
nade("2 grey pictures of 4 pixels", 2, 4, 5, ink=[[0.3, 0.8, 0.1, 0.5], [0.9, 0.2, 0.7, 0.4]])
nade("9 pictures of 7 pixels", 9, 7, 4, hidden=True)
nade("pictures of one pixel", 3, 1, 2, hidden=True, ink=[[1], [0], [1]])
nade("a batch of one picture", 1, 6, 3, hidden=True)
nade("as many pictures as pixels and units", 4, 4, 4, hidden=True)
nade_logits.again(six)


# ---------------------------------------------------------------- made_masks


def named_masks(answer, ranks):
    masks = answer(ranks)
    names = [f"hidden mask {i + 1}" for i in range(len(ranks) - 1)] + ["output mask"]
    return {"number of masks": len(masks), **dict(zip(names, masks))}


def unit_by_unit(ranks):
    """From the sentence "a unit of rank m knows ranks up to m, an output only ranks below its own"."""
    layers = [*ranks, ranks[0]]
    masks = []
    for k, (before, after) in enumerate(zip(layers, layers[1:])):
        limit = 1 if k == len(ranks) - 1 else 0
        masks.append(
            torch.tensor([[b + limit <= a for b in before.tolist()] for a in after.tolist()])
        )
    return masks


made_masks = Exercise(
    truth=unit_by_unit,
    view=named_masks,
    about="a mask has a row for each unit after and a column for each unit before",
)


def networks(text, *ranks, hidden=False):
    order = "natural" if list(ranks[0]) == sorted(ranks[0]) else "shuffled"
    layers = [torch.tensor(r) for r in ranks]
    made_masks.case(
        text, (layers,), hidden=hidden, order_of_the_pixels=order, hidden_layers=len(ranks) - 1
    )


networks("5 pixels of ranks 1, 3, 4, 0, 2", [1, 3, 4, 0, 2], [0, 3, 1, 0, 2, 3], [1, 2, 0, 3])
networks("4 pixels of ranks 2, 0, 3, 1", [2, 0, 3, 1], [0, 2, 1, 0, 2], [1, 2, 0])
networks("4 pixels in the natural order", [0, 1, 2, 3], [0, 2, 1, 0, 2], [1, 2, 0])
g = torch.Generator().manual_seed(0)
for n, widths in [(7, (5, 9, 6)), (3, (4,)), (6, (11, 8)), (5, ())]:
    rest = [torch.randint(0, n - 1, (w,), generator=g).tolist() for w in widths]
    networks(
        f"{n} pixels, {len(widths)} hidden layers",
        torch.randperm(n, generator=g).tolist(),
        *rest,
        hidden=True,
    )


# ---------------------------------------------------------------- pixel_mask


def in_raster_order(kind, height, width):
    """1 where the place of a cell in the order of reading is before that of the centre (or is it, for B)."""
    centre = (height // 2, width // 2)
    early = lambda cell: cell < centre or (kind == "B" and cell == centre)
    return torch.tensor([[early((r, c)) for c in range(width)] for r in range(height)])


pixel_mask = Exercise(
    equivalent=["line 4: zeros's argument dtype is left out"],  # a mask of floats masks as well
    truth=in_raster_order,
    about="the centre is at row height // 2 and column width // 2; the rows above it are read before it",
)
for kind, height, width in [
    ("A", 3, 5), ("B", 3, 5), ("A", 5, 3), ("B", 5, 5),
    ("B", 5, 3), ("A", 7, 7), ("B", 7, 3), ("A", 1, 7), ("B", 1, 5), ("A", 7, 1), ("B", 7, 1), ("A", 1, 1), ("B", 1, 1),
]:  # fmt: skip
    pixel_mask.case(
        f"type {kind}, {height} x {width}",
        (kind, height, width),
        hidden=len(pixel_mask.cases) >= 4,
        kind=kind,
        height=height,
        width=width,
    )


# ---------------------------------------------------------------- discretised_logistic


def by_quadrature(v, mean, log_scale, levels):
    """The density integrated over each bin, on the log scale; at the edges the exact tails."""
    node, weight = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(200))
    s = log_scale.double().exp()
    z = (v[..., None] + node / 2 - mean.double()[..., None]) / s[..., None]
    log_density = F.logsigmoid(z) + F.logsigmoid(-z) - log_scale.double()[..., None]
    inside = torch.logsumexp(log_density + (weight / 2).log(), -1)
    below = F.logsigmoid((0.5 - mean.double()) / s)
    above = F.logsigmoid((mean.double() - levels + 1.5) / s)
    return torch.where(v == 0, below, torch.where(v == levels - 1, above, inside)).to(mean.dtype)


discretised_logistic = Exercise(
    truth=by_quadrature, gradient=("mean", "log_scale"), atol=1e-9, rtol=1e-8
)


def grey(text, v, mean, log_scale, levels, hidden=False, fact="", far=False):
    v, mean, log_scale = (
        x if isinstance(x, torch.Tensor) else double(x) for x in (v, mean, log_scale)
    )
    v, mean, log_scale = (x.contiguous() for x in torch.broadcast_tensors(v, mean, log_scale))
    return discretised_logistic.case(
        text,
        (v, mean, log_scale, levels),
        hidden=hidden,
        fact=fact,
        levels=levels,
        far_from_the_mean=far,
    )


seven = grey(
    "7 grey levels, 3 pixels",
    torch.arange(7.0).double()[:, None],
    [2.3, 5.1, -1.4],
    [-0.4, 0.3, 0.8],
    7,
)
grey(
    "4 grey levels",
    [0.0, 1.0, 2.0, 3.0, 3.0],
    [0.6, 2.2, 1.1, 2.9, -0.7],
    [0.2, -0.7, 0.5, 0.9, -0.3],
    4,
)
grey("far from the mean", [40.0, 41.0, 3.0, 250.0], [200.0, 200.0, 200.0, 30.0], [-1.0, 0.0, -3.0, 0.4], 256,
     fact="the bin has a tiny mass, whose log is a harmless number; two sigmoids that both round to 0 or 1 lose it",
     far=True)  # fmt: skip
grey("all of 256 levels", torch.arange(256.0).double(), [131.7], [2.2], 256, hidden=True)
grey("2 levels", [0.0, 1.0, 1.0], [0.3, -0.4, 1.9], [0.2, 0.1, -1.0], 2, hidden=True)
grey(
    "edges far from the mean",
    [0.0, 15.0, 8.0],
    [90.0, -80.0, 70.0],
    [-0.5, 0.2, -2.0],
    16,
    hidden=True,
    far=True,
)
grey("a wide logistic", [0.0, 3.0, 9.0], [4.0, 2.5, 7.0], [5.0, 4.0, 4.5], 10, hidden=True)
grey("pixels in a shape of 2 x 1 x 3", torch.randint(5, (2, 1, 3), generator=g).double(),
     2 + normal(2, 1, 3), normal(2, 1, 3) / 2, 5, hidden=True)  # fmt: skip
discretised_logistic.again(seven)


# ---------------------------------------------------------------- ancestral_sample


def sampled_world(joint, order, count, clamp, seed):
    """Logits of pixels that are asked for in an order; each looks only at those before it. Also a seed."""

    def logits(x):
        seen = (x.double() > 0.5).double()
        columns = {i: log_odds(joint, seen[:, list(order[:k])]) for k, i in enumerate(order)}
        return torch.stack([columns[i] for i in range(len(order))], 1).to(x.dtype)

    return logits, torch.tensor(order), count, clamp, seed


def drawn(answer, logits, order, count, clamp, seed):
    generator = lambda s: torch.Generator().manual_seed(s)
    n = len(order)
    before = torch.get_rng_state()
    x = answer(logits, order, count, clamp, generator(seed))
    stream = torch.equal(before, torch.get_rng_state())
    if not isinstance(x, torch.Tensor) or x.shape != (count, n):
        got = tuple(x.shape) if isinstance(x, torch.Tensor) else f"a {type(x).__name__}"
        raise Wrong(f"{got} came back, not a tensor of shape {(count, n)}")
    x = x.double()
    if bool(((x != 0) & (x != 1)).any()):
        some = x[(x != 0) & (x != 1)][0]
        raise Wrong(f"pixels must be 0 or 1; {float(some):.4g} came back")
    fixed = torch.zeros(n, dtype=torch.bool) if clamp is None else ~clamp.isnan()
    again = [answer(logits, order, 40, clamp, generator(s)) for s in (1, 1, 2)]
    place = (x.long() * 2 ** torch.arange(n).flip(0)).sum(1)
    free = x[:, ~fixed] - x[:, ~fixed].mean(0)
    return {
        "clamped pixels that changed": 0 if clamp is None else int((x != clamp)[:, fixed].sum()),
        "share of each picture, from 0...00, 0...01 to 1...11": Sampled(
            torch.nn.functional.one_hot(place, 2**n)
        ),
        "a pixel times that of the next picture, both less their means": Sampled(
            free * free.roll(1, 0)
        ),
        "difference of two runs with equal generators": (again[0] - again[1]).abs().max(),
        "two runs with different generators are alike": int(torch.equal(again[0], again[2])),
        "torch's own stream was used": int(not stream),
    }


# samples are 0 and 1 in any precision
ancestral_sample = Exercise(view=drawn, show=False, equivalent=["computed in float32"])


def sampling(text, order, seed, clamp=None, hidden=False, count=6000):
    n = len(order)
    joint = world(n)
    # the probability of a picture, pixel 0 first; the table counts pixels in the order of drawing
    exact = torch.stack([joint[int("".join(str(int(s[i])) for i in order), 2)] for s in states(n)])
    if clamp is not None:
        clamp = torch.tensor(clamp)
        exact = exact * (clamp.isnan() | (states(n) == clamp)).all(1)
        first = [not bool(clamp[i].isnan()) for i in order]
        assert first == sorted(first, reverse=True), (
            "given pixels come first: else it is no conditional"
        )
        exact = exact / exact.sum()
    free = n if clamp is None else int(clamp.isnan().sum())
    want = {
        "clamped pixels that changed": 0,
        "share of each picture, from 0...00, 0...01 to 1...11": exact,
        "a pixel times that of the next picture, both less their means": torch.zeros(free).double(),
        "difference of two runs with equal generators": 0.0,
        "two runs with different generators are alike": 0,
        "torch's own stream was used": 0,
    }
    inputs = recipe(sampled_world, joint=joint, order=order, count=count, clamp=clamp, seed=seed)
    ancestral_sample.case(
        text, inputs, want, hidden=hidden, clamped=clamp is not None, pixels=n,
        order="natural" if order == sorted(order) else "shuffled",
    )  # fmt: skip


nan = math.nan
sampling("3 pixels in the order 2, 0, 1", [2, 0, 1], 11)
sampling("4 pixels in the order 1, 3, 0, 2", [1, 3, 0, 2], 12)
sampling("the order 2, 0, 1; pixel 2 clamped to 0", [2, 0, 1], 13, [nan, nan, 0.0])
sampling(
    "the order 1, 3, 0, 2; pixels 1 and 3 clamped to 1 and 0",
    [1, 3, 0, 2],
    14,
    [nan, 1.0, nan, 0.0],
)
sampling("3 pixels in the natural order", [0, 1, 2], 15, hidden=True)
sampling("4 pixels, order 3, 0, 2, 1", [3, 0, 2, 1], 16, hidden=True)
sampling(
    "the order 3, 0, 2, 1; pixel 3 clamped to 1",
    [3, 0, 2, 1],
    17,
    [nan, nan, nan, 1.0],
    hidden=True,
)
sampling("one free pixel", [1, 2, 0], 18, [nan, 0.0, 1.0], hidden=True)
sampling("one pixel", [0], 19, hidden=True)


# ---------------------------------------------------------------- is_autoregressive


def network(W, b, hidden=None, extra=(), gate=None, rounding=0.0, pooled=False):
    """Logits of given weights, with a hidden layer or not; extra: (logit, pixel, size, pixels that open it, at which value)."""

    def logits(x):
        x = x.double()
        seen = x
        if gate is not None:
            seen = x.clone()
            seen[:, gate + 1 :] = x[:, gate + 1 :] * (1 - x[:, gate : gate + 1])
        if hidden is not None:
            seen = torch.tanh(seen @ hidden.T)
        z = seen @ W.T + b
        for i, j, size, needs, ink in extra:
            z[:, i] += size * x[:, j] * (x[:, list(needs)] == ink).double().prod(1)
        if pooled:
            z = z - z.mean(1, keepdim=True)
        return z + rounding * x.sum(1, keepdim=True)

    return logits, len(b)


is_autoregressive = Exercise(verdict="model", show=False)


def solid(*shape):
    """Random weights of which none is small."""
    w = normal(*shape)
    return w.sign() * (0.3 + w.abs())


def judged(
    text, right, n, mask=None, hidden=False, fact="", units=0, scale=1.0, flaw="none", **options
):
    past = torch.ones(n, n).tril(-1) if mask is None else mask
    W, b = scale * past * solid(n, n), normal(n)
    if units:
        ranks = torch.arange(units) % max(n - 1, 1)
        W = (torch.arange(n)[:, None] > ranks) * solid(n, units)
        options["hidden"] = (ranks[:, None] >= torch.arange(n)) * solid(units, n) / 2
    is_autoregressive.case(
        text, recipe(network, W=W, b=b, **options), right, hidden=hidden, fact=fact,
        pixels=n, flaw=flaw, layers=2 if units else 1,
    )  # fmt: skip


def without(n, *cells, keep=None):
    mask = torch.ones(n, n).tril(-1) if keep is None else keep
    for i, j in cells:
        mask[i, j] = 1 - mask[i, j]
    return mask


LEAK = "a leak shows only in the pictures in which it is open: look at many"
judged("straight lines", True, 6)
judged("a hidden layer", True, 5, units=9)
judged("a gate: pixel 0 must be paper before later ones matter", True, 6, gate=0,
       fact="some dependences show only in some pictures")  # fmt: skip
judged("rounding errors of 1e-9 everywhere", True, 5, rounding=1e-9,
       fact="rounding is not a dependence: count changes above 1e-6")  # fmt: skip
judged("each pixel sees itself", False, 6, torch.ones(6, 6).tril(0), flaw="sees itself")
judged("pixel 3 alone sees itself", False, 6, without(6, (3, 3)), flaw="sees itself")
judged("the first logit sees the last pixel", False, 6, without(6, (0, 5)), flaw="leak")
judged("logit 2 sees pixel 4", False, 7, without(7, (2, 4)), flaw="leak")
judged("the order is reversed", False, 6, torch.ones(6, 6).triu(1), flaw="leak")
judged("every pixel sees all pixels", False, 5, torch.ones(5, 5), flaw="leak")
judged("nobody sees anything", False, 6, torch.zeros(6, 6), flaw="blind spot")
judged("logit 4 never looks at pixel 1", False, 6, without(6, (4, 1)), flaw="blind spot",
       fact="every later logit must move in some picture")  # fmt: skip
judged("the last logit does not see its neighbour", False, 7, without(7, (6, 5)), flaw="blind spot")
judged(
    "each logit sees its neighbour only", False, 5, torch.diag(torch.ones(4), -1), flaw="blind spot"
)
judged(
    "a weak leak of 0.01",
    False,
    6,
    extra=[(2, 4, 0.01, (), 1)],
    flaw="leak",
    fact="changes above 1e-6 count",
)
judged("a leak that opens only where pixels 0, 1 and 2 are ink", False, 7, extra=[(3, 6, 1.0, (0, 1, 2), 1)],
       flaw="leak", fact=LEAK)  # fmt: skip
judged("a leak that opens only where pixels 1, 3 and 4 are paper", False, 6, extra=[(0, 5, 2.0, (1, 3, 4), 0)],
       flaw="leak", fact=LEAK)  # fmt: skip
judged("the mean of all logits is taken off each", False, 6, pooled=True, flaw="leak")
judged("a gate further on", True, 7, gate=2)
judged("a leak of 1e-4", False, 6, extra=[(3, 5, 1e-4, (), 1)], flaw="leak")
for k, needs in enumerate([(0, 1, 5), (2, 3, 4), (1, 2, 6)]):
    judged(
        f"a leak in one of eight pictures, {k}",
        False,
        8,
        extra=[(k, 7, 1.0, needs, k % 2)],
        hidden=True,
        flaw="leak",
    )
judged("two pixels", True, 2, hidden=True)  # fmt: skip
judged("weights of a thousandth", True, 6, scale=1e-3, fact="changes above 1e-6 count", hidden=True)  # fmt: skip
judged("one pixel, which sees nothing", True, 1, hidden=True)
judged("a wide hidden layer", True, 8, units=30, hidden=True)
judged("rounding errors of 1e-8 in a hidden layer", True, 6, units=12, rounding=1e-8, hidden=True)
judged("the first pixel sees itself", False, 5, without(5, (0, 0)), hidden=True, flaw="sees itself")
judged("the last pixel sees itself", False, 5, without(5, (4, 4)), hidden=True, flaw="sees itself")
judged(
    "logit 0 sees pixel 1 by a hidden layer",
    False,
    6,
    units=12,
    extra=[(0, 1, 0.5, (), 1)],
    hidden=True,
    flaw="leak",
)
judged("logit 1 does not see pixel 0", False, 6, without(6, (1, 0)), hidden=True, flaw="blind spot")
judged("the last logit sees nothing", False, 5, without(5, (4, 0), (4, 1), (4, 2), (4, 3)), hidden=True,
       flaw="blind spot")  # fmt: skip
judged("all but the first column are blind", False, 6,
       torch.ones(6, 6).tril(-1) * (torch.arange(6) == 0), hidden=True, flaw="blind spot")  # fmt: skip
