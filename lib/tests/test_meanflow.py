"""MeanFlow's identity on fields whose flow is known: one Gaussian in closed form, a mixture by an ODE solver."""

import pytest
import torch

from coursekit import checks
from genmodels import diffusion, samplers, schedule
from genmodels.core import generator
from genmodels.toy import GaussianMixture

F64 = torch.float64
MIXTURE = GaussianMixture(
    torch.tensor([0.3, 0.7], dtype=F64),
    torch.tensor([[-1.5, 0.4], [1.0, -0.6]], dtype=F64),
    torch.tensor([0.4, 0.7], dtype=F64),
)
PATHS = {"rectified": schedule.rectified(), "cosine": schedule.cosine()}
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
X = torch.randn(6, 2, generator=generator(0), dtype=F64)
T = torch.tensor([0.95, 0.8, 0.6, 0.9, 0.5, 0.7], dtype=F64)
R = torch.tensor([0.1, 0.3, 0.55, 0.9, 0.2, 0.05], dtype=F64)


@every_path
def test_the_mean_velocity_of_a_mixture_is_where_the_flow_goes(path):
    got = MIXTURE.mean_velocity(path, 64)(X, R, T)
    for i in range(6):
        t, r = float(T[i]), float(R[i])
        if t == r:
            want = MIXTURE.velocity(path)(X[i : i + 1], t)
        else:
            want = (X[i : i + 1] - MIXTURE.flow(X[i : i + 1], path, t, r)) / (t - r)
        checks.close(got[i : i + 1], want, f"from {t} to {r}", atol=1e-6)


def field_meets_the_identity(path=PATHS["rectified"]):
    velocity = MIXTURE.velocity(path)(X, T)
    u, target = diffusion.mean_flow(MIXTURE.mean_velocity(path, 64), X, velocity, R, T)
    checks.close(u, target, "identity", atol=1e-6)
    assert (u - velocity).abs().max() > 0.1, "the mean velocity is not the velocity"


@every_path
def test_the_identity_holds_on_the_mixture(path):
    field_meets_the_identity(path)


def test_the_identity_holds_in_closed_form_for_one_gaussian():
    """N(m, s^2) on the straight path: x_r = alpha_r m + (std_r / std_t) (x_t - alpha_t m)."""
    m, s = torch.tensor([0.7, -1.2], dtype=F64), 0.6
    std = lambda t: (((1 - t) * s) ** 2 + t**2).sqrt()[:, None]
    mean = lambda t: (1 - t)[:, None] * m

    def average(x, r, t):
        return (x - mean(r) - std(r) / std(t) * (x - mean(t))) / (t - r)[:, None]

    one = GaussianMixture(torch.ones(1, dtype=F64), m[None], torch.tensor([s], dtype=F64))
    keep = T > R
    x, r, t = X[keep], R[keep], T[keep]
    u, target = diffusion.mean_flow(average, x, one.velocity(PATHS["rectified"])(x, t), r, t)
    checks.close(u, target, "closed form", atol=1e-10)


def test_another_field_does_not_meet_it():
    velocity = MIXTURE.velocity(PATHS["rectified"])
    u, target = diffusion.mean_flow(lambda x, r, t: velocity(x, t), X, velocity(X, T), R, T)
    apart = (u - target).abs().amax(1)
    assert (apart[T > R] > 1e-2).all() and apart[T == R] < 1e-12, "at r = t any velocity will do"


@every_path
def test_one_step_with_the_mean_velocity_ends_where_the_flow_does(path):
    step = diffusion.mean_flow_step(MIXTURE.mean_velocity(path, 64))
    one = samplers.last(samplers.sample(step, X, [0.999, 0.05]))
    three = samplers.last(samplers.sample(step, X, [0.999, 0.6, 0.3, 0.05]))
    checks.close(one, MIXTURE.flow(X, path, 0.999, 0.05), "one step", atol=1e-5)
    checks.close(three, one, "three steps", atol=1e-5)


def test_conditional_velocities_give_the_target_on_average():
    """Its mean over (x_0, eps) given x_t is the marginal target, because the target is linear in v."""
    path = PATHS["rectified"]
    n, x_t, r, t = 60_000, torch.tensor([0.3, -0.2], dtype=F64), 0.2, 0.6
    x0, _ = MIXTURE.sample(n, generator=generator(1))
    eps = (x_t - (1 - t) * x0) / t
    weight = torch.distributions.Normal(0.0, 1.0).log_prob(eps).sum(1).softmax(0)
    at = lambda v: v.new_full((len(v),), 1.0)
    points = x_t.expand(n, 2)
    average = MIXTURE.mean_velocity(path, 4)
    _, target = diffusion.mean_flow(average, points, eps - x0, r * at(points), t * at(points))
    mean = (weight[:, None] * target).sum(0)
    error = ((weight[:, None] * (target - mean)) ** 2).sum(0).sqrt()
    v = MIXTURE.velocity(path)(points[:1], t)
    _, want = diffusion.mean_flow(average, points[:1], v, r * at(points[:1]), t * at(points[:1]))
    assert ((mean - want[0]).abs() < 4.5 * error).all(), (mean, want, error)


def test_wrong_shapes_are_told():
    with pytest.raises(ValueError, match="expected 6 times"):
        diffusion.mean_flow(lambda x, r, t: x, X, X, R[:1], T)
    with pytest.raises(ValueError, match="must have one shape"):
        diffusion.mean_flow(lambda x, r, t: x, X, X[:, :1], R, T)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(t - r).reshape", "(r - t).reshape"),
        ("torch.ones_like(t)", "torch.zeros_like(t)"),
        ("torch.zeros_like(r)", "torch.ones_like(r)"),
        ("(velocity, torch", "(0 * velocity, torch"),
    ],
)
def test_oracle_notices(notices, old, new):
    notices(field_meets_the_identity, diffusion.mean_flow, old, new)
