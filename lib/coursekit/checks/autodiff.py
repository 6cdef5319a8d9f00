"""Derivatives of functions under test: the only three places where checks differentiate someone else's code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["grad", "jacobian", "parameter_grads"]


def grad(f: Callable[..., Tensor], *args: Any, wrt: int = 0) -> Tensor:
    """Gradient of ``f(*args).sum()`` with respect to ``args[wrt]``; zero where nothing depends on it."""
    args = list(args)
    args[wrt] = args[wrt].detach().clone().requires_grad_()
    with torch.enable_grad():
        y = f(*args).sum()
    if not y.requires_grad:
        return torch.zeros_like(args[wrt])
    (g,) = torch.autograd.grad(y, args[wrt], allow_unused=True)
    return torch.zeros_like(args[wrt]) if g is None else g


def jacobian(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """d f(x)[i] / d x[j], shaped (*f(x).shape, *x.shape), one backward pass per output."""
    x = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        y = f(x)
    if not y.requires_grad:
        return torch.zeros(*y.shape, *x.shape, dtype=x.dtype)
    rows = [torch.autograd.grad(v, x, retain_graph=True, allow_unused=True)[0] for v in y.flatten()]
    rows = [torch.zeros_like(x) if r is None else r for r in rows]
    return torch.stack(rows).reshape(*y.shape, *x.shape)


def parameter_grads(f: Callable[..., Tensor], module: Any, *args: Any) -> dict[str, Tensor | None]:
    """Gradients with respect to the module's named parameters of a fixed combination of the entries of ``f(*args)``.

    The combination has unequal coefficients, so that outputs with a constant sum (probabilities) keep their gradient.
    """
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    with torch.enable_grad():
        y = f(*args).flatten()
    y = y @ torch.cos(1.0 + torch.arange(len(y), dtype=y.dtype, device=y.device))
    if not y.requires_grad:
        return dict.fromkeys(named)
    return dict(zip(named, torch.autograd.grad(y, list(named.values()), allow_unused=True), strict=True))
