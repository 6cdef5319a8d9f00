"""Live labs: move a slider, see the student's own function at work; one static frame where nobody can move it.

    lab.scrub(draw, step=range(65), seed=range(8))    # draw(step=..., seed=...) returns a figure
    lab.scrub(frames, alt="A digit appears pixel by pixel.")

    lab.play(run, lab.Particles(density=mixture.log_prob), alt="Noise becomes data.", steps=[5, 10, 20], seed=range(9))

``scrub`` shows a figure for each setting. ``play`` shows a trajectory: ``run(**settings)`` returns its states, which
the browser plays as dots, pictures or tokens, with charts that follow. Everything works with the mouse, with the
keyboard (arrows, Home, End, Page keys, space to play) and with a screen reader.
"""

from .modes import static
from .play import Player, play
from .scrub import Scrubber, scrub
from .takes import Chart, Take, pick
from .views import Particles, Pictures, Tokens

__all__ = [
    "Chart",
    "Particles",
    "Pictures",
    "Player",
    "Scrubber",
    "Take",
    "Tokens",
    "pick",
    "play",
    "scrub",
    "static",
]
