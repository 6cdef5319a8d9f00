"""Late submissions: nbgrader's own plugin, from the instructor's own configuration, decides about the penalty."""

import datetime

import pytest

from autograde.grading.attacks import target
from autograde.grading.instructor import reports, session

PLUGIN = """
from nbgrader.plugins import LateSubmissionPlugin


class Hourly(LateSubmissionPlugin):
    def late_submission_penalty(self, student_id, score, total_seconds_late):
        return total_seconds_late / 3600


c = get_config()
c.AssignLatePenalties.plugin_class = Hourly
"""


@pytest.mark.sandbox
def test_a_late_submission_gets_the_penalty_of_the_courses_plugin(tmp_path):
    from autograde.grading.record import gradebook

    target.write_course(tmp_path)
    (tmp_path / "nbgrader_config.py").write_text(PLUGIN)
    for name, stamp in {"late": "2026-03-01 12:00:00 UTC", "early": "2026-03-01 09:00:00 UTC"}.items():
        folder = target.write_submission(tmp_path, name, target.right())
        (folder / "timestamp.txt").write_text(stamp)
    with gradebook.session(f"sqlite:///{tmp_path / 'gradebook.db'}") as book:
        book.add_assignment(target.CHAPTER, duedate=datetime.datetime(2026, 3, 1, 10))
    session.run(tmp_path, "07", session.Options(), quiet=True)
    reports.export(tmp_path, None, tmp_path / "grades.csv")
    rows = {line.split(",")[0]: line.split(",") for line in (tmp_path / "grades.csv").read_text().splitlines()[1:]}
    assert (float(rows["late"][3]), float(rows["late"][5])) == (8.0, 2.0)
    assert (float(rows["early"][3]), float(rows["early"][5])) == (10.0, 0.0)
    with gradebook.session(f"sqlite:///{tmp_path / 'gradebook.db'}") as book:
        book.grant_extension(target.CHAPTER, "late", hours=3)
    session.run(tmp_path, "07", session.Options(students=["late"], force=True), quiet=True)
    reports.export(tmp_path, None, tmp_path / "grades.csv")
    rows = {line.split(",")[0]: line.split(",") for line in (tmp_path / "grades.csv").read_text().splitlines()[1:]}
    assert (float(rows["late"][3]), float(rows["late"][5])) == (10.0, 0.0), "an extension takes the penalty back"
