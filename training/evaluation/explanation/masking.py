"""Which served pairs are measured, and the snapshot as it would be had some items never had a modality.

Axes: `P` pairs, `I` items, `M` modalities.

Masking one item and running the whole model again for every pair would be the plain experiment. Items are masked a few
at a time instead, and a pair only counts if no other masked item is in the user's history: what is left between the
masked items of a batch goes through the graphs alone. With `at_once` 1 it is the plain experiment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model_store.draft import SnapshotDraft
from model_store.scoring import Readable, Scorer
from training.evaluation.explanation.served import served_items

ITEMS_AT_ONCE = 16
FEW_ITEMS_PER_MASKED, MANY_ITEMS_PER_MASKED = 150, 450
"""Of small catalogues fewer items are masked at once, one of the first number; of large ones one of the second."""
USERS_PER_ITEM = 8


class Mask(Protocol):
    """Runs a model again; `FittedModel.masked` is one."""

    def __call__(
        self,
        item_rows: NDArray[np.int64],
        modality: str,
        *,
        rebuild: bool,
        user_rows: NDArray[np.int64] | None = None,
    ) -> Mapping[str, NDArray[Any]] | None:
        """The snapshot's arrays that change when these items lose a modality; None where the model cannot tell.

        Args:
            item_rows: (n,) which items; with none at all, the same arrays as they are.
            modality: a content modality.
            rebuild: whether content graphs are built again without those items, or kept as they are.
            user_rows: (m,) users whose rows have to be right, those of others may be as they were; all where omitted.

        """


@dataclass(frozen=True)
class Batch:
    """Items masked together, and the served pairs measured on them."""

    masked: NDArray[np.int64]
    user_rows: NDArray[np.int64]
    """(P,)"""
    item_rows: NDArray[np.int64]
    """(P,) each out of `masked`."""


def served_pairs(
    scorer: Scorer, snapshot: Readable, user_rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """User rows and item rows of all these users' lists."""
    lists = [served_items(scorer, snapshot, scorer.known_user(int(row)), int(row)) for row in user_rows]
    items = np.concatenate(lists) if lists else np.zeros(0, np.int64)
    return np.repeat(user_rows, [len(found) for found in lists]), items


def items_at_once(n_items: int) -> int:
    """How many items are masked together: so few of the catalogue that they hardly meet in its graphs."""
    return max(1, min(ITEMS_AT_ONCE, n_items // FEW_ITEMS_PER_MASKED), n_items // MANY_ITEMS_PER_MASKED)


def batches(
    snapshot: Readable,
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
    present: NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    count: int,
    at_once: int | None = None,
) -> Iterator[Batch]:
    """Batches of served items that have the modality, until there are `count` pairs or no items left.

    Items come in the order in which random served pairs name them, so what is served often is measured often.

    Args:
        snapshot: for the histories.
        pairs: user rows and item rows of what is served.
        present: (I,) which items have the modality.
        rng: draws.
        count: pairs wanted.
        at_once: items masked together, at most; by the catalogue's size where omitted.

    """
    at_once = items_at_once(snapshot.n_items) if at_once is None else at_once
    users, items = pairs
    order = rng.permutation(len(items))
    users, items = users[order], items[order]
    known = present[items]
    users, items = users[known], items[known]
    distinct, first = np.unique(items, return_index=True)
    queue = distinct[np.argsort(first)]
    done = 0
    for start in range(0, len(queue), at_once):
        masked = queue[start : start + at_once]
        kept: list[tuple[int, int]] = []
        for item in masked:
            others = masked[masked != item]
            asking = users[items == item][: 2 * USERS_PER_ITEM]
            clean = [int(user) for user in asking if not np.isin(others, snapshot.history(int(user))).any()]
            kept += [(user, int(item)) for user in clean[:USERS_PER_ITEM]]
        kept = kept[: count - done]
        if kept:
            done += len(kept)
            chosen = np.asarray(kept, dtype=np.int64)
            yield Batch(masked, chosen[:, 0], chosen[:, 1])
        if done >= count:
            return


def ungated(draft: SnapshotDraft) -> SnapshotDraft:
    """The draft with every expert chosen for every item, so that each one's opinion can be read off."""
    experts = sum(term.role != "base" for term in draft.manifest.terms)
    everything = np.ones_like(draft.arrays["item_present"])
    return replace(
        draft,
        manifest=draft.manifest.model_copy(update={"top_k_experts": experts}),
        arrays={**draft.arrays, "item_present": everything},
    )
