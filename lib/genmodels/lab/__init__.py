"""Live labs: move a slider, see the student's own function at work; one static frame where nobody can move it.

    lab.scrub(draw, step=range(65), seed=range(8))    # draw(step=..., seed=...) returns a figure
    lab.scrub(frames, alt="A digit appears pixel by pixel.")

Sliders work with the mouse, with the keyboard (arrows, Home, End, Page keys) and with a screen reader.
"""

from .modes import static
from .scrub import Scrubber, scrub

__all__ = ["Scrubber", "scrub", "static"]
