"""Finding items and users by what people type."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, islice

from service.served import ServedSnapshot
from service.view import View


def find_items(view: View, query: str, limit: int) -> list[int]:
    """Rows of the first `limit` items whose id or title contains `query`, letter case ignored, in catalogue order.

    What was added or changed comes first; hidden items do not come.
    """
    wanted = query.casefold()
    live = {row: f"{info.item_id}\n{info.title or ''}".casefold() for row, info in view.added_texts()}
    snapshot = ((row, text) for row, text in enumerate(view.served.searchable()) if row not in live)
    matching = (row for row, text in chain(live.items(), snapshot) if wanted in text and not view.is_hidden(row))
    return list(islice(matching, limit))


def find_users(served: ServedSnapshot, is_forgotten: Callable[[str], bool], query: str, limit: int) -> list[str]:
    """The first `limit` user ids that begin with `query`, in alphabetical order, without those who were forgotten."""
    snapshot, looked_at = served.snapshot, limit
    while True:
        rows = snapshot.user_ids.rows_with_prefix(query, looked_at)
        found = [user_id for user_id in map(snapshot.user_id, rows.tolist()) if not is_forgotten(user_id)]
        if len(found) >= limit or len(rows) < looked_at:
            return found[:limit]
        looked_at *= 2  # however many were forgotten, all steps together read little more than the last
