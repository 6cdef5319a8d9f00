"""The UNet: shapes, conditions, and that each part is used."""

import math

import pytest
import torch
from torch import nn

from coursekit.checks import CheckFailed, close, depends_on, gradient_reaches
from genmodels.core import parameter_count
from genmodels.nets import UNet
from genmodels.nets.unet import AdaptiveGroupNorm, LabelEmbedding, PixelAttention, TimeEmbedding

F64 = torch.float64


def randomised(model, std=0.15):
    torch.manual_seed(3)
    for p in model.parameters():
        nn.init.normal_(p, std=std)
    return model.double()


def small(**options):
    options = {"widths": (6, 9, 12), "attention": (1, 2), **options}
    return randomised(UNet(options.pop("channels", 3), **options))


@pytest.mark.parametrize("size", [(16, 16), (32, 32), (28, 28), (7, 9), (5, 16)])
@pytest.mark.parametrize("options", [{}, {"channels": 5, "widths": (5, 15)[:1], "attention": ()}, {"blocks": 2}])
def test_output_has_the_shape_of_the_input(size, options):
    model = small(**options)
    x = torch.randn(2, model.channels, *size, dtype=F64)
    assert model(x, torch.rand(2, dtype=F64)).shape == x.shape


def test_every_argument_and_every_parameter_matters():
    model, x, t = small(classes=(3, 4)), torch.randn(3, 3, 8, 8, dtype=F64), torch.rand(3, dtype=F64)
    labels = torch.tensor([[0, 3], [2, -1], [-1, 0]])
    depends_on(model, x, t, what="UNet")
    with torch.no_grad():
        out = model(x, t, labels)
        for k in range(2):
            other = labels.clone()
            other[:, k] = (other[:, k] + 1) % 3
            assert float((model(x, t, other) - out).abs().amax((1, 2, 3)).min()) > 1e-6
    every = torch.tensor([[a, b] for a in range(-1, 3) for b in range(-1, 4)])
    gradient_reaches(model, x[:1].expand(20, -1, -1, -1), torch.rand(20, dtype=F64), every, what="UNet")
    table = model.labels.table.weight
    model.zero_grad()
    model(x[:1].expand(20, -1, -1, -1), torch.rand(20, dtype=F64), every).square().sum().backward()
    assert bool((table.grad.abs().sum(1) > 0).all())  # one row a value of each attribute, and one for "not told"
    assert len(table) == 3 + 4 + 2


class Frozen(UNet):
    """The mistake: the time is computed and never used."""

    def forward(self, x, t, labels=None):
        return super().forward(x, torch.zeros_like(t), labels)


def test_an_unused_time_is_caught():
    model = randomised(Frozen(3, widths=(6, 9)[:2], attention=()))
    with pytest.raises(CheckFailed):
        depends_on(model, torch.randn(3, 3, 8, 8, dtype=F64), torch.rand(3, dtype=F64))


def test_samples_do_not_influence_each_other():
    model, x, t = small(), torch.randn(4, 3, 8, 8, dtype=F64), torch.rand(4, dtype=F64)
    one_by_one = torch.cat([model(x[i : i + 1], t[i : i + 1]) for i in range(4)])
    close(model(x, t), one_by_one, "UNet", atol=1e-10)
    mixed = randomised(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
    with pytest.raises(CheckFailed):
        close(mixed(x), torch.cat([mixed(x[i : i + 1]) for i in range(4)]), "a network with BatchNorm")


def test_labels_not_told_equal_no_labels():
    model, x, t = small(classes=(3, 4)), torch.randn(3, 3, 8, 8, dtype=F64), torch.rand(3, dtype=F64)
    close(model(x, t), model(x, t, torch.full((3, 2), -1)), "UNet without labels", atol=1e-12)
    single = small(classes=(5,))
    told = torch.tensor([0, 4, -1])
    close(single(x, t, told), single(x, t, told[:, None]), "labels of shape (b,)", atol=1e-12)


def test_label_embedding_is_a_sum_of_separate_tables():
    embed = randomised(LabelEmbedding((2, 3), 4))
    rows = embed.table.weight
    want = torch.stack([rows[0] + rows[3], rows[1] + rows[6], rows[2] + rows[4]])
    close(embed(torch.tensor([[-1, -1], [0, 2], [1, 0]]), 3), want, "labels", atol=1e-12)


def test_time_embedding_tells_neighbouring_steps_and_the_ends_apart():
    embed = TimeEmbedding(8).double()
    t = torch.linspace(0, 1, 1001, dtype=F64)
    angle = t[:, None] * embed.angular.double()
    waves = torch.cat([angle.sin(), angle.cos()], 1)
    distance = torch.cdist(waves, waves) + 10 * torch.eye(1001)
    assert distance.min().item() > 0.1  # no two of a thousand steps look alike
    assert float((embed.angular[1:] / embed.angular[:-1]).std()) < 1e-5


def frequencies_run_from_one_half_turn_to_256(embed):
    close(embed.angular[[0, -1]] / math.pi, torch.tensor([1.0, 256.0]), "half turns over the unit interval")


def test_frequencies_run_from_one_half_turn_to_256():
    embed = TimeEmbedding(8)
    frequencies_run_from_one_half_turn_to_256(embed)
    embed.angular *= 2  # whole turns: t = 0 and t = 1 would look alike
    with pytest.raises(CheckFailed):
        frequencies_run_from_one_half_turn_to_256(embed)


def test_attention_equals_an_explicit_softmax():
    layer, x = randomised(PixelAttention(64)), torch.randn(2, 64, 3, 5, dtype=F64)
    tokens = layer.norm(x).flatten(2).mT
    mixed = torch.empty_like(tokens)
    q, k, v = (tokens @ w.T + b for w, b in zip(layer.qkv.weight.chunk(3), layer.qkv.bias.chunk(3), strict=True))
    assert layer.heads == 2
    for head in (slice(0, 32), slice(32, 64)):
        scores = q[..., head] @ k[..., head].mT / 32**0.5
        mixed[..., head] = scores.softmax(-1) @ v[..., head]
    want = x + (mixed @ layer.out.weight.T + layer.out.bias).mT.reshape(x.shape)
    close(layer(x), want, "attention", atol=1e-10)
    with pytest.raises(CheckFailed):
        close(layer(x), x + (tokens @ layer.out.weight.T).mT.reshape(x.shape), "attention left out")


def fine_detail_takes_the_skip():
    """With the way up from below cut, the finest level still paints from what it saw on the way down."""
    model, x, t = small(), torch.randn(2, 3, 8, 8, dtype=F64), torch.rand(2, dtype=F64)
    with torch.no_grad():
        for layer in model.grow:
            layer.weight.zero_()
        assert float((model(x + 0.1, t) - model(x, t)).abs().amax((1, 2, 3)).min()) > 1e-4
        x2 = x.clone()
        x2[:, :, 0, 0] += 1
        assert float((model(x2, t) - model(x, t))[:, :, 0, 0].abs().min()) > 1e-4


def condition_scales_around_one():
    """Means and variances of each group by hand; a condition that says nothing leaves the plain norm."""
    layer, x = randomised(AdaptiveGroupNorm(6, 4)), torch.randn(3, 6, 2, 5, dtype=F64)
    c = torch.randn(3, 4, dtype=F64)
    groups = x.reshape(3, layer.groups, -1)
    plain = (groups - groups.mean(2, keepdim=True)) / (groups.var(2, correction=0, keepdim=True) + 1e-5).sqrt()
    scale, shift = (c @ layer.affine.weight.T + layer.affine.bias)[:, :, None, None].split(6, 1)
    close(layer(x, c), (1 + scale) * plain.reshape(x.shape) + shift, "adaptive norm", atol=1e-10)
    nn.init.zeros_(layer.affine.weight)
    nn.init.zeros_(layer.affine.bias)
    close(layer(x, c), plain.reshape(x.shape), "without a condition", atol=1e-10)


PARTS = [fine_detail_takes_the_skip, condition_scales_around_one]


@pytest.mark.parametrize("oracle", PARTS)
def test_parts(oracle):
    oracle()


@pytest.mark.parametrize(
    ("oracle", "where", "old", "new"),
    [
        (fine_detail_takes_the_skip, UNet.forward, "skips[level] + F.interpolate", "F.interpolate"),
        (condition_scales_around_one, AdaptiveGroupNorm.forward, ", 1 + scale", ", scale"),
        (condition_scales_around_one, AdaptiveGroupNorm.forward, "scale, shift =", "shift, scale ="),
    ],
)
def test_oracle_of_the_parts_notices(oracle, where, old, new, notices):
    notices(oracle, where, old, new)


def test_with_attention_every_pixel_sees_every_pixel():
    far = [small(attention=a, blocks=1) for a in ((2,), ())]
    x = torch.randn(1, 3, 64, 64, dtype=F64, requires_grad=True)
    seen = [torch.autograd.grad(m(x, torch.rand(1, dtype=F64))[0, 0, 0, 0], x)[0][0, :, -1, -1] for m in far]
    assert bool((seen[0] != 0).all())


def test_the_output_starts_at_zero_and_the_two_forms_are_one_class():
    model = UNet(3)
    assert not bool(model(torch.randn(2, 3, 16, 16), torch.rand(2)).any())
    assert 5e5 < parameter_count(model) < 2e6
    large = UNet(3, widths=(192, 384, 384), blocks=3, attention=(1, 2), dropout=0.1)
    assert 5e7 < parameter_count(large) < 2e8


def test_bad_input_is_refused():
    model, x, t = UNet(3, widths=(4, 4), attention=(), classes=(3,)), torch.zeros(2, 3, 8, 8), torch.zeros(2)
    with pytest.raises(ValueError, match=r"images of shape \(b, 3, h, w\); got \(2, 1, 8, 8\)"):
        model(torch.zeros(2, 1, 8, 8), t)
    with pytest.raises(ValueError, match="one time for each of the 2 images"):
        model(x, torch.zeros(3))
    with pytest.raises(ValueError, match=r"labels must lie in -1..n-1 with n = \[3\].*got \[\[3\]\]"):
        model(x, t, torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="expected 1 labels for each of 2 samples"):
        model(x, t, torch.zeros(2, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="built without classes"):
        UNet(3, widths=(4,), attention=())(x, t, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"at least 1 class; got \(3, 0\)"):
        UNet(3, widths=(4,), attention=(), classes=(3, 0))
    with pytest.raises(ValueError, match=r"attention must name levels in 0..1; got \(2,\)"):
        UNet(3, widths=(4, 4))
