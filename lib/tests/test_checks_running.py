"""Asking an answer about recorded cases, and comparing what came back."""

import math

import pytest
import torch

from coursekit.checks.asking import ask, compare
from coursekit.checks.cases import Case, Rules


@pytest.mark.parametrize(
    "came_back, kind", [(math.inf, "ok"), (-math.inf, "value"), (3.0, "value"), (math.nan, "value")]
)
def test_only_infinity_equals_infinity(came_back, kind):
    case = Case("an infinite price", lambda: (), {"result": torch.tensor([math.inf, 1.0], dtype=torch.float64)})
    answer = lambda: torch.tensor([came_back, 1.0], dtype=torch.float64)
    assert compare(ask(answer, case, None, Rules()), case, Rules()).kind == kind
