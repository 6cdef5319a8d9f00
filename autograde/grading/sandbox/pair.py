"""One submission's pair of processes, and the two ways to wait for them without ever trusting the student's."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from autograde.grading.sandbox import outputs as out
from autograde.grading.sandbox.pool import Pool
from autograde.grading.sandbox.process import Process, ready
from autograde.grading.sandbox.tiers import Limits

TICK = 0.05
IN_JSON = 8  # so many bytes of a message may stand for one of output: escapes, and what no page shows


class JudgeFailed(RuntimeError):
    """The judge itself ended or hung without the student's doing: no grade, and a person must look."""


class Pair:
    """Cells sent to the pair, one at a time, and what came back."""

    def __init__(self, pool: Pool, limits: Limits):
        self.pool, self.limits = pool, limits
        self.student: Process | None = None
        self.judge: Process | None = None
        self.report: dict | None = None
        self.cpu: int | None = None
        self.count, self.started = 0, time.monotonic()

    def open(self, files: dict[str, bytes]) -> None:
        """Fork a fresh pair and lay out the submission's files."""
        self.cpu = self.pool.take()
        self.student, self.judge = self.pool.pair(self.cpu)
        self.report = None
        if files:
            names = list(files)
            self.student.send("files", self.next(), names, buffers=[files[n] for n in names])
            self.wait(self.student, self.count, 30, None)

    def close(self) -> None:
        """End both; ``report`` keeps how the student's process ended."""
        if self.student:
            self.report = self.student.end()
        if self.judge:
            self.judge.end()
        self.student = self.judge = None
        self.pool.give(self.cpu)
        self.cpu = None

    def next(self) -> int:
        """A number for the next order."""
        self.count += 1
        return self.count

    def left(self) -> float:
        """Seconds of the submission's budget."""
        return self.limits.total - (time.monotonic() - self.started)

    def used(self) -> float:
        """Seconds of a processor that the pair has used so far, as far as is known."""
        return sum(body.used for body in (self.student, self.judge) if body)

    def clock(self, seconds: float) -> Callable[[], bool]:
        """Says whether more than these seconds of processor time, or ``wide`` times as many on the wall, are over."""
        start, before = time.monotonic(), self.used()
        wall = min(self.limits.wide * seconds, max(1.0, self.left()))
        return lambda: self.used() - before > seconds or time.monotonic() - start > wall

    def collector(self) -> out.Collector:
        """For the outputs of one cell."""
        return out.Collector(self.limits.output, self.limits.flood)

    def _flooded(self, body: Process, before: int, into: out.Collector | None) -> bool:
        """Far too much came from this body: shown, or not even shown."""
        return (into is not None and into.flooded) or body.inbox.received - before > IN_JSON * self.limits.flood

    def wait(self, body: Process, cell: int, seconds: float, into: out.Collector | None) -> str:
        """Until the body reports the end of ``cell``. Interrupts what runs too long, then kills it."""
        status, asked = "", 0.0
        over, before = self.clock(seconds), body.inbox.received
        while True:
            for event in body.events(TICK):
                if event[0] == "end":
                    return status or "died"
                if event[0] == "raw" and into is not None:
                    into.raw(event[1])
                if event[0] == "message":
                    ended = self._message(event[1], cell, into)
                    if ended:
                        return status or ended
            now = time.monotonic()
            if not status and self._flooded(body, before, into):
                status, asked = "flood", now
                body.interrupt()
            if not status and over():
                status, asked = "timeout", now
                body.interrupt()
            if asked and now - asked > self.limits.grace:
                return "killed" if status == "timeout" else status + "-killed"

    @staticmethod
    def _message(message: Any, cell: int, into: out.Collector | None) -> str:
        if not isinstance(message, list) or len(message) < 3 or message[1] != cell or not isinstance(message[0], str):
            return ""
        if message[0] in ("done", "codes"):
            return str(message[2]) if message[0] == "done" else "ok"
        if into is not None:
            into.take([message[0], *message[2:]])
        return ""

    def judged(self, code: str, names: list[str], seconds: float, muted: bool) -> tuple[str, list[dict], list[dict]]:
        """Run a cell in the judge while the student answers: (status, judge's outputs, student's outputs)."""
        student, judge = self.student, self.judge
        cell = self.next()
        said, told = self.collector(), self.collector()
        student.send("serve", cell)
        judge.send("cell", cell, code, names, muted)
        over, asked, status, before = self.clock(seconds), 0.0, "", student.inbox.received
        served = ended = False
        gone = False
        while not (ended and (served or gone)):
            ready([judge] if gone else [judge, student], TICK)
            for event in judge.events(0):
                if event[0] == "end":
                    raise JudgeFailed(f"the judge ended: {event[1]}")
                if event[0] == "message" and (how := self._message(event[1], cell, told)):
                    status, ended = status or how, True
            for event in () if gone else student.events(0):
                if event[0] == "end":
                    gone = True
                elif event[0] == "raw":
                    said.raw(event[1])
                elif self._message(event[1], cell, said):
                    served = True
            now = time.monotonic()
            if not status and self._flooded(student, before, said):
                status, asked = "flood", now
                student.interrupt()
            if not asked and not ended and over():
                status, asked = "timeout", now
                student.interrupt()
            if asked and now - asked > self.limits.grace and not gone:
                status = "killed" if status == "timeout" else status
                student.end()
                gone = True
            if asked and now - asked > self.limits.grace + 10 and not ended:
                return status + " judge", told.outputs, said.outputs
            if ended and not served and not asked and over():
                asked = now
                student.interrupt()
        if gone and status not in ("timeout", "killed", "flood", "malformed"):
            status = "gone" if status in ("gone", "error") else status + " gone"
        return status, told.outputs, said.outputs
