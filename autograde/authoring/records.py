"""From ``checks.py`` and ``answers.py`` to records: cases, their truths, and what each mistake leaves behind."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import re
import types
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from autograde.authoring import regions
from autograde.authoring.chapters import Chapter
from autograde.authoring.exercise import Exercise, Recipe, Written
from autograde.authoring.slices import closure
from autograde.authoring.truths import function, left, truths
from autograde.authoring.variants import Variant, every
from autograde.errors import AuthoringError

CHECKS = "checks.py"
ASKS = re.compile(r"^checks\.run\(\s*[\"'](\w+)[\"']", re.MULTILINE)
HEAD = "from autograde.authoring import"


def exercises(chapter: Chapter) -> dict[str, Exercise]:
    """The exercises that ``checks.py`` describes, by name; {} where there is no such file."""
    path = chapter.folder / CHECKS
    if not path.exists():
        return {}
    names = _load(path.read_text(encoding="utf-8"), f"{chapter.folder.parent.name}/{chapter.id}/{CHECKS}")
    found = {name: value for name, value in names.items() if isinstance(value, Exercise)}
    known = {e.name for e in chapter.exercises}
    if strange := sorted(set(found) - known):
        raise AuthoringError([f"{chapter.id}/{CHECKS}: the chapter has no exercise {', '.join(strange)}"])
    return found


@cache
def _load(text: str, where: str) -> dict[str, Any]:
    module = types.ModuleType(where)
    try:
        exec(compile(text, where, "exec"), vars(module))
    except Exception as error:
        line = getattr(error, "lineno", None)
        frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
        line = line or next((f.lineno for f in reversed(frames) if f.filename == where), 1)
        raise AuthoringError([f"{where}:{line}: {type(error).__name__}: {error}"]) from error
    return vars(module)


def records(chapter: Chapter) -> dict[str, dict]:
    """The full record, hidden cases included, of each exercise in ``checks.py``; kept in ``out/records``."""
    described = exercises(chapter)
    if not described:
        return {}
    key = _key(chapter)
    kept = chapter.folder.parents[1] / "out" / "records" / f"{chapter.id}-{key}.json"
    with contextlib.suppress(OSError, ValueError):
        return json.loads(kept.read_text())
    made = {name: _record(chapter, name, exercise) for name, exercise in described.items()}
    if _key(chapter) != key:  # a file changed meanwhile: what was made belongs to neither version
        return json.loads(json.dumps(made))
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        for old in kept.parent.glob(f"{chapter.id}-*.json"):
            old.unlink()
        kept.write_text(json.dumps(made))
    return json.loads(json.dumps(made))


def visible(record: dict) -> dict:
    """What a student's folder holds of a record."""
    shown = [i for i, case in enumerate(record["cases"]) if not case["hidden"]]
    mistakes = [{"says": m["says"], "left": [m["left"][i] for i in shown]} for m in record["mistakes"]]
    seen = [m for m in mistakes if any(left is not None for left in m["left"])]
    return record | {"cases": [record["cases"][i] for i in shown], "mistakes": seen}


def asked(source: str) -> str:
    """The exercise that a check cell runs by ``checks.run("name", name)``; "" for a check that stands in the cell."""
    found = ASKS.search(source)
    return found.group(1) if found else ""


def graded(chapter: Chapter, source: str) -> str:
    """A check cell with the full record between nbgrader's hidden markers, so that it grades without any file."""
    from coursekit.checks.records import COLUMNS, packed

    name = asked(source)
    if not name:
        return source
    if name not in (known := records(chapter)):
        raise AuthoringError([f"{chapter.id}/{CHECKS} does not describe {name}, which a check cell runs"])
    text = packed(known[name])
    lines = [text[i : i + COLUMNS] for i in range(0, len(text), COLUMNS)]
    quote = chr(34) * 3
    hidden = [f"### BEGIN {regions.HIDDEN}", f"checks.use({quote}", *lines, f"{quote})", f"### END {regions.HIDDEN}"]
    return "\n".join([*hidden, source])


def packed_lines(chapter: Chapter, source: str) -> list[str]:
    """The lines of a check cell's packed record, which only the instructor may hold."""
    return list(regions.inside(graded(chapter, source), regions.HIDDEN))[1:-1] if asked(source) else []


def _key(chapter: Chapter) -> str:
    import torch

    import coursekit
    import genmodels

    digest = hashlib.sha256(torch.__version__.encode())
    files = [p for p in (chapter.folder / CHECKS, chapter.folder / "answers.py", chapter.path) if p.exists()]
    for package in (coursekit, genmodels):
        files += sorted(p for p in Path(package.__path__[0]).rglob("*.py"))
    files += sorted(Path(__file__).parent.glob("*.py"))
    for path in files:
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _record(chapter: Chapter, name: str, exercise: Exercise) -> dict:
    from coursekit.checks.records import Examination

    where = f"{chapter.folder.parent.name}/{chapter.id}/{CHECKS}"
    text = (chapter.folder / CHECKS).read_text(encoding="utf-8")
    ships = [f.__name__ for f in _shipped(exercise)]
    try:
        code = closure(text, dict.fromkeys(ships))
    except KeyError as error:
        raise AuthoringError([f"{where}: {name}: {error} must be a function at the top level of {CHECKS}"]) from None
    if HEAD in code:
        raise AuthoringError([f"{where}: {name}: its view or recipe uses a name from autograde, which stays here"])
    rules = {
        "arguments": _arguments(chapter, name, exercise), "atol": exercise.atol, "rtol": exercise.rtol,
        "gradient": list(exercise.gradient), "dtype": exercise.dtype, "verdict": exercise.verdict,
        "about": exercise.about, "show": exercise.show and _plain_call(chapter, name, exercise),
    }  # fmt: skip
    if missing := set(rules["gradient"]) - set(rules["arguments"]):
        raise AuthoringError([f"{where}: {name}: no argument {', '.join(sorted(missing))} to take a gradient in"])
    view = exercise.view.__name__ if exercise.view else None
    record = {"name": name, "rules": rules, "view": view, "code": code, "cases": [], "mistakes": []}
    record["cases"] = [_case(c, where, name) for c in exercise.cases]
    if problems := _problems(exercise, where, name):
        raise AuthoringError(problems)
    truths(record, exercise, where, name)
    examination = Examination(record)
    for variant in every(chapter):
        if variant.exercise == name and variant.kind == "mutant":
            answer = function(chapter, variant)
            traces = [left(examination, answer, case) for case in examination.cases]
            record["mistakes"].append({"says": variant.says, "left": traces})
    if problems := _indistinct(record, chapter, name):
        raise AuthoringError(problems)
    return record


def _shipped(exercise: Exercise) -> list[Callable]:
    makes = [c.inputs.make for c in exercise.cases if isinstance(c.inputs, Recipe)]
    return [*([exercise.view] if exercise.view else []), *makes]


def _arguments(chapter: Chapter, name: str, exercise: Exercise) -> list[str]:
    """The names of what a case holds: the view's parameters after the answer, or else the answer's."""
    if exercise.view:
        return list(inspect.signature(exercise.view).parameters)[1:]
    import ast

    tree = ast.parse(chapter.exercise(name).reference)
    node = next(n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name == name)
    if isinstance(node, ast.ClassDef):
        return []
    return [a.arg for a in (*node.args.posonlyargs, *node.args.args)]


def _plain_call(chapter: Chapter, name: str, exercise: Exercise) -> bool:
    """Whether a case holds exactly what the answer is called with."""
    return _arguments(chapter, name, exercise) == _arguments(chapter, name, Exercise())


def _case(case: Written, where: str, name: str) -> dict:
    from coursekit.checks.cases import pack

    try:
        if isinstance(case.inputs, Recipe):
            inputs: Any = {"make": case.inputs.make.__name__, "options": pack(case.inputs.options)}
        else:
            inputs = pack(case.inputs)
    except TypeError as error:
        raise AuthoringError([f"{where}:{case.line}: {name}: {case.text!r}: {error}"]) from None
    told = {"text": case.text, "facets": case.facets, "fact": case.fact, "hidden": case.hidden, "room": case.room}
    return told | {"inputs": inputs, "want": {}}


def _problems(exercise: Exercise, where: str, name: str) -> list[str]:
    problems, lines = [], {}
    for case in exercise.cases:
        here = f"{where}:{case.line}: {name}: {case.text!r}"
        if case.text in lines:
            problems.append(f"{here}: another case has this text (line {lines[case.text]}); say what differs")
        lines.setdefault(case.text, case.line)
        if case.want is None and exercise.truth is None:
            problems.append(f"{here}: no truth: give `truth` to the Exercise or `want` to the case")
    for hidden, word in ((False, "visible"), (True, "hidden")):
        if not any(case.hidden == hidden for case in exercise.cases):
            problems.append(f"{where}: {name}: no {word} case")
    return problems


def _indistinct(record: dict, chapter: Chapter, name: str) -> list[str]:
    """Mistakes that no case tells from the truth, or from one another."""
    problems: list[str] = []
    mine = [v for v in every(chapter) if v.exercise == name and v.kind == "mutant"]
    twins: dict[str, Variant] = {}
    says: dict[str, Variant] = {}
    for variant, mistake in zip(mine, record["mistakes"], strict=True):
        here = f"{chapter.folder.parent.name}/{chapter.id}/{variant.file}:{variant.line}: {name}: {variant.name}"
        if variant.says in says:
            problems.append(f"{here}: its sentence is also that of {says[variant.says].name}: {variant.says}")
        says.setdefault(variant.says, variant)
        if all(left is None for left in mistake["left"]):
            problems.append(f"{here} is right on every case: add a case that tells it, or drop it")
            continue
        twin = twins.setdefault(json.dumps(mistake["left"], sort_keys=True), variant)
        if twin is not variant:
            problems.append(f"{here}: no case tells it from {twin.name}: add one, or say both in one sentence")
    return problems


__all__ = ["CHECKS", "exercises", "function", "records", "visible"]
