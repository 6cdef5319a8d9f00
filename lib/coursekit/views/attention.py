"""Attention as chapter 02 builds it: what its labs use until a student's own is written."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["decode_step", "relative_bias"]


def relative_bias(table: Float[Tensor, "h n"], l: int) -> Float[Tensor, "h l l"]:
    """table[h, min(i - j, n - 1)] for query i and key j, -inf where j > i: a number for each distance [T5]."""
    i = torch.arange(l)
    far = torch.cat([table, table[:, -1:].expand(-1, l)], 1)
    return far[:, (i[:, None] - i).abs()].masked_fill(i[:, None] < i, -torch.inf)


def decode_step(
    x: Float[Tensor, "b d"],
    past: tuple[Float[Tensor, "b h t e"], Float[Tensor, "b h t e"]] | None,
    w_qkv: Float[Tensor, "three_d d"],
    w_out: Float[Tensor, "d d"],
    heads: int,
    turn: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Float[Tensor, "b d"], tuple[Tensor, Tensor]]:
    """Attention at one new position after the remembered keys and values: the output, and what to remember."""
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, -1).unbind(1)
    at = torch.tensor([0 if past is None else past[0].shape[2]])
    new = turn(k, at), v
    k, v = new if past is None else (torch.cat(pair, 2) for pair in zip(past, new, strict=True))
    mixed = F.scaled_dot_product_attention(turn(q, at), k, v)
    return F.linear(mixed.reshape(b, d), w_out), (k, v)
