"""Charts: curves with reference levels, bars with errors, and a ladder that sets a result beside published ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from genmodels.core import require

from .style import EXACT, FAINT, INK, MODEL, NOISE, WIDTH, Picture, colours, picture, style

__all__ = ["bars", "curves", "ladder"]

DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 3)))  # lines differ without colour too


def _array(v: Any) -> np.ndarray:
    return np.asarray(v.detach().cpu() if isinstance(v, torch.Tensor) else v, dtype=float)


def curves(
    lines: Mapping[str, Any],
    xlabel: str,
    ylabel: str,
    title: str = "",
    levels: Mapping[str, float] | None = None,
    log: str = "",
    markers: bool = False,
    height: float = 3.2,
    alt: str = "",
) -> Picture:
    """Lines by name: y, (x, y) or (x, y, standard error), the error shown as a band.

    levels  horizontal lines by name, such as an entropy or a floor
    log     "", "x", "y" or "xy"
    """
    require(log in ("", "x", "y", "xy"), f"log must be '', 'x', 'y' or 'xy'; got {log!r}")
    ends = []
    with style():
        fig = picture(WIDTH, height + 0.3 * bool(title), title)
        ax = fig.subplots()
        seen: set[float] = set()
        for k, (name, line, c) in enumerate(zip(lines, lines.values(), colours(lines), strict=True)):
            parts = [_array(v) for v in line] if isinstance(line, tuple) else [_array(line)]
            x = parts[0] if len(parts) > 1 else np.arange(len(parts[0]))
            y = parts[min(1, len(parts) - 1)]
            seen |= set(x.tolist())
            ax.plot(x, y, color=c, ls=DASHES[k % len(DASHES)], marker="o" if markers else None, label=name)
            if len(parts) == 3:
                ax.fill_between(x, y - parts[2], y + parts[2], color=c, alpha=0.18, lw=0)
            ends.append(f"{name} from {y[0]:.3g} to {y[-1]:.3g}")
        if "x" in log:
            ax.set_xscale("log")
            if len(seen) <= 8:  # few settings: name them instead of powers of ten
                ax.xaxis.set_major_locator(FixedLocator(sorted(seen)))
                ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
                ax.xaxis.set_minor_locator(NullLocator())
        if "y" in log:
            ax.set_yscale("log")
        for name, value in (levels or {}).items():
            ax.axhline(value, color=EXACT, lw=1.1, ls=(0, (2, 2)), zorder=1)
            place = dict(xy=(1, value), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points")
            ax.annotate(f"{name} {value:.4g}", **place, va="center", fontsize=8.5, color=INK)
            ends.append(f"{name} at {value:.4g}")
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.grid(True, which="major")
        if len(lines) > 1 or next(iter(lines)):
            ax.legend(loc="best", handlelength=2.8)
    fig.alt = alt or f"{title or ylabel} against {xlabel}: {'; '.join(ends)}."
    return fig


def bars(
    groups: Mapping[str, Any],
    labels: Sequence[str],
    ylabel: str,
    title: str = "",
    errors: Mapping[str, Any] | None = None,
    alt: str = "",
) -> Picture:
    """Groups of bars, one of each name at every label, with standard errors where given."""
    require(all(len(v) == len(labels) for v in groups.values()), f"each group needs {len(labels)} values")
    width = 0.8 / len(groups)
    with style():
        fig = picture(WIDTH, 3.0 + 0.3 * bool(title), title)
        ax = fig.subplots()
        for k, (name, v, c) in enumerate(zip(groups, groups.values(), colours(groups), strict=True)):
            x = np.arange(len(labels)) + (k - (len(groups) - 1) / 2) * width
            error = _array(errors[name]) if errors and name in errors else None
            bar = dict(ecolor=INK, capsize=2, error_kw={"lw": 1.0})
            ax.bar(x, _array(v), 0.92 * width, color=c, label=name, yerr=error, **bar)
        ax.set_xticks(range(len(labels)), labels, rotation=45 if max(map(len, labels)) * len(labels) > 90 else 0)
        ax.set_ylabel(ylabel)
        ax.axhline(0, color="#666666", lw=0.8)
        ax.grid(True, axis="y")
        ax.tick_params(axis="x", length=0)
        if len(groups) > 1:
            ax.legend(ncols=min(4, len(groups)))
    top = {name: (labels[int(_array(v).argmax())], float(_array(v).max())) for name, v in groups.items()}
    parts = "; ".join(f"{name} is largest at {at} ({value:.3g})" for name, (at, value) in top.items())
    fig.alt = alt or f"{title or ylabel} for {len(labels)} cases: {parts}."
    return fig


def ladder(
    ours: Mapping[str, float | tuple[float, float]],
    published: Mapping[str, float],
    xlabel: str,
    title: str = "",
    floors: Mapping[str, float] | None = None,
    alt: str = "",
) -> Picture:
    """Results on one axis, smaller is better: ours as full dots with their standard error, published ones as rings.

    floors  reference points by name, drawn as grey squares (an independent-pixel model, real against real)
    """
    rows = [(n, *(v if isinstance(v, tuple) else (v, 0.0)), "ours") for n, v in ours.items()]
    rows += [(n, v, 0.0, "published") for n, v in published.items()]
    rows += [(n, v, 0.0, "reference") for n, v in (floors or {}).items()]
    rows.sort(key=lambda r: -r[1])
    looks = {
        "ours": dict(marker="o", mfc=MODEL, mec=MODEL, color=MODEL),
        "published": dict(marker="o", mfc="white", mec=EXACT, color=EXACT),
        "reference": dict(marker="s", mfc=NOISE, mec=NOISE, color=NOISE),
    }
    with style():
        fig = picture(WIDTH, 0.29 * len(rows) + 0.8 + 0.3 * bool(title), title)
        ax = fig.subplots()
        seen = set()
        for k, (_, value, error, kind) in enumerate(rows):
            label = None if kind in seen else kind
            seen.add(kind)
            ax.errorbar(value, k, xerr=error or None, ls="", ms=7, capsize=2, label=label, **looks[kind])
            text = f"{value:.4g}" + (f" ± {error:.1g}" if error else "")
            ax.annotate(text, (value + error, k), xytext=(9, 0), textcoords="offset points", va="center", fontsize=9)
        ax.set_yticks(range(len(rows)), [r[0] for r in rows])
        for tick, row in zip(ax.get_yticklabels(), rows, strict=True):
            tick.set_fontweight("bold" if row[3] == "ours" else "normal")
        ax.set(xlabel=f"{xlabel} (smaller is better)", ylim=(-0.7, len(rows) - 0.3))
        ax.margins(x=0.12)
        low, high = ax.get_xlim()
        ax.set_xlim(low, high + 0.1 * (high - low))  # room for the last number
        ax.grid(True, axis="y", color=FAINT)
        ax.tick_params(axis="y", length=0)
        ax.legend(loc="upper right")
    parts = "; ".join(f"{name} {value:.4g} ({kind})" for name, value, _, kind in reversed(rows))
    fig.alt = alt or f"{title or xlabel}, best first: {parts}."
    return fig
