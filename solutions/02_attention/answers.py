"""Chapter 02: right answers in other styles, and the mistakes that people make, each with what they should read."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from autograde.authoring import right, wrong

# ---------------------------------------------------------------- causal_attention


@right("causal_attention")
def additive_minus_infinity(q, k, v):
    l = q.size(2)
    mask = torch.full((l, l), float("-inf"), dtype=q.dtype).triu(1)
    shares = F.softmax(torch.einsum("bhie,bhje->bhij", q, k) / math.sqrt(q.size(-1)) + mask, dim=-1)
    return torch.einsum("bhij,bhjf->bhif", shares, v)


@right("causal_attention")
def query_by_query(q, k, v):
    outputs = []
    for i in range(q.shape[2]):
        scores = (q[:, :, i, None] @ k[:, :, : i + 1].transpose(-1, -2)) * q.shape[-1] ** -0.5
        outputs.append(torch.softmax(scores, -1) @ v[:, :, : i + 1])
    return torch.cat(outputs, 2)


@right("causal_attention")
def large_negative_number(q, k, v):
    scores = q @ k.transpose(2, 3)
    scores /= q.shape[3] ** 0.5
    future = torch.arange(q.shape[2])[None] > torch.arange(q.shape[2])[:, None]
    scores[:, :, future] = -1e30
    return scores.softmax(3) @ v


@wrong("causal_attention", "the mask lets each position see the one after it; tril() has no offset")
def sees_one_ahead(q, k, v):
    l, e = q.shape[-2:]
    scores = q @ k.mT / e**0.5
    return scores.masked_fill(~torch.ones(l, l).tril(1).bool(), -torch.inf).softmax(-1) @ v


@wrong(
    "causal_attention",
    "a position that may look at nothing gives nan: each may look at itself, tril() without an offset",
)
def sees_only_before(q, k, v):
    l, e = q.shape[-2:]
    scores = q @ k.mT / e**0.5
    return scores.masked_fill(~torch.ones(l, l).tril(-1).bool(), -torch.inf).softmax(-1) @ v


@wrong("causal_attention", "every position sees the whole text: the causal mask is missing")
def no_mask(q, k, v):
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v


@wrong("causal_attention", "the mask is transposed: each position sees itself and its future")
def mask_upside_down(q, k, v):
    l, e = q.shape[-2:]
    scores = q @ k.mT / e**0.5
    return scores.masked_fill(~torch.ones(l, l).triu().bool(), -torch.inf).softmax(-1) @ v


@wrong(
    "causal_attention", "the mask came after the softmax: the future has already taken its share"
)
def mask_after_softmax(q, k, v):
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1).tril() @ v


@wrong("causal_attention", "the mask adds 0 and 1 to the scores; a forbidden score must be -inf")
def adds_the_mask(q, k, v):
    l, e = q.shape[-2:]
    return (q @ k.mT / e**0.5 + torch.ones(l, l).tril()).softmax(-1) @ v


@wrong("causal_attention", "a forbidden score was set to 0, which is a good score; it must be -inf")
def zero_scores(q, k, v):
    return (q @ k.mT / q.shape[-1] ** 0.5).tril().softmax(-1) @ v


@wrong("causal_attention", "the scores are not divided by the root of the head's width e")
def no_scale(q, k, v):
    l = q.shape[-2]
    return (q @ k.mT).masked_fill(~torch.ones(l, l).tril().bool(), -torch.inf).softmax(-1) @ v


@wrong("causal_attention", "the scores are divided by e; divide by its root")
def scale_without_root(q, k, v):
    l, e = q.shape[-2:]
    scores = q @ k.mT / e
    return scores.masked_fill(~torch.ones(l, l).tril().bool(), -torch.inf).softmax(-1) @ v


@wrong(
    "causal_attention",
    "the scale is the root of h e, the width of the model; it is that of one head",
)
def scale_of_the_model(q, k, v):
    h, l, e = q.shape[-3:]
    scores = q @ k.mT / (h * e) ** 0.5
    return scores.masked_fill(~torch.ones(l, l).tril().bool(), -torch.inf).softmax(-1) @ v


@wrong(
    "causal_attention", "the softmax runs over the queries; the shares of one query's keys sum to 1"
)
def softmax_over_queries(q, k, v):
    l, e = q.shape[-2:]
    scores = q @ k.mT / e**0.5
    return scores.masked_fill(~torch.ones(l, l).tril().bool(), -torch.inf).softmax(-2) @ v


@wrong("causal_attention", "exp of a large score overflows: never take it by hand, use softmax")
def exp_by_hand(q, k, v):
    l, e = q.shape[-2:]
    weight = (q @ k.mT / e**0.5).exp() * torch.ones(l, l).tril()
    return weight / weight.sum(-1, keepdim=True) @ v


@right("causal_attention")
def in_float64(q, k, v):
    scores = torch.einsum("...ie,...je->...ij", q.double(), k.double()) / q.shape[-1] ** 0.5
    future = torch.ones(scores.shape[-2:]).triu(1).bool()
    return (scores.masked_fill(future, -torch.inf).softmax(-1) @ v.double()).to(v.dtype)


def masked(q, k, v, scale):
    l = q.shape[-2]
    scores = (q @ k.mT / scale).masked_fill(~torch.ones(l, l).tril().bool(), -torch.inf)
    return scores.softmax(-1) @ v


@wrong(
    "causal_attention",
    "the scale is the root of the number of positions; it is that of the head's width e",
)
def scale_of_the_length(q, k, v):
    return masked(q, k, v, q.shape[-2] ** 0.5)


@wrong("causal_attention", "the scale is the root of the values' width; it is that of the keys")
def scale_of_the_values(q, k, v):
    return masked(q, k, v, v.shape[-1] ** 0.5)


@wrong("causal_attention", "the scores are multiplied by the root of the width; divide by it")
def multiplied_by_the_root(q, k, v):
    return masked(q, k, v, q.shape[-1] ** -0.5)


@wrong("causal_attention", "no gradient reaches q and k: the shares are cut off from them")
def shares_detached(q, k, v):
    l = q.shape[-2]
    scores = q @ k.mT / q.shape[-1] ** 0.5
    shares = scores.masked_fill(~torch.ones(l, l).tril().bool(), -torch.inf).softmax(-1)
    return shares.detach() @ v


# ---------------------------------------------------------------- relative_bias


@right("relative_bias")
def entry_by_entry(table, l):
    h, n = table.shape
    out = torch.full((h, l, l), -math.inf, dtype=table.dtype)
    for i in range(l):
        for j in range(i + 1):
            out[:, i, j] = table[:, min(i - j, n - 1)]
    return out


@right("relative_bias")
def diagonal_by_diagonal(table, l):
    bias = torch.full((table.shape[0], l, l), -1e9, dtype=table.dtype)
    for distance in range(l):
        value = table[:, min(distance, table.shape[1] - 1)]
        torch.diagonal(bias, -distance, 1, 2)[:] = value[:, None]
    return bias


@right("relative_bias")
def by_gather(table, l):
    gap = torch.arange(l).unsqueeze(1) - torch.arange(l).unsqueeze(0)
    index = torch.minimum(gap.relu(), torch.tensor(table.size(1) - 1)).flatten()
    flat = table.gather(1, index.expand(table.size(0), -1)).view(-1, l, l)
    return torch.where(gap >= 0, flat, torch.tensor(-math.inf, dtype=table.dtype))


@wrong("relative_bias", "rows are queries and columns are keys: this is the transposed matrix")
def keys_as_rows(table, l):
    i = torch.arange(l)
    distance = i - i[:, None]
    bias = table[:, distance.clamp(0, table.shape[1] - 1)]
    return bias.masked_fill(distance < 0, -torch.inf)


@wrong("relative_bias", "the future is open: it must be -inf")
def open_future(table, l):
    i = torch.arange(l)
    return table[:, (i[:, None] - i).clamp(0, table.shape[1] - 1)]


@wrong("relative_bias", "the future must be -inf, not 0")
def zero_future(table, l):
    i = torch.arange(l)
    return table[:, (i[:, None] - i).clamp(0, table.shape[1] - 1)].tril()


@wrong("relative_bias", "the future must be -inf; here it mirrors the past")
def mirrored_future(table, l):
    i = torch.arange(l)
    return table[:, (i[:, None] - i).abs().clamp(max=table.shape[1] - 1)]


@wrong("relative_bias", "off by one: the distance of a position to itself is 0, the first entry")
def distance_starts_at_one(table, l):
    i = torch.arange(l)
    distance = i[:, None] - i
    bias = table[:, (distance - 1).clamp(0, table.shape[1] - 1)]
    return bias.masked_fill(distance < 0, -torch.inf)


@wrong("relative_bias", "a position must be allowed to look at itself: only j > i is the future")
def blind_to_itself(table, l):
    i = torch.arange(l)
    distance = i[:, None] - i
    bias = table[:, distance.clamp(0, table.shape[1] - 1)]
    return bias.masked_fill(distance <= 0, -torch.inf)


@wrong("relative_bias", "a distance past the table takes its last entry")
def no_clamp(table, l):
    i = torch.arange(l)
    distance = i[:, None] - i
    return table[:, distance.clamp(min=0)].masked_fill(distance < 0, -torch.inf)


@wrong("relative_bias", "distances past the table wrap around; they share its last entry")
def wraps_around(table, l):
    i = torch.arange(l)
    distance = i[:, None] - i
    return table[:, distance % table.shape[1]].masked_fill(distance < 0, -torch.inf)


@wrong("relative_bias", "distances past the table are cut off; they share its last entry")
def cuts_off(table, l):
    i = torch.arange(l)
    distance = i[:, None] - i
    bias = table[:, distance.clamp(0, table.shape[1] - 1)]
    return bias.masked_fill((distance < 0) | (distance >= table.shape[1]), -torch.inf)


@wrong("relative_bias", "every head got the table of the first one")
def one_head_for_all(table, l):
    i = torch.arange(l)
    distance = i[:, None] - i
    bias = table[0][distance.clamp(0, table.shape[1] - 1)].masked_fill(distance < 0, -torch.inf)
    return bias.expand(table.shape[0], l, l)


@wrong("relative_bias", "off by one: distance 0 takes the second entry of the table")
def second_entry_first(table, l):
    i = torch.arange(l)
    distance = i[:, None] - i
    bias = table[:, (distance + 1).clamp(0, table.shape[1] - 1)]
    return bias.masked_fill(distance < 0, -torch.inf)


@wrong(
    "relative_bias",
    "this is the bias after a softmax; return the numbers to be added to the scores",
)
def after_a_softmax(table, l):
    i = torch.arange(l)
    bias = table[:, (i[:, None] - i).clamp(0, table.shape[1] - 1)]
    return bias.masked_fill(i[:, None] < i, -torch.inf).softmax(-1)


@wrong(
    "relative_bias",
    "no gradient reaches the table: it is cut off (torch.tensor, .item() or a detach)",
)
def cut_off(table, l):
    out = torch.full((len(table), l, l), -math.inf, dtype=table.dtype)
    for i in range(l):
        for j in range(i + 1):
            out[:, i, j] = torch.tensor(table[:, min(i - j, table.shape[1] - 1)].tolist())
    return out


# ---------------------------------------------------------------- rotary


@right("rotary")
def interleaved_complex(x, positions, base=10_000.0):
    e = x.shape[-1]
    theta = 1.0 / base ** (torch.arange(0, e, 2).double() / e)
    spin = torch.polar(
        torch.ones(len(positions), e // 2).double(), torch.outer(positions.double(), theta)
    )
    z = torch.view_as_complex(x.double().reshape(*x.shape[:-1], e // 2, 2).contiguous())
    return torch.view_as_real(z * spin).flatten(-2).to(x.dtype)


@right("rotary")
def rotate_half(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angle = positions[:, None].float() * torch.exp(-math.log(base) * torch.arange(half) / half)
    cos, sin = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return (x * cos + turned * sin).to(x.dtype)


@right("rotary")
def matrices(x, positions, base=10_000.0):
    e = x.shape[-1]
    out = torch.empty_like(x)
    for j in range(e // 2):
        angle = positions.to(x.dtype) * base ** (-2 * j / e)
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1)
        pair = x[..., [2 * j, 2 * j + 1]]
        out[..., 2 * j : 2 * j + 2] = torch.einsum("lij,...lj->...li", turn.reshape(-1, 2, 2), pair)
    return out


@wrong("rotary", "the positions start at 1; use them as they are given")
def starts_at_one(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = ((positions[:, None] + 1) * base ** (-torch.arange(0, e, 2).double() / e)).to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


@wrong(
    "rotary",
    "the layouts are mixed: the pairs are halves, but the angles are laid out for neighbours",
)
def half_split_with_interleaved_angles(x, positions, base=10_000.0):
    e = x.shape[-1]
    theta = base ** (-torch.arange(0, e, 2).double() / e)
    angle = positions[:, None] * theta.repeat_interleave(2)
    a, b = x.chunk(2, -1)
    return x * angle.cos() + torch.cat([-b, a], -1) * angle.sin()


@wrong(
    "rotary",
    "the layouts are mixed: the pairs are neighbours, but the angles are laid out for halves",
)
def interleaved_with_half_split_angles(x, positions, base=10_000.0):
    e = x.shape[-1]
    theta = base ** (-torch.arange(0, e, 2).double() / e)
    angle = positions[:, None] * torch.cat([theta, theta])
    partner = torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)
    return x * angle.cos() + partner * angle.sin()


@wrong("rotary", "the turn goes the other way: (a cos - b sin, a sin + b cos)")
def turns_backwards(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = (positions[:, None] * base ** (-torch.arange(0, e, 2).double() / e)).to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() + b * angle.sin(), b * angle.cos() - a * angle.sin()], -1)


@wrong("rotary", "a sign is wrong: (a cos - b sin, a sin + b cos)")
def both_plus(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = (positions[:, None] * base ** (-torch.arange(0, e, 2).double() / e)).to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() + b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


@wrong(
    "rotary", "the layouts are mixed: the turned pairs are put back where the other layout has them"
)
def neighbours_put_back_as_halves(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = (positions[:, None] * base ** (-torch.arange(0, e, 2).double() / e)).to(x.dtype)
    a, b = x[..., ::2], x[..., 1::2]
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


@wrong("rotary", "this mirrors instead of turning: position 0 must leave the vector alone")
def mirrors(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = (positions[:, None] * base ** (-torch.arange(0, e, 2).double() / e)).to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), -a * angle.sin() - b * angle.cos()], -1)


@wrong("rotary", "the sines are missing: a turn mixes the two features of a pair")
def cosines_only(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = (positions[:, None] * base ** (-torch.arange(0, e, 2).double() / e)).to(x.dtype)
    return x * torch.cat([angle.cos(), angle.cos()], -1)


@wrong("rotary", "the exponent is -2j/e for pair j = 0, 1, 2, ...; here it is -j/e")
def exponent_halved(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = positions[:, None] * base ** (-torch.arange(e // 2).double() / e)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


@wrong("rotary", "the speeds must fall from 1: the exponent is negative")
def growing_speeds(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = positions[:, None] * base ** (torch.arange(0, e, 2).double() / e)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


@wrong("rotary", "all pairs turn at the same speed")
def one_speed(x, positions, base=10_000.0):
    angle = positions[:, None].to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


@wrong("rotary", "`positions` is not used: the text need not begin at 0")
def counts_for_itself(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = torch.arange(x.shape[-2])[:, None] * base ** (-torch.arange(0, e, 2).double() / e)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


@wrong("rotary", "`base` is not used")
def fixed_base(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = positions[:, None] * 10_000.0 ** (-torch.arange(0, e, 2).double() / e)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


def halves(x, angle, sign=1):
    a, b = x.chunk(2, -1)
    angle = angle.to(x.dtype)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


@wrong("rotary", "the speeds are in reverse order")
def reversed_speeds(x, positions, base=10_000.0):
    e = x.shape[-1]
    theta = base ** (-torch.arange(0, e, 2).double() / e)
    return halves(x, positions[:, None] * theta.flip(0))


@wrong(
    "rotary",
    "the second feature is turned from the first one already turned: keep the old a for (8)",
)
def overwritten_first_half(x, positions, base=10_000.0):
    e = x.shape[-1]
    angle = (positions[:, None] * base ** (-torch.arange(0, e, 2).double() / e)).to(x.dtype)
    a, b = x.chunk(2, -1)
    a = a * angle.cos() - b * angle.sin()
    return torch.cat([a, a * angle.sin() + b * angle.cos()], -1)


@wrong("rotary", "the turned vectors are cut off from x: no gradient comes through")
def turn_cut_off(x, positions, base=10_000.0):
    e = x.shape[-1]
    theta = base ** (-torch.arange(0, e, 2).double() / e)
    return halves(x.detach(), positions[:, None] * theta)


# ---------------------------------------------------------------- decode_step


@right("decode_step")
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


@right("decode_step")
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


@right("decode_step")
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


@wrong(
    "decode_step",
    "q and k were not turned, or all turned as at place 0; the new token stands at t, the number of tokens remembered",
)
def never_advances(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    here = torch.tensor([0])
    q, k = turn(q, here), turn(k, here)
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)


@wrong(
    "decode_step",
    "the query is turned one place too far; the new token stands at t, the number of tokens remembered",
)
def query_at_the_next_place(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    t = 0 if past is None else past[0].shape[2]
    q, k = turn(q, torch.tensor([t + 1])), turn(k, torch.tensor([t]))
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)


@wrong(
    "decode_step",
    "all keys are turned at every step; turn the new one only, the others have been turned when they were new",
)
def turns_all_keys_by_their_places(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    t = 0 if past is None else past[0].shape[2]
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    q, k = turn(q, torch.tensor([t])), turn(k, torch.arange(t + 1))
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)


@wrong(
    "decode_step", "the last matrix is not transposed: F.linear(mixed, w_out) is mixed @ w_out.T"
)
def last_matrix_not_transposed(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    here = torch.tensor([0 if past is None else past[0].shape[2]])
    q, k = turn(q, here), turn(k, here)
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return (shares @ v).reshape(b, d) @ w_out, (k, v)


@wrong(
    "decode_step",
    "queries, keys and values lie one after the other in w_qkv, each with all heads: reshape(b, 3, heads, 1, e)",
)
def heads_before_queries_and_keys(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, heads, 3, 1, d // heads).unbind(2)
    here = torch.tensor([0 if past is None else past[0].shape[2]])
    q, k = turn(q, here), turn(k, here)
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)


@wrong(
    "decode_step",
    "the remembered keys are turned again at every step; they were turned when they were new",
)
def turns_the_past_again(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    here = torch.tensor([0 if past is None else past[0].shape[2]])
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    q, k = turn(q, here), turn(k, here)
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)


@wrong("decode_step", "the keys are not turned; turn q and k by the place of the new token")
def turns_queries_only(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    q = turn(q, torch.tensor([0 if past is None else past[0].shape[2]]))
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)


@wrong("decode_step", "the values are turned too; RoPE turns queries and keys only")
def turns_values(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    here = torch.tensor([0 if past is None else past[0].shape[2]])
    q, k, v = turn(q, here), turn(k, here), turn(v, here)
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)


@wrong("decode_step", "the new token cannot look at itself: append before you look")
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


@wrong("decode_step", "the past is forgotten: each token sees only itself")
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


@wrong(
    "decode_step",
    "the one query may see the whole cache: a triangle lets it see the oldest token only",
)
def triangle_of_one_row(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    here = torch.tensor([0 if past is None else past[0].shape[2]])
    q, k = turn(q, here), turn(k, here)
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return F.linear(mixed.reshape(b, d), w_out), (k, v)


@wrong("decode_step", "the scale is the root of the head's width, not of d")
def scale_of_d(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    here = torch.tensor([0 if past is None else past[0].shape[2]])
    q, k = turn(q, here), turn(k, here)
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    shares = (q @ k.mT / d**0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)


@wrong("decode_step", "keys and values are exchanged")
def wrong_third(x, past, w_qkv, w_out, heads, turn):
    b, d = x.shape
    q, v, k = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    here = torch.tensor([0 if past is None else past[0].shape[2]])
    q, k = turn(q, here), turn(k, here)
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)


@wrong("decode_step", "the past is what is handed in: keep nothing in between")
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


def attended(x, past, w_qkv, w_out, heads, turn, where=lambda t: (t, t), scale=None, keep=None):
    """The step with one thing changed: the places of q and k, the scale, what is kept."""
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    at_q, at_k = where(0 if past is None else past[0].shape[2])
    q, k = turn(q, torch.tensor([at_q])), turn(k, torch.tensor([at_k]))
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    seen_k, seen_v = (k[:, :, -keep:], v[:, :, -keep:]) if keep else (k, v)
    shares = (q @ seen_k.mT / (scale or (d // heads) ** 0.5)).softmax(-1)
    return F.linear((shares @ seen_v).reshape(b, d), w_out), (k, v)


@wrong("decode_step", "the query is not turned; turn q and k by the place of the new token")
def turns_keys_only(x, past, w_qkv, w_out, heads, turn):
    return attended(x, past, w_qkv, w_out, heads, turn, where=lambda t: (0, t))


@wrong("decode_step", "the scores are not divided by the root of the head's width")
def without_a_scale(x, past, w_qkv, w_out, heads, turn):
    return attended(x, past, w_qkv, w_out, heads, turn, scale=1.0)


@wrong("decode_step", "only the last token of the cache is looked at beside the new one")
def short_memory(x, past, w_qkv, w_out, heads, turn):
    return attended(x, past, w_qkv, w_out, heads, turn, keep=2)


# ---------------------------------------------------------------- next_probs


@right("next_probs")
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


@right("next_probs")
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


@right("next_probs")
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


@wrong("next_probs", "the logits are multiplied by the temperature; divide")
def multiplied(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = (logits * temperature).softmax(-1).sort(-1, descending=True)
    if top_k is not None:
        p = p * (torch.arange(p.shape[-1]) < top_k)
        p = p / p.sum(-1, keepdim=True)
    if top_p is not None:
        p = p * (p.cumsum(-1) - p < top_p)
        p = p / p.sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, order, p)


@wrong("next_probs", "what is kept must be divided by its sum")
def not_renormalised(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = (logits / temperature).softmax(-1).sort(-1, descending=True)
    if top_k is not None:
        p = p * (torch.arange(p.shape[-1]) < top_k)
    if top_p is not None:
        p = p * (p.cumsum(-1) - p < top_p)
    return torch.zeros_like(p).scatter(-1, order, p)


@wrong(
    "next_probs", "these are sorted: put each probability back into its symbol's place (scatter)"
)
def left_sorted(logits, temperature=1.0, top_k=None, top_p=None):
    p = (logits / temperature).softmax(-1).sort(-1, descending=True).values
    if top_k is not None:
        p = p * (torch.arange(p.shape[-1]) < top_k)
        p = p / p.sum(-1, keepdim=True)
    if top_p is not None:
        p = p * (p.cumsum(-1) - p < top_p)
    return p / p.sum(-1, keepdim=True)


@wrong("next_probs", "what is cut got the logit 0, and so a share of e^0 = 1; it must be -inf")
def cut_logits_are_zero(logits, temperature=1.0, top_k=None, top_p=None):
    l, order = (logits / temperature).sort(-1, descending=True)
    if top_k is not None:
        l = l * (torch.arange(l.shape[-1]) < top_k)
    if top_p is not None:
        p = l.softmax(-1)
        l = l * (p.cumsum(-1) - p < top_p)
    return torch.zeros_like(l).scatter(-1, order, l.softmax(-1))


@wrong("next_probs", "one symbol too many: top_k keeps k")
def k_plus_one(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = (logits / temperature).softmax(-1).sort(-1, descending=True)
    if top_k is not None:
        p = p * (torch.arange(p.shape[-1]) <= top_k)
        p = p / p.sum(-1, keepdim=True)
    if top_p is not None:
        p = p * (p.cumsum(-1) - p < top_p)
        p = p / p.sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, order, p)


@wrong(
    "next_probs",
    "the symbol that crosses top_p belongs to the set: without it the set holds too little",
)
def drops_the_crossing_symbol(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = (logits / temperature).softmax(-1).sort(-1, descending=True)
    if top_k is not None:
        p = p * (torch.arange(p.shape[-1]) < top_k)
        p = p / p.sum(-1, keepdim=True)
    if top_p is not None:
        p = p * (p.cumsum(-1) <= top_p)
        p = p / p.sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, order, p).nan_to_num(0)


@wrong("next_probs", "top_p: sum in the order of likelihood, not in that of the alphabet")
def unsorted_nucleus(logits, temperature=1.0, top_k=None, top_p=None):
    p = (logits / temperature).softmax(-1)
    if top_k is not None:
        p = p * (p.argsort(-1, descending=True).argsort(-1) < top_k)
        p = p / p.sum(-1, keepdim=True)
    if top_p is not None:
        p = p * (p.cumsum(-1) - p < top_p)
        p = p / p.sum(-1, keepdim=True)
    return p


@wrong("next_probs", "the k unlikeliest are kept: sort in descending order")
def ascending(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = (logits / temperature).softmax(-1).sort(-1)
    if top_k is not None:
        p = p * (torch.arange(p.shape[-1]) < top_k)
        p = p / p.sum(-1, keepdim=True)
    if top_p is not None:
        p = p * (p.cumsum(-1) - p < top_p)
        p = p / p.sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, order, p)


@wrong("next_probs", "the threshold was taken over the whole batch; each row has its own")
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


@wrong(
    "next_probs",
    "top_p was taken of all symbols; it is taken of what top_k has left, divided by its sum",
)
def nucleus_first(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = (logits / temperature).softmax(-1).sort(-1, descending=True)
    if top_p is not None:
        p = p * (p.cumsum(-1) - p < top_p)
        p = p / p.sum(-1, keepdim=True)
    if top_k is not None:
        p = p * (torch.arange(p.shape[-1]) < top_k)
        p = p / p.sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, order, p)


@wrong("next_probs", "the cuts were made before the temperature; the temperature comes first")
def temperature_last(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = logits.softmax(-1).sort(-1, descending=True)
    if top_k is not None:
        p = p * (torch.arange(p.shape[-1]) < top_k)
        p = p / p.sum(-1, keepdim=True)
    if top_p is not None:
        p = p * (p.cumsum(-1) - p < top_p)
    p = p ** (1 / temperature)
    return torch.zeros_like(p).scatter(-1, order, p / p.sum(-1, keepdim=True))


@wrong("next_probs", "these are log-probabilities; the probabilities are asked")
def logs(logits, temperature=1.0, top_k=None, top_p=None):
    return (logits / temperature).log_softmax(-1)


def sorted_knobs(
    logits, temperature, top_k, top_p, kept=lambda p, top: p.cumsum(-1) - p < top, off=0
):
    p, order = (logits / temperature).softmax(-1).sort(-1, descending=True)
    if top_k is not None:
        p = p * (torch.arange(p.shape[-1]) < max(top_k + off, 1))
        p = p / p.sum(-1, keepdim=True)
    if top_p is not None:
        p = p * kept(p, top_p)
        p = (p / p.sum(-1, keepdim=True)).nan_to_num(0)
    return p, order


@right("next_probs")
def in_numpy(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = (t.numpy() for t in sorted_knobs(logits, temperature, top_k, top_p))
    out = np.zeros_like(p)
    np.put_along_axis(out, order, p, -1)
    return torch.from_numpy(out)


@wrong("next_probs", "gather takes from the places in `order`; scatter puts back into them")
def gathered_back(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = sorted_knobs(logits, temperature, top_k, top_p)
    return p.gather(-1, order)


@wrong("next_probs", "one symbol too few: top_k keeps k")
def k_minus_one(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = sorted_knobs(logits, temperature, top_k, top_p, off=-1)
    return torch.zeros_like(p).scatter(-1, order, p)


@wrong(
    "next_probs",
    "top_p keeps the symbols whose own probability is large; it is the sum that counts",
)
def large_ones_only(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = sorted_knobs(logits, temperature, top_k, top_p, lambda p, top: p >= 1 - top)
    return torch.zeros_like(p).scatter(-1, order, p)


@wrong(
    "next_probs",
    "the temperature has no effect: it divides the logits, for what divides probabilities cancels",
)
def no_temperature(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = sorted_knobs(logits, 1.0, top_k, top_p)
    return torch.zeros_like(p).scatter(-1, order, p)


@wrong("next_probs", "top_k is not used")
def no_top_k(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = sorted_knobs(logits, temperature, None, top_p)
    return torch.zeros_like(p).scatter(-1, order, p)


@wrong("next_probs", "top_p is not used")
def no_top_p(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = sorted_knobs(logits, temperature, top_k, None)
    return torch.zeros_like(p).scatter(-1, order, p)


@wrong("next_probs", "what is kept was divided by the sum of all rows; each row has its own")
def sum_of_all_rows(logits, temperature=1.0, top_k=None, top_p=None):
    p, order = sorted_knobs(logits, temperature, top_k, top_p)
    p = torch.zeros_like(p).scatter(-1, order, p)
    return p if top_k is None and top_p is None else p / p.sum()


# ---------------------------------------------------------------- reads_in_order


@right("reads_in_order")
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


@right("reads_in_order")
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


@wrong(
    "reads_in_order",
    "a bag of symbols passes: exchange two earlier symbols and look at the last logits",
)
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


@wrong(
    "reads_in_order",
    "a model whose positions cannot see themselves passes: position i must read symbol i",
)
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


@wrong(
    "reads_in_order",
    "models that overlook some of the past pass: every symbol up to and including i must move position i",
)
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


@wrong(
    "reads_in_order",
    "models that see the future pass: a change at j must leave all positions before j alone",
)
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


@wrong(
    "reads_in_order",
    "right models are rejected and one that cannot see itself passes: that was the rule of chapter 01",
)
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


@wrong("reads_in_order", "it says True to every case, right or broken")
def always_satisfied(logits, v, l):
    return True


@wrong("reads_in_order", "leaks pass, and not only weak ones: count every change above 1e-6")
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


@wrong("reads_in_order", "what shows only in some texts is judged wrongly: one text is not enough")
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


@wrong("reads_in_order", "models with rounding errors are rejected: count changes above 1e-6")
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


@wrong("reads_in_order", "weak leaks pass: count every change above 1e-6")
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


@right("reads_in_order")
def every_pair_of_texts(logits, v, l):
    g = torch.Generator().manual_seed(5)
    x = torch.randint(v, (200, l), generator=g)
    before = logits(x).detach()
    for j in range(l):
        moved = torch.zeros(l, dtype=torch.bool)
        for step in range(1, v):
            changed = x.clone()
            changed[:, j] = (x[:, j] + step) % v
            gap = (logits(changed).detach() - before).abs().amax((0, 2))
            moved = moved | (gap > 1e-6)
        if moved.tolist() != [i >= j for i in range(l)]:
            return False
    swapped = x.clone()
    swapped[:, 0], swapped[:, 1] = x[:, 1], x[:, 0]
    return float((logits(swapped) - before)[:, -1].abs().max()) > 1e-6


@wrong("reads_in_order", "a leak into a single logit passes: look at all v logits of a position")
def first_logit_only(logits, v, l):
    x = torch.randint(v, (32, l))
    before = logits(x)
    for j in range(l):
        changed = x.clone()
        changed[:, j] = (x[:, j] + 1) % v
        where = ((logits(changed) - before).abs() > 1e-6)[..., 0].any(0)
        if where[:j].any() or not where[j:].all():
            return False
    swapped = x[:, [1, 0, *range(2, l)]]
    return bool(((logits(swapped) - before).abs() > 1e-6)[:, -1].any())


@wrong(
    "reads_in_order", "a leak into one position passes: look at every position before the change"
)
def last_change_only(logits, v, l):
    x = torch.randint(v, (32, l))
    before = logits(x)
    for j in range(l):
        changed = x.clone()
        changed[:, j] = (x[:, j] + 1) % v
        where = ((logits(changed) - before).abs() > 1e-6).any(-1).any(0)
        if where[:1].any() and j > 0 or not where[j:].all():
            return False
    swapped = x[:, [1, 0, *range(2, l)]]
    return bool(((logits(swapped) - before).abs() > 1e-6)[:, -1].any())
