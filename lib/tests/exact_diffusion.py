"""What the tests of diffusion share: exact data, exact moments of a step, and networks that are no identity."""

from itertools import pairwise
from unittest import mock

import numpy as np
import torch
from torch import nn

from genmodels.core import generator
from genmodels.diffusion import express
from genmodels.toy import GaussianMixture

F64 = torch.float64


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=generator(seed))


def hermite(n=60):
    """Nodes and weights for expectations under N(0, 1)."""
    z, w = np.polynomial.hermite_e.hermegauss(n)
    return torch.from_numpy(z), torch.from_numpy(w / w.sum())


def plane_mixture():
    """Three wide components: every flow map is smooth, so that an order shows at few steps."""
    means = torch.tensor([[-1.0, 0.3], [0.8, 0.9], [0.5, -1.1]], dtype=F64)
    return GaussianMixture(torch.tensor([0.5, 1.0, 0.8], dtype=F64), means, torch.tensor([0.6, 0.5, 0.7], dtype=F64))


def gaussian(mean, std):
    one = torch.ones(1, dtype=F64)
    return GaussianMixture(one, mean * one[:, None], std * one)


def level(path, fraction):
    """A time at the same share of every path, away from the ends where EDM's 80 is nothing but noise."""
    return fraction * min(path.t_max, 3.0)


def affine(step, t, s):
    """(offset, slope in x, slope in z) of a step that is affine in its state and its noise, on the line."""

    def at(x, z):
        with mock.patch("genmodels.samplers.continuous.noise_like", lambda x, _: torch.full_like(x, z)):
            return step(torch.tensor([[x]], dtype=F64), t, s).item()

    return at(0.0, 0.0), at(1.0, 0.0) - at(0.0, 0.0), at(0.0, 1.0) - at(0.0, 0.0)


def moments(step, times, mean, var):
    """Mean and variance after each step of an affine step, exactly."""
    for t, s in pairwise(times):
        offset, slope, noise = affine(step, t, s)
        mean, var = offset + slope * mean, slope**2 * var + noise**2
        yield s, mean, var


def estimate(x, t, seed=7):
    """Some non-linear function of x and t in place of a trained denoiser."""
    d = x[0].numel()
    w = randn(d, d, seed=seed).to(x)
    t = t[:, None] if isinstance(t, torch.Tensor) else t
    return (torch.tanh(x.flatten(1) @ w + t) + 0.3 * x.flatten(1) * t).reshape(x.shape)


class Predicts(nn.Module):
    """A network that answers in a target's terms what a denoiser answers in terms of x_0."""

    def __init__(self, target, denoise, path):
        super().__init__()
        self.field, self.path = express(target, denoise, path), path

    def forward(self, x, t):
        return self.field(x, t * self.path.t_max)


class Net(nn.Module):
    """A small network of (x, t) or (x, t, y) with random weights, so that zero initialisation hides nothing."""

    def __init__(self, d=1, seed=0):
        super().__init__()
        self.a, self.b = (
            nn.Parameter(0.7 * randn(d + 1, 8, seed=seed)),
            nn.Parameter(0.7 * randn(8, d, seed=seed + 50)),
        )

    def forward(self, x, t, y=None):
        h = torch.cat([x, t[:, None] + (0 if y is None else y[:, None])], 1)
        return torch.tanh(h @ self.a) @ self.b
