"""Ask an answer about one case and compare: what was right, what was wrong, and in which way."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .cases import Case, Rules, Sampled, Wrong, parts
from .report import number

__all__ = ["Z", "Seen", "ask", "compare", "value_and_room"]

Z = 5.5  # standard errors: a check compares hundreds of means, and at 4.5 one right answer in 200 would be refused
SLOPE = "gradient in "  # how the names of derivatives begin
CHANGED = "it changes its arguments, which the caller still needs: work on a copy"
IN_PLACE = "leaf Variable that requires grad is being used in an in-place operation"  # what torch says of it
WHERE = "it sends 0 times the slope of the branch not taken back too, NaN where that is infinite"
CELLS = ("ipykernel", "<ipython-input", "<answer ")  # files in which a student's lines stand


@dataclass
class Seen:
    """What an answer did on a case.

    kind is ok, value, gradient, shape, dtype, missing, not finite, changed, error or property.
    """

    kind: str
    parts: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    where: str = ""  # the student's line that raised
    bad: dict[str, str] = field(default_factory=dict)  # part: kind
    notes: dict[str, str] = field(default_factory=dict)  # what the view observed on the way


def ask(answer: Callable, case: Case, view: Callable | None, rules: Rules) -> Seen:
    """Call the answer, by way of the view; whatever it raises is an outcome."""
    args = list(case.inputs())
    kept = [(t, t.clone()) for t in _tensors(args)]
    leaves = {name: rules.arguments.index(name) for name in rules.gradient}
    try:
        for i in leaves.values():
            args[i] = args[i].clone().requires_grad_()
        kept += [(args[i], args[i].detach().clone()) for i in leaves.values()]
        with torch.enable_grad():
            value = view(answer, *args) if view else answer(*args)
        notes = value.pop("notes", {}) if isinstance(value, dict) else {}
        found = parts(value)
        for name, i in leaves.items():
            found[SLOPE + name] = gradient(value, args[i])
            if not found[SLOPE + name].isfinite().all() and _chooses(value):
                notes["torch.where"] = WHERE
        if rules.verdict:
            found = {"result": _verdict(found)}
    except Wrong as e:
        return Seen("property", error=str(e))
    except Exception as e:  # noqa: BLE001  whatever a student's code raises is an outcome
        if IN_PLACE in str(e):
            return Seen("changed", error=CHANGED)
        kind = getattr(e, "remote_type", type(e).__name__)
        lines, where = str(e).strip().splitlines(), _line(e)
        said = f"{kind}: {lines[0] if lines else ''}"[:300]
        if view and not where and not hasattr(e, "remote_type") and not _raises(answer, view, case):
            return Seen("property", error=f"what came back cannot be used ({said})")
        return Seen("error", error=said, where=where)
    changed = any(getattr(t, "written_by_answer", False) or not _same(t, before) for t, before in kept)
    return Seen("changed" if changed else "ok", found, notes=notes)


def _chooses(value: Any) -> bool:
    """Whether torch.where is among the steps that gradients go back through."""
    todo, met = [t.grad_fn for t in _tensors(value) if t.grad_fn is not None], set()
    for node in todo:
        if node not in met:
            met.add(node)
            todo += [n for n, _ in node.next_functions if n is not None]
    return any(type(node).__name__.startswith("Where") for node in met)


def _raises(answer: Callable, view: Callable, case: Case) -> bool:
    """Whether it is the answer that raises, and not the view at what came back."""
    raised = []

    def watched(*args: Any, **options: Any) -> Any:
        try:
            return answer(*args, **options)
        except Exception as e:
            raised.append(e)
            raise

    try:
        view(watched, *case.inputs())
    except Exception as e:  # noqa: BLE001  only where it comes from is asked
        return any(e is one for one in raised)
    return True


def gradient(value: Any, x: Tensor) -> Tensor:
    """The derivative in x of a fixed combination of all floating numbers in ``value``; zero where none depends on x."""
    flat = [t.flatten() for t in _tensors(value) if t.requires_grad and t.is_floating_point()]
    if not flat:
        return torch.zeros_like(x).detach()
    total = sum((weights(len(t), t.dtype) * t).sum() for t in flat)
    (g,) = torch.autograd.grad(total, x, allow_unused=True, retain_graph=True)
    return torch.zeros_like(x).detach() if g is None else g


def weights(n: int, dtype: torch.dtype) -> Tensor:
    """Unequal weights, so that outputs with a constant sum (probabilities) keep their gradient."""
    return torch.cos(1.0 + torch.arange(n, dtype=torch.float64)).to(dtype)


def _verdict(found: dict) -> Tensor:
    one = next(iter(found.values()))
    if len(found) != 1 or isinstance(one, Sampled) or one.numel() != 1 or one.dtype != torch.bool:
        raise Wrong("one True or False must come back")
    return one.reshape(())


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in _tensors(v)] if isinstance(value, (list, tuple)) else []


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.detach().nan_to_num(3.0), b.nan_to_num(3.0))


def _line(error: BaseException) -> str:
    """The student's line that raised, by the traceback or by the note that the grader attached."""
    for note in getattr(error, "__notes__", ()):
        if note.startswith("in your code, "):
            return note.removeprefix("in your code, ")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if any(mark in frame.filename for mark in CELLS):
            return f"line {frame.lineno}: {frame.line or ''}".strip()
    return ""


def compare(seen: Seen, case: Case, rules: Rules) -> Seen:
    """Fill in which parts are wrong and how; NaN equals nothing."""
    for name, w in case.want.items() if not seen.error else ():
        got, w = seen.parts.get(name), torch.as_tensor(w)
        if got is None:
            seen.bad[name] = "missing"
            continue
        value, room = value_and_room(got, w, rules, case.room, name)
        right = w.double()
        if value.shape != w.shape:
            seen.bad[name] = "shape"
        elif not value.isfinite().all() and bool(w.isfinite().all()):
            seen.bad[name] = "not finite"
        elif not bool(((value == right) | ((value - right).abs() <= room)).all()):
            seen.bad[name] = "gradient" if name.startswith(SLOPE) else "value"
        elif rules.dtype and isinstance(got, Tensor) and w.is_floating_point() and got.ndim and got.dtype != w.dtype:
            seen.bad[name] = "dtype"
    if seen.bad and seen.kind == "ok":
        seen.kind = next(iter(seen.bad.values()))
    return seen


def value_and_room(got: Any, want: Tensor, rules: Rules, room: float = 1.0, part: str = "") -> tuple[Tensor, Any]:
    """The number that is compared, and how far it may be off."""
    if isinstance(got, Sampled):
        return got.mean, Z * got.error + 1e-9
    atol, rtol = (max(rules.atol, 1e-6), max(rules.rtol, 1e-5)) if part.startswith(SLOPE) else (rules.atol, rules.rtol)
    room = min(room, 100.0) if part.startswith(SLOPE) else room
    size = want.double().abs().nan_to_num(0.0, posinf=0.0)  # infinity leaves no room: only infinity equals it
    return got.double(), room * (atol + rtol * size)


def short(error: Any) -> str:
    """A standard error for a message."""
    return number(float(error), 2)
