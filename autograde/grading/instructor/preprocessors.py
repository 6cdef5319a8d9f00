"""nbgrader's own commands and formgrader's button take our path: what to put into ``nbgrader_config.py``.

``configure(get_config())`` replaces nbgrader's execution by the sandboxes and the cache, and its feedback by one
without hidden tests and active content. Rows, folders and file names stay nbgrader's.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.preprocessors import AssignLatePenalties, CheckCellMetadata, NbGraderPreprocessor, SaveAutoGrades
from traitlets import Float, Unicode

from autograde.grading.feedback import clean, colours
from autograde.grading.intake.submission import NotGradable
from autograde.grading.record.result import NO_GRADE, Result

CONFIG = """# Written by `autograde grade`: nbgrader's commands and formgrader's button grade in the sandboxes.
from autograde.grading.instructor.preprocessors import configure

c = get_config()
configure(c, course={course!r})
"""


def configure(config: Any, course: str = "") -> None:
    """nbgrader's settings for this course."""
    config.Autograde.sanitize_preprocessors = [Rebuild]
    config.Autograde.autograde_preprocessors = [SaveAutoGrades, NoGrade, AssignLatePenalties, CheckCellMetadata]
    config.Rebuild.course = course
    feedback = ["nbgrader.preprocessors.GetGrades", StudentView, "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor"]
    config.GenerateFeedback.preprocessors = feedback
    config.SanitizeHTML.enabled = True
    config.HTMLExporter.preprocessors = [Harmless]  # formgrader's page of a submission
    filters = {"markdown2html": clean.markdown, "highlight_code": lambda source, **_: colours.code(source)}
    config.HTMLExporter.filters = filters


def write_config(root: Path, course: Path) -> Path | None:
    """Write ``nbgrader_config.py`` unless the instructor has one of her own."""
    path = root / "nbgrader_config.py"
    if path.exists():
        return None
    path.write_text(CONFIG.format(course=str(course) if course != root else ""), encoding="utf-8")
    return path


class Rebuild(NbGraderPreprocessor):
    """First and only sanitizer: the graded notebook, from the cache or graded now."""

    course = Unicode("", help="The folder of the chapters, where it is not the course directory.").tag(config=True)
    timeout = Float(30.0, help="Seconds that one cell may take.").tag(config=True)
    lock = threading.Lock()

    def preprocess(self, _: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Replace whatever the student handed in by the instructor's structure with graded answers."""
        from autograde.grading.record import gradebook

        about = resources["nbgrader"]
        root = Path.cwd()  # nbgrader's converter runs in the course directory
        result, plan = self._result(root, about["assignment"], about["student"])
        resources["autograde"] = {"broken": [t.grade_id for t in result.tests if t.status == NO_GRADE]}
        for note in (*result.notes, *result.flags):
            self.log.warning("%s: %s", about["student"], note)
        notebook = gradebook.assemble(gradebook.released(plan), result)
        notebook.metadata["autograde"] = resources["autograde"]
        return notebook, resources

    def _result(self, root: Path, chapter: str, student: str) -> tuple[Result, Any]:
        from autograde.grading.intake import plan as planning
        from autograde.grading.intake.folders import read_one
        from autograde.grading.record.provenance import GRADED, provenance
        from autograde.grading.running.classrun import ClassRun
        from autograde.grading.running.settings import gradebook_url, limits_for

        plan = planning.load(chapter, Path(self.course) if self.course else root)
        try:
            submission = read_one(plan, root, student)
        except NotGradable as error:
            raise RuntimeError(f"{student}: {error}: not graded") from None
        found = provenance(root, plan, student)
        if found.state == GRADED:
            return found.result, plan
        run = ClassRun(plan, root, limits_for(plan, self.timeout), 1, gradebook_url(root, None))
        with self.lock:
            return run.one(submission), plan


class NoGrade(NbGraderPreprocessor):
    """After nbgrader has saved its grades: a test that is itself broken gives none."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Take the automatic score of broken tests back."""
        broken = nb.metadata.pop("autograde", {}).get("broken", [])
        about = resources["nbgrader"]
        if broken:
            with Gradebook(about["db_url"]) as book:
                for name in broken:
                    grade = book.find_grade(name, about["notebook"], about["assignment"], about["student"])
                    grade.auto_score, grade.needs_manual_grade = None, True
                book.db.commit()
        return nb, resources


class Harmless(NbGraderPreprocessor):
    """What formgrader shows of a submission: text, real pictures, plain tables; nothing that a browser could run."""

    enabled = True

    def preprocess_cell(self, cell: NotebookNode, resources: dict, _: int) -> tuple[NotebookNode, dict]:
        """One cell."""
        cell.pop("attachments", None)
        for output in cell.get("outputs", []):
            if "data" in output:
                output.data = NotebookNode(clean.bundle(output.data))
        return cell, resources


class StudentView(NbGraderPreprocessor):
    """What nbgrader's own feedback shows: no hidden test or input, no frame through one, no active content."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """All cells, in order: what comes after the first hidden test has seen its inputs."""
        self.seen = False
        return super().preprocess(nb, resources)

    def preprocess_cell(self, cell: NotebookNode, resources: dict, _: int) -> tuple[NotebookNode, dict]:
        """One cell."""
        from autograde.authoring import regions

        own = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "markdown":
            cell.source = clean.fragment(cell.source)
        if own.get("grade") and not own.get("solution"):
            self.seen = self.seen or any(r.name == regions.HIDDEN for r in regions.find(cell.source)[0])
            hidden = {regions.HIDDEN: "# (hidden checks ran here)", regions.SCHEME: ""}
            cell.source = regions.replace(cell.source, hidden)
        if self.seen and "outputs" in cell:
            checked = [
                o for o in cell.outputs if o.output_type == "error" and o.ename == "CheckFailed" and own.get("grade")
            ]
            cell.outputs = checked or [NotebookNode(o) for o in clean.guarded(cell.outputs)]
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                output.traceback = [f"{output.ename}: {output.evalue}"]
            elif "data" in output:
                kept = {m: v for m, v in output.data.items() if clean.image(m, v) or m == "text/plain"}
                output.data = NotebookNode(kept)
        return cell, resources
