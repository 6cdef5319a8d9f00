"""Monotone functions of one number, with parameters that a network supplies: affine, and rational-quadratic splines."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from genmodels.core import require

__all__ = ["Elementwise", "affine", "spline"]


class Elementwise(NamedTuple):
    """A family of increasing functions: ``size`` parameters each, on the last axis; all zero is near the identity.

    ``forward`` and ``inverse`` map (x, parameters) to the value and the log-derivative of that direction, elementwise.
    """

    size: int
    forward: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    inverse: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def _soft_clip(v: Tensor, limit: float) -> Tensor:
    """v kept between -limit and limit, smoothly and with slope 1 at 0."""
    return v / (1 + v.abs() / limit)


def affine(bound: float = 3.0) -> Elementwise:
    """y = x exp(s) + t, with |s| < ``bound`` softly, so that no step of training can overflow [Dinh et al. 2017,
    eq. 4].
    """
    require(bound > 0, f"the bound on the log-scale must be positive, got {bound}")

    def split(params: Float[Tensor, "*s 2"]) -> tuple[Tensor, Tensor]:
        s, shift = params.unbind(-1)
        return _soft_clip(s, bound), shift

    def forward(x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        s, shift = split(params)
        return torch.addcmul(shift, x, s.exp()), s

    def inverse(y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        s, shift = split(params)
        log_slope = -s
        return (y - shift) * log_slope.exp(), log_slope

    return Elementwise(2, forward, inverse)


def spline(bins: int = 8, bound: float = 5.0, slope: float = 1e-3) -> Elementwise:
    """Monotone rational-quadratic spline on [-bound, bound], the identity outside [Durkan et al. 2019, eqs. 4-8].

    3 * bins - 1 parameters: widths, heights, and derivatives at the inner knots; the outer derivatives are 1. However
    large the parameters, derivatives at the knots, and the ratio of any two widths or heights, lie between ``slope``
    and 1 / ``slope``, so that float32 can invert the map (as in zuko).
    """
    require(bins >= 2 and bound > 0, f"a spline needs bins >= 2 and bound > 0, got {bins} and {bound}")
    require(0 < slope < 1, f"the least slope must lie in (0, 1), got {slope}")
    steepest = -math.log(slope)

    def knots(params: Tensor) -> Float[Tensor, "*s _ 3"]:
        """x, y and derivative at every knot, side by side so that a bin's ends are fetched at once."""
        sizes, inner = params.split([2 * bins, bins - 1], -1)
        share = _soft_clip(sizes.unflatten(-1, (2, bins)), steepest / 2).softmax(-1)
        corner = F.pad(share[..., :-1].cumsum(-1), (1, 0)) * (2 * bound) - bound
        corner = F.pad(corner, (0, 1), value=bound)
        steep = F.pad(_soft_clip(inner, steepest).exp(), (1, 1), value=1.0)
        return torch.cat([corner, steep[..., None, :]], -2).transpose(-1, -2)

    def bin_of(v: Tensor, table: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """The knots left and right of each value, searched along x (axis 0) or y (axis 1)."""
        index = (v[..., None] >= table[..., 1:-1, axis]).sum(-1)[..., None, None].expand(*v.shape, 1, 3)
        return table.gather(-2, index).squeeze(-2), table.gather(-2, index + 1).squeeze(-2)

    def forward(x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        inside = x.abs() < bound
        v = torch.where(inside, x, torch.zeros_like(x))
        left, right = bin_of(v, knots(params), 0)
        (x0, y0, d0), (x1, y1, d1) = left.unbind(-1), right.unbind(-1)
        width, height = x1 - x0, y1 - y0
        theta, chord = (v - x0) / width, height / width
        y, log_slope = _rational(theta, chord, d0, d1)
        return torch.where(inside, y0 + height * y, x), torch.where(inside, log_slope, torch.zeros_like(x))

    def inverse(y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        inside = y.abs() < bound
        v = torch.where(inside, y, torch.zeros_like(y))
        left, right = bin_of(v, knots(params), 1)
        (x0, y0, d0), (x1, y1, d1) = left.unbind(-1), right.unbind(-1)
        width, height = x1 - x0, y1 - y0
        chord, up = height / width, v - y0
        bend = d0 + d1 - 2 * chord
        a, b, c = height * (chord - d0) + up * bend, height * d0 - up * bend, -chord * up
        root = (b.square() - 4 * a * c).clamp_min(torch.finfo(v.dtype).tiny).sqrt()  # which has a slope at 0 too
        theta = (2 * c / (-b - root)).clamp(0, 1)
        _, log_slope = _rational(theta, chord, d0, d1)
        return torch.where(inside, x0 + width * theta, y), torch.where(inside, -log_slope, torch.zeros_like(y))

    return Elementwise(3 * bins - 1, forward, inverse)


def _rational(theta: Tensor, slope: Tensor, d0: Tensor, d1: Tensor) -> tuple[Tensor, Tensor]:
    """Height within a bin as a fraction, at the fraction ``theta`` of its width, and the log-derivative dy/dx."""
    rest = 1 - theta
    cross = theta * rest
    below = slope + (d0 + d1 - 2 * slope) * cross
    y = (slope * theta.square() + d0 * cross) / below
    top = d1 * theta.square() + 2 * slope * cross + d0 * rest.square()
    return y, 2 * (slope / below).log() + top.log()
