"""The judge's line to one student process."""

from __future__ import annotations

import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from autograde.grading.judge.gradients import Mirror, Tapes, attach, finite
from autograde.grading.judge.remote import Remote, StudentError, number_of, student_error
from autograde.grading.values import Decoder
from autograde.grading.wire import Closed, Encoder, Malformed, Unsendable, Wire

SHARED = ("torch", "genmodels", "coursekit", "numpy", "math", "operator", "builtins", "functools", "itertools", "scipy")
CALLBACK_DEPTH = 20
DIRECT = (types.FunctionType, types.BuiltinFunctionType, type)


class Request(Encoder):
    """Encodes arguments: stand-ins by number, library functions by name, other functions as callbacks."""

    def __init__(self, session: Session):
        super().__init__()
        self.session, self.leaves, self.lent = session, [], []

    def __call__(self, value: Any, depth: int = 0) -> Any:
        """A stand-in first: whatever class it claims, it is none of the values below."""
        return {"t": "h", "id": number_of(value)} if type(value) is Remote else super().__call__(value, depth)

    def tensor(self, tensor: Tensor) -> dict:
        """By value; a mirrored parameter by its number."""
        for number, mirror in self.session.mirrors.items():
            if mirror.tensor is tensor:
                return {**self.plain(tensor[:0] if tensor.ndim else tensor), "p": number}
        code = self.plain(tensor)
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


def _expired(*_: Any, **__: Any) -> None:
    raise RuntimeError("this function was lent for an earlier test only")


class Session:
    """Calls into one student process; ``broken`` is set by the first message that no honest process sends."""

    def __init__(self, wire: Wire):
        self.wire = wire
        self.broken: str | None = None
        self.gone = False
        self.calls, self.depth = 0, 0
        self.mirrors: dict[int, Mirror] = {}
        self.tapes = Tapes()
        self.functions: dict[int, Callable] = {}
        self.kept = 0  # so many of them outlive the test that runs: ordinary cells lent them
        self.known: weakref.WeakValueDictionary[int, Remote] = weakref.WeakValueDictionary()
        self.state: Tensor | None = None

    def stand_in(self, code: dict) -> Remote:
        """The same stand-in for the same object."""
        found = self.known.get(code["id"])
        if found is None:
            found = self.known[code["id"]] = Remote(self, code)
        return found

    def callback(self, function: Callable) -> int:
        """The number under which student code may call this function."""
        for number, known in self.functions.items():
            if known is function:
                return number
        self.functions[len(self.functions) + 1] = function
        return len(self.functions)

    def call(self, operation: str, *arguments: Any) -> Any:
        """Ask the student's process; raises StudentError for an error there."""
        if self.broken:
            raise Malformed(self.broken)
        if self.gone:
            raise Closed("the student's process is gone")
        request = Request(self)
        self.calls += 1
        message: dict[str, Any] = {"op": operation, "id": self.calls, "a": [request(a) for a in arguments]}
        message["grad"] = torch.is_grad_enabled()
        message["push"] = [[n, request.plain(new)] for n, m in self.mirrors.items() if (new := m.news()) is not None]
        state = torch.get_rng_state()
        if self.state is None or not torch.equal(state, self.state):
            message["rng"] = request.plain(state)
            self.state = state
        message["blob"] = request.blob()
        try:
            self.wire.send(message, request.buffers)
            reply, buffers = self._converse()
            return self._value(reply, buffers, request)
        except Closed:
            self.gone = True
            raise
        except Malformed as error:
            self.broken = str(error)
            raise

    def _converse(self) -> tuple[dict, list]:
        while True:
            reply, buffers = self.wire.recv()
            if type(reply) is not dict:
                raise Malformed("not a reply")
            if "cb" not in reply:
                return reply, buffers
            self._called_back(reply, buffers)

    def _value(self, reply: dict, buffers: list, request: Request) -> Any:
        if "err" in reply:
            error = reply["err"]
            if type(error) is not list or len(error) != 3 or not all(type(part) is str for part in error):
                raise Malformed("bad error")
            self.state = None  # it may have drawn before it failed
            raise student_error(error[0][:80], error[1][:4000], error[2][:400])
        if "ok" not in reply:
            raise Malformed("neither a value nor an error")
        if reply.get("drew") is True:
            torch.rand(1)  # the student drew random numbers: ours must not repeat them
            self.state = None  # nor does the student's generator stand where we had put it
        decoder = Reply(self, buffers, reply, request.leaves)
        value = decoder(reply["ok"])
        for change in reply.get("changed", ()):
            if type(change) is not list or len(change) != 2 or type(change[0]) is not int:
                raise Malformed("bad change")
            self._changed(request.lent[change[0]], decoder(change[1]))
        return value

    @staticmethod
    def _changed(lent: Any, state: Any) -> None:
        """Student code trained a module or stepped an optimiser that the test lent it."""
        what = f"the state of the {type(lent).__name__}"
        if not finite(state):  # a truth computed with it later would be NaN too, and NaN agrees with NaN
            raise student_error("ValueError", f"{what} became NaN or infinite", "")
        try:
            lent.load_state_dict(state)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise student_error("ValueError", f"{what} was replaced: {error}", "") from None

    def _called_back(self, message: dict, buffers: list) -> None:
        encoder = Request(self)
        self.depth += 1
        try:
            if self.depth > CALLBACK_DEPTH:
                raise Malformed("calls back too deeply")
            asked = Asked(self, buffers)
            arguments = [asked(code) for code in message["a"]] if type(message.get("a")) is list else []
            reply: dict[str, Any]
            if message["cb"] == "vjp":
                reply = {"ok": encoder(self.tapes.vjp(message.get("tape"), *arguments))}
            else:
                reply = self._apply(message["cb"], asked, arguments, encoder)
        except (Malformed, Closed):
            raise
        except Exception as error:  # the judge's function refused the student's arguments: the student's code hears it
            encoder = Request(self)
            reply = {"err": [type(error).__name__, str(error)[:500]]}
        finally:
            self.depth -= 1
        self.wire.send(reply, encoder.buffers)

    def _apply(self, number: Any, asked: Asked, arguments: list, encoder: Request) -> dict:
        if number not in self.functions or len(arguments) != 2 or type(arguments[1]) is not dict:
            raise Malformed("no such function")
        function, tape = self.functions[number], None
        with torch.no_grad():
            if asked.leaves:
                with torch.enable_grad():
                    value = function(*arguments[0], **arguments[1])
                tape = self.tapes.keep(value, asked.leaves)
            else:
                value = function(*arguments[0], **arguments[1])
            return {"ok": encoder(value), "tape": tape}

    def names(self, wanted: list[str]) -> dict[str, Any]:
        """What the student's notebook binds these names to; what it does not bind is left out."""
        found = {}
        for name in wanted:
            try:
                found[name] = self.call("name", name)
            except StudentError:
                continue
        return found

    def close(self, test: bool = False) -> None:
        """The cell has ended. What a test lent, student code may call no more."""
        self.tapes = Tapes()
        for number in [n for n in self.functions if test and n > self.kept]:
            self.functions[number] = _expired
        self.kept = len(self.functions)
        if not self.gone and not self.broken:
            try:
                self.wire.send({"op": "bye"})
            except Closed:
                self.gone = True
