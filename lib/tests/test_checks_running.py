"""A check is run over a record: what a wrong answer reads."""

import pytest
import torch

from coursekit.checks import CheckFailed
from coursekit.checks.cases import pack
from coursekit.checks.records import Examination
from coursekit.checks.running import examine

RULES = {"arguments": ["x"]}


def record(view: str, *cases: dict) -> Examination:
    """An exercise whose view is ``view``; a case gives x, want and what else it has."""
    plain = {"facets": {}, "fact": "", "hidden": False, "room": 1.0}
    made = [
        plain
        | case
        | {"text": f"case {i}", "inputs": pack((case["x"],)), "want": {k: pack(v) for k, v in case["want"].items()}}
        for i, case in enumerate(cases)
    ]
    return Examination({"name": "f", "rules": RULES, "view": "view", "code": view, "cases": made, "mistakes": []})


X = torch.arange(3.0, dtype=torch.float64)
FLAGS = """
def view(answer, x):
    got = answer(x)
    return {"it moves": int(got.sum() != x.sum()), "it is long": int(len(got) > 9)}
"""


def told(examination: Examination, answer) -> str:
    with pytest.raises(CheckFailed) as error:
        examine(examination, answer)
    return str(error.value)


def test_flags_are_no_table():
    wants = {"it moves": 1, "it is long": 0}
    said = told(record(FLAGS, {"x": X, "want": wants}, {"x": X + 1, "want": wants}), lambda x: x)
    assert "it moves" in said and "relation" not in said


def test_the_fact_of_the_first_wrong_case_is_told():
    view = "def view(answer, x):\n    return {'double': answer(x)}"
    right, wrong = ({"x": x, "want": {"double": 2 * x}, "fact": fact} for x, fact in ((0 * X, "all 0"), (X, "x grows")))
    said = told(record(view, right, wrong), lambda x: 3 * x)
    assert "x grows" in said and "all 0" not in said


def test_the_fact_of_a_hidden_case_stays_hidden():
    view = "def view(answer, x):\n    return {'double': answer(x)}"
    case = {"x": X, "want": {"double": 2 * X}, "fact": "x grows", "hidden": True}
    assert "x grows" not in told(record(view, case), lambda x: 3 * x)
