"""Do amounts say what a score would lose? Amounts held against the model run again without a modality.

Axes: `P` pairs, `T` terms, `E` routed terms, `M` modalities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from scipy.stats import rankdata

from model_store.draft import SnapshotDraft
from model_store.scoring import PairScores, Scorer, scorer_for
from training.evaluation.explanation.masking import Batch, Mask, ungated
from training.evaluation.explanation.served import nominal_shares, routed_terms

F64 = NDArray[np.float64]
PARTS = ("whole", "routed")


@dataclass(frozen=True)
class Drops:
    """Pairs of which one modality was taken away: what had been attributed to it, and what went."""

    amounts: F64
    """(P, 2) attributed to the modality: in the whole score, and in its routed terms alone."""
    drops: F64
    """(P, 2) before minus after: the score, and its routed terms alone."""
    held: F64
    """(P, 2) the same, had the router kept its gates: what is left of a low correlation then is not routing's doing."""
    controls: F64
    """(P, 2) in place of amounts: gate weights and random weights, times the experts' nominal share of the modality."""
    moved: F64
    """(P, E) how far each expert's opinion moved, absolute, gates aside."""


@dataclass(frozen=True)
class _Pair:
    """One pair before anything is masked."""

    amounts: F64  # (T, M) as served
    contributions: F64  # (T,) of the model run again
    opinions: F64  # (E,) of the model run again
    gates: F64  # (E,) as served
    random: F64  # (E,) weights drawn in place of the gates'


class Experiment:
    """A draft that is scored, run again with items masked, and scored again.

    Both sides of a drop come from the model run again, once without masking anything, so that nothing but the masking
    makes the difference. Amounts are those of the draft, as they are served.
    """

    def __init__(
        self, draft: SnapshotDraft, mask: Mask, unmasked: Mapping[str, NDArray[Any]], rng: np.random.Generator
    ) -> None:
        """Take what is served, what runs the model again, what that gives with nothing masked, and a generator."""
        self._draft, self._mask, self._rng = draft, mask, rng
        self._served, self._before = scorer_for(draft), self._scorers(unmasked)
        self._routed = routed_terms(self._served)
        self._shares = nominal_shares(self._served.terms, self._served.modalities)[self._routed]
        self._pairs: dict[tuple[int, int], _Pair] = {}

    def drops(self, modality: str, batches: Sequence[Batch], *, rebuild: bool) -> Drops:
        """Mask, run again and score again, batch by batch.

        Args:
            modality: a content modality.
            batches: what is masked together, and the pairs.
            rebuild: whether content graphs are built again without the masked items, or kept as they are.

        """
        column, rows, moved = self._served.modalities.index(modality), [], []
        for batch in batches:
            again = self._mask(batch.masked, modality, rebuild=rebuild, user_rows=np.unique(batch.user_rows))
            gated, open_ = self._scorers(again or {})
            for user, item in zip(batch.user_rows.tolist(), batch.item_rows.tolist(), strict=True):
                pair = self._unmasked(user, item)
                amounts, drop = pair.amounts[:, column], pair.contributions - _score(gated, user, item).contributions[0]
                opinions = self._opinions(open_, user, item)
                kept = float(pair.gates @ (pair.opinions - opinions))
                controls = [float(weights @ self._shares[:, column]) for weights in (pair.gates, pair.random)]
                routed = self._routed
                held = [drop[~routed].sum() + kept, kept]
                rows.append([amounts.sum(), amounts[routed].sum(), drop.sum(), drop[routed].sum(), *held, *controls])
                moved.append(np.abs(pair.opinions - opinions))
        table = np.asarray(rows, dtype=np.float64).reshape(len(rows), 8)
        shifts = np.asarray(moved, dtype=np.float64).reshape(len(rows), len(self._shares))
        return Drops(table[:, :2], table[:, 2:4], table[:, 4:6], table[:, 6:], shifts)

    def _scorers(self, arrays: Mapping[str, NDArray[Any]]) -> tuple[Scorer, Scorer]:
        """Scorers of the draft with these arrays: as it is, and with every gate open."""
        draft = replace(self._draft, arrays={**self._draft.arrays, **arrays})
        return scorer_for(draft), scorer_for(ungated(draft))

    def _unmasked(self, user_row: int, item_row: int) -> _Pair:
        if (user_row, item_row) not in self._pairs:
            gated, open_ = self._before
            shown, experts = _score(self._served, user_row, item_row), len(self._shares)
            self._pairs[user_row, item_row] = _Pair(
                amounts=shown.amounts[0],
                contributions=_score(gated, user_row, item_row).contributions[0],
                opinions=self._opinions(open_, user_row, item_row),
                gates=shown.weights[0, self._routed].astype(np.float64),
                random=self._rng.dirichlet(np.ones(experts)) if experts else np.zeros(0),
            )
        return self._pairs[user_row, item_row]

    def _opinions(self, open_: Scorer, user_row: int, item_row: int) -> F64:
        """(E,) each expert's own score: its contribution by its weight, which is never 0 where gates are open."""
        pairs = _score(open_, user_row, item_row)
        weights = pairs.weights[0, self._routed].astype(np.float64)
        opinions: F64 = pairs.contributions[0, self._routed] / np.maximum(weights, 1e-30)
        return opinions


def correlations(drops: Mapping[str, Drops]) -> dict[str, JsonValue]:
    """Spearman's ρ of amounts and drops over all modalities' pairs together and by modality.

    Beside it, with the gates held, and of the two controls with the drops.
    """
    amounts, lost, held, controls = (
        np.concatenate([getattr(one, name) for one in drops.values()])
        for name in ("amounts", "drops", "held", "controls")
    )
    return {
        **_against(amounts, lost),
        "by_modality": {name: _against(one.amounts, one.drops) for name, one in drops.items()},
        "gates_held": _against(amounts, held),
        "gates_alone": _against(controls[:, [0, 0]], lost),
        "random_weights": _against(controls[:, [1, 1]], lost),
    }


def _against(readings: F64, lost: F64) -> dict[str, JsonValue]:
    return {part: spearman(readings[:, at], lost[:, at]) for at, part in enumerate(PARTS)}


def spearman(first: F64, second: F64) -> float | None:
    """Rank correlation of two (P,) arrays, ties at their mean rank; None where either is constant or there are none."""
    ranks = rankdata(first), rankdata(second)
    if not len(first) or min(float(np.ptp(rank)) for rank in ranks) == 0:
        return None
    return round(float(np.corrcoef(*ranks)[0, 1]), 4)


def _score(scorer: Scorer, user_row: int, item_row: int) -> PairScores:
    return scorer.score(scorer.known_user(user_row), np.array([item_row]))
