"""What can go wrong offline, one class per thing a caller may want to handle."""

from pathlib import Path


class TrainingError(Exception):
    """Base of every error that the trainer raises on purpose; the message says what was expected, found, and where."""


class DatasetError(TrainingError):
    """A dataset that cannot be used as it is; the message names file, line or row, and column, as far as known."""

    def __init__(self, path: Path, problem: str, *, place: str | None = None, column: str | None = None) -> None:
        where = [str(path), place, f"column {column!r}" if column else None]
        super().__init__(f"{', '.join(part for part in where if part)}: {problem}")
        self.path = path
        self.place = place
        self.column = column


class SplitError(TrainingError):
    """A dataset that cannot be split in the way asked for."""


class EncoderImportError(TrainingError):
    """A checkpoint that cannot become a content encoder: unreadable, of an unknown kind, or not the same as ONNX."""
