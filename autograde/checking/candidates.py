"""Functions that somebody could paste as an answer: the library's, torch's, and those of the student's folder."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import io
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any

from autograde.authoring import library_answers
from autograde.authoring.build import FIGURES
from autograde.authoring.chapters import Chapter, Exercise
from autograde.authoring.slices import closure

PACKAGES = ("genmodels", "coursekit")
MORE = ("torch.nn.functional", "torch", "torch.special", "scipy.special", "scipy.stats", "numpy")
LEFT_OUT = (
    "genmodels.train",
    "genmodels.bench",
    "genmodels.data",
    "coursekit.lab",
    "coursekit.plot",
    "coursekit.report",
)


def prepare(chapter: Chapter) -> None:
    """Import and parse once, in the process that forks, what every exercise of the chapter looks at."""
    _library()
    for text in _texts(chapter).values():
        _pieces(text)


def library(exercise: Exercise, *, thorough: bool = False) -> dict[str, Callable]:
    """Public functions that could take the exercise's arguments, those that it bans left out."""
    found = dict(_library())
    for name in MORE[: None if thorough else 1]:
        found |= _public(name)
    banned = [_resolve(name) for name in exercise.library]
    return {name: f for name, f in found.items() if not any(f is b for b in banned)}


@cache
def _library() -> dict[str, Callable]:
    found: dict[str, Callable] = {}
    for package in PACKAGES:
        root = importlib.import_module(package)
        for info in pkgutil.walk_packages(root.__path__, f"{package}."):
            if not info.name.startswith(LEFT_OUT) and not info.name.rpartition(".")[2].startswith("_"):
                with contextlib.suppress(ImportError):
                    found |= _public(info.name)
    return found


def _public(module: str) -> dict[str, Callable]:
    home = importlib.import_module(module)
    names = getattr(home, "__all__", None) or [n for n in dir(home) if not n.startswith("_")]
    values = {f"{module}.{n}": getattr(home, n, None) for n in names}
    return {n: v for n, v in values.items() if callable(v) and not inspect.isclass(v)}


def _resolve(dotted: str) -> Any:
    from autograde.authoring.library_answers import resolve

    return resolve(dotted)[2]


def shown(chapter: Chapter, exercise: Exercise, code: str, names: dict[str, Any]) -> dict[str, Callable]:
    """Functions that the student's folder defines: in ordinary and lab cells, in ``figures.py``, in the record.

    Those that call what the exercise bans are left out: pasted, they are found by their text and score 0.
    """
    context = [c.source for c in chapter.cells if c.kind == "code" and not c.is_graded and not c.is_lab]
    found: dict[str, Callable] = {}
    for place, text in (_texts(chapter) | {"its record": code}).items():
        for name, piece in _pieces(text).items():
            if name != exercise.name:
                space = dict(names)
                with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
                    exec(compile(piece, f"<{place}>", "exec"), space)
                    if not library_answers.found(piece, exercise.library, context):
                        found[f"{name} of {place}"] = space[name]
    return found


def _texts(chapter: Chapter) -> dict[str, str]:
    texts, figures = {"the notebook": _cells(chapter)}, chapter.folder / FIGURES
    return texts | ({FIGURES: figures.read_text(encoding="utf-8")} if figures.exists() else {})


@cache
def _pieces(text: str) -> dict[str, str]:
    """Each function of a text, with what it needs to be defined alone."""
    definitions, pieces = _definitions(text), {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            with contextlib.suppress(KeyError):
                pieces[node.name] = closure(definitions, [node.name])
    return pieces


def _cells(chapter: Chapter) -> str:
    sources = []
    for cell in chapter.cells:
        if cell.kind == "code" and not cell.is_graded:
            lines = ["" if line.lstrip().startswith(("%", "!")) else line for line in cell.source.split("\n")]
            with contextlib.suppress(SyntaxError):
                ast.parse("\n".join(lines))
                sources.append("\n".join(lines))
    return "\n".join(sources)


def _definitions(text: str) -> str:
    """Imports and definitions only: nothing that trains or draws."""
    kept = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    lines = text.split("\n")
    pieces = []
    for node in ast.parse(text).body:
        constant = isinstance(node, ast.Assign) and not any(isinstance(n, ast.Call) for n in ast.walk(node.value))
        if isinstance(node, kept) or constant:
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
            pieces.append("\n".join(lines[first - 1 : node.end_lineno]))
    return "\n".join(pieces)
