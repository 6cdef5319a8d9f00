"""Warm parents and the bodies they fork: starting, talking without ever blocking on a student, ending."""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from typing import Any

from autograde.errors import Refusal
from autograde.grading.instructor import sandbox
from autograde.grading.instructor.sandbox import JAILED, NAMESPACED, Limits
from autograde.grading.wire import HEADER_MAX, Wire

READY_SECONDS = 180
END_SECONDS = 40
RAW_CHUNK = 1 << 16
_users = itertools.count(int.from_bytes(os.urandom(2), "little"))


class SandboxFailed(RuntimeError):
    """The sandbox itself did not start: nobody's fault but the machine's, and never a grade."""


class Inbox:
    """Messages from a body, put together from whatever has arrived; a claim of length costs nothing."""

    def __init__(self, sock: socket.socket):
        self.sock, self.data, self.closed = sock, bytearray(), False

    def read(self) -> list[tuple[Any, list[bytes]]]:
        """The messages that are complete now."""
        try:
            piece = self.sock.recv(1 << 20, socket.MSG_DONTWAIT)
            self.closed = not piece
            self.data += piece
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True
        found = []
        while (message := self._next()) is not None:
            found.append(message)
        return found

    def _next(self) -> tuple[Any, list[bytes]] | None:
        if len(self.data) < 4:
            return None
        (size,) = struct.unpack_from("<I", self.data)
        if size > HEADER_MAX:
            self.closed, self.data = True, bytearray()
            return None
        if len(self.data) < 4 + size:
            return None
        try:
            message, sizes = json.loads(self.data[4 : 4 + size])
            total = sum(sizes)
            assert all(type(n) is int and n >= 0 for n in sizes) and total <= HEADER_MAX
        except (ValueError, TypeError, AssertionError, RecursionError):
            self.closed, self.data = True, bytearray()
            return None
        if len(self.data) < 4 + size + total:
            return None
        at, buffers = 4 + size, []
        for n in sizes:
            buffers.append(bytes(self.data[at : at + n]))
            at += n
        del self.data[:at]
        return message, buffers


class Body:
    """One forked process of a submission, seen from outside."""

    def __init__(self, control: socket.socket, raw: int, keeper: socket.socket, scratch: str | None):
        self.wire, self.inbox, self.raw, self.keeper, self.scratch = Wire(control), Inbox(control), raw, keeper, scratch
        control.settimeout(60)
        self.report: dict | None = None
        self.poll = select.poll()
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
        """What happened: ("message", m, buffers), ("raw", bytes), ("end", report)."""
        found: list[tuple] = []
        for descriptor, _ in self.poll.poll(max(0, timeout) * 1000):
            if descriptor == self.control.fileno():
                found += [("message", *message) for message in self.inbox.read()]
                if self.inbox.closed:
                    self._forget(descriptor)
            elif descriptor == self.raw:
                data = os.read(self.raw, RAW_CHUNK)
                found += [("raw", data)] if data else []
                if not data:
                    self._forget(descriptor)
            else:
                self.report = self._read_report()
                self._forget(descriptor)
                found.append(("end", self.report))
        return found

    def _forget(self, descriptor: int) -> None:
        if descriptor in self.open:
            self.open.discard(descriptor)
            self.poll.unregister(descriptor)

    def _read_report(self) -> dict:
        try:
            data = self.keeper.recv(4096, socket.MSG_DONTWAIT)
            return json.loads(data) if data else {"code": None}
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
                data = self.keeper.recv(4096)
                self.report = json.loads(data) if data else {"code": None}
            except (OSError, ValueError):
                self.report = {"code": None}
        for thing in (self.control, self.keeper):
            thing.close()
        if self.raw >= 0:
            os.close(self.raw)
            self.raw = -1
        if self.scratch:
            shutil.rmtree(self.scratch, ignore_errors=True)
            self.scratch = None
        return self.report


class Zygote:
    """One warm parent in its sandbox."""

    def __init__(self, role: str, modules: list[str], limits: Limits, withheld: list[str], run: str, level: int):
        self.role, self.limits, self.run, self.level = role, limits, run, level
        self.lock, self.numbers, self.ready = threading.Lock(), itertools.count(), False
        if self.level > JAILED:
            raise Refusal(sandbox.ADVICE[sandbox.NONE])
        parts = ["inside", "student"] + (["judge"] if role == "judge" else [])
        roles = {"student": "autograde.grading.student.serve", "judge": "autograde.grading.judge.main"}
        library = str(sandbox.library()) if sandbox.library() else None
        config = {"role": roles[role], "modules": modules, "withheld": withheld, "library": library}
        program = [sys.executable, "-P", "-m", "autograde.grading.inside.zygote", json.dumps(config)]
        if self.level == NAMESPACED:
            program = [*sandbox.bubblewrap(parts), "--", *program]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            program, stdin=theirs, stdout=self.errors, stderr=self.errors, env=sandbox.environment(), cwd="/"
        )
        theirs.close()
        self.line = ours

    def wait(self) -> None:
        """Until it is warm; several can warm up at the same time."""
        with self.lock:
            if self.ready:
                return
            self.line.settimeout(READY_SECONDS)
            try:
                answer = json.loads(self.line.recv(4096) or b"{}")
            except (TimeoutError, ValueError, OSError):
                answer = {}
            if not answer.get("ready"):
                self.errors.seek(0)
                said = self.errors.read()[-2000:].decode(errors="replace")
                raise SandboxFailed(f"the sandbox for the {self.role} did not start {answer}: {said}")
            self.ready = True

    def fork(self, peer: socket.socket) -> Body:
        """A new body; ``peer`` is its end of the line between judge and student."""
        self.wait()
        control, theirs = socket.socketpair()
        keeper, its = socket.socketpair()
        raw, raw_in = os.pipe()
        uid = 200_000 + next(_users) % 100_000 if os.geteuid() == 0 else None
        scratch, number = "/tmp", next(self.numbers)
        if self.level != NAMESPACED:
            scratch = os.path.join(self.run, f"{self.role}-{number}")
            os.mkdir(scratch, 0o700)
            if uid is not None:
                os.chown(scratch, uid, uid)
        request = self._request(scratch, uid)
        passed = [theirs.fileno(), peer.fileno(), raw_in, its.fileno()]
        with self.lock:
            try:
                socket.send_fds(self.line, [json.dumps(request).encode()], passed)
            except OSError as error:
                raise SandboxFailed(f"the sandbox for the {self.role} is gone: {error}") from None
        theirs.close()
        its.close()
        os.close(raw_in)
        return Body(control, raw, keeper, scratch if self.level != NAMESPACED else None)

    def _request(self, scratch: str, uid: int | None) -> dict:
        private = self.level == NAMESPACED
        limits = self.limits
        rules = {
            "read": sandbox.readable(self.level),
            "write": [scratch, *sandbox.DEVICES, *(["/dev/shm"] if private else [])],
            "uid": uid,
            "see_through": uid is not None and not private and sandbox.closed_to_others(),
            "memory": limits.memory,
            "seconds": int(limits.total) + 60,
            "processes": limits.processes,
            "confined": private,
        }
        return {
            "namespaces": private,
            "scratch": scratch,
            "folders": [scratch],
            "memory": limits.memory,
            "disk": limits.disk,
            "processes": limits.processes,
            "rules": rules,
        }

    def close(self) -> None:
        """End it; its bodies end with it."""
        self.line.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()


class Pool:
    """The two warm parents of a grading run, and their working folder."""

    def __init__(self, modules: list[str], library: list[str], limits: Limits, level: int | None = None):
        self.limits = limits
        level = level or sandbox.tier()
        self.run = tempfile.mkdtemp(prefix="autograde-")
        os.chmod(self.run, 0o711)
        self.student = Zygote("student", modules, limits, library, self.run, level)
        self.judge = Zygote("judge", modules, limits, [], self.run, level)

    def pair(self) -> tuple[Body, Body]:
        """A student and a judge, joined by a line of their own."""
        ours, theirs = socket.socketpair()
        try:
            student = self.student.fork(ours)
            try:
                return student, self.judge.fork(theirs)
            except BaseException:
                student.end()
                raise
        finally:
            ours.close()
            theirs.close()

    def close(self) -> None:
        """Leave no process, file or mount."""
        self.student.close()
        self.judge.close()
        shutil.rmtree(self.run, ignore_errors=True)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def ready(bodies: list[Body], timeout: float) -> None:
    """Wait until one of them has something to say."""
    poll = select.poll()
    for body in bodies:
        for descriptor in body.open:
            poll.register(descriptor, select.POLLIN)
    poll.poll(timeout * 1000)
