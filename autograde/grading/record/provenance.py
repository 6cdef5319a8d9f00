"""Which submission a score belongs to: the one that lies in ``submitted/`` now, or an earlier one, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autograde.grading.intake.folders import read_one
from autograde.grading.intake.notebook import NotGradable
from autograde.grading.intake.plan import Plan
from autograde.grading.record.cache import Cache
from autograde.grading.record.result import Result

GRADED, UNGRADED, CHANGED, NOT_GRADABLE = "graded", "not graded", "changed since it was graded", "not gradable"


@dataclass(frozen=True)
class Provenance:
    """One student's state in one chapter; ``result`` is the last one that was recorded."""

    state: str
    result: Result | None
    problem: str = ""

    @property
    def about(self) -> str:
        """Which submission the result is about; empty where it is the current one."""
        if self.result is None or self.state == GRADED:
            return ""
        now = f"cannot be graded ({self.problem})" if self.state == NOT_GRADABLE else "has changed since"
        return f"this score belongs to an earlier submission; what lies in submitted/ now {now}"


def provenance(root: Path, plan: Plan, student: str) -> Provenance:
    """Read what lies in ``submitted/`` now, and compare it with what was graded."""
    cache = Cache(root, plan.chapter)
    result = cache.of_student(student)
    try:
        submission = read_one(plan, root, student)
    except NotGradable as error:
        state, problem = NOT_GRADABLE, str(error)
    else:
        same = result is not None and cache.recorded(student)["submission"] == submission.key
        state, problem = GRADED if same else CHANGED if result is not None else UNGRADED, ""
    found = Provenance(state, result, problem)
    if result is not None:
        result.about = found.about
    return found
