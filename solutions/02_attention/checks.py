"""Chapter 02: the cases of each exercise, and the truth of each."""

import math

import torch

from autograde.authoring import Exercise, recipe
from coursekit.checks import Wrong
from coursekit.views.slopes import expect
from genmodels import nets


def normal(*shape, seed, size=1.0):
    g = torch.Generator().manual_seed(seed)
    return (size * torch.randn(shape, generator=g, dtype=torch.float64)).round(decimals=2)


# ---------------------------------------------------------------- causal_attention


def mixtures(answer, q, k, v):
    return {
        "output": expect(answer(q, k, v), v.shape),
        "sum of each query's shares": answer(q, k, torch.ones_like(v[..., :1])),
    }


def one_query_at_a_time(q, k, v):
    """Equation (2) by a loop that hands each query only the keys it may see: nothing to mask."""
    out = []
    for i in range(q.shape[2]):
        scores = (q[:, :, i : i + 1] * k[:, :, : i + 1]).sum(-1) / math.sqrt(q.shape[-1])
        shares = (scores - scores.logsumexp(-1, keepdim=True)).exp()
        out.append((shares[..., None] * v[:, :, : i + 1]).sum(2))
    return torch.stack(out, 2)


causal_attention = Exercise(
    truth=one_query_at_a_time,
    view=mixtures,
    gradient=("q", "k", "v"),
    about="(2): position i mixes the values of positions 0 to i, by a softmax over the keys",
)


def attending(text, b, h, l, e, f, seed, size=1.0, hidden=False, fact=""):
    q, k, v = (
        normal(b, h, l, width, seed=3 * seed + i, size=s)
        for i, (width, s) in enumerate([(e, size), (e, size), (f, 1.0)])
    )
    return causal_attention.case(
        text, (q, k, v), hidden=hidden, fact=fact, heads=h, size_of_queries_and_keys=size
    )


usual = attending(
    "1 text, 2 heads, 4 positions; keys of width 3, values of width 2", 1, 2, 4, 3, 2, 1
)
attending("2 texts, 3 heads, 5 positions; keys of width 7, values of width 6", 2, 3, 5, 7, 6, 2)
attending(
    "1 text, 2 heads, 3 positions; keys of width 5, values of width 1; scores up to 2,000",
    1,
    2,
    3,
    5,
    1,
    3,
    size=25.0,
    fact="here scores reach 2,000: exponentials are infinite unless the largest score is subtracted, and only minus infinity hides a score",
)
attending("1 text, 2 heads, 6 positions, scores up to 2,000", 1, 2, 6, 3, 2, 4, 25.0, hidden=True)
attending("a text of 1 position", 2, 2, 1, 3, 4, 5, hidden=True)
attending("3 texts, 1 head, 9 positions", 3, 1, 9, 11, 5, 6, hidden=True)
attending("1 text, 4 heads, 2 positions", 1, 4, 2, 6, 3, 7, hidden=True)
causal_attention.again(usual)

# ---------------------------------------------------------------- relative_bias


def spread_out(answer, table, l):
    got = expect(answer(table, l), (table.shape[0], l, l))
    open_ = got > -1e4  # a very negative number is as good as -inf
    return {
        "pairs that are open, head 0": open_[0].int(),
        "bias, where it is open": torch.where(open_, got, 0.0),
    }


def pair_by_pair(table, l):
    closed = torch.full_like(table[0, 0], -torch.inf)
    far = table.shape[1] - 1
    rows = [
        [[head[min(i - j, far)] if j <= i else closed for j in range(l)] for i in range(l)]
        for head in table
    ]
    return torch.stack([torch.stack([torch.stack(row) for row in head]) for head in rows])


relative_bias = Exercise(
    truth=pair_by_pair,
    view=spread_out,
    gradient=("table",),
    about="a row for each query i, a column for each key j; the distance is i - j, and the future is j > i",
)
PAST_THE_TABLE = "a distance past the table takes its last entry"


def tables(text, h, n, l, hidden=False):
    table = normal(h, n, seed=10 * n + l)
    return relative_bias.case(
        text,
        (table, l),
        hidden=hidden,
        fact=PAST_THE_TABLE if l > n else "",
        heads=h,
        positions_past_the_table=l > n,
    )


usual = tables("2 heads, 5 distances, 4 positions", 2, 5, 4)
tables("1 head, 3 distances, 5 positions", 1, 3, 5)
tables("3 heads, 4 distances, 4 positions", 3, 4, 4)
tables("2 heads, 2 distances, 6 positions", 2, 2, 6)
tables("1 head, 9 distances, 3 positions", 1, 9, 3, hidden=True)
tables("2 heads, 1 distance, 4 positions", 2, 1, 4, hidden=True)
tables("4 heads, 3 distances, 1 position", 4, 3, 1, hidden=True)
tables("2 heads, 6 distances, 12 positions", 2, 6, 12, hidden=True)
relative_bias.again(usual)

# ---------------------------------------------------------------- rotary


def turned_pairs(answer, x, positions, base):
    """The turned vectors with their features laid out as halves, whichever of the two layouts the answer has."""
    e = x.shape[-1]
    probe = torch.zeros(1, e, dtype=x.dtype)
    probe[0, 0] = 1.0
    partner = expect(answer(probe, torch.tensor([1]), base), (1, e))[0].detach().abs()
    neighbours = e > 2 and int(partner[1:].argmax()) == 0 and float(partner[1]) > 0.1
    order = torch.arange(e)  # feature i of the halves is feature order[i] of the answer
    if neighbours:
        order = torch.cat([torch.arange(0, e, 2), torch.arange(1, e, 2)])
    back = order.argsort()

    def at(x, m):
        given = x[..., back]
        before = given.detach().clone()
        came = answer(given, m, base)[..., order]
        if not torch.equal(given, before):
            raise Wrong("it changes its arguments, which the caller still needs: work on a copy")
        return came

    turned = expect(at(x, positions), x.shape)
    far = at(x, positions + 17).detach()
    product = lambda z: z @ z.mT
    return {
        "turned": turned,
        "change of the products when all positions grow by 17": (
            product(far) - product(turned.detach())
        ),
        "change of the lengths": turned.detach().norm(dim=-1) - x.detach().norm(dim=-1),
    }


def by_complex(x, positions, base):
    """Equation (7): feature j + i * feature (j + e/2), times e^{i m theta_j}."""
    half = x.shape[-1] // 2
    theta = torch.tensor([base ** (-2 * j / x.shape[-1]) for j in range(half)], dtype=torch.float64)
    z = torch.complex(x[..., :half].double(), x[..., half:].double())
    z = z * torch.exp(1j * positions.double()[:, None] * theta)
    return torch.cat([z.real, z.imag], -1).to(x.dtype)


rotary = Exercise(
    truth=by_complex,
    view=turned_pairs,
    gradient=("x",),
    atol=1e-4,
    rtol=1e-4,
    about="your layout, neighbours or halves, was found by turning one vector; all is shown as halves",
)


def turns(text, shape, positions, base=10_000.0, hidden=False):
    positions = torch.tensor(positions)
    x = normal(*shape, seed=shape[-1] + int(positions.sum()))
    return rotary.case(
        text, (x, positions, base), hidden=hidden, base=base, features=shape[-1],
        first_position=int(positions[0]), dimensions=len(shape),
    )  # fmt: skip


usual = turns("6 features at positions 0, 1, 2", (3, 6), [0, 1, 2])
turns("8 features at positions 4, 9, 0, 31", (4, 8), [4, 9, 0, 31])
turns("4 features at positions 7, 8, base 100", (2, 4), [7, 8], 100.0)
turns("10 features at positions 2, 5, 3, base 50", (2, 3, 10), [2, 5, 3], 50.0)
turns("2 x 3 texts, 12 features", (2, 3, 4, 12), [7, 8, 9, 10], hidden=True)
turns("2 features", (1, 1, 2), [5], hidden=True)
turns("16 features, base 500,000", (5, 16), [0, 3, 17, 2, 40], 500_000.0, hidden=True)
rotary.again(usual)

# ---------------------------------------------------------------- decode_step


def token_by_token(answer, x, w_qkv, w_out, heads):
    """One token after the other; then the last once more from the memory of those before it."""
    b, l, d = x.shape
    found, past, kept = {}, None, []
    another, of_another = x.flip(1), None  # a second text, whose turns come in between
    for i in range(l):
        kept.append(past)
        came = answer(another[:, i], of_another, w_qkv, w_out, heads, nets.rope)
        of_another = came[1] if isinstance(came, (tuple, list)) and len(came) == 2 else None
        copies = None if past is None else [t.clone() for t in past]
        came = answer(x[:, i], past, w_qkv, w_out, heads, nets.rope)
        if not isinstance(came, (tuple, list)) or len(came) != 2:
            raise Wrong("two things are asked: the output, and (keys, values) for the next call")
        y, memory = came
        found[f"output at token {i}"] = expect(y, (b, d))
        if not isinstance(memory, (tuple, list)) or len(memory) != 2:
            raise Wrong("what came back as memory is no pair (keys, values)")
        for word, part in zip(("keys", "values"), memory):
            expect(
                part, (b, heads, i + 1, d // heads), f"the remembered {word} after {i + 1} tokens"
            )
        if copies and not all(torch.equal(a, c) for a, c in zip(past, copies)):
            raise Wrong("the memory that was handed in has changed: make a new one")
        past = memory
    if l > 2:
        y, _ = answer(x[:, -1], kept[-2], w_qkv, w_out, heads, nets.rope)
        found[f"token {l - 1} straight after token {l - 3}"] = expect(y, (b, d))
    return found


decode_step = Exercise(
    view=token_by_token,
    atol=1e-5,
    rtol=1e-5,
    show=False,
    about="step by step the outputs must equal those of the full pass; all that is remembered is what is handed in",
)


def full_pass(x, w_qkv, w_out, heads):
    """The library's attention layer over the whole text at once."""
    layer = nets.Attention(x.shape[-1], heads).double().requires_grad_(False)
    layer.qkv.weight.copy_(w_qkv)
    layer.out.weight.copy_(w_out)
    places = nets.POSITIONS["rope"](x.shape[-1], heads, x.shape[1])
    return layer(x, rotation=places.rotation(torch.arange(x.shape[1])).double(), causal=True)


def texts(text, b, l, d, heads, seed, hidden=False, dtype=torch.float64):
    x, w_qkv, w_out = (
        normal(*shape, seed=seed + i) for i, shape in enumerate([(b, l, d), (3 * d, d), (d, d)])
    )
    whole = full_pass(x, w_qkv, w_out, heads)
    want = {f"output at token {i}": whole[:, i].to(dtype) for i in range(l)}
    if l > 2:
        skipped = [*range(l - 2), l - 1]
        again = full_pass(x[:, skipped], w_qkv, w_out, heads)[:, -1]
        want[f"token {l - 1} straight after token {l - 3}"] = again.to(dtype)
    room = 1.0 if dtype == torch.float64 else 100.0
    inputs = (x.to(dtype), w_qkv.to(dtype), w_out.to(dtype), heads)
    decode_step.case(
        text, inputs, want, hidden=hidden, room=room, heads=heads, tokens=l, dtype=str(dtype)[6:]
    )


texts("2 texts of 4 tokens, 3 heads of width 4", 2, 4, 12, 3, 100)
texts("1 text of 5 tokens, 2 heads of width 6", 1, 5, 12, 2, 110)
texts("3 texts of 7 tokens, 2 heads of width 4", 3, 7, 8, 2, 120, hidden=True)
texts("1 text of 2 tokens, 1 head of width 6", 1, 2, 6, 1, 130, hidden=True)
texts("2 texts of 4 tokens, 5 heads of width 2, float32", 2, 4, 10, 5, 140, True, torch.float32)

# ---------------------------------------------------------------- next_probs


def row_by_row(logits, temperature=1.0, top_k=None, top_p=None):
    """The three knobs in plain Python, one row at a time."""
    rows = []
    for row in logits.reshape(-1, logits.shape[-1]).tolist():
        weight = {i: math.exp((x - max(row)) / temperature) for i, x in enumerate(row)}
        ranked = sorted(weight, key=weight.get, reverse=True)[:top_k]
        total, kept, held = sum(weight[i] for i in ranked), [], 0.0
        for i in ranked:
            if top_p is not None and held >= top_p * total:
                break
            kept.append(i)
            held += weight[i]
        rows.append([weight[i] / held if i in kept else 0.0 for i in range(len(row))])
    return torch.tensor(rows, dtype=logits.dtype).reshape(logits.shape)


def one_table(answer, logits, temperature, top_k, top_p):
    got = answer(logits, temperature, top_k, top_p)
    return {"probabilities": got, "dimensions of what came back": torch.as_tensor(got).ndim}


next_probs = Exercise(
    equivalent=["the gradient is cut"],  # probabilities to draw from: nobody differentiates them
    truth=row_by_row,
    view=one_table,
    about="temperature, then top_k, then top_p of what is left; each row sums to 1, in the alphabet's order",
)


def knobs(text, shape, temperature, top_k, top_p, hidden=False, size=2.0):
    logits = normal(*shape, seed=len(next_probs.cases) + 50, size=size)
    return next_probs.case(
        text, (logits, temperature, top_k, top_p), hidden=hidden, temperature=temperature,
        top_k="none" if top_k is None else "given", top_p="none" if top_p is None else "given",
    )  # fmt: skip


knobs("temperature 0.7", (2, 6), 0.7, None, None)
usual = knobs("top_k = 3", (3, 6), 1.0, 3, None)
knobs("top_p = 0.8", (3, 7), 1.0, None, 0.8)
knobs("temperature 1.6, top_k = 4, top_p = 0.7", (3, 6), 1.6, 4, 0.7, size=1.0)
knobs("temperature 0.6, top_k = 3, top_p = 0.85", (4, 6), 0.6, 3, 0.85, size=0.7)
knobs("one row, temperature 2.5, top_p = 0.6", (9,), 2.5, None, 0.6, hidden=True)
knobs("2 x 3 rows, top_k = 4, top_p = 0.7", (2, 3, 11), 1.0, 4, 0.7, hidden=True)
knobs("top_k = 1", (3, 5), 1.0, 1, None, hidden=True)
knobs("top_k = 50 of 6 symbols", (2, 6), 1.0, 50, None, hidden=True)
knobs("top_p = 0.01", (3, 6), 1.0, None, 0.01, hidden=True)
knobs("logits of thousands, top_k = 4", (3, 8), 1.0, 4, None, hidden=True, size=2000.0)
knobs("temperature 0.4, top_k = 5", (2, 3, 9), 0.4, 5, None, hidden=True)
next_probs.again(usual)

# ---------------------------------------------------------------- reads_in_order


def mixer(
    v, l, seed, sees, leak=None, shut=False, one_logit=False, ordered=True, late=False,
    size=1.0, rounding=0.0, overlooks=False,
):  # fmt: skip
    """Each position adds up numbers of the symbols that it sees, by the weights ``sees`` (l, l) and ``leak``."""
    g = torch.Generator().manual_seed(seed)
    noise = lambda *shape: torch.randn(shape, generator=g, dtype=torch.float64)
    symbols, places, out = 1.5 * noise(v, 8), noise(l, 8) * ordered, noise(8, v)
    own = (
        0.5 + torch.rand(l, l, generator=g, dtype=torch.float64)
        if ordered
        else torch.ones(l, l).double()
    )
    table = lambda rows: own * torch.tensor(rows, dtype=torch.float64)

    def logits(x):
        if overlooks:
            x = torch.cat([x[:, :1], torch.where(x[:, :1] == 0, 0, x[:, 1:2]), x[:, 2:]], 1)
        told = torch.tanh(symbols[x] + places)
        found = table(sees) @ told @ out
        if late:
            found = found / (1 + told[..., :1].exp().mean(1, keepdim=True))
        if leak is not None:
            extra = table(leak) @ told @ out
            extra = extra * (x[:, 0] != 0)[:, None, None] if shut else extra
            extra = extra * (torch.arange(v) == v - 1) if one_logit else extra
            found = found + extra
        return size * found + rounding * x.double().sum(1)[:, None, None]

    return logits, v, l


def transformer(v, l, seed, positions="rope", causal=True):
    """A Transformer of the library with large random weights."""
    model = nets.Transformer(v, 12, 2, 2, max_len=l, positions=positions, causal=causal).double()
    for n, p in enumerate(model.requires_grad_(False).parameters()):
        g = torch.Generator().manual_seed(seed + n)
        torch.nn.init.normal_(p, std=0.5, generator=g)
    return model, v, l


reads_in_order = Exercise(verdict="model", show=False)


def mask(l, rule):
    return [[float(rule(i, j)) for j in range(l)] for i in range(l)]


def reader(
    text, want, v=5, l=6, rule=lambda i, j: j <= i, leak=None, hidden=False, fact="", **kind
):
    sees = mask(l, rule)
    leak = None if leak is None else mask(l, leak)
    biggest = max((max(row) for row in leak), default=0.0) if leak else 0.0
    facets = {"size_of_the_leak": biggest} if leak else {}
    inputs = recipe(mixer, v=v, l=l, seed=len(reads_in_order.cases), sees=sees, leak=leak, **kind)
    reads_in_order.case(
        text, inputs, want=want, hidden=hidden, fact=fact, symbols=v, length=l, **facets
    )


reader("each position mixes all of its past", True)
reads_in_order.case("a Transformer with RoPE", recipe(transformer, v=5, l=6, seed=0), want=True)
reader(
    "the past, though symbol 1 is overlooked where symbol 0 is a 0", True, overlooks=True,
    fact="some dependences show only in some texts: in four of five texts this model reads symbol 1",
)  # fmt: skip
reader(
    "the past, with rounding errors of 1e-9",
    True,
    rounding=1e-10,
    fact="a change of 1e-9 is rounding, not a dependence",
)
reader(
    "the past, with rounding errors of 1e-8",
    True,
    rounding=1e-9,
    fact="a change of 1e-8 is rounding, not a dependence",
)
reader("the past, in logits of the size of 0.001", True, size=1e-3, fact="changes above 1e-6 count")
reader("each position sees the next symbol as well", False, rule=lambda i, j: j <= i + 1)
reader("every position sees the whole text", False, rule=lambda i, j: True)
reader(
    "logits divided by a mean over all positions",
    False,
    late=True,
    fact="a mean over all positions depends on later ones",
)
reader("a weak leak, 0.001 of the symbol after next", False, leak=lambda i, j: 1e-3 * (j == i + 2))
reader("a weak leak, 0.0001 of the next symbol", False, leak=lambda i, j: 1e-4 * (j == i + 1))
reader("only position 4 sees the future, symbol 5", False, leak=lambda i, j: (i, j) == (4, 5))
reader("a leak that is shut where symbol 0 is a 0", False, leak=lambda i, j: j == i + 1, shut=True)
reader("no position can see itself", False, rule=lambda i, j: j < i)
reader("each position sees itself and one before", False, rule=lambda i, j: i - 1 <= j <= i)
reader("position 5 never looks at symbol 2", False, rule=lambda i, j: j <= i and (i, j) != (5, 2))
reader("position 3 alone cannot see itself", False, rule=lambda i, j: j <= i and (i, j) != (3, 3))
reader("a leak into the last logit", False, leak=lambda i, j: j == i + 1, one_logit=True)
reader("a bag: all of the past, without positions", False, ordered=False)
reader(
    "a bag of the past beside the own symbol",
    False,
    rule=lambda i, j: (j <= i) + (j == i),
    ordered=False,
)
reader(
    "a leak into a single logit",
    False,
    v=4,
    l=7,
    leak=lambda i, j: j == i + 1,
    one_logit=True,
    hidden=True,
)
reader(
    "the past, though symbol 1 is overlooked where symbol 0 is a 0; 4 symbols", True, v=4, overlooks=True,
    hidden=True,
    fact="some dependences show only in some texts: in three of four texts this model reads symbol 1",
)  # fmt: skip
reader(
    "nobody but position 0 looks at symbol 0",
    False,
    rule=lambda i, j: j <= i and (j > 0 or i == 0),
    hidden=True,
)
reader("2 symbols, 3 positions", True, v=2, l=3, hidden=True)
reader(
    "near symbols weigh more", True, l=8, rule=lambda i, j: (j <= i) * 0.4 ** (i - j), hidden=True
)
reader("12 positions", True, v=3, l=12, hidden=True)
reader(
    "12 positions, the last but one sees the last",
    False,
    v=3,
    l=12,
    leak=lambda i, j: (i, j) == (10, 11),
    hidden=True,
)
reader(
    "the first position sees the last symbol",
    False,
    v=4,
    l=7,
    leak=lambda i, j: (i, j) == (0, 6),
    hidden=True,
)
reader("a bag, 7 positions", False, v=4, l=7, ordered=False, hidden=True)
reader("the past, with rounding errors, 7 positions", True, v=4, l=7, rounding=1e-11, hidden=True)
for kind in ("alibi", "learned"):
    reads_in_order.case(
        f"a Transformer with {kind}",
        recipe(transformer, v=4, l=7, seed=8, positions=kind),
        want=True,
        hidden=True,
    )
reads_in_order.case(
    "a Transformer that is not causal",
    recipe(transformer, v=4, l=7, seed=8, causal=False),
    want=False,
    hidden=True,
)
