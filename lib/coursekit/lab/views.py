"""How a state is shown: dots in the plane, a sheet of pictures, a page of tokens; each packs it into few bytes."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from genmodels.core import require
from genmodels.toy.shapes import grid

__all__ = ["Particles", "Pictures", "Tokens", "View"]

WIDE = 16  # dots are kept up to so many times the frame's limit: far enough that nobody sees them stop
SHADES = 144  # cells of the density along one side
LOST = -32768  # a dot that is not a number


class View(Protocol):
    """What the player asks of a view."""

    kind: str

    def pack(self, state: Any) -> tuple[np.ndarray, int]:
        """One state as small integers, and how many of its numbers are not finite. ValueError for a wrong shape."""

    def encode(self, frames: np.ndarray) -> tuple[dict[str, Any], bytes]:
        """Packed frames as bytes, and what is needed to read them."""

    def spec(self) -> dict[str, Any]:
        """What the page needs to know before any frame."""


def _array(state: Any) -> np.ndarray:
    if isinstance(state, Tensor):
        state = state.detach().cpu()
        return (state.float() if state.is_floating_point() else state).numpy()
    return np.asarray(state)


@dataclass(frozen=True)
class Particles:
    """Dots (n, 2) in a square from -limit to limit, over a density: a function of points (m, 2) that gives
    log-densities, or an array (h, w) of densities whose first row is the lowest; ``trails`` earlier frames as lines.
    """

    density: Callable[[Tensor], Tensor] | Tensor | np.ndarray | None = None
    limit: float = 4.0
    trails: int = 0
    kind = "particles"

    def __post_init__(self) -> None:
        require(self.limit > 0, f"limit must be positive; got {self.limit}")
        require(self.trails >= 0, f"trails must not be negative; got {self.trails}")

    def pack(self, state: Any) -> tuple[np.ndarray, int]:
        """Sixteen bits a coordinate: a step is a tenth of a pixel or less."""
        x = _array(state)
        require(
            x.ndim == 2 and x.shape[1] == 2 and len(x) > 0,
            f"lab.Particles shows states of shape (n, 2); got {tuple(x.shape)}",
        )
        fine = np.isfinite(x)
        q = np.where(fine, x, 0.0).clip(-WIDE * self.limit, WIDE * self.limit) * (32767 / (WIDE * self.limit))
        return np.where(fine.all(1, keepdims=True), q.round(), LOST).astype("<i2"), int((~fine).sum())

    def unpack(self, frames: np.ndarray) -> np.ndarray:
        """The coordinates that the page draws; lost dots are NaN."""
        return np.where(frames == LOST, np.nan, frames * (WIDE * self.limit / 32767))

    def encode(self, frames: np.ndarray) -> tuple[dict[str, Any], bytes]:
        """Frames (f, n, 2), and the size of one step."""
        return {"shape": list(frames.shape), "step": WIDE * self.limit / 32767}, frames.astype("<i2").tobytes()

    def shade(self) -> np.ndarray | None:
        """The density as (h, w) bytes from 0 to its highest value (outliers apart), top row first."""
        if self.density is None:
            return None
        if callable(self.density):
            points, _ = grid(self.limit, SHADES, dtype=torch.float32)
            with torch.no_grad():
                log_p = _array(self.density(points)).astype(float)
            require(log_p.size == SHADES**2, f"density must give one log-density a point; got shape {log_p.shape}")
            p = np.exp(log_p - log_p.max()).reshape(SHADES, SHADES)
        else:
            p = _array(self.density).astype(float)
            require(p.ndim == 2 and (p >= 0).all(), "density, as an array, is (h, w) and nowhere negative")
        top = np.quantile(p, 0.998) or p.max() or 1.0
        return (np.flipud(p / top).clip(0, 1) * 255).round().astype(np.uint8)

    def spec(self) -> dict[str, Any]:
        """The frame and what lies under the dots."""
        shade = self.shade()
        under = None if shade is None else [base64.b64encode(shade.tobytes()).decode(), *shade.shape]
        return {"limit": self.limit, "trails": self.trails, "under": under}


@dataclass(frozen=True)
class Pictures:
    """Pictures (n, c, h, w), c = 1 or 3, on a sheet of ``columns``, each pixel ``zoom`` wide; values from ``low`` to 1.

    One channel is drawn as ink on paper, dark where the value is high. Values beyond the ends show the nearest end.
    """

    columns: int = 4
    zoom: int = 6
    low: float = -1.0
    kind = "pictures"

    def __post_init__(self) -> None:
        require(
            self.columns >= 1 and self.zoom >= 1, f"columns and zoom are 1 or more; got {self.columns}, {self.zoom}"
        )
        require(self.low < 1, f"values lie between low and 1, so low must be below 1; got {self.low}")

    def pack(self, state: Any) -> tuple[np.ndarray, int]:
        """Eight bits a value, channels last."""
        x = _array(state)
        require(
            x.ndim == 4 and x.shape[1] in (1, 3) and len(x) > 0,
            f"lab.Pictures shows states of shape (n, 1 or 3, h, w); got {tuple(x.shape)}",
        )
        fine = np.isfinite(x)
        unit = (np.where(fine, x, self.low) - self.low) / (1 - self.low)
        unit = 1 - unit if x.shape[1] == 1 else unit
        return (unit.clip(0, 1) * 255).round().astype(np.uint8).transpose(0, 2, 3, 1), int((~fine).sum())

    def encode(self, frames: np.ndarray) -> tuple[dict[str, Any], bytes]:
        """Frames (f, n, h, w, c)."""
        return {"shape": list(frames.shape)}, frames.tobytes()

    def sheet(self, frame: np.ndarray) -> np.ndarray:
        """One packed frame as a sheet (rows, columns, 3) of bytes with white gaps."""
        n, h, w, c = frame.shape
        columns, gap = min(self.columns, n), 1
        rows = -(-n // columns)
        sheet = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8)
        for k, picture in enumerate(frame):
            top, left = (k // columns) * (h + gap), (k % columns) * (w + gap)
            sheet[top : top + h, left : left + w] = picture
        return sheet

    def spec(self) -> dict[str, Any]:
        """The sheet."""
        return {"columns": self.columns, "zoom": self.zoom}


@dataclass(frozen=True)
class Tokens:
    """Whole numbers (n, l) as text, ``columns`` tokens a row; what changed since the last frame is marked.

    decode  a tensor (k,) of tokens to text, such as ``CharTokenizer.decode``
    mask    the number that stands for a hole: drawn as a grey cell, never decoded
    """

    decode: Callable[[Tensor], str]
    columns: int = 64
    mask: int | None = None
    kind = "tokens"

    def __post_init__(self) -> None:
        require(callable(self.decode), f"decode must turn tokens into text; got {self.decode!r:.60}")
        require(self.columns >= 1, f"columns must be 1 or more; got {self.columns}")

    def pack(self, state: Any) -> tuple[np.ndarray, int]:
        """The tokens themselves."""
        x = _array(state)
        require(
            x.ndim == 2 and x.size > 0 and np.issubdtype(x.dtype, np.integer),
            f"lab.Tokens shows states (n, l) of whole numbers; got shape {tuple(x.shape)}, {x.dtype}",
        )
        return x.astype(np.int64), 0

    def symbols(self, numbers: np.ndarray) -> list[str]:
        """The text of each number; a hole is the empty text."""
        return ["" if i == self.mask else str(self.decode(torch.tensor([int(i)]))) for i in numbers]

    def encode(self, frames: np.ndarray) -> tuple[dict[str, Any], bytes]:
        """Frames (f, n, l) as places in the list of the symbols that occur."""
        numbers, places = np.unique(frames, return_inverse=True)
        small = len(numbers) <= 256
        code = places.reshape(frames.shape).astype(np.uint8 if small else "<u2")
        return {"shape": list(frames.shape), "wide": not small, "symbols": self.symbols(numbers)}, code.tobytes()

    def text(self, frame: np.ndarray, hole: str = "░") -> str:
        """One frame in rows, for readers of plain text."""
        numbers, places = np.unique(frame, return_inverse=True)
        shown = [s.replace("\n", "⏎") or hole for s in self.symbols(numbers)]
        rows = []
        for line in places.reshape(frame.shape):
            cells = [shown[i] for i in line]
            rows += ["".join(cells[k : k + self.columns]) for k in range(0, len(cells), self.columns)]
        return "\n".join(rows)

    def spec(self) -> dict[str, Any]:
        """The page."""
        return {"columns": self.columns}
