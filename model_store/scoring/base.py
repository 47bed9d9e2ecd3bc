"""What every scoring kind offers: a user from a history, and scores that come as a table of terms.

Axes: `U` users, `I` items, `N` candidates, `n` history length, `T` terms, `E` experts, `M` modalities, `D` width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from model_store.half import widened
from model_store.manifest import ManifestDraft

Rows = NDArray[np.int32] | NDArray[np.int64]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
ALL_ROWS = slice(None)


# Standard deviations above the catalogue's mean score at which a user's typical candidate is taken (our choice).
CANDIDATE_LEVEL = 2.5
ENTRY_RANK = 20
"""The place, by item-item evidence, that says how much of it a user's list asks for: the last of a served page."""


def side_by_side(seen: Sequence[F32], count: int) -> F32:
    """(count, Σ d): what several see of the same things, each a (count, d); inner products are the mean cosine."""
    units = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in seen]
    joined: F32 = np.concatenate([np.zeros((count, 0), np.float32), *units], axis=1)
    return joined / np.float32(max(len(units), 1) ** 0.5)


class Readable(Protocol):
    """What scoring reads: a published `Snapshot`, or a `SnapshotDraft` before publication."""

    @property
    def manifest(self) -> ManifestDraft:
        """Terms, modalities and scoring kind."""

    @property
    def n_items(self) -> int:
        """I."""

    def has(self, name: str) -> bool:
        """Whether there is an array of this name."""

    def array(self, name: str) -> NDArray[Any]:
        """An array by name."""

    def parameter(self, name: str) -> NDArray[Any]:
        """A parameter by name."""

    def history(self, user_row: int) -> NDArray[np.int32]:
        """A known user's history, oldest first."""


def summed(amounts: NDArray[Any]) -> NDArray[Any]:
    """(...): the sum over the last axis of `amounts` (..., M), a column at a time.

    The same numbers as NumPy's own sum gives, which begins anew for every few and takes five times as long.
    """
    total = amounts[..., 0].copy()
    for place in range(1, amounts.shape[-1]):
        total += amounts[..., place]
    return total


def entry_amounts(amounts: F64) -> F64:
    """(M,): as much as the item at place `ENTRY_RANK` by total has, split as the best so many (n, M) are on average."""
    total = summed(amounts)
    if len(total) < ENTRY_RANK:
        return np.zeros(amounts.shape[1])
    best = np.argpartition(-total, ENTRY_RANK - 1)[:ENTRY_RANK]
    mean: F64 = amounts[best].mean(axis=0)
    return mean * (max(float(total[best].min()), 0.0) / max(float(mean.sum()), 1e-12))


@dataclass(frozen=True)
class SparseScores:
    """Amounts for some of the items: `rows` sorted, each with its amounts per modality; every other item has none."""

    rows: NDArray[np.int64]  # (n,)
    amounts: F64  # (n, M)
    typical: F64  # (M,) the amounts of the user's typical candidate
    entry: F64  # (M,) the amounts that take an item into the user's list

    @classmethod
    def over(cls, n_items: int, rows: NDArray[np.int64], amounts: F64, seen: Rows) -> SparseScores:
        """With the typical candidate of a catalogue of `n_items`, and what it takes to be listed beside the unseen.

        The typical candidate is the expected item given a total `CANDIDATE_LEVEL` standard deviations above the
        catalogue's mean.
        """
        total, count = summed(amounts), max(n_items, 1)
        mean, mean_total = amounts.sum(axis=0) / count, total.sum() / count
        together = amounts.T @ total / count - mean * mean_total
        spread = np.sqrt(max(float(total @ total) / count - mean_total**2, 0.0) + 1e-12)
        places, unseen = rows.searchsorted(seen), np.ones(len(rows), np.bool_)
        unseen[places[rows.searchsorted(seen, "right") > places]] = False
        entry = entry_amounts(amounts[unseen])
        return cls(rows, amounts, mean + CANDIDATE_LEVEL / spread * together, entry)

    def at(self, item_rows: Rows) -> F64:
        """The amounts of `item_rows` (N,) as (N, M); zero where an item is not listed."""
        out = np.zeros((len(item_rows), self.amounts.shape[1]))
        if len(self.rows) == 0:
            return out
        found = np.minimum(np.searchsorted(self.rows, item_rows), len(self.rows) - 1)
        hit = self.rows[found] == item_rows
        out[hit] = self.amounts[found[hit]]
        return out


@dataclass(frozen=True)
class UserState:
    """All that scoring needs of the asking user; made from a history, or read where the user is known.

    `vector` (D,) is the query of the candidate index; `logits` (E,) the user's part of the router; `item_item` what the
    history's rows of the item-item matrix add up to. Kinds without one of them leave it empty.
    """

    history_rows: NDArray[np.int32]
    vector: F32
    logits: F32
    item_item: SparseScores


@dataclass(frozen=True)
class PairScores:
    """The scores of N candidates for one user, as terms.

    `contributions` (N, T) float64; `weights` (N, T) float32, NaN where a term has no gate; `amounts` (N, T, M) float64,
    signed, in score units, `amounts.sum(-1) == contributions`. A term that the router did not choose is all zero.
    """

    item_rows: Rows
    contributions: F64
    weights: F32
    amounts: F64

    @property
    def scores(self) -> F64:
        """(N,) the sum of every term."""
        total: F64 = self.contributions.sum(axis=1)
        return total

    def beside(self, evidence: F64) -> PairScores:
        """The same after one more term, without a gate: the item-item evidence (N, M)."""
        amounts = np.concatenate([evidence[:, None, :], self.amounts], axis=1)
        no_gate = np.full((len(self.item_rows), 1), np.nan, np.float32)
        weights = np.concatenate([no_gate, self.weights], axis=1)
        return PairScores(self.item_rows, summed(amounts), weights, amounts)


@dataclass(frozen=True)
class Because:
    """What each item of the history carried of one score.

    `exact` (n,) is what the score is linear in; `attributed` (n,) spreads the rest by each item's share in the user
    vector. Their sum over the history is the score, up to the precision of the stored arrays.
    """

    history_rows: NDArray[np.int32]
    exact: F64
    attributed: F64


class Scorer(ABC):
    """Scores over one snapshot. Holds no state beyond views of the mapped arrays: safe to share by threads."""

    candidate_arrays: ClassVar[tuple[str, ...]]
    """Arrays with what a candidate is scored by, a row per item, beside `item_present`; a snapshot may lack some."""

    def __init__(self, snapshot: Readable) -> None:
        self.snapshot = snapshot
        self.terms = list(snapshot.manifest.terms)
        self.modalities = [modality.name for modality in snapshot.manifest.modalities]
        self.history_cap = snapshot.manifest.history_cap
        self.n_items = snapshot.n_items

    @abstractmethod
    def retrieval_vectors(self, rows: Rows | slice = ALL_ROWS) -> F32:
        """(n, D), (I, D) without `rows`: vectors whose inner product with `UserState.vector` ranks candidates.

        D is 0 where there are none.
        """

    def expert_vectors(self, item_rows: Rows) -> F32:
        """(N, F): items as the terms see them. The inner product of two says how alike they are, at most 1.

        Here the content features, for terms that see no vectors; F is 0 where there are none of these either.
        """
        names = [f"features_{name}" for name in self.modalities if self.snapshot.has(f"features_{name}")]
        return side_by_side([widened(self.snapshot.array(name)[item_rows]) for name in names], len(item_rows))

    @abstractmethod
    def encode_user(self, history_rows: Rows) -> UserState:
        """The state of a user with this history, oldest first; only the last `history_cap` rows count."""

    def known_user(self, user_row: int) -> UserState:
        """The state of a user of the snapshot."""
        return self.encode_user(self.snapshot.history(user_row))

    def candidates_beyond_index(self, state: UserState, depth: int) -> NDArray[np.int64]:
        """Rows that the vector index may miss: the strongest item-item neighbours of the history.

        As many as `depth`, and one more for every item of the history, which may be among them and is rarely shown.
        """
        wanted = depth + len(state.history_rows)
        if len(state.item_item.rows) <= wanted:
            return state.item_item.rows
        size = summed(state.item_item.amounts)
        return np.sort(state.item_item.rows[np.argpartition(-size, wanted)[:wanted]])

    @abstractmethod
    def score(self, state: UserState, item_rows: Rows) -> PairScores:
        """Every term of every candidate; order kept."""

    @abstractmethod
    def because(self, state: UserState, item_row: int) -> Because:
        """The history's shares in the score of one item."""

    def score_all(self, state: UserState, *, block: int = 4096) -> F64:
        """(I,) exact scores of the whole catalogue: the oracle that candidates are measured against."""
        parts = [
            self.score(state, np.arange(start, min(start + block, self.n_items))).scores
            for start in range(0, self.n_items, block)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _capped(self, history_rows: Rows) -> NDArray[np.int32]:
        return np.ascontiguousarray(history_rows[-self.history_cap :], dtype=np.int32)
