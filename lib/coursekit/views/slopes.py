"""Derivatives of what an answer returned, entry by entry, and its shape."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from coursekit.checks import Wrong
from coursekit.checks.asking import gradient, weights

__all__ = ["expect", "leaf", "slopes"]


def expect(value: Any, shape: tuple[int, ...], reminder: str = "") -> Tensor:
    """The value, if it is a tensor of this shape; raises ``Wrong`` with both shapes and the reminder otherwise."""
    shape, more = tuple(shape), f": {reminder}" if reminder else ""
    if not isinstance(value, Tensor):
        kind = "None" if value is None else f"an object of type {type(value).__name__}"
        raise Wrong(f"{kind} came back, not a tensor of shape {shape}{more}")
    if tuple(value.shape) != shape:
        raise Wrong(f"the shape is {tuple(value.shape)}, not {shape}{more}")
    return value


def leaf(value: Tensor) -> Tensor:
    """A copy of the value in which a derivative can be taken."""
    return value.detach().clone().requires_grad_()


def slopes(value: Tensor, x: Tensor) -> Tensor:
    """d value_i / d x_i for each entry i of the first dimension, with the rest of x's dimensions kept.

    Where another entry of ``value`` depends on x_i as well, its share comes in with an odd weight: no number that is
    expected of separate entries comes out. 0 where nothing depends on x.
    """
    w = weights(value.numel(), value.dtype).reshape(value.shape)
    return gradient(value, x) / w.reshape((*value.shape, *[1] * (x.ndim - value.ndim)))
