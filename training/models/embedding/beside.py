"""Item-item evidence beside a model of vectors, with the weight that ranks validation best: as MAGNET has it."""

from __future__ import annotations

import time

from training.models.blend import Blend, choose_blend, choose_closed_form, content_graphs, item_item
from training.models.embedding.config import EmbeddingConfig
from training.models.embedding.fitted import FittedVectors
from training.models.embedding.material import Material
from training.models.protocol import capped_histories


def with_item_item(fitted: FittedVectors, material: Material, config: EmbeddingConfig) -> FittedVectors:
    """The fitted model and the evidence, chosen on validation or, in a refit, as it was chosen.

    The model as it is where the evidence is off, brings nothing, or the catalogue is too large for it.
    """
    if not config.item_item.enabled or (material.chosen is not None and material.chosen.blend is None):
        return fitted
    began, split, run = time.monotonic(), material.split, material.run
    content, histories = content_graphs(material.dataset), capped_histories(split, config.history_cap)
    before = None if material.chosen is None else material.chosen.blend
    settings = choose_closed_form(split, content, config.item_item, run) if before is None else before.closed_form
    term = item_item(split.train, content, settings, config.item_item, run)
    if term is None or settings is None:
        return fitted
    if before is None:
        before = Blend(settings, choose_blend(fitted.score_block, histories, term, split))
    return fitted.beside(term.weighted(before.weight), before, time.monotonic() - began) if before.weight else fitted
