"""The contract between trainer and service: snapshot format, store, reference scoring. No torch, no web."""

from model_store.errors import (
    InvalidContent,
    InvalidEvent,
    SnapshotCorrupt,
    SnapshotNotFound,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreUnusable,
    UnsupportedVersion,
)
from model_store.items import ItemColumns, ItemInfo
from model_store.manifest import (
    CURRENT_VERSION,
    OLDEST_READABLE,
    Candidates,
    Manifest,
    ManifestDraft,
    Modality,
    Term,
    Training,
)
from model_store.snapshot import Snapshot
from model_store.store import Store
from model_store.write import SnapshotWriter

__all__ = [
    "CURRENT_VERSION",
    "OLDEST_READABLE",
    "Candidates",
    "InvalidContent",
    "InvalidEvent",
    "ItemColumns",
    "ItemInfo",
    "Manifest",
    "ManifestDraft",
    "Modality",
    "Snapshot",
    "SnapshotCorrupt",
    "SnapshotNotFound",
    "SnapshotWriter",
    "Store",
    "StoreBusy",
    "StoreError",
    "StoreFull",
    "StoreUnusable",
    "Term",
    "Training",
    "UnsupportedVersion",
]
