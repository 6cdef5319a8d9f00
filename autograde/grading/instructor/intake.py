"""Reads what a student handed in, as data: bounded, without following links, without believing a field of it."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NOTEBOOK_MAX = 128 << 20
CAREFUL_ABOVE = 4 << 20  # larger notebooks are taken apart in a process with little memory
CELLS_MAX = 2_000
SOURCE_MAX = 1 << 20
FILES_MAX, FILES_BYTES_MAX = 200, 32 << 20
DEPTH_MAX, PATH_MAX = 20, 1_000  # folders below each other, bytes of a file's name with its folders
SKIPPED = {".ipynb_checkpoints", "__pycache__", ".git"}


class NotGradable(Exception):
    """The submission cannot be graded; the message says why, for the instructor's list."""


@dataclass(frozen=True)
class Cell:
    """What counts of a submitted cell."""

    kind: str
    source: str
    grade_id: str | None
    cell_id: str | None


@dataclass
class Submission:
    """One student's files."""

    student: str
    cells: list[Cell]
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list)
    key: str = ""
    timestamp: str | None = None


def text_of(value: Any) -> str:
    """A cell's source, whichever way it is written, with Unix line ends."""
    if isinstance(value, list):
        value = "".join(part for part in value if isinstance(part, str))
    if not isinstance(value, str):
        return ""
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return text.encode("utf-8", "replace").decode()  # half a character (a lone surrogate) cannot be written anywhere


def readable_name(name: str) -> bool:
    """Whether a file or a folder of this name can be recorded."""
    try:
        return len(name.encode()) <= PATH_MAX
    except UnicodeEncodeError:
        return False


def moment(text: str) -> str | None:
    """What stands in timestamp.txt, where nbgrader can read it as a time of our age."""
    from nbgrader.utils import parse_utc

    try:
        return text if 1990 <= parse_utc(text).year <= 2200 else None
    except (ValueError, OverflowError, AttributeError, TypeError):
        return None


def cells_of(document: Any) -> list[Cell]:
    """The cells of a notebook of any format; raises NotGradable for what is not one."""
    if not isinstance(document, dict):
        raise NotGradable("not a notebook (its JSON is not an object)")
    raw = document.get("cells")
    if raw is None and isinstance(document.get("worksheets"), list):
        raw = [c for sheet in document["worksheets"] if isinstance(sheet, dict) for c in sheet.get("cells", [])]
    if not isinstance(raw, list):
        raise NotGradable("not a notebook (it has no cells)")
    if len(raw) > CELLS_MAX:
        raise NotGradable(f"{len(raw)} cells; {CELLS_MAX} is the limit")
    found = []
    for cell in raw:
        if not isinstance(cell, dict):
            continue
        kind = cell.get("cell_type")
        source = text_of(cell.get("source", cell.get("input", "")))
        if len(source) > SOURCE_MAX:
            raise NotGradable(f"a cell of {len(source) >> 20} MB of source")
        metadata = cell.get("metadata")
        own = metadata.get("nbgrader") if isinstance(metadata, dict) else None
        grade_id = own.get("grade_id") if isinstance(own, dict) else None
        cell_id = cell.get("id")
        found.append(
            Cell(
                kind if kind in ("code", "markdown", "raw") else "raw",
                source,
                grade_id if isinstance(grade_id, str) else None,
                cell_id if isinstance(cell_id, str) else None,
            )
        )
    return found


def parse(data: bytes) -> list[Cell]:
    """The cells of a notebook file; the message of NotGradable names the line where it stops being one."""
    if not data.strip():
        raise NotGradable("not a notebook (the file is empty)")
    if len(data) > CAREFUL_ABOVE:
        return _parse_carefully(data)
    try:
        return cells_of(json.loads(data.decode("utf-8-sig")))
    except json.JSONDecodeError as error:
        raise NotGradable(f"not a notebook (line {error.lineno}: {error.msg})") from None
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise NotGradable(f"not a notebook ({type(error).__name__})") from None


def _parse_carefully(data: bytes) -> list[Cell]:
    """In a process that may use 2 GB and 60 s: a small file can unfold into very much JSON."""
    code = (
        "import sys, json, resource; resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30));"
        "from autograde.grading.instructor.intake import cells_of, NotGradable\n"
        "try: out = [[c.kind, c.source, c.grade_id, c.cell_id] for c in cells_of(json.load(sys.stdin.buffer))]\n"
        "except NotGradable as e: out = str(e)\n"
        "except json.JSONDecodeError as e: out = f'not a notebook (line {e.lineno}: {e.msg})'\n"
        "json.dump(out, sys.stdout)"
    )
    try:
        done = subprocess.run([sys.executable, "-P", "-c", code], input=data, capture_output=True, timeout=60)
        out = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        raise NotGradable(f"{len(data) >> 20} MB that cannot be read as a notebook") from None
    if isinstance(out, str):
        raise NotGradable(out)
    return [Cell(*fields) for fields in out]


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
        folders[:] = sorted(f for f in folders if f not in SKIPPED)
        here = os.path.relpath(path, folder)
        if folders and (here.count(os.sep) >= DEPTH_MAX or len(os.fsencode(here)) > PATH_MAX):
            notes.append(f"folders below {here[:60]!r}... were left out: too deep")
            folders.clear()
        for name in sorted(names):
            relative = os.path.relpath(os.path.join(path, name), folder)
            if relative == but or name == "timestamp.txt" or name.endswith(".ipynb"):
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
                return files, notes
            files[relative] = data
    return files, notes


def _choose(folder: Path, name: str, known: set[str]) -> tuple[str, list[str]]:
    """The notebook to read, where it is not called as it should be."""
    wanted = f"{name}.ipynb"
    if os.path.lexists(folder / wanted):
        return wanted, []
    found = sorted(p.name for p in folder.iterdir() if p.name.endswith(".ipynb"))
    if not found:
        raise NotGradable(f"no notebook in the folder (expected {wanted})")

    def matches(candidate: str) -> int:
        try:
            return len(known & {c.grade_id for c in parse(read_regular(folder / candidate, NOTEBOOK_MAX))})
        except NotGradable:
            return -1

    best = max(found, key=matches)
    return best, [f"the notebook is called {best!r} instead of {wanted!r}; it was graded all the same"]


def read(student: str, folder: Path, name: str, known: set[str]) -> Submission:
    """One submission. ``known`` are the chapter's grade_ids."""
    if not readable_name(student):
        raise NotGradable("the student's folder has a name that is not text (UTF-8)")
    if folder.is_symlink() or not folder.is_dir():
        raise NotGradable("the submission is not a folder")
    chosen, notes = _choose(folder, name, known)
    data = read_regular(folder / chosen, NOTEBOOK_MAX)
    cells = parse(data)
    if not known & {cell.grade_id for cell in cells}:
        raise NotGradable("another notebook (it has none of this chapter's exercises)")
    files, more = files_of(folder, chosen)
    digest = hashlib.sha256(data)
    for path, content in sorted(files.items()):
        digest.update(path.encode("utf-8", "surrogateescape") + b"\0" + hashlib.sha256(content).digest())
    stamp = None
    if (folder / "timestamp.txt").is_file() and not (folder / "timestamp.txt").is_symlink():
        written = read_regular(folder / "timestamp.txt", 200).decode("utf-8", "replace").strip()
        stamp = moment(written)
        more += [] if stamp else [f"timestamp.txt holds no time ({written[:40]!r}); it was left out"]
    return Submission(student, cells, files, notes + more, digest.hexdigest(), stamp)
