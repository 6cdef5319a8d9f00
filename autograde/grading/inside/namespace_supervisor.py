"""Supervises every body that is pid 1 of namespaces of its own, from the warm parent that forked it.

A fork of a process full of torch takes a hundredth of a second, and so does its end: one body, one fork, and the parent
itself listens to the instructor, bounds what each submission uses, and tells how it ended. Killing a body takes with it
all that it started and wrote: the kernel lets nobody reap pid 1 before the rest of its namespace is gone.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from autograde.grading.inside import namespaces, supervisor, usage
from autograde.grading.inside.supervisor import TICK, begin, ended, tell


@dataclass
class Ward:
    """One body: its process, the line to its owner, what it may use, and a pipe that says why it could not begin."""

    pid: int
    owner: socket.socket
    config: dict
    trouble: int
    why: str | None = None


class NamespaceSupervisor:
    """All bodies of one warm parent. ``requests`` is the parent's own line, which ``wait`` watches too."""

    def __init__(self, requests: socket.socket):
        self.requests, self.wards, self.looked = requests, {}, 0.0
        self.lines: dict[int, Ward] = {}
        self.waker, wake = os.pipe()
        for end in (self.waker, wake):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self.poll = select.poll()
        for descriptor in (self.requests.fileno(), self.waker):
            self.poll.register(descriptor, select.POLLIN)

    def fork(self, owner: socket.socket, config: dict, body: Callable[[int], None]) -> None:
        """A new body in namespaces of its own; in the child this never returns."""
        reader, writer = os.pipe()
        try:
            pid = namespaces.fork()
        except OSError as error:
            tell(owner, {"code": None, "why": f"sandbox: {error}"})
            for end in (reader, writer):
                os.close(end)
            return
        if pid == 0:
            self._forget()
            begin(writer, lambda trouble: (namespaces.furnish(config["disk"], config["ids"]), body(trouble)))
        os.close(writer)
        ward = self.wards[pid] = Ward(pid, owner, config, reader)
        self.lines[owner.fileno()] = ward
        self.poll.register(owner, select.POLLIN)

    def keep(self, owner: socket.socket, config: dict, body: Callable[[int], None]) -> None:
        """Where there are no namespaces: a supervisor, and the body as its child."""
        try:
            pid = os.fork()
        except OSError as error:
            tell(owner, {"code": None, "why": f"sandbox: {error}"})
            return
        if pid == 0:
            self._forget()
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            self.requests.close()
            supervisor.keep(owner, config, body)
        owner.close()

    @staticmethod
    def _forget() -> None:
        """In a child: nothing of the parent's way with signals."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # until the body listens
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)

    def wait(self) -> None:
        """Until there is a request; meanwhile look after the bodies."""
        while True:
            ready = [d for d, _ in self.poll.poll(TICK * 1000 if self.wards else None)]
            self._reap()
            for descriptor in ready:
                if descriptor == self.waker:
                    os.read(self.waker, 4096)
                elif descriptor in self.lines:
                    self._obey(self.lines[descriptor])
            if time.monotonic() - self.looked > TICK and self.wards:
                self._look()
                self.looked = time.monotonic()
            if self.requests.fileno() in ready:
                return

    def _obey(self, ward: Ward) -> None:
        """Interrupt the code that runs there; any other word, or none because the owner is gone, is its end."""
        try:
            order = ward.owner.recv(1)
        except OSError:
            order = b""
        if order == b"i":
            os.kill(ward.pid, signal.SIGINT)
        else:
            self._end(ward, "stopped")

    def _end(self, ward: Ward, why: str) -> None:
        if ward.why is None:
            ward.why = why
            os.kill(ward.pid, signal.SIGKILL)  # not reaped yet, so the number is still its own
            self.poll.unregister(ward.owner)

    def _look(self) -> None:
        parents = usage.families()
        for ward in self.wards.values():
            if ward.why is None:
                pids = [ward.pid, *usage.descendants(ward.pid, parents)]
                why = usage.excess(pids, ward.config)
                if why:
                    self._end(ward, why)
                else:
                    tell(ward.owner, {"used": usage.processor(pids)})

    def _reap(self) -> None:
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ward = self.wards.pop(pid, None)
            if ward is not None:
                self._ended(ward, os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime)

    def _ended(self, ward: Ward, code: int, seconds: float) -> None:
        if ward.why is None:
            self.poll.unregister(ward.owner)
        report = ended(code, seconds, ward.config, ward.trouble, ward.why)
        del self.lines[ward.owner.fileno()]
        tell(ward.owner, report)
        ward.owner.close()
