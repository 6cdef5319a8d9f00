"""Is a chapter well formed? Every problem names its file and line, and says what to write instead."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from autograde.authoring import regions
from autograde.authoring.chapters import Cell, Chapter, stub
from autograde.errors import AuthoringError

TAGS = {
    "lab": "run by students and papermill, not by grading",
    "train": "its seconds count as training",
    "parameters": "PROFILE and TRAIN, set by papermill",
    "hide-input": "folded in JupyterLab",
}
NBGRADER = {"grade", "grade_id", "locked", "points", "schema_version", "solution", "task"}
METADATA = {"nbgrader", "tags", "exercise", "autograde", "lines_to_next_cell"}
SCALES = {"difficulty": range(1, 6), "importance": range(1, 6), "minutes": range(1, 241)}

ASKS = re.compile(r"""checks\.run\(\s*["'](\w+)["'],\s*(\w+)\s*\)""")  # what a check cell asks, and of which answer


def validate(chapter: Chapter) -> Chapter:
    """The chapter itself, or AuthoringError with all of its problems."""
    problems = list(_problems(chapter))
    if problems:
        raise AuthoringError(problems)
    return chapter


def _problems(chapter: Chapter) -> Iterator[str]:
    for cell in chapter.cells:
        for line, sentence in (*_cell(cell), *_python(cell)):
            yield f"{chapter.where(cell, line)}: {sentence}"
    yield from _order(chapter)
    yield from _parameters(chapter)


def _cell(cell: Cell) -> Iterator[tuple[int, str]]:
    """Problems of one cell alone: its keys, tags and regions."""
    head = -1
    for key in cell.metadata.keys() - METADATA:
        yield head, f"unknown cell metadata {key!r}; known: {', '.join(sorted(METADATA))}"
    for tag in set(cell.tags) - TAGS.keys():
        yield head, f"unknown tag {tag!r}; known: {', '.join(TAGS)}"
    for key in cell.nbgrader.keys() - NBGRADER:
        yield head, f"unknown nbgrader key {key!r}; known: {', '.join(sorted(NBGRADER))}"
    if cell.nbgrader and not cell.grade_id:
        yield head, "an nbgrader cell needs a grade_id"
    if cell.nbgrader.get("grade") and not _positive(cell.nbgrader.get("points")):
        yield head, f"{cell.grade_id}: a graded cell needs points, a whole number above 0"
    if cell.is_answer and "points" in cell.nbgrader:
        yield head, f"{cell.grade_id}: points belong to the check cells, not to the answer"
    if cell.is_graded and cell.is_lab:
        yield head, f"{cell.grade_id}: a graded cell cannot be a lab cell (grading skips those)"
    if cell.kind == "markdown" and (cell.is_answer or cell.is_check):
        yield head, f"{cell.grade_id}: a markdown cell can only be graded by a person (grade and solution both true)"
    for asked in ASKS.finditer(cell.source) if cell.is_check else ():
        if asked.group(1) != asked.group(2) or cell.grade_id != f"{asked.group(1)}_check":
            line = cell.source.count("\n", 0, asked.start())
            call = f'checks.run("{asked.group(1)}", {asked.group(2)})'
            yield line, f"{cell.grade_id}: {call} must name one exercise, that of its id"
    found, wrong = regions.find(cell.source)
    yield from wrong
    allowed = {
        regions.SOLUTION: cell.is_answer or cell.is_manual,
        regions.HIDDEN: cell.is_check,
        regions.SCHEME: cell.is_manual,
    }
    for region in found:
        if not allowed[region.name]:
            yield region.start, f"a {region.name} region in a cell of another kind would reach students or be lost"
    if (cell.is_answer or cell.is_manual) and not any(r.name == regions.SOLUTION for r in found) and not wrong:
        yield head, f"{cell.grade_id}: no `### BEGIN SOLUTION` region: students would get the whole answer"


def _python(cell: Cell) -> Iterator[tuple[int, str]]:
    """Problems of the code: it must parse as written and as released, and define what it promises."""
    if cell.kind != "code" or cell.is_lab or regions.find(cell.source)[1]:
        return
    for line, text in enumerate(cell.source.split("\n")):
        if text.lstrip().startswith(("%", "!")):
            yield line, "a magic or shell line can only stand in a lab cell: grading runs plain Python"
            return
    tree = None
    for version, source in (("as written", cell.source), ("without the solution", stub(cell)), ("", cell.visible)):
        try:
            parsed = ast.parse(source)
            tree = tree or parsed
        except SyntaxError as error:
            where = (error.lineno or 1) - 1 if version == "as written" else 0
            yield where, f"does not parse {version or 'without its hidden tests'}: {error.msg}"
            return
    if cell.is_answer:
        kinds = (ast.FunctionDef, ast.ClassDef)
        if cell.grade_id not in [node.name for node in tree.body if isinstance(node, kinds)]:
            yield -1, f"the answer cell {cell.grade_id!r} must define a function or class of that name"
        elif _raises_at_once(ast.parse(stub(cell))):
            yield 0, f"{cell.grade_id}: the solution must lie inside a function, or running the empty cell would fail"
    if cell.is_check:
        yield from _seeds(tree)


def _raises_at_once(tree: ast.Module) -> bool:
    """Whether the stub's error would be raised when the cell runs, not when its function is called."""
    todo = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Raise):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo += list(ast.iter_child_nodes(node))
    return False


def _seeds(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "SEED" and isinstance(node.ctx, ast.Store):
            yield node.lineno - 1, "set SEED in an earlier cell: `autograde check` varies it before it runs this one"
        if isinstance(node, ast.Call) and not node.args and not node.keywords:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("default_rng", "RandomState", "Random"):
                yield node.lineno - 1, f"{name}() without a seed: no two runs of this check would agree"


def _order(chapter: Chapter) -> Iterator[str]:
    """Header, answer, checks, in that order, each with its own name."""
    seen: dict[str, Cell] = {}
    header = answer = None
    checks = 0
    for cell in chapter.cells:
        where = chapter.where(cell, -1)
        if cell.grade_id:
            if cell.grade_id in seen:
                yield f"{where}: grade_id {cell.grade_id!r} is already used at line {seen[cell.grade_id].line - 1}"
            seen.setdefault(cell.grade_id, cell)
        if "exercise" in cell.metadata:
            if header and not answer:
                yield f"{where}: the exercise before this one, {_id(header)!r}, has no answer cell"
            if answer and answer.is_answer and not checks:
                yield f"{chapter.where(answer, -1)}: nothing checks {answer.grade_id!r}"
            header, answer, checks = cell, None, 0
            yield from (f"{where}: {sentence}" for sentence in _about(cell))
        elif cell.is_answer or cell.is_manual:
            if not header or answer:
                yield f"{where}: the answer {cell.grade_id!r} has no exercise header of its own before it"
            elif _id(header) != cell.grade_id:
                yield f"{where}: the header above is for {_id(header)!r}, the answer for {cell.grade_id!r}"
            answer = cell
        elif cell.is_check:
            checks += 1
            if not answer:
                yield f"{where}: the check {cell.grade_id!r} has no answer cell before it"
            elif not (cell.grade_id or "").startswith(f"{answer.grade_id}_"):
                yield f"{where}: name the check {answer.grade_id}_..., after the exercise it checks"
    if header and not answer:
        yield f"{chapter.where(header, -1)}: the exercise {_id(header)!r} has no answer cell"
    if answer and answer.is_answer and not checks:
        yield f"{chapter.where(answer, -1)}: nothing checks {answer.grade_id!r}"


def _id(header: Cell) -> str:
    return header.metadata["exercise"].get("id", "")


def _about(header: Cell) -> Iterator[str]:
    about = header.metadata["exercise"]
    if header.kind != "markdown":
        yield "an exercise header is a markdown cell"
    for key, scale in SCALES.items():
        if about.get(key) not in scale:
            yield f"exercise {about.get('id')!r}: {key} must be a whole number from {scale[0]} to {scale[-1]}"
    for key in about.keys() - SCALES.keys() - {"id"}:
        yield f"exercise {about.get('id')!r}: unknown key {key!r}"


def _parameters(chapter: Chapter) -> Iterator[str]:
    cells = [cell for cell in chapter.cells if "parameters" in cell.tags]
    if len(cells) != 1:
        line = chapter.where(cells[1], -1) if cells else chapter.where(chapter.cells[0], -1)
        yield f'{line}: exactly one cell must be tagged "parameters"; found {len(cells)}'
        return
    tree = ast.parse(cells[0].source)
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for name in sorted({"PROFILE", "TRAIN"} - names):
        yield f"{chapter.where(cells[0])}: the parameters cell must set {name}"


def _positive(points: object) -> bool:
    return isinstance(points, int) and not isinstance(points, bool) and points > 0
