"""The two kinds of input an item has, its words and its picture: what is encoded, and how it is recognised unchanged.

n rows, d columns.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from model_store.encoders import ContentEncoder
from model_store.encoders.description import Kind
from model_store.encoders.item_text import item_text
from model_store.encoders.runtime import Progress
from model_store.encoders.session import available_cores
from model_store.errors import PictureError
from model_store.pictures import MAX_BYTES
from training.data.items import ItemTable

DIGEST_BYTES: Final = 16


class ItemInputs(ABC):
    """One kind of input of all items."""

    kind: ClassVar[Kind]
    """Kind of encoder, and name of the feature files."""
    modality: ClassVar[str]

    @abstractmethod
    def __bool__(self) -> bool:
        """Whether any item has it."""

    @abstractmethod
    def digests(self) -> list[bytes | None]:
        """DIGEST_BYTES for each item that stand for its input; None for an item without."""

    @abstractmethod
    def encode(
        self, encoder: ContentEncoder, rows: Sequence[int], progress: Progress | None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], dict[int, str]]:
        """Values (n, d) and presence (n,) of n item rows, and why which of these items could not be read."""


class ItemTexts(ItemInputs):
    """Title, categories and description, joined."""

    kind = "text"
    modality = "textual"

    def __init__(self, items: ItemTable) -> None:
        parts = zip(items.titles, items.categories, items.descriptions, strict=True)
        self._texts = [item_text(*of_one) for of_one in parts]

    def __bool__(self) -> bool:
        return any(text is not None for text in self._texts)

    def digests(self) -> list[bytes | None]:
        """Over the joined text."""
        return [None if text is None else _digest(text.encode("utf-8", "surrogatepass")) for text in self._texts]

    def encode(
        self, encoder: ContentEncoder, rows: Sequence[int], progress: Progress | None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], dict[int, str]]:
        """Every text can be read."""
        values, present = encoder.encode_texts([self._texts[row] for row in rows], progress=progress)
        return values, present, {}


class ItemPictures(ItemInputs):
    """The picture files."""

    kind = "image"
    modality = "visual"

    def __init__(self, items: ItemTable) -> None:
        self._paths = items.images

    def __bool__(self) -> bool:
        return any(path is not None for path in self._paths)

    def digests(self) -> list[bytes | None]:
        """Over the files' content; a file that cannot be read has a digest like no other file's."""
        with ThreadPoolExecutor(available_cores()) as pool:
            return list(pool.map(_file_digest, self._paths))

    def encode(
        self, encoder: ContentEncoder, rows: Sequence[int], progress: Progress | None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], dict[int, str]]:
        """A picture that cannot be decoded is a missing row with a reason."""
        reasons: dict[int, str] = {}

        def note(place: int, error: PictureError) -> None:
            reasons[rows[place]] = str(error)

        paths = [self._paths[row] for row in rows]
        values, present = encoder.encode_images(paths, progress=progress, on_unreadable=note)
        return values, present, reasons


def _file_digest(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return _digest(file.read(MAX_BYTES))
    except OSError:
        return _digest(f"unreadable {path}".encode("utf-8", "surrogateescape"))


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()
