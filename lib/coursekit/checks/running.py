"""Run the check of an exercise: every case of its record, then a line of success or one message that explains."""

from __future__ import annotations

import contextlib
import os
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from . import records
from .asking import Seen, ask, compare
from .cases import Case, Sampled
from .diagnosis import message
from .records import Examination
from .report import CheckFailed, fail
from .traces import matches, tells

__all__ = ["examine", "named", "passes", "run", "seen_of", "streams"]

EVIDENCE = 2  # cases on which a mistake must differ from the truth, and be reproduced, before it is named
CHANCE = random.SystemRandom()  # no answer can seed it or foresee it
AGAIN = 3  # so many cases are asked twice, in any order: a test that counts its calls says two things of one case
STEADY = 12  # so often is a wrong verdict asked again before it is told
UNSOLVED = "NotImplementedError"
SAME = "the same result for the same arguments, however often and whenever it is asked"
KEPT = "a counter, a value kept between calls, or chance that the given generator or torch's seed does not fix."


def run(name: str, answer: Callable) -> None:
    """Check the student's ``answer`` to the exercise ``name``; raises ``CheckFailed`` with what is wrong.

    In a student's notebook an answer that is not written yet is no error: a note says so, and the cells below go on.
    """
    examination = Examination(records.of(name))
    try:
        print(examine(examination, answer))
    except NotImplementedError:
        # the stub raises it; in the grader, and when nbgrader validates a notebook, it must cost the points
        if examination.hidden or os.environ.get("NBGRADER_EXECUTION"):
            raise CheckFailed(f"{name} is not solved yet") from None
        print(f"{name} is not solved yet.\nWrite it in the cell above, run that cell, then run this one again.")


def examine(examination: Examination, answer: Callable, seed: int = 0) -> str:
    """The line of success, or raise: CheckFailed for a wrong answer, NotImplementedError for an untouched stub."""
    cases, name = examination.cases, examination.name
    order = list(range(len(cases)))
    if examination.rules.verdict:
        order += CHANCE.sample(order, min(AGAIN, len(order)))
        CHANCE.shuffle(order)
    else:
        order.append(0)  # once more at the end: an answer must not keep anything between calls
        _visit(examination, answer, cases[0], seed)
    seen: dict[int, Seen] = {}
    for i in order:
        one = seen_of(examination, answer, cases[i], seed)
        if one.error.startswith(UNSOLVED):
            raise NotImplementedError(one.error.partition(": ")[2])
        if i in seen and not _alike(seen[i], one):
            raise _unsteady(name, cases[i])
        seen.setdefault(i, one)
    wrong = [i for i in range(len(cases)) if seen[i].kind != "ok"]
    if not wrong:
        rest = "." if examination.hidden else "; hidden cases remain and run when your notebook is graded."
        return f"{name}: {len(cases)} case{'s' * (len(cases) > 1)} right{rest}"
    if examination.rules.verdict:
        first = wrong[0]
        if not all(_alike(seen[first], seen_of(examination, answer, cases[first], seed)) for _ in range(STEADY)):
            raise _unsteady(name, cases[first])
    outcomes = [seen[i] for i in range(len(cases))]
    raise message(name, cases, outcomes, named(examination, outcomes), examination.rules)


def passes(examination: Examination, answer: Callable) -> bool:
    """Whether an answer gets full marks; ends at the first wrong case, which is quicker than a message."""
    try:
        if any(seen_of(examination, answer, case).kind != "ok" for case in examination.cases):
            return False
        examine(examination, answer)
    except (CheckFailed, NotImplementedError):
        return False
    return True


def seen_of(examination: Examination, answer: Callable, case: Case, seed: int = 0) -> Seen:
    """One case, under streams that depend on its text and the seed alone."""
    if examination.rules.verdict:
        made = case.inputs
        case = replace(case, inputs=lambda: tuple(map(_nameless, made())))
    with streams(zlib.crc32(case.text.encode()) + seed):
        return compare(ask(answer, case, examination.view, examination.rules), case, examination.rules)


def _visit(examination: Examination, answer: Callable, case: Case, seed: int) -> None:
    """Ask about other numbers of the same shapes first; nobody looks at the outcome.

    What an answer keeps from this call (a buffer, a guess stored under a shape) is wrong in the first case then.
    """
    made = case.inputs
    with streams(seed), contextlib.suppress(Exception):
        ask(answer, replace(case, inputs=lambda: tuple(map(_other, made()))), examination.view, examination.rules)


def _other(argument: Any) -> Any:
    """Smaller numbers, or the same symbols in another order; what is no tensor stays."""
    if not isinstance(argument, torch.Tensor) or not argument.ndim:
        return argument
    return 0.75 * argument if argument.is_floating_point() else argument.flip(-1)


def _nameless(argument: Any) -> Any:
    """A function as one that tells nothing but its values; other arguments as they are."""
    return (lambda *args, **options: argument(*args, **options)) if callable(argument) else argument


@contextlib.contextmanager
def streams(seed: int) -> Iterator[None]:
    """Every global random stream at a known place, and back where it was afterwards."""
    numpy, plain = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy)
            random.setstate(plain)


def _alike(a: Seen, b: Seen) -> bool:
    """Two outcomes of one case: the same kind, and equal numbers up to rounding."""
    if (a.kind, a.error, set(a.parts)) != (b.kind, b.error, set(b.parts)):
        return False
    for name, first in a.parts.items():
        x, y = (t.mean if isinstance(t, Sampled) else t for t in (first, b.parts[name]))
        if x.shape != y.shape or not torch.allclose(x.double(), y.double(), rtol=1e-4, atol=1e-6, equal_nan=True):
            return False
    return True


def _unsteady(name: str, case: Case) -> CheckFailed:
    where = "a hidden case" if case.hidden else case.text
    return fail(f"{name} gives two results for one and the same case", [("case", where), ("expected", SAME)], KEPT)


def is_evidence(left: list, examination: Examination) -> bool:
    """Whether a mistake differs from the truth on enough cases, and by numbers, to be recognised at all."""
    differs = [trace for trace in left if trace is not None]
    return len(differs) >= min(EVIDENCE, len(examination.cases)) and any(map(tells, differs))


def named(examination: Examination, seen: list[Seen]) -> str:
    """The sentence of the mistake that reproduces every case, if it is the only one; else ""."""
    rules, cases = examination.rules, examination.cases
    if rules.verdict:
        said = {(s.kind == "ok") == bool(c.want["result"]) for s, c in zip(seen, cases, strict=True) if not s.error}
        if len(said) == 1:
            return ""  # one verdict for everything fits too many mistakes
    fits = []
    for says, left in examination.mistakes:
        if is_evidence(left, examination) and all(
            s.kind == "ok" if t is None else matches(t, s, rules) for s, t in zip(seen, left, strict=True)
        ):
            fits.append(says)
    return fits[0] if len(set(fits)) == 1 else ""
