"""Latent-variable models: the evidence lower bound, its tighter cousin, discrete latents, and a model where all is
exact.

A bound is a (b,) tensor of nats per sample; the loss to minimise is its negative.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import LowRankMultivariateNormal, MultivariateNormal

from genmodels.core import log_mean_exp, random, require
from genmodels.estimators import gumbel_softmax, normal
from genmodels.likelihoods import gaussian_log_prob, standard_normal_log_prob

__all__ = [
    "VAE",
    "Bound",
    "CategoricalVAE",
    "LinearGaussian",
    "elbo",
    "free_bits",
    "gaussian_kl",
    "iwae",
    "log_weights",
]

Likelihood = Callable[[Tensor, Tensor], Tensor]


class Bound(NamedTuple):
    """The two terms of the bound, each (b,): log p(x|z) on average, and the KL from the prior; and what they add up
    to.
    """

    elbo: Float[Tensor, "b"]
    reconstruction: Float[Tensor, "b"]
    kl: Float[Tensor, "b"]


class VAE(nn.Module):
    """Encoder q(z|x) = N(mean(x), diag exp(logvar(x))), prior N(0, I), decoder p(x|z) [Kingma & Welling 2014].

    ``encoder`` maps x (b, *d) to mean and logvar side by side (b, 2k); ``decoder`` maps z (b, k) to the parameters of
    ``likelihood(parameters, x) -> (b,)``, for example ``likelihoods.bernoulli_log_prob``.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, likelihood: Likelihood, latent: int):
        super().__init__()
        require(latent >= 1, f"the latent space needs at least 1 dimension, got {latent}")
        self.encoder, self.decoder, self.likelihood, self.latent = encoder, decoder, likelihood, latent

    def posterior(self, x: Float[Tensor, "b *d"]) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k"]]:
        """Mean and log-variance of q(z|x)."""
        out = self.encoder(x)
        require(
            out.shape == (len(x), 2 * self.latent),
            f"the encoder must return mean and logvar, shape ({len(x)}, {2 * self.latent}); got {tuple(out.shape)}",
        )
        return out.chunk(2, dim=1)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Parameters of p(x|z) for n draws z from the prior (not from the aggregate posterior)."""
        like = next(self.parameters())
        return self.decoder(
            random(torch.randn, n, self.latent, generator=generator, dtype=like.dtype, device=like.device)
        )


def gaussian_kl(mean: Float[Tensor, "b k"], logvar: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
    """KL(N(mean, exp(logvar)) || N(0, 1)) per dimension: (mean^2 + var - 1 - logvar) / 2 [Kingma & Welling 2014,
    app. B].
    """
    return (mean.square() + logvar.exp() - 1 - logvar) / 2


def free_bits(kl: Float[Tensor, "b k"], floor: float) -> Float[Tensor, "b"]:
    """KL summed over dimensions, none of which is pushed below ``floor`` nats on batch average [Kingma et al. 2016,
    eq. 15].

    The mean over the batch equals sum_j max(floor, mean_b kl_bj): the maximum is taken after the average over the
    batch.
    """
    require(floor >= 0, f"free bits must not be negative, got {floor}")
    held = kl.mean(0, keepdim=True) <= floor
    return torch.where(held, torch.full_like(kl, floor), kl).sum(1)


def elbo(
    model: VAE,
    x: Float[Tensor, "b *d"],
    *,
    beta: float = 1.0,
    floor: float = 0.0,
    generator: torch.Generator | None = None,
) -> Bound:
    """One-sample estimate of E_q log p(x|z) - beta KL(q(z|x) || p(z)), the KL in closed form [Kingma & Welling 2014,
    eq. 3; beta: Higgins et al. 2017].

    beta = 1 and floor = 0 give the evidence lower bound; other values are training objectives, not likelihoods.
    """
    mean, logvar = model.posterior(x)
    z = normal(mean, (logvar / 2).exp(), generator=generator)
    reconstruction = model.likelihood(model.decoder(z), x)
    per_dim = gaussian_kl(mean, logvar)
    kl = free_bits(per_dim, floor) if floor else per_dim.sum(1)
    return Bound(reconstruction - beta * kl, reconstruction, kl)


def log_weights(
    model: VAE, x: Float[Tensor, "b *d"], k: int, *, generator: torch.Generator | None = None
) -> Float[Tensor, "k b"]:
    """log p(x, z) - log q(z|x) for k draws z ~ q(z|x): importance weights whose mean is p(x)."""
    require(k >= 1, f"at least 1 importance sample is needed, got {k}")
    mean, logvar = model.posterior(x)
    std = (logvar / 2).exp()
    z = normal(mean.expand(k, *mean.shape), std, generator=generator)
    flat = z.flatten(0, 1)
    joint = model.likelihood(model.decoder(flat), x.repeat(k, *[1] * (x.ndim - 1))) + standard_normal_log_prob(flat)
    log_q = gaussian_log_prob(mean.repeat(k, 1), flat, std.repeat(k, 1))
    return (joint - log_q).reshape(k, len(x))


def iwae(
    model: VAE, x: Float[Tensor, "b *d"], k: int, *, generator: torch.Generator | None = None
) -> Float[Tensor, "b"]:
    """log of the mean of k importance weights: a bound that rises with k towards log p(x) [Burda et al. 2016, eq.
    8].
    """
    return log_mean_exp(log_weights(model, x, k, generator=generator), 0)


class CategoricalVAE(nn.Module):
    """A VAE with ``groups`` categorical latents of ``classes`` values and a uniform prior [Jang et al. 2017].

    ``encoder`` maps x to logits (b, groups * classes); ``decoder`` takes one-hot codes (b, groups * classes),
    flattened.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, likelihood: Likelihood, groups: int, classes: int):
        super().__init__()
        require(groups >= 1 and classes >= 2, f"need groups >= 1 and classes >= 2, got {groups} and {classes}")
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood
        self.groups, self.classes = groups, classes

    def posterior(self, x: Float[Tensor, "b *d"]) -> Float[Tensor, "b g v"]:
        """Normalised log-probabilities of every latent."""
        out, size = self.encoder(x), self.groups * self.classes
        require(
            out.shape == (len(x), size), f"the encoder must return logits ({len(x)}, {size}); got {tuple(out.shape)}"
        )
        return out.reshape(len(x), self.groups, self.classes).log_softmax(-1)

    def elbo(
        self, x: Float[Tensor, "b *d"], tau: float, *, hard: bool = False, generator: torch.Generator | None = None
    ) -> Bound:
        """The bound with a relaxed draw at temperature tau (``hard``: straight-through) and the exact categorical KL.

        With relaxed codes the decoder sees points between the codes, so only ``hard=True`` evaluates a true bound.
        """
        log_q = self.posterior(x)
        code = gumbel_softmax(log_q, tau, hard=hard, generator=generator)
        reconstruction = self.likelihood(self.decoder(code.flatten(1)), x)
        kl = (log_q.exp() * (log_q + math.log(self.classes))).sum((1, 2))
        return Bound(reconstruction - kl, reconstruction, kl)

    def enumerate(self, x: Float[Tensor, "b *d"]) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
        """Exact log p(x) and exact ELBO by summing over all classes ** groups codes (at most 4,096)."""
        count = self.classes**self.groups
        require(count <= 4096, f"{self.classes} ** {self.groups} = {count} codes are too many to enumerate (4,096)")
        codes = torch.tensor(list(itertools.product(range(self.classes), repeat=self.groups)), device=x.device)
        parameters = self.decoder(nn.functional.one_hot(codes, self.classes).to(x.dtype).flatten(1))
        each = torch.stack([self.likelihood(p.expand(len(x), *p.shape), x) for p in parameters], 1)
        log_q = self.posterior(x)[:, torch.arange(self.groups), codes].sum(-1)
        log_prior = -self.groups * math.log(self.classes)
        exact = torch.logsumexp(each + log_prior, 1)
        return exact, (log_q.exp() * (each + log_prior - log_q)).sum(1)


class LinearGaussian(nn.Module):
    """Probabilistic PCA: z ~ N(0, I_k), x = W z + bias + std * noise; likelihood and posterior known [Tipping &
    Bishop 1999].

    The oracle of the VAE chapter: every bound can be compared with the truth.
    """

    def __init__(self, weight: Float[Tensor, "d k"], bias: Float[Tensor, "d"], std: float):
        super().__init__()
        require(std > 0, f"the noise must be positive, got {std}")
        fits = weight.ndim == 2 and bias.shape == weight.shape[:1]
        require(fits, f"expected weight (d, k) and bias (d,); got {tuple(weight.shape)} and {tuple(bias.shape)}")
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.log_std = nn.Parameter(torch.tensor(math.log(std), dtype=weight.dtype))

    @classmethod
    def fit(cls, x: Float[Tensor, "n d"], latent: int) -> LinearGaussian:
        """Maximum likelihood in closed form: the leading eigenvectors, std^2 = mean of the discarded eigenvalues."""
        require(1 <= latent < x.shape[1], f"latent must lie in 1..{x.shape[1] - 1}, got {latent}")
        values, vectors = torch.linalg.eigh(torch.cov(x.T, correction=0))
        noise = values[:-latent].mean()
        weight = vectors[:, -latent:] * (values[-latent:] - noise).clamp_min(0).sqrt()
        return cls(weight, x.mean(0), float(noise.sqrt()))

    def log_prob(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b"]:
        """log N(x; bias, W W^T + std^2 I)."""
        noise = (2 * self.log_std).exp().expand(len(self.bias))
        return LowRankMultivariateNormal(self.bias, self.weight, noise).log_prob(x)

    def posterior(self, x: Float[Tensor, "b d"]) -> MultivariateNormal:
        """p(z|x) = N(M^-1 W^T (x - bias), std^2 M^-1) with M = W^T W + std^2 I."""
        var = (2 * self.log_std).exp()
        m = self.weight.T @ self.weight + var * torch.eye(self.weight.shape[1], dtype=x.dtype, device=x.device)
        mean = torch.linalg.solve(m, self.weight.T @ (x - self.bias).T).T
        return MultivariateNormal(mean, precision_matrix=m / var)

    def elbo(self, x: Float[Tensor, "b d"], q: MultivariateNormal) -> Float[Tensor, "b"]:
        """The bound in closed form for any Gaussian q over z: tight exactly when q is the posterior."""
        var = (2 * self.log_std).exp()
        residual = x - self.bias - q.mean @ self.weight.T
        spread = torch.einsum("dk,...kl,dl->...", self.weight, q.covariance_matrix, self.weight)
        quadratic = residual.square().sum(-1) + spread
        reconstruction = -quadratic / (2 * var) - x.shape[-1] * (self.log_std + 0.5 * math.log(2 * math.pi))
        prior = MultivariateNormal(
            torch.zeros_like(q.mean), torch.eye(q.mean.shape[-1], dtype=x.dtype, device=x.device)
        )
        return reconstruction - torch.distributions.kl_divergence(q, prior)
