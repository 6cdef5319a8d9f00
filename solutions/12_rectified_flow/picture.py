"""Draw the front picture of chapter 12: lines that cross, roads that bend, and the straight roads of the reflow.

python solutions/12_rectified_flow/picture.py solutions/assets/12_rectified_flow.png
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
from genmodels import core, samplers, schedule, toy

ROADS = 170
STEPS = 200


def roads() -> dict[str, Tensor]:
    """Walks (k, n, 2) from the same noises: to random partners, along the exact field, straight to its ends."""
    data, path = toy.face(), schedule.rectified()
    eps = torch.randn(ROADS, 2, generator=core.generator(5), dtype=torch.float64)
    partners = data.sample(ROADS, generator=core.generator(6))[0]
    times = schedule.uniform_grid(path, STEPS, stop=0.002)
    step = samplers.euler(data.velocity(path))
    walked = torch.stack([eps, *samplers.sample(step, eps, times)])
    return {
        "random pairs: lines cross": torch.stack([eps, partners]),
        "the average: roads bend": walked,
        "reflow: straight to the end": walked[[0, -1]],
    }


def draw() -> Image.Image:
    """Three panels side by side."""
    with style():
        fig = picture(8.6, 3.1)
        fig.get_layout_engine().set(h_pad=0.1)
        for ax, (name, states) in zip(fig.subplots(1, 3), roads().items(), strict=True):
            for k in range(ROADS):
                ax.plot(*states[:, k].T, color=plot.GRADIENT, lw=0.5, alpha=0.6, zorder=1)
            ax.scatter(*states[0].T, s=7, color=plot.NOISE, lw=0, zorder=2)
            ax.scatter(*states[-1].T, s=13, color=plot.MODEL, lw=0, zorder=3)
            ax.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=(), yticks=())
            ax.set_title(name, loc="center", fontsize=11)
            ax.spines[:].set_visible(False)
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=130)
    return Image.open(file).convert("RGB")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    draw().quantize(64).save(path, optimize=True)
