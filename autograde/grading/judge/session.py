"""The judge's line to one student process."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from autograde.grading.judge.gradients import Mirror, Tapes, finite
from autograde.grading.judge.messages import Asked, Reply, Request
from autograde.grading.judge.remote import Remote, StudentError, stand_in, student_error
from autograde.grading.wire import Closed, Malformed, Wire

CALLBACK_DEPTH = 20
TOLD_MAX = 200  # characters of an exception: enough to understand it, too few to carry a hidden test's numbers away


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
        self.double = False  # the student's notebook computes in double precision where nothing else is said

    def stand_in(self, code: dict) -> Remote:
        """The same stand-in for the same object."""
        found = self.known.get(code["id"])
        if found is None:
            found = self.known[code["id"]] = stand_in(self, code)
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
            raise student_error(error[0][:80], error[1][:TOLD_MAX], error[2][:TOLD_MAX])
        if "ok" not in reply:
            raise Malformed("neither a value nor an error")
        if reply.get("drew") is True:
            torch.rand(1)  # the student drew random numbers: ours must not repeat them
            self.state = None  # nor does the student's generator stand where we had put it
        self.double = reply.get("double") is True
        for number in reply.get("written", ()):
            if type(number) is not int:
                raise Malformed("bad note of a write")
            if number in request.tensors:  # an array of numpy's cannot be marked
                request.tensors[number].written_by_answer = True  # the test's own data stay as they are
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
            elif message["cb"] == "jvp":
                reply = {"ok": encoder(self.tapes.jvp(message.get("tape"), arguments))}
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
