"""Sliders over pictures: all of them in the page when they are few, drawn on demand and kept when they are many."""

from __future__ import annotations

import base64
import functools
import html
import io
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from coursekit.plot.animation import rgb
from coursekit.plot.style import PIXELS, image_bundle, png
from genmodels.core import require

from .assets import for_page, script, style
from .modes import publish, static
from .takes import Picked, label

__all__ = ["Scrubber", "scrub"]

ALL_IN_THE_PAGE = 80  # up to so many pictures are drawn at once; then no kernel is needed to scrub them
STRIP = 5  # pictures side by side where no script runs

Frame = Figure | Tensor | np.ndarray
Place = tuple[int, ...]


def _png(frame: Frame) -> tuple[bytes, int]:
    """A frame as PNG and its width on the page."""
    if isinstance(frame, Figure):
        return png(frame, getattr(frame, "alt", ""), dpi=1.5 * PIXELS), round(frame.get_figwidth() * PIXELS)
    file = io.BytesIO()
    picture = rgb(frame)
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue(), max(picture.shape[1], 280)


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


class Scrubber:
    """Controls, their values and the pictures drawn so far; ``scrub`` makes and displays one."""

    def __init__(self, draw: Callable[..., Frame], controls: Mapping[str, Sequence[Any]], alt: str, fps: float) -> None:
        self.draw, self.alt, self.fps = draw, alt, fps
        picked = {name: values for name, values in controls.items() if isinstance(values, Picked)}
        self.controls = {n: list(picked[n].values if n in picked else values) for n, values in controls.items()}
        require(bool(self.controls), "scrub needs at least one slider, such as step=range(20)")
        for name, values in self.controls.items():
            require(bool(values), f"the slider {name!r} has no values")
        require(fps > 0, f"fps must be positive; got {fps}")
        first = next(iter(self.controls))
        middle = {name: len(values) // 2 * (name == first) for name, values in self.controls.items()}
        chosen = {name: self.controls[name].index(one.start) for name, one in picked.items()}
        self.start: Place = tuple((middle | chosen).values())
        self.drawn: dict[Place, bytes] = {}
        self.width = 0
        self.pixelated = False

    @property
    def size(self) -> int:
        """The number of different pictures."""
        return int(np.prod([len(v) for v in self.controls.values()]))

    def png(self, place: Place) -> bytes:
        """The picture at these positions of the sliders, drawn on first use."""
        if place not in self.drawn:
            values = (v[i] for v, i in zip(self.controls.values(), place, strict=True))
            frame = self.draw(**dict(zip(self.controls, values, strict=True)))
            self.pixelated = not isinstance(frame, Figure)
            self.alt = self.alt or getattr(frame, "alt", "") or "A picture that changes with the sliders."
            self.drawn[place], self.width = _png(frame)
        return self.drawn[place]

    def spec(self) -> dict[str, Any]:
        """What the page needs to know."""
        self.png(self.start)
        return {
            "alt": self.alt,
            "fps": self.fps,
            "width": self.width,
            "pixelated": self.pixelated,
            "start": self.start,
            "controls": [
                {"name": n.replace("_", " "), "values": [label(v) for v in c]} for n, c in self.controls.items()
            ],
            "frames": {",".join(map(str, place)): _uri(png) for place, png in self.drawn.items()},
        }

    def strip(self) -> bytes:
        """A few of the drawn pictures side by side, for pages on which no script runs."""
        along = sorted(p for p in self.drawn if p[1:] == self.start[1:])
        chosen = [along[round(i)] for i in np.linspace(0, len(along) - 1, min(STRIP, len(along)))]
        pages = [Image.open(io.BytesIO(self.drawn[p])).convert("RGB") for p in dict.fromkeys(chosen)]
        sheet = Image.new("RGB", (sum(p.width for p in pages), max(p.height for p in pages)), "white")
        for left, page in zip(itertools.accumulate((p.width for p in pages), initial=0), pages, strict=False):
            sheet.paste(page, (left, 0))
        file = io.BytesIO()
        sheet.save(file, "PNG")
        return file.getvalue()

    def strip_html(self) -> str:
        """The strip with its description."""
        return (
            f'<img class="gm-strip" alt="{html.escape(self.alt)}" src="{_uri(self.strip())}" style="max-width: 100%">'
        )

    def html(self) -> str:
        """A page fragment that scrubs by itself; with scripts off, it is the strip with its description."""
        spec = for_page(self.spec())  # draws the first picture
        return (
            f'<div class="gm-scrub">{self.strip_html()}</div>'
            f"<style>{style('scrub')}</style><script>(() => {{{script('scrub')}\n"
            "const root = document.currentScript.parentNode.querySelector('.gm-scrub');"
            f"mountScrubber(root, {spec}, null); }})();</script>"
        )

    def static_bundle(self) -> tuple[dict[str, str], dict[str, Any]]:
        """One picture with its description, as notebook output."""
        png = self.png(self.start)
        return image_bundle(png, self.alt, self.width)

    def widget(self) -> Any:
        """The live form: the page asks for pictures, the kernel draws them with the caller's function."""
        widget = _widget_class()(spec=self.spec())
        widget.on_msg(self._answer)
        return widget

    def _ipython_display_(self) -> None:
        """It was displayed when it was made; as the last value of a cell it adds nothing."""

    def _answer(self, widget: Any, message: dict[str, Any], _: Any) -> None:
        place = tuple(int(i) for i in message["draw"].split(","))
        answer = {"key": message["draw"], "source": "", "error": ""}
        try:
            answer["source"] = _uri(self.png(place))
        except Exception as e:  # noqa: BLE001  whatever the student's function raises is shown under the picture
            answer["error"] = f"{type(e).__name__}: {e}"
        widget.send(answer)


@functools.cache
def _widget_class() -> type:
    """Made on first use: importing widgets costs a second that other cells need not pay."""
    import anywidget
    import traitlets

    live = """
export default { render({ model, el }) {
  const before = el.closest(".jp-OutputArea-child")?.previousElementSibling;
  if (before?.querySelector(".gm-strip")) before.style.display = "none";
  const receive = mountScrubber(el, model.get("spec"), (k) => model.send({ draw: k }));
  model.on("msg:custom", (m) => receive(m.key, m.source, m.error));
} };"""

    class ScrubWidget(anywidget.AnyWidget):
        _esm = script("scrub") + live
        _css = style("scrub")
        spec = traitlets.Dict().tag(sync=True)

    return ScrubWidget


def scrub(
    draw: Callable[..., Frame] | Iterable[Frame],
    alt: str = "",
    fps: float = 8.0,
    **controls: Sequence[Any],
) -> Scrubber:
    """Sliders over ``draw(**values)``, one for each keyword; or one slider over a ready sequence of frames.

    draw      returns a figure, or an array (h, w), (1, h, w) or (3, h, w) in [0, 1]; called once for each setting
    alt       what is to be seen; without it, the figure's own description
    controls  name=values: the first slider is the one that plays, and the one fetched ahead. It starts in its middle,
              the others at their first value; ``pick(values, start)`` chooses another start
    Up to 80 pictures are all put into the page, where they can be scrubbed without a kernel, also in an exported page.
    More are drawn on demand; without a kernel, five of them are shown side by side. Where ``static()`` holds, only the
    starting picture is drawn.
    """
    if not callable(draw):
        require(not controls, "frames that are ready take no sliders: give a function of the sliders instead")
        frames = list(draw)
        require(bool(frames), "scrub needs at least one frame")
        draw, controls = (lambda frame: frames[frame]), {"frame": range(len(frames))}
    scrubber = Scrubber(draw, controls, alt, fps)
    _display(scrubber)
    return scrubber


def _display(scrubber: Scrubber) -> None:
    from IPython.display import HTML, display

    if static():
        publish(*scrubber.static_bundle())
    elif scrubber.size <= ALL_IN_THE_PAGE:
        for place in itertools.product(*(range(len(v)) for v in scrubber.controls.values())):
            scrubber.png(place)
        display(HTML(scrubber.html()))
    else:
        steps = len(next(iter(scrubber.controls.values())))
        for i in np.linspace(0, steps - 1, min(STRIP, steps)).round().astype(int):
            scrubber.png((int(i), *scrubber.start[1:]))
        display(HTML(scrubber.strip_html()))  # what a reader without a kernel sees; the live form hides it
        display(scrubber.widget())
