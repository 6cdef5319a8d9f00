"""The masks and orders of MADE, and the shared recursion of NADE, against their definitions."""

from itertools import product

import pytest
import torch
from torch import nn

from coursekit.checks import CheckFailed, close, distributed, normalised, triangular
from genmodels.autoregressive import MADE, NADE, conditionals, made_masks, sample
from genmodels.core import generator
from genmodels.nets import MaskedLinear

F64 = torch.float64
STATES = torch.tensor(list(product((0.0, 1.0), repeat=6)), dtype=F64)


def randomised(model, std=0.8):
    torch.manual_seed(3)
    for p in model.parameters():
        nn.init.normal_(p, std=std)
    return model.double()


# Masks


def paths(masks):
    """How many paths of the network lead from input j to output i."""
    total = masks[0].double()
    for mask in masks[1:]:
        total = mask.double() @ total
    return total


RANKS = [
    [torch.tensor([2, 0, 3, 1])],
    [torch.tensor([2, 0, 3, 1]), torch.tensor([0, 1, 2, 1, 2])],
    [torch.arange(5), torch.tensor([3, 0, 1, 2, 1, 2, 3]), torch.tensor([2, 1, 0, 3, 3, 2])],
]


def obeys(masks, rank):
    sees = paths(masks) > 0
    assert not bool(sees[rank[:, None] <= rank[None]].any()), "an output sees its own dimension or a later one"


@pytest.mark.parametrize("ranks", RANKS)
def test_no_path_leads_forward_and_every_backward_path_exists(ranks):
    obeys(made_masks(ranks), ranks[0])
    rank = ranks[0]
    connected = paths(made_masks(ranks)) > 0
    assert bool((connected == (rank[:, None] > rank[None])).all())  # these hidden ranks cover 0..d-2


def not_strict(ranks):
    *hidden, _ = made_masks(ranks)
    return [*hidden, ranks[0][:, None] >= ranks[-1][None]]


def strict_everywhere(ranks):
    masks = [a[None] < b[:, None] for a, b in zip(ranks[:-1], ranks[1:], strict=True)]
    return [*masks, ranks[0][:, None] > ranks[-1][None]]


def transposed(ranks):
    return [mask.T.contiguous() for mask in reversed(made_masks(ranks))]


@pytest.mark.parametrize("wrong", [not_strict, transposed])
@pytest.mark.parametrize("ranks", RANKS)
def test_wrong_masks_open_a_forward_path(wrong, ranks):
    with pytest.raises(AssertionError, match="sees its own"):
        obeys(wrong(ranks), ranks[0])


@pytest.mark.parametrize("ranks", RANKS[1:])
def test_masks_strict_everywhere_lose_connections(ranks):
    rank = ranks[0]
    assert not bool(((paths(strict_everywhere(ranks)) > 0) == (rank[:, None] > rank[None])).all())


def test_made_masks_wants_at_least_the_inputs():
    with pytest.raises(ValueError, match="wants the ranks of the inputs"):
        made_masks([])


# MADE


def many_orders():
    return randomised(MADE(6, (9, 9), orders=4, activation=torch.tanh))


@pytest.mark.parametrize("which", range(4))
def test_made_is_a_distribution_in_each_of_its_orders(which):
    made = many_orders()
    under = made.under(which)
    normalised(made.log_prob(STATES, which), STATES, "MADE", atol=1e-10)
    triangular(under.logits, torch.rand(2, 6, dtype=F64), order=made.orders[which], complete=True)
    close(under.log_prob(STATES), made.log_prob(STATES, which), "the view", atol=1e-12)
    drawn = sample(under, 50_000, generator=generator(1))
    distributed(drawn, made.log_prob(STATES, which).exp().detach(), states=STATES)


def test_one_order_for_reading_and_another_for_drawing_is_caught():
    made = many_orders()
    with pytest.raises(CheckFailed):
        triangular(made.logits, torch.rand(2, 6, dtype=F64), order=made.orders[1])
    with pytest.raises(CheckFailed):
        distributed(
            sample(made.under(1), 50_000, generator=generator(1)), made.log_prob(STATES).exp().detach(), states=STATES
        )


def test_orders_differ_and_come_from_the_seed():
    first, again, other = (MADE(6, (9,), orders=4, seed=s).orders for s in (0, 0, 1))
    assert bool((first == again).all()) and not bool((first == other).all())
    assert len({tuple(o.tolist()) for o in first}) == 4


def test_any_order_deals_the_batch_out_to_the_orders_and_the_ensemble_is_a_mixture():
    made, x = many_orders(), STATES[torch.randperm(64, generator=generator(0))[:11]]
    with torch.no_grad():
        each = torch.stack([made.log_prob(x, which) for which in range(4)])
        want = torch.stack([each[k % 4, k] for k in range(11)])
        close(made.any_order_log_prob(x), want, "any_order_log_prob", atol=1e-12)
        close(made.any_order_log_prob(x[:2]), want[:2], "any_order_log_prob of two", atol=1e-12)
        close(made.ensemble_log_prob(x).exp(), each.exp().mean(0), "ensemble", atol=1e-12)
        normalised(made.ensemble_log_prob, STATES, "ensemble", atol=1e-10)
        assert float(made.ensemble_log_prob(x).mean()) > float(each.mean())


def test_a_width_equal_to_the_input_does_not_make_a_skip_around_the_masks():
    made = randomised(MADE(6, (6, 6), activation=torch.tanh))
    triangular(made.logits, torch.rand(2, 6, dtype=F64))


def skips_join_hidden_layers_of_one_width():
    """By hand: h_1 = act(first), h_2 = h_1 + act(second h_1), h_3 of another width = act(third h_2)."""
    made, x = randomised(MADE(6, (9, 9, 7), direct=False, activation=torch.tanh)), STATES[::7]
    a, b, c = made.hidden
    h = torch.tanh(a(x))
    h = h + torch.tanh(b(h))
    close(made.logits(x), made.output(torch.tanh(c(h))), "MADE with skips", atol=1e-12)
    made.residual = False
    close(made.logits(x), made.output(torch.tanh(c(torch.tanh(b(torch.tanh(a(x))))))), "MADE without", atol=1e-12)


def test_skips_join_hidden_layers_of_one_width(notices):
    skips_join_hidden_layers_of_one_width()
    notices(skips_join_hidden_layers_of_one_width, MADE._above, "h + new if", "new if")


class Skipping(MADE):
    """The mistake: a skip from the input to hidden units whose ranks are not its own."""

    def _above(self, first, which):
        return super()._above(first, which) + self.seen

    def logits(self, x, which=0):
        self.seen = x
        return super().logits(x, which)


def test_a_skip_between_different_ranks_is_caught():
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    with pytest.raises(CheckFailed):
        triangular(randomised(Skipping(6, (6, 6), order=order)).logits, torch.rand(2, 6, dtype=F64), order=order)


def test_made_refuses_what_cannot_be():
    with pytest.raises(ValueError, match="d = 1"):
        MADE(1)
    with pytest.raises(ValueError, match=r"orders 0..3; got 4"):
        many_orders().under(4)


# NADE


def nade_by_the_definition(model, x):
    """d separate networks with shared weights: O(d^2 h), nothing reused."""
    logits = torch.empty_like(x)
    for k, i in enumerate(model.order.tolist()):
        before = model.order[:k]
        h = torch.sigmoid(model.c + torch.einsum("bj,jh->bh", x[:, before], model.W[before]))
        logits[:, i] = torch.einsum("bh,h->b", h, model.V[i]) + model.b[i]
    return logits


class TooEarly(NADE):
    """The mistake: x_i joins the accumulator before its own conditional is read."""

    def logits(self, x):
        a = self.c + (x[:, self.order, None] * self.W[self.order]).cumsum(1)
        return (torch.einsum("bdh,dh->bd", a.sigmoid(), self.V[self.order]) + self.b[self.order])[
            :, self.order.argsort()
        ]


def test_shared_recursion_equals_separate_networks():
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    model, x = randomised(NADE(6, 5, order=order)), STATES[::5]
    close(model.logits(x), nade_by_the_definition(model, x), "NADE", atol=1e-12)
    wrong = randomised(TooEarly(6, 5, order=order))
    with pytest.raises(CheckFailed):
        close(wrong.logits(x), nade_by_the_definition(wrong, x), "NADE")
    with pytest.raises(CheckFailed):
        normalised(wrong.log_prob, STATES)


def test_slow_and_fast_conditionals_of_made_agree_with_masks_that_change():
    made = many_orders()
    for which in (0, 3):
        x = (torch.rand(3, 6, generator=generator(which)) < 0.5).double()
        with torch.no_grad():
            pairs = zip(made.conditionals(x, which), conditionals(made.under(which), x), strict=True)
            for (i, fast), (j, slow) in pairs:
                assert i == j
                close(fast, slow, "conditional", atol=1e-12)


def test_the_mask_of_made_holds_while_it_learns():
    made = MADE(6, (9,), activation=torch.tanh).double()
    optimiser = torch.optim.AdamW(made.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        (-made.log_prob(STATES).mean()).backward()
        optimiser.step()
    normalised(made.log_prob, STATES, atol=1e-10)
    assert all(isinstance(layer, MaskedLinear) for layer in (*made.hidden, made.output, made.direct))
