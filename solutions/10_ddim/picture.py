"""Draw the front picture of chapter 10: 1000 steps of DDPM, 20 of DDIM, and portraits that were asked for something.

python solutions/10_ddim/picture.py solutions/assets/10_ddim.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from genmodels import core, data, samplers, schedule, train
from genmodels.diffusion import conditioned, guided

COLUMNS, ZOOM, TOP, LABEL = 11, 4, 0.999, 190
SCALE = 4.0  # of guidance
WISHES = {"glasses": "dark03", "hat": "variant05"}


def rows() -> dict[str, Tensor]:
    """Portraits on [-1, 1] by what was done."""
    net = train.load_pretrained("ddpm")

    def draw(steps: int, eta: float, denoise=net) -> Tensor:
        g = core.generator(10)
        x = torch.randn(COLUMNS, 3, 16, 16, generator=g)
        times = schedule.uniform_grid(net.schedule, steps, start=TOP)
        step = samplers.ddim(denoise, net.schedule, eta, generator=g)
        return samplers.last(samplers.sample(step, x, times))

    out = {"DDPM, 1000 steps": draw(1000, 1.0), "DDIM, 20 steps": draw(20, 0.0)}
    words = data.portraits("test").words
    for name, word in WISHES.items():
        labels = torch.full((COLUMNS, len(words)), -1)
        labels[:, list(words).index(name)] = words[name].index(word)
        denoise = guided(
            conditioned(net, labels), conditioned(net, torch.full_like(labels, -1)), SCALE
        )
        out[f"the same, asked for {'a hat' if name == 'hat' else name}"] = draw(20, 0.0, denoise)
    return out


def sheet(named: dict[str, Tensor]) -> Image.Image:
    """One labelled row for each name."""
    strips = [
        F.pad((x + 1) / 2, (1, 1, 1, 1), value=1.0).movedim(0, 2).flatten(2, 3)
        for x in named.values()
    ]
    pixels = (torch.cat(strips, 1).clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
    faces = Image.fromarray(pixels.repeat(ZOOM, 0).repeat(ZOOM, 1))
    out = Image.new("RGB", (LABEL + faces.width, faces.height), "white")
    out.paste(faces, (LABEL, 0))
    pen, font, height = ImageDraw.Draw(out), ImageFont.load_default(15), faces.height // len(named)
    for k, name in enumerate(named):
        pen.text(
            (LABEL - 12, (k + 0.5) * height),
            name.replace(", asked", ",\nasked"),
            "#222222",
            font,
            "rm",
            align="right",
        )
    return out


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        sheet(rows()).quantize(96).save(path, optimize=True)
