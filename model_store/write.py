"""Writing a snapshot: staged out of sight, made durable, and published by one rename."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray
from safetensors import SafetensorError
from safetensors.numpy import save

from model_store import npy
from model_store.errors import InvalidContent, SnapshotCorrupt, StoreError
from model_store.files import remove_tree, sha256, storage_errors, sync
from model_store.ids import id_arrays
from model_store.items import ItemColumns, item_arrays, write_items_parquet, write_users_parquet
from model_store.lock import locked, try_lock
from model_store.manifest import CURRENT_VERSION, ArrayInfo, FileInfo, Manifest, ManifestDraft, check_relative_file
from model_store.seal import MANIFEST_FILE, snapshot_id, to_bytes
from model_store.snapshot import PARAMETERS_FILE, Snapshot
from model_store.version import VERSION

SNAPSHOTS, STAGING, LOCK = "snapshots", "staging", "LOCK"
STAGING_LOCK_SUFFIX = ".lock"


class SnapshotWriter:
    """Builds one snapshot; use as a context manager and call `publish` last.

    Whatever goes wrong inside the block, a full disk included, the staging folder is removed and nothing is visible.
    While it lives, the writer holds a lock beside its staging folder, by which `Store.prune` tells it from a dead one.
    `manifest` may be replaced before `publish`, by one with what was measured on the arrays as they are stored.
    """

    def __init__(self, root: Path, manifest: ManifestDraft, *, lock_timeout: float = 30.0) -> None:
        self._root, self.manifest, self._lock_timeout = root, manifest, lock_timeout
        self._staging = root / STAGING / f"{os.getpid()}-{secrets.token_hex(6)}"
        self._lock: int | None = None
        self._arrays: dict[str, ArrayInfo] = {}
        self._n_users: int | None = None
        self._n_items: int | None = None

    def __enter__(self) -> Self:
        with storage_errors(f"staging a snapshot in {self._root}"):
            for folder in (self._root, self._root / SNAPSHOTS, self._root / STAGING):
                folder.mkdir(parents=True, exist_ok=True)
            with locked(self._root / LOCK, self._lock_timeout):  # else prune could meet our lock file before its lock
                self._lock = try_lock(self._lock_file)
            (self._staging / "arrays").mkdir(parents=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        remove_tree(self._staging)
        with suppress(OSError):
            self._lock_file.unlink()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def add_array(self, name: str, array: NDArray[Any]) -> None:
        """Store an array under `name` (in C order, little-endian); raises InvalidContent, StoreFull."""
        array = np.asarray(array)
        self.stream_array(name, array.dtype, array.shape)[...] = array

    def stream_array(self, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[Any]]:
        """A zero-filled array on disk, to be filled block by block before `publish`, and not touched after it.

        Its space is reserved here, so that a full disk raises StoreFull now instead of killing the process later.
        """
        stored, file = npy.storable_dtype(dtype, name), f"arrays/{name}.npy"
        path = self._new_file(file)
        with storage_errors(f"writing {file}"):
            mapped = npy.create(path, stored, shape)
        try:
            self._arrays[name] = ArrayInfo.model_validate({"file": file, "dtype": stored.str, "shape": shape})
        except ValueError as error:
            raise InvalidContent(f"array {name!r}: {error}") from error
        return mapped

    def add_parameters(self, parameters: dict[str, NDArray[Any]]) -> None:
        """Store the model's parameters, all in one call; raises InvalidContent, StoreFull."""
        path = self._new_file(PARAMETERS_FILE)
        try:
            content = save({name: np.ascontiguousarray(parameters[name]) for name in sorted(parameters)})
        except (SafetensorError, KeyError, ValueError) as error:
            raise InvalidContent(f"{PARAMETERS_FILE}: expected arrays of numbers, found {error}") from error
        with storage_errors(f"writing {PARAMETERS_FILE}"):
            path.write_bytes(content)

    def add_users(self, user_ids: Sequence[str]) -> None:
        """Store the users' ids in row order; raises InvalidContent for a duplicate or impossible one."""
        arrays = id_arrays(user_ids, "user_ids")
        path = self._new_file("users.parquet")
        with storage_errors("writing users.parquet"):
            write_users_parquet(path, user_ids)
        self._n_users = len(user_ids)
        for name, array in arrays.items():
            self.add_array(name, array)

    def add_items(self, items: ItemColumns) -> None:
        """Store what is known about the items in row order; raises InvalidContent."""
        arrays = id_arrays(items.item_ids, "item_ids") | item_arrays(items)
        path = self._new_file("items.parquet")
        with storage_errors("writing items.parquet"):
            write_items_parquet(path, items)
        self._n_items = len(items.item_ids)
        for name, array in arrays.items():
            self.add_array(name, array)

    def add_file(self, name: str, content: bytes | Path) -> None:
        """Attach a file (`user_encoder.onnx`, `report.html`) from its content, or from a path to copy."""
        path = self._new_file(name)
        with storage_errors(f"writing {name}"):
            if isinstance(content, Path):
                with content.open("rb") as source, path.open("xb") as target:
                    while block := source.read(2**20):
                        target.write(block)
            else:
                path.write_bytes(content)

    def publish(self) -> str:
        """Seal, check and publish the snapshot; its id, the hash of its content, is the same for the same content.

        Raises InvalidContent if the parts do not make a valid snapshot, StoreFull, StoreBusy, StoreUnusable.
        """
        with storage_errors(f"publishing from {self._staging}"):
            manifest = self._manifest()
            data = to_bytes(manifest)
            identity = snapshot_id(data)
            (self._staging / MANIFEST_FILE).write_bytes(data)
            self._make_durable()
            try:
                Snapshot.open(self._staging, expected_id=identity)
            except SnapshotCorrupt as error:
                raise InvalidContent(f"not a valid snapshot: {error}") from error
            with locked(self._root / LOCK, self._lock_timeout):
                self._move_into_place(self._root / SNAPSHOTS / identity)
        return identity

    @property
    def _lock_file(self) -> Path:
        return self._staging.with_name(self._staging.name + STAGING_LOCK_SUFFIX)

    def _new_file(self, name: str) -> Path:
        try:
            path = self._staging / check_relative_file(name)
        except ValueError as error:
            raise InvalidContent(str(error)) from error
        if self._lock is None:
            raise StoreError(f"{name}: expected the writer to be entered, found it closed")
        if path.exists() or name == MANIFEST_FILE:
            raise InvalidContent(f"{name}: expected a new file, found one of that name")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _manifest(self) -> Manifest:
        if self._n_users is None or self._n_items is None:
            raise InvalidContent("expected add_users and add_items before publish, found one of them missing")
        files = {
            str(path.relative_to(self._staging)): {"bytes": path.stat().st_size, "sha256": sha256(path)}
            for path in sorted(self._staging.rglob("*"))
            if path.is_file()
        }
        try:
            return Manifest(
                **dict(self.manifest),
                format_version=CURRENT_VERSION,
                created_at=datetime.now(UTC).replace(microsecond=0),
                producer=f"magnet-rec {VERSION}",
                n_users=self._n_users,
                n_items=self._n_items,
                arrays=dict(sorted(self._arrays.items())),
                files={name: FileInfo.model_validate(info) for name, info in files.items()},
            )
        except ValueError as error:
            raise InvalidContent(str(error)) from error

    def _make_durable(self) -> None:
        folders = [self._staging]
        for path in sorted(self._staging.rglob("*")):
            if path.is_dir():
                folders.append(path)
            else:
                path.chmod(0o444)
                sync(path)
        for folder in reversed(folders):
            sync(folder)

    def _move_into_place(self, target: Path) -> None:
        if target.exists():
            try:
                Snapshot.open(target)
            except StoreError:  # a damaged copy of this very content: ours takes its place
                target.chmod(0o700)
                target.rename(self._staging.with_name(self._staging.name + "-damaged"))
            else:
                os.utime(target)  # published anew: prune counts it among the recent ones
                return
        self._staging.rename(target)
        make_read_only(target)
        sync(target.parent)
        remove_tree(self._staging.with_name(self._staging.name + "-damaged"))


def make_read_only(snapshot: Path) -> None:
    """Take write permission from the folders of a published snapshot (its files lost theirs in staging)."""
    for folder in (snapshot, *(path for path in snapshot.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
        sync(folder)
