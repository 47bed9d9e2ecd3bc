"""What pins an answer in time, so that its next page comes from the same snapshot and state."""

from __future__ import annotations

from dataclasses import dataclass

from service.errors import InvalidRequest


@dataclass(frozen=True)
class Pin:
    """Snapshot, version of the user's events, and the day that popular answers explore by."""

    snapshot_id: str
    user_version: int
    day: int

    def text(self) -> str:
        """As it stands in a page link."""
        return f"{self.snapshot_id}.{self.user_version}.{self.day}"

    @classmethod
    def parse(cls, text: str) -> Pin:
        """The pin in a page link. Raises `InvalidRequest` for anything that `text` did not write."""
        parts = text.split(".")
        if len(parts) != 3 or not parts[0] or not all(part.isdecimal() and len(part) < 19 for part in parts[1:]):
            raise InvalidRequest(f"at: expected the value from a `next` link, found {text!r}")
        return cls(parts[0], int(parts[1]), int(parts[2]))
