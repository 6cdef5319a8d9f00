"""A whole class: read, graft, grade in parallel, record one after the other; interrupted at any point, it goes on."""

from __future__ import annotations

import errno
import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from autograde.errors import Refusal
from autograde.grading.intake.folders import read_one
from autograde.grading.intake.plan import Plan
from autograde.grading.intake.submission import Cell, NotGradable, Submission
from autograde.grading.record import cache as caching
from autograde.grading.record.result import PASSED, Result
from autograde.grading.running.workers import REFERENCE_KEY, Cluster, Local, Workers
from autograde.grading.sandbox.pool import Pool
from autograde.grading.sandbox.tiers import Limits

REFERENCE = "(the reference solution)"
# What is the machine's trouble and not one submission's: a full disk, a quota, a broken or read-only file system.
FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS}


@dataclass
class Graded:
    """One line of the report."""

    student: str
    score: float | None
    max_score: float
    result: Result | None = None
    problem: str = ""
    fresh: bool = False


@dataclass
class Report:
    """What a class run did."""

    chapter: str
    rows: list[Graded] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)  # tests that fail on the reference: grade_id, reason
    seconds: float = 0.0
    warm: float = 0.0

    @property
    def problems(self) -> list[str]:
        """One sentence for each submission that was not graded, and for each broken test."""
        lines = [f"{row.student}: {row.problem}: not graded" for row in self.rows if row.problem]
        return lines + [
            f"The test {name!r} itself failed for every student: {why}: no grade" for name, why in self.broken.items()
        ]


def spare_the_class(error: Exception) -> None:
    """Raise again what must stop a run; anything else is one submission's trouble, and the others go on."""
    if isinstance(error, Refusal) or (isinstance(error, OSError) and error.errno in FATAL):
        raise error


def why_not(error: Exception, student: str) -> str:
    """In words for the instructor's list."""
    if isinstance(error, NotGradable):
        return str(error)
    return f"the grader could not finish ({type(error).__name__}: {error}); run again with --student {student}"


def reference(plan: Plan) -> Submission:
    """The instructor's own answers, handed in."""
    cells = [
        Cell(cell.cell_type, cell.source, cell.metadata.get("nbgrader", {}).get("grade_id"), cell.get("id"))
        for cell in plan.notebook.cells
    ]
    return Submission(REFERENCE, cells, key=REFERENCE_KEY)


class ClassRun:
    """One ``autograde grade``."""

    def __init__(self, plan: Plan, root: Path, limits: Limits, jobs: int, db: str, force: bool = False):
        self.plan, self.root, self.limits, self.jobs, self.db, self.force = plan, root, limits, jobs, db, force
        self.cache = caching.Cache(root, plan.chapter)
        self.report = Report(plan.chapter)
        self.scheduler: str | None = None
        self.pool: Pool | None = None  # one that has begun to warm up already

    def key(self, submission: Submission) -> str:
        """The cache's name for it."""
        return caching.key(self.plan.key, submission.key, self.limits)

    def token(self, key: str) -> str:
        """What ``recorded`` holds once the gradebook has this result."""
        return hashlib.sha256(json.dumps([self.db, key, sorted(self.report.broken)]).encode()).hexdigest()

    def submissions(self, students: list[str]) -> Iterator[Submission]:
        """What can be graded; the rest goes to the report."""
        for student in students:
            try:
                submission = read_one(self.plan, self.root, student)
            except Exception as error:  # noqa: BLE001  whatever a student's files do to us, the class goes on
                spare_the_class(error)
                shown = student.encode("utf-8", "backslashreplace").decode()
                self.report.rows.append(Graded(shown, None, self.plan.max_score, problem=why_not(error, shown)))
            else:
                yield submission

    def run(self, students: list[str], started: Callable[[int], None], tick: Callable[[Graded], None]) -> Report:
        """Grade and record; ``started`` hears how many there are, ``tick`` of each."""
        from autograde.grading.record.gradebook import Writer

        start = time.monotonic()
        ready = [(submission.student, self.key(submission)) for submission in self.submissions(students)]
        started(len(ready))
        known = {key for _, key in ready if not self.force and self.cache.get(key) is not None}
        checked = None if self.force else self.cache.get(self.key(reference(self.plan)))
        idle = checked is not None and all(key in known for _, key in ready)
        workers = None if idle else self.workers()
        try:
            asked = workers.submit(reference(self.plan)) if checked is None else None
            early = self._early(workers, ready, known) if asked else {}
            writer = Writer(self.plan, self.root, self.db)
            try:
                judged = checked or asked.result()
                self._examine(judged, workers)
                if self.limits.fair(judged.slowest) != self.limits:
                    early = {}  # they ran with less time than they may have: graded again
                self.report.warm = time.monotonic() - start
                for submission, key, result, fresh in self._graded(workers, ready, known, early):
                    row = self._record(writer, submission, key, result, fresh)
                    self.report.rows.append(row)
                    tick(row)
                self._doubt(writer)
            finally:
                writer.close()
        finally:
            if workers:
                workers.close()
            if self.pool:
                self.pool.close()
        self.report.rows.sort(key=lambda row: row.student)
        self.report.seconds = time.monotonic() - start
        return self.report

    def _doubt(self, writer: object) -> None:
        """Where a newer submission cannot be graded, an older score does not stand silently: a person must look."""
        for row in self.report.rows:
            older = self.cache.of_student(row.student) if row.problem else None
            if older is not None and row.student in writer.known():
                writer.doubt(row.student)
                self.cache.record(row.student, **self.cache.recorded(row.student) | {"token": "written once more"})
                score = sum(test.points for test in older.tests)
                row.problem += f"; the gradebook still holds {score:g} of an earlier submission, marked for a person"

    def workers(self) -> Workers:
        """Threads here, or a cluster."""
        if self.scheduler:
            return Cluster(self.plan, self.limits, self.scheduler)
        return Local(self.plan, self.limits, self.jobs, self.pool)

    def one(self, submission: Submission) -> Result:
        """Grade one submission outside a class run, without writing to the gradebook."""
        key = self.key(submission)
        workers = self.workers()
        try:
            known = self.cache.get(self.key(reference(self.plan)))
            self._examine(known or workers.submit(reference(self.plan)).result(), workers)
            result = self.cache.get(key) or workers.submit(submission).result()
        finally:
            workers.close()
        self.cache.put(key, result)
        result.student = submission.student
        result.withdraw(self.report.broken)
        self.cache.record(submission.student, self.token(key), key, submission.key, sorted(self.report.broken))
        return result

    def _examine(self, result: Result, workers: Workers | None) -> None:
        """Tests that fail on the instructor's own answers give no grade to anyone; what they take, others may."""
        if workers:
            workers.learn(result)
        self.cache.put(self.key(reference(self.plan)), result)
        failed = [test for test in result.tests if test.status != PASSED]
        self.report.broken = {t.grade_id: f"{t.ename}: {t.evalue.split(chr(10))[0]}" for t in failed}

    def _early(self, workers: Workers, ready: list, known: set[str]) -> dict[str, Future]:
        """The first students, graded by whoever would be idle beside the reference; by key."""
        early: dict[str, Future] = {}
        for student, key in [(student, key) for student, key in ready if key not in known][: workers.ahead // 2 - 1]:
            try:
                submission = read_one(self.plan, self.root, student)
            except NotGradable:  # it has changed just now; its turn will come
                continue
            if self.key(submission) == key:
                early[key] = workers.submit(submission)
        return early

    def _graded(
        self, workers: Workers | None, ready: list, known: set[str], early: dict[str, Future]
    ) -> Iterator[tuple]:
        """(submission, key, result or error, fresh) as they come; a few more than there are workers are under way."""
        todo = deque(ready)
        running: dict[Future, tuple[Submission, str]] = {}
        while running or todo:
            while todo and (workers is None or len(running) < workers.ahead):
                student, _ = todo.popleft()  # read again now: a class's files need not fit into memory
                try:
                    submission = read_one(self.plan, self.root, student)
                except Exception as error:  # noqa: BLE001  it has changed since, or is gone
                    spare_the_class(error)
                    yield Submission(student, []), "", error, True
                    continue
                key = self.key(submission)  # of what is graded, not of what was there a while ago
                cached = self.cache.get(key) if key in known else None
                if cached is not None:
                    yield submission, key, cached, False
                else:
                    running[early.pop(key, None) or workers.submit(submission)] = (submission, key)
            for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                submission, key = running.pop(future)
                try:
                    result = future.result()
                    self.cache.put(key, result)
                except Exception as error:  # noqa: BLE001  one submission's trouble, of any kind, must not stop a class
                    spare_the_class(error)
                    result = error
                yield submission, key, result, True

    def _record(
        self, writer: object, submission: Submission, key: str, result: Result | Exception, fresh: bool
    ) -> Graded:
        if isinstance(result, Exception):
            why = why_not(result, submission.student)
            return Graded(submission.student, None, self.plan.max_score, problem=why)
        try:
            return self._write(writer, submission, key, result, fresh)
        except Exception as error:  # noqa: BLE001  as above
            spare_the_class(error)
            return self._record(writer, submission, key, error, fresh)

    def _write(self, writer: object, submission: Submission, key: str, result: Result, fresh: bool) -> Graded:
        result.student = submission.student
        result.withdraw(self.report.broken)
        token = self.token(key)
        known = self.cache.recorded(submission.student).get("token") == token and self._known(writer, submission)
        if fresh or self.force or not known:
            writer.write(submission, result)
            self.cache.record(submission.student, token, key, submission.key, sorted(self.report.broken))
        score = sum(test.points for test in result.tests)
        return Graded(submission.student, score, self.plan.max_score, result, fresh=fresh)

    def _known(self, writer: object, submission: Submission) -> bool:
        if not hasattr(self, "_in_gradebook"):
            self._in_gradebook = writer.known()
        return submission.student in self._in_gradebook
