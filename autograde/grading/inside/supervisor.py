"""The supervisor of one submission where there are no namespaces: a bound on all that it uses, and a clean end.

The keeper is the nearest subreaper: what the body leaves behind becomes its child, and is killed until nothing is left.
Where namespaces are to be had, the kernel does that, and ``warden`` the rest.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from autograde.grading.inside.namespaces import die_with_parent
from autograde.grading.inside.usage import descendants, excess, processor, used_disk

PR_SET_CHILD_SUBREAPER = 36
TICK = 0.1  # seconds between looks at what is used

libc = ctypes.CDLL(None, use_errno=True)


def begin(trouble: int, body: Callable[[int], None]) -> NoReturn:
    """Be the body, in a fresh child. Until it closes ``trouble``, an error goes there: no student made it."""
    try:
        body(trouble)
    except BaseException as error:  # the reason must reach the instructor: this process has no other voice
        text = f"{type(error).__name__}: {error}"[:500].encode()
        try:
            os.write(trouble, text)
        except OSError:
            os.write(2, text + b"\n")
        os._exit(70)
    os._exit(0)


def ended(code: int | None, seconds: float, config: dict, trouble: int, why: str | None) -> dict:
    """The report of a body's end: its exit code, and why where it is known."""
    os.set_blocking(trouble, False)
    with os.fdopen(trouble, "rb") as pipe:
        text = (pipe.read() or b"").decode(errors="replace")
    if text:
        why = f"sandbox: {text}"
    elif why is None and code == -signal.SIGKILL and seconds >= config["rules"]["seconds"] - 1:
        why = "time"  # the limit of jail.py
    return {"code": code} | ({"why": why} if why else {})


class Supervisor:
    """Watches one submission until it ends, is told to end it, or its owner is gone."""

    def __init__(self, owner: socket.socket, config: dict, body: Callable[[int], None]):
        self.owner, self.config, self.body = owner, config, body
        self.child, self.trouble, self.why = 0, -1, None

    def start(self) -> None:
        """Fork the body."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it would raise here; the body's own comes by `_obey`
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.trouble, trouble = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            self.owner.close()
            die_with_parent()
            begin(trouble, self.body)
        os.close(trouble)
        for descriptor in self.config["fds"]:
            os.close(descriptor)

    def watch(self) -> dict:
        """Until the end; says how it ended."""
        waker, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        poll.register(self.owner, select.POLLIN)
        poll.register(waker, select.POLLIN)
        looked = 0.0
        while True:
            report = self._ended()
            if report is not None:
                return report
            for descriptor, _ in poll.poll(TICK * 1000):
                if descriptor == waker:
                    os.read(waker, 64)
                elif not self._obey():
                    self._end("stopped")
            if time.monotonic() - looked > TICK and self.why is None:
                looked = time.monotonic()
                if why := self._excess():
                    self._end(why)

    def _end(self, why: str) -> None:
        self.why = self.why or why
        self.kill()

    def _ended(self) -> dict | None:
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return ended(None, 0.0, self.config, self.trouble, self.why)
            if pid == self.child:
                self.kill()
                code = os.waitstatus_to_exitcode(status)
                return ended(code, used.ru_utime + used.ru_stime, self.config, self.trouble, self.why)
            if pid == 0:
                return None

    def _obey(self) -> bool:
        try:
            order = self.owner.recv(1)
        except OSError:
            return False
        if order == b"i":
            os.kill(self.child, signal.SIGINT)
        return order == b"i"

    def _excess(self) -> str | None:
        pids = list(descendants(os.getpid()))
        tell(self.owner, {"used": processor(pids)})
        why = excess(pids, self.config)
        return why or ("disk" if used_disk(self.config["folders"], pids) > self.config["disk"] else None)

    def kill(self) -> None:
        """End every process of the submission; returns when the kernel has none left."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if not self._strike():
                return
            self._reap()

    def _strike(self) -> bool:
        """Kill all there are; whether there were any."""
        struck = False
        for pid in list(descendants(os.getpid())):
            try:
                os.kill(pid, signal.SIGKILL)
                struck = True
            except ProcessLookupError:
                continue
        return struck

    def _reap(self) -> None:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        time.sleep(0.002)


def tell(owner: socket.socket, report: dict) -> None:
    """One line to whoever is still listening: the processor time ``used`` so far, or at last how it ended."""
    try:
        owner.send(json.dumps(report).encode() + b"\n", socket.MSG_DONTWAIT)
    except OSError:
        pass


def keep(owner: socket.socket, config: dict, body: Callable[[int], None]) -> None:
    """The keeper's whole life, in a process of its own."""
    keeper = Supervisor(owner, config, body)
    try:
        keeper.start()
        report = keeper.watch()
    except OSError as error:
        report = {"code": None, "why": f"sandbox: {error}"}
    tell(owner, report)
    sys.stdout = None
    os._exit(0)
