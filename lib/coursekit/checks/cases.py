"""A case of an exercise: what the answer is called with, what must come back, and what is true of the case.

A case is plain data and travels in the record of its exercise (``records``). What comes back is a dict of named parts;
a part is a tensor, or ``Sampled``: independent draws of something whose mean is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Case", "Rules", "Sampled", "Wrong", "pack", "parts", "unpack"]


class Wrong(Exception):
    """A view found that what came back cannot be looked at; the text says why, to the student."""


@dataclass
class Sampled:
    """Independent draws (n, ...) of something of known mean; ``rows`` names the entries of the first dimension."""

    draws: Tensor
    rows: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        draws = torch.as_tensor(self.draws).detach().double()
        self.mean, self.error = draws.mean(0), draws.std(0) / len(draws) ** 0.5


@dataclass(frozen=True)
class Rules:
    """How the cases of one exercise are compared and told."""

    arguments: tuple[str, ...] = ()  # the names of the answer's parameters
    atol: float = 1e-10
    rtol: float = 1e-8
    gradient: tuple[str, ...] = ()  # the arguments in which the derivative is compared too
    dtype: bool = True  # a floating result must have the dtype of the truth
    verdict: str = ""  # what the student's test judges ("estimator"): right and broken ones are the cases
    about: str = ""  # a convention to repeat when something is wrong
    show: bool = True  # whether the message shows the call


@dataclass
class Case:
    """One call: ``inputs`` makes the arguments afresh, ``want`` holds the parts that must come back."""

    text: str
    inputs: Callable[[], tuple]
    want: dict[str, Any]
    facets: dict[str, Any] = field(default_factory=dict)
    fact: str = ""  # true of this case, told to whoever is wrong on it
    hidden: bool = False
    room: float = 1.0  # tolerances are multiplied by this (float32 cases)


def parts(value: Any, name: str = "result") -> dict[str, Any]:
    """What came back as named parts; raises ``Wrong`` for what is not numbers."""
    if isinstance(value, Sampled):
        return {name: value}
    if isinstance(value, dict):
        return {k: v for key, one in value.items() for k, v in parts(one, str(key)).items()}
    if isinstance(value, (list, tuple)) and not (value and all(_number(v) for v in value)):
        many = {k: v for i, one in enumerate(value) for k, v in parts(one, f"{name}[{i}]").items()}
        return {f"number of parts of {name}": torch.tensor(len(value)), **many}
    if value is None:
        raise Wrong("None came back: is the `return` missing?")
    if isinstance(value, Tensor):
        return {name: value.detach().cpu()}
    if _number(value) or isinstance(value, (list, tuple)):
        return {name: torch.tensor(value, dtype=torch.float64 if _floats(value) else None)}
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biuf":
        return {name: torch.from_numpy(np.array(value))}
    kind = "a function: call it" if callable(value) else f"of type {type(value).__name__}, not numbers"
    raise Wrong(f"{'what came back' if name == 'result' else name} is {kind}")


def _number(value: Any) -> bool:
    return isinstance(value, (bool, int, float))


def _floats(value: Any) -> bool:
    return any(isinstance(v, float) for v in (value if isinstance(value, (list, tuple)) else [value]))


def pack(value: Any) -> Any:
    """Plain data for JSON: tensors, tuples, dtypes and generators keep what they are."""
    if isinstance(value, Tensor):
        return {"tensor": value.tolist(), "dtype": str(value.dtype)[6:], "shape": list(value.shape)}
    if isinstance(value, torch.Generator):
        return {"generator": value.initial_seed()}
    if isinstance(value, torch.dtype):
        return {"dtype of torch": str(value)[6:]}
    if isinstance(value, dict):
        return {"dict": [[pack(k), pack(v)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [pack(v) for v in value]}
    if isinstance(value, (list, range)):
        return [pack(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be recorded; make it in a recipe: recipe(make, number=3)")


def unpack(value: Any) -> Any:
    """What ``pack`` packed, afresh."""
    if isinstance(value, list):
        return [unpack(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return torch.tensor(value["tensor"], dtype=getattr(torch, value["dtype"])).reshape(value["shape"])
    if "generator" in value:
        return torch.Generator().manual_seed(value["generator"])
    if "dtype of torch" in value:
        return getattr(torch, value["dtype of torch"])
    if "tuple" in value:
        return tuple(unpack(v) for v in value["tuple"])
    return {unpack(k): unpack(v) for k, v in value["dict"]}
