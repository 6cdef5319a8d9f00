"""Every recipe by its name: those that the modules in ``recipes`` list, found when first asked for, and others' own."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from genmodels.core import require
from genmodels.train.recipe import Recipe

__all__ = ["add_recipe", "all_recipes", "find_recipe"]

FOLDER = "genmodels.train.recipes"


@cache
def all_recipes() -> dict[str, Recipe]:
    """Every recipe by its name."""
    found: dict[str, Recipe] = {}
    for module in pkgutil.iter_modules(importlib.import_module(FOLDER).__path__):
        for recipe in importlib.import_module(f"{FOLDER}.{module.name}").RECIPES:
            _add(found, recipe)
    return found


def add_recipe(recipe: Recipe) -> None:
    """A recipe from outside this folder, for this process: a script adds its own and calls the command's ``main``."""
    _add(all_recipes(), recipe)


def _add(recipes: dict[str, Recipe], recipe: Recipe) -> None:
    require(recipe.name not in recipes, f"two recipes are called {recipe.name!r}: rename one")
    recipes[recipe.name] = recipe


def find_recipe(name: str) -> Recipe:
    """The recipe called ``name``; ValueError lists all of them."""
    recipes = all_recipes()
    require(name in recipes, f"there is no recipe {name!r}: use one of {', '.join(sorted(recipes))}")
    return recipes[name]
