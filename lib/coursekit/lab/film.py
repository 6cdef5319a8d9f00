"""One run as it travels: frames packed, thinned out where they are too many, with all that is said about them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genmodels.core import require

from .takes import Chart, Take, chart_data, numbers
from .views import View

__all__ = ["Film", "record", "thin"]

MOST = 20_000  # frames; a generator that never ends would otherwise never be heard of again


@dataclass(frozen=True)
class Film:
    """Packed frames (f, ...), of which frame ``k`` was the state ``kept[k]`` of ``total``, and what belongs to them."""

    frames: np.ndarray
    kept: list[int]
    total: int
    times: list[float | None] | None
    caption: str
    note: str
    charts: dict[str, list[dict[str, Any]]]

    def thinned(self, most_bytes: int) -> Film:
        """The same film with no more than so many bytes of frames; the first and the last frame always stay."""
        places = thin(len(self.frames), most_bytes // max(self.frames[0].nbytes, 1))
        if len(places) == len(self.frames):
            return self
        kept = [self.kept[k] for k in places]
        return Film(self.frames[places], kept, self.total, self.times, self.caption, self.note, self.charts)

    def wire(self, view: View) -> tuple[dict[str, Any], bytes]:
        """The message to the page, and its bytes."""
        head, payload = view.encode(self.frames)
        said = {"kept": self.kept, "total": self.total, "caption": self.caption, "note": self.note}
        times = self.times and [self.times[k] for k in self.kept]
        return head | said | {"times": times, "charts": self.charts}, payload

    def embedded(self, view: View) -> dict[str, Any]:
        """The message with its bytes inside, for a page without a kernel."""
        head, payload = self.wire(view)
        return head | {"payload": base64.b64encode(payload).decode()}


def thin(total: int, most: int) -> list[int]:
    """At most ``most`` (but two) of ``total`` places, evenly spread, the first and the last among them."""
    return sorted(set(np.linspace(0, total - 1, min(total, max(2, most))).round().astype(int).tolist()))


def record(take: Take, view: View, charts: Sequence[Chart], seen: dict[str, str]) -> Film:
    """Run through the states of a take and pack them."""
    frames: list[np.ndarray] = []
    lost: list[int] = []
    for k, state in enumerate(take.states):
        require(k < MOST, f"run gave more than {MOST} states; a film that long cannot be shown")
        frame, bad = view.pack(state)
        frames.append(frame)
        shapes = frames[0].shape, frame.shape
        require(
            len(set(shapes)) == 1, f"all states must have one shape; packed, state {k} is {shapes[1]}, not {shapes[0]}"
        )
        lost.append(bad)
    require(bool(frames), "run gave no states: it must return or yield at least one")
    times = None if take.times is None else numbers(take.times, "times")
    require(
        times is None or len(times) == len(frames),
        f"times needs one number a state: {len(times or [])} times were given for {len(frames)} states",
    )
    data = chart_data(take, charts, seen)
    return Film(np.stack(frames), [*range(len(frames))], len(frames), times, take.caption, _note(lost), data)


def _note(lost: Sequence[int]) -> str:
    first = next((k for k, bad in enumerate(lost) if bad), None)
    if first is None:
        return ""
    return f"NaN or infinity from state {first + 1} of {len(lost)} on: up to {max(lost)} numbers of a state."
