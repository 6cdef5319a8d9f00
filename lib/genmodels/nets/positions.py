"""Where a token sits: five ways to tell a Transformer, behind one interface of three hooks.

Attention is blind to order: without help, permuting the tokens permutes the outputs. Help can enter in three places,
and each scheme uses exactly one of them: it adds a vector to the token (sinusoidal, learned), rotates queries and keys
(RoPE), or adds a number to the attention logits (ALiBi).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genmodels.core import require, to_float64_device

__all__ = ["POSITIONS", "Positions", "alibi_slopes", "rope", "rope_table", "rotate", "sinusoidal"]


def frequencies(dim: int, base: float = 10_000.0) -> Float[Tensor, "half"]:
    """Angles per position, from 1 down to almost 1/base: base^(-2j/dim), j = 0 .. dim/2 - 1, in float64."""
    require(dim % 2 == 0, f"dim must be even, one angle for each pair of features; got {dim}")
    return base ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)


def sinusoidal(positions: Tensor, dim: int, base: float = 10_000.0) -> Float[Tensor, "*l dim"]:
    """Sines then cosines of the position at dim/2 frequencies [Vaswani et al. 2017, section 3.5].

    Works for real-valued positions too, so the same function embeds a diffusion time (scaled by the caller).
    """
    at = to_float64_device(positions)
    angle = at[..., None] * frequencies(dim, base).to(at.device)
    return torch.cat([angle.sin(), angle.cos()], -1).to(positions.device, torch.get_default_dtype())


def rope_table(positions: Int[Tensor, "l"], dim: int, base: float = 10_000.0) -> Float[Tensor, "2 l dim"]:
    """Cosines and signed sines with which ``rotate`` turns feature pair (j, j + dim/2) by position * frequency_j."""
    at = to_float64_device(positions).double()
    angle = at[:, None] * frequencies(dim, base).to(at.device)
    cos, sin = angle.cos(), angle.sin()
    table = torch.stack([torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)])
    return table.to(positions.device, torch.get_default_dtype())


def rotate(x: Float[Tensor, "*b dim"], table: Float[Tensor, "2 *l dim"]) -> Float[Tensor, "*b dim"]:
    """Rotate every pair (x_j, x_{j + dim/2}): rolling by half swaps the members, the table holds the signs."""
    cos, sin = table.unbind()
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def rope(x: Float[Tensor, "*b l dim"], positions: Int[Tensor, "l"], base: float = 10_000.0) -> Tensor:
    """Rotary position embedding, half-split layout: pair j turns by e^{i m theta_j} at position m.

    <rope(q, m), rope(k, n)> depends on m - n only [Su et al. 2021, eq. 16].
    """
    return rotate(x, rope_table(positions, x.shape[-1], base).to(x))


def alibi_slopes(heads: int) -> Float[Tensor, "heads"]:
    """Penalty per step of distance for each head: 2^(-8 h / heads), h = 1 .. heads [Press et al. 2021, section 3]."""
    return 2.0 ** (-8.0 * torch.arange(1, heads + 1) / heads)


class Positions(nn.Module):
    """No position information; the other schemes override the one hook they use.

    Each is built from (d_model, heads, max_len), whether it needs them or not.
    """

    def __init__(self, d_model: int, heads: int, max_len: int):
        super().__init__()
        self.d_model, self.heads, self.max_len = d_model, heads, max_len

    def embedding(self, positions: Int[Tensor, "l"]) -> Float[Tensor, "l d"] | None:  # noqa: ARG002
        """Vector added to the token at each position."""
        return None

    def rotation(self, positions: Int[Tensor, "l"]) -> Float[Tensor, "2 l 1 1 e"] | None:  # noqa: ARG002
        """Table for ``rotate``, shaped for queries and keys stacked as (b, l, 2, heads, e)."""
        return None

    def bias(self, queries: Int[Tensor, "q"], keys: Int[Tensor, "k"]) -> Float[Tensor, "heads q k"] | None:  # noqa: ARG002
        """Number added to the attention logit of query and key, for each head."""
        return None


class Sinusoidal(Positions):
    """Fixed sines and cosines added to the token."""

    def __init__(self, d_model: int, heads: int, max_len: int):
        super().__init__(d_model, heads, max_len)
        self.register_buffer("table", sinusoidal(torch.arange(max_len), d_model), persistent=False)

    def embedding(self, positions: Int[Tensor, "l"]) -> Float[Tensor, "l d"]:
        """Row of the fixed table."""
        return self.table[positions]


class Learned(Positions):
    """One free vector a position added to the token; positions not seen in training stay random."""

    def __init__(self, d_model: int, heads: int, max_len: int):
        super().__init__(d_model, heads, max_len)
        self.table = nn.Parameter(0.02 * torch.randn(max_len, d_model))

    def embedding(self, positions: Int[Tensor, "l"]) -> Float[Tensor, "l d"]:
        """Row of the learned table."""
        return self.table[positions]


class Rope(Positions):
    """Rotary embedding: queries and keys turn with their position, values do not."""

    def __init__(self, d_model: int, heads: int, max_len: int):
        super().__init__(d_model, heads, max_len)
        self.register_buffer("table", rope_table(torch.arange(max_len), d_model // heads), persistent=False)

    def rotation(self, positions: Int[Tensor, "l"]) -> Float[Tensor, "2 l 1 1 e"]:
        """Rows of the precomputed table; the head dimension sets the angles, not d_model."""
        return self.table[:, positions, None, None]


class Alibi(Positions):
    """Attention with linear biases: a logit falls in proportion to the distance, faster in some heads than in others.

    The distance is absolute, so the same scheme serves a bidirectional model.
    """

    def __init__(self, d_model: int, heads: int, max_len: int):
        super().__init__(d_model, heads, max_len)
        self.register_buffer("slopes", alibi_slopes(heads), persistent=False)

    def bias(self, queries: Int[Tensor, "q"], keys: Int[Tensor, "k"]) -> Float[Tensor, "heads q k"]:
        """-slope |m - n|."""
        return -self.slopes[:, None, None] * (queries[:, None] - keys[None]).abs()


POSITIONS = {"none": Positions, "sinusoidal": Sinusoidal, "learned": Learned, "rope": Rope, "alibi": Alibi}
