"""Content graph of one modality: who looks (reads, sounds) like whom.

I items, d feature width, k neighbours per item. Cosine kNN without the item itself, hubs capped, symmetrically
normalised, computed through FAISS in blocks, and frozen from then on [our choice of what an edge is].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.errors import TrainingError
from training.graph.normalise import symmetric_normalise

# Centring is done in float32: what is left of a constant row is rounding noise, whose direction means nothing.
NO_DIRECTION = 1e-5


@dataclass(frozen=True)
class NeighbourLists:
    """The k nearest items of every item, best first, by cosine; directed, before any cap."""

    items: NDArray[np.int32]
    """(I, k) item rows, -1 where an item has fewer than k neighbours."""
    values: NDArray[np.float32]
    """(I, k) cosines in (0, 1], 0 where padded."""

    @property
    def n_edges(self) -> int:
        """How many neighbours there are in all lists together."""
        return int(np.count_nonzero(self.items >= 0))


def centred_unit_rows(
    values: NDArray[np.float32], present: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Rows minus the mean of the present rows, L2-normalised, and which rows have a direction at all.

    Args:
        values: (I, d) features; what stands in rows that are not present is ignored.
        present: (I,) which items have this modality.

    Returns:
        (I, d) unit rows, zero where there is none, and (I,) the mask of the non-zero ones. An item whose features equal
        the mean has no direction and is treated as missing.

    Raises:
        TrainingError: shapes do not match, or a present row is not finite.

    """
    if values.ndim != 2 or present.shape != (values.shape[0],):
        raise TrainingError(f"expected features (I, d) and a mask (I,), found {values.shape} and {present.shape}")
    rows = np.flatnonzero(present)
    unit = np.zeros(values.shape, dtype=np.float32)
    if not len(rows):
        return unit, np.zeros(len(values), dtype=np.bool_)
    known = values[rows].astype(np.float32)
    if not np.isfinite(known).all():
        first = rows[np.flatnonzero(~np.isfinite(known).all(axis=1))[0]]
        raise TrainingError(f"feature row {first} is marked present but holds NaN or infinity")
    scale = float(np.abs(known).max())
    known -= known.mean(axis=0, dtype=np.float64).astype(np.float32)
    norms = np.linalg.norm(known, axis=1)
    directed = norms > NO_DIRECTION * scale
    unit[rows[directed]] = known[directed] / norms[directed, None]
    mask = np.zeros(len(values), dtype=np.bool_)
    mask[rows[directed]] = True
    return unit, mask


def neighbour_lists(
    values: NDArray[np.float32], present: NDArray[np.bool_], *, k: int = 10, block: int = 4096
) -> NeighbourLists:
    """The k nearest items of every item by cosine of the centred features; never itself, never at a cosine ≤ 0.

    Equal cosines are ordered by item row. Memory beyond the features is `block × k`.

    Args:
        values: (I, d) features.
        present: (I,) mask; missing items neither have neighbours nor are one.
        k: neighbours per item.
        block: queries given to FAISS at once.

    """
    unit, directed = centred_unit_rows(values, present)
    rows = np.flatnonzero(directed).astype(np.int32)
    items = np.full((len(values), k), -1, dtype=np.int32)
    cosines = np.zeros((len(values), k), dtype=np.float32)
    if len(rows) < 2:
        return NeighbourLists(items, cosines)
    index = faiss.IndexFlatIP(values.shape[1])
    index.add(unit[rows])
    wanted = min(k + 1, len(rows))  # one more, because an item usually finds itself first
    for start in range(0, len(rows), block):
        queries = rows[start : start + block]
        found, positions = index.search(unit[queries], wanted)
        neighbours = rows[positions]
        found[(neighbours == queries[:, None]) | (found <= 0)] = -np.inf
        order = np.lexsort((neighbours, -found), axis=1)[:, :k]
        found, neighbours = np.take_along_axis(found, order, 1), np.take_along_axis(neighbours, order, 1)
        kept = np.isfinite(found)
        items[queries, : order.shape[1]] = np.where(kept, neighbours, -1)
        cosines[queries, : order.shape[1]] = np.where(kept, np.minimum(found, 1.0), 0.0)
    return NeighbourLists(items, cosines)


def graph_of(lists: NeighbourLists, *, hub_cap: int = 50) -> sparse.csr_array:
    """The undirected content graph of neighbour lists: an edge where either end lists the other, weighted by cosine.

    An item may be listed by at most `hub_cap` others, the most similar ones, so that no hub carries its neighbours'
    taste to half the catalogue. Undirected [ours]: measured as prior of the closed form on a sparse data set, keeping
    an edge in either direction was at least as good as directed lists and better than mutual ones.

    Returns:
        (I, I) symmetric, symmetrically normalised float32; zero diagonal; no edges for items without neighbours.

    """
    n_items, k = lists.items.shape
    listed = lists.items >= 0
    source = np.broadcast_to(np.arange(n_items)[:, None], (n_items, k))[listed]
    target, cosine = lists.items[listed], lists.values[listed]
    order = np.lexsort((source, -cosine, target))
    source, target, cosine = source[order], target[order], cosine[order]
    place = np.arange(len(target)) - np.searchsorted(target, target)  # 0 for the most similar of those that list it
    kept = place < hub_cap
    directed = sparse.csr_array((cosine[kept], (source[kept], target[kept])), shape=(n_items, n_items))
    return symmetric_normalise(sparse.csr_array(directed.maximum(directed.T)))


def content_knn(
    values: NDArray[np.float32], present: NDArray[np.bool_], *, k: int = 10, hub_cap: int = 50
) -> sparse.csr_array:
    """(I, I) content graph of one modality, see `neighbour_lists` and `graph_of`."""
    return graph_of(neighbour_lists(values, present, k=k), hub_cap=hub_cap)


def mean_graph(graphs: Mapping[str, sparse.csr_array], n_items: int) -> sparse.csr_array:
    """(I, I) float32 mean of the modalities' content graphs; empty where there are none."""
    mixed = sum((graph / len(graphs) for graph in graphs.values()), sparse.csr_array((n_items, n_items)))
    return sparse.csr_array(mixed).astype(np.float32)
