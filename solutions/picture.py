"""Draw the animation that heads the README: one network, trained on a laptop, turns noise into portraits.

python solutions/picture.py solutions/assets/noise_to_portraits.webp
"""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
from torch import Tensor

from coursekit import plot
from genmodels import core, diffusion, samplers, schedule, train

ROWS, COLUMNS, ZOOM, GAP = 3, 12, 4, 1
STEPS, SEED, LEVELS = (
    32,
    7,
    16,
)  # so many levels a colour while noise hides them: a third of the bytes
ALT = "Thirty-six squares of coloured noise become portraits of 16 by 16 pixels, some with hats, some with glasses."


def portraits() -> list[Tensor]:
    """States (n, 3, 16, 16) from noise to data: chapter 11's network on chapter 12's straight path."""
    model = train.load_pretrained("edm")
    straight, trained = schedule.rectified(), model.schedule
    denoise = diffusion.rescale(model, trained, straight)
    noise = torch.randn(ROWS * COLUMNS, 3, 16, 16, generator=core.generator(SEED))
    times = [0.999 * (1 - k / STEPS) ** 1.2 for k in range(STEPS + 1)]
    with torch.inference_mode():
        return [noise, *samplers.sample(samplers.heun(denoise, straight), noise, times)]


def sheet(x: Tensor, levels: int = 256) -> Tensor:
    """Portraits in [-1, 1] as one picture (3, h, w) in [0, 1], white between them."""
    x = ((x / 2 + 0.5).clamp(0, 1) * (levels - 1)).round() / (levels - 1)
    x = F.pad(x, (GAP, GAP, GAP, GAP), value=1.0)
    n, c, h, w = x.shape
    return (
        x.reshape(ROWS, COLUMNS, c, h, w).permute(2, 0, 3, 1, 4).reshape(c, ROWS * h, COLUMNS * w)
    )


def main(path: str) -> None:
    """Write the animation."""
    *noisy, last = portraits()
    frames = [*(sheet(x, LEVELS) for x in noisy[:-4]), *map(sheet, noisy[-4:]), sheet(last)]
    plot.animate(frames, ALT, fps=12, hold=3.0, zoom=ZOOM).save(path)


if __name__ == "__main__":
    main(sys.argv[1])
