"""Things on a grid of cells: pictures side by side, matrices with their values, receptive fields."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Shaped
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.patches import Rectangle
from torch import Tensor

from genmodels.core import require

from .style import DIVERGING, EXACT, HEAT, INK, MODEL, NOISE, WIDTH, Picture, colour, meaning, picture, style

__all__ = ["heatmap", "images", "receptive_field", "rows"]


def _sheet(x: Tensor, columns: int, gap: int) -> np.ndarray:
    """Pictures (n, c, h, w) as one array (rows, columns, 3) with white gaps."""
    x = x.detach().cpu().float().clamp(0, 1)
    n, c, h, w = x.shape
    require(c in (1, 3), f"pictures need 1 or 3 channels; got shape {tuple(x.shape)}")
    rows = math.ceil(n / columns)
    sheet = torch.ones(3, rows * (h + gap) - gap, columns * (w + gap) - gap)
    for k in range(n):
        top, left = (k // columns) * (h + gap), (k % columns) * (w + gap)
        sheet[:, top : top + h, left : left + w] = x[k]
    return sheet.permute(1, 2, 0).numpy()


def images(
    x: Float[Tensor, "n c h w"] | Mapping[str, Float[Tensor, "n c h w"]],
    title: str = "",
    columns: int = 16,
    alt: str = "",
) -> Picture:
    """Pictures with values in [0, 1] on a grid; a mapping gives one labelled block for each name.

    One channel is drawn dark on light, as ink on paper. Values outside [0, 1] are shown as the nearest end.
    """
    groups = dict(x) if isinstance(x, Mapping) else {"": x}
    require(all(g.ndim == 4 for g in groups.values()), "pictures must have shape (n, c, h, w)")
    columns = min(columns, max(len(g) for g in groups.values()))
    sheets = []
    for g in groups.values():
        gap = max(1, g.shape[-1] // 14)
        sheets.append(_sheet(1 - g if g.shape[1] == 1 else g, columns, gap))
    width = min(WIDTH, 0.75 * columns + 0.3)
    heights = [width * s.shape[0] / s.shape[1] for s in sheets]
    label = 0.28 if any(groups) else 0.0
    with style():
        fig = picture(width, sum(heights) + label * len(sheets) + (0.4 if title else 0.05), title)
        axes = fig.subplots(len(sheets), 1, squeeze=False, height_ratios=heights)[:, 0]
        for k, (name, sheet, ax) in enumerate(zip(groups, sheets, axes, strict=True)):
            ax.imshow(sheet)
            ax.axis("off")
            if name:
                ax.set_title(name, color=colour(name, k) if len(groups) > 1 else INK, fontweight="bold", fontsize=10)
    what = "; ".join(f"{len(g)} pictures{f' ({name})' if name else ''}" for name, g in groups.items())
    size = "x".join(map(str, next(iter(groups.values())).shape[-2:]))
    fig.alt = alt or f"{title + ': ' if title else ''}{what} of {size} pixels, {columns} in a row."
    return fig


def rows(
    groups: Mapping[str, Float[Tensor, "n c h w"]],
    title: str = "",
    height: float = 0.62,
    ink: str = EXACT,
    alt: str = "",
) -> Picture:
    """Pictures with values in [0, 1], one row for each name, which stands at its left; ``height`` inches a row.

    One channel is drawn as ink on paper, in the colour that the row's name means, else in ``ink``.
    """
    require(all(x.ndim == 4 and x.shape[1] in (1, 3) for x in groups.values()), "pictures must be (n, 1 or 3, h, w)")
    with style():
        fig = picture(WIDTH, 0.35 + height * len(groups), title)
        for (name, x), ax in zip(groups.items(), fig.subplots(len(groups), 1, squeeze=False)[:, 0], strict=True):
            x = x.detach().cpu().float().clamp(0, 1)
            if x.shape[1] == 1:
                x = 1 - x * (1 - torch.tensor(to_rgb(meaning(name) or ink)).reshape(3, 1, 1))
            x = torch.nn.functional.pad(x, (1, 1, 1, 1), value=1.0)
            ax.imshow(x.permute(2, 0, 3, 1).flatten(1, 2).numpy())
            ax.set(xticks=[], yticks=[])
            ax.text(-0.012, 0.5, name, ha="right", va="center", transform=ax.transAxes)
            ax.spines[:].set_visible(False)
    many = "; ".join(f"{len(x)} pictures ({name})" for name, x in groups.items())
    fig.alt = alt or f"{title + ': ' if title else ''}rows of {many}."
    return fig


def heatmap(
    values: Shaped[Tensor, "r c"] | Mapping[str, Shaped[Tensor, "r c"]],
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    digits: int | None = None,
    alt: str = "",
) -> Picture:
    """A matrix, or several side by side on one scale, as coloured cells.

    Values are written into the cells, with ``digits`` decimals, when there are at most 12 columns in all; those of a
    boolean mask are not. Signed values get a diverging scale centred at 0.
    """
    panels = {k: torch.as_tensor(v).detach().cpu() for k, v in _named(values).items()}
    masks = all(v.dtype == torch.bool for v in panels.values())
    top = max(float(v.double().abs().max()) for v in panels.values()) or 1.0
    signed = any(bool((v.double() < 0).any()) for v in panels.values())
    sizes = [tuple(v.shape) for v in panels.values()]
    n_rows, n_columns = max(r for r, _ in sizes), sum(c for _, c in sizes)
    cell = min(0.62, (WIDTH - 0.9 * len(panels)) / n_columns)
    with style():
        size = (n_columns * cell + 0.7 * len(panels), n_rows * cell + 0.7 + 0.3 * bool(title) + 0.25 * bool(xlabel))
        fig = picture(max(size[0], 2.6), max(size[1], 1.6), title)
        axes = fig.subplots(1, len(panels), squeeze=False, width_ratios=[c for _, c in sizes])[0]
        for ax, (name, v) in zip(axes, panels.items(), strict=True):
            shown = ax.imshow(v.double(), cmap=DIVERGING if signed else HEAT, vmin=-top if signed else 0, vmax=top)
            ax.set_title(name)
            ax.set(xlabel=xlabel, ylabel=ylabel if ax is axes[0] else "")
            _ticks(ax, rows, columns, *v.shape)
            if not masks and n_columns <= 12:
                _write(ax, v, shown, _digits(v) if digits is None else digits)
    kind = "0/1 mask" if masks else f"values from {_least(panels):.3g} to {_most(panels):.3g}"
    names = ", ".join(n for n in panels if n)
    cells = ", ".join(f"{r} by {c}" for r, c in dict.fromkeys(sizes))
    fig.alt = alt or f"{title or 'Matrix'}{f' ({names})' if names else ''}: {cells} cells, {kind}."
    return fig


def _named(v: object) -> dict[str, Tensor]:
    return dict(v) if isinstance(v, Mapping) else {"": v}


def _least(panels: dict[str, Tensor]) -> float:
    return min(float(v.double().min()) for v in panels.values())


def _most(panels: dict[str, Tensor]) -> float:
    return max(float(v.double().max()) for v in panels.values())


def _digits(v: Tensor) -> int:
    return 2 if v.is_floating_point() and not torch.equal(v, v.round()) else 0


def _ticks(ax, rows: Sequence[str] | None, columns: Sequence[str] | None, n_rows: int, n_columns: int) -> None:
    for axis, names, n in ((ax.xaxis, columns, n_columns), (ax.yaxis, rows, n_rows)):
        step = 1 if names is not None else max(1, n // 10)
        axis.set_ticks(range(0, n, step), list(names) if names is not None else [str(i) for i in range(0, n, step)])
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(True)
        side.set_color("#BBBBBB")
    ax.set_xticks(np.arange(n_columns + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(n_rows + 1) - 0.5, minor=True)
    if n_columns <= 40:
        ax.grid(which="minor", color="white", linewidth=1.0)
    ax.tick_params(which="minor", length=0)


def _write(ax, v: Tensor, shown, digits: int) -> None:
    """Values into cells, white on the dark ones (relative luminance below 0.35)."""
    for i, row in enumerate(v.tolist()):
        for j, value in enumerate(row):
            red, green, blue, _ = shown.cmap(shown.norm(value))
            dark = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 < 0.35
            ax.text(j, i, f"{value:.{digits}f}", ha="center", va="center", fontsize=8, color="white" if dark else INK)


def receptive_field(
    sensitivity: Float[Tensor, "h w"] | Mapping[str, Float[Tensor, "h w"]],
    target: tuple[int, int],
    title: str = "",
    alt: str = "",
) -> Picture:
    """How much each input pixel moves the output at ``target``: absolute gradients on a log scale, zeros hatched.

    The future is where a zero must be; a hatched past pixel is a blind spot.
    """
    panels = {k: v.detach().abs().double().cpu() for k, v in _named(sensitivity).items()}
    top = max(float(v.max()) for v in panels.values())
    require(top > 0, "every gradient is zero: nothing to show; randomise the weights first")
    with style():
        fig = picture(min(WIDTH, 3.1 * len(panels) + 0.6), 3.3 + 0.3 * bool(title), title)
        axes = fig.subplots(1, len(panels), squeeze=False)[0]
        parts = []
        for ax, (name, v) in zip(axes, panels.items(), strict=True):
            h, w = v.shape
            zero = v == 0
            shown = ax.imshow(np.ma.masked_array(v, zero), cmap=HEAT, norm=LogNorm(top * 1e-4, top, clip=True))
            for i, j in zero.nonzero().tolist():
                ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fc="#F4F4F4", ec="#C9C9C9", hatch="////", lw=0))
            i, j = target
            ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, ec=MODEL, lw=2.2, zorder=3))
            before = i * w + j
            ax.plot(
                [-0.5, j - 0.5, j - 0.5, w - 0.5], [i + 0.5, i + 0.5, i - 0.5, i - 0.5], color=NOISE, lw=1.2, ls="--"
            )
            past = ~zero.flatten()[:before]
            leak = int((~zero.flatten()[before:]).sum())
            text = f"sees {int(past.sum())} of {before} past pixels, {leak} others"
            parts.append(f"{name + ' ' if name else ''}{text}")
            ax.set_title(f"{name}\n{text}" if name else text, fontsize=9.5)
            ax.set(xticks=[], yticks=[])
        bar = fig.colorbar(shown, ax=list(axes), shrink=0.8, pad=0.02)
        bar.set_label("|gradient|")
    fig.alt = alt or f"{title or 'Receptive field'} of pixel {list(target)}: {'; '.join(parts)}."
    return fig
