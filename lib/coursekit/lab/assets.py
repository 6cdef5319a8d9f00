"""The scripts and styles of the labs: part of every page, so that nothing is fetched from elsewhere."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from coursekit.plot.style import EXACT, SERIES

__all__ = ["for_page", "script", "style"]

HERE = Path(__file__).parent
# On a dark page the same hues, light enough for a contrast of 4.5 with the background.
DARK = ("#F0803C", "#56A9E8", "#2FC79A", "#DD92BA", "#EDB134", "#7CC7F2", "#A6A6A6")
DARK_EXACT = "#EDEDED"


@functools.cache
def script(name: str) -> str:
    """The code of a lab, "play" or "scrub", with what it needs."""
    files = {"play": ("page", "stage", "chart", "play"), "scrub": ("page", "scrub")}[name]
    return "\n".join((HERE / f"{file}.js").read_text(encoding="utf-8") for file in files)


@functools.cache
def style(name: str) -> str:
    """The style sheet of a lab, with the colours of the figures in both themes."""
    light, dark = _palette(SERIES, EXACT), _palette(DARK, DARK_EXACT)
    colours = (
        f".gm-lab {{ {light} }}\n"
        f'body[data-jp-theme-light="false"] .gm-lab {{ {dark} }}\n'
        f"@media (prefers-color-scheme: dark) {{ body:not([data-jp-theme-light]) .gm-lab {{ {dark} }} }}\n"
    )
    return colours + "".join((HERE / f"{file}.css").read_text(encoding="utf-8") for file in ("page", name))


def _palette(series: tuple[str, ...], exact: str) -> str:
    return " ".join([*(f"--gm-c{k}: {c};" for k, c in enumerate(series)), f"--gm-exact: {exact};"])


def for_page(value: Any) -> str:
    """A value as JavaScript inside a page, where no text of it can end the script."""
    return json.dumps(value).replace("</", "<\\/").replace("<!--", "<\\!--")
