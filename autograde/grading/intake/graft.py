"""The notebook that runs: the instructor's structure with the student's answers in it.

Tags, points, flags, locked sources, deleted, renamed or doubled cells: nothing of that is the student's to decide.
Cells that students added run where they stood, in the student's process only. Every repair is a note.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from autograde.authoring import regions
from autograde.grading.intake.plan import ANSWER, LAB, MANUAL, SETUP, TEST, TEXT, Plan, Step, parse, plain, used
from autograde.grading.intake.submission import Cell, Submission, defined

DOORS = {"getattr", "vars", "importlib", "sys"}  # ways to a module that no import in sight opens


@dataclass
class Grafted:
    """One cell to run: a step of the plan, or a cell of the student's own (``step`` is None)."""

    step: Step | None
    source: str
    kind: str = "code"
    answered: bool = True  # for answers: whether the student handed one in
    own: str | None = None  # the student's changed version of an ordinary cell, run after the instructor's


@dataclass
class Graft:
    """The cells in order, and what had to be repaired."""

    cells: list[Grafted] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)  # exercise: why its answer gets no points


def _same(a: str, b: str) -> bool:
    return a.strip() == b.strip()


def _released(theirs: str, source: str) -> bool:
    """Whether a check cell is still what students were given: the source without what is hidden."""
    lines = theirs.strip().splitlines()
    return lines == regions.replace(source, {regions.HIDDEN: "", regions.SCHEME: ""}).strip().splitlines()


class _Matcher:
    """Which step of the plan a submitted cell stands for."""

    def __init__(self, plan: Plan):
        self.by_grade_id = {s.grade_id: s for s in plan.steps if s.grade_id}
        self.by_cell_id = {s.cell_id: s for s in plan.steps if s.cell_id}
        self.by_source = {s.source.strip(): s for s in plan.steps if s.kind in (SETUP, LAB, TEXT) and s.source.strip()}

    def __call__(self, cell: Cell) -> Step | None:
        step = self.by_grade_id.get(cell.grade_id) if cell.grade_id else None
        step = step or (self.by_cell_id.get(cell.cell_id) if cell.cell_id else None)
        return step or self.by_source.get(cell.source.strip())


def graft(plan: Plan, submission: Submission) -> Graft:
    """The plan's cells with the submission's answers, and the student's own cells in between."""
    match, out = _Matcher(plan), Graft(notes=list(submission.notes))
    matched = list(map(match, submission.cells))
    counting = _counting(plan, submission.cells, matched, out.notes)
    answers: dict[int, list[Cell]] = {}
    extras: dict[int, list[Cell]] = {}
    last = -1
    for place, (cell, step) in enumerate(zip(submission.cells, matched, strict=True)):
        step = counting.get(place, step)
        filled = step is not None and step.kind in (ANSWER, MANUAL)
        if step is None or (filled and place not in counting) or (not filled and step.index in answers):
            extras.setdefault(last, []).append(cell)
            continue
        answers[step.index] = [cell]
        last = step.index
    _add_extras(out, extras.get(-1, []))
    for step in plan.steps:
        out.cells.append(_grafted(step, answers.get(step.index, []), out.notes))
        _add_extras(out, extras.get(step.index, []))
    out.refused = library_answers(plan, out)
    return out


def _counting(plan: Plan, cells: list[Cell], matched: list[Step | None], notes: list[str]) -> dict[int, Step]:
    """Which places hold the answers: of several copies the last one before its check, or else the last one.

    An answer cell that is nowhere to be found may have lost all that marks it: then what defines its name counts.
    """
    places: dict[int, list[int]] = {}
    checks: dict[str | None, int] = {}
    named: dict[str, list[int]] = {}
    for place, (cell, step) in enumerate(zip(cells, matched, strict=True)):
        if step is None:
            for name in defined(cell):
                named.setdefault(name, []).append(place)
        elif step.kind in (ANSWER, MANUAL):
            places.setdefault(step.index, []).append(place)
        elif step.kind == TEST:
            checks.setdefault(step.exercise, place)
    found: dict[int, Step] = {}
    for step in plan.steps:
        if step.kind not in (ANSWER, MANUAL):
            continue
        copies = places.get(step.index, [])
        if not copies and (copies := named.get(step.grade_id or "", [])):
            notes.append(f"the answer cell {step.grade_id!r} had lost its mark; it was found by the name it defines")
        before = [place for place in copies if place < checks.get(step.grade_id, len(cells))]
        if len(copies) > 1:
            which = "the last one" if before == copies or not before else "the last one above its check"
            notes.append(f"the answer cell {step.grade_id!r} appears more than once; {which} counts")
        if copies:
            found[(before or copies)[-1]] = step
    return found


def library_answers(plan: Plan, grafted: Graft) -> dict[str, str]:
    """Exercises whose answer calls the library's own, by its text; only suspicious texts cost an import."""
    from autograde.authoring import library_answers

    setups = [plain(step.source) for step in plan.steps if step.kind == SETUP]
    setups = [source for source in setups if parse(source)]
    refused = {}
    for cell in grafted.cells:
        step = cell.step
        if step is None or not step.library or not cell.source.strip():
            continue
        tree = parse(cell.source)
        owners = {name.split(".")[0] for name in step.library}
        doors = set().union(DOORS, *(_doors(source, owners) for source in setups))
        imports = any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.walk(tree)) if tree else False
        if tree and (imports or doors & used(cell.source)):
            hits = library_answers.found(ast.unparse(tree), step.library, setups)
            if hits:
                refused[step.grade_id or ""] = library_answers.sentence(step.grade_id or "", hits[0][1])
    return refused


def _doors(source: str, owners: set[str]) -> set[str]:
    """Names by which an ordinary cell makes these packages reachable, the checks apart."""
    tree, names = parse(source), set()
    for node in ast.walk(tree) if tree else ():
        modules = []
        if isinstance(node, ast.Import):
            modules = [(alias.name, alias.asname or alias.name.split(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [(f"{node.module}.{alias.name}", alias.asname or alias.name) for alias in node.names]
        names |= {bound for name, bound in modules if name.split(".")[0] in owners and name != "coursekit.checks"}
    return names


def _add_extras(out: Graft, cells: list[Cell]) -> None:
    for cell in cells:
        if cell.source.strip() and cell.kind in ("code", "markdown"):
            out.cells.append(Grafted(None, cell.source, cell.kind))


def _grafted(step: Step, found: list[Cell], notes: list[str]) -> Grafted:
    if step.kind in (ANSWER, MANUAL):
        if not found:
            notes.append(f"the answer cell {step.grade_id!r} is missing from the submission")
            return Grafted(step, "", step.cell_kind, answered=False)
        return Grafted(step, found[-1].source, step.cell_kind)
    if step.kind == TEST and not found:
        notes.append(f"the check cell {step.grade_id!r} was missing; it was put back")
    elif step.kind == TEST and not _released(found[-1].source, step.source):
        notes.append(f"the check cell {step.grade_id!r} was changed; the original ran instead")
    own = None
    if step.kind == SETUP and found and not _same(found[-1].source, step.source) and found[-1].kind == "code":
        own = found[-1].source
    return Grafted(step, step.source, step.cell_kind, own=own)
