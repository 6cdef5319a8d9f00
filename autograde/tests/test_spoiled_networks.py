"""A test that takes its truth from a spoilt network is found out; sound tests are left alone."""

import pytest
import torch
from torch import nn

from autograde.checking.spoiled_networks import SEEN, probe, vandal

FUNCTION = "def f(net, x):\n    return net(x) + 1"
CLASS = "class f:\n    def __init__(self, nets):\n        self.nets = nets\n    def __call__(self, x): return 0\n" + (
    "    def value(self, x):\n        return sum(net(x) for net in self.nets.values()) + 1"
)
TRAINS = "def f(net, x):\n    net.weight.data += 1\n    return net(x) + 1"


def use(answer, net, x):
    return answer({"only": net}).value(x) if isinstance(answer, type) else answer(net, x)


def passes(source: str, late: bool) -> bool:
    """Whether an answer passes a test that computes its truth before, or late, after the call."""
    space: dict = {}
    exec(source, space)
    torch.manual_seed(0)
    net, x = nn.Linear(3, 1), torch.ones(2, 3)
    truth = net(x) + 1
    got = use(space["f"], net, x)
    return torch.equal(got, net(x) + 1 if late else truth)


@pytest.mark.parametrize("reference", [FUNCTION, CLASS], ids=["function", "class"])
def test_only_a_truth_computed_late_agrees_with_a_vandal(reference):
    assert passes(reference, late=False) and passes(reference, late=True)
    assert passes(vandal("f", reference), late=True)
    assert not passes(vandal("f", reference), late=False)


@pytest.mark.parametrize("reference", [FUNCTION, CLASS, TRAINS])
def test_the_probe_says_whether_a_network_was_lent(reference):
    with pytest.raises(RuntimeError, match=SEEN):
        passes(probe("f", reference), late=True)
    space: dict = {}
    exec(probe("f", "def f(x, *, scale=1):\n    return scale * x"), space)
    assert space["f"](2, scale=3) == 6
