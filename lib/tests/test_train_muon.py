"""Muon: the polynomial against a singular value decomposition, the step against torch's own; each with its sabotage."""

import copy

import pytest
import torch
from torch import nn

from coursekit import checks
from genmodels.train.muon import Muon, orthogonalize


def network():
    """An embedding, two hidden matrices (wide and tall), and biases."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(6, 8), nn.Linear(8, 24), nn.GELU(), nn.Linear(24, 8))


def is_hidden(p):
    return len(p) != 6


def push(model, k):
    """The gradients of some loss of step k."""
    model.zero_grad()
    weigh = torch.randn(10, 8, generator=torch.Generator().manual_seed(k))
    (model(torch.arange(10) % 6) * weigh).sum().backward()


def polynomial_of_the_singular_values():
    """orthogonalize moves no singular vector, and each value by the quintic, five times over."""
    g = torch.Generator().manual_seed(1)
    for shape in ((5, 9), (9, 5), (3, 4, 4)):
        m = torch.randn(shape, generator=g, dtype=torch.float64)
        u, s, vh = torch.linalg.svd(m, full_matrices=False)
        s = s / s.square().sum(-1, keepdim=True).sqrt()
        for _ in range(5):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        checks.close(orthogonalize(m), u * s[..., None, :] @ vh, f"matrices {shape}", atol=1e-9)


def values_end_near_one():
    """From 1 % of the norm upwards, as the docstring says."""
    s = torch.logspace(-2, -1e-4, 400, dtype=torch.float64)
    m = torch.diag_embed(torch.stack([s, (1 - s**2).clamp_min(0).sqrt()], -1))  # a norm of 1
    values = torch.linalg.svdvals(orthogonalize(m)).amin(-1)
    assert 0.68 < values.min() and torch.linalg.svdvals(orthogonalize(m)).max() < 1.14
    assert torch.equal(orthogonalize(torch.zeros(2, 3)), torch.zeros(2, 3))


def steps_are_those_of_torch():
    """torch.optim.Muon on the hidden matrices (in bfloat16: to 2 % of a step), torch.optim.AdamW on the rest."""
    ours, theirs = network(), network()
    start = [p.detach().clone() for p in ours.parameters()]
    chosen = [theirs[1].weight, theirs[3].weight]
    rest = [p for p in theirs.parameters() if all(p is not q for q in chosen)]
    opt = Muon(ours.parameters(), is_hidden, lr=0.02, rest=0.3)
    pair = (
        torch.optim.Muon(chosen, lr=0.02, momentum=0.95, weight_decay=0.0),
        torch.optim.AdamW(rest, lr=0.006, betas=(0.9, 0.99), weight_decay=0.1, fused=True),
    )
    for k in range(4):
        g = torch.Generator().manual_seed(k)
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.grad = q.grad = torch.randn(p.shape, generator=g)
        opt.step()
        for one in pair:
            one.step()
    for p, q, s in zip(ours.parameters(), theirs.parameters(), start, strict=True):
        moved = (q - s).norm().item()
        assert moved > 1e-3
        limit = 0.02 if any(q is c for c in chosen) else 1e-6
        assert (p - q).norm().item() < limit * moved, (
            f"{tuple(p.shape)}: {(p - q).norm().item() / moved:.2%} of the way"
        )


ORACLES = [polynomial_of_the_singular_values, values_end_near_one, steps_are_those_of_torch]


@pytest.mark.parametrize("oracle", ORACLES)
def test_muon(oracle):
    oracle()


@pytest.mark.parametrize(
    ("oracle", "where", "old", "new"),
    [
        (polynomial_of_the_singular_values, orthogonalize, "c * gram @ gram", "c * gram"),
        (polynomial_of_the_singular_values, orthogonalize, "x.norm(dim=(-2, -1), keepdim=True)", "x.norm()"),
        (polynomial_of_the_singular_values, orthogonalize, "return x.mT if tall else x", "return x"),
        (values_end_near_one, orthogonalize, "range(steps)", "range(3)"),
        (values_end_near_one, orthogonalize, ".clamp_min(1e-7)", ""),
        (steps_are_those_of_torch, Muon._move, "1 - momentum", "momentum"),
        (steps_are_those_of_torch, Muon._move, "torch._foreach_lerp(grads, buffers, momentum)", "buffers"),
        (steps_are_those_of_torch, Muon._step_hidden, "max(1.0, shape[0] / shape[1]) ** 0.5", "1.0"),
    ],
)
def test_oracle_notices(edit, oracle, where, old, new):
    edit(where, old, new)
    with pytest.raises((AssertionError, RuntimeError)):
        oracle()


def test_a_step_leaves_the_gradients_and_passes_over_what_has_none():
    model = network()
    opt = Muon(model.parameters(), is_hidden)
    push(model, 0)
    model[3].weight.grad = None
    before = model[3].weight.detach().clone()
    opt.step()
    assert torch.equal(model[3].weight, before)
    assert model[1].weight.grad is not None and model[0].weight.grad is not None


def test_its_state_survives_a_checkpoint():
    one, two = network(), network()
    a, b = Muon(one.parameters(), is_hidden), Muon(two.parameters(), is_hidden)
    for k in range(3):
        push(one, k)
        a.step()
    two.load_state_dict(one.state_dict())
    b.load_state_dict(copy.deepcopy(a.state_dict()))
    for k in range(3, 5):
        for model, opt in ((one, a), (two, b)):
            push(model, k)
            opt.step()
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="chooses none"):
        Muon(network().parameters(), lambda p: False)
    with pytest.raises(ValueError, match=r"matrices of floats; got \(3,\)"):
        orthogonalize(torch.zeros(3))
    with pytest.raises(ValueError, match="no closure"):
        Muon(network().parameters(), is_hidden).step(lambda: 0.0)
