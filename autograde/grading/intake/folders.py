"""Where submissions lie: the folder of each student in ``submitted/``, found whichever way a name is written."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from autograde.errors import Refusal
from autograde.grading.intake.plan import Plan
from autograde.grading.intake.submission import NotGradable, Submission, read, visible


def students_of(root: Path, chapter: str) -> list[str]:
    """Who handed something in, by folder name."""
    folder = root / "submitted"
    if not folder.is_dir():
        raise Refusal(f"there is no {folder}: put submissions into submitted/STUDENT/{chapter}/")
    names = [p.name for p in folder.iterdir() if visible(p.name) and not p.name.startswith(".")]
    return sorted(name for name in names if (p := folder / name / chapter).is_dir() or p.is_symlink())


def read_one(plan: Plan, root: Path, student: str) -> Submission:
    """One student's submission of this chapter."""
    folder = folder_of(root, student)
    if folder.is_symlink():
        raise NotGradable("the student's folder is a link, and links are not followed")
    return read(student, folder / plan.chapter, plan.known)


def folder_of(root: Path, student: str) -> Path:
    """The student's folder, whichever way its accents are written; raises NotGradable where there are two of them."""
    submitted = root / "submitted"
    forms = {unicodedata.normalize(form, student) for form in ("NFC", "NFD")} | {student}
    found = [submitted / name for name in sorted(forms) if os.path.lexists(submitted / name)]
    if len(found) > 1 and not all(found[0].samefile(other) for other in found[1:]):
        raise NotGradable("two folders have this name, written with composed and with separate accents: merge them")
    return found[0] if found else submitted / student
