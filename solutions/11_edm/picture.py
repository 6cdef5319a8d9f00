"""Draw the front picture of chapter 11: one network, three paths from noise, the same portrait at each end.

python solutions/11_edm/picture.py solutions/assets/11_edm.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from genmodels import core, diffusion, samplers, schedule, train

PATHS = {"VP": schedule.cosine(0.0), "straight": schedule.rectified(), "VE": schedule.edm()}
STEPS = 24
SHOWN = (0, 8, 11, 13, 15, 16, 17, 18, 20, 24)  # states, from noise to the portrait
FACES = (5, 11)  # which of the portraits of SEED
SEED = 3
ZOOM, MARGIN, LETTERS = 4, 96, 22


def journey(path: schedule.Schedule) -> Tensor:
    """The states of the chosen portraits on this path, (states, faces, 3, 16, 16) on [0, 1]."""
    network = train.load_pretrained("edm")
    denoise = diffusion.rescale(network, schedule.edm(), path)
    times = schedule.karras_grid(path, STEPS)
    noise = torch.randn(16, 3, 16, 16, generator=core.generator(SEED))[list(FACES)]
    start = path.at(times[0]).sigma * noise
    states = [start, *samplers.sample(samplers.heun(denoise, path), start, times)]
    return (torch.stack([states[k] for k in SHOWN]).clamp(-1, 1) + 1) / 2


def draw() -> Image.Image:
    """One row a path, with its name; the faces stand side by side."""
    rows = []
    for path in PATHS.values():
        tiles = F.pad(journey(path), (1, 1, 1, 1), value=1.0)  # states, faces, 3, 18, 18
        strips = [torch.cat(list(tiles[:, face]), 2) for face in range(len(FACES))]
        rows.append(torch.cat([strips[0], torch.ones(3, 18, 6), strips[1]], 2))
    sheet = (torch.cat(rows, 1).permute(1, 2, 0) * 255).byte().numpy()
    pictures = Image.fromarray(sheet.repeat(ZOOM, 0).repeat(ZOOM, 1))
    page = Image.new("RGB", (MARGIN + pictures.width, pictures.height), "white")
    page.paste(pictures, (MARGIN, 0))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(LETTERS)
    for row, name in enumerate(PATHS):
        middle = (row + 0.5) * page.height / len(PATHS)
        pen.text((MARGIN - 8, middle), name, "#222222", font, anchor="rm")
    return page


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    draw().quantize(192).save(path, optimize=True)
