"""The wire between judge and student: length-prefixed JSON and raw tensor bytes, checked before anything is built.

Both sides import this module. ``values.Decoder`` builds values from what ``encode`` writes.
"""

from __future__ import annotations

import functools
import json
import re
import socket
import struct
from collections.abc import Callable
from typing import Any

HEADER_MAX = 16 << 20  # bytes of JSON in one message
TENSORS_MAX = 256 << 20  # bytes of tensors in one message
DEPTH_MAX = 32  # nesting of lists and dicts
BUFFERS_MAX = 10_000
NODES_MAX = 200_000  # values in one message; whoever receives allows twice as many
DIGITS_MAX = 4_000  # hexadecimal digits of an integer
DIMS_MAX = 24
FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,60}")  # of a named tuple
READ = 1 << 16  # bytes asked for at least: a short message arrives in one system call
DTYPES = frozenset(
    "float32 float64 float16 bfloat16 complex64 complex128 bool "
    "int64 int32 int16 int8 uint8 uint16 uint32 uint64".split()
)


class Malformed(Exception):
    """The other side sent what no honest one sends."""


class Closed(Exception):
    """The other side is gone."""


class Unsendable(TypeError):
    """A value that cannot cross; the message says what to write instead."""


def _refuse_constant(name: str) -> None:
    raise Malformed(f"{name} in JSON")


_TO_JSON = json.JSONEncoder(separators=(",", ":")).encode  # made once: json.dumps would make one for each message
_FROM_JSON = json.JSONDecoder(parse_constant=_refuse_constant).decode


class Wire:
    """Messages over a connected stream socket."""

    def __init__(self, sock: socket.socket):
        self.sock, self.ahead = sock, bytearray()  # ahead: read already, of the next message

    def send(self, message: Any, buffers: list = ()) -> None:
        """One message: a JSON value and its byte buffers."""
        sizes = [len(b) for b in buffers]
        head = _TO_JSON([message, sizes]).encode()
        if len(head) > HEADER_MAX or sum(sizes) > TENSORS_MAX or len(sizes) > BUFFERS_MAX:
            raise Unsendable(f"a value of {(len(head) + sum(sizes)) >> 20} MB is too large to pass")
        try:
            pieces = [struct.pack("<I", len(head)) + head, *buffers]
            for piece in [b"".join(pieces)] if sum(sizes) <= READ else pieces:
                self.sock.sendall(piece)
        except (BrokenPipeError, ConnectionError) as error:
            raise Closed(str(error)) from None

    def recv(self) -> tuple[Any, list[bytearray]]:
        """The next message; raises Closed at the end and Malformed on anything unexpected."""
        (size,) = struct.unpack("<I", self._exactly(4))
        if size > HEADER_MAX:
            raise Malformed(f"a header of {size} bytes")
        try:
            message, sizes = _FROM_JSON(self._exactly(size).decode())
        except (ValueError, TypeError, RecursionError) as error:
            raise Malformed(f"not a message: {type(error).__name__}") from None
        if type(sizes) is not list or len(sizes) > BUFFERS_MAX or not all(type(n) is int and n >= 0 for n in sizes):
            raise Malformed("bad buffer sizes")
        if sum(sizes) > TENSORS_MAX:
            raise Malformed(f"{sum(sizes) >> 20} MB of tensors in one message")
        return message, [self._exactly(n) for n in sizes]

    def _exactly(self, count: int) -> bytearray:
        data = self.ahead[:count]  # grows with what really arrives: a claimed size costs nothing
        del self.ahead[:count]
        while missing := count - len(data):
            try:
                piece = self.sock.recv(min(max(missing, READ), 1 << 20))
            except ConnectionError as error:
                raise Closed(str(error)) from None
            if not piece:
                raise Closed("end of stream")
            data += piece[:missing]
            self.ahead += piece[missing:]
        return data


# ------------------------------------------------------------------------------------------------ values to JSON


@functools.cache
def _named(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def tensor_bytes(tensor: Any) -> bytes:
    """The raw bytes of a dense CPU copy."""
    import torch

    dense = tensor.detach()
    if type(dense) is not torch.Tensor:
        dense = dense.as_subclass(torch.Tensor)
    dense = dense.cpu().resolve_conj().resolve_neg()
    if dense.dtype is torch.bfloat16:  # which numpy does not know
        dense = dense.view(torch.int16)
    if dense.dtype is torch.bool:  # whatever byte stands for True
        dense = dense.contiguous().view(torch.uint8).ne(0)
    return dense.numpy().tobytes()


class Encoder:
    """Turns the values of one message into JSON and ``buffers``; ``refer`` is asked about what is no plain value."""

    def __init__(self) -> None:
        self.buffers: list = []
        self.nodes = 0

    def __call__(self, value: Any, depth: int = 0) -> Any:
        """JSON for a value."""
        import numpy
        import torch

        self.nodes += 1
        if self.nodes > NODES_MAX:
            raise Unsendable(f"more than {NODES_MAX} values in lists cannot pass: return a tensor")
        kind = type(value)
        if value is None or kind in (bool, str):
            return value
        if kind is int:
            return value if abs(value) < 1 << 53 else _long(value)
        if kind is float:
            return {"t": "f", "v": value.hex()}
        if isinstance(value, torch.Tensor):
            return self.tensor(value)
        if depth > DEPTH_MAX:
            raise Unsendable("the value is nested too deeply to pass")

        def inner(v: Any) -> Any:
            return self(v, depth + 1)

        if kind in _SIMPLE:
            return _SIMPLE[kind](value, inner)
        if isinstance(value, (numpy.ndarray, numpy.generic)) and value.dtype.kind in "biufc":
            tag = "N" if isinstance(value, numpy.ndarray) else "n"
            return {"t": tag, "v": self.plain(torch.from_numpy(numpy.array(value)))}
        if isinstance(value, torch.Size):
            return {"t": "size", "v": list(value)}
        if isinstance(value, tuple) and all(map(FIELD.fullmatch, map(str, getattr(value, "_fields", ("",))))):
            return {"t": "nt", "f": [str(f) for f in value._fields], "v": [inner(v) for v in value]}
        for base in (list, tuple, set, frozenset, dict):
            if isinstance(value, base):
                return _SIMPLE[base](value, inner)
        if isinstance(value, str):  # numpy.str_, or a class of the author's
            return str.__str__(value)
        if isinstance(value, int):  # a member of an IntEnum
            return self(int.__int__(value), depth)
        if kind is torch.dtype and str(value).removeprefix("torch.") not in DTYPES:
            raise Unsendable(f"{value} cannot pass")
        if kind in (torch.dtype, torch.device):
            return {"t": kind.__name__, "v": str(value).removeprefix("torch.")}
        if kind in (bytes, bytearray):
            return {"t": "b", "i": self.keep(bytes(value))}
        if isinstance(value, torch.Generator):
            return {"t": "G", "v": self.plain(value.get_state())}
        return self.refer(value)

    def keep(self, data: Any) -> int:
        """The number of a new buffer."""
        self.buffers.append(data)
        return len(self.buffers) - 1

    def plain(self, tensor: Any) -> dict:
        """A dense tensor by value, without its graph."""
        dtype = _named(tensor.dtype)
        if tensor.ndim > DIMS_MAX:
            raise Unsendable(f"a tensor of {tensor.ndim} dimensions cannot pass; {DIMS_MAX} is the limit")
        if tensor.is_sparse or tensor.is_meta or dtype not in DTYPES or str(tensor.layout) != "torch.strided":
            raise Unsendable(
                f"a {tensor.layout} tensor of {tensor.dtype} on {tensor.device} cannot pass: make it dense"
            )
        return {"t": "T", "d": dtype, "s": list(tensor.shape), "i": self.keep(tensor_bytes(tensor))}

    def tensor(self, tensor: Any) -> dict:
        """A tensor; the two sides add what they must know about gradients."""
        return self.plain(tensor)

    def refer(self, value: Any) -> dict:
        """JSON for anything else."""
        raise Unsendable(f"a {type(value).__name__} cannot pass")


def _long(value: int) -> dict:
    if value.bit_length() > 4 * DIGITS_MAX:
        raise Unsendable(f"an integer of {value.bit_length()} bits cannot pass")
    return {"t": "int", "v": f"{value:x}"}


def _items(tag: str) -> Callable:
    return lambda values, inner: {"t": tag, "v": [inner(v) for v in values]}


_SIMPLE = {
    list: _items("l"),
    tuple: _items("t"),
    set: _items("set"),
    frozenset: _items("fs"),
    dict: lambda v, inner: {"t": "d", "v": [[inner(k), inner(x)] for k, x in v.items()]},
    complex: lambda v, inner: {"t": "c", "v": [inner(v.real), inner(v.imag)]},
    slice: lambda v, inner: {"t": "slice", "v": [inner(x) for x in (v.start, v.stop, v.step)]},
    range: lambda v, inner: {"t": "range", "v": [inner(x) for x in (v.start, v.stop, v.step)]},
    type(...): lambda *_: {"t": "..."},
}
