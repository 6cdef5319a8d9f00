"""Right answers in another style and wrong ones that people really give, for each exercise of chapter 02."""

import math

import torch
import torch.nn.functional as F

from autograde.authoring.variants import alternative, mutant

# ---------------------------------------------------------------- causal_attention


@alternative("causal_attention")
def additive_minus_infinity(q, k, v):
    l = q.size(2)
    mask = torch.full((l, l), float("-inf"), dtype=q.dtype).triu(1)
    shares = F.softmax(torch.einsum("bhie,bhje->bhij", q, k) / math.sqrt(q.size(-1)) + mask, dim=-1)
    return torch.einsum("bhij,bhjf->bhif", shares, v)


@alternative("causal_attention")
def query_by_query(q, k, v):
    outputs = []
    for i in range(q.shape[2]):
        scores = (q[:, :, i, None] @ k[:, :, : i + 1].transpose(-1, -2)) * q.shape[-1] ** -0.5
        outputs.append(torch.softmax(scores, -1) @ v[:, :, : i + 1])
    return torch.cat(outputs, 2)


@alternative("causal_attention")
def large_negative_number(q, k, v):
    scores = q @ k.transpose(2, 3)
    scores /= q.shape[3] ** 0.5
    future = torch.arange(q.shape[2])[None] > torch.arange(q.shape[2])[:, None]
    scores[:, :, future] = -1e30
    return scores.softmax(3) @ v


@mutant("causal_attention", says="the mask lets each position see the one after it")
def sees_one_ahead(q, k, v):
    l, e = q.shape[-2:]
    scores = q @ k.mT / e**0.5
    return scores.masked_fill(~torch.ones(l, l).tril(1).bool(), -torch.inf).softmax(-1) @ v


@mutant("causal_attention", says="a position that may look at nothing gives nan")
def sees_only_before(q, k, v):
    l, e = q.shape[-2:]
    scores = q @ k.mT / e**0.5
    return scores.masked_fill(~torch.ones(l, l).tril(-1).bool(), -torch.inf).softmax(-1) @ v


@mutant("causal_attention", says="the causal mask is missing")
def no_mask(q, k, v):
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v


@mutant("causal_attention", says="each position sees itself and its future")
def mask_upside_down(q, k, v):
    l, e = q.shape[-2:]
    scores = q @ k.mT / e**0.5
    return scores.masked_fill(~torch.ones(l, l).triu().bool(), -torch.inf).softmax(-1) @ v


@mutant("causal_attention", says="the mask came after the softmax")
def mask_after_softmax(q, k, v):
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1).tril() @ v


@mutant("causal_attention", says="the mask adds 0 and 1 to the scores")
def adds_the_mask(q, k, v):
    l, e = q.shape[-2:]
    return (q @ k.mT / e**0.5 + torch.ones(l, l).tril()).softmax(-1) @ v


@mutant("causal_attention", says="a forbidden score was set to 0")
def zero_scores(q, k, v):
    return (q @ k.mT / q.shape[-1] ** 0.5).tril().softmax(-1) @ v


@mutant("causal_attention", says="not divided by the root of the head's width")
def no_scale(q, k, v):
    l = q.shape[-2]
    return (q @ k.mT).masked_fill(~torch.ones(l, l).tril().bool(), -torch.inf).softmax(-1) @ v


@mutant("causal_attention", says="the scores are divided by e; divide by its root")
def scale_without_root(q, k, v):
    l, e = q.shape[-2:]
    scores = q @ k.mT / e
    return scores.masked_fill(~torch.ones(l, l).tril().bool(), -torch.inf).softmax(-1) @ v


@mutant("causal_attention", says="it is that of one head")
def scale_of_the_model(q, k, v):
    h, l, e = q.shape[-3:]
    scores = q @ k.mT / (h * e) ** 0.5
    return scores.masked_fill(~torch.ones(l, l).tril().bool(), -torch.inf).softmax(-1) @ v


@mutant("causal_attention", says="the softmax runs over the queries")
def softmax_over_queries(q, k, v):
    l, e = q.shape[-2:]
    scores = q @ k.mT / e**0.5
    return scores.masked_fill(~torch.ones(l, l).tril().bool(), -torch.inf).softmax(-2) @ v


@mutant("causal_attention", says="never take exp of a score by hand")
def exp_by_hand(q, k, v):
    l, e = q.shape[-2:]
    weight = (q @ k.mT / e**0.5).exp() * torch.ones(l, l).tril()
    return weight / weight.sum(-1, keepdim=True) @ v


# ---------------------------------------------------------------- relative_bias


@alternative("relative_bias")
def entry_by_entry(table, l):
    h, n = table.shape
    out = torch.full((h, l, l), -math.inf, dtype=table.dtype)
    for i in range(l):
        for j in range(i + 1):
            out[:, i, j] = table[:, min(i - j, n - 1)]
    return out


@alternative("relative_bias")
def diagonal_by_diagonal(table, l):
    bias = torch.full((table.shape[0], l, l), -1e9, dtype=table.dtype)
    for distance in range(l):
        value = table[:, min(distance, table.shape[1] - 1)]
        torch.diagonal(bias, -distance, 1, 2)[:] = value[:, None]
    return bias


@alternative("relative_bias")
def by_gather(table, l):
    gap = torch.arange(l).unsqueeze(1) - torch.arange(l).unsqueeze(0)
    index = torch.minimum(gap.relu(), torch.tensor(table.size(1) - 1)).flatten()
    flat = table.gather(1, index.expand(table.size(0), -1)).view(-1, l, l)
    return torch.where(gap >= 0, flat, torch.tensor(-math.inf, dtype=table.dtype))


@mutant("relative_bias", says="this is the transposed matrix")
def keys_as_rows(table, l):
    i = torch.arange(l)
    distance = i - i[:, None]
    bias = table[:, distance.clamp(0, table.shape[1] - 1)]
    return bias.masked_fill(distance < 0, -torch.inf)


@mutant("relative_bias", says="the future is open")
def open_future(table, l):
    i = torch.arange(l)
    return table[:, (i[:, None] - i).clamp(0, table.shape[1] - 1)]


@mutant("relative_bias", says="the future must be -inf, not 0")
def zero_future(table, l):
    i = torch.arange(l)
    return table[:, (i[:, None] - i).clamp(0, table.shape[1] - 1)].tril()


@mutant("relative_bias", says="here it mirrors the past")
def mirrored_future(table, l):
    i = torch.arange(l)
    return table[:, (i[:, None] - i).abs().clamp(max=table.shape[1] - 1)]


@mutant("relative_bias", says="the distance of a position to itself is 0")
def distance_starts_at_one(table, l):
    i = torch.arange(l)
    distance = i[:, None] - i
    bias = table[:, (distance - 1).clamp(0, table.shape[1] - 1)]
    return bias.masked_fill(distance < 0, -torch.inf)


@mutant("relative_bias", says="a position must be allowed to look at itself")
def blind_to_itself(table, l):
    i = torch.arange(l)
    distance = i[:, None] - i
    bias = table[:, distance.clamp(0, table.shape[1] - 1)]
    return bias.masked_fill(distance <= 0, -torch.inf)


@mutant("relative_bias", says="a distance past the table takes its last entry: clamp")
def no_clamp(table, l):
    i = torch.arange(l)
    distance = i[:, None] - i
    return table[:, distance.clamp(min=0)].masked_fill(distance < 0, -torch.inf)


@mutant("relative_bias", says="distances past the table wrap around")
def wraps_around(table, l):
    i = torch.arange(l)
    distance = i[:, None] - i
    return table[:, distance % table.shape[1]].masked_fill(distance < 0, -torch.inf)


@mutant("relative_bias", says="distances past the table are cut off")
def cuts_off(table, l):
    i = torch.arange(l)
    distance = i[:, None] - i
    bias = table[:, distance.clamp(0, table.shape[1] - 1)]
    return bias.masked_fill((distance < 0) | (distance >= table.shape[1]), -torch.inf)


@mutant("relative_bias", says="every head got the table of the first one")
def one_head_for_all(table, l):
    i = torch.arange(l)
    distance = i[:, None] - i
    bias = table[0][distance.clamp(0, table.shape[1] - 1)].masked_fill(distance < 0, -torch.inf)
    return bias.expand(table.shape[0], l, l)


# ---------------------------------------------------------------- rotary


@alternative("rotary")
def interleaved_complex(x, positions, base=10_000.0):
    e = x.shape[-1]
    theta = 1.0 / base ** (torch.arange(0, e, 2).double() / e)
    spin = torch.polar(
        torch.ones(len(positions), e // 2).double(), torch.outer(positions.double(), theta)
    )
    z = torch.view_as_complex(x.double().reshape(*x.shape[:-1], e // 2, 2).contiguous())
    return torch.view_as_real(z * spin).flatten(-2).to(x.dtype)


@alternative("rotary")
def rotate_half(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angle = positions[:, None].float() * torch.exp(-math.log(base) * torch.arange(half) / half)
    cos, sin = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return (x * cos + turned * sin).to(x.dtype)


@alternative("rotary")
def matrices(x, positions, base=10_000.0):
    e = x.shape[-1]
    out = torch.empty_like(x)
    for j in range(e // 2):
        angle = positions.to(x.dtype) * base ** (-2 * j / e)
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1)
        pair = x[..., [2 * j, 2 * j + 1]]
        out[..., 2 * j : 2 * j + 2] = torch.einsum("lij,...lj->...li", turn.reshape(-1, 2, 2), pair)
    return out


@mutant("rotary", says="the positions start at 1")
def starts_at_one(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = ((positions[:, None] + 1) * base ** (-torch.arange(0, e, 2).double() / e)).to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


@mutant("rotary", says="the layouts are mixed")
def half_split_with_interleaved_angles(x, positions, base=10_000.0):
    e = x.shape[-1]
    theta = base ** (-torch.arange(0, e, 2).double() / e)
    angle = positions[:, None] * theta.repeat_interleave(2)
    a, b = x.chunk(2, -1)
    return x * angle.cos() + torch.cat([-b, a], -1) * angle.sin()


@mutant("rotary", says="the layouts are mixed")
def interleaved_with_half_split_angles(x, positions, base=10_000.0):
    e = x.shape[-1]
    theta = base ** (-torch.arange(0, e, 2).double() / e)
    angle = positions[:, None] * torch.cat([theta, theta])
    partner = torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)
    return x * angle.cos() + partner * angle.sin()


@mutant("rotary", says="the turn goes the other way")
def turns_backwards(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = (positions[:, None] * base ** (-torch.arange(0, e, 2).double() / e)).to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() + b * angle.sin(), b * angle.cos() - a * angle.sin()], -1)


@mutant("rotary", says="a sign is wrong")
def both_plus(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = (positions[:, None] * base ** (-torch.arange(0, e, 2).double() / e)).to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() + b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


@mutant("rotary", says="put back where the other layout has them")
def neighbours_put_back_as_halves(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = (positions[:, None] * base ** (-torch.arange(0, e, 2).double() / e)).to(x.dtype)
    a, b = x[..., ::2], x[..., 1::2]
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


@mutant("rotary", says="this mirrors instead of turning")
def mirrors(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = (positions[:, None] * base ** (-torch.arange(0, e, 2).double() / e)).to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), -a * angle.sin() - b * angle.cos()], -1)


@mutant("rotary", says="the sines are missing")
def cosines_only(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = (positions[:, None] * base ** (-torch.arange(0, e, 2).double() / e)).to(x.dtype)
    return x * torch.cat([angle.cos(), angle.cos()], -1)


@mutant("rotary", says="the exponent is -2j/e for pair j")
def exponent_halved(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = positions[:, None] * base ** (-torch.arange(e // 2).double() / e)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


@mutant("rotary", says="the exponent is negative")
def growing_speeds(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = positions[:, None] * base ** (torch.arange(0, e, 2).double() / e)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


@mutant("rotary", says="all pairs turn at the same speed")
def one_speed(x, positions, base=10_000.0):
    angle = positions[:, None].to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


@mutant("rotary", says="`positions` is not used")
def counts_for_itself(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = torch.arange(x.shape[-2])[:, None] * base ** (-torch.arange(0, e, 2).double() / e)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


@mutant("rotary", says="`base` is not used")
def fixed_base(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = positions[:, None] * 10_000.0 ** (-torch.arange(0, e, 2).double() / e)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


# ---------------------------------------------------------------- decode_step


@alternative("decode_step")
def head_by_head(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    e = d // heads
    q, k, v = (x @ w_qkv.T).chunk(3, dim=-1)
    t = 0 if past is None else past[0].size(2)
    keys, values, outputs = [], [], []
    for h in range(heads):
        part = slice(h * e, (h + 1) * e)
        query = turn(q[:, None, part], torch.tensor([t]))
        key, value = turn(k[:, None, part], torch.tensor([t])), v[:, None, part]
        if past is not None:
            key = torch.cat([past[0][:, h], key], 1)
            value = torch.cat([past[1][:, h], value], 1)
        shares = torch.softmax((query * key).sum(-1) / math.sqrt(e), -1)
        outputs.append((shares[..., None] * value).sum(1))
        keys.append(key)
        values.append(value)
    return torch.cat(outputs, -1) @ w_out.T, (torch.stack(keys, 1), torch.stack(values, 1))


@alternative("decode_step")
def einsum_step(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = torch.einsum("nd,bd->bn", w_qkv, x).view(b, 3, heads, d // heads).unbind(1)
    place = torch.tensor([past[0].shape[2] if past else 0])
    q, k, v = turn(q[:, :, None], place), turn(k[:, :, None], place), v[:, :, None]
    if past:
        k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
    score = torch.einsum("bhqe,bhte->bht", q, k) * (d // heads) ** -0.5
    out = torch.einsum("bht,bhte->bhe", score.softmax(-1), v).flatten(1)
    return torch.einsum("nd,bd->bn", w_out, out), [k, v]


@alternative("decode_step")
def places_from_one(x, past, w_qkv, w_out, heads, turn):
    """Counting from 1 is right too: RoPE knows distances only."""
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, -1).unbind(1)
    here = torch.tensor([1 if past is None else past[0].shape[2] + 1])
    q, k = turn(q, here), turn(k, here)
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    mixed = F.scaled_dot_product_attention(q, k, v)
    return F.linear(mixed.reshape(b, d), w_out), (k, v)


@mutant("decode_step", says="every token was put at place 0")
def never_advances(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    here = torch.tensor([0])
    q, k = turn(q, here), turn(k, here)
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)


@mutant("decode_step", says="one place too far")
def query_at_the_next_place(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    t = 0 if past is None else past[0].shape[2]
    q, k = turn(q, torch.tensor([t + 1])), turn(k, torch.tensor([t]))
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)


@mutant("decode_step", says="all keys are turned at every step")
def turns_all_keys_by_their_places(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    t = 0 if past is None else past[0].shape[2]
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    q, k = turn(q, torch.tensor([t])), turn(k, torch.arange(t + 1))
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)


@mutant("decode_step", says="the last matrix is not transposed")
def last_matrix_not_transposed(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    here = torch.tensor([0 if past is None else past[0].shape[2]])
    q, k = turn(q, here), turn(k, here)
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return (shares @ v).reshape(b, d) @ w_out, (k, v)


@mutant("decode_step", says="each with all heads")
def heads_before_queries_and_keys(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, heads, 3, 1, d // heads).unbind(2)
    here = torch.tensor([0 if past is None else past[0].shape[2]])
    q, k = turn(q, here), turn(k, here)
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)


@mutant("decode_step", says="the remembered keys are turned again")
def turns_the_past_again(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    here = torch.tensor([0 if past is None else past[0].shape[2]])
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    q, k = turn(q, here), turn(k, here)
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)


@mutant("decode_step", says="the keys are not turned")
def turns_queries_only(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    q = turn(q, torch.tensor([0 if past is None else past[0].shape[2]]))
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)


@mutant("decode_step", says="the values are turned too")
def turns_values(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    here = torch.tensor([0 if past is None else past[0].shape[2]])
    q, k, v = turn(q, here), turn(k, here), turn(v, here)
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)


@mutant("decode_step", says="append before you look")
def looks_before_it_appends(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    here = torch.tensor([0 if past is None else past[0].shape[2]])
    q, k = turn(q, here), turn(k, here)
    if past is None:
        return torch.zeros_like(x), (k, v)
    shares = (q @ past[0].mT / (d // heads) ** 0.5).softmax(-1)
    y = F.linear((shares @ past[1]).reshape(b, d), w_out)
    return y, (torch.cat([past[0], k], 2), torch.cat([past[1], v], 2))


@mutant("decode_step", says="each token sees only itself")
def forgets_the_past(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    here = torch.tensor([0 if past is None else past[0].shape[2]])
    q, k = turn(q, here), turn(k, here)
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    y = F.linear((shares @ v).reshape(b, d), w_out)
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    return y, (k, v)


@mutant("decode_step", says="a triangle lets it see the oldest token only")
def triangle_of_one_row(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    here = torch.tensor([0 if past is None else past[0].shape[2]])
    q, k = turn(q, here), turn(k, here)
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return F.linear(mixed.reshape(b, d), w_out), (k, v)


@mutant("decode_step", says="the scale is the root of the head's width, not of d")
def scale_of_d(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    here = torch.tensor([0 if past is None else past[0].shape[2]])
    q, k = turn(q, here), turn(k, here)
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    shares = (q @ k.mT / d**0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)


@mutant("decode_step", says="keys and values are exchanged")
def wrong_third(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, v, k = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    here = torch.tensor([0 if past is None else past[0].shape[2]])
    q, k = turn(q, here), turn(k, here)
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)


@mutant("decode_step", says="the past is what is handed in")
def memory_of_its_own(x, past, w_qkv, w_out, heads, turn, memory={}):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    if past is None:
        memory.clear()
    here = torch.tensor([memory["k"].shape[2] if memory else 0])
    q, k = turn(q, here), turn(k, here)
    if memory:
        k, v = torch.cat([memory["k"], k], 2), torch.cat([memory["v"], v], 2)
    memory["k"], memory["v"] = k, v
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)


# ---------------------------------------------------------------- next_probs


@alternative("next_probs")
def on_the_log_scale(logits, temperature=1.0, top_k=None, top_p=None):
    logits = logits / temperature
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1]), -1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p is not None:
        ranked, order = torch.sort(logits, dim=-1, descending=True)
        total = ranked.softmax(-1).cumsum(-1)
        drop = torch.zeros_like(total, dtype=torch.bool)
        drop[..., 1:] = total[..., :-1] >= top_p
        logits = ranked.masked_fill(drop, -torch.inf).gather(-1, order.argsort(-1))
    return torch.softmax(logits, dim=-1)


@alternative("next_probs")
def with_thresholds(logits, temperature=1.0, top_k=None, top_p=None):
    p = torch.softmax(logits / temperature, -1)
    if top_k is not None and top_k < p.shape[-1]:
        kth = p.sort(-1).values[..., [-top_k]]
        p = torch.where(p >= kth, p, 0)
        p = p / p.sum(-1, True)
    if top_p is not None:
        larger = p[..., None, :] > p[..., :, None]
        above = (larger * p[..., None, :]).sum(-1)
        p = torch.where(above < top_p, p, 0)
        p = p / p.sum(-1, True)
    return p


@alternative("next_probs")
def in_a_loop(logits, temperature=1.0, top_k=None, top_p=None):
    flat = (logits / temperature).reshape(-1, logits.shape[-1])
    out = torch.zeros_like(flat)
    for r, row in enumerate(flat):
        order = row.argsort(descending=True)[: top_k or len(row)]
        p = row[order].softmax(0)
        if top_p is not None:
            count = int((p.cumsum(0) < top_p).sum()) + 1
            order, p = order[:count], p[:count] / p[:count].sum()
        out[r, order] = p
    return out.reshape(logits.shape)


@mutant("next_probs", says="the logits are multiplied by the temperature")
def multiplied(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = (logits * temperature).softmax(-1).sort(-1, descending=True)
    if top_k is not None:
        p = p * (torch.arange(p.shape[-1]) < top_k)
        p = p / p.sum(-1, keepdim=True)
    if top_p is not None:
        p = p * (p.cumsum(-1) - p < top_p)
        p = p / p.sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, order, p)


@mutant("next_probs", says="what is kept must be divided by its sum")
def not_renormalised(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = (logits / temperature).softmax(-1).sort(-1, descending=True)
    if top_k is not None:
        p = p * (torch.arange(p.shape[-1]) < top_k)
    if top_p is not None:
        p = p * (p.cumsum(-1) - p < top_p)
    return torch.zeros_like(p).scatter(-1, order, p)


@mutant("next_probs", says="put each probability back")
def left_sorted(logits, temperature=1.0, top_k=None, top_p=None):
    p = (logits / temperature).softmax(-1).sort(-1, descending=True).values
    if top_k is not None:
        p = p * (torch.arange(p.shape[-1]) < top_k)
        p = p / p.sum(-1, keepdim=True)
    if top_p is not None:
        p = p * (p.cumsum(-1) - p < top_p)
    return p / p.sum(-1, keepdim=True)


@mutant("next_probs", says="it must be -inf")
def cut_logits_are_zero(logits, temperature=1.0, top_k=None, top_p=None):
    l, order = (logits / temperature).sort(-1, descending=True)
    if top_k is not None:
        l = l * (torch.arange(l.shape[-1]) < top_k)
    if top_p is not None:
        p = l.softmax(-1)
        l = l * (p.cumsum(-1) - p < top_p)
    return torch.zeros_like(l).scatter(-1, order, l.softmax(-1))


@mutant("next_probs", says="one symbol too many")
def k_plus_one(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = (logits / temperature).softmax(-1).sort(-1, descending=True)
    if top_k is not None:
        p = p * (torch.arange(p.shape[-1]) <= top_k)
        p = p / p.sum(-1, keepdim=True)
    if top_p is not None:
        p = p * (p.cumsum(-1) - p < top_p)
        p = p / p.sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, order, p)


@mutant("next_probs", says="the symbol that crosses top_p belongs to the set")
def drops_the_crossing_symbol(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = (logits / temperature).softmax(-1).sort(-1, descending=True)
    if top_k is not None:
        p = p * (torch.arange(p.shape[-1]) < top_k)
        p = p / p.sum(-1, keepdim=True)
    if top_p is not None:
        p = p * (p.cumsum(-1) <= top_p)
        p = p / p.sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, order, p).nan_to_num(0)


@mutant("next_probs", says="sum in the order of likelihood")
def unsorted_nucleus(logits, temperature=1.0, top_k=None, top_p=None):
    p = (logits / temperature).softmax(-1)
    if top_k is not None:
        p = p * (p.argsort(-1, descending=True).argsort(-1) < top_k)
        p = p / p.sum(-1, keepdim=True)
    if top_p is not None:
        p = p * (p.cumsum(-1) - p < top_p)
        p = p / p.sum(-1, keepdim=True)
    return p


@mutant("next_probs", says="the k unlikeliest are kept")
def ascending(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = (logits / temperature).softmax(-1).sort(-1)
    if top_k is not None:
        p = p * (torch.arange(p.shape[-1]) < top_k)
        p = p / p.sum(-1, keepdim=True)
    if top_p is not None:
        p = p * (p.cumsum(-1) - p < top_p)
        p = p / p.sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, order, p)


@mutant("next_probs", says="the threshold was taken over the whole batch")
def one_threshold_for_all(logits, temperature=1.0, top_k=None, top_p=None):
    p = (logits / temperature).softmax(-1)
    if top_k is not None:
        p = p * (p >= p.flatten().topk(top_k).values[-1])
        p = (p / p.sum(-1, keepdim=True)).nan_to_num(0)
    if top_p is not None:
        ranked, order = p.sort(-1, descending=True)
        ranked = ranked * (ranked.cumsum(-1) - ranked < top_p)
        p = torch.zeros_like(p).scatter(-1, order, ranked / ranked.sum(-1, keepdim=True))
    return p


@mutant("next_probs", says="top_p was taken before top_k")
def nucleus_first(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = (logits / temperature).softmax(-1).sort(-1, descending=True)
    if top_p is not None:
        p = p * (p.cumsum(-1) - p < top_p)
        p = p / p.sum(-1, keepdim=True)
    if top_k is not None:
        p = p * (torch.arange(p.shape[-1]) < top_k)
        p = p / p.sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, order, p)


@mutant("next_probs", says="the temperature comes first")
def temperature_last(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = logits.softmax(-1).sort(-1, descending=True)
    if top_k is not None:
        p = p * (torch.arange(p.shape[-1]) < top_k)
        p = p / p.sum(-1, keepdim=True)
    if top_p is not None:
        p = p * (p.cumsum(-1) - p < top_p)
    p = p ** (1 / temperature)
    return torch.zeros_like(p).scatter(-1, order, p / p.sum(-1, keepdim=True))


@mutant("next_probs", says="these are log-probabilities")
def logs(logits, temperature=1.0, top_k=None, top_p=None):
    return (logits / temperature).log_softmax(-1)


# ---------------------------------------------------------------- reads_in_order


@alternative("reads_in_order")
def dependency_matrix(logits, v, l):
    x = (torch.rand(64, l) * v).long()
    base = logits(x)
    reacts = torch.zeros(l, l, dtype=torch.bool)
    for j in range(l):
        other = x.clone()
        other[:, j] = (x[:, j] + 1 + torch.randint(v - 1, (64,))) % v
        reacts[:, j] = ((logits(other) - base).abs() > 1e-6).any(2).any(0)
    if not torch.equal(reacts, torch.ones(l, l, dtype=torch.bool).tril()):
        return False
    swapped = x.clone()
    swapped[:, 0], swapped[:, -2] = x[:, -2], x[:, 0]
    return bool(((logits(swapped)[:, -1] - base[:, -1]).abs() > 1e-6).any())


@alternative("reads_in_order")
def prefixes_and_shuffles(logits, v, l):
    g = torch.Generator().manual_seed(3)
    past_ok, leak, order = set(), False, False
    for _ in range(150):
        x = torch.randint(0, v, (1, l), generator=g)
        j = torch.randint(0, l, (1,), generator=g).item() if _ >= 4 * l else _ % l
        y = x.clone()
        y[0, j] = (y[0, j] + 1) % v
        change = (logits(y) - logits(x)).abs().amax(-1)[0] > 1e-6
        leak = leak or bool(change[:j].any())
        past_ok |= {(i, j) for i in range(j, l) if change[i]}
        z = x.clone()
        z[0, :-1] = x[0, :-1].flip(0)
        order = order or float((logits(z) - logits(x))[0, -1].abs().max()) > 1e-6
    return not leak and order and len(past_ok) == l * (l + 1) // 2


@mutant("reads_in_order", says="accepts a broken model: it has no positions")
def forgets_the_order(logits, v, l):
    x = torch.randint(v, (32, l))
    before = logits(x)
    for j in range(l):
        changed = x.clone()
        changed[:, j] = (x[:, j] + 1) % v
        where = ((logits(changed) - before).abs() > 1e-6).any(-1).any(0)
        if where[:j].any() or not where[j:].all():
            return False
    return True


@mutant("reads_in_order", says="accepts a broken model: no position can see itself")
def forgets_the_diagonal(logits, v, l):
    x = torch.randint(v, (32, l))
    before = logits(x)
    for j in range(l):
        changed = x.clone()
        changed[:, j] = (x[:, j] + 1) % v
        where = ((logits(changed) - before).abs() > 1e-6).any(-1).any(0)
        if where[:j].any() or not where[j + 1 :].all():
            return False
    swapped = x[:, [1, 0, *range(2, l)]]
    return bool(((logits(swapped) - before).abs() > 1e-6)[:, -1].any())


@mutant("reads_in_order", says="accepts a broken model: it looks only at the last two symbols")
def leaks_only(logits, v, l):
    x = torch.randint(v, (32, l))
    before = logits(x)
    for j in range(l):
        changed = x.clone()
        changed[:, j] = (x[:, j] + 1) % v
        where = ((logits(changed) - before).abs() > 1e-6).any(-1).any(0)
        if where[:j].any() or not where[j]:
            return False
    swapped = x[:, [*range(l - 3), l - 2, l - 3, l - 1]]
    return bool(((logits(swapped) - before).abs() > 1e-6)[:, -1].any())


@mutant("reads_in_order", says="accepts a broken model: the mask lets each position see the next")
def forgets_the_leaks(logits, v, l):
    x = torch.randint(v, (32, l))
    before = logits(x)
    for j in range(l):
        changed = x.clone()
        changed[:, j] = (x[:, j] + 1) % v
        if not ((logits(changed) - before).abs() > 1e-6).any(-1).any(0)[j:].all():
            return False
    swapped = x[:, [1, 0, *range(2, l)]]
    return bool(((logits(swapped) - before).abs() > 1e-6)[:, -1].any())


@mutant("reads_in_order", says="rejects a right model")
def as_in_chapter_one(logits, v, l):
    x = torch.randint(v, (32, l))
    before = logits(x)
    for j in range(l):
        changed = x.clone()
        changed[:, j] = (x[:, j] + 1) % v
        where = ((logits(changed) - before).abs() > 1e-6).any(-1).any(0)
        if where[: j + 1].any() or not where[j + 1 :].all():
            return False
    return True


@mutant("reads_in_order", says="accepts a broken model")
def always_satisfied(logits, v, l):
    return True


@mutant("reads_in_order", says="accepts a broken model: the mask comes after the softmax")
def too_tolerant(logits, v, l):
    x = torch.randint(v, (32, l))
    before = logits(x)
    for j in range(l):
        changed = x.clone()
        changed[:, j] = (x[:, j] + 1) % v
        size = (logits(changed) - before).abs().amax(-1).amax(0)
        if (size[:j] > 5).any() or not (size[j:] > 1e-6).all():
            return False
    swapped = x[:, [1, 0, *range(2, l)]]
    return bool(((logits(swapped) - before).abs() > 1e-6)[:, -1].any())


@mutant("reads_in_order", says="one text is not enough")
def on_one_text(logits, v, l):
    x = (torch.arange(l) % v)[None]
    before = logits(x)
    for j in range(l):
        changed = x.clone()
        changed[:, j] = (x[:, j] + 1) % v
        where = ((logits(changed) - before).abs() > 1e-6).any(-1).any(0)
        if where[:j].any() or not where[j:].all():
            return False
    swapped = x[:, [1, 0, *range(2, l)]]
    return bool(((logits(swapped) - before).abs() > 1e-6)[:, -1].any())


@mutant("reads_in_order", says="rounding is not a dependence")
def to_the_last_bit(logits, v, l):
    x = torch.randint(v, (32, l))
    before = logits(x)
    for j in range(l):
        changed = x.clone()
        changed[:, j] = (x[:, j] + 1) % v
        where = (logits(changed) != before).any(-1).any(0)
        if where[:j].any() or not where[j:].all():
            return False
    swapped = x[:, [1, 0, *range(2, l)]]
    return bool((logits(swapped) != before)[:, -1].any())


@mutant("reads_in_order", says="accepts a broken model: a weak leak")
def blind_to_weak_leaks(logits, v, l):
    x = torch.randint(v, (32, l))
    before = logits(x)
    for j in range(l):
        changed = x.clone()
        changed[:, j] = (x[:, j] + 1) % v
        size = (logits(changed) - before).abs().amax(-1).amax(0)
        if (size[:j] > 0.02).any() or not (size[j:] > 1e-6).all():
            return False
    swapped = x[:, [1, 0, *range(2, l)]]
    return bool(((logits(swapped) - before).abs() > 1e-6)[:, -1].any())


@mutant("reads_in_order", says="two verdicts on one and the same case")
def counts_its_calls(logits, v, l, answers=[True] * 2 + [False] * 6 + [True] * 4 + [False] * 5):
    answers.append(answers.pop(0))  # as if the cases came in the order in which they are listed
    return answers[-1]
