"""From scored terms to an order: what is printed is what is ranked.

Axes: `P` candidates, `T` terms, `M` modalities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_store.scoring import PairScores
from service.errors import InvalidRequest
from service.printed import DECIMALS, Page
from service.served import ServedSnapshot

MAX_RANKS = 1000
"""No answer reaches deeper than this."""
Factors = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """Ranked items with the numbers that answers print.

    `contributions` are rounded and `scores` their rounded sums, so that a printed answer adds up and its order follows
    the printed scores; ties go to the lower item row.
    """

    rows: NDArray[np.int64]  # (P,)
    scores: NDArray[np.float64]  # (P,)
    contributions: NDArray[np.float64]  # (P, T)
    weights: NDArray[np.float32]  # (P, T), NaN where a term has no gate
    modality_amounts: NDArray[np.float64]  # (P, M)

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, positions: slice | NDArray[np.int64]) -> Ranking:
        """The entries at these positions, in that order."""
        return Ranking(
            self.rows[positions],
            self.scores[positions],
            self.contributions[positions],
            self.weights[positions],
            self.modality_amounts[positions],
        )

    def then(self, other: Ranking) -> Ranking:
        """This ranking, followed by `other`'s items that it does not hold."""
        rest = other.at(np.flatnonzero(~np.isin(other.rows, self.rows)))
        return Ranking(
            np.concatenate([self.rows, rest.rows]),
            np.concatenate([self.scores, rest.scores]),
            np.concatenate([self.contributions, rest.contributions]),
            np.concatenate([self.weights, rest.weights]),
            np.concatenate([self.modality_amounts, rest.modality_amounts]),
        )


def steering(served: ServedSnapshot, steer: Mapping[str, float]) -> Factors | None:
    """The factor on each term's amount per modality (T, M); None where nothing is steered.

    Raises `InvalidRequest` for a name that is neither a modality nor a term of the snapshot.
    """
    if not steer:
        return None
    names = [term.name for term in served.terms]
    factors = np.ones((len(names), len(served.modalities)))
    for name, factor in steer.items():
        if name in served.modalities:
            factors[:, served.modalities.index(name)] *= factor
        elif name in names:
            factors[names.index(name)] *= factor
        else:
            known = served.modalities + names
            raise InvalidRequest(f"steer: expected one of {known}, found {name!r}")
    return factors


def rank(pairs: PairScores, factors: Factors | None, limit: int) -> Ranking:
    """The best `limit` candidates in order. Gates are as routed: steering acts on amounts, after top-k."""
    contributions = pairs.contributions if factors is None else (pairs.amounts * factors).sum(axis=2)
    contributions = np.round(contributions, DECIMALS) + 0.0  # no negative zeros
    scores = np.round(contributions.sum(axis=1), DECIMALS) + 0.0
    order = np.lexsort((pairs.item_rows, -scores))[:limit]
    amounts = pairs.amounts[order]
    modality_amounts = amounts.sum(axis=1) if factors is None else (amounts * factors).sum(axis=1)
    return Ranking(
        np.asarray(pairs.item_rows, np.int64)[order],
        scores[order],
        contributions[order],
        pairs.weights[order],
        _summing_to(modality_amounts, scores[order]),
    )


def page_of(ranking: Ranking) -> Page:
    """A ranking as it is printed: its non-zero terms; an only term is printed even where it is zero."""
    present = (ranking.contributions != 0) | (ranking.weights > 0) | (ranking.contributions.shape[1] == 1)
    items, terms = present.shape
    numbers, printed = np.empty((items, 1 + 2 * terms)), np.ones((items, 1 + 2 * terms), np.bool_)
    weighed = present & ~np.isnan(ranking.weights)
    numbers[:, 0] = ranking.scores
    numbers[:, 1::2] = ranking.weights
    numbers[:, 2::2] = ranking.contributions
    printed[:, 1::2], printed[:, 2::2] = weighed, present
    chosen = np.packbits(np.concatenate([present, weighed], axis=1), axis=1, bitorder="little")
    rounded = numbers[printed].round(DECIMALS)
    return Page(ranking.rows.copy(), chosen, rounded, ranking.modality_amounts.copy())  # a view would keep all of it


def _summing_to(amounts: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """`amounts` (P, M) rounded, and each row adding up to its printed score: the largest entry takes the difference."""
    rounded = np.round(amounts, DECIMALS)
    largest = np.abs(rounded).argmax(axis=1)
    rounded[np.arange(len(rounded)), largest] += scores - rounded.sum(axis=1)
    return np.round(rounded, DECIMALS) + 0.0
