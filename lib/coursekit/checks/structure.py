"""Checks of structure: who may depend on whom, and where gradients go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import coursekit.checks as checks

from .report import fail, number, place, to_tensor

__all__ = ["depends_on", "gradient_reaches", "triangular"]


def triangular(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    order: Sequence[int] | Tensor | None = None,
    what: str = "",
    strict: bool = True,
    complete: bool = False,
    mistakes: Mapping[str, Any] | None = None,
) -> None:
    """Fail unless output i of ``f`` depends on earlier variables only: d f(x)[n, i] / d x[n, j] is triangular.

    f         maps x (b, *d) to (b, *d), or (b, *d, v) with v numbers for each variable; it must be differentiable
    order     order[k] is the index (in the flattened d) of the variable generated k-th; default 0, 1, 2, ...
    strict    a variable may not see itself
    complete  also require that *every* earlier variable matters (no blind spot)
    mistakes  {sentence: boolean (d, d) "output i depends on input j" that this mistake gives}

    It also fails when samples of the batch influence each other. Use b >= 2 and random weights: at an identity or
    zero initialisation nothing depends on anything, and this is reported as a failure.
    """
    what = what or "the function"
    b, d = len(x), x[0].numel()
    jacobian = checks.jacobian(f, x)
    if jacobian.numel() % (b * d) ** 2:
        rows = {"got": str(tuple(jacobian.shape[: jacobian.ndim - x.ndim])), "expected": str(tuple(x.shape))}
        raise fail(f"{what} has the wrong shape", rows)
    size = jacobian.abs().nan_to_num(nan=torch.inf)
    rounding = 100 * torch.finfo(jacobian.dtype).eps * float(size.max())  # fast convolutions leave it where a mask is 0
    hit = (size > rounding).reshape(b, d, -1, b, d).any(2)  # which output (n, i) depends on which input (m, j)
    across = hit.clone()
    across[range(b), :, range(b)] = False
    if across.any():
        n, i, m, j = across.nonzero()[0].tolist()
        rows = {"found": f"output {i} of sample {n} depends on input {j} of sample {m}"}
        raise fail(f"{what} mixes the samples of the batch", rows, "a reduction over dimension 0, or a BatchNorm.")
    depends = hit[range(b), :, range(b)].any(0)
    rank = torch.empty(d, dtype=torch.long)
    rank[torch.arange(d) if order is None else torch.as_tensor(order)] = torch.arange(d)
    allowed = rank[None, :] < rank[:, None] if strict else rank[None, :] <= rank[:, None]
    _report_dependence(depends, allowed, rank, x.shape[1:], what, complete, strict, mistakes or {})


def _report_dependence(
    depends: Tensor,
    allowed: Tensor,
    rank: Tensor,
    size: torch.Size,
    what: str,
    complete: bool,
    strict: bool,
    mistakes: Mapping[str, Any],
) -> None:
    forbidden = depends & ~allowed
    missing = allowed & ~depends
    if not forbidden.any() and not (complete and missing.any()) and not (allowed.any() and not depends.any()):
        return

    natural = torch.equal(rank, torch.arange(len(rank)))

    def name(k: int) -> str:
        index = list(place(k, size)) if len(size) > 1 else k
        return f"{index}" if natural else f"{index} (generated number {int(rank[k])})"

    sentence = next(
        (s for s, v in mistakes.items() if torch.equal(to_tensor(v() if callable(v) else v, s).bool(), depends)), None
    )
    if forbidden.any():
        i, j = forbidden.nonzero()[0].tolist()
        self_only = torch.equal(forbidden, forbidden & torch.eye(len(rank), dtype=torch.bool))
        if self_only:
            sentence = sentence or "a variable sees itself: somewhere >= (or mask type B) stands for > (type A)."
        elif depends.any() and not (depends.T & ~allowed).any():
            sentence = sentence or "the mask is transposed: outputs depend on exactly the later variables."
        rows = {
            "found": f"output {name(i)} depends on input {name(j)}",
            "expected": f"it depends on {'strictly ' if strict else ''}earlier variables only",
            "count": f"{int(forbidden.sum())} forbidden dependences among {len(rank)} x {len(rank)}",
        }
        raise fail(f"{what} looks at variables that it may not see", rows, sentence)
    i, j = missing.nonzero()[0].tolist()
    rows = {"found": f"output {name(i)} does not depend on input {name(j)}", "expected": "every earlier one matters"}
    rows["count"] = f"{int(missing.sum())} of {int(allowed.sum())} dependences are missing"
    if not depends.any():
        sentence = sentence or "the output depends on no input at all: masks all zero, weights all zero, or a detach?"
    raise fail(f"{what} misses variables that it should see", rows, sentence)


def gradient_reaches(
    module: Any,
    *args: Any,
    f: Callable[..., Tensor] | None = None,
    what: str = "",
    never: Sequence[str] = (),
) -> None:
    """Fail unless the gradient of ``f(*args)``, by default ``module(*args)``, reaches every parameter of the module.

    ``never`` lists parameters, by name or by the start of their name, that the gradient must *not* reach (a
    stop-gradient, a frozen part). Randomise zero-initialised layers first.
    """
    what = what or "the function"
    grads = checks.parameter_grads(f or module, module, *args)
    if not grads:
        raise fail(f"{what} has no trainable parameter", {"expected": "at least one"}, "lists need nn.ModuleList.")
    dead = [n for n, g in grads.items() if g is None or not bool((g != 0).any())]
    for n, g in grads.items():
        if g is not None and not bool(g.isfinite().all()):
            raise fail(f"the gradient of {what} is not finite", {"parameter": n})
    leak = [n for n in grads if n not in dead and any(n.startswith(start) for start in never)]
    dead = [n for n in dead if not any(n.startswith(start) for start in never)]
    if leak:
        rows = {"reached": ", ".join(leak), "expected": "no gradient there"}
        raise fail(f"the gradient of {what} goes where it must not", rows, "a `.detach()` is missing.")
    if dead:
        mistake = "a `.detach()`, `.data`, `.item()` or `no_grad` cuts the graph, or this part is never used."
        rows = {"not reached": ", ".join(dead), "reached": f"{len(grads) - len(dead)} of {len(grads)} parameters"}
        raise fail(f"the gradient of {what} does not reach every parameter", rows, mistake)


def depends_on(
    f: Callable[..., Any],
    *args: Any,
    names: Sequence[str] | None = None,
    changed: Mapping[int, Any] | None = None,
    what: str = "",
) -> None:
    """Fail if an argument of ``f`` does not matter: each is changed in turn, and the output must move.

    Floating tensors and floats are changed here; other arguments are tried when ``changed`` ({position: other value})
    names them. ``f`` must be deterministic: give it its own fresh generator inside.
    """
    what = what or getattr(f, "__name__", "the function")
    noise = torch.Generator().manual_seed(0)
    changed = dict(changed or {})
    for i, a in enumerate(args):
        if i not in changed and isinstance(a, float):
            changed[i] = 1.1 * a + 0.1
        elif i not in changed and isinstance(a, Tensor) and a.is_floating_point():
            changed[i] = a * (1 + 0.1 * torch.rand(a.shape, generator=noise, dtype=a.dtype)) + 0.01
    if not changed:
        raise ValueError("depends_on: no argument can be changed; name one in `changed`")
    base = to_tensor(f(*args), what)
    if not torch.equal(base, to_tensor(f(*args), what)):
        raise fail(f"{what} gives two results for the same arguments", {"expected": "a deterministic function"})
    for i, value in sorted(changed.items()):
        moved = to_tensor(f(*args[:i], value, *args[i + 1 :]), what)
        if torch.equal(moved, base):
            name = names[i] if names else f"argument {number(i + 1)}"
            rows = {"found": f"the result stays the same when {name} changes"}
            raise fail(f"{what} ignores {name}", rows, f"{name} is never used, or replaced by a constant.")
