"""Layers in which some weights do not exist: a fixed mask says which inputs an output may look at.

The mask multiplies the weight at every forward pass. Zeroing the weights once would not do: the next optimiser step
(momentum, weight decay) would move them away from zero again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from genmodels.core import require

__all__ = ["CAUSAL_KINDS", "MaskedConv2d", "MaskedLinear", "causal_mask", "made_masks"]


def _packed(_: nn.Module, state: dict[str, Tensor], prefix: str, __: object) -> None:
    """In a checkpoint a mask is what it means: true or false, a byte each."""
    state[f"{prefix}mask"] = state[f"{prefix}mask"].bool()


class MaskedLinear(nn.Module):
    """y = (mask * W) x + b, where mask[i, j] says whether output i may look at input j.

    Several masks may share one weight: give them stacked as (k, out, in) and choose with ``layer(x, which)``
    [MADE, section 4.3: one network, many orders]. Weights are initialised for the number of inputs that the mask
    leaves to each output, so that sparse rows are not born too quiet.
    """

    mask: Float[Tensor, "1 out in"] | Bool[Tensor, "k out in"]

    def __init__(self, mask: Bool[Tensor, "*k out in"], *, bias: bool = True) -> None:
        super().__init__()
        mask = torch.as_tensor(mask)
        require(
            mask.ndim in (2, 3) and mask.dtype == torch.bool,
            f"mask must be boolean of shape (out, in) or (k, out, in); got {mask.dtype} {tuple(mask.shape)}",
        )
        mask = mask if mask.ndim == 3 else mask[None]
        # Multiplying by booleans converts them at every call, which for a large mask takes thirty times the product.
        # One mask is kept as numbers, therefore; many, which would need four times the memory, are not.
        self.register_buffer("mask", mask.to(torch.get_default_dtype()) if len(mask) == 1 else mask.clone())
        self.register_state_dict_post_hook(_packed)
        d_out, d_in = mask.shape[-2:]
        bound = self.mask.float().mean(0).sum(1, keepdim=True).clamp_min(1).rsqrt()
        self.weight = nn.Parameter((2 * torch.rand(d_out, d_in) - 1) * bound)
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None

    def masked_weight(self, which: int = 0) -> Float[Tensor, "out in"]:
        """The weight the layer really uses under mask ``which``."""
        return self.weight * self.mask[which]

    def forward(self, x: Float[Tensor, "*b in"], which: int = 0) -> Float[Tensor, "*b out"]:
        """Apply the layer under mask ``which``."""
        return F.linear(x, self.masked_weight(which), self.bias)


def made_masks(ranks: Sequence[Int[Tensor, "_"]]) -> list[Bool[Tensor, "_ _"]]:
    """Masks of an autoencoder that make its outputs autoregressive: one for each layer, the output layer's last.

    ``ranks[0]`` holds the position of every input in the order, ``ranks[1:]`` a number for each hidden unit: how late
    an input it may see. A unit of rank m looks at units and inputs of rank <= m; output i, whose rank is its input's,
    looks at hidden units of rank strictly below. So no path leads from x_i to output i [MADE, arXiv 1502.03509,
    eqs. 8-9]. With no hidden layer the one mask is strict: FVSBN.
    """
    require(len(ranks) >= 1, "made_masks wants the ranks of the inputs, then those of each hidden layer")
    hidden = [later[:, None] >= earlier[None] for earlier, later in pairwise(ranks)]
    return [*hidden, ranks[0][:, None] > ranks[-1][None]]


# What a kernel may see: all rows above the centre's row?, and the columns of the centre's row up to (exclusive):
# "past" is left of the centre, "present" includes it, "row" is the whole row, "none" nothing of it.
CAUSAL_KINDS: dict[str, tuple[bool, str]] = {
    "A": (True, "past"),
    "B": (True, "present"),
    "vertical A": (True, "none"),
    "vertical B": (True, "row"),
    "horizontal A": (False, "past"),
    "horizontal B": (False, "present"),
}


def causal_mask(kernel: int, kind: str) -> Bool[Tensor, "kernel kernel"]:
    """Which taps of a kernel x kernel window lie in the past of its centre, in raster order.

    "A" leaves out the centre, so that a pixel never sees itself: for the first layer only. "B" keeps it: the features
    there are already free of the pixel. "vertical A" sees the rows strictly above; after it, "vertical B" may see its
    own row in full, because those features know earlier rows only. "horizontal A/B" see the centre's row alone.
    [van den Oord et al. 2016, arXiv 1601.06759 (A, B) and 1606.05328 (vertical, horizontal).]
    """
    require(kernel % 2 == 1, f"kernel must be odd, so that it has a centre; got {kernel}")
    require(kind in CAUSAL_KINDS, f"unknown kind {kind!r}; choose one of {', '.join(map(repr, CAUSAL_KINDS))}")
    above, row = CAUSAL_KINDS[kind]
    centre = kernel // 2
    mask = torch.zeros(kernel, kernel, dtype=torch.bool)
    mask[:centre] = above
    mask[centre, : {"none": 0, "past": centre, "present": centre + 1, "row": kernel}[row]] = True
    return mask


class MaskedConv2d(nn.Module):
    """A convolution that sees only the past of each pixel; the output has the size of the input.

    ``colours`` splits the channels, in order, into as many groups (red, green, blue, ...). At the centre tap a group
    sees the groups before it, and with a "B" kind also itself, so that the colours of one pixel form a chain too.
    The kernel is square, with dead weights below the centre: cutting them off would need uneven padding, which costs
    more than it saves. Horizontal kinds keep the centre's row alone (height 1).
    """

    mask: Float[Tensor, "out in height kernel"]

    def __init__(self, c_in: int, c_out: int, kernel: int, kind: str, *, colours: int = 1, bias: bool = True) -> None:
        super().__init__()
        require(
            c_in % colours == 0 and c_out % colours == 0,
            f"channels must divide into the {colours} colours; got {c_in} in and {c_out} out",
        )
        mask = causal_mask(kernel, kind).repeat(c_out, c_in, 1, 1)
        above, row = CAUSAL_KINDS[kind]
        if row in ("past", "present"):
            to = torch.arange(c_out)[:, None] * colours // c_out
            source = torch.arange(c_in)[None] * colours // c_in
            mask[:, :, kernel // 2, kernel // 2] = source < to if row == "past" else source <= to
        if not above:
            mask = mask[:, :, kernel // 2 : kernel // 2 + 1].clone()
        self.register_buffer("mask", mask.to(torch.get_default_dtype()))  # numbers: see MaskedLinear
        self.register_state_dict_post_hook(_packed)
        self.padding = (kernel // 2 if above else 0, kernel // 2)
        bound = mask.flatten(1).float().sum(1).clamp_min(1).rsqrt().reshape(-1, 1, 1, 1)
        self.weight = nn.Parameter((2 * torch.rand(mask.shape) - 1) * bound)
        self.bias = nn.Parameter(torch.zeros(c_out)) if bias else None

    def masked_weight(self) -> Float[Tensor, "out in height kernel"]:
        """The weight the layer really uses."""
        return self.weight * self.mask

    def forward(self, x: Float[Tensor, "b in h w"]) -> Float[Tensor, "b out h w"]:
        """Convolve with the masked kernel, padding with zeros."""
        return F.conv2d(x, self.masked_weight(), self.bias, padding=self.padding)

    def open(self, n: int, h: int, w: int) -> dict[str, Tensor]:
        """Memory for feeding n images of h x w piece by piece with ``feed``: the inputs seen so far, padded."""
        top, side = self.padding
        weight = self.masked_weight().detach()[:, :, : top + 1]  # the rows below the centre are never seen
        return {
            "weight": weight,
            "matrix": weight.flatten(1).T.contiguous(),
            "seen": weight.new_zeros(n, weight.shape[1], h + top, w + 2 * side),
        }

    def feed(
        self, memory: dict[str, Tensor], x: Float[Tensor, "n in 1 piece"], row: int, column: int
    ) -> Float[Tensor, "n out 1 piece"]:
        """Outputs at (row, column ...) once the inputs there are x and everything earlier has been fed.

        Generating an image pixel by pixel this way costs one pass of the network in all, where calling ``forward``
        for each pixel costs one pass a pixel [Ramachandran et al. 2017, arXiv 1704.06001].
        """
        (top, side), piece = self.padding, x.shape[-1]
        memory["seen"][:, :, top + row, side + column : side + column + piece] = x[:, :, 0]
        window = memory["seen"][:, :, row : row + top + 1, column : column + piece + 2 * side]
        if piece > 1:
            return F.conv2d(window, memory["weight"], self.bias)
        flat = window.reshape(len(x), -1)
        y = flat @ memory["matrix"] if self.bias is None else torch.addmm(self.bias, flat, memory["matrix"])
        return y[:, :, None, None]
