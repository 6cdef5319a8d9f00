"""The stand-ins of chapter 12, on data whose field, score and roads are known."""

import math

import torch

from coursekit.views import straight
from genmodels import core, schedule, toy

LINE = toy.GaussianMixture(torch.ones(1).double(), torch.zeros(1, 1).double(), torch.tensor([0.5]).double())
FIELD = LINE.velocity(schedule.rectified())


def noise(*shape, seed):
    return torch.randn(*shape, generator=core.generator(seed), dtype=torch.float64)


def test_the_marginal_velocity_of_one_point_is_its_line():
    x, data = noise(4, 2, seed=0), noise(1, 2, seed=1)
    assert torch.allclose(straight.marginal_velocity(x, 0.4, data), (x - data) / 0.4)


def test_the_loss_sums_squares_of_each_sample():
    x0, eps, t = noise(3, 2, 2, seed=0), noise(3, 2, 2, seed=1), torch.tensor([0.1, 0.5, 0.9]).double()
    at = t[:, None, None]
    wanted = ((2 * ((1 - at) * x0 + at * eps) - eps + x0) ** 2).sum((1, 2))
    assert torch.allclose(straight.flow_loss(lambda x, _: 2 * x, x0, eps, t), wanted)


def test_a_straight_road_has_straightness_zero_and_a_bent_one_has_not():
    times, x = [1.0, 0.6, 0.0], noise(5, 2, seed=2)
    roads = straight.euler_path(lambda x, t: torch.ones_like(x), x, times)
    assert torch.allclose(roads[-1], x - 1)
    assert straight.straightness(roads, times).abs().max() < 1e-12
    bent = straight.euler_path(lambda x, t: torch.full_like(x, t), x, times)  # legs at speed 1 and 0.6, chord 0.76
    assert torch.allclose(
        straight.straightness(bent, times), torch.full((5,), 2 * (0.4 * 0.24**2 + 0.6 * 0.16**2)).double()
    )


def test_dice_keep_the_spread_of_the_crowd():
    x = torch.linspace(-4, 4, 9).double()[:, None]
    still = straight.stochastic_step(FIELD, x, 0.5, 0.499, 0.0, torch.zeros_like(x))
    assert torch.allclose(still, straight.euler_path(FIELD, x, [0.5, 0.499])[-1])
    g, h, t = 1.3, 1e-4, 0.5
    factor = float(straight.stochastic_step(FIELD, torch.ones(1, 1).double(), t, t - h, g, torch.zeros(1, 1).double()))
    variance = lambda t: 0.25 * (1 - t) ** 2 + t**2
    assert math.isclose(factor**2 * variance(t) + g**2 * h, variance(t - h), abs_tol=1e-6)
    kicks = straight.stochastic_step(FIELD, x, t, t - h, g, torch.ones_like(x))
    calm = straight.stochastic_step(FIELD, x, t, t - h, g, torch.zeros_like(x))
    assert torch.allclose(kicks - calm, torch.full_like(x, g * h**0.5))
