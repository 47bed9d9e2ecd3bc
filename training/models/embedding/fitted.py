"""A fitted model of vectors: scores by one inner product, and becomes a snapshot of the kind `plain` or `item`.

Axes: `U` users, `I` items, `M` modalities (behaviour first), `T` terms, `D` width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.manifest import Term
from training.data.splits import Split
from training.models.blend import Blend
from training.models.embedding.history_map import HistoryMap, fit_history_map
from training.models.embedding.network import F32, Tables
from training.models.item_item import BEHAVIOUR, ItemItem
from training.models.protocol import FittedModel, SnapshotContent, capped_histories


@dataclass(frozen=True)
class Chosen:
    """What validation chose, for the refit: epochs by phase, of what it passes over; the item-item evidence."""

    epochs: dict[str, float]
    blend: Blend | None = None


class FittedVectors(FittedModel):
    """Tables of vectors, with the histories that they were fitted on."""

    def __init__(
        self,
        tables: Tables,
        interactions: Split,
        modalities: list[str],
        chosen: Chosen,
        facts: dict[str, Any],
        *,
        history_cap: int,
        item_item: ItemItem | None = None,
    ) -> None:
        """Hold what was fitted.

        Args:
            tables: the vectors.
            interactions: what they were fitted on.
            modalities: of the dataset, behaviour first.
            chosen: for the refit.
            facts: for metrics.json.
            history_cap: items of a history that count.
            item_item: evidence beside the vectors, weight included.

        """
        self.tables, self.chosen = tables, chosen
        self._interactions, self._modalities, self._facts = interactions, modalities, facts
        self._cap = history_cap
        self.item_item = item_item
        self._spoken_for = (
            None if item_item is None else (capped_histories(interactions, history_cap), item_item.matrix())
        )

    def score_block(self, user_rows: NDArray[np.int64]) -> NDArray[np.floating]:
        """(n, I) inner products, and what histories speak for."""
        scores: F32 = self.tables.users[user_rows] @ self.tables.items.T
        if self._spoken_for is not None:
            histories, matrix = self._spoken_for
            scores += (histories[user_rows] @ matrix).toarray()
        return scores

    def beside(self, item_item: ItemItem, blend: Blend, seconds: float) -> FittedVectors:
        """The same with item-item evidence, which took so long; `blend` is for the refit."""
        taken = {"seconds": round(self._facts["seconds"] + seconds, 2), "item_item": dict(item_item.facts)}
        return FittedVectors(
            self.tables,
            self._interactions,
            self._modalities,
            replace(self.chosen, blend=blend),
            self._facts | taken,
            history_cap=self._cap,
            item_item=item_item,
        )

    def history_map(self) -> HistoryMap:
        """The linear form of a user, for people whom the snapshot does not know; of several ρ the closest."""
        tables = self.tables
        maps = [
            fit_history_map(tables.users, tables.items, self._interactions, cap=self._cap, decay=decay)
            for decay in tables.decays
        ]
        return max(maps, key=lambda found: found.explained)

    def snapshot_content(self) -> SnapshotContent:
        """Kind `item` where the model has gated terms, else `plain`."""
        tables, folded = self.tables, self.history_map()
        arrays: dict[str, NDArray[Any]] = {
            "user_vectors": tables.users,
            "item_history": folded.items,
        }
        if tables.terms:
            terms = tuple(served.term for served in tables.terms)
            arrays["item_term_vectors"] = np.stack([served.vectors for served in tables.terms], axis=1)
            arrays["item_gates"] = np.stack([served.gate for served in tables.terms], axis=1)
        else:
            parts = self._parts()
            terms = (Term(name="collaborative", role="base", modalities=self._shares(parts)),)
            arrays["item_vectors"] = tables.items
            if tables.parts:
                arrays["item_parts"] = parts
        if self.item_item is not None:
            terms = (self.item_item.term(self._modalities), *terms)
            arrays |= self.item_item.arrays(self._modalities)
        return SnapshotContent(
            scoring="item" if tables.terms else "plain",
            embedding_size=tables.items.shape[1],
            terms=terms,
            arrays=arrays,
            parameters={"user_offset": folded.offset, "history_decay": np.array([folded.decay], np.float32)},
            item_item={} if self.item_item is None else dict(self.item_item.facts),
        )

    def _parts(self) -> F32:
        """(I, M, D): the item's vector by modality, behaviour having what the others leave."""
        parts = np.zeros((len(self.tables.items), len(self._modalities), self.tables.items.shape[1]), np.float32)
        for name, part in self.tables.parts.items():
            parts[:, self._modalities.index(name)] = part
        parts[:, self._modalities.index(BEHAVIOUR)] = self.tables.items - parts.sum(axis=1)
        return parts

    def _shares(self, parts: F32) -> dict[str, float | None]:
        """The parts' shares of the summed norms: the term's nominal modalities."""
        norms = np.linalg.norm(parts, axis=2).sum(axis=0)
        shares = norms / max(float(norms.sum()), 1e-12)
        return {name: round(float(share), 6) for name, share in zip(self._modalities, shares, strict=True)}

    def training_facts(self) -> dict[str, Any]:
        """Epochs, seconds, steps by phase."""
        return self._facts
