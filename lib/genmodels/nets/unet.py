"""The convolutional network of the image chapters: the same class on two CPU cores and on a large GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from genmodels.core import holds, require

__all__ = ["LabelEmbedding", "TimeEmbedding", "UNet"]

GROUPS = 8  # of channels that GroupNorm normalises together, where the width allows
HEAD = 32  # channels of an attention head, where the width allows


class TimeEmbedding(nn.Module):
    """A noise level as sines and cosines of geometrically spaced frequencies, then two linear layers.

    Meant for numbers of order 1: a time in [0, 1], or log(sigma)/4 [EDM, arXiv 2206.00364]. The frequencies run from
    half a turn over the unit interval to 256 of them: the slowest tells the ends apart, the fastest neighbouring steps.
    """

    def __init__(self, width: int, *, frequencies: int = 32) -> None:
        super().__init__()
        self.register_buffer("angular", math.pi * 256 ** torch.linspace(0, 1, frequencies), persistent=False)
        self.layers = nn.Sequential(nn.Linear(2 * frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b width"]:
        """One vector a sample."""
        angle = t[:, None] * self.angular.to(t.dtype)
        return self.layers(torch.cat([angle.sin(), angle.cos()], 1))


class LabelEmbedding(nn.Module):
    """Several attributes of a sample as the sum of one learned vector each; -1 means "not told".

    "Not told" has its own vector, which is what classifier-free guidance needs [arXiv 2207.12598].
    """

    def __init__(self, classes: Sequence[int], width: int) -> None:
        super().__init__()
        self.register_buffer("classes", torch.tensor(classes), persistent=False)
        self.table = nn.Embedding(int(sum(classes)) + len(classes), width)
        nn.init.normal_(self.table.weight, std=width**-0.5)
        starts = (self.classes + 1).cumsum(0) - self.classes  # row -1 of each attribute's part is "not told"
        self.register_buffer("starts", starts, persistent=False)

    def forward(self, labels: Int[Tensor, "b k"] | Int[Tensor, "b"] | None, b: int) -> Float[Tensor, "b width"]:
        """The sum of the attributes' vectors; ``labels=None`` tells nothing of any."""
        if labels is None:
            labels = self.classes.new_full((b, len(self.classes)), -1)
        labels = labels[:, None] if labels.ndim == 1 else labels
        require(
            labels.shape == (b, len(self.classes)),
            f"expected {len(self.classes)} labels for each of {b} samples; got {tuple(labels.shape)}",
        )
        good = (labels >= -1) & (labels < self.classes)
        if not holds(good):
            known, wrong = self.classes.tolist(), labels[~good.all(1)][:1].tolist()
            raise ValueError(f"labels must lie in -1..n-1 with n = {known} (-1: not told); got {wrong}")
        return self.table(self.starts + labels).sum(1)


class AdaptiveGroupNorm(nn.Module):
    """GroupNorm whose scale and shift come from the condition [Dhariwal & Nichol, arXiv 2105.05233, section 3]."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.groups = math.gcd(GROUPS, channels)
        self.affine = nn.Linear(condition, 2 * channels)

    def forward(self, x: Float[Tensor, "b c h w"], condition: Float[Tensor, "b d"]) -> Float[Tensor, "b c h w"]:
        """(1 + scale) * normalised + shift."""
        scale, shift = self.affine(condition)[:, :, None, None].chunk(2, 1)
        return torch.addcmul(shift, F.group_norm(x, self.groups), 1 + scale)


class ResidualBlock(nn.Module):
    """x + conv(silu(adaptive norm(conv(silu(norm(x)))))), the last convolution starting at zero."""

    def __init__(self, c_in: int, c_out: int, condition: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(math.gcd(GROUPS, c_in), c_in)
        self.first = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.adaptive = AdaptiveGroupNorm(c_out, condition)
        self.dropout = nn.Dropout(dropout)
        self.second = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Float[Tensor, "b i h w"], condition: Float[Tensor, "b d"]) -> Float[Tensor, "b o h w"]:
        """Same height and width."""
        h = self.first(F.silu(self.norm(x)))
        h = self.second(self.dropout(F.silu(self.adaptive(h, condition))))
        return self.skip(x) + h


class PixelAttention(nn.Module):
    """Every position looks at every other one: x + attention(norm(x)). Quadratic in positions, so for small maps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // HEAD) if channels % HEAD == 0 else 1
        self.norm = nn.GroupNorm(math.gcd(GROUPS, channels), channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Same shape."""
        b, c, h, w = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # b, h w, c: no copy when x is channels-last
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.out(mixed).transpose(1, 2).reshape(b, c, h, w)


class UNet(nn.Module):
    """Images and noise levels to images of the same shape: down, across and up again, with skips between.

    ``widths``: channels at each resolution, finest first; every level halves height and width (odd sizes round up).
    ``blocks``: residual blocks a level and direction. ``attention``: the levels that get self-attention, 0 the finest.
    ``classes``: numbers of values of the attributes it can be told. The output starts at zero.

    Small form, for two cores and 16 x 16: the default. Large form, for 32 x 32 on a GPU:
    ``UNet(3, widths=(192, 384, 384), blocks=3, attention=(1, 2), dropout=0.1)``.
    Skips are added, not concatenated [so the convolutions of the way up are half as wide], and only one block a level
    runs where the images are large. Structure after Ho et al. 2020, arXiv 2006.11239, appendix B.
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        widths: Sequence[int] = (32, 64, 128),
        blocks: int = 1,
        attention: Sequence[int] = (2,),
        classes: Sequence[int] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        levels = len(widths)
        require(channels >= 1 and blocks >= 1, f"channels and blocks must be at least 1; got {channels}, {blocks}")
        require(min(classes, default=1) >= 1, f"every attribute needs at least 1 class; got {tuple(classes)}")
        require(levels >= 1 and min(widths) >= 1, f"widths must name at least one positive width; got {tuple(widths)}")
        require(
            all(0 <= a < levels for a in attention),
            f"attention must name levels in 0..{levels - 1}; got {tuple(attention)}",
        )
        condition = 4 * widths[0]
        self.channels = channels
        self.time = TimeEmbedding(condition)
        self.labels = LabelEmbedding(classes, condition) if classes else None
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1)

        def stack(width: int, level: int) -> nn.ModuleList:
            layers: list[nn.Module] = []
            for _ in range(blocks):
                layers.append(ResidualBlock(width, width, condition, dropout))
                layers.append(PixelAttention(width) if level in attention else nn.Identity())
            return nn.ModuleList(layers)

        self.down = nn.ModuleList(stack(width, level) for level, width in enumerate(widths))
        self.shrink = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.up = nn.ModuleList(stack(width, level) for level, width in enumerate(widths))
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.norm = nn.GroupNorm(math.gcd(GROUPS, widths[0]), widths[0])
        self.out = nn.Conv2d(widths[0], channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        t: Float[Tensor, "b"],
        labels: Int[Tensor, "b k"] | Int[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """``t``: one noise level a sample (a time, or log(sigma)/4); ``labels``: attributes, -1 where not told."""
        require(
            x.ndim == 4 and x.shape[1] == self.channels,
            f"expected images of shape (b, {self.channels}, h, w); got {tuple(x.shape)}",
        )
        require(t.shape == x.shape[:1], f"expected one time for each of the {len(x)} images; got {tuple(t.shape)}")
        require(labels is None or self.labels is not None, "this UNet was built without classes, so it takes no labels")
        condition = self.time(t)
        if self.labels is not None:
            condition = condition + self.labels(labels, len(x))
        condition = F.silu(condition)
        h = self.stem(x.contiguous(memory_format=torch.channels_last))
        skips = []
        for level, layers in enumerate(self.down):
            if level:
                h = self.shrink[level - 1](h)
            h = self._run(layers, h, condition)
            skips.append(h)
        for level in reversed(range(len(self.up))):
            if level < len(skips) - 1:
                size = skips[level].shape[-2:]
                h = skips[level] + F.interpolate(self.grow[level](h), size=size, mode="nearest")
            h = self._run(self.up[level], h, condition)
        return self.out(F.silu(self.norm(h)))

    @staticmethod
    def _run(layers: nn.ModuleList, h: Tensor, condition: Tensor) -> Tensor:
        for layer in layers:
            h = layer(h, condition) if isinstance(layer, ResidualBlock) else layer(h)
        return h
