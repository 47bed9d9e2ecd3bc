"""What users are served, and how the amounts behind it stand out from the rest of the catalogue.

Axes: `I` items, `k` served items, `T` terms, `E` routed terms, `M` modalities (behaviour first).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_store.manifest import Term
from model_store.scoring import Readable, Scorer, UserState

SHOWN = 20
"""Length of the lists that explanations are measured on."""


@dataclass(frozen=True)
class Served:
    """One user's list and what stands behind it."""

    item_rows: NDArray[np.int64]
    """(k,) best first, nothing that the user has seen."""
    margin: NDArray[np.float64]
    """(T, M) mean amounts of the list minus mean amounts of all unseen items; sums to the list's lead in score."""
    weights: NDArray[np.float64]
    """(T,) mean gate weights of the list, 0 for terms that are always on."""


def served_items(scorer: Scorer, snapshot: Readable, state: UserState, user_row: int) -> NDArray[np.int64]:
    """(k,) the exact best unseen items with all terms, k at most `SHOWN`; ties by item row."""
    unseen = np.setdiff1d(np.arange(snapshot.n_items), snapshot.history(user_row))
    return unseen[np.argsort(-scorer.score_all(state)[unseen], kind="stable")[:SHOWN]]


def served(scorer: Scorer, snapshot: Readable, user_row: int) -> Served:
    """The user's list with its margin. Memory is `I × T × M`: for catalogues that fit, such as the demo's."""
    unseen = np.setdiff1d(np.arange(snapshot.n_items), snapshot.history(user_row))
    pairs = scorer.score(scorer.known_user(user_row), unseen)
    best = np.argsort(-pairs.scores, kind="stable")[:SHOWN]
    margin = pairs.amounts[best].mean(axis=0) - pairs.amounts.mean(axis=0)
    weights = np.nan_to_num(pairs.weights[best].astype(np.float64)).mean(axis=0)
    return Served(unseen[best], margin, weights)


def routed_terms(scorer: Scorer) -> NDArray[np.bool_]:
    """(T,) which terms a router chooses; the others are always on."""
    return np.array([term.role != "base" for term in scorer.terms], dtype=np.bool_)


def nominal_shares(terms: list[Term], modalities: list[str]) -> NDArray[np.float64]:
    """(T, M) the share of each modality that each term states."""
    shares = [[term.modalities.get(name) or 0.0 for name in modalities] for term in terms]
    return np.asarray(shares, dtype=np.float64).reshape(len(terms), len(modalities))
