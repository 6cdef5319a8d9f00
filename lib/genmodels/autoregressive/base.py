"""The one protocol of all autoregressive models, and the one sampler written for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genmodels.autoregressive.heads import Bernoulli, Categorical, DiscretizedLogisticMixture
from genmodels.core import require, sum_except_batch

__all__ = ["Autoregressive", "Head", "Model", "conditionals", "sample", "trajectory"]

Head = Bernoulli | Categorical | DiscretizedLogisticMixture


@runtime_checkable
class Model(Protocol):
    """What the sampler asks of a model: ``logits`` and ``order``.

    ``order[k]`` is the (flat) dimension drawn k-th. ``logits(x)[:, i]`` may depend only on the dimensions that come
    before i in ``order``. Optional: ``head`` (else Bernoulli), ``shape`` of one sample (else flat), and a faster
    ``conditionals`` (else one full pass of ``logits`` for each dimension).
    """

    order: Int[Tensor, "d"]

    def logits(self, x: Float[Tensor, "b *d"]) -> Float[Tensor, "b *d_and_size"]:
        """Parameters of every conditional p(x_i | what comes before it), in one pass."""


class Autoregressive(nn.Module):
    """p(x) = prod_k p(x_o[k] | x_o[0], ..., x_o[k-1]) with o = ``order``: a subclass defines ``logits``.

    ``shape`` of one sample; ``head`` says what one dimension's distribution is (default: Bernoulli).
    """

    order: Int[Tensor, "d"]

    def __init__(self, shape: tuple[int, ...], order: Int[Tensor, "d"], head: Head | None = None) -> None:
        super().__init__()
        d = torch.Size(shape).numel()
        order = torch.as_tensor(order)
        require(
            order.shape == (d,) and bool((order.sort().values == torch.arange(d)).all()),
            f"order must be a permutation of 0..{d - 1}; got {order.tolist()[:20]}",
        )
        self.shape, self.head = tuple(shape), head or Bernoulli()
        self.register_buffer("order", order.clone())

    def logits(self, x: Float[Tensor, "b *d"]) -> Float[Tensor, "b *d_and_size"]:
        """Parameters of every conditional, in one pass: shape of x, and a last axis when the head wants several."""
        raise NotImplementedError(f"{type(self).__name__} must define logits(x)")

    def log_prob(self, x: Float[Tensor, "b *d"]) -> Float[Tensor, "b"]:
        """log p(x) of each sample in nats: the sum of the log-conditionals."""
        self.check(x)
        return self.total(self.logits(x), x)

    def total(self, logits: Float[Tensor, "b *d_and_size"], x: Float[Tensor, "b *d"]) -> Float[Tensor, "b"]:
        """log p(x) from the conditionals; summed in float32 at least, whatever precision the network ran in."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return sum_except_batch(self.head.log_prob(logits, x))

    def check(self, x: Tensor) -> None:
        """Raise ValueError unless x is a batch of this model's samples. (Skipped inside a compiled graph.)"""
        require(
            x.shape[1:] == self.shape,
            f"this model's samples have shape {self.shape}; got a batch of shape {tuple(x.shape)}",
        )
        if not torch.compiler.is_compiling():
            self.head.check(x)

    def conditionals(self, x: Float[Tensor, "b *d"]) -> Iterator[tuple[int, Tensor]]:
        """See the function ``conditionals``; a model that can reuse work between dimensions overrides this."""
        return conditionals(self, x)


def conditionals(model: Model, x: Float[Tensor, "b *d"]) -> Iterator[tuple[int, Tensor]]:
    """For each dimension i in order: (i, parameters of p(x_i | earlier)), read from x at that moment.

    The caller writes x[:, i] before asking for the next one. This version calls ``logits`` afresh every time: slow,
    and right for every model. Shape of the parameters: (b,), or (b, size).
    """
    d = x[0].numel()
    for i in model.order.tolist():
        yield i, model.logits(x).reshape(len(x), d, -1)[:, i].squeeze(-1)


@torch.no_grad()
def trajectory(
    model: Model,
    n: int,
    *,
    clamp: Float[Tensor, "..."] | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[Float[Tensor, "n *d"]]:
    """Ancestral sampling, one state after each drawn dimension (the states are copies; undrawn dimensions are 0).

    ``clamp`` fixes values: a tensor of one sample's shape, or of n of them, in which NaN marks what is free.
    Clamped values are given back untouched, and what is drawn follows p(free | clamped and earlier): the exact
    conditional when the clamped dimensions come first in the model's order.
    """
    for x, drawn in _draw(model, n, clamp, generator):
        if drawn:
            yield x.clone()


@torch.no_grad()
def sample(
    model: Model,
    n: int,
    *,
    clamp: Float[Tensor, "..."] | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n *d"]:
    """n samples; ``clamp`` as in ``trajectory``."""
    for state, _ in _draw(model, n, clamp, generator):
        x = state  # always the same tensor, filled in place
    return x


def _draw(
    model: Model, n: int, clamp: Tensor | None, generator: torch.Generator | None
) -> Iterator[tuple[Tensor, bool]]:
    """The loop: yields the one tensor it writes into, and whether this dimension was drawn for any sample."""
    require(n >= 1, f"the number of samples must be at least 1; got {n}")
    head = getattr(model, "head", None) or Bernoulli()
    shape = tuple(getattr(model, "shape", (len(model.order),)))
    like = next(iter(model.parameters()), torch.zeros(())) if isinstance(model, nn.Module) else torch.zeros(())
    x = torch.full((n, *shape), torch.nan, dtype=like.dtype, device=model.order.device)
    if clamp is not None:
        clamp = torch.as_tensor(clamp, dtype=x.dtype, device=x.device)
        require(
            tuple(clamp.shape) in (shape, (n, *shape)),
            f"clamp must have the shape of one sample, {shape}, or of all {(n, *shape)}, with NaN where free; "
            f"got {tuple(clamp.shape)}",
        )
        x.copy_(clamp.expand_as(x))
    free = x.isnan().reshape(n, -1)
    x.nan_to_num_(nan=0.0)
    if not bool(free.all()):
        head.check(x)
    training = isinstance(model, nn.Module) and model.training
    if training:
        model.eval()  # dropout would make each conditional another model's
    try:
        flat = x.view(n, -1)
        steps = model.conditionals(x) if hasattr(model, "conditionals") else conditionals(model, x)
        for i, params in steps:
            drawn = bool(free[:, i].any())
            if drawn:
                new = head.sample(params, generator=generator).to(x.dtype)
                flat[:, i] = torch.where(free[:, i], new, flat[:, i])
            yield x, drawn
    finally:
        if training:
            model.train()
