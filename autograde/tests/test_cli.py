"""The command line as a user meets it: help with an example, exit codes, one JSON document, a quick start."""

import json
import os
import subprocess
import sys

import pytest

VERBS = ["build", "run", "check", "doctor"]


def autograde(*args: str, cwd=None, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "autograde", *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"COLUMNS": "120", "NO_COLOR": "1"} | environment,
    )


def test_help_names_every_verb_and_starts_at_once():
    code = "import sys, autograde.cli; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split()
    heavy = {"torch", "numpy", "nbgrader", "nbformat", "jupytext", "papermill", "dask", "distributed", "sqlalchemy"}
    assert not heavy & set(modules)
    before = os.times()
    done = autograde("--help")
    after = os.times()
    assert done.returncode == 0 and all(verb in done.stdout for verb in VERBS)
    used = after.children_user - before.children_user + after.children_system - before.children_system
    assert used < 1, f"{used:.2f} s of processor time to print the help"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_shows_an_example_and_offers_json(verb):
    done = autograde(verb, "--help")
    assert done.returncode == 0
    assert f"Example: autograde {verb}" in done.stdout and "--json" in done.stdout


def test_build_exit_codes_and_json(course):
    done = autograde("build", "--check", "--json", cwd=course)
    assert done.returncode == 1
    assert {d["path"] for d in json.loads(done.stdout)["drift"]} == {"course/README.md", "course/01_tiny/tiny.ipynb"}
    done = autograde("build", cwd=course / "solutions")
    assert done.returncode == 0 and done.stdout == "course/01_tiny/tiny.ipynb\ncourse/README.md\n"
    done = autograde("build", "--check", cwd=course)
    assert done.returncode == 0 and done.stdout == "course/ is up to date\n"
    path = course / "course" / "01_tiny" / "tiny.ipynb"
    path.write_bytes(path.read_bytes() + b" ")
    done = autograde("build", "--check", cwd=course)
    assert done.returncode == 1 and "tiny.ipynb: edited by hand" in done.stdout


def test_an_authors_mistake_is_a_sentence_not_a_traceback(course, edit):
    edit('"points": 2', '"points": 0')
    done = autograde("build", cwd=course)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "solutions/01_tiny/chapter.py:" in done.stderr and "1 problem(s) in the chapters" in done.stderr


def test_an_unknown_chapter_lists_the_known_ones(course, tmp_path):
    done = autograde("check", "7", cwd=course)
    assert done.returncode == 2 and done.stderr == "autograde: no chapter '7'; there are 01_tiny\n"


def test_check_exit_codes_and_json(course, edit):
    done = autograde("check", "--json", "--seeds", "3", "-e", "noisy", cwd=course)
    (report,) = json.loads(done.stdout)
    assert done.returncode == 0 and report["exercise"] == "noisy" and report["problems"] == []
    edit("checks.unbiased(moved, 3.0", "checks.unbiased(moved, 4.0")
    done = autograde("check", "--seeds", "3", "-e", "noisy", cwd=course)
    assert done.returncode == 1 and "reference reference loses points" in done.stdout


def test_doctor_json(course):
    done = autograde("doctor", "--json", cwd=course)
    assert done.returncode in (0, 1)
    assert {"what", "state", "saw", "do"} == set(json.loads(done.stdout)[0])
