"""Do the checks say the same through the judge? Right answers and mistakes are graded as submissions, in the sandboxes.

In-process, a check sees the answer itself; in the grader it sees what can cross the wire. A class of made-up students
hands in the k-th variant of every exercise at once; one whose points differ from the trial's verdict is asked again
alone, with the reference everywhere else. What then still differs is a problem, with what the judge said.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from autograde.authoring import records
from autograde.authoring.build import chapters
from autograde.authoring.chapters import Chapter
from autograde.authoring.notebooks import student as notebook_with
from autograde.authoring.variants import Variant, variants
from autograde.checking.derived import needs_no_derivative, right_ones
from autograde.checking.report import Report
from autograde.checking.trier import PATIENCE

ADVICE = (
    "There a test holds a stand-in for the student's object: it can call it, read and set its attributes, iterate, "
    "and differentiate with checks.grad, checks.jacobian and checks.parameter_grads; results are tensors, numbers, "
    "strings, lists and dicts. It cannot see code, do arithmetic with an object, or patch a module for the student."
)
Verdict = tuple[bool, str]  # full marks, and what was said
MISTAKES = 8  # of each exercise, unless all are asked for; right answers are always all tried


def cross(
    course: Path, names: list[str] | None, reports: list[Report], jobs: int = 0, *, thorough: bool = False
) -> None:
    """Grade variants of the reported exercises; disagreements become problems of their reports."""
    from autograde.grading.sandbox import tiers

    for chapter in chapters(course, names):
        here = {report.exercise: report for report in reports if report.chapter == chapter.id and report.trials}
        if here and tiers.tier() == tiers.NONE:
            for report in here.values():
                report.notes.append("not tried through the judge: this machine has no sandbox")
        elif here:
            _chapter(course, chapter, here, jobs, thorough)


def _chapter(course: Path, chapter: Chapter, here: dict[str, Report], jobs: int, thorough: bool) -> None:
    choices = {name: _chosen(variants(chapter, name), thorough) + _unusual(chapter, name) for name in here}
    full = {(name, trial.name): trial.full for name, report in here.items() for trial in report.trials}
    rounds = max(map(len, choices.values()))
    together = [{name: some[k % len(some)] for name, some in choices.items()} for k in range(rounds)]
    doubtful = []
    for answers, verdicts in zip(together, _grade(course, chapter, together, jobs), strict=True):
        for name, variant in answers.items():
            agree = verdicts[name][0] == full.get((name, variant.name), True)
            here[name].judged[variant.name] = agree
            doubtful += [] if agree else [{name: variant}]
    for answers, verdicts in zip(doubtful, _grade(course, chapter, doubtful, jobs), strict=True):
        ((name, variant),) = answers.items()
        got_full, said = verdicts[name]
        here[name].judged[variant.name] = got_full == full.get((name, variant.name), True)
        if not here[name].judged[variant.name]:
            got = "gets full marks" if got_full else f"loses points: {said}"
            here[name].problems.append(f"{variant.kind} {variant.name} {got} through the judge, but not here. {ADVICE}")


def _chosen(every: list[Variant], thorough: bool) -> list[Variant]:
    """All right answers, and mistakes from all over the list."""
    wrong = [v for v in every if v.kind == "mutant"]
    most = len(wrong) if thorough else min(MISTAKES, len(wrong))
    return [v for v in every if v.kind not in ("stub", "mutant")] + [wrong[k * len(wrong) // most] for k in range(most)]


def _unusual(chapter: Chapter, name: str) -> list[Variant]:
    """The reference in unusual but right forms, for an exercise whose cases are recorded."""
    exercise = chapter.exercise(name)
    found = records.records(chapter).get(name)
    if not found:
        return []
    return list(right_ones(name, exercise.reference, plain=needs_no_derivative(found)))


def _grade(course: Path, chapter: Chapter, answers: list[dict[str, Variant]], jobs: int) -> list[dict[str, Verdict]]:
    """A verdict on every exercise for each of these submissions."""
    import nbformat

    from autograde.grading.instructor import session

    if not answers:
        return []
    reference = {e.name: e.reference for e in chapter.exercises if e.answer.is_answer}
    with tempfile.TemporaryDirectory(prefix="autograde-check-") as temporary:
        root = Path(temporary)
        for number, chosen in enumerate(answers):
            notebook = notebook_with(chapter, reference | {name: v.source for name, v in chosen.items()})
            folder = root / "submitted" / f"variant-{number:03d}" / chapter.id
            folder.mkdir(parents=True)
            nbformat.write(notebook, folder / f"{chapter.name}.ipynb")
        report = session.run(root, chapter.id, session.Options(jobs=jobs, timeout=PATIENCE), quiet=True, course=course)
    rows = sorted(report.rows, key=lambda row: row.student)
    return [{name: _verdict(row, name, report.broken) for name in reference} for row in rows]


def _verdict(row: Any, exercise: str, broken: dict[str, str]) -> Verdict:
    tests = [test for test in row.result.tests if test.exercise == exercise] if row.result else []
    lost = [test for test in tests if test.points < test.max_points]
    said = " ".join(f"{t.grade_id}: {broken.get(t.grade_id) or f'{t.ename}: {t.evalue}'}" for t in lost[:1])
    return bool(tests) and not lost, " ".join((said or row.problem).split())[:300]
