"""From noise to data: one loop over a grid of times, and the steps that it takes."""

from genmodels.samplers.loop import Step, last, sample

__all__ = ["Step", "last", "sample"]
