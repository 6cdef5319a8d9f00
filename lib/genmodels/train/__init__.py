"""Training: one loop over Lightning Fabric, checkpoints, recipes for every model, and the weights they gave.

The trainer's library is imported when a loop starts, not by this import.
"""

from genmodels.train.batches import Minibatches, minibatches, with_device
from genmodels.train.checkpoint import restore_weights, seed_everything
from genmodels.train.gan import GanState, train_gan
from genmodels.train.learner import decay_at
from genmodels.train.loop import Run, State, train
from genmodels.train.pretrained import load_features, load_pretrained, pretrained_names, save_pretrained
from genmodels.train.recipe import GanRecipe, Profile, Recipe, TwoStageRecipe
from genmodels.train.registry import add_recipe, all_recipes, find_recipe
from genmodels.train.settings import Settings

__all__ = [
    "GanRecipe",
    "GanState",
    "Minibatches",
    "Profile",
    "Recipe",
    "Run",
    "Settings",
    "State",
    "TwoStageRecipe",
    "add_recipe",
    "all_recipes",
    "decay_at",
    "find_recipe",
    "load_features",
    "load_pretrained",
    "minibatches",
    "pretrained_names",
    "restore_weights",
    "save_pretrained",
    "seed_everything",
    "train",
    "train_gan",
    "with_device",
]
