"""Checks that explain: each compares an answer with the truth and, when they differ, says what is likely wrong.

They serve three readers with the same sentences: a student's visible cell, the hidden tests, and the library's own
tests. Every check raises ``CheckFailed`` and returns None otherwise.

``grad``, ``jacobian`` and ``parameter_grads`` are looked up here at call time: where a student's function lives in
another process, the grader replaces these three names and every check goes on working.
"""

from .autodiff import grad, jacobian, parameter_grads
from .cases import Sampled, Wrong
from .fallback import fallback
from .judging import verdicts
from .records import use
from .report import CheckFailed
from .running import run
from .statistics import distributed, normalised, order, unbiased
from .structure import depends_on, gradient_reaches, triangular
from .values import close, finite, raises, shape

__all__ = [
    "CheckFailed",
    "Sampled",
    "Wrong",
    "close",
    "depends_on",
    "distributed",
    "fallback",
    "finite",
    "grad",
    "gradient_reaches",
    "jacobian",
    "normalised",
    "order",
    "parameter_grads",
    "raises",
    "run",
    "shape",
    "triangular",
    "unbiased",
    "use",
    "verdicts",
]
