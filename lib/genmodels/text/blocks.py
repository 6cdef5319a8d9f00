"""Block diffusion: autoregressive from block to block, masked diffusion inside one [BD3-LM, Arriola et al. 2025].

Any bidirectional ``Transformer`` (causal=False) over v symbols and the mask will do: the masks make it block-causal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genmodels.core import require, to_float64_device
from genmodels.discrete import exact_masked_nelbo, subs
from genmodels.nets.transformer import KVCache, Transformer
from genmodels.schedule import uniform_times
from genmodels.text.masks import block_causal_mask, two_stream_mask, two_stream_positions

__all__ = ["block_logits", "block_nll", "block_times", "generate_blocks", "write_blocks"]

Denoise = Callable[[Tensor, Tensor], Tensor]


def block_logits(
    model: Transformer, x_t: Int[Tensor, "b l"], x0: Int[Tensor, "b l"], block: int | Int[Tensor, "b"]
) -> Float[Tensor, "b l v"]:
    """Logits of all noisy blocks of x_t, each after the clean blocks of x_0 before it, in one pass of 2 l tokens.

    ``block`` is one size, or one for each text; sizes in a tensor must divide l and are not looked at.
    """
    require(x_t.shape == x0.shape, f"x_t and x0 must have one shape; got {tuple(x_t.shape)} and {tuple(x0.shape)}")
    l = x0.shape[1]
    mask = two_stream_mask(l, block, x0.device)
    mask = mask[:, None] if mask.ndim == 3 else mask  # the heads come before the tokens
    return model(torch.cat([x_t, x0], 1), mask=mask, positions=two_stream_positions(l, x0.device))[:, :l]


def block_times(
    b: int,
    l: int,
    block: int,
    *,
    low: float = 0.0,
    high: float = 1.0,
    generator: torch.Generator | None = None,
    device: str | torch.device = "cpu",
) -> Float[Tensor, "b l"]:
    """One time for each block, stratified over the batch's blocks, repeated for its tokens; in (low, high].

    Narrower limits (clipped noise, section 5.2) train with less variance; only (0, 1] makes the loss a bound.
    """
    require(0 <= low < high <= 1, f"times need 0 <= low < high <= 1; got {low}, {high}")
    require(l % block == 0, f"block must divide the length {l}; got {block}")
    u = to_float64_device(uniform_times(b * (l // block), generator=generator, device=device)).double()
    return (low + (high - low) * u).reshape(b, l // block).repeat_interleave(block, 1)


def block_nll(model: Transformer, x0: Int[Tensor, "b l"], block: int, mask: int) -> Float[Tensor, "b"]:
    """The bound on -log p(x_0) without sampling noise, by 2^block - 1 passes; block 1 is the exact AR likelihood."""
    return exact_masked_nelbo(lambda x_t: subs(block_logits(model, x_t, x0, block), x_t, mask), x0, mask, block=block)


@torch.inference_mode()
def generate_blocks(
    model: Transformer,
    prompt: Int[Tensor, "b l"],
    n: int,
    *,
    block: int,
    mask: int,
    unmask: Callable[[Denoise, Tensor], Tensor],
    stop: int | None = None,
    cached: bool = True,
) -> Iterator[Int[Tensor, "b k"]]:
    """Yield the text after each block is written, until the prompt has ``n`` more tokens.

    ``unmask(denoise, x)`` runs any masked sampler on one block, from its masks to its tokens, for example all steps of
    ``samplers.discrete.ancestral``. Finished blocks are read once and kept in the cache; this is exact, for they never
    look at later ones. Writing ends early when every text holds the token ``stop``. A last block may be cut short.
    """
    require(not model.causal, "block diffusion needs a bidirectional model: Transformer(..., causal=False)")
    require(block >= 1, f"block must be at least 1 token; got {block}")
    l = prompt.shape[1]
    full = -(-(l + n) // block) * block
    require(full <= model.max_len, f"{full} tokens (whole blocks) do not fit: max_len is {model.max_len}")
    text = prompt
    reader = (_CachedReader if cached else _Reader)(model, block, full)
    for start in range(l // block * block, l + n, block):
        reader.read(text[:, :start])
        x = unmask(lambda x, t: subs(reader.logits(x), x, mask), _masked_block(text, start, block, mask))  # noqa: ARG005
        text = torch.cat([text[:, :start], x], 1)[:, : l + n]
        yield text
        if stop is not None and bool((text[:, l:] == stop).any(1).all()):
            return


def write_blocks(
    read: Callable[[Tensor, Any], Any],
    ask: Callable[[Tensor, Any], Tensor],
    reveal: Callable[[Tensor, Tensor], Tensor],
    prompt: Int[Tensor, "b l"],
    n: int,
    block: int,
    mask: int,
) -> Int[Tensor, "b m"]:
    """The prompt with ``n`` more tokens, block after block, by any network with a memory.

    read    (block, memory) -> the longer memory; the first memory is None, and each finished block is read once
    ask     (block with masks, memory) -> what is known of its tokens, (b, block, v); keeps nothing
    reveal  (block, what was asked) -> the block with fewer masks
    """
    require(block >= 1, f"block must be at least 1 token; got {block}")
    done, memory, total = prompt[:, :0], None, prompt.shape[1] + n
    while done.shape[1] < total:
        x = _masked_block(prompt, done.shape[1], block, mask)
        while left := int((x == mask).sum()):
            x = reveal(x, ask(x, memory))
            require(int((x == mask).sum()) < left, f"reveal left all {left} masks of a block where they were")
        memory = read(x, memory)
        done = torch.cat([done, x], 1)
    return done[:, :total]


class _Reader:
    """Logits of a noisy block after a finished text, reading everything at each call."""

    def __init__(self, model: Transformer, block: int, full: int):  # noqa: ARG002 one signature for both readers
        self.model, self.block = model, block

    def read(self, text: Int[Tensor, "b k"]) -> None:
        """Take note of the finished blocks."""
        self.text = text

    def logits(self, x: Int[Tensor, "b block"]) -> Float[Tensor, "b block v"]:
        """Logits of the block x that follows."""
        both = torch.cat([self.text, x], 1)
        mask = block_causal_mask(both.shape[1], self.block, x.device)
        return self.model(both, mask=mask)[:, self.text.shape[1] :]


class _CachedReader:
    """The same, reading a finished block once and keeping its keys and values."""

    def __init__(self, model: Transformer, block: int, full: int):
        self.model, self.block, self.full = model, block, full
        self.cache: KVCache | None = None

    def read(self, text: Int[Tensor, "b k"]) -> None:
        """Read the blocks that are not in the cache yet."""
        if self.cache is None:
            self.cache = self.model.cache(len(text), self.full)
        known, k = self.cache.length, text.shape[1]
        if known < k:
            mask = block_causal_mask(k, self.block, text.device)[known:]
            self.model(text[:, known:], mask=mask, cache=self.cache)

    def logits(self, x: Int[Tensor, "b block"]) -> Float[Tensor, "b block v"]:
        """Logits of the block x that follows, whose keys and values are forgotten again: it is still noisy."""
        kept = self.cache.length
        logits = self.model(x, cache=self.cache)
        self.cache.length = kept
        return logits


def _masked_block(text: Tensor, start: int, block: int, mask: int) -> Int[Tensor, "b block"]:
    """The block at ``start``: what the text already holds of it (the end of a prompt), then masks."""
    head = text[:, start : start + block]
    return torch.cat([head, head.new_full((len(text), block - head.shape[1]), mask)], 1)
