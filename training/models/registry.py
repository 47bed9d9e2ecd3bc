"""The models that `--model` takes. A new one is a line here."""

from __future__ import annotations

from training.errors import TrainingError
from training.models.bpr import BprRecipe
from training.models.cammsr.recipe import CammsrRecipe
from training.models.ease import EaseRecipe
from training.models.egra import EgraRecipe
from training.models.freedom import FreedomRecipe
from training.models.item_knn import ItemKnnRecipe
from training.models.light_gcn import LightGcnRecipe
from training.models.magnet.recipe import MagnetRecipe
from training.models.mamex import MamexRecipe
from training.models.mgcn import MgcnRecipe
from training.models.popularity import PopularityRecipe
from training.models.protocol import Recipe
from training.models.rlmultimodalrec import RlMultimodalRecipe
from training.models.smore import SmoreRecipe
from training.models.vbpr import VbprRecipe

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        MagnetRecipe(),
        MamexRecipe(),
        RlMultimodalRecipe(),
        EgraRecipe(),
        CammsrRecipe(),
        PopularityRecipe(),
        ItemKnnRecipe(),
        EaseRecipe(),
        BprRecipe(),
        LightGcnRecipe(),
        VbprRecipe(),
        FreedomRecipe(),
        MgcnRecipe(),
        SmoreRecipe(),
    )
}


def recipe_for(name: str) -> Recipe:
    """The recipe of this name.

    Raises:
        TrainingError: no such model; the message lists those there are.

    """
    if name not in RECIPES:
        raise TrainingError(f"expected a model out of {', '.join(RECIPES)}, found {name!r}")
    return RECIPES[name]
