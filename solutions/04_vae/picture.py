"""Draw the front picture of chapter 04: what a VAE with two latents draws at each place of its plane.

python solutions/04_vae/picture.py solutions/assets/04_vae.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib.colors import to_rgb
from PIL import Image

from coursekit import plot
from genmodels import train, vae

ACROSS, UP = 24, 12  # digits; evenly spread in probability, the middle of the plane up and down
SIDE = 28


def draw(model: vae.VAE) -> Image.Image:
    """The decoder at the quantiles of the prior, the model's colour as ink."""
    across = torch.special.ndtri((torch.arange(ACROSS) + 0.5) / ACROSS)
    up = torch.special.ndtri((torch.arange(UP).flip(0) + 0.5) / UP)
    z = torch.stack(torch.meshgrid(up, across, indexing="ij")[::-1], -1).reshape(-1, 2)
    with torch.no_grad():
        ink = model.decoder(z).sigmoid().reshape(UP, ACROSS, SIDE, SIDE)
    sheet = ink.movedim(1, 2).reshape(UP * SIDE, ACROSS * SIDE, 1)
    colour = 1 - sheet * (1 - torch.tensor(to_rgb(plot.MODEL)))
    return Image.fromarray((colour * 255).byte().numpy())


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(train.load_pretrained("vae-2d")).quantize(24).save(path, optimize=True)
