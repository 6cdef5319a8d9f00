"""Stand-ins for what lives in the student's process: never equal to anything, never true, never a number."""

from __future__ import annotations

import builtins
import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autograde.grading.judge.session import Session

# Errors of student code arrive as subclasses of these, so that a test may expect one. Not those that steer Python.
EXPECTED = (
    "ArithmeticError AssertionError AttributeError FloatingPointError IndexError KeyError LookupError NameError "
    "NotImplementedError OverflowError RuntimeError TypeError UnboundLocalError ValueError ZeroDivisionError "
    "RecursionError ImportError ModuleNotFoundError UnicodeError"
).split()


class StudentError(Exception):
    """The student's code raised; ``remote_type`` is the name of its class there."""

    remote_type = "Exception"

    def __str__(self) -> str:
        return self.args[0] if self.args else ""


def student_error(kind: str, text: str, where: str) -> StudentError:
    """An exception to raise in the judge for one that was raised in the student's process."""
    if kind in EXPECTED:
        made = type(kind, (StudentError, getattr(builtins, kind)), {"remote_type": kind})
    else:
        made = type(kind if kind.isidentifier() else "StudentError", (StudentError,), {"remote_type": kind})
    error = made(text)
    if where:
        error.add_note(f"in your code, {where}")
    return error


def _claimable() -> tuple[type, ...]:
    """Never a tensor, a number or a container: those must come by value."""
    import torch

    return torch.nn.Module, torch.distributions.Distribution, torch.optim.Optimizer


def _claimed_class(names: Any) -> type | None:
    """A class of torch's that the object says it has, so that ``isinstance(model, nn.Module)`` works."""
    for name in names if type(names) is list else ():
        if type(name) is str and name.startswith(("torch.nn.modules.", "torch.distributions.", "torch.optim.")):
            module, _, attribute = name.rpartition(".")
            found = getattr(sys.modules.get(module), attribute, None)
            if isinstance(found, type) and issubclass(found, _claimable()) and found.__module__ == module:
                return found
    return None


def _signature(code: Any) -> inspect.Signature | None:
    if type(code) is not list:
        return None
    try:
        make, empty = inspect.Parameter, inspect.Parameter.empty
        return inspect.Signature([make(n, inspect._ParameterKind(k), default=... if d else empty) for n, k, d in code])
    except (ValueError, TypeError):
        return None


class Remote:
    """An object in the student's process. Using it asks that process; comparing it or counting with it is refused."""

    __slots__ = ("__weakref__", "_class", "_describe", "_name", "_number", "_session", "_signature")

    def __init__(self, session: Session, code: dict):
        put = object.__setattr__
        put(self, "_session", session)
        put(self, "_number", int(code["id"]))
        put(self, "_describe", str(code.get("c"))[:80])
        put(self, "_name", str(code.get("n") or "")[:80])
        put(self, "_class", _claimed_class(code.get("b")))
        put(self, "_signature", _signature(code.get("s")))

    def _refuse(self, *_: Any) -> Any:
        kind = object.__getattribute__(self, "_describe")
        raise TypeError(f"the answer is a {kind} object where the test expected a plain value")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __float__ = __int__ = __index__ = _refuse
    __complex__ = __array__ = __add__ = __sub__ = __mul__ = __truediv__ = __matmul__ = __neg__ = __abs__ = _refuse
    __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rmatmul__ = __reduce_ex__ = _refuse

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<the student's {object.__getattribute__(self, '_describe')}>"

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return object.__getattribute__(self, "_class") or type(self)
        if name == "__name__" and object.__getattribute__(self, "_name"):
            return object.__getattribute__(self, "_name")
        if name == "__signature__" and object.__getattribute__(self, "_signature"):
            return object.__getattribute__(self, "_signature")
        if name.startswith("__") and name.endswith("__"):
            try:
                return object.__getattribute__(self, name)
            except AttributeError:
                raise AttributeError(f"a test cannot look at {name} of the student's object, only use it") from None
        return _ask(self, "get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        _ask(self, "set", name, value)

    def __getitem__(self, key: Any) -> Any:
        return _ask(self, "item", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _ask(self, "setitem", key, value)

    def __contains__(self, key: Any) -> bool:
        return _ask(self, "has", key) is True

    def __len__(self) -> int:
        length = _ask(self, "len")
        if type(length) is not int or not 0 <= length < 1 << 31:
            raise TypeError("its length is not a number")
        return length

    def __iter__(self) -> Any:
        iterator = _ask(self, "iter")
        while True:
            step = _ask(iterator, "next") if is_remote(iterator) else []
            if type(step) is not list or len(step) != 1:
                return
            yield step[0]

    def __next__(self) -> Any:
        step = _ask(self, "next")
        if type(step) is not list or len(step) != 1:
            raise StopIteration
        return step[0]

    def __enter__(self) -> Any:
        return _ask(self, "enter")

    def __exit__(self, *_: Any) -> None:
        _ask(self, "exit")

    def __instancecheck__(self, thing: Any) -> bool:
        return is_remote(thing) and _ask(thing, "instance", self) is True

    def __copy__(self) -> Any:
        return _ask(self, "copy")

    def __deepcopy__(self, _: Any) -> Any:
        return _ask(self, "copy")


class _Callable(Remote):
    """One that can be called."""

    __slots__ = ()

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call it there."""
        return _ask(self, "call", list(args), options)


def is_remote(thing: Any) -> bool:
    """Whether it is a stand-in, whatever class it claims."""
    return issubclass(type(thing), Remote)


@functools.lru_cache(200)
def _kind(name: str, called: bool) -> type[Remote]:
    """A class of the name that the object's own class has: messages speak of that, not of stand-ins."""
    shown = name if name.isidentifier() else "object"
    return type(shown, (_Callable if called else Remote,), {"__slots__": (), "__doc__": "A stand-in."})


def stand_in(session: Session, code: dict) -> Remote:
    """A stand-in for what the student's process describes; whether it can be called is its claim."""
    return _kind(str(code.get("c"))[:80], code.get("k") is not False)(session, code)


def number_of(remote: Remote) -> int:
    """The handle behind a stand-in."""
    return object.__getattribute__(remote, "_number")


def _ask(remote: Remote, operation: str, *arguments: Any) -> Any:
    return object.__getattribute__(remote, "_session").call(operation, remote, *arguments)
