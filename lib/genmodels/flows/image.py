"""Flows of pictures: squeezing space into channels, factoring out halves, and giving whole numbers a density."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from genmodels.core import random, require, sum_except_batch
from genmodels.flows.bijection import Bijection, Flow

__all__ = ["Logit", "MultiScale", "Squeeze", "dequantized_log_prob"]


class Squeeze(Bijection):
    """2x2 pixels become 4 channels: (b, c, h, w) -> (b, 4c, h/2, w/2); volume preserving [Dinh et al. 2017, fig. 3]."""

    def forward_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(c, h, w) to (4c, h/2, w/2)."""
        c, h, w = shape
        return 4 * c, h // 2, w // 2

    def forward(self, x: Float[Tensor, "b c h w"], context: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Space to channels."""
        require(x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0, f"height and width must be even, got {tuple(x.shape[2:])}")
        return rearrange(x, "b c (h i) (w j) -> b (c i j) h w", i=2, j=2), x.new_zeros(len(x))

    def inverse(self, y: Float[Tensor, "b c h w"], context: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Channels to space."""
        return rearrange(y, "b (c i j) h w -> b c (h i) (w j)", i=2, j=2), y.new_zeros(len(y))


class Logit(Bijection):
    """(0, 1) to the line: y = logit(margin + (1 - 2 margin) x), so that 0 and 1 stay finite [Dinh et al. 2017, sec.
    4.1].

    The map takes the interval from -margin / (1 - 2 margin) to 1 + margin / (1 - 2 margin) to the whole line: where a
    number of x lies outside of it the log-determinant is -inf, and so is the log-density.
    """

    def __init__(self, margin: float = 0.05):
        super().__init__()
        require(0 < margin < 0.5, f"margin must lie in (0, 0.5), got {margin}")
        self.margin = margin

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """To the line."""
        p = self.margin + (1 - 2 * self.margin) * x
        inside = (p > 0) & (p < 1)
        y = torch.logit(torch.where(inside, p, 0.5))
        return y, torch.where(inside.flatten(1).all(1), -self._log_slope(y), -torch.inf)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Back into the unit interval."""
        return (torch.sigmoid(y) - self.margin) / (1 - 2 * self.margin), self._log_slope(y)

    def _log_slope(self, y: Tensor) -> Tensor:
        """log dx/dy of the inverse, summed: sigmoid'(y) / (1 - 2 margin)."""
        return sum_except_batch(F.logsigmoid(y) + F.logsigmoid(-y) - math.log(1 - 2 * self.margin))


class MultiScale(Bijection):
    """After each level half of the channels leave for the latent, the rest go on [Dinh et al. 2017, sec. 3.6].

    Takes a picture (b, c, h, w) of the given ``shape`` (c, h, w) to one latent vector (b, c h w). Each level is a
    bijection that ends with an even number of channels and tells its ``forward_shape``; the last keeps all.
    """

    def __init__(self, levels: Sequence[Bijection], shape: tuple[int, int, int]):
        super().__init__()
        require(len(levels) > 0, "a multi-scale flow needs at least one level")
        self.levels, self.shape = nn.ModuleList(levels), tuple(shape)
        self.parts: list[tuple[int, ...]] = []  # what leaves after each level
        for i, level in enumerate(levels):
            c, *rest = level.forward_shape(tuple(shape))
            if i < len(levels) - 1:
                require(c % 2 == 0, f"level {i} must end with an even number of channels, half of which leave; got {c}")
                c //= 2
            shape = (c, *rest)
            self.parts.append(shape)

    def forward(self, x: Float[Tensor, "b c h w"], context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Picture to latent; early halves come first."""
        require(x.shape[1:] == self.shape, f"expected pictures of shape {self.shape}, got {tuple(x.shape[1:])}")
        parts, total = [], 0.0
        for i, level in enumerate(self.levels):
            x, logdet = level(x, context)
            total = total + logdet
            last = i == len(self.levels) - 1
            whole = self.parts[i] if last else (2 * self.parts[i][0], *self.parts[i][1:])
            require(x.shape[1:] == whole, f"level {i} returned {tuple(x.shape[1:])}; its forward_shape says {whole}")
            if not last:
                x, gone = x.chunk(2, 1)
                parts.append(gone.flatten(1))
        return torch.cat([*parts, x.flatten(1)], 1), total

    def inverse(self, y: Float[Tensor, "b n"], context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Latent to picture."""
        *gone, x = y.split([math.prod(shape) for shape in self.parts], 1)
        x, total = x.unflatten(1, self.parts[-1]), 0.0
        for i in reversed(range(len(self.levels))):
            if i < len(self.levels) - 1:
                x = torch.cat([x, gone[i].unflatten(1, self.parts[i])], 1)
            x, logdet = self.levels[i].inverse(x, context)
            total = total + logdet
        return x, total


def dequantized_log_prob(
    flow: Flow,
    x: Int[Tensor, "b *d"],
    levels: int = 256,
    *,
    noise: Flow | None = None,
    samples: int = 1,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "b"]:
    """A lower bound on log P(x) of whole numbers 0..levels-1 from a density on [0, 1): E_q log p((x + u)/levels) -
    log q(u|x).

    u is uniform on the unit cube, log q = 0 [Theis et al. 2016, eq. 8], or comes from ``noise``, a flow onto (0, 1)
    of the same shape, with x / levels as context if it reads one [variational dequantisation, Ho et al. 2019]. The
    volume d log(levels) of the change of scale is included, so the value is in nats per sample of P. Averages over
    ``samples`` draws of u.
    """
    require(samples >= 1, f"at least 1 draw of the noise is needed, got {samples}")
    require(x.numel() > 0, f"there is nothing to dequantise: x has shape {tuple(x.shape)}")
    low, high = int(x.min()), int(x.max())
    require(low >= 0 and high < levels, f"values must lie in 0..{levels - 1}, got {low}..{high}")
    context = x.to(flow.loc.dtype) / levels
    total = 0.0
    for _ in range(samples):
        if noise is None:
            u = random(torch.rand, x.shape, generator=generator, dtype=context.dtype, device=x.device)
            log_q = 0.0
        else:
            told = context if noise.context_dim else None
            u, log_q = noise.rsample_with_log_prob(len(x), told, generator=generator)
        total = total + flow.log_prob(context + u / levels) - log_q
    return total / samples - x[0].numel() * math.log(levels)
