"""Judge a test that a student wrote: it must tell right cases from broken ones in whatever order it meets them."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import torch

from .report import CheckFailed, fail

__all__ = ["verdicts"]

Case = tuple | Callable[[], tuple]

CHANCE = random.SystemRandom()  # of the operating system: no answer can seed it or foresee it
AGAIN = 3  # so many cases are asked twice: in no chapter does a guess of all the verdicts win more than once in 2,700
STEADY = 12  # so often is a case asked again before its wrong verdict is told: an answer that counts gives itself away


def verdicts(
    test: Callable[..., Any],
    right: Mapping[str, Case],
    broken: Mapping[str, Case],
    what: str = "",
    *,
    seed: int,
    kinds: tuple[str, str] = ("a right model", "a broken model"),
    why: Mapping[str, str | Callable[[], str]] | None = None,
) -> None:
    """Fail unless ``test`` returns True for every right case and False for every broken one.

    right, broken  {name: the arguments as a tuple, or a function that makes them afresh for each asking}; make them
                   afresh where they draw from a generator, or the draws would depend on the order
    what           the name of the test, such as "is_honest"
    seed           the seed of torch's CPU generator before each asking comes from this number and the case's name
                   alone, so that a test which draws says the same in any order; its state is put back at the end
    kinds          what a message calls a right and a broken case
    why            {name: the likely mistake of a test that is wrong about this case, or a function that finds it}

    The order is new each time and some cases come twice, so that no verdict can be had by counting; functions and
    modules among the arguments are handed over as nameless functions. Whatever the order of asking, the message speaks
    of the first case in the order of the two lists that got a wrong verdict or an error; an error passes through.
    """
    if both := set(right) & set(broken):
        raise ValueError(f"verdicts: {', '.join(sorted(both))} cannot be both right and broken")
    cases, what = {**right, **broken}, what or getattr(test, "__name__", "your test")

    def ask(name: str) -> bool:
        torch.default_generator.manual_seed(zlib.crc32(f"{seed} {name}".encode()))
        case = cases[name]
        return _one(test(*map(_nameless, case() if callable(case) else case)), what)

    with torch.random.fork_rng(devices=[]):
        said, error = _in_any_order(ask, list(cases))
        for name in said:
            if len(said[name]) == 2:
                raise _unsteady(name)
        for name in cases:
            verdict = said[name].pop() if error is None else ask(name)  # the first to raise was met by chance
            if verdict != (name in right):
                if any(ask(name) != verdict for _ in range(STEADY)):
                    raise _unsteady(name)
                hint = (why or {}).get(name)
                does = f"rejects {kinds[0]}" if name in right else f"accepts {kinds[1]}"
                raise fail(f"your test {does}: {name}{'.' if hint else ''}", {}, hint() if callable(hint) else hint)
        if error is not None:
            raise error


def _in_any_order(ask: Callable[[str], bool], names: list[str]) -> tuple[dict[str, set[bool]], Exception | None]:
    """What was said of each case, up to the first error."""
    order = names + CHANCE.sample(names, min(AGAIN, len(names)))
    CHANCE.shuffle(order)
    said: dict[str, set[bool]] = {name: set() for name in names}
    try:
        for name in order:
            said[name].add(ask(name))
    except Exception as error:  # noqa: BLE001  any error of the student's is the answer under test
        return said, error
    return said, None


def _nameless(argument: Any) -> Any:
    """A function or module as a function that tells nothing but its values; other arguments as they are."""
    return (lambda *args, **options: argument(*args, **options)) if callable(argument) else argument


def _one(verdict: Any, what: str) -> bool:
    """The verdict as Python's bool; torch's and numpy's will do."""
    if str(getattr(verdict, "dtype", type(verdict).__name__)) not in ("bool", "torch.bool"):
        raise CheckFailed(f"{what} must return one True or False, not {type(verdict).__name__}")
    if (many := torch.as_tensor(verdict).numel()) != 1:
        raise CheckFailed(f"{what} must return one True or False, not {many} of them")
    return bool(verdict)


def _unsteady(name: str) -> CheckFailed:
    rows = {"expected": "the same verdict for the same arguments, however often and whenever it is asked"}
    mistake = "a counter, a list that is used up, a value kept between calls, or chance that torch's seed does not fix."
    return fail(f"your test gives two verdicts on one and the same case: {name}", rows, mistake)
