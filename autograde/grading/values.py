"""From the wire to values: the judge's line of defence.

A student's process chooses values, never types, code or sizes beyond the caps: the result is plain Python, exact
``torch.Tensor`` and ``numpy`` values, and whatever ``resolve`` makes of a handle.
"""

from __future__ import annotations

import collections
import keyword
import math
import re
from collections.abc import Callable
from typing import Any

from autograde.grading.wire import DEPTH_MAX, DIGITS_MAX, DIMS_MAX, DTYPES, FIELD, NODES_MAX, Malformed

Resolve = Callable[[str, dict, list], Any]


class Decoder:
    """One message's values. ``resolve(tag, code, buffers)`` makes something of the other tags."""

    def __init__(self, buffers: list[bytearray], resolve: Resolve):
        self.buffers, self.resolve, self.nodes = buffers, resolve, 0

    def __call__(self, code: Any, depth: int = 0) -> Any:
        """The value; raises Malformed for anything that ``encode`` does not write."""
        self.nodes += 1
        if depth > DEPTH_MAX + 2 or self.nodes > 2 * NODES_MAX:
            raise Malformed("too large a value")
        if code is None or type(code) in (bool, str):
            return code
        if type(code) is int:
            if abs(code) >= 1 << 53:
                raise Malformed("a long integer in JSON")
            return code
        if type(code) is not dict:
            raise Malformed(f"a bare {type(code).__name__}")
        build = getattr(self, f"_{_TAGS.get(code.get('t'), 'other')}")
        try:
            return build(code, depth + 1)
        except (KeyError, IndexError, ValueError, TypeError, OverflowError, RuntimeError, AttributeError) as error:
            raise Malformed(f"bad {str(code.get('t'))[:20]!r}: {type(error).__name__}") from None

    def _other(self, code: dict, _: int) -> Any:
        return self.resolve(str(code["t"])[:20], code, self.buffers)

    def _float(self, code: dict, _: int) -> float:
        if len(code["v"]) > 40:
            raise Malformed("a long float")
        return float.fromhex(code["v"])

    def _int(self, code: dict, _: int) -> int:
        if len(code["v"]) > DIGITS_MAX + 1:
            raise Malformed("a long integer")
        return int(code["v"], 16)

    def _items(self, code: dict, depth: int) -> list:
        if type(code["v"]) is not list:
            raise Malformed("not a list")
        return [self(v, depth) for v in code["v"]]

    def _tuple(self, code: dict, depth: int) -> tuple:
        return tuple(self._items(code, depth))

    def _set(self, code: dict, depth: int) -> set:
        return set(self._items(code, depth))

    def _frozen(self, code: dict, depth: int) -> frozenset:
        return frozenset(self._items(code, depth))

    def _dict(self, code: dict, depth: int) -> dict:
        return {self(k, depth): self(v, depth) for k, v in code["v"]}

    def _complex(self, code: dict, depth: int) -> complex:
        return complex(*self._items(code, depth))

    def _slice(self, code: dict, depth: int) -> slice:
        return slice(*self._items(code, depth))

    def _range(self, code: dict, depth: int) -> range:
        return range(*self._items(code, depth))

    def _ellipsis(self, *_: Any) -> Any:
        return ...

    def _bytes(self, code: dict, _: int) -> bytes:
        return bytes(self._buffer(code["i"]))

    def _named(self, code: dict, depth: int) -> tuple:
        names = code["f"]
        if len(names) > 30 or len(set(names)) != len(names):
            raise Malformed("bad field names")
        if not all(type(n) is str and FIELD.fullmatch(n) and not keyword.iskeyword(n) for n in names):
            raise Malformed("bad field names")
        return collections.namedtuple("Answer", names)(*self._items(code, depth))

    def _size(self, code: dict, _: int) -> Any:
        import torch

        return torch.Size(self._shape(code["v"]))

    def _dtype(self, code: dict, _: int) -> Any:
        import torch

        if code["v"] not in DTYPES:
            raise Malformed("bad dtype")
        return getattr(torch, code["v"])

    def _device(self, code: dict, _: int) -> Any:
        import torch

        if not re.fullmatch(r"(cpu|cuda|meta|mps)(:\d{1,2})?", code["v"]):
            raise Malformed("bad device")
        return torch.device(code["v"])

    def _generator(self, code: dict, depth: int) -> Any:
        import torch

        generator = torch.Generator()
        generator.set_state(self(code["v"], depth))
        return generator

    def _array(self, code: dict, depth: int) -> Any:
        return self(code["v"], depth).detach().numpy()

    def _scalar(self, code: dict, depth: int) -> Any:
        return self(code["v"], depth).detach().numpy()[()]

    def _buffer(self, index: Any) -> bytearray:
        if type(index) is not int or not 0 <= index < len(self.buffers):
            raise Malformed("no such buffer")
        return self.buffers[index]

    @staticmethod
    def _shape(shape: Any) -> list[int]:
        if type(shape) is not list or len(shape) > DIMS_MAX:
            raise Malformed("bad shape")
        for n in shape:
            if type(n) is not int or not 0 <= n < 1 << 40:
                raise Malformed("bad shape")
        return shape

    def _tensor(self, code: dict, _: int) -> Any:
        import numpy
        import torch

        name, shape, data = code["d"], self._shape(code["s"]), self._buffer(code["i"])
        if name not in DTYPES:
            raise Malformed("bad dtype")
        dtype = numpy.dtype("int16" if name == "bfloat16" else name)
        if math.prod(shape) * dtype.itemsize != len(data):
            raise Malformed("a tensor's size and shape differ")
        if name == "bool" and data and max(data) > 1:
            raise Malformed("a bool that is neither 0 nor 1")
        tensor = torch.from_numpy(numpy.ndarray(shape, dtype, data))
        return tensor.view(torch.bfloat16) if name == "bfloat16" else tensor


_TAGS = {
    "f": "float",
    "int": "int",
    "l": "items",
    "t": "tuple",
    "nt": "named",
    "set": "set",
    "fs": "frozen",
    "d": "dict",
    "c": "complex",
    "slice": "slice",
    "range": "range",
    "...": "ellipsis",
    "b": "bytes",
    "size": "size",
    "dtype": "dtype",
    "device": "device",
    "G": "generator",
    "N": "array",
    "n": "scalar",
    "T": "tensor",
}


def vjp(outputs: list, inputs: list, grads: list) -> list:
    """The vector-Jacobian product; None where nothing depends on an input.

    Given the vectors, ``torch.autograd.grad`` would first import its symbolic shapes, a second in every process.
    """
    import torch

    with torch.enable_grad():
        total = sum((y * g.conj()).real.sum() for y, g in zip(outputs, grads, strict=True))
    return list(torch.autograd.grad(total, inputs, retain_graph=True, allow_unused=True))
