"""Has an answer just called the library's own? Found in its text, and taken out of its reach while it runs."""

from __future__ import annotations

import ast
import functools
import importlib
import sys
from collections.abc import Callable, Iterable
from types import FrameType, ModuleType
from typing import Any

from autograde.errors import Refusal

OURS = ("genmodels", "coursekit")


class LibraryAnswer(RuntimeError):
    """An answer called what it was asked to write."""


def sentence(exercise: str, name: str) -> str:
    """The reason a student reads for the 0."""
    return f"{exercise} uses {name}, the library's own answer to this exercise: 0 points. Write it yourself."


def resolve(dotted: str) -> tuple[Any, str, Any]:
    """(holder, attribute, object) of a dotted name; raises Refusal where there is no such thing."""
    parts = dotted.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            holder: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:-1]:
            holder = getattr(holder, part, None)
        if hasattr(holder, parts[-1]):
            return holder, parts[-1], getattr(holder, parts[-1])
    raise Refusal(f'"library" names {dotted}, which does not exist')


def found(answer: str, banned: Iterable[str], context: Iterable[str] = ()) -> list[tuple[int, str]]:
    """Uses of banned names in an answer's text, as (line, name), through imports, aliases and getattr.

    ``context`` holds the chapter's ordinary cells, whose imports the answer may use. The answer is never run.
    """
    banned = {name: resolve(name)[2] for name in banned}
    if not banned:
        return []
    names: dict[str, str] = {}
    for source in context:
        for node in ast.walk(ast.parse(source)):
            _bind(node, names)
    try:
        tree = ast.parse(answer)
    except SyntaxError:
        return []
    for node in ast.walk(tree):
        for own in _own(node):
            names.pop(own, None)
    nodes = sorted((n for n in ast.walk(tree) if hasattr(n, "lineno")), key=lambda n: (n.lineno, n.col_offset))
    hits = []
    for node in nodes:
        for used in [*_bind(node, names), _dotted(node, names)]:
            name = _which(used, banned)
            if name and (node.lineno, name) not in hits:
                hits.append((node.lineno, name))
    return hits


def _own(node: ast.AST) -> list[str]:
    """Names that the answer gives a meaning of its own: they no longer stand for what the chapter imported."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.arg):
        return [node.arg]
    return [node.id] if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else []


def _bind(node: ast.AST, names: dict[str, str]) -> list[str]:
    """Record what an import or a plain assignment makes a name stand for; returns the dotted names it took."""
    taken = []
    if isinstance(node, ast.Import):
        for alias in node.names:
            names[alias.asname or alias.name.split(".")[0]] = alias.name if alias.asname else alias.name.split(".")[0]
            taken.append(alias.name)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        for alias in node.names:
            if alias.name == "*":
                public = vars(importlib.import_module(node.module)) if node.module.startswith(OURS) else ()
                names.update({name: f"{node.module}.{name}" for name in public if not name.startswith("_")})
            else:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                taken.append(f"{node.module}.{alias.name}")
    elif isinstance(node, ast.Assign) and (value := _dotted(node.value, names)):
        names.update({target.id: value for target in node.targets if isinstance(target, ast.Name)})
    return taken


def _dotted(node: ast.AST, names: dict[str, str]) -> str:
    """The dotted name an expression stands for, or ""."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value, names)
        return f"{base}.{node.attr}" if base else ""
    if isinstance(node, ast.Call) and node.args:
        called = getattr(node.func, "id", getattr(node.func, "attr", ""))
        texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        if called == "__import__" and texts and len(node.args) == 1:
            return texts[0].split(".")[0]
        if called in ("import_module", "__import__") and texts:
            return texts[0]
        if called == "getattr" and texts:
            base = _dotted(node.args[0], names)
            return f"{base}.{texts[0]}" if base else ""
    return ""


def _which(used: str, banned: dict[str, Any]) -> str:
    """The banned name that this dotted name reaches, by its text or because it is the same object."""
    for name, target in banned.items():
        if used == name:
            return name
        if "." in used and used.split(".")[0] == name.split(".")[0]:
            try:
                if resolve(used)[2] is target:
                    return name
            except Refusal:
                continue
    return ""


def remove(
    exercise: str, banned: Iterable[str], is_student: Callable[[FrameType], bool], namespaces: Iterable[dict] = ()
) -> None:
    """Make the banned names raise LibraryAnswer when the student's code calls them; the library may go on using them.

    There is no way back: call it in a process that ends after the trial. ``is_student`` recognises the frames of
    the answer; ``namespaces`` are dictionaries, beside the library's modules, that may hold the objects too.
    """
    for name in banned:
        holder, attribute, target = resolve(name)
        if isinstance(target, type):
            target.__init__ = _guard_class(target, exercise, name, is_student)
            continue
        guard = _guard(target, exercise, name, is_student)
        setattr(holder, attribute, guard)
        top = name.split(".")[0]
        modules = [m for key, m in list(sys.modules.items()) if isinstance(m, ModuleType) and _under(key, top)]
        for space in [*(vars(module) for module in modules if top in OURS), *namespaces]:
            for key in [key for key, value in space.items() if value is target]:
                space[key] = guard


def _under(module: str, top: str) -> bool:
    return module == top or module.startswith(f"{top}.")


def _called_by(is_student: Callable[[FrameType], bool]) -> bool:
    """Whether student code asked for it: the nearest frame that is neither ours nor a mere go-between."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if is_student(frame):
            return True
        if frame.f_globals.get("__name__", "").split(".")[0] not in ("torch", "functools", "autograde"):
            return False
        frame = frame.f_back
    return False


def _guard(target: Callable, exercise: str, name: str, is_student: Callable[[FrameType], bool]) -> Callable:
    @functools.wraps(target)
    def guard(*args: Any, **kwargs: Any) -> Any:
        if _called_by(is_student):
            raise LibraryAnswer(sentence(exercise, name))
        return target(*args, **kwargs)

    return guard


def _guard_class(cls: type, exercise: str, name: str, is_student: Callable[[FrameType], bool]) -> Callable:
    start = cls.__init__

    @functools.wraps(start)
    def guard(self: Any, *args: Any, **kwargs: Any) -> None:
        if _called_by(is_student):
            raise LibraryAnswer(sentence(exercise, name))
        start(self, *args, **kwargs)

    return guard
