"""Models of flat vectors: FVSBN, NADE and MADE."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from genmodels.autoregressive.base import Autoregressive, Head
from genmodels.core import generator as seeded
from genmodels.core import log_mean_exp, require
from genmodels.nets import MaskedLinear, made_masks

__all__ = ["FVSBN", "MADE", "NADE", "made_masks"]


def _rank(order: Int[Tensor, "*k d"]) -> Int[Tensor, "*k d"]:
    """Position of each dimension in the order: the inverse permutation."""
    return order.argsort(-1)


class FVSBN(Autoregressive):
    """Fully visible sigmoid belief net: logit_i = b_i + sum of W_ij x_j over the j before i in the order.

    A logistic regression for each dimension [Frey 1998; Neal 1992]. One binary output a dimension.
    """

    def __init__(self, d: int, *, order: Int[Tensor, "d"] | None = None) -> None:
        super().__init__((d,), torch.arange(d) if order is None else order)
        rank = _rank(self.order)
        self.linear = MaskedLinear(rank[:, None] > rank[None])
        nn.init.zeros_(self.linear.weight)

    def logits(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """One masked matrix product."""
        return self.linear(x)

    def conditionals(self, x: Float[Tensor, "b d"]) -> Iterator[tuple[int, Tensor]]:
        """One row of the matrix a dimension."""
        weight = self.linear.masked_weight()
        for i in self.order.tolist():
            yield i, self.linear.bias[i] + x @ weight[i]


class NADE(Autoregressive):
    """Neural autoregressive density estimator: one hidden layer a dimension, all of them sharing weights.

    With j before i in the order, a_i = c + sum_j W_j x_j, h_i = sigmoid(a_i), logit_i = b_i + V_i . h_i. Because
    a_(i+1) = a_i + W_i x_i, all d conditionals cost O(d h) and not O(d^2 h) [Larochelle & Murray 2011, eqs. 1-4].
    ``logits`` runs that recursion as one running sum, so it keeps b x d x h numbers in memory.
    """

    def __init__(self, d: int, hidden: int = 500, *, order: Int[Tensor, "d"] | None = None) -> None:
        super().__init__((d,), torch.arange(d) if order is None else order)
        require(hidden >= 1, f"the hidden layer needs at least 1 unit, got {hidden}")
        self.W = nn.Parameter(torch.randn(d, hidden) / d**0.5)
        self.V = nn.Parameter(torch.randn(d, hidden) / hidden**0.5)
        self.b = nn.Parameter(torch.zeros(d))
        self.c = nn.Parameter(torch.zeros(hidden))

    def logits(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """All conditionals: a running sum along the order, shifted by one so that x_i is not in its own a_i."""
        terms = x[:, self.order, None] * self.W[self.order]
        a = self.c + F.pad(terms[:, :-1], (0, 0, 1, 0)).cumsum(1)
        in_order = torch.einsum("bdh,dh->bd", a.sigmoid(), self.V[self.order]) + self.b[self.order]
        return in_order[:, _rank(self.order)]

    def conditionals(self, x: Float[Tensor, "b d"]) -> Iterator[tuple[int, Tensor]]:
        """The recursion as the paper writes it: O(h) a dimension."""
        a = self.c.expand(len(x), -1)
        for i in self.order.tolist():
            yield i, a.sigmoid() @ self.V[i] + self.b[i]
            a = a + x[:, i, None] * self.W[i]


class MADE(Autoregressive):
    """Masked autoencoder: a deep network whose masks leave output i a function of the dimensions before it.

    ``hidden`` widths; ``orders`` how many orders it knows: the first is ``order`` (default: natural), the others are
    random permutations from ``seed``. ``direct`` adds a masked linear map from input to output (an FVSBN inside),
    ``residual`` adds skips between hidden layers of one width: units keep their rank, so no new path opens.
    No normalisation layers: those would mix ranks. [Germain et al. 2015, arXiv 1502.03509.]
    """

    orders: Int[Tensor, "k d"]

    def __init__(
        self,
        d: int,
        hidden: Sequence[int] = (1000,),
        *,
        order: Int[Tensor, "d"] | None = None,
        orders: int = 1,
        seed: int = 0,
        direct: bool = True,
        residual: bool = True,
        dropout: float = 0.0,
        activation: Callable[[Tensor], Tensor] = F.relu,
        head: Head | None = None,
    ) -> None:
        super().__init__((d,), torch.arange(d) if order is None else order, head)
        require(d >= 2 and orders >= 1, f"MADE needs d >= 2 and orders >= 1; got d = {d}, orders = {orders}")
        require(min(hidden, default=1) >= 1, f"every hidden layer needs at least 1 unit; got {tuple(hidden)}")
        random = seeded(seed)
        self.register_buffer(
            "orders", torch.stack([self.order, *(torch.randperm(d, generator=random) for _ in range(orders - 1))])
        )
        self.activation, self.residual, self.dropout, size = activation, residual, nn.Dropout(dropout), self.head.size
        # Hidden ranks spread evenly over 0..d-2: rank d-1 would feed no output.
        spread = [torch.arange(width) * (d - 1) // width for width in hidden]
        masks = [made_masks([rank, *spread]) for rank in _rank(self.orders)]
        *inner, output = [torch.stack(layer) for layer in zip(*masks, strict=True)]
        self.hidden = nn.ModuleList(MaskedLinear(mask) for mask in inner)
        self.output = MaskedLinear(output.repeat_interleave(size, 1))
        ranks = _rank(self.orders)
        strict = (ranks[:, :, None] > ranks[:, None]).repeat_interleave(size, 1)
        self.direct = MaskedLinear(strict, bias=False) if direct and hidden else None
        if self.direct is not None:
            nn.init.zeros_(self.direct.weight)

    def logits(self, x: Float[Tensor, "b d"], which: int = 0) -> Float[Tensor, "b *d_and_size"]:
        """All conditionals under order number ``which``."""
        encoded = self.head.encode(x)
        out = self._above(self.hidden[0](encoded, which), which) if len(self.hidden) else encoded
        out = self.output(out, which)
        if self.direct is not None:
            out = out + self.direct(encoded, which)
        return out if self.head.size == 1 else out.unflatten(1, (-1, self.head.size))

    def _above(self, first: Float[Tensor, "b h"], which: int) -> Float[Tensor, "b last"]:
        """The last hidden layer, from what goes into the first one's nonlinearity."""
        h = self.dropout(self.activation(first))
        for layer in self.hidden[1:]:
            new = self.dropout(self.activation(layer(h, which)))
            h = h + new if self.residual and h.shape == new.shape else new
        return h

    def log_prob(self, x: Float[Tensor, "b d"], which: int = 0) -> Float[Tensor, "b"]:
        """log p(x) in nats under order number ``which``: each order is a distribution of its own."""
        self.check(x)
        return self.total(self.logits(x, which), x)

    def any_order_log_prob(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b"]:
        """log p(x), with the batch dealt out to the orders: the objective of order-agnostic training."""
        k = len(self.orders)
        log_prob = torch.cat([self.log_prob(x[which::k], which) for which in range(min(k, len(x)))])
        return log_prob[torch.cat([torch.arange(len(x))[which::k] for which in range(k)]).argsort()]

    def ensemble_log_prob(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b"]:
        """log of the mean of p(x) over the orders: a mixture of them, hence a distribution too."""
        return log_mean_exp(torch.stack([self.log_prob(x, which) for which in range(len(self.orders))]), 0)

    def under(self, which: int) -> MADEUnder:
        """This model under order number ``which``: what to hand to the sampler for another order than the first."""
        return MADEUnder(self, which)

    def conditionals(self, x: Float[Tensor, "b d"], which: int = 0) -> Iterator[tuple[int, Tensor]]:
        """The first layer as a running sum and one output row a dimension; only the layers between are run in full."""
        output = self.output.masked_weight(which)
        direct = None if self.direct is None else self.direct.masked_weight(which)
        inward = self.hidden[0].masked_weight(which).T.contiguous() if len(self.hidden) else None
        a = self.hidden[0].bias.expand(len(x), -1) if len(self.hidden) else None
        for i in self.orders[which].tolist():
            rows = slice(i * self.head.size, (i + 1) * self.head.size)
            h = self.head.encode(x) if a is None else self._above(a, which)
            params = F.linear(h, output[rows], self.output.bias[rows])
            if direct is not None:
                params = params + F.linear(self.head.encode(x), direct[rows])
            yield i, params.squeeze(-1)
            if a is not None:
                a = a + self.head.encode(x[:, i, None]) * inward[i]


class MADEUnder(Autoregressive):
    """A MADE seen under one of its orders; the parameters are shared with it."""

    def __init__(self, made: MADE, which: int) -> None:
        require(0 <= which < len(made.orders), f"this MADE knows orders 0..{len(made.orders) - 1}; got {which}")
        super().__init__(made.shape, made.orders[which].cpu(), made.head)
        self.made, self.which, self.order = made, which, made.orders[which]  # on the MADE's device

    def logits(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b *d_and_size"]:
        """The MADE's conditionals under this order."""
        return self.made.logits(x, self.which)

    def conditionals(self, x: Float[Tensor, "b d"]) -> Iterator[tuple[int, Tensor]]:
        """The MADE's fast ones."""
        return self.made.conditionals(x, self.which)
