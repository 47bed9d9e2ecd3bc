"""Content features: one matrix per modality with a mask of what is missing."""

from __future__ import annotations

import json
import logging
import tokenize
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from model_store.manifest import ITEM_ITEM, Name
from training.errors import DatasetError

logger = logging.getLogger(__name__)

MODALITY_OF_STEM = {"image": "visual", "text": "textual"}
"""MMRec's file names; any other `<modality>_feat.npy` names its modality itself."""
RESERVED = ("behaviour", "collaborative", ITEM_ITEM)
"""What answers call a user's and other people's doings, as modality or as term."""
BLOCK_ROWS = 65_536
DAMAGED_HEADER = (ValueError, TypeError, EOFError, OverflowError, SyntaxError, tokenize.TokenError)
"""What NumPy lets through when it parses the header of a damaged file."""


_NAME: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(frozen=True)
class FeatureMatrix:
    """One modality of all items."""

    name: str
    """"visual", "textual", or whatever the file is called before `_feat.npy`."""
    values: NDArray[np.float32]
    """(I, d); rows of missing items are zero."""
    present: NDArray[np.bool_]
    """(I,) False where the item has no features of this modality."""
    encoder: str | None = None
    """Hash of the content encoder that made the features, when known."""


def find_features(*directories: Path) -> dict[str, Path]:
    """Return the feature file of each modality; a later directory takes precedence over an earlier one.

    Raises DatasetError where two files of one directory are the same modality, and on a name that no snapshot can have.
    """
    found: dict[str, Path] = {}
    for directory in directories:
        for path in sorted(directory.glob("*_feat.npy")):
            stem = path.name.removesuffix("_feat.npy")
            name = MODALITY_OF_STEM.get(stem, stem)
            _check_name(path, name)
            if name in found and found[name].parent == directory:
                raise DatasetError(directory, f"{found[name].name} and {path.name} are both the modality {name!r}")
            found[name] = path
    return dict(sorted(found.items()))


def _check_name(path: Path, name: str) -> None:
    if name in RESERVED:
        raise DatasetError(path, f"expected another name of a modality, {name!r} is what people did")
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        raise DatasetError(
            path,
            "expected a modality's name of 1 to 100 letters from a to z, digits, '_', '.' and '-', a letter or digit "
            f"first, found {name!r}",
        ) from error


def open_features(path: Path) -> NDArray[np.floating]:
    """Map a feature array (n, d) without reading it. Raises DatasetError on what is not such an array."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # NumPy's advice on headers it had to guess at
            array: NDArray[np.floating] = open_memmap(path, mode="r")
    except (*DAMAGED_HEADER, OSError) as error:
        raise DatasetError(path, f"expected a NumPy array file: {error}") from error
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind != "f":
        raise DatasetError(path, f"expected floats of shape (items, width), found {array.dtype} of shape {array.shape}")
    return array


def sidecar_of(path: Path) -> Path:
    """Return where `magnet-train features` says how it made the array at `path`."""
    return path.with_suffix(".json")


def read_features(name: str, path: Path, n_items: int) -> FeatureMatrix:
    """Read one modality; rows beyond the file's own, up to `n_items`, are missing ones.

    A row that is all zero or holds a NaN is missing. Raises DatasetError on an infinite value, naming row and column.
    """
    array = open_features(path)
    values = np.zeros((n_items, array.shape[1]), dtype=np.float32)
    present = np.zeros(n_items, dtype=np.bool_)
    torn: list[int] = []  # rows with some values and some NaN: more likely damage than a missing item
    for start in range(0, len(array), BLOCK_ROWS):
        with np.errstate(over="ignore"):  # a double beyond single precision turns infinite and is caught as such
            block = np.array(array[start : start + BLOCK_ROWS], dtype=np.float32)
        infinite = np.isinf(block)
        if infinite.any():
            row, column = (int(index) for index in np.argwhere(infinite)[0])
            problem = f"expected a finite number in single precision, found {array[start + row, column]}"
            raise DatasetError(path, problem, place=f"row {start + row}", column=str(column))
        absent = np.isnan(block)
        with_nan = absent.any(axis=1)
        torn.extend((start + np.flatnonzero(with_nan & ~absent.all(axis=1))).tolist())
        here = ~with_nan & block.any(axis=1)
        block[~here] = 0
        values[start : start + len(block)] = block
        present[start : start + len(block)] = here
    if torn:
        logger.warning(
            "%s: %d rows are NaN in part and count as missing, the first is row %d", path, len(torn), torn[0]
        )
    return FeatureMatrix(name, values, present, _encoder_of(path))


def _encoder_of(path: Path) -> str | None:
    """Return the hash in the sidecar that `magnet-train features` writes, None where there is no sidecar."""
    sidecar = sidecar_of(path)
    if not sidecar.is_file():
        return None
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(sidecar, f"expected JSON: {error}") from error
    encoder = content.get("encoder") if isinstance(content, dict) else None
    if not isinstance(encoder, str):
        raise DatasetError(sidecar, "expected an object with the encoder's hash under 'encoder'")
    return encoder
