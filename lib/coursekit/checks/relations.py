"""What wrong numbers are of the right ones: a factor, a sign, transposed, reversed, permuted, only imprecise.

A relation is told only if it holds for every wrong part of every wrong case, and only where enough distinct numbers
without symmetry say so: a constant or symmetric truth fits too many relations.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .asking import Seen
from .cases import Case, Rules, Sampled
from .report import number

__all__ = ["relations"]

ENOUGH = 8  # distinct numbers before a relation is believed
Pair = tuple[Tensor, Tensor, Case]  # got, want


def relations(wrong: list[tuple[Case, Seen]], rules: Rules) -> list[str]:
    """Sentences about all wrong values together (about the gradients, where the values are right)."""
    if rules.verdict or any(seen.error for _, seen in wrong):
        return []
    kinds = {k for _, seen in wrong for k in seen.bad.values()}
    chosen = {"value", "shape"} if kinds & {"value", "shape"} else {"gradient"}
    bad = [(name, case, seen) for case, seen in wrong for name, k in seen.bad.items() if k in chosen]
    if not bad or any(isinstance(seen.parts[name], Sampled) for name, _, seen in bad):
        return []
    pairs = [(seen.parts[name].double(), torch.as_tensor(case.want[name]), case) for name, case, seen in bad]
    if all(w.numel() == 1 and not w.is_floating_point() for _, w, _ in pairs):
        return []  # flags and counts, each told by its own name
    if all(not w.is_floating_point() for _, w, _ in pairs) and all(
        bool(((w == 0) | (w == 1)).all()) for _, w, _ in pairs
    ):
        return _tables([(g, w.double(), c) for g, w, c in pairs], [name for name, _, _ in bad])
    pairs = [(g, w.double(), c) for g, w, c in pairs]
    distinct = len(torch.cat([w.flatten() for _, w, _ in pairs]).unique())
    if distinct < ENOUGH:
        return []
    found = _layout(pairs, rules) if any(g.shape != w.shape for g, w, _ in pairs) else _values(pairs, rules)
    return [found] if found else []


def _near(a: Tensor, b: Tensor, rules: Rules, room: float = 1.0) -> bool:
    """Equality as the check itself sees it; NaN equals nothing."""
    return a.shape == b.shape and bool(((a - b).abs() <= room * (rules.atol + rules.rtol * b.abs())).all())


def _layout(pairs: list[Pair], rules: Rules) -> str:
    every = _every(pairs, rules)
    matrices = [w for _, w, _ in pairs if w.ndim == 2]
    if len(matrices) == len(pairs) and every(lambda w, _: w.mT):
        return "the right numbers, transposed"
    if every(lambda w, g: w.reshape(g.shape) if w.numel() == g.numel() else w):
        return "the right numbers in the right order, in another shape"
    return ""


def _every(pairs: list[Pair], rules: Rules) -> Callable[[Callable[[Tensor, Tensor], Tensor]], bool]:
    return lambda f: all(_near(g, f(w, g), rules, c.room) for g, w, c in pairs)


def _values(pairs: list[Pair], rules: Rules) -> str:
    every = _every(pairs, rules)
    g, w = (torch.cat([p[i].flatten() for p in pairs]) for i in (0, 1))
    if not (g.isfinite().all() and w.isfinite().all()):
        return ""
    gap, size = (g - w).abs(), w.abs().max()
    if bool((gap <= 2e-5 * size).all()):
        single = bool((g.float().double() == g).all())
        why = "these are numbers of float32" if single else "float32 somewhere, or an approximation?"
        return f"right up to {number(gap.max() / size, 1)} of the largest number: {why}"
    if every(lambda w, _: -w):
        return "the right numbers with the opposite sign"
    factors = [_factor(a, b, rules) for a, b, _ in pairs]
    if all(factors):
        if max(factors) - min(factors) <= 1e-6 * abs(max(factors)):
            return f"{number(factors[0])} times the right numbers, everywhere"
        each = "; ".join(f"{number(f, 4)} ({_name(c)})" for f, (_, _, c) in zip(factors, pairs, strict=True))
        return f"in each case a constant times the right numbers: {each}"
    offset = float((g - w).median())
    if every(lambda w, _: w + offset):
        return f"the right numbers plus {number(offset)}, everywhere"
    matrices = all(w.ndim == 2 and w.shape[0] == w.shape[1] for _, w, _ in pairs)
    if matrices and every(lambda w, _: w.mT) and not any(_near(w, w.mT, rules) for _, w, _ in pairs):
        return "the right numbers, transposed"
    for d in range(-1, -1 - max(w.ndim for _, w, _ in pairs), -1):
        if not all(w.ndim >= -d and not _near(w, w.flip(d), rules) for _, w, _ in pairs):
            continue
        if every(lambda w, _, d=d: w.flip(d)):
            return f"the right numbers, reversed along {_dimension(d)}"
        if all(len(w.unique()) >= ENOUGH for _, w, _ in pairs) and every(lambda w, g, d=d: _permuted(w, g, d)):
            return f"the right slices of {_dimension(d)}, in another order"
    return ""


def _dimension(d: int) -> str:
    return "the last dimension" if d == -1 else f"dimension {d}"


def _name(case: Case) -> str:
    return "a hidden case" if case.hidden else case.text


def _factor(got: Tensor, want: Tensor, rules: Rules) -> float:
    """The factor between two parts; 0 where there is none or too few numbers tell it."""
    big = want.abs() > 1e-6 * want.abs().max()
    factor = float((got[big] / want[big]).median()) if big.any() else 0.0
    return factor if len(want.unique()) >= ENOUGH // 2 and _near(got, factor * want, rules) else 0.0


def _permuted(want: Tensor, got: Tensor, d: int) -> Tensor:
    """The slices of ``want`` along d in the order in which ``got`` has them, if it has each of them once."""
    a, b = (t.movedim(d, 0).reshape(t.shape[d], -1) for t in (want, got))
    order = torch.cdist(b, a).argmin(1)
    return want.index_select(d, order) if len(order.unique()) == len(order) else want


def _tables(pairs: list[Pair], names: list[str]) -> list[str]:
    """Masks and other tables of 0 and 1: transposed, complement, entries too many or missing."""
    lopsided = [(g, w) for g, w, _ in pairs if w.ndim == 2 and min(w.shape) > 1 and not torch.equal(w, w.mT)]
    if len(lopsided) >= 2 and all(g.shape == w.mT.shape and torch.equal(g, w.mT) for g, w in lopsided):
        return ["the right tables, transposed"]
    if any(g.shape != w.shape for g, w, _ in pairs):
        return []
    if all(torch.equal(g != 0, w == 0) for g, w, _ in pairs):
        return ["every entry is the opposite of the right one"]
    counts: dict[str, list[int]] = {}
    for (g, w, _), name in zip(pairs, names, strict=True):
        more, less = counts.setdefault(name, [0, 0])
        counts[name] = [more + int(((g != 0) & (w == 0)).sum()), less + int(((g == 0) & (w == 1)).sum())]
    return [f"{name}, over all cases: {_too_many(more, less)}" for name, (more, less) in counts.items() if more or less]


def _too_many(more: int, less: int) -> str:
    if more and less:
        return f"{more} entries are 1 that should be 0, and {less} are 0 that should be 1"
    return (
        f"{more or less} entries are {'1 that should be 0' if more else '0 that should be 1'}, none the other way round"
    )
