"""Draw the front picture of chapter 01: digits whose upper half is given and whose lower half a PixelCNN imagines.

python solutions/01_autoregressive/picture.py solutions/assets/01_autoregressive.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.colors import to_rgb
from PIL import Image
from torch import Tensor

from coursekit import plot
from genmodels import autoregressive as ar
from genmodels import core, data, train

TOP = 14  # rows that are given
CHOSEN = (1, 4, 11, 15, 61)  # test digits whose upper half leaves a doubt
ENDINGS = 10
ZOOM = 3


def colours(x: Tensor, given: Tensor) -> Tensor:
    """Pictures (..., 28, 28) as (..., 28, 28, 3): given ink blue on pale blue, drawn ink vermilion on white."""
    data_ink, model_ink = torch.tensor(to_rgb(plot.DATA)), torch.tensor(to_rgb(plot.MODEL))
    given = given[..., None]
    paper = torch.where(given, 0.92 + 0.08 * data_ink, torch.ones(3))
    return paper + x[..., None] * (torch.where(given, data_ink, model_ink) - paper)


def draw(model: ar.PixelCNN) -> Image.Image:
    """One row for each chosen digit: the whole digit, then so many endings of its upper half."""
    half = torch.zeros(28, 28, dtype=torch.bool)
    half[:TOP] = True
    rows = []
    for k in CHOSEN:
        whole = data.mnist("test", binary=True).x[k]
        clamp = torch.where(half, whole, torch.nan)
        endings = ar.sample(model, ENDINGS, clamp=clamp, generator=core.generator(k))
        given = torch.stack([torch.ones_like(half), *[half] * ENDINGS])
        row = colours(torch.cat([whole[None], endings])[:, 0], given)
        row = F.pad(row, (0, 0, 2, 2, 2, 2), value=1.0)
        rows.append(row.movedim(0, 1).flatten(1, 2))
    sheet = (torch.cat(rows).clamp(0, 1) * 255).byte().numpy()
    return Image.fromarray(sheet.repeat(ZOOM, 0).repeat(ZOOM, 1))


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(train.load_pretrained("pixelcnn")).quantize(64).save(path, optimize=True)
