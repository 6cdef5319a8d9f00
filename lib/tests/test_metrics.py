"""Units by hand, distances against closed forms and other libraries, unbiased estimates centred where they must be."""

import itertools
import math
import statistics
from functools import partial

import numpy as np
import pytest
import torch

from coursekit import checks
from genmodels import metrics

G = torch.Generator().manual_seed(11)
X = torch.randn(37, 3, generator=G, dtype=torch.float64)
Y = 1.3 * torch.randn(41, 3, generator=G, dtype=torch.float64) + 0.4


@pytest.mark.parametrize(
    "value, dims, levels, bits",
    [
        (784 * math.log(2), 784, 1, 1.0),  # one fair bit a pixel
        (0.0, 784, 256, 8.0),  # a uniform density on [0, 1]: all 256 levels equally likely
        (3 * math.log(256), 3, 1, 8.0),
        (-2 * math.log(2), 2, 256, 7.0),  # twice the density in each dimension saves a bit
    ],
)
def test_bits_per_dim_by_hand_and_back(value, dims, levels, bits):
    assert metrics.bits_per_dim(value, dims, levels) == pytest.approx(bits)
    assert metrics.nats(bits, dims, levels) == pytest.approx(value)


def test_units_refuse_nonsense():
    with pytest.raises(ValueError, match="positive; got 0"):
        metrics.bits_per_dim(1.0, 0)
    with pytest.raises(ValueError, match="positive"):
        metrics.nats(1.0, 3, 0)


P = torch.tensor([[0.5, 0.2, 0.3, 0.0], [0.1, 0.6, 0.1, 0.2], [0.25, 0.25, 0.0, 0.5]], dtype=torch.float64)
Q = torch.tensor([[0.4, 0.3, 0.1, 0.2], [0.3, 0.3, 0.2, 0.2], [0.1, 0.2, 0.0, 0.7]], dtype=torch.float64)


def every_event(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """The largest p(A) - q(A) over all events A, by enumeration."""
    events = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * p.shape[-1])
    return ((p - q) @ events.T).amax(-1)


def from_scipy(p: torch.Tensor, q: torch.Tensor) -> dict[str, torch.Tensor]:
    from scipy.spatial.distance import jensenshannon
    from scipy.special import rel_entr

    return {
        "kl": torch.from_numpy(rel_entr(p.numpy(), q.numpy()).sum(-1)),
        "jensen_shannon": torch.from_numpy(jensenshannon(p.numpy(), q.numpy(), axis=-1) ** 2),
        "total_variation": every_event(p, q),
    }


@pytest.mark.parametrize("name", ["kl", "jensen_shannon", "total_variation"])
def test_divergences_of_tables(name):
    f = getattr(metrics, name)
    checks.close(f(P.log(), Q.log()), from_scipy(P, Q)[name], name)
    checks.close(f(P.log(), P.log()), torch.zeros(3).double(), f"{name} of a table and itself", atol=1e-12)
    apart = torch.eye(2).double().log()
    limit = {"kl": math.inf, "jensen_shannon": math.log(2), "total_variation": 1.0}[name]
    checks.close(f(apart[0], apart[1]), limit, f"{name} of tables that share no state")


@pytest.mark.parametrize(
    "name, wrong",
    [
        ("kl", lambda p, q: metrics.kl(q, p)),  # the other direction
        ("kl", lambda p, q: (p.exp() * (p - q)).sum(-1)),  # 0 log 0 is NaN
        ("jensen_shannon", lambda p, q: (metrics.kl(p, q) + metrics.kl(q, p)) / 2),  # Jeffreys
        ("total_variation", lambda p, q: (p.exp() - q.exp()).abs().sum(-1)),  # without the half
    ],
)
def test_divergences_notice_sabotage(name, wrong):
    with pytest.raises(checks.CheckFailed):
        checks.close(wrong(P.log(), Q.log()), from_scipy(P, Q)[name], name)


def test_mean_and_error():
    got = metrics.mean_and_error(torch.tensor([1.0, 2.0, 4.0, 9.0]))
    assert got.mean == 4 and got.n == 4
    assert got.error == pytest.approx(math.sqrt((9 + 4 + 0 + 25) / 3 / 4))
    assert str(metrics.Estimate(205.7066, 0.4516, 10_000)) == "205.7 +- 0.5 (n = 10000)"
    assert str(metrics.Estimate(0.01234, 0.00021, 9)) == "0.0123 +- 0.0002 (n = 9)"
    assert str(metrics.Estimate(1234.6, 34.0, 9)) == "1235 +- 34 (n = 9)"
    assert str(metrics.Estimate(2.0, 0.0, 9)) == "2 (n = 9)"
    with pytest.raises(ValueError, match="at least 2"):
        metrics.mean_and_error(torch.ones(1))


def gaussian_mmd(shift, d, h):
    """Squared MMD of N(0, I) and N(shift, I), |shift| given: E exp(-|x-y|^2/2h^2) is a Gaussian integral."""
    return 2 * (h**2 / (h**2 + 2)) ** (d / 2) * (1 - math.exp(-(shift**2) / (2 * (h**2 + 2))))


def repeated(metric, shift, n=20, m=30, repeats=400):
    g = torch.Generator().manual_seed(5)
    draw = lambda k: torch.randn(k, 2, generator=g, dtype=torch.float64)
    return torch.stack([metric(draw(n), draw(m) + shift / math.sqrt(2)) for _ in range(repeats)])


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_mmd_is_unbiased_for_the_closed_form(shift):
    h = 1.2
    checks.unbiased(repeated(lambda x, y: metrics.mmd(x, y, (h,)), shift), gaussian_mmd(shift, 2, h), "mmd")


def test_mmd_null_is_centred_with_its_own_bandwidths_and_energy_too():
    checks.unbiased(repeated(metrics.mmd, 0.0), 0.0, "mmd between equal distributions")
    checks.unbiased(repeated(metrics.energy, 0.0), 0.0, "energy between equal distributions")


@pytest.mark.parametrize("metric", [metrics.mmd, metrics.energy])
def test_counting_a_point_with_itself_biases_the_null(metric, monkeypatch):
    monkeypatch.setattr(metrics, "_mean_of_pairs", lambda k: k.mean())
    with pytest.raises(checks.CheckFailed):
        checks.unbiased(repeated(metric, 0.0), 0.0)


def test_mmd_is_a_mean_over_bandwidths_and_uses_features():
    each = [metrics.mmd(X, Y, (h,)) for h in (0.5, 2.0)]
    checks.close(metrics.mmd(X, Y, (0.5, 2.0)), sum(each) / 2)
    checks.close(metrics.mmd(X, Y, (1.0,), features=lambda x: x[:, :1]), metrics.mmd(X[:, :1], Y[:, :1], (1.0,)))
    with pytest.raises(ValueError, match="bandwidths"):
        metrics.mmd(X, Y, (0.0,))


def test_default_bandwidths_are_the_median_distance_its_half_and_its_double():
    median = statistics.median_low(float((a - b).norm()) for a, b in itertools.combinations(torch.cat([X, Y]), 2))
    checks.close(metrics.mmd(X, Y), metrics.mmd(X, Y, (median / 2, median, 2 * median)), "mmd", atol=1e-10)
    assert abs(metrics.mmd(X, Y) - metrics.mmd(X, Y, (median,))) > 1e-3


def test_energy_against_scipy():
    from scipy.stats import energy_distance

    x, y = X[:, 0], Y[:, 0]
    within = lambda v: torch.cdist(v[:, None], v[:, None]).mean()  # scipy counts a point with itself
    correction = within(x) / (len(x) - 1) + within(y) / (len(y) - 1)
    checks.close(metrics.energy(x, y) + correction, energy_distance(x.numpy(), y.numpy()) ** 2)


@pytest.mark.parametrize("m", [37, 41, 74])
def test_sliced_w2_against_pot(m):
    import ot

    y = Y.repeat(2, 1)[:m]
    w = torch.randn(3, 50, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    w = w / w.norm(dim=0)
    got = metrics.sliced_w2(X, y, 50, generator=torch.Generator().manual_seed(3))
    want = ot.sliced_wasserstein_distance(X.numpy(), y.numpy(), projections=w.numpy(), p=2)
    checks.close(got, float(want), "sliced_w2")
    exact = ot.emd2_1d(X[:, 0].numpy(), y[:, 0].numpy())
    checks.close(metrics._w2_on_lines(X[:, :1], y[:, :1])[0], float(exact), "1-D W2")


def test_sliced_w2_of_a_shift_is_the_mean_projection():
    """|E[(w.s)^2]| = |s|^2 / d, so the distance is |s| / sqrt(d) up to the error of 4000 directions."""
    shift = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    got = metrics.sliced_w2(X, X + shift, 4000, generator=torch.Generator().manual_seed(0))
    assert abs(float(got) - float(shift.norm()) / math.sqrt(3)) < 0.05


def spd(d, seed):
    a = torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return a @ a.T / d


def frechet_by_sqrtm(m, c, n, d):
    from scipy.linalg import sqrtm

    return float((m - n).square().sum() + c.trace() + d.trace()) - 2 * np.trace(sqrtm((c @ d).numpy())).real


SABOTAGE = {
    "means left out": lambda m, c, n, d: frechet_by_sqrtm(m, c, m, d),
    "standard deviations for covariances": lambda m, c, n, d: frechet_by_sqrtm(
        m, metrics._root(c), n, metrics._root(d)
    ),
    "no cross term": lambda m, c, n, d: float((m - n).square().sum() + c.trace() + d.trace()),
    "mean not squared": lambda m, c, n, d: (
        frechet_by_sqrtm(m, c, n, d) - float((m - n).square().sum() - (m - n).norm())
    ),
}


def test_frechet_of_gaussians_against_a_general_matrix_root():
    m, n = X[0], X[1]
    want = frechet_by_sqrtm(m, spd(3, 1), n, spd(3, 2))
    got = metrics.frechet_gaussians(m, spd(3, 1), n, spd(3, 2))
    checks.close(got, want)
    for name, wrong in SABOTAGE.items():
        with pytest.raises(checks.CheckFailed):
            checks.close(wrong(m, spd(3, 1), n, spd(3, 2)), want, name)


def test_frechet_of_commuting_and_singular_gaussians():
    a, b = torch.tensor([1.0, 4.0, 0.0]).double(), torch.tensor([9.0, 1.0, 2.0]).double()
    zero = torch.zeros(3, dtype=torch.float64)
    want = (a.sqrt() - b.sqrt()).square().sum() + 3
    checks.close(metrics.frechet_gaussians(zero, a.diag(), zero + 1, b.diag()), want)
    few = X[:2].repeat_interleave(3, 0)  # rank one
    checks.close(metrics.frechet(few, few), 0.0, atol=1e-7)


def test_frechet_of_samples():
    checks.close(metrics.frechet(X, X), 0.0, atol=1e-8)
    cov = lambda v: torch.from_numpy(np.cov(v.numpy().T))
    checks.close(metrics.frechet(X, Y), frechet_by_sqrtm(X.mean(0), cov(X), Y.mean(0), cov(Y)))
    checks.close(metrics.frechet(X, Y), metrics.frechet(Y, X))
    picture = lambda v: v.reshape(len(v), 1, 3, 1)
    checks.close(metrics.frechet(picture(X), picture(Y), features=lambda v: 2 * v), 4 * metrics.frechet(X, Y))


def test_precision_recall_by_loops():
    k = 2

    def covered(points, members):
        hits = 0
        for p in points:
            for i, m in enumerate(members):
                others = sorted(float((m - o).norm()) for j, o in enumerate(members) if j != i)
                if float((m - p).norm()) <= others[k - 1]:
                    hits += 1
                    break
        return hits / len(points)

    got = metrics.precision_recall(X, Y, k)
    checks.close(got.precision, covered(Y, X), "precision")
    checks.close(got.recall, covered(X, Y), "recall")
    assert 0 < got.precision < 1 and 0 < got.recall < 1 and got.precision != got.recall
    far = metrics.precision_recall(X, X[:20] + 100, k)
    assert far == (0.0, 0.0)
    assert metrics.precision_recall(X, X, k) == (1.0, 1.0)
    collapsed = X[:1] + 0.01 * torch.randn(30, 3, generator=G, dtype=torch.float64)
    assert metrics.precision_recall(X, collapsed).precision == 1 and metrics.precision_recall(X, collapsed).recall < 0.1


def test_modes_need_a_radius():
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    x = torch.tensor([[0.1, 0.0], [0.2, 0.1], [5.0, 0.4], [2.0, 2.0]])
    got = metrics.modes(x, centres, 0.5)
    assert got.covered == 2 and got.counts.tolist() == [2, 1, 0] and got.quality == 0.75


def test_floor_is_what_real_data_score_against_each_other():
    real = torch.randn(400, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    got = metrics.floor(metrics.frechet, real, size=100, repeats=40, generator=torch.Generator().manual_seed(2))
    fresh = torch.randn(200, 2, 100, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    values = torch.stack([metrics.frechet(a, b) for a, b in fresh])
    want = metrics.mean_and_error(values)
    assert got.mean > 0 and abs(got.mean - want.mean) < 0.5 * want.mean  # the cuts share data
    cuts = []
    metrics.floor(lambda a, b: cuts.append((a, b)) or 0.0, torch.arange(11.0), repeats=3, generator=G)
    for a, b in cuts:
        assert len(a) == len(b) == 5 and not set(a.tolist()) & set(b.tolist())
    assert len({tuple(a.tolist()) for a, _ in cuts}) == 3
    with pytest.raises(ValueError, match="need 12 real samples; got 11"):
        metrics.floor(metrics.energy, torch.ones(11, 2), size=6)


@pytest.mark.parametrize("metric", [metrics.mmd, metrics.energy, metrics.frechet, metrics.sliced_w2])
def test_bad_samples_are_refused_before_any_work(metric):
    with pytest.raises(ValueError, match="different size: 3 and 2"):
        metric(X, Y[:, :2])
    with pytest.raises(ValueError, match="NaN"):
        metric(X * math.nan, Y)
    with pytest.raises(ValueError, match="too few"):
        metric(X[:0], Y)


# --- sabotage: what is wrong, the oracle that must notice, where, the text and what replaces it ----------------------

TWINS = {
    "levels forgotten": (
        partial(test_bits_per_dim_by_hand_and_back, 784 * math.log(2), 784, 256, 9.0),
        metrics.bits_per_dim,
        " + math.log2(levels)",
        "",
    ),
    "cross term once": (
        test_frechet_of_gaussians_against_a_general_matrix_root,
        metrics.frechet_gaussians,
        "- 2 * cross",
        "- cross",
    ),
    "means forgotten": (
        test_frechet_of_commuting_and_singular_gaussians,
        metrics.frechet_gaussians,
        "(mean_x - mean_y).square().sum() + ",
        "",
    ),
    "covariance around zero": (test_frechet_of_samples, metrics._covariance, "x - x.mean(0)", "x - 0 * x.mean(0)"),
    "cross term of the energy once": (
        test_energy_against_scipy,
        metrics.energy,
        "2 * torch.cdist(x, y).mean()",
        "torch.cdist(x, y).mean()",
    ),
    "mean distance for the median": (
        test_default_bandwidths_are_the_median_distance_its_half_and_its_double,
        metrics.mmd,
        "upper.median()",
        "upper.mean()",
    ),
    "sum over bandwidths": (
        test_mmd_is_a_mean_over_bandwidths_and_uses_features,
        metrics.mmd,
        " / len(bandwidths)",
        "",
    ),
    "directions not normalised": (partial(test_sliced_w2_against_pot, 37), metrics.sliced_w2, "w / w.norm(dim=0)", "w"),
    "pairs unsorted": (partial(test_sliced_w2_against_pot, 41), metrics._w2_on_lines, "_sorted(y)", "y"),
    "itself as a neighbour": (
        test_precision_recall_by_loops,
        metrics.precision_recall,
        "kthvalue(k + 1, dim=1)",
        "kthvalue(k, dim=1)",
    ),
    "spread for the error": (
        test_mean_and_error,
        metrics.mean_and_error,
        "float(x.std()) / math.sqrt(len(x))",
        "float(x.std())",
    ),
}


@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
def test_oracle_notices(twin, notices):
    notices(*twin)
