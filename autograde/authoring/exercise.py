"""What an author writes in ``checks.py``: the cases of each exercise, their truth, and how to look at an answer.

    made_masks = Exercise(truth=unit_by_unit, view=named_masks)
    made_masks.case("4 pixels, shuffled", ([tensor([2, 0, 3, 1]), tensor([0, 2, 1])],), order="shuffled")

The variable's name is the exercise's. Truth and mistakes stay with the instructor; views and recipes travel.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["Exercise", "Recipe", "recipe"]

LOOSE = {torch.float32: 1e3, torch.bfloat16: 1e6}  # how much more room a coarser dtype gets ...
LEAST = {torch.float32: 1e-5, torch.bfloat16: 1e-2}  # ... and the relative room that it gets at least


@dataclass(frozen=True)
class Recipe:
    """Arguments that are made by a small function, because they are functions or too large to record."""

    make: Callable[..., tuple]
    options: dict[str, Any]


def recipe(make: Callable[..., tuple], **options: Any) -> Recipe:
    """Arguments made by ``make(**options)``, afresh for each call; the options are plain data.

    Inside, torch's global stream stands at a place that depends on the case: draw from it, or give a seed.
    """
    return Recipe(make, options)


@dataclass
class Written:
    """A case as the author wrote it, and where."""

    text: str
    inputs: tuple | Recipe
    want: Any
    hidden: bool
    fact: str
    room: float
    facets: dict[str, Any]
    line: int
    coarse: bool = False  # in a dtype with fewer digits: the truth is computed in float64 and rounded


@dataclass
class Exercise:
    """How the answers to one exercise are judged.

    truth      the oracle: takes what the answer takes and returns what it should; another route than the reference
    view       how to call an answer and what to look at: view(answer, *arguments) -> {part: value}; default: the result
    atol, rtol a number may be off by atol + rtol |truth|; the default tells float32 arithmetic from float64
               (derivatives get 1e-6 and 1e-5, for a truth may differentiate by differences)
    gradient   names of arguments in which the derivative is compared too
    dtype      whether a floating result must have the dtype of the truth
    verdict    for tests that students write: what they judge, such as "estimator"; ``want`` is True or False then
    about      a convention that the message repeats when something is wrong
    show       whether the message shows the call of a visible case (it never does where the view calls otherwise)
    equivalent derived wrong answers (as `autograde check` names them) that are as right as the reference, or beside
               the point: say why in a comment
    """

    truth: Callable | None = None
    view: Callable | None = None
    atol: float = 1e-10
    rtol: float = 1e-8
    gradient: tuple[str, ...] | list[str] = ()
    dtype: bool = True
    verdict: str = ""
    about: str = ""
    show: bool = True
    equivalent: tuple[str, ...] | list[str] = ()
    cases: list[Written] = field(default_factory=list)

    def case(
        self,
        text: str,
        inputs: tuple | Recipe,
        want: Any = None,
        *,
        hidden: bool = False,
        fact: str = "",
        room: float = 1.0,
        **facets: Any,
    ) -> Written:
        """Add a case.

        text    what a student reads of it ("4 pixels, shuffled"); of a hidden case only the facets are told
        inputs  the arguments as a tuple of plain data, or a ``recipe``
        want    what must come back, or {part: value} where the truth does not give it (always for ``Sampled`` parts)
        fact    true of this case, told to whoever is wrong on it
        room    the tolerances are multiplied by this
        facets  what distinguishes the case, such as order="shuffled", batch=3: a message names the facet that
                separates right cases from wrong ones
        """
        if not isinstance(inputs, (tuple, Recipe)):
            raise TypeError(f"{text!r}: inputs must be a tuple of arguments or a recipe, not {type(inputs).__name__}")
        facets = {key.replace("_", " "): value for key, value in facets.items()}
        new = Written(text, inputs, want, hidden, fact, room, facets, _line())
        self.cases.append(new)
        return new

    def again(self, case: Written, dtype: torch.dtype = torch.float32, *, hidden: bool = True) -> Written:
        """The same case in another dtype, with the room that it needs; the result must have that dtype too."""
        if isinstance(case.inputs, Recipe):
            raise TypeError(f"{case.text!r}: a recipe makes its own arguments; give it an option for the dtype")
        inputs = _cast(case.inputs, dtype)
        name = str(dtype).removeprefix("torch.")
        facets = case.facets | {"dtype": name}
        case.facets.setdefault("dtype", "float64")
        want = _cast(case.want, dtype)
        room = case.room * max(LOOSE.get(dtype, 1.0), LEAST.get(dtype, 0.0) / max(self.rtol, 1e-12))
        new = Written(f"{case.text}, {name}", inputs, want, hidden, case.fact, room, facets, _line(), coarse=True)
        self.cases.append(new)
        return new


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: _cast(v, dtype) for key, v in value.items()}
    return type(value)(_cast(v, dtype) for v in value) if isinstance(value, (list, tuple)) else value


def _line() -> int:
    """Where in the author's file the case stands."""
    here = Path(__file__).name
    return next((f.lineno for f in inspect.stack(0)[1:] if Path(f.filename).name != here), 0)
