"""Hostile submissions, by what they go for: each must get no point it has not earned, and do no damage.

They are data here: only the sandbox ever runs them. ``bait`` is the chapter that they attack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Attack:
    """One hostile submission. ``answers`` go into answer cells, ``edit`` changes the file."""

    name: str
    kind: str
    says: str
    answers: dict[str, str] = field(default_factory=dict)
    edit: Callable[[dict], None] | None = None
    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    earns: float = 0.0  # points that its honest part deserves
    student: str = ""


def everywhere(code: str) -> dict[str, str]:
    """The same hostile cell for every exercise; ``NAME`` stands for the exercise."""
    return {name: code.replace("NAME", name) for name in ("double", "Scaler", "draws", "facts", "lse")}
