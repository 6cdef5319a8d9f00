"""Chapter 14: the cases of each exercise, and the truth of each."""

import functools
import itertools
import math

import torch

from autograde.authoring import Exercise, recipe
from coursekit.checks import Sampled, Wrong
from genmodels import samplers, schedule, toy
from genmodels.discrete import Masking, by_confidence, by_entropy, in_order

F64 = torch.float64


def gauss(*shape, seed, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def whole(high, *shape, seed):
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def logs(b, l, v, seed):
    """Log-probabilities of v symbols, and of the mask, which has none."""
    return torch.nn.functional.pad(
        gauss(b, l, v, seed=seed).log_softmax(-1), (0, 1), value=-math.inf
    )


# ---------------------------------------------------------------- subs


def as_probabilities(answer, logits, x_t, mask):
    got = answer(logits, x_t, mask)
    if not isinstance(got, torch.Tensor) or got.shape != logits.shape:
        raise Wrong(f"log-probabilities of shape {tuple(logits.shape)} are asked")
    return {"probabilities, exp of what came back": got.exp()}


def token_by_token(logits, x_t, mask):
    out = torch.full_like(logits, -math.inf)
    for i, j in itertools.product(*map(range, x_t.shape)):
        seen, symbols = int(x_t[i, j]), [k for k in range(logits.shape[-1]) if k != mask]
        if seen != mask:
            out[i, j, seen] = 0
            continue
        total = sum(math.exp(float(logits[i, j, k].detach())) for k in symbols)
        for k in symbols:
            out[i, j, k] = float(logits[i, j, k].detach()) - math.log(total)
    return out


subs = Exercise(truth=token_by_token, view=as_probabilities, gradient=["logits"])


def text(words, x, mask, states, seed, hidden=False):
    x = torch.tensor(x)
    subs.case(
        words, (2 * gauss(*x.shape, states, seed=seed), x, mask), hidden=hidden,
        the_mask_is="the last symbol" if mask == states - 1 else "another symbol",
        tokens="all masked" if bool((x == mask).all()) else "none masked" if not bool((x == mask).any()) else "mixed",
    )  # fmt: skip


text("2 texts of 3 tokens, 3 symbols and the mask", [[3, 0, 2], [1, 3, 3]], 3, 4, 0)
text("all masked", [[2, 2], [2, 2], [2, 2]], 2, 3, 1)
text("no token masked", [[0, 1, 3, 2]], 4, 5, 2)
text("the mask is symbol 0", [[0, 1, 0], [2, 0, 1]], 0, 3, 3)
text("one text", [[4, 4, 1, 0, 4]], 4, 5, 4, hidden=True)
text("the mask is symbol 1", [[1, 1, 0], [3, 1, 2]], 1, 4, 5, hidden=True)
text("one token", [[2], [0], [1]], 2, 3, 6, hidden=True)
text("as many tokens as states", [[3, 1, 3, 0]] * 4, 3, 4, 7, hidden=True)

# ---------------------------------------------------------------- masked_bound


def sums_in_python(log_p, x0, x_t, t):
    mask, out = log_p.shape[-1] - 1, []
    for i in range(len(x0)):
        places = [j for j in range(x0.shape[1]) if int(x_t[i, j]) == mask]
        out.append(sum(-float(log_p[i, j, int(x0[i, j])].detach()) for j in places) / float(t[i]))
    return torch.tensor(out, dtype=log_p.dtype)


masked_bound = Exercise(truth=sums_in_python, gradient=["log_p"])


def at_time(words, b, l, v, t, rate, seed, hidden=False, **facets):
    x0 = whole(v, b, l, seed=seed)
    masked = torch.rand(b, l, generator=torch.Generator().manual_seed(seed + 1)) < rate
    args = logs(b, l, v, seed + 2), x0, torch.where(masked, v, x0), torch.tensor(t, dtype=F64)
    return masked_bound.case(
        words, args, hidden=hidden, times="all equal" if len(set(t)) == 1 else "differ", **facets
    )


ONE = at_time("3 texts, each with its own t", 3, 4, 3, [0.3, 0.9, 0.5], 0.6, 10)
at_time("2 texts at t = 0.25", 2, 5, 4, [0.25, 0.25], 0.5, 20)
at_time("one text, all masked, t = 1", 1, 3, 2, [1.0], 1.1, 30)
at_time("no token masked", 2, 3, 2, [0.1, 0.6], 0.0, 40, hidden=True)
at_time("as many texts as tokens", 4, 4, 3, [0.2, 0.4, 0.6, 0.8], 0.5, 50, hidden=True)
at_time("one token", 5, 1, 3, [0.2, 0.4, 0.6, 0.8, 0.9], 0.7, 60, hidden=True)

# ---------------------------------------------------------------- draw_masks


def many_masks(answer, b, l, seed):
    make = lambda s: torch.Generator().manual_seed(s)
    got = answer(b, l, make(seed))
    if not isinstance(got, torch.Tensor) or got.shape != (b, l) or got.dtype != torch.bool:
        raise Wrong(f"a tensor of {b} x {l} truth values is asked, True where a token is masked")
    again = [answer(40, l, make(s)) for s in (1, 1, 2)]
    place = (got.long() * 2 ** torch.arange(l).flip(0)).sum(1)
    count = got.double().sum(1) - (l + 1) / 2
    return {
        "share of each mask, from 0...00, 0...01 to 1...11": Sampled(
            torch.nn.functional.one_hot(place, 2**l)
        ),
        "number of masks times that of the next text, both less their mean": Sampled(
            (count * count.roll(1))[:, None]
        ),
        "two runs with equal generators differ": int(not torch.equal(again[0], again[1])),
        "two runs with different generators are alike": int(torch.equal(again[0], again[2])),
    }


draw_masks = Exercise(view=many_masks, show=False)


def drawing(l, seed, hidden=False):
    patterns = list(itertools.product([0, 1], repeat=l))
    share = [0.0 if not sum(m) else 1 / l / math.comb(l, sum(m)) for m in patterns]
    want = {
        "share of each mask, from 0...00, 0...01 to 1...11": torch.tensor(share, dtype=F64),
        "number of masks times that of the next text, both less their mean": torch.zeros(
            1, dtype=F64
        ),
        "two runs with equal generators differ": 0,
        "two runs with different generators are alike": 0,
    }
    draw_masks.case(f"8000 masks of {l} tokens", (8000, l, seed), want, hidden=hidden, tokens=l)


drawing(3, 11)
drawing(4, 12)
drawing(2, 13, hidden=True)
drawing(5, 14, hidden=True)

# ---------------------------------------------------------------- over_all_masks


def a_network(v, l, b, seed):
    """Predictions that depend on all that is visible; no language fits them, so orders matter."""
    weight, bias = 1.5 * gauss(l * (v + 1), l * v, seed=seed), gauss(l * v, seed=seed + 1)

    def predict(x):
        seen = torch.nn.functional.one_hot(x, v + 1).double().flatten(1)
        log_p = (torch.tanh(seen @ weight / l) * 2 + bias).unflatten(1, (l, v)).log_softmax(-1)
        return torch.nn.functional.pad(log_p, (0, 1), value=-1000.0)

    return predict, whole(v, b, l, seed=seed + 2), v


def every_order(predict, x0, mask):
    """The mean over all n! reading orders of -sum_i log p(token | tokens read before)."""
    l = x0.shape[1]
    orders, total = list(itertools.permutations(range(l))), torch.zeros(len(x0), dtype=F64)
    for order in orders:
        x = torch.full_like(x0, mask)
        for place in order:
            total -= predict(x)[torch.arange(len(x0)), place, x0[:, place]] / len(orders)
            x[:, place] = x0[:, place]
    return total


over_all_masks = Exercise(truth=every_order, show=False)
for v, l, b, seed in [
    (3, 2, 3, 1),
    (2, 3, 4, 2),
    (3, 4, 2, 3),
    (2, 1, 2, 4),
    (2, 5, 1, 5),
    (4, 3, 3, 6),
]:
    over_all_masks.case(
        f"{b} texts of {l} tokens, {v} symbols", recipe(a_network, v=v, l=l, b=b, seed=seed),
        hidden=seed > 3, tokens=l,
    )  # fmt: skip

# ---------------------------------------------------------------- reveal


def one_step(answer, row, t, s, log_row, mask, seed):
    n, make = 6000, lambda k: torch.Generator().manual_seed(k)
    x, log_p = row.expand(n, -1).clone(), log_row.expand(n, -1, -1).clone()
    got = answer(x.clone(), t, s, log_p, mask, make(seed))
    if not isinstance(got, torch.Tensor) or got.shape != x.shape or got.is_floating_point():
        raise Wrong(f"tokens of shape {tuple(x.shape)} are asked")
    visible = row != mask
    one = torch.nn.functional.one_hot(got.clamp(0, mask), mask + 1).double()
    masked = (got == mask)[:, ~visible].double() - s / t
    again = [answer(x[:40].clone(), t, s, log_p[:40], mask, make(k)) for k in (1, 1, 2)]
    return {
        "visible tokens that changed": int((got != x)[:, visible].sum()),
        "share of each symbol at each place, the mask last": Sampled(one),
        "still masked, less s/t, times the same of the next place": Sampled(
            masked * masked.roll(1, 1)
        ),
        "still masked, less s/t, times the same of the next text": Sampled(
            masked * masked.roll(1, 0)
        ),
        "two runs with equal generators differ": int(not torch.equal(again[0], again[1])),
        "two runs with different generators are alike": int(torch.equal(again[0], again[2])),
    }


reveal = Exercise(view=one_step, show=False, equivalent=["computed in float32"])


def step_case(row, t, s, seed, hidden=False):
    mask, l = 3, len(row)
    log_row, row = logs(1, l, mask, seed)[0], torch.tensor(row)
    chance = torch.nn.functional.one_hot(row, mask + 1).double()
    free = row == mask
    chance[free] = (1 - s / t) * log_row[free].exp()
    chance[free, mask] = s / t
    k = int(free.sum())
    spread = s / t * (1 - s / t)
    want = {
        "visible tokens that changed": 0,
        "share of each symbol at each place, the mask last": chance,
        "still masked, less s/t, times the same of the next place": torch.full(
            (k,), spread if k == 1 else 0.0
        ).double(),
        "still masked, less s/t, times the same of the next text": torch.zeros(k).double(),
        "two runs with equal generators differ": 0,
        "two runs with different generators are alike": 0,
    }
    reveal.case(
        f"tokens {row.tolist()}, the mask is 3, t = {t:g}, s = {s:g}",
        (row, t, s, log_row, mask, seed), want, hidden=hidden,
        the_last_step=s == 0, from_t_1=t == 1,
    )  # fmt: skip


step_case([3, 0, 3, 3], 0.8, 0.5, 21)
step_case([3, 3, 1], 1.0, 0.75, 22)
step_case([1, 3, 3, 2], 0.25, 0.0, 23)
step_case([3, 3], 0.6, 0.1, 24, hidden=True)
step_case([3, 2, 0, 3, 3], 0.3, 0.25, 25, hidden=True)
step_case([3, 0, 3], 0.05, 0.0, 26, hidden=True)

# ---------------------------------------------------------------- keep_confident


def sorted_in_python(x, log_p, k, mask):
    out = x.tolist()
    for i, row in enumerate(x.tolist()):
        hidden = [j for j, token in enumerate(row) if token == mask]
        best = {j: max((float(p), -s) for s, p in enumerate(log_p[i, j])) for j in hidden}
        for j in sorted(hidden, key=lambda j: -best[j][0])[: int(k[i])]:
            out[i][j] = -best[j][1]
    return torch.tensor(out)


keep_confident = Exercise(truth=sorted_in_python)


def keeping(words, b, l, v, k, rate, seed, hidden=False):
    x = whole(v, b, l, seed=seed)
    x[torch.rand(b, l, generator=torch.Generator().manual_seed(seed + 1)) < rate] = v
    left = (x == v).sum(1)
    k = torch.tensor(k)
    keep_confident.case(
        words, (x, logs(b, l, v, seed + 2), k, v), hidden=hidden,
        k="the same in all texts" if len(set(k.tolist())) == 1 else "differs",
        more_asked_than_masked=bool((k > left).any()), visible_tokens=bool((x != v).any()),
    )  # fmt: skip


keeping("3 texts of 6 tokens, k = 1, 2, 3", 3, 6, 4, [1, 2, 3], 0.7, 41)
keeping("2 texts, all masked, k = 2", 2, 5, 3, [2, 2], 1.1, 44)
keeping("4 texts of 5 tokens, k = 0, 1, 2, 1", 4, 5, 3, [0, 1, 2, 1], 0.7, 47)
keeping("more asked than masked", 3, 4, 3, [4, 3, 1], 0.5, 50)
keeping("many texts", 9, 7, 5, [1, 2, 3, 1, 2, 3, 0, 5, 2], 0.8, 53, hidden=True)
keeping("one text, one token", 1, 1, 3, [1], 1.1, 56, hidden=True)
keeping("as many texts as tokens", 5, 5, 4, [2, 1, 3, 1, 2], 0.6, 59, hidden=True)

# ---------------------------------------------------------------- writes_fairly


def shared(kernel, x, t, s):
    """The law of the whole text from independent tokens: (b, states ** l)."""
    p = kernel(x, t, s)
    out = p[:, 0]
    for j in range(1, p.shape[1]):
        out = (out[:, :, None] * p[:, None, j]).flatten(1)
    return out


ONE_A_STEP = ("any order", "left to right", "right to left", "one neighbour")


@functools.lru_cache(500)
def table_of(kind, strength, v, l, logs, steps):
    """The exact law of a text of this sampler with the perfect network; looked up where it was asked before."""
    language = toy.TinyLanguage(torch.tensor(logs, dtype=torch.float64).exp().reshape((v,) * l))
    process, places = Masking(v, schedule.rectified()), (v + 1) ** torch.arange(l - 1, -1, -1)
    known = language(toy.all_sequences(v + 1, l))
    net = lambda x, t: known[(x * places).sum(1)]
    blind = lambda x, t: net(torch.full_like(x, v), t)
    hot = lambda x, t: (net(x, t) * strength).log_softmax(-1)
    first = lambda x, t: torch.cat([hot(x, t)[:, :1], net(x, t)[:, 1:]], 1)
    dim = lambda x, t: torch.where((x == v)[..., None], net(neighbour(x, v), t), net(x, t))
    orders = [in_order(o) for o in itertools.permutations(range(l))]
    exact = samplers.ancestral_kernel(net, process)
    guessed = lambda rank, heat=1.0, f=net: samplers.confidence_kernel(
        f, process, rank=rank, temperature=heat
    )
    kinds = {
        "any order": lambda: guessed(orders),
        "left to right": lambda: guessed(in_order(range(l))),
        "right to left": lambda: guessed(in_order(range(l - 1, -1, -1))),
        "confidence": lambda: guessed(by_confidence),
        "entropy": lambda: guessed(by_entropy),
        "remasking": lambda: samplers.remdm_kernel(net, process, lambda most: 0.2 * most),
        "tempered": lambda: samplers.ancestral_kernel(hot, process),
        "tempered at the first place": lambda: samplers.ancestral_kernel(first, process),
        "at once": lambda: lambda x, t, s: exact(x, t, 0.0),
        "stale": lambda: samplers.ancestral_kernel(blind, process),
        "sure": lambda: samplers.threshold_kernel(net, process, strength, temperature=1.0),
        "greedy": lambda: guessed(orders, 0.0),
        "one neighbour": lambda: guessed(in_order(range(l)), f=dim),
    }
    stop = strength if kind == "stops early" else 0.0
    count = max(steps, l) if kind in ONE_A_STEP else steps
    times = [1 - (1 - stop) * k / count for k in range(count + 1)]
    return samplers.terminal_law(kinds.get(kind, lambda: exact)(), process, l, times)


def sampler(kind, strength):
    """law(language, steps) of one sampler."""

    def law(language, steps):
        logs = tuple(language.log_probs.tolist())
        return table_of(kind, strength, language.v, language.l, logs, int(steps)).clone()

    return (law,)


def neighbour(x, mask):
    """What a network sees that looks one token to the left only, at the first masked place."""
    place = (x == mask).long().argmax(1, keepdim=True)
    near = torch.arange(x.shape[1]) == place - 1
    return torch.where(near, x, mask)


writes_fairly = Exercise(verdict="law", show=False)


def judged(words, right, kind, strength=1.0, hidden=False, fact="", flaw="none"):
    writes_fairly.case(
        words, recipe(sampler, kind=kind, strength=strength), right, hidden=hidden, fact=fact, flaw=flaw,
    )  # fmt: skip


judged(
    "ancestral sampling",
    True,
    "small steps",
    fact="its error is not 0 at any number of steps, but it vanishes",
)
judged("one token at a time, in random order", True, "any order")
judged(
    "one token at a time, from left to right",
    True,
    "left to right",
    fact="a fixed order is fair with a perfect network",
)
judged("the most confident guesses first", False, "confidence", flaw="order")
judged(
    "the lowest entropy first",
    True,
    "entropy",
    fact="the order may depend on what is visible, not on what was just guessed",
)
judged(
    "all tokens at the first step",
    False,
    "at once",
    fact="each token alone has the right law; together they do not",
    flaw="together",
)
judged("draws at temperature 0.8", False, "tempered", 1.25, flaw="sharpened")
judged(
    "masks are left over",
    False,
    "stops early",
    0.1,
    fact="look at the masks that are left",
    flaw="masks",
)
judged("the network is asked once only", False, "stale", flaw="together")
judged("every guess above 0.5 is kept", False, "sure", 0.5, flaw="order")
judged(
    "the network sees one token to the left",
    False,
    "one neighbour",
    fact="two tokens do not show it",
    flaw="short sight",
)
judged("a few masks are left over", False, "stops early", 0.04, flaw="masks")
judged(
    "ancestral sampling that masks visible tokens again",
    True,
    "remasking",
    fact="a token that becomes a mask again is drawn anew",
)
judged("from right to left", True, "right to left", hidden=True)
judged("the likeliest symbol", False, "greedy", hidden=True, flaw="sharpened")
judged(
    "sharpened at the first place",
    False,
    "tempered at the first place",
    1.6,
    hidden=True,
    flaw="sharpened",
)
judged("draws at temperature 1.3", False, "tempered", 1 / 1.3, hidden=True, flaw="sharpened")
judged("some masks are left over", False, "stops early", 0.06, hidden=True, flaw="masks")
