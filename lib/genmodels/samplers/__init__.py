"""From noise to data: one loop over a grid of times, and the steps that it takes."""

from genmodels.samplers.continuous import churn, ddim, ddim_coefficients, euler, heun, langevin, sde
from genmodels.samplers.loop import Step, last, sample
from genmodels.samplers.ode import invert, log_likelihood, standard_normal, straightness

__all__ = [
    "Step",
    "churn",
    "ddim",
    "ddim_coefficients",
    "euler",
    "heun",
    "invert",
    "langevin",
    "last",
    "log_likelihood",
    "sample",
    "sde",
    "standard_normal",
    "straightness",
]
