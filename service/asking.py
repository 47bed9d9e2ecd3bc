"""Who is asking: what the snapshot and the newer events say about a user, as one state to score from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_store.scoring import UserState
from service.served import ServedSnapshot

NO_ROWS = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Asker:
    """The asking user, for one snapshot and one version of the user's events.

    `state` is None where there is no history to score from: the strategy is `popular` then.
    """

    user_id: str | None
    strategy: str
    state: UserState | None
    seen: NDArray[np.int64]
    """Rows the user has interacted with; left out unless the caller wants them."""
    events_used: int = 0
    version: int = 0
    """The version of the user's events that this was made from."""

    @property
    def history_rows(self) -> NDArray[np.int32]:
        """The history that shapes the answers, oldest first."""
        return self.state.history_rows if self.state is not None else np.zeros(0, np.int32)


def asker_for(served: ServedSnapshot, user_id: str) -> Asker:
    """The user as the snapshot knows it; without a history, or unknown, it is `popular`."""
    user_row = served.snapshot.user_row(user_id)
    if user_row is None:
        return Asker(user_id, "popular", None, NO_ROWS)
    history = served.snapshot.history(user_row)
    if len(history) == 0:
        return Asker(user_id, "popular", None, NO_ROWS)
    return Asker(user_id, "personalised", served.scorer.known_user(user_row), np.unique(history).astype(np.int64))
