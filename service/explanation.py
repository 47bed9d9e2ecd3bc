"""Explanations: one pair in full, and a user's profile over the experts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.scoring import UserState
from service.asking import Asker
from service.candidates import Filters, gather
from service.popular import single_term_ranking
from service.printed import DECIMALS, TermHead
from service.ranking import Ranking, rank
from service.routed import RoutedUsers
from service.view import View

BECAUSE_ITEMS = 10
"""How many items of the history an explanation names."""
PROFILE_RANKS = 100
"""Over how many of the user's best items a profile is taken."""


@dataclass(frozen=True)
class ProfileEntry:
    """How much one term counts for a user."""

    head: TermHead
    mean_weight: float | None
    share: float


@dataclass(frozen=True)
class UserProfile:
    """The terms' and modalities' shares over a user's best items."""

    entries: list[ProfileEntry]
    modality_shares: dict[str, float]
    items_considered: int


def evidence(view: View, history_rows: NDArray[np.int32]) -> UserState | None:
    """The state that `because_of` explains; made from the history alone, so that it is the same now and later."""
    return view.served.encode_user(history_rows) if len(history_rows) else None


def because_of(view: View, state: UserState | None, row: int) -> list[dict[str, Any]]:
    """The history items that carried most of the (unsteered) score of item `row`, strongest first."""
    if state is None:
        return []
    found = view.because(state, row)
    amounts = found.exact + found.attributed
    strongest = np.lexsort((found.history_rows, -np.abs(amounts)))[:BECAUSE_ITEMS]
    entries = []
    for position in strongest:
        display = view.display(int(found.history_rows[position]))
        entries.append(
            {
                "item": display.item_id,
                "title": display.title,
                "amount": round(float(amounts[position]), DECIMALS),
                "exact": round(float(found.exact[position]), DECIMALS),
                "attributed": round(float(found.attributed[position]), DECIMALS),
            }
        )
    return entries


def score_pair(routed: RoutedUsers, view: View, asker: Asker, row: int, popularity: NDArray[np.float32]) -> Ranking:
    """One pair, as a ranking of length 1; by `popularity` (I,) where the user has no history."""
    if asker.state is None:
        return single_term_ranking(view, popularity, np.array([row], np.int64))
    return rank(routed.score_pair(view, asker, row), None, 1)


def profile(view: View, asker: Asker) -> UserProfile:
    """What counts for this user, over the best items of the whole catalogue that the user has not seen."""
    if asker.state is None:
        first = view.served.modalities[0]
        shares = {name: float(name == first) for name in view.served.modalities}
        return UserProfile([ProfileEntry(view.served.imprint.popular_term, None, 1.0)], shares, 0)
    left_out = Filters(np.unique(np.concatenate([asker.seen, asker.unwanted, view.left_out()])))
    rows = gather(view, asker.state, left_out, view.served.depth, PROFILE_RANKS)
    best = rank(view.score(asker.state, rows), None, PROFILE_RANKS)
    carried = np.abs(best.contributions).sum(axis=0)
    by_modality = np.abs(best.modality_amounts).sum(axis=0)
    entries = [
        ProfileEntry(head, _mean_weight(best, column), _share(carried, column))
        for column, head in enumerate(view.served.terms)
    ]
    shares = {name: _share(by_modality, column) for column, name in enumerate(view.served.modalities)}
    return UserProfile(entries, shares, len(best))


def _mean_weight(best: Ranking, column: int) -> float | None:
    weights = best.weights[:, column]
    return None if np.isnan(weights).any() or len(weights) == 0 else round(float(weights.mean()), DECIMALS)


def _share(amounts: NDArray[np.float64], column: int) -> float:
    total = float(amounts.sum())
    return round(float(amounts[column]) / total, DECIMALS) if total > 0 else 0.0
