"""Muon: momentum whose matrices are made orthogonal, for the hidden layers; AdamW for all the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genmodels.core import require

__all__ = ["Muon", "orthogonalize"]

QUINTIC = (3.4445, -4.7750, 2.0315)  # steep at 0, and no exact end at 1: see ``orthogonalize``


def orthogonalize(m: Float[Tensor, "*b r c"], *, steps: int = 5) -> Float[Tensor, "*b r c"]:
    """Nearly U V^T for m = U S V^T: every direction as large as any other, by Newton-Schulz, X <- aX + (bA + cA^2) X.

    A = X X^T. Each step is an odd polynomial of the singular values, so no decomposition is needed. Values above 1 %
    of the Frobenius norm end between 0.68 and 1.14; a zero matrix stays zero [Jordan et al. 2024, "Muon"].

    In the precision of ``m``: half precision, the habit on GPUs, is slow on processors that do not have it.
    """
    require(m.ndim >= 2 and m.is_floating_point(), f"expected matrices of floats; got {tuple(m.shape)} {m.dtype}")
    a, b, c = QUINTIC
    tall = m.shape[-2] > m.shape[-1]
    x = m.mT if tall else m  # the Gram matrix of the shorter side is the smaller
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.AdamW):
    """One optimizer for a whole network: Muon for the matrices that ``hidden`` chooses, AdamW for the others.

    A hidden matrix moves by lr sqrt(max(1, rows / columns)) times ``orthogonalize`` of its Nesterov momentum, so the
    size of its gradient plays no part. Embeddings, output layers, norms and biases belong to AdamW.

    parameters   of the network
    hidden       which of the two-dimensional parameters are hidden matrices
    lr           of the hidden matrices, about 0.02; ``rest`` times as much for AdamW
    momentum     of the hidden matrices

    ValueError if ``hidden`` chooses none. Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers".
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        hidden: Callable[[nn.Parameter], bool],
        *,
        lr: float = 0.02,
        rest: float = 0.3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.1,
    ) -> None:
        parameters = list(parameters)
        chosen = [p for p in parameters if p.ndim == 2 and hidden(p)]
        require(len(chosen) > 0, "hidden chooses none of the two-dimensional parameters: use AdamW instead")
        ids = {id(p) for p in chosen}
        groups = [
            {"params": chosen, "lr": lr, "momentum": momentum, "weight_decay": 0.0},
            {"params": [p for p in parameters if id(p) not in ids], "lr": rest * lr, "weight_decay": weight_decay},
        ]
        super().__init__([group for group in groups if group["params"]], betas=betas, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update all parameters that have a gradient."""
        require(closure is None, "Muon takes no closure: call backward() before step()")
        moved = self._step_hidden()
        grads = [p.grad for p in moved]
        for p in moved:  # AdamW passes over a parameter without a gradient
            p.grad = None
        super().step()
        for p, grad in zip(moved, grads, strict=True):
            p.grad = grad
        return None

    def _step_hidden(self) -> list[nn.Parameter]:
        """Update the hidden matrices, those of one shape at once, and return them."""
        group = self.param_groups[0]
        moved = [p for p in group["params"] if p.grad is not None]
        for shape, same in groupby(sorted(moved, key=lambda p: p.shape), key=lambda p: p.shape):
            self._move(list(same), group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5, group["momentum"])
        return moved

    def _move(self, matrices: list[nn.Parameter], lr: float, momentum: float) -> None:
        """One step of matrices of one shape."""
        grads = [p.grad for p in matrices]
        buffers = []
        for p in matrices:
            if "momentum_buffer" not in self.state[p]:
                # AdamW looks for "step" in every state that it loads
                self.state[p] |= {"step": torch.zeros(()), "momentum_buffer": torch.zeros_like(p)}
            buffers.append(self.state[p]["momentum_buffer"])
        torch._foreach_lerp_(buffers, grads, 1 - momentum)
        ahead = torch.stack(torch._foreach_lerp(grads, buffers, momentum))
        torch._foreach_add_(matrices, list(orthogonalize(ahead).unbind()), alpha=-lr)
