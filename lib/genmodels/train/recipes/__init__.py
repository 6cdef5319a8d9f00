"""All recipes, one file a family: each module in this folder lists its own as ``RECIPES``."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from genmodels.core import require
from genmodels.train.recipe import Recipe

__all__ = ["all_recipes", "find_recipe"]


@cache
def all_recipes() -> dict[str, Recipe]:
    """Every recipe by its name, sorted."""
    found: dict[str, Recipe] = {}
    for module in pkgutil.iter_modules(__path__):
        for recipe in importlib.import_module(f"{__name__}.{module.name}").RECIPES:
            require(recipe.name not in found, f"two recipes are called {recipe.name!r}: rename one")
            found[recipe.name] = recipe
    return dict(sorted(found.items()))


def find_recipe(name: str) -> Recipe:
    """The recipe called ``name``; ValueError lists all of them."""
    recipes = all_recipes()
    require(name in recipes, f"there is no recipe {name!r}: use one of {', '.join(recipes)}")
    return recipes[name]
