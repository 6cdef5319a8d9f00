"""A Transformer for pictures: patches as tokens, time and class as AdaLN condition (DiT)."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from genmodels.core import require
from genmodels.nets.positions import sinusoidal
from genmodels.nets.transformer import make_blocks

__all__ = ["DiT"]


class DiT(nn.Module):
    """Diffusion Transformer with AdaLN-zero [Peebles & Xie 2022]; the untrained network returns zero everywhere.

    size, channels   the picture is (channels, size, size)
    patch            side of a patch; size must be a multiple of it
    classes          number of class labels, or None; label ``classes`` is the empty one of classifier-free guidance
    """

    def __init__(
        self,
        size: int,
        channels: int,
        *,
        patch: int = 2,
        d_model: int = 128,
        layers: int = 4,
        heads: int = 4,
        classes: int | None = None,
    ):
        super().__init__()
        require(size % patch == 0, f"size must be a multiple of patch; got size = {size}, patch = {patch}")
        self.size, self.channels, self.patch, self.d_model, self.classes = size, channels, patch, d_model, classes
        pixels = channels * patch**2
        self.patches = nn.Linear(pixels, d_model)
        self.time = nn.Sequential(nn.Linear(d_model, d_model), nn.SiLU(), nn.Linear(d_model, d_model))
        self.label = None if classes is None else nn.Embedding(classes + 1, d_model)
        self.register_buffer("grid", self._grid(), persistent=False)
        self.blocks = make_blocks(layers, d_model, heads, cond_dim=d_model)
        self.norm = nn.LayerNorm(d_model, elementwise_affine=False)
        self.modulation = nn.Linear(d_model, 2 * d_model)
        self.out = nn.Linear(d_model, pixels)
        for zero in (self.modulation, self.out):
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)

    def _grid(self) -> Float[Tensor, "l d"]:
        """Half of the features tell a patch's row, half its column."""
        require(self.d_model % 4 == 0, f"d_model must be a multiple of 4, for rows and columns; got {self.d_model}")
        side = torch.arange(self.size // self.patch)
        one = sinusoidal(side, self.d_model // 2)
        n = len(side)
        return torch.cat([one[:, None].expand(n, n, -1), one[None].expand(n, n, -1)], -1).flatten(0, 1)

    def forward(
        self, x: Float[Tensor, "b c h w"], t: Float[Tensor, "b"], y: Int[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Prediction of the picture's shape at time t in [0, 1]; without ``y`` a class model uses the empty label."""
        require(x.shape[-2:] == (self.size, self.size), f"expected {self.size} pixels a side, got {tuple(x.shape)}")
        require(x.shape[1] == self.channels, f"expected {self.channels} channels, got {tuple(x.shape)}")
        require(t.shape == x.shape[:1], f"expected one time for each of the {len(x)} pictures; got {tuple(t.shape)}")
        require(y is None or self.label is not None, "this DiT was built without classes, so it takes no labels")
        # Times are spread over [0, 1000], where the sinusoidal frequencies were chosen to tell integers apart.
        cond = self.time(sinusoidal(1000 * t, self.d_model).to(x))
        if self.label is not None:
            cond = cond + self.label(torch.full_like(t, self.classes, dtype=torch.long) if y is None else y)
        cond = cond[:, None]
        tokens = rearrange(x, "b c (i p) (j q) -> b (i j) (p q c)", p=self.patch, q=self.patch)
        h = self.patches(tokens) + self.grid
        for block in self.blocks:
            h = block(h, cond)
        shift, scale = self.modulation(nn.functional.silu(cond)).chunk(2, -1)
        h = self.out(self.norm(h) * (1 + scale) + shift)
        n = self.size // self.patch
        return rearrange(h, "b (i j) (p q c) -> b c (i p) (j q)", i=n, j=n, p=self.patch, q=self.patch)
