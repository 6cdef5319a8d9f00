"""A tiny course in a temporary folder: the whole format in sixty lines, for every test of the tools."""

import os
import shutil
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # forks must not inherit a pool of threads

TINY = Path(__file__).parent / "tiny"
RECORDED = Path(__file__).parent / "recorded"
HOUSE = Path(__file__).resolve().parents[2]


@pytest.fixture
def course(tmp_path, monkeypatch):
    """The tiny course, with the current directory in it."""
    return _course(TINY, tmp_path, monkeypatch)


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A small course whose checks are recorded cases: a value, a statistical one, and a test of tests."""
    return _course(RECORDED, tmp_path, monkeypatch)


def _course(model, tmp_path, monkeypatch):
    place = tmp_path / "course-of-one"
    shutil.copytree(model, place, ignore=shutil.ignore_patterns("out", "__pycache__"))
    for name in ("pyproject.toml", "requirements.lock", "environment.yml", "LICENSE"):
        shutil.copy(HOUSE / name, place / name)
    (place / "lib").mkdir()
    for name in ("genmodels", "coursekit"):
        (place / "lib" / name).symlink_to(HOUSE / "lib" / name)
    monkeypatch.delenv("AUTOGRADE_ROOT", raising=False)
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def chapter(course):
    """Its only chapter."""
    from autograde.authoring.chapters import select

    return select(course)[0]


@pytest.fixture
def edit(course):
    """edit(old, new): change the chapter's script, and fail if there is nothing to change."""
    path = course / "solutions" / "01_tiny" / "chapter.py"

    def change(old: str, new: str, file: Path = path) -> None:
        text = file.read_text()
        assert old in text, old
        file.write_text(text.replace(old, new, 1))

    return change
