"""Right and wrong answers to an exercise, kept as real code in ``solutions/NN_name/mutants.py``.

    @alternative("made_masks")
    def with_loops(orders): ...

    @mutant("made_masks", says="The output layer may look at strictly smaller orders only")
    def off_by_one(orders): ...

The source of a variant, its decorators dropped and its name changed to the exercise's, replaces the answer cell.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from autograde.authoring.chapters import Chapter, Exercise
from autograde.errors import AuthoringError

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["Variant", "alternative", "mutant", "notebook_with", "variants"]

T = TypeVar("T")


def alternative(exercise: str) -> Callable[[T], T]:
    """Mark a right answer in another style than the reference."""
    return _mark("alternative", exercise)


def mutant(exercise: str, *, says: str) -> Callable[[T], T]:
    """Mark a wrong answer; ``says`` is a phrase that the student who makes this mistake must read."""
    return _mark("mutant", exercise, says)


def _mark(*label: str) -> Callable[[T], T]:
    def mark(variant: T) -> T:
        variant.autograde = label
        return variant

    return mark


@dataclass(frozen=True)
class Variant:
    """One content of an answer cell: kind is reference, alternative, mutant or stub."""

    exercise: str
    kind: str
    name: str
    source: str
    says: str = ""


def variants(chapter: Chapter, exercise: str | Exercise) -> list[Variant]:
    """The reference, the alternatives, the mutants and the untouched stub, in that order."""
    if isinstance(exercise, str):
        exercise = chapter.exercise(exercise)
    mine = [variant for variant in every(chapter) if variant.exercise == exercise.name]
    ordered = sorted(mine, key=lambda variant: ("alternative", "mutant").index(variant.kind))
    return [
        Variant(exercise.name, "reference", "reference", exercise.reference),
        *ordered,
        Variant(exercise.name, "stub", "stub", exercise.stub),
    ]


def notebook_with(chapter: Chapter, answers: dict[str, str]) -> NotebookNode:
    """The student's notebook with these answers (exercise: source of the cell) filled in, not executed."""
    from autograde.authoring.notebooks import student

    return student(chapter, answers)


def every(chapter: Chapter) -> list[Variant]:
    """All variants in the chapter's mutants.py, read without running it; [] where there is no such file."""
    path = chapter.folder / "mutants.py"
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    found, problems = [], []
    for node in ast.parse(text).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or not node.decorator_list:
            continue
        where = f"{path.parent.parent.name}/{chapter.id}/mutants.py:{node.lineno}"
        for decorator in node.decorator_list:
            try:
                kind, exercise, says = _label(decorator)
            except ValueError as error:
                problems.append(f"{where}: {node.name}: {error}")
                continue
            if exercise not in [e.name for e in chapter.exercises]:
                problems.append(f"{where}: {node.name}: the chapter has no exercise {exercise!r}")
            found.append(Variant(exercise, kind, node.name, _source(text, node, exercise), says))
    names = [(variant.exercise, variant.name) for variant in found]
    problems += [f"{path}: {name} is defined twice" for name in sorted({n[1] for n in names if names.count(n) > 1})]
    if problems:
        raise AuthoringError(problems)
    return found


def _label(decorator: ast.expr) -> tuple[str, str, str]:
    kind = getattr(getattr(decorator, "func", None), "id", "")
    if kind not in ("alternative", "mutant"):
        raise ValueError("only @alternative and @mutant can decorate a variant")
    try:
        args = [ast.literal_eval(arg) for arg in decorator.args]
        keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in decorator.keywords}
    except ValueError:
        raise ValueError(f"the arguments of @{kind} must be plain strings") from None
    if len(args) != 1 or set(keywords) != ({"says"} if kind == "mutant" else set()):
        raise ValueError('write @alternative("exercise") or @mutant("exercise", says="...")')
    return kind, args[0], keywords.get("says", "")


def _source(text: str, node: ast.stmt, exercise: str) -> str:
    """The definition without its decorators, under the exercise's name wherever it speaks of itself."""
    lines = text.split("\n")[node.lineno - 1 : node.end_lineno]
    tokens = tokenize.generate_tokens(io.StringIO("\n".join(lines) + "\n").readline)
    own = [token.start for token in tokens if token.type == tokenize.NAME and token.string == node.name]
    for row, column in reversed(own):
        line = lines[row - 1]
        lines[row - 1] = line[:column] + exercise + line[column + len(node.name) :]
    return "\n".join(lines)
