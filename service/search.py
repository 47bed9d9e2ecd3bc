"""Finding items and users by what people type."""

from __future__ import annotations

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


def find_users(served: ServedSnapshot, query: str, limit: int) -> list[str]:
    """The first `limit` user ids that begin with `query`, in alphabetical order."""
    return [served.snapshot.user_id(int(row)) for row in served.snapshot.user_ids.rows_with_prefix(query, limit)]
