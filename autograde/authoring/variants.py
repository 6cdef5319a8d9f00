"""Right and wrong answers to an exercise, kept as real code in ``solutions/NN_name/answers.py``.

    @right("made_masks")
    def with_loops(orders): ...

    @wrong("made_masks", "a pixel sees itself: the output layer may look at strictly smaller ranks only")
    def sees_itself(orders): ...

A variant's source is its definition under the exercise's name, with every helper of the file that it uses; it replaces
the answer cell. (``mutants.py`` with @alternative and @mutant is the older form, whose checks stand in the chapter.)
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from autograde.authoring.chapters import Chapter, Exercise
from autograde.authoring.slices import closure
from autograde.errors import AuthoringError

__all__ = ["Variant", "alternative", "mutant", "right", "variants", "wrong"]

T = TypeVar("T")
FILES = {"answers.py": ("right", "wrong"), "mutants.py": ("alternative", "mutant")}


def right(exercise: str) -> Callable[[T], T]:
    """Mark a right answer in another style than the reference."""
    return _mark("alternative", exercise)


def wrong(exercise: str, says: str) -> Callable[[T], T]:
    """Mark a wrong answer; ``says`` is the sentence that a student who makes this mistake reads."""
    return _mark("mutant", exercise, says)


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
    file: str = ""
    line: int = 0


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


def every(chapter: Chapter) -> list[Variant]:
    """All variants in the chapter's files, read without running them."""
    found, problems = [], []
    for file, decorators in FILES.items():
        path = chapter.folder / file
        if path.exists():
            some, wrong_lines = _read(chapter, file, path.read_text(encoding="utf-8"), decorators)
            found, problems = found + some, problems + wrong_lines
    names = [(variant.exercise, variant.name) for variant in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    home = {(v.exercise, v.name): v.file for v in found}
    problems += [f"{chapter.id}/{home[pair]}: {pair[1]} is defined twice for {pair[0]}" for pair in twice]
    if problems:
        raise AuthoringError(problems)
    return found


def _read(chapter: Chapter, file: str, text: str, decorators: tuple[str, str]) -> tuple[list[Variant], list[str]]:
    found, problems = [], []
    for node in ast.parse(text).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or not node.decorator_list:
            continue
        where = f"{chapter.folder.parent.name}/{chapter.id}/{file}:{node.lineno}: {node.name}"
        for decorator in node.decorator_list:
            try:
                kind, exercise, says = _label(decorator, decorators)
            except ValueError as error:
                problems.append(f"{where}: {error}")
                continue
            if exercise not in [e.name for e in chapter.exercises]:
                problems.append(f"{where}: the chapter has no exercise {exercise!r}")
            source = _source(
                closure(text, [node.name], bare=decorators) if file == "answers.py" else _definition(text, node),
                node.name,
                exercise,
            )
            found.append(Variant(exercise, kind, node.name, source, says, file, node.lineno))
    return found, problems


def _label(decorator: ast.expr, names: tuple[str, str]) -> tuple[str, str, str]:
    right_name, wrong_name = names
    kind = getattr(getattr(decorator, "func", None), "id", "")
    if kind not in names:
        raise ValueError(f"only @{right_name} and @{wrong_name} can decorate a variant")
    try:
        args = [ast.literal_eval(arg) for arg in decorator.args]
        keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in decorator.keywords}
    except ValueError:
        raise ValueError(f"the arguments of @{kind} must be plain strings") from None
    says = keywords.pop("says", args[1] if len(args) > 1 else "")
    if keywords or not args or len(args) > 2 or bool(says) != (kind == wrong_name):
        raise ValueError(f'write @{right_name}("exercise") or @{wrong_name}("exercise", "the sentence")')
    return ("alternative", "mutant")[names.index(kind)], args[0], says


def _definition(text: str, node: ast.stmt) -> str:
    return "\n".join(text.split("\n")[node.lineno - 1 : node.end_lineno])


def _source(text: str, own: str, exercise: str) -> str:
    """The text with the variant under the exercise's name wherever it speaks of itself."""
    lines = text.split("\n")
    tokens = tokenize.generate_tokens(io.StringIO(text + "\n").readline)
    places = [token.start for token in tokens if token.type == tokenize.NAME and token.string == own]
    for row, column in reversed(places):
        line = lines[row - 1]
        lines[row - 1] = line[:column] + exercise + line[column + len(own) :]
    return "\n".join(lines)
