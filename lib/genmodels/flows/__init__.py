"""Normalising flows: bijections that return their log-determinant, and the distributions they make."""

from genmodels.flows.bijection import Bijection, Chain, Flow, Inverse
from genmodels.flows.continuous import CNF, exact_divergence, hutchinson_divergence, rademacher
from genmodels.flows.elementwise import Elementwise, affine, spline
from genmodels.flows.image import Logit, MultiScale, Squeeze, dequantized_log_prob
from genmodels.flows.layers import ActNorm, Coupling, MaskedAutoregressive, Mixing, Permute, Planar
from genmodels.flows.models import (
    autoregressive_flow,
    coupling_flow,
    glow,
    inverse_autoregressive_flow,
    real_nvp,
    spline_flow,
)
from genmodels.flows.patches import PatchAutoregressive, Patches, tarflow

__all__ = [
    "CNF",
    "ActNorm",
    "Bijection",
    "Chain",
    "Coupling",
    "Elementwise",
    "Flow",
    "Inverse",
    "Logit",
    "MaskedAutoregressive",
    "Mixing",
    "MultiScale",
    "PatchAutoregressive",
    "Patches",
    "Permute",
    "Planar",
    "Squeeze",
    "affine",
    "autoregressive_flow",
    "coupling_flow",
    "dequantized_log_prob",
    "exact_divergence",
    "glow",
    "hutchinson_divergence",
    "inverse_autoregressive_flow",
    "rademacher",
    "real_nvp",
    "spline",
    "spline_flow",
    "tarflow",
]
