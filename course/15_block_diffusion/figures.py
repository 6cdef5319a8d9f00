"""The pictures of chapter 15: functions that return a figure with its description in ``fig.alt``."""

import torch
from torch import Tensor

from coursekit import plot
from coursekit.plot.style import picture, style


def draw_mask(ax, allowed: Tensor, n: int) -> None:
    """A mask of two streams: the blocks ruled, the quarters named."""
    l = len(allowed) // 2
    shades = torch.ones(2 * l, 2 * l, 3)
    for row, column, name in ((0, 0, "noise"), (0, 1, "data"), (1, 0, "gradient"), (1, 1, "exact")):
        quarter = allowed[row * l : (row + 1) * l, column * l : (column + 1) * l]
        tint = torch.tensor([int(plot.COLOURS[name][k : k + 2], 16) / 255 for k in (1, 3, 5)])
        part = shades[row * l : (row + 1) * l, column * l : (column + 1) * l]
        part[quarter] = 0.35 + 0.65 * tint if name != "exact" else 0.45 + 0.55 * tint
    ax.imshow(shades.numpy())
    for k in range(0, 2 * l + 1, n):
        for line in (ax.axhline, ax.axvline):
            line(k - 0.5, color="#999999", lw=0.5)
    for line in (ax.axhline, ax.axvline):
        line(l - 0.5, color="#222222", lw=1.5)
    ax.set(xticks=[l / 2 - 0.5, 1.5 * l - 0.5], yticks=[l / 2 - 0.5, 1.5 * l - 0.5])
    ax.set_xticklabels(["noisy", "clean"])
    ax.set_yticklabels(["noisy", "clean"], rotation=90, va="center")
    ax.set(xlabel="looked at", ylabel="who looks")


def mask_picture(allowed: Tensor, n: int) -> plot.Picture:
    """The mask of two streams alone."""
    l = len(allowed) // 2
    with style():
        fig = picture(5, 4.4, f"The mask of two streams: {l} tokens, blocks of {n}")
        draw_mask(fig.subplots(), allowed, n)
    fig.alt = (
        f"A square of {2 * l} by {2 * l} cells in four quarters, blocks of {n}. Of {4 * l * l} pairs, "
        f"{int(allowed.sum())} may look: {int(allowed[:l, :l].sum())} noisy at noisy, {int(allowed[:l, l:].sum())} "
        f"noisy at clean, {int(allowed[l:, :l].sum())} clean at noisy, {int(allowed[l:, l:].sum())} clean at clean."
    )
    return fig


def bits_against_block(
    lines: dict, levels: dict | None = None, title: str = "", alt: str = ""
) -> plot.Picture:
    """Bits for each symbol against the length of a block."""
    return plot.curves(
        lines,
        "length of a block",
        "bits a symbol",
        title,
        levels=levels,
        log="x",
        markers=True,
        alt=alt,
    )


def family(masks: dict[str, tuple[Tensor, int]]) -> plot.Picture:
    """Masks of two streams side by side, from the autoregressive end to the diffusion end."""
    with style():
        fig = picture(10, 3.7)
        for ax, (name, (allowed, n)) in zip(fig.subplots(1, len(masks)), masks.items()):
            draw_mask(ax, allowed, n)
            ax.set_title(name, fontsize=11)
    fig.alt = "Three square masks of attention in four quarters, noisy and clean tokens. With blocks of 1 a noisy token sees itself and the clean past, with blocks of 4 its own block and the clean blocks before, with one block of 16 all noisy tokens and nothing clean."
    return fig
