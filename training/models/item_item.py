"""Sparse item–item weights with exact shares: what every model of the kind `item-item` comes down to.

U users, I items, M shares (behaviour first, then the content modalities), n users of a block. `B_ji` is what item j of
a history gives to candidate i; a row of the matrix is a history item.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse

from model_store.manifest import ITEM_ITEM, Term

BEHAVIOUR = "behaviour"


class EvidenceConfig(BaseModel):
    """The closed-form item-item evidence beside a model: ours, no published model has it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    enabled: bool = False
    """Add the item-item evidence."""
    neighbours: int = Field(default=200, ge=1)
    """Entries kept per row; dense data lose accuracy below."""


RowBlock = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""History item rows (n,) to their weights towards every candidate, split into shares: (M, n, I)."""


@dataclass(frozen=True)
class ItemItem:
    """`B` kept sparse, each entry as the sum of its shares."""

    indptr: NDArray[np.int64]
    """(I + 1,) offsets of the rows."""
    items: NDArray[np.int32]
    """(nnz,) candidates, ascending within a row."""
    values: NDArray[np.float32]
    """(nnz, M) shares of the weight."""
    shares: tuple[str, ...]
    """M names: `behaviour`, then content modalities."""
    facts: Mapping[str, float | str]
    """Settings and costs worth recording, `seconds` among them."""

    @property
    def n_items(self) -> int:
        """I."""
        return len(self.indptr) - 1

    def share(self, name: str) -> sparse.csr_array:
        """(I, I) the part of `B` that one share contributes."""
        return self._csr(self.values[:, self.shares.index(name)])

    def matrix(self) -> sparse.csr_array:
        """(I, I) `B`."""
        return self._csr(self.values.sum(axis=1))

    def values_over(self, modalities: Sequence[str]) -> NDArray[np.float32]:
        """(nnz, len(modalities)) the shares in the order of a dataset's modalities, zero for those without a share."""
        spread = np.zeros((len(self.items), len(modalities)), dtype=np.float32)
        for place, name in enumerate(self.shares):
            spread[:, list(modalities).index(name)] = self.values[:, place]
        return spread

    def weighted(self, weight: float) -> ItemItem:
        """The same times `weight`, which the facts say."""
        return replace(self, values=self.values * np.float32(weight), facts={"weight": weight, **self.facts})

    def term(self, modalities: Sequence[str]) -> Term:
        """The base term that it is in a snapshot: its nominal modalities are the shares of the summed sizes."""
        sizes = np.abs(self.values_over(modalities)).sum(axis=0)
        shares = sizes / max(float(sizes.sum()), 1e-12)
        nominal: dict[str, float | None] = {
            name: round(float(share), 6) for name, share in zip(modalities, shares, strict=True)
        }
        return Term(name=ITEM_ITEM, role="base", modalities=nominal)

    def arrays(self, modalities: Sequence[str]) -> dict[str, NDArray[Any]]:
        """What a snapshot stores of it."""
        return {
            "item_item_indptr": self.indptr,
            "item_item_items": self.items,
            "item_item_values": self.values_over(modalities),
        }

    def _csr(self, data: NDArray[np.float32]) -> sparse.csr_array:
        return sparse.csr_array((data, self.items, self.indptr), shape=(self.n_items, self.n_items))


def strongest_per_row(
    rows_of: RowBlock,
    n_items: int,
    shares: tuple[str, ...],
    per_row: int,
    facts: Mapping[str, float | str],
    *,
    first: NDArray[np.bool_] | None = None,
    block: int = 512,
) -> ItemItem:
    """Keep the `per_row` largest weights by size of every history item, never the item itself.

    Memory beyond the result is `block × I × M`.

    Args:
        rows_of: the dense weights.
        n_items: I.
        shares: M names.
        per_row: entries kept per row.
        facts: recorded with the result.
        first: (I,) candidates whose non-zero weights are kept before all others: items that have few weights and would
            lose the order among themselves with every one that is cut.
        block: rows handled at once.

    """
    kept_items: list[NDArray[np.int32]] = []
    kept_values: list[NDArray[np.float32]] = []
    lengths = np.zeros(n_items, dtype=np.int64)
    for start in range(0, n_items, block):
        rows = np.arange(start, min(start + block, n_items))
        weights = rows_of(rows)
        size = np.abs(weights.sum(axis=0))
        size[np.arange(len(rows)), rows] = 0.0
        if first is not None:
            size[:, first] = np.where(size[:, first] > 0, size[:, first] + size.max(initial=0.0), 0.0)
        n = min(per_row, n_items)
        largest = np.sort(np.argpartition(size, n_items - n, axis=1)[:, n_items - n :], axis=1)
        present = np.take_along_axis(size, largest, axis=1) > 0
        row, place = np.nonzero(present)
        lengths[rows] = present.sum(axis=1)
        kept_items.append(largest[row, place].astype(np.int32))
        kept_values.append(weights[:, row, largest[row, place]].T.astype(np.float32))
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return ItemItem(indptr, np.concatenate(kept_items), np.concatenate(kept_values), shares, facts)
