"""PixelCNN: what a pixel may see, what it can see, and what it never sees (the blind spot)."""

import pytest
import torch
from torch import nn

from coursekit.checks import CheckFailed, close, triangular
from genmodels.autoregressive import GatedPixelCNN, PixelCNN
from genmodels.autoregressive.pixels import _gate

F64 = torch.float64


def randomised(model, std=0.5):
    torch.manual_seed(3)
    for p in model.parameters():
        nn.init.normal_(p, std=std)
    return model.double()


def seen_by(model, row, column, h, w):
    """Which pixels the logit at (row, column) depends on, by gradient."""
    x = torch.randn(8, 1, h, w, dtype=F64, requires_grad=True)  # several images: a relu may be off in one of them
    model.logits(x)[:, 0, row, column].sum().backward()
    assert bool(x.grad.isfinite().all())
    return (x.grad[:, 0] != 0).any(0)


def test_plain_stack_has_exactly_the_blind_spot_of_its_triangle():
    """3 x 3 layers reach one column right for each row up: further right is never seen, however deep."""
    h, w, row, column = 5, 7, 4, 2
    seen = seen_by(randomised(PixelCNN((1, h, w), 16, 6, first=3)), row, column, h, w)
    for r in range(h):
        for c in range(w):
            past = (r, c) < (row, column)
            assert bool(seen[r, c]) == (past and c - column <= row - r), (r, c)
    assert not bool(seen[row - 1, column + 2]) and bool(seen[row - 1, column + 1])


def test_gated_stacks_see_every_earlier_pixel_and_no_other():
    model = randomised(GatedPixelCNN((1, 4, 5), 16, 4, first=3))
    triangular(model.logits, torch.rand(2, 1, 4, 5, dtype=F64), what="GatedPixelCNN", complete=True)


def test_the_same_demand_fails_the_plain_stack():
    model = randomised(PixelCNN((1, 4, 5), 16, 4, first=3))
    with pytest.raises(CheckFailed):
        triangular(model.logits, torch.rand(2, 1, 4, 5, dtype=F64), what="PixelCNN", complete=True)


@pytest.mark.parametrize(("first", "blocks"), [(3, 0), (3, 2), (7, 1)])
def test_receptive_field_grows_as_computed(first, blocks):
    """Radius first // 2 + blocks: rows above, and columns to the left, that the centre pixel of a large image sees."""
    h, w, reach = 9, 9, first // 2 + blocks
    seen = seen_by(randomised(PixelCNN((1, h, w), 16, blocks, first=first)), 8, 8, h, w)
    rows, columns = seen.any(1).nonzero()[:, 0], seen.any(0).nonzero()[:, 0]
    assert 8 - int(rows.min()) == reach and 8 - int(columns.min()) == reach


def type_b_first(model):
    model.first.mask[:, :, 1, 1] = True


def rows_below_kept(model):
    model.first.mask[:, :, 2] = True


def vertical_sees_its_row(model):
    model.first_vertical.mask[:, :, 1] = True


def vertical_not_shifted_in_a_layer(model):
    model.layers[1].vertical.mask[...] = True


def horizontal_sees_itself(model):
    model.first.mask[:, :, 0, 1] = True


@pytest.mark.parametrize(
    ("make", "mistake"),
    [
        (PixelCNN, type_b_first),
        (PixelCNN, rows_below_kept),
        (GatedPixelCNN, vertical_sees_its_row),
        (GatedPixelCNN, vertical_not_shifted_in_a_layer),
        (GatedPixelCNN, horizontal_sees_itself),
    ],
)
def test_a_wrong_mask_breaks_causality(make, mistake):
    model = randomised(make((1, 3, 4), 4, 2, first=3))
    triangular(model.logits, torch.rand(2, 1, 3, 4, dtype=F64))
    mistake(model)
    with pytest.raises(CheckFailed):
        triangular(model.logits, torch.rand(2, 1, 3, 4, dtype=F64))


class FedBackwards(GatedPixelCNN):
    """The mistake: the vertical stack reads the horizontal one."""

    def rows_above(self, x, apply):
        h = apply(self.horizontal_position, apply(self.first, x))
        v, passed = apply(self.first_vertical, x) + h, []
        for layer in self.layers:
            wide = apply(layer.vertical, v)
            passed.append(apply(layer.across, wide))
            v = v + wide[:, : v.shape[1]]
        return passed


def test_a_vertical_stack_fed_by_the_horizontal_one_breaks_causality():
    model = randomised(FedBackwards((1, 3, 4), 4, 2, first=3))
    with pytest.raises(CheckFailed):
        triangular(model.logits, torch.rand(2, 1, 3, 4, dtype=F64))


class Leaking(PixelCNN):
    """The mistake: a normalisation over the whole image, or over the batch, mixes what masks keep apart."""

    def __init__(self, norm):
        super().__init__((1, 3, 4), 4, 2, first=3)
        self.norm = norm

    def network(self, x, apply):
        return super().network(self.norm(x), apply)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(1), nn.GroupNorm(1, 1)])
def test_a_normalisation_across_pixels_is_caught(norm):
    with pytest.raises(CheckFailed):
        triangular(randomised(Leaking(norm)).train().logits, torch.rand(2, 1, 3, 4, dtype=F64))


def test_order_is_raster_with_the_colours_of_a_pixel_in_turn():
    assert PixelCNN((1, 2, 3), 2, 0).order.tolist() == list(range(6))
    assert GatedPixelCNN((2, 2, 2), 4, 1).order.tolist() == [0, 4, 1, 5, 2, 6, 3, 7]


def gate_is_tanh_times_sigmoid():
    """Within each colour the first half of the channels is the value, the second its switch."""
    h = 2 * torch.randn(3, 12, 2, 5, dtype=F64)
    one = torch.tanh(h[:, :6]) * torch.sigmoid(h[:, 6:])
    close(_gate(h), one, "the gate", atol=1e-12)
    two = [torch.tanh(h[:, a : a + 3]) * torch.sigmoid(h[:, a + 3 : a + 6]) for a in (0, 6)]
    close(_gate(h, 2), torch.cat(two, 1), "the gate of two colours", atol=1e-12)


def test_gate_is_tanh_times_sigmoid(notices):
    gate_is_tanh_times_sigmoid()
    notices(gate_is_tanh_times_sigmoid, _gate, "torch.sigmoid(2 * value)", "torch.sigmoid(value)")


def test_position_is_used_and_reads_no_pixel():
    model = randomised(PixelCNN((1, 3, 4), 4, 0, first=3))
    blank = model.logits(torch.zeros(1, 1, 3, 4, dtype=F64))
    assert blank.std().item() > 0.01
