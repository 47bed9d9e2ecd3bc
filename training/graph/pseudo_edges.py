"""Content-induced user–item edges of the augmented view.

U users, I items. `P_uj = Σ_{i∈N(u)} S_ij / √|N(u)|` for `j ∉ N(u)`, the strongest q per user and, for every tail item,
its strongest q′ users. MAGNET's abstract (arXiv 2602.20723) has content-induced edges; this form of them is our choice.
Pseudo-edges are never positives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.errors import TrainingError


def pseudo_edges(
    train: sparse.csr_array,
    content: sparse.csr_array,
    *,
    per_user: int = 10,
    per_tail_item: int = 5,
    tail_quantile: float = 0.5,
    block: int = 4096,
) -> sparse.csr_array:
    """The strongest edges that content suggests between users and items they have not met.

    Args:
        train: (U, I) training interactions.
        content: (I, I) content graph, non-negative.
        per_user: q, edges kept per user.
        per_tail_item: q′, users kept per tail item beyond those.
        tail_quantile: items whose number of training interactions is at or below this quantile over all items are the
            tail; items without any belong to it.
        block: users handled at once; memory is bounded by a block's products plus what is kept.

    Returns:
        (U, I) float32 strengths `P_uj`, unnormalised; disjoint from `train`. Ties go to lower rows.

    Raises:
        TrainingError: the shapes do not fit together.

    """
    n_users, n_items = train.shape
    if content.shape != (n_items, n_items):
        raise TrainingError(f"expected a content graph of shape {(n_items, n_items)}, found {content.shape}")
    known = sparse.csr_array(train).astype(bool).astype(np.float32)
    degree = np.asarray(known.sum(axis=0))
    tail = degree <= np.quantile(degree, tail_quantile)
    kept: list[Edges] = []
    tail_best = _no_edges()
    for start in range(0, n_users, block):
        rows = np.arange(start, min(start + block, n_users))
        edges = _suggestions(known[rows], content, rows)
        kept.append(_strongest(edges, edges[0], per_user))
        of_tail = _joined([tail_best, _take(edges, tail[edges[1]])])
        tail_best = _strongest(of_tail, of_tail[1], per_tail_item)
    users, items, strengths = _joined([*kept, tail_best])
    first = np.unique(users.astype(np.int64) * n_items + items, return_index=True)[1]  # an edge may be kept twice
    return sparse.coo_array((strengths[first], (users[first], items[first])), shape=(n_users, n_items)).tocsr()


Edges = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""User rows, item rows and strengths, one entry per edge."""


def _no_edges() -> Edges:
    return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)


def _take(edges: Edges, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Edges:
    return edges[0][chosen], edges[1][chosen], edges[2][chosen]


def _joined(parts: list[Edges]) -> Edges:
    users, items, strengths = zip(*parts, strict=True)
    return np.concatenate(users), np.concatenate(items), np.concatenate(strengths)


def _suggestions(known: sparse.csr_array, content: sparse.csr_array, user_rows: NDArray[np.int64]) -> Edges:
    """All `P_uj > 0` with `j ∉ N(u)` for a block of users; `known` holds that block's (n, I) history of ones."""
    reached = sparse.coo_array(known @ content)
    met = sparse.coo_array(known)
    n_items = known.shape[1]
    edge_key = reached.row.astype(np.int64) * n_items + reached.col
    new = ~np.isin(edge_key, met.row.astype(np.int64) * n_items + met.col) & (reached.data > 0)
    length = np.asarray(known.sum(axis=1))
    row, col = reached.row[new].astype(np.int64), reached.col[new].astype(np.int64)
    return user_rows[row], col, (reached.data[new] / np.sqrt(length[row])).astype(np.float32)


def _strongest(edges: Edges, group: NDArray[np.int64], n: int) -> Edges:
    """Keep the n strongest edges of every group; ties go to lower user and item rows."""
    order = np.lexsort((edges[1], edges[0], -edges[2], group))
    ordered = group[order]
    place = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    return _take(edges, order[place < n])
