"""Two networks as one game: adversarial losses as functions, penalties, f-divergences, and the smallest GAN of all.

Losses take logits of a discriminator (or critic) and return one value per sample (b,), to be minimised by its owner.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from genmodels.core import expand, random, require, require_all, sum_except_batch

__all__ = ["DIVERGENCES", "LOSSES", "Divergence", "Loss", "adaptive_weight", "clip_weights", "dirac_field", "f_bound",
           "gradient_penalty", "optimal_discriminator", "r1", "r2", "relativistic_pair"]  # fmt: skip

Critic = Callable[[Tensor], Tensor]


class Loss(NamedTuple):
    """One game: what the critic minimises on real and on fake logits, and what the generator minimises on its fakes."""

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]

    def critic(self, real: Float[Tensor, "*b"], fake: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """The critic's loss per pair; the fakes that gave these logits must be detached from the generator."""
        require(  # (b, 1) against (b,) would broadcast to b x b without a word
            real.shape == fake.shape, f"real {tuple(real.shape)} and fake {tuple(fake.shape)} must have one shape"
        )
        return self.real(real) + self.fake(fake)


def _relu_below(margin: Tensor) -> Tensor:
    return F.relu(1 - margin)


LOSSES: dict[str, Loss] = {
    # -log D(x), -log(1 - D(G(z))); the generator minimises log(1 - D), eq. 1 of Goodfellow et al. 2014.
    "saturating": Loss(lambda a: F.softplus(-a), F.softplus, lambda a: -F.softplus(a)),
    # The same critic; the generator minimises -log D (ibid., sec. 3): a strong gradient where the critic is sure.
    "non_saturating": Loss(lambda a: F.softplus(-a), F.softplus, lambda a: F.softplus(-a)),
    # Lim & Ye 2017.
    "hinge": Loss(_relu_below, lambda a: _relu_below(-a), torch.neg),
    # Mao et al. 2017, targets 1 and 0; halves as in the paper.
    "least_squares": Loss(lambda a: (a - 1) ** 2 / 2, lambda a: a**2 / 2, lambda a: (a - 1) ** 2 / 2),
    # Arjovsky et al. 2017: the critic's value is a potential, no sigmoid; it must be kept 1-Lipschitz by other means.
    "wasserstein": Loss(torch.neg, lambda a: a, torch.neg),
}


def relativistic_pair(
    real: Float[Tensor, "b"], fake: Float[Tensor, "b"]
) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
    """What critic and generator minimise where only a pair's difference counts: softplus(-(a - b)) and softplus(a - b)
    for logits a of real and b of fake samples [Jolicoeur-Martineau 2019; R3GAN, Huang et al. 2024, eq. 2].

    With ``r1`` and ``r2`` this is R3GAN. Detach the fakes in the critic's turn; in the generator's, step its weights.
    """
    require(real.shape == fake.shape, f"real {tuple(real.shape)} and fake {tuple(fake.shape)} must have one shape")
    return F.softplus(fake - real), F.softplus(real - fake)


def optimal_discriminator(log_p: Float[Tensor, "*n"], log_q: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """D*(x) = p / (p + q) for data density p and model density q; its logit is log p/q [Goodfellow et al. 2014]."""
    return torch.sigmoid(log_p - log_q)


def r1(critic: Critic, real: Float[Tensor, "b *d"]) -> Float[Tensor, "b"]:
    """|grad_x critic(x)|^2 at real samples [Mescheder et al. 2018, eq. 9]; the usual weight is gamma / 2.

    Differentiable in the critic's weights.
    """
    return sum_except_batch(_slope(critic, real.detach()).square())


def r2(critic: Critic, fake: Float[Tensor, "b *d"]) -> Float[Tensor, "b"]:
    """|grad_x critic(x)|^2 at generated samples, as ``r1`` at real ones [Mescheder et al. 2018, eq. 10]."""
    return r1(critic, fake)


def _slope(critic: Critic, x: Float[Tensor, "b *d"]) -> Float[Tensor, "b *d"]:
    """Each sample's gradient of its own value, differentiable in the critic's weights."""
    x = x.requires_grad_()
    return torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0]


def gradient_penalty(
    critic: Critic,
    real: Float[Tensor, "b *d"],
    fake: Float[Tensor, "b *d"],
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "b"]:
    """(|grad critic| - 1)^2 at one random point between each real and fake sample [Gulrajani et al. 2017, eq. 3].

    One interpolation weight a sample, the norm over all its entries; the usual weight is 10. Differentiable in the
    critic's weights. Raises ValueError for batches of different shape.
    """
    require(real.shape == fake.shape, f"real {tuple(real.shape)} and fake {tuple(fake.shape)} must have the same shape")
    u = random(torch.rand, len(real), generator=generator, dtype=real.dtype, device=real.device)
    x = torch.lerp(fake.detach(), real.detach(), expand(u, real))
    slope = _slope(critic, x)
    # The norm of a slope of exactly 0 has gradient 0 here; the root of the sum of squares has NaN.
    return (torch.linalg.vector_norm(slope.reshape(len(slope), slope.shape[1:].numel()), dim=1) - 1).square()


@torch.no_grad()
def clip_weights(parameters: Iterable[Tensor], limit: float = 0.01) -> None:
    """Clamp every weight to [-limit, limit] in place, after the critic's step [Arjovsky et al. 2017, algorithm 1]."""
    require(limit > 0, f"the clipping limit must be positive, got {limit}")
    for p in parameters:
        p.clamp_(-limit, limit)


class Divergence(NamedTuple):
    """D_f(p, q) = E_q f(p/q): f and its derivative as functions of the log-ratio, and the conjugate f*(t)."""

    f: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    conjugate: Callable[[Tensor], Tensor]


def _minus_log(v: Tensor) -> Tensor:
    """-log v, and +inf where v <= 0: a conjugate outside its domain."""
    inside = v > 0
    return torch.where(inside, -torch.where(inside, v, 1.0).log(), torch.inf)


def _held(r: Tensor) -> Tensor:
    """A log-ratio that may be infinite (one density 0), kept where 0 * inf cannot arise: e^1000 is infinite, e^-1000
    zero, in every precision."""
    return r.clamp(-1000, 1000)


# Nowozin et al. 2016, table 1 and 2, with u = p/q given as log u, from -inf to inf. f(1) = 0 throughout.
DIVERGENCES: dict[str, Divergence] = {
    "kl": Divergence(lambda r: _held(r).exp() * _held(r), lambda r: r + 1, lambda t: (t - 1).exp()),
    "reverse_kl": Divergence(torch.neg, lambda r: -(-r).exp(), lambda t: _minus_log(-t) - 1),
    # 2 JS(p, q), the value of the original game up to 2 log 2; log u - softplus(log u) = logsigmoid(log u).
    "jensen_shannon": Divergence(
        lambda r: _held(r).exp() * (math.log(2) + F.logsigmoid(_held(r))) + math.log(2) - F.softplus(_held(r)),
        lambda r: math.log(2) - F.softplus(-r),
        lambda t: _minus_log(2 - t.exp()),
    ),
    "chi_squared": Divergence(lambda r: r.expm1() ** 2, lambda r: 2 * r.expm1(), lambda t: t**2 / 4 + t),
}


def f_bound(divergence: Divergence, real: Float[Tensor, "n"], fake: Float[Tensor, "m"]) -> Float[Tensor, ""]:
    """The variational lower bound E_p T - E_q f*(T) <= D_f(p, q) from critic values T [Nowozin et al. 2016, eq. 4].

    Equality at T = f'(p/q). ``real`` and ``fake`` are T at samples of p and q; T must lie in the domain of f*, or
    ValueError: elsewhere f* is infinite and the bound says nothing.
    """
    require(len(real) > 0 and len(fake) > 0, f"a mean needs values; got {len(real)} real and {len(fake)} fake")
    cost = divergence.conjugate(fake)
    largest = float(fake.detach().max())
    require_all(cost < torch.inf, f"critic values must lie where f* is finite; the largest on q is {largest:.4g}")
    return real.mean() - cost.mean()


def adaptive_weight(
    reconstruction: Float[Tensor, ""], adversarial: Float[Tensor, ""], last_layer: Tensor, *, eps: float = 1e-4
) -> Float[Tensor, ""]:
    """|grad reconstruction| / (|grad adversarial| + eps) at the decoder's last layer [Esser et al. 2021, eq. 7].

    Multiplying the generator's adversarial loss by it makes both terms pull equally hard. Clamped to [0, 1e4].
    """
    require(
        reconstruction.ndim == adversarial.ndim == 0,
        f"give the mean losses, two numbers; got {tuple(reconstruction.shape)} and {tuple(adversarial.shape)}",
    )
    pull = [
        torch.autograd.grad(loss, last_layer, retain_graph=True)[0].norm() for loss in (reconstruction, adversarial)
    ]
    return (pull[0] / (pull[1] + eps)).clamp(0, 1e4).detach()


def dirac_field(
    theta: Tensor, psi: Tensor, *, loss: str = "non_saturating", penalty: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Gradient flow of the Dirac-GAN: data at 0, generator at theta, critic psi * x [Mescheder et al. 2018].

    Both players descend their loss of LOSSES at the logit psi theta, and the critic also penalty / 2 * r1, which adds
    -penalty * psi. For "saturating", the minimax game, theta' = sigmoid(psi theta) psi and psi' = -sigmoid(psi theta)
    theta: without a penalty theta^2 + psi^2 never changes. For "non_saturating" theta' = sigmoid(-psi theta) psi, and
    the circle is slowly left inwards: only the linearisation at (0, 0) rotates. There, for both, the eigenvalues are
    (-penalty +- sqrt(penalty^2 - 1)) / 2.
    """
    require(loss in LOSSES, f"unknown loss {loss!r}; known: {', '.join(LOSSES)}")
    game, logit = LOSSES[loss], psi * theta
    slope = lambda f: torch.func.grad(lambda a: f(a).sum())(logit)
    return -slope(game.generator) * psi, -slope(game.fake) * theta - penalty * psi
