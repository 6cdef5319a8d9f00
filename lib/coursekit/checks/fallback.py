"""Go on with the library's version when an earlier answer is missing, and say so once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

__all__ = ["fallback"]

T = TypeVar("T")


def fallback(mine: T, theirs: T, works: Callable[[T], Any] | None = None, at: tuple = ()) -> T:
    """``mine`` when ``works(mine)`` runs and is true; else one clear note and ``theirs``.

    Without ``works`` the two must return the same shapes and numbers, up to 1e-5, for the arguments ``at``.
    So one missing answer never turns the rest of a chapter red. The score still counts only what the student wrote.
    """
    name = getattr(mine, "__name__", "this answer")
    try:
        if works(mine) if works else _alike(theirs(*at), mine(*at)):
            return mine
        reason, state = "its check fails", "right"
    except Exception as e:  # noqa: BLE001  an unfinished answer may raise anything; it must not stop the chapter
        error = getattr(e, "remote_type", type(e).__name__)
        first = str(e).strip().split("\n")[0]
        solved = error != "NotImplementedError"
        reason, state = (f"{error}: {first}" if solved and first else error), "right" if solved else "solved"
    print(
        f"{name} is not {state} yet ({reason}): the cells below use the library's version; "
        "your score counts only what you wrote."
    )
    return theirs


def _alike(wanted: Any, got: Any) -> bool:
    pairs = zip(wanted, got, strict=True) if isinstance(wanted, tuple) else [(wanted, got)]
    both = [(torch.as_tensor(a), torch.as_tensor(b)) for a, b in pairs]
    return all(a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=0.0, atol=1e-5) for a, b in both)
