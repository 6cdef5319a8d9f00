"""The grading verbs of the command line; each imports its work only when it is called."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from autograde.grading import console

app = typer.Typer()

Chapter = Annotated[str, typer.Argument(metavar="CHAPTER", help="01, 01_autoregressive or autoregressive.")]
Root = Annotated[
    Path | None,
    typer.Option("--root", help="The folder with submitted/ and solutions/ or source/; default: the course's."),
]
Db = Annotated[str | None, typer.Option("--db", help="Gradebook URL; default: sqlite:///ROOT/gradebook.db.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def _verb(example: str) -> Callable:
    """A command of ours: what it prints cannot end it on a console whose code page lacks a character."""

    def register(work: Callable) -> Callable:
        @functools.wraps(work)
        def run(*arguments: Any, **options: Any) -> Any:
            console.tolerant()
            return work(*arguments, **options)

        return app.command(epilog=example)(run)

    return register


def _course(root: Path | None) -> Path:
    """The folder given; else the nearest upwards that is a term's (``autograde new-course``) or the repository."""
    from autograde.authoring.chapters import root as find

    if root is None and "AUTOGRADE_ROOT" not in os.environ:
        here = Path.cwd()
        for folder in (here, *here.parents):
            if (folder / "solutions").is_dir():
                break
            if (folder / "source").is_dir() and (folder / "nbgrader_config.py").exists():
                return folder
    return (root or find()).resolve()


@_verb("Example: autograde grade 01 --jobs 4")
def grade(
    chapter: Chapter,
    student: Annotated[list[str] | None, typer.Option("--student", help="Only this one; may be repeated.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=0, help="Submissions at once; 0 takes every core.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Grade again what is graded already.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds that one cell may take.")] = 30.0,
    db: Db = None,
    scheduler: Annotated[str | None, typer.Option("--scheduler", help="A Dask scheduler, tcp://host:8786.")] = None,
    trust: Annotated[
        bool, typer.Option("--i-trust-these-submissions", help="Grade even where this machine has no sandbox.")
    ] = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Grade submitted/ in two sandboxes; run again after an interruption, and it goes on."""
    from autograde.grading.instructor import session

    where = _course(root)
    options = session.Options(student, jobs, force, timeout, db, scheduler, trust)
    report = session.run(where, chapter, options, quiet=as_json)
    if as_json:
        console.emit(session.document(report))
    else:
        session.show(report)
    raise typer.Exit(1 if report.problems else 0)


@_verb("Example: autograde status 01")
def status(chapter: Chapter, root: Root = None, as_json: Json = False) -> None:
    """Who is graded, who is not, and why not."""
    from autograde.grading.instructor import session

    rows = session.status(_course(root), chapter)
    if as_json:
        console.emit(rows)
    else:
        session.show_status(rows)


@_verb("Example: autograde why alice 01")
def why(
    student: Annotated[str, typer.Argument(help="The student's folder name.")],
    chapter: Annotated[str | None, typer.Argument(metavar="[CHAPTER]", help="Every chapter if left out.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Explain one student's points, test by test."""
    from autograde.grading.instructor import session

    found = session.why(_course(root), student, chapter)
    if as_json:
        console.emit([result.document() for result in found])
        return
    from autograde.grading.feedback.reasons import explain

    print("\n\n".join(map(explain, found)))


@_verb("Example: autograde feedback 01")
def feedback(
    chapter: Chapter,
    student: Annotated[list[str] | None, typer.Option("--student", help="Only this one; may be repeated.")] = None,
    root: Root = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Write feedback/STUDENT/CHAPTER/NAME.html: reasons without hidden tests or active content."""
    from autograde.grading.instructor import session

    paths = session.feedback(_course(root), chapter, student, db)
    if as_json:
        console.emit([str(path) for path in paths])
    else:
        console.say(f"{len(paths)} pages written to {os.path.commonpath(paths) if paths else 'feedback'}")


@_verb("Example: autograde export grades.csv")
def export(
    file: Annotated[Path, typer.Argument(help="The CSV file to write; - for standard output.")],
    into: Annotated[
        Path | None, typer.Option("--into", help="The gradebook that Canvas or Moodle exported: fill in its people.")
    ] = None,
    root: Root = None,
    db: Db = None,
) -> None:
    """One row a student and chapter: score, maximum, late penalty, for the registrar; or a file that an LMS imports."""
    from autograde.grading.instructor import reports

    if into is None:
        count = reports.export(_course(root), db, file)
        if str(file) != "-":
            console.say(f"{count} rows written to {file}")
        return
    filled = reports.export_for_lms(_course(root), db, into, file)
    if str(file) != "-":
        console.say(f"{file}: scores of {filled.matched} people, to import into {filled.lms}")
    if filled.missing:
        told = f"no line of {into} names {', '.join(filled.missing)} as their folders do: not in {file}"
        typer.echo(console.line(told, 1000), err=True)


@_verb("Example: autograde analyse 01")
def analyse(chapter: Chapter, root: Root = None, as_json: Json = False) -> None:
    """Which exercise, which mistake, how many students: item analysis of a graded class."""
    from autograde.grading.instructor import reports

    found = reports.analyse(_course(root), chapter)
    if as_json:
        console.emit(found)
    else:
        reports.show(found)


@_verb("Example: autograde attack")
def attack(
    name: Annotated[list[str] | None, typer.Argument(metavar="[ATTACK]...", help="All if none.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Submissions at once.")] = 2,
    as_json: Json = False,
) -> None:
    """Hand in the project's own hostile submissions: undeserved points must be 0, and nothing may be damaged."""
    from autograde.grading.instructor.attack import attack as work

    outcomes, damage = work(name, jobs, lambda _: None if as_json else print(".", end="", flush=True))
    undeserved = sum(outcome.undeserved for outcome in outcomes)
    if as_json:
        rows = [
            {"attack": o.attack.name, "kind": o.attack.kind, "undeserved": o.undeserved, "damage": o.damage}
            for o in outcomes
        ]
        console.emit({"attacks": rows, "undeserved": undeserved, "damage": damage})
    else:
        print()
        for o in outcomes:
            verdict = "ok" if not o.undeserved and not o.damage else f"{o.undeserved:g} UNDESERVED POINTS {o.damage}"
            print(f"{o.attack.kind:<14} {o.attack.name:<24} {o.points:>4g} points {o.seconds:>6.1f} s  {verdict}")
        print(*damage, sep="\n", end="\n" if damage else "")
        print(f"{len(outcomes)} hostile submissions, {undeserved:g} undeserved points")
    raise typer.Exit(1 if undeserved or damage or any(o.damage for o in outcomes) else 0)
