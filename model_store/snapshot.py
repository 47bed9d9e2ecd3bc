"""Reading a snapshot: validation first, then memory-mapped arrays and look-ups that processes share."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from model_store.errors import SnapshotCorrupt, SnapshotNotFound
from model_store.files import regular_size, sha256, storage_errors
from model_store.ids import IdTable
from model_store.items import ItemInfo, ItemTable
from model_store.layout import check_layout, check_values
from model_store.manifest import Manifest
from model_store.npy import open_mapped
from model_store.seal import MANIFEST_FILE, MAX_MANIFEST_BYTES, from_bytes, snapshot_id

Verification = Literal["size", "hash"]
"""`size`: manifest seal, sizes, array headers, the parameters' SHA-256, layout. `hash`: also every file's SHA-256 and
the bounds of numbers.
"""

PARAMETERS_FILE = "parameters.safetensors"
CANDIDATE_INDEX_FILE = "candidates.faiss"
"""The candidate index of a large catalogue, built at export."""


class Snapshot:
    """An open snapshot. Everything is mapped at opening, so it stays readable even if its folder is removed later.

    Read-only and without mutable state: threads may share it, and forked processes share its pages.
    """

    def __init__(
        self,
        path: Path,
        snapshot: str,
        manifest: Manifest,
        arrays: Mapping[str, NDArray[Any]],
        parameters: Mapping[str, NDArray[Any]],
    ) -> None:
        """Use `Snapshot.open` (or `Store.open`); this only assembles what was already checked."""
        self.path, self.id, self.manifest = path, snapshot, manifest
        self.n_users, self.n_items = manifest.n_users, manifest.n_items
        self.arrays = MappingProxyType(dict(arrays))
        self.parameters = MappingProxyType(dict(parameters))
        self.user_ids, self.item_ids, self.categories = (
            IdTable(arrays[f"{kind}_bytes"], arrays[f"{kind}_offsets"], arrays[f"{kind}_order"])
            for kind in ("user_ids", "item_ids", "categories")
        )
        self.items = ItemTable(self.item_ids, arrays["item_records_offsets"], arrays["item_records_bytes"])

    @classmethod
    def open(cls, path: Path, verify: Verification = "hash", *, expected_id: str | None = None) -> Snapshot:
        """Open the snapshot in the folder `path`, whose name is its id unless `expected_id` says otherwise.

        Raises SnapshotNotFound, SnapshotCorrupt, UnsupportedVersion, or StoreUnusable if files cannot be read.
        """
        with storage_errors(f"reading {path}"):
            manifest = read_manifest(path, expected_id)
            _check_files(path, manifest, verify)
            arrays = {name: open_mapped(path / info.file, info) for name, info in manifest.arrays.items()}
            parameters = _read_parameters(path, manifest)
        check_layout(manifest, {name: array.shape for name, array in parameters.items()})
        snapshot = cls(path, expected_id or path.name, manifest, arrays, parameters)
        if verify == "hash":
            check_values(snapshot)
            for kind, table in (
                ("user_ids", snapshot.user_ids),
                ("item_ids", snapshot.item_ids),
                ("categories", snapshot.categories),
            ):
                table.check(f"arrays/{kind}")
        return snapshot

    def has(self, name: str) -> bool:
        """Whether there is an array `name`."""
        return name in self.arrays

    def array(self, name: str) -> NDArray[Any]:
        """A read-only memory map; raises KeyError for a name that `has` denies."""
        return self.arrays[name]

    def parameter(self, name: str) -> NDArray[Any]:
        """A model parameter; raises KeyError for an unknown name."""
        return self.parameters[name]

    def user_row(self, user_id: str) -> int | None:
        """The row of a user, None if unknown."""
        return self.user_ids.row_of(user_id)

    def item_row(self, item_id: str) -> int | None:
        """The row of an item, None if unknown."""
        return self.item_ids.row_of(item_id)

    def user_id(self, user_row: int) -> str:
        """The id of a user's row."""
        return self.user_ids.id_of(user_row)

    def item_id(self, item_row: int) -> str:
        """The id of an item's row."""
        return self.item_ids.id_of(item_row)

    def item(self, item_row: int) -> ItemInfo:
        """Title, categories, description and picture of an item; raises IndexError for a row outside 0..I-1."""
        return self.items.item(item_row)

    def history(self, user_row: int) -> NDArray[np.int32]:
        """Item rows (n,) of a user's training history, oldest first; raises IndexError for a row outside 0..U-1."""
        if not 0 <= user_row < self.n_users:
            raise IndexError(f"expected a user row in 0..{self.n_users - 1}, found {user_row}")
        start, end = self.array("history_indptr")[user_row : user_row + 2]
        return self.array("history_items")[start:end]

    def rows_in_category(self, category: str) -> NDArray[np.int32]:
        """Item rows (n,), ascending, of a category; empty for an unknown one."""
        row = self.categories.row_of(category)
        if row is None:
            return np.zeros(0, np.int32)
        start, end = self.array("category_indptr")[row : row + 2]
        return self.array("category_items")[start:end]

    def file(self, name: str) -> Path | None:
        """Path of an attached file (`user_encoder.onnx`, `report.html`), None if the snapshot has none of that name."""
        return self.path / name if name in self.manifest.files else None


def read_manifest(path: Path, expected_id: str | None = None) -> Manifest:
    """The manifest of the snapshot in `path`, its seal and id checked; raises as `Snapshot.open`."""
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise SnapshotCorrupt(path.name, "a folder", "something else, or a link")
    except FileNotFoundError:
        raise SnapshotNotFound(f"no snapshot {path.name} in {path.parent}") from None
    file = path / MANIFEST_FILE
    if (size := regular_size(file, MANIFEST_FILE)) > MAX_MANIFEST_BYTES:
        raise SnapshotCorrupt(MANIFEST_FILE, f"at most {MAX_MANIFEST_BYTES} bytes", f"{size}")
    data = file.read_bytes()
    manifest = from_bytes(data)
    if (found := snapshot_id(data)) != (expected := expected_id or path.name):
        raise SnapshotCorrupt(MANIFEST_FILE, f"the content of {expected}", f"that of {found}")
    return manifest


def _check_files(path: Path, manifest: Manifest, verify: Verification) -> None:
    for folder in {folder for name in manifest.files for folder in PurePosixPath(name).parents}:
        if (path / folder).is_symlink():
            raise SnapshotCorrupt(str(folder), "a folder", "a link")
    for name, info in manifest.files.items():
        if (size := regular_size(path / name, name)) != info.bytes:
            raise SnapshotCorrupt(name, f"{info.bytes} bytes", f"{size}")
    # The parameters' own header is no part of the manifest, and there are few of them: always.
    for name in manifest.files if verify == "hash" else {PARAMETERS_FILE} & manifest.files.keys():
        if (found := sha256(path / name)) != manifest.files[name].sha256:
            raise SnapshotCorrupt(name, f"SHA-256 {manifest.files[name].sha256}", found)
    if verify == "hash":
        present = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_symlink() or not file.is_dir()}
        if extra := present - manifest.files.keys() - {MANIFEST_FILE}:
            raise SnapshotCorrupt(sorted(extra)[0], "no such file in the snapshot", "one")


def _read_parameters(path: Path, manifest: Manifest) -> dict[str, NDArray[Any]]:
    if PARAMETERS_FILE not in manifest.files:
        return {}
    try:
        parameters: dict[str, NDArray[Any]] = load_file(path / PARAMETERS_FILE)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise SnapshotCorrupt(PARAMETERS_FILE, "a safetensors file", str(error)[:200]) from error
    for array in parameters.values():
        array.flags.writeable = False
    return parameters
