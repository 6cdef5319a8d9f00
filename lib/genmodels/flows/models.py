"""Named flows, a few lines each: RealNVP, spline coupling, masked and inverse autoregressive flows, Glow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from genmodels.core import require
from genmodels.flows.bijection import Bijection, Chain, Flow, Inverse
from genmodels.flows.elementwise import Elementwise, affine, spline
from genmodels.flows.image import MultiScale, Squeeze
from genmodels.flows.layers import ActNorm, Coupling, MaskedAutoregressive, Mixing, Permute
from genmodels.nets import MLP

__all__ = ["autoregressive_flow", "coupling_flow", "glow", "inverse_autoregressive_flow", "real_nvp", "spline_flow"]


def coupling_flow(
    d: int, family: Elementwise, layers: int = 4, hidden: Sequence[int] = (64, 64), *, context: int = 0
) -> Flow:
    """Alternate which half of d dimensions passes; any elementwise family. ``context`` numbers condition every layer,
    here and below.
    """
    require(d >= 2 and layers >= 2, f"coupling needs d >= 2 and layers >= 2, got {d} and {layers}")
    front = torch.arange(d) < d // 2

    def layer(keep: torch.Tensor) -> Bijection:
        kept = int(keep.sum())
        net = MLP(kept + context, hidden, (d - kept) * family.size, activation=_relu)
        return Coupling(keep, net, family, context=context)

    return Flow(Chain(*(layer(front if i % 2 == 0 else ~front) for i in range(layers))), d)


def _relu() -> nn.Module:
    """In place: what it overwrites is a linear layer's output, which no gradient asks for."""
    return nn.ReLU(inplace=True)


def real_nvp(d: int, layers: int = 4, hidden: Sequence[int] = (64, 64), *, context: int = 0) -> Flow:
    """Affine coupling [Dinh et al. 2017]."""
    return coupling_flow(d, affine(), layers, hidden, context=context)


def spline_flow(
    d: int,
    layers: int = 4,
    hidden: Sequence[int] = (64, 64),
    *,
    bins: int = 8,
    bound: float = 5.0,
    context: int = 0,
) -> Flow:
    """Rational-quadratic coupling [Durkan et al. 2019]."""
    return coupling_flow(d, spline(bins, bound), layers, hidden, context=context)


def autoregressive_flow(
    d: int,
    layers: int = 3,
    hidden: Sequence[int] = (64, 64),
    *,
    family: Elementwise | None = None,
    context: int = 0,
) -> Flow:
    """MAF: fast log_prob, d steps to sample; the order is turned round between layers [Papamakarios et al. 2017]."""
    return Flow(_stack(d, layers, hidden, family, context), d)


def inverse_autoregressive_flow(
    d: int,
    layers: int = 3,
    hidden: Sequence[int] = (64, 64),
    *,
    family: Elementwise | None = None,
    context: int = 0,
) -> Flow:
    """IAF: the same map the other way round, fast to sample, d steps for log_prob [Kingma et al. 2016]."""
    return Flow(Inverse(_stack(d, layers, hidden, family, context)), d)


def _stack(d: int, layers: int, hidden: Sequence[int], family: Elementwise | None, context: int) -> Chain:
    require(layers >= 1, f"at least 1 layer is needed, got {layers}")
    parts: list[Bijection] = []
    for i in range(layers):
        parts += [Permute(d)] if i else []
        parts.append(MaskedAutoregressive(d, hidden, family or affine(), context=context))
    return Chain(*parts)


class _ConvNet(nn.Sequential):
    """Three convolutions; the last starts at zero so that each coupling starts as the identity [Glow, sec. 3.3]."""

    def __init__(self, c_in: int, width: int, c_out: int):
        last = nn.Conv2d(width, c_out, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        super().__init__(nn.Conv2d(c_in, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU(), last)


def glow(
    shape: tuple[int, int, int],
    levels: int = 2,
    depth: int = 4,
    width: int = 64,
    *,
    context: int = 0,
    generator: torch.Generator | None = None,
) -> Flow:
    """Squeeze, then ``depth`` times ActNorm, 1x1 mixing and affine coupling, at each of ``levels`` scales [Glow].

    ``shape`` (c, h, w), h and w divisible by 2 ** levels.
    """
    c, h, w = shape
    factor = 2**levels
    require(h % factor == 0 and w % factor == 0, f"height and width must be divisible by {factor}, got {h} x {w}")
    stages = []
    for _ in range(levels):
        c *= 4
        steps: list[Bijection] = []
        for _ in range(depth):
            keep = torch.arange(c) < c // 2
            net = _ConvNet(c // 2 + context, width, (c - c // 2) * 2)
            coupling = Coupling(keep, net, affine(), context=context)
            steps += [ActNorm(c), Mixing(c, generator=generator), coupling]
        stages.append(Chain(Squeeze(), *steps))
        c //= 2
    return Flow(MultiScale(stages, shape), shape[0] * h * w)
