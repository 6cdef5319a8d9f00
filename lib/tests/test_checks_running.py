"""Asking an answer about a case and comparing what came back."""

import math

import pytest
import torch

from coursekit.checks.asking import ask, compare
from coursekit.checks.cases import Case, Rules


@pytest.mark.parametrize("right", [math.inf, -math.inf])
def test_an_infinite_truth_is_met_by_itself_alone(right):
    case = Case("a case", lambda: (torch.tensor(1.0),), {"result": torch.tensor([right, 2.0])})

    def judged(value):
        return compare(ask(lambda x: torch.tensor([value, 2.0]), case, None, Rules()), case, Rules()).kind

    assert judged(right) == "ok"
    assert judged(130.0) != "ok"
    assert judged(-right) != "ok"
    assert judged(math.nan) != "ok"
