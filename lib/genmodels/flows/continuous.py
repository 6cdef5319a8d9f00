"""Continuous flows: an ordinary differential equation carries data to noise, and its divergence is the
log-determinant.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from genmodels.core import random, require, sum_except_batch
from genmodels.flows.bijection import Bijection

__all__ = ["CNF", "exact_divergence", "hutchinson_divergence", "rademacher"]

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


def rademacher(generator: torch.Generator | None = None) -> Callable[[Tensor], Tensor]:
    """Draws probes of the shape of x, each entry +1 or -1: of all probes those whose trace estimate varies least."""

    def draw(x: Float[Tensor, "b *d"]) -> Float[Tensor, "b *d"]:
        return 2 * random(torch.randint, 2, x.shape, generator=generator, device=x.device).to(x.dtype) - 1

    return draw


class CNF(Bijection):
    """dx/dt = net(x, t) from data at t = 0 to noise at t = 1; log|det| is the integral of the trace [Chen et al. 2018].

    ``net(x, t)``, or ``net(x, t, context)`` for a context of c numbers, takes t (b,). Solved by ``steps`` equal
    Runge-Kutta steps of order 4, backwards for the inverse. The trace is exact; or ``probe``, such as
    ``rademacher(generator)``, draws for each x the probe that estimates it, held fixed along the path.
    """

    def __init__(
        self,
        net: Callable[..., Tensor],
        *,
        steps: int = 20,
        probe: Callable[[Tensor], Tensor] | None = None,
        context: int = 0,
    ):
        super().__init__()
        require(steps >= 1, f"at least 1 step is needed, got {steps}")
        self.net, self.steps, self.probe, self.context_dim = net, steps, probe, context

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Data to noise."""
        return self._solve(x, context, 0.0, 1.0)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Noise to data."""
        return self._solve(y, context, 1.0, 0.0)

    def _solve(self, x: Tensor, context: Tensor | None, start: float, stop: float) -> tuple[Tensor, Tensor]:
        graph = torch.is_grad_enabled()
        probe = None if self.probe is None else self.probe(x)
        told = (context,) if self.context_dim else ()

        def rates(x: Tensor, t: float) -> tuple[Tensor, Tensor]:
            def field(z: Tensor) -> Tensor:
                return self.net(z, torch.full((len(z),), t, dtype=z.dtype, device=z.device), *told)

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
