"""Raw features of new items, made by the very content encoders that made the training features."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_store.encoders import ContentEncoder, bundle_path
from model_store.encoders.item_text import item_text
from model_store.encoders.session import fastest_providers
from model_store.manifest import Modality

F32 = NDArray[np.float32]
THREADS = 1


class ContentEncoders:
    """The encoders in the store at `root`, opened when they are first needed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: dict[str, ContentEncoder] = {}
        self._turn = threading.Lock()

    def encode(
        self,
        modalities: tuple[Modality, ...],
        *,
        title: str | None,
        categories: tuple[str, ...],
        description: str | None,
        picture: bytes | None,
    ) -> dict[str, F32]:
        """Features (d,) of every modality whose encoder can read something of this; runs long, so in a thread.

        Raises `EncoderError`, and `PictureError` for a picture that cannot be decoded.
        """
        text = item_text(title, categories, description)
        found: dict[str, F32] = {}
        for modality in modalities:
            if modality.encoder is None:
                continue
            encoder = self._encoder(modality.encoder)
            values, present = (
                encoder.encode_texts([text]) if encoder.kind == "text" else encoder.encode_images([picture])
            )
            if present[0]:
                found[modality.name] = values[0]
        return found

    def _encoder(self, encoder_hash: str) -> ContentEncoder:
        with self._turn:
            if encoder_hash not in self._open:
                path = bundle_path(self._root, encoder_hash)
                self._open[encoder_hash] = ContentEncoder.open(path, fastest_providers(), THREADS)
            return self._open[encoder_hash]
