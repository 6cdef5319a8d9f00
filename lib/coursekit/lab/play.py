"""The trajectory player: one run of the student's function as a film that the browser scrubs, recomputed on demand."""

from __future__ import annotations

import functools
import html
import time
from collections.abc import Callable, Sequence
from typing import Any

from genmodels.core import require

from .assets import for_page, script, style
from .film import Film, record
from .modes import publish, static
from .problems import problem
from .still import still
from .takes import Chart, as_take, controls_of
from .views import View

__all__ = ["Player", "play"]

EMBEDDED = 750_000  # bytes of frames in a saved page, a megabyte of text
SENT = 4_000_000  # bytes of frames in one answer to a live page

Place = tuple[int, ...]


class Player:
    """A run, its view, its charts and its controls; ``play`` makes and displays one."""

    def __init__(
        self,
        run: Callable[..., Any],
        view: View,
        alt: str,
        charts: Sequence[Chart],
        fps: float,
        controls: dict[str, Any],
    ) -> None:
        require(callable(run), f"run must be a function of the settings; got {run!r:.60}")
        require(hasattr(view, "pack"), f"view must be lab.Particles, lab.Pictures or lab.Tokens; got {view!r:.60}")
        require(bool(alt.strip()), "a player needs a text alternative: say in `alt` what is to be seen")
        require(fps > 0, f"fps must be positive; got {fps}")
        titles = [chart.title for chart in charts]
        require(len(set(titles)) == len(titles), f"every chart needs a title of its own; got {titles}")
        self.run, self.view, self.alt, self.charts, self.fps = run, view, alt, tuple(charts), fps
        self.controls = controls_of(controls)
        self.start: Place = tuple(control.start for control in self.controls)
        self.seen: dict[str, str] = {}
        self.first: Film | None = None

    def settings(self, place: Sequence[int]) -> dict[str, Any]:
        """The values at these positions of the controls."""
        return {c.name: c.values[i] for c, i in zip(self.controls, place, strict=True)}

    def film(self, place: Sequence[int]) -> Film:
        """Run the caller's function with these settings, through all of its states."""
        return record(as_take(self.run(**self.settings(place))), self.view, self.charts, self.seen)

    def spec(self) -> dict[str, Any]:
        """What the page needs to know before any frame."""
        return {
            "alt": self.alt,
            "fps": self.fps,
            "kind": self.view.kind,
            "view": self.view.spec(),
            "charts": [vars(chart) for chart in self.charts],
            "controls": [control.spec() for control in self.controls],
            "start": list(self.start),
        }

    def answer(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        """The page asks for a setting: the film, or what went wrong in the caller's function."""
        began = time.perf_counter()
        place = [int(i) for i in request["place"]]
        try:
            first = self.first if request.get("first") and self.first else None
            head, payload = (first or self.film(place)).thinned(SENT).wire(self.view)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  whatever the student's function raises is shown
            head, payload = {"problem": problem(error)}, b""
        seconds = time.perf_counter() - began
        return head | {"number": request["number"], "place": place, "seconds": seconds}, [payload]

    def still(self) -> tuple[dict[str, str], dict[str, Any]]:
        """The starting setting as one picture with its description, as notebook output."""
        if self.first is None:
            self.first = self.film(self.start)
        return still(self.first, self.view, self.charts, self.alt)

    def html(self) -> str:
        """A page fragment that plays the starting setting by itself; with scripts off, the strip is there.

        Beside the live player in the same cell it hides; in a saved notebook it takes the live player's place.
        """
        data, _ = self.still()
        film = self.first.thinned(EMBEDDED).embedded(self.view)
        mount = (
            "const root = document.currentScript.parentNode.querySelector('.gm-lab');"
            f"gmWhenSeen(root, () => mountPlayer(root, {for_page(self.spec())}, null, {for_page(film)}));"
        )
        return (
            f'<div class="gm-saved"><div class="gm-lab gm-play">{data["text/html"]}</div>'
            f"<style>{style('play')}{TWO_OUTPUTS}</style>"
            f"<script>(() => {{{script('play')}\n{mount} }})();</script></div>"
        )

    def widget(self) -> Any:
        """The live form: the page asks for settings, the kernel runs the caller's function."""
        widget = _widget_class()(spec=self.spec())
        widget.on_msg(self._receive)
        return widget

    def _receive(self, widget: Any, request: dict[str, Any], _: Any) -> None:
        widget.send(*self.answer(request))

    def _ipython_display_(self) -> None:
        """It was displayed when it was made; as the last value of a cell it adds nothing."""


# Of the two outputs of a cell, the saved film and the live player, one is seen: the live one where it lives.
TWO_OUTPUTS = """
.jp-OutputArea-child:has(.gm-saved):has(+ .jp-OutputArea-child .gm-live) { display: none; }
.jp-OutputArea-child:has(.gm-saved)
  + .jp-OutputArea-child:has(.jupyter-widgets, [data-mime-type*="widget-view"]):not(:has(.gm-live)) { display: none; }
"""


@functools.cache
def _widget_class() -> type:
    """Made on first use: importing widgets costs a second that other cells need not pay."""
    import anywidget
    import traitlets

    live = """
export default { render({ model, el }) {
  const player = mountPlayer(el, model.get("spec"), (request) => model.send(request), null);
  const receive = (answer, buffers) => {
    el.classList.add("gm-live"); // only now: in a page that shows widgets without a kernel the saved film stays
    player.receive(answer, gmCopy(buffers[0]));
  };
  model.on("msg:custom", receive);
  return () => { model.off("msg:custom", receive); player.close(); };
} };"""

    class PlayWidget(anywidget.AnyWidget):
        _esm = script("play") + live
        _css = style("play")
        spec = traitlets.Dict().tag(sync=True)

        def __repr__(self) -> str:
            return "The live player: run this cell to have it."

    return PlayWidget


def play(
    run: Callable[..., Any],
    view: View,
    *,
    alt: str,
    charts: Sequence[Chart] = (),
    fps: float = 30.0,
    **controls: Sequence[Any],
) -> Player:
    """Play what ``run(**settings)`` gives, frame by frame, with a control for each setting.

    run       returns the states, a list or a generator of tensors of one shape, or a ``Take`` with times, a caption and
              the lines of the linked charts
    view      ``Particles``, ``Pictures`` or ``Tokens``
    alt       what is to be seen, for those who do not see it
    fps       frames a second while playing
    controls  name=values: numbers make a slider, booleans a switch, others a list; ``pick(values, start)`` chooses the
              first setting, else it is the middle number, the first of a list, and off
    Frames are sent once for each setting and scrubbed in the browser. A changed setting runs again in Python; only the
    newest is waited for. What ``run`` raises is shown in the player. Where ``static()`` holds, ``run`` is called once
    and a strip of its frames is drawn.
    """
    player = Player(run, view, alt, charts, fps, controls)
    if static():
        publish(*player.still())
    else:
        _display(player)
    return player


def _display(player: Player) -> None:
    """The film for readers of the saved page, and the live player, which hides it."""
    from IPython.display import display

    try:
        data, metadata = player.still()
        publish({**data, "text/html": player.html()}, metadata)
    except Exception as error:  # noqa: BLE001  whatever the student's function raises is shown in the player
        said = f"{type(error).__name__}: {error}"
        page = f'<div class="gm-saved"><pre>{html.escape(said)}</pre></div><style>{TWO_OUTPUTS}</style>'
        publish({"text/html": page, "text/plain": said})
    display(player.widget())
