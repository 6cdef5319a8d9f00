"""Diffusion on tokens: the two noise processes, their bounds, and masked prediction as the special case of one of them.

A denoiser is ``denoise(x_t, t) -> (b, l, states)``: log-probabilities of the clean token at every position;
t is one number while sampling and a number for each text, (b,), in a loss.
"""

from genmodels.discrete.masked import estimator_moments, exact_masked_nelbo, guided, llada_nelbo, subs
from genmodels.discrete.process import Fade, Masking, Process, Time, Uniform, score_entropy
from genmodels.discrete.remasking import Rank, at_random, by_confidence, by_entropy, by_margin, in_order, keep_top

__all__ = [
    "Fade",
    "Masking",
    "Process",
    "Rank",
    "Time",
    "Uniform",
    "at_random",
    "by_confidence",
    "by_entropy",
    "by_margin",
    "estimator_moments",
    "exact_masked_nelbo",
    "guided",
    "in_order",
    "keep_top",
    "llada_nelbo",
    "score_entropy",
    "subs",
]
