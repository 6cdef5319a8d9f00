"""One Transformer for text and codes: causal or bidirectional, with any positions, condition, mask and cache."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from genmodels.core import holds, require
from genmodels.nets.positions import POSITIONS, rotate

__all__ = ["AdaBlock", "Attention", "Block", "KVCache", "Transformer"]


class KVCache:
    """Keys and values of the tokens read so far, in memory reserved once for ``max_len`` tokens.

    ``length`` counts the tokens kept. Setting it back forgets the later ones, which is how block diffusion looks at a
    noisy block many times and keeps only the finished one. A cache belongs to one batch of sequences.
    """

    def __init__(self, layers: int, batch: int, heads: int, max_len: int, head_dim: int, like: Tensor):
        shape = (layers, batch, heads, max_len, head_dim)
        self.keys, self.values = like.new_empty(shape), like.new_empty(shape)
        self.positions = torch.zeros(max_len, dtype=torch.long, device=like.device)
        self.max_len, self.length = max_len, 0

    def append(
        self, layer: int, k: Float[Tensor, "b h q e"], v: Float[Tensor, "b h q e"]
    ) -> tuple[Float[Tensor, "b h k e"], Float[Tensor, "b h k e"]]:
        """Write the new keys and values of a layer after the kept ones, and return all of them as views."""
        start, stop = self.length, self.length + k.shape[2]
        keys, values = self.keys[layer], self.values[layer]
        keys[:, :, start:stop] = k
        values[:, :, start:stop] = v
        return keys[:, :, :stop], values[:, :, :stop]


class Attention(nn.Module):
    """Multi-head self-attention, softmax(Q K^T / sqrt(e) + mask) V with e = d_model / heads [Vaswani et al. 2017].

    One matrix makes queries, keys and values, in this order (the layout of ``torch.nn.MultiheadAttention``).
    """

    def __init__(self, d_model: int, heads: int):
        super().__init__()
        require(d_model % heads == 0, f"d_model must be a multiple of heads; got d_model = {d_model}, heads = {heads}")
        self.heads, self.head_dim = heads, d_model // heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self,
        x: Float[Tensor, "b l d"],
        *,
        rotation: Float[Tensor, "2 l 1 1 e"] | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
        cache: KVCache | None = None,
        layer: int = 0,
    ) -> Float[Tensor, "b l d"]:
        """Mix the tokens; ``mask`` is True (or a finite number to add) where a query may look at a key."""
        b, l, d = x.shape
        qk, v = self.qkv(x).view(b, l, 3, self.heads, self.head_dim).split_with_sizes([2, 1], 2)
        if rotation is not None:
            qk = rotate(qk, rotation)
        q, k = qk.permute(2, 0, 3, 1, 4).unbind()  # each (b, heads, l, head_dim)
        v = v.squeeze(2).transpose(1, 2)
        if cache is not None:
            k, v = cache.append(layer, k, v)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.out(mixed.transpose(1, 2).reshape(b, l, d))


class Block(nn.Module):
    """Pre-norm block: attention moves information between tokens, the MLP works on each; both add to a residual."""

    affine = True  # the norms have their own scale and shift

    def __init__(self, d_model: int, heads: int, *, expansion: int = 4, dropout: float = 0.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(d_model, elementwise_affine=self.affine)
        self.attention = Attention(d_model, heads)
        self.norm2 = nn.LayerNorm(d_model, elementwise_affine=self.affine)
        self.mlp = nn.Sequential(
            nn.Linear(d_model, expansion * d_model, bias=False),
            nn.GELU(),
            nn.Linear(expansion * d_model, d_model, bias=False),
        )
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Float[Tensor, "b l d"], cond: Tensor | None = None, **attend) -> Float[Tensor, "b l d"]:  # noqa: ARG002
        """``attend`` holds the arguments of ``Attention.forward``, which names them; a plain block has no condition."""
        x = x + self.dropout(self.attention(self.norm1(x), **attend))
        return x + self.dropout(self.mlp(self.norm2(x)))


class AdaBlock(Block):
    """Block whose norms take scale and shift from a condition, and whose branches are gated [DiT, Peebles & Xie 2022].

    The gates start at zero (AdaLN-zero): every block begins as the identity.
    """

    affine = False

    def __init__(self, d_model: int, heads: int, cond_dim: int, *, expansion: int = 4, dropout: float = 0.0):
        super().__init__(d_model, heads, expansion=expansion, dropout=dropout)
        self.modulation = nn.Linear(cond_dim, 6 * d_model)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Float[Tensor, "b l d"], cond: Float[Tensor, "b #l c"], **attend) -> Float[Tensor, "b l d"]:
        """``cond`` is (b, 1, c), or (b, l, c) for a condition of each token."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(F.silu(cond)).chunk(6, -1)
        x = x + gate1 * self.dropout(self.attention(self.norm1(x) * (1 + scale1) + shift1, **attend))
        return x + gate2 * self.dropout(self.mlp(self.norm2(x) * (1 + scale2) + shift2))


def make_blocks(
    layers: int, d_model: int, heads: int, cond_dim: int | None = None, *, dropout: float = 0.0
) -> nn.ModuleList:
    """A stack of blocks, conditional where ``cond_dim`` is given.

    Matrices start at N(0, 0.02^2), and those that write to the residual smaller by sqrt(2 layers), so that its
    variance does not grow with depth [GPT-2, Radford et al. 2019, section 2.3].
    """

    def one() -> Block:
        if cond_dim is None:
            return Block(d_model, heads, dropout=dropout)
        return AdaBlock(d_model, heads, cond_dim, dropout=dropout)

    blocks = nn.ModuleList(one() for _ in range(layers))
    for block in blocks:
        for inner in (block.attention.qkv, block.mlp[0]):
            nn.init.normal_(inner.weight, std=0.02)
        for outer in (block.attention.out, block.mlp[2]):
            nn.init.normal_(outer.weight, std=0.02 / math.sqrt(2 * layers))
    return blocks


class Transformer(nn.Module):
    """Tokens to logits: embedding, blocks, norm, and the embedding again as output matrix (``tied``).

    vocab       number of symbols, a mask or start symbol included
    max_len     largest position + 1, and the capacity of the cache
    causal      a token sees itself and earlier ones; otherwise all (an explicit ``mask`` overrides both)
    positions   "rope", "sinusoidal", "learned", "alibi" or "none"
    cond_dim    size of the condition (a time or class embedding) that modulates every block; None for none
    """

    def __init__(
        self,
        vocab: int,
        d_model: int = 128,
        layers: int = 4,
        heads: int = 4,
        *,
        max_len: int = 256,
        causal: bool = True,
        positions: str = "rope",
        cond_dim: int | None = None,
        tied: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        require(positions in POSITIONS, f"positions must be one of {', '.join(POSITIONS)}; got {positions!r}")
        self.vocab, self.heads, self.max_len, self.causal = vocab, heads, max_len, causal
        self.embedding = nn.Embedding(vocab, d_model)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.positions = POSITIONS[positions](d_model, heads, max_len)
        self.blocks = make_blocks(layers, d_model, heads, cond_dim, dropout=dropout)
        self.norm = nn.LayerNorm(d_model)
        # A tied output has no parameter of its own, so a checkpoint holds the matrix once.
        self.head = None if tied else nn.Linear(d_model, vocab, bias=False)
        self.conditional = cond_dim is not None

    def cache(self, batch: int, max_len: int | None = None) -> KVCache:
        """An empty cache for ``batch`` sequences, on the device and in the precision of the weights."""
        weight = self.embedding.weight
        head_dim = weight.shape[1] // self.heads
        return KVCache(len(self.blocks), batch, self.heads, max_len or self.max_len, head_dim, weight)

    def forward(
        self,
        tokens: Int[Tensor, "b l"],
        *,
        positions: Int[Tensor, "l"] | None = None,
        mask: Bool[Tensor, "*b l k"] | None = None,
        cache: KVCache | None = None,
        cond: Float[Tensor, "b c"] | Float[Tensor, "b l c"] | None = None,
    ) -> Float[Tensor, "b l vocab"]:
        """Logits at every token; with a cache, ``tokens`` continue the ones read before.

        ``mask[i, j]`` is True where query i may look at key j (cached keys come first); ``positions`` default to the
        count from the start of the sequence. Raises ValueError where the sequence does not fit.
        """
        require(self.conditional == (cond is not None), "cond and cond_dim go together: give both or neither")
        x = self.embedding(tokens)
        here, seen = self._positions(tokens, positions, cache)
        if (added := self.positions.embedding(here)) is not None:
            x = x + added
        mask, causal = self._mask(mask, here, seen)
        rotation = self.positions.rotation(here)
        if cond is not None and cond.ndim == 2:
            cond = cond[:, None]
        for layer, block in enumerate(self.blocks):
            x = block(x, cond, rotation=rotation, mask=mask, causal=causal, cache=cache, layer=layer)
        if cache is not None:
            cache.length = len(seen)
        x = self.norm(x)
        return F.linear(x, self.embedding.weight) if self.head is None else self.head(x)

    def _positions(
        self, tokens: Tensor, positions: Tensor | None, cache: KVCache | None
    ) -> tuple[Int[Tensor, "l"], Int[Tensor, "k"]]:
        """Positions of the new tokens and of all keys, cached ones first."""
        l = tokens.shape[1]
        start = 0 if cache is None else cache.length
        if positions is None:
            require(start + l <= self.max_len, f"{start + l} tokens do not fit: max_len is {self.max_len}")
            positions = torch.arange(start, start + l, device=tokens.device)
        else:
            if not holds(positions < self.max_len):
                raise ValueError(f"position {int(positions.max())} is out of range: max_len is {self.max_len}")
        if cache is None:
            return positions, positions
        require(start + l <= cache.max_len, f"{start + l} tokens do not fit into a cache of {cache.max_len}")
        cache.positions[start : start + l] = positions
        return positions, cache.positions[: start + l]

    def _mask(self, mask: Tensor | None, here: Tensor, seen: Tensor) -> tuple[Tensor | None, bool]:
        """The mask that attention needs, and whether the plain causal one does; (None, False) is the fast path."""
        l, k = len(here), len(seen)
        bias = self.positions.bias(here, seen)
        if mask is None and self.causal and l > 1:
            if bias is None and l == k:
                return None, True
            mask = torch.ones(l, k, dtype=torch.bool, device=here.device).tril(k - l)
        if bias is None:
            return mask, False
        return (bias if mask is None else bias.masked_fill(~mask, -torch.inf)), False
