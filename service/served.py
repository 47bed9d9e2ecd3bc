"""One snapshot as it is served: scorer, candidate index, and what answers print of its items. Immutable once loaded."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache, partial
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from model_store.scoring import Scorer, UserState, scorer_for
from model_store.snapshot import Snapshot
from service.imprint import Imprint
from service.printed import Display
from service.resident import map_all
from service.retrieval.choice import IndexChoice, index_for
from service.retrieval.protocol import CandidateIndex
from service.user_encoder import UserEncoder

DISPLAYS_KEPT = 200_000
MASKS_KEPT = 64
MIN_DEPTH = 100
"""Candidates are never fewer than the ranks that one retrieval has to fill."""


class ServedSnapshot:
    """A snapshot with everything derived from it. Requests hold on to one of these from start to end.

    `in_categories(names)` is the mask (I,) of items in any of them.
    """

    def __init__(self, snapshot: Snapshot, *, indexed: bool = True, index: IndexChoice = "cpu") -> None:
        """Builds the candidate index: seconds for a large catalogue, so never on the event loop."""
        self.snapshot = snapshot
        self.id: str = snapshot.id
        self.manifest = snapshot.manifest
        self.n_items: int = snapshot.n_items
        self.loaded_at = datetime.now(UTC)
        self.scorer: Scorer = scorer_for(snapshot)
        self.user_encoder = UserEncoder.of(snapshot, self.scorer)
        self.index: CandidateIndex | None = index_for(snapshot, self.scorer, index) if indexed else None
        self.popularity: NDArray[np.float32] = np.asarray(snapshot.array("popularity"), dtype=np.float32)
        self.popular_rows: NDArray[np.int64] = np.argsort(-self.popularity, kind="stable")
        self.depth = max(self.manifest.candidates.depth, MIN_DEPTH)
        self.imprint = Imprint(snapshot)
        self.modalities, self.terms = self.imprint.modalities, self.imprint.terms
        self._displays: dict[int, Display] = {}
        self._searchable: list[str] | None = None
        self.term_templates: dict[str, dict[bytes, bytes]] = {}
        """How the terms of an item are printed, by strategy and by which ones it has; `rendering.py` fills it."""
        own = weakref.proxy(self)  # caches that held it would keep it, index and all, until the next full collection
        self.in_categories = lru_cache(maxsize=MASKS_KEPT)(partial(ServedSnapshot._in_categories, own))

    @property
    def index_name(self) -> str:
        """What retrieves candidates."""
        return self.index.name if self.index is not None else "exact scan"

    @property
    def waits(self) -> bool:
        """Whether answers wait for a device."""
        return (self.index is not None and self.index.waits) or (
            self.user_encoder is not None and self.user_encoder.waits
        )

    def displays(self, rows: list[int]) -> list[Display]:
        """What answers print of the items at these rows; kept, all of them until they are too many."""
        kept = self._displays
        try:
            return list(map(kept.__getitem__, rows))
        except KeyError:
            if len(kept) > DISPLAYS_KEPT:
                kept = self._displays = {}
            kept.update({row: self.imprint.display(row) for row in rows if row not in kept})
            return list(map(kept.__getitem__, rows))

    def near(self, row: int, modality: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rows (n,) of the items nearest to that at `row` in a modality, and their cosines."""
        if not self.snapshot.has(f"neighbours_{modality}_items"):
            return np.zeros(0, np.int64), np.zeros(0)
        rows = self.snapshot.array(f"neighbours_{modality}_items")[row].astype(np.int64)
        cosines = self.snapshot.array(f"neighbours_{modality}_values")[row].astype(np.float64)
        return rows[rows >= 0], cosines[rows >= 0]

    def depth_for(self, steer: Mapping[str, float]) -> int:
        """How many candidates an answer steered by these factors is drawn from."""
        return max(self.manifest.candidates.depth_for(steer), MIN_DEPTH)

    def history(self, user_row: int) -> NDArray[np.int32]:
        """The history that the snapshot knows of a user, as far as the model reads it, oldest first."""
        return self.capped(self.snapshot.history(user_row))

    def capped(self, history: NDArray[np.int32]) -> NDArray[np.int32]:
        """As much of a history as the model reads, in memory of its own."""
        return np.array(history[-self.manifest.history_cap :], np.int32)

    def encode_user(self, history_rows: NDArray[np.int32]) -> UserState:
        """The state of a user with this history: by the snapshot's own graph where the model has one."""
        encode = self.scorer.encode_user if self.user_encoder is None else self.user_encoder.encode
        return encode(history_rows)

    def warm_up(self) -> None:
        """Touch what the first request would have to wait for; the rest of the files is read meanwhile."""
        Thread(target=self._read_ahead, name="read ahead", daemon=True).start()
        if self.snapshot.n_users:
            state = self.scorer.known_user(0)
            rows = self.popular_rows[: self.depth]
            self.scorer.score(state, rows)
            if self.index is not None:
                self.index.search(state.vector[None], self.depth)

    def _read_ahead(self) -> None:
        """Bring every file into memory and map it: on a cold machine an answer is hundreds of reads."""
        with suppress(OSError):  # a snapshot may be removed meanwhile
            for name in self.manifest.files if hasattr(os, "posix_fadvise") else ():
                with (self.snapshot.path / name).open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
        for array in self.snapshot.arrays.values():
            map_all(array)

    def searchable(self) -> list[str]:
        """(I,): what a search for items looks through, folded to one letter case; made on first use."""
        if self._searchable is None:
            displays = map(self.imprint.display, range(self.n_items))
            self._searchable = [f"{display.item_id}\n{display.title or ''}".casefold() for display in displays]
        return self._searchable

    def _in_categories(self, categories: tuple[str, ...]) -> NDArray[np.bool_]:
        """(I,): items of at least one of `categories`; shared, never to be written to."""
        mask = np.zeros(self.n_items, np.bool_)
        for name in categories:
            mask[self.snapshot.rows_in_category(name)] = True
        mask.setflags(write=False)
        return mask
