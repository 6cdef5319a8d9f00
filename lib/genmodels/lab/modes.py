"""Is there somebody to move a slider?"""

from __future__ import annotations

import os
import sys

__all__ = ["static"]


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
