"""Which submission a score belongs to, in every verb; names and texts that a terminal must survive."""

import json
import os
import subprocess
import sys
import unicodedata

import pytest

from autograde.grading import console
from autograde.grading.attacks import target
from autograde.grading.feedback import reasons
from autograde.grading.instructor import reports, session
from autograde.grading.intake import plan, submission
from autograde.grading.intake.folders import read_one, students_of
from autograde.grading.record import cache
from autograde.grading.running.settings import gradebook_url
from autograde.grading.sandbox import tiers

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]
RIGHT = target.right()
WRONG = RIGHT | {"double": "def double(x): return x"}
NAME = f"{target.NOTEBOOK}.ipynb"
HEBREW = "שרה"
STEER = "\x1b[31m\u202eevil\x9b2J\x07"


@pytest.fixture
def course(tmp_path):
    target.write_course(tmp_path)
    return tmp_path


def key(course, student):
    return read_one(plan.load("07", course), course, student).key


def grade(course, **options):
    report = session.run(course, "07", session.Options(jobs=1, **options), quiet=True)
    return {row.student: row for row in report.rows}


def in_gradebook(course):
    reports.export(course, None, course / "grades.csv")
    lines = (course / "grades.csv").read_text().splitlines()
    return {line.split(",")[0]: dict(zip(lines[0].split(","), line.split(","), strict=False)) for line in lines[1:]}


def test_the_key_is_of_all_that_was_handed_in_with_boundaries(course):
    folder = target.write_submission(course, "a", RIGHT)
    seen = {key(course, "a")}
    changes = [
        lambda: (folder / "timestamp.txt").write_text("2026-03-01 10:00:00 UTC"),
        lambda: (folder / "timestamp.txt").write_text("2026-03-02 10:00:00 UTC"),
        lambda: (folder / "x").write_text("ab"),
        lambda: (folder / "x").rename(folder / "y"),
        lambda: (folder / "ya").write_text(""),
        lambda: (folder / "ya").rename(folder / "yb"),
        lambda: (folder / "y").write_text("a"),
        lambda: (folder / NAME).rename(folder / "work.ipynb"),
        lambda: (folder / "pipe").symlink_to("y"),
    ]
    for number, change in enumerate(changes, start=2):
        change()
        seen.add(key(course, "a"))
        assert len(seen) == number, number
    assert cache.key("ab", "c", tiers.Limits()) != cache.key("a", "bc", tiers.Limits())


def test_notes_are_a_submissions_own(course):
    """Two files with the same bytes under two names: the note about one name stood on the other's page."""
    target.write_submission(course, "plain", RIGHT)
    folder = target.write_submission(course, "renamed", RIGHT)
    (folder / NAME).rename(folder / "mine.ipynb")
    rows = grade(course)
    assert rows["plain"].result.notes == [] and "mine.ipynb" in rows["renamed"].result.notes[0]
    for path in session.feedback(course, "07", None, None):
        assert ("mine.ipynb" in path.read_text()) == ("renamed" in str(path))


def test_a_time_stamp_that_changes_reaches_the_gradebook_and_the_penalty(course):
    import datetime

    from autograde.grading.record import gradebook
    from autograde.tests.test_grading_late import PLUGIN

    (course / "nbgrader_config.py").write_text(PLUGIN)
    with gradebook.session(gradebook_url(course, None)) as book:
        book.add_assignment(target.CHAPTER, duedate=datetime.datetime(2026, 3, 1, 10))
    folder = target.write_submission(course, "a", RIGHT)
    for stamp, penalty in (("2026-03-01 12:00:00 UTC", 2.0), ("2026-03-01 09:00:00 UTC", 0.0), (None, 0.0)):
        if stamp:
            (folder / "timestamp.txt").write_text(stamp)
        else:
            (folder / "timestamp.txt").unlink()
        grade(course)
        row = in_gradebook(course)["a"]
        assert float(row["late_penalty"]) == penalty, stamp
        assert row["timestamp"] == (stamp or "").removesuffix(" UTC") and row["submission"] == "current"


def test_an_older_better_score_never_stands_silently(course):
    folder = target.write_submission(course, "a", RIGHT)
    target.write_submission(course, "b", RIGHT)
    grade(course)
    assert {row["submission"] for row in in_gradebook(course).values()} == {"current"}
    assert session.why(course, "a", "07")[0].about == "" and reports.analyse(course, "07")["earlier"] == []
    text = (folder / NAME).read_text()
    for broken, words in ((text + " ", "has changed since"), ("{", "cannot be graded")):
        (folder / NAME).write_text(broken)
        (result,) = session.why(course, "a", "07")
        assert "earlier submission" in reasons.explain(result) and words in reasons.explain(result)
        assert words in in_gradebook(course)["a"]["submission"]
        (row,) = [row for row in session.status(course, "07") if row["student"] == "a"]
        assert row["score"] == 10 and words in row["problem"]
        assert reports.analyse(course, "07")["earlier"] == ["a"]
        page = next(p for p in session.feedback(course, "07", None, None) if "/a/" in str(p))
        assert "earlier submission" in page.read_text()
        assert in_gradebook(course)["b"]["submission"] == "current"
    row = grade(course)["a"]
    assert row.score is None and "still holds 10 of an earlier submission" in row.problem
    assert in_gradebook(course)["a"]["needs_manual_grade"] == "True"
    (folder / NAME).write_text(text)
    assert grade(course)["a"].score == 10 and in_gradebook(course)["a"]["needs_manual_grade"] == "False"


def test_two_spellings_of_one_name_are_one_student(course):
    composed = unicodedata.normalize("NFC", "José Ångström")
    apart = unicodedata.normalize("NFD", composed)
    folder = target.write_submission(course, apart, RIGHT)
    assert list(grade(course)) == [composed] and grade(course, students=[composed])[composed].score == 10
    assert session.why(course, composed, "07")[0].student == composed
    folder.parent.rename(course / "submitted" / composed)
    assert list(in_gradebook(course)) == [composed]
    target.write_submission(course, apart, WRONG)
    problems = {row.problem for row in grade(course).values()}
    assert all("merge them" in problem for problem in problems)
    assert list(in_gradebook(course)) == [composed]


def test_what_programs_leave_in_submitted_is_no_student(course):
    for name in ("a", "__MACOSX", ".ipynb_checkpoints", "__pycache__", ".hidden"):
        target.write_submission(course, name, RIGHT)
    assert students_of(course, target.CHAPTER) == ["a"]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
@pytest.mark.parametrize("verb", ["grade 07", "status 07", "why NAME 07", "feedback 07", "analyse 07", "export -"])
def test_every_verb_survives_every_code_page_and_steers_no_terminal(verbs_course, verb, encoding):
    course, names = verbs_course
    words = [names[0] if word == "NAME" else word for word in verb.split()]
    code = "from autograde.cli import main; main()"
    command = [sys.executable, "-c", code, *words, "--root", str(course)]
    env = os.environ | {"PYTHONIOENCODING": encoding, "AUTOGRADE_ROOT": str(course)}
    done = subprocess.run(command, env=env, capture_output=True)
    assert done.returncode in (0, 1) and b"Traceback" not in done.stderr, done.stderr[-2000:]
    said = done.stdout.decode(encoding)
    if "-" not in words:  # a CSV is data
        assert not [c for c in said if c != "\n" and not console.harmless(c)]


@pytest.fixture(scope="module")
def verbs_course(tmp_path_factory):
    course = tmp_path_factory.mktemp("verbs")
    target.write_course(course)
    names = [HEBREW, "a" + STEER, "[red]b", "陈伟"]
    raising = f"def double(x): raise ValueError({STEER!r})"
    for name in names:
        folder = target.write_submission(course, name, RIGHT | {"double": raising})
        (folder / f"{STEER}.txt").symlink_to("nowhere")
    (target.write_submission(course, "broken" + STEER, RIGHT) / NAME).write_text("{")
    grade(course)
    return course, names


def test_json_of_a_verb_is_whole(verbs_course):
    course, names = verbs_course
    command = [sys.executable, "-c", "from autograde.cli import main; main()", "status", "07", "--root", str(course)]
    env = os.environ | {"PYTHONIOENCODING": "cp1252"}
    done = subprocess.run([*command, "--json"], env=env, capture_output=True)
    assert {row["student"] for row in json.loads(done.stdout.decode("cp1252"))} >= set(names)


def test_lines_for_a_terminal():
    assert console.line("a\x1b[2J\u202e\nb\u2028\ud800") == "a[2J b" and console.line(HEBREW) == HEBREW
    assert console.line("x" * 400).endswith("...") and len(console.line("x" * 400)) == console.LINE_MAX + 3
    assert submission.few(["n"] * 100)[-1] == "and 70 more notes"
