"""Scores in the form that an LMS imports: its own exported list of people, with a column for each chapter filled in.

Canvas and Moodle both recommend to import what they have exported [Canvas, "How do I import grades in the Gradebook?";
Moodle, "Grade import"], because that file names people as they do. So nothing of it is invented here: the columns that
identify a person stay as they are, and those of chapters are added or overwritten.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autograde.errors import Refusal

# How each LMS names the columns by which a submission's folder may find its person, best first.
KEYS = {
    "Canvas": ("SIS Login ID", "SIS User ID", "ID"),
    "Moodle": ("Username", "ID number", "Email address"),
}
ALWAYS = {
    "Canvas": ("Student", "ID", "SIS User ID", "SIS Login ID", "Section"),
    "Moodle": ("First name", "Last name", "Surname", "Username", "ID number", "Email address"),
}
POINTS = "Points Possible"  # Canvas's second line says how many there are


@dataclass(frozen=True)
class Filled:
    """The rows to write, and whom they do not hold."""

    lms: str
    header: list[str]
    rows: list[list[str]]
    matched: int
    missing: list[str]  # students with a score whom the list does not name


def read(path: Path) -> tuple[list[str], list[list[str]]]:
    """An exported list; the byte order mark of a spreadsheet is no part of its first column's name."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            lines = [line for line in csv.reader(stream) if line]
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(f"cannot read {path}: {error}; export it again as CSV in UTF-8") from None
    if len(lines) < 2:
        raise Refusal(f"{path} names nobody: export the gradebook of the course from Canvas or Moodle as CSV")
    return lines[0], lines[1:]


def fill(path: Path, scores: Mapping[str, Mapping[str, float]], maximum: Mapping[str, float]) -> Filled:
    """Put ``scores[student][chapter]`` into the exported list at ``path``; whoever has no score keeps an empty cell.

    A chapter's column is found by its id at the head of a name, as in "01_autoregressive (4711)", and added otherwise.
    """
    header, lines = read(path)
    lms = next((name for name, keys in KEYS.items() if any(key in header for key in keys[:-1])), None)
    if lms is None:
        wanted = "; ".join(f"{name}: {', '.join(keys)}" for name, keys in KEYS.items())
        raise Refusal(f"{path} has none of the columns that name a person ({wanted}): is it the exported gradebook?")
    keep = [i for i, name in enumerate(header) if name in ALWAYS[lms]]
    keys = [header.index(key) for key in KEYS[lms] if key in header]
    columns = {chapter: next((n for n in header if _is(n, chapter, lms)), _name(chapter, lms)) for chapter in maximum}
    folded = {student.casefold(): student for student in scores}
    rows, matched = [], set()
    for line in lines:
        line = [*line, *[""] * (len(header) - len(line))]
        own = [line[i] for i in keep]
        if lms == "Canvas" and any(POINTS in cell for cell in line):
            rows.append([*own, *(f"{points:g}" for points in maximum.values())])
            continue
        names = (line[i].strip().casefold() for i in keys)
        student = next((folded[name] for name in names if name in folded), None)
        matched |= {student} - {None}
        given = scores.get(student, {})
        rows.append([*own, *(f"{given[chapter]:g}" if chapter in given else "" for chapter in maximum)])
    missing = sorted(set(scores) - matched)
    return Filled(lms, [header[i] for i in keep] + list(columns.values()), rows, len(matched), missing)


def _is(column: str, chapter: str, lms: str) -> bool:
    """Whether a column is this chapter's: Canvas adds a number in brackets, Moodle a prefix and a unit."""
    name = column.removeprefix("Assignment: ") if lms == "Moodle" else column
    return name == chapter or name.startswith(f"{chapter} (")


def _name(chapter: str, lms: str) -> str:
    return f"Assignment: {chapter} (Real)" if lms == "Moodle" else chapter
