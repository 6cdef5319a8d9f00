"""Invertible maps that know their log-determinant, and the distribution that one of them makes of a simple base."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from genmodels.core import random, require, sum_except_batch

__all__ = ["Bijection", "Chain", "Flow", "Inverse"]


class Bijection(nn.Module, ABC):
    """An invertible map, data to latent: both ways return the result and log|det Jacobian| of that way, (b,).

    ``context`` (b, c) is side information; a map reads ``context_dim`` numbers of it, and ignores it where that is 0.
    ``Flow`` refuses a context that none of its maps reads, and the lack of one that is.
    """

    context_dim: int = 0

    def forward_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape (*d) of f(x) for one x of the given shape: the same, unless a map says otherwise."""
        return shape

    @abstractmethod
    def forward(self, x: Float[Tensor, "b *d"], context: Tensor | None = None) -> tuple[Tensor, Float[Tensor, "b"]]:
        """y = f(x) and log|det df/dx|."""

    @abstractmethod
    def inverse(self, y: Float[Tensor, "b *d"], context: Tensor | None = None) -> tuple[Tensor, Float[Tensor, "b"]]:
        """x = f^-1(y) and log|det df^-1/dy|."""


class Chain(Bijection):
    """One map after the other: log-determinants add; the inverse runs the layers' inverses in reverse order."""

    def __init__(self, *layers: Bijection):
        super().__init__()
        require(len(layers) > 0, "a chain needs at least one layer")
        self.layers = nn.ModuleList(layers)

    def forward_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape after all layers."""
        for layer in self.layers:
            shape = layer.forward_shape(shape)
        return shape

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """f_n(... f_1(x))."""
        total = 0.0
        for layer in self.layers:
            x, logdet = layer(x, context)
            total = total + logdet
        return x, total

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """f_1^-1(... f_n^-1(y))."""
        total = 0.0
        for layer in reversed(self.layers):
            y, logdet = layer.inverse(y, context)
            total = total + logdet
        return y, total


class Inverse(Bijection):
    """A map used the other way round: a masked autoregressive flow becomes an inverse autoregressive one."""

    def __init__(self, of: Bijection):
        super().__init__()
        self.of = of

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The wrapped map's inverse."""
        return self.of.inverse(x, context)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The wrapped map itself."""
        return self.of(y, context)


class Flow(nn.Module):
    """The distribution of x = f^-1(z), z ~ base: log p(x) = log base(f(x)) + log|det df/dx| [Rezende & Mohamed 2015].

    ``base`` is a latent shape, for a standard normal, or a function that makes a torch Distribution over latents.
    The verbs are those of torch.distributions.
    """

    def __init__(self, bijection: Bijection, base: tuple[int, ...] | int | Callable[[], Distribution]):
        super().__init__()
        self.bijection = bijection
        self.context_dim = max(m.context_dim for m in bijection.modules() if isinstance(m, Bijection))
        self._make = base if callable(base) else None
        shape = () if callable(base) else (base,) if isinstance(base, int) else tuple(base)
        self.register_buffer("loc", torch.zeros(shape), persistent=False)

    @property
    def base(self) -> Distribution:
        """The distribution of latents."""
        if self._make is not None:
            return self._make()
        normal = Normal(self.loc, torch.ones_like(self.loc), validate_args=False)
        return Independent(normal, self.loc.ndim, validate_args=False)

    def _log_base(self, z: Float[Tensor, "b *d"]) -> Float[Tensor, "b"]:
        """As ``base.log_prob``; the standard normal's own formula is a tenth faster for a whole small flow."""
        if self._make is not None:
            return self.base.log_prob(z)
        return -0.5 * (sum_except_batch(z.square()) + self.loc.numel() * math.log(2 * math.pi))

    def log_prob(self, x: Float[Tensor, "b *d"], context: Tensor | None = None) -> Float[Tensor, "b"]:
        """Log-density in nats per sample; -inf outside the support."""
        self._check(len(x), context)
        z, logdet = self.bijection(x, context)
        return self._log_base(z) + logdet

    def rsample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n *d"]:
        """n draws, differentiable in the flow's parameters; ``context`` has a row for each. ``generator`` needs the
        standard normal base.
        """
        self._check(n, context)
        return self.bijection.inverse(self._latents(n, generator), context)[0]

    @torch.no_grad()
    def sample(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n *d"]:
        """n draws without a gradient."""
        return self.rsample(n, context, generator=generator)

    def rsample_with_log_prob(
        self, n: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "n *d"], Float[Tensor, "n"]]:
        """Draws and their log-density in one pass."""
        self._check(n, context)
        z = self._latents(n, generator)
        x, logdet = self.bijection.inverse(z, context)
        return x, self._log_base(z) - logdet

    def _check(self, n: int, context: Tensor | None) -> None:
        if context is None:
            require(self.context_dim == 0, f"this flow is conditional: give a context ({n}, {self.context_dim})")
            return
        require(
            self.context_dim > 0, "no layer of this flow reads a context: build it with context=, the numbers of it"
        )
        fits = context.shape[:2] == (n, self.context_dim)
        require(fits, f"expected a context ({n}, {self.context_dim}), got {tuple(context.shape)}")

    def _latents(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n *d"]:
        if self._make is None:
            shape = (n, *self.loc.shape)
            return random(torch.randn, shape, generator=generator, dtype=self.loc.dtype, device=self.loc.device)
        require(generator is None, "a base given as a torch Distribution draws from torch's global random state")
        return self.base.rsample((n,))
