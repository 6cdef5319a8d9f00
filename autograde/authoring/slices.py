"""A self-contained piece of a module's source: some definitions and everything at top level that they need."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable
from functools import lru_cache

__all__ = ["closure"]


def closure(text: str, wanted: Iterable[str], *, bare: Iterable[str] = ()) -> str:
    """The source of the names ``wanted`` and of all that they use, in the file's order.

    Decorators of top-level definitions are dropped. ``bare`` names are left out although they are used: the place
    where the piece will run has them. Raises KeyError for a wanted name that the file does not define.
    """
    tree, where, reads = _read(text)
    todo, chosen = list(wanted), set()
    for name in todo:
        node = where[name] if name in where else None
        if node is None:
            raise KeyError(name)
        if node in chosen:
            continue
        chosen.add(node)
        todo += [n for n in sorted(reads[node]) if n in where and n not in bare and where[n] not in chosen]
    lines = text.split("\n")
    pieces = []
    for node in tree.body:
        if node in chosen:
            first = node.lineno - 1
            pieces.append("\n".join(lines[first : node.end_lineno]))
    return "\n\n\n".join(pieces)


@lru_cache(maxsize=8)
def _read(text: str) -> tuple[ast.Module, dict[str, ast.stmt], dict[ast.stmt, set[str]]]:
    """The file, where it binds each name, and what each statement reads: a chapter asks for 200 pieces of one file."""
    tree = ast.parse(text)
    where = {name: node for node in tree.body for name in _binds(node)}
    return tree, where, {node: _uses(node) for node in tree.body}


def unknown(text: str, wanted: Iterable[str]) -> set[str]:
    """Names that the piece would use and that neither the file nor Python defines."""
    piece = ast.parse(closure(text, wanted))
    made = {name for node in ast.walk(piece) for name in _binds(node)} | {
        a.arg for node in ast.walk(piece) if isinstance(node, ast.arguments) for a in _arguments(node)
    }
    stored = {n.id for n in ast.walk(piece) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    used = {n.id for n in ast.walk(piece) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return used - made - stored - set(dir(builtins))


def _arguments(node: ast.arguments) -> list[ast.arg]:
    extra = [a for a in (node.vararg, node.kwarg) if a]
    return [*node.posonlyargs, *node.args, *node.kwonlyargs, *extra]


def _binds(node: ast.AST) -> list[str]:
    """Names that a statement gives a meaning."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names]
    if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return []


def _uses(node: ast.AST) -> set[str]:
    """Names that a statement reads, its decorators apart."""
    outer = set(getattr(node, "decorator_list", ()))
    skipped = {id(n) for d in outer for n in ast.walk(d)}
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and id(n) not in skipped}
