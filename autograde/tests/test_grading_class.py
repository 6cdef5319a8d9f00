"""A class from end to end: bad files, repairs, nbgrader's gradebook, feedback, resume, export, analysis."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time

import nbformat
import pytest

from autograde.errors import Refusal
from autograde.grading.attacks import target
from autograde.grading.feedback import reasons
from autograde.grading.instructor import attack, reports, session
from autograde.grading.intake import submission

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]
RIGHT = target.right()
HALF = {k: v for k, v in RIGHT.items() if k in ("double", "facts")}
WRONG = RIGHT | {"double": "def double(x): return x"}
NAME = f"{target.NOTEBOOK}.ipynb"


def lose_metadata(document):
    for cell in document["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade_id") != "double":
            cell["metadata"] = {}
        cell.pop("id")


def duplicate(document):
    cells = document["cells"]
    at = next(i for i, c in enumerate(cells) if c["metadata"].get("nbgrader", {}).get("grade_id") == "double")
    cells.insert(at, {**cells[at], "source": "def double(x): return 'the old one'", "id": "copy"})


def format_3(document):
    cells = [dict(c, input=c["source"], language="python") for c in document.pop("cells")]
    document.update(nbformat=3, nbformat_minor=0, worksheets=[{"cells": cells}])
    for cell in cells:
        if cell["cell_type"] == "code":
            del cell["source"]


def windows(document):
    for cell in document["cells"]:
        cell["source"] = cell["source"].replace("\n", "\r\n")


def fifty_megabytes(document):
    document["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["x" * 1000] * 50_000}]


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A graded class of every kind of file."""
    root = tmp_path_factory.mktemp("course")
    target.write_course(root)
    good = {"right": RIGHT, "half": HALF, "wrong": WRONG, "blank": {}, "陈伟": RIGHT, 'o\'neil "the" 2nd': RIGHT}
    for name, answers in good.items():
        target.write_submission(root, name, answers)
    for edit in (lose_metadata, duplicate, format_3, windows, fifty_megabytes):
        target.write_submission(root, edit.__name__, RIGHT, edit)
    renamed = target.write_submission(root, "renamed", RIGHT)
    (renamed / NAME).rename(renamed / "bait (1).ipynb")
    for name, text in {
        "empty": "",
        "truncated": '{"cells": [\n{"cell',
        "other": '{"cells": []}',
        "binary": "\0\1",
    }.items():
        folder = target.write_submission(root, name, {})
        (folder / NAME).write_text(text)
    linked = target.write_submission(root, "linked", {})
    (linked / NAME).unlink()
    (linked / NAME).symlink_to(root / "submitted" / "right" / target.CHAPTER / NAME)
    (root / "submitted" / "no notebook" / target.CHAPTER).mkdir(parents=True)
    (root / "submitted" / "right" / target.CHAPTER / "timestamp.txt").write_text("2026-03-01 10:00:00 UTC")
    report = session.run(root, "07", session.Options(jobs=2), quiet=True)
    return root, report, {row.student: row for row in report.rows}


FULL = 10.0
SCORES = {
    "right": FULL,
    "half": 4.0,
    "wrong": 8.0,
    "blank": 0.0,
    "陈伟": FULL,
    'o\'neil "the" 2nd': FULL,
    "lose_metadata": FULL,
    "duplicate": FULL,
    "format_3": FULL,
    "windows": FULL,
    "fifty_megabytes": FULL,
    "renamed": FULL,
}


@pytest.mark.parametrize("student", SCORES)
def test_score(course, student):
    row = course[2][student]
    assert row.score == SCORES[student], (row.problem, row.result and row.result.tests)


@pytest.mark.parametrize(
    ("student", "words"),
    [
        ("empty", "not a notebook (the file is empty)"),
        ("truncated", "not a notebook (line 2:"),
        ("other", "another notebook"),
        ("binary", "not a notebook"),
        ("linked", "is a link"),
        ("no notebook", "no notebook in the folder (expected bait.ipynb)"),
    ],
)
def test_what_cannot_be_graded_is_listed_and_the_others_go_on(course, student, words):
    assert words in course[2][student].problem
    assert any(line.startswith(f"{student}: ") and line.endswith("not graded") for line in course[1].problems)


def test_repairs_are_notes(course):
    rows = course[2]
    assert any("more than once; the last one counts" in n for n in rows["duplicate"].result.notes)
    assert any("'bait (1).ipynb' instead of 'bait.ipynb'" in n for n in rows["renamed"].result.notes)
    assert any("was missing; it was put back" in n for n in rows["lose_metadata"].result.notes)
    assert rows["right"].result.notes == []


def test_status_and_why(course):
    rows = {r["student"]: r for r in session.status(course[0], "07")}
    assert (rows["right"]["state"], rows["right"]["score"]) == ("graded", FULL)
    assert rows["empty"]["state"] == "not gradable"
    text = reasons.explain(session.why(course[0], "wrong", "07")[0])
    assert "double_check: 0 of 2 (failed)" in text and "facts_check: 2 of 2 (passed)" in text
    with pytest.raises(Refusal, match="not graded"):
        session.why(course[0], "empty", "07")


def test_a_second_run_grades_nothing_again(course):
    before = rows_of(course[0] / "gradebook.db")
    report = session.run(course[0], "07", session.Options(jobs=2), quiet=True)
    assert not any(row.fresh for row in report.rows)
    assert {r.student: r.score for r in report.rows} == {r.student: r.score for r in course[1].rows}
    assert rows_of(course[0] / "gradebook.db") == before


def rows_of(path):
    """Scores in the gradebook, student by student, cell by cell."""
    query = (
        "select s.id, c.name, g.auto_score, g.manual_score, g.needs_manual_grade from grade g "
        "join submitted_notebook n on n.id = g.notebook_id join submitted_assignment a on a.id = n.assignment_id "
        "join student s on s.id = a.student_id join base_cell c on c.id = g.cell_id order by 1, 2"
    )
    with sqlite3.connect(path) as database:
        return database.execute(query).fetchall()


def comments_of(path):
    query = (
        "select s.id, c.name, k.auto_comment from comment k join submitted_notebook n on n.id = k.notebook_id "
        "join submitted_assignment a on a.id = n.assignment_id join student s on s.id = a.student_id "
        "join base_cell c on c.id = k.cell_id order by 1, 2"
    )
    with sqlite3.connect(path) as database:
        return database.execute(query).fetchall()


def test_nbgraders_own_command_writes_the_same_rows_and_notebooks(course, tmp_path):
    """The oracle: `nbgrader autograde`, with our preprocessors, over the same submissions."""
    root = course[0]
    other = tmp_path / "other"
    for name in ("right", "wrong", "blank", "duplicate"):
        (other / "submitted").mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", root / "submitted" / name, other / "submitted" / name], check=True)
    subprocess.run(["cp", "-r", root / "source", root / ".autograde", root / "nbgrader_config.py", other], check=True)
    bin_ = os.path.dirname(sys.executable)
    env = os.environ | {"PATH": f"{bin_}:{os.environ['PATH']}"}
    from autograde.grading.intake import plan
    from autograde.grading.record import gradebook

    gradebook.register(plan.load("07", other), f"sqlite:///{other / 'gradebook.db'}")
    subprocess.run(
        [f"{bin_}/nbgrader", "autograde", target.CHAPTER], cwd=other, env=env, check=True, capture_output=True
    )
    ours = [row for row in rows_of(root / "gradebook.db") if row[0] in ("right", "wrong", "blank", "duplicate")]
    assert rows_of(other / "gradebook.db") == ours and len(ours) == 20
    said = [row for row in comments_of(root / "gradebook.db") if row[0] in ("right", "wrong", "blank", "duplicate")]
    assert comments_of(other / "gradebook.db") == said
    assert {row[2] for row in said if row[0] == "blank"} == {"No response."}
    for name in ("right", "wrong", "blank", "duplicate"):
        path = f"autograded/{name}/{target.CHAPTER}/{NAME}"
        assert nbformat.read(other / path, 4) == nbformat.read(root / path, 4), name


def test_feedback_says_why_and_shows_nothing_hidden(course):
    root = course[0]
    paths = session.feedback(root, "07", None, None)
    pages = {path.parent.parent.name: path.read_text() for path in paths}
    assert set(pages) == set(SCORES)
    for page in pages.values():
        assert attack.active(page) == [] and "Content-Security-Policy" in page and target.SECRET not in page
    wrong = pages["wrong"]
    assert "double" in wrong and "8 / 10" in wrong
    assert "10 / 10" in pages["right"] and "Likely mistake" not in pages["right"]
    bad = wrong.replace("</main>", "<script>1</script><img src=http://x onerror=y></main>")
    assert len(attack.active(bad)) == 3  # the twin: it sees active content where there is some


def test_nbgraders_feedback_is_clean_as_well(course):
    root, bin_ = course[0], os.path.dirname(sys.executable)
    env = os.environ | {"PATH": f"{bin_}:{os.environ['PATH']}"}
    command = [f"{bin_}/nbgrader", "generate_feedback", target.CHAPTER, "--student", "wrong", "--force"]
    subprocess.run(command, cwd=root, env=env, check=True, capture_output=True)
    page = (root / "feedback" / "wrong" / target.CHAPTER / f"{target.NOTEBOOK}.html").read_text()
    assert target.SECRET not in page and "hidden checks ran here" in page


def test_a_persons_correction_survives_and_shows(course):
    from nbgrader.api import Gradebook

    root = course[0]
    with Gradebook(f"sqlite:///{root / 'gradebook.db'}") as book:
        grade = book.find_grade("double_check", target.NOTEBOOK, target.CHAPTER, "half")
        grade.manual_score = 1.5
        book.db.commit()
    session.run(root, "07", session.Options(students=["half"], force=True), quiet=True)
    marks = reports.marks(session.planning.load("07", root), f"sqlite:///{root / 'gradebook.db'}")
    assert marks["half"]["double_check"][0] == 1.5
    (path,) = session.feedback(root, "07", ["half"], None)
    assert "1.5 / 2" in path.read_text()


def test_export_and_analysis(course, tmp_path):
    file = tmp_path / "grades.csv"
    assert reports.export(course[0], None, file) == len(SCORES)
    lines = file.read_text().splitlines()
    assert lines[0].startswith("student,assignment,timestamp,score") and any("2026-03-01" in line for line in lines)
    assert reports.safe("=cmd|' /C calc'!A0").startswith("'=")
    found = reports.analyse(course[0], "07")
    double = next(item for item in found["exercises"] if item["exercise"] == "double")
    assert found["students"] == len(SCORES) and double["full"] == len(SCORES) - 2 and double["zero"] == 2
    assert sum(count for _, count in double["mistakes"]) == 2


def test_a_test_that_fails_on_the_reference_gives_no_grade(tmp_path):
    import nbformat

    target.write_course(tmp_path)
    path = tmp_path / "source" / target.CHAPTER / NAME
    notebook = nbformat.read(path, 4)
    broken = next(c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == "facts_check")
    broken.source += "\nundefined_name"
    nbformat.write(notebook, path)
    target.write_submission(tmp_path, "right", RIGHT)
    report = session.run(tmp_path, "07", session.Options(), quiet=True)
    assert report.rows[0].score == FULL - 2
    (problem,) = report.problems
    assert problem.startswith(
        "The test 'facts_check' itself failed for every student: NameError: name 'undefined_name'"
    )
    grades = {row[1]: row[2:] for row in rows_of(tmp_path / "gradebook.db")}
    assert grades["facts_check"] == (None, None, 1) and grades["double_check"][0] == 2.0
    (page,) = session.feedback(tmp_path, "07", None, None)
    assert "The test itself is broken" in page.read_text()


def test_a_crash_while_recording_leaves_no_half_of_a_submission(tmp_path, monkeypatch):
    """nbgrader commits a student, then an empty submission, then grades: a crash in between left a row of zeros."""
    from autograde.grading.intake import plan
    from autograde.grading.intake.folders import read_one
    from autograde.grading.record import gradebook
    from autograde.grading.record.result import CellResult, Result

    target.write_course(tmp_path)
    made, url = plan.load("07", tmp_path), f"sqlite:///{tmp_path / 'gradebook.db'}"
    writer = gradebook.Writer(made, tmp_path, url)
    cells = [CellResult(step.index, step.source, "code", []) for step in made.steps]
    for name in ("ada", "bob"):
        target.write_submission(tmp_path, name, RIGHT)
    with monkeypatch.context() as crash, pytest.raises(ZeroDivisionError):
        crash.setattr(gradebook, "determine_grade", lambda _: 1 / 0)
        writer.write(read_one(made, tmp_path, "ada"), Result("ada", cells=cells))
    writer.write(read_one(made, tmp_path, "bob"), Result("bob", cells=cells))
    writer.close()
    with gradebook.session(url) as book:
        assert (
            [s.id for s in book.students]
            == [s.student.id for s in book.assignment_submissions(target.CHAPTER)]
            == ["bob"]
        )


def test_who_was_graded_beside_a_slow_reference_gets_its_time_too(tmp_path, monkeypatch):
    """The first student begins before it is known what is fair: where more time is, that result does not count."""
    slow = "import time\ndef facts():\n    time.sleep({})\n    return {{'squares': 328350, 'two': [1, 1]}}"
    marked = slow.format(1).replace("\n    time", "\n    ### BEGIN SOLUTION\n    time") + "\n    ### END SOLUTION"
    monkeypatch.setitem(target.EXERCISES, "facts", (marked, target.EXERCISES["facts"][1]))
    target.write_course(tmp_path)
    for name in ("first", "second", "third"):
        target.write_submission(tmp_path, name, RIGHT | {"facts": slow.format(4)})
    report = session.run(tmp_path, "07", session.Options(jobs=2, timeout=2.0), quiet=True)
    assert not report.problems and {row.student: row.score for row in report.rows} == dict.fromkeys(
        ("first", "second", "third"), FULL
    ), [row.result.tests for row in report.rows]


def test_kill_9_in_the_middle_loses_and_doubles_nothing(tmp_path):
    target.write_course(tmp_path)
    names = [f"s{i:02d}" for i in range(8)]
    for i, name in enumerate(names):
        target.write_submission(tmp_path, name, (RIGHT | {"facts": f"def facts(): return {i}"}) if i % 2 else RIGHT)
    command = [sys.executable, "-c", "from autograde.cli import main; main()", "grade", "07", "--jobs", "1"]
    command += ["--root", str(tmp_path)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    recorded = tmp_path / ".autograde" / target.CHAPTER / "recorded"
    deadline = time.monotonic() + 180
    while len(list(recorded.glob("[0-9a-f]*"))) < 2 and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = len(list(recorded.glob("[0-9a-f]*")))
    assert 2 <= done < 8
    report = session.run(tmp_path, "07", session.Options(jobs=2), quiet=True)
    assert sum(row.fresh for row in report.rows) <= 8 - done
    assert [row.score for row in report.rows] == [8.0 if i % 2 else FULL for i in range(8)]
    rows = rows_of(tmp_path / "gradebook.db")
    assert len(rows) == 8 * 5 and len({row[:2] for row in rows}) == 40


def test_intake_never_follows_a_link(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s")
    folder = tmp_path / "submission"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.txt").write_text("a")
    (folder / "link").symlink_to(secret)
    (folder / "dir").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    files, notes = submission.files_of(folder, NAME)
    assert files == {"sub/a.txt": b"a"}
    assert sum("left out" in note for note in notes) == 2 and re.search("'pipe'.*regular", " ".join(notes))
