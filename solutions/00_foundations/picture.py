"""Draw the front picture of chapter 00: where the seventeen chapters lead.

python solutions/00_foundations/picture.py solutions/assets/00_foundations.png
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from matplotlib.axes import Axes
from PIL import Image

from coursekit import plot
from coursekit.plot.style import INK, Picture, picture, style
from genmodels import core, toy

# Each road: what its models do, and the chapters along it.
ROADS = (
    ("weigh it piece by piece", ((1, "autoregressive"), (2, "attention"))),
    ("suppose a hidden cause", ((3, "reparameterization"), (4, "VAE"))),
    ("never weigh: compare samples", ((5, "GAN"), (6, "Wasserstein GAN"))),
    ("compress, then generate", ((7, "VQGAN"),)),
    ("bend a simple density", ((8, "flows"),)),
    (
        "remove noise in small steps",
        ((9, "DDPM"), (10, "DDIM"), (11, "EDM"), (12, "rectified flow")),
    ),
    (
        "the same with words",
        ((13, "discrete diffusion"), (14, "masked diffusion"), (15, "block diffusion")),
    ),
)
LEFT, STEP, RIGHT = (
    2.3,
    1.76,
    10.0,
)  # where the roads begin, the distance of two chapters, where they meet
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 2.5}
GAP = 0.82  # height of a road


def disc(ax: Axes, x: float, y: float, number: int, size: float = 330, edge: str = INK) -> None:
    """A chapter: its number in a circle."""
    ax.scatter(x, y, s=size, color="white", edgecolor=edge, linewidth=1.6, zorder=3)
    ax.text(x, y - 0.01, f"{number:02d}", ha="center", va="center", fontsize=9.5, zorder=4)


def roads() -> Picture:
    """All chapters: one start, seven roads, one end."""
    with style():
        fig = picture(10.4, 5.6)
        fig.set_layout_engine("none")
        ax = fig.add_axes((0, 0, 1, 1))
        middle = -GAP * (len(ROADS) - 1) / 2
        for k, (what, chapters) in enumerate(ROADS):
            y = -GAP * k
            ends = [(0.95, middle), (LEFT - 0.75, y), (LEFT, y)]
            last = LEFT + STEP * (len(chapters) - 1)
            ends += [(last, y), (RIGHT - 0.95, y), (RIGHT, middle)]
            ax.plot(*zip(*ends), color=plot.NOISE, lw=1.4, zorder=1, solid_joinstyle="round")
            ax.text(LEFT - 0.13, y + 0.22, what, fontsize=9.5, color=plot.EXACT, fontweight="bold")
            for j, (number, name) in enumerate(chapters):
                x = LEFT + STEP * j
                disc(ax, x, y, number)
                ax.text(x + 0.19, y - 0.01, name, va="center", fontsize=9.5, bbox=PAPER, zorder=2)
        for x, colour, seed in ((0.72, plot.DATA, 3), (RIGHT, plot.MODEL, 4)):
            dots = toy.two_moons().sample(260, generator=core.generator(seed)).numpy()
            box = {"facecolor": "white", "edgecolor": "none", "boxstyle": "circle,pad=2.6"}
            ax.text(x, middle, " ", bbox=box, zorder=2)
            ax.scatter(
                x + 0.21 * dots[:, 0], middle + 0.21 * dots[:, 1], s=3, color=colour, zorder=3
            )
        disc(ax, 0.72, middle + 0.78, 0, edge=plot.DATA)
        disc(ax, RIGHT, middle + 0.78, 16, edge=plot.MODEL)
        ax.text(
            0.72,
            middle - 0.56,
            "samples of an\nunknown source",
            ha="center",
            va="top",
            fontsize=9,
            bbox=PAPER,
        )
        ax.text(
            RIGHT,
            middle - 0.56,
            "all models,\none leaderboard",
            ha="center",
            va="top",
            fontsize=9,
            bbox=PAPER,
        )
        ax.set(xlim=(-0.1, RIGHT + 0.9), ylim=(2 * middle - 0.35, 0.55))
        ax.axis("off")
    return fig


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = Image.open(io.BytesIO(roads().png())).convert("RGB")
    sheet.quantize(48).save(path, optimize=True)
