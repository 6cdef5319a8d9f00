"""The page a student reads: what each lost point was about. No hidden test, no active content, nothing loaded."""

from __future__ import annotations

from pathlib import Path

from autograde.grading.feedback import clean, colours
from autograde.grading.feedback.reasons import reason
from autograde.grading.intake.plan import ANSWER, MANUAL, TEXT, Plan, Step
from autograde.grading.record.cache import write_atomically
from autograde.grading.record.result import NO_GRADE, PASSED, Result, TestResult

STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def _points(got: float, most: float) -> str:
    shade = "full" if got == most else "some" if got else "none"
    return f'<span class="points {shade}">{got:g} / {most:g}</span>'


def _why(test: TestResult) -> str:
    told = reason(test)
    if told is None:
        return ""
    parts = [f"<p><strong>{clean.text(told.headline)}</strong></p>"]
    if told.rows:
        rows = "".join(f"<tr><td>{clean.text(k)}</td><td>{clean.text(v)}</td></tr>" for k, v in told.rows)
        parts.append(f"<table>{rows}</table>")
    if told.mistake:
        parts.append(f'<p class="mistake"><strong>Likely mistake:</strong> {clean.text(told.mistake)}</p>')
    return f'<div class="why">{"".join(parts)}</div>'


class Page:
    """One student's page for one chapter."""

    def __init__(self, plan: Plan, result: Result, marks: dict[str, tuple[float, float, str]] | None = None):
        self.plan, self.result = plan, result
        self.marks = marks or {}  # manual scores and comments from the gradebook: grade_id to (score, maximum, comment)
        self.first_hidden = next((step.index for step in plan.steps if step.hides), len(plan.steps))
        self.tests: dict[str | None, list[TestResult]] = {}
        for test in result.tests:
            self.tests.setdefault(test.exercise, []).append(test)

    def points(self, test: TestResult) -> float:
        """A person's correction in the gradebook wins."""
        return self.marks[test.grade_id][0] if test.grade_id in self.marks else test.points

    def total(self) -> tuple[float, float]:
        """Score and maximum over tests and what a person graded."""
        tests = [(self.points(t), t.max_points) for t in self.result.tests]
        names = {t.grade_id for t in self.result.tests}
        tests += [(score, most) for name, (score, most, _) in self.marks.items() if name not in names]
        return sum(s for s, _ in tests), sum(m for _, m in tests)

    def html(self) -> str:
        """The whole page."""
        got, most = self.total()
        share = 100 * got / most if most else 100
        cards = [self._exercise(step) for step in self.plan.steps if step.kind in (ANSWER, MANUAL)]
        rows = "".join(self._row(step) for step in self.plan.steps if step.kind in (ANSWER, MANUAL))
        title = f"{self.plan.chapter}: feedback"
        return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{clean.POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer"><title>{clean.text(title)}</title>
<style>{STYLE}{colours.style()}</style></head>
<body><main>
<h1>{clean.text(self.plan.chapter)}</h1><p class="who">{clean.text(self.result.student)}</p>
<section class="card"><div class="head"><h2>Score</h2>{_points(got, most)}</div>
<div class="bar"><span style="width:{share:.1f}%"></span></div>
<table class="sum">{rows}</table></section>
{self._notes()}
{"".join(cards)}
</main></body></html>
"""

    def _sums(self, step: Step) -> tuple[float, float]:
        tests = self.tests.get(step.grade_id, [])
        if step.kind == MANUAL:
            score, most, _ = self.marks.get(step.grade_id or "", (0.0, step.points, ""))
            return score, most
        return sum(map(self.points, tests)), sum(t.max_points for t in tests)

    def _again(self, step: Step) -> str:
        """Where to read again: the heading under which the exercise stands."""
        for earlier in reversed(self.plan.steps[: step.index]):
            lines = earlier.source.split("\n") if earlier.kind == TEXT else []
            heading = next((line.lstrip("# ").strip() for line in lines if line.startswith("#")), "")
            if heading:
                return f"<p>Read again in the notebook: <em>{clean.text(heading)}</em>.</p>"
        return ""

    def _row(self, step: Step) -> str:
        got, most = self._sums(step)
        return f"<tr><td>{clean.text(step.grade_id or '')}</td><td>{_points(got, most)}</td></tr>"

    def _notes(self) -> str:
        notes = [self.result.about] * bool(self.result.about) + self.result.notes
        if not notes:
            return ""
        items = "".join(f"<li>{clean.text(note)}</li>" for note in notes)
        return f'<section class="card"><h2>Notes about your file</h2><ul>{items}</ul></section>'

    def _exercise(self, step: Step) -> str:
        got, most = self._sums(step)
        tests = self.tests.get(step.grade_id, [])
        lost = "".join(_why(test) for test in tests if test.status != PASSED)
        lost += self._again(step) if lost else ""
        passed = sum(test.status == PASSED for test in tests)
        counted = [test for test in tests if test.status != NO_GRADE]
        about = f"<p>{passed} of {len(counted)} checks passed.</p>" if len(counted) > 1 else ""
        comments = [self.marks[t][2] for t in (step.grade_id, *(x.grade_id for x in tests)) if t in self.marks]
        said = "".join(f"<p><strong>Comment:</strong> {clean.markdown(c)}</p>" for c in comments if c)
        cell = next((c for c in self.result.cells if c.index == step.index), None)
        mine = ""
        if cell is not None and cell.source.strip():
            shown = colours.code(cell.source) if cell.kind == "code" else clean.markdown(cell.source)
            shown += clean.outputs(clean.guarded(cell.outputs) if step.index > self.first_hidden else cell.outputs)
            mine = f"<details{' open' if lost else ''}><summary>your answer</summary>{shown}</details>"
        head = f'<div class="head"><h2>{clean.text(step.grade_id or "")}</h2>{_points(got, most)}</div>'
        return f'<section class="card">{head}{about}{lost}{said}{mine}</section>\n'


def write(plan: Plan, root: Path, result: Result, marks: dict | None = None) -> Path:
    """feedback/STUDENT/CHAPTER/NAME.html, where nbgrader's release_feedback looks for it."""
    path = root / "feedback" / result.student / plan.chapter / f"{plan.notebook_name}.html"
    write_atomically(path, Page(plan, result, marks).html().encode("utf-8", "replace"))
    return path
