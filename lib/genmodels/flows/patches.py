"""A flow of patches by a causal Transformer: autoregression over vectors, affine given the earlier ones (TarFlow)."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from genmodels.core import require
from genmodels.flows.bijection import Bijection, Chain, Flow
from genmodels.flows.elementwise import affine
from genmodels.flows.layers import Permute
from genmodels.nets.transformer import KVCache, make_blocks

__all__ = ["PatchAutoregressive", "Patches", "tarflow"]


class Patches(Bijection):
    """A picture (b, c, h, w) as its patches (b, n, c patch^2), row after row; volume preserving."""

    def __init__(self, shape: tuple[int, int, int], patch: int):
        super().__init__()
        c, h, w = shape
        require(h % patch == 0 and w % patch == 0, f"height and width must be divisible by {patch}, got {h} x {w}")
        self.patch, self.rows = patch, h // patch

    def forward_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(c, h, w) to (n, c patch^2)."""
        c, h, w = shape
        return h * w // self.patch**2, c * self.patch**2

    def forward(self, x: Float[Tensor, "b c h w"], context: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Cut."""
        return rearrange(x, "b c (i p) (j q) -> b (i j) (p q c)", p=self.patch, q=self.patch), x.new_zeros(len(x))

    def inverse(self, y: Float[Tensor, "b n d"], context: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Put together."""
        p, i = self.patch, self.rows
        return rearrange(y, "b (i j) (p q c) -> b c (i p) (j q)", p=p, q=p, i=i), y.new_zeros(len(y))


class PatchAutoregressive(Bijection):
    """Patch i is scaled and shifted by what a causal Transformer makes of patches 0 .. i-1 [TarFlow, Zhai et al. 2024,
    arXiv 2412.06329, eq. 4].

    (b, n, d) to the same shape: all patches at once, or one after the other with a cache for the inverse. Starts as the
    identity. A context (b, context) is added to every patch that the network reads.
    """

    def __init__(self, n: int, d: int, *, width: int = 64, layers: int = 2, heads: int = 4, context: int = 0):
        super().__init__()
        self.n, self.family, self.heads, self.context_dim = n, affine(), heads, context
        self.read = nn.Linear(d, width)
        # Row 0 stands for the start, before any patch; row i + 1 tells where patch i is.
        self.place = nn.Parameter(0.02 * torch.randn(n, width))
        self.told = nn.Linear(context, width) if context else None
        self.blocks = make_blocks(layers, width, heads)
        self.norm, self.write = nn.LayerNorm(width), nn.Linear(width, d * self.family.size)
        nn.init.zeros_(self.write.weight)
        nn.init.zeros_(self.write.bias)

    def _params(
        self, earlier: Float[Tensor, "b m d"], context: Tensor | None, start: int = 0, cache: KVCache | None = None
    ) -> Float[Tensor, "b m d size"]:
        """Parameters of patches start .. start + m - 1, from the patch before each (zeros before the first)."""
        h = self.read(earlier) + self.place[start : start + earlier.shape[1]]
        if self.told is not None:
            h = h + self.told(context)[:, None]
        for layer, block in enumerate(self.blocks):
            h = block(h, causal=cache is None, cache=cache, layer=layer)
        if cache is not None:
            cache.length += 1
        return self.write(self.norm(h)).unflatten(-1, (-1, self.family.size))

    def forward(self, x: Float[Tensor, "b n d"], context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All patches in one pass."""
        require(x.shape[1] == self.n, f"expected {self.n} patches, got {tuple(x.shape)}")
        before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
        y, log_slope = self.family.forward(x, self._params(before, context))
        return y, log_slope.flatten(1).sum(1)

    def inverse(self, y: Float[Tensor, "b n d"], context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One patch after the other."""
        like, graph = self.place, torch.is_grad_enabled()
        cache = KVCache(len(self.blocks), len(y), self.heads, self.n, like.shape[1] // self.heads, like.detach())
        x, total = torch.zeros_like(y[:, :1]), 0.0  # the start
        for i in range(self.n):
            # The cache is written in place, which a gradient does not survive: with one, everything is read again.
            params = self._params(x, context)[:, -1:] if graph else self._params(x[:, -1:], context, i, cache)
            new, log_slope = self.family.inverse(y[:, i : i + 1], params)
            x, total = torch.cat([x, new], 1), total + log_slope.flatten(1).sum(1)
        return x[:, 1:], total


def tarflow(
    shape: tuple[int, int, int],
    patch: int = 2,
    depth: int = 4,
    *,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    context: int = 0,
) -> Flow:
    """``depth`` Transformer couplings over the patches of a picture, the order turned round between them [Zhai et al.
    2024]; latents (n, c patch^2).
    """
    require(depth >= 1, f"at least 1 layer is needed, got {depth}")
    cut = Patches(shape, patch)
    n, d = cut.forward_shape(shape)
    parts: list[Bijection] = [cut]
    for i in range(depth):
        parts += [Permute(n)] if i else []
        parts.append(PatchAutoregressive(n, d, width=width, layers=layers, heads=heads, context=context))
    return Flow(Chain(*parts), (n, d))
