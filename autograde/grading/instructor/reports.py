"""What leaves the gradebook: marks for the feedback, a CSV for the registrar, an analysis for the instructor."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from autograde.errors import Refusal
from autograde.grading import console
from autograde.grading.feedback.reasons import mistakes
from autograde.grading.instructor import lms
from autograde.grading.intake import plan as planning
from autograde.grading.intake.plan import Plan
from autograde.grading.record.result import NO_GRADE, Result

COLUMNS = ["student", "assignment", "timestamp", "score", "max_score", "late_penalty", "needs_manual_grade"]
COLUMNS += ["submission"]  # "current", or why the score belongs to another than what lies in submitted/ now
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def marks(plan: Plan, db: str) -> dict[str, dict[str, tuple[float, float, str]]]:
    """For each student: grade_id to (score, maximum, comment), a person's corrections included."""
    from autograde.grading.record.gradebook import session

    found: dict[str, dict[str, tuple[float, float, str]]] = {}
    with session(db) as book:
        for submission in book.assignment_submissions(plan.chapter):
            own = found.setdefault(submission.student.id, {})
            for notebook in submission.notebooks:
                comments = {c.name: c.comment or "" for c in notebook.comments}
                for grade in notebook.grades:
                    own[grade.name] = (float(grade.score or 0), float(grade.max_score), comments.get(grade.name, ""))
    return found


def safe(value: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    return "'" + value if isinstance(value, str) and value.startswith(FORMULA) else value


def export(root: Path, db: str | None, file: Path) -> int:
    """Write one row a student and assignment."""
    from autograde.grading.record.gradebook import session
    from autograde.grading.running.settings import gradebook_url

    rows = []
    with session(gradebook_url(root, db)) as book:
        for assignment in book.assignments:
            plan = _plan(assignment.name, root)
            for submission in book.assignment_submissions(assignment.name):
                penalty = submission.late_submission_penalty or 0
                rows.append(
                    [submission.student.id, assignment.name, submission.timestamp or "", submission.score - penalty]
                    + [submission.max_score, penalty, submission.needs_manual_grade]
                    + [_standing(root, plan, submission.student.id)]
                )
    with _writing(file) as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows([safe(value) for value in row] for row in sorted(rows, key=lambda r: (r[1], r[0])))
    return len(rows)


def export_for_lms(root: Path, db: str | None, listed: Path, file: Path) -> lms.Filled:
    """Write the exported list of an LMS with a column for each graded chapter; late penalties are taken off."""
    from autograde.grading.record.gradebook import session
    from autograde.grading.running.settings import gradebook_url

    scores: dict[str, dict[str, float]] = {}
    maximum: dict[str, float] = {}
    with session(gradebook_url(root, db)) as book:
        for assignment in book.assignments:
            for submission in book.assignment_submissions(assignment.name):
                penalty = submission.late_submission_penalty or 0
                scores.setdefault(submission.student.id, {})[assignment.name] = submission.score - penalty
                maximum[assignment.name] = submission.max_score
    filled = lms.fill(listed, scores, maximum)
    with _writing(file) as stream:
        writer = csv.writer(stream)
        writer.writerows([filled.header, *([safe(value) for value in row] for row in filled.rows)])
    return filled


@contextmanager
def _writing(file: Path) -> Iterator[TextIO]:
    """The file, or standard output for ``-``."""
    if str(file) == "-":
        yield sys.stdout
        return
    with open(file, "w", newline="", encoding="utf-8") as stream:
        yield stream


def _plan(chapter: str, root: Path) -> Plan | None:
    """The chapter, or None where it is not in this folder."""
    try:
        return planning.load(chapter, root)
    except Refusal:
        return None


def _standing(root: Path, plan: Plan | None, student: str) -> str:
    """In a few words: is the score that of what lies in ``submitted/`` now?"""
    from autograde.grading.record.provenance import GRADED, UNGRADED, provenance

    if plan is None:
        return "unknown: the chapter is not in this folder"
    found = provenance(root, plan, student)
    return {GRADED: "current", UNGRADED: "not graded here"}.get(found.state) or found.about or found.problem


def results(root: Path, plan: Plan) -> list[Result]:
    """Every graded submission of a chapter."""
    from autograde.grading.intake.folders import students_of
    from autograde.grading.record.provenance import provenance

    found = []
    for student in students_of(root, plan.chapter):
        result = provenance(root, plan, student).result
        if result is not None:
            found.append(result)
    return found


def correlation(a: list[float], b: list[float]) -> float | None:
    """Pearson's, or None where one of them does not vary."""
    n = len(a)
    if n < 3:
        return None
    ma, mb = sum(a) / n, sum(b) / n
    va, vb = sum((x - ma) ** 2 for x in a), sum((x - mb) ** 2 for x in b)
    if va * vb == 0:
        return None
    return sum((x - ma) * (y - mb) for x, y in zip(a, b, strict=True)) / (va * vb) ** 0.5


def analyse(root: Path, chapter: str) -> dict:
    """For each exercise: share of points, how it separates (correlation with the rest), its mistakes by number."""
    plan = planning.load(chapter, root)
    class_ = results(root, plan)
    totals = [sum(t.points for t in r.tests) for r in class_]
    items = []
    for exercise in dict.fromkeys(t.exercise for t in plan.tests):
        own = [[t for t in r.tests if t.exercise == exercise and t.status != NO_GRADE] for r in class_]
        points = [sum(t.points for t in tests) for tests in own]
        most = sum(t.points for t in plan.tests if t.exercise == exercise)
        rest = [total - p for total, p in zip(totals, points, strict=True)]
        made = Counter(what for r in class_ for name, what in set(mistakes(r)) if name == exercise)
        items.append(
            {
                "exercise": exercise,
                "points": most,
                "share": sum(points) / (most * len(class_)) if class_ and most else None,
                "full": sum(p == most for p in points),
                "zero": sum(p == 0 for p in points),
                "separates": correlation(points, rest),
                "mistakes": made.most_common(5),
            }
        )
    earlier = [r.student for r in class_ if r.about]
    return {"chapter": plan.chapter, "students": len(class_), "earlier": earlier, "exercises": items}


def show(found: dict) -> None:
    """As a table with the most frequent mistakes below each exercise."""
    print(f"{found['chapter']}: {found['students']} graded submissions")
    if found["earlier"]:
        names = ", ".join(found["earlier"])
        console.say(f"{len(found['earlier'])} of them are not what lies in submitted/ now: {names}")
    print(f"{'exercise':<28} {'points':>6} {'mean':>6} {'full':>5} {'none':>5} {'separates':>9}")
    for item in found["exercises"]:
        share = "" if item["share"] is None else f"{item['share']:.0%}"
        separates = "" if item["separates"] is None else f"{item['separates']:.2f}"
        head = f"{item['exercise']:<28} {item['points']:>6g} {share:>6}"
        print(f"{head} {item['full']:>5} {item['zero']:>5} {separates:>9}")
        for what, count in item["mistakes"]:
            print(f"    {count:>3} x {console.line(what.splitlines()[0] if what else '')}")
