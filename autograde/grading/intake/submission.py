"""Reads what a student handed in, as data: bounded, without following links, without believing a field of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from autograde.grading.intake.notebook import CELLS_MAX, Cell, NotGradable, cells_of, parse, text_of

__all__ = [
    "CELLS_MAX",
    "Cell",
    "Known",
    "NotGradable",
    "Submission",
    "cells_of",
    "files_of",
    "parse",
    "read",
    "text_of",
]

NOTEBOOK_MAX = 128 << 20
FILES_MAX, FILES_BYTES_MAX = 200, 32 << 20
DEPTH_MAX, PATH_MAX = 20, 1_000  # folders below each other, bytes of a file's name with its folders
NOTES_MAX = 30  # sentences about files that were left out
NOTEBOOKS_MAX = 20  # that are looked into, where several lie in the folder
SKIPPED = {".ipynb_checkpoints", "__pycache__", "__MACOSX", ".git"}
NOTEBOOK = re.compile(r"(?i)\.ipynb(\.txt|\.json)?$")  # as browsers and mail programs rename it


@dataclass(frozen=True)
class Known:
    """What tells a chapter's notebook from another, and an answer from what was handed out."""

    name: str
    cell_of: dict[str, str] = field(default_factory=dict)  # cell id: grade_id
    stubs: dict[str, str] = field(default_factory=dict)  # grade_id of a cell to be filled: what students find in it
    grade_ids: frozenset[str] = frozenset()

    def match(self, cell: Cell) -> str | None:
        """The grade_id of a cell: by its metadata, by its id, or by the name that it defines."""
        if cell.grade_id in self.grade_ids:
            return cell.grade_id
        return self.cell_of.get(cell.cell_id or "") or next((n for n in defined(cell) if n in self.stubs), None)

    def answered(self, cells: list[Cell]) -> int:
        """How many of the cells to be filled are not as they were handed out."""
        filled = {(self.match(cell), cell.source.strip()) for cell in cells if cell.source.strip()}
        return len({name for name, source in filled if name in self.stubs and source != self.stubs[name].strip()})

    def met(self, cells: list[Cell]) -> int:
        """How many of the chapter's graded cells there are."""
        return len({self.match(cell) for cell in cells} - {None})


DEFINES = re.compile(r"^(?:async[ \t]++)?(?:def|class)[ \t]++(\w++)", re.MULTILINE)


def defined(cell: Cell) -> list[str]:
    """Functions and classes at the top level of a cell, by its text."""
    return DEFINES.findall(cell.source) if cell.kind == "code" else []


@dataclass
class Submission:
    """One student's files. ``key`` changes with any of them, their names, the time stamp, and what was noted."""

    student: str
    cells: list[Cell]
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list)
    key: str = ""
    timestamp: str | None = None


def readable_name(name: str) -> bool:
    """Whether a file or a folder of this name can be recorded."""
    try:
        return len(name.encode()) <= PATH_MAX
    except UnicodeEncodeError:
        return False


def visible(name: str) -> bool:
    """Whether a file or folder is a person's, and not a trace of some program: macOS's ``._x``, Jupyter's copies."""
    return name not in SKIPPED and not name.startswith("._") and name != ".DS_Store"


def few(notes: list[str]) -> list[str]:
    """The first notes, and how many there are besides."""
    return notes if len(notes) <= NOTES_MAX else [*notes[:NOTES_MAX], f"and {len(notes) - NOTES_MAX} more notes"]


def moment(text: str) -> str | None:
    """What stands in timestamp.txt, where nbgrader can read it as a time of our age."""
    from nbgrader.utils import parse_utc

    try:
        return text if 1990 <= parse_utc(text).year <= 2200 else None
    except (ValueError, OverflowError, AttributeError, TypeError):
        return None


def read_regular(path: str | Path, limit: int, folder: int | None = None) -> bytes:
    """A regular file's bytes, without following a link; raises NotGradable."""
    name = os.path.basename(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        linked = os.path.islink(path) if folder is None else True
        why = "is a link, and links are not followed" if linked else f"cannot be read: {error.strerror}"
        raise NotGradable(f"{name} {why}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise NotGradable(f"{name} is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        if status.st_size > limit:
            raise NotGradable(f"{name} is {status.st_size >> 20} MB; {limit >> 20} MB is the limit")
        return file.read(limit + 1)[:limit]


def files_of(folder: Path, but: str) -> tuple[dict[str, bytes], list[str]]:
    """The other files of a submission, with notes about those left out."""
    files: dict[str, bytes] = {}
    notes, total = [], 0
    for path, folders, names, descriptor in os.fwalk(folder, follow_symlinks=False):
        folders[:] = sorted(filter(visible, folders))
        here = os.path.relpath(path, folder)
        if folders and (here.count(os.sep) >= DEPTH_MAX or len(os.fsencode(here)) > PATH_MAX):
            notes.append(f"folders below {here[:60]!r}... were left out: too deep")
            folders.clear()
        for name in sorted(names):
            relative = os.path.relpath(os.path.join(path, name), folder)
            if relative == but or name == "timestamp.txt" or NOTEBOOK.search(name) or not visible(name):
                continue
            if not readable_name(relative):
                notes.append(f"the file {relative[:60]!r}... was left out: its name is not text, or too long")
                continue
            try:
                data = read_regular(name, FILES_BYTES_MAX - total, descriptor)
            except NotGradable as error:
                notes.append(f"the file {relative!r} was left out: {error}")
                continue
            total += len(data)
            if len(files) >= FILES_MAX:
                notes.append(f"more than {FILES_MAX} files: {relative!r} and what follows were left out")
                return files, few(notes)
            files[relative] = data
    return files, few(notes)


def _notebooks(folder: Path) -> Iterator[str]:
    for path in sorted(folder.iterdir(), reverse=True):  # of copies with a date in the name the newest comes first
        if NOTEBOOK.search(path.name) and visible(path.name) and not path.is_dir():
            yield path.name


def _choose(folder: Path, known: Known) -> tuple[str, list[str]]:
    """The notebook to read: the one with the right name, unless it is untouched and another holds the answers."""
    wanted, present = f"{known.name}.ipynb", os.path.lexists(folder / f"{known.name}.ipynb")
    others = [name for name in _notebooks(folder) if name != wanted]
    if not present and not others:
        raise NotGradable(f"no notebook in the folder (expected {wanted})")
    if not others:
        return wanted, []

    def worth(name: str) -> tuple[int, int]:
        try:
            cells = parse(read_regular(folder / name, NOTEBOOK_MAX))
        except NotGradable:
            return -1, -1
        return known.answered(cells), known.met(cells)

    if present and worth(wanted)[0] != 0:  # its answers count, or it cannot be read, which `read` will say
        return wanted, [f"the other notebooks in the folder were left out: {_list(others)}"]
    best = max(others[:NOTEBOOKS_MAX], key=worth)
    if present and worth(best)[0] <= 0:
        return wanted, []
    why = f"{wanted!r} holds no answers" if present else f"there is no {wanted!r}"
    rest = [name for name in others if name != best]
    return best, [f"{best!r} instead of {wanted!r} was graded: {why}" + (f"; left out: {_list(rest)}" if rest else "")]


def _list(names: list[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def read(student: str, folder: Path, known: Known) -> Submission:
    """One submission; raises NotGradable with the reason."""
    if not readable_name(student):
        raise NotGradable("the student's folder has a name that is not text (UTF-8)")
    if folder.is_symlink() or not folder.is_dir():
        raise NotGradable("the submission is not a folder")
    chosen, notes = _choose(folder, known)
    data = read_regular(folder / chosen, NOTEBOOK_MAX)
    cells = parse(data)
    if not known.met(cells):
        raise NotGradable("another notebook (it has none of this chapter's exercises)")
    files, more = files_of(folder, chosen)
    stamp, said = _stamp(folder)
    notes += more + said
    parts = [[path, hashlib.sha256(content).hexdigest()] for path, content in sorted(files.items())]
    own = [chosen, hashlib.sha256(data).hexdigest(), stamp, notes, parts]
    key = hashlib.sha256(json.dumps(own).encode()).hexdigest()
    return Submission(unicodedata.normalize("NFC", student), cells, files, notes, key, stamp)


def _stamp(folder: Path) -> tuple[str | None, list[str]]:
    """The time of handing in, and a note where ``timestamp.txt`` holds none."""
    if not (folder / "timestamp.txt").is_file() or (folder / "timestamp.txt").is_symlink():
        return None, []
    try:
        written = read_regular(folder / "timestamp.txt", 200).decode("utf-8", "replace").strip()
    except NotGradable as error:
        return None, [f"timestamp.txt was left out: {error}"]
    stamp = moment(written)
    return stamp, [] if stamp else [f"timestamp.txt holds no time ({written[:40]!r}); it was left out"]
