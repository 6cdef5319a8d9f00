"""Chapter 14: right answers in other styles, and the mistakes that people make, each with what it is."""

import itertools
import math

import torch
import torch.nn.functional as F

from autograde.authoring import right, wrong
from genmodels import toy

# ---------------------------------------------------------------- subs


@right("subs")
def by_adding(logits, x_t, mask):
    forbidden = torch.zeros_like(logits)
    forbidden[..., mask] = -math.inf
    log_p = F.log_softmax(logits + forbidden, -1)
    sure = F.one_hot(x_t, logits.shape[-1]).to(logits.dtype).log()
    return torch.where(x_t.eq(mask).unsqueeze(-1), log_p, sure)


@right("subs")
def in_place_on_a_copy(logits, x_t, mask):
    out = logits.clone()
    out[..., mask] = -math.inf
    out = out - out.logsumexp(-1, keepdim=True)
    seen = x_t != mask
    out[seen] = -math.inf
    out[seen, x_t[seen]] = 0.0
    return out


def _subs(logits, x_t, mask, forbid=True, carry=True, late=False, sure=0.0):
    index = torch.arange(logits.shape[-1])
    hole = logits.masked_fill(index == mask, -math.inf)
    log_p = hole.log_softmax(-1) if forbid else logits.log_softmax(-1)
    if late:
        log_p = logits.log_softmax(-1).masked_fill(index == mask, -math.inf)
    if not carry:
        return log_p
    kept = torch.where(index == x_t[..., None], sure, -math.inf).to(logits)
    return torch.where((x_t == mask)[..., None], log_p, kept)


@wrong("subs", "the mask is still possible: its logit must be -inf")
def mask_allowed(logits, x_t, mask):
    return _subs(logits, x_t, mask, forbid=False)


@wrong("subs", "a visible token is guessed again: it must be certain")
def visible_guessed(logits, x_t, mask):
    return _subs(logits, x_t, mask, carry=False)


@wrong("subs", "the mask is ruled out after the softmax, so the rest sums to less than 1")
def ruled_out_late(logits, x_t, mask):
    return _subs(logits, x_t, mask, late=True)


@wrong("subs", "a visible token gets log-probability 1; a certain token has 0")
def log_of_certain_is_one(logits, x_t, mask):
    return _subs(logits, x_t, mask, sure=1.0)


@wrong("subs", "masked and visible tokens are exchanged")
def exchanged(logits, x_t, mask):
    log_p = _subs(logits, x_t, mask, carry=False)
    sure = F.one_hot(x_t, logits.shape[-1]).to(logits.dtype).log()
    return torch.where((x_t != mask)[..., None], log_p, sure)


@wrong("subs", "the softmax runs over the positions instead of the symbols")
def softmax_over_positions(logits, x_t, mask):
    hole = logits.clone()
    hole[..., mask] = -1e9
    sure = F.one_hot(x_t, logits.shape[-1]).to(logits.dtype).log()
    return torch.where((x_t == mask)[..., None], hole.log_softmax(1), sure)


# ---------------------------------------------------------------- masked_bound


def _nll(log_p, x0):
    return -log_p.gather(-1, x0[..., None])[..., 0]


@right("masked_bound")
def by_cross_entropy(log_p, x0, x_t, t):
    nll = F.nll_loss(log_p.transpose(1, 2), x0, reduction="none")
    return nll.masked_fill(x_t != log_p.shape[-1] - 1, 0.0).sum(1) / t


@right("masked_bound")
def row_by_row(log_p, x0, x_t, t):
    mask = log_p.shape[-1] - 1
    return torch.stack([_nll(p, x)[y == mask].sum() / u for p, x, y, u in zip(log_p, x0, x_t, t)])


def _at(log_p, x_t):
    return x_t == log_p.shape[-1] - 1


@wrong("masked_bound", "the weight 1/t is missing")
def no_weight(log_p, x0, x_t, t):
    return torch.where(_at(log_p, x_t), _nll(log_p, x0), 0.0).sum(1)


@wrong("masked_bound", "the visible tokens count as well")
def all_tokens(log_p, x0, x_t, t):
    return _nll(log_p, x0).sum(1) / t


@wrong(
    "masked_bound",
    "it is the loss per token: the sum over the masked tokens is asked, not divided by the length",
)
def per_token(log_p, x0, x_t, t):
    return torch.where(_at(log_p, x_t), _nll(log_p, x0), 0.0).mean(1) / t


@wrong(
    "masked_bound",
    "the loss is divided by the number of masks, and by t: the share of masks is divided out twice",
)
def divided_twice(log_p, x0, x_t, t):
    at = _at(log_p, x_t)
    return torch.where(at, _nll(log_p, x0), 0.0).sum(1) / at.sum(1).clamp_min(1) / t


@wrong("masked_bound", "all texts are weighed by the mean time of the batch; each has its own")
def time_of_the_batch(log_p, x0, x_t, t):
    return torch.where(_at(log_p, x_t), _nll(log_p, x0), 0.0).sum(1) / t.mean()


@wrong("masked_bound", "the weight is t instead of 1/t")
def weight_upside_down(log_p, x0, x_t, t):
    return torch.where(_at(log_p, x_t), _nll(log_p, x0), 0.0).sum(1) * t


@wrong("masked_bound", "the sign is missing: a loss is minus the log-probability")
def sign(log_p, x0, x_t, t):
    return -torch.where(_at(log_p, x_t), _nll(log_p, x0), 0.0).sum(1) / t


# ---------------------------------------------------------------- draw_masks


@right("draw_masks")
def by_permutations(b, l, generator):
    k = torch.randint(1, l + 1, (b,), generator=generator).tolist()
    out = torch.zeros(b, l, dtype=torch.bool)
    for i, n in enumerate(k):
        out[i, torch.randperm(l, generator=generator)[:n]] = True
    return out


@right("draw_masks")
def by_thresholds(b, l, generator):
    u = torch.rand(b, l, generator=generator, dtype=torch.float64)
    k = torch.randint(0, l, (b, 1), generator=generator)
    return u <= u.sort(1).values.gather(1, k)


def _ranks(b, l, generator):
    return torch.rand(b, l, generator=generator).argsort(1).argsort(1)


@wrong("draw_masks", "k tokens in a row are masked, not any k")
def in_a_row(b, l, generator):
    k = torch.randint(1, l + 1, (b, 1), generator=generator)
    start = torch.randint(0, l, (b, 1), generator=generator)
    return (torch.arange(l) - start) % l < k


@wrong("draw_masks", "k never reaches l: the text that is all masks is missing")
def never_all(b, l, generator):
    return _ranks(b, l, generator) < torch.randint(1, max(l, 2), (b, 1), generator=generator)


@wrong(
    "draw_masks",
    "k runs evenly over 0 to l, as when each token is masked on its own with a random chance t; it begins at 1",
)
def bernoulli(b, l, generator):
    return torch.rand(b, l, generator=generator) < torch.rand(b, 1, generator=generator)


@wrong("draw_masks", "the first k tokens are masked, not any k")
def first_k(b, l, generator):
    return torch.arange(l) < torch.randint(1, l + 1, (b, 1), generator=generator)


@wrong("draw_masks", "one k serves the whole batch")
def one_k(b, l, generator):
    return _ranks(b, l, generator) < torch.randint(1, l + 1, (1, 1), generator=generator)


@wrong("draw_masks", "every set of masks is equally likely; every *number* of masks should be")
def all_sets_alike(b, l, generator):
    code = torch.randint(1, 2**l, (b, 1), generator=generator)
    return (code >> torch.arange(l)) % 2 == 1


# ---------------------------------------------------------------- over_all_masks


def _weighted(predict, x0, mask, weight, score=None, empty=False):
    n, total = x0.shape[1], torch.zeros(len(x0), dtype=torch.float64)
    for pattern in itertools.product([False, True], repeat=n):
        k = sum(pattern)
        if k or empty:
            hidden = torch.tensor(pattern).expand_as(x0)
            nll = _nll(predict(torch.where(hidden, mask, x0)), x0)
            counted = hidden if score is None else score(hidden)
            total = total + weight(k, n) * torch.where(counted, nll, 0.0).sum(1)
    return total


@right("over_all_masks")
def by_binomials(predict, x0, mask):
    return _weighted(predict, x0, mask, lambda k, n: 1 / (k * math.comb(n, k)))


@right("over_all_masks")
def by_reading_orders(predict, x0, mask):
    n, total = x0.shape[1], 0.0
    for order in itertools.permutations(range(n)):
        for j in range(n):
            hidden = torch.zeros(n, dtype=torch.bool)
            hidden[list(order[j:])] = True
            nll = _nll(predict(torch.where(hidden, mask, x0)), x0)
            total = total + nll[:, order[j]] / math.factorial(n)
    return total


@wrong("over_all_masks", "all sets of masks weigh the same")
def masks_alike(predict, x0, mask):
    return _weighted(predict, x0, mask, lambda k, n: n / (2**n - 1))


@wrong("over_all_masks", "the weight has k! where (k-1)! belongs")
def one_factor_too_many(predict, x0, mask):
    return _weighted(predict, x0, mask, lambda k, n: 1 / math.comb(n, k))


@wrong("over_all_masks", "the loss of the visible tokens is counted instead of the masked ones")
def visible_scored(predict, x0, mask):
    return _weighted(predict, x0, mask, lambda k, n: 1 / (k * math.comb(n, k)), lambda h: ~h)


@wrong("over_all_masks", "the bound is divided by the length: nats of a text are asked")
def per_symbol(predict, x0, mask):
    return _weighted(predict, x0, mask, lambda k, n: 1 / (n * k * math.comb(n, k)))


@wrong(
    "over_all_masks",
    "only the sizes are weighed, 1/k; each of the C(n, k) sets of that size counts in full",
)
def sizes_only(predict, x0, mask):
    return _weighted(predict, x0, mask, lambda k, n: 1 / k)


@wrong("over_all_masks", "only the order from left to right is read, not the mean over all orders")
def left_to_right(predict, x0, mask):
    n, total = x0.shape[1], 0.0
    for j in range(n):
        nll = _nll(predict(torch.where(torch.arange(n) >= j, mask, x0)), x0)
        total = total + nll[:, j]
    return total


@wrong(
    "over_all_masks", "only the text that is all masks is asked about: that is guessing all at once"
)
def all_at_once(predict, x0, mask):
    return _nll(predict(torch.full_like(x0, mask)), x0).sum(1)


# ---------------------------------------------------------------- reveal


def _draw(log_p, generator):
    u = torch.rand(log_p.shape[:-1], generator=generator, dtype=torch.float64)
    below = log_p.double().exp().cumsum(-1)
    return (u[..., None] * below[..., -1:] >= below).sum(-1)


def _coin(x, chance, generator):
    return torch.rand(x.shape, generator=generator, dtype=torch.float64) < chance


@right("reveal")
def one_table(x, t, s, log_p, mask, generator):
    p = (1 - s / t) * log_p.exp()
    p[..., mask] = s / t
    return torch.where(x == mask, _draw(p.log(), generator), x)


@right("reveal")
def by_gumbel(x, t, s, log_p, mask, generator):
    u = torch.rand(log_p.shape, generator=generator, dtype=torch.float64)
    guess = (log_p - (-u.log()).log()).argmax(-1)
    stays = _coin(x, s / t, generator)
    return torch.where((x == mask) & ~stays, guess, x)


def _reveal(x, log_p, mask, generator, chance, guess=None, everywhere=False):
    guess = _draw(log_p, generator) if guess is None else guess
    now = _coin(x, chance, generator)
    return torch.where(now if everywhere else now & (x == mask), guess, x)


@wrong("reveal", "all masks are revealed at once")
def everything(x, t, s, log_p, mask, generator):
    return _reveal(x, log_p, mask, generator, 1.1)


@wrong(
    "reveal",
    "a mask is revealed with chance t - s; it was still masked at t, so the chance is (t - s)/t",
)
def not_divided(x, t, s, log_p, mask, generator):
    return _reveal(x, log_p, mask, generator, t - s)


@wrong("reveal", "a mask is revealed with chance s/t; that is its chance to stay")
def upside_down(x, t, s, log_p, mask, generator):
    return _reveal(x, log_p, mask, generator, s / t)


@wrong("reveal", "visible tokens are drawn again")
def redrawn(x, t, s, log_p, mask, generator):
    return _reveal(x, log_p, mask, generator, 1 - s / t, everywhere=True)


@wrong("reveal", "the likeliest symbol is taken; it must be drawn")
def likeliest(x, t, s, log_p, mask, generator):
    return _reveal(x, log_p, mask, generator, 1 - s / t, log_p.argmax(-1))


@wrong("reveal", "one coin serves a whole text: its masks are revealed together")
def one_coin_a_text(x, t, s, log_p, mask, generator):
    now = torch.rand(len(x), 1, generator=generator, dtype=torch.float64) < 1 - s / t
    return torch.where(now & (x == mask), _draw(log_p, generator), x)


@wrong("reveal", "one coin for each place serves all texts of the batch")
def one_coin_a_batch(x, t, s, log_p, mask, generator):
    now = torch.rand(1, x.shape[1], generator=generator, dtype=torch.float64) < 1 - s / t
    return torch.where(now & (x == mask), _draw(log_p, generator), x)


@wrong(
    "reveal",
    "the chance is that of the kept share, 1 - (1 - t)/(1 - s): that is the way into noise",
)
def forward_chance(x, t, s, log_p, mask, generator):
    return _reveal(x, log_p, mask, generator, 1 - (1 - t) / (1 - s))


# ---------------------------------------------------------------- keep_confident


def _keep(x, log_p, k, mask, key=None, eligible=None, guess=None):
    best = log_p.max(-1).values if key is None else key
    able = (x == mask) if eligible is None else eligible
    rank = best.masked_fill(~able, -math.inf).argsort(1, descending=True).argsort(1)
    return torch.where((rank < k[:, None]) & able, log_p.argmax(-1) if guess is None else guess, x)


@right("keep_confident")
def by_ranks(x, log_p, k, mask):
    return _keep(x, log_p, k, mask)


@right("keep_confident")
def row_after_row(x, log_p, k, mask):
    out = x.clone()
    for i in range(len(x)):
        best, guess = log_p[i].exp().max(-1)
        best[x[i] != mask] = -1
        take = best.topk(min(int(k[i]), int((x[i] == mask).sum()))).indices
        out[i, take] = guess[take]
    return out


@wrong("keep_confident", "visible tokens are ranked too, and use up some of the k")
def visible_ranked(x, log_p, k, mask):
    rank = log_p.max(-1).values.argsort(1, descending=True).argsort(1)
    return torch.where((rank < k[:, None]) & (x == mask), log_p.argmax(-1), x)


@wrong("keep_confident", "visible tokens are written over")
def prompt_touched(x, log_p, k, mask):
    return _keep(x, log_p, k, mask, eligible=torch.ones_like(x, dtype=torch.bool))


@wrong("keep_confident", "the least confident guesses are kept")
def least_confident(x, log_p, k, mask):
    return _keep(x, log_p, k, mask, key=-log_p.max(-1).values)


@wrong("keep_confident", "the k of the first text serves all texts")
def one_k_for_all(x, log_p, k, mask):
    return _keep(x, log_p, k[:1].expand_as(k), mask)


@wrong("keep_confident", "k guesses are masked again; k are to be kept")
def masks_k(x, log_p, k, mask):
    return _keep(x, log_p, (x == mask).sum(1) - k, mask)


@wrong("keep_confident", "one guess too many is kept in each text")
def one_too_many(x, log_p, k, mask):
    return _keep(x, log_p, k + 1, mask)


@wrong("keep_confident", "all masks are revealed, whatever k is")
def all_kept(x, log_p, k, mask):
    return torch.where(x == mask, log_p.argmax(-1), x)


@wrong("keep_confident", "the leftmost masks are revealed; the most confident are asked")
def leftmost(x, log_p, k, mask):
    return _keep(x, log_p, k, mask, key=-torch.arange(x.shape[1]).double().expand(x.shape))


# ---------------------------------------------------------------- writes_fairly

LANGUAGES = [(3, 2, 0), (3, 3, 1)]


def _gap(law, language, steps):
    p = F.pad(language.log_probs.exp().reshape((language.v,) * language.l), (0, 1) * language.l)
    return float((law(language, steps) - p).abs().sum() / 2)


def _fair(law, languages=LANGUAGES, steps=128, limit=0.012, spread=1.5):
    made = [toy.TinyLanguage.random(v, l, seed, spread) for v, l, seed in languages]
    return all(_gap(law, language, steps) < limit for language in made)


@right("writes_fairly")
def small_at_many_steps(law):
    return _fair(law, steps=200)


@right("writes_fairly")
def extrapolated(law):
    language = toy.TinyLanguage.random(3, 3, 4, 1.5)
    p = F.pad(language.log_probs.exp().reshape(3, 3, 3), (0, 1) * 3)
    limit = 2 * law(language, 128) - law(language, 64)
    return bool((limit - p).abs().sum() < 1.5e-2)


@wrong(
    "writes_fairly",
    "a language of two tokens does not show a network that sees too little: take three",
)
def two_tokens_only(law):
    return _fair(law, [(3, 2, 0), (4, 2, 1)])


@wrong(
    "writes_fairly",
    "ancestral sampling has an error, which vanishes as the steps grow: ask for many steps, and allow for it",
)
def few_steps(law):
    return _fair(law, steps=4)


@wrong("writes_fairly", "the masks that are left over are not counted: look at the whole table")
def ignores_masks(law):
    for v, l, seed in LANGUAGES:
        language = toy.TinyLanguage.random(v, l, seed, 1.5)
        q = law(language, 128)[(slice(0, v),) * l]
        p = language.log_probs.exp().reshape(q.shape)
        if float((q / q.sum() - p).abs().sum()) > 0.024:
            return False
    return True


@wrong("writes_fairly", "each token alone may have the right law while the text has not")
def marginals_only(law):
    for v, l, seed in LANGUAGES:
        language = toy.TinyLanguage.random(v, l, seed, 1.5)
        p = F.pad(language.log_probs.exp().reshape((v,) * l), (0, 1) * l)
        off = law(language, 128) - p
        for i in range(l):
            if float(off.sum([j for j in range(l) if j != i]).abs().sum()) > 0.024:
                return False
    return True


@wrong("writes_fairly", "everything is accepted that comes within 0.3 of the truth")
def too_generous(law):
    return _fair(law, limit=0.3)


@wrong(
    "writes_fairly",
    "a nearly uniform language hides a sharpened draw and a wrong order: take a spread of 1 or more",
)
def nearly_uniform(law):
    return _fair(law, limit=0.02, spread=0.02)


@wrong("writes_fairly", "only the entropy is looked at, and only whether it is too low")
def entropy_only(law):
    language = toy.TinyLanguage.random(3, 3, 1, 1.5)
    return float(torch.special.entr(law(language, 128)).sum()) > language.entropy() - 0.01
