"""Grids and draws of time against another library and their laws; each oracle has its sabotage twins."""

from unittest import mock

import pytest
import torch
from scipy import stats

from coursekit import checks
from genmodels.core import generator
from genmodels.schedule import (
    edm,
    karras_grid,
    linear_vp,
    log_snr_grid,
    logit_normal_times,
    lognormal_times,
    rectified,
    uniform_grid,
    uniform_times,
)


def karras_grid_meets_diffusers():
    from diffusers import EDMEulerScheduler

    theirs = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, rho=7.0)
    theirs.set_timesteps(18)
    ours = torch.tensor(karras_grid(edm(), 18), dtype=torch.float64)
    checks.close(ours, theirs.sigmas.double(), "Karras' grid", atol=1e-6, rtol=1e-5)
    assert ours[0] == pytest.approx(80, rel=1e-13) and ours[-2] == pytest.approx(0.002, rel=1e-12) and ours[-1] == 0
    straight = torch.tensor(karras_grid(edm(), 9, sigma_max=9.0, rho=1.0)[:-1])
    checks.close(straight.diff(), straight.diff().mean().expand(8), "rho = 1 is linear", atol=1e-6)
    p = linear_vp()
    levels = [p.at(t).sigma / p.at(t).alpha for t in karras_grid(p, 6, sigma_max=50.0)[:-1]]
    assert levels == pytest.approx(karras_grid(edm(), 6, sigma_max=50.0)[:-1], rel=1e-9)


def grids_are_even():
    for make in (rectified, linear_vp, lambda: edm(30.0)):
        p = make()
        t = torch.tensor(uniform_grid(p, 7), dtype=torch.float64)
        assert len(t) == 8 and t[0] == p.t_max and t[-1] == 0
        checks.close(t.diff(), torch.full((7,), -p.t_max / 7, dtype=torch.float64), "uniform grid", atol=1e-12)
        lam = torch.tensor([p.log_snr(t) for t in log_snr_grid(p, 6, low=-6, high=8)[:-1]], dtype=torch.float64)
        checks.close(lam, torch.linspace(-6, 8, 6, dtype=torch.float64), "log-SNR grid", atol=1e-9)
    assert uniform_grid(rectified(), 2, start=0.9, stop=0.1) == pytest.approx([0.9, 0.5, 0.1])


def uniform_draws_are_stratified():
    t = uniform_times(50, generator=generator(0), t_max=3.0)
    assert ((t > 0) & (t <= 3)).all()
    cells = ((t / 3 * 50).ceil().long() - 1).sort().values
    assert (cells == torch.arange(50)).all()
    assert (t.diff() > 0).any() and (t.diff() < 0).any(), "sorted times would pair low noise with the batch's start"
    first = torch.stack([uniform_times(5, generator=generator(i))[0] for i in range(2000)])
    assert stats.kstest(first.numpy(), "uniform").pvalue > 1e-4  # each of them is uniform


def no_time_is_zero():
    """torch.rand may return 0 exactly, once in 2^24 draws: a training run meets it."""
    with mock.patch("torch.rand", lambda n, **_: torch.zeros(n)):
        t = uniform_times(7, t_max=2.0)
    assert (t > 0).all() and t.max() == 2.0


def draws_have_their_law():
    z = logit_normal_times(5000, mean=0.7, std=1.3, generator=generator(2)).logit()
    assert stats.kstest(z.numpy(), "norm", (0.7, 1.3)).pvalue > 1e-4
    sigma = lognormal_times(5000, generator=generator(3)).log()
    assert stats.kstest(sigma.numpy(), "norm", (-1.2, 1.2)).pvalue > 1e-4


ORACLES = [
    karras_grid_meets_diffusers,
    grids_are_even,
    uniform_draws_are_stratified,
    no_time_is_zero,
    draws_have_their_law,
]


@pytest.mark.parametrize("oracle", ORACLES)
def test_truth(oracle):
    oracle()


SABOTAGE = [
    (
        karras_grid_meets_diffusers,
        karras_grid,
        "(high + (low - high) * i / (steps - 1)) ** rho",
        "sigma_max + (sigma_min - sigma_max) * i / (steps - 1)",
    ),
    (karras_grid_meets_diffusers, karras_grid, "i / (steps - 1)", "i / steps"),
    (karras_grid_meets_diffusers, karras_grid, "-2 * math.log(u)", "-math.log(u)"),
    (grids_are_even, uniform_grid, "for i in range(steps)", "for i in range(steps - 1)"),
    (grids_are_even, log_snr_grid, "/ (steps - 1)", "/ steps"),
    (uniform_draws_are_stratified, uniform_times, "(shuffled + u) / n", "u"),
    (
        uniform_draws_are_stratified,
        uniform_times,
        "random(torch.randperm, n, generator=generator, device=device)",
        "torch.arange(n)",
    ),
    (no_time_is_zero, uniform_times, "u = 1 - random", "u = random"),
    (draws_have_their_law, logit_normal_times, "mean, std, generator", "mean, std**2, generator"),
    (draws_have_their_law, lognormal_times, "torch.exp(", "torch.exp(-"),
]


@pytest.mark.parametrize(("oracle", "where", "old", "new"), SABOTAGE)
def test_oracle_notices(edit, oracle, where, old, new):
    edit(where, old, new)
    with pytest.raises(AssertionError):
        oracle()
