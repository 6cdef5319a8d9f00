"""A function of the judge's, as the student's code sees it: callable, differentiable once, under torch.func too.

Under ``torch.func``'s transforms (``grad``, ``jacrev``, ``vmap``, ``jvp``) tensors have no bytes of their own:
there the call goes through ``Lent``, which torch hands plain tensors, one sample of a batch after another.
"""

from __future__ import annotations

from collections.abc import Callable as Function
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as trees

from autograde.grading.values import Decoder
from autograde.grading.wire import Encoder

if TYPE_CHECKING:
    from autograde.grading.student.serve import Desk

NO_TAPE = "a test's function can be differentiated only where it returns one tensor, and only once"


class _Arguments(Encoder):
    """Encodes what student code passes to a judge's function."""

    def __init__(self, desk: Desk, every: bool = False):
        super().__init__()
        self.desk, self.every, self.leaves = desk, every, []

    def tensor(self, tensor: Tensor) -> dict:
        code = self.plain(tensor)
        if (tensor.requires_grad and torch.is_grad_enabled()) or (self.every and tensor.is_floating_point()):
            self.leaves.append(tensor)
            code["g"] = True
        return code

    def refer(self, value: Any) -> dict:
        return {"t": "h", "id": self.desk.number(value), "c": type(value).__name__[:80], "b": [], "n": "", "s": None}


def _each(info: Any, in_dims: tuple, values: tuple, work: Function[..., tuple]) -> tuple[tuple, tuple]:
    """``vmap`` for what only one sample at a time can be asked of."""

    def sample(i: int) -> list:
        return [v if d is None else v.select(d, i) for v, d in zip(values, in_dims, strict=True)]

    rows = [work(*sample(i)) for i in range(info.batch_size)]
    return tuple(map(torch.stack, zip(*rows, strict=True))), (0,) * len(rows[0])


class _Derivative(torch.autograd.Function):
    """The judge's ``vjp`` or ``jvp`` of one call, ``tape``, at the first ``count`` tensors.

    The others are where the call was made: so torch knows that it depends on them, and that there is no second
    derivative is said instead of taken for zero.
    """

    @staticmethod
    def forward(kind: str, desk: Desk, count: int, tape: Tensor, *tensors: Tensor) -> tuple:
        if tape.item() < 0:
            raise RuntimeError(NO_TAPE)
        encoder = Encoder()
        message = {"cb": kind, "tape": tape.item(), "a": [encoder(v.detach()) for v in tensors[:count]]}
        reply, buffers = desk.ask(message, encoder.buffers)
        if "err" in reply:
            raise RuntimeError(reply["err"][1])
        return tuple(Decoder(buffers, lambda *_: None)(reply["ok"]))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(*_: Any) -> tuple:
        raise RuntimeError(NO_TAPE)

    @staticmethod
    def jvp(*_: Any) -> tuple:
        raise RuntimeError(NO_TAPE)

    @staticmethod
    def vmap(info: Any, in_dims: tuple, kind: str, desk: Desk, count: int, *values: Tensor) -> tuple:
        return _each(info, in_dims[3:], values, lambda *v: _Derivative.apply(kind, desk, count, *v))


class _Call(torch.autograd.Function):
    """The value of a judge's function; its gradient is asked for when it is needed."""

    @staticmethod
    def forward(ctx: Any, desk: Desk, tape: int, value: Tensor, *leaves: Tensor) -> Tensor:
        # not saved: the judge keeps what the derivative needs, so student code may go on and write into its own tensor
        ctx.desk, ctx.tape, ctx.leaves = desk, tape, leaves
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        return (
            None,
            None,
            None,
            *_Derivative.apply("vjp", ctx.desk, 1, torch.tensor(ctx.tape), grad, *ctx.leaves),
        )


class _Asking:
    """One call under a transform: how its tensors go back into its arguments, and what became of the result's shape."""

    def __init__(self, function: Callback, args: tuple, options: dict):
        self.function = function
        self.values, self.spec = trees.tree_flatten((args, options))
        self.places = [i for i, v in enumerate(self.values) if isinstance(v, Tensor)]
        self.tensors = [self.values[i] for i in self.places]
        self.floating = [t.is_floating_point() for t in self.tensors]
        self.out: Any = None

    def __call__(self, tensors: tuple) -> tuple:
        """(tape, the result's tensors), from plain tensors."""
        values = list(self.values)
        for place, tensor in zip(self.places, tensors, strict=True):
            values[place] = tensor
        args, options = trees.tree_unflatten(values, self.spec)
        result, tape, _ = self.function.ask(args, options, every=True)
        found, spec = trees.tree_flatten(result)
        if not all(isinstance(v, Tensor) for v in found):
            raise RuntimeError("under torch.func a test's function must return tensors")
        self.out = spec
        return torch.tensor(-1 if tape is None else tape), *found


class Lent(torch.autograd.Function):
    """A judge's function under ``torch.func``. The number of its tape is an output: each sample has its own."""

    @staticmethod
    def forward(asking: _Asking, *tensors: Tensor) -> tuple:
        """Ask the judge."""
        return asking(tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        """Keep what a derivative needs."""
        ctx.asking, ctx.tape, ctx.primals = inputs[0], output[0], inputs[1:]
        ctx.mark_non_differentiable(output[0])

    @staticmethod
    def backward(ctx: Any, _: Tensor, *grads: Tensor) -> tuple:
        """One vector-Jacobian product."""
        if len(grads) != 1:
            raise RuntimeError(NO_TAPE)
        found = iter(_Derivative.apply("vjp", ctx.asking.function.desk, 1, ctx.tape, *grads, *ctx.primals))
        return None, *(next(found) if floating else None for floating in ctx.asking.floating)

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Tensor | None) -> tuple:
        """One Jacobian-vector product."""
        pairs = zip(ctx.primals, tangents, ctx.asking.floating, strict=True)
        vectors = [torch.zeros_like(p) if t is None else t for p, t, floating in pairs if floating]
        desk, count = ctx.asking.function.desk, len(vectors)
        return None, *_Derivative.apply("jvp", desk, count, ctx.tape, *vectors, *ctx.primals)

    @staticmethod
    def vmap(info: Any, in_dims: tuple, asking: _Asking, *tensors: Tensor) -> tuple:
        """One sample after another."""
        return _each(info, in_dims[1:], tensors, lambda *sample: Lent.apply(asking, *sample))


class Callback:
    """Stands for a function that lives in the judge."""

    def __init__(self, desk: Desk, number: int, name: str):
        self.desk, self.number, self.__name__ = desk, number, name

    def __call__(self, *args: Any, **options: Any) -> Any:
        """The judge's function, by value."""
        if torch._C._are_functorch_transforms_active():
            asking = _Asking(self, args, options)
            _, *found = Lent.apply(asking, *asking.tensors)
            return trees.tree_unflatten(found, asking.out)
        value, tape, leaves = self.ask(args, options)
        return value if tape is None or not isinstance(value, Tensor) else _Call.apply(self.desk, tape, value, *leaves)

    def ask(self, args: tuple, options: dict, every: bool = False) -> tuple[Any, int | None, list[Tensor]]:
        """(value, number of its tape, tensors it can be differentiated by); ``every``: by all that are floating."""
        encoder = _Arguments(self.desk, every)
        message = {"cb": self.number, "a": [encoder(list(args)), encoder(options)]}
        reply, buffers = self.desk.ask(message, encoder.buffers)
        if "err" in reply:
            raise RuntimeError(f"{reply['err'][0]}: {reply['err'][1]}")
        return Decoder(buffers, self._handle)(reply["ok"]), reply.get("tape"), encoder.leaves

    def _handle(self, tag: str, code: dict, _: list) -> Any:
        if tag == "h":
            return self.desk.objects[code["id"]]
        return Callback(self.desk, code["id"], code["n"])

    def __repr__(self) -> str:
        return f"<function {self.__name__} of the test>"
