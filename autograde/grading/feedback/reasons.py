"""Why points were lost, in sentences for a student, and the likely mistake, for counting."""

from __future__ import annotations

from dataclasses import dataclass

from autograde.grading import console
from autograde.grading.record.result import NO_GRADE, PASSED, TOLD_MAX, Result, TestResult

OURS = {
    "CellTimeout",
    "TooMuchOutput",
    "StudentProcessDied",
    "ProtocolViolation",
    "TimeBudget",
    "NotRun",
    "LibraryAnswer",
}
MISTAKE = "Likely mistake: "


@dataclass(frozen=True)
class Reason:
    """One lost test: ``headline`` says what failed, ``rows`` what came back and what was expected."""

    headline: str
    rows: tuple[tuple[str, str], ...] = ()
    mistake: str = ""

    def text(self) -> str:
        """For a terminal."""
        lines = [self.headline, *(f"  {name}  {value}" for name, value in self.rows)]
        return "\n".join(lines + ([MISTAKE + self.mistake] if self.mistake else []))


def reason(test: TestResult) -> Reason | None:
    """Why this test lost points; None where it lost none."""
    if test.status == PASSED:
        return None
    if test.status == NO_GRADE:
        return Reason("The test itself is broken; your instructor knows. It gives no grade, and takes none.")
    text = test.evalue.strip()
    if test.ename == "CheckFailed":
        return _of_check(text)
    if test.ename in OURS:
        return Reason(text[:1].upper() + text[1:])
    if test.ename == "NotImplementedError":
        return Reason(
            "This exercise is not solved yet", (("your code raised", f"NotImplementedError: {text[:TOLD_MAX]}"),)
        )
    if test.ename == "AssertionError":
        return Reason(text[:TOLD_MAX] or "A check found your answer wrong")
    if test.ename == "NameError" and text.startswith("`"):
        return Reason(text[: 2 * TOLD_MAX])  # our own words, and as much of the student's
    if not test.ename:
        return Reason(f"Partial credit: {test.points:g} of {test.max_points:g} points")
    lines = [line for line in text.split("\n") if line.strip()]
    rows = [("it raised", f"{test.ename}: {lines[0][:TOLD_MAX] if lines else ''}")]
    where = [line.removeprefix("in your code, ") for line in lines[1:] if line.startswith("in your code, ")]
    rows += [("where", line[:TOLD_MAX]) for line in where[-1:]]
    return Reason("The test stopped at an error when it used your code", tuple(rows))


def _of_check(text: str) -> Reason:
    """The message of a check that explains, taken apart: headline, rows, likely mistake."""
    lines, rows, mistake = text.split("\n"), [], []
    for line in lines[1:]:
        if line.startswith(MISTAKE):
            mistake.append(line.removeprefix(MISTAKE))
        elif mistake:
            mistake.append(line.strip())
        elif line.startswith("  ") and not line.startswith("   ") and "  " in line.strip():
            name, _, value = line.strip().partition("  ")
            rows.append((name, [value.strip()]))
        elif rows:
            rows[-1][1].append(line.strip())
    return Reason(lines[0], tuple((name, "\n".join(parts)) for name, parts in rows), " ".join(mistake))


def mistakes(result: Result) -> list[tuple[str, str]]:
    """(exercise, what went wrong) for each lost test: the likely mistake where one is known, else the headline."""
    found = []
    for test in result.tests:
        told = reason(test)
        if told is not None and test.status != NO_GRADE:
            found.append((test.exercise or test.grade_id, told.mistake or told.headline))
    return found


def explain(result: Result) -> str:
    """Everything that is known about one graded submission, for ``autograde why``."""
    got, most = sum(t.points for t in result.tests), sum(t.max_points for t in result.tests)
    lines = [f"{result.student}: {got:g} of {most:g} points in {result.seconds:.1f} s"]
    lines += [f"NOTE: {result.about}"] if result.about else []
    for test in result.tests:
        lines.append(f"\n{test.grade_id}: {test.points:g} of {test.max_points:g} ({test.status})")
        told = reason(test)
        if told is not None:
            lines += ["  " + line for line in told.text().split("\n")]
    if result.restarts:
        lines.append(f"\nthe Python process ended {result.restarts} time(s) and was started again")
    for title, notes in (("notes", result.notes), ("FLAGS", result.flags)):
        if notes:
            lines += [f"\n{title}:", *(f"  {note}" for note in notes)]
    return console.lines("\n".join(lines))
