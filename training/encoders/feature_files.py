"""Feature files in a directory: `<modality>_feat.npy`, what it was made from, and a sidecar that says how.

`<modality>_feat.inputs.npy` holds one digest per row, so that the next run encodes only what is new. The sidecar
`<modality>_feat.json` is written last and removed first: where it is, the two arrays belong together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from model_store.files import replace_file, sha256, storage_errors, sync
from training.encoders.inputs import DIGEST_BYTES
from training.errors import DatasetError


class Sidecar(BaseModel):
    """How a feature array was made."""

    model_config = ConfigDict(extra="forbid")

    encoder: str
    """Hash of the encoder in the store."""
    encoder_name: str
    made_at: datetime
    items: int
    """Rows of the array, in the order of the dataset's items."""
    width: int
    missing: int
    """Rows of zeros: items with nothing to encode, and those with something that cannot be read."""
    unreadable: dict[str, str]
    """Items whose picture was there and could not be read, with the reason; the first hundred."""
    n_unreadable: int
    reused: int
    """Rows taken over from the previous run, or from an item with the same input."""
    values_sha256: str = ""
    inputs_sha256: str = ""


@dataclass(frozen=True)
class FeatureFiles:
    """The three files of one modality."""

    values: Path
    inputs: Path
    sidecar: Path

    @classmethod
    def of(cls, directory: Path, stem: str) -> FeatureFiles:
        """Files of `stem` ("text" or "image") in a directory."""
        return cls(*(directory / f"{stem}_feat{ending}" for ending in (".npy", ".inputs.npy", ".json")))

    def check_ours(self) -> None:
        """Raise DatasetError if writing here would destroy an array that somebody else made."""
        if self.values.exists() and not self.sidecar.exists():
            raise DatasetError(
                self.values,
                "expected none, or one that this command made; this one is another's: move it or use --out",
            )

    def earlier_rows(self, encoder_hash: str, width: int) -> dict[bytes, NDArray[np.float32]]:
        """Rows of an earlier run with the same encoder by the digest of their input; empty if anything is amiss."""
        try:
            sidecar = Sidecar.model_validate_json(self.sidecar.read_bytes())
            hashes = (encoder_hash, sha256(self.values), sha256(self.inputs))
            if (sidecar.encoder, sidecar.values_sha256, sidecar.inputs_sha256) != hashes:
                return {}
            values, inputs = np.load(self.values, mmap_mode="r"), np.load(self.inputs)
        except (OSError, ValueError):
            return {}
        if values.shape != (len(inputs), width) or inputs.shape[1:] != (DIGEST_BYTES,) or inputs.dtype != np.uint8:
            return {}
        return {inputs[row].tobytes(): values[row] for row in np.flatnonzero(inputs.any(axis=1))}

    def record(self) -> tuple[NDArray[np.uint8], int] | None:
        """What the rows were made of: digests (n, DIGEST_BYTES), zero where of nothing, and how many were unreadable.

        None where the files do not say. Raises DatasetError where they are not those of one extraction.
        """
        try:
            sidecar = Sidecar.model_validate_json(self.sidecar.read_bytes())
        except ValueError:
            return None  # of another version, or by hand
        if not self.inputs.is_file():
            return None
        if sidecar.inputs_sha256 != sha256(self.inputs):
            raise DatasetError(self.inputs, f"expected the record that {self.sidecar.name} tells of, found another")
        inputs: NDArray[np.uint8] = np.load(self.inputs)
        return inputs, sidecar.n_unreadable

    def write(self, values: NDArray[np.float32], inputs: NDArray[np.uint8], sidecar: Sidecar) -> None:
        """Replace the three files; the sidecar's hashes are filled in here. Raises StoreFull or StoreUnusable."""
        with storage_errors(f"writing {self.values}"):
            self.values.parent.mkdir(parents=True, exist_ok=True)
            self.sidecar.unlink(missing_ok=True)
            hashes = {"values_sha256": _save(self.values, values), "inputs_sha256": _save(self.inputs, inputs)}
            content = sidecar.model_copy(update=hashes).model_dump_json(indent=2)
            replace_file(self.sidecar, content.encode())


def _save(path: Path, array: NDArray[np.generic]) -> str:
    """Write an array beside its place, move it there, and return the SHA-256 of the file."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            np.save(file, array)
        sync(partial)
        content_hash = sha256(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return content_hash
