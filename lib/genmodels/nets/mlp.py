"""The plain fully connected network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from genmodels.core import require

__all__ = ["MLP"]


class MLP(nn.Module):
    """Linear layers with a nonlinearity between them: R^d_in -> R^d_out, over the last axis.

    ``hidden`` holds the widths between; an empty tuple gives one affine map. ``activation`` makes a fresh
    nonlinearity (a class such as ``nn.SiLU``).
    """

    def __init__(
        self, d_in: int, hidden: Sequence[int], d_out: int, *, activation: Callable[[], nn.Module] = nn.SiLU
    ) -> None:
        super().__init__()
        widths = [d_in, *hidden, d_out]
        require(min(widths) > 0, f"every width must be at least 1; got {widths}")
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Linear(a, b), activation()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Float[Tensor, "*b d_in"]) -> Float[Tensor, "*b d_out"]:
        """Apply the layers."""
        return self.layers(x)
