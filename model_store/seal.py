"""Manifest to bytes and back: one top-level key per line, so that hashing needs no canonical JSON (see FORMAT.md).

The *seal* is the hash of all lines but its own: no byte of the manifest can change unnoticed. The *id* of a snapshot is
the hash of the lines that are content, so that the same content published twice has one id.
"""

from __future__ import annotations

import hashlib
import json
import re

from pydantic import ValidationError
from pydantic_core import from_json

from model_store.errors import InvalidContent, SnapshotCorrupt, UnsupportedVersion
from model_store.manifest import CURRENT_VERSION, OLDEST_READABLE, Manifest

MANIFEST_FILE = "manifest.json"
MAX_MANIFEST_BYTES = 16 * 2**20
ID_LENGTH = 32

_VOLATILE = ("created_at", "producer")
_ID = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")


def is_snapshot_id(text: str) -> bool:
    """Whether `text` has the form of a snapshot id (and can therefore be a folder's name)."""
    return _ID.fullmatch(text) is not None


def to_bytes(manifest: Manifest) -> bytes:
    """Write the manifest with its seal; raises InvalidContent for what JSON cannot say (NaN)."""
    fields = manifest.model_dump(mode="json")
    try:
        unsealed = _lines(fields)
        return _lines(fields | {"seal": _hash_without(unsealed, ("seal",))})
    except ValueError as error:
        raise InvalidContent(f"{MANIFEST_FILE}: {error}") from error


def snapshot_id(data: bytes) -> str:
    """The id of the snapshot whose manifest file has the content `data`."""
    return _hash_without(data, ("seal", *_VOLATILE))[:ID_LENGTH]


def from_bytes(data: bytes, where: str = MANIFEST_FILE) -> Manifest:
    """Read and check a manifest file's content; raises SnapshotCorrupt or UnsupportedVersion."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise SnapshotCorrupt(where, f"at most {MAX_MANIFEST_BYTES} bytes", f"{len(data)}")
    try:
        fields = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise SnapshotCorrupt(where, "a JSON object", str(error)) from error
    if not isinstance(fields, dict):
        raise SnapshotCorrupt(where, "a JSON object", type(fields).__name__)
    version = fields.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise SnapshotCorrupt(where, "an integer format_version", repr(version)[:80])
    if not OLDEST_READABLE <= version <= CURRENT_VERSION:
        raise UnsupportedVersion(
            f"{where}: expected format_version {OLDEST_READABLE} to {CURRENT_VERSION}, found {version}; "
            "read it with another version of this package, or export it again"
        )
    seal = _hash_without(data, ("seal",))
    if (found := fields.pop("seal", None)) != seal:
        raise SnapshotCorrupt(where, f"the seal {seal}", repr(found)[:80])
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SnapshotCorrupt(where, f"a manifest of version {version}", f"{place}: {first['msg']}"[:500]) from error


def _lines(fields: dict[str, object]) -> bytes:
    rows = [
        f"{json.dumps(key)}:{json.dumps(fields[key], ensure_ascii=False, allow_nan=False)}" for key in sorted(fields)
    ]
    return ("{\n" + ",\n".join(rows) + "\n}\n").encode()


def _hash_without(data: bytes, keys: tuple[str, ...]) -> str:
    starts = tuple(f'"{key}":'.encode() for key in keys)
    kept = [line for line in data.split(b"\n") if not line.startswith(starts)]
    return hashlib.sha256(b"\n".join(kept)).hexdigest()
