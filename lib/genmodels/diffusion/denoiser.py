"""A network as a denoiser: whatever it predicts, on whatever path, the caller gets an estimate of x_0."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genmodels.core import random, require, sum_except_batch
from genmodels.schedule import Schedule

from .targets import TARGETS, WEIGHTS, Denoise, Target, Weight, determinant, edm_target, inverse, scaled

__all__ = ["Denoiser", "conditioned", "drop_labels", "guided", "loss", "rescale"]

# A prediction tells x_0 no more where an error of it, relative to |(a, b)|, makes one in x_0 a million times as large.
BLIND = 1e6


class Denoiser(nn.Module):
    """x_0 hat = c_skip x_t + c_out F(c_in x_t, c_noise), c_skip and c_out from the 2 x 2 solve  [Karras et al. 2022].

    network    called as network(x, t) or network(x, t, y), t (b,), y the labels; returns the shape of x
    target     what the network predicts: a name of TARGETS, "edm", or a function of the path's point giving (a, b)
    data_std   if given, the network sees x_t / sqrt(Var x_t) and c_noise = log(sigma / alpha) / 4, as in EDM;
               otherwise x_t itself and t / t_max, in [0, 1]
    clip       if given, x_0 hat is clipped to [-clip, clip], the range of the data
    """

    def __init__(
        self,
        network: Callable[..., Tensor],
        schedule: Schedule,
        target: str | Target = "v",
        *,
        data_std: float | None = None,
        clip: float | None = None,
    ) -> None:
        super().__init__()
        require(target != "edm" or data_std is not None, 'the target "edm" needs data_std, the data\'s std')
        require(data_std is None or data_std > 0, f"data_std must be positive, got {data_std}")
        require(clip is None or clip > 0, f"clip is the largest |x_0|, so positive; got {clip}")
        known = {**TARGETS, "edm": edm_target(data_std or 1.0)}
        require(callable(target) or target in known, f"unknown target {target!r}; known: {', '.join(known)}")
        self.network, self.schedule, self.data_std, self.clip = network, schedule, data_std, clip
        self.target = target if callable(target) else known[target]

    def predict(
        self,
        x: Float[Tensor, "b *d"],
        t: Float[Tensor, "b"] | Float[Tensor, ""] | float,
        y: Int[Tensor, "b *k"] | None = None,
    ) -> Float[Tensor, "b *d"]:
        """What the network returns: its estimate of a x_0 + b eps."""
        label = t / self.schedule.t_max
        seen = x
        if self.data_std is not None:
            p = self.schedule.at(t)
            seen = scaled(((p.alpha * self.data_std) ** 2 + p.sigma**2) ** -0.5, x) * x
            ratio = p.sigma / p.alpha
            label = (ratio.log() if isinstance(ratio, Tensor) else math.log(ratio)) / 4
        time = label.to(x).expand(len(x)) if isinstance(label, Tensor) else x.new_full((len(x),), label)
        out = self.network(seen, time) if y is None else self.network(seen, time, y)
        if out.shape != x.shape:  # (b, 1) would broadcast without a word
            raise ValueError(f"the network must return the shape of x, {tuple(x.shape)}; got {tuple(out.shape)}")
        return out

    def forward(
        self,
        x: Float[Tensor, "b *d"],
        t: Float[Tensor, "b"] | Float[Tensor, ""] | float,
        y: Int[Tensor, "b *k"] | None = None,
    ) -> Float[Tensor, "b *d"]:
        """Estimate of x_0 from x_t = x.

        For a float t, ValueError where the target cannot tell x_0 (eps where alpha = 0). The value of a tensor t is
        not looked at, which would synchronise the device: there the answer is finite but huge.
        """
        p = self.schedule.at(t)
        (skip, out), _ = inverse(self.target, p)
        if not isinstance(t, Tensor) and abs(out) * math.hypot(*self.target(p)) > BLIND:
            raise ValueError(  # not by require, which would format the message at every step
                f"at t = {t:g} the path {self.schedule.name} has alpha = {p.alpha:.1g}, where this target does not "
                "tell x_0: start the grid a little below, or predict v, velocity or x0"
            )
        x0 = scaled(skip, x) * x + scaled(out, x) * self.predict(x, t, y)
        return x0 if self.clip is None else x0.clamp(-self.clip, self.clip)


def loss(
    model: Denoiser,
    x0: Float[Tensor, "b *d"],
    t: Float[Tensor, "b"],
    *,
    weight: str | Weight = "eps",
    y: Int[Tensor, "b *k"] | None = None,
    eps: Float[Tensor, "b *d"] | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "b"]:
    """weight(t) |x_0 - x_0 hat|^2, summed over dimensions: every published diffusion and flow loss, by its weight.

    weight   a name of WEIGHTS or a function of the path's point: "eps" is DDPM's L_simple, "velocity" conditional
             flow matching, "elbo" the bound in nats (up to prior and reconstruction), edm_weight(data_std) EDM's
    eps      the noise paired with each x0: independent if not given; a coupling (reflow, optimal transport) otherwise

    Computed as weight (sigma / det)^2 |F - F hat|^2 in the network's own units, with no division by a small alpha.
    """
    require(callable(weight) or weight in WEIGHTS, f"unknown weight {weight!r}; known: {', '.join(WEIGHTS)}")
    xt, eps = model.schedule.corrupt(x0, t, eps=eps, generator=generator)
    p = model.schedule.at(t)
    a, b = model.target(p)
    error = model.predict(xt, t, y) - (scaled(a, x0) * x0 + scaled(b, x0) * eps)
    w = weight(p) if callable(weight) else WEIGHTS[weight](p)
    return w * (p.sigma / determinant(model.target, p)) ** 2 * sum_except_batch(error**2)


def conditioned(model: Denoiser, y: Int[Tensor, "b *k"]) -> Denoise:
    """The denoiser of p(x_0 | y), labels fixed: the (x, t) interface that every sampler takes."""
    return lambda x, t: model(x, t, y)


def guided(conditional: Denoise, unconditional: Denoise, scale: float) -> Denoise:
    """Classifier-free guidance: uncond + scale (cond - uncond); 0 and 1 are the two denoisers exactly.

    [Ho & Salimans 2022; their w is scale - 1.] Linear, hence the same in x_0, eps or score. As the noise goes to 0 the
    guided field is the score of p(x)^(1 - scale) p(x | y)^scale; at larger noise it is not that of its noised marginal.
    """
    return lambda x, t: torch.lerp(unconditional(x, t), conditional(x, t), scale)


def drop_labels(
    y: Int[Tensor, "b *k"], empty: int, probability: float, *, generator: torch.Generator | None = None
) -> Int[Tensor, "b *k"]:
    """A copy where each sample's labels, all of them together, become ``empty`` with this probability."""
    require(0 <= probability <= 1, f"probability must lie in [0, 1], got {probability}")
    drop = random(torch.rand, len(y), generator=generator, device=y.device) < probability
    return y.masked_fill(drop.reshape(-1, *[1] * (y.ndim - 1)), empty)


def rescale(denoise: Denoise, source: Schedule, target: Schedule) -> Denoise:
    """A denoiser of the path ``source`` as one of the path ``target``, without retraining.

    Where two paths have the same log-SNR, x_t of one is a multiple of x_t of the other  [Karras et al. 2022, sec. 4].
    Where the target's SNR leaves the source's range, the source's nearer end is used.
    """
    matching = cache(lambda t: source.time_at(target.log_snr(t)))  # a bisection for each new float time

    def rescaled(x: Float[Tensor, "b *d"], t: Float[Tensor, "b"] | Float[Tensor, ""] | float) -> Float[Tensor, "b *d"]:
        there = source.time_at(target.log_snr(t)) if isinstance(t, Tensor) else matching(t)
        p, q = source.at(there), target.at(t)
        # the ratio of alphas, which is that of sigmas too, written so that neither end divides by 0
        ratio = ((p.alpha**2 + p.sigma**2) / (q.alpha**2 + q.sigma**2)) ** 0.5
        return denoise(scaled(ratio, x) * x, there)

    return rescaled
