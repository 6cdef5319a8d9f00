"""`autograde new-course`: a folder in which nbgrader and autograde find a whole term."""

import datetime
import subprocess
import sys
from pathlib import Path

import pytest

from autograde.errors import Refusal
from autograde.grading.intake import plan
from autograde.grading.record import gradebook
from autograde.publishing.term import new_course

PEOPLE = "id,first_name,last_name,email\nada,Ada,Lovelace,ada@example.org\nemmy,,,\n"


@pytest.fixture
def roster(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("\ufeff" + PEOPLE, encoding="utf-8")
    return path


def test_chapters_due_dates_and_people(course, tmp_path, roster):
    term = tmp_path / "spring"
    told = new_course(course, term, start="2027-04-23", zone="Europe/Berlin", roster=roster)
    due = datetime.datetime(2027, 4, 23, 21, 59)  # 23:59 in summer time
    assert told == [("01_tiny", due.replace(tzinfo=datetime.UTC))]
    with gradebook.session(f"sqlite:///{term / 'gradebook.db'}") as book:
        assert [(a.name, a.duedate) for a in book.assignments] == [("01_tiny", due)]
        assert {(s.id, s.first_name, s.email) for s in book.students} == {
            ("ada", "Ada", "ada@example.org"),
            ("emmy", None, None),
        }
    assert "Fri 23 Apr 2027, 23:59" in (term / "README.md").read_text()
    assert plan.load("01", term).chapter == "01_tiny", "grading finds the chapter without solutions/"
    student, ours = ((term / folder / "01_tiny" / "tiny.ipynb").read_text() for folder in ("release", "source"))
    assert "BEGIN HIDDEN" not in student and "BEGIN SOLUTION" not in student
    assert "BEGIN HIDDEN" in ours


def test_nbgraders_own_release_of_the_source_is_the_released_notebook(course, tmp_path):
    """Formgrader's *Generate* must hand out what `release/` already holds: no solution, no hidden test."""
    term = tmp_path / "spring"
    new_course(course, term)
    run = [str(Path(sys.executable).parent / "nbgrader"), "generate_assignment", "01_tiny", "--force"]
    done = subprocess.run(run, cwd=term, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = (term / "release" / "01_tiny" / "tiny.ipynb").read_text()
    assert "BEGIN HIDDEN" not in text and "BEGIN SOLUTION" not in text


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"start": "23.4.2027"}, "YYYY-MM-DD"),
        ({"start": "2027-04-23", "zone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"start": "2027-04-23", "days": 0}, "a day apart"),
    ],
)
def test_bad_options_write_nothing(course, tmp_path, options, why):
    with pytest.raises(Refusal, match=why):
        new_course(course, tmp_path / "spring", **options)
    assert not (tmp_path / "spring").exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name\nada\n", "must begin with the line id,first_name"),
        ("id\nada\nada\n", "names ada twice"),
        ("id\n../root\n", "cannot be a student's folder"),
        ("id,email\n,a@example.org\n", "cannot be a student's folder"),
    ],
)
def test_a_bad_roster_writes_nothing(course, tmp_path, roster, text, why):
    roster.write_text(text)
    with pytest.raises(Refusal, match=why):
        new_course(course, tmp_path / "spring", roster=roster)
    assert not (tmp_path / "spring").exists()


def test_a_folder_with_something_in_it_is_left_alone(course, tmp_path):
    (tmp_path / "spring").mkdir()
    (tmp_path / "spring" / "grades.txt").write_text("mine")
    with pytest.raises(Refusal, match="not an empty folder"):
        new_course(course, tmp_path / "spring")
    assert (tmp_path / "spring" / "grades.txt").read_text() == "mine"


def test_within_the_folder_every_grading_verb_means_it(course, tmp_path, monkeypatch):
    from autograde.grading.verbs import _course

    term = tmp_path / "spring"
    new_course(course, term)
    for inside in (term, term / "submitted"):
        monkeypatch.chdir(inside)
        assert _course(None) == term
    monkeypatch.chdir(course)
    assert _course(None) == course and _course(term) == term
    monkeypatch.setenv("AUTOGRADE_ROOT", str(course))
    monkeypatch.chdir(term)
    assert _course(None) == course
