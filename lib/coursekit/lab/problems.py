"""What went wrong in the student's function, in three lines instead of a traceback."""

from __future__ import annotations

import re
import sysconfig
import traceback
from pathlib import Path
from typing import Any

__all__ = ["problem"]

LONGEST = 2000  # characters of a message
ELSEWHERE = tuple(
    {str(Path(__file__).resolve().parents[1]), *(sysconfig.get_paths()[k] for k in ("stdlib", "purelib", "platlib"))}
)


def _is_students(filename: str) -> bool:
    """Neither this library, nor Python's, nor an installed package: a notebook's cell, or a file beside it."""
    return not filename.startswith((*ELSEWHERE, "<frozen", "<string>", "<__array_function__"))


def problem(error: BaseException) -> dict[str, Any]:
    """The error's type and message, and the steps of the student's own code that led to it, the deepest last."""
    trace = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_students(frame.filename)]
    message = "\n".join([str(error), *getattr(error, "__notes__", [])]).strip()
    return {
        "type": type(error).__name__,
        "message": message if len(message) <= LONGEST else message[:LONGEST] + " ...",
        "trace": [{"where": _where(frame), "line": (frame.line or "").strip()} for frame in trace],
    }


def _where(frame: traceback.FrameSummary) -> str:
    cell = re.search(r"ipykernel|<ipython-input", frame.filename)
    place = "" if cell else f" of {Path(frame.filename).name}"
    name = "the cell" if frame.name == "<module>" else frame.name.strip("<>")
    return f"in {name}, line {frame.lineno}{' of its cell' if cell else place}"
