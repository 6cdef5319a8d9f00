"""Chapter 13: the cases of each exercise, and the truth of each."""

import functools
import math

import torch
import torch.nn.functional as F

from autograde.authoring import Exercise, recipe
from coursekit.checks import Wrong
from genmodels import discrete, samplers, schedule, toy

F64 = torch.float64
UNIFORM4 = torch.full((4,), 0.25, dtype=F64)
UNIFORM5 = torch.full((5,), 0.2, dtype=F64)
UNIFORM3 = torch.full((3,), 1 / 3, dtype=F64)
MASK4 = torch.tensor([0.0, 0, 0, 1], dtype=F64)  # three letters and the mask
MASK5 = torch.tensor([0.0, 0, 0, 0, 1], dtype=F64)
UNEVEN = torch.tensor(
    [0.5, 0.3, 0.15, 0.05], dtype=F64
)  # letters drawn as often as a text has them


def kind(pi):
    return "masks" if pi.max() == 1 else "uneven" if pi.std() > 0 else "uniform"


def draws(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def whole(*shape, high, seed):
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def generator_matrix(pi):
    """Q of one redraw per unit of time, entry by entry: rows sum to 0."""
    n = len(pi)
    rows = [[float(pi[j]) if i != j else float(pi[j]) - 1 for j in range(n)] for i in range(n)]
    return torch.tensor(rows, dtype=F64)


def chain(alpha, pi):
    """P(x_t = column | x_0 = row): the matrix exponential of Q for as long as it takes."""
    clock = 60.0 if alpha == 0 else -math.log(alpha)
    found = torch.linalg.matrix_exp(clock * generator_matrix(pi))
    return found.clamp_min(0) * (
        found > 1e-25
    )  # with masks, exponentials of 60 leave dust where 0 belongs


# ---------------------------------------------------------------- transition


def by_exponential(alpha_t, alpha_s, pi):
    """The matrix from 0 to t is the one from 0 to s, and then the one that is asked."""
    return torch.linalg.solve(chain(alpha_s, pi), chain(alpha_t, pi)).to(pi.dtype)


# nobody differentiates the matrices and kernels of a sampler
CUT = ["the gradient is cut"]
transition = Exercise(truth=by_exponential, atol=1e-9, equivalent=CUT)
for text, alpha_t, alpha_s, pi, hidden in [
    ("from clean text, four letters, uniform noise", 0.6, 1.0, UNIFORM4, False),
    ("from clean text, three letters and the mask", 0.6, 1.0, MASK4, False),
    ("from noisy text, four letters, uniform noise", 0.3, 0.8, UNIFORM4, False),
    ("from noisy text, letters redrawn at uneven chances", 0.2, 0.55, UNEVEN, False),
    ("from noisy text to nothing but noise, with masks", 0.0, 0.4, MASK5, False),
    ("five letters", 0.35, 0.9, UNIFORM5, True),
    ("uneven, from clean text", 0.45, 1.0, UNEVEN, True),
    ("no time passes", 0.7, 0.7, UNIFORM3, True),
    ("masks, from noisy text", 0.25, 0.75, MASK5, True),
]:
    new = transition.case(
        text,
        (alpha_t, alpha_s, pi),
        hidden=hidden,
        noise=kind(pi),
        starts_from="clean text" if alpha_s == 1 else "noisy text",
    )
    if text.startswith("from noisy text, letters"):
        uneven = new
transition.again(uneven)

# ---------------------------------------------------------------- posterior


def letter_by_letter(x_t, p0, alpha_t, alpha_s, pi):
    """Bayes' rule for each letter that may have been there, with products of whole matrices."""
    to_s, to_t = chain(alpha_s, pi), chain(alpha_t, pi)
    between = torch.linalg.solve(to_s, to_t)
    result = torch.zeros_like(p0)
    for b in range(len(x_t)):
        for i, x in enumerate(x_t[b].tolist()):
            for k in range(len(pi)):
                if p0[b, i, k] > 0:
                    joint = to_s[k] * between[:, x]
                    result[b, i] += p0[b, i, k] * (joint / joint.sum()).to(p0.dtype)
    return result


def guesses(b, l, pi, seed, sure=False):
    """Noisy texts, and what a network might say of the clean ones: no letter that noise alone makes, none that cannot have been there."""
    x_t = whole(b, l, high=len(pi), seed=seed)
    p0 = (1.5 * draws(b, l, len(pi), seed=seed + 1)).softmax(-1)
    if sure:
        p0 = F.one_hot(p0.argmax(-1), len(pi)).to(F64)
    if pi.max() == 1:
        mask = len(pi) - 1
        x_t[0, 0], x_t[0, 1] = mask, 0
        p0[..., mask] = 0
        if sure:
            p0[..., 0] += p0.sum(-1) == 0
        seen = F.one_hot(x_t, len(pi)).to(F64)
        p0 = torch.where((x_t == mask)[..., None], p0 / p0.sum(-1, keepdim=True), seen)
    return x_t, p0


def settled(answer, x_t, p0, alpha_t, alpha_s, pi):
    got = answer(x_t, p0, alpha_t, alpha_s, pi)
    if isinstance(got, torch.Tensor) and got.shape == p0.shape:
        return {"result": got, "sums over the last axis": got.sum(-1)}
    return {"result": got}


posterior = Exercise(truth=letter_by_letter, view=settled, atol=1e-9, equivalent=CUT)
for text, b, l, pi, alpha_t, alpha_s, sure, hidden in [
    ("uniform noise, one text of two letters, x_0 known", 1, 2, UNIFORM4, 0.3, 0.7, True, False),
    ("uniform noise, two texts of three letters", 2, 3, UNIFORM4, 0.3, 0.7, False, False),
    ("masks, two texts of three letters", 2, 3, MASK4, 0.2, 0.6, False, False),
    ("uniform noise, the last step, to no noise", 1, 2, UNIFORM5, 0.4, 1.0, False, False),
    ("masks, the first step, from nothing but masks", 3, 2, MASK5, 0.0, 0.25, False, False),
    ("masks, x_0 known", 1, 4, MASK4, 0.35, 0.9, True, True),
    ("uneven noise", 2, 4, UNEVEN, 0.15, 0.65, False, True),
    ("uniform noise, from nothing but noise", 3, 2, UNIFORM3, 0.0, 0.5, False, True),
    ("masks, to no noise", 2, 3, MASK5, 0.5, 1.0, False, True),
    ("uniform noise, a short step", 4, 1, UNIFORM5, 0.49, 0.5, False, True),
]:
    x_t, p0 = guesses(b, l, pi, seed=100 + 7 * len(posterior.cases), sure=sure)
    if alpha_t == 0 and pi.max() == 1:
        x_t = torch.full_like(x_t, len(pi) - 1)
        p0 = (1.5 * draws(b, l, len(pi), seed=5)).softmax(-1) * (pi == 0)
        p0 = p0 / p0.sum(-1, keepdim=True)
    made = posterior.case(
        text,
        (x_t, p0, alpha_t, alpha_s, pi),
        hidden=hidden,
        noise=kind(pi),
        ends="without noise" if alpha_s == 1 else "with noise",
        guess="one letter" if sure else "several letters",
        fact="a letter that is seen under masking noise is the clean one; q(x_t | k) is 0 for each other k"
        if pi.max() == 1 and alpha_t > 0
        else "",
    )
    if text == "uneven noise":
        posterior.again(made)

# ---------------------------------------------------------------- concrete_score


def enumerated(p, x_t, alpha, pi):
    """(p0, ratios) of a language p by adding up all clean texts: p_t(y) / p_t(x_t)."""
    v, l, n = p.shape[0], p.ndim, len(pi)
    P = chain(alpha, pi)[:v]
    texts = toy.all_sequences(v, l)
    weight = p.flatten()
    noisy = lambda y: float(
        (weight * torch.stack([P[texts[:, i], y[i]] for i in range(l)]).prod(0)).sum()
    )
    p0 = torch.zeros(*x_t.shape, n, dtype=F64)
    ratio = torch.zeros_like(p0)
    for b, x in enumerate(x_t.tolist()):
        joint = weight * torch.stack([P[texts[:, i], x[i]] for i in range(l)]).prod(0)
        for i in range(l):
            for k in range(n):
                p0[b, i, k] = joint[texts[:, i] == k].sum() / joint.sum()
                ratio[b, i, k] = noisy([*x[:i], k, *x[i + 1 :]]) / noisy(x)
    return p0, ratio


def where_noise_was(answer, p0, x_t, alpha, pi):
    """The ratios at the letters that noise may have drawn: from no other does the way back leave."""
    got = answer(p0, x_t, alpha, pi)
    if isinstance(got, torch.Tensor) and got.shape == p0.shape:
        return {"result": got[pi[x_t] > 0]}
    return {"result": got}


concrete_score = Exercise(view=where_noise_was, atol=1e-9, show=False)


def language(v, l, seed):
    return (1.2 * draws(*[v] * l, seed=seed)).flatten().softmax(0).reshape([v] * l)


def ratios(text, v, l, pi, alpha, x_t, seed, hidden=False):
    x_t = torch.tensor(x_t)
    p0, ratio = enumerated(language(v, l, seed), x_t, alpha, pi)
    return concrete_score.case(
        text,
        (p0, x_t, alpha, pi),
        {"result": ratio[pi[x_t] > 0]},
        hidden=hidden,
        noise=kind(pi),
        length_of_the_text=l,
    )


ratios("uniform noise, a text of one letter", 4, 1, UNIFORM4, 0.6, [[2]], 1)
ratios("uniform noise, two texts of two letters", 4, 2, UNIFORM4, 0.35, [[2, 0], [1, 1]], 2)
ratios("masks, two texts of two letters", 3, 2, MASK4, 0.7, [[3, 1], [3, 3]], 3)
ratios("masks, a text of three letters", 4, 3, MASK5, 0.25, [[4, 2, 4]], 4)
ratios("letters redrawn at uneven chances", 4, 2, UNEVEN, 0.5, [[0, 3], [1, 2], [3, 3]], 5)
ratios("uneven, three letters", 4, 3, UNEVEN, 0.65, [[0, 3, 1], [1, 2, 2]], 9, hidden=True)
score_case = ratios("three letters", 3, 3, UNIFORM3, 0.2, [[0, 2, 1], [1, 1, 0]], 6, hidden=True)
ratios("five letters", 5, 2, UNIFORM5, 0.9, [[4, 0]], 7, hidden=True)
ratios("masks", 3, 3, MASK4, 0.45, [[3, 3, 0], [2, 3, 1]], 8, hidden=True)
concrete_score.again(score_case)

# ---------------------------------------------------------------- score_entropy

NODES = 80


def from_its_slope(log_score, ratio):
    """The integral of the slope 1 - r / w from w = r to w = s, by Gauss-Legendre in log w."""
    import numpy as np

    x, w = np.polynomial.legendre.leggauss(NODES)
    x, w = torch.from_numpy(x), torch.from_numpy(w)
    log_s, r = log_score.double(), ratio.double()
    low = torch.where(r > 0, r, 1.0).log()
    half, middle = (log_s - low) / 2, (log_s + low) / 2
    u = middle[..., None] + half[..., None] * x
    area = (half[..., None] * w * (u.exp() - r[..., None])).sum(-1)
    return torch.where(r > 0, area, log_s.exp()).to(log_score.dtype)


# the true ratio is a number: no loss is differentiated in it
score_entropy = Exercise(
    truth=from_its_slope,
    gradient=["log_score"],
    atol=1e-9,
    equivalent=["line 6: 1.0 becomes 2.0"],
)
for text, log_s, r, hidden in [
    (
        "five entries",
        torch.tensor([0.0, 0.7, -1.2, 0.4, 2.0], dtype=F64),
        torch.tensor([1.0, 0.5, 2.5, 3.0, 0.1], dtype=F64),
        False,
    ),
    ("2 x 3 entries", draws(2, 3, seed=30), draws(2, 3, seed=31).exp(), False),
    (
        "one ratio is 0",
        torch.tensor([0.3, -0.6, 1.1], dtype=F64),
        torch.tensor([0.0, 1.4, 0.2], dtype=F64),
        False,
    ),
    ("the right ratios", draws(4, seed=32), draws(4, seed=32).exp(), True),
    ("2 x 3 x 4 entries", 2 * draws(2, 3, 4, seed=33), draws(2, 3, 4, seed=34).exp(), True),
    (
        "large and small",
        torch.tensor([-6.0, 5.0, 3.0], dtype=F64),
        torch.tensor([20.0, 0.004, 0.0], dtype=F64),
        True,
    ),
]:
    made = score_entropy.case(
        text,
        (log_s, r),
        hidden=hidden,
        a_ratio_of_0=bool((r == 0).any()),
        fact="0 log 0 is 0" if (r == 0).any() else "",
    )
    if text.startswith("2 x 3 x 4"):
        score_entropy.again(made)

# ---------------------------------------------------------------- elbo_at


def rates_apart(log_score, x0, x_t, alpha, rate, pi):
    """Relative entropy of the jumps on the way back, as they are and as the score has them: a log(a/b) - a + b."""
    Q = generator_matrix(pi)
    total = []
    for b in range(len(x0)):
        P, sum_b = chain(float(alpha[b]), pi), torch.zeros((), dtype=F64)
        for i in range(x0.shape[1]):
            x, k = int(x_t[b, i]), int(x0[b, i])
            for y in range(len(pi)):
                forward = float(rate[b]) * float(Q[y, x])
                if y == x or forward == 0:
                    continue
                a = forward * float(P[k, y]) / float(P[k, x])
                said = forward * log_score[b, i, y].double().exp()
                sum_b = sum_b + said - a + (a * (math.log(a) - said.log()) if a > 0 else 0.0)
        total.append(sum_b)
    return torch.stack(total).to(log_score.dtype)


elbo_at = Exercise(truth=rates_apart, gradient=["log_score"], atol=1e-8)


def seen_at(text, b, l, pi, alpha, seed, hidden=False, right=False):
    mask = bool(pi.max() == 1)
    v = len(pi) - mask
    x0, x_t = whole(b, l, high=v, seed=seed), whole(b, l, high=v, seed=seed + 1)
    if mask:
        hide = whole(b, l, high=2, seed=seed + 2).bool()
        hide[0, 0], hide[-1, -1] = True, False
        x_t = torch.where(hide, v, x0)
    alpha = torch.tensor(alpha, dtype=F64)
    log_s = 0.7 * draws(b, l, len(pi), seed=seed + 3)
    return elbo_at.case(
        text,
        (log_s, x0, x_t, alpha, 1 / alpha + draws(b, seed=seed + 4).abs(), pi),
        hidden=hidden,
        noise=kind(pi),
        texts=b,
        letters_of_a_text=l,
    )


seen_at("uniform noise, one text of one letter", 1, 1, UNIFORM4, [0.6], 41)
seen_at("uniform noise, three texts of two letters", 3, 2, UNIFORM4, [0.3, 0.8, 0.55], 51)
seen_at("masks, two texts of four letters", 2, 4, MASK4, [0.7, 0.4], 61)
seen_at("uneven noise, two texts of three letters", 2, 3, UNEVEN, [0.5, 0.9], 71, hidden=True)
seen_at("masks, three texts", 3, 5, MASK5, [0.2, 0.5, 0.9], 81, hidden=True)
bound_case = seen_at("five letters", 4, 2, UNIFORM5, [0.1, 0.35, 0.75, 0.95], 91, hidden=True)
elbo_at.again(bound_case)

# ---------------------------------------------------------------- undo


def by_inverse(log_score, x_t, alpha_t, alpha_s, pi):
    """The noise between s and t undone with the inverse of its whole matrix, and Bayes' rule."""
    between = torch.linalg.solve(chain(alpha_s, pi), chain(alpha_t, pi))
    before = log_score.double().exp() @ torch.linalg.inv(between)
    weight = before.clamp_min(0) * between.T[x_t]
    return (weight / weight.sum(-1, keepdim=True)).to(log_score.dtype)


def summed(answer, log_score, x_t, alpha_t, alpha_s, pi):
    got = answer(log_score, x_t, alpha_t, alpha_s, pi)
    if isinstance(got, torch.Tensor) and got.shape == log_score.shape:
        return {"result": got, "sums over the last axis": got.sum(-1)}
    return {"result": got}


# a factor common to all symbols goes when the sum is scaled to 1
undo = Exercise(
    truth=by_inverse,
    view=summed,
    atol=1e-8,
    equivalent=[*CUT, "line 14: the right operand is 1 % larger"],
)


def scores(text, v, l, pi, alpha_t, alpha_s, x_t, seed, hidden=False, wrong=0.0):
    """Exact scores of a language, or spoilt ones."""
    x_t = torch.tensor(x_t)
    p0, _ = enumerated(language(v, l, seed), x_t, alpha_t, pi)
    process = (
        discrete.Masking(v, schedule.rectified())
        if pi.max() == 1
        else discrete.Uniform(v, schedule.rectified())
    )
    log_score = (
        process.ratio(x_t, p0, 1 - alpha_t).log()
        if kind(pi) != "uneven"
        else _any_ratio(p0, x_t, alpha_t, pi)
    )
    if wrong:
        here = F.one_hot(x_t, len(pi)).bool()
        log_score = (log_score + wrong * draws(*log_score.shape, seed=seed + 9)).masked_fill(
            here, 0.0
        )
    return undo.case(
        text,
        (log_score, x_t, alpha_t, alpha_s, pi),
        hidden=hidden,
        noise=kind(pi),
        score="spoilt" if wrong else "exact",
        ends="without noise" if alpha_s == 1 else "with noise",
    )


def _any_ratio(p0, x_t, alpha, pi):
    P = chain(alpha, pi)
    return torch.einsum("blk,kv->blv", p0 / P.T[x_t], P).log()


scores("uniform noise, a text of one letter, the exact score", 4, 1, UNIFORM4, 0.3, 0.7, [[2]], 11)
scores("uniform noise, two texts of two letters", 4, 2, UNIFORM4, 0.35, 0.5, [[2, 0], [1, 1]], 12)
scores("masks, two texts of three letters", 3, 3, MASK4, 0.4, 0.8, [[3, 1, 3], [3, 3, 0]], 13)
scores("uniform noise, the last step, to no noise", 4, 2, UNIFORM4, 0.4, 1.0, [[0, 3], [1, 2]], 14)
scores("uniform noise, a spoilt score", 4, 2, UNIFORM4, 0.45, 0.8, [[3, 1], [0, 0]], 15, wrong=0.6)
scores(
    "uniform noise, another spoilt score", 5, 2, UNIFORM5, 0.3, 0.9, [[4, 1], [2, 2]], 25, wrong=1.0
)
scores("masks, a text of one letter", 4, 1, MASK5, 0.5, 0.9, [[4]], 26)
scores("uneven noise", 4, 2, UNEVEN, 0.25, 0.6, [[0, 3], [1, 2], [3, 3]], 16, hidden=True)
undo_case = scores("three letters", 3, 2, UNIFORM3, 0.15, 0.35, [[0, 2]], 17, hidden=True)
scores("masks, to no noise", 4, 2, MASK5, 0.3, 1.0, [[4, 4], [1, 4]], 18, hidden=True)
scores("a spoilt score", 5, 2, UNIFORM5, 0.5, 0.95, [[4, 0], [2, 2]], 19, hidden=True, wrong=0.9)
scores("masks, a spoilt score", 3, 2, MASK4, 0.2, 0.5, [[3, 3], [3, 2]], 20, hidden=True, wrong=0.5)
undo.again(undo_case)

# ---------------------------------------------------------------- halves_its_error


@functools.cache
def made(v, l, seed, kind, amount):
    """A kernel for a random language, right or broken, and the language."""
    toy_language = toy.TinyLanguage.random(v, l, seed, 1.5)
    noise = discrete.Uniform(v, schedule.rectified())
    guess = toy_language.denoiser(noise)
    late = lambda t: min(max(float(t), 1e-9), 1 - 1e-9)
    right = samplers.ancestral_kernel(lambda x, t: guess(x, late(t)), noise)
    score = lambda x, t: noise.ratio(x, guess(x, late(t)).exp(), late(t)).log()
    tau = samplers.tau_leaping_kernel(score, noise)
    inverse = samplers.tau_leaping_kernel(lambda x, t: -score(x, t), noise)
    stale = samplers.ancestral_kernel(lambda x, t: guess(x, 1 - 1e-9), noise)
    if kind == "wrong guess":
        other = toy.TinyLanguage.random(v, l, seed + 1, 1.5).log_probs.exp()
        mixed = toy.TinyLanguage(
            ((1 - amount) * toy_language.log_probs.exp() + amount * other).reshape([v] * l)
        )
        right = samplers.ancestral_kernel(lambda x, t: mixed.denoiser(noise)(x, late(t)), noise)

    def changed(x, t, s):
        """Some samplers that change the right probabilities."""
        exact = right(x, late(t), float(s))
        if kind == "sharpened":
            return (exact.clamp_min(1e-300).log() * amount).softmax(-1)
        if kind == "sums":
            return exact * (1 + amount)
        if kind == "one text":
            bad = (x == 0).all(1)[:, None, None]
            return torch.where(bad, (1 - amount) * exact + amount / v, exact)
        if kind == "one place":
            return torch.cat([exact[:, :1], F.one_hot(x, v).to(F64)[:, 1:]], 1)
        if kind in ("root", "honest"):
            share = amount * (t - s) ** (1.5 if kind == "root" else 2)
            return (1 - share) * exact + share / v
        tilt = torch.zeros_like(exact)
        tilt[..., 0], tilt[..., 1] = amount, -amount
        if kind == "negative at the end":
            return exact + tilt if s == 0 else exact
        return exact + tilt * (t - s) ** 2 if kind == "below zero" else exact

    def kernel(x, t, s):
        if kind == "tau":
            return tau(x, late(t), float(s))
        if kind == "forward":
            a = torch.full((1, 1, 1), (1 - late(t)) / (1 - float(s)), dtype=F64)
            return noise.through(F.one_hot(x, v).to(F64), a)
        if kind == "stale":
            return stale(x, late(t), float(s))
        if kind == "upside down":
            return inverse(x, late(t), float(s))
        if kind == "at once":
            return guess(x, late(t)).exp()
        if kind == "stops early" and s < amount:
            return F.one_hot(x, v).to(F64)
        if kind == "another clock":
            return right(x, late(t) ** amount, float(s) ** amount)
        return changed(x, t, s)

    return kernel, toy_language.log_probs.exp().reshape([v] * l)


@functools.lru_cache(20_000)
def all_rows(v, l, seed, kind, amount, t, s):
    """The probabilities of one step from every text."""
    return made(v, l, seed, kind, amount)[0](toy.all_sequences(v, l), t, s)


def sampler(v, l, seed, kind, amount=0.0):
    """The kernel and its language; what was computed once is looked up."""
    places = v ** torch.arange(l - 1, -1, -1)
    look_up = lambda x, t, s: all_rows(v, l, seed, kind, amount, t, s)[(x * places).sum(1)]
    return look_up, made(v, l, seed, kind, amount)[1].clone()


def asked(answer, kernel, p):
    """The verdict, and at which times the kernel was asked."""
    times = set()

    def watched(x, t, s):
        if not (0 <= float(s) < float(t) <= 1):
            raise Wrong(
                f"the kernel was asked for a step from t = {float(t):g} to s = {float(s):g}; 0 <= s < t <= 1"
            )
        times.add(float(t))
        return kernel(x, float(t), float(s))

    verdict = answer(watched, p)
    return {
        "result": verdict,
        "notes": {"different times at which the kernel was asked": len(times)},
    }


halves_its_error = Exercise(view=asked, verdict="sampler", show=False)


def judged(text, want, kind, amount=0.0, v=3, l=2, seed=0, hidden=False, fact=""):
    halves_its_error.case(
        f"{text} ({v} letters, texts of {l})",
        recipe(sampler, v=v, l=l, seed=seed, kind=kind, amount=amount),
        {"result": want},
        hidden=hidden,
        fact=fact,
        letters_of_a_text=l,
        size_of_the_mistake=amount,
    )


judged("Bayes' rule with the perfect guess", True, "right")
judged(
    "tau-leaping with the perfect score",
    True,
    "tau",
    v=4,
    fact="its error is two to three times larger, but it halves as well",
)
judged(
    "Bayes' rule, a text of one letter",
    True,
    "right",
    l=1,
    seed=2,
    fact="its error is 0 at any number of steps, up to rounding: nothing is left to halve",
)
judged("an error of 0.5 h^2 in a step of length h", True, "honest", 0.5)
judged("the forward noise again, instead of the way back", False, "forward")
judged("the guess made for t = 1 at all times", False, "stale", v=4)
judged("the ratios upside down", False, "upside down", v=4)
judged("whole texts from the guess at each step", False, "at once", v=3)
judged(
    "probabilities sharpened by the power 1.03",
    False,
    "sharpened",
    1.03,
    fact="its error is small at 16 steps, and stops falling",
)
judged("probabilities that sum to 1.01", False, "sums", 0.01)
judged(
    "some probabilities are below 0",
    False,
    "below zero",
    4.0,
    fact="no letter can be drawn with a chance below 0, however well the rest adds up",
)
judged("wrong at one text only", False, "one text", 0.05)
judged("only the first letter ever moves", False, "one place")
judged(
    "an error of h^1.5 in a step of length h",
    False,
    "root",
    1.0,
    fact="its error falls like the root of the step",
)
judged("it stops at t = 0.06", False, "stops early", 0.06, v=4)
judged("Bayes' rule, another text of one letter", True, "right", v=4, l=1, seed=3)
judged("probabilities flattened by the power 0.97", False, "sharpened", 0.97, v=4)
judged(
    "some probabilities are below 0, in longer texts", False, "below zero", 4.0, v=2, l=3, seed=1
)
judged("right until the last step", False, "negative at the end", 0.03, l=1, seed=2)
for v, l, seed in [(3, 2, 7), (2, 3, 1)]:
    for text, want, kind, amount in [
        ("right", True, "right", 0.0),
        ("tau-leaping", True, "tau", 0.0),
        ("another clock", True, "another clock", 1.3),
        ("honest error", True, "honest", 3.0),
        ("a slightly wrong language", False, "wrong guess", 0.15),
        ("flattened", False, "sharpened", 0.95),
        ("probabilities below 0", False, "below zero", 3.5),
        ("falls like the root", False, "root", 1.5),
    ]:
        judged(text, want, kind, amount, v=v, l=l, seed=seed, hidden=True)
judged("forward", False, "forward", v=2, l=3, seed=1, hidden=True)
judged("stops early", False, "stops early", 0.04, seed=7, hidden=True)
judged("negative in the last step", False, "negative at the end", 0.03, seed=7, hidden=True)
judged("one letter, tau-leaping", True, "tau", l=1, seed=2, hidden=True)
judged(
    "one letter, wrong in the last step",
    False,
    "negative at the end",
    0.02,
    l=1,
    seed=2,
    hidden=True,
)
judged("sums to 0.999", False, "sums", -0.001, hidden=True)
