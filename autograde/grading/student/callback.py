"""A function of the judge's, as the student's code sees it: callable, and differentiable once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autograde.grading.values import Decoder
from autograde.grading.wire import Encoder

if TYPE_CHECKING:
    from autograde.grading.student.serve import Desk


class _Arguments(Encoder):
    """Encodes what student code passes to a judge's function."""

    def __init__(self, desk: Desk):
        super().__init__()
        self.desk, self.leaves = desk, []

    def tensor(self, tensor: Tensor) -> dict:
        code = self.plain(tensor)
        if tensor.requires_grad and torch.is_grad_enabled():
            self.leaves.append(tensor)
            code["g"] = True
        return code

    def refer(self, value: Any) -> dict:
        return {"t": "h", "id": self.desk.number(value), "c": type(value).__name__[:80], "b": [], "n": "", "s": None}


class _Call(torch.autograd.Function):
    """The value of a judge's function; its gradient is asked for when it is needed."""

    @staticmethod
    def forward(ctx: Any, desk: Desk, tape: int, value: Tensor, *_: Tensor) -> Tensor:
        ctx.desk, ctx.tape = desk, tape
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        encoder = Encoder()
        message = {"cb": "vjp", "tape": ctx.tape, "a": [encoder(grad.detach())]}
        reply, buffers = ctx.desk.ask(message, encoder.buffers)
        if "err" in reply:
            raise RuntimeError(reply["err"][1])
        return (None, None, None, *Decoder(buffers, lambda *_: None)(reply["ok"]))


class Callback:
    """Stands for a function that lives in the judge."""

    def __init__(self, desk: Desk, number: int, name: str):
        self.desk, self.number, self.__name__ = desk, number, name

    def __call__(self, *args: Any, **options: Any) -> Any:
        """The judge's function, by value."""
        encoder = _Arguments(self.desk)
        message = {"cb": self.number, "a": [encoder(list(args)), encoder(options)]}
        reply, buffers = self.desk.ask(message, encoder.buffers)
        if "err" in reply:
            raise RuntimeError(f"{reply['err'][0]}: {reply['err'][1]}")
        value = Decoder(buffers, self._handle)(reply["ok"])
        if reply.get("tape") is not None and isinstance(value, Tensor):
            return _Call.apply(self.desk, reply["tape"], value, *encoder.leaves)
        return value

    def _handle(self, tag: str, code: dict, _: list) -> Any:
        if tag == "h":
            return self.desk.objects[code["id"]]
        return Callback(self.desk, code["id"], code["n"])

    def __repr__(self) -> str:
        return f"<function {self.__name__} of the test>"
