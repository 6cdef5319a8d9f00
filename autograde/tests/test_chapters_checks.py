"""Every exercise of every chapter is tried, in a file of its own so that another worker takes it."""

import json
import subprocess
import sys

import pytest

from autograde.authoring.chapters import folders, read, root

HOUSE = root()
CHAPTERS = folders(HOUSE)

if not CHAPTERS:
    pytest.skip("no chapters yet", allow_module_level=True)


@pytest.mark.parametrize("chapter", [read(f) for f in CHAPTERS], ids=[f.name for f in CHAPTERS])
def test_every_check_catches_its_mistakes(chapter):
    done = subprocess.run(
        [sys.executable, "-m", "autograde", "check", chapter.id, "--json"], capture_output=True, text=True, cwd=HOUSE
    )
    assert done.stdout, done.stderr
    reports = json.loads(done.stdout)
    assert [r["exercise"] for r in reports] == [e.name for e in chapter.exercises if e.answer.is_answer]
    assert not [f"{r['exercise']}: {p}" for r in reports for p in r["problems"]]
    assert done.returncode == 0
