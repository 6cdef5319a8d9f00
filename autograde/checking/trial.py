"""One trial: put an answer into its cell, run the checks below it, and tell what each said."""

from __future__ import annotations

import contextlib
import io
import linecache
import random
import sys
import time
import types
from collections.abc import Iterator

from autograde.authoring import library_answers, records
from autograde.authoring.chapters import Cell, Chapter, Exercise
from coursekit.checks.records import packed

MODULE = "autograde_chapter"


class Bench:
    """The chapter's names as they stand before an exercise; each trial works on a forked copy of them."""

    def __init__(self, chapter: Chapter):
        self.chapter = chapter
        module = types.ModuleType(MODULE)
        sys.modules[MODULE] = module
        self.names = vars(module)
        self.names["display"] = lambda *_, **__: None

    def run(self, cell: Cell) -> None:
        """An ordinary cell, or the reference answer, silently."""
        exercise = next((e for e in self.chapter.exercises if e.answer is cell), None)
        source = exercise.reference if exercise else cell.source
        with contextlib.redirect_stdout(io.StringIO()):
            execute(source, f"<cell at line {cell.line}>", self.names)

    def trial(self, exercise: Exercise, source: str) -> Iterator[dict]:
        """Run the answer and its checks; yields one dict a check, one first if the answer cell itself failed, and
        last the modules that were imported on the way (a later trial need not import them again)."""
        modules = set(sys.modules)
        _guard(self, exercise)
        seed(0)
        if error := attempt(source, file_of(exercise), self.names):
            yield {"answer": error}
        judge: dict = {}
        for cell in between(self.chapter, exercise):
            if cell not in exercise.checks:
                attempt(cell.source, f"<cell at line {cell.line}>", self.names)
                continue
            start = time.process_time()
            said = {"check": cell.grade_id, "visible": self.ask(cell, judge, visible=True), "hidden": ""}
            said["drew"] = drew()
            if self.hides(cell) and not said["visible"]:
                said["hidden"] = self.ask(cell, judge, visible=False)
                said["drew"] = said["drew"] or drew()
            yield {**said, "seconds": time.process_time() - start}
        yield {"modules": sorted(set(sys.modules) - modules)}

    def seeds(self, exercise: Exercise, check: Cell, source: str, values: range) -> Iterator[dict]:
        """Run one check of the reference under many seeds; yields the seeds at which it failed, and what it said."""
        judge: dict = {}
        attempt(source, file_of(exercise), self.names)
        for cell in between(self.chapter, exercise):
            if cell is check:
                break
            attempt(cell.source, f"<cell at line {cell.line}>", judge if cell.is_check else self.names)
        for value in values:
            if error := self.ask(check, dict(judge), visible=False, value=value):
                yield {"seed": value, "said": error}

    def ask(self, cell: Cell, judge: dict, *, visible: bool, value: int = 0) -> str:
        """The failure text of a check cell, or "". It sees the student's names; what it binds stays with the judge."""
        names = {"SEED": 0, **self.names, **judge}
        names["SEED"] = value
        seed(value)
        error = attempt(self.text(cell, visible), f"<check {cell.grade_id}>", names)
        judge.update({k: v for k, v in names.items() if k not in self.names or self.names[k] is not v})
        return error

    @staticmethod
    def hides(cell: Cell) -> bool:
        """Whether some of its tests are kept from students."""
        return cell.has_hidden or bool(records.asked(cell.source))

    def text(self, cell: Cell, visible: bool) -> str:
        """A check cell as students run it, or as the grader does."""
        exercise = records.asked(cell.source)
        if not exercise:
            return cell.visible if visible else cell.source
        full = records.records(self.chapter)[exercise]
        record = packed(records.visible(full) if visible else full)
        return f"checks.use({record!r})\n{cell.source}"


def between(chapter: Chapter, exercise: Exercise) -> list[Cell]:
    """The code cells after the answer up to its last check, lab cells left out."""
    last = exercise.checks[-1].index
    cells = chapter.cells[exercise.answer.index + 1 : last + 1]
    return [cell for cell in cells if cell.kind == "code" and not cell.is_lab]


def file_of(exercise: Exercise) -> str:
    """The name under which an answer is compiled: it stands in tracebacks and tells its frames from the rest."""
    return f"<answer {exercise.name}>"


def execute(source: str, filename: str, names: dict) -> None:
    """Run a cell's text in the names; its lines show in tracebacks and `inspect` finds them, as in IPython."""
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), names)


def attempt(source: str, filename: str, names: dict) -> str:
    """Run a cell; "" or the text a reader of the notebook would see below it."""
    try:
        execute(source, filename, names)
    except (Exception, SystemExit) as error:  # a trial may raise anything: what it raised is the result
        kind = type(error).__name__
        return str(error) if kind == "CheckFailed" else f"{kind}: {error}"
    return ""


def seed(value: int) -> None:
    """Put every global random stream where a trial expects it, and remember where that was."""
    import numpy as np
    import torch

    torch.manual_seed(value)
    np.random.seed(value)
    random.seed(value)
    seed.state = _streams()


def drew() -> bool:
    """Whether anything drew from a global random stream since ``seed``."""
    return _streams() != seed.state


def _streams() -> tuple:
    import numpy as np
    import torch

    kind, keys, *rest = np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), kind, keys.tobytes(), *rest, random.getstate()


def _guard(bench: Bench, exercise: Exercise) -> None:
    filename = file_of(exercise)
    library_answers.remove(
        exercise.name, exercise.library, lambda frame: frame.f_code.co_filename == filename, [bench.names]
    )
