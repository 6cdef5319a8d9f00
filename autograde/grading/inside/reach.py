"""Keeps the library's own answers out of a student's reach until the exercise that asks for them has been graded.

The functions' code objects are replaced in place, so that every alias meets the replacement, and the originals are
gone from this process; the files that define them are not readable in the jail. After the last exercise that bans one
the instructor sends its code back, because later cells may go on with the library's version.
"""

from __future__ import annotations

import importlib
import inspect
import linecache
import marshal
import types
import warnings
from collections.abc import Iterator
from typing import Any

SENTENCE = "{} is the library's own answer to this exercise: while it is graded, only your own counts"


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


def codes(dotted: str, still: list[str]) -> list[bytes]:
    """The code of each, as the judge knows it; nothing for one that a later exercise withholds, by whatever name."""
    kept = {id(function) for name in still for function in functions(find(name))}
    return [b"" if id(f) in kept else marshal.dumps(f.__code__) for f in functions(find(dotted))]


def withhold(names: list[str]) -> None:
    """Replace the code of these library answers by an error that says why."""
    for dotted in names:
        thing = find(dotted)
        for function in list(functions(thing)):
            function.__code__ = _stub(dotted, function.__code__.co_freevars)
        _close(dotted, thing)
    linecache.clearcache()


def restore(dotted: str, originals: list[bytes], still: list[str]) -> None:
    """Put the code back."""
    for function, code in zip(list(functions(find(dotted))), originals, strict=True):
        if code:
            function.__code__ = marshal.loads(code)
    if dotted not in still:
        for library in _closed.pop(dotted, ()):
            library._destroy()


# torch's own functions are no Python: there the operator itself is replaced, which every way to call it ends in
KEYS = ("CPU", "AutogradCPU", "AutocastCPU", "FuncTorchBatched", "FuncTorchBatchedDecomposition")
_closed: dict[str, list[Any]] = {}


def _close(dotted: str, thing: Any) -> None:
    """Replace an operator of torch's, in all its forms, by an error that says why."""
    import torch

    name = getattr(thing, "__name__", "")
    if not dotted.startswith("torch.") or inspect.isfunction(thing) or isinstance(thing, type):
        return

    def withheld(*_: Any, **__: Any) -> Any:
        raise RuntimeError(SENTENCE.format(dotted))

    for form in (name, f"{name}_"):
        packet = getattr(torch.ops.aten, form, None)
        for overload in packet.overloads() if packet else ():
            _replace(getattr(packet, overload), withheld, _closed.setdefault(dotted, []))


def _replace(operator: Any, by: Any, kept: list[Any]) -> None:
    import torch

    library = torch.library.Library("aten", "IMPL")
    kept.append(library)
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    composite = ("CompositeImplicitAutograd", "CompositeExplicitAutograd")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a kernel is overridden is what we want
        for key in (*KEYS, *(key for key in composite if has(operator.name(), key))):
            library.impl(operator, by, key)


def _stub(dotted: str, free: tuple[str, ...]) -> types.CodeType:
    text = SENTENCE.format(dotted)
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
