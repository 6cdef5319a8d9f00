"""What an answer gets from a recorded exercise, and in what it differs from the reference."""

from __future__ import annotations

import contextlib
import copy
import io
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from autograde.authoring import records
from autograde.authoring.chapters import Chapter, Exercise
from autograde.authoring.variants import Variant
from autograde.checking.trial import attempt, file_of

PATIENCE = 8.0  # seconds of processor time for one answer


class TooLong(BaseException):
    """An answer did not come back; no `except Exception` of its own catches this."""


class Trier:
    """The record of one exercise, and what an answer gets from it."""

    def __init__(self, chapter: Chapter, exercise: Exercise, names: dict[str, Any]):
        from coursekit.checks.records import Examination

        self.exercise, self.names = exercise, names
        self.record = records.records(chapter)[exercise.name]
        self.full, self.visible = Examination(self.record), Examination(records.visible(self.record))

    def answer(self, source: str) -> tuple[Any, str]:
        """The object that a cell's text defines, and the error of the cell."""
        names = dict(self.names)
        error = attempt(source, file_of(self.exercise), names)
        return names.get(self.exercise.name), error

    def verdict(self, answer: Any, *, hidden: bool = True, seed: int = 0) -> str:
        """What a student would read; "" for full marks."""
        from coursekit.checks import CheckFailed
        from coursekit.checks.running import examine

        with _limit(PATIENCE), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                examine(self.full if hidden else self.visible, answer, seed)
            except CheckFailed as error:
                return str(error)
            except NotImplementedError as error:
                return f"NotImplementedError: {error}"
            except TooLong:
                return f"{self.exercise.name} did not come back within {PATIENCE:.0f} s"
        return ""

    def passes(self, answer: Any) -> bool:
        """Whether it gets full marks."""
        from coursekit.checks.running import passes

        with _limit(PATIENCE), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return passes(self.full, answer)
            except TooLong:
                return False

    def trial(self, variant: Variant) -> dict:
        """{visible, hidden, error}: what was said of the visible cases, and of all where those are right."""
        answer, error = self.answer(variant.source)
        if error:
            return {"visible": "", "hidden": "", "error": error}
        said = self.verdict(answer, hidden=False)
        return {"visible": said, "hidden": "" if said else self.verdict(answer), "error": ""}

    def without(self, says: str) -> Trier:
        """The same exercise with one mistake taken off the list."""
        other = copy.copy(self)
        other.full, other.visible = copy.copy(self.full), copy.copy(self.visible)
        for examination in (other.full, other.visible):
            examination.mistakes = [m for m in examination.mistakes if m[0] != says]
        return other

    @property
    def draws(self) -> bool:
        """Whether some part is sampled, so that chance could refuse a right answer."""
        return "Sampled(" in self.record["code"]


def leave_one_out(trier: Trier, mutants: list[Variant]) -> Iterator[dict]:
    """Mistakes that, taken off the list, would be told another's sentence."""
    for variant in mutants:
        answer, error = trier.answer(variant.source)
        said = "" if error else trier.without(variant.says).verdict(answer)
        name = said.rpartition("Likely mistake: ")[2] if "Likely mistake: " in said else ""
        if name and any(name.startswith(m.says) for m in mutants if m.says != variant.says):
            yield {"mutant": variant.name, "told": name}


def differs(trier: Trier, answer: Any) -> str:
    """In what an answer with full marks differs from the reference on the recorded cases; "" where in nothing.

    Looks closer than the check: the derivative in every floating argument, the last digits, another dtype.
    """
    import torch

    from coursekit.checks.asking import ask
    from coursekit.checks.cases import Sampled
    from coursekit.checks.running import streams

    reference, _ = trier.answer(trier.exercise.reference)
    rules = trier.full.rules
    for number, case in enumerate(trier.full.cases):
        floats = [
            word
            for word, value in zip(rules.arguments, case.inputs(), strict=False)
            if isinstance(value, torch.Tensor) and value.is_floating_point() and rules.show
        ]
        closer = rules if rules.verdict else replace(rules, gradient=tuple(floats))
        with _limit(PATIENCE), contextlib.suppress(TooLong):
            seen = []
            for f in (reference, answer):
                with streams(number):
                    seen.append(ask(f, case, trier.full.view, closer))
            a, b = seen
            if a.error:
                continue
            if a.kind != b.kind:
                return f"{b.kind} in {case.text!r}"
            for part in a.parts:
                if part not in b.parts or isinstance(a.parts[part], Sampled):
                    continue
                x, y = a.parts[part], b.parts[part]
                if x.dtype != y.dtype:
                    return f"the dtype of {part} in {case.text!r}"
                if x.shape != y.shape or not torch.allclose(x.double(), y.double(), 1e-9, 1e-11, equal_nan=True):
                    return f"{part} in {case.text!r}"
    return ""


def fitting(trier: Trier, functions: dict[str, Callable]) -> Iterator[str]:
    """Names of the functions that, pasted as the answer, get full marks."""
    for name, function in functions.items():
        with contextlib.suppress(Exception, TooLong):
            if trier.passes(function):
                yield name


@contextlib.contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raise TooLong after so much processor time."""

    def stop(*_: Any) -> None:
        raise TooLong

    old = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, old)
