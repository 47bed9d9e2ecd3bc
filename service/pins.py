"""What pins an answer in time, so that its next page comes from the same snapshot and state."""

from __future__ import annotations

from dataclasses import dataclass

from service.errors import InvalidRequest


@dataclass(frozen=True)
class Pin:
    """Snapshot, versions of the user's events and of the live items, and the period of recent popularity."""

    snapshot_id: str
    user_version: int
    items_version: int
    period: int

    def text(self) -> str:
        """As it stands in a page link."""
        return f"{self.snapshot_id}.{self.user_version}.{self.items_version}.{self.period}"

    @classmethod
    def parse(cls, text: str) -> Pin:
        """The pin in a page link. Raises `InvalidRequest` for anything that `text` did not write."""
        parts = text.split(".")
        if len(parts) != 4 or not parts[0] or not all(_is_count(part) for part in parts[1:]):
            raise InvalidRequest(f"at: expected the value from a `next` link, found {text!r}")
        return cls(parts[0], int(parts[1]), int(parts[2]), int(parts[3]))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19
