"""A self-contained piece of a module's source: some definitions and everything at top level that they need."""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterable
from functools import lru_cache

__all__ = ["closure"]


def closure(text: str, wanted: Iterable[str], *, bare: Iterable[str] = ()) -> str:
    """The source of the names ``wanted`` and of all that they use, in the file's order.

    Decorators of top-level definitions are dropped, except those of ``functools``' caches. ``bare`` names are left out
    although they are used: the place where the piece will run has them. Raises KeyError for a wanted name that the
    file does not define.
    """
    body, where, reads = _index(text)
    todo, chosen = list(wanted), set()
    for name in todo:
        node = where[name]
        if node not in chosen:
            chosen.add(node)
            todo += [n for n in reads[node] if n in where and n not in bare]
    lines = text.split("\n")
    pieces = ["\n".join(lines[_first(node) - 1 : node.end_lineno]) for node in body if node in chosen]
    return "\n\n\n".join(pieces)


def _first(node: ast.stmt) -> int:
    """The line at which a statement begins, with a cache as its decorator or without decorators."""
    names = [
        (ast.unparse(d).partition("(")[0].rpartition(".")[2], d.lineno) for d in getattr(node, "decorator_list", ())
    ]
    kept = [line for name, line in names if name in ("cache", "lru_cache")]
    return min([node.lineno, *kept])


@lru_cache(maxsize=8)  # a file of answers is cut once for each of its hundred variants
def _index(text: str) -> tuple[list[ast.stmt], dict[str, ast.stmt], dict[ast.stmt, list[str]]]:
    """The statements at top level, which of them binds a name, and the global names that each reads."""
    body, lines = ast.parse(text).body, text.split("\n")
    where = {name: node for node in body for name in _binds(node)}
    return body, where, {node: _reads("\n".join(lines[_first(node) - 1 : node.end_lineno])) for node in body}


def _binds(node: ast.stmt) -> list[str]:
    """Names that a statement gives a meaning."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names]
    if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return []


def _reads(source: str) -> list[str]:
    """The names that a statement takes from the module, decorators apart; a function's own names are not among them."""
    todo, found = [symtable.symtable(source, "<piece>", "exec")], set()
    for table in todo:
        top = table.get_type() == "module"
        found |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global())}
        todo += table.get_children()
    return sorted(found)
