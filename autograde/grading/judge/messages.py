"""What goes to the student's process and comes back, as the judge encodes and decodes it."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autograde.grading.judge.gradients import Mirror, attach
from autograde.grading.judge.remote import is_remote, number_of
from autograde.grading.values import Decoder
from autograde.grading.wire import Encoder, Malformed, Unsendable

if TYPE_CHECKING:
    from autograde.grading.judge.session import Session

SHARED = ("torch", "genmodels", "coursekit", "numpy", "math", "operator", "builtins", "functools", "itertools", "scipy")
DIRECT = (types.FunctionType, types.BuiltinFunctionType, type)


class Request(Encoder):
    """Encodes arguments: stand-ins by number, library functions by name, other functions as callbacks."""

    def __init__(self, session: Session):
        super().__init__()
        self.session, self.leaves, self.lent = session, [], []
        self.tensors: dict[int, Tensor] = {}  # by the number of their buffer

    def __call__(self, value: Any, depth: int = 0) -> Any:
        """A stand-in first: whatever class it claims, it is none of the values below."""
        return {"t": "h", "id": number_of(value)} if is_remote(value) else super().__call__(value, depth)

    def tensor(self, tensor: Tensor) -> dict:
        """By value; a mirrored parameter by its number."""
        for number, mirror in self.session.mirrors.items():
            if mirror.tensor is tensor:
                return {**self.plain(tensor[:0] if tensor.ndim else tensor), "p": number}
        code = self.plain(tensor)
        self.tensors[code["i"]] = tensor
        if tensor.requires_grad and torch.is_grad_enabled():
            self.leaves.append(tensor)
            code["g"] = True
        if isinstance(tensor, torch.nn.Parameter):
            code["k"] = True
        return code

    def refer(self, value: Any) -> dict:
        """Whatever is not a plain value."""
        if place := _importable(value):
            return {"t": "ref", "m": place[0], "q": place[1]}
        by_value = isinstance(value, (torch.nn.Module, torch.optim.Optimizer, torch.distributions.Distribution))
        if isinstance(value, type) or (callable(value) and not by_value):
            return {"t": "cb", "id": self.session.callback(value), "n": "f"}
        for i, known in enumerate(self.lent):
            if known is value:
                return {"t": "val", "i": i}
        self.lent.append(value)
        return {"t": "val", "i": len(self.lent) - 1}

    def blob(self) -> int | None:
        """The objects by value, pickled together so that what they share stays shared. Judge to student only."""
        if not self.lent:
            return None
        import cloudpickle

        try:
            return self.keep(cloudpickle.dumps(self.lent))
        except Exception as error:
            kinds = ", ".join(sorted({type(v).__name__ for v in self.lent}))
            raise Unsendable(f"{kinds}: cannot be passed to the student's code ({error}); pass a function") from None


def _importable(value: Any) -> tuple[str, str] | None:
    """(module, name) of a function or class that the student's process has as well."""
    if not isinstance(value, DIRECT):
        return None
    name = getattr(value, "__qualname__", "")
    for module in (getattr(value, "__module__", None), "torch", "torch.nn.functional", "torch._C._nn"):
        if not isinstance(module, str) or module.split(".")[0] not in SHARED or module not in sys.modules:
            continue
        found = sys.modules[module]
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is value:
            return module, name
    return None


class Reply(Decoder):
    """Decodes a result: handles become stand-ins, parameters mirrors, differentiable tensors attached to the call."""

    def __init__(self, session: Session, buffers: list, message: dict, leaves: list[Tensor]):
        super().__init__(buffers, self._made)
        self.session, self.outputs = session, []
        codes = message.get("out", [])
        if type(codes) is not list or len(codes) > 10_000:
            raise Malformed("bad outputs")
        values = [self(code) for code in codes]
        if values:
            if not all(type(v) is Tensor for v in values) or type(message.get("graph")) is not int:
                raise Malformed("bad outputs")
            self.outputs = attach(session, message["graph"], values, leaves)

    def _tensor(self, code: dict, depth: int) -> Tensor:
        tensor = super()._tensor(code, depth)
        number = code.get("p")
        if number is None:
            return tensor
        if type(number) is not int or not tensor.is_floating_point():
            raise Malformed("bad parameter")
        mirrors = self.session.mirrors
        if number not in mirrors:
            mirrors[number] = Mirror(tensor)
        return mirrors[number].update(tensor)

    def _made(self, tag: str, code: dict, _: list) -> Any:
        if tag == "out" and type(code["i"]) is int and 0 <= code["i"] < len(self.outputs):
            return self.outputs[code["i"]]
        if tag == "h" and type(code["id"]) is int:
            return self.session.stand_in(code)
        raise Malformed(f"unknown {tag!r}")


class Asked(Decoder):
    """Decodes what student code passes to a judge's function."""

    def __init__(self, session: Session, buffers: list):
        super().__init__(buffers, self._made)
        self.session, self.leaves = session, []

    def _tensor(self, code: dict, depth: int) -> Tensor:
        tensor = super()._tensor(code, depth)
        if code.get("g") is True and tensor.is_floating_point():
            self.leaves.append(tensor.requires_grad_())
        return tensor

    def _made(self, tag: str, code: dict, _: list) -> Any:
        if tag == "h" and type(code["id"]) is int:
            return self.session.stand_in(code)
        raise Malformed(f"unknown {tag!r}")
