"""``autograde build``: solutions/ to course/ and to nbgrader's source, byte for byte the same each time."""

from __future__ import annotations

import contextlib
import difflib
import itertools
import json
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autograde.authoring import notebooks, records
from autograde.authoring.chapters import NAME, Chapter, select
from autograde.authoring.safety import refuse_to_lose, restorable
from autograde.authoring.validate import validate
from autograde.errors import AuthoringError
from coursekit.checks import records as record_files

NEEDS = re.compile(r"^\| \*\*You need\*\* \| (.*?) \|$", re.MULTILINE)
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)[^)]*\)")
DIFF_LINES = 12
DIGITS = 1e-6  # how far numbers of a record may differ between machines
FIGURES = "figures.py"  # the chapter's own pictures, which the notebook imports
IGNORED = {".ipynb_checkpoints", "__pycache__"}


@dataclass(frozen=True)
class Drift:
    """A file of course/ that is not what the build makes."""

    path: Path
    why: str
    diff: tuple[str, ...] = ()


def chapters(course: Path, names: list[str] | None = None) -> list[Chapter]:
    """Well-formed chapters, or one AuthoringError with the problems of all of them."""
    good, problems = [], []
    for chapter in select(course, names or ()):
        try:
            good.append(validate(chapter))
        except AuthoringError as error:
            problems += error.problems
    if problems:
        raise AuthoringError(problems)
    return good


def released(chapter: Chapter) -> dict[str, bytes]:
    """What course/NN_name/ must hold: the notebook, and the chapter's assets as they are."""
    files = {f"{chapter.id}/{chapter.name}.ipynb": notebooks.write(notebooks.student(chapter)).encode()}
    if full := records.records(chapter):
        seen = {name: records.visible(record) for name, record in full.items()}
        files[f"{chapter.id}/{record_files.FILE}"] = record_files.write(seen)
    if (figures := chapter.folder / FIGURES).exists():
        files[f"{chapter.id}/{FIGURES}"] = figures.read_bytes()
    return files | _assets(chapter.folder, f"{chapter.id}/")


def index(every: list[Chapter]) -> str:
    """course/README.md: the table of chapters with what each costs."""
    lines = [
        "# The course",
        "",
        "Open a chapter, run its cells from the top, write the answers where it says so, and run the check below each.",
        "Your notebooks are yours: nothing in this folder is overwritten once it holds an answer.",
        "",
        "| chapter | exercises | minutes of work | points | to run | you need |",
        "|---|--:|--:|--:|---|---|",
    ]
    for chapter in every:
        front = notebooks.front(chapter)
        link = f"[{chapter.title}]({chapter.id}/{chapter.name}.ipynb)"
        cells = [link, *(str(front[key]) for key in ("exercises", "minutes", "points", "budget")), needs(chapter)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def needs(chapter: Chapter) -> str:
    """What the chapter's front table says that a student must know already."""
    found = NEEDS.search(chapter.cells[0].source)
    return found.group(1) if found else ""


def expected(course: Path, names: list[str] | None = None) -> dict[str, bytes]:
    """Every file the build answers for, relative to course/. The index covers all chapters, or waits for them."""
    files = _assets(course / "solutions", "")
    wanted = chapters(course, names)
    for chapter in wanted:
        files |= released(chapter)
    try:
        every = chapters(course) if names else wanted
    except AuthoringError:
        every = []  # another author's chapter is malformed: no reason to hold this one up
    if every:
        files["README.md"] = index(every).encode()
    if lost := [line for chapter in wanted for line in lost_pictures(chapter, files)]:
        raise AuthoringError(lost)
    return files


def lost_pictures(chapter: Chapter, files: dict[str, bytes]) -> Iterator[str]:
    """Pictures in a chapter's prose that the build does not bring along, or that say nothing to who cannot see them."""
    for cell in chapter.cells:
        for match in PICTURE.finditer(cell.source) if cell.kind == "markdown" else ():
            text, link = match.groups()
            where = chapter.where(cell, cell.source[: match.start()].count("\n"))
            if not text.strip():
                yield f"{where}: the picture {link} needs a text for who cannot see it: ![text]({link})"
            if "://" in link or link.startswith(("data:", "attachment:")):
                continue
            name = posixpath.normpath(f"{chapter.id}/{link}")
            known = {*files, *(f"{chapter.id}/{n}" for n in _assets(chapter.folder, ""))}
            if name not in known:
                home = "solutions/assets/" if name.startswith("assets/") else f"solutions/{chapter.id}/assets/"
                yield f"{where}: no picture {link}: put it into {home}"


def _assets(folder: Path, under: str) -> dict[str, bytes]:
    """The files of ``folder/assets``, which travel as they are."""
    return {
        f"{under}{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in sorted((folder / "assets").rglob("*"))
        if path.is_file() and not IGNORED & set(path.parts)
    }


def drift(course: Path, names: list[str] | None = None) -> list[Drift]:
    """Where course/ differs from what the build makes; nothing is written."""
    files, found = expected(course, names), []
    for name, want in files.items():
        path = course / "course" / name
        if not path.exists():
            found.append(Drift(path, "missing"))
        elif not _same(name, have := path.read_bytes(), want):
            found.append(Drift(path, "edited by hand, or solutions/ changed since the build", _diff(name, have, want)))
    return found + [Drift(path, "made by no chapter") for path in stray(course, files, names)]


def _same(name: str, have: bytes, want: bytes) -> bool:
    """Equal files; records may differ in the last digits, which another processor computes otherwise."""
    if have == want or not name.endswith(record_files.FILE):
        return have == want
    try:
        return _near(record_files.read(have), record_files.read(want))
    except (OSError, ValueError):
        return False


def _near(a: object, b: object) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_near(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_near, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return a == b or abs(a - b) <= DIGITS * max(1.0, abs(a), abs(b)) or (a != a and b != b)
    return a == b


def stray(course: Path, files: dict[str, bytes], names: list[str] | None = None) -> list[Path]:
    """Files in the folders of course/ that no chapter makes (a renamed chapter leaves some)."""
    mine = {name.split("/")[0] for name in files}
    found = []
    for folder in sorted((course / "course").glob("*/")):
        ours = NAME.fullmatch(folder.name) or folder.name == "assets"
        if not ours or (names and folder.name not in mine):
            continue
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(course / "course").as_posix()
            if path.is_file() and name not in files and not IGNORED & set(path.parts):
                found.append(path)
    return found


def write(course: Path, names: list[str] | None = None) -> list[Path]:
    """Write what differs and nbgrader's source notebooks; returns the files of course/ that changed.

    Raises Refusal, and writes nothing, where a student's answers or outputs would be lost; deletes only what git holds.
    """
    files = expected(course, names)
    here = {course / "course" / name: data for name, data in files.items()}
    different = [p for p, data in here.items() if not (p.exists() and _same(p.name, p.read_bytes(), data))]
    refuse_to_lose(course, different)
    for path in different:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(here[path])
    gone = [path for path in stray(course, files, names) if restorable(course, path)]
    for path in gone:
        path.unlink()
    changed = different + gone
    for chapter in chapters(course, names):
        path = course / "out" / "source" / chapter.id / f"{chapter.name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(notebooks.write(notebooks.source(chapter)), encoding="utf-8")
    return changed


def _diff(name: str, have: bytes, want: bytes) -> tuple[str, ...]:
    if name.endswith(record_files.FILE):
        with contextlib.suppress(OSError, ValueError):
            have, want = (json.dumps(record_files.read(data), indent=0).encode() for data in (have, want))
    a, b = (data.decode("utf-8", "replace").splitlines() for data in (have, want))
    lines = difflib.unified_diff(a, b, "course/", "the build", lineterm="", n=0)
    return tuple(line[:160] for line in itertools.islice(itertools.islice(lines, 2, None), DIFF_LINES))
