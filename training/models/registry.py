"""The models that `--model` takes. A new one is a line here."""

from __future__ import annotations

from training.errors import TrainingError
from training.models.ease import EaseRecipe
from training.models.item_knn import ItemKnnRecipe
from training.models.magnet.recipe import MagnetRecipe
from training.models.popularity import PopularityRecipe
from training.models.protocol import Recipe

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (MagnetRecipe(), PopularityRecipe(), ItemKnnRecipe(), EaseRecipe())
}


def recipe_for(name: str) -> Recipe:
    """The recipe of this name.

    Raises:
        TrainingError: no such model; the message lists those there are.

    """
    if name not in RECIPES:
        raise TrainingError(f"expected a model out of {', '.join(RECIPES)}, found {name!r}")
    return RECIPES[name]
