"""Seven 2-D data sets whose density is known exactly, so that every model of a plane can be told how far off it is.

Each has ``sample(n, generator=)`` and a normalised ``log_prob(x)`` in nats, lies inside [-4, 4] x [-4, 4] and has a
standard deviation near 1 in each coordinate. ``grid`` gives the points for quadrature and for pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from genmodels.core import log_mean_exp, random, require

__all__ = [
    "SHAPES",
    "Blobs",
    "Checkerboard",
    "Polar",
    "Shape",
    "checkerboard",
    "eight_gaussians",
    "gaussian_grid",
    "grid",
    "pinwheel",
    "rings",
    "shape",
    "spiral",
    "two_moons",
]


@runtime_checkable
class Shape(Protocol):
    """A distribution on the plane that can be sampled and evaluated."""

    def sample(
        self, n: int, *, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "n 2"]:
        """n independent points."""

    def log_prob(self, x: Float[Tensor, "b 2"]) -> Float[Tensor, "b"]:
        """The exact log-density in nats."""


def grid(
    limit: float = 4.0, n: int = 200, dtype: torch.dtype = torch.float64
) -> tuple[Float[Tensor, "{n*n} 2"], float]:
    """The centres of n x n equal cells that fill [-limit, limit]^2, and the area of one cell.

    Row-major with y growing first: ``f(points).reshape(n, n)`` is indexed [y, x]. Summing exp(log_prob) times the
    area is the midpoint rule.
    """
    require(n >= 1 and limit > 0, f"expected n >= 1 cells a side and limit > 0; got {n} and {limit}")
    step = 2 * limit / n
    axis = -limit + step * (torch.arange(n, dtype=dtype) + 0.5)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], 1), step**2


@dataclass(frozen=True)
class Blobs:
    """Equally likely round Gaussians: mean over k of N(x; centre_k, std^2 I)."""

    centres: Sequence[tuple[float, float]]
    std: float

    def sample(self, n, *, generator=None, dtype=torch.float32):
        """n points: a centre, then noise around it."""
        k = random(torch.randint, len(self.centres), (n,), generator=generator)
        noise = random(torch.randn, n, 2, generator=generator, dtype=dtype)
        return torch.tensor(self.centres, dtype=dtype)[k] + self.std * noise

    def log_prob(self, x):
        """Log of the mean of the Gaussians' densities."""
        gap = x[:, None] - torch.tensor(self.centres, dtype=x.dtype, device=x.device)
        log_normal = -gap.square().sum(-1) / (2 * self.std**2) - math.log(2 * math.pi * self.std**2)
        return log_mean_exp(log_normal, 1)


@dataclass(frozen=True)
class Checkerboard:
    """Uniform on the black squares of a board of ``cells`` x ``cells`` squares (an even number) over [-2, 2]^2."""

    cells: int = 4

    def __post_init__(self) -> None:
        require(self.cells > 0 and self.cells % 2 == 0, f"cells must be even and positive; got {self.cells}")

    def sample(self, n, *, generator=None, dtype=torch.float32):
        """n points: a row, one of its black squares, a place in it."""
        row = random(torch.randint, self.cells, (n,), generator=generator)
        column = 2 * random(torch.randint, self.cells // 2, (n,), generator=generator) + row % 2
        inside = random(torch.rand, n, 2, generator=generator, dtype=dtype)
        return (torch.stack([column, row], 1) + inside) * (4 / self.cells) - 2

    def log_prob(self, x):
        """-log 8, the area of the black squares, on them; -inf elsewhere."""
        square = ((x + 2) * (self.cells / 4)).floor()
        inside = ((square >= 0) & (square < self.cells)).all(1) & (square.sum(1) % 2 == 0)
        return torch.where(inside, -math.log(8.0), -math.inf).to(x.dtype)


@dataclass(frozen=True)
class Arm:
    """One component of ``Polar``: radius r = |inner + (outer - inner) u + thickness z| around a centre, and angle
    phase + half_width (2 u' - 1) + blur z', with u uniform and z standard normal, all independent."""

    inner: float
    outer: float
    thickness: float
    phase: float
    half_width: float
    blur: float
    centre: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Polar:
    """Equally likely arms in polar coordinates, then turned by ``twist`` radians for each unit of radius.

    Density: mean over the arms of f(r) h(angle - phase - twist r) / r, with f the radius's density folded at 0 and h
    the angle's wrapped around the circle. The twist keeps areas, so it costs no Jacobian.
    """

    arms: Sequence[Arm]
    twist: float = 0.0

    def sample(self, n, *, generator=None, dtype=torch.float32):
        """n points: an arm, a radius, an angle."""
        table = torch.tensor([(*_numbers(a), *a.centre) for a in self.arms], dtype=dtype)
        arm = table[random(torch.randint, len(self.arms), (n,), generator=generator)]
        inner, outer, thickness, phase, half_width, blur, cx, cy = arm.T
        u = random(torch.rand, 2, n, generator=generator, dtype=dtype)
        z = random(torch.randn, 2, n, generator=generator, dtype=dtype)
        r = (inner + (outer - inner) * u[0] + thickness * z[0]).abs()
        angle = phase + half_width * (2 * u[1] - 1) + blur * z[1] + self.twist * r
        return torch.stack([cx + r * angle.cos(), cy + r * angle.sin()], 1)

    def log_prob(self, x):
        """Log of the mean of the arms' densities."""
        return log_mean_exp(torch.stack([self._arm(a, x) for a in self.arms], 1), 1)

    def _arm(self, arm: Arm, x: Float[Tensor, "b 2"]) -> Float[Tensor, "b"]:
        dx, dy = (x - torch.tensor(arm.centre, dtype=x.dtype, device=x.device)).T
        dx = torch.where((dx == 0) & (dy == 0), 1e-12, dx)  # the centre has no angle, and no slope of r
        r = torch.hypot(dx, dy)
        angle = torch.atan2(dy, dx) - arm.phase - self.twist * r
        angle = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
        folded = [_log_blurred(s * r, arm.inner, arm.outer, arm.thickness) for s in (1, -1)]
        turns = [2 * math.pi * k for k in (-1, 0, 1)]  # more are below 1e-20 for the widths used here
        wrapped = [_log_blurred(angle + t, -arm.half_width, arm.half_width, arm.blur) for t in turns]
        return torch.logsumexp(torch.stack(folded), 0) + torch.logsumexp(torch.stack(wrapped), 0) - r.log()


def _numbers(a: Arm) -> tuple[float, ...]:
    return a.inner, a.outer, a.thickness, a.phase, a.half_width, a.blur


def _log_blurred(x: Tensor, low: float, high: float, std: float) -> Tensor:
    """Log-density of (uniform on [low, high]) + std * normal; a plain normal when low == high.

    It is log((Phi(b) - Phi(a)) / (high - low)) with a, b the standardised ends, taken in the left tail, where the
    difference of two logs loses no digits.
    """
    if low == high:
        return -(((x - low) / std) ** 2) / 2 - math.log(std * math.sqrt(2 * math.pi))
    x = -(x - (low + high) / 2).abs()  # symmetric: use the side on which both ends lie in the left tail or near it
    half = (high - low) / 2
    upper = torch.special.log_ndtr((x + half) / std)
    lower = torch.special.log_ndtr((x - half) / std)
    return upper + torch.log1p(-torch.exp(lower - upper)) - math.log(high - low)


def eight_gaussians() -> Blobs:
    """Eight Gaussians of standard deviation 0.15 on a circle of radius 2: mode collapse shows at a glance."""
    turns = [2 * math.pi * k / 8 for k in range(8)]
    return Blobs(tuple((2 * math.cos(t), 2 * math.sin(t)) for t in turns), 0.15)


def gaussian_grid() -> Blobs:
    """Twenty-five Gaussians of standard deviation 0.1 on a 5 x 5 grid with spacing 1."""
    return Blobs(tuple((float(x), float(y)) for x in range(-2, 3) for y in range(-2, 3)), 0.1)


def checkerboard() -> Checkerboard:
    """Eight black squares: edges that a smooth model cannot follow."""
    return Checkerboard()


def two_moons() -> Polar:
    """Two interleaved half circles of radius 1.5."""
    width = math.pi / 2 - 0.1
    upper = Arm(1.5, 1.5, 0.12, math.pi / 2, width, 0.1, (-0.75, -0.4))
    return Polar((upper, Arm(1.5, 1.5, 0.12, -math.pi / 2, width, 0.1, (0.75, 0.4))))


def rings() -> Polar:
    """Three rings of radius 0.75, 1.5 and 2.25, equally likely: the inner one is the densest."""
    return Polar(tuple(Arm(r, r, 0.1, 0.0, math.pi, 0.1) for r in (0.75, 1.5, 2.25)))


def pinwheel() -> Polar:
    """Five curved blades."""
    return Polar(tuple(Arm(0.6, 2.3, 0.1, 2 * math.pi * k / 5, 0.0, 0.16) for k in range(5)), twist=0.5)


def spiral() -> Polar:
    """Two arms that wind outwards a little more than once."""
    return Polar(tuple(Arm(0.5, 2.6, 0.08, math.pi * k, 0.0, 0.3) for k in range(2)), twist=3.2)


SHAPES = {f.__name__: f for f in (eight_gaussians, gaussian_grid, checkerboard, two_moons, rings, pinwheel, spiral)}


def shape(name: str) -> Shape:
    """A shape by name, for sliders and command lines."""
    require(name in SHAPES, f"unknown shape {name!r}: choose one of {', '.join(SHAPES)}")
    return SHAPES[name]()
