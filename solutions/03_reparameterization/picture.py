"""Draw the front picture of chapter 03: the two ways to differentiate an average, and relaxed samples in a triangle.

python solutions/03_reparameterization/picture.py solutions/assets/03_reparameterization.png
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from coursekit import plot
from coursekit.plot.style import picture, style
from genmodels import core, estimators

LOGITS = torch.tensor([0.6, -0.4, 0.1], dtype=torch.float64)
PLACES = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.866]], dtype=torch.float64)
TEMPERATURES = (2.0, 0.5, 0.1)
SHIFT = 0.7


def bell(ax, title: str) -> Tensor:
    """A density before and after a small step of its mean, and five samples below; returns the samples."""
    x = torch.linspace(-3.4, 4.2, 300)
    for mean, colour in ((0.0, plot.NOISE), (SHIFT, plot.MODEL)):
        ax.plot(x, torch.exp(-((x - mean) ** 2) / 2), color=colour, lw=2)
    points = torch.tensor([-2.0, -1.1, -0.2, 0.8, 1.7])
    ax.scatter(points, torch.full_like(points, -0.25), s=30, color=plot.DATA, zorder=3)
    ax.set(ylim=(-0.62, 1.1), title=title)
    ax.axis("off")
    return points


def draw() -> Image.Image:
    """Five panels in a row."""
    arrow = {"arrowstyle": "->", "color": plot.GRADIENT, "lw": 2, "shrinkA": 0, "shrinkB": 0}
    with style():
        fig = picture(10, 2.1)
        ride, weigh, *triangles = fig.subplots(1, 5, width_ratios=[1.2, 1.2, 1, 1, 1])
        for p in bell(ride, "move the sample").tolist():
            ride.annotate("", (p + SHIFT, -0.25), (p, -0.25), arrowprops=arrow)
        for p in bell(weigh, "move its weight").tolist():
            if abs(p) < 0.5:  # its arrow would be all head
                continue
            weigh.annotate("", (p, -0.25 + 0.17 * p), (p, -0.25), arrowprops=arrow)
        for ax, tau in zip(triangles, TEMPERATURES, strict=True):
            z = (
                estimators.gumbel_softmax(LOGITS.expand(300, 3), tau, generator=core.generator(0))
                @ PLACES
            )
            ax.fill(*PLACES.T, fill=False, ec=plot.EXACT, lw=1)
            ax.scatter(z[:, 0], z[:, 1], s=9, color=plot.MODEL, edgecolor="white", lw=0.3, zorder=3)
            ax.set(aspect="equal", title=f"temperature {tau:g}")
            ax.axis("off")
        file = io.BytesIO()
        fig.savefig(file, format="png", dpi=120)
    return Image.open(file).convert("RGB")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    draw().quantize(64).save(path, optimize=True)
