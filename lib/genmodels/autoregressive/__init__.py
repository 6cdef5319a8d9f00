"""Autoregressive models: one protocol (``logits``, ``log_prob``, ``order``), five models, one sampler."""

from genmodels.autoregressive.base import Autoregressive, conditionals, sample, trajectory
from genmodels.autoregressive.heads import (
    Bernoulli,
    Categorical,
    DiscretizedLogisticMixture,
    discretized_logistic_mixture_log_prob,
)
from genmodels.autoregressive.pixels import GatedPixelCNN, PixelCNN
from genmodels.autoregressive.vectors import FVSBN, MADE, NADE, made_masks

__all__ = [
    "FVSBN",
    "MADE",
    "NADE",
    "Autoregressive",
    "Bernoulli",
    "Categorical",
    "DiscretizedLogisticMixture",
    "GatedPixelCNN",
    "PixelCNN",
    "conditionals",
    "discretized_logistic_mixture_log_prob",
    "made_masks",
    "sample",
    "trajectory",
]
