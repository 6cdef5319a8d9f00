"""Is there somebody to move a slider? And how what they see gets into the notebook."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["Bundle", "publish", "static"]


def static() -> bool:
    """True where a lab should draw one frame only: outside a notebook's kernel, or where ``COURSE_STATIC`` is set.

    Set ``COURSE_STATIC=1`` for papermill, grading and tests; ``COURSE_STATIC=0`` forces the live form.
    """
    asked = os.environ.get("COURSE_STATIC", "")
    if asked:
        return asked != "0"
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is None or not hasattr(shell, "kernel")


class Bundle:
    """Formats of one thing, the notebook takes the best it can show; elsewhere its text."""

    def __init__(self, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        self.data, self.metadata = data, metadata or {}

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.data, self.metadata

    def __repr__(self) -> str:
        return self.data["text/plain"]


def publish(data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
    """Display a bundle of formats."""
    from IPython.display import display

    display(Bundle(data, metadata))
