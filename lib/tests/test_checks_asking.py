"""Asking an answer about recorded cases, and comparing what came back."""

import math
from types import SimpleNamespace

import pytest
import torch

from coursekit.checks.asking import ask, compare
from coursekit.checks.cases import Case, Rules
from coursekit.checks.running import named, seen_of
from coursekit.checks.traces import trace


@pytest.mark.parametrize(
    "came_back, kind", [(math.inf, "ok"), (-math.inf, "value"), (3.0, "value"), (math.nan, "value")]
)
def test_only_infinity_equals_infinity(came_back, kind):
    case = Case("an infinite price", lambda: (), {"result": torch.tensor([math.inf, 1.0], dtype=torch.float64)})
    answer = lambda: torch.tensor([came_back, 1.0], dtype=torch.float64)
    assert compare(ask(answer, case, None, Rules()), case, Rules()).kind == kind


def kl(log_p, log_q):
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def named_by(answer, mistake, tables):
    """The sentence that ``answer`` reads, where ``mistake`` is the one known mistake."""
    right = lambda p, q: torch.special.xlogy(p, p).sum(-1) - torch.special.xlogy(p, q).sum(-1)
    made = [
        Case(str(i), lambda p=p, q=q: (p.log(), q.log()), {"result": right(p, q)}) for i, (p, q) in enumerate(tables)
    ]
    examination = SimpleNamespace(rules=Rules(), cases=made, view=None, mistakes=[])
    ask_all = lambda f: [seen_of(examination, f, case) for case in made]
    left = [None if seen.kind == "ok" else trace(seen) for seen in ask_all(mistake)]
    examination.mistakes = [("the other direction", left)]
    return named(examination, ask_all(answer))


def test_a_mistake_is_named_though_one_case_of_it_is_infinite_but_never_by_nan_alone():
    table = lambda *rows: tuple(torch.tensor(row, dtype=torch.float64) for row in rows)
    finite = [table([0.2, 0.8], [0.6, 0.4]), table([0.1, 0.9], [0.7, 0.3])]
    infinite = [table([0.0, 1.0], [0.5, 0.5]), table([0.0, 1.0], [0.2, 0.8])]
    reverse = lambda log_p, log_q: kl(log_q, log_p)
    assert named_by(reverse, reverse, finite + infinite) == "the other direction"
    assert named_by(kl, kl, infinite) == ""  # 0 log 0: NaN everywhere fits too many mistakes


def test_a_view_says_why_it_cannot_look_at_what_came_back():
    from coursekit.checks import Sampled, Wrong

    def view(answer, x):
        if answer(x) is not x:
            raise Wrong("another tensor came back")
        return {"mean": Sampled(x)}

    case = Case("a case", lambda: (torch.ones(9),), {"mean": torch.tensor(1.0)})
    seen = compare(ask(lambda x: x + 1, case, view, Rules()), case, Rules())
    assert seen.kind == "property" and seen.error == "another tensor came back"
    assert compare(ask(lambda x: x, case, view, Rules()), case, Rules()).kind == "ok"


def test_what_the_view_cannot_read_is_not_told_as_an_error_of_the_answers_code():
    view = lambda answer, x: {"mean": answer(x)["mean"]}
    case = Case("a case", lambda: (torch.ones(9),), {"mean": torch.tensor(1.0)})
    seen = ask(lambda x: {"average": x.mean()}, case, view, Rules())
    assert seen.kind == "property" and seen.error == "what came back cannot be used (KeyError: 'mean')"
    for own in (lambda x: {}["mean"], lambda: 1, __import__("functools").partial(torch.add, other=None)):
        seen = ask(own, case, view, Rules())
        assert seen.kind == "error" and "cannot be used" not in seen.error


def test_nan_of_the_branch_that_where_does_not_take_is_explained():
    x = torch.tensor([0.0, 1.0], dtype=torch.float64)
    case = Case("a case", lambda: (x,), {"result": x.sqrt(), "gradient in x": torch.ones(2, dtype=torch.float64)})
    rules = Rules(arguments=("x",), gradient=("x",))
    chosen = compare(ask(lambda x: torch.where(x > 0, x.sqrt(), 0.0), case, None, rules), case, rules)
    assert chosen.bad == {"gradient in x": "not finite"} and "branch not taken" in chosen.notes["torch.where"]
    plain = compare(ask(lambda x: (x * x).sqrt().sqrt(), case, None, rules), case, rules)
    assert plain.bad == {"gradient in x": "not finite"} and not plain.notes
