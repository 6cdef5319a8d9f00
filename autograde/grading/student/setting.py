"""What an honest notebook finds in Jupyter and would miss here: its own modules, and compiling that changes nothing."""

from __future__ import annotations

import os
import sys
from typing import Any


def furnish() -> None:
    """For the student's process, before the first cell."""
    import torch

    sys.path.append(os.getcwd())  # last: nothing that the library imports is taken from there
    torch.compile = _compile
    torch.nn.Module.compile = lambda *_, **__: None


def _compile(model: Any = None, **_: Any) -> Any:
    """``torch.compile`` without the compiler, which a sandbox has not got: the same values, a little later."""
    return model if model is not None else lambda function: function
