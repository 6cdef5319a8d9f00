"""What must come back: an exercise's oracle asked as an answer would be, and the traces of its known mistakes."""

from __future__ import annotations

import contextlib
import io
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from autograde.authoring.chapters import Chapter
from autograde.authoring.exercise import Exercise
from autograde.authoring.variants import Variant
from autograde.errors import AuthoringError


def truths(record: dict, exercise: Exercise, where: str, name: str) -> None:
    """Fill in what must come back; the truth is asked as an answer would be."""
    import torch

    from coursekit.checks.asking import ask
    from coursekit.checks.cases import Sampled, pack, parts
    from coursekit.checks.records import Examination

    examination = Examination(record)
    for written, case, plain in zip(exercise.cases, examination.cases, record["cases"], strict=True):
        here = f"{where}:{written.line}: {name}: {case.text!r}"
        try:
            case.inputs()
        except Exception as e:  # whatever an author's recipe raises is what the author must read
            raise AuthoringError([f"{here}: its recipe raises {type(e).__name__}: {e}"]) from e
        want: dict[str, Any] = {}
        given = {} if written.want is None else parts(written.want)
        if exercise.truth is not None and (written.want is None or isinstance(written.want, dict)):
            rules = examination.rules
            with _seeded(case.text):
                seen = ask(exercise.truth, case, examination.view, rules)
            if seen.kind == "error" and rules.gradient:  # numpy inside, perhaps: differences will do
                with _seeded(case.text):
                    seen = ask(exercise.truth, case, examination.view, replace(rules, gradient=()))
                seen.parts |= {f"gradient in {name}": torch.zeros(()) for name in rules.gradient}
            if seen.kind != "ok":
                raise AuthoringError(
                    [f"{here}: the truth itself fails: {seen.error or 'it changes its arguments'} {seen.where}"]
                )
            if written.coarse:
                _with_all_digits(seen.parts, exercise, case, examination)
            counted = {f"number of parts of {part}" for part in given}
            want = {part: value for part, value in seen.parts.items() if part not in {*given, *counted}}
            _finite_differences(want, exercise, case, examination)
        want |= given
        if sampled := [part for part, value in want.items() if isinstance(value, Sampled)]:
            raise AuthoringError([f"{here}: {', '.join(sampled)} is sampled; its exact mean must stand in `want`"])
        plain["want"] = {part: pack(value) for part, value in want.items()}


def _with_all_digits(found: dict, exercise: Exercise, case: Any, examination: Any) -> None:
    """Replace what a truth gave in a coarse dtype by the same computed in float64 from the same inputs, rounded once.

    Where the two have little to do with each other (the truth draws, and draws other numbers) it stays.
    """
    import torch

    from coursekit.checks.asking import ask

    exact = replace(case, inputs=lambda: tuple(map(_double, case.inputs())))
    with _seeded(case.text):
        seen = ask(exercise.truth, exact, examination.view, examination.rules)
    for part, value in found.items() if seen.kind == "ok" else ():
        better = seen.parts.get(part)
        if not (isinstance(value, torch.Tensor) and isinstance(better, torch.Tensor) and value.is_floating_point()):
            continue
        if value.shape == better.shape and torch.allclose(value.double(), better.double(), 1e-2, 1e-3, equal_nan=True):
            found[part] = better.to(value.dtype)


def _finite_differences(want: dict, exercise: Exercise, case: Any, examination: Any) -> None:
    """The derivative of a truth that autograd cannot see, by central differences."""
    import torch

    from coursekit.checks.asking import _tensors, weights

    def total(args: tuple) -> float:
        with _seeded(case.text):
            value = examination.view(exercise.truth, *args) if examination.view else exercise.truth(*args)
        flat = [t.detach().double().flatten() for t in _tensors(value) if t.is_floating_point()]
        return float(sum((weights(len(t), t.dtype) * t).sum() for t in flat))

    for argument in exercise.gradient:
        part = f"gradient in {argument}"
        if part not in want or bool(want[part].any()):
            continue
        args, step = [_double(a) for a in case.inputs()], 1e-5
        kind = case.inputs()[examination.rules.arguments.index(argument)].dtype
        i = examination.rules.arguments.index(argument)
        x = args[i].double()
        slopes = torch.zeros(x.numel(), dtype=torch.float64)
        for k in range(x.numel()):
            nudge = torch.zeros(x.numel(), dtype=torch.float64)
            nudge[k] = step
            up, down = ((x + s * nudge.reshape(x.shape)).to(args[i].dtype) for s in (1, -1))
            slopes[k] = (total((*args[:i], up, *args[i + 1 :])) - total((*args[:i], down, *args[i + 1 :]))) / (2 * step)
        want[part] = slopes.reshape(x.shape).to(kind)


def _double(value: Any) -> Any:
    """In float64, whatever the case: differences need all the digits."""
    return value.double() if hasattr(value, "is_floating_point") and value.is_floating_point() else value


def left(examination: Any, answer: Callable, case: Any) -> Any:
    """What a mistake leaves behind on a case; None where it is right."""
    from coursekit.checks.running import seen_of
    from coursekit.checks.traces import trace

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a mistake may do what torch warns of
        seen = seen_of(examination, answer, case)
    return None if seen.kind == "ok" else trace(seen)


def function(chapter: Chapter, variant: Variant) -> Callable:
    """A variant as a function, with the names that the chapter's ordinary cells bind at its disposal."""
    names = dict(_setting(chapter))
    exec(compile(variant.source, f"<answer {variant.exercise}>", "exec"), names)
    return names[variant.exercise]


@cache
def _setting_of(sources: tuple[str, ...]) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "chapter"}
    for source in sources:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(source, "<setup>", "exec"), names)
    return names


def _setting(chapter: Chapter) -> dict[str, Any]:
    """The names of the chapter's first ordinary cell, which holds its imports."""
    setup = [c.source for c in chapter.cells if c.grade_id == "setup"]
    return _setting_of(tuple(setup))


@contextlib.contextmanager
def _seeded(text: str) -> Iterator[None]:
    from coursekit.checks.running import streams

    with streams(zlib.crc32(text.encode())):
        yield
