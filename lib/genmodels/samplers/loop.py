"""The one sampling loop: a step moves x from time t to the less noisy time s; the loop walks down a grid of times."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from genmodels.core import require

__all__ = ["Step", "last", "sample"]

Step = Callable[[Tensor, float, float], Tensor]


@torch.no_grad()
def sample(step: Step, x: Tensor, times: Sequence[float] | Tensor) -> Iterator[Tensor]:
    """Yield the state after each step, from ``x`` at times[0] to times[-1]; n + 1 times make n steps.

    The times are Python floats: whatever a step computes from them alone costs no device a synchronisation.
    Ascending times run a deterministic step backwards, from data to noise (DDIM inversion).
    No gradient is recorded; call the step yourself to differentiate through it.
    """
    require(len(times) >= 2, f"a grid needs at least two times, got {len(times)}")
    for t, s in pairwise(times):
        x = step(x, t, s)
        yield x


def last(states: Iterable[Tensor]) -> Tensor:
    """The final state, keeping none of the others in memory."""
    end = deque(states, maxlen=1)
    require(len(end) == 1, "there is no last state: the iterable is empty")
    return end[0]
