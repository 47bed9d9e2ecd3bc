"""Maximal marginal relevance: an order that trades score against likeness to what is already ranked.

Axes: `P` ranked items, `F` width of what all experts see of an item, side by side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def diversified(scores: NDArray[np.float64], vectors: NDArray[np.float32], diversity: float) -> NDArray[np.int64]:
    """Positions (P,) in the new order, for `scores` (P,) in descending order and the items' expert `vectors` (P, F).

    Greedy: each place goes to the item with the highest `(1 - diversity) relevance - diversity likeness`, where
    relevance is the score scaled to 0..1 over the P items and likeness the highest inner product with an item already
    placed: the mean cosine over experts. Ties keep the order of scores.
    """
    count = len(scores)
    span = float(scores[0] - scores[-1]) if count else 0.0
    relevance = (scores - scores[-1]) / span if span > 0 else np.ones(count)
    likeness = np.zeros(count)
    open_places = np.ones(count, np.bool_)
    order = np.empty(count, np.int64)
    for place in range(count):
        value = np.where(open_places, (1 - diversity) * relevance - diversity * likeness, -np.inf)
        chosen = int(value.argmax())
        order[place] = chosen
        open_places[chosen] = False
        likeness = np.maximum(likeness, vectors @ vectors[chosen])
    return order
