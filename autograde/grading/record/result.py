"""What grading one submission gives: cells with outputs, tests with points and reasons, notes and flags."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from autograde.grading.sandbox import outputs as out
from autograde.grading.sandbox.tiers import Limits

PASSED, FAILED, NOT_RUN, NO_GRADE = "passed", "failed", "not run", "no grade"
TOLD_MAX = 200  # characters of an exception: enough to understand it, too few to carry a hidden test's numbers away
SAY = {
    "timeout": ("CellTimeout", "this cell ran longer than {cell:.0f} s and was stopped"),
    "killed": ("CellTimeout", "this cell ran longer than {cell:.0f} s, ignored the interrupt and was killed"),
    "flood": ("TooMuchOutput", "this cell printed more than {flood} MB and was stopped"),
    "died": (
        "StudentProcessDied",
        "your code ended the Python process ({why}); later cells were graded after a restart",
    ),
    "malformed": ("ProtocolViolation", "your code answered the tests with something that no function returns ({why})"),
    "budget": ("TimeBudget", "the submission used up its {total:.0f} s before this test"),
    "lost": ("NotRun", "an earlier cell kept ending the Python process, so this test could not run"),
}
DEATHS = {
    "memory": "out of memory",
    "processes": "too many processes",
    "disk": "too much written to disk",
    "time": "too much processor time",
}
SIGNALS = {
    -11: "a crash, segmentation fault or abort",  # pid 1 survives the signal of abort, and then ends like this
    -6: "a crash, abort",
    -9: "killed",
}


@dataclass
class TestResult:
    """What became of one test."""

    grade_id: str
    status: str
    points: float
    max_points: float
    ename: str = ""
    evalue: str = ""
    exercise: str | None = None


@dataclass
class CellResult:
    """What became of one cell; ``index`` is its place in the plan, or None for a cell of the student's own."""

    index: int | None
    source: str
    kind: str
    outputs: list[dict] = field(default_factory=list)


@dataclass
class Result:
    """Everything that the gradebook, the feedback and ``why`` need to know of one graded submission."""

    student: str
    cells: list[CellResult] = field(default_factory=list)
    tests: list[TestResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    restarts: int = 0
    seconds: float = 0.0
    slowest: float = 0.0  # seconds that its slowest cell took here
    modules: list[str] = field(default_factory=list)  # of the reference: what running it imported
    about: str = (
        ""  # that it belongs to an earlier submission, if it does; not kept, but found out when it is asked for
    )

    def document(self) -> dict:
        """For JSON."""
        return asdict(self)

    def withdraw(self, broken: Iterable[str]) -> None:
        """Tests that fail on the instructor's own answers give no grade, and take none."""
        for test in self.tests:
            if test.grade_id in broken:
                test.status, test.points = NO_GRADE, 0.0

    @classmethod
    def of(cls, document: dict) -> Result:
        """From ``document``."""
        document = dict(document)
        document["cells"] = [CellResult(**c) for c in document["cells"]]
        document["tests"] = [TestResult(**t) for t in document["tests"]]
        return cls(**document)


def say(kind: str, limits: Limits, report: dict | None) -> tuple[str, str]:
    """Name and sentence for a way to fail."""
    report = report or {}
    code = report.get("code")
    why = DEATHS.get(report.get("why", "")) or SIGNALS.get(code)
    if why is None and isinstance(code, int) and 0 <= code < 128:
        why = f"it exited with code {code}, as by os._exit"
    if why is None:
        why = "for example os._exit, a crash, or out of memory" if kind == "died" else "see the flag"
    name, text = SAY[kind]
    return name, text.format(cell=limits.cell, total=limits.total, flood=limits.flood >> 20, why=why)


def partial(outputs: list[dict], points: float) -> tuple[float | None, list[dict]]:
    """nbgrader's rule for partial credit: the value of a test cell, where it is a number between 0 and its points.

    Returns the points and the outputs as nbgrader must see them: a number that is too large was not meant as credit.
    None stands for a number that cannot be credit at all.
    """
    for i, output in enumerate(outputs):
        if output["output_type"] != "execute_result":
            continue
        try:
            value = float(output["data"].get("text/plain", ""))
        except ValueError:
            return points, outputs
        if 0 <= value <= points:
            return value, outputs
        if value > points:
            shown = {k: v for k, v in output.items() if k != "execution_count"} | {"output_type": "display_data"}
            return points, [*outputs[:i], shown, *outputs[i + 1 :]]
        return None, outputs
    return points, outputs


def explained(outputs: list[dict], status: str, limits: Limits, report: dict | None) -> list[dict]:
    """A student's cell's outputs, with the sentence that says why it was stopped."""
    kind = status.removesuffix("-killed")
    if kind not in SAY:  # "ok", "error", or what student code made up
        return outputs
    return [*outputs, out.error(*say(kind, limits, report))]
