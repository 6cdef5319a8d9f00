"""How many processor threads a training step takes: those of torch, or one where other work keeps the cores busy."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from statistics import median

import torch

__all__ = ["Threads"]

TRIAL = 4  # steps of each number in a comparison; the first, which may start threads, is not counted
AGAIN_SECONDS = 15.0  # after a comparison until the next: other work comes and goes
AGAIN_TIMES = 10  # as long as the comparison took, at least: with slow steps it must not cost more than it gives


class Threads:
    """``with threads:`` around each step runs it on ``numbers[0]`` threads, or on whichever of them is the fastest.

    Torch's threads spin while they wait for each other. On a quiet machine that is the fastest way; beside other work,
    a thread that has lost its core holds up those that spin, and one thread is several times as fast as all. So a few
    steps are timed with each number at the start, and with another one than the present every quarter of a minute. The
    caller's own setting is back after each step.
    """

    def __init__(self, numbers: list[int], clock: Callable[[], float] = time.perf_counter) -> None:
        self._numbers, self._clock, self._best = numbers, clock, numbers[0]
        self._took = {n: deque(maxlen=TRIAL - 1) for n in numbers}
        self._plan = [n for n in numbers for _ in range(TRIAL)] if len(numbers) > 1 else []
        self._comparing, self._since, self._next = bool(self._plan), clock(), 0.0

    def __enter__(self) -> None:
        self._outer = torch.get_num_threads()
        self._now = self._plan.pop(0) if self._plan else self._best
        if self._now != self._outer:
            torch.set_num_threads(self._now)
        self._begin = self._clock()

    def __exit__(self, *error: object) -> None:
        end = self._clock()
        if self._now != self._outer:
            torch.set_num_threads(self._outer)
        self._took[self._now].append(end - self._begin)
        if self._comparing and not self._plan:
            self._best = min(self._numbers, key=lambda n: median(self._took[n]))
            self._comparing, self._next = False, end + max(AGAIN_SECONDS, AGAIN_TIMES * (end - self._since))
        elif len(self._numbers) > 1 and not self._comparing and end >= self._next:
            self._plan = [n for n in self._numbers if n != self._best for _ in range(TRIAL)]
            self._comparing, self._since = True, end
