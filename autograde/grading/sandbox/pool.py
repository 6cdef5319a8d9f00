"""Warm parents in their sandboxes: starting them, having them fork, ending them."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from typing import Any

from autograde.errors import Refusal
from autograde.grading.sandbox import tiers
from autograde.grading.sandbox.process import Process, SandboxFailed, remove
from autograde.grading.sandbox.tiers import JAILED, NAMESPACED, Limits

READY_SECONDS = 180
_users = itertools.count(int.from_bytes(os.urandom(2), "little"))


class Pool:
    """The warm parent of a grading run, in its sandbox, and a working folder.

    It starts to warm up at once; ``configure`` tells it the chapter. Each body that it forks gets namespaces, a user,
    a Landlock domain and limits of its own: the two of a submission share nothing but the line between them.
    """

    def __init__(self, level: int | None = None, trust: bool = False):
        self.level = level or tiers.tier()
        if self.level > JAILED and not trust:
            raise Refusal(tiers.ADVICE[tiers.NONE])
        self.lock, self.numbers, self.ready, self.limits = threading.Lock(), itertools.count(), False, Limits()
        self.learned: set[str] = set()
        self.pinned: dict[int, int] = {}
        self.run = tempfile.mkdtemp(prefix="autograde-")
        os.chmod(self.run, 0o711)
        program = [sys.executable, "-P", "-m", "autograde.grading.inside.zygote"]
        if self.level == NAMESPACED:
            program = [*tiers.bubblewrap(["inside", "student", "judge"]), "--", *program]
        self.line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            program, stdin=theirs, stdout=self.errors, stderr=self.errors, env=tiers.environment(), cwd="/"
        )
        theirs.close()

    def configure(self, modules: list[str], withheld: list[str], limits: Limits) -> Pool:
        """What the chapter imports, and which of the library's answers students must not reach."""
        self.limits = limits
        about = {"modules": modules, "withheld": withheld, "libraries": list(map(str, tiers.libraries()))}
        try:
            self.line.send(json.dumps(about).encode())
        except OSError:  # it has ended already; `wait` says why
            pass
        return self

    def wait(self) -> None:
        """Until it is warm."""
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
                raise SandboxFailed(f"the sandbox did not start {answer}: {said}")
            self.ready = True

    def learn(self, modules: list[str]) -> None:
        """Have these imported before the next fork, once."""
        new = [name for name in modules if name not in self.learned]
        self.learned |= set(new)
        if new:
            self.wait()
            with self.lock:
                for start in range(0, len(new), 500):  # one datagram holds no more than the socket's buffer
                    self.line.send(json.dumps({"import": new[start : start + 500]}).encode())

    def take(self) -> int | None:
        """The processor for the next pair: the one that fewest of ours use. The two of a pair take turns, hundreds
        of times a second, and on one processor a turn costs a quarter of what it costs between two."""
        if not self.pinned:
            return None
        with self.lock:
            cpu = min(self.pinned, key=lambda c: self.pinned[c])
            self.pinned[cpu] += 1
            return cpu

    def give(self, cpu: int | None) -> None:
        """A pair has ended."""
        if cpu is not None:
            with self.lock:
                self.pinned[cpu] -= 1

    def fork(self, role: str, peer: socket.socket, cpu: int | None = None) -> Process:
        """A new body; ``peer`` is its end of the line between judge and student."""
        self.wait()
        control, theirs = socket.socketpair()
        keeper, its = socket.socketpair()
        raw, raw_in = os.pipe()
        uid = 200_000 + next(_users) % 100_000 if os.geteuid() == 0 else None
        scratch, number = "/tmp", next(self.numbers)
        if self.level != NAMESPACED:
            scratch = os.path.join(self.run, f"{role}-{number}")
            os.mkdir(scratch, 0o700)
            if uid is not None:
                os.chown(scratch, uid, uid)
        request = self._request(scratch, uid) | {"role": role, "cpu": cpu}
        passed = [theirs.fileno(), peer.fileno(), raw_in, its.fileno()]
        with self.lock:
            try:
                socket.send_fds(self.line, [json.dumps(request).encode()], passed)
            except OSError as error:
                raise SandboxFailed(f"the sandbox is gone: {error}") from None
        theirs.close()
        its.close()
        os.close(raw_in)
        return Process(control, raw, keeper, scratch if self.level != NAMESPACED else None)

    def _request(self, scratch: str, uid: int | None) -> dict:
        private = self.level == NAMESPACED
        limits = self.limits
        read, listed = tiers.readable(self.level)
        rules = {
            "read": read,
            "list_only": listed,
            "write": [scratch, *tiers.DEVICES, *(["/dev/shm"] if private else [])],
            "uid": uid,
            "see_through": uid is not None and not private and tiers.closed_to_others(),
            "memory": limits.memory,
            "seconds": int(limits.total) + 60,
            "processes": limits.processes,
            "confined": private,
            "trusted": self.level > JAILED,
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

    def pair(self, cpu: int | None = None) -> tuple[Process, Process]:
        """A student and a judge, joined by a line of their own, both on this processor."""
        ours, theirs = socket.socketpair()
        try:
            student = self.fork("student", ours, cpu)
            try:
                return student, self.fork("judge", theirs, cpu)
            except BaseException:
                student.end()
                raise
        finally:
            ours.close()
            theirs.close()

    def close(self) -> None:
        """Leave no process, file or mount. Closing twice does nothing."""
        if self.errors.closed:
            return
        self.line.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()
        remove(self.run)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
