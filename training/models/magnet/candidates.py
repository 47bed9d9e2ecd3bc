"""The hard candidates that the mixture is fitted on: each user's best by the static score, with all that routing reads.

Axes: `n` users, `C` candidates, `M` modalities, `D` width.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from training.models.magnet.scored import Evidence, Reader, Reading


@dataclass(frozen=True)
class CandidateTable:
    """Rows of users with their candidates; `positive` marks held-out positives among them."""

    user_rows: NDArray[np.int64]
    held_out: NDArray[np.int64]  # (n,) positives of each user, reachable or not
    items: Tensor  # (n, C) int64
    unseen: Tensor  # (n, C) bool; False only where a user has fewer than C unseen items
    positive: Tensor  # (n, C) bool
    reading: Reading

    @property
    def reachable(self) -> float:
        """Share of the held-out positives that are candidates."""
        return float(self.positive.sum()) / max(int(self.held_out.sum()), 1)


def candidate_table(
    evidence: Evidence,
    user_rows: NDArray[np.int64],
    positives: sparse.csr_array,
    seen: sparse.csr_array,
    count: int,
    *,
    among: NDArray[np.bool_] | None = None,
    drawn_by: np.random.Generator | None = None,
    block: int = 256,
) -> CandidateTable:
    """The best `count` unseen items of each user by the static score; ties by item row.

    Args:
        evidence: what the mixture reads.
        user_rows: (n,) users.
        positives: (U, I) held-out positives.
        seen: (U, I) items that are no candidates.
        count: C, at most I.
        among: (I,) what may be a candidate at all; everything where omitted. To fit on: items that nobody has taken
            cannot be positives there, and a mixture that sees them as candidates learns to bury them.
        drawn_by: where the base says nothing yet: candidates are the positives and the best by the item-item evidence,
            and where that says nothing either, they are drawn.
        block: users at once.

    """
    count = min(count, positives.shape[1])
    reader = Reader(evidence)
    collected: list[tuple[Tensor, ...]] = []
    readings: list[Reading] = []
    for start in range(0, max(len(user_rows), 1), block):  # of nobody an empty table, with all its columns
        rows = user_rows[start : start + block]
        term = evidence.item_item_scores(rows)
        static = term.sum(axis=1)
        if drawn_by is None:
            static = evidence.users[rows] @ evidence.base.candidates.T + static
        else:
            static += np.float32(1e-9) * drawn_by.random(static.shape, np.float32)
            static[positives[rows].toarray() > 0] = np.inf
        static[seen[rows].toarray() > 0] = -np.inf
        if among is not None:
            static[:, ~among] = -np.inf
        scores = torch.from_numpy(static)
        items = torch.topk(scores, count, dim=1).indices.sort(dim=1).values
        readings.append(reader.read(torch.from_numpy(evidence.users[rows]), term, items))
        positive = torch.from_numpy(positives[rows].toarray() > 0).gather(1, items)
        unseen = scores.gather(1, items) > -torch.inf
        collected.append((items, unseen, positive))
    items, unseen, positive = (torch.cat(column) for column in zip(*collected, strict=True))
    read = {field.name: torch.cat([getattr(part, field.name) for part in readings]) for field in fields(Reading)}
    held_out = np.diff(positives.indptr)[user_rows].astype(np.int64)
    return CandidateTable(user_rows, held_out, items, unseen, positive, Reading(**read))
