"""Draw the front picture of chapter 09: noise at the left that becomes portraits at the right, by the ready weights.

python solutions/09_ddpm/picture.py solutions/assets/09_ddpm.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image

from genmodels import samplers, schedule, train
from genmodels.core import generator
from genmodels.diffusion import Denoiser

ROWS, STEPS, ZOOM = (14, 5, 1, 0), 100, 4
SHOWN = (0, 25, 45, 58, 68, 76, 83, 90, 95, 100)  # steps done
DRAWN = 16


def film(model: Denoiser) -> torch.Tensor:
    """Ancestral samples of which some rows are kept: (step, row, 3, 16, 16)."""
    random = generator(0)
    start = torch.randn(DRAWN, 3, 16, 16, generator=random)
    step = samplers.ddim(model, model.schedule, eta=1.0, generator=random)
    times = schedule.uniform_grid(model.schedule, STEPS)
    states = torch.stack([start, *samplers.sample(step, start, times)])
    return states[list(SHOWN)][:, list(ROWS)]


def draw(model: Denoiser) -> Image.Image:
    """One row for each portrait, time from left to right."""
    pages = F.pad(film(model) / 2 + 0.5, (1, 1, 1, 1), value=1.0).clamp(0, 1)
    sheet = pages.permute(1, 3, 0, 4, 2).flatten(2, 3).flatten(0, 1)
    pixels = (sheet * 255).byte().numpy()
    return Image.fromarray(pixels.repeat(ZOOM, 0).repeat(ZOOM, 1))


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(train.load_pretrained("ddpm")).quantize(128).save(path, optimize=True)
