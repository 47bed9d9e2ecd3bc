"""Altered copies of a snapshot whose checksums fit: what a faulty or hostile writer could produce.

The seal and the id are computed here as FORMAT.md says, without the package's own code.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def writable_copy(snapshot: Path, target: Path) -> Path:
    """A copy of a published snapshot that can be changed, in a folder of the same name below `target`."""
    copied = target / snapshot.name
    shutil.copytree(snapshot, copied)
    for path in (copied, *copied.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return copied


def seal_of(data: bytes) -> str:
    """SHA-256 of the manifest's bytes without the line of the seal."""
    return hashlib.sha256(_without(data, ["seal"])).hexdigest()


def id_of(data: bytes) -> str:
    """The first 32 digits of the SHA-256 of the manifest's bytes without seal, date and producer."""
    return hashlib.sha256(_without(data, ["seal", "created_at", "producer"])).hexdigest()[:32]


def forge(copied: Path, change: Callable[[Any], Any] = lambda fields: fields) -> str:
    """Apply `change` to the copy's manifest, and make sizes, checksums and seal fit; the id that fits it now."""
    file = copied / "manifest.json"
    fields = json.loads(file.read_bytes())
    for name, info in fields["files"].items():
        content = (copied / name).read_bytes()
        info.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    fields = change(fields) or fields
    data = _lines({key: value for key, value in fields.items() if key != "seal"} | {"seal": ""})
    data = data.replace(b'"seal":""', f'"seal":"{seal_of(data)}"'.encode())
    file.write_bytes(data)
    return id_of(data)


def _lines(fields: dict[str, Any]) -> bytes:
    rows = [f"{json.dumps(key)}:{json.dumps(fields[key])}" for key in sorted(fields)]
    return ("{\n" + ",\n".join(rows) + "\n}\n").encode()


def _without(data: bytes, keys: list[str]) -> bytes:
    kept = [line for line in data.split(b"\n") if not any(line.startswith(f'"{key}":'.encode()) for key in keys)]
    return b"\n".join(kept)
