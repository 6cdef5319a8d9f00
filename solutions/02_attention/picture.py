"""Draw the front picture of chapter 02: where heads of the character model look before they write the next character.

python solutions/02_attention/picture.py solutions/assets/02_attention.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from coursekit import plot
from coursekit.plot.style import picture, style
from genmodels import data, nets, train

LINE = "To be, or not to be, that is the question: to b"
NEXT = "e"
ROWS = 5


@torch.no_grad()
def last_shares(model: nets.Transformer, tokens: Tensor) -> Tensor:
    """Where the last position looks, for every head: (layers * heads, l)."""
    x, m, shares = model.embedding(tokens)[None], torch.arange(len(tokens)), []
    for block in model.blocks:
        b, l, d = x.shape
        h = block.norm1(x)
        q, k, _ = block.attention.qkv(h).reshape(b, l, 3, model.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = nets.rope(q, m), nets.rope(k, m)
        scores = (q[:, :, -1:] @ k.mT)[0, :, 0] / q.shape[-1] ** 0.5
        shares.append(scores.softmax(-1))
        x = x + block.attention(h, rotation=model.positions.rotation(m), causal=True)
        x = x + block.mlp(block.norm2(x))
    return torch.cat(shares)


def unlike(shares: Tensor, count: int) -> list[int]:
    """Heads that look in different places: each next one overlaps least with those chosen before."""
    chosen = [int(shares.max(1).values.argmax())]
    while len(chosen) < count:
        overlap = torch.minimum(shares[:, None], shares[chosen][None]).sum(-1).amax(1)
        chosen.append(int(overlap.argmin()))
    return sorted(chosen)


def draw(model: nets.Transformer) -> plot.Picture:
    """One row a head: each character on a patch as blue as its share."""
    shares = last_shares(model, data.shakespeare("train").encode(LINE))
    with style():
        fig = picture(9, 2.6)
        ax = fig.subplots()
        for row, head in enumerate(unlike(shares, ROWS)):
            for i, c in enumerate(LINE):
                strength = float(shares[head, i] / shares[head].max())
                patch = {"boxstyle": "round,pad=0.02,rounding_size=0.15", "lw": 0}
                ax.add_patch(
                    FancyBboxPatch(
                        (i - 0.42, -row - 0.36), 0.84, 0.72, fc=plot.DATA, alpha=strength, **patch
                    )
                )
                ink = "white" if strength > 0.55 else "#222222"
                ax.text(
                    i,
                    -row,
                    c,
                    ha="center",
                    va="center",
                    fontfamily="monospace",
                    fontsize=12,
                    color=ink,
                )
            ax.text(
                len(LINE), -row, NEXT, ha="center", va="center", fontfamily="monospace", fontsize=12,
                fontweight="bold", color=plot.MODEL,
            )  # fmt: skip
            layer, inside = divmod(head, model.heads)
            ax.text(
                -1.2,
                -row,
                f"layer {layer + 1}, head {inside + 1}",
                ha="right",
                va="center",
                fontsize=9,
            )
        ax.set(xlim=(-9, len(LINE) + 0.6), ylim=(-ROWS + 0.4, 0.6))
        ax.axis("off")
    fig.alt = f"The line {LINE!r} five times; blue shows where five heads look before the next character, {NEXT!r}."
    return fig


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(draw(train.load_pretrained("char_transformer")).png())
