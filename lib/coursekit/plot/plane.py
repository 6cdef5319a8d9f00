"""Pictures of the plane: densities as shade, samples as dots."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from genmodels.toy.shapes import grid

from .style import DATA, SHADE, WIDTH, Picture, colours, picture, style

__all__ = ["density", "samples2d"]

LogProb = Callable[[Tensor], Tensor]
DOTS = 4000  # more dots only hide each other


def _panels(names: list[str], limit: float, title: str, beside: float = 0.0, most: int = 4):
    columns = min(most, len(names))
    rows = math.ceil(len(names) / columns)
    side = min(2.9, (WIDTH - beside - 0.2) / columns)
    fig = picture(side * columns + beside + 0.2, (side + 0.34) * rows + 0.4 * bool(title), title)
    axes = fig.subplots(rows, columns, squeeze=False).flatten()
    for ax in axes[len(names) :]:
        ax.axis("off")
    for k, (name, ax) in enumerate(zip(names, axes, strict=False)):
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        ax.set_title(name)
        for s in ax.spines.values():
            s.set_visible(True)
            s.set_color("#BBBBBB")
        ends = [-math.floor(limit / 2) * 2, 0, math.floor(limit / 2) * 2]
        ax.set(xticks=ends, yticks=ends)
        ax.tick_params(length=2, labelleft=k % columns == 0, labelbottom=k + columns >= len(names))
    return fig, axes


def samples2d(
    points: Mapping[str, Float[Tensor, "n 2"]],
    limit: float = 4.0,
    title: str = "",
    together: bool = False,
    alt: str = "",
) -> Picture:
    """Dots in the plane, one panel for each name, or all in one panel; names with a meaning get their colour."""
    points = {name: p.detach().cpu() for name, p in points.items()}
    with style():
        fig, axes = _panels([", ".join(points)] if together else list(points), limit, title)
        for k, (name, p, c) in enumerate(zip(points, points.values(), colours(points), strict=True)):
            ax = axes[0] if together else axes[k]
            p = p[:DOTS]
            size = min(9.0, max(1.2, 4000 / max(len(p), 1)))
            ax.scatter(p[:, 0], p[:, 1], s=size, color=c, alpha=0.55, linewidths=0, label=name, rasterized=True)
        if together:
            axes[0].set_title("")
            axes[0].legend(loc="upper right", markerscale=2.5, handletextpad=0.1)
    outside = {n: int((p.abs() > limit).any(1).sum()) for n, p in points.items()}
    parts = [f"{len(p)} points ({n}{f', {outside[n]} outside' if outside[n] else ''})" for n, p in points.items()]
    fig.alt = alt or f"{title + ': ' if title else ''}{'; '.join(parts)} in a square of side {2 * limit:g}."
    return fig


def density(
    log_probs: LogProb | Mapping[str, LogProb],
    limit: float = 4.0,
    samples: Float[Tensor, "n 2"] | None = None,
    title: str = "",
    n: int = 160,
    alt: str = "",
) -> Picture:
    """Densities on the plane as shade on one common scale, with the sum over the frame; dots for data samples."""
    named = dict(log_probs) if isinstance(log_probs, Mapping) else {"": log_probs}
    points, area = grid(limit, n, dtype=torch.float32)
    with torch.no_grad():
        p = {name: f(points).double().exp().reshape(n, n).cpu() for name, f in named.items()}
    top = max(float(v.flatten().kthvalue(int(0.998 * n * n)).values) for v in p.values()) or 1.0
    with style():
        fig, axes = _panels(list(p), limit, title, beside=0.8)
        for ax, v in zip(axes, p.values(), strict=False):
            box = (-limit, limit, -limit, limit)
            shown = ax.imshow(v, origin="lower", extent=box, cmap=SHADE, vmin=0, vmax=top, interpolation="bilinear")
            if samples is not None:
                s = samples.detach().cpu()[:1500]
                ax.scatter(s[:, 0], s[:, 1], s=2, color=DATA, alpha=0.5, linewidths=0)
        bar = fig.colorbar(shown, ax=list(axes[: len(p)]), shrink=0.8, pad=0.02)
        bar.set_label("density")
    mass = {name: float(v.sum() * area) for name, v in p.items()}
    parts = "; ".join(f"{name + ': ' if name else ''}mass {m:.3f} inside the frame" for name, m in mass.items())
    fig.alt = alt or f"{title or 'Density'} on a square of side {2 * limit:g}: {parts}."
    return fig
