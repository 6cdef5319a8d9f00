"""The command line: one verb a function, each importing its work only when it is called."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from autograde.errors import AuthoringError, Refusal

app = typer.Typer(
    name="autograde",
    help="Build, run, check and grade the course. Each verb has --help with an example.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Chapters = Annotated[
    list[str] | None,
    typer.Argument(metavar="[CHAPTER]...", help="01, 01_autoregressive or autoregressive; or all."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=0, help="Processes at once; 0 takes every core.")]


def emit(document: Any) -> None:
    """The one JSON document that ``--json`` promises on standard output."""
    print(json.dumps(document, indent=1, ensure_ascii=False, default=str))


@app.command(
    epilog="Example: autograde new-course ~/spring --start 2027-04-23 --zone Europe/Berlin --roster people.csv"
)
def new_course(
    folder: Annotated[Path, typer.Argument(help="A new folder, outside this repository.")],
    start: Annotated[str | None, typer.Option("--start", help="The day the first chapter is due.")] = None,
    days: Annotated[int, typer.Option("--every", help="Days from one chapter to the next.")] = 7,
    zone: Annotated[str, typer.Option("--zone", help="Time zone of the due dates.")] = "UTC",
    roster: Annotated[Path | None, typer.Option("--roster", help="CSV: id,first_name,last_name,email.")] = None,
) -> None:
    """Lay out a term: nbgrader's folders, gradebook, due dates, students."""
    from autograde.authoring.chapters import root
    from autograde.publishing.term import new_course as work

    for chapter, due in work(root(), folder, start=start, days=days, zone=zone, roster=roster):
        print(f"{chapter:<24} {f'due {due:%Y-%m-%d %H:%M} UTC' if due else ''}".rstrip())
    print(f"{folder} is ready: what to do each week is in {folder / 'README.md'}")


@app.command(epilog="Example: autograde build 01 --check")
def build(
    chapter: Chapters = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if course/ differs.")] = False,
    students: Annotated[
        Path | None, typer.Option("--students", help="Write the edition without solutions to this new folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make course/ and nbgrader's source notebooks from solutions/."""
    from autograde.authoring import build as work
    from autograde.authoring.chapters import root

    course = root()
    if students is not None:
        from autograde.publishing.edition import publish

        files = publish(course, students)
        emit({"files": files}) if as_json else print(f"{len(files)} files written to {students}, no solutions in them")
        return
    if not check:
        changed = [str(path.relative_to(course)) for path in work.write(course, chapter)]
        if as_json:
            emit({"changed": changed})
        else:
            print("\n".join(changed) or "course/ is up to date")
        return
    found = work.drift(course, chapter)
    if as_json:
        emit({"drift": [{"path": str(d.path.relative_to(course)), "why": d.why, "diff": d.diff} for d in found]})
    else:
        for d in found:
            print(f"{d.path.relative_to(course)}: {d.why}", *(f"    {line}" for line in d.diff), sep="\n")
        print("course/ is not what `autograde build` makes; run it and commit" if found else "course/ is up to date")
    raise typer.Exit(1 if found else 0)


@app.command(epilog="Example: autograde run 01 --profile laptop --record")
def run(
    chapter: Chapters = None,
    profile: Annotated[str, typer.Option("--profile", "-p", help="smoke, laptop or gpu.")] = "smoke",
    jobs: Jobs = 1,
    no_train: Annotated[bool, typer.Option("--no-train", help="Load the ready checkpoints instead.")] = False,
    record: Annotated[bool, typer.Option("--record", help="Keep the numbers for the chapters' front pages.")] = False,
    students: Annotated[
        bool, typer.Option("--student-with-solutions", help="Run the released notebook with the reference answers.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the solution notebooks by papermill and report seconds, memory and metrics."""
    from autograde.authoring.chapters import root
    from autograde.running import run as work

    settings = work.Settings(profile=profile, train=not no_train, students=students)
    reports = work.run(root(), chapter, settings, jobs=jobs, record=record, quiet=as_json)
    if as_json:
        emit([report.document() for report in reports])
    else:
        work.show(reports)
    raise typer.Exit(1 if any(report.error for report in reports) else 0)


@app.command(epilog="Example: autograde check 01 --seeds 200")
def check(
    chapter: Chapters = None,
    exercise: Annotated[list[str] | None, typer.Option("--exercise", "-e", help="Only this one.")] = None,
    jobs: Jobs = 0,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Repetitions of each statistical check.")] = 200,
    thorough: Annotated[
        bool, typer.Option(help="Try all derived answers, functions and mistakes, not a sample.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also print what each mutant is told.")] = False,
    judge: Annotated[
        bool | None,
        typer.Option(
            help="Also grade right answers and a sample of mistakes in the sandboxes; without --exercise, yes."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Is the grader right? Right answers get full marks, every known mistake its own diagnosis."""
    from autograde.authoring.chapters import root
    from autograde.checking import table
    from autograde.checking.check import check as work

    reports = work(root(), chapter, exercises=exercise, jobs=jobs, seeds=seeds, thorough=thorough, quiet=as_json)
    if judge or (judge is None and not exercise):
        from autograde.checking.judge_agreement import cross

        cross(root(), chapter, reports, jobs, thorough=thorough)
    if as_json:
        emit([report.document() for report in reports])
    else:
        table.show(reports, verbose)
    raise typer.Exit(1 if any(report.problems for report in reports) else 0)


@app.command(epilog="Example: autograde doctor")
def doctor(as_json: Json = False) -> None:
    """Say what this machine has, what it lacks, and how to install it."""
    from autograde import doctor as work
    from autograde.authoring.chapters import root

    findings = work.examine(root())
    if as_json:
        emit([finding.document() for finding in findings])
    else:
        work.show(findings)
    raise typer.Exit(1 if any(finding.state == "wrong" for finding in findings) else 0)


def _grading() -> None:
    """The verbs of the grading side join the same command."""
    try:
        from autograde.grading.verbs import app as grading
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("autograde.grading"):
            raise
        return
    app.add_typer(grading)


_grading()


def main() -> None:
    """Entry point: a Refusal is one sentence and exit code 2, never a traceback."""
    try:
        app()
    except AuthoringError as error:
        print(error, f"{len(error.problems)} problem(s) in the chapters", sep="\n", file=sys.stderr)
        sys.exit(2)
    except Refusal as error:
        print(f"autograde: {error}", file=sys.stderr)
        sys.exit(2)
