"""A player where no script runs: a strip of frames, its charts below; for tokens, the pages as text."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from coursekit.plot.style import EXACT, INK, MODEL, SERIES, SHADE, WIDTH, Picture, bundle, picture, style

from .film import Film, thin
from .takes import Chart
from .views import Particles, Pictures, Tokens, View

__all__ = ["still"]

STRIP = {"particles": 5, "pictures": 4, "tokens": 3}  # frames side by side
DOTS = 1500  # more only hide each other at this size


def still(film: Film, view: View, charts: Sequence[Chart], alt: str) -> tuple[dict[str, str], dict[str, Any]]:
    """A picture with its description, as notebook output: (data, metadata)."""
    places = thin(len(film.frames), STRIP[view.kind])
    names = [_name(film, k) for k in places]
    words = f"{alt} {len(places)} of {film.total} states. {film.caption}".strip()
    if isinstance(view, Tokens):
        return _pages(film, view, places, names, words)
    return bundle(_sheet(film, view, places, names, [c for c in charts if c.title in film.charts], words), words)


def _name(film: Film, place: int) -> str:
    state = film.kept[place]
    time = film.times[state] if film.times else None
    return f"t = {time:.3g}" if time is not None else f"state {state + 1}"


def _pages(film: Film, view: Tokens, places: list[int], names: list[str], alt: str) -> tuple[dict[str, str], dict]:
    pages = [(name, view.text(film.frames[k])) for name, k in zip(names, places, strict=True)]
    blocks = "".join(
        f"<figcaption>{html.escape(name)}</figcaption><pre>{html.escape(text)}</pre>" for name, text in pages
    )
    plain = "\n\n".join(f"{name}\n{text}" for name, text in pages)
    return {"text/html": f'<figure aria-label="{html.escape(alt)}">{blocks}</figure>', "text/plain": plain}, {}


def _sheet(film: Film, view: View, places: list[int], names: list[str], charts: Sequence[Chart], alt: str) -> Picture:
    """One row of frames, one of charts."""
    ratio = 1.0
    if isinstance(view, Pictures):
        height, width = view.sheet(film.frames[0]).shape[:2]
        ratio = height / width
    row = WIDTH / len(places) * ratio + 0.3 if len(places) > 1 else 2.6
    with style():
        fig = picture(WIDTH, row + (2.4 if charts else 0.0) + (0.3 if film.caption else 0.0))
        grid = fig.add_gridspec(2 if charts else 1, 1, height_ratios=[row, 2.4] if charts else [row])
        for k, name, ax in zip(places, names, _row(fig, grid[0], len(places)), strict=True):
            _frame(ax, view, film.frames[k])
            ax.set_title(name, fontsize=9)
        if charts:
            for chart, ax in zip(charts, _row(fig, grid[1], len(charts)), strict=True):
                _chart(ax, chart, film.charts[chart.title])
        if film.caption:
            fig.supxlabel(film.caption, fontsize=9.5, color=INK)
    fig.alt = alt
    return fig


def _row(fig: Picture, cell: Any, n: int) -> list[Any]:
    inner = cell.subgridspec(1, n)
    return [fig.add_subplot(inner[k]) for k in range(n)]


def _frame(ax: Any, view: View, frame: np.ndarray) -> None:
    ax.set(xticks=[], yticks=[])
    if isinstance(view, Pictures):
        ax.imshow(view.sheet(frame))
        ax.axis("off")
    elif isinstance(view, Particles):
        l = view.limit
        shade = view.shade()
        if shade is not None:
            ax.imshow(shade, extent=(-l, l, -l, l), cmap=SHADE, vmin=0, vmax=340, interpolation="bilinear")
        x = view.unpack(frame)[:DOTS]
        ax.scatter(x[:, 0], x[:, 1], s=min(9.0, max(1.2, 1500 / len(x))), color=MODEL, alpha=0.6, linewidths=0)
        ax.set(xlim=(-l, l), ylim=(-l, l), aspect="equal")
        for s in ax.spines.values():
            s.set_visible(True)


def _chart(ax: Any, chart: Chart, lines: list[dict[str, Any]]) -> None:
    ax.set(title=chart.title, xlabel=chart.x, ylabel=chart.y)
    ax.set_xscale("log" if chart.log_x else "linear")
    ax.set_yscale("log" if chart.log_y else "linear")
    for line in lines:
        colour = EXACT if line["colour"] == "exact" else SERIES[int(line["colour"][1:])]
        x, y = (np.array([np.nan if v is None else v for v in line[k]]) for k in "xy")
        ax.plot(x, y, color=colour, marker="o" if len(x) == 1 else None, label=line["name"])
    ax.legend()
