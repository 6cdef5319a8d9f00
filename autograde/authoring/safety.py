"""What the build may overwrite or delete in course/: never a student's work, never what git could not bring back."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from autograde.errors import Refusal

__all__ = ["refuse_to_lose", "restorable"]

OURS = re.compile("[0-9a-f]{12}")  # the ids of the cells that the build makes; Jupyter's own are shorter or longer
STUB = "raise NotImplementedError("


def restorable(course: Path, path: Path) -> bool:
    """Whether git holds this very content, so that a careless command loses nothing."""
    name = path.relative_to(course).as_posix()
    for version in (f"HEAD:./{name}", f":./{name}"):
        held = subprocess.run(["git", "show", version], cwd=course, capture_output=True)
        if held.returncode == 0 and held.stdout == path.read_bytes():
            return True
    return False


def refuse_to_lose(course: Path, paths: list[Path]) -> None:
    """Raise Refusal if overwriting or deleting one of these files would lose somebody's work."""
    lost = [line for path in paths if path.exists() for line in _lost(course, path)]
    if lost:
        way_out = "Copy it to another folder, or give it up by `git checkout -- FILE`, and build again."
        raise Refusal("nothing was written, because work would be lost:\n" + "\n".join(lost) + "\n" + way_out)


def _lost(course: Path, path: Path) -> Iterator[str]:
    if path.suffix != ".ipynb" or restorable(course, path):
        return
    name = path.relative_to(course).as_posix()
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        answers = [c for c in cells if c.get("metadata", {}).get("nbgrader", {}).get("solution")]
        solved = [c for c in answers if c["cell_type"] == "code" and STUB not in "".join(c["source"])]
        added = [c for c in cells if not OURS.fullmatch(c.get("id", ""))]
        ran = [c for c in cells if c.get("outputs") or c.get("execution_count")]
    except (ValueError, KeyError, TypeError, AttributeError):
        yield f"{name}: not a notebook of ours, and git does not hold it"
        return
    if solved:
        ids = ", ".join(c["metadata"]["nbgrader"].get("grade_id", "?") for c in solved)
        yield f"{name} holds answers ({ids})"
    elif ran:
        yield f"{name} holds outputs of a run"
    elif added:
        yield f"{name} holds cells that the course did not put there"
    elif not answers:
        yield f"{name}: git does not hold it"
