"""Denoisers on a Gaussian path: what a network predicts, its losses and bound, guidance, and change of path."""

from genmodels.diffusion.bound import Bound, divergence, implicit_score_matching, variational_bound
from genmodels.diffusion.denoiser import Denoiser, conditioned, drop_labels, guided, loss, rescale
from genmodels.diffusion.meanflow import mean_flow, mean_flow_step
from genmodels.diffusion.targets import (
    TARGETS,
    WEIGHTS,
    Denoise,
    Target,
    Weight,
    determinant,
    edm_target,
    edm_weight,
    express,
    inverse,
    min_snr_weight,
    noise_in,
    scaled,
    solve,
    squared_error,
)

__all__ = [
    "TARGETS",
    "WEIGHTS",
    "Bound",
    "Denoise",
    "Denoiser",
    "Target",
    "Weight",
    "conditioned",
    "determinant",
    "divergence",
    "drop_labels",
    "edm_target",
    "edm_weight",
    "express",
    "guided",
    "implicit_score_matching",
    "inverse",
    "loss",
    "mean_flow",
    "mean_flow_step",
    "min_snr_weight",
    "noise_in",
    "rescale",
    "scaled",
    "solve",
    "squared_error",
    "variational_bound",
]
