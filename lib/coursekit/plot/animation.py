"""Moving pictures: frames into one GIF that plays anywhere, with no player and no JavaScript."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from genmodels.core import require

from .style import PIXELS, Picture

__all__ = ["Animation", "animate", "rgb"]


def rgb(frame: Picture | Tensor | np.ndarray, zoom: int = 1) -> np.ndarray:
    """A frame as (h, w, 3) bytes: a Picture at page size, or an array (c, h, w) or (h, w) in [0, 1], enlarged."""
    if isinstance(frame, Picture):
        file = io.BytesIO()
        frame.savefig(file, format="png", dpi=PIXELS)
        return np.asarray(Image.open(file).convert("RGB"))
    x = np.asarray(frame.detach().cpu() if isinstance(frame, Tensor) else frame, dtype=float)
    x = x[None] if x.ndim == 2 else x
    require(x.ndim == 3 and x.shape[0] in (1, 3), f"a frame must be (h, w), (1, h, w) or (3, h, w); got {x.shape}")
    x = np.broadcast_to(x, (3, *x.shape[1:])).transpose(1, 2, 0)
    return (x.clip(0, 1) * 255).round().astype(np.uint8).repeat(zoom, 0).repeat(zoom, 1)


class Animation:
    """Frames of equal size, shown one after the other; ``alt`` describes them."""

    def __init__(self, frames: list[np.ndarray], alt: str, fps: float, hold: float) -> None:
        self.frames, self.alt, self.fps, self.hold = frames, alt, fps, hold

    def gif(self) -> bytes:
        """The animation as an endless GIF of 128 colours that rests on its last frame."""
        pages = [Image.fromarray(f).quantize(128, dither=Image.Dither.NONE) for f in self.frames]
        return self._endless(pages, "GIF", comment=self.alt.encode())

    def webp(self) -> bytes:
        """The animation as an endless lossless WebP: all colours, and about a third of the GIF's size."""
        return self._endless([Image.fromarray(f) for f in self.frames], "WEBP", lossless=True, method=4)

    def _endless(self, pages: list[Image.Image], kind: str, **options: Any) -> bytes:
        times = [round(1000 / self.fps)] * (len(pages) - 1) + [round(1000 * self.hold)]
        file = io.BytesIO()
        pages[0].save(file, kind, save_all=True, append_images=pages[1:], duration=times, loop=0, **options)
        return file.getvalue()

    def save(self, path: str | Path) -> None:
        """Write it: as WebP where the name ends in .webp, as GIF where it ends in .gif."""
        kinds = {".gif": self.gif, ".webp": self.webp}
        suffix = Path(path).suffix
        require(suffix in kinds, f"an animation is saved as .gif or .webp; got {str(path)!r}")
        Path(path).write_bytes(kinds[suffix]())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        source = base64.b64encode(self.gif()).decode()
        image = f'<img alt="{html.escape(self.alt)}" src="data:image/gif;base64,{source}">'
        return {"text/html": image, "text/plain": self.alt}


def animate(
    frames: Iterable[Picture | Tensor | np.ndarray], alt: str, fps: float = 8.0, hold: float = 1.5, zoom: int = 1
) -> Animation:
    """Frames (Pictures, or arrays in [0, 1]) as an animation; ``hold`` seconds on the last; ``alt`` is required."""
    require(bool(alt.strip()), "an animation needs a text alternative: say in `alt` what happens in it")
    require(fps > 0, f"fps must be positive; got {fps}")
    pages = [rgb(f, zoom) for f in frames]
    require(bool(pages), "an animation needs at least one frame")
    require(len({p.shape for p in pages}) == 1, "all frames of an animation must have one size")
    return Animation(pages, alt, fps, hold)
