"""Do the checks say the same through the judge, and is a check that cannot cross found while it is being written?"""

import pytest

from autograde.checking.check import check
from autograde.checking.judge_agreement import cross
from autograde.grading.sandbox import tiers

pytestmark = pytest.mark.skipif(tiers.tier() == tiers.NONE, reason="this machine has no sandbox")


def crossed(course):
    reports = check(course, quiet=True, jobs=2, seeds=2)
    assert not [p for report in reports for p in report.problems], "in this process all is well"
    cross(course, None, reports, jobs=2)
    return {report.exercise: report for report in reports}


def test_a_sound_chapter_is_judged_as_it_is_tried(course):
    reports = crossed(course)
    assert not [p for report in reports.values() for p in report.problems]
    assert all(len(report.judged) == 9 and all(report.judged.values()) for report in reports.values())


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    running_sum(x),", "    (running_sum.__code__, running_sum(x))[1],", "cannot look at __code__"),
        (
            "    running_sum(x),",
            "    (running_sum.__get__, running_sum(x))[1],",
            "__get__",
        ),
    ],
    ids=["code", "descriptor"],
)
def test_an_idiom_that_cannot_cross_is_a_problem_with_advice(course, edit, old, new, says):
    reports = crossed_after(course, edit, old, new)
    (problem, *_) = reports["running_sum"].problems
    assert problem.startswith("reference reference loses points") and says in problem and "stand-in" in problem
    assert not reports["noisy"].problems


def crossed_after(course, edit, old, new):
    edit(old, new)
    return crossed(course)


def test_a_machine_without_a_sandbox_says_so(course, monkeypatch):
    monkeypatch.setattr(tiers, "tier", lambda: tiers.NONE)
    reports = check(course, quiet=True, jobs=2, seeds=2)
    cross(course, None, reports)
    assert all("no sandbox" in report.notes[-1] and not report.judged for report in reports)
