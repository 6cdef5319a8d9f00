"""From noise to data: one loop over a grid of times, and the steps that it takes on a Gaussian path and on tokens."""

from genmodels.samplers.continuous import churn, ddim, ddim_coefficients, euler, heun, langevin, sde
from genmodels.samplers.correcting import psi, psi_kernel, remdm, remdm_kernel
from genmodels.samplers.discrete import (
    Cached,
    ancestral,
    ancestral_kernel,
    concrete_score,
    draw,
    first_hitting,
    hitting_times,
    semi_autoregressive,
    tau_leaping,
    tau_leaping_kernel,
    tweedie,
    tweedie_kernel,
)
from genmodels.samplers.guessing import confidence, confidence_kernel, threshold, threshold_kernel
from genmodels.samplers.laws import terminal_law
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
    "confidence_kernel",
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
    "psi",
    "psi_kernel",
    "remdm",
    "remdm_kernel",
    "sample",
    "sde",
    "semi_autoregressive",
    "standard_normal",
    "straightness",
    "tau_leaping",
    "tau_leaping_kernel",
    "terminal_law",
    "threshold",
    "threshold_kernel",
    "tweedie",
    "tweedie_kernel",
]
