"""Verdicts on right and broken cases: the order of asking is chance, what is told is not; with sabotage twins."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from coursekit import checks
from coursekit.checks import CheckFailed, judging

RIGHT = {"two": (2,), "four": (4,), "ten": (10,)}
BROKEN = {"one": (1,), "three": (3,), "seven": (7,), "nine": (9,), "eleven": (11,)}
LISTED = [name in RIGHT for name in [*RIGHT, *BROKEN]]
TWO_VERDICTS = "two verdicts on one and the same case"


def even(n: int) -> bool:
    return n % 2 == 0


def by_counting(sequence: list[bool]) -> Callable:
    """An answer that looks at nothing and counts its calls."""
    count = itertools.cycle(sequence)
    return lambda *_: next(count)


def told(test: Callable, right: dict = RIGHT, broken: dict = BROKEN, **options) -> str:
    """The message of the check, or "" where the test passes."""
    try:
        checks.verdicts(test, right, broken, "is_even", seed=0, **options)
    except CheckFailed as failed:
        assert all(len(line) <= 160 for line in str(failed).split("\n")), "a line of the message is too long to read"
        return str(failed)
    return ""


class ListedOrder:
    """Sabotage: what used to be asked, each case once, in the order of the lists."""

    def shuffle(self, order: list) -> None:
        pass

    def sample(self, names: list, count: int) -> list:
        return []


@pytest.mark.parametrize("test", [even, lambda n: torch.tensor(even(n)), lambda n: np.bool_(even(n))])
def test_a_right_test_passes_in_every_order(test):
    assert not any(told(test) for _ in range(200))


def test_the_order_changes_and_some_cases_come_twice():
    orders = set()
    for _ in range(20):
        met: list[int] = []
        checks.verdicts(lambda n, met=met: met.append(n) or even(n), RIGHT, BROKEN, seed=0)
        assert set(met) == {n for (n,) in [*RIGHT.values(), *BROKEN.values()]}
        assert sorted(met.count(n) for n in set(met)) == [1] * 5 + [2] * 3
        orders.add(tuple(met))
    assert len(orders) == 20


MANY = {str(n): (n,) for n in range(0, 60, 2)}, {str(n): (n,) for n in range(1, 60, 2)}


@pytest.mark.parametrize("sequence", [LISTED, [*LISTED, False], [True, False], [False] * 8 + [True] * 3])
def test_an_answer_that_counts_loses_whatever_the_order(sequence):
    for start in range(len(sequence)):
        for _ in range(10):  # the luckiest guess is right once in 10^17
            assert TWO_VERDICTS in told(by_counting(sequence[start:] + sequence[:start]), *MANY)


def test_an_answer_that_counts_passes_where_the_order_is_listed(monkeypatch):
    monkeypatch.setattr(judging, "CHANCE", ListedOrder())
    assert told(by_counting(LISTED)) == ""


def test_an_answer_that_counts_and_is_used_up_lets_its_error_through():
    for _ in range(20):
        with pytest.raises((IndexError, CheckFailed)):
            checks.verdicts(lambda _, s=list(LISTED): s.pop(0), RIGHT, BROKEN, seed=0)


@pytest.mark.parametrize(
    "test, sentence",
    [
        (lambda _: True, "your test accepts a broken model: one"),
        (lambda _: False, "your test rejects a right model: two"),
        (lambda n: even(n) and n != 10, "your test rejects a right model: ten"),
        (lambda n: even(n) or n > 6, "your test accepts a broken model: seven.\nLikely mistake: more than six"),
        (lambda n: even(n) != (n in (10, 3)), "your test rejects a right model: ten"),
        (lambda n: even(n) or n == 11, "your test accepts a broken model: eleven.\nLikely mistake: asked for"),
        (lambda n: 1.0 if n in (4, 9) else even(n), "is_even must return one True or False, not float"),
        (lambda n: None, "is_even must return one True or False, not NoneType"),
        (lambda n: torch.tensor([even(n), True]), "is_even must return one True or False, not 2 of them"),
    ],
)
def test_the_first_wrong_verdict_in_the_order_of_the_lists_is_told(test, sentence):
    why = {"seven": "more than six", "eleven": lambda: "asked for"}
    assert {told(test, why=why) for _ in range(40)} == {sentence}


def test_the_words_of_the_message_are_the_chapters():
    kinds = ("an honest bound", "a lying bound")
    assert told(lambda _: False, kinds=kinds) == "your test rejects an honest bound: two"
    assert told(lambda _: True, kinds=kinds) == "your test accepts a lying bound: one"


def test_the_first_error_in_the_order_of_the_lists_passes_through():
    def fussy(n: int) -> bool:
        if n in (4, 7, 9):
            raise KeyError(n)
        return even(n)

    for _ in range(40):
        with pytest.raises(KeyError, match="4"):
            checks.verdicts(fussy, RIGHT, BROKEN, seed=0)
        assert told(lambda n: n != 2 and fussy(n)) == "your test rejects a right model: two"


def test_an_error_of_the_first_call_alone_passes_through():
    calls = itertools.count()

    def once(n: int) -> bool:
        if next(calls) == 0:
            raise RuntimeError("warming up")
        return even(n)

    with pytest.raises(RuntimeError, match="warming up"):
        checks.verdicts(once, RIGHT, BROKEN, seed=0)


def nearly_always(n: int) -> bool:
    """Right, but by chance: one asking in a hundred would go wrong."""
    return even(n) != bool(torch.rand(()) < 0.01)


def test_a_randomised_test_says_the_same_in_every_order():
    seeds = range(30)
    for seed in seeds:
        said = set()
        for _ in range(10):
            torch.rand(int(torch.randint(50, ())))  # a state that nobody knows
            try:
                checks.verdicts(nearly_always, RIGHT, BROKEN, seed=seed)
                said.add("")
            except CheckFailed as failed:
                said.add(str(failed))
        assert len(said) == 1
        assert TWO_VERDICTS not in said.pop()


def test_without_the_seed_luck_would_decide(monkeypatch):
    monkeypatch.setattr(torch, "default_generator", torch.Generator())
    assert len({told(lambda n: even(n) != bool(torch.rand(()) < 0.1)) for _ in range(60)}) > 1


def test_a_case_may_be_made_afresh_for_each_asking():
    def drawn(mean: float) -> Callable[[], tuple]:
        return lambda: (torch.Generator().manual_seed(5), mean)

    def about_zero(stream: torch.Generator, mean: float) -> bool:
        x = mean + torch.randn(9, generator=stream)
        return bool(x.mean().abs() < 2 * x.std() / 3)

    right, broken = {"zero": drawn(0.0)}, {"five": drawn(5.0), "minus five": drawn(-5.0)}
    assert not any(told(about_zero, right, broken) for _ in range(50))


def test_torch_goes_on_where_it_was():
    for test in (nearly_always, lambda n: bool(torch.rand(()) < 2)):
        torch.manual_seed(7)
        want = torch.rand(3)
        torch.manual_seed(7)
        told(test)
        assert torch.equal(torch.rand(3), want)


def test_functions_come_without_their_names():
    def velocity(x: float) -> float:
        return 2 * x

    def score(x: float) -> float:
        return -x

    right, broken = {"v": (velocity,), "a module": (torch.nn.Identity(),)}, {"s": (score,), "sin": (math.sin,)}
    seen = set()

    def rises(f: Callable) -> bool:
        seen.add((type(f).__name__, f.__name__))
        return f(3.0) > 2

    assert told(rises, right, broken) == ""
    assert len(seen) == 1


def test_a_case_cannot_be_right_and_broken():
    with pytest.raises(ValueError, match="two cannot be both"):
        checks.verdicts(even, RIGHT, {"two": (2,)}, seed=0)
