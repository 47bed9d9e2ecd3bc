"""Running a content encoder on ONNX Runtime, for `magnet-train features` and for new items in the service alike.

n rows, d columns (the encoder's width).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from model_store.encoders.bundle import GRAPH, TOKENIZER, read_description, verify_bundle
from model_store.encoders.description import EncoderDescription, ImageInput, Kind, TextInput
from model_store.encoders.inputs import load_tokenizer, pad, picture_input, tokenise
from model_store.encoders.session import Session, available_cores, open_session
from model_store.errors import EncoderError, PictureError

WINDOW: Final = 4096
"""Texts tokenised at a time, sorted by length among themselves: bounds memory, keeps padding small."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the rows done so far and all rows."""

OnUnreadable: TypeAlias = Callable[[int, PictureError], None]
"""Called with the row of a picture that cannot be decoded and the reason."""


class ContentEncoder:
    """One encoder, opened; safe to use from several threads.

    A row of the result depends on its own input alone: what else is in the batch changes it by less than 1e-5.
    """

    def __init__(
        self,
        encoder_hash: str,
        description: EncoderDescription,
        session: Session,
        tokenizer: Tokenizer | None,
        threads: int,
    ) -> None:
        self.hash: Final = encoder_hash
        self.description: Final = description
        self._session = session
        self._tokenizer = tokenizer
        self._threads = threads

    @classmethod
    def open(
        cls, path: Path, providers: Sequence[str] | None = None, threads: int | None = None, *, verify: bool = True
    ) -> ContentEncoder:
        """Open the bundle in the folder `path` (see `bundle_path`), checking its content against its name.

        `providers` are ONNX Runtime's, the CPU if None; `threads` work on one batch, all of this process's cores if
        None. Raises EncoderError for an altered bundle, an absent provider, and where onnxruntime is not installed.
        """
        if verify:
            verify_bundle(path)
        description = read_description(path)
        threads = threads or available_cores()
        session = open_session(path / GRAPH, providers, threads)
        tokenizer = load_tokenizer(path / TOKENIZER, description.text) if description.text is not None else None
        return cls(path.name, description, session, tokenizer, threads)

    @property
    def kind(self) -> Kind:
        """What it encodes: "text" or "image"."""
        return self.description.kind

    @property
    def name(self) -> str:
        """Its name for people."""
        return self.description.name

    @property
    def width(self) -> int:
        """Columns of every result, d."""
        return self.description.width

    def encode_texts(
        self, texts: Sequence[str | None], *, batch_size: int = 32, progress: Progress | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Encode texts: (n, d) values and (n,) presence; None and blank texts are absent, their rows zero.

        Raises EncoderError if this encoder takes pictures or its output is not what it should be.
        """
        spec, tokenizer = self.description.text, self._tokenizer
        if spec is None or tokenizer is None:
            raise EncoderError(f"encoder {self.name}: expected texts to go to a text encoder, found one of pictures")
        present = np.array([text is not None and not text.isspace() and text != "" for text in texts], np.bool_)
        values = np.zeros((len(texts), self.width), np.float32)
        done = len(texts) - int(present.sum())
        for rows, inputs in _text_batches(texts, np.flatnonzero(present), tokenizer, spec, batch_size):
            values[rows] = self._run(inputs)
            done += len(rows)
            if progress is not None:
                progress(done, len(texts))
        return values, present

    def encode_images(
        self,
        images: Sequence[Path | bytes | None],
        *,
        batch_size: int = 32,
        progress: Progress | None = None,
        on_unreadable: OnUnreadable | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Encode pictures, files or their content: (n, d) values and (n,) presence; None is absent, its row zero.

        A picture that cannot be decoded raises PictureError, unless `on_unreadable` is given: then that is called and
        the row is absent. Raises EncoderError if this encoder takes texts or its output is not what it should be.
        """
        spec = self.description.image
        if spec is None:
            raise EncoderError(f"encoder {self.name}: expected pictures to go to an image encoder, found one of texts")
        present = np.array([image is not None for image in images], np.bool_)
        values = np.zeros((len(images), self.width), np.float32)
        rows = np.flatnonzero(present)
        with ThreadPoolExecutor(self._threads) as pool:  # Pillow decodes outside the interpreter's lock
            for start in range(0, len(rows), batch_size):
                batch = rows[start : start + batch_size]
                decoded = list(pool.map(lambda row: _decode(images[row], spec, on_unreadable is None), batch))
                for row, outcome in zip(batch, decoded, strict=True):
                    if isinstance(outcome, PictureError) and on_unreadable is not None:
                        present[row] = False
                        on_unreadable(int(row), outcome)
                kept = [outcome for outcome in decoded if not isinstance(outcome, PictureError)]
                if kept:
                    values[batch[present[batch]]] = self._run({spec.input: np.stack(kept)})
                if progress is not None:
                    progress(len(images) - len(rows) + start + len(batch), len(images))
        return values, present

    def _run(self, inputs: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        """One batch through the graph, (n, d), scaled as the description says."""
        description = self.description
        n = len(next(iter(inputs.values())))
        try:
            output = np.asarray(self._session.run([description.output], inputs)[0])
        except Exception as error:  # ONNX Runtime's own classes share no base but this
            raise EncoderError(f"encoder {self.name} failed on a batch of {n}: {error}") from error
        if output.shape != (n, self.width) or output.dtype != np.float32:
            raise EncoderError(
                f"encoder {self.name}: expected float32 of shape {(n, self.width)}, found {output.dtype} {output.shape}"
            )
        if not np.isfinite(output).all():
            raise EncoderError(f"encoder {self.name}: expected finite numbers, found NaN or infinity in a batch of {n}")
        if description.normalise == "l2":
            output = output / np.maximum(np.linalg.norm(output, axis=1, keepdims=True), np.float32(1e-12))
        return output


def _text_batches(
    texts: Sequence[str | None], rows: NDArray[np.intp], tokenizer: Tokenizer, spec: TextInput, batch_size: int
) -> Iterator[tuple[NDArray[np.intp], dict[str, NDArray[np.int64]]]]:
    """Rows and graph inputs of batches of similar length, the longest first so that memory is asked for once."""
    for start in range(0, len(rows), WINDOW):
        window = rows[start : start + WINDOW]
        encodings = tokenise([texts[row] or "" for row in window], tokenizer, spec)
        order = np.argsort([-len(encoding.ids) for encoding in encodings], kind="stable")
        for first in range(0, len(order), batch_size):
            chosen = order[first : first + batch_size]
            yield window[chosen], pad([encodings[index] for index in chosen], spec)


def _decode(source: Path | bytes | None, spec: ImageInput, strict: bool) -> NDArray[np.float32] | PictureError:
    assert source is not None
    try:
        return picture_input(source, spec)
    except PictureError as error:
        if strict:
            raise
        return error
