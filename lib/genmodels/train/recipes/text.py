"""Chapters 02, 14 and 15: one Transformer on Shakespeare's characters; causal, filling in masks, or block by block.

All of them are measured on the same characters: every one of the test plays' windows of ``LENGTH``, with nothing given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from genmodels import schedule
from genmodels.core import generator as seeded
from genmodels.core import require
from genmodels.nets import Transformer
from genmodels.text import block_logits, block_nll
from genmodels.train.muon import Muon
from genmodels.train.recipe import Profile, Recipe
from genmodels.train.settings import Settings

__all__ = [
    "BLOCKS",
    "LENGTH",
    "MASK",
    "RECIPES",
    "SYMBOLS",
    "adamw",
    "bits_per_character",
    "block_bound",
    "masked_bound",
    "masked_loss",
    "muon",
    "windows",
]

LENGTH = 128  # characters in a window
STRIDE = 16  # between the starts of two training windows
SYMBOLS = 69  # of the text; the mask is one more
MASK = SYMBOLS
BLOCKS = (1, 2, 4, 8, 16)  # each window draws a size, so that one network gives the whole curve
MEASURED_BLOCK = 4

Loss = Callable[..., Float[Tensor, "b"]]


def windows(split: str, length: int = LENGTH, stride: int = STRIDE) -> Int[Tensor, "n length"]:
    """Pieces of the plays that overlap, or follow each other where ``stride`` is the length."""
    from genmodels.data import shakespeare

    return shakespeare(split).tokens.unfold(0, length, stride)


def adamw(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Squared gradients remembered over a hundred small batches, and decay for a text of only a million letters."""
    return torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.99), weight_decay=0.1, fused=True)


def muon(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Muon for the hidden matrices, ``adamw`` for embeddings and norms.

    For the next character, after one that is given, 1,500 steps gave 2.474 bits of the test plays and 2,500 steps of
    ``adamw`` at lr 8e-3 gave 2.478, both +- 0.017, on one seed; a step takes 1.2 times as long. The embedding is the
    one matrix with a row for each symbol.
    """
    return Muon(parameters, lambda p: len(p) not in (SYMBOLS, SYMBOLS + 1), lr=lr)


def bits_per_character(nats: Float[Tensor, "n"]) -> float:
    """Mean nats of windows of ``LENGTH`` characters, as bits for each."""
    return nats.mean().item() / (LENGTH * math.log(2))


def _next_loss(model: nn.Module, x: Int[Tensor, "b more"]) -> Float[Tensor, "b"]:
    """-log p(x_1 .. x_l | x_0) of each window."""
    logits = model(x[:, :-1])
    return F.cross_entropy(logits.transpose(1, 2), x[:, 1:], reduction="none").sum(1)


def masked_loss(
    model: nn.Module, x: Int[Tensor, "b l"], mask: int = MASK, *, generator: torch.Generator | None = None
) -> Float[Tensor, "b"]:
    """Cross-entropy of masked characters, each weighing the same, at shares of masks stratified over the batch.

    The bound weighs a window by l / k, so that the few characters of lightly masked windows count most: true to the
    likelihood, but noisy. Every weight has the same best denoiser; with this one, 24 s of training on one core ended
    at a bound of 3.65 bits for each character, with the bound itself at 3.91. Scaled to its mean, for equal losses.
    """
    l = x.shape[1]
    share = schedule.uniform_times(len(x), generator=generator, device=x.device)
    hidden = _some((share * l).ceil(), x, generator)
    return 2 * l / (l + 1) * _hidden_nll(model(torch.where(hidden, mask, x)), x, hidden, mask).sum(1)


def _some(k: Tensor, x: Int[Tensor, "b l"], generator: torch.Generator | None) -> Bool[Tensor, "b l"]:
    """k tokens of each text, any k with the same chance."""
    order = torch.rand(x.shape, generator=generator, dtype=torch.float64, device=x.device).argsort(1).argsort(1)
    return order < k[:, None]


def _hidden_nll(
    logits: Float[Tensor, "b l v"], x: Int[Tensor, "b l"], hidden: Bool[Tensor, "b l"], mask: int
) -> Float[Tensor, "b l"]:
    """-log p of each hidden token, 0 at the others; no symbol is the mask, the last of them."""
    nll = F.cross_entropy(logits[..., :mask].flatten(0, 1), x.flatten(), reduction="none").view(x.shape)
    return torch.where(hidden, nll, 0.0)


def masked_bound(
    model: nn.Module, x: Int[Tensor, "b l"], mask: int = MASK, *, generator: torch.Generator | None = None
) -> Float[Tensor, "b"]:
    """``llada_nelbo`` of a network that fills in masks, with nothing written for the characters that are seen."""
    l = x.shape[1]
    k = torch.randint(1, l + 1, (len(x),), generator=generator, device=x.device)
    hidden = _some(k, x, generator)
    return l / k * _hidden_nll(model(torch.where(hidden, mask, x)), x, hidden, mask).sum(1)


def block_bound(
    model: nn.Module,
    x: Int[Tensor, "b l"],
    block: int | Int[Tensor, "b"],
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "b"]:
    """One-sample estimate of the block-diffusion bound on -log p(x) [BD3-LM, arXiv 2503.09573, eq. 8].

    In each block of n tokens the *number* of masks k is drawn, uniform on 1 .. n, and the loss weighted by n / k: the
    same mean as with a time for each block and less variance [LLaDA, arXiv 2502.09992, eq. 6]. With n = 1 nothing is
    left to chance: it is the autoregressive likelihood. A tensor of sizes gives each text its own; they must divide l.
    """
    l = x.shape[1]
    require(isinstance(block, Tensor) or l % block == 0, f"block must divide the length {l}; got {block}")
    draw = partial(torch.rand, x.shape, generator=generator, device=x.device)
    size = block[:, None] if isinstance(block, Tensor) else torch.full((1, 1), block, device=x.device)
    number = torch.arange(l, device=x.device) // size  # of the block that a token is in
    first = (number * size).expand(x.shape)
    k = (1 + draw().gather(1, first) * size).long().minimum(size)
    order = draw()
    earlier = (order[:, None] < order[:, :, None]) & (number[:, None] == number[:, :, None])
    hidden = earlier.sum(2) < k
    logits = block_logits(model, torch.where(hidden, MASK, x), x, block)
    return (size / k * _hidden_nll(logits, x, hidden, MASK)).sum(1)


def _block_loss(model: nn.Module, x: Int[Tensor, "b l"]) -> Float[Tensor, "b"]:
    """Sizes are stratified over the batch, which spreads the loss less than one size for all of it."""
    sizes = torch.tensor(BLOCKS, device=x.device)
    which = (schedule.uniform_times(len(x), device=x.device) * len(BLOCKS)).long().clamp_max(len(BLOCKS) - 1)
    return block_bound(model, x, sizes[which])


def _test_windows() -> Int[Tensor, "n length"]:
    """The characters that every recipe is measured on; windows do not overlap, so early ones have little before."""
    return windows("test", LENGTH, LENGTH)


@torch.no_grad()
def _causal_bits(model: nn.Module) -> float:
    """The first character has none before it: its cost is that of its share of the training plays."""
    from genmodels.data import shakespeare

    count = torch.bincount(shakespeare("train").tokens, minlength=SYMBOLS) + 1
    x = _test_windows()
    first = -(count / count.sum()).log()[x[:, 0]]
    return bits_per_character(first + torch.cat([_next_loss(model, part) for part in x.split(64)]))


@torch.no_grad()
def _masked_bits(model: nn.Module) -> float:
    """By the masked bound, its expectation over 4 random masks for each window."""
    draws = seeded(0)
    x = _test_windows().repeat(4, 1)
    return bits_per_character(torch.cat([masked_bound(model, part, generator=draws) for part in x.split(64)]))


@torch.no_grad()
def _block_bits(model: nn.Module) -> float:
    """By the bound of blocks of 4 without sampling noise."""
    x = _test_windows()
    return bits_per_character(torch.cat([block_nll(model, part, MEASURED_BLOCK, MASK) for part in x.split(64)]))


def _recipe(
    name: str,
    about: str,
    loss: Loss,
    metric: Callable[[nn.Module], float],
    metric_name: str,
    laptop: tuple[int, int, Settings],
    *,
    causal: bool = False,
    prepare: Callable[[nn.Module, Tensor], None] | None = None,
) -> Recipe:
    length = LENGTH + 1 if causal else LENGTH
    vocab = SYMBOLS if causal else SYMBOLS + 1

    def model(d_model: int, layers: int, heads: int, dropout: float = 0.0) -> Callable[[], nn.Module]:
        return partial(Transformer, vocab, d_model, layers, heads, max_len=2 * LENGTH, causal=causal, dropout=dropout)

    profiles: Mapping[str, Profile] = {
        "smoke": Profile(model(16, 1, 2), 12, Settings(steps=30, lr=1e-2, warmup=1, clip=100.0, ema=0.9)),
        "laptop": Profile(model(laptop[0], 4, 4), *laptop[1:]),
        "gpu": Profile(
            model(512, 8, 8, 0.1),
            256,
            Settings(steps=20_000, lr=6e-4, optimizer=adamw, schedule="cosine", warmup=1000, clip=CLIP, ema=0.999,
                     precision="bf16-mixed", compile=True),
        ),
    }  # fmt: skip
    data = partial(windows, "train", length)
    return Recipe(
        name, about, data, loss, metric, metric_name, profiles, prepare=prepare, unit="characters", units=LENGTH
    )


CLIP = 100.0  # of a gradient that sums over the 128 characters of a window


def _laptop(d_model: int, steps: int, batch: int, lr: float) -> tuple[int, int, Settings]:
    """Many cheap steps of a narrow model and small batches learn more in a minute than few large ones (measured)."""
    how = Settings(steps=steps, lr=lr, optimizer=muon, schedule="cosine", warmup=steps // 20, clip=CLIP)
    return d_model, batch, how


@torch.no_grad()
def start_from_causal(model: Transformer, batch: Tensor) -> None:  # noqa: ARG001
    """The weights of the ready ``char_transformer`` where its width is the model's; the mask's vector stays as drawn.

    A network that writes one character after the other is most of one that writes blocks [Fast-dLLM v2, arXiv
    2509.26328]: after 1,000 steps 2.88 bits of the valid plays in blocks of 4, and 2.97 from fresh weights.
    """
    from genmodels.train.weights import read_weights

    weights, own = read_weights("char_transformer")[0], model.state_dict()
    embedding = weights.pop("embedding.weight")
    if embedding.shape[1] == model.embedding.embedding_dim:
        own["embedding.weight"][:SYMBOLS] = embedding
        model.load_state_dict(own | weights)


RECIPES = (
    _recipe(
        "char_transformer",
        "next character of Shakespeare (arXiv 1706.03762)",
        _next_loss,
        _causal_bits,
        "test bits per character",
        _laptop(96, 1500, 8, 0.02),
        causal=True,
    ),
    _recipe(
        "masked_text",
        "masked characters of Shakespeare (arXiv 2502.09992)",
        masked_loss,
        _masked_bits,
        "test bits per character (bound)",
        _laptop(96, 1500, 16, 0.02),
    ),
    _recipe(
        "block_text",
        "blocks of 1 to 16 characters of Shakespeare, masked diffusion inside (arXiv 2503.09573)",
        _block_loss,
        _block_bits,
        f"test bits per character (bound, blocks of {MEASURED_BLOCK})",
        _laptop(96, 1000, 8, 0.02),
        prepare=start_from_causal,
    ),
)
