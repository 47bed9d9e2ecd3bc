"""Finding items and users by what people type."""

from __future__ import annotations

from service.served import ServedSnapshot


def find_items(served: ServedSnapshot, query: str, limit: int) -> list[int]:
    """Rows of the first `limit` items whose id or title contains `query`, letter case ignored, in catalogue order."""
    wanted = query.casefold()
    found: list[int] = []
    for row, text in enumerate(served.searchable()):
        if wanted in text:
            found.append(row)
            if len(found) == limit:
                break
    return found


def find_users(served: ServedSnapshot, query: str, limit: int) -> list[str]:
    """The first `limit` user ids that begin with `query`, in alphabetical order."""
    return [served.snapshot.user_id(int(row)) for row in served.snapshot.user_ids.rows_with_prefix(query, limit)]
