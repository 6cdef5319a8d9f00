"""Grades one submission: the student's cells in one sandbox, the tests in another, budgets and restarts in between."""

from __future__ import annotations

import time
from typing import Any

from autograde.grading.intake.graft import Graft, Grafted
from autograde.grading.intake.plan import LAB, SETUP, TEST, TEXT, Plan, Step
from autograde.grading.record.result import (
    FAILED,
    NOT_RUN,
    PASSED,
    TOLD_MAX,
    CellResult,
    Result,
    TestResult,
    explained,
    partial,
    say,
)
from autograde.grading.sandbox import outputs as out
from autograde.grading.sandbox.pair import TICK, JudgeFailed, Pair
from autograde.grading.sandbox.pool import Pool
from autograde.grading.sandbox.process import SandboxFailed
from autograde.grading.sandbox.tiers import Limits

TOO_MUCH = "the cells before this one printed so much that its output is not kept"


class Run:
    """One submission on its way through both sandboxes."""

    def __init__(self, plan: Plan, graft: Graft, pool: Pool, student: str, files: dict[str, bytes], limits: Limits):
        self.plan, self.graft, self.files, self.limits = plan, graft, files, limits
        self.result = Result(student, notes=list(graft.notes))
        self.pair, self.lost = Pair(pool, limits), ""
        self.done: list[tuple[Grafted, str]] = []
        self.restored: list[str] = []
        self.banned = dict(plan.library)  # by exercises that are still to be graded
        self.written = 0  # characters of output so far

    def _restart(self) -> None:
        """After a death: a new pair, the good cells replayed, three times at most."""
        self.result.restarts += 1
        self.pair.close()
        if self.result.restarts > self.limits.restarts:
            self.lost = "lost"
            return
        self.pair.open(self.files)
        for cell, source in self.done:
            if self._ordinary(cell, source, replay=True) not in ("ok", "error"):
                self.lost = "lost"
                return
        self._give_back(self.restored)

    def _ordinary(self, cell: Grafted, source: str, replay: bool = False) -> str:
        """One cell that gives no points: in the student's process, and in the judge's where it is the instructor's."""
        start = self._now()
        into, status = self.pair.collector(), "ok"
        if cell.step is None or not cell.step.hidden:
            number = self.pair.next()
            self.pair.student.send("run", number, source, replay)
            status = self.pair.wait(self.pair.student, number, self.limits.cell, into)
        if not replay:
            self._record(cell, source, self._explained(into.outputs, status))
        if status in ("ok", "error", "timeout", "flood") and cell.step is not None and cell.step.kind == SETUP:
            judged, _, _ = self.pair.judged(cell.step.source, list(cell.step.names), self.limits.cell, True)
            if judged.endswith("judge") and not cell.step.names:
                raise JudgeFailed("an ordinary cell did not end in the judge")
            if judged == "malformed" or judged.endswith("judge"):  # it used an answer, which kept the judge busy
                self._violation("an ordinary cell")
            elif "gone" in judged or judged == "killed":
                status = "died"
        self._took(start)
        return status

    def _now(self) -> tuple[float, float]:
        return self.pair.used(), time.monotonic()

    def _took(self, start: tuple[float, float]) -> None:
        """A cell has ended: what it took by the clock that limits it."""
        used, wall = (after - before for before, after in zip(start, self._now(), strict=True))
        self.result.slowest = max(self.result.slowest, used, wall / self.limits.wide)

    def _report(self) -> dict | None:
        return self.pair.student.report if self.pair.student else self.pair.report

    def _explained(self, outputs: list[dict], status: str) -> list[dict]:
        if status == "died" and self._report() is None:
            self.pair.student.end()
        return explained(outputs, status, self.limits, self._report())

    def _record(self, cell: Grafted, source: str, outputs: list[dict]) -> None:
        index = cell.step.index if cell.step else None
        size = sum(len(repr(output)) for output in outputs)
        if self.written + size > self.limits.written:
            outputs = [o for o in outputs if o["output_type"] == "error"] or [out.error("TooMuchOutput", TOO_MUCH)]
        self.written += size
        self.result.cells.append(CellResult(index, source, cell.kind, outputs))

    def _violation(self, where: str) -> None:
        self.result.flags.append(
            f"malformed messages to the judge during {where}: a person should read this submission"
        )
        self.lost = "malformed"

    def _test(self, step: Step) -> None:
        if not self.lost and self.pair.left() <= 0:
            self.lost = "budget"
        if self.lost:
            return self._failed(step, self.lost, [])
        if step.exercise in self.graft.refused:
            return self._refused(step)
        start = self._now()
        status, told, said = self.pair.judged(step.source, list(step.names), self.limits.cell, False)
        self._took(start)
        seen = out.harmless(told) + out.text_only(said)
        if status in ("ok", "ok gone"):
            self._passed(step, seen)
        elif status == "error":
            self._lost_points(step, seen)
        elif status == "malformed":
            self._violation(f"the test {step.grade_id!r}")
            self._failed(step, "malformed", [])
        else:
            kind = {"gone": "died", "timeout": "timeout", "killed": "killed", "flood": "flood"}.get(status, "killed")
            self._failed(step, kind, out.text_only(said))
        if status not in ("ok", "error", "timeout", "flood", "malformed") or self.pair.student.report is not None:
            self._restart()
        return None

    def _passed(self, step: Step, outputs: list[dict]) -> None:
        points, outputs = partial(outputs, step.points)
        if points is None:
            return self._lost_points(step, [*outputs, out.error("PartialCredit", "the test did not come to a number")])
        status = PASSED if points == step.points else FAILED
        self.result.tests.append(TestResult(step.grade_id, status, points, step.points, exercise=step.exercise))
        self._record(Grafted(step, step.source), step.source, outputs)

    def _lost_points(self, step: Step, outputs: list[dict]) -> None:
        error = next((o for o in outputs if o["output_type"] == "error"), None)
        error = error or out.error("Error", "the test failed")
        if error not in outputs:
            outputs = [*outputs, error]
        missing = error["ename"] == "NameError" and next((n for n in step.names if f"'{n}'" in error["evalue"]), None)
        if missing:
            told = out.error("NameError", f"`{missing}` is not defined: {self._why_missing(step)}")
            outputs = [told if o is error else o for o in outputs]
            error = told
        made = TestResult(step.grade_id, FAILED, 0.0, step.points, error["ename"], error["evalue"], step.exercise)
        self.result.tests.append(made)
        self._record(Grafted(step, step.source), step.source, outputs)

    def _why_missing(self, step: Step) -> str:
        """A name is missing: because its cell failed, or because there is no such definition."""
        answer = next((s.index for s in self.plan.steps if s.grade_id == step.exercise), None)
        cell = next((c for c in self.result.cells if c.index == answer), None)
        error = next((o for o in cell.outputs if o["output_type"] == "error"), None) if cell else None
        if error is None:
            return "did you rename it, or did its cell fail?"
        said = error["evalue"].splitlines()[0] if error["evalue"] else ""
        return f"its cell ended with {error['ename']}: {said}"[:TOLD_MAX]

    def _refused(self, step: Step) -> None:
        """The answer calls the library's own."""
        text = self.graft.refused[step.exercise]
        self.result.tests.append(
            TestResult(step.grade_id, FAILED, 0.0, step.points, "LibraryAnswer", text, step.exercise)
        )
        self._record(Grafted(step, step.source), step.source, [out.error("LibraryAnswer", text)])

    def _failed(self, step: Step, kind: str, outputs: list[dict]) -> None:
        name, text = say(kind, self.limits, self._report())
        status = NOT_RUN if kind in ("lost", "budget") else FAILED
        self.result.tests.append(TestResult(step.grade_id, status, 0.0, step.points, name, text, step.exercise))
        self._record(Grafted(step, step.source), step.source, [*outputs, out.error(name, text)])

    def _give_back(self, names: list[str]) -> None:
        """Return the library's answers to the student's process, those apart that an exercise to come still bans."""
        still = sorted({name for names in self.banned.values() for name in names})
        if not names or self.lost or self.pair.judge is None:
            return
        cell = self.pair.next()
        self.pair.judge.send("codes", cell, names, still)
        message: Any = None
        deadline = time.monotonic() + 30
        while message is None and time.monotonic() < deadline:
            for event in self.pair.judge.events(TICK):
                if event[0] == "message" and event[1][:2] == ["codes", cell]:
                    message = event
        if message is None:
            raise JudgeFailed("the judge does not answer")
        self.pair.student.send("restore", cell, names, still, message[1][2], buffers=message[2])
        if self.pair.wait(self.pair.student, cell, 30, None) != "ok":
            self._restart()

    def _modules(self) -> list[str]:
        """What the reference has imported in both processes."""
        names: set[str] = set()
        for body in (self.pair.student, self.pair.judge):
            number = self.pair.next()
            body.send("modules", number)
            told = self.pair.wait(body, number, 30, None)
            names |= set(told.split("\n")) if "\n" in told else set()
        return sorted(names)

    def grade(self, learn: bool = False) -> Result:
        """All cells in order; ``learn`` notes what they import, for the warm parent."""
        try:
            self.pair.open(self.files)
            for cell in self.graft.cells:
                self._cell(cell)
            if learn and self.pair.student and self.pair.judge:
                self.result.modules = self._modules()
        finally:
            self.pair.close()
        self.result.seconds = time.monotonic() - self.pair.started
        return self.result

    def _cell(self, cell: Grafted) -> None:
        step = cell.step
        if step is not None and step.kind == TEST:
            self._test(step)
            if step.last and (names := list(self.banned.pop(step.exercise or "", ()))):
                self.restored = list(dict.fromkeys([*self.restored, *names]))
                self._give_back(self.restored)
            return
        shown_only = cell.kind != "code" or (step is not None and step.kind in (LAB, TEXT)) or not cell.source.strip()
        if shown_only or self.lost or self.pair.left() <= 0:
            self._record(cell, cell.source, [])
            return
        self._student_cell(cell, cell.source)
        if cell.own is not None and not self.lost:
            self._student_cell(Grafted(None, cell.own), cell.own)

    def _student_cell(self, cell: Grafted, source: str) -> None:
        status = self._ordinary(cell, source)
        if status in ("ok", "error"):
            self.done.append((cell, source))
        elif status not in ("timeout", "flood"):
            self._restart()


def grade(
    plan: Plan, graft: Graft, pool: Pool, student: str, files: dict[str, bytes], limits: Limits, learn: bool = False
) -> Result:
    """Grade one submission; a sandbox that failed to start is tried once more."""
    try:
        return Run(plan, graft, pool, student, files, limits).grade(learn)
    except (SandboxFailed, JudgeFailed):
        return Run(plan, graft, pool, student, files, limits).grade(learn)
