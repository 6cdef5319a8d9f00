"""Gradients through the wire: results that differentiate, parameters that can be trained, callbacks of the judge.

A result of student code arrives as a value; the graph behind it stays with the student. Differentiating the value
asks for a vector-Jacobian product there. It is a claim like every other answer: the test compares it with the truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autograde.grading.values import vjp
from autograde.grading.wire import Malformed

if TYPE_CHECKING:
    from autograde.grading.judge.session import Session


class Result(torch.autograd.Function):
    """Values of one call, differentiable with respect to its tensor arguments and to the mirrored parameters."""

    @staticmethod
    def forward(ctx: Any, session: Session, graph: int, count: int, mirrors: list[int], values: list, *leaves: Tensor):
        """The values, unchanged."""
        ctx.session, ctx.graph, ctx.count, ctx.mirrors = session, graph, count, mirrors
        ctx.shapes = [(leaf.shape, leaf.dtype) for leaf in leaves]
        return tuple(values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple:
        """The student's vector-Jacobian product, checked for form."""
        found = ctx.session.call("vjp", ctx.graph, [g.detach() for g in grads], ctx.mirrors)
        if type(found) is not list or len(found) != ctx.count + len(ctx.mirrors):
            raise Malformed("a gradient for each argument")
        found += [None] * (len(ctx.shapes) - len(found))
        for grad, (shape, dtype) in zip(found, ctx.shapes, strict=True):
            if grad is not None and not (type(grad) is Tensor and grad.shape == shape and grad.dtype == dtype):
                raise Malformed("a gradient of another shape than its argument")
        return (None, None, None, None, None, *found)


def attach(session: Session, graph: int, values: list[Tensor], leaves: list[Tensor]) -> list[Tensor]:
    """The values of one call, connected to what they were computed from."""
    floating = all(v.is_floating_point() or v.is_complex() for v in values)
    if not floating:
        raise Malformed("a graph behind integers")
    mirrors = [(number, m.tensor) for number, m in session.mirrors.items() if m.tensor.requires_grad]
    inputs = [*leaves, *(tensor for _, tensor in mirrors)]
    if not any(t.requires_grad for t in inputs):
        inputs.append(torch.zeros((), requires_grad=True))
    with torch.enable_grad():
        out = Result.apply(session, graph, len(leaves), [number for number, _ in mirrors], values, *inputs)
    return list(out)


class Mirror:
    """The judge's copy of one of the student's parameters: always the same object, kept equal both ways."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor.clone().requires_grad_()
        self.sent = tensor.clone()

    def update(self, tensor: Tensor) -> Tensor:
        """The student's side has this value now."""
        if tensor.shape != self.tensor.shape or tensor.dtype != self.tensor.dtype:
            self.tensor, self.sent = tensor.clone().requires_grad_(), tensor.clone()
        elif not torch.equal(tensor, self.sent):
            self.tensor.data.copy_(tensor)
            self.sent = tensor.clone()
        return self.tensor

    def news(self) -> Tensor | None:
        """The value, where the judge changed it since."""
        if torch.equal(self.tensor.data, self.sent):
            return None
        self.sent = self.tensor.data.clone()
        return self.sent


class Tapes:
    """Calls of judge functions by student code whose gradient may be asked for."""

    def __init__(self) -> None:
        self.calls: dict[int, tuple[Tensor, list[Tensor]]] = {}

    def keep(self, value: Any, leaves: list[Tensor]) -> int | None:
        """Remember one differentiable call; its number."""
        if not (isinstance(value, Tensor) and value.requires_grad and leaves):
            return None
        self.calls[len(self.calls) + 1] = (value, leaves)
        return len(self.calls)

    def vjp(self, tape: Any, grad: Any) -> list:
        """The gradient of a kept call for student code."""
        if tape not in self.calls or type(grad) is not Tensor:
            raise Malformed("no such call")
        value, leaves = self.calls[tape]
        if grad.shape != value.shape or grad.dtype != value.dtype:
            raise Malformed("a gradient of another shape")
        found = vjp([value], leaves, [grad])
        return [torch.zeros_like(leaf).detach() if g is None else g for g, leaf in zip(found, leaves, strict=True)]

    def jvp(self, tape: Any, tangents: list) -> list:
        """The derivative of a kept call along these tangents, by differentiating its gradient twice."""
        if tape not in self.calls:
            raise Malformed("no such call")
        value, leaves = self.calls[tape]
        for tangent, leaf in zip(tangents, leaves, strict=True):
            if type(tangent) is not Tensor or tangent.shape != leaf.shape or tangent.dtype != leaf.dtype:
                raise Malformed("a tangent of another shape")
        with torch.enable_grad():
            vector = torch.zeros_like(value, requires_grad=True)
            found = torch.autograd.grad(value, leaves, vector, create_graph=True, allow_unused=True)
            pairs = [(g, t) for g, t in zip(found, tangents, strict=True) if g is not None and g.requires_grad]
            if not pairs:
                return [torch.zeros_like(value).detach()]
            gradients, along = zip(*pairs, strict=True)
            (out,) = torch.autograd.grad(gradients, vector, along, allow_unused=True)
        return [torch.zeros_like(value).detach() if out is None else out.detach()]


def finite(state: Any) -> bool:
    """Whether no tensor in a state holds NaN or infinity."""
    if isinstance(state, Tensor):
        return bool(state.isfinite().all())
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else ()
    return all(map(finite, parts))
