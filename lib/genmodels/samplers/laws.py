"""Where a token sampler ends, computed instead of drawn: the Markov chain on all texts of a tiny language."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from genmodels.core import require
from genmodels.discrete import Process
from genmodels.samplers.discrete import Kernel
from genmodels.toy import all_sequences

__all__ = ["terminal_law"]


@torch.no_grad()
def terminal_law(
    kernel: Kernel, process: Process, l: int, times: Sequence[float], *, start: Float[Tensor, "*v"] | None = None
) -> Float[Tensor, "*v"]:
    """P(text) after the sampler has walked down ``times``: a table of shape (states,) * l, in float64.

    ``kernel(x, t, s)`` is (b, l, states) where tokens are drawn independently, or (b, states ** l), the law of the
    whole text. ``start`` is the law at times[0]: independent draws from pi if not given. At most 10,000 texts.
    """
    states = process.states
    require(len(times) >= 2, f"a grid needs at least two times, got {len(times)}")
    require(states**l <= 10_000, f"{states} ** {l} texts are too many for an exact chain; keep it below 10,000")
    texts = all_sequences(states, l)
    if start is None:
        law = process.pi.double().cpu()[texts].prod(1)
    else:
        require(start.shape == (states,) * l, f"start must have shape {(states,) * l}; got {tuple(start.shape)}")
        law = start.flatten().double()
    for t, s in pairwise(times):
        reached = law > 0  # a denoiser need not know texts that never occur
        row = kernel(texts[reached], t, s).double()
        if row.ndim == 3:
            one = row[:, torch.arange(l), texts.unsqueeze(1)]  # (b, n, 1, l)
            row = one.reshape(len(row), len(texts), l).prod(2)
        require(
            row.shape == (int(reached.sum()), len(texts)) and bool((row.sum(1) - 1).abs().max() < 1e-6),
            "a kernel must give probabilities (b, l, states) or (b, states ** l) that sum to 1 for every text",
        )
        law = law[reached] @ row
    return law.reshape((states,) * l)
