"""Batches as a pure function of the step: nothing to save, so a resumed run sees exactly the batches it would have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from genmodels.core import require
from genmodels.train.settings import check_batch

__all__ = ["BatchFn", "Minibatches", "minibatches", "with_device"]

Batch = Tensor | tuple[Tensor, ...]
BatchFn = Callable[[int, int], Batch]
Transform = Callable[[Batch, torch.Generator], Batch]

# Data up to this size moves to the accelerator whole, once; larger data moves batch by batch.
RESIDENT_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class Minibatches:
    """``batches(step, rank)``: the rows of global batch number ``step`` that belong to process ``rank``."""

    data: Batch
    batch: int
    seed: int = 0
    world: int = 1
    transform: Transform | None = None

    def __post_init__(self) -> None:
        check_batch(self.batch, self.world)
        lengths = {len(x) for x in self._tensors}
        require(len(lengths) == 1 and 0 not in lengths, f"expected tensors of one length > 0, got {sorted(lengths)}")

    def __call__(self, step: int, rank: int = 0) -> Batch:
        """Rows of the tensors, in the order of the seed's permutations; independent of any earlier call."""
        require(0 <= rank < self.world, f"rank {rank} of {self.world}: give minibatches(world=...) all the processes")
        share = self.batch // self.world
        first = step * self.batch + rank * share
        rows = _rows(first, share, len(self._tensors[0]), self.seed, self._tensors[0].device)
        batch = tuple(x[rows] for x in self._tensors) if isinstance(self.data, tuple) else self.data[rows]
        if self.transform is None:
            return batch
        noise = int(np.random.SeedSequence([self.seed, step, rank]).generate_state(1)[0])
        return self.transform(batch, torch.Generator(rows.device).manual_seed(noise))

    @property
    def _tensors(self) -> tuple[Tensor, ...]:
        return self.data if isinstance(self.data, tuple) else (self.data,)


def minibatches(
    data: Batch, batch: int, seed: int = 0, *, world: int = 1, transform: Transform | None = None
) -> Minibatches:
    """A pure ``batch_fn(step, rank)`` over the rows of a tensor, or of a tuple of tensors of one length.

    An endless sequence of rows is cut into batches: one permutation of the data after the other, epoch e shuffled by
    a generator seeded by (seed, e). So each row comes once an epoch, no row is dropped at an epoch's end, k batches of
    b are one batch of k b, and the parts of the processes are disjoint and joined make the batch of one process.

    ``batch`` is the global batch; it must divide by ``world``, the number of processes. ``transform(batch, generator)``
    adds fresh noise (binarisation, dequantisation, flips) from a generator seeded by (seed, step, rank).
    """
    return Minibatches(data, batch, seed, world, transform)


def with_device(batch_fn: BatchFn, device: str | torch.device) -> BatchFn:
    """The same batches on ``device``: ``minibatches`` of up to 1 GiB move there once, others batch by batch."""
    device = torch.device(device)
    if device.type == "cpu":
        return batch_fn
    if isinstance(batch_fn, Minibatches) and sum(x.nbytes for x in batch_fn._tensors) <= RESIDENT_BYTES:
        return replace(batch_fn, data=_move(batch_fn.data, device))
    return lambda step, rank=0: _move(batch_fn(step, rank), device)


def _move(batch: Batch, device: torch.device) -> Batch:
    if isinstance(batch, tuple | list):
        return type(batch)(_move(part, device) for part in batch)
    # From pinned memory the copy runs beside the work that is queued; from any other the program waits for it.
    pinned = batch.pin_memory() if device.type == "cuda" and batch.device.type == "cpu" else batch
    return pinned.to(device, non_blocking=True)


def _rows(first: int, count: int, n: int, seed: int, device: torch.device) -> Int[Tensor, "count"]:
    """Rows number first .. first + count - 1 of the endless shuffled sequence."""
    parts = []
    while count:
        epoch, start = divmod(first, n)
        parts.append(_permutation(n, seed, epoch, device)[start : start + count])
        first, count = first + len(parts[-1]), count - len(parts[-1])
    return torch.cat(parts)


@lru_cache(maxsize=4)
def _permutation(n: int, seed: int, epoch: int, device: torch.device) -> Int[Tensor, "n"]:
    """The order of one epoch, where the data are: no step sends its rows there."""
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(n)).to(device)
