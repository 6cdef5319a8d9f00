"""Continuous flows: an ordinary differential equation carries data to noise, and its divergence is the
log-determinant.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genmodels.core import require, sum_except_batch
from genmodels.flows.bijection import Bijection

__all__ = ["CNF", "exact_divergence", "hutchinson_divergence"]

Field = Callable[[Tensor], Tensor]


def exact_divergence(field: Field, x: Float[Tensor, "b *d"]) -> tuple[Tensor, Float[Tensor, "b"]]:
    """f(x) and the trace of df/dx, one backward pass for each of the d dimensions."""
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        f = field(x)
        flat = f.reshape(len(x), -1)
        trace = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        for i in range(flat.shape[1]):
            (row,) = torch.autograd.grad(flat[:, i].sum(), x, create_graph=True)
            trace = trace + row.reshape(len(x), -1)[:, i]
    return f, trace


def hutchinson_divergence(
    field: Field, x: Float[Tensor, "b *d"], probe: Float[Tensor, "b *d"]
) -> tuple[Tensor, Float[Tensor, "b"]]:
    """f(x) and eps^T (df/dx) eps, an unbiased estimate of the trace for probes of unit covariance [Grathwohl et al.
    2019].
    """
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        f = field(x)
        (pulled,) = torch.autograd.grad(f, x, probe, create_graph=True)
    return f, sum_except_batch(pulled * probe)


class CNF(Bijection):
    """dx/dt = net(x, t) from data at t = 0 to noise at t = 1; log|det| is the integral of the trace [Chen et al. 2018].

    ``net(x, t)`` takes t (b,). Solved by ``steps`` equal Runge-Kutta steps of order 4, backwards for the inverse. The
    trace is exact, or with ``hutchinson=True`` estimated by one Rademacher probe a sample, held fixed along the path.
    """

    def __init__(self, net: nn.Module, *, steps: int = 20, hutchinson: bool = False):
        super().__init__()
        require(steps >= 1, f"at least 1 step is needed, got {steps}")
        self.net, self.steps, self.hutchinson = net, steps, hutchinson

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Data to noise."""
        return self._solve(x, 0.0, 1.0)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Noise to data."""
        return self._solve(y, 1.0, 0.0)

    def _solve(self, x: Tensor, start: float, stop: float) -> tuple[Tensor, Tensor]:
        graph = torch.is_grad_enabled()
        probe = torch.randint(2, x.shape, device=x.device).to(x.dtype) * 2 - 1 if self.hutchinson else None

        def rates(x: Tensor, t: float) -> tuple[Tensor, Tensor]:
            def field(z: Tensor) -> Tensor:
                return self.net(z, torch.full((len(z),), t, dtype=z.dtype, device=z.device))

            f, trace = exact_divergence(field, x) if probe is None else hutchinson_divergence(field, x, probe)
            return (f, trace) if graph else (f.detach(), trace.detach())

        dt, total = (stop - start) / self.steps, x.new_zeros(len(x))
        for i in range(self.steps):
            t = start + i * dt
            f1, a1 = rates(x, t)
            f2, a2 = rates(x + dt / 2 * f1, t + dt / 2)
            f3, a3 = rates(x + dt / 2 * f2, t + dt / 2)
            f4, a4 = rates(x + dt * f3, t + dt)
            x = x + dt / 6 * (f1 + 2 * f2 + 2 * f3 + f4)
            total = total + dt / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
        return x, total
