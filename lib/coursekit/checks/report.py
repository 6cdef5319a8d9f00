"""How a failed check speaks: the exception, the printing of values, and reading a value that may not be a tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["CheckFailed", "fail", "show", "to_tensor"]

FULL = 40  # a tensor with at most this many entries (and at most 2 dimensions) is printed in full
DIGITS = 6


class CheckFailed(AssertionError):
    """An answer differs from the truth; the message says how, and which mistake does that."""

    def _render_traceback_(self, *_: Any) -> list[str]:
        """What a notebook shows: the explanation alone, without the frames of the library below it."""
        return ["CheckFailed", str(self)]


def fail(headline: str, rows: Mapping[str, str] | list[tuple[str, str]], mistake: str | None = None) -> CheckFailed:
    """The error to raise: a first line that says what failed, aligned rows, and the likely mistake last."""
    rows = list(rows.items()) if isinstance(rows, Mapping) else rows
    width = max((len(name) for name, _ in rows), default=0)
    margin = "\n" + " " * (width + 4)
    lines = [headline, *(f"  {name:<{width}}  " + text.replace("\n", margin) for name, text in rows)]
    if mistake:
        lines.append(f"Likely mistake: {mistake}")
    return CheckFailed("\n".join(lines))


def place(flat: Any, shape: Any) -> tuple[int, ...]:
    """The index of an entry that is known by its place in the flattened tensor.

    By numpy: ``torch.unravel_index`` would first import torch's symbolic shapes, a second that a student waits.
    """
    return tuple(int(i) for i in np.unravel_index(int(flat), tuple(shape)))


def number(x: Any, digits: int = DIGITS) -> str:
    """One number, short: 0.333333, 1e-09, 3, nan."""
    if isinstance(x, Tensor):
        x = x.item()
    return f"{x:.{digits}g}" if isinstance(x, (float, complex)) else str(x)


def dtype_name(t: Tensor) -> str:
    """``float64`` rather than ``torch.float64``."""
    return str(t.dtype).removeprefix("torch.")


def show(value: Any, digits: int = DIGITS) -> str:
    """A value for a message: small tensors in full, large ones by shape and range, other objects by their type."""
    if isinstance(value, (int, float, bool, str, type(None))):
        return number(value, digits) if isinstance(value, float) else repr(value)
    if not isinstance(value, Tensor):
        return f"an object of type {type(value).__name__}"
    t = value.detach().cpu()
    if t.ndim == 0:
        return number(t, digits)
    if t.numel() <= FULL and t.ndim <= 2:
        a = (t.int() if t.dtype == torch.bool else t).numpy() if t.dtype != torch.bfloat16 else t.float().numpy()
        scale = np.abs(a[np.isfinite(a)]).max(initial=0.0) if a.dtype.kind == "f" else 0.0
        form = {"float_kind": lambda x: f"{x:.{digits}g}"} if scale else {}
        return np.array2string(a, separator=", ", max_line_width=100, threshold=10**6, formatter=form)
    return f"{dtype_name(t)} tensor of shape {tuple(t.shape)}"


def to_tensor(got: Any, what: str) -> Tensor:
    """What an answer returned as a plain tensor on the CPU: numbers, lists, arrays and tensors; else CheckFailed."""
    if isinstance(got, Tensor):
        return got.detach().cpu()
    if got is None:
        mistake = "the function ends without `return`, so Python returns None."
        raise fail(f"{what} returned None", {"expected": "numbers"}, mistake)
    if isinstance(got, (bool, int, float, complex)):
        return torch.tensor(got, dtype=torch.float64 if isinstance(got, float) else None)
    if isinstance(got, (np.ndarray, np.generic)) and got.dtype.kind in "biufc":
        return torch.from_numpy(np.array(got))
    if isinstance(got, (list, tuple)) and got:
        parts = [to_tensor(g, f"{what}[{i}]") for i, g in enumerate(got)]
        if len({p.shape for p in parts}) == 1:
            return torch.stack([p.to(torch.result_type(p, parts[0])) for p in parts])
        shapes = ", ".join(str(tuple(p.shape)) for p in parts[:6])
        raise fail(f"{what} returned {len(parts)} parts of different shapes", {"shapes": shapes})
    mistake = "the function is returned itself; call it." if callable(got) else None
    raise fail(f"{what} is not numbers", {"got": f"an object of type {type(got).__name__}"}, mistake)
