"""The instructor's notebook taken apart: which cells set up, which are answered, which test, and what they name."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import threading
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from autograde.authoring import regions
from autograde.errors import Refusal
from autograde.grading.intake.submission import Known

SETUP, ANSWER, TEST, MANUAL, LAB, TEXT = "setup", "answer", "test", "manual", "lab", "text"
ORACLE = "_oracle"
CODE_MAX = 60_000  # characters; nobody writes more into a cell, and reading it would take the instructor's time
PARSING = threading.Lock()  # Python 3.11 counts the depth of syntax trees across threads, and stumbles over it
# What only IPython understands, line by line: `%magic`, `!command`, `?help`, `help?`, `x = %magic` and `x = !command`.
MAGIC = re.compile(
    r"^([ \t]*+)(?:([\w*][\w., \t\[\]*]*+=)[ \t]*+)?(?:[%!?][^\n]*+|[\w.*]++\?{1,2}+[ \t]*+)$", re.MULTILINE
)  # possessive throughout: nothing is read twice


def plain(code: str) -> str:
    """A cell as Python: a magic becomes ``pass``, or the None that is assigned; other lines stay as they are.

    IPython's own way looks through the whole cell again for each magic. Here every line is looked at once.
    """
    joined = code.replace("\\\n", "  ") if "\\\n" in code else code
    return MAGIC.sub(lambda found: f"{found[1]}{found[2]} None" if found[2] else f"{found[1]}pass", joined)


def parse(code: str) -> ast.Module | None:
    """The syntax tree of a cell, magics left out; None where it is not Python, or far too long."""
    if len(code) > CODE_MAX:
        return None
    for source in (code, plain(code)):
        try:
            with PARSING, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


def bound(code: str) -> set[str]:
    """Names that a cell binds at top level."""
    tree = parse(code)
    names: set[str] = set()
    todo: list[ast.AST] = list(tree.body) if tree else []
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif not isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            todo += ast.iter_child_nodes(node)
    return names


def used(code: str) -> set[str]:
    """Names that a cell reads, anywhere in it."""
    tree = parse(code)
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} if tree else set()


@dataclass(frozen=True)
class Step:
    """One cell of the instructor's notebook."""

    index: int
    kind: str
    source: str
    grade_id: str | None
    cell_id: str
    cell_kind: str = "code"
    points: float = 0.0
    library: tuple[str, ...] = ()  # the library's own answers to this exercise
    names: tuple[str, ...] = ()  # students' names that this cell reads
    exercise: str | None = None  # the answer that this test is about
    last: bool = False  # the last test of its exercise

    @property
    def hides(self) -> bool:
        """A test with hidden parts: what the student's process says after it may carry their inputs away."""
        return self.kind == TEST and any(region.name == regions.HIDDEN for region in regions.find(self.source)[0])

    @property
    def hidden(self) -> bool:
        """An oracle, ``NAME_oracle``: the judge runs it, the student's process never does, so no answer can call it."""
        return self.kind == SETUP and (self.grade_id or "").endswith(ORACLE)


@dataclass(frozen=True)
class Plan:
    """What to run for one chapter, and the notebook it came from."""

    chapter: str
    notebook_name: str
    notebook: Any = field(repr=False)
    steps: tuple[Step, ...] = field(repr=False)
    exports: frozenset[str] = frozenset()
    stubs: dict[str, str] = field(default_factory=dict, repr=False)  # what students find in the cells they fill

    @cached_property
    def tests(self) -> tuple[Step, ...]:
        """The cells that give points by running."""
        return tuple(step for step in self.steps if step.kind == TEST)

    @cached_property
    def key(self) -> str:
        """Changes when anything does that a grade could depend on."""
        return hashlib.sha256(
            json.dumps([[s.kind, s.source, s.grade_id, s.points, s.library] for s in self.steps]).encode()
        ).hexdigest()

    @cached_property
    def known(self) -> Known:
        """By what a submission of this chapter is recognised."""
        named = [step for step in self.steps if step.grade_id]
        cell_of = {step.cell_id: step.grade_id for step in named if step.cell_id}
        return Known(self.notebook_name, cell_of, self.stubs, frozenset(step.grade_id for step in named))

    @property
    def max_score(self) -> float:
        """Points that tests can give."""
        return sum(step.points for step in self.tests)

    @property
    def modules(self) -> list[str]:
        """Modules of the library that the chapter imports: the warm parent imports them once."""
        found: set[str] = set()
        for step in self.steps:
            tree = parse(step.source) if step.kind not in (TEXT, LAB) else None
            for node in ast.walk(tree) if tree else ():
                if isinstance(node, ast.Import):
                    found |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        return sorted(found | {name.rpartition(".")[0] for step in self.steps for name in step.library})

    @property
    def library(self) -> dict[str, tuple[str, ...]]:
        """The library's answers, by exercise."""
        return {step.grade_id or "": step.library for step in self.steps if step.library}

    @property
    def withheld(self) -> list[str]:
        """All of them."""
        return [name for names in self.library.values() for name in names]

    def resource(self, name: str, default: float) -> float:
        """A number that the chapter's own notebook sets for grading (``metadata.autograde``)."""
        value = self.notebook.metadata.get("autograde", {}).get(name, default)
        return float(value)


def kind_of(cell: Any) -> str:
    """What a cell of the instructor's notebook is for."""
    own = cell.metadata.get("nbgrader", {})
    if own.get("grade") and not own.get("solution"):
        return TEST if cell.cell_type == "code" else MANUAL
    if own.get("grade") or own.get("task"):
        return MANUAL
    if cell.cell_type != "code":
        return ANSWER if own.get("solution") else TEXT
    if own.get("solution"):
        return ANSWER
    return LAB if "lab" in cell.metadata.get("tags", []) else SETUP


def make(chapter: str, name: str, notebook: Any, stubs: dict[str, str] | None = None) -> Plan:
    """The plan of nbgrader's source notebook; ``stubs`` by nbgrader's own rule where none are given."""
    kinds = [kind_of(cell) for cell in notebook.cells]
    answers = [c for c, kind in zip(notebook.cells, kinds, strict=True) if kind == ANSWER and c.cell_type == "code"]
    exports = set().union(*(bound(c.source) for c in answers)) if answers else set()
    ordinary = [c.source for c, kind in zip(notebook.cells, kinds, strict=True) if kind == SETUP]
    imported = set().union(*map(bound, ordinary)) if ordinary else set()
    exports -= {n for n in exports & imported if not any(n == c.metadata.nbgrader.get("grade_id") for c in answers)}
    if clash := sorted(exports & imported):
        raise Refusal(f"{chapter}: {', '.join(clash)} is bound by an answer and by an ordinary cell; rename the latter")
    steps, current = [], None
    for i, (cell, kind) in enumerate(zip(notebook.cells, kinds, strict=True)):
        own = cell.metadata.get("nbgrader", {})
        if kind == ANSWER:
            current = own.get("grade_id")
        following = next((k for k in kinds[i + 1 :] if k in (ANSWER, TEST)), None)
        steps.append(
            Step(
                index=i,
                kind=kind,
                source=cell.source,
                grade_id=own.get("grade_id"),
                cell_id=cell.get("id", ""),
                cell_kind=cell.cell_type,
                points=float(own.get("points", 0)),
                library=tuple(cell.metadata.get("autograde", {}).get("library", ())) if kind == ANSWER else (),
                names=tuple(sorted(exports & used(cell.source))) if kind in (TEST, SETUP) else (),
                exercise=current if kind == TEST else None,
                last=kind == TEST and following != TEST,
            )
        )
    return Plan(
        chapter, name, notebook, tuple(steps), frozenset(exports), cleared(notebook) if stubs is None else stubs
    )


def cleared(notebook: Any) -> dict[str, str]:
    """The stubs that nbgrader's ClearSolutions makes."""
    import copy

    from nbgrader.preprocessors import ClearSolutions

    done, _ = ClearSolutions().preprocess(copy.deepcopy(notebook), {"language": "python"})
    own = [(c, c.metadata.get("nbgrader", {})) for c in done.cells]
    return {meta["grade_id"]: c.source for c, meta in own if meta.get("solution") and meta.get("grade_id")}


def load(chapter: str, root: Path) -> Plan:
    """The plan of a chapter: from ``solutions/`` through the chapter model, else from nbgrader's ``source/`` folder."""
    if (root / "solutions").is_dir():
        from autograde.authoring import chapters, notebooks

        found = chapters.select(root, [chapter])[0]
        writable = [cell for cell in found.cells if cell.is_answer or cell.is_manual]
        stubs = {cell.grade_id: chapters.stub(cell) for cell in writable}
        return make(found.id, found.name, notebooks.source(found), stubs)
    folders = sorted(p for p in (root / "source").glob("*") if p.is_dir())
    hits = [p for p in folders if chapter in (p.name, p.name.split("_")[0], p.name.partition("_")[2])]
    hits = hits or [p for p in folders if p.name.split("_")[0] == chapter.zfill(2)]
    if not hits:
        names = ", ".join(p.name for p in folders) or "none"
        raise Refusal(f"no chapter {chapter!r} in {root}: solutions/ is missing, and source/ has {names}")
    paths = sorted(hits[0].glob("*.ipynb"))
    if len(paths) != 1:
        raise Refusal(f"{hits[0]} must hold exactly one notebook; it holds {len(paths)}")
    import nbformat

    return make(hits[0].name, paths[0].stem, nbformat.read(paths[0], as_version=4))
