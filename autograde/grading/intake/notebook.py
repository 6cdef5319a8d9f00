"""A student's notebook as data: its cells' sources and ids, of any format and encoding; no other field is believed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

CAREFUL_ABOVE = 4 << 20  # larger notebooks are taken apart in a process with little memory
CELLS_MAX = 2_000
SOURCE_MAX = 1 << 20


class NotGradable(Exception):
    """The submission cannot be graded; the message says why, for the instructor's list."""


@dataclass(frozen=True)
class Cell:
    """What counts of a submitted cell."""

    kind: str
    source: str
    grade_id: str | None
    cell_id: str | None


def text_of(value: Any) -> str:
    """A cell's source, whichever way it is written, with Unix line ends."""
    if isinstance(value, list):
        value = "".join(part for part in value if isinstance(part, str))
    if not isinstance(value, str):
        return ""
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return text.encode("utf-8", "replace").decode()  # half a character (a lone surrogate) cannot be written anywhere


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
        return cells_of(json.loads(data))
    except json.JSONDecodeError as error:
        raise NotGradable(f"not a notebook (line {error.lineno}: {error.msg})") from None
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise NotGradable(f"not a notebook ({type(error).__name__})") from None


def _parse_carefully(data: bytes) -> list[Cell]:
    """In a process that may use 2 GB and 20 s of a processor: a small file can unfold into very much JSON."""
    code = (
        "import sys, json, resource; resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30));"
        "resource.setrlimit(resource.RLIMIT_CPU, (20, 20));"
        "from autograde.grading.intake.notebook import cells_of, NotGradable\n"
        "try: out = [[c.kind, c.source, c.grade_id, c.cell_id] for c in cells_of(json.load(sys.stdin.buffer))]\n"
        "except NotGradable as e: out = str(e)\n"
        "except json.JSONDecodeError as e: out = f'not a notebook (line {e.lineno}: {e.msg})'\n"
        "json.dump(out, sys.stdout)"
    )
    try:
        done = subprocess.run([sys.executable, "-P", "-c", code], input=data, capture_output=True, timeout=120)
        out = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        raise NotGradable(f"{len(data) >> 20} MB that cannot be read as a notebook") from None
    if isinstance(out, str):
        raise NotGradable(out)
    return [Cell(*fields) for fields in out]
