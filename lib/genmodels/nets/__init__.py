"""Networks, which know nothing of the models built from them: fully connected, masked, convolutional, attention."""

from genmodels.nets.masked import CAUSAL_KINDS, MaskedConv2d, MaskedLinear, causal_mask, made_masks
from genmodels.nets.mlp import MLP

__all__ = ["CAUSAL_KINDS", "MLP", "MaskedConv2d", "MaskedLinear", "causal_mask", "made_masks"]
