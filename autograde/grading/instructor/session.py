"""What the grading verbs do: choose students, show progress, keep the words for a person in one place."""

from __future__ import annotations

import os
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from autograde.errors import Refusal
from autograde.grading import console as terminal
from autograde.grading.feedback.reasons import reason
from autograde.grading.intake import plan as planning
from autograde.grading.intake.folders import folder_of, students_of
from autograde.grading.intake.plan import Plan
from autograde.grading.intake.submission import visible
from autograde.grading.record.provenance import NOT_GRADABLE, UNGRADED, provenance
from autograde.grading.record.result import Result
from autograde.grading.running.classrun import ClassRun, Graded, Report
from autograde.grading.running.settings import gradebook_url, limits_for
from autograde.grading.sandbox.pool import Pool
from autograde.grading.sandbox.tiers import ADVICE, JAILED, NONE, readable, refuse_to_expose, tier


@dataclass(frozen=True)
class Options:
    """The options of ``autograde grade``."""

    students: list[str] | None = None
    jobs: int = 0
    force: bool = False
    timeout: float = 30.0
    db: str | None = None
    scheduler: str | None = None
    trust: bool = False


def _chosen(root: Path, plan: Plan, wanted: list[str] | None) -> list[str]:
    every = students_of(root, plan.chapter)
    names = {unicodedata.normalize("NFC", name) for name in every}
    missing = [name for name in wanted or () if unicodedata.normalize("NFC", name) not in names]
    if missing:
        raise Refusal(f"no submission of {', '.join(map(terminal.line, missing))} in {root / 'submitted'}")
    asked = {unicodedata.normalize("NFC", name) for name in wanted or ()}
    return [name for name in every if not wanted or unicodedata.normalize("NFC", name) in asked]


def run(root: Path, chapter: str, options: Options, quiet: bool = False, course: Path | None = None) -> Report:
    """Grade, with a progress bar; ``course`` holds the chapters where ``root`` holds only submissions."""
    # nbformat's schema validator would compile a grammar of web addresses, 0.7 s of work that no notebook needs
    sys.modules.setdefault("rfc3987_syntax", None)
    if tier() == NONE and not options.trust:
        raise Refusal(ADVICE[NONE])
    pool = None if options.scheduler else Pool(trust=options.trust)  # it warms up while we read
    try:
        return _run(root, chapter, options, quiet, course, pool)
    finally:
        if pool:
            pool.close()


def _run(root: Path, chapter: str, options: Options, quiet: bool, course: Path | None, pool: Pool | None) -> Report:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from autograde.grading.instructor.preprocessors import write_config

    plan = planning.load(chapter, course or root)
    students = _chosen(root, plan, options.students)
    console = Console(stderr=True, quiet=quiet)
    if tier() == JAILED and os.environ.get("AUTOGRADE_TIER") != "2":
        console.print(f"[yellow]sandbox tier 2[/]: {ADVICE[JAILED]}", highlight=False)
    refuse_to_expose(readable(tier())[0], [root, course or root])
    limits = limits_for(plan, options.timeout)
    jobs = options.jobs or os.cpu_count() or 1
    work = ClassRun(plan, root, limits, jobs, gradebook_url(root, options.db), options.force)
    work.scheduler, work.pool = options.scheduler, pool
    write_config(root, course or root)
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    done = 0
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{plan.chapter}: warming up", total=len(students))

        def tick(row: Graded) -> None:
            nonlocal done
            done += 1
            bar.update(task, advance=1, description=f"{plan.chapter}: {escape(terminal.line(row.student, 30))}")

        try:
            return work.run(students, lambda n: bar.update(task, total=n), tick)
        except KeyboardInterrupt:
            raise Refusal(f"{done} of {len(students)} graded; run the same command to go on") from None
        except OSError as error:
            raise Refusal(f"{error}; {done} of {len(students)} graded; run the same command to go on") from None


def document(report: Report) -> dict:
    """For ``--json``."""
    rows = [
        {"student": r.student, "score": r.score, "max_score": r.max_score, "problem": r.problem}
        | ({"tests": [vars(t) for t in r.result.tests], "flags": r.result.flags} if r.result else {})
        for r in report.rows
    ]
    return {"chapter": report.chapter, "seconds": report.seconds, "broken": report.broken, "students": rows}


def first_reason(result: Result) -> str:
    """The shortest account of a submission's first lost test."""
    for test in result.tests:
        told = reason(test)
        if told is not None:
            name, text = test.exercise or test.grade_id, (told.mistake or told.headline).split("\n")[0]
            return text if text.startswith(f"{name} ") else f"{name}: {text}"
    return ""


def show(report: Report) -> None:
    """The class as a table, then what needs a person."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console, table = Console(), Table(title=report.chapter, title_justify="left")
    for name, justify in (("student", "left"), ("score", "right"), ("first reason", "left")):
        table.add_column(name, justify=justify, overflow="fold")
    for row in report.rows:
        if row.result:
            told = f"{row.score:g} / {row.max_score:g}", first_reason(row.result)
        else:
            told = "not graded", row.problem
        table.add_row(*(Text(terminal.line(text)) for text in (row.student, *told)))
    console.print(table)
    fresh = sum(row.fresh for row in report.rows)
    print(
        f"{len(report.rows)} submissions, {fresh} graded now, in {report.seconds:.1f} s (start-up {report.warm:.1f} s)"
    )
    for row in report.rows:
        for flag in row.result.flags if row.result else ():
            terminal.say(f"FLAG {row.student}: {flag}")
    if report.problems:
        terminal.say(*report.problems)


def status(root: Path, chapter: str) -> list[dict]:
    """One row a student: state, score, and what is the matter; a score says which submission it belongs to."""
    plan = planning.load(chapter, root)
    rows = []
    for student in students_of(root, plan.chapter):
        found = provenance(root, plan, student)
        score = sum(t.points for t in found.result.tests) if found.result else None
        rows.append({"student": student, "state": found.state, "score": score, "problem": found.about or found.problem})
    return rows


def show_status(rows: list[dict]) -> None:
    """As text."""
    for row in rows:
        score = "" if row["score"] is None else f"{row['score']:g}"
        shown = f"{terminal.line(row['student']):<24} {row['state']:<27} {score:>6}  {terminal.line(row['problem'])}"
        print(shown.rstrip())
    graded = sum(row["state"].startswith("graded") for row in rows)
    print(f"{graded} of {len(rows)} graded")


def why(root: Path, student: str, chapter: str | None) -> list[Result]:
    """The graded results of one student."""
    submitted = folder_of(root, student)
    if not submitted.is_dir():
        raise Refusal(f"no folder {terminal.line(submitted)}")
    chapters = [chapter] if chapter else sorted(p.name for p in submitted.iterdir() if p.is_dir() and visible(p.name))
    found = []
    for name in chapters:
        plan = planning.load(name, root)
        seen, shown = provenance(root, plan, student), terminal.line(student)
        if seen.result is None and seen.state == NOT_GRADABLE:
            raise Refusal(f"{shown}: {seen.problem}: not graded")
        if seen.state == UNGRADED:
            raise Refusal(f"{shown} is not graded in {plan.chapter} yet: autograde grade {name} --student {shown}")
        found.append(seen.result)
    return found


def feedback(
    root: Path, chapter: str, wanted: list[str] | None, db: str | None, course: Path | None = None
) -> list[Path]:
    """Write a page for every graded student."""
    from autograde.grading.feedback import page as pages
    from autograde.grading.instructor.reports import marks

    plan = planning.load(chapter, course or root)
    given = marks(plan, gradebook_url(root, db))
    paths = []
    for student in _chosen(root, plan, wanted):
        result = provenance(root, plan, student).result
        if result is not None and student in given:
            paths.append(pages.write(plan, root, result, given[student]))
    if not paths:
        raise Refusal(f"nobody is graded in {plan.chapter} yet: run autograde grade {chapter}")
    return paths
