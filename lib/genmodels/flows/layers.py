"""The layers flows are stacked from: normalisation, linear mixing, planar bends, coupling and masked autoregression."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from genmodels.core import expand, full_precision, random, require, require_all
from genmodels.flows.bijection import Bijection
from genmodels.flows.elementwise import Elementwise
from genmodels.nets import MaskedLinear, made_masks

__all__ = ["ActNorm", "Coupling", "MaskedAutoregressive", "Mixing", "Permute", "Planar"]


def _pixels(x: Tensor) -> int:
    """How many positions share a per-channel map: 1 for vectors (b, c), h * w for pictures (b, c, h, w)."""
    return x[0, 0].numel()


class ActNorm(Bijection):
    """A scale and a shift a channel, set by the first training batch to give zero mean, unit variance [Glow, sec.
    3.1]. A channel that is constant in that batch has no scale to correct and keeps scale 1.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.log_scale, self.shift = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("ready", torch.tensor(False))

    @torch.no_grad()
    def _start(self, x: Tensor) -> None:
        require(len(x) > 1, f"ActNorm starts from its first training batch: at least 2 samples, got {len(x)}")
        flat = x.transpose(0, 1).flatten(1)
        require_all(flat.isfinite(), "ActNorm's first training batch contains NaN or infinite values")
        std = flat.std(1, correction=0)
        varies = std > 1e-6 * (1 + flat.abs().amax(1))  # less is the rounding of a constant
        self.log_scale.copy_(torch.where(varies, -std.log(), 0.0))
        self.shift.copy_(-flat.mean(1) * self.log_scale.exp())
        self.ready.fill_(True)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """y = x exp(log_scale) + shift."""
        if self.training and not self.ready:
            self._start(x)
        scale, shift = (expand(v, x.transpose(0, 1)).transpose(0, 1) for v in (self.log_scale.exp(), self.shift))
        return x * scale + shift, (_pixels(x) * self.log_scale.sum()).expand(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """x = (y - shift) exp(-log_scale)."""
        scale, shift = (expand(v, y.transpose(0, 1)).transpose(0, 1) for v in ((-self.log_scale).exp(), self.shift))
        return (y - shift) * scale, (-_pixels(y) * self.log_scale.sum()).expand(len(y))


class Permute(Bijection):
    """Reorder channels: y_i = x_order[i]; volume preserving. The default turns them round."""

    def __init__(self, channels: int, order: Int[Tensor, "c"] | None = None):
        super().__init__()
        order = torch.arange(channels - 1, -1, -1) if order is None else order
        valid = sorted(order.tolist()) == list(range(channels))
        require(valid, f"order must be a permutation of 0..{channels - 1}, got {order.tolist()}")
        self.register_buffer("order", order, persistent=True)
        self.register_buffer("back", order.argsort(), persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Reorder."""
        return x.index_select(1, self.order), x.new_zeros(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Put back."""
        return y.index_select(1, self.back), y.new_zeros(len(y))


class Mixing(Bijection):
    """A learnt invertible matrix over channels, the same at every pixel: the 1x1 convolution of Glow [sec. 3.2].

    W = P L (U + diag(sign exp(log_s))): P and the signs stay as initialised, so log|det W| = sum log_s for free.
    """

    def __init__(self, channels: int, *, generator: torch.Generator | None = None):
        super().__init__()
        start = torch.linalg.qr(random(torch.randn, channels, channels, generator=generator, dtype=torch.float64)).Q
        p, lower, upper = torch.linalg.lu(start)
        diagonal = upper.diagonal()
        self.register_buffer("p", p.float())
        self.register_buffer("sign", diagonal.sign().float())
        self.log_s = nn.Parameter(diagonal.abs().log().float())
        self.lower, self.upper = nn.Parameter(lower.tril(-1).float()), nn.Parameter(upper.triu(1).float())

    def weight(self) -> Float[Tensor, "c c"]:
        """The matrix itself."""
        one = torch.eye(len(self.log_s), dtype=self.log_s.dtype, device=self.log_s.device)
        upper = self.upper.triu(1) + torch.diag(self.sign * self.log_s.exp())
        with full_precision(one.device):  # or its volume would not be exp(sum log_s)
            return self.p @ (self.lower.tril(-1) + one) @ upper

    def _mix(self, matrix: Tensor, x: Tensor) -> Tensor:
        x = x.to(matrix.dtype)
        with full_precision(x.device):
            return (matrix @ x.flatten(2)).reshape(x.shape) if x.ndim > 2 else x @ matrix.T

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """W x; log-determinant h w sum(log_s)."""
        return self._mix(self.weight(), x), (_pixels(x) * self.log_s.sum()).expand(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """W^-1 y."""
        return self._mix(torch.linalg.inv(self.weight()), y), (-_pixels(y) * self.log_s.sum()).expand(len(y))


class Planar(Bijection):
    """y = x + u tanh(w.x + b): a bend across one hyperplane [Rezende & Mohamed 2015, eq. 10 and app. A.1].

    log|det| = log|1 + (1 - tanh^2) w.u| by the matrix determinant lemma; u is corrected so that w.u > -1, which
    keeps the map invertible. The inverse has no formula: it finds the one unknown w.x by bisection, to the
    precision of the dtype. A context adds a linear function of it to w, u and b, as an encoder does there.
    """

    def __init__(self, d: int, *, context: int = 0):
        super().__init__()
        self.w, self.u = nn.Parameter(torch.randn(d) / d**0.5), nn.Parameter(torch.randn(d) / d**0.5)
        self.b = nn.Parameter(torch.zeros(()))
        self.context_dim = context
        self.told = nn.Linear(context, 2 * d + 1) if context else None

    def parts(self, context: Tensor | None = None) -> tuple[Float[Tensor, "#b d"], Float[Tensor, "#b d"], Tensor]:
        """w, u and b for each sample, u moved along w until w.u = softplus(w.u) - 1 > -1."""
        w, u, b = self.w[None], self.u[None], self.b[None]
        if self.told is not None:
            more_w, more_u, more_b = self.told(context).split([len(self.w), len(self.u), 1], 1)
            w, u, b = w + more_w, u + more_u, b + more_b[:, 0]
        inner = (w * u).sum(1, keepdim=True)
        return w, u + (F.softplus(inner) - 1 - inner) * w / w.square().sum(1, keepdim=True), b

    def forward(self, x: Float[Tensor, "b d"], context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bend."""
        w, u, b = self.parts(context)
        h = torch.tanh((x * w).sum(1) + b)
        return x + h[:, None] * u, torch.log1p((1 - h.square()) * (w * u).sum(1))

    def inverse(self, y: Float[Tensor, "b d"], context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Solve a + (w.u) tanh(a + b) = w.y for a = w.x, increasing in a, by bisection; then x = y - u tanh(a + b).

        One Newton step from the root carries the gradient.
        """
        w, u, b = self.parts(context)
        gain, target = (w * u).sum(1), (y * w).sum(1)
        with torch.no_grad():
            low, high = target - gain.abs(), target + gain.abs()
            for _ in range(60):
                middle = (low + high) / 2
                above = middle + gain * torch.tanh(middle + b) > target
                low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        a = (low + high) / 2
        h = torch.tanh(a + b)
        a = a - (a + gain * h - target) / (1 + gain * (1 - h.square())).detach()
        x = y - torch.tanh(a + b)[:, None] * u
        return x, -self.forward(x, context)[1]


class Coupling(Bijection):
    """Half of the channels pass unchanged and tell a network how to transform the others [Dinh et al. 2017, eqs. 4-8].

    ``keep`` (c,) marks those that pass. ``net`` maps them (b, kept + context, ...) to (b, family.size * moved, ...);
    a context (b, context) is repeated at every pixel of a picture.
    """

    def __init__(self, keep: Bool[Tensor, "c"], net: nn.Module, family: Elementwise, *, context: int = 0):
        super().__init__()
        self.context_dim = context
        require(bool(keep.any() and not keep.all()), f"keep must mark some channels, not all: {keep.tolist()}")
        self.net, self.family = net, family
        order = torch.cat([keep.nonzero()[:, 0], (~keep).nonzero()[:, 0]])
        self.kept, self.moved = int(keep.sum()), int((~keep).sum())
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", order.argsort(), persistent=False)
        # Halves that lie side by side need no gather, which would cost as much as a layer of the network.
        self.first, self.last = bool(keep[: self.kept].all()), bool(keep[self.moved :].all())

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.last and not self.first:
            moved, passed = x.split([self.moved, self.kept], 1)
            return passed, moved
        return (x if self.first else x.index_select(1, self.order)).split([self.kept, self.moved], 1)

    def _join(self, passed: Tensor, moved: Tensor) -> Tensor:
        if self.last and not self.first:
            return torch.cat([moved, passed], 1)
        y = torch.cat([passed, moved], 1)
        return y if self.first else y.index_select(1, self.back)

    def _map(self, x: Tensor, context: Tensor | None, function) -> tuple[Tensor, Tensor]:
        passed, moved = self._split(x)
        seen = torch.cat([passed, self._everywhere(context, passed)], 1) if self.context_dim else passed
        params = self.net(seen).unflatten(1, (self.family.size, self.moved)).movedim(1, -1)
        moved, log_slope = function(moved, params)
        return self._join(passed, moved), log_slope.flatten(1).sum(1)

    def _everywhere(self, context: Tensor, x: Tensor) -> Tensor:
        return context.reshape(*context.shape, *[1] * (x.ndim - context.ndim)).expand(-1, -1, *x.shape[2:])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Transform the moved channels."""
        return self._map(x, context, self.family.forward)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo it: the channels that passed give the same parameters."""
        return self._map(y, context, self.family.inverse)


class MaskedAutoregressive(Bijection):
    """Dimension i is transformed with parameters computed from the dimensions before it [Papamakarios et al. 2017].

    One masked pass gives log_prob; the inverse needs d steps, since x_i must be known before step i + 1. Hidden
    units are sorted by rank, so a step computes only the units that its new dimension sets free: d steps cost one
    pass in all. A context comes before every dimension.
    """

    def __init__(self, d: int, hidden: Sequence[int], family: Elementwise, *, context: int = 0):
        super().__init__()
        require(d >= 1 and len(hidden) >= 1, f"need d >= 1 and at least one hidden layer, got {d} and {hidden}")
        self.d, self.family, self.context_dim = d, family, context
        # With a context some units, of rank -1, see nothing else: they tell dimension 0.
        early = 1 if context else 0
        spread = [torch.arange(width) * max(d - 1 + early, 1) // width - early for width in hidden]
        ranks = [torch.cat([torch.full((context,), -1), torch.arange(d)]), *spread]
        *inner, last = made_masks(ranks)
        self.hidden = nn.ModuleList(MaskedLinear(mask) for mask in inner)
        self.output = MaskedLinear(last[context:].repeat(family.size, 1))
        # How many units of each hidden layer may be computed once the context and dimensions 0..i-1 are known.
        self.free = [[int((rank < i).sum()) for i in range(d)] for rank in spread]

    def forward(self, x: Float[Tensor, "b d"], context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All dimensions at once."""
        h = torch.cat([context, x], 1) if self.context_dim else x
        for layer in self.hidden:
            h = F.relu_(layer(h))
        params = self.output(h).view(len(x), self.family.size, self.d).transpose(1, 2)
        y, log_slope = self.family.forward(x, params)
        return y, log_slope.sum(1)

    def inverse(self, y: Float[Tensor, "b d"], context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One dimension after the other."""
        weights = [layer.masked_weight() for layer in self.hidden]
        biases = [layer.bias for layer in self.hidden]
        out_weight, total = self.output.masked_weight(), 0.0
        known = context if self.context_dim else y[:, :0]
        units = [y[:, :0] for _ in weights]
        for i in range(self.d):
            below = known
            for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
                fresh = slice(units[k].shape[1], self.free[k][i])
                new = F.relu_(F.linear(below, weight[fresh, : below.shape[1]], bias[fresh]))
                units[k] = torch.cat([units[k], new], 1)
                below = units[k]
            rows = slice(i, None, self.d)
            seen = units[-1]
            params = F.linear(seen, out_weight[rows, : seen.shape[1]], self.output.bias[rows])
            x, log_slope = self.family.inverse(y[:, i], params)
            known, total = torch.cat([known, x[:, None]], 1), total + log_slope
        return known[:, self.context_dim :], total
