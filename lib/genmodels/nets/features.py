"""A small convolutional network that learns features by recognising what is in our own pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from genmodels.core import require
from genmodels.nets.unet import GROUPS

__all__ = ["FeatureNet"]


class FeatureNet(nn.Module):
    """Pictures to the classes of one or several attributes, through one vector of ``dim`` features.

    channels, size   of the pictures, (channels, size, size), values on [0, 1]
    classes          number of classes of each attribute

    The features are what the last linear layer reads, so pictures that differ in what it was taught to tell apart lie
    apart. Distances in this space are not the FID, which means one particular network.
    """

    def __init__(self, channels: int, size: int, classes: Sequence[int], *, width: int = 32, dim: int = 64) -> None:
        super().__init__()
        require(size >= 4, f"pictures must have at least 4 pixels a side, which is quartered; got {size}")
        require(len(classes) > 0 and min(classes) >= 2, f"every attribute needs at least 2 classes; got {classes}")
        self.channels, self.size, self.classes, self.dim = channels, size, tuple(classes), dim
        layers: list[nn.Module] = []
        for c_in, c_out, stride in ((channels, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 2)):
            groups = math.gcd(GROUPS, c_out)
            layers += [nn.Conv2d(c_in, c_out, 3, stride, padding=1), nn.GroupNorm(groups, c_out), nn.SiLU()]
        side = (size + 3) // 4  # halved twice, rounding up
        # Where a part is matters as much as what it is, so positions are kept and not averaged away.
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(2 * width * side**2, dim))
        self.head = nn.Linear(dim, sum(self.classes))

    def features(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b dim"]:
        """The vector that describes each picture."""
        require(
            x.shape[1:] == (self.channels, self.size, self.size),
            f"expected pictures of shape (b, {self.channels}, {self.size}, {self.size}); got {tuple(x.shape)}",
        )
        return F.silu(self.body(2 * x - 1))

    def forward(self, x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b _"], ...]:
        """Logits of each attribute."""
        return self.head(self.features(x)).split(self.classes, 1)

    def loss(self, x: Float[Tensor, "b c h w"], labels: Int[Tensor, "b a"]) -> Float[Tensor, "b"]:
        """Sum over the attributes of the cross-entropy, in nats."""
        parts = zip(self(x), labels.unbind(1), strict=True)
        return sum(F.cross_entropy(logits, label, reduction="none") for logits, label in parts)

    def correct(self, x: Float[Tensor, "b c h w"], labels: Int[Tensor, "b a"]) -> Float[Tensor, "b a"]:
        """1 where the likeliest class is the right one, for each picture and attribute."""
        parts = zip(self(x), labels.unbind(1), strict=True)
        return torch.stack([(logits.argmax(1) == label).to(x.dtype) for logits, label in parts], 1)
