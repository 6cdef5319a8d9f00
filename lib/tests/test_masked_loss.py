"""The moments of the masked loss by enumeration, against quadrature and against draws."""

import itertools
import math

import pytest
import torch
from scipy.integrate import quad

from genmodels.core import generator
from genmodels.discrete import estimator_moments, llada_nelbo


def sets(n, seed):
    hidden = torch.tensor(list(itertools.product([False, True], repeat=n)))
    cost = torch.rand(2**n, generator=generator(seed), dtype=torch.float64) + hidden.sum(1)
    return torch.where(hidden.any(1), cost, 0.0), hidden


@pytest.mark.parametrize(("n", "low"), [(1, 0.1), (2, 1e-3), (3, 0.3), (5, 0.05)])
def test_by_time_it_is_what_quadrature_gives(n, low):
    loss, hidden = sets(n, n)

    def moment(power):
        chance = lambda t: torch.where(hidden, loss.new_tensor(t), loss.new_tensor(1 - t)).prod(1)
        inside = lambda u: math.exp(u) * float((chance(math.exp(u)) * (loss / math.exp(u)) ** power).sum()) / (1 - low)
        return quad(inside, math.log(low), 0, epsabs=1e-11, epsrel=1e-11)[0]

    mean, variance, *_ = estimator_moments(loss, hidden, low)
    assert math.isclose(mean, moment(1), rel_tol=1e-9)
    assert math.isclose(variance, moment(2) - moment(1) ** 2, rel_tol=1e-8)


def test_by_count_it_is_the_mean_over_orders_and_llada_draws_it():
    p = torch.tensor([0.5, 0.2, 0.9], dtype=torch.float64)
    hidden = torch.tensor(list(itertools.product([False, True], repeat=3)))
    loss = torch.where(hidden, -p.log(), 0.0).sum(1)
    *_, mean, variance = estimator_moments(loss, hidden, 0.5)
    assert math.isclose(mean, float(-p.log().sum()), rel_tol=1e-12)  # tokens that tell nothing of each other
    x0 = torch.zeros(4000, 3, dtype=torch.long)
    predict = lambda x: torch.stack([p, 1 - p], 1).log().expand(len(x), -1, -1)
    drawn = llada_nelbo(predict, x0, 2, generator=generator(0))  # n = 4000
    assert abs(float(drawn.mean()) - mean) < 5 * math.sqrt(variance / 4000)
    assert abs(float(drawn.var()) / variance - 1) < 0.1


def test_what_cannot_be_enumerated_is_refused():
    loss, hidden = sets(2, 0)
    with pytest.raises(ValueError, match="low must lie between 0 and 1; got 0"):
        estimator_moments(loss, hidden, 0)
    with pytest.raises(ValueError, match="each of the 4 sets"):
        estimator_moments(loss[1:], hidden[1:], 0.1)
