"""Masked layers: what they may see, also after an optimiser has moved their weights."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from coursekit.checks import CheckFailed, close, gradient_reaches, jacobian, triangular
from genmodels.nets import CAUSAL_KINDS, MaskedConv2d, MaskedLinear, causal_mask

F64 = torch.float64


def randomised(module):
    for p in module.parameters():
        nn.init.normal_(p, std=0.6)
    return module.double()


class MaskedOnce(MaskedLinear):
    """The mistake: zero the weights at construction, and never again."""

    def __init__(self, mask):
        super().__init__(mask)
        self.weight.data *= mask

    def masked_weight(self, which=0):  # noqa: ARG002
        return self.weight


def sees_only_its_past_after_training(make):
    torch.manual_seed(0)
    layer = make(torch.ones(5, 5, dtype=torch.bool).tril(-1)).double()
    optimiser = torch.optim.AdamW(layer.parameters(), lr=0.1)
    x, y = torch.randn(9, 5, dtype=F64), torch.randn(9, 5, dtype=F64)
    for _ in range(3):
        optimiser.zero_grad()
        (layer(x) - y).square().mean().backward()
        optimiser.step()
    triangular(layer, torch.randn(2, 5, dtype=F64), what="the trained layer")


def test_an_optimiser_cannot_undo_the_mask():
    sees_only_its_past_after_training(MaskedLinear)
    with pytest.raises(CheckFailed):
        sees_only_its_past_after_training(MaskedOnce)


def test_masks_in_a_stack_share_the_weight():
    masks = torch.rand(3, 4, 7) < 0.5
    layer, x = randomised(MaskedLinear(masks)), torch.randn(2, 6, 7, dtype=F64)
    for which in range(3):
        close(layer(x, which), F.linear(x, layer.weight * masks[which], layer.bias), "MaskedLinear", atol=1e-12)
        close(jacobian(lambda v, k=which: layer(v, k), x[0])[0, :, 0] != 0, masks[which], "what it looks at")
    assert len(list(layer.parameters())) == 2 and "mask" in layer.state_dict()


@pytest.mark.parametrize("mask", [torch.ones(3, 4), torch.ones(3, dtype=torch.bool)])
def test_a_mask_that_is_none_is_refused(mask):
    with pytest.raises(ValueError, match="mask must be boolean"):
        MaskedLinear(mask)


def test_sparse_rows_start_with_outputs_as_large_as_dense_ones():
    torch.manual_seed(0)
    layer = MaskedLinear(torch.arange(200)[:, None].remainder(2) * 190 + 10 > torch.arange(200)[None])
    y = layer(torch.randn(4000, 200))
    assert 0.8 < (y[:, ::2].std() / y[:, 1::2].std()).item() < 1.25


class Quiet(MaskedConv2d):
    """The mistake: divided by the number of taps, not by its root."""

    def __init__(self, *args):
        super().__init__(*args)
        taps = self.mask.flatten(1).double().sum(1).clamp_min(1)
        self.weight.data *= taps.rsqrt().float().reshape(-1, 1, 1, 1)


def starts_with_the_variance_of_a_linear_layer(make):
    """Uniform weights within 1 / sqrt(taps): a third of the variance of the input, however much the mask leaves."""
    torch.manual_seed(0)
    x = torch.randn(8, 12, 20, 20, dtype=F64)
    for kind in ("B", "vertical A", "horizontal B"):
        y = make(12, 24, 5, kind).double()(x)[:, :, 4:-4, 4:-4]
        assert 0.8 < y.std().item() * 3**0.5 < 1.25, kind


def test_convolutions_start_with_the_variance_of_a_linear_layer():
    starts_with_the_variance_of_a_linear_layer(MaskedConv2d)
    with pytest.raises(AssertionError):
        starts_with_the_variance_of_a_linear_layer(Quiet)


# Which taps (row, column), counted from the centre, each kind may see: the definition in words, not a slice.
SEES = {
    "A": lambda r, c: r < 0 or (r == 0 and c < 0),
    "B": lambda r, c: r < 0 or (r == 0 and c <= 0),
    "vertical A": lambda r, c: r < 0,
    "vertical B": lambda r, c: r <= 0,
    "horizontal A": lambda r, c: r == 0 and c < 0,
    "horizontal B": lambda r, c: r == 0 and c <= 0,
}


@pytest.mark.parametrize(("kind", "kernel"), product(CAUSAL_KINDS, (1, 3, 5)))
def test_causal_masks_are_raster_order_in_words(kind, kernel):
    p = kernel // 2
    for r, c in product(range(kernel), repeat=2):
        assert bool(causal_mask(kernel, kind)[r, c]) == SEES[kind](r - p, c - p), (r, c)


@pytest.mark.parametrize("kind", CAUSAL_KINDS)
def test_a_masked_convolution_looks_where_its_kind_says(kind):
    h, w = 4, 5
    layer = randomised(MaskedConv2d(1, 1, 3, kind))
    seen = jacobian(layer, torch.randn(1, 1, h, w, dtype=F64)).reshape(h, w, h, w).abs() > 1e-9
    for r, c, i, j in product(range(h), range(w), range(h), range(w)):
        near = abs(i - r) <= 1 and abs(j - c) <= 1
        assert bool(seen[r, c, i, j]) == (near and SEES[kind](i - r, j - c)), (r, c, i, j)


def stack(first, then, colours=1):
    k = colours
    return randomised(
        nn.Sequential(
            MaskedConv2d(k, 4 * k, 3, first, colours=k), nn.Tanh(), MaskedConv2d(4 * k, k, 3, then, colours=k)
        )
    )


ORDER_OF_COLOURS = torch.arange(2 * 3 * 4).reshape(2, 3, 4).flatten(1).T.flatten()


@pytest.mark.parametrize("colours", [1, 2])
def test_type_a_then_b_is_strictly_causal_and_the_colours_form_a_chain(colours):
    x = torch.randn(2, colours, 3, 4, dtype=F64)
    triangular(stack("A", "B", colours), x, order=ORDER_OF_COLOURS if colours == 2 else None, what="A then B")


@pytest.mark.parametrize(("first", "then"), [("B", "B"), ("B", "A"), ("A", "vertical B"), ("vertical B", "A")])
def test_a_wrong_sequence_of_types_is_caught(first, then):
    with pytest.raises(CheckFailed):
        triangular(stack(first, then), torch.randn(2, 1, 3, 4, dtype=F64), what="the stack", complete=True)


def test_only_an_a_layer_everywhere_loses_the_neighbour():
    with pytest.raises(CheckFailed):
        triangular(stack("A", "A"), torch.randn(2, 1, 3, 4, dtype=F64), complete=True)


def test_colours_left_out_of_the_mask_are_caught():
    net = stack("A", "B", colours=2)
    net[2].mask[...] = causal_mask(3, "B")
    net[0].mask[...] = causal_mask(3, "B")
    with pytest.raises(CheckFailed):
        triangular(net, torch.randn(2, 2, 3, 4, dtype=F64), order=ORDER_OF_COLOURS)


@pytest.mark.parametrize(("kind", "kernel", "bias"), product(CAUSAL_KINDS, (1, 3, 5), (True, False)))
def test_feeding_pieces_gives_what_the_whole_image_gives(kind, kernel, bias):
    n, h, w = 3, 4, 5
    layer, x = randomised(MaskedConv2d(2, 6, kernel, kind, bias=bias)), torch.randn(n, 2, h, w, dtype=F64)
    with torch.no_grad():
        want = layer(x)
        by_row, memory = torch.empty_like(want), layer.open(n, h, w)
        for r in range(h):
            by_row[:, :, r : r + 1] = layer.feed(memory, x[:, :, r : r + 1], r, 0)
        close(by_row, want, "rows fed one by one", atol=1e-12)
        if kind != "vertical B":  # reads the rest of its row, so it cannot be fed by the pixel
            by_pixel, memory = torch.empty_like(want), layer.open(n, h, w)
            for r, c in product(range(h), range(w)):
                at = (..., slice(r, r + 1), slice(c, c + 1))
                by_pixel[at] = layer.feed(memory, x[at], r, c)
            close(by_pixel, want, "pixels fed one by one", atol=1e-12)


def test_gradient_reaches_every_weight_under_the_mask():
    layer = randomised(MaskedConv2d(2, 6, 3, "B"))
    gradient_reaches(layer, torch.randn(2, 2, 4, 5, dtype=F64))


def test_what_cannot_be_a_kernel_is_refused():
    with pytest.raises(ValueError, match="kernel must be odd.*got 4"):
        causal_mask(4, "A")
    with pytest.raises(ValueError, match="unknown kind 'C'; choose one of 'A', 'B'"):
        MaskedConv2d(1, 2, 3, "C")
    with pytest.raises(ValueError, match="divide into the 3 colours; got 3 in and 4 out"):
        MaskedConv2d(3, 4, 3, "A", colours=3)
