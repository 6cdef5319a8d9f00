"""Fitted models against logistic regression, and against a chain whose entropy is known."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from coursekit.checks import CheckFailed, close
from genmodels.autoregressive import FVSBN, MADE, NADE
from genmodels.core import generator

F64 = torch.float64
STATES = torch.tensor(list(product((0.0, 1.0), repeat=6)), dtype=F64)


def randomised(model, std=0.8):
    torch.manual_seed(3)
    for p in model.parameters():
        nn.init.normal_(p, std=std)
    return model.double()


# FVSBN


ORDER = torch.tensor([3, 1, 0, 5, 4, 2])


def equal_with_the_same_weights(made):
    """The weights are copied, not the masks: each model has made its own."""
    fvsbn, made = randomised(FVSBN(6, order=ORDER)), made.double()
    with torch.no_grad():
        made.output.weight.copy_(fvsbn.linear.weight)
        made.output.bias.copy_(fvsbn.linear.bias)
    close(fvsbn.logits(STATES), made.logits(STATES), "FVSBN", atol=1e-12)


def test_fvsbn_is_made_without_a_hidden_layer():
    equal_with_the_same_weights(MADE(6, (), order=ORDER))


@pytest.mark.parametrize("wrong", [None, ORDER.flip(0), ORDER.argsort()], ids=["natural", "reversed", "inverse"])
def test_made_in_another_order_is_not_this_fvsbn(wrong):
    with pytest.raises(CheckFailed):
        equal_with_the_same_weights(MADE(6, (), order=wrong))


def fit(model, weights, states=STATES, steps=60):
    """Maximum likelihood on a weighted enumeration, to the optimum: no sampling, no learning rate."""
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=steps, line_search_fn="strong_wolfe", tolerance_grad=1e-9
    )

    def loss():
        optimiser.zero_grad()
        value = -(weights * model.log_prob(states)).sum()
        value.backward()
        return value

    optimiser.step(loss)
    return loss().item()


class FullMatrix(FVSBN):
    """The mistake: no mask."""

    def __init__(self, d):
        super().__init__(d)
        self.linear.mask[...] = ~torch.eye(d, dtype=torch.bool)


def data_and_regressions():
    from sklearn.linear_model import LogisticRegression

    x = (torch.rand(400, 6, generator=generator(0)) < 0.5).double()
    x[:, 3:] = torch.where(torch.rand(400, 3, generator=generator(1)) < 0.7, x[:, :3], 1 - x[:, :3])
    nll = 0.0
    for i in range(6):
        rate = x[:, i].mean()
        p = np.full(400, rate)
        if i:
            p = (
                LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
                .fit(x[:, :i], x[:, i])
                .predict_proba(x[:, :i])[:, 1]
            )
        nll -= F.binary_cross_entropy(torch.as_tensor(p), x[:, i]).item() * -1
    return x, nll


def test_fitted_fvsbn_equals_one_logistic_regression_a_dimension():
    x, want = data_and_regressions()
    weights = torch.full((400,), 1 / 400, dtype=F64)
    assert fit(FVSBN(6).double(), weights, x) == pytest.approx(want, abs=1e-6)
    assert fit(FullMatrix(6).double(), weights, x) < want - 0.01  # "better", because it is no distribution


# A chain whose entropy is known


def chain():
    """p of every state of x_1 ~ B(0.3), then x_i = x_(i-1) with probability 0.85, and the entropy in nats."""
    first = torch.where(STATES[:, 0] == 1, 0.3, 0.7)
    p = first * torch.where(STATES[:, 1:] == STATES[:, :-1], 0.85, 0.15).prod(1)
    entropy = -(0.3 * np.log(0.3) + 0.7 * np.log(0.7)) - 5 * (0.85 * np.log(0.85) + 0.15 * np.log(0.15))
    return p.double(), entropy


def seeing_itself():
    """A MADE whose output mask is not strict."""
    made = MADE(6, (12,))
    made.output.mask[...] = torch.arange(6)[:, None] >= (torch.arange(12) * 5 // 12)[None]
    made.hidden[0].mask[...] = True
    return made


FITTED = {
    "FVSBN": lambda: FVSBN(6),
    "NADE": lambda: NADE(6, 8),
    "MADE": lambda: MADE(6, (12, 12), activation=torch.tanh),
    "MADE in another order": lambda: MADE(6, (12,), order=torch.tensor([5, 4, 3, 2, 1, 0]), activation=torch.tanh),
}


@pytest.mark.parametrize("name", FITTED)
def test_fitting_a_known_chain_reaches_its_entropy_and_never_passes_it(name):
    p, entropy = chain()
    assert float(p.sum()) == pytest.approx(1, abs=1e-6)
    torch.manual_seed(0)
    nll = fit(FITTED[name]().double(), p)
    assert entropy - 1e-7 <= nll <= entropy + 0.02


def test_a_model_that_sees_what_it_predicts_falls_below_the_entropy():
    p, entropy = chain()
    torch.manual_seed(0)
    assert fit(seeing_itself().double(), p) < entropy - 0.1
