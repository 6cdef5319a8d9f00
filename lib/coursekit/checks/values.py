"""Checks of values: equal numbers, shapes, no NaN, the right error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .report import FULL, dtype_name, fail, number, place, show, to_tensor
from .slips import diagnose

__all__ = ["close", "finite", "raises", "same", "shape"]

Mistakes = Mapping[str, Any]


def same(a: Tensor, b: Tensor, atol: float, rtol: float) -> bool:
    """Equal shapes and |a - b| <= atol + rtol |b| in every entry; equal infinities count, NaN equals NaN only."""
    if a.shape != b.shape:
        return False
    exact = not (a.is_floating_point() or a.is_complex() or b.is_floating_point() or b.is_complex())
    if exact:
        return bool((a == b).all())
    kind = torch.complex128 if a.is_complex() or b.is_complex() else torch.float64
    return bool(torch.isclose(a.to(kind), b.to(kind), atol=atol, rtol=rtol, equal_nan=True).all())


def close(
    got: Any,
    want: Any,
    what: str = "",
    atol: float = 1e-6,
    rtol: float = 1e-5,
    mistakes: Mistakes | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Fail unless ``got`` equals ``want`` within |got - want| <= atol + rtol |want|, entry by entry.

    got, want   a number, list, array or tensor; or both a tuple, list or dict of them
    what        the call as the student knows it, such as "kl(mu, logvar)": it heads the message
    mistakes    {sentence: the value that this mistake gives, or a function of no arguments that computes it};
                looked at only after a failure, before the general slips (sign, factor 2, transposed, ...)
    dtype       also require this dtype
    """
    what = what or "the result"
    if isinstance(want, Mapping) or (isinstance(want, (tuple, list)) and any(isinstance(w, Tensor) for w in want)):
        _close_parts(got, want, what, atol, rtol, mistakes, dtype)
        return
    g, w = to_tensor(got, what), to_tensor(want, "the expected value")
    if dtype is not None and g.dtype != dtype:
        rows = {"got": dtype_name(g), "expected": str(dtype).removeprefix("torch.")}
        raise fail(f"{what} has the wrong dtype", rows)
    if same(g, w, atol, rtol):
        return
    raise _difference(g, w, what, atol, rtol, mistakes)


def _close_parts(got: Any, want: Any, what: str, atol: float, rtol: float, mistakes: Any, dtype: Any) -> None:
    """Compare a dict or a sequence part by part; ``mistakes`` must then have parts of the same form."""
    named = isinstance(want, Mapping)
    if not isinstance(got, Mapping if named else (tuple, list)):
        if named or not isinstance(got, Tensor) or got.ndim == 0 or len(got) != len(want):
            kind = "dict" if named else f"tuple of {len(want)}"
            raise fail(f"{what} is not a {kind}", {"got": show(got), "expected": f"a {kind}"})
    keys = list(want) if named else range(len(want))
    if len(got) != len(want) or (named and set(got) != set(want)):
        rows = {"got": str(list(got) if named else len(got)), "expected": str(list(want) if named else len(want))}
        raise fail(f"{what} has the wrong {'keys' if named else 'number of parts'}", rows)
    for key in keys:
        part = {s: (lambda v=v, k=key: (v() if callable(v) else v)[k]) for s, v in (mistakes or {}).items()}
        close(got[key], want[key], f"{what}[{key!r}]", atol, rtol, part, dtype)


def _difference(g: Tensor, w: Tensor, what: str, atol: float, rtol: float, mistakes: Mistakes | None) -> Exception:
    sentence = known_mistake(g, mistakes, atol, rtol) or diagnose(g, w, lambda a, b: same(a, b, atol, rtol))
    if g.shape != w.shape:
        rows = {"got": f"shape {tuple(g.shape)}", "expected": f"shape {tuple(w.shape)}"}
        return fail(f"{what} has the wrong shape", rows, sentence)
    wide = torch.complex128 if g.is_complex() or w.is_complex() else torch.float64
    gap = (g.to(wide) - w.to(wide)).abs().masked_fill(g == w, 0.0)
    bad = ~torch.isclose(g.to(wide), w.to(wide), atol=atol, rtol=rtol, equal_nan=True)
    worst = torch.where(bad, gap.nan_to_num(nan=torch.inf), -1.0)
    digits = 6 if (bad & (gap > 1e-4 * w.to(wide).abs())).any() or not gap.isfinite().all() else 12
    headline = f"{what} is wrong" if g.numel() == 1 else f"{what} is wrong in {int(bad.sum())} of {bad.numel()} entries"
    if g.numel() <= FULL and g.ndim <= 2:
        rows = {"got": show(g, digits), "expected": show(w, digits)}
    else:
        index = place(worst.argmax(), worst.shape)
        at = f" at {list(index)}"
        rows = {"got": number(g[index], digits) + at, "expected": number(w[index], digits) + at}
        rows["where"] = f"the worst entry of a {show(w)}{_place(bad)}"
    if digits > 6:
        rows["allowed"] = f"a difference of {atol:.1g} + {rtol:.1g} |expected|; the largest is {gap.max().item():.3g}"
    return fail(headline, rows, sentence)


def _place(bad: Tensor) -> str:
    """If all wrong entries share one index of one dimension, say it: it usually is the first or the last."""
    for dim in range(bad.ndim):
        hit = bad.movedim(dim, 0).reshape(bad.shape[dim], -1).any(1).nonzero().flatten()
        if len(hit) == 1 and bad.shape[dim] > 2:
            return f"; every wrong entry has index {int(hit)} in dimension {dim}"
    return ""


def known_mistake(g: Tensor, mistakes: Mistakes | None, atol: float, rtol: float) -> str | None:
    """The sentence of the first mistake whose value is what came back."""
    for sentence, value in (mistakes or {}).items():
        value = to_tensor(value() if callable(value) else value, f"the value of the mistake {sentence!r}")
        if same(g, value, atol, rtol):
            return sentence
    return None


def shape(got: Any, want: Sequence[int | None], what: str = "") -> None:
    """Fail unless the shape is ``want``; None stands for any size."""
    what = what or "the result"
    g = to_tensor(got, what)
    want = tuple(want)
    if g.ndim == len(want) and all(w is None or w == s for s, w in zip(g.shape, want, strict=True)):
        return
    expected = "(" + ", ".join("any" if w is None else str(w) for w in want) + ("," if len(want) == 1 else "") + ")"
    mistake = None
    if None not in want:
        mistake = diagnose(torch.zeros(g.shape), torch.zeros(want), lambda a, b: a.shape == b.shape)
        mistake = mistake and mistake.replace("right numbers", "the right number of entries")
    raise fail(f"{what} has the wrong shape", {"got": str(tuple(g.shape)), "expected": expected}, mistake)


def finite(got: Any, what: str = "") -> None:
    """Fail if any entry is NaN or infinite."""
    what = what or "the result"
    g = to_tensor(got, what)
    bad = ~g.isfinite()
    if not bad.any():
        return
    index = [int(i) for i in bad.nonzero()[0]]
    at = f", the first at {index}" if index else ""
    count = f"{int(g.isnan().sum())} NaN and {int(g.isinf().sum())} infinite of {g.numel()} entries{at}"
    mistake = diagnose(g, torch.zeros_like(g), lambda *_: False)
    raise fail(f"{what} is not finite", {"got": count, "expected": "finite numbers"}, mistake)


def raises(error: type[BaseException], f: Callable[..., Any], *args: Any, match: str = "", what: str = "") -> None:
    """Fail unless ``f(*args)`` raises ``error`` with ``match`` (ignoring case) in its message.

    An error that crossed from another process is recognised by its ``remote_type``, the name of its class there.
    """
    what = what or getattr(f, "__name__", "the function")
    try:
        value = f(*args)
    except Exception as e:  # noqa: BLE001  any error of the student's is the answer under test
        name = getattr(e, "remote_type", type(e).__name__)
        if not (isinstance(e, error) or name == error.__name__):
            raise fail(f"{what} raised the wrong error", {"got": f"{name}: {e}", "expected": error.__name__}) from None
        if match.lower() not in str(e).lower():
            rows = {"got": f"{name}: {e}", "expected": f"a message that mentions {match!r}"}
            raise fail(f"{what} raised an error that does not name the problem", rows) from None
        return
    rows = {"got": show(value), "expected": f"{error.__name__}{f' mentioning {match!r}' if match else ''}"}
    raise fail(f"{what} accepted a bad argument", rows)
