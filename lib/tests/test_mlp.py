"""The fully connected network against its definition."""

import pytest
import torch
from torch import nn

from coursekit.checks import CheckFailed, close, gradient_reaches
from genmodels.core import parameter_count
from genmodels.nets import MLP

F64 = torch.float64


def by_hand(net, x, activation):
    linears = [layer for layer in net.layers if isinstance(layer, nn.Linear)]
    for k, layer in enumerate(linears):
        x = torch.einsum("oi,...i->...o", layer.weight, x) + layer.bias
        x = activation(x) if k < len(linears) - 1 else x
    return x


@pytest.mark.parametrize("hidden", [(), (7,), (5, 9, 4)])
def test_is_affine_maps_with_the_activation_between_them_only(hidden):
    net, x = MLP(3, hidden, 2, activation=nn.Tanh).double(), torch.randn(4, 6, 3, dtype=F64)
    close(net(x), by_hand(net, x, torch.tanh), "MLP", atol=1e-12)
    assert parameter_count(net) == sum((a + 1) * b for a, b in zip((3, *hidden), (*hidden, 2), strict=True))
    gradient_reaches(net, x)


def test_an_activation_after_the_last_layer_is_noticed():
    net, x = MLP(3, (7,), 2, activation=nn.Tanh).double(), torch.randn(4, 3, dtype=F64)
    with pytest.raises(CheckFailed):
        close(net(x).tanh(), by_hand(net, x, torch.tanh), "MLP")


def test_a_width_of_zero_is_refused():
    with pytest.raises(ValueError, match=r"width must be at least 1; got \[3, 0, 2\]"):
        MLP(3, (0,), 2)
