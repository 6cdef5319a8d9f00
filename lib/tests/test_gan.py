"""Adversarial losses against the optimal discriminator, quadrature and autograd."""

import math
from functools import partial

import pytest
import torch
from scipy.integrate import solve_ivp
from torch import nn
from torch.distributions import Normal

from genmodels import gan
from genmodels.core import generator

F64 = torch.float64
GRID = torch.linspace(-14, 14, 40_001, dtype=F64)
P, Q = Normal(torch.tensor(0.5, dtype=F64), 1.0), Normal(torch.tensor(-0.4, dtype=F64), 1.6)
LOG_P, LOG_Q = P.log_prob(GRID), Q.log_prob(GRID)


def integral(y):
    return float(torch.trapezoid(y, GRID))


def js():
    m = torch.logaddexp(LOG_P, LOG_Q) - math.log(2)
    return 0.5 * integral(LOG_P.exp() * (LOG_P - m)) + 0.5 * integral(LOG_Q.exp() * (LOG_Q - m))


def value(d):
    """V(D) = E_p log D + E_q log(1 - D), minus the critic's loss of the minimax game."""
    logit = torch.logit(d)
    loss = gan.LOSSES["saturating"]
    return -integral(LOG_P.exp() * loss.real(logit)) - integral(LOG_Q.exp() * loss.fake(logit))


def test_optimal_discriminator_reaches_two_js_minus_log_four_and_nothing_beats_it():
    best = gan.optimal_discriminator(LOG_P, LOG_Q)
    torch.testing.assert_close(best, LOG_P.exp() / (LOG_P.exp() + LOG_Q.exp()))
    assert value(best) == pytest.approx(2 * js() - 2 * math.log(2), abs=1e-8)
    for wrong in (gan.optimal_discriminator(LOG_Q, LOG_P), best * 0.9 + 0.05, torch.full_like(best, 0.5)):
        assert value(wrong) < value(best) - 1e-3


@pytest.mark.parametrize("a", [-4.0, -0.3, 0.0, 2.5])
def test_generator_gradients_per_fake_logit(a):
    logit = torch.tensor(a, dtype=F64, requires_grad=True)
    d = torch.sigmoid(torch.tensor(a, dtype=F64))
    grads = {
        name: torch.autograd.grad(gan.LOSSES[name].generator(logit), logit)[0]
        for name in ("saturating", "non_saturating")
    }
    torch.testing.assert_close(grads["saturating"], -d)
    torch.testing.assert_close(grads["non_saturating"], -(1 - d))
    torch.testing.assert_close(grads["saturating"] / grads["non_saturating"], d / (1 - d))


HAND_COMPUTED = [
    ("saturating", math.log1p(math.exp(-0.25)), math.log1p(math.exp(2.0)), -math.log1p(math.exp(2.0))),
    ("non_saturating", math.log1p(math.exp(-0.25)), math.log1p(math.exp(2.0)), math.log1p(math.exp(-2.0))),
    ("hinge", 0.75, 3.0, -2.0),
    ("least_squares", 0.28125, 2.0, 0.5),
    ("wasserstein", -0.25, 2.0, -2.0),
]


@pytest.mark.parametrize(("name", "real", "fake", "generator_loss"), HAND_COMPUTED)
def test_losses_at_hand_computed_points(name, real, fake, generator_loss):
    """A real logit of 1/4, not the 1/2 at which the targets 1 and 0 look alike, and a fake one of 2."""
    loss, r, f = gan.LOSSES[name], torch.tensor([0.25], dtype=F64), torch.tensor([2.0], dtype=F64)
    assert float(loss.real(r)) == pytest.approx(real, abs=1e-12)
    assert float(loss.fake(f)) == pytest.approx(fake, abs=1e-12)
    assert float(loss.generator(f)) == pytest.approx(generator_loss, abs=1e-12)
    assert float(loss.critic(r, f)) == pytest.approx(real + fake, abs=1e-12)


def test_hinge_is_flat_beyond_its_margin():
    hinge = gan.LOSSES["hinge"]
    assert float(hinge.real(torch.tensor(1.5))) == 0 and float(hinge.fake(torch.tensor(-1.5))) == 0


DIRECT = {
    "kl": lambda: integral(LOG_P.exp() * (LOG_P - LOG_Q)),
    "reverse_kl": lambda: integral(LOG_Q.exp() * (LOG_Q - LOG_P)),
    "jensen_shannon": lambda: 2 * js(),
    "chi_squared": lambda: integral((LOG_P.exp() - LOG_Q.exp()) ** 2 / LOG_Q.exp()),
}


def f_value(name, t):
    """The bound with expectations by quadrature in place of samples."""
    return integral(LOG_P.exp() * t) - integral(LOG_Q.exp() * gan.DIVERGENCES[name].conjugate(t))


@pytest.mark.parametrize("name", list(gan.DIVERGENCES))
def test_f_gan_bound_is_tight_at_the_slope_and_loose_elsewhere(name):
    d = gan.DIVERGENCES[name]
    ratio = LOG_P - LOG_Q
    exact = integral(LOG_Q.exp() * d.f(ratio))
    assert exact == pytest.approx(DIRECT[name](), abs=1e-7)
    assert f_value(name, d.slope(ratio)) == pytest.approx(exact, abs=1e-7)
    for wrong in (d.slope(0.5 * ratio), d.slope(-ratio), d.slope(torch.zeros_like(ratio))):
        assert f_value(name, wrong) < exact - 1e-3
    assert float(d.f(torch.zeros((), dtype=F64))) == pytest.approx(0.0, abs=1e-12)
    r = torch.tensor(0.7, dtype=F64, requires_grad=True)
    (df,) = torch.autograd.grad(d.f(r), r)
    torch.testing.assert_close(df / r.exp(), d.slope(r))


def test_f_bound_takes_means_over_its_samples():
    t = torch.tensor([0.1, 0.3], dtype=F64), torch.tensor([-0.2, 0.4, 0.1], dtype=F64)
    chi = t[0].mean() - (t[1] ** 2 / 4 + t[1]).mean()
    torch.testing.assert_close(gan.f_bound(gan.DIVERGENCES["chi_squared"], *t), chi)


def test_gradient_penalty_of_known_critics():
    g = generator(0)
    real, fake = (torch.randn(5, 2, 3, dtype=F64, generator=g) for _ in range(2))
    w = torch.randn(2, 3, dtype=F64, generator=g)
    linear = gan.gradient_penalty(lambda x: (x * w).sum((1, 2)), real, fake)
    torch.testing.assert_close(linear, ((w.norm() - 1) ** 2).expand(5))
    radial = gan.gradient_penalty(lambda x: x.flatten(1).norm(dim=1), real, fake)
    torch.testing.assert_close(radial, torch.zeros(5, dtype=F64), atol=1e-12, rtol=0)
    with pytest.raises(ValueError, match="must have the same shape"):
        gan.gradient_penalty(lambda x: x.sum((1, 2)), real, fake[:4])


def test_gradient_penalty_has_one_weight_a_sample_on_the_segment():
    """critic = |x|^2 / 2 has gradient x: the penalty shows where between real and fake it was taken."""
    real, fake = torch.zeros(64, 3, dtype=F64), torch.tensor([[2.0, 4.0, 6.0]], dtype=F64).expand(64, 3)
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.square().sum(1) / 2

    penalty = gan.gradient_penalty(critic, real, fake, generator=generator(1))
    (x,) = seen
    fraction = x / fake
    torch.testing.assert_close(fraction, fraction[:, :1].expand(64, 3))
    assert fraction.min() >= 0 and fraction.max() <= 1 and fraction[:, 0].std() > 0.1
    torch.testing.assert_close(penalty, (x.norm(dim=1) - 1) ** 2)


@pytest.mark.parametrize("penalty", ["gp", "r1"])
def test_penalties_reach_the_critics_weights(penalty):
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 1)).double()
    x, y = torch.randn(5, 3, dtype=F64), torch.randn(5, 3, dtype=F64)
    flat = lambda z: critic(z)[:, 0]
    loss = gan.gradient_penalty(flat, x, y) if penalty == "gp" else gan.r1(flat, x)
    assert loss.shape == (5,)
    loss.sum().backward()
    assert all(p.grad is not None and p.grad.norm() > 0 for p in [*critic[0].parameters(), critic[2].weight])


def test_penalties_leave_the_samples_and_the_generator_alone():
    """No gradient goes to the network that made the fakes, and no caller's tensor is told to collect one."""
    real, made = torch.randn(5, 3, dtype=F64), torch.randn(5, 3, dtype=F64, requires_grad=True)
    w = torch.randn(3, dtype=F64, requires_grad=True)
    critic = lambda x: torch.tanh(x * w).sum(1)
    for penalty in (gan.gradient_penalty(critic, real, 2 * made), gan.r1(critic, 2 * made), gan.r1(critic, real)):
        assert torch.autograd.grad(penalty.sum(), made, allow_unused=True, retain_graph=True)[0] is None
        assert torch.autograd.grad(penalty.sum(), w)[0].abs().min() > 0
    assert not real.requires_grad


def gradient_where_the_critic_is_flat():
    """|0| has no slope; a dead unit, or a critic that starts at zero, must not make the weights NaN."""
    w = torch.zeros(3, dtype=F64, requires_grad=True)
    penalty = gan.gradient_penalty(lambda x: x @ w, torch.ones(5, 3, dtype=F64), torch.zeros(5, 3, dtype=F64))
    torch.testing.assert_close(penalty.detach(), torch.ones(5, dtype=F64))
    assert torch.autograd.grad(penalty.sum(), w)[0].isfinite().all()


def test_a_flat_critic_gets_a_finite_gradient(notices):
    gradient_where_the_critic_is_flat()
    norm = "torch.linalg.vector_norm(slope.reshape(len(slope), slope.shape[1:].numel()), dim=1)"
    notices(gradient_where_the_critic_is_flat, gan.gradient_penalty, norm, "sum_except_batch(slope.square()).sqrt()")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: gan.LOSSES["hinge"].critic(torch.zeros(4), torch.zeros(4, 1)), r"\(4,\) and fake \(4, 1\)"),
        (lambda: gan.adaptive_weight(torch.ones(3), torch.ones(()), torch.ones(2)), r"mean losses.*got \(3,\)"),
        (lambda: gan.f_bound(gan.DIVERGENCES["kl"], torch.zeros(0), torch.zeros(3)), "got 0 real and 3 fake"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_r1_of_a_quadratic_critic_is_its_closed_form():
    g = generator(2)
    a, x = torch.randn(4, 4, dtype=F64, generator=g), torch.randn(6, 4, dtype=F64, generator=g)
    got = gan.r1(lambda z: torch.einsum("bi,ij,bj->b", z, a, z) / 2, x)
    torch.testing.assert_close(got, (x @ ((a + a.T) / 2)).square().sum(1))


def test_clipping_bounds_every_weight():
    layer = nn.Linear(5, 4)
    gan.clip_weights(layer.parameters(), 0.03)
    assert max(float(p.detach().abs().max()) for p in layer.parameters()) <= 0.03
    with pytest.raises(ValueError, match="must be positive, got 0"):
        gan.clip_weights(layer.parameters(), 0)


def test_spectral_norm_of_torch_gives_a_one_lipschitz_layer():
    torch.manual_seed(1)
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 9, dtype=F64), n_power_iterations=50)
    for _ in range(5):
        layer(torch.randn(2, 6, dtype=F64))
    assert float(torch.linalg.svdvals(layer.weight.detach())[0]) == pytest.approx(1.0, abs=1e-6)
    raw = layer.parametrizations.weight.original.detach()
    assert float(torch.linalg.svdvals(raw)[0]) != pytest.approx(1.0, abs=1e-2), "the layer alone is not 1-Lipschitz"
    frobenius = raw / raw.norm()
    assert float(torch.linalg.svdvals(frobenius)[0]) < 0.9, "another norm is another bound"


def test_adaptive_weight_is_the_ratio_of_two_explicit_gradients():
    g = generator(3)
    last = torch.randn(3, 2, dtype=F64, generator=g, requires_grad=True)
    h = torch.randn(5, 3, dtype=F64, generator=g)
    reconstruction, adversarial = ((h @ last) ** 2).mean(), torch.sin(h @ last).mean()
    pulls = [torch.autograd.grad(v, last, retain_graph=True)[0].norm() for v in (reconstruction, adversarial)]
    got = gan.adaptive_weight(reconstruction, adversarial, last)
    torch.testing.assert_close(got, (pulls[0] / (pulls[1] + 1e-4)).detach())
    assert not got.requires_grad
    assert (got - pulls[1] / (pulls[0] + 1e-4)).abs() > 0.1, "the inverse ratio is another number"
    assert float(gan.adaptive_weight(reconstruction, 0 * adversarial, last)) == pytest.approx(
        min(float(pulls[0]) / 1e-4, 1e4), rel=1e-6
    )


@pytest.mark.parametrize("penalty", [0.0, 0.4, 2.0])
def test_dirac_gan_turns_instead_of_converging_unless_regularised(penalty):
    zero = torch.zeros((), dtype=F64)
    jacobian = torch.tensor(
        torch.autograd.functional.jacobian(lambda a, b: gan.dirac_field(a, b, penalty=penalty), (zero, zero)), dtype=F64
    )
    got = torch.linalg.eigvals(jacobian)
    root = torch.sqrt(torch.tensor(penalty**2 - 1, dtype=torch.complex128))
    want = torch.stack([(-penalty + root) / 2, (-penalty - root) / 2])
    pick = lambda v: v[torch.argsort(v.real * 1e3 + v.imag)]
    torch.testing.assert_close(pick(got), pick(want), atol=1e-10, rtol=0)
    if penalty == 0:
        assert got.real.abs().max() < 1e-12 and got.imag.abs().max() == pytest.approx(0.5)
    else:
        assert got.real.max() < -1e-2


@pytest.mark.parametrize(
    ("loss", "radius"),
    [("saturating", lambda t: 1.0), ("non_saturating", lambda t: (1 + t / 8) ** -0.5), ("wasserstein", lambda t: 1.0)],
)
def test_the_minimax_dirac_gan_keeps_its_circle_and_the_non_saturating_one_leaves_it_slowly(loss, radius):
    """(1 + t / 8)^(-1/2) is the averaged flow, right to a percent; the other two radii are exact."""

    def field(_, y):
        theta, psi = torch.from_numpy(y)
        return [float(v) for v in gan.dirac_field(theta, psi, loss=loss)]

    for t in (4 * math.pi, 40 * math.pi):
        end = solve_ivp(field, (0, t), [1.0, 0.0], rtol=1e-9, atol=1e-12).y[:, -1]
        assert math.hypot(*end) == pytest.approx(radius(t), rel=1e-6 if radius(t) == 1 else 0.01), (loss, t)


def test_an_unknown_dirac_game_is_refused():
    with pytest.raises(ValueError, match="unknown loss 'minimax'; known: saturating"):
        gan.dirac_field(torch.ones(()), torch.ones(()), loss="minimax")


@pytest.mark.parametrize("name", gan.LOSSES)
def test_dirac_field_is_the_gradient_of_the_players_losses(name):
    theta, psi = (torch.tensor(v, dtype=F64, requires_grad=True) for v in (0.8, -1.1))
    loss = gan.LOSSES[name]
    (down,) = torch.autograd.grad(loss.generator(psi * theta), theta)
    critic = loss.critic(psi * 0, psi * theta) + 0.3 / 2 * psi**2
    (up,) = torch.autograd.grad(critic, psi)
    got = gan.dirac_field(theta, psi, loss=name, penalty=0.3)
    torch.testing.assert_close(torch.stack(got).detach(), torch.stack([-down, -up]))


def test_r2_is_the_closed_form_of_a_quadratic_critic_and_reaches_its_weights():
    a = torch.randn(3, 3, generator=generator(0), dtype=F64, requires_grad=True)
    fake = torch.randn(5, 3, generator=generator(1), dtype=F64)
    got = gan.r2(lambda x: torch.einsum("bi,ij,bj->b", x, a, x), fake)
    torch.testing.assert_close(got, (fake @ (a + a.T)).square().sum(1))
    assert torch.autograd.grad(got.sum(), a)[0].abs().max() > 0


def test_relativistic_pair_sees_differences_alone_and_both_players_pull_by_what_is_left_to_win():
    real, fake = torch.randn(2, 6, generator=generator(2), dtype=F64).requires_grad_()
    critic, made = gan.relativistic_pair(real, fake)
    shifted = gan.relativistic_pair(real + 3.7, fake + 3.7)
    torch.testing.assert_close(torch.stack(shifted), torch.stack([critic, made]))
    torch.testing.assert_close(-critic, torch.sigmoid(real - fake).log())
    torch.testing.assert_close(-made, torch.sigmoid(fake - real).log())
    down = torch.autograd.grad(critic.sum(), (real, fake), retain_graph=True)
    up = torch.autograd.grad(made.sum(), (real, fake))
    torch.testing.assert_close(torch.stack(down), torch.stack([-made.neg().exp(), made.neg().exp()]))
    torch.testing.assert_close(torch.stack(up), torch.stack([critic.neg().exp(), -critic.neg().exp()]))
    with pytest.raises(ValueError, match="must have one shape"):
        gan.relativistic_pair(real, fake[:, None])


# What E_q f(p/q) pays at a point that p never shows, f(0), and the slope of E_q f in p there times p: both finite.
AT_ZERO = {"kl": 0.0, "reverse_kl": math.inf, "jensen_shannon": math.log(2), "chi_squared": 1.0}


@pytest.mark.parametrize("name", gan.DIVERGENCES)
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_divergences_at_the_ends_of_the_ratio(name, dtype):
    f = gan.DIVERGENCES[name]
    r = torch.tensor([-math.inf, -200.0, 0.0, 200.0], dtype=dtype, requires_grad=True)
    value = f.f(r)
    assert float(value[0].detach()) == pytest.approx(AT_ZERO[name], rel=1e-6)
    assert float(value[2].detach()) == pytest.approx(0, abs=1e-7) and not value.isnan().any()
    low = r.detach()[:3].requires_grad_()
    (slope,) = torch.autograd.grad(f.f(low).sum(), low)
    assert not slope.isnan().any()
    assert not f.slope(r).isnan().any()
    assert not f.conjugate(f.slope(r.detach()[:2])).isnan().any()


@pytest.mark.parametrize(("name", "outside"), [("reverse_kl", 0.5), ("jensen_shannon", 0.8)])
def test_a_critic_outside_the_domain_of_the_conjugate_is_told(name, outside):
    f = gan.DIVERGENCES[name]
    assert float(f.conjugate(torch.tensor(outside))) == math.inf
    with pytest.raises(ValueError, match=f"largest on q is {outside}"):
        gan.f_bound(f, torch.zeros(2), torch.tensor([-1.0, outside]))


# --- sabotage: what is wrong, the oracle that must notice, where, the text and what replaces it ----------------------

TWINS = {
    "discriminator of q over p": (
        test_optimal_discriminator_reaches_two_js_minus_log_four_and_nothing_beats_it,
        gan.optimal_discriminator,
        "log_p - log_q",
        "log_q - log_p",
    ),
    "bound with the plain mean": (
        test_f_bound_takes_means_over_its_samples,
        gan.f_bound,
        "divergence.conjugate(fake)",
        "divergence.conjugate(fake.mean())",
    ),
    "slope pulled to zero": (
        test_gradient_penalty_of_known_critics,
        gan.gradient_penalty,
        ", dim=1) - 1)",
        ", dim=1))",
    ),
    "norm of each entry": (
        test_gradient_penalty_of_known_critics,
        gan.gradient_penalty,
        "(torch.linalg.vector_norm(slope.reshape(len(slope), slope.shape[1:].numel()), dim=1) - 1).square()",
        "sum_except_batch((slope.abs() - 1).square())",
    ),
    "weight for each entry": (
        test_gradient_penalty_has_one_weight_a_sample_on_the_segment,
        gan.gradient_penalty,
        "torch.lerp(fake.detach(), real.detach(), expand(u, real))",
        "torch.lerp(fake.detach(), real.detach(), torch.rand_like(real))",
    ),
    "penalty without a graph": (
        partial(test_penalties_reach_the_critics_weights, "gp"),
        gan.gradient_penalty,
        "slope.reshape(",
        "0 * critic(x).sum() + slope.detach().reshape(",
    ),
    "norm for its square": (
        test_r1_of_a_quadratic_critic_is_its_closed_form,
        gan.r1,
        "real.detach()).square())",
        "real.detach()).square()).sqrt()",
    ),
    "clipped from above only": (
        test_clipping_bounds_every_weight,
        gan.clip_weights,
        "p.clamp_(-limit, limit)",
        "p.clamp_max_(limit)",
    ),
    "ratio upside down": (
        test_adaptive_weight_is_the_ratio_of_two_explicit_gradients,
        gan.adaptive_weight,
        "pull[0] / (pull[1] + eps)",
        "pull[1] / (pull[0] + eps)",
    ),
    "penalty forgotten": (
        partial(test_dirac_gan_turns_instead_of_converging_unless_regularised, 0.4),
        gan.dirac_field,
        "* theta - penalty * psi",
        "* theta",
    ),
    "both players climb": (
        partial(test_dirac_gan_turns_instead_of_converging_unless_regularised, 0.0),
        gan.dirac_field,
        "-slope(game.fake) * theta",
        "slope(game.fake) * theta",
    ),
    "saturating generator": (
        partial(test_dirac_field_is_the_gradient_of_the_players_losses, "non_saturating"),
        gan.dirac_field,
        "-slope(game.generator)",
        "slope(game.fake)",
    ),
}


@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
def test_oracle_notices(twin, notices):
    notices(*twin)


def at_its_point(name):
    """The hand-computed line of ``name``."""
    (line,) = [p for p in HAND_COMPUTED if p[0] == name]
    return partial(test_losses_at_hand_computed_points, *line)


WRONG_LINES = {
    "saturating for non-saturating": (
        partial(test_generator_gradients_per_fake_logit, -0.3), gan.LOSSES, "non_saturating", gan.LOSSES["saturating"],
    ),
    "generator pushed away": (
        partial(test_generator_gradients_per_fake_logit, 2.5), gan.LOSSES, "saturating",
        gan.LOSSES["saturating"]._replace(generator=lambda a: -a.sigmoid().log()),
    ),
    "hinge of the generator too": (
        at_its_point("hinge"), gan.LOSSES, "hinge", gan.LOSSES["hinge"]._replace(generator=gan.LOSSES["hinge"].real),
    ),
    "margin on the other side": (
        test_hinge_is_flat_beyond_its_margin, gan.LOSSES, "hinge",
        gan.LOSSES["hinge"]._replace(fake=gan.LOSSES["hinge"].real),
    ),
    "targets exchanged": (
        at_its_point("least_squares"), gan.LOSSES, "least_squares",
        gan.LOSSES["least_squares"]._replace(real=lambda a: a**2 / 2),
    ),
    "critic reversed": (
        at_its_point("wasserstein"), gan.LOSSES, "wasserstein", gan.Loss(lambda a: a, torch.neg, torch.neg),
    ),
    "KL's conjugate without its shift": (
        partial(test_f_gan_bound_is_tight_at_the_slope_and_loose_elsewhere, "kl"), gan.DIVERGENCES, "kl",
        gan.DIVERGENCES["kl"]._replace(conjugate=torch.exp),
    ),
    "one KL for the other": (
        partial(test_f_gan_bound_is_tight_at_the_slope_and_loose_elsewhere, "reverse_kl"), gan.DIVERGENCES,
        "reverse_kl", gan.DIVERGENCES["kl"],
    ),
    "JS without its constant": (
        partial(test_f_gan_bound_is_tight_at_the_slope_and_loose_elsewhere, "jensen_shannon"), gan.DIVERGENCES,
        "jensen_shannon", gan.DIVERGENCES["jensen_shannon"]._replace(slope=lambda r: -nn.functional.softplus(-r)),
    ),
    "half the slope": (
        partial(test_f_gan_bound_is_tight_at_the_slope_and_loose_elsewhere, "chi_squared"), gan.DIVERGENCES,
        "chi_squared", gan.DIVERGENCES["chi_squared"]._replace(slope=lambda r: r.exp() - 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_LINES)
def test_oracle_notices_a_wrong_line_of_a_table(name, monkeypatch):
    oracle, table, key, wrong = WRONG_LINES[name]
    oracle()
    monkeypatch.setitem(table, key, wrong)
    with pytest.raises(AssertionError):
        oracle()
