"""Vectors to codes and back: vector quantisation with a learnt codebook, and finite scalar quantisation without one."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.distributed as distributed
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from genmodels.core import (
    full_precision,
    random,
    require,
    require_all,
    sample_categorical,
    straight_through,
    sum_except_batch,
    to_float64_device,
)

__all__ = ["FSQ", "Quantized", "VectorQuantizer", "kmeans", "nearest", "perplexity", "rotate_to"]


class Quantized(NamedTuple):
    """Codes in place of vectors: ``z`` carries the straight-through gradient; both losses are summed per sample
    (b,).
    """

    z: Float[Tensor, "b *s d"]
    indices: Int[Tensor, "b *s"]
    codebook_loss: Float[Tensor, "b"]
    commitment_loss: Float[Tensor, "b"]


def nearest(z: Float[Tensor, "*s d"], codebook: Float[Tensor, "k d"]) -> Int[Tensor, "*s"]:
    """Index of the closest code in Euclidean distance; |z|^2 is left out since it is the same for every code.

    In full precision under autocast too: bf16 would round the differences of near codes away.
    """
    require(z.shape[-1] == codebook.shape[1], f"vectors have {z.shape[-1]} entries but codes have {codebook.shape[1]}")
    with full_precision(z.device):
        return (codebook.square().sum(1) - 2 * z @ codebook.T).argmin(-1)


def perplexity(indices: Int[Tensor, "*s"], codes: int) -> Float[Tensor, ""]:
    """exp of the entropy of code usage: 1 when one code does everything, ``codes`` when all are used alike."""
    require(indices.numel() > 0, "the perplexity of no indices is 0 / 0: give at least one")
    require(not indices.is_floating_point(), f"indices must be whole numbers, got {indices.dtype}")
    usage = indices.flatten().bincount(minlength=codes)
    require(len(usage) == codes, f"indices must lie in 0..{codes - 1}; got {len(usage) - 1}")
    usage = to_float64_device(usage).double()
    return torch.special.entr(usage / usage.sum()).sum().exp()


def rotate_to(z: Float[Tensor, "*s d"], code: Float[Tensor, "*s d"]) -> Float[Tensor, "*s d"]:
    """``code`` on the way forward, exactly; on the way back the gradient turned from the code's direction to z's and
    scaled by |code| / |z|: the rotation trick [Fifty et al. 2024, arXiv 2410.06424, eq. 4].

    Angles and relative lengths survive where straight-through copies the vector. The rotation is a constant to the
    gradient. Where none is defined (a zero vector, or opposite directions) it is straight-through.
    """
    require(z.shape == code.shape, f"z {tuple(z.shape)} and code {tuple(code.shape)} must have the same shape")
    with torch.no_grad():
        source, target = F.normalize(z, dim=-1), F.normalize(code, dim=-1)
        middle = source + target
        length, size, wanted = (torch.linalg.vector_norm(v, dim=-1, keepdim=True) for v in (middle, z, code))
        turns = (length > 1e-3) & (size > 0) & (wanted > 0)
        middle = middle / torch.where(turns, length, 1.0)
        scale = wanted / torch.where(turns, size, 1.0)
    turned = z - 2 * (z * middle).sum(-1, keepdim=True) * middle + 2 * (z * source).sum(-1, keepdim=True) * target
    return straight_through(code, torch.where(turns, scale * turned, z))


@torch.no_grad()
def kmeans(
    x: Float[Tensor, "n d"], k: int, *, steps: int = 10, generator: torch.Generator | None = None
) -> tuple[Float[Tensor, "k d"], Int[Tensor, "k"]]:
    """k centres and how many vectors are nearest to each: ``steps`` rounds of Lloyd from a k-means++ start [Arthur &
    Vassilvitskii 2007].

    The first centre is a random vector, each next one a vector drawn in proportion to its squared distance to those
    before. A centre that loses its vectors stays. ValueError for fewer than k vectors.
    """
    require(x.ndim == 2 and len(x) >= k >= 1, f"{k} centres need as many vectors (n, d); got {tuple(x.shape)}")
    require_all(x.isfinite(), "vectors contain NaN or infinite values: they have no centres")
    centres = x[random(torch.randint, len(x), (1,), generator=generator, device=x.device)]
    gap = (x - centres).square().sum(1)
    for _ in range(k - 1):
        chance = torch.where(gap.sum() > 0, gap, 1.0)  # all vectors lie on centres: any will do
        pick = sample_categorical(chance.log(), generator=generator)[None]
        centres = torch.cat([centres, x[pick]])
        gap = torch.minimum(gap, (x - x[pick]).square().sum(1))
    for _ in range(steps):
        indices = nearest(x, centres)
        counts = indices.bincount(minlength=k)[:, None]
        sums = torch.zeros_like(centres).index_add_(0, indices, x)
        centres = torch.where(counts > 0, sums / counts.clamp_min(1), centres)
    return centres, nearest(x, centres).bincount(minlength=k)


class VectorQuantizer(nn.Module):
    """Nearest-code quantisation of the last axis [van den Oord et al. 2017, eq. 1-3].

    z (b, *s, d): move the channels of an image last. With ``decay`` the codebook follows running means of the
    vectors it was given, in training mode only, and has no gradient; without it, it learns by ``codebook_loss``. The
    encoder's gradient is passed straight through, or with ``rotation`` by ``rotate_to``. Computed in the codebook's
    precision, under autocast too.
    """

    def __init__(
        self, codes: int, dim: int, *, decay: float | None = None, smoothing: float = 1e-5, rotation: bool = False
    ):
        super().__init__()
        require(codes >= 1 and dim >= 1, f"need at least 1 code of 1 dimension, got {codes} codes of {dim}")
        require(decay is None or 0 <= decay < 1, f"decay must lie in [0, 1), got {decay}")
        require(smoothing >= 0, f"smoothing must not be negative, got {smoothing}")
        self.decay, self.smoothing, self.rotation = decay, smoothing, rotation
        start = torch.randn(codes, dim) / dim**0.5
        self.codebook = nn.Parameter(start, requires_grad=decay is None)
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", start.clone())

    def forward(self, z: Float[Tensor, "b *s d"]) -> Quantized:
        """Codes, the vectors they stand for, and |sg(z) - e|^2 and |z - sg(e)|^2 (weight the latter by beta, 0.25
        there).
        """
        z = z.to(self.codebook.dtype)
        indices = nearest(z.detach(), self.codebook.detach())
        code = self.codebook[indices]
        if self.decay is not None and self.training:
            self._follow(z.detach().flatten(0, -2), indices.flatten())
        learn = sum_except_batch((z.detach() - code).square())
        commit = sum_except_batch((z - code.detach()).square())
        passed = rotate_to(z, code.detach()) if self.rotation else straight_through(code.detach(), z)
        return Quantized(passed, indices, learn, commit)

    @torch.no_grad()
    def start(self, z: Float[Tensor, "b *s d"], *, steps: int = 10, generator: torch.Generator | None = None) -> None:
        """Put the codes, and their running means, at the ``kmeans`` centres of some vectors: no code is born dead."""
        pool = z.detach().flatten(0, -2).to(self.codebook.dtype)
        centres, counts = kmeans(pool, len(self.codebook), steps=steps, generator=generator)
        self.codebook.copy_(centres)
        self.counts.copy_(counts)
        self.sums.copy_(centres * self.counts[:, None])
        if _many():
            for kept in (self.codebook, self.counts, self.sums):
                distributed.broadcast(kept, 0)

    def decode(self, indices: Int[Tensor, "b *s"]) -> Float[Tensor, "b *s d"]:
        """The code vectors of ``indices``; IndexError for one that is no code."""
        return F.embedding(indices, self.codebook)

    @torch.no_grad()
    def _follow(self, z: Tensor, indices: Tensor) -> None:
        """Exponential moving means of counts and sums, Laplace-smoothed so that no count is zero (ibid., app. A.1)."""
        codes = len(self.codebook)
        counts = indices.bincount(minlength=codes).to(z.dtype)
        sums = torch.zeros_like(self.sums).index_add_(0, indices, z)
        if _many():  # every process keeps the books of the joined batch
            distributed.all_reduce(counts)
            distributed.all_reduce(sums)
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        total = self.counts.sum()
        smooth = (self.counts + self.smoothing) / (total + codes * self.smoothing) * total
        # A code that nothing chose lately keeps its place: its sum and its count fade at the same rate.
        moved = self.sums / smooth[:, None]
        self.codebook.copy_(torch.where(counts[:, None] > 0, moved, self.codebook))

    @torch.no_grad()
    def revive(
        self, z: Float[Tensor, "b *s d"], threshold: float = 1.0, *, generator: torch.Generator | None = None
    ) -> int:
        """Move every code whose running count is below ``threshold`` onto a random vector of z; returns how many
        moved.
        """
        require(self.decay is not None, "reviving needs running counts: construct with decay=0.99, say")
        require(threshold > 0, f"threshold must be positive, got {threshold}")
        require(
            z.numel() > 0 and z.shape[-1] == self.codebook.shape[1],
            f"expected vectors of {self.codebook.shape[1]} entries to move codes onto; got shape {tuple(z.shape)}",
        )
        dead = self.counts < threshold
        n = int(dead.sum())
        if n:
            pool = z.detach().flatten(0, -2).to(self.codebook.dtype)
            choice = random(torch.randint, len(pool), (n,), generator=generator, device=pool.device)
            self.codebook[dead] = pool[choice]
            self.sums[dead], self.counts[dead] = pool[choice] * threshold, torch.full_like(self.counts[dead], threshold)
            if _many():  # one process's vectors for all: the codebooks must stay equal
                for kept in (self.codebook, self.sums):
                    distributed.broadcast(kept, 0)
        return n


def _many() -> bool:
    """Whether several processes train one model; not every build of torch knows how."""
    return distributed.is_available() and distributed.is_initialized()


class FSQ(nn.Module):
    """Finite scalar quantisation: each of d numbers is squashed and rounded to its own few levels [Mentzer et al.
    2024].

    The codebook is the grid of product(levels) points: nothing to learn, nothing to die. Values lie in [-1, 1].
    """

    def __init__(self, levels: tuple[int, ...]):
        super().__init__()
        whole = all(int(n) == n for n in levels)
        require(
            len(levels) > 0 and whole and min(levels) >= 2, f"every dimension needs at least 2 levels, got {levels}"
        )
        self.levels = tuple(levels)
        size = torch.tensor(levels)
        self.register_buffer("size", size, persistent=False)
        self.register_buffer("stride", torch.cat([size.new_ones(1), size.cumprod(0)[:-1]]), persistent=False)

    @property
    def codes(self) -> int:
        """Number of codes: the product of the levels."""
        return int(self.size.prod())

    def forward(self, z: Float[Tensor, "b *s d"]) -> Quantized:
        """Round each entry to the nearest of its levels, straight-through; there is nothing to commit to: zero
        losses.
        """
        require(z.shape[-1] == len(self.levels), f"expected {len(self.levels)} entries a vector, got {z.shape[-1]}")
        z = z.to(torch.promote_types(z.dtype, torch.float32))  # bf16 cannot tell many levels apart
        unit = (torch.tanh(z) + 1) / 2
        digits = (unit * (self.size - 1)).round()
        hard = 2 * digits / (self.size - 1) - 1
        zero = z.new_zeros(len(z))
        return Quantized(straight_through(hard.detach(), 2 * unit - 1), self._index(digits.long()), zero, zero)

    def _index(self, digits: Int[Tensor, "*s d"]) -> Int[Tensor, "*s"]:
        return (digits * self.stride).sum(-1)

    def decode(self, indices: Int[Tensor, "*s"]) -> Float[Tensor, "*s d"]:
        """The grid point of each index: mixed-radix digits, the first dimension varying fastest.

        ValueError for an index that is no code.
        """
        inside = bool(((indices >= 0) & (indices < math.prod(self.levels))).all())
        require(inside, f"indices must lie in 0..{math.prod(self.levels) - 1}")
        digits = indices[..., None] // self.stride % self.size
        return 2 * digits / (self.size - 1) - 1
