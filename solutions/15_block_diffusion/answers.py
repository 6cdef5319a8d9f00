"""Chapter 15: right answers in other styles, and the mistakes that people make, each with what they should read."""

import itertools
import math

import torch

from autograde.authoring import right, wrong

F64 = torch.float64

# ---------------------------------------------------------------- block_causal


@right("block_causal")
def by_ceiling(l, n):
    end = (torch.arange(l) // n + 1) * n  # the first position after the block
    return torch.arange(l)[None] < end[:, None]


@right("block_causal")
def with_loops(l, n):
    return torch.tensor([[j // n <= i // n for j in range(l)] for i in range(l)])


@wrong("block_causal", "earlier blocks alone are seen: a token may also look at its own block")
def own_block_missing(l, n):
    b = torch.arange(l) // n
    return b[:, None] > b


@wrong("block_causal", "rows and columns are exchanged: this looks at later blocks")
def block_turned(l, n):
    b = torch.arange(l) // n
    return b[:, None] <= b


@wrong("block_causal", "this is a causal mask: inside a block tokens look at later ones too")
def token_causal(l, n):
    return torch.ones(l, l, dtype=torch.bool).tril()


@wrong(
    "block_causal",
    "a window of n - 1 tokens to the right has no blocks: where a block ends is the same for all in it",
)
def sliding(l, n):
    i = torch.arange(l)
    return i[None] - i[:, None] < n


@wrong("block_causal", "only the own block is seen; earlier blocks are allowed as well")
def own_block_only(l, n):
    b = torch.arange(l) // n
    return b[:, None] == b


@wrong("block_causal", "the mask must be boolean: numbers 0 and 1 would be added to the scores")
def zeros_and_ones(l, n):
    b = torch.arange(l) // n
    return (b[:, None] >= b).double()


@wrong("block_causal", "blocks are counted from position 1: the first of them is one token short")
def off_by_one(l, n):
    b = (torch.arange(l) + 1) // n
    return b[:, None] >= b


@wrong("block_causal", "n is the length of a block, not the number of blocks")
def number_of_blocks(l, n):
    b = torch.arange(l) // max(l // n, 1)
    return b[:, None] >= b


# ---------------------------------------------------------------- two_streams


@right("two_streams")
def by_indices(l, n):
    i = torch.arange(2 * l)
    clean, block = i >= l, i % l // n
    q, k = block[:, None], block[None]
    qc, kc = clean[:, None], clean[None]
    return (~qc & ~kc & (q == k)) | (~qc & kc & (q > k)) | (qc & kc & (q >= k))


@right("two_streams")
def by_kronecker(l, n):
    m = l // n
    ones = torch.ones(n, n)
    quarter = lambda small: torch.kron(small, ones)
    lower = torch.ones(m, m).tril()
    top = torch.cat([quarter(torch.eye(m)), quarter(lower - torch.eye(m))], 1)
    return torch.cat([top, torch.cat([torch.zeros(l, l), quarter(lower)], 1)]).bool()


def quarters(l, n, *rules):
    """The four quarters by rules on the numbers of blocks (a, b) and of tokens (i, j)."""
    i = torch.arange(l)
    a, b = (i // n)[:, None], (i // n)[None]
    nn, nc, cn, cc = (
        torch.as_tensor(rule(a, b, i[:, None], i[None])).expand(l, l) for rule in rules
    )
    return torch.cat([torch.cat([nn, nc], 1), torch.cat([cn, cc], 1)])


same = lambda a, b, i, j: a == b
past = lambda a, b, i, j: a > b
upto = lambda a, b, i, j: a >= b
none = lambda a, b, i, j: torch.tensor(False)
everything = lambda a, b, i, j: torch.tensor(True)
token = lambda a, b, i, j: i >= j


@wrong("two_streams", "a noisy block looks at its own clean copy: it reads the answer")
def own_copy(l, n):
    return quarters(l, n, same, upto, none, upto)


@wrong("two_streams", "noisy blocks look at all clean ones, at the answers and at the future")
def all_clean(l, n):
    return quarters(l, n, same, everything, none, upto)


@wrong("two_streams", "the clean stream looks at noise, which was not there when it was read")
def clean_sees_noise(l, n):
    return quarters(l, n, same, past, same, upto)


@wrong("two_streams", "the halves are exchanged: the noisy tokens come first")
def halves_exchanged(l, n):
    got = quarters(l, n, same, past, none, upto)
    return torch.cat(
        [torch.cat([got[l:, l:], got[l:, :l]], 1), torch.cat([got[:l, l:], got[:l, :l]], 1)]
    )


@wrong("two_streams", "inside a noisy block tokens look in both directions")
def noisy_causal(l, n):
    return quarters(l, n, lambda a, b, i, j: (a == b) & (i >= j), past, none, upto)


@wrong(
    "two_streams",
    "a noisy block looks at earlier noisy blocks; of earlier blocks it sees the clean copy only",
)
def noisy_past(l, n):
    return quarters(l, n, upto, past, none, upto)


@wrong(
    "two_streams",
    "a clean token looks at the later tokens of its own block too, as it does when the block is read",
)
def clean_token_causal(l, n):
    return quarters(l, n, same, past, none, token)


@wrong(
    "two_streams",
    "the noisy stream looks at no clean block: each block is guessed without what comes before",
)
def no_context(l, n):
    return quarters(l, n, same, none, none, upto)


@wrong(
    "two_streams",
    "the clean stream looks ahead, and brings later tokens to the noisy blocks on a detour",
)
def clean_looks_ahead(l, n):
    return quarters(l, n, same, past, none, everything)


@wrong("two_streams", "rows and columns are exchanged: the row is who looks")
def streams_turned(l, n):
    return quarters(l, n, same, past, none, upto).T


# ---------------------------------------------------------------- block_bound


def sets_of(predict, x0, n, mask, weight, keep=None, combine=lambda v, l, n: v):
    """A sum over all sets of a block, hidden in every block at once."""
    total = torch.zeros(len(x0), dtype=F64)
    for pattern in itertools.product([False, True], repeat=n):
        k = sum(pattern)
        if not k:
            continue
        hidden = torch.tensor(pattern).repeat(x0.shape[1] // n).expand_as(x0)
        log_p = predict(torch.where(hidden, mask, x0), x0)
        nll = -log_p.gather(2, x0[..., None])[..., 0]
        scored = hidden if keep is None else keep(hidden)
        total = total + weight(k, n) * torch.where(scored, nll, 0.0).sum(1)
    return combine(total, x0.shape[1], n)


proper = lambda k, n: math.factorial(k - 1) * math.factorial(n - k) / math.factorial(n)


@right("block_bound")
def by_orders(predict, x0, n, mask):
    total, orders = torch.zeros(len(x0), dtype=F64), list(itertools.permutations(range(n)))
    for order in orders:
        for step in range(n):
            x_t = x0.reshape(len(x0), -1, n).clone()
            x_t[:, :, list(order[step:])] = mask
            log_p = predict(x_t.reshape(x0.shape), x0).gather(2, x0[..., None])[..., 0]
            total = total - log_p.reshape(x_t.shape)[:, :, order[step]].sum(1) / len(orders)
    return total


@right("block_bound")
def by_counts(predict, x0, n, mask):
    total = 0.0
    for k in range(1, n + 1):
        subsets = list(itertools.combinations(range(n), k))
        for subset in subsets:
            hidden = torch.zeros(x0.shape[1], dtype=torch.bool).reshape(-1, n)
            hidden[:, list(subset)] = True
            hidden = hidden.reshape(-1)
            log_p = predict(x0.masked_fill(hidden, mask), x0)
            nll = torch.nn.functional.nll_loss(log_p.transpose(1, 2), x0, reduction="none")
            total = total + nll[:, hidden].sum(1) / (k * len(subsets))
    return total


@wrong("block_bound", "the mean over the tokens of a block was taken; -log p adds them up")
def divided_by_block(predict, x0, n, mask):
    return sets_of(predict, x0, n, mask, proper, combine=lambda v, l, n: v / n)


@wrong("block_bound", "the mean over the blocks was taken; -log p adds them up")
def mean_over_blocks(predict, x0, n, mask):
    return sets_of(predict, x0, n, mask, proper, combine=lambda v, l, n: v * n / l)


@wrong("block_bound", "tokens that are seen were scored too; only hidden ones count")
def visible_scored(predict, x0, n, mask):
    return sets_of(predict, x0, n, mask, proper, keep=torch.ones_like)


@wrong(
    "block_bound",
    "all sets weigh the same here; small and large ones weigh more than those between",
)
def all_alike(predict, x0, n, mask):
    return sets_of(predict, x0, n, mask, lambda k, n: 1 / 2 ** (n - 1))


@wrong(
    "block_bound", "1/k is missing: a set of k tokens weighs (k-1)! (n-k)! / n!, not k! (n-k)! / n!"
)
def k_factorial(predict, x0, n, mask):
    return sets_of(
        predict,
        x0,
        n,
        mask,
        lambda k, n: math.factorial(k) * math.factorial(n - k) / math.factorial(n),
    )


@wrong(
    "block_bound",
    "all tokens of the block are hidden at once: that is one step, not the mean over all times",
)
def only_all_hidden(predict, x0, n, mask):
    return sets_of(predict, x0, n, mask, lambda k, n: float(k == n))


@wrong("block_bound", "the bound is in nats; these are bits")
def in_bits(predict, x0, n, mask):
    return sets_of(predict, x0, n, mask, proper, combine=lambda v, l, n: v / math.log(2))


@wrong("block_bound", "the sign is wrong: the bound is on -log p, so it is positive")
def negative(predict, x0, n, mask):
    return -sets_of(predict, x0, n, mask, proper)


@wrong(
    "block_bound",
    "the clean stream was masked as well: earlier blocks are finished when this one is written",
)
def clean_masked(predict, x0, n, mask):
    return sets_of(lambda x_t, _: predict(x_t, x_t), x0, n, mask, proper)


@wrong("block_bound", "the mean over the texts was taken; one number for each is asked")
def one_for_all(predict, x0, n, mask):
    return sets_of(predict, x0, n, mask, proper).mean().expand(len(x0))


# ---------------------------------------------------------------- spread


def integral(a, b, low):
    total = 0.0
    for j in range(b + 1):
        power = a + j + 1
        term = -math.log(low) if power == 0 else (1 - low**power) / power
        total += math.comb(b, j) * (-1) ** j * term
    return total


def moments(
    loss, hidden, low, divide=True, power=0, share=lambda k, n: n / k, chance=None, least=None
):
    """The four numbers, with a part changed."""
    n = hidden.shape[1]
    first = second = mean = square = 0.0
    for value, k in zip(loss.tolist(), hidden.sum(1).tolist()):
        if k:
            scale = (1 - low) if divide else 1
            start = low if least is None else least
            first += value * integral(k - 1 + power, n - k, start) / scale
            second += value**2 * integral(k - 2 + 2 * power, n - k, start) / scale
            c = 1 / (n * math.comb(n, k)) if chance is None else chance(k, n)
            mean += c * value * share(k, n)
            square += c * (value * share(k, n)) ** 2
    return first, second, mean, square


def variances(first, second, mean, square):
    return first, second - first**2, mean, square - mean**2


@right("spread")
def vectorised(loss, hidden, low):
    loss, n, k = loss.double(), hidden.shape[1], hidden.sum(1)
    table = lambda shift: torch.tensor(
        [0.0] + [integral(j - shift, n - j, low) / (1 - low) for j in range(1, n + 1)], dtype=F64
    )
    chance = torch.tensor([0.0] + [1 / (n * math.comb(n, j)) for j in range(1, n + 1)], dtype=F64)[
        k
    ]
    value = n * loss / k.clamp_min(1)
    first, mean = (table(1)[k] * loss).sum(), (chance * value).sum()
    return torch.stack(
        [
            first,
            (table(2)[k] * loss**2).sum() - first**2,
            mean,
            (chance * (value - mean) ** 2).sum(),
        ]
    )


@right("spread")
def by_midpoints(loss, hidden, low):
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(80)
    u = torch.tensor(math.log(low) * (1 - nodes) / 2)
    t = u.exp()
    density = torch.tensor(weights) * t * -math.log(low) / 2 / (1 - low)
    k, n, loss = hidden.sum(1).double(), hidden.shape[1], loss.double()
    chance = t[:, None] ** k * (1 - t[:, None]) ** (n - k)
    first = (density[:, None] * chance * loss / t[:, None]).sum()
    second = (density[:, None] * chance * (loss / t[:, None]) ** 2).sum()
    sizes = [loss[k == j] * n / j for j in range(1, n + 1)]
    mean = sum(v.mean() for v in sizes) / n
    square = sum((v**2).mean() for v in sizes) / n
    return float(first), float(second - first**2), float(mean), float(square - mean**2)


@wrong("spread", "these are standard deviations; the variance is their square")
def deviations(loss, hidden, low):
    a, b, c, d = variances(*moments(loss, hidden, low))
    return a, max(b, 0) ** 0.5, c, max(d, 0) ** 0.5


@wrong("spread", "the mean of squares is no variance yet: the square of the mean is missing")
def raw_squares(loss, hidden, low):
    return moments(loss, hidden, low)


@wrong("spread", "the density of t is 1 / (1 - low), and it is missing")
def density_missing(loss, hidden, low):
    return variances(*moments(loss, hidden, low, divide=False))


@wrong(
    "spread",
    "the clipped mean was taken for the unbiased one: with t from low on it differs from the mean by count",
)
def clip_called_unbiased(loss, hidden, low):
    first, second, mean, square = moments(loss, hidden, low)
    return mean, second - mean**2, mean, square - mean**2


@wrong("spread", "by time the loss is divided by t; here it is not")
def no_weight(loss, hidden, low):
    return variances(*moments(loss, hidden, low, power=1))


@wrong("spread", "by count the loss weighs n / k, not 1 / k")
def one_over_k(loss, hidden, low):
    return variances(*moments(loss, hidden, low, share=lambda k, n: 1 / k))


@wrong(
    "spread",
    "by count every size is equally likely, and sets of one size share its chance; here all sets have the same",
)
def sets_alike(loss, hidden, low):
    return variances(*moments(loss, hidden, low, chance=lambda k, n: 1 / (2**n - 1)))


@wrong("spread", "by time and by count are exchanged")
def pairs_exchanged(loss, hidden, low):
    a, b, c, d = variances(*moments(loss, hidden, low))
    return c, d, a, b


@wrong("spread", "each square counts 1/t, not 1/t^2: square the whole estimate")
def weight_once(loss, hidden, low):
    n = hidden.shape[1]
    first, _, mean, square = moments(loss, hidden, low)
    second = sum(
        value**2 * integral(k - 1, n - k, low) / (1 - low)
        for value, k in zip(loss.tolist(), hidden.sum(1).tolist())
        if k
    )
    return first, second - first**2, mean, square - mean**2


# ---------------------------------------------------------------- write


@right("write")
def prompt_first(read, ask, reveal, prompt, n, block, mask):
    l, memory = prompt.shape[1], None
    whole = l // block * block
    for start in range(0, whole, block):
        memory = read(prompt[:, start : start + block], memory)
    done, x = [prompt[:, :whole]], prompt[:, whole:]
    while sum(v.shape[1] for v in done) < l + n:
        x = torch.nn.functional.pad(x, (0, block - x.shape[1]), value=mask)
        while (x == mask).any():
            x = reveal(x, ask(x, memory))
        memory = read(x, memory)
        done.append(x)
        x = prompt[:, :0]
    return torch.cat(done, 1)[:, : l + n]


@right("write")
def recursively(read, ask, reveal, prompt, n, block, mask):
    m = prompt.shape[1] + n
    text = torch.full((len(prompt), -(-m // block) * block), mask)
    text[:, : prompt.shape[1]] = prompt

    def finish(x, memory):
        return finish(reveal(x, ask(x, memory)), memory) if (x == mask).any() else x

    def go(start, memory):
        if start < m:
            x = finish(text[:, start : start + block], memory)
            text[:, start : start + block] = x
            go(start + block, read(x, memory) if start + block < m else None)

    go(0, None)
    return text[:, :m]


def writer(read, ask, reveal, prompt, n, block, mask, change=""):
    """The reference's loop, with one thing changed."""
    l = prompt.shape[1]
    text, memory = prompt, None
    first = 0
    if change == "prompt at once":
        first = l // block * block
        memory = read(prompt[:, :first], memory) if first else None
    if change == "prompt cut":
        text = prompt = prompt[:, : l // block * block]
    for start in range(first, l + n, block):
        x = text[:, start : start + block]
        x = torch.cat([x, x.new_full((len(x), block - x.shape[1]), mask)], 1)
        while bool((x == mask).any()):
            if change == "forgets":
                x = reveal(x, ask(x, None))
                continue
            x = reveal(x, ask(x, memory))
            if change == "noise kept" and bool((x == mask).any()):
                memory = read(x, memory)
            if change == "all at once":
                x = torch.where(x == mask, ask(x, memory).argmax(-1), x)
        text = torch.cat([text[:, :start], x, text[:, start + block :]], 1)
        if change == "reads again":
            memory = read(text[:, : start + block], memory)
        elif change == "token by token":
            for i in range(block):
                memory = read(x[:, i : i + 1], memory)
        elif start + block < l + n:
            memory = read(x, memory)
    return text if change == "too long" else text[:, : l + n]


@wrong(
    "write",
    "the prompt was read in one call, so that its blocks look ahead: one call reads one block",
)
def prompt_at_once(*args):
    return writer(*args, change="prompt at once")


@wrong(
    "write",
    "what the prompt holds of its last, unfinished block was lost: that block begins with it",
)
def prompt_cut(*args):
    return writer(*args, change="prompt cut")


@wrong(
    "write",
    "the blocks are counted from the end of the prompt; they are counted from the start of the text",
)
def from_the_prompt_on(read, ask, reveal, prompt, n, block, mask):
    text, memory = prompt, None
    for piece in prompt.split(block, 1):
        memory = read(piece, memory)
    while text.shape[1] < prompt.shape[1] + n:
        x = prompt.new_full((len(prompt), block), mask)
        while bool((x == mask).any()):
            x = reveal(x, ask(x, memory))
        memory = read(x, memory)
        text = torch.cat([text, x], 1)
    return text[:, : prompt.shape[1] + n]


@wrong("write", "the memory is not given to ask: the block is written without what comes before")
def forgets(*args):
    return writer(*args, change="forgets")


@wrong("write", "an unfinished block was read into the memory: read it when no mask is left")
def noise_kept(*args):
    return writer(*args, change="noise kept")


@wrong(
    "write",
    "after the first question all other masks were filled at once: ask again until none is left",
)
def filled_at_once(*args):
    return writer(*args, change="all at once")


@wrong("write", "the text so far was read again from its start; the memory holds it already")
def reads_again(*args):
    return writer(*args, change="reads again")


@wrong(
    "write", "a finished block was read token by token, so that it does not look ahead in itself"
)
def token_by_token(*args):
    return writer(*args, change="token by token")


@wrong("write", "the text is too long: cut it to the prompt and n more tokens")
def too_long(*args):
    return writer(*args, change="too long")


@wrong("write", "only the new tokens came back; the prompt belongs before them")
def new_ones_only(read, ask, reveal, prompt, n, block, mask):
    return writer(read, ask, reveal, prompt, n, block, mask)[:, prompt.shape[1] :]


# ---------------------------------------------------------------- extra_bits


def entropy(p, kept, log=torch.log2):
    out = [i for i in range(p.ndim) if i not in kept]
    marginal = p.sum(out) if out else p
    return float(-(marginal * log(marginal.clamp_min(1e-300))).sum())


@right("extra_bits")
def joint_from_both_sides(p, groups):
    cost, before = 0.0, set()
    for group in groups:
        cost += sum(entropy(p, before | {i}) for i in group) - len(group) * entropy(p, before)
        before |= set(group)
    return cost - entropy(p, before)


@right("extra_bits")
def by_building_q(p, groups):
    q, before = torch.ones_like(p), set()
    keep = lambda kept: (
        p.sum([i for i in range(p.ndim) if i not in kept], keepdim=True)
        if len(kept) < p.ndim
        else p
    )
    for group in groups:
        for i in group:
            q = q * torch.where(keep(before) > 0, keep(before | {i}) / keep(before), 0.0)
        before |= set(group)
    return torch.where(p > 0, p * (p / q).log2(), 0.0).sum()


@wrong("extra_bits", "the result is in nats; divide by log 2")
def in_nats(p, groups):
    return joint_from_both_sides(p, groups) * math.log(2)


@wrong(
    "extra_bits", "the groups before were forgotten: each token is drawn given all that is written"
)
def conditions_forgotten(p, groups):
    return sum(sum(entropy(p, {i}) for i in group) - entropy(p, set(group)) for group in groups)


@wrong("extra_bits", "the sign is wrong: joint minus sum; a KL is never negative")
def joint_minus_sum(p, groups):
    return -joint_from_both_sides(p, groups)


@wrong("extra_bits", "the grouping is ignored: all tokens are taken as if drawn at once")
def all_at_once(p, groups):
    return joint_from_both_sides(p, [[i for group in groups for i in group]])


@wrong(
    "extra_bits", "this is the cost of q, its cross-entropy; the entropy of p must be subtracted"
)
def cost_of_q(p, groups):
    return joint_from_both_sides(p, groups) + entropy(p, set(range(p.ndim)))


@wrong(
    "extra_bits",
    "only pairs are compared: three tokens at once may lose more than their pairs, or less",
)
def pairs_only(p, groups):
    total, before = 0.0, set()
    for group in groups:
        h = entropy(p, before)
        for i, j in itertools.combinations(group, 2):
            total += (
                entropy(p, before | {i})
                + entropy(p, before | {j})
                - h
                - entropy(p, before | {i, j})
            )
        before |= set(group)
    return total


@wrong(
    "extra_bits",
    "inside a group a token sees those listed before it, so nothing is lost; they are drawn blind to each other",
)
def one_after_another(p, groups):
    return joint_from_both_sides(p, [[i] for group in groups for i in group])


@wrong("extra_bits", "only the first group was counted")
def first_group(p, groups):
    return joint_from_both_sides(p, groups[:1])


@wrong("extra_bits", "the groups were written in the reverse order")
def reverse_order(p, groups):
    return joint_from_both_sides(p, groups[::-1])


# ---------------------------------------------------------------- leaks_nothing


def probe(forward, l, n, v, tokens=None, streams=("noisy", "clean"), own=True, later=True, earlier=True, near=1e-6,
          places=None, batch=True, values=True):  # fmt: skip
    """Change tokens one by one and look at what must not move, with a part left out."""
    g = torch.Generator().manual_seed(11)
    x_t, x0 = torch.randint(v + 1, (2, l), generator=g), torch.randint(v, (2, l), generator=g)
    block, first = torch.arange(l) // n, forward(x_t, x0)
    if near < 1e-3 and first.dtype == torch.float32:
        near = max(near, 1e-5)
    for i in range(l) if tokens is None else tokens(l):
        for stream in streams:
            a, b = x_t.clone(), x0.clone()
            if stream == "noisy":
                a[0, i] = (a[0, i] + 1) % (v + 1)
                forbidden = block != block[i]
            else:
                b[0, i] = (b[0, i] + 1) % v
                forbidden = block <= block[i]
            if not own:
                forbidden = forbidden & (block != block[i])
            if not earlier:
                forbidden = forbidden & (block >= block[i])
            if not later:
                forbidden = forbidden & (block <= block[i])
            if places is not None:
                forbidden = forbidden & places(l)
            off = (forward(a, b) - first).abs()
            if bool((off[0, forbidden] > near).any()) or (batch and bool((off[1] > near).any())):
                return False
    return True


@right("leaks_nothing")
def token_by_token_probe(forward, l, n, v):
    return probe(forward, l, n, v)


@right("leaks_nothing")
def block_by_block(forward, l, n, v):
    g = torch.Generator().manual_seed(4)
    draw = lambda high: torch.randint(high, (2, l), generator=g)
    for _ in range(3):
        x_t, x0 = draw(v + 1), draw(v)
        first = forward(x_t, x0).double()
        for start in range(0, l, n):
            here = slice(start, start + n)
            a, b = draw(v + 1), draw(v)
            a[0, here], b[0, :start] = x_t[0, here], x0[0, :start]
            if (
                forward(a, b)[0, here].double() - first[0, here]
            ).abs().max() > 2e-6 * first.abs().max().clamp_min(1):
                return False
    return True


@wrong(
    "leaks_nothing",
    "passes that see their own clean copy are accepted: change the clean tokens of the own block",
)
def own_never_changed(*args):
    return probe(*args, own=False)


@wrong("leaks_nothing", "every leak from other noisy blocks passes: change noisy tokens too")
def clean_only(*args):
    return probe(*args, streams=("clean",))


@wrong("leaks_nothing", "every leak of clean tokens passes: change clean tokens too")
def noisy_only(*args):
    return probe(*args, streams=("noisy",))


@wrong(
    "leaks_nothing", "leaks from one text to another pass: change one text and look at the others"
)
def one_text(*args):
    return probe(*args, batch=False)


@wrong("leaks_nothing", "small leaks pass: allow for rounding only")
def lax(*args):
    return probe(*args, near=1e-3)


@wrong("leaks_nothing", "only the first place is looked at; a leak may be in any one")
def first_place(*args):
    return probe(*args, places=lambda l: torch.arange(l) == 0)


@wrong("leaks_nothing", "only the last place is looked at; a leak may be in any one")
def last_place(*args):
    return probe(*args, places=lambda l: torch.arange(l) == l - 1)


@wrong(
    "leaks_nothing",
    "leaks of noise from earlier blocks pass: a noisy token may move its own block only",
)
def later_never_looked_at(*args):
    return probe(*args, later=False)


@wrong("leaks_nothing", "leaks from later blocks pass: no earlier block may move")
def earlier_never_looked_at(*args):
    return probe(*args, earlier=False)


@wrong("leaks_nothing", "right passes are refused: float32 rounds at a millionth")
def to_the_last_digit(forward, l, n, v):
    return (
        probe(forward, l, n, v)
        and forward(torch.zeros(2, l, dtype=torch.long), torch.zeros(2, l, dtype=torch.long)).dtype
        == torch.float64
    )


@wrong("leaks_nothing", "a pass that does not use all that it may is refused; it leaks nothing")
def wants_context(forward, l, n, v):
    x = torch.zeros(1, l, dtype=torch.long)
    y = x.clone()
    y[:, 0] = 1
    uses = l == n or bool((forward(x, x) - forward(x, y))[0, n:].abs().max() > 1e-6)
    return uses and probe(forward, l, n, v)
