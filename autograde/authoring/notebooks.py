"""The notebooks made from a chapter: the student's, nbgrader's source, the solution that papermill runs."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from autograde.authoring import records, regions
from autograde.authoring.chapters import Cell, Chapter, stub

if TYPE_CHECKING:
    from nbformat import NotebookNode

NOTEBOOK = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def student(chapter: Chapter, answers: dict[str, str] | None = None) -> NotebookNode:
    """What students get; ``answers`` (exercise: source) fills some answer cells in, as a student would."""
    answers = answers or {}
    for name in answers:
        chapter.exercise(name)
    cells = []
    for cell in chapter.cells:
        source = cell.source
        if cell.is_answer or cell.is_manual:
            source = stub(cell)
        elif cell.is_check:
            source = cell.visible
        node = _node(chapter, cell, source)
        if cell.nbgrader:
            _release(node)
        if cell.grade_id in answers:
            node.source = answers[cell.grade_id].rstrip("\n")
        cells.append(node)
    return _notebook(cells)


def source(chapter: Chapter) -> NotebookNode:
    """nbgrader's source notebook: markers, hidden tests and the names of the library's answers included."""
    cells = []
    for cell in chapter.cells:
        node = _node(chapter, cell, _graded(chapter, cell))
        for key in ("autograde", "exercise"):
            if key in cell.metadata:
                node.metadata[key] = cell.metadata[key]
        cells.append(node)
    return _notebook(cells)


def solution(chapter: Chapter) -> NotebookNode:
    """The author's notebook, every check included, ready to run."""
    return _notebook([_node(chapter, cell, _unmarked(_graded(chapter, cell))) for cell in chapter.cells])


def write(notebook: NotebookNode) -> str:
    """The file's text: nbgrader's validator has seen it, keys are sorted, the last line ends."""
    import nbformat
    from nbgrader.nbgraderformat import MetadataValidator

    nbformat.validate(notebook)
    MetadataValidator().validate_nb(notebook)
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def _graded(chapter: Chapter, cell: Cell) -> str:
    return records.graded(chapter, cell.source) if cell.is_check else cell.source


def _unmarked(text: str) -> str:
    for name in (regions.SOLUTION, regions.HIDDEN, regions.SCHEME):
        text = regions.without_markers(text, name)
    return text


def _notebook(cells: list) -> NotebookNode:
    from nbformat import v4

    metadata = json.loads(json.dumps(NOTEBOOK)) | {"language_info": {"name": "python"}}
    return v4.new_notebook(cells=cells, metadata=metadata, nbformat=4, nbformat_minor=5)


def _node(chapter: Chapter, cell: Cell, text: str) -> NotebookNode:
    """A cell with an id that depends only on its place and its name, and nbgrader's keys filled in."""
    from nbformat import v4

    header = cell.metadata.get("exercise", {}).get("id")
    place = cell.grade_id or (f"header of {header}" if header else str(cell.index))
    key = hashlib.sha256(f"{chapter.id}/{place}".encode()).hexdigest()[:12]
    if cell.kind == "markdown":
        node = v4.new_markdown_cell(prose(chapter, cell, text), id=key)
    elif cell.kind == "code":
        node = v4.new_code_cell(text, id=key)
    else:
        node = v4.new_raw_cell(text, id=key)
    if cell.tags:
        node.metadata["tags"] = list(cell.tags)
    if "hide-input" in cell.tags:
        node.metadata["jupyter"] = {"source_hidden": True}
    if cell.nbgrader:
        node.metadata["nbgrader"] = _defaults(cell)
    return node


def _defaults(cell: Cell) -> dict:
    """nbgrader's schema 3 in full: a check is locked, an answer is not."""
    given = cell.nbgrader
    grade, writes = bool(given.get("grade")), bool(given.get("solution"))
    filled = {
        "schema_version": 3,
        "grade": grade,
        "grade_id": cell.grade_id,
        "solution": writes,
        "task": bool(given.get("task", False)),
        "locked": bool(given.get("locked", not writes)),
    }
    if grade or filled["task"]:
        filled["points"] = given["points"]
    return filled


def _release(node: NotebookNode) -> None:
    """What nbgrader's own generate_assignment adds: locks, the cell's type and the checksum of what was released."""
    from nbgrader.utils import compute_checksum

    meta = node.metadata["nbgrader"]
    node.metadata["deletable"] = False
    if not meta["solution"]:
        node.metadata["editable"] = False
    meta["cell_type"] = node.cell_type
    meta["checksum"] = compute_checksum(node)


def prose(chapter: Chapter, cell: Cell, text: str) -> str:
    """A markdown cell with the front's numbers filled in and, over an exercise, its badge line."""
    for token, value in front(chapter).items():
        text = text.replace("{{" + token + "}}", value)
    if "exercise" not in cell.metadata:
        return text
    badge = _badge(chapter, cell.metadata["exercise"]["id"])
    lines = text.split("\n")
    head = next((i for i, line in enumerate(lines) if line.startswith("#")), None)
    at = 0 if head is None else head + 1
    return "\n".join(
        [*lines[:at], *([""] if at else []), badge, *([""] if lines[at:] and lines[at] else []), *lines[at:]]
    )


def _badge(chapter: Chapter, name: str) -> str:
    exercise = chapter.exercise(name)
    about, points = exercise.about, exercise.points

    def dots(n: int) -> str:
        return "●" * n + "○" * (5 - n)

    return (
        f"**Exercise {exercise.number} · `{name}`** — difficulty {dots(about['difficulty'])} · "
        f"importance {dots(about['importance'])} · about {about['minutes']} min · {points} point{'s' * (points != 1)}"
    )


def front(chapter: Chapter) -> dict[str, str]:
    """The numbers that a chapter's first page shows, none of them written by hand."""
    return {
        "exercises": str(len(chapter.exercises)),
        "points": str(sum(exercise.points for exercise in chapter.exercises)),
        "minutes": str(sum(exercise.about["minutes"] for exercise in chapter.exercises)),
        "budget": budget(chapter),
    }


def measured(chapter: Chapter) -> dict:
    """The last recorded run of each profile: ``autograde run --record`` writes it."""
    path = chapter.folder / "measured.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def budget(chapter: Chapter) -> str:
    """One line on the cost of the laptop profile, from the last recorded run."""
    run = measured(chapter).get("laptop")
    if not run:
        return "not measured yet"
    cores = f"{run['cores']} CPU core{'s' * (run['cores'] > 1)}"
    training = f", of which training {run['training_seconds']} s" if run["training_seconds"] else ""
    return f"{run['seconds']} s to run on {cores}{training}; {run['memory_mb'] / 1000:.1f} GB of memory"
