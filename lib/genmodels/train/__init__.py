"""Training: one loop over Lightning Fabric, checkpoints, recipes for every model, and the weights they gave.

The trainer's library is imported when a loop starts, not by this import.
"""

from genmodels.train.batches import Minibatches, minibatches, with_device
from genmodels.train.checkpoint import restore_weights, seed_everything
from genmodels.train.gan import GanState, train_gan
from genmodels.train.loop import State, train
from genmodels.train.settings import Settings

__all__ = [
    "GanState",
    "train_gan",
    "Minibatches",
    "Settings",
    "State",
    "minibatches",
    "restore_weights",
    "seed_everything",
    "train",
    "with_device",
]
