"""Who may look at whom: boolean attention masks, True where the query (row) may look at the key (column)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from genmodels.core import require

__all__ = ["block_causal_mask", "causal_mask", "two_stream_mask", "two_stream_positions"]


Device = str | torch.device


def _block_of(l: int, block: int | Int[Tensor, "b"], device: Device) -> Int[Tensor, "*b l"]:
    """The number of the block that each token is in; a row for each text where the sizes are a tensor."""
    place = torch.arange(l, device=device)
    if isinstance(block, Tensor):  # its values are not looked at: that would wait for the device
        return place // block.to(device)[:, None]
    require(1 <= block <= l and l % block == 0, f"block must divide the length {l}; got {block}")
    return place // block


def causal_mask(l: int, device: Device = "cpu") -> Bool[Tensor, "l l"]:
    """A token looks at itself and at earlier ones."""
    return torch.ones(l, l, dtype=torch.bool, device=device).tril()


def block_causal_mask(l: int, block: int, device: Device = "cpu") -> Bool[Tensor, "l l"]:
    """A token looks at all of its own block and of earlier ones: block 1 is causal, block l bidirectional."""
    b = _block_of(l, block, device)
    return b[:, None] >= b


def two_stream_mask(l: int, block: int | Int[Tensor, "b"], device: Device = "cpu") -> Bool[Tensor, "*b m m"]:
    """Mask for [noisy tokens, clean tokens] in one pass: every block learns at once [BD3-LM, Arriola et al. 2025, 3.2].

    A noisy block looks at itself and at the *clean* blocks before it; the clean stream is block-causal and never looks
    at noise. So a block's logits are those it would get when generated after its true predecessors. A tensor of sizes
    gives one mask a text.
    """
    b = _block_of(l, block, device)
    query, key = b[..., :, None], b[..., None, :]
    noisy_noisy = query == key
    noisy_clean = query > key
    clean_noisy = torch.zeros_like(noisy_noisy)
    clean_clean = query >= key
    return torch.cat([torch.cat([noisy_noisy, noisy_clean], -1), torch.cat([clean_noisy, clean_clean], -1)], -2)


def two_stream_positions(l: int, device: Device = "cpu") -> Int[Tensor, "m"]:
    """0 .. l-1 twice: a clean token sits where its noisy copy does."""
    return torch.arange(l, device=device).repeat(2)
