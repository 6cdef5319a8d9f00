"""A check is run over a record: what a wrong answer reads."""

import re

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


DOUBLE = "def view(answer, x):\n    return {'double': answer(x)}"


def test_what_is_kept_under_the_shape_of_an_argument_is_found_out():
    kept = {}
    same_shape = record(DOUBLE, {"x": X, "want": {"double": 2 * X}})
    assert "case 0" in told(same_shape, lambda x: kept.setdefault(x.shape, 2 * x))
    counts = torch.tensor([4, 7, 1])
    whole = record(DOUBLE, {"x": counts, "want": {"double": 2 * counts}})
    kept.clear()
    assert "case 0" in told(whole, lambda x: kept.setdefault(x.shape, 2 * x))


def test_the_visit_before_the_first_case_may_fail():
    def picky(x):
        if float(x[-1]) != 2:
            raise ValueError("other numbers than I expect")
        return 2 * x

    assert "1 case right" in examine(record(DOUBLE, {"x": X, "want": {"double": 2 * X}}), picky)


def test_numbers_that_print_alike_are_told_apart():
    close = record(DOUBLE, {"x": X[1:], "want": {"double": 2 * X[1:]}})
    said = told(close, lambda x: 2 * x + 4e-8)
    assert re.search(r"off by +4e-08 at most", said)


def test_a_mistake_of_precision_is_no_proof_of_float32():
    x = torch.linspace(0.1, 0.9, 12, dtype=torch.float64)
    case = record(DOUBLE, {"x": x, "want": {"double": 2 * x}})
    assert "these are numbers of float32" in told(case, lambda x: (2 * x).float().double())
    assert "or an approximation" in told(case, lambda x: 2 * x + 1e-7 * x**2)


def test_an_answer_without_a_gradient_reads_what_cuts_it(monkeypatch):
    monkeypatch.setitem(RULES, "gradient", ["x"])
    slope = torch.cos(1 + torch.arange(3.0, dtype=torch.float64)) * 2
    case = record(DOUBLE, {"x": X, "want": {"double": 2 * X, "gradient in x": slope}})
    assert "1 case right" in examine(case, lambda x: 2 * x)
    assert "the gradient in x is 0 everywhere; numpy, detach, no_grad" in told(case, lambda x: 2 * x.detach())
    assert "it changes its arguments" in told(case, lambda x: x.mul_(2))


def test_words_of_several_cases_separate_nothing():
    from coursekit.checks.diagnosis import separators

    case = lambda **facets: type("Case", (), {"facets": facets})()
    right = [case(angle="between 0 and 3 degrees")]
    assert separators(right, [case(angle="0"), case(angle="any")]) == []
    assert separators(right, [case(angle="any")]) == ["angle (wrong: any; right: between 0 and 3 degrees) (one case)"]
