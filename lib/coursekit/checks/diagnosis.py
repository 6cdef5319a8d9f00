"""What a wrong answer reads: only what was observed over all cases, and a mistake's name only when it is certain."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .asking import CHANGED, SLOPE, Seen, Z, short, value_and_room
from .cases import Case, Rules, Sampled
from .relations import relations
from .report import fail, number, show

__all__ = ["contrast", "message"]

FULL = 40  # numbers that are printed; of more than that, the first wrong one
LISTED = 3  # cases that are named one by one
CUT = "numpy, detach, no_grad, new tensors and rounding cut it off"
ROWS = {"error": "raised", "property": "found", "changed": "found"}
NONE = {True: "accepts none of the right ones", False: "rejects none of the broken ones"}
KINDS = {
    "value": "wrong values", "gradient": "a wrong gradient", "shape": "a wrong shape", "dtype": "another dtype",
    "missing": "a part missing", "not finite": "NaN or infinity", "changed": "changed arguments", "error": "an error",
    "property": "something else than asked",
}  # fmt: skip


def message(name: str, cases: list[Case], seen: list[Seen], mistake: str, rules: Rules) -> Exception:
    """The error to raise for an answer that is wrong on some case."""
    wrong = [i for i, s in enumerate(seen) if s.kind != "ok"]
    case, first = cases[wrong[0]], seen[wrong[0]]
    head = f"{name} is wrong in {len(wrong)} of {len(cases)} cases."
    if rules.verdict:
        rows = _verdicts(cases, seen, wrong, rules)
    else:
        rows = [("case", _text(case)), *_call(name, case, rules), *_what(first, case, rules)]
        rows += [("note", case.fact)] if case.fact and not case.hidden else []
        rows += contrast([c for i, c in enumerate(cases) if i not in wrong], [cases[i] for i in wrong])
        rows += _kinds(seen, wrong)
    rows += [("observed", f"{key}: {value}") for key, value in first.notes.items() if not case.hidden]
    rows += [("relation", text) for text in relations([(cases[i], seen[i]) for i in wrong], rules)]
    if rules.about and any(s.bad for s in seen):
        rows.append(("note", rules.about))
    return fail(head, rows, mistake or None)


def _text(case: Case) -> str:
    """A hidden case is told by its facets only."""
    if not case.hidden:
        return case.text
    known = ", ".join(f"{key}: {_facet(value)}" for key, value in case.facets.items())
    return f"a hidden case{f' ({known})' if known else ''}"


def _facet(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value, 4) if isinstance(value, float) else str(value)


def _call(name: str, case: Case, rules: Rules) -> list[tuple[str, str]]:
    if case.hidden or not rules.show:
        return []
    args, texts = case.inputs(), []
    for i, arg in enumerate(args):
        word = rules.arguments[i] if i < len(rules.arguments) else f"argument {i + 1}"
        texts.append(f"{word}={_argument(arg)}")
    call = f"{name}({', '.join(texts)})"
    if len(call) > 200:
        call = f"{name}(\n    " + ",\n    ".join(texts) + ")"
    return [("called", call)]


def _argument(value: Any) -> str:
    if isinstance(value, Tensor) and value.numel() <= FULL and value.ndim <= 2:
        return _compact(value.tolist(), value.is_floating_point())
    if isinstance(value, torch.Generator):
        return f"a generator with seed {value.initial_seed()}"
    if callable(value):
        return "a function"
    if isinstance(value, (list, tuple)):
        inside = ", ".join(map(_argument, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' * (len(value) == 1)})"
    return show(value)


def _compact(value: Any, floats: bool) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_compact(v, floats) for v in value) + "]"
    return number(float(value), 4) if floats else str(value)


def _what(seen: Seen, case: Case, rules: Rules) -> list[tuple[str, str]]:
    """The first wrong part: got and expected; then which parts of this case are right and which wrong."""
    if seen.error:
        rows = [
            (ROWS[seen.kind], seen.error if not case.hidden or seen.kind == "property" else seen.error.split(":")[0])
        ]
        return rows + ([("at", seen.where)] if seen.where else [])
    if not seen.bad:
        return [("found", CHANGED)]
    part, kind = next(iter(seen.bad.items()))
    want, rows = torch.as_tensor(case.want[part]), []
    if kind == "missing":
        rows = [("missing", part)]
    elif kind == "shape":
        rows = [
            ("wrong", f"the shape of {part}"),
            ("got", str(_shape(seen.parts[part]))),
            ("expected", str(tuple(want.shape))),
        ]
    elif kind == "dtype":
        got, right = (str(t.dtype)[6:] for t in (seen.parts[part], want))
        rows = [("wrong", f"the dtype of {part}; its numbers are right"), ("got", got), ("expected", right)]
    else:
        rows = _numbers(part, kind, seen, case, rules)
    right = [p for p in case.want if p not in seen.bad]
    if len(seen.bad) > 1:
        rows.append(("also wrong", "; ".join(list(seen.bad)[1:])))
    return rows + ([("right in", "; ".join(right))] if right and len(right) < 8 else [])


def _numbers(part: str, kind: str, seen: Seen, case: Case, rules: Rules) -> list[tuple[str, str]]:
    got, want = seen.parts[part], torch.as_tensor(case.want[part]).double()
    value, room = value_and_room(got, want, rules, case.room, part)
    off = ~((value == want) | ((value - want).abs() <= room))
    count = f", in {int(off.sum())} of {off.numel()} entries{_where(off, got)}" if off.numel() > 1 else ""
    rows = [("not finite" if kind == "not finite" else "wrong", part + count)]
    if case.hidden:
        return rows
    rows += [("got", _entries(value, off)), ("expected", _entries(want, off))]
    if rows[-1][1] == rows[-2][1]:
        rows.append(("off by", f"{number((value - want).abs()[off].max(), 2)} at most"))
    if part.startswith(SLOPE) and not value.any():
        rows.append(("found", f"the {part} is 0 everywhere; {CUT}"))
    if isinstance(got, Sampled):
        error = got.error[off]
        if bool((error <= 1e-12 * got.mean.abs()[off]).all()):
            rows.append(("spread", "none: it is the same in every draw"))
        else:
            rows.append(
                ("allowed", f"{Z} standard errors; the largest is {short(error.max())} with n = {len(got.draws)}")
            )
    return rows


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.mean.shape if isinstance(value, Sampled) else value.shape)


def _entries(t: Tensor, off: Tensor) -> str:
    """A small table in full, a row a line; of a large one its first wrong entry."""
    t = t.double()
    if t.numel() > 1 and len(t.unique()) == 1:
        return f"{number(t.flatten()[0], 5)} in every entry"
    if t.numel() > FULL or t.ndim > 2:
        at = [int(i) for i in off.nonzero()[0]]
        return f"{number(t[tuple(at)])} at {at}"
    rows = t.reshape(-1, t.shape[-1] if t.ndim else 1).tolist()
    return "\n".join(" ".join(f"{number(x, 5):>8}" if len(rows) > 1 else number(x, 6) for x in row) for row in rows)


def _where(off: Tensor, got: Any) -> str:
    """The indices that all wrong entries share, or the diagonal."""
    for d in range(off.ndim):
        hit = off.movedim(d, 0).reshape(off.shape[d], -1).any(1).nonzero().flatten().tolist()
        named = isinstance(got, Sampled) and got.rows and d == 0
        if off.shape[d] > 2 and len(hit) < off.shape[d] and (len(hit) == 1 or named):
            names = [got.rows[h] if named else f"index {h} of dimension {d}" for h in hit]
            return ", all of them in " + ", ".join(names)
    square = off.ndim == 2 and off.shape[0] == off.shape[1] > 2
    return (
        ", all of them on the diagonal" if square and not (off & ~torch.eye(len(off), dtype=torch.bool)).any() else ""
    )


def contrast(right: list[Case], wrong: list[Case]) -> list[tuple[str, str]]:
    """On which cases the answer is right and on which wrong, and what separates the two."""
    if not right:
        return []
    rows = [("wrong on", _list(wrong)), ("right on", _list(right))]
    found = separators(right, wrong)
    return rows + ([("difference", "; or ".join(found[:2]))] if found else [])


def _list(cases: list[Case]) -> str:
    open_, hidden = [c for c in cases if not c.hidden], sum(c.hidden for c in cases)
    texts = [c.text for c in open_[:LISTED]]
    if len(open_) > LISTED:
        texts.append(f"{len(open_) - LISTED} more")
    if hidden:
        texts.append(f"{hidden} hidden case{'s' * (hidden > 1)}")
    return "; ".join(texts)


def separators(right: list[Case], wrong: list[Case]) -> list[str]:
    """The facets whose values on the right cases are apart from those on the wrong ones."""
    found = []
    for key in wrong[0].facets:
        if not all(key in c.facets for c in wrong):
            continue
        r, w = ({c.facets[key] for c in some if key in c.facets} for some in (right, wrong))
        if not r or r & w:
            continue
        lone = " (one case)" if len(wrong) == 1 else ""
        said = lambda values: ", ".join(map(_facet, sorted(values, key=str)))
        if any(isinstance(v, (str, bool)) for v in r | w):
            if len(w) > 1:
                continue  # several words against several others separate nothing that one could name
            found.append(f"{key} (wrong: {said(w)}; right: {said(r)}){lone}")
        elif max(r) < min(w):
            found.append(f"{key} (wrong from {number(min(w), 4)}, right up to {number(max(r), 4)}){lone}")
        elif max(w) < min(r):
            found.append(f"{key} (wrong up to {number(max(w), 4)}, right from {number(min(r), 4)}){lone}")
        elif len(w) == 1 and len(wrong) > 1:
            found.append(f"{key} (wrong at {number(min(w), 4)}; right at {said(r)})")
    return found


def _kinds(seen: list[Seen], wrong: list[int]) -> list[tuple[str, str]]:
    """Where the cases fail in different ways: how often in which."""
    kinds = [seen[i].kind for i in wrong]
    if len(set(kinds)) < 2:
        return []
    return [("in all", ", ".join(f"{KINDS[k]} in {kinds.count(k)}" for k in dict.fromkeys(kinds)))]


def _verdicts(cases: list[Case], seen: list[Seen], wrong: list[int], rules: Rules) -> list[tuple[str, str]]:
    """A test under test: which right cases it rejects, which broken ones it accepts."""
    failed = [i for i in wrong if seen[i].error or seen[i].kind == "changed"]
    rows = []
    if failed:
        case, one = cases[failed[0]], seen[failed[0]]
        rows += [("on", _text(case)), *_what(one, case, rules)]
    truth = [bool(c.want["result"]) for c in cases]
    said = [None if i in failed else truth[i] != (i in wrong) for i in range(len(cases))]
    if not failed and len(set(said)) == 1:
        return [*rows, ("found", f"it says {said[0]} to every case, right or broken")]
    if all(s is not None and s != t for s, t in zip(said, truth, strict=True)):
        return [*rows, ("found", "every verdict is the opposite of the right one: True is for what is right")]
    for value, verb in ((True, f"rejects a right {rules.verdict}"), (False, f"accepts a broken {rules.verdict}")):
        w = [cases[i] for i in wrong if i not in failed and truth[i] == value]
        r = [cases[i] for i in range(len(cases)) if truth[i] == value and i not in wrong]
        if w:
            rows.append(("it", f"{verb}: {_list(w)}"))
            told = next((c for c in w if c.fact and not c.hidden), None)
            rows += [("because", told.fact if len(w) == 1 else f"of {told.text!r}: {told.fact}")] if told else []
            found = separators(r, w) if r else []
            if found:
                rows.append(("difference", f"from those it judges rightly: {'; or '.join(found[:2])}"))
            else:
                rows.append(("but", f"judges rightly: {_list(r)}" if r else NONE[value]))
    return rows
