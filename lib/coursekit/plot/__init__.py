"""Figures in one house style: fixed colours with fixed meanings, labelled, legible at a notebook's width, described.

Every function returns a ``Picture``, a matplotlib Figure that shows itself in a notebook and carries ``alt``, the text
for those who do not see it; ``show`` displays it with that text as a caption. DATA, MODEL, NOISE, GRADIENT and EXACT
mean the same in every chapter; they come from the colour-blind-safe palette of Okabe and Ito (2008).
"""

from .animation import Animation, animate
from .charts import bars, curves, ladder
from .grids import heatmap, images, receptive_field, rows
from .plane import density, samples2d
from .style import COLOURS, DATA, EXACT, GRADIENT, MODEL, NOISE, SERIES, Picture, colour, sequential, show
from .table import Table, table

__all__ = [
    "COLOURS",
    "DATA",
    "EXACT",
    "GRADIENT",
    "MODEL",
    "NOISE",
    "SERIES",
    "Animation",
    "Picture",
    "Table",
    "animate",
    "bars",
    "colour",
    "curves",
    "density",
    "heatmap",
    "images",
    "ladder",
    "receptive_field",
    "rows",
    "samples2d",
    "sequential",
    "show",
    "table",
]
