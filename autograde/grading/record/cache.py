"""Graded submissions by content: the same chapter, answers, limits and versions are never graded twice.

An entry is written to a temporary name, flushed and renamed, so that a power cut leaves either nothing or all of it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
import tempfile
import unicodedata
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from autograde.grading.record.result import Result
from autograde.grading.sandbox import tiers
from autograde.grading.sandbox.tiers import Limits

PACKAGES = ("torch", "numpy", "ipython", "scipy", "matplotlib")


@functools.cache
def versions() -> str:
    """A digest of everything outside the submission that a result depends on."""
    digest = hashlib.sha256(sys.version.encode())
    for name in PACKAGES:
        try:
            digest.update(f"{name} {version(name)}\n".encode())
        except PackageNotFoundError:
            continue
    for folder in (Path(__file__).resolve().parent.parent, *tiers.libraries()):
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def key(plan_key: str, submission_key: str, limits: Limits) -> str:
    """The name of an entry."""
    parts = [plan_key, submission_key, asdict(limits), versions()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """All or nothing, even when the power fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


class Cache:
    """One chapter's results in ``ROOT/.autograde/CHAPTER``."""

    def __init__(self, root: Path, chapter: str):
        self.folder = root / ".autograde" / chapter

    def get(self, name: str) -> Result | None:
        """The entry, if it is there and whole."""
        try:
            return Result.of(json.loads((self.folder / f"{name}.json").read_bytes()))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def put(self, name: str, result: Result) -> None:
        """Keep a result."""
        write_atomically(self.folder / f"{name}.json", json.dumps(result.document()).encode())

    def recorded(self, student: str) -> dict:
        """What the gradebook holds for a student, as far as this folder knows: token, entry and submission."""
        try:
            return json.loads((self.folder / "recorded" / _safe(student)).read_bytes())
        except (OSError, ValueError):
            return {}

    def record(self, student: str, token: str, entry: str, submission: str, broken: list[str]) -> None:
        """The gradebook holds this result now."""
        about = {"token": token, "entry": entry, "submission": submission, "broken": broken}
        write_atomically(self.folder / "recorded" / _safe(student), json.dumps(about).encode())

    def of_student(self, student: str) -> Result | None:
        """The result that was recorded last, broken tests marked as they were then."""
        about = self.recorded(student)
        result = self.get(about.get("entry", ""))
        if result is not None:
            result.student = student
            result.withdraw(about.get("broken", ()))
        return result


def _safe(student: str) -> str:
    return hashlib.sha256(unicodedata.normalize("NFC", student).encode("utf-8", "surrogateescape")).hexdigest()[:24]
