"""Item features from raw texts and pictures, with the very encoders that the service runs.

I items, d columns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from model_store.encoders import ContentEncoder
from model_store.encoders.runtime import Progress
from training.data.dataset import Dataset
from training.data.features import FeatureMatrix, sidecar_of
from training.encoders.catalogue import encoder_for
from training.encoders.feature_files import FeatureFiles, Sidecar
from training.encoders.inputs import DIGEST_BYTES, ItemInputs, ItemPictures, ItemTexts
from training.errors import DatasetError

logger = logging.getLogger(__name__)

StageProgress: TypeAlias = Callable[[str, int, int], None]
"""Called with the modality, the rows done so far and all rows to be encoded."""

_NAMED_UNREADABLE = 100


def extract_features(
    dataset: Dataset,
    store_root: Path,
    *,
    text: str | None,
    image: str | None,
    out: Path,
    progress: StageProgress | None = None,
) -> dict[str, FeatureMatrix]:
    """Encode the items' texts and pictures and write `text_feat.npy` and `image_feat.npy` with sidecars to `out`.

    `text` and `image` say which encoders (see `catalogue`), None leaves the modality out, as does a dataset without a
    single text or picture. Rows whose input and encoder are those of an earlier run in `out` are taken over. A picture
    that cannot be read is a missing row, counted and named in a warning and in the sidecar. Raises EncoderImportError,
    EncoderError, and DatasetError if `out` holds an array of another origin.
    """
    wanted: list[tuple[ItemInputs, str]] = []
    if text is not None:
        wanted.append((ItemTexts(dataset.items), text))
    if image is not None:
        wanted.append((ItemPictures(dataset.items), image))
    wanted = [(inputs, reference) for inputs, reference in wanted if inputs]
    for inputs, _ in wanted:
        FeatureFiles.of(out, inputs.kind).check_ours()
    return {
        inputs.modality: _extract(
            inputs,
            dataset.items.item_ids,
            ContentEncoder.open(encoder_for(store_root, reference, inputs.kind)),
            FeatureFiles.of(out, inputs.kind),
            progress,
        )
        for inputs, reference in wanted
    }


def check_made_features(dataset: Dataset, paths: Mapping[str, Path], *, data: Path) -> None:
    """Hold the arrays that were made here against the texts and pictures that the items have today.

    `paths` are those of `find_features`, `data` the dataset's directory. A picture that could not be read may still be
    there. Where no item has a picture any more, or the record of the inputs is gone, a warning has to do: such arrays
    come from another machine. Raises DatasetError where a row was made of something else than its item's.
    """
    for kind in (ItemTexts, ItemPictures):
        path = paths.get(kind.modality)
        if path is None or not sidecar_of(path).is_file():
            continue
        out = "" if path.parent == data else f" --out {path.parent}"
        again = f"run `magnet-train features --data {data}{out}` again"
        inputs, files = kind(dataset.items), FeatureFiles.of(path.parent, path.name.removesuffix("_feat.npy"))
        try:
            record = files.record()
        except DatasetError as error:
            raise DatasetError(files.values, f"{error}; {again}") from error
        if record is None or (kind is ItemPictures and not inputs):
            logger.warning("%s: whether its rows still belong to the items cannot be checked", path)
            continue
        differing = _differing(*record, inputs.digests())
        if len(differing):
            raise DatasetError(
                path,
                f"expected features of the items as they are, {len(differing)} of {dataset.n_items} rows are not of "
                f"their item's {inputs.kind}, the first is of item {dataset.items.item_ids[differing[0]]!r}; {again}",
            )


def _differing(made_of: NDArray[np.uint8], n_unreadable: int, digests: list[bytes | None]) -> NDArray[np.int64]:
    """Item rows that were made of another input; of nothing counts, if it is more rows than were unreadable."""
    before, now = (np.zeros((len(digests), DIGEST_BYTES), np.uint8) for _ in range(2))
    before[: len(made_of)] = made_of[: len(digests)]
    for row, digest in enumerate(digests):
        if digest is not None:
            now[row] = np.frombuffer(digest, np.uint8)
    other = (before != now).any(axis=1)
    not_made = other & ~before.any(axis=1)
    if int(not_made.sum()) <= n_unreadable:
        other &= ~not_made
    return np.flatnonzero(other)


def _extract(
    inputs: ItemInputs,
    item_ids: list[str],
    encoder: ContentEncoder,
    files: FeatureFiles,
    progress: StageProgress | None,
) -> FeatureMatrix:
    digests = inputs.digests()
    known = files.earlier_rows(encoder.hash, encoder.width)
    first_row: dict[bytes, int] = {}
    for row, digest in enumerate(digests):
        if digest is not None and digest not in known:
            first_row.setdefault(digest, row)
    rows = list(first_row.values())
    encoded, readable, reasons = inputs.encode(encoder, rows, _for_stage(inputs.modality, progress))
    known |= {digest: encoded[place] for place, digest in enumerate(first_row) if readable[place]}

    values = np.zeros((len(item_ids), encoder.width), np.float32)
    present = np.array([digest in known for digest in digests], np.bool_)
    kept = np.zeros((len(item_ids), DIGEST_BYTES), np.uint8)
    for row, digest in enumerate(digests):
        if digest is not None and digest in known:
            values[row] = known[digest]
            kept[row] = np.frombuffer(digest, np.uint8)
    unreadable = {
        item_ids[row]: reasons[first_row[digest]]
        for row, digest in enumerate(digests)
        if digest in first_row and first_row[digest] in reasons
    }
    if unreadable:
        item_id, reason = next(iter(unreadable.items()))
        logger.warning(
            "%d of %d items have a picture that cannot be read and count as items without, the first is %r: %s",
            *(len(unreadable), len(item_ids), item_id, reason),
        )
    sidecar = Sidecar(
        encoder=encoder.hash,
        encoder_name=encoder.name,
        made_at=datetime.now(UTC),
        items=len(item_ids),
        width=encoder.width,
        missing=int((~present).sum()),
        unreadable=dict(list(unreadable.items())[:_NAMED_UNREADABLE]),
        n_unreadable=len(unreadable),
        reused=int(present.sum() - readable.sum()),
    )
    files.write(values, kept, sidecar)
    return FeatureMatrix(inputs.modality, values, present, encoder.hash)


def _for_stage(modality: str, progress: StageProgress | None) -> Progress | None:
    return None if progress is None else lambda done, total: progress(modality, done, total)
