"""nbgrader's gradebook and its ``autograded`` folder, written by one process, one session, one commit a submission.

The rows and files are those that nbgrader's own converter writes; its preprocessors and its ``determine_grade`` do
the work. What is left out is starting an application for each submission.
"""

from __future__ import annotations

import copy
import functools
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader import api
from nbgrader.api import Gradebook
from nbgrader.preprocessors import AssignLatePenalties, ComputeChecksums, LockCells, SaveCells
from nbgrader.utils import compute_checksum, determine_grade, is_grade, is_solution, is_task
from sqlalchemy.exc import OperationalError, SAWarning
from traitlets.config import Config, PyFileConfigLoader

from autograde.errors import Refusal
from autograde.grading.intake.plan import Plan
from autograde.grading.intake.submission import Submission
from autograde.grading.record.cache import write_atomically
from autograde.grading.record.result import NO_GRADE, Result
from autograde.grading.sandbox.process import remove

BUSY_SECONDS = 120
logging.getLogger("traitlets").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", category=SAWarning)  # nbgrader's own models, about its own autoflush


def resources(plan: Plan, db: str, student: str = "") -> dict:
    """What nbgrader's preprocessors read."""
    about = {"notebook": plan.notebook_name, "assignment": plan.chapter, "student": student, "db_url": db}
    return {"nbgrader": about}


def released(plan: Plan) -> NotebookNode:
    """The notebook as nbgrader's generate_assignment registers it: stubs for answers, hidden tests, checksums."""
    notebook = copy.deepcopy(plan.notebook)
    for cell in notebook.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        if grade_id in plan.stubs:
            cell.source = plan.stubs[grade_id]
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if "nbgrader" in cell.metadata:
            cell.metadata.nbgrader["cell_type"] = cell.cell_type
    for preprocessor in (LockCells(), ComputeChecksums()):
        notebook, _ = preprocessor.preprocess(notebook, {})
    return notebook


def register(plan: Plan, db: str) -> NotebookNode:
    """Make the assignment known to the gradebook; its notebook, to take metadata from."""
    notebook = released(plan)
    with session(db) as book:
        book.update_or_create_assignment(plan.chapter)
    try:
        SaveCells().preprocess(notebook, resources(plan, db))
    except RuntimeError as error:
        raise Refusal(
            f"{error}: the chapter's cells have changed since grades were recorded. "
            "Grade into a new gradebook (--db), or remove this assignment's submissions from the old one"
        ) from None
    return notebook


@functools.cache
def schema_version() -> str:
    """What ``alembic heads`` prints, without a new Python that must find it on the PATH."""
    import nbgrader
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(Path(nbgrader.__file__).parent / "alembic")).get_current_head()


@contextmanager
def session(db: str) -> Iterator[Gradebook]:
    """The gradebook, made if need be, closed at the end."""
    api.get_alembic_version = schema_version
    book = Gradebook(db)
    try:
        yield book
    finally:
        book.close()


@contextmanager
def one_commit(book: Gradebook) -> Iterator[None]:
    """All or nothing: nbgrader's calls, which commit as they go, only flush in here; the commit comes at the end."""
    book.db.commit = book.db.flush
    try:
        yield
    except BaseException:
        book.db.rollback()
        raise
    finally:
        del book.db.commit
    book.db.commit()


def assemble(template: NotebookNode, result: Result) -> NotebookNode:
    """The autograded notebook: the instructor's cells and metadata, the student's sources, our outputs."""
    notebook = copy.copy(template)
    notebook.cells = []
    for number, cell in enumerate(result.cells):
        if cell.index is None:
            make = nbformat.v4.new_code_cell if cell.kind == "code" else nbformat.v4.new_markdown_cell
            node = make(cell.source, id=f"own-{number}")
        else:
            node = copy.deepcopy(template.cells[cell.index])
            node.source = cell.source
        if node.cell_type == "code":
            node.outputs = [nbformat.from_dict(o) for o in cell.outputs]
            node.execution_count = number + 1 if cell.outputs else None
            for output in node.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = node.execution_count
        notebook.cells.append(node)
    return notebook


class Writer:
    """The only one who writes into the gradebook."""

    def __init__(self, plan: Plan, root: Path, db: str):
        self.plan, self.root, self.db = plan, root, db
        self.template = patiently(lambda: register(plan, db))
        self._context = session(db)
        self.book = self._context.__enter__()

    def close(self) -> None:
        """Give the database back."""
        self._context.__exit__(None, None, None)

    def known(self) -> set[str]:
        """Students who have a submission of this chapter in the gradebook."""
        return {s.student.id for s in self.book.assignment_submissions(self.plan.chapter)}

    def doubt(self, student: str) -> None:
        """The grades of an earlier submission stay, but a person must look at them."""

        def mark() -> None:
            with one_commit(self.book):
                rows = self.book.find_submission_notebook(self.plan.notebook_name, self.plan.chapter, student)
                for grade in rows.grades:
                    grade.needs_manual_grade = True

        patiently(mark, self.book.db.rollback)

    def write(self, submission: Submission, result: Result) -> tuple[float, float]:
        """The autograded notebook, then the rows; (score, maximum)."""
        notebook = assemble(self.template, result)
        folder = self.root / "autograded" / submission.student / self.plan.chapter
        self._write_files(folder, submission, notebook)
        return patiently(lambda: self._rows(submission, result, notebook), self.book.db.rollback)

    def _write_files(self, folder: Path, submission: Submission, notebook: NotebookNode) -> None:
        text = json.dumps(notebook, ensure_ascii=False) + "\n"  # nbformat indents, which takes Python ten times as long
        write_atomically(folder / f"{self.plan.notebook_name}.ipynb", text.encode(), 0o444)
        for name, data in submission.files.items():
            target = folder / name
            make_way(folder, name)
            if folder.resolve() in target.resolve().parents:
                write_atomically(target, data, 0o444)

    def _rows(self, submission: Submission, result: Result, notebook: NotebookNode) -> tuple[float, float]:
        with one_commit(self.book):
            self._grades(submission, result, notebook)
        rows = self._find(submission)
        if rows.assignment.total_seconds_late > 0:
            self._penalty(submission, notebook)
        return rows.score, rows.max_score

    def _find(self, submission: Submission) -> Any:
        return self.book.find_submission_notebook(self.plan.notebook_name, self.plan.chapter, submission.student)

    def _grades(self, submission: Submission, result: Result, notebook: NotebookNode) -> None:
        book, plan = self.book, self.plan
        book.update_or_create_student(submission.student)
        book.update_or_create_submission(plan.chapter, submission.student, timestamp=submission.timestamp)
        rows = self._find(submission)
        rows.late_submission_penalty = None  # of an earlier submission; the plugin decides anew
        grades = {grade.name: grade for grade in rows.grades}
        comments = {comment.name: comment for comment in rows.comments}
        broken = {test.grade_id for test in result.tests if test.status == NO_GRADE}
        for cell in notebook.cells:
            name = cell.metadata.get("nbgrader", {}).get("grade_id")
            if is_grade(cell):
                grade = grades[name]
                grade.auto_score = None if name in broken else determine_grade(cell)[0]
                grade.needs_manual_grade = grade.manual_score is not None or grade.auto_score is None
            if is_solution(cell) or is_task(cell):
                same = cell.metadata.nbgrader.get("checksum") == compute_checksum(cell) and not is_task(cell)
                comments[name].auto_comment = "No response." if same else None

    def _penalty(self, submission: Submission, notebook: NotebookNode) -> None:
        """What nbgrader's plugin says about a late submission; the course's own configuration names the plugin."""
        settings = Config()
        if (self.root / "nbgrader_config.py").is_file():
            settings = PyFileConfigLoader("nbgrader_config.py", path=str(self.root)).load_config()
        about = resources(self.plan, self.db, submission.student)
        AssignLatePenalties(config=settings).preprocess(notebook, about)


def make_way(folder: Path, name: str) -> None:
    """Remove what an earlier submission left where a file or one of its folders must be."""
    place = folder
    for part in Path(name).parts[:-1]:
        place = place / part
        if place.is_symlink() or place.is_file():
            place.unlink()
    if (folder / name).is_dir():
        remove(str(folder / name))


def patiently(work: Callable[[], Any], undo: Callable[[], Any] = lambda: None) -> Any:
    """Try again while someone else holds the gradebook."""
    deadline, pause = time.monotonic() + BUSY_SECONDS, 0.1
    while True:
        try:
            return work()
        except OperationalError as error:
            undo()
            busy = "locked" in str(error).lower() or "busy" in str(error).lower()
            if not busy or time.monotonic() > deadline:
                raise Refusal(f"the gradebook cannot be written: {error.orig}; nothing graded is lost") from None
            time.sleep(pause)
            pause = min(2.0, 2 * pause)
