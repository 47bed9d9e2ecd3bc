"""What an answer has to say: NumPy's scores over the arrays of a snapshot, without anything that serves them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.scoring import scorer_for
from model_store.snapshot import Snapshot

TOLERANCE = 1e-4
"""What `/explain` promises; ranks may swap between items whose scores differ by less."""


class Exact:
    """The exact answers of one snapshot, opened before anything happens to it."""

    def __init__(self, folder: Path) -> None:
        self.snapshot = Snapshot.open(folder)
        self._scorer = scorer_for(self.snapshot)
        self._rows = np.arange(self.snapshot.n_items)
        self.scores = cache(self._scores)
        self.unfiltered = cache(self._unfiltered)

    def history(self, user_id: str) -> list[str]:
        """The items that the snapshot knows of a user, oldest first."""
        row = self.snapshot.user_row(user_id)
        return [] if row is None else [self.snapshot.item_id(int(item)) for item in self.snapshot.history(row)]

    def complaint(self, answer: dict[str, Any], user_id: str, clicked: tuple[str, ...], k: int) -> str | None:
        """What is wrong with an answer of `k` items for a user who clicked these since; None where nothing is."""
        scores = self.scores(user_id, clicked)
        rows = [self.snapshot.item_row(entry["item"]) for entry in answer["items"]]
        if None in rows or len(set(rows)) < len(rows):
            return "an unknown or repeated item"
        allowed = np.sort(scores[np.isfinite(scores)])[::-1]
        if len(rows) < min(k, len(allowed)):
            return f"{len(rows)} items"
        for place, (row, entry) in enumerate(zip(rows, answer["items"], strict=True)):
            assert row is not None
            if not abs(scores[row] - entry["score"]) <= TOLERANCE:
                return f"{entry['item']} scored {entry['score']}, expected {scores[row]}"
            if scores[row] < allowed[place] - TOLERANCE:
                return f"{entry['item']} at rank {place + 1}, where {allowed[place]} belongs and not {scores[row]}"
        return None

    def _scores(self, user_id: str, clicked: tuple[str, ...]) -> NDArray[np.float64]:
        """(I,) what the user would see of every item; minus infinity for what was seen."""
        scores = self._unfiltered(user_id, clicked)
        scores[self._history(user_id, clicked)] = -np.inf
        return scores

    def _unfiltered(self, user_id: str, clicked: tuple[str, ...] = ()) -> NDArray[np.float64]:
        """(I,) the score of every item, seen or not."""
        row = self.snapshot.user_row(user_id)
        if row is not None and not clicked:
            state = self._scorer.known_user(row)
        else:
            state = self._scorer.encode_user(self._history(user_id, clicked))
        pairs = self._scorer.score(state, self._rows)
        scores = np.zeros(self.snapshot.n_items)
        scores[pairs.item_rows] = np.round(pairs.contributions, 6).sum(axis=1)
        return scores

    def _history(self, user_id: str, clicked: tuple[str, ...]) -> NDArray[np.int32]:
        row = self.snapshot.user_row(user_id)
        known = self.snapshot.history(row).tolist() if row is not None else []
        new = [found for item in clicked if (found := self.snapshot.item_row(item)) is not None]
        return np.array([*known, *new], np.int32)
