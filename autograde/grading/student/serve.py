"""Answers the judge: look up a name, call it, differentiate it. Values cross; objects stay here behind numbers."""

from __future__ import annotations

import collections
import copy
import importlib
import inspect
import pickle
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from autograde.grading.inside import reach
from autograde.grading.student import setting
from autograde.grading.student.callback import Callback
from autograde.grading.values import Decoder, vjp
from autograde.grading.wire import Closed, Encoder, Unsendable, Wire, tensor_bytes

GRAPHS_MAX = 256  # results whose gradient may still be asked for
TEXT_MAX = 2_000
BASES = ("torch.nn.", "torch.distributions.", "torch.optim.", "torch.utils.data.")


class Answer(Encoder):
    """Encodes a result: parameters by their number, other tensors with a graph as outputs of this call."""

    def __init__(self, desk: Desk, leaves: list[Tensor]):
        super().__init__()
        self.desk, self.leaves, self.outputs, self.codes = desk, leaves, [], []

    def tensor(self, tensor: Tensor) -> dict:
        """By value, and how to ask for its gradient."""
        if not tensor.requires_grad:
            return self.plain(tensor)
        if tensor.is_leaf and tensor.is_floating_point() and not any(tensor is leaf for leaf in self.leaves):
            return self.plain(tensor) | {"p": self.desk.number(tensor)}
        for i, output in enumerate(self.outputs):
            if output is tensor:
                return {"t": "out", "i": i}
        self.outputs.append(tensor)
        self.codes.append(self.plain(tensor))
        return {"t": "out", "i": len(self.outputs) - 1}

    def refer(self, value: Any) -> dict:
        """A handle, with what the judge needs to show and to use it."""
        kind = type(value)
        bases = [f"{c.__module__}.{c.__qualname__}" for c in kind.__mro__ if f"{c.__module__}.".startswith(BASES)]
        name = getattr(value, "__name__", "")
        return {
            "t": "h",
            "id": self.desk.number(value),
            "c": kind.__name__[:80],
            "b": bases[:8],
            "n": name[:80] if isinstance(name, str) else "",
            "s": signature(value),
            "k": callable(value),
        }


def signature(value: Any) -> list | None:
    """The parameters of a function as [name, kind, has a default], so that tests may look at them."""
    try:
        found = inspect.signature(value).parameters.values()
        return [[p.name[:80], int(p.kind), p.default is not p.empty] for p in list(found)[:30]]
    except (TypeError, ValueError, AttributeError):
        return None


class Question(Decoder):
    """Decodes the judge's arguments: tensors that want a gradient become leaves here."""

    def __init__(self, desk: Desk, message: dict, buffers: list):
        super().__init__(buffers, self._made)
        self.desk, self.leaves, self.lent = desk, [], []
        blob = message.get("blob")
        self.values = pickle.loads(buffers[blob]) if blob is not None else []
        self.before = [state_of(v) for v in self.values]

    def _tensor(self, code: dict, depth: int) -> Tensor:
        if "p" in code:
            return self.desk.objects[code["p"]]
        tensor = super()._tensor(code, depth).clone()
        self.lent.append((code, tensor))
        if code.get("g"):
            tensor.requires_grad_()
            self.leaves.append(tensor)
        return torch.nn.Parameter(tensor, tensor.requires_grad) if code.get("k") else tensor

    def written(self) -> list[int]:
        """Numbers of the buffers whose tensors no longer are what arrived."""
        return [c["i"] for c, t in self.lent if list(t.shape) != c["s"] or tensor_bytes(t) != self.buffers[c["i"]]]

    def _made(self, tag: str, code: dict, _: list) -> Any:
        if tag == "h":
            return self.desk.objects[code["id"]]
        if tag == "val":
            return self.values[code["i"]]
        if tag == "ref":
            found: Any = importlib.import_module(code["m"])
            for part in code["q"].split("."):
                found = getattr(found, part)
            return found
        return Callback(self.desk, code["id"], code["n"])


def state_of(value: Any) -> Any:
    """A copy of the state of a module or optimiser that the judge lent us, to see later what changed."""
    if isinstance(value, (torch.nn.Module, torch.optim.Optimizer)):
        return copy.deepcopy(value.state_dict())
    return None


def same(a: Any, b: Any) -> bool:
    """Equality of two states."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


class Desk:
    """Everything the judge may ask of one student's namespace."""

    def __init__(self, wire: Wire, namespace: dict):
        self.wire, self.namespace = wire, namespace
        self.objects: dict[int, Any] = {}
        self.numbers: dict[int, int] = {}
        self.graphs: collections.OrderedDict[int, tuple] = collections.OrderedDict()
        self.working = lambda _: None  # told while student code runs: only then may an interrupt strike
        self.operations: dict[str, Callable] = {
            "name": lambda name: self.namespace[name],
            "get": getattr,
            "set": setattr,
            "call": lambda f, args, options: f(*args, **options),
            "item": lambda thing, key: thing[key],
            "setitem": lambda thing, key, value: thing.__setitem__(key, value),
            "has": lambda thing, key: bool(key in thing),
            "len": len,
            "iter": self._iterate,
            "next": self._next,
            "instance": lambda thing, kind: bool(isinstance(thing, kind)),
            "copy": copy.deepcopy,
            "vjp": self._vjp,
            "enter": lambda thing: thing.__enter__(),
            "exit": lambda thing: bool(thing.__exit__(None, None, None)),
        }

    def number(self, value: Any) -> int:
        """The handle of an object, the same one every time."""
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.objects) + 1
            self.objects[len(self.objects) + 1] = value
        return self.numbers[id(value)]

    @staticmethod
    def _iterate(thing: Any) -> Iterator:
        return iter(thing)

    @staticmethod
    def _next(iterator: Iterator) -> list:
        for value in iterator:
            return [value]
        return []

    def _vjp(self, graph: int, grads: list, parameters: list[int]) -> list:
        if graph not in self.graphs:
            raise RuntimeError("this result is too old to be differentiated: call backward sooner")
        outputs, leaves = self.graphs[graph]
        wanted = [*leaves, *(self.objects[p] for p in parameters)]
        return [None if g is None else g.detach() for g in vjp(outputs, wanted, grads)]

    def answer(self, message: dict, buffers: list) -> None:
        """Carry out one request and reply, whatever happens in it."""
        try:
            reply, out = self._carry_out(message, buffers)
            self.wire.send(reply, out)
        except Closed:
            raise
        except BaseException as error:  # student code may raise anything, SystemExit included: it is an answer
            self.wire.send({"err": describe(error)})

    def _carry_out(self, message: dict, buffers: list) -> tuple[dict, list]:
        for number, code in message.get("push", ()):
            with torch.no_grad():
                self.objects[number].copy_(Decoder(buffers, lambda *_: None)(code))
        question = Question(self, message, buffers)
        arguments = [question(code) for code in message["a"]]
        drawn = message.get("rng")
        if drawn is not None:
            torch.set_rng_state(Decoder(buffers, lambda *_: None)(drawn))
        before = torch.get_rng_state()
        with torch.set_grad_enabled(message.get("grad", True)):
            self.working(True)
            try:
                value = self.operations[message["op"]](*arguments)
            finally:
                self.working(False)
        encoder = Answer(self, question.leaves)
        reply = {"ok": encoder(value), "out": encoder.codes, "drew": not torch.equal(before, torch.get_rng_state())}
        if encoder.outputs:
            reply["graph"] = message["id"]
            self.graphs[message["id"]] = (encoder.outputs, question.leaves)
            while len(self.graphs) > GRAPHS_MAX:
                self.graphs.popitem(last=False)
        changed = []
        for i, (lent, old) in enumerate(zip(question.values, question.before, strict=True)):
            if old is not None and not same(old, lent.state_dict()):
                state = Encoder()
                state.buffers = encoder.buffers
                changed.append([i, state(lent.state_dict())])
        told = {"changed": changed, "written": question.written(), "double": torch.get_default_dtype() is torch.float64}
        return reply | {key: what for key, what in told.items() if what}, encoder.buffers

    def ask(self, message: dict, buffers: list) -> tuple[dict, list]:
        """Call back a function of the judge's, answering what it asks meanwhile."""
        self.wire.send(message, buffers)
        while True:
            reply, buffers = self.wire.recv()
            if "op" not in reply:
                return reply, buffers
            self.answer(reply, buffers)

    def serve(self) -> None:
        """Until the judge says that its cell has ended."""
        while True:
            message, buffers = self.wire.recv()
            if message["op"] == "bye":
                self.graphs.clear()
                return
            self.answer(message, buffers)


def describe(error: BaseException) -> list[str]:
    """Type, message and the student's own line, as text."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  the student's exception may fail to print itself
        text = ""
    if isinstance(error, Unsendable):
        text = f"{text} (the value that your function returned)"
    where = ""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if "ipykernel" in frame.filename or frame.filename.startswith("<ipython-input"):
            where = f"line {frame.lineno}: {frame.line or ''}".strip()
            break
    return [type(error).__name__[:80], text[:TEXT_MAX], where[:300]]


def enter(line: Any, peer: Any) -> None:
    """The student body: cells of the notebook, and the judge's questions in between."""
    from autograde.grading.inside.executor import Executor

    setting.furnish()
    executor = Executor(Wire(line))
    desk = Desk(Wire(peer), executor.shell.user_ns)
    desk.working = executor.interruptible

    def serve(cell: Any) -> None:
        executor.shell.outputs.cell = cell
        desk.serve()
        executor.finish(cell, "served")

    def restore(cell: Any, dotted: list[str], still: list[str], counts: list[int]) -> None:
        codes = iter(executor.buffers)
        for name, count in zip(dotted, counts, strict=True):
            reach.restore(name, [bytes(next(codes)) for _ in range(count)], still)
        executor.finish(cell, "ok")

    executor.orders |= {"serve": serve, "restore": restore}
    sys.setrecursionlimit(3000)
    executor.loop()
