"""The house style: colours with a meaning, one set of type sizes, and a figure that carries its own description."""

from __future__ import annotations

import base64
import html
import io
import itertools
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "DATA",
    "EXACT",
    "GRADIENT",
    "MODEL",
    "NOISE",
    "SERIES",
    "Picture",
    "bundle",
    "colour",
    "colours",
    "image_bundle",
    "meaning",
    "picture",
    "png",
    "sequential",
    "show",
    "style",
]

DATA = "#0072B2"  # blue: what is given
MODEL = "#D55E00"  # vermilion: what the model makes
NOISE = "#A6A6A6"  # grey, lighter than the green, which looks grey to some
GRADIENT = "#009E73"  # green: arrows, scores, velocities, sensitivities
EXACT = "#1B1B1B"  # near black: the known truth
SERIES = (MODEL, DATA, GRADIENT, "#CC79A7", "#E69F00", "#56B4E9", NOISE)  # unnamed lines, in this order

COLOURS = {"data": DATA, "model": MODEL, "noise": NOISE, "gradient": GRADIENT, "exact": EXACT}

INK, FAINT = "#222222", "#D9D9D9"
WIDTH = 8.0  # inches of a full-width figure
PIXELS = 90  # on the page, for each inch; drawn twice as fine

HEAT = LinearSegmentedColormap.from_list("heat", ["#FFFFFF", "#CFE3F1", "#56A0CC", "#0072B2", "#003A5C"])
SHADE = LinearSegmentedColormap.from_list("shade", ["#FFFFFF", "#D9D9D9", "#8C8C8C", "#3A3A3A"])
DIVERGING = LinearSegmentedColormap.from_list("diverging", ["#0072B2", "#9CCAE6", "#FFFFFF", "#F3B48A", "#D55E00"])

RULES = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": "#666666",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titlecolor": INK,
    "axes.titlepad": 6,
    "axes.labelsize": 10,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "font.size": 10,
    "text.color": INK,
    "image.interpolation": "nearest",
}


class Picture(Figure):
    """A figure that shows itself in a notebook without pyplot, with ``alt`` as its text alternative."""

    alt: str = ""

    def png(self) -> bytes:
        """The picture as PNG, its description inside."""
        return png(self, self.alt)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
        return bundle(self, self.alt)


def png(fig: Figure, alt: str, dpi: float = 2 * PIXELS) -> bytes:
    """Any figure as PNG; one made by pyplot is closed, so that the notebook does not show it a second time."""
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=dpi, metadata={"Description": alt})
    if getattr(fig, "number", None) is not None:
        from matplotlib import pyplot

        pyplot.close(fig)
    return file.getvalue()


def bundle(fig: Figure, alt: str) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """A figure as notebook output, with its text alternative, and its metadata."""
    return image_bundle(png(fig, alt), alt, round(fig.get_figwidth() * PIXELS))


def image_bundle(content: bytes, alt: str, width: int) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """A PNG as notebook output. HTML comes first because notebooks drop the description of a bare PNG."""
    code = base64.b64encode(content).decode()
    look = f'width="{width}" style="max-width: 100%; height: auto"'
    tag = f'<img alt="{html.escape(alt)}" {look} src="data:image/png;base64,{code}">'
    data = {"text/html": tag, "image/png": code, "text/plain": alt}
    return data, {"image/png": {"alt": alt, "width": width}}


@contextmanager
def style() -> Iterator[None]:
    """The house style while a figure is being made; the caller's own settings come back afterwards."""
    with matplotlib.rc_context(RULES):
        yield


def picture(width: float = WIDTH, height: float = 3.0, title: str = "") -> Picture:
    """An empty figure in the house style; call it inside ``style()``."""
    fig = Picture(figsize=(width, height), layout="constrained", dpi=2 * PIXELS)
    FigureCanvasAgg(fig)
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    return fig


def colour(name: str, k: int = 0) -> str:
    """The colour that a name means ("data", "model", "noise", "gradient", "exact", also inside a longer name), else
    the k-th colour of the series."""
    return meaning(name) or SERIES[k % len(SERIES)]


def meaning(name: str) -> str | None:
    """The colour that a word of the name means, or None."""
    return next((COLOURS[w] for w in re.findall(r"[a-z]+", name.lower()) if w in COLOURS), None)


def colours(names: Iterable[str]) -> list[str]:
    """A colour for each name: its own if it has a meaning, else the next of the series that no other name has."""
    own = [colour(n, -1) if meaning(n) else None for n in names]
    free = [c for c in SERIES if c not in own] or list(SERIES)
    count = itertools.count()
    return [c or free[next(count) % len(free)] for c in own]


def sequential(name: str) -> LinearSegmentedColormap:
    """A colour scale from white to the colour that ``name`` means, for shades of one thing."""
    return LinearSegmentedColormap.from_list(name, ["#FFFFFF", colour(name)])


def show(fig: Any, alt: str = "") -> None:
    """Display a figure (a plain matplotlib one too), animation or table with its description as a caption below.

    The caption is text, so everybody can read it, a screen reader as well; it is also the picture's own alternative.
    """
    from IPython.display import Markdown, display

    alt = alt or getattr(fig, "alt", "")
    if isinstance(fig, Figure):
        if not alt:
            raise ValueError("a figure needs a description: say in `alt` what is to be seen")
        data, metadata = bundle(fig, alt)
        display(data, metadata=metadata, raw=True)
    else:
        display(fig)
    if alt:
        display(Markdown(f"*{alt}*"))
