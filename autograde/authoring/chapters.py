"""The model of a chapter: its cells, its exercises and their checks, read from ``solutions/NN_name/chapter.py``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from autograde.authoring import regions
from autograde.errors import AuthoringError, Refusal

NAME = re.compile(r"(\d\d)_([a-z0-9_]+)")


@dataclass(frozen=True)
class Cell:
    """One cell of a chapter; ``line`` is where its source begins in chapter.py, counted from 1."""

    index: int
    kind: str
    source: str
    line: int
    metadata: dict = field(default_factory=dict)

    @property
    def tags(self) -> list[str]:
        """Jupyter's tags."""
        return self.metadata.get("tags", [])

    @property
    def nbgrader(self) -> dict:
        """The author's abbreviated nbgrader keys."""
        return self.metadata.get("nbgrader", {})

    @property
    def grade_id(self) -> str | None:
        """nbgrader's identifier, where the cell has one."""
        return self.nbgrader.get("grade_id")

    @property
    def is_answer(self) -> bool:
        """A cell in which the student writes code that checks then call."""
        return bool(self.nbgrader.get("solution")) and not self.nbgrader.get("grade")

    @property
    def is_check(self) -> bool:
        """A cell that gives points by running."""
        return bool(self.nbgrader.get("grade")) and not self.nbgrader.get("solution")

    @property
    def is_manual(self) -> bool:
        """A cell that a person grades: the student writes in it, and it has points."""
        return bool(self.nbgrader.get("grade")) and bool(self.nbgrader.get("solution"))

    @property
    def is_graded(self) -> bool:
        """An answer, a check or a cell that a person grades."""
        return self.is_answer or self.is_check or self.is_manual

    @property
    def is_lab(self) -> bool:
        """Training, figures, live labs: students and papermill run it, grading does not."""
        return "lab" in self.tags

    @property
    def visible(self) -> str:
        """What a student may read of a check cell."""
        return regions.replace(self.source, {regions.HIDDEN: "", regions.SCHEME: ""})

    @property
    def has_hidden(self) -> bool:
        """Whether some of its tests are kept from students."""
        return any(region.name == regions.HIDDEN for region in regions.find(self.source)[0])


@dataclass(frozen=True)
class Exercise:
    """One idea: a header, the cell where the student writes ``name``, and the checks that call it."""

    number: int
    header: Cell
    answer: Cell
    checks: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """The function or class that the student writes, which is also the grade_id of the answer."""
        return self.answer.grade_id or ""

    @property
    def library(self) -> list[str]:
        """Dotted names of the library's own answers; calling one scores 0."""
        return self.answer.metadata.get("autograde", {}).get("library", [])

    @property
    def points(self) -> int:
        """The sum over its checks, or the points a person gives."""
        return sum(cell.nbgrader.get("points", 0) for cell in (*self.checks, self.answer))

    @property
    def about(self) -> dict:
        """Difficulty, importance and minutes, as the author wrote them."""
        return self.header.metadata["exercise"]

    @property
    def reference(self) -> str:
        """The author's answer: the cell's source without the markers."""
        return regions.without_markers(self.answer.source, regions.SOLUTION)

    @property
    def stub(self) -> str:
        """What the student finds in the answer cell."""
        return stub(self.answer)


def stub(cell: Cell) -> str:
    """An answer cell with its solution replaced by an error that names the exercise; prose asks for prose."""
    text = f'raise NotImplementedError("{cell.grade_id}: write your answer here")'
    if cell.kind == "markdown" or cell.is_manual:
        text = "*Write your answer here.*" if cell.kind == "markdown" else "# Write your answer here."
    return regions.replace(cell.source, {regions.SOLUTION: text, regions.SCHEME: ""})


@dataclass(frozen=True)
class Chapter:
    """A chapter as written: ``folder`` is solutions/NN_name."""

    folder: Path
    cells: tuple[Cell, ...]

    @property
    def id(self) -> str:
        """NN_name, nbgrader's name of the assignment."""
        return self.folder.name

    @property
    def name(self) -> str:
        """The notebook's name, without the number."""
        return self.id.split("_", 1)[1]

    @property
    def path(self) -> Path:
        """The percent script."""
        return self.folder / "chapter.py"

    @property
    def title(self) -> str:
        """The first heading."""
        headings = (re.search(r"^#\s+(.+)$", cell.source, re.M) for cell in self.cells if cell.kind == "markdown")
        return next((h.group(1).strip() for h in headings if h), self.id)

    @cached_property
    def exercises(self) -> tuple[Exercise, ...]:
        """In order. A well-formed chapter has a header before each answer and its checks after it."""
        found, header, answer, checks = [], None, None, []
        for cell in (*self.cells, None):
            starts = cell is None or "exercise" in cell.metadata
            if starts and answer is not None and header is not None:
                found.append(Exercise(len(found) + 1, header, answer, tuple(checks)))
                header, answer, checks = None, None, []
            if cell is None:
                break
            if "exercise" in cell.metadata:
                header = cell
            elif cell.is_answer or cell.is_manual:
                answer = cell
            elif cell.is_check:
                checks.append(cell)
        return tuple(found)

    def exercise(self, name: str) -> Exercise:
        """The exercise of that name."""
        for exercise in self.exercises:
            if exercise.name == name:
                return exercise
        raise Refusal(f"{self.id} has no exercise {name!r}; it has {', '.join(e.name for e in self.exercises)}")

    def where(self, cell: Cell, line: int = 0) -> str:
        """``solutions/NN_name/chapter.py:LINE`` for a line of a cell."""
        return f"{self.path.parent.parent.name}/{self.id}/chapter.py:{cell.line + line}"


def read(folder: Path) -> Chapter:
    """Parse ``chapter.py``; raises AuthoringError only for a script that jupytext cannot take apart."""
    # the schema validator below would compile a grammar of web addresses, 0.7 s of work that no notebook needs
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    import jupytext

    text = (folder / "chapter.py").read_text(encoding="utf-8")
    notebook = jupytext.reads(text, fmt="py:percent")
    lines = _cell_lines(text)
    if len(lines) != len(notebook.cells):
        where = f"{folder.parent.name}/{folder.name}/chapter.py:1"
        raise AuthoringError([f"{where}: text before the first `# %%` line; put it in a cell"])
    cells = [
        Cell(i, cell.cell_type, cell.source, line, _plain(cell.metadata))
        for i, (cell, line) in enumerate(zip(notebook.cells, lines, strict=True))
    ]
    return Chapter(folder, tuple(cells))


def _cell_lines(text: str) -> list[int]:
    """Where the source of each cell begins, counted from 1; `# %%` within a string is not a cell."""
    from jupytext.stringparser import StringParser

    strings, starts = StringParser("python"), []
    for number, line in enumerate(text.split("\n"), start=1):
        if not strings.is_quoted() and line.startswith("# %%"):
            starts.append(number + 1)
        strings.read_line(line)
    return starts


def _plain(metadata: dict) -> dict:
    return {key: _plain(value) if isinstance(value, dict) else value for key, value in metadata.items()}


def root(start: Path | None = None) -> Path:
    """The course's folder: the nearest one upwards that holds ``solutions/``, else where this package was installed."""
    if named := os.environ.get("AUTOGRADE_ROOT"):
        return Path(named).resolve()
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "solutions").is_dir():
            return folder
    home = Path(__file__).resolve().parents[2]
    if (home / "solutions").is_dir():
        return home
    raise Refusal(f"no solutions/ folder in {here} or above it; run autograde inside the course, or set AUTOGRADE_ROOT")


def folders(course: Path) -> list[Path]:
    """Every chapter's folder, in order."""
    return sorted(p.parent for p in (course / "solutions").glob("*/chapter.py") if NAME.fullmatch(p.parent.name))


def select(course: Path, names: Iterable[str] = ()) -> list[Chapter]:
    """The chapters named (``01``, ``1``, ``01_autoregressive`` or ``autoregressive``), or all of them."""
    every = folders(course)
    names = list(names)
    if not names:
        return [read(folder) for folder in every]
    chosen = []
    for name in names:
        number = name.zfill(2) if name.isdigit() else name
        hits = [f for f in every if number in (f.name, *f.name.split("_", 1))]
        if not hits:
            raise Refusal(f"no chapter {name!r}; there are {', '.join(f.name for f in every) or 'none yet'}")
        chosen += [f for f in hits if f not in chosen]
    return [read(folder) for folder in sorted(chosen)]
