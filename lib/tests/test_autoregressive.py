"""What every autoregressive model must satisfy: sums to one, looks back only, samples as its likelihood says."""

from itertools import product

import pytest
import torch
from torch import nn

from coursekit.checks import CheckFailed, close, depends_on, distributed, gradient_reaches, normalised, triangular
from genmodels.autoregressive import (
    FVSBN,
    MADE,
    NADE,
    Autoregressive,
    Categorical,
    DiscretizedLogisticMixture,
    GatedPixelCNN,
    PixelCNN,
    conditionals,
    sample,
    trajectory,
)
from genmodels.core import generator

F64 = torch.float64
ORDER = torch.tensor([3, 1, 0, 5, 4, 2])

MODELS = {
    "FVSBN": lambda: FVSBN(6, order=ORDER),
    "NADE": lambda: NADE(6, 5, order=ORDER),
    "MADE, no hidden layer": lambda: MADE(6, (), order=ORDER),
    "MADE, one": lambda: MADE(6, (8,), order=ORDER, direct=False, activation=torch.tanh),
    "MADE, deep, several orders": lambda: MADE(6, (7, 7, 9), orders=3, activation=torch.tanh),
    "MADE, categorical": lambda: MADE(3, (8, 8), head=Categorical(4), activation=torch.tanh),
    "MADE, logistic": lambda: MADE(3, (8,), head=DiscretizedLogisticMixture(2, bins=5), activation=torch.tanh),
    "PixelCNN": lambda: PixelCNN((1, 2, 3), 4, 2, first=3),
    "PixelCNN, two colours": lambda: PixelCNN((2, 2, 2), 8, 2, first=3),
    "PixelCNN, categorical": lambda: PixelCNN((1, 2, 2), 4, 1, first=3, head=Categorical(3)),
    "gated": lambda: GatedPixelCNN((1, 3, 2), 4, 3, first=3),
    "gated, two colours": lambda: GatedPixelCNN((2, 2, 2), 8, 2, first=3),
    "gated, logistic": lambda: GatedPixelCNN((1, 2, 2), 4, 1, first=3, head=DiscretizedLogisticMixture(2, bins=4)),
}


def randomised(model, std=0.6):
    torch.manual_seed(3)
    for p in model.parameters():
        nn.init.normal_(p, std=std)
    return model.double()


def build(name):
    torch.manual_seed(0)
    return randomised(MODELS[name]())


def levels_of(model):
    return getattr(model.head, "levels", getattr(model.head, "bins", 2))


def states_of(model):
    every = list(product(range(levels_of(model)), repeat=len(model.order)))
    return torch.tensor(every, dtype=F64).reshape(-1, *model.shape)


@pytest.mark.parametrize("name", MODELS)
def test_probabilities_of_all_states_sum_to_one(name):
    model = build(name)
    normalised(model.log_prob, states_of(model), name, atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_each_conditional_sees_earlier_dimensions_only(name):
    model = build(name)
    x = torch.rand(2, *model.shape, dtype=F64) * (levels_of(model) - 1)
    triangular(model.logits, x, order=model.order, what=name)


@pytest.mark.parametrize("name", MODELS)
def test_gradient_reaches_every_parameter_and_the_likelihood_moves_with_x(name):
    model = build(name)
    x = sample(model, 64, generator=generator(0))
    gradient_reaches(model, x, f=model.log_prob, what=name)
    depends_on(model.logits, x, what=name)
    assert model.log_prob(x).shape == (64,)


@pytest.mark.parametrize("name", MODELS)
def test_fast_conditionals_equal_one_full_pass_a_dimension(name):
    model = build(name)
    data = sample(model, 5, generator=generator(1))
    with torch.no_grad():
        fast, slow = torch.zeros_like(data), torch.zeros_like(data)
        walks = zip(model.conditionals(fast), conditionals(model, slow), strict=True)
        for (i, got), (j, want) in walks:
            assert i == j
            close(got, want, f"{name}: parameters of dimension {i}", atol=1e-10)
            for x in (fast, slow):
                x.view(5, -1)[:, i] = data.view(5, -1)[:, i]


SAMPLED = [name for name in MODELS if len(states_of(MODELS[name]())) <= 256]


@pytest.mark.parametrize("name", SAMPLED)
def test_samples_follow_the_enumerated_probabilities(name):
    model = build(name)
    states, n = states_of(model), 20_000 if len(model.shape) == 3 else 200_000
    drawn = sample(model, n, generator=generator(5)).reshape(n, -1)
    distributed(drawn, model.log_prob(states).exp().detach(), name, states=states.reshape(len(states), -1))


class DoubleSigmoid(NADE):
    """Probabilities where the head wants logits."""

    def conditionals(self, x):
        for i, logit in super().conditionals(x):
            yield i, logit.sigmoid()


class OnePass(NADE):
    """All dimensions drawn from one pass over an empty x."""

    def conditionals(self, x):
        logits = self.logits(torch.zeros_like(x))
        for i in self.order.tolist():
            yield i, logits[:, i]


class AnotherOrder(NADE):
    """Drawn in an order that is not the one of the likelihood."""

    def conditionals(self, x):
        for i in range(6):
            yield i, self.logits(x)[:, i]


@pytest.mark.parametrize("wrong", [DoubleSigmoid, OnePass, AnotherOrder])
def test_a_wrong_sampler_does_not_pass(wrong):
    torch.manual_seed(0)
    model = randomised(wrong(6, 5, order=ORDER), std=1.0)
    states = states_of(model)
    with pytest.raises(CheckFailed):
        distributed(
            sample(model, 200_000, generator=generator(5)), model.log_prob(states).exp().detach(), states=states
        )


# Clamping

FIRST = [3, 1, 0]  # the dimensions that come first in ORDER


def conditional(model, clamp):
    """p(state | clamped dimensions), by enumeration; exact where those come first in the order."""
    states = states_of(model)
    agrees = (clamp.isnan() | (states == clamp)).all(1)
    p = model.log_prob(states).exp().detach() * agrees
    return states, p / p.sum()


@pytest.mark.parametrize("name", ["FVSBN", "NADE", "MADE, one"])
def test_clamped_sampling_is_the_exact_conditional_and_touches_nothing(name):
    model = build(name)
    clamp = torch.full((6,), torch.nan, dtype=F64)
    clamp[FIRST] = torch.tensor([1.0, 0.0, 1.0], dtype=F64)
    drawn = sample(model, 200_000, clamp=clamp, generator=generator(6))
    assert bool((drawn[:, FIRST] == clamp[FIRST]).all())
    states, p = conditional(model, clamp)
    distributed(drawn, p, name, states=states)


def test_clamping_after_the_fact_is_not_the_conditional():
    """The twin: draw everything, then write the clamped values over it."""
    model = build("NADE")
    clamp = torch.full((6,), torch.nan, dtype=F64)
    clamp[FIRST] = torch.tensor([1.0, 0.0, 1.0], dtype=F64)
    states, p = conditional(model, clamp)
    drawn = sample(model, 200_000, generator=generator(6))
    with pytest.raises(CheckFailed):
        distributed(torch.where(clamp.isnan(), drawn, clamp), p, states=states)


def test_a_later_clamped_dimension_does_not_reach_back():
    """What the sampler promises then: each free dimension given what comes before it in the order."""
    model = build("NADE")
    late = int(ORDER[4])
    clamp = torch.full((6,), torch.nan, dtype=F64)
    clamp[late] = 1.0
    states = states_of(model)
    with torch.no_grad():
        each = model.head.log_prob(model.logits(states), states)
    free = [i for i in range(6) if i != late]
    p = each[:, free].sum(1).exp() * (states[:, late] == 1)
    drawn = sample(model, 200_000, clamp=clamp, generator=generator(7))
    distributed(drawn, p, "NADE", states=states)
    with pytest.raises(CheckFailed):
        distributed(drawn, conditional(model, clamp)[1], states=states)


@pytest.mark.parametrize("name", ["PixelCNN", "gated", "gated, logistic"])
def test_clamps_may_differ_between_samples_of_images(name):
    model = build(name)
    clamp = torch.randint(0, levels_of(model), (7, *model.shape), generator=generator(0)).double()
    clamp[torch.rand(clamp.shape, generator=generator(1)) < 0.5] = torch.nan
    drawn = sample(model, 7, clamp=clamp, generator=generator(2))
    known = ~clamp.isnan()
    assert bool((drawn[known] == clamp[known]).all()) and not bool(drawn.isnan().any())
    again = sample(model, 7, clamp=clamp, generator=generator(2))
    assert bool((drawn == again).all())
    assert not bool((drawn == sample(model, 7, clamp=clamp, generator=generator(3))).all())


def test_trajectory_shows_every_drawn_dimension_once_and_keeps_its_states():
    model = build("NADE")
    clamp = torch.full((6,), torch.nan, dtype=F64)
    clamp[FIRST] = 1.0
    states = list(trajectory(model, 8, clamp=clamp, generator=generator(4)))
    assert len(states) == 3
    for k, state in enumerate(states):
        assert bool((state[:, ORDER[4 + k :]] == 0).all())  # not drawn yet
        assert bool((state[:, FIRST] == 1).all())
    close(states[-1], sample(model, 8, clamp=clamp, generator=generator(4)), "the last state")
    assert bool((states[0] != states[-1]).any())


def test_dropout_is_off_while_sampling_and_on_again_after():
    model = randomised(MADE(6, (50,), dropout=0.9)).train()
    reference = sample(model.eval(), 300, generator=generator(0))
    assert bool((sample(model.train(), 300, generator=generator(0)) == reference).all()) and model.training
    next(trajectory(model, 2)).sum()
    assert model.training


class Bare:
    """The least a model may be: logits and an order."""

    order = torch.tensor([1, 0])

    def logits(self, x):
        return torch.stack([2.0 * x[:, 1] - 1, torch.full((len(x),), 0.3)], 1)


def test_the_sampler_asks_only_for_logits_and_order():
    drawn = sample(Bare(), 100_000, generator=generator(0))
    p1 = torch.sigmoid(torch.tensor(0.3))
    p0 = torch.sigmoid(torch.tensor([-1.0, 1.0]))
    states = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    probs = torch.stack([(1 - p0[0]) * (1 - p1), p0[0] * (1 - p1), (1 - p0[1]) * p1, p0[1] * p1])
    distributed(drawn, probs, states=states)


# Precision and compilation

ON_IMAGES = {"MADE": lambda: MADE(784, (50,)), "PixelCNN": lambda: PixelCNN((1, 28, 28), 8, 1)}


@pytest.mark.parametrize("name", ON_IMAGES)
def test_bfloat16_networks_still_add_up_in_float32(name):
    """784 terms added in bfloat16 would be wrong by whole nats."""
    torch.manual_seed(0)
    model = ON_IMAGES[name]()
    x = (torch.rand(4, *model.shape, generator=generator(0)) < 0.5).float()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits, got = model.logits(x), model.log_prob(x)
    assert logits.dtype == torch.bfloat16 and got.dtype == torch.float32
    exact = model.head.log_prob(logits.double(), x.double()).reshape(4, -1).sum(1)
    close(got, exact, "log_prob under autocast", atol=1e-2)
    rounded = model.head.log_prob(logits, x).to(torch.bfloat16).reshape(4, -1).sum(1)
    assert float((rounded.double() - exact).abs().max()) > 0.1


@pytest.mark.parametrize("name", ON_IMAGES)
def test_one_compiled_graph_equals_eager(name):
    model = ON_IMAGES[name]()
    x = (torch.rand(2, *model.shape, generator=generator(0)) < 0.5).float()
    compiled = torch.compile(model.log_prob, backend="aot_eager", fullgraph=True)
    close(compiled(x), model.log_prob(x), "compiled log_prob", atol=1e-3)


# Refusals


def test_bad_input_is_refused_before_any_work():
    model = NADE(4, 3)
    with pytest.raises(ValueError, match=r"samples have shape \(4,\); got a batch of shape \(2, 5\)"):
        model.log_prob(torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"whole numbers in 0..1; got values in \[0, 0.5\]"):
        model.log_prob(torch.tensor([[0.0, 0.5, 0.0, 0.0]]))
    with pytest.raises(ValueError, match="clamp must have the shape of one sample"):
        sample(model, 3, clamp=torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"whole numbers in 0..1; got values in \[0, 2\]"):
        sample(model, 3, clamp=torch.tensor([2.0, torch.nan, 0.0, 0.0]))
    with pytest.raises(ValueError, match="number of samples must be at least 1; got 0"):
        sample(model, 0)
    with pytest.raises(ValueError, match="order must be a permutation of 0..3"):
        NADE(4, 3, order=torch.tensor([0, 1, 1, 2]))
    with pytest.raises(ValueError, match="at least 1 unit, got 0"):
        NADE(4, 0)
    with pytest.raises(ValueError, match=r"at least 1 unit; got \(3, 0\)"):
        MADE(4, (3, 0))
    with pytest.raises(ValueError, match=r"shape is \(colours, height, width\); got \(4, 4\)"):
        PixelCNN((4, 4), 8)
    assert model.log_prob(torch.zeros(0, 4)).shape == (0,)
    with pytest.raises(ValueError, match="multiple of twice the 3 colours; got 8"):
        PixelCNN((3, 4, 4), 8)
    with pytest.raises(NotImplementedError, match="must define logits"):
        Autoregressive((2,), torch.arange(2)).log_prob(torch.zeros(1, 2))
