"""What can go wrong with a snapshot or a store, one class per thing a caller may want to handle."""

from __future__ import annotations

from os import PathLike


class StoreError(Exception):
    """Base of every error that this package raises on purpose; the message says what was expected, found, and where."""


class SnapshotNotFound(StoreError):
    """No snapshot of that id (or nothing to roll back to, or no snapshot promoted yet)."""


class SnapshotCorrupt(StoreError):
    """A stored file is not what the manifest, or the format, says; the snapshot must not be used.

    `file`, `expected` and `found` are the three parts of the message.
    """

    def __init__(self, file: str | PathLike[str], expected: str, found: str) -> None:
        self.file, self.expected, self.found = str(file), expected, found
        super().__init__(f"{self.file}: expected {expected}, found {found}")


class UnsupportedVersion(StoreError):
    """The snapshot was written in a format that this version cannot read."""


class InvalidContent(StoreError):
    """What a writer was given cannot become a snapshot (a wrong shape, a duplicate id, a number that is not finite)."""


class StoreBusy(StoreError):
    """Somebody else holds the store's lock and did not let go in time."""


class StoreFull(StoreError):
    """The disk (or a quota, or a file size limit) is full; what was being written is gone, what was there is not."""


class StoreUnusable(StoreError):
    """The operating system refused: no permission, not a directory, a failing disk."""


class InvalidEvent(StoreError):
    """A line of an event file is not an event; the message names the file and the line."""


class PictureError(StoreError):
    """A picture cannot be decoded: not an image, truncated, of a format not accepted, or beyond the size limits."""


class EncoderError(StoreError):
    """A content encoder's bundle is missing, altered or of the wrong kind, or it cannot be run here."""
