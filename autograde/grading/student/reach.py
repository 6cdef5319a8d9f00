"""Keeps the library's own answers out of a student's reach until the exercise that asks for them has been graded.

The functions' code objects are replaced in place, so that every alias meets the replacement, and the originals are
gone from this process; the files that define them are not readable in the jail. After the exercise the instructor
sends the code back, because later cells may go on with the library's version.
"""

from __future__ import annotations

import importlib
import linecache
import marshal
import types
from collections.abc import Iterator
from typing import Any


def find(dotted: str) -> Any:
    """The object of that dotted name."""
    parts = dotted.split(".")
    for split in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:split]))
        except ImportError:
            continue
        for name in parts[split:]:
            found = getattr(found, name)
        return found
    raise ImportError(f"there is no {dotted}")


def functions(thing: Any) -> Iterator[types.FunctionType]:
    """Every function that makes up a function or a class, below its decorators."""
    if isinstance(thing, (staticmethod, classmethod)):
        thing = thing.__func__
    if isinstance(thing, property):
        for part in (thing.fget, thing.fset):
            yield from functions(part)
    elif isinstance(thing, type):
        for value in vars(thing).values():
            if not isinstance(value, type):
                yield from functions(value)
    elif isinstance(thing, types.FunctionType):
        yield thing
        yield from functions(getattr(thing, "__wrapped__", None))


def codes(dotted: str) -> list[bytes]:
    """The code of each, as the judge knows it."""
    return [marshal.dumps(function.__code__) for function in functions(find(dotted))]


def withhold(names: list[str]) -> None:
    """Replace the code of these library answers by an error that says why."""
    for dotted in names:
        for function in list(functions(find(dotted))):
            function.__code__ = _stub(dotted, function.__code__.co_freevars)
    linecache.clearcache()


def restore(dotted: str, originals: list[bytes]) -> None:
    """Put the code back."""
    for function, code in zip(list(functions(find(dotted))), originals, strict=True):
        function.__code__ = marshal.loads(code)


def _stub(dotted: str, free: tuple[str, ...]) -> types.CodeType:
    text = f"{dotted} is the library's own answer to this exercise: while it is graded, only your own counts"
    lines = [
        f"def outer({', '.join(free)}):",
        "    def withheld(*args, **kwargs):",
        f"        ({', '.join(free)},)" if free else "        pass",
        f"        raise RuntimeError({text!r})",
        "    return withheld.__code__",
    ]
    space: dict[str, Any] = {}
    exec("\n".join(lines), space)  # our own text: a function with the same free variables as the one it stands for
    return space["outer"](*[None] * len(free))
