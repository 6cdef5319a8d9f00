"""From noise to data: one loop over a grid of times, and the steps that it takes on a Gaussian path and on tokens."""

from genmodels.samplers.continuous import churn, ddim, ddim_coefficients, euler, heun, langevin, sde
from genmodels.samplers.discrete import (
    Cached,
    ancestral,
    ancestral_kernel,
    concrete_score,
    confidence,
    draw,
    first_hitting,
    hitting_times,
    semi_autoregressive,
    tau_leaping,
    tau_leaping_kernel,
    tweedie,
    tweedie_kernel,
)
from genmodels.samplers.loop import Step, last, sample
from genmodels.samplers.ode import invert, log_likelihood, standard_normal, straightness

__all__ = [
    "Cached",
    "Step",
    "ancestral",
    "ancestral_kernel",
    "churn",
    "concrete_score",
    "confidence",
    "ddim",
    "ddim_coefficients",
    "draw",
    "euler",
    "first_hitting",
    "heun",
    "hitting_times",
    "invert",
    "langevin",
    "last",
    "log_likelihood",
    "sample",
    "sde",
    "semi_autoregressive",
    "standard_normal",
    "straightness",
    "tau_leaping",
    "tau_leaping_kernel",
    "tweedie",
    "tweedie_kernel",
]
