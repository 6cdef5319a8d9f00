"""Optimal transport against duality, POT, scipy and brute force over permutations."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import scipy.stats
import torch

from genmodels import ot
from genmodels.core import generator

F64 = torch.float64


def problem(n=7, m=5, seed=0, d=2):
    g = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(k, d, generator=g, dtype=torch.float64) for k in (n, m))
    a, b = (torch.rand(k, generator=g, dtype=torch.float64) + 0.1 for k in (n, m))
    return x, y, a / a.sum(), b / b.sum()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("p", [1.0, 2.0])
def test_primal_dual_and_pot_agree(seed, p):
    import ot as pot

    x, y, a, b = problem(seed=seed)
    cost = ot.cost_matrix(x, y, p)
    primal, prices = ot.plan(a, b, cost), ot.dual(a, b, cost)
    assert primal.cost == pytest.approx(prices.value, abs=1e-9)
    assert primal.cost == pytest.approx(float(pot.emd2(a.numpy(), b.numpy(), cost.numpy())), abs=1e-9)
    torch.testing.assert_close(primal.coupling.sum(1), a)
    torch.testing.assert_close(primal.coupling.sum(0), b)
    assert (primal.coupling >= -1e-12).all()
    assert (prices.f[:, None] + prices.g <= cost + 1e-9).all()


@pytest.mark.parametrize("seed", range(3))
def test_kantorovich_rubinstein_equals_the_primal_and_is_lipschitz(seed):
    x, y, a, b = problem(seed=seed)
    f, value = ot.kantorovich_rubinstein(x, y, a, b)
    points = torch.cat([x, y])
    distance = ot.cost_matrix(points, points)
    assert ((f[:, None] - f).abs() <= distance + 1e-9).all()
    assert value == pytest.approx(ot.plan(a, b, ot.cost_matrix(x, y)).cost, abs=1e-9)
    assert value == pytest.approx(float(f[:7] @ a - f[7:] @ b), abs=1e-9)
    assert float(f[0]) == 0 and float(f.min()) < 0 < float(f.max())


def test_duality_with_one_potential_fails_for_the_squared_cost():
    """The sabotage twin: the same programme with p = 2 does not give W2^2 (f(u) - f(v) <= |u - v|^2 chains to zero)."""
    x, y = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    between = torch.linspace(0, 1, 11, dtype=torch.float64)[1:-1, None]
    _, w1 = ot.kantorovich_rubinstein(x, y)
    assert w1 == pytest.approx(1.0)
    points = torch.cat([x, between, y])
    chained = ot.cost_matrix(points, points, 2.0).diagonal(1).sum()
    assert chained < 0.2 < ot.plan(torch.ones(1).double(), torch.ones(1).double(), ot.cost_matrix(x, y, 2.0)).cost


@pytest.mark.parametrize(("n", "m"), [(6, 6), (6, 9), (1, 4)])
def test_wasserstein_1d_is_scipys_and_the_integral_of_the_cdf_gap(n, m):
    g = np.random.default_rng(n * m)
    x, y = g.normal(size=n), g.normal(1.0, 2.0, size=m)
    got = float(ot.wasserstein_1d(torch.tensor(x), torch.tensor(y)))
    assert got == pytest.approx(scipy.stats.wasserstein_distance(x, y), abs=1e-12)
    grid = np.sort(np.concatenate([x, y]))
    F, G = (np.searchsorted(np.sort(v), grid[:-1], side="right") / len(v) for v in (x, y))
    assert got == pytest.approx(float((np.abs(F - G) * np.diff(grid)).sum()), abs=1e-12)


@pytest.mark.parametrize(("n", "m"), [(4, 6), (5, 5)])
def test_wasserstein_1d_of_order_two_matches_the_linear_programme(n, m):
    x, y, *_ = problem(n=n, m=m, d=1)
    uniform = [torch.full((k,), 1 / k, dtype=torch.float64) for k in (n, m)]
    exact = ot.plan(*uniform, ot.cost_matrix(x, y, 2.0)).cost ** 0.5
    assert float(ot.wasserstein_1d(x[:, 0], y[:, 0], p=2.0)) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("m", [3, 4])
def test_wasserstein_1d_of_whole_numbers(m):
    """Counts are points too: widths between quantiles are no whole numbers, though the points are."""
    x, y = torch.tensor([0, 3, 5]), torch.tensor([1, 2, 9, 4])[:m]
    want = scipy.stats.wasserstein_distance(x.numpy(), y.numpy())
    assert float(ot.wasserstein_1d(x, y)) == pytest.approx(want, abs=1e-12)


def test_unsorted_pairs_overestimate():
    """The sabotage twin of sorting: pairing in the order of arrival gives a cost that is too high."""
    x, y, *_ = problem(n=20, m=20, d=1)
    assert (x - y).abs().mean() > ot.wasserstein_1d(x[:, 0], y[:, 0]) + 0.1


def test_wasserstein_1d_has_the_gradient_of_the_matched_pairs():
    x = torch.tensor([3.0, -1.0, 0.5], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([10.0, 11.0, 12.0], dtype=torch.float64)
    ot.wasserstein_1d(x, y).backward()
    torch.testing.assert_close(x.grad, torch.full((3,), -1 / 3, dtype=torch.float64))


def test_sinkhorn_has_the_marginals_and_approaches_the_programme():
    x, y, a, b = problem()
    cost = ot.cost_matrix(x, y)
    exact = ot.plan(a, b, cost).cost
    loose, tight = ot.sinkhorn(a, b, cost, 0.5), ot.sinkhorn(a, b, cost, 0.01)
    torch.testing.assert_close(tight.coupling.sum(1), a, atol=1e-7, rtol=0)
    assert exact - 1e-9 <= tight.cost < exact + 0.02
    assert loose.cost > tight.cost + 0.01
    # First-order condition: log P_ij + cost_ij / entropy is a sum of a row and a column term.
    z = loose.coupling.log() + cost / 0.5
    residual = z - z.mean(1, keepdim=True) - z.mean(0, keepdim=True) + z.mean()
    assert residual.abs().max() < 1e-6


def test_minibatch_coupling_is_the_best_permutation():
    x, y, *_ = problem(n=6, m=6)
    cost = ot.cost_matrix(x, y, 2.0)
    order = ot.minibatch_coupling(x, y)
    assert sorted(order.tolist()) == list(range(6))
    best = min(sum(cost[i, j] for i, j in enumerate(p)) for p in itertools.permutations(range(6)))
    paired = cost[torch.arange(6), order].sum()
    assert float(paired) == pytest.approx(float(best), abs=1e-12)
    assert float(paired) <= float(cost.diagonal().sum())
    # The sabotage twin: the inverse permutation pairs the other way round and costs more here.
    assert float(cost[torch.arange(6), order.argsort()].sum()) > float(best) + 1e-3


def test_minibatch_coupling_minds_the_square_of_the_distance():
    """One long and one short way cost less in distance, 1.49 against 2.00, and more in squares, 2.21 against 2.01."""
    x, y = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.1, 1.0]])
    assert ot.minibatch_coupling(x, y).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x, y, a, b: ot.plan(a * 2, b, ot.cost_matrix(x, y)), "must sum to 1"),
        (lambda x, y, a, b: ot.plan(-a, b, ot.cost_matrix(x, y)), "must not be negative"),
        (lambda x, y, a, b: ot.dual(a, b, ot.cost_matrix(y, x)), "7 x 5"),
        (lambda x, y, a, b: ot.sinkhorn(a, b, ot.cost_matrix(x, y), 0.0), "must be positive, got 0.0"),
        (lambda x, y, a, b: ot.minibatch_coupling(x, y), "same size, got 7 and 5"),
        (lambda x, y, a, b: ot.cost_matrix(x, y, 0), "must be positive and finite, got 0"),
        (lambda x, y, a, b: ot.cost_matrix(x, y[:, :1]), "different size: 2 and 1"),
        (lambda x, y, a, b: ot.kantorovich_rubinstein(x[:0], y), "at least one point; got 0 and 5"),
        (lambda x, y, a, b: ot.sinkhorn(a, b, ot.cost_matrix(x, y), 1.0, 0), "at least 1 step"),
        (lambda x, y, a, b: ot.wasserstein_1d(x[:, 0], y[:, 0], 0), "power p must be at least 1"),
        (lambda x, y, a, b: ot.plan(a * 1.001, b, ot.cost_matrix(x, y)), "must sum to 1; they sum to 1.001"),
        (lambda x, y, a, b: ot.wasserstein_1d(x, y), "two non-empty vectors"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(call, says):
    with pytest.raises(ValueError, match=says):
        call(*problem())


# --- sabotage: what is wrong, the oracle that must notice, where, the text and what replaces it ----------------------

TWINS = {
    "dual value with the sign of the solver": (
        partial(test_primal_dual_and_pot_agree, 0, 1.0),
        ot.dual,
        "-float(solved.fun)",
        "float(solved.fun)",
    ),
    "plan read column by column": (
        partial(test_primal_dual_and_pot_agree, 0, 2.0),
        ot.plan,
        "reshape(cost.shape)",
        "reshape(cost.shape[::-1]).T",
    ),
    "distance not raised to p": (
        partial(test_wasserstein_1d_of_order_two_matches_the_linear_programme, 4, 6),
        ot.cost_matrix,
        "distance**p",
        "distance",
    ),
    "two suppliers": (
        partial(test_kantorovich_rubinstein_equals_the_primal_and_is_lipschitz, 0),
        ot.kantorovich_rubinstein,
        "-b / b.sum()",
        "b / b.sum()",
    ),
    "slope bounded for neighbours only": (
        partial(test_kantorovich_rubinstein_equals_the_primal_and_is_lipschitz, 0),
        ot.kantorovich_rubinstein,
        "points)[i, j]",
        "points)[i, j] * 2",
    ),
    "one side unsorted": (
        partial(test_wasserstein_1d_is_scipys_and_the_integral_of_the_cdf_gap, 6, 6),
        ot.wasserstein_1d,
        "y.sort().values",
        "y",
    ),
    "whole widths": (
        partial(test_wasserstein_1d_of_whole_numbers, 4),
        ot.wasserstein_1d,
        "to_float64_device(v).double()",
        "(v // 2).double()",
    ),
    "steps of equal width": (
        partial(test_wasserstein_1d_is_scipys_and_the_integral_of_the_cdf_gap, 6, 9),
        ot.wasserstein_1d,
        "width.pow(1 / p).to(x) * (x[i] - y[j])",
        "(x[i] - y[j]) / len(width) ** (1 / p)",
    ),
    "root of pairs forgotten": (
        partial(test_wasserstein_1d_of_order_two_matches_the_linear_programme, 5, 5),
        ot.wasserstein_1d,
        "vector_norm(x - y, p) / len(x) ** (1 / p)",
        "vector_norm(x - y, p)",
    ),
    "root forgotten": (
        partial(test_wasserstein_1d_of_order_two_matches_the_linear_programme, 4, 6),
        ot.wasserstein_1d,
        "(x[i] - y[j]), p)",
        "(x[i] - y[j]), p) ** p",
    ),
    "entropy added to the cost": (
        test_sinkhorn_has_the_marginals_and_approaches_the_programme,
        ot.sinkhorn,
        "float((coupling * cost).sum())",
        "float((coupling * (cost + reg * coupling.log())).sum())",
    ),
    "least distance, not least square": (
        test_minibatch_coupling_minds_the_square_of_the_distance,
        ot.minibatch_coupling,
        "x1.detach(), 2.0)",
        "x1.detach(), 1.0)",
    ),
    "paired the other way round": (
        test_minibatch_coupling_is_the_best_permutation,
        ot.minibatch_coupling,
        "order[torch.as_tensor(rows)] = torch.as_tensor(columns)",
        "order[torch.as_tensor(columns)] = torch.as_tensor(rows)",
    ),
}


@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
def test_oracle_notices(twin, notices):
    notices(*twin)


# --- the ends of the domain ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1.0, 2.0, 3.5, math.inf])
def test_equal_samples_are_at_distance_zero_with_gradient_zero(p):
    for other in (5, 7):
        x = torch.full((5,), 1.5, dtype=F64, requires_grad=True)
        y = torch.full((other,), 1.5, dtype=F64)
        distance = ot.wasserstein_1d(x, y, p)
        (slope,) = torch.autograd.grad(distance, x)
        assert float(distance.detach()) == 0 and (slope == 0).all()


def test_infinite_power_is_the_largest_gap_between_quantiles():
    x, y = torch.tensor([0.0, 1.0, 5.0], dtype=F64), torch.tensor([0.0, 4.0, 6.0], dtype=F64)
    assert float(ot.wasserstein_1d(x, y, math.inf)) == 3
    z = torch.tensor([0.0, 5.0], dtype=F64)  # quantile levels 1/3, 1/2, 2/3: gaps 0, 1, 4, 0
    assert float(ot.wasserstein_1d(x, z, math.inf)) == 4
    for p in (50.0, 400.0):
        assert float(ot.wasserstein_1d(x, y, p)) <= 3 + 1e-9
    assert float(ot.wasserstein_1d(x, y, 400.0)) == pytest.approx(3, rel=0.01)


def test_powers_below_one_are_refused_since_order_is_not_the_best_pairing_there():
    x, y = torch.tensor([0.0, 1.0], dtype=F64), torch.tensor([1.0, 2.0], dtype=F64)
    half = torch.full((2,), 0.5, dtype=F64)
    best = ot.plan(half, half, ot.cost_matrix(x[:, None], y[:, None], 0.5)).cost
    assert best < 1 - 0.2  # in order every point moves 1; leaving 1 in place costs 2 ** 0.5 / 2
    with pytest.raises(ValueError, match="at least 1"):
        ot.wasserstein_1d(x, y, 0.5)


@pytest.mark.parametrize("p", [0.3, 1.0, 2.0])
def test_the_cost_of_coinciding_points_has_a_gradient(p):
    x = torch.zeros(2, 3, dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(ot.cost_matrix(x, torch.zeros(1, 3, dtype=F64), p).sum(), x)
    assert (slope == 0).all()


def test_linear_programmes_take_tensors_with_gradients_and_of_both_precisions():
    for dtype in (torch.float32, F64):
        x = torch.randn(4, 2, generator=generator(0)).to(dtype).requires_grad_()
        y, a = torch.randn(3, 2, generator=generator(1)).to(dtype), torch.full((4,), 0.25, dtype=dtype)
        b = torch.full((3,), 1 / 3, dtype=dtype)
        coupling, cost = ot.plan(a, b, ot.cost_matrix(x, y))
        prices = ot.dual(a, b, ot.cost_matrix(x, y))
        critic, w1 = ot.kantorovich_rubinstein(x, y)
        assert cost == pytest.approx(prices.value) == pytest.approx(w1)
        assert coupling.dtype == prices.f.dtype == critic.dtype == dtype and not critic.requires_grad


def test_the_best_critic_has_slope_one_and_twice_it_two():
    x, y = (torch.randn(6, 2, generator=generator(k), dtype=F64) for k in (2, 3))
    critic, _ = ot.kantorovich_rubinstein(x, y)
    points = torch.cat([x, y])
    assert float(ot.steepest_slope(critic, points)) == pytest.approx(1, abs=1e-7)
    assert float(ot.steepest_slope(2 * critic + 5, points)) == pytest.approx(2, abs=1e-7)
    by_hand = max(abs(float(points[i, 0] - points[j, 0])) / float((points[i] - points[j]).norm())
                  for i in range(12) for j in range(i))  # fmt: skip
    assert float(ot.steepest_slope(points[:, 0], points)) == pytest.approx(by_hand)


def test_slopes_where_points_coincide():
    points = torch.tensor([[0.0], [0.0], [2.0]])
    assert float(ot.steepest_slope(torch.tensor([1.0, 1.0, 2.0]), points)) == 0.5
    assert float(ot.steepest_slope(torch.tensor([1.0, 1.5, 2.0]), points)) == math.inf
    with pytest.raises(ValueError, match="two points"):
        ot.steepest_slope(torch.ones(1), points[:1])


def test_the_example_of_the_transport_chapter():
    """Three points to three: uniform weights cost 2, (.5, .3, .2) to (.2, .5, .3) costs 2.3, with the same heights."""
    x = torch.tensor([[0.0, 0.0], [0.0, 3.0], [4.0, 0.0]], dtype=F64)
    y = torch.tensor([[1.0, 0.0], [4.0, 3.0], [0.0, 1.0]], dtype=F64)
    a, b = torch.tensor([0.5, 0.3, 0.2], dtype=F64), torch.tensor([0.2, 0.5, 0.3], dtype=F64)
    heights = torch.tensor([0.0, 1.0, 0.0, -1.0, -3.0, -1.0], dtype=F64)
    assert ot.kantorovich_rubinstein(x, y)[1] == pytest.approx(2)
    assert ot.kantorovich_rubinstein(x, y, a, b)[1] == pytest.approx(2.3)
    assert float(ot.steepest_slope(heights, torch.cat([x, y]))) == pytest.approx(1)
    assert float(heights[:3] @ a - heights[3:] @ b) == pytest.approx(2.3)
    costs = [ot.sinkhorn(a, b, ot.cost_matrix(x, y), reg).cost for reg in (10.0, 3.0, 1.0, 0.3, 0.1)]
    assert costs == pytest.approx([3.046, 2.855, 2.532, 2.321, 2.300], abs=5e-4)
