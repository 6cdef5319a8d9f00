"""Each way in which noise is drawn wrongly shows in a part of its own; right noise shows in none."""

import pytest
import torch

from coursekit.checks.asking import Z
from coursekit.views import noise

SHAPE = (3, 4000, 2, 2)  # steps, samples, entries
ROWS = ["one", "two", "three"]


def drawn(kind: str, seed: int) -> torch.Tensor:
    """Noise with one fault."""
    g = torch.Generator().manual_seed(seed)
    steps, samples, *entries = SHAPE
    randn = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)
    if kind == "uniform":
        return (torch.rand(SHAPE, generator=g, dtype=torch.float64) - 0.5) * 12**0.5
    if kind == "antithetic":
        half = randn(steps, samples // 2, *entries)
        return torch.cat([half, -half], 1)
    shared = {
        "one for all samples": (steps, 1, *entries),
        "one for all steps": (1, samples, *entries),
        "one for all entries": (steps, samples, 1, 1),
        "one for a row": (steps, samples, 1, entries[1]),
    }
    z = randn(*shared.get(kind, SHAPE)).expand(SHAPE)
    return 1.15 * z if kind == "too large" else z + 0.1 if kind == "shifted" else z


def wrong_parts(z: torch.Tensor, seed: int) -> set[str]:
    """The parts whose mean is farther from its truth than a check allows."""
    before = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1000 + seed), dtype=torch.float64)
    want = noise.standard(SHAPE[0], SHAPE[2] * SHAPE[3])
    found = noise.looked_at(z, before, ROWS)
    assert set(found) == set(want)
    assert all(found[name].mean.shape == want[name].shape for name in want)
    return {name for name, w in want.items() if ((found[name].mean - w).abs() > Z * found[name].error + 1e-9).any()}


@pytest.mark.parametrize("seed", range(20))
def test_right_noise_shows_nowhere(seed):
    """Some 80 means of 4,000 draws each, at 5.5 standard errors: 3e-6 false alarms a run."""
    assert wrong_parts(drawn("right", seed), seed) == set()


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("uniform", "mean of |z|"),
        ("too large", "mean of z^2"),
        ("shifted", "mean of the noise z"),
        ("one for all samples", "z times the z of the next sample"),
        ("antithetic", "z times the z of a sample half the batch away"),
        ("one for all steps", "z times the z of the step before"),
        ("one for all entries", "z of one entry times z of another"),
        ("one for a row", "z of one entry times z of another"),
    ],
)
def test_each_fault_shows(kind, part):
    """Three seeds each; a fault may show elsewhere too, but never is its own part silent."""
    assert all(part in wrong_parts(drawn(kind, seed), seed) for seed in (1, 2, 3))
