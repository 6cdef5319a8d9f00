"""The wire: honest values arrive as they were; what no honest process sends is refused before anything is built."""

import json
import math
import socket
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autograde.grading.sandbox.process import Inbox
from autograde.grading.values import Decoder, vjp
from autograde.grading.wire import Closed, Encoder, Malformed, Unsendable, Wire

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.integers(-9, 9), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


def there(value):
    """The value on the other side of a real socket."""
    a, b = socket.socketpair()
    with a, b:
        encoder = Encoder()
        code = encoder(value)
        Wire(a).send(code, encoder.buffers)
        message, buffers = Wire(b).recv()
        return Decoder(buffers, refuse)(message)


def refuse(tag, *_):
    raise Malformed(tag)


@settings(max_examples=150, deadline=None)
@given(plain)
def test_plain_values_arrive_unchanged(value):
    back = there(value)
    assert back == value and type(back) is type(value)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int64", "uint8", "bool", "complex64", "uint16"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (4, 5)])
def test_tensors_arrive_bit_for_bit(dtype, shape):
    source = torch.arange(math.prod(shape) or 1).reshape(shape if math.prod(shape) else ()).to(getattr(torch, dtype))
    source = source if math.prod(shape) else torch.empty(shape, dtype=getattr(torch, dtype))
    back = there(source)
    assert back.dtype == source.dtype and back.shape == source.shape and torch.equal(back, source)


def test_one_number_out_of_a_column_arrives():
    one = torch.tensor([[1.5, 2.5, 3.5]]).T[1]
    column = torch.tensor([[1.5, 2.5, 3.5]]).expand(4, 3)[:1, 1]
    assert there(one).tolist() == [2.5] and there(column).tolist() == [2.5]
    assert there(tuple(torch.tensor([[1.5, 2.5, 3.5]]).T)[0]).tolist() == [1.5]


def test_other_exact_types():
    assert there(torch.arange(6).reshape(2, 3).T).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert math.isnan(there(float("nan"))) and there(np.float64(0.5)) == 0.5
    assert there(np.arange(3)).dtype == np.int64 and there(torch.Size([2, 3])) == torch.Size([2, 3])
    assert there(slice(1, None, 2)) == slice(1, None, 2) and there(...) is ... and there({1, 2}) == {1, 2}
    generator = torch.Generator().manual_seed(5)
    assert torch.equal(torch.rand(3, generator=there(generator)), torch.rand(3, generator=generator))
    named = torch.ones(2).max(0)
    assert there(named)[0] == 1


def test_a_subclass_arrives_as_a_plain_tensor():
    class Liar(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            if func is torch.Tensor.__eq__:
                return torch.tensor(True)
            return super().__torch_function__(func, types, args, kwargs or {})

    back = there(torch.zeros(2).as_subclass(Liar))
    assert type(back) is torch.Tensor and not (back == 1).any()


TENSOR = {"t": "T", "d": "float32", "s": [2], "i": 0}
BAD = {
    "unknown tag": {"t": "eval", "v": "1"},
    "no tag": {},
    "bare list": [1],
    "long integer": {"t": "int", "v": "f" * 5000},
    "integer beyond JSON's": 1 << 60,
    "object dtype": TENSOR | {"d": "object"},
    "a name of torch's": TENSOR | {"d": "load"},
    "negative shape": TENSOR | {"s": [-2]},
    "shape too large": TENSOR | {"s": [1 << 50]},
    "size and shape differ": TENSOR | {"s": [3]},
    "shape of strings": TENSOR | {"s": ["2"]},
    "no such buffer": TENSOR | {"i": 4},
    "boolean buffer": TENSOR | {"i": True},
    "boolean of 7": {"t": "T", "d": "bool", "s": [8], "i": 1},
    "dunder field": {"t": "nt", "f": ["__class__"], "v": [1]},
    "keyword field": {"t": "nt", "f": ["class"], "v": [1]},
    "float text": {"t": "f", "v": "__import__('os')"},
    "unhashable key": {"t": "d", "v": [[{"t": "l", "v": []}, 1]]},
    "device": {"t": "device", "v": "cpu; rm"},
    "generator state": {"t": "G", "v": TENSOR},
}


@pytest.mark.parametrize("name", BAD)
def test_what_no_honest_process_sends_is_malformed(name):
    with pytest.raises(Malformed):
        Decoder([bytearray(8), bytearray(b"\x07" * 8)], refuse)(BAD[name])


def test_the_same_codes_are_fine_when_they_are_honest():
    """The twin of the test above: the checks do not refuse everything."""
    assert Decoder([bytearray(8)], refuse)(TENSOR).shape == (2,)


def test_depth_and_size_are_capped():
    deep = 1
    for _ in range(60):
        deep = {"t": "l", "v": [deep]}
    with pytest.raises(Malformed, match="too large"):
        Decoder([], refuse)(deep)
    with pytest.raises(Malformed, match="too large"):
        Decoder([], refuse)({"t": "l", "v": [1] * 500_000})
    loop = []
    loop.append(loop)
    with pytest.raises(Unsendable, match="nested"):
        Encoder()(loop)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<I", 0xFFFFFFF0),
        struct.pack("<I", 5) + b"[NaN]",
        struct.pack("<I", 100_000) + b"[" * 100_000,
        struct.pack("<I", 3) + b"[7]",
        struct.pack("<I", 20) + b"[1, [99999999999999]]"[:20],
        struct.pack("<I", 9) + b"[1, [-4]]",
        struct.pack("<I", 4) + b"\xff\xfe\xff\xfe",
    ],
)
def test_hostile_bytes(data):
    a, b = socket.socketpair()
    with a, b:
        a.sendall(data)
        a.close()
        with pytest.raises((Malformed, Closed)):
            Wire(b).recv()


def test_the_instructor_never_blocks_on_half_a_message():
    a, b = socket.socketpair()
    with a, b:
        inbox = Inbox(b)
        assert inbox.read() == []
        text = json.dumps([["done", 1, "ok"], []]).encode()
        a.sendall(struct.pack("<I", len(text)) + text[:5])
        assert inbox.read() == [] and not inbox.closed
        a.sendall(text[5:])
        assert inbox.read() == [(["done", 1, "ok"], [])]
        a.sendall(struct.pack("<I", 0xFFFFFFF0))
        assert inbox.read() == [] and inbox.closed


def test_messages_in_one_piece_or_in_many_arrive_apart():
    """Reading ahead must not lose the beginning of the next message, nor wait for it."""
    a, b = socket.socketpair()
    with a, b:
        far, near = Wire(a), Wire(b)
        sent = [(n, [b"x" * n, b"y"]) for n in (0, 1, 5, 1000, 60_000)]
        for number, buffers in sent:
            far.send(number, buffers)
        assert [near.recv() for _ in sent] == [(n, [bytearray(p) for p in buffers]) for n, buffers in sent]
        whole = b"".join(struct.pack("<I", 6) + b"[%d,[]]" % n for n in range(3))
        assert len(b"[0,[]]") == 6
        for byte in whole[:-1]:
            a.send(bytes([byte]))
        assert [near.recv()[0] for _ in range(2)] == [0, 1]
        a.send(whole[-1:])
        assert near.recv()[0] == 2


def test_vjp_is_autograds_without_its_slow_import():
    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    z = torch.randn(2, dtype=torch.complex128, requires_grad=True)
    unused = torch.randn(2, requires_grad=True)
    outputs = [x.sin() * x.sum(), z**2 * x[0], z.abs().float()]
    vectors = [torch.randn_like(y) for y in outputs]
    got = vjp(outputs, [x, z, unused], vectors)
    want = torch.autograd.grad(outputs, [x, z, unused], vectors, allow_unused=True)
    assert got[2] is None and all(torch.allclose(g, w) for g, w in zip(got[:2], want[:2], strict=True))


def test_neither_gradients_nor_a_failed_check_import_symbolic_shapes():
    """torch imports sympy for them, a second in every process that asks."""
    code = (
        "import sys, torch\nfrom autograde.grading.values import vjp\nfrom coursekit import checks\n"
        "x = torch.ones(50, requires_grad=True); vjp([2 * x], [x], [torch.ones(50)])\n"
        "try: checks.close(torch.ones(50), torch.zeros(50))\n"
        "except checks.CheckFailed: print('sympy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
