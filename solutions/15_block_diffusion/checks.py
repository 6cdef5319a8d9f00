"""Chapter 15: the cases of each exercise, and the truth of each."""

import itertools
import math

import torch

from autograde.authoring import Exercise, recipe
from coursekit.checks import Wrong

F64 = torch.float64


def whole(*shape, high, seed):
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def draws(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


# ---------------------------------------------------------------- block_causal


def pieces(l, n):
    """The positions of each block, cut from the left."""
    places = list(range(l))
    return [places[start : start + n] for start in range(0, l, n)]


def piece_by_piece(l, n):
    """Read from the left: who is read together sees each other and all that was read before."""
    allowed, read = torch.zeros(l, l, dtype=torch.bool), []
    for piece in pieces(l, n):
        read = read + piece
        for query in piece:
            allowed[query, read] = True
    return allowed


def boolean(answer, l, n):
    got = answer(l, n)
    if not isinstance(got, torch.Tensor):
        raise Wrong(f"a {type(got).__name__} came back, not a tensor")
    return {"result": got, "the mask is not boolean": int(got.dtype != torch.bool)}


block_causal = Exercise(truth=piece_by_piece, view=boolean)
for l, n, hidden in [
    (6, 2, False), (6, 3, False), (5, 1, False), (4, 4, False), (7, 3, False),
    (8, 4, True), (12, 3, True), (1, 1, True), (5, 4, True), (9, 2, True),
]:  # fmt: skip
    block_causal.case(
        f"{l} tokens in blocks of {n}",
        (l, n),
        hidden=hidden,
        block="1" if n == 1 else "all of the text" if n == l else "between",
        the_last_block="whole" if l % n == 0 else "cut short",
    )

# ---------------------------------------------------------------- two_streams


def by_three_rules(l, n):
    """Token by token: a noisy one sees its own noisy block and what is clean before it; a clean one, clean ones."""
    allowed = torch.zeros(2 * l, 2 * l, dtype=torch.bool)
    before = []
    for piece in pieces(l, n):
        for i in piece:
            for j in piece:
                allowed[i, j] = allowed[l + i, l + j] = True
            for j in before:
                allowed[i, l + j] = allowed[l + i, l + j] = True
        before += piece
    return allowed


def quarters(answer, l, n):
    got = answer(l, n)
    if not isinstance(got, torch.Tensor):
        raise Wrong(f"a {type(got).__name__} came back, not a tensor")
    if got.shape != (2 * l, 2 * l):
        raise Wrong(f"the shape is {tuple(got.shape)}, not {(2 * l, 2 * l)}")
    return {
        "the mask is not boolean": int(got.dtype != torch.bool),
        "noisy looks at noisy": got[:l, :l],
        "noisy looks at clean": got[:l, l:],
        "clean looks at noisy": got[l:, :l],
        "clean looks at clean": got[l:, l:],
    }


two_streams = Exercise(truth=by_three_rules, view=quarters)
for l, n, hidden in [
    (6, 2, False), (6, 3, False), (4, 1, False), (3, 3, False),
    (8, 4, True), (10, 5, True), (1, 1, True), (12, 2, True), (5, 1, True),
]:  # fmt: skip
    two_streams.case(
        f"{l} tokens in blocks of {n}",
        (l, n),
        hidden=hidden,
        block="1" if n == 1 else "all of the text" if n == l else "between",
    )

# ---------------------------------------------------------------- block_bound


def net(allowed, v, seed):
    """Two layers of attention with this mask over [noisy tokens, clean tokens]; log-probabilities of v symbols."""
    seen = torch.tensor(allowed, dtype=torch.bool)
    l, g = len(seen) // 2, torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)
    table, place, stream = draw(v + 1, 6), draw(l, 6), draw(2, 1, 6)
    layers = [[draw(6, 6) for _ in range(3)] for _ in range(2)]
    out = draw(6, v)

    def forward(x_t, x0):
        h = table[torch.cat([x_t, x0], 1)] + torch.cat([place + stream[0], place + stream[1]])
        for query, key, value in layers:
            score = (h @ query) @ (h @ key).transpose(1, 2) / 6
            weight = score.masked_fill(~seen, -torch.inf).softmax(-1)
            h = torch.tanh(h + weight @ (h @ value))
        return (h[:, :l] @ out).log_softmax(-1)

    return forward


def bound_world(allowed, v, b, n, seed):
    l = len(allowed) // 2
    x0 = torch.randint(v, (b, l), generator=torch.Generator().manual_seed(seed))
    return net(allowed, v, seed + 1), x0, n, v


def over_orders(predict, x0, n, mask):
    """The mean over all orders of a block's tokens of the chain rule, for one block after the other."""
    total = torch.zeros(len(x0), dtype=F64)
    for piece in pieces(x0.shape[1], n):
        known = {}

        def costs(hidden, known=known):
            if hidden not in known:
                x_t = x0.clone()
                x_t[:, sorted(hidden)] = mask
                known[hidden] = -predict(x_t, x0).gather(2, x0[..., None])[..., 0]
            return known[hidden]

        orders = list(itertools.permutations(piece))
        for order in orders:
            for step, i in enumerate(order):
                total = total + costs(frozenset(order[step:]))[:, i] / len(orders)
    return total


block_bound = Exercise(truth=over_orders, atol=1e-8)
for l, n, b, v, hidden in [
    (4, 1, 2, 3, False), (4, 2, 3, 3, False), (6, 3, 2, 4, False), (3, 3, 2, 3, False),
    (6, 2, 1, 5, True), (8, 4, 2, 3, True), (5, 5, 2, 2, True), (1, 1, 4, 3, True), (8, 2, 5, 4, True),
]:  # fmt: skip
    block_bound.case(
        f"{b} texts of {l} tokens in blocks of {n}",
        recipe(bound_world, allowed=by_three_rules(l, n).int().tolist(), v=v, b=b, n=n, seed=10 * l + n),
        hidden=hidden,
        block="1" if n == 1 else "all of the text" if n == l else "between",
        blocks="one" if n == l else "several",
    )  # fmt: skip

# ---------------------------------------------------------------- spread


def four_numbers(answer, loss, hidden, low):
    got = answer(loss, hidden, low)
    if not hasattr(got, "__len__") or len(got) != 4:
        raise Wrong(
            "four numbers must come back: mean and variance by time, mean and variance by count"
        )
    names = ("mean, by time", "variance, by time", "mean, by count", "variance, by count")
    return {
        name: torch.as_tensor(v, dtype=torch.float64).reshape(()) for name, v in zip(names, got)
    }


def by_quadrature(loss, hidden, low):
    """By time: Gauss-Legendre in log t, masks one by one. By count: all orders, cut after every length."""
    loss, n = loss.double(), hidden.shape[1]
    nodes, weights = (torch.tensor(v, dtype=F64) for v in legendre(60))
    first = second = 0.0
    for u, w in zip(nodes.tolist(), weights.tolist()):
        t = torch.tensor(math.log(low) * (1 - u) / 2, dtype=F64).exp()
        density = t * -math.log(low) / 2 * w / (1 - low)
        chance = (hidden * t + ~hidden * (1 - t)).prod(1)
        first = first + density * (chance * loss / t).sum()
        second = second + density * (chance * (loss / t) ** 2).sum()
    row = {tuple(pattern): i for i, pattern in enumerate(hidden.tolist())}
    values = []
    for order in itertools.permutations(range(n)):
        for k in range(1, n + 1):
            values.append(n / k * loss[row[tuple(i in order[:k] for i in range(n))]])
    values = torch.stack(values)
    return first, second - first**2, values.mean(), values.var(correction=0)


def legendre(points):
    import numpy as np

    return np.polynomial.legendre.leggauss(points)


def subsets(n, seed, shuffled=False):
    """A loss for every set of hidden tokens: 0 for none."""
    hidden = torch.tensor(list(itertools.product([False, True], repeat=n)))
    if shuffled:
        hidden = hidden[torch.randperm(2**n, generator=torch.Generator().manual_seed(seed))]
    loss = hidden.double() @ draws(n, seed=seed).abs() + 0.3 * draws(2**n, seed=seed + 1).abs()
    return torch.where(hidden.any(1), loss, 0.0), hidden


spread = Exercise(truth=by_quadrature, view=four_numbers, atol=1e-10, rtol=1e-9)
for n, low, shuffled, hidden in [
    (1, 0.1, False, False), (2, 0.01, False, False), (3, 0.3, False, False), (3, 0.05, True, False),
    (1, 1e-4, False, True), (4, 0.2, False, True), (2, 0.6, True, True), (5, 0.02, False, True),
]:  # fmt: skip
    spread.case(
        f"a block of {n}, times from {low:g} to 1"
        + (", sets in another order" if shuffled else ""),
        (*subsets(n, 7 * n + int(100 * low), shuffled), low),
        hidden=hidden,
        block="1" if n == 1 else "2 or more",
        sets="in another order" if shuffled else "counted up",
    )

# ---------------------------------------------------------------- write


def reader_world(b, prompt, n, block, v, rate, seed):
    """A tiny network with a memory: what is read in one call looks at itself and at what was read before."""
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)
    table, out, mix = draw(v + 1, 5), draw(5, v), draw(5, 5)
    start = torch.randint(v, (b, prompt), generator=g)

    def entries(x, memory):
        past = torch.zeros(len(x), 0, 5, dtype=torch.float64) if memory is None else memory
        at = torch.arange(past.shape[1], past.shape[1] + x.shape[1]).double()[:, None]
        new = table[x] + torch.sin(at * torch.arange(1, 6) / 2)
        together = torch.cat([past, new], 1).sum(1, keepdim=True)
        return past, torch.tanh(new + together @ mix / 3)

    def read(x, memory):
        return torch.cat(entries(x, memory), 1)

    def ask(x, memory):
        return (2 * entries(x, memory)[1] @ out).log_softmax(-1)

    def reveal(x, log_p):
        best, token = log_p.max(-1)
        rank = best.masked_fill(x != v, -torch.inf).argsort(1, descending=True).argsort(1)
        return torch.where((x == v) & (rank < rate), token, x)

    return read, ask, reveal, start, n, block, v


def watched(answer, read, ask, reveal, prompt, n, block, mask):
    places, noisy, sizes = [], [], []

    def reading(x, memory):
        begin = 0 if memory is None else memory.shape[1]
        places.extend(range(begin, begin + x.shape[1]))
        noisy.append(int((x == mask).sum()))
        return read(x, memory)

    def asking(x, memory):
        sizes.append(x.shape[1])
        return ask(x, memory)

    got = answer(reading, asking, reveal, prompt, n, block, mask)
    if not isinstance(got, torch.Tensor):
        raise Wrong(f"a {type(got).__name__} came back, not the text as a tensor")
    return {
        "the text": got,
        "tokens read more than once": len(places) - len(set(places)),
        "masks that were read into the memory": sum(noisy),
        "calls of ask": len(sizes),
        "tokens in one call of ask, at most": max(sizes, default=0),
    }


def reading_all_again(read, ask, reveal, prompt, n, block, mask):
    """No memory is kept: before every call the text so far is read from its start."""
    l = prompt.shape[1]
    text = torch.cat(
        [prompt, prompt.new_full((len(prompt), -(-(l + n) // block) * block - l), mask)], 1
    )
    for start in range(l - l % block, l + n, block):
        while (text[:, start : start + block] == mask).any():
            memory = None
            for piece in text[:, :start].split(block, 1) if start else ():
                memory = read(piece, memory)
            text[:, start : start + block] = reveal(
                text[:, start : start + block], ask(text[:, start : start + block], memory)
            )
    return text[:, : l + n]


write = Exercise(
    truth=reading_all_again,
    view=watched,
    show=False,
    about="what read and ask get in one call is one block: its tokens look at each other",
)
for prompt, n, block, rate, b, hidden in [
    (4, 4, 2, 1, 1, False), (5, 6, 3, 2, 2, False), (6, 5, 4, 2, 1, False), (3, 3, 1, 1, 2, False),
    (8, 4, 4, 4, 3, True), (1, 7, 4, 1, 2, True), (7, 8, 3, 1, 2, True), (2, 3, 8, 3, 2, True), (9, 10, 2, 2, 1, True),
]:  # fmt: skip
    want = {"tokens read more than once": 0, "masks that were read into the memory": 0}
    write.case(
        f"{b} prompts of {prompt} tokens, {n} more, blocks of {block}, {rate} revealed in a call",
        recipe(reader_world, b=b, prompt=prompt, n=n, block=block, v=7, rate=rate, seed=31 * prompt + n),
        want,
        hidden=hidden,
        the_prompt_ends="with a block" if prompt % block == 0 else "inside a block",
        the_text_ends="with a block" if (prompt + n) % block == 0 else "inside a block",
    )  # fmt: skip

# ---------------------------------------------------------------- extra_bits


def by_enumeration(p, groups):
    """KL(p || q) in bits, text by text: q draws the tokens of a group independently, given the groups before."""
    p = p / p.sum()
    marginal = lambda x, kept: p[
        tuple(x[i] if i in kept else slice(None) for i in range(p.ndim))
    ].sum()
    total = 0.0
    for x in itertools.product(*map(range, p.shape)):
        if p[x] > 0:
            log_q, before = 0.0, set()
            for group in groups:
                for i in group:
                    log_q = log_q + (marginal(x, before | {i}) / marginal(x, before)).log2()
                before |= set(group)
            total = total + p[x] * (p[x].log2() - log_q)
    return torch.as_tensor(total, dtype=F64)


def one_number(answer, p, groups):
    return {"result": torch.as_tensor(answer(p, groups), dtype=torch.float64).reshape(())}


extra_bits = Exercise(truth=by_enumeration, view=one_number, atol=1e-9)


def table(*shape, seed, spread=1.5):
    return (spread * draws(*shape, seed=seed)).flatten().softmax(0).reshape(shape)


EQUAL = torch.zeros(2, 2, 2, dtype=F64)
EQUAL[0, 0, 0] = EQUAL[1, 1, 1] = 0.5
for text, p, groups, hidden in [
    ("two tokens at once", table(3, 3, seed=1), [[0, 1]], False),
    ("two tokens, one after the other", table(3, 3, seed=2), [[1], [0]], False),
    ("four tokens, in pairs from the left", table(3, 3, 3, 3, seed=3), [[0, 1], [2, 3]], False),
    ("three tokens at once", table(2, 2, 2, seed=4), [[0, 1, 2]], False),
    ("three equal bits at once", EQUAL, [[0, 1, 2]], False),
    ("four tokens, the ends first", table(2, 2, 2, 2, seed=5), [[0, 3], [2, 1]], False),
    ("five", table(2, 2, 2, 2, 2, seed=6), [[4], [1, 2, 0], [3]], True),
    ("different alphabets", table(2, 3, 4, seed=7), [[2], [0, 1]], True),
    ("equal, ends first", EQUAL, [[0, 2], [1]], True),
    ("four at once", table(3, 3, 3, 3, seed=8), [[0, 1, 2, 3]], True),
    ("one token", table(4, seed=9), [[0]], True),
]:
    extra_bits.case(
        text,
        (p, groups),
        hidden=hidden,
        largest_group=max(map(len, groups)) if max(map(len, groups)) < 3 else "3 or more",
        groups="one" if len(groups) == 1 else "several",
        first_group_from_the_left=groups[0][0] == 0,
    )

# ---------------------------------------------------------------- leaks_nothing


def judged(allowed, v, seed, n, twist=""):
    """A forward pass with this mask, perhaps broken elsewhere."""
    inner, l = net(allowed, v, seed), len(allowed) // 2

    def forward(x_t, x0):
        log_p = inner(x_t, x0)
        if twist == "next":
            log_p = log_p.clone()
            log_p[:, 0, 0] = log_p[:, 0, 0] + 0.01 * x0[:, -1]
        if twist == "batch":
            log_p = log_p + 0.1 * log_p.mean(0, keepdim=True)
        if twist == "own":
            log_p = (
                log_p
                + 0.01 * torch.nn.functional.one_hot(x0, v) * (torch.arange(l) == l - 1)[:, None]
            )
        if twist == "tiny":
            log_p = log_p + 1e-4 * torch.nn.functional.one_hot(x0, v)
        if twist == "neighbour":
            log_p = log_p + 0.1 * log_p.roll(1, 0)
        if twist == "faint":
            log_p = log_p.clone()
            log_p[:, 0, 0] = log_p[:, 0, 0] + 1e-4 * x0[:, -1]
        if twist == "middle":
            log_p = log_p.clone()
            log_p[:, n, 0] = log_p[:, n, 0] + 0.1 * x_t[:, 0]
        if twist == "scaled":
            log_p = 3 * log_p + 5
        if twist == "float32":
            log_p = log_p.float()
        return log_p

    return forward, l, n, v


leaks_nothing = Exercise(verdict="forward pass")


def changed(l, n, noisy_noisy=None, noisy_clean=None, clean_noisy=None, clean_clean=None):
    """The right mask, with quarters replaced by rules on the numbers of blocks and of tokens."""
    allowed = by_three_rules(l, n)
    corners = {(0, 0): noisy_noisy, (0, 1): noisy_clean, (1, 0): clean_noisy, (1, 1): clean_clean}
    for (row, column), rule in corners.items():
        if rule:
            for i in range(l):
                for j in range(l):
                    allowed[row * l + i, column * l + j] = rule(i // n, j // n, i, j)
    return allowed


SIX = {"l": 6, "n": 2}
PASSES = [
    ("no bug, blocks of 2", SIX, {}, "", True),
    ("no bug, one block", {"l": 4, "n": 4}, {}, "", True),
    ("no bug, blocks of 1", {"l": 4, "n": 1}, {}, "", True),
    ("logits that are not normalised", SIX, {}, "scaled", True),
    ("float32", {"l": 6, "n": 3}, {}, "float32", True),
    ("earlier blocks are not looked at", SIX, {"noisy_clean": lambda a, b, i, j: False}, "", True),
    ("the clean stream is causal token by token", SIX, {"clean_clean": lambda a, b, i, j: i >= j}, "", True),
    ("a noisy block looks at its own clean copy", SIX, {"noisy_clean": lambda a, b, i, j: a >= b}, "", False),
    ("noisy blocks look at all clean ones", {"l": 6, "n": 3}, {"noisy_clean": lambda a, b, i, j: True}, "", False),
    ("a noisy block looks at earlier noisy ones", SIX, {"noisy_noisy": lambda a, b, i, j: a >= b}, "", False),
    ("noisy blocks look at all noisy ones", SIX, {"noisy_noisy": lambda a, b, i, j: True}, "", False),
    ("noise of the block after, no clean text", SIX,
     {"noisy_noisy": lambda a, b, i, j: b in (a, a + 1), "noisy_clean": lambda a, b, i, j: False}, "", False),
    ("the clean stream looks at noise", SIX, {"clean_noisy": lambda a, b, i, j: a == b}, "", False),
    ("the clean stream looks ahead", SIX, {"clean_clean": lambda a, b, i, j: True}, "", False),
    ("clean tokens before one's own in the block", SIX, {"noisy_clean": lambda a, b, i, j: i > j}, "", False),
    ("the last token's answer, in the last place", SIX, {}, "own", False),
    ("the last clean token, in the first place", SIX, {}, "next", False),
    ("texts of one batch are mixed", SIX, {}, "batch", False),
    ("the answer, times 1e-4", SIX, {}, "tiny", False),
    ("a text gets a little of its neighbour's logits", SIX, {}, "neighbour", False),
    ("float32, one block", {"l": 4, "n": 4}, {}, "float32", True),
    ("blocks of 4, earlier ones are not looked at", {"l": 8, "n": 4}, {"noisy_clean": lambda a, b, i, j: False}, "", True),
    ("the last clean token, faintly, in the first place", SIX, {}, "faint", False),
    ("the first noisy token, in the place after its block", SIX, {}, "middle", False),
    ("no bug, 9 tokens in blocks of 3", {"l": 9, "n": 3}, {}, "", True),
    ("only itself in the noisy stream", SIX, {"noisy_noisy": lambda a, b, i, j: i == j}, "", True),
    ("one clean block ahead", {"l": 8, "n": 2}, {"clean_clean": lambda a, b, i, j: a + 1 >= b}, "", False),
    ("noise of the block before", {"l": 9, "n": 3}, {"noisy_noisy": lambda a, b, i, j: b in (a, a - 1)}, "", False),
    ("the block after, noisy", {"l": 8, "n": 2}, {"noisy_noisy": lambda a, b, i, j: b in (a, a + 1)}, "", False),
    ("the first clean token, in its own place", {"l": 4, "n": 2}, {}, "tiny", False),
]  # fmt: skip
for k, (text, sizes, rules, twist, right) in enumerate(PASSES):
    leaks_nothing.case(
        text,
        recipe(judged, allowed=changed(**sizes, **rules).int().tolist(), v=5, seed=40 + k, n=sizes["n"], twist=twist),
        right,
        hidden=k >= 24,
        kind="leaks nothing" if right else "leaks",
    )  # fmt: skip
