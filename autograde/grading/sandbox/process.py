"""One forked process seen from outside: talking without ever blocking on a student, interrupting, ending."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
from typing import Any

from autograde.grading.wire import BUFFERS_MAX, HEADER_MAX, Wire

END_SECONDS = 40
RAW_CHUNK = 1 << 16


class SandboxFailed(RuntimeError):
    """The sandbox itself did not start: nobody's fault but the machine's, and never a grade."""


def remove(folder: str) -> None:
    """Delete a folder of a submission's, however deep it is: Python's own way would recurse."""
    subprocess.run(["rm", "-rf", "--", folder], stderr=subprocess.DEVNULL, check=False)


class Inbox:
    """Messages from a body, put together from whatever has arrived; a claim of length costs nothing.

    Every byte is looked at once, however small the pieces are: what has been understood of a message is kept.
    """

    def __init__(self, sock: socket.socket):
        self.sock, self.data, self.closed = sock, bytearray(), False
        self.received = 0  # bytes so far
        self.head: tuple[Any, list[int]] | None = None  # of a message whose buffers are still on their way

    def read(self) -> list[tuple[Any, list[bytes]]]:
        """The messages that are complete now."""
        try:
            piece = self.sock.recv(1 << 20, socket.MSG_DONTWAIT)
            self.closed = not piece
            self.data += piece
            self.received += len(piece)
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True
        found = []
        while (message := self._next()) is not None:
            found.append(message)
        return found

    def _next(self) -> tuple[Any, list[bytes]] | None:
        if self.head is None and not self._headed():
            return None
        message, sizes = self.head
        if len(self.data) < sum(sizes):
            return None
        at, buffers = 0, []
        for n in sizes:
            buffers.append(bytes(self.data[at : at + n]))
            at += n
        del self.data[:at]
        self.head = None
        return message, buffers

    def _headed(self) -> bool:
        """Take the head of the next message, if it is here and is one."""
        if len(self.data) < 4:
            return False
        (size,) = struct.unpack_from("<I", self.data)
        if size <= HEADER_MAX and len(self.data) < 4 + size:
            return False
        try:
            assert size <= HEADER_MAX
            message, sizes = json.loads(self.data[4 : 4 + size])
            assert len(sizes) <= BUFFERS_MAX and all(type(n) is int and n >= 0 for n in sizes)
            assert sum(sizes) <= HEADER_MAX
        except (ValueError, TypeError, AssertionError, RecursionError):
            self.closed, self.data = True, bytearray()
            return False
        del self.data[: 4 + size]
        self.head = message, sizes
        return True


class Process:
    """One forked process of a submission, seen from outside."""

    def __init__(self, control: socket.socket, raw: int, keeper: socket.socket, scratch: str | None):
        self.wire, self.inbox, self.raw, self.keeper, self.scratch = Wire(control), Inbox(control), raw, keeper, scratch
        control.settimeout(60)
        self.report: dict | None = None
        self.told, self.used = b"", 0.0  # by the keeper, and seconds of a processor that all its processes have used
        self.poll, self.printed = select.poll(), select.poll()
        self.printed.register(raw, select.POLLIN)
        self.open = {control.fileno(), raw, keeper.fileno()}
        for descriptor in self.open:
            self.poll.register(descriptor, select.POLLIN)
        self.control = control

    def send(self, *order: Any, buffers: list = ()) -> None:
        """An order; a body that is gone is noticed when reading."""
        try:
            self.wire.send(list(order), list(buffers))
        except Exception:  # noqa: BLE001  whatever broke the line, the death is seen and explained by `events`
            self.inbox.closed = True

    def events(self, timeout: float) -> list[tuple]:
        """What happened: ("message", m, buffers), ("raw", bytes), ("end", report); raises SandboxFailed."""
        found: list[tuple] = []
        for descriptor, _ in self.poll.poll(max(0, timeout) * 1000):
            if descriptor == self.control.fileno():
                found += [("message", *message) for message in self.inbox.read()]
                if self.inbox.closed:
                    self._forget(descriptor)
            elif descriptor == self.keeper.fileno():
                self.report = self._read_report(socket.MSG_DONTWAIT)
                if self.report is None:
                    continue
                self._forget(descriptor)
                if str(self.report.get("why", "")).startswith("sandbox: "):
                    raise SandboxFailed(self.report["why"])
                found.append(("end", self.report))
        return self._printed() + found

    def _printed(self) -> list[tuple]:
        """Raw output that has arrived: read last and told first, for a cell says that it ended after it has written."""
        if self.raw not in self.open or not self.printed.poll(0):
            return []
        data = os.read(self.raw, RAW_CHUNK)
        if not data:
            self._forget(self.raw)
        return [("raw", data)] if data else []

    def _forget(self, descriptor: int) -> None:
        if descriptor in self.open:
            self.open.discard(descriptor)
            self.poll.unregister(descriptor)

    def _read_report(self, flags: int) -> dict | None:
        """How it ended, or None for now; until then the keeper tells what was used."""
        try:
            data = self.keeper.recv(1 << 16, flags)
            self.told += data
            *lines, self.told = self.told.split(b"\n")
            for line in map(json.loads, lines):
                if "used" not in line:
                    return line
                self.used = max(self.used, line["used"])
            return None if data else {"code": None}
        except BlockingIOError:
            return None
        except (OSError, ValueError):
            return {"code": None}

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the code that runs there."""
        try:
            self.keeper.send(b"i")
        except OSError:
            pass

    def end(self) -> dict:
        """Kill it and everything it started; returns when nothing is left."""
        if self.report is None:
            try:
                self.keeper.send(b"k")
                self.keeper.settimeout(END_SECONDS)
                while self.report is None:
                    self.report = self._read_report(0)
            except OSError:
                self.report = {"code": None}
        for thing in (self.control, self.keeper):
            thing.close()
        if self.raw >= 0:
            os.close(self.raw)
            self.raw = -1
        if self.scratch:
            remove(self.scratch)
            self.scratch = None
        return self.report


def ready(bodies: list[Process], timeout: float) -> None:
    """Wait until one of them has something to say."""
    poll = select.poll()
    for body in bodies:
        for descriptor in body.open:
            poll.register(descriptor, select.POLLIN)
    poll.poll(timeout * 1000)
