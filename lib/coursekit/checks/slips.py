"""Recognise the slips that everybody makes, from the wrong numbers alone.

``diagnose(got, want, same)`` returns the sentence of the first slip that turns ``want`` into ``got``, or None.
``same(a, b)`` is the caller's comparison, so that a slip is named only as surely as the check itself is sure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

__all__ = ["diagnose"]

Same = Callable[[Tensor, Tensor], bool]
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def diagnose(got: Tensor, want: Tensor, same: Same) -> str | None:
    """The likely mistake as a sentence, or None when no known slip explains what came back."""
    if got.is_complex() or want.is_complex():
        return None
    g, w = got.double(), want.double()
    if g.isnan().any() or w.isnan().any():
        return _not_a_number(g)
    slips = _shape_slips(g, w, same) if g.shape != w.shape else _value_slips(g, w, same)
    return next((sentence for sentence, value in slips if same(g, value)), None) or _pattern(got, g, w, same)


def _not_a_number(g: Tensor) -> str | None:
    if not g.isnan().any():
        return None
    where = "everywhere" if g.isnan().all() else "in some entries only"
    return f"NaN {where}: 0/0, inf - inf, the log or root of a negative number, or 0 * log 0."


def _shape_slips(g: Tensor, w: Tensor, same: Same) -> Iterator[tuple[str, Tensor]]:
    """Values of another shape that the right numbers become; each is compared with what came back."""
    if g.ndim == 0 and w.ndim:
        yield "you averaged over the batch; return one value for each entry.", w.mean()
        yield "you summed over the batch; return one value for each entry.", w.sum()
    if w.ndim >= 1 and g.ndim == w.ndim + 1 and g.shape[-1] == g.shape[-2] == w.shape[-1]:
        n = w.shape[-1]
        yield f"a ({n}, 1) was combined with a ({n},): broadcasting made it ({n}, {n}).", g
    if g.ndim > w.ndim and g.shape[: w.ndim] == w.shape and g.shape.numel() > w.numel():
        rest = g.reshape(*w.shape, -1)
        if same(rest.sum(-1), w):
            yield "the sum over the last dimension(s) is missing.", g
        if same(rest.mean(-1), w):
            yield "the mean over the last dimension(s) is missing.", g
    if g.ndim >= 2 and g.mT.shape == w.shape:
        yield "the result is transposed.", w.mT
    if g.squeeze().shape == w.squeeze().shape:
        yield "right numbers with an extra or a missing dimension of size 1 (squeeze, or keepdim).", w.reshape(g.shape)
    if g.numel() == w.numel():
        yield "right numbers in another shape.", w.reshape(g.shape)
    if g.ndim == w.ndim and g.ndim:
        yield from _wrong_length(g, w)


def _wrong_length(g: Tensor, w: Tensor) -> Iterator[tuple[str, Tensor]]:
    for dim in range(w.ndim):
        extra = g.shape[dim] - w.shape[dim]
        if abs(extra) != 1 or g.shape[:dim] + g.shape[dim + 1 :] != w.shape[:dim] + w.shape[dim + 1 :]:
            continue
        word = "too many" if extra == 1 else "too few"
        n = min(g.shape[dim], w.shape[dim])
        for end, start in (("last", 0), ("first", 1)):
            long = (g if extra == 1 else w).narrow(dim, start, n)
            if torch.equal(long, w if extra == 1 else g) or torch.allclose(long, w if extra == 1 else g):
                yield f"one entry {word} along dimension {dim}: the {end} one.", g
        yield f"one entry {word} along dimension {dim}.", g


def _value_slips(g: Tensor, w: Tensor, same: Same) -> Iterator[tuple[str, Tensor]]:
    """Wrong values of the right shape, the commonest first."""
    if not w.numel():
        return
    yield "the sign is reversed.", -w
    yield "twice the expected value: something is counted twice, or a factor 1/2 is missing.", 2 * w
    yield "half the expected value: a factor 2 is missing, or there is a 1/2 too many.", w / 2
    yield "all zeros: nothing was written into the result.", torch.zeros_like(w)
    yield "the squares of the expected values: a root is missing (a variance for a standard deviation?).", w.square()
    if (w >= 0).all():
        yield "the roots of the expected values (a standard deviation for a variance?).", w.sqrt()
        yield "the logs of the expected values: an exp is missing, or logits were taken for probabilities.", w.log()
    yield "exp of the expected values: a log is missing, or exp was taken twice.", w.exp()
    yield "1 / the expected value: the ratio is upside down.", 1 / w
    yield "1 - the expected value: the complement (alpha for 1 - alpha, p for 1 - p?).", 1 - w
    yield "the sign is lost: these are absolute values.", w.abs()
    yield "twice as large and of the wrong sign.", -2 * w
    yield "half as large and of the wrong sign.", -w / 2
    if w.ndim >= 2 and w.shape[-1] == w.shape[-2]:
        yield "the result is transposed.", w.mT
        if (g - w).diagonal(dim1=-2, dim2=-1).abs().sum() > 0 and same(_off_diagonal(g), _off_diagonal(w)):
            yield "only the diagonal is wrong: an entry meets itself (>= for >, or diagonal=0 for 1?).", g
    yield "a sigmoid too many: these are sigmoid(expected).", w.sigmoid()
    if ((w > 0) & (w < 1)).all():
        yield "a sigmoid is missing: these are the logits of the expected probabilities.", w.logit()
    yield "fractions are cut off: an integer division or a cast to int.", w.trunc()
    yield "values are rounded.", w.round()
    yield from _moved(w, same, g)


def _off_diagonal(m: Tensor) -> Tensor:
    return m * (1 - torch.eye(m.shape[-1], dtype=m.dtype))


def _moved(w: Tensor, same: Same, g: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Right numbers in the wrong places."""
    for dim in range(w.ndim):
        n = w.shape[dim]
        if n < 2:
            continue
        yield f"reversed along dimension {dim}.", w.flip(dim)
        yield f"a softmax over dimension {dim} too many.", w.softmax(dim)
        yield f"a log_softmax over dimension {dim} too many.", w.log_softmax(dim)
        yield f"a running sum along dimension {dim} instead of the entries.", w.cumsum(dim)
        if n < 3:
            continue
        if same(g.narrow(dim, 1, n - 1), w.narrow(dim, 0, n - 1)):
            yield f"shifted by one along dimension {dim}: entry i holds what belongs to i - 1.", g
        if same(g.narrow(dim, 0, n - 1), w.narrow(dim, 1, n - 1)):
            yield f"shifted by one along dimension {dim}: entry i holds what belongs to i + 1.", g
    if w.ndim and len(w) > 1 and not same(w[:1].expand_as(w), w):
        yield "every sample of the batch got the value of the first one.", w[:1].expand_as(w)
    if len(w.unique()) > 2 and same(g.flatten().sort().values, w.flatten().sort().values):
        yield "right numbers in another order.", g


def _pattern(got: Tensor, g: Tensor, w: Tensor, same: Same) -> str | None:
    """A constant factor, a constant offset, lost precision: slips with a number to find out first."""
    if g.isinf().any() and not w.isinf().any():
        return "infinite values: an overflow (exp of a large number), a division by 0, or log 0."
    if g.shape != w.shape or not w.numel():
        return None
    finite = w.isfinite() & g.isfinite()
    gap = (g - w)[finite]
    if got.dtype in (torch.float32, torch.float16, torch.bfloat16):
        loose = 1e-5 if got.dtype == torch.float32 else 1e-2
        if gap.numel() and gap.abs().max() <= loose * w[finite].abs().max().clamp_min(1e-3):
            return f"computed in {str(got.dtype).removeprefix('torch.')}: keep the precision of the input."
    large = finite & (w.abs() > 1e-6 * w[finite].abs().max()) if finite.any() else finite
    if large.any():
        factor = (g[large] / w[large]).median().item()
        if factor and same(g, factor * w) and (sentence := _factor(factor, int(large.sum()))):
            return sentence
    if gap.numel():
        offset = gap.median().item()
        if same(g, w + offset) and (sentence := _offset(offset, gap.numel())):
            return sentence
    return _constant_batch(g, w, same)


def _whole(x: float) -> int:
    """x as a whole number, 0 when it is none."""
    n = round(x)
    return n if n and abs(x - n) < 1e-4 * abs(n) else 0


def _factor(r: float, entries: int) -> str | None:
    named = {
        1 / math.log(2): "the value is in bits; nats are expected (multiply by log 2).",
        math.log(2): "the value is in nats; bits are expected (divide by log 2).",
        math.sqrt(2): "sqrt(2) times the expected value.",
        math.sqrt(0.5): "1/sqrt(2) times the expected value.",
    }
    for value, sentence in named.items():
        if math.isclose(abs(r), value, rel_tol=1e-4):
            return sentence if r > 0 else sentence + " The sign is reversed too."
    sign = "" if r > 0 else " The sign is reversed too."
    if (n := abs(_whole(r))) > 2:
        return f"{n} times the expected value: a sum where a mean is asked, over something of size {n}?{sign}"
    if (n := abs(_whole(1 / r))) > 2:
        return f"1/{n} of the expected value: a mean where a sum is asked, over something of size {n}?{sign}"
    return f"{r:.6g} times the expected value everywhere: a constant factor is wrong." if entries > 1 else None


def _offset(c: float, entries: int) -> str | None:
    for unit, name in ((HALF_LOG_2PI, "log(2 pi)/2"), (math.log(2), "log 2")):
        if n := _whole(c / unit):
            times = "" if abs(n) == 1 else f"{abs(n)} x "
            return f"off by the constant {'-' if n < 0 else ''}{times}{name}: is a normalising constant missing?"
    if abs(_whole(c)) == 1:
        return f"{'one too much' if c > 0 else 'one too little'}{' everywhere' if entries > 1 else ''}."
    return f"off by the constant {c:.6g} everywhere." if entries > 1 else None


def _constant_batch(g: Tensor, w: Tensor, same: Same) -> str | None:
    """The same value for every sample although the samples differ."""
    if w.ndim == 0 or len(w) < 2 or same(w[:1].expand_as(w), w):
        return None
    if same(g[:1].expand_as(g), g):
        return "the same for every sample of the batch, though the samples differ."
    return None
