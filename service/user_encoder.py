"""The state of people the model has not seen: the snapshot's `user_encoder.onnx`, fed with rows gathered here.

Axes: `n` history length, `M` modalities, `D` width, `E` experts. The tables stay outside the graph, mapped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.encoders.session import CPU, Session, fastest_providers, open_session
from model_store.errors import SnapshotCorrupt
from model_store.half import widened
from model_store.scoring import PairScorer, Scorer, UserState
from model_store.snapshot import Snapshot

ENCODER = "user_encoder.onnx"
OUTPUTS = ("vector", "logits")
TOLERANCE = 1e-3
"""How far graph and reference may lie apart, on vectors of unit length and on logits: far less than half precision."""
PROBES = 4
"""Users whose histories are encoded both ways before a snapshot is served."""


class UserEncoder:
    """Makes `UserState` out of histories. Threads share it: a session runs concurrently."""

    def __init__(self, snapshot: Snapshot, scorer: PairScorer, session: Session) -> None:
        self._scorer = scorer
        self._session = session
        self._history = snapshot.array("item_history")
        self._parts = snapshot.array("item_parts")
        self._present = snapshot.array("item_present")
        self.provider = session.get_providers()[0]
        """What runs the graph, in ONNX Runtime's words."""

    @classmethod
    def of(cls, snapshot: Snapshot, scorer: Scorer) -> UserEncoder | None:
        """The snapshot's encoder, held to the reference; None for kinds whose users are a plain sum of rows.

        Raises `EncoderError` for what is no graph, `SnapshotCorrupt` for one that says something else than the arrays.
        """
        path = snapshot.file(ENCODER)
        if path is None or not isinstance(scorer, PairScorer):
            return None
        encoder = cls(snapshot, scorer, open_session(path, fastest_providers()))
        for history in _probes(snapshot):
            encoder.check(history)
        return encoder

    @property
    def waits(self) -> bool:
        """Whether a device does the work, so that its callers should not hold the event loop."""
        return self.provider != CPU

    def encode(self, history_rows: NDArray[np.int32]) -> UserState:
        """The state of a user with this history (n,), oldest first; only the last `history_cap` rows count."""
        rows = history_rows[-self._scorer.history_cap :]
        if len(rows) == 0:
            return self._scorer.encode_user(rows)
        vector, logits = self._session.run(list(OUTPUTS), self._inputs(rows))
        return self._scorer.state_of(rows, vector[0], logits[0])

    def check(self, history_rows: NDArray[np.int32]) -> None:
        """Raise `SnapshotCorrupt` unless the graph says of this history what the reference says."""
        expected = self._scorer.encode_user(history_rows)
        try:
            found = self.encode(history_rows)
            apart = max(_distance(found.vector, expected.vector), _distance(found.logits, expected.logits))
        except Exception as error:  # ONNX Runtime's errors share no base
            raise SnapshotCorrupt(ENCODER, "a graph from histories to vectors and logits", str(error)) from error
        if not apart <= TOLERANCE:
            expectation = f"the reference's vector and logits of a history of {len(history_rows)} within {TOLERANCE}"
            raise SnapshotCorrupt(ENCODER, expectation, f"a difference of {apart:.3g}")

    def _inputs(self, rows: NDArray[np.int32]) -> dict[str, NDArray[Any]]:
        """A batch of one, without padding."""
        return {
            "history": widened(self._history[rows])[None],
            "parts": widened(self._parts[rows])[None],
            "present": self._present[rows][None],
            "mask": np.ones((1, len(rows)), np.bool_),
        }


def _distance(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """The greatest difference; NaN where there is one, infinity where the shapes differ."""
    return float(np.abs(found - expected).max(initial=0.0)) if found.shape == expected.shape else float("inf")


def _probes(snapshot: Snapshot) -> Iterator[NDArray[np.int32]]:
    """Histories to compare on: one item, and those of users spread over the snapshot."""
    yield np.zeros(1, np.int32)
    for user_row in np.unique(np.linspace(0, snapshot.n_users - 1, PROBES).astype(int)) if snapshot.n_users else ():
        history = snapshot.history(int(user_row))
        if len(history):
            yield history
