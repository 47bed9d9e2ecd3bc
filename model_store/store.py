"""The store: published snapshots, and the pointer that says which one is served.

Reading takes no lock and writes nothing, so a read-only mount will do. Promoting, rolling back and pruning take the
store's lock; each is valid at every moment, whatever kills it.
"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from model_store.encoders.bundle import remove_leftovers
from model_store.errors import SnapshotCorrupt, SnapshotNotFound, StoreError
from model_store.files import remove_tree, storage_errors, sync
from model_store.lock import locked, try_lock
from model_store.manifest import Manifest
from model_store.media import MEDIA, prune_pictures
from model_store.pointer import CURRENT, Move, move, read_current, read_moves, way_back
from model_store.seal import is_snapshot_id
from model_store.snapshot import Snapshot, Verification, read_manifest
from model_store.write import LOCK, SNAPSHOTS, STAGING, STAGING_LOCK_SUFFIX, make_read_only


@dataclass(frozen=True)
class StoredSnapshot:
    """One line of the store's listing; `manifest` is None, and `problem` says why, where it cannot be read."""

    snapshot: str
    is_current: bool
    manifest: Manifest | None
    problem: str | None


class Store:
    """A directory of snapshots."""

    def __init__(self, root: Path, *, lock_timeout: float = 30.0) -> None:
        """Nothing is read or made here; `lock_timeout` (seconds) bounds the wait for other writers."""
        self.root, self._lock_timeout = root, lock_timeout

    def snapshots(self) -> list[StoredSnapshot]:
        """Every published snapshot, newest first, damaged ones too; only manifests are read."""
        try:
            current = self.current()
        except SnapshotCorrupt:
            current = None
        listed = []
        for name in self._ids():
            try:
                with storage_errors(f"reading {name}"):
                    listed.append(StoredSnapshot(name, name == current, read_manifest(self._path(name)), None))
            except StoreError as error:
                listed.append(StoredSnapshot(name, name == current, None, str(error)))
        return sorted(listed, key=_newest_first)

    def current(self) -> str | None:
        """The id that CURRENT holds, None before the first promotion; raises SnapshotCorrupt if it holds no id."""
        return read_current(self.root)

    def open(self, snapshot: str | None = None, *, verify: Verification = "hash") -> Snapshot:
        """Open a snapshot, or the current one; raises as `Snapshot.open`."""
        if snapshot is not None:
            return Snapshot.open(self._path(snapshot), verify)
        while True:
            if (current := self.current()) is None:
                raise SnapshotNotFound(f"{self.root}: no snapshot was promoted yet")
            try:
                return Snapshot.open(self._path(current), verify)
            except StoreError:
                if self.current() == current:  # else it moved on while we were reading, and pruning came after it
                    raise

    def verify(self, snapshot: str) -> None:
        """Read every byte of a snapshot; raises what is wrong with it."""
        self.open(snapshot, verify="hash")

    def promote(self, snapshot: str) -> None:
        """Verify a snapshot and make it the current one; raises what is wrong with it, and then nothing has moved."""
        with self._locked():
            path = self._path(snapshot)
            Snapshot.open(path)
            with storage_errors(f"promoting {path}"), suppress(PermissionError):
                make_read_only(path)  # already so, unless its publisher was killed after the rename
            current, intact = self._pointer()
            if current != snapshot or not intact:
                move(self.root, Move("promote", snapshot, current, time.time()))

    def rollback(self) -> str:
        """Make the snapshot current that was so before, passing over missing and damaged ones; its id.

        Again goes further back. Raises SnapshotNotFound if there is none left, and then nothing has moved.
        """
        with self._locked():
            current, _ = self._pointer()
            for candidate in way_back(read_moves(self.root, current), current):
                try:
                    Snapshot.open(self._path(candidate))
                except StoreError:
                    continue
                move(self.root, Move("rollback", candidate, current, time.time()))
                return candidate
        raise SnapshotNotFound(f"{self.root}: no earlier snapshot to roll back to")

    def earlier(self) -> list[str]:
        """What was current before the current snapshot, nearest first, unverified; nothing is locked or moved.

        Where the pointer is damaged, the snapshot that it named when it was last intact comes first.
        """
        current, intact = self._pointer()
        before = way_back(read_moves(self.root, current), current)
        return before if intact or current is None else [current, *before]

    def prune(self, keep: int) -> list[str]:
        """Remove all but the current snapshot and the `keep` others most recently published or current; their ids.

        Also removes what dead writers left behind, and pictures that nothing refers to any more unless some snapshot
        cannot be read. Processes that have a removed snapshot open keep reading it.
        """
        if keep < 0:
            raise StoreError(f"keep: expected 0 or more, found {keep}")
        with self._locked():
            current = self.current()
            if current is not None and current not in self._ids():
                raise SnapshotCorrupt(self.root / CURRENT, "the id of a snapshot in the store", current)
            current_until: dict[str | None, float] = {}
            for entry in read_moves(self.root, current):
                current_until |= {entry.previous: entry.time, entry.snapshot: entry.time}
            with storage_errors(f"pruning {self.root}"):
                used = {
                    name: max(self._path(name).stat().st_mtime, current_until.get(name, 0.0))
                    for name in self._ids()
                    if name != current
                }
                others = sorted(used, key=used.__getitem__, reverse=True)
                for name in others[keep:]:
                    self._remove(name)
                self._remove_leftovers()
                remove_leftovers(self.root, time.time())
                self._remove_pictures()
        return others[keep:]

    def _remove_pictures(self) -> None:
        if not (self.root / MEDIA).is_dir():
            return
        used: set[str | None] = set()
        try:
            for name in self._ids():
                snapshot = self.open(name, verify="size")
                used.update(snapshot.item(row).image for row in range(snapshot.n_items))
        except (StoreError, ValueError):  # a damaged id or record is no text, which `size` does not look at
            return  # which pictures that one refers to is not known
        prune_pictures(self.root, used, self.root / STAGING, time.time())

    def _remove(self, name: str) -> None:
        staging = self.root / STAGING
        staging.mkdir(exist_ok=True)
        path, doomed = self._path(name), staging / f"removed-{name}"
        remove_tree(doomed)
        path.chmod(0o700)  # a folder that changes its parent has to be writable
        path.rename(doomed)
        sync(path.parent)
        remove_tree(doomed)

    def _remove_leftovers(self) -> None:
        for file in self.root.glob(f".{CURRENT}.*"):  # of a promotion that died; ours is the lock, so nobody writes one
            file.unlink()
        staging = self.root / STAGING
        if not staging.is_dir():
            return
        held = set()
        for file in staging.glob(f"*{STAGING_LOCK_SUFFIX}"):
            if (descriptor := try_lock(file)) is None:
                held.add(file.name.removesuffix(STAGING_LOCK_SUFFIX))
            else:
                file.unlink(missing_ok=True)
                os.close(descriptor)
        for folder in staging.iterdir():
            if folder.is_dir() and folder.name not in held:
                remove_tree(folder)

    def _ids(self) -> list[str]:
        with storage_errors(f"reading {self.root}"):
            try:
                return sorted(path.name for path in (self.root / SNAPSHOTS).iterdir() if is_snapshot_id(path.name))
            except FileNotFoundError:
                return []

    def _path(self, snapshot: str) -> Path:
        if not is_snapshot_id(snapshot):
            raise SnapshotNotFound(f"expected a snapshot id (32 hexadecimal digits), found {snapshot[:80]!r}")
        return self.root / SNAPSHOTS / snapshot

    def _pointer(self) -> tuple[str | None, bool]:
        """What is current, or was when the pointer was last intact, and whether it is intact."""
        try:
            return self.current(), True
        except SnapshotCorrupt:
            moves = read_moves(self.root, current="")
            return (moves[-1].snapshot if moves else None), False

    def _locked(self) -> AbstractContextManager[None]:
        if not self.root.is_dir():
            raise SnapshotNotFound(f"{self.root}: expected a store, found nothing")
        return locked(self.root / LOCK, self._lock_timeout)


def _newest_first(entry: StoredSnapshot) -> tuple[float, str]:
    return (-entry.manifest.created_at.timestamp() if entry.manifest else 0.0, entry.snapshot)
