"""The bounds of chapter 04 from the library's parts: what its labs use until a student's own is written."""

from __future__ import annotations

import math
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from genmodels.core import log_mean_exp
from genmodels.vae import gaussian_kl

__all__ = ["categorical_elbo", "elbo", "iwae"]


def _inked(logits: Tensor, x: Tensor) -> Tensor:
    return -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)


def elbo(
    x: Float[Tensor, "b n"],
    mean: Float[Tensor, "b k"],
    logvar: Float[Tensor, "b k"],
    eps: Float[Tensor, "b k"],
    decode: Callable[[Tensor], Tensor],
    beta: float = 1.0,
) -> Float[Tensor, "b"]:
    """log p(x|z) - beta KL(q(z|x) || N(0, 1)) at z = mean + std eps, in nats [Kingma and Welling 2014, eq. 10]."""
    return _inked(decode(mean + (logvar / 2).exp() * eps), x) - beta * gaussian_kl(mean, logvar).sum(1)


def iwae(
    x: Float[Tensor, "b n"],
    mean: Float[Tensor, "b k"],
    logvar: Float[Tensor, "b k"],
    eps: Float[Tensor, "K b k"],
    decode: Callable[[Tensor], Tensor],
) -> Float[Tensor, "b"]:
    """log of the mean of K importance weights, in nats [Burda et al. 2016, eq. 8]."""
    z = mean + (logvar / 2).exp() * eps
    logits = decode(z.flatten(0, 1)).reshape(len(eps), len(x), -1)
    return log_mean_exp(_inked(logits, x) + (eps.square() + logvar - z.square()).sum(-1) / 2, 0)


def categorical_elbo(
    x: Float[Tensor, "b n"],
    logits: Float[Tensor, "b g v"],
    gumbel: Float[Tensor, "b g v"],
    tau: float,
    decode: Callable[[Tensor], Tensor],
) -> Float[Tensor, "b"]:
    """log p(x|y) - KL(q(z|x) || uniform) at the Gumbel-softmax blend y, in nats [Jang et al. 2017]."""
    y = ((logits + gumbel) / tau).softmax(-1)
    log_q = logits.log_softmax(-1)
    rate = (log_q.exp() * (log_q + math.log(logits.shape[-1]))).sum((1, 2))
    return _inked(decode(y.flatten(1)), x) - rate
