"""Networks, which know nothing of the models built from them: fully connected, masked, convolutional, attention."""

from genmodels.nets.dit import DiT
from genmodels.nets.features import FeatureNet
from genmodels.nets.masked import CAUSAL_KINDS, MaskedConv2d, MaskedLinear, causal_mask, made_masks
from genmodels.nets.mlp import MLP
from genmodels.nets.positions import POSITIONS, alibi_slopes, rope, sinusoidal
from genmodels.nets.transformer import AdaBlock, Attention, Block, KVCache, Transformer
from genmodels.nets.unet import UNet

__all__ = [
    "AdaBlock",
    "Attention",
    "Block",
    "CAUSAL_KINDS",
    "DiT",
    "FeatureNet",
    "KVCache",
    "MLP",
    "MaskedConv2d",
    "MaskedLinear",
    "POSITIONS",
    "Transformer",
    "UNet",
    "alibi_slopes",
    "causal_mask",
    "made_masks",
    "rope",
    "sinusoidal",
]
