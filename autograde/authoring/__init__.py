"""From solutions/ to notebooks: reading a chapter, judging its form, building what students and nbgrader get.

``checks.py`` and ``answers.py`` of a chapter import ``Exercise``, ``recipe``, ``right`` and ``wrong`` from here.
"""

from typing import Any

__all__ = ["Exercise", "recipe", "right", "wrong"]  # noqa: F822
HOMES = {"Exercise": "exercise", "recipe": "exercise", "right": "variants", "wrong": "variants"}


def __getattr__(name: str) -> Any:
    """Imported when asked for: the cases of an exercise need torch, reading a chapter does not."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
