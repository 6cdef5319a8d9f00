"""Chapter 03: the cases of each exercise, and the truth of each."""

import math

import torch

from autograde.authoring import Exercise, recipe
from coursekit.checks import Sampled, Wrong
from coursekit.checks.asking import gradient
from coursekit.views.slopes import expect, leaf, slopes

# ---------------------------------------------------------------- draw_normal


def draws_and_slopes(answer, mean, log_var, generator):
    """The derivatives of one draw, and z = (draw - mean) / std of 10,000 draws."""
    seed, make = generator.initial_seed(), lambda s: torch.Generator().manual_seed(s)
    a, b, many = leaf(mean), leaf(log_var), (10_000, *mean.shape)
    draw = expect(answer(a, b, make(seed)), mean.shape, "one draw for each entry")
    by_mean, by_log_var = slopes(draw, a), slopes(draw, b)
    half = [(v / 2).clone() for v in (mean, log_var)]
    one, two, used = make(seed), make(seed), make(seed)
    torch.rand(100, generator=used)
    first, same, other = (answer(*half, h) for h in (one, two, make(seed + 1)))
    free = [answer(*half), answer(*half)]
    alike = lambda x, y: int(torch.equal(x, y))
    x = expect(answer(mean.expand(many).clone(), log_var.expand(many).clone(), make(seed)), many)
    z = ((x - mean).double() / (log_var.double() / 2).exp()).reshape(len(x), -1)
    found = {
        "d draw / d mean": by_mean,
        "(d draw / d log_var) / (draw - mean)": by_log_var / (draw - mean).detach(),
        "draws of another dtype than mean": int(draw.dtype != mean.dtype),
        "two draws with equal generators differ": 1 - alike(first, same),
        "two draws with different generators are alike": alike(first, other),
        "a used generator draws as a fresh one": alike(first, answer(*half, used)),
        "two draws without a generator are alike": alike(*free),
        "mean of z": Sampled(z),
        "mean of z^2": Sampled(z**2),
        "mean of |z|": Sampled(z.abs()),
        "z times the z of the next draw": Sampled(z * z.roll(1, 0)),
    }
    if z.shape[1] > 1:
        found["z of one entry times z of the next"] = Sampled(z * z.roll(1, 1))
    return found


draw_normal = Exercise(
    equivalent=[
        "line 12: the right operand is 1 % larger"
    ],  # of the noise: 10,000 draws do not show 1 %
    view=draws_and_slopes,
    about="z = (draw - mean) / exp(log_var / 2) must be N(0, 1), fresh for each entry of each draw",
)


def gaussian(text, mean, log_var, hidden=False):
    mean, log_var = (torch.tensor(v, dtype=torch.float64) for v in (mean, log_var))
    table = lambda value: torch.full((mean.numel(),), float(value), dtype=torch.float64)
    want = {
        "d draw / d mean": torch.ones_like(mean),
        "(d draw / d log_var) / (draw - mean)": 0.5 * torch.ones_like(mean),
        "draws of another dtype than mean": 0,
        "two draws with equal generators differ": 0,
        "two draws with different generators are alike": 0,
        "a used generator draws as a fresh one": 0,
        "two draws without a generator are alike": 0,
        "mean of z": table(0),
        "mean of z^2": table(1),
        "mean of |z|": table((2 / math.pi) ** 0.5),
        "z times the z of the next draw": table(0),
    }
    if mean.numel() > 1:
        want["z of one entry times z of the next"] = table(0)
    generator = torch.Generator().manual_seed(10 * len(draw_normal.cases))
    inputs = (mean, log_var, generator)
    return draw_normal.case(text, inputs, want, hidden=hidden, shape=str(tuple(mean.shape)))


pair = gaussian("mean (1, -3) and log_var (-1, 2)", [1.0, -3.0], [-1.0, 2.0])
gaussian(
    "a table of 3 x 2",
    [[0.4, 2.0], [-1.1, 0.0], [5.0, -0.3]],
    [[0.7, -0.4], [1.6, -2.0], [0.2, 1.1]],
)
gaussian("a single number", 0.6, -0.8, hidden=True)
gaussian(
    "2 x 1 x 3",
    [[[0.1, -2.0, 1.0]], [[0.0, 3.0, -0.5]]],
    [[[1.0, -1.2, 0.3]], [[-3.0, 2.2, 0.6]]],
    hidden=True,
)
gaussian("very narrow and very wide", [0.0, 0.0, -0.01], [-14.0, 9.0, -9.0], hidden=True)
draw_normal.again(pair)

# ---------------------------------------------------------------- gaussian_scores


def two_scores(answer, z, mean, log_var):
    got = answer(z, mean, log_var)
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise Wrong("two tensors must come back: (d log p / d mean, d log p / d log_var)")
    return {"d log p / d mean": got[0], "d log p / d log_var": got[1]}


def by_autograd(z, mean, log_var):
    """Autograd of torch's own Gaussian."""
    a, b = leaf(mean), leaf(log_var)
    log_p = torch.distributions.Normal(a, (b / 2).exp()).log_prob(z)
    return torch.autograd.grad(log_p.sum(), (a, b))


# a score is a weight: nobody differentiates it here
gaussian_scores = Exercise(
    truth=by_autograd, view=two_scores, equivalent=["the gradient is cut"], atol=1e-9, rtol=1e-8
)


def at(text, z, mean, log_var, hidden=False, fact=""):
    z, mean, log_var = (torch.tensor(v, dtype=torch.float64) for v in (z, mean, log_var))
    facets = {"shape": str(tuple(z.shape)), "log_var is 0": bool((log_var == 0).all())}
    return gaussian_scores.case(text, (z, mean, log_var), hidden=hidden, fact=fact, **facets)


at("4 entries, log_var = 0", [2.5, -1.0, 0.4, 3.0], [1.0, 0.5, -0.3, 3.5], [0.0, 0.0, 0.0, 0.0])
scored = at(
    "5 entries",
    [0.3, -2.0, 1.7, 4.0, -0.6],
    [1.0, -0.5, 0.2, 2.5, -3.0],
    [0.7, -1.2, 1.9, 0.4, 2.2],
)
at("2 x 3 entries", [[1.0, 0.2, -3.0], [5.0, 2.2, 0.1]], [[0.5, 0.0, 1.0], [4.0, 3.0, -0.7]],
   [[-0.5, 1.0, 2.0], [0.3, -1.1, 1.4]])  # fmt: skip
at(
    "very narrow and very wide",
    [0.01, 30.0, -0.02],
    [0.0, -10.0, 0.03],
    [-9.0, 8.0, -7.5],
    hidden=True,
)
at("z at its mean", [1.5, -2.0], [1.5, -2.0], [0.8, -1.3], hidden=True)
at("a single number", 0.4, -1.1, 0.9, hidden=True)
gaussian_scores.again(scored)

# ---------------------------------------------------------------- reinforce


def slopes_of_surrogates(answer, log_prob, value, *baseline):
    """The derivative of each surrogate in what it was given, as independent numbers."""
    lp, f = leaf(log_prob), leaf(value)
    b = [leaf(v) if isinstance(v, torch.Tensor) else v for v in baseline]
    got = expect(answer(lp, f, *b), value.shape, "one surrogate for each sample")
    found = {"d surrogate / d log_prob": slopes(got, lp), "d surrogate / d value": slopes(got, f)}
    if b and isinstance(b[0], torch.Tensor):
        found["d surrogate / d baseline"] = slopes(got, b[0])
    return found


reinforce = Exercise(
    view=slopes_of_surrogates,
    about="(8): the weight f - b, a constant, stands before the gradient of log p; value keeps its own gradient",
)


def surrogates(text, n, d, baseline, hidden=False):
    """log_prob of random parts, costs far from 0; (8) read off: f - b in log p of each part, 1 in f, 0 in b."""
    g = torch.Generator().manual_seed(n + 10 * d)
    log_prob = -0.05 - torch.rand(n, d, generator=g, dtype=torch.float64).round(decimals=2)
    value = (1 + 3 * torch.randn(n, generator=g, dtype=torch.float64)).round(decimals=1)
    if baseline == "table":
        baseline = torch.linspace(-1.5, 2.0, n, dtype=torch.float64).round(decimals=2)
    b = [] if baseline is None else [baseline]
    weight = value - b[0] if b else value
    want = {
        "d surrogate / d log_prob": torch.stack([weight] * d, 1),
        "d surrogate / d value": torch.ones(n, dtype=torch.float64),
    }
    if b and isinstance(b[0], torch.Tensor):
        want["d surrogate / d baseline"] = torch.zeros(n, dtype=torch.float64)
    kind = "none given" if not b else "one number" if isinstance(b[0], float) else "one a sample"
    return reinforce.case(
        text, (log_prob, value, *b), want, hidden=hidden, baseline=kind, parts=d, samples=n
    )


surrogates("5 samples of 3 parts, baseline 1.7", 5, 3, 1.7)
usual = surrogates("4 samples of 2 parts, a baseline for each", 4, 2, "table")
surrogates("6 samples of 1 part, a baseline for each", 6, 1, "table")
surrogates("3 samples of 4 parts, no baseline given", 3, 4, None)
surrogates("1 sample of 5 parts", 1, 5, -2.5, hidden=True)
surrogates("16 samples of 4 parts, a baseline for each", 16, 4, "table", hidden=True)
surrogates("9 samples of 2 parts, no baseline given", 9, 2, None, hidden=True)
reinforce.again(usual)

# ---------------------------------------------------------------- leave_one_out


def really_left_out(value):
    """For each sample, the mean of a list without it."""
    columns = []
    for column in value.T.tolist():
        others = [column[:i] + column[i + 1 :] for i in range(len(column))]
        columns.append([math.fsum(rest) / len(rest) for rest in others])
    return torch.tensor(columns, dtype=value.dtype).T


def table_of_baselines(answer, value):
    got = answer(value)
    return {"baseline": got, "dimensions of what came back": torch.as_tensor(got).ndim}


leave_one_out = Exercise(
    equivalent=["the gradient is cut"],  # a baseline is a number: many detach it on purpose
    truth=really_left_out,
    view=table_of_baselines,
    about="value has a row for each sample and a column for each input; samples of one input are compared",
)


def costs(text, rows, hidden=False):
    value = torch.tensor(rows, dtype=torch.float64)
    k, b = value.shape
    return leave_one_out.case(text, (value,), hidden=hidden, samples=k, batch=b)


costs("3 samples of 2 inputs", [[1.0, 40.0], [2.0, 10.0], [6.0, 25.0]])
usual = costs(
    "4 samples of 3 inputs",
    [[0.5, -2.0, 7.0], [1.5, 3.0, 8.0], [-4.0, 0.2, 9.5], [2.5, 1.0, -6.0]],
)
costs("2 samples of 4 inputs", [[5.0, -1.0, 0.3, 2.0], [3.0, 4.0, 9.0, -7.0]])
g = torch.Generator().manual_seed(2)
for k, b in [(5, 2), (2, 1), (40, 3), (6, 1)]:
    noise = 2 + 3 * torch.randn(k, b, generator=g, dtype=torch.float64)
    costs(f"{k} samples of {b} inputs, at random", noise.tolist(), hidden=True)
leave_one_out.again(usual)

# ---------------------------------------------------------------- gumbel_max and gumbel_softmax


def gumbel_quantile(u):
    """scipy's quantile of the Gumbel distribution."""
    from scipy.stats import gumbel_r

    return torch.from_numpy(gumbel_r.ppf(u.double().numpy())).reshape(u.shape)


def uniform(*shape, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=g, dtype=torch.float64).mul(998).add(1).round().div(1000)


def normal(*shape, seed, size=1.0, centre=0.0):
    g = torch.Generator().manual_seed(seed)
    return (centre + size * torch.randn(shape, generator=g, dtype=torch.float64)).round(decimals=2)


def categories(answer, logits, u):
    got = answer(logits, u)
    return {
        "category": got,
        "categories are whole numbers": int(not got.is_floating_point()),
        "two calls with the same u differ": int(not torch.equal(got, answer(logits, u))),
    }


def best_by_sorting(logits, u):
    noisy = logits.double() + gumbel_quantile(u)
    return torch.from_numpy(noisy.numpy().argsort(-1)[..., -1].copy())


gumbel_max = Exercise(
    truth=best_by_sorting,
    view=categories,
    about="the last dimension holds the categories; one number comes back for each distribution",
)


def contests(text, logits, u, hidden=False, fact="", **facets):
    facets = {
        "dimensions": logits.ndim,
        "size of the logits": float(logits[logits > -1e9].abs().max()),
    } | facets
    return gumbel_max.case(text, (logits, u), hidden=hidden, fact=fact, **facets)


usual = contests("9 draws, 3 categories", normal(9, 3, seed=1), uniform(9, 3, seed=2))
contests("2 x 5 draws, 4 categories", normal(2, 5, 4, seed=3, size=2.0), uniform(2, 5, 4, seed=4))
contests("3 x 4 draws, 2 categories", normal(3, 4, 2, seed=5, size=0.5), uniform(3, 4, 2, seed=6))
contests(
    "8 draws, logits near 800",
    normal(8, 3, seed=7, centre=800.0),
    uniform(8, 3, seed=8),
    fact="e^800 is more than a float64 can hold",
)
contests("one draw, 9 categories", normal(9, seed=9), uniform(9, seed=10), hidden=True)
never = normal(40, 4, seed=11)
never[:, [1, 3]] = -torch.inf
contests(
    "two of four categories impossible",
    never,
    uniform(40, 4, seed=12),
    hidden=True,
    impossible_categories=True,
)
contests(
    "logits near -900", normal(30, 3, seed=13, centre=-900.0), uniform(30, 3, seed=14), hidden=True
)
contests("300 draws, 6 categories", normal(300, 6, seed=15), uniform(300, 6, seed=16), hidden=True)
gumbel_max.again(usual)


def soft_and_hard(answer, logits, tau, u):
    x = leaf(logits)
    soft = expect(answer(x, tau, u), logits.shape)
    hard = expect(answer(x, tau, u, hard=True), logits.shape)
    slope, hard_slope = gradient(soft, x), gradient(hard, x)
    edge = (u == 0) | (u == 1)
    if edge.any():
        every = torch.stack([soft.detach(), hard.detach(), slope, hard_slope])
        return {
            "numbers and gradients that are not finite": int((~every.isfinite()).sum()),
            "a category with u = 1 gets more than 0.99": bool((soft[u == 1] > 0.99).all()),
            "a category with u = 0 gets less than 0.2": bool((soft[u == 0] < 0.2).all()),
        }
    return {
        "soft sample": soft,
        "gradient in logits": slope,
        "hard sample": hard,
        "gradient in logits, hard": hard_slope,
        "two calls with the same u differ": int(not torch.equal(soft, answer(logits, tau, u))),
    }


gumbel_softmax = Exercise(
    view=soft_and_hard,
    atol=1e-7,
    rtol=1e-5,
    about="(13): softmax of (logits + g) / tau over the last dimension; (14): hard + soft - soft.detach()",
)


def relaxed(text, logits, tau, u, hidden=False, dtype=torch.float64, fact=""):
    """Noise from scipy; the gradient is the Jacobian of a softmax, diag(s) - s s^T over tau, written out."""
    from coursekit.checks.asking import weights

    noisy = (logits + gumbel_quantile(u)) / tau
    soft = (noisy - noisy.logsumexp(-1, keepdim=True)).exp()
    if ((u == 0) | (u == 1)).any():
        want = {
            "numbers and gradients that are not finite": 0,
            "a category with u = 1 gets more than 0.99": True,
            "a category with u = 0 gets less than 0.2": True,
        }
    else:
        w = weights(soft.numel(), soft.dtype).reshape(soft.shape)
        slope = torch.diag_embed(soft) - soft[..., :, None] * soft[..., None, :]
        slope = (slope @ w[..., None]).squeeze(-1) / tau
        corner = (soft == soft.amax(-1, keepdim=True)).double()
        want = {
            "soft sample": soft,
            "gradient in logits": slope,
            "hard sample": corner,
            "gradient in logits, hard": slope,
            "two calls with the same u differ": 0,
        }
        want = {k: v.to(dtype) if isinstance(v, torch.Tensor) else v for k, v in want.items()}
    room = 1.0 if dtype == torch.float64 else 100.0
    gumbel_softmax.case(
        text,
        (logits.to(dtype), tau, u.to(dtype)),
        want,
        hidden=hidden,
        fact=fact,
        room=room,
        tau=tau,
        dtype=str(dtype)[6:],
        dimensions=logits.ndim,
        u_at_its_ends=bool(((u == 0) | (u == 1)).any()),
        u_beyond_0_99=bool(((u > 0.99) & (u < 1)).any()),
    )


relaxed("4 draws, 3 categories, tau = 0.7", normal(4, 3, seed=21), 0.7, uniform(4, 3, seed=22))
relaxed(
    "2 x 3 draws, 4 categories, tau = 2.5", normal(2, 3, 4, seed=23), 2.5, uniform(2, 3, 4, seed=24)
)
close = torch.tensor([[0.9999, 0.9, 0.95], [0.2, 0.99995, 0.6]], dtype=torch.float64)
relaxed(
    "u up to 0.99995, tau = 2",
    normal(2, 3, seed=25),
    2.0,
    close,
    fact="u = 0.99995 is an honest draw, one in 20,000: a clamp may not move it",
)
EDGE = torch.tensor([[0.0, 0.5, 0.2], [0.4, 1.0, 0.9], [0.0, 0.0, 0.0]], dtype=torch.float64)
EDGE[2, 2] = 0.7
relaxed("u exactly 0 and 1, tau = 1", torch.zeros(3, 3, dtype=torch.float64), 1.0, EDGE)
relaxed(
    "one draw, 6 categories, tau = 0.3", normal(6, seed=26), 0.3, uniform(6, seed=27), hidden=True
)
low = torch.tensor([[1e-5, 0.3], [0.6, 2e-6]], dtype=torch.float64)
relaxed("u down to 2e-6, tau = 1.5", normal(2, 2, seed=28), 1.5, low, hidden=True)
relaxed(
    "logits near 500, tau = 0.5",
    normal(5, 3, seed=29, centre=500.0),
    0.5,
    uniform(5, 3, seed=30),
    hidden=True,
)
relaxed(
    "u exactly 0 and 1 in float32, tau = 0.9",
    torch.zeros(3, 3, dtype=torch.float64),
    0.9,
    EDGE,
    hidden=True,
    dtype=torch.float32,
)
relaxed(
    "7 draws, 5 categories, tau = 1.2, float32",
    normal(7, 5, seed=31),
    1.2,
    uniform(7, 5, seed=32),
    hidden=True,
    dtype=torch.float32,
)

# ---------------------------------------------------------------- is_unbiased


def with_z(z, n, noise, truth, seed, power=3):
    """n draws whose mean is off by exactly z standard errors in each coordinate; power 3: heavy tails, 2: skewed."""
    x = torch.randn(n, len(z), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = x**power
    x = noise * (x - x.mean(0)) / x.std(0)
    truth = torch.tensor(truth, dtype=torch.float64)
    return x + truth + torch.tensor(z, dtype=torch.float64) * noise / n**0.5, truth


def constant(value, n, truth):
    return torch.tensor(value, dtype=torch.float64).expand(n, -1).clone(), torch.tensor(
        truth, dtype=torch.float64
    )


T = [0.4, -1.3, 0.9]
is_unbiased = Exercise(verdict="estimator", show=False)


def shifted(z, n=2000, noise=1.0, hidden=False, power=3, note=""):
    worst = max(z, key=abs)
    text = f"off by {', '.join(f'{x:.3g}' for x in z)} standard errors (n = {n}, deviation {noise:g}{note})"
    fact = f"one standard error is {noise:g} / sqrt({n}) = {noise / n**0.5:.2g}; the limit is 4.5 of them in each coordinate"
    facets = {
        "size of the bias": abs(worst) * noise / n**0.5,
        "standard error": noise / n**0.5,
        "standard errors off": abs(worst),
        "sign of the worst deviation": "+" if worst > 0 else "-",
        "coordinates beyond the limit": sum(abs(x) > 4.5 for x in z),
        "all draws alike": False,
    }
    inputs = recipe(
        with_z, z=z, n=n, noise=noise, truth=T, seed=len(is_unbiased.cases), power=power
    )
    is_unbiased.case(text, inputs, want=abs(worst) < 4.5, hidden=hidden, fact=fact, **facets)


shifted([1.0, -2.0, 0.3])
shifted([-2.5, 2.0, 1.5], 500, 40.0)
shifted([0.2, -1.0, 2.9], 1000, 0.02)
shifted([2.0, 1.0, -4.2])
shifted([0.2, -0.1, 0.1], 100, 2.0)
shifted([0.5, 9.0, 0.0], 20_000, 0.2)
shifted([-12.0, 0.3, 0.1])
shifted([0.0, 0.4, 30.0], 400, 40.0)
shifted([8.0, -8.0, 0.0])
shifted([0.0, 4.9, 0.0])
shifted([40.0, 35.0, 30.0])
shifted([0.3, 1.0, -7.0], 200, 3.0)
shifted([0.1, 0.0, 5.2], 3000, 0.7)
shifted([1.0, -2.9, 0.4], power=2, note=", skewed", hidden=True)
shifted([4.1, 4.2, -4.1], 300, 0.3, hidden=True)
shifted([0.0, 0.0, -5.2], 3000, hidden=True)
shifted([6.0, 0.0, 0.0], 50, 5.0, hidden=True)
length = [1.3 * x / sum(t * t for t in T) ** 0.5 for x in T]
for value, truth, want in [
    (T, T, True),
    ([2.0, 0.1], [2.0, 0.1], True),
    ([t + 0.02 for t in T], T, False),
    ([2.0, 0.1], [2.0, 0.4], False),
]:
    text = (
        "every draw is "
        + ("the truth" if want else "the same wrong number, as with a fixed seed")
        + f" {tuple(truth)}"
    )
    is_unbiased.case(
        text,
        recipe(constant, value=value, n=50, truth=truth),
        want=want,
        fact="all draws agree, so the standard error is 0",
        all_draws_alike=True,
        standard_error=0.0,
        size_of_the_bias=max(abs(a - b) for a, b in zip(value, truth)),
    )
turned = [T[1] - T[0], T[2] - T[1], T[0] - T[2]]  # the right length, another direction
for text, off in [
    ("a quarter too short", [-0.25 * t for t in T]),
    ("the right length, another direction", turned),
]:
    shifted([x * 2000**0.5 for x in off], note=f": {text}", hidden=True)
