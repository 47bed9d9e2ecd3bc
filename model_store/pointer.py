"""Which snapshot is current, and which were before: the files CURRENT and HISTORY.

A promotion is first written to HISTORY with the snapshot it replaces, then done by replacing CURRENT. If the process
dies between the two, the next entry (or CURRENT) still names what was to be replaced, and the entry is ignored.
Callers hold the store's lock to write.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from model_store.errors import SnapshotCorrupt
from model_store.files import replace_file, storage_errors, sync
from model_store.seal import ID_LENGTH, is_snapshot_id

CURRENT, HISTORY = "CURRENT", "HISTORY"


@dataclass(frozen=True)
class Move:
    """One line of HISTORY."""

    action: str
    """`promote` or `rollback`."""
    snapshot: str
    """What became current."""
    previous: str | None
    """What had been current."""
    time: float
    """Unix seconds; for people and for `prune`, never for deciding the order."""


def read_current(root: Path) -> str | None:
    """The id in CURRENT, None if there is no such file; raises SnapshotCorrupt if it holds something else."""
    with storage_errors(f"reading {root / CURRENT}"):
        try:
            with (root / CURRENT).open("rb") as file:
                content = file.read(ID_LENGTH + 2)
        except FileNotFoundError:
            return None
    text = content.decode("ascii", "replace")
    if not text.endswith("\n") or not is_snapshot_id(text[:-1]):
        raise SnapshotCorrupt(CURRENT, f"{ID_LENGTH} hexadecimal digits and a line end", repr(text))
    return text[:-1]


def move(root: Path, entry: Move) -> None:
    """Make `entry.snapshot` current, durably; raises StoreFull, StoreUnusable, and then nothing has moved."""
    with storage_errors(f"moving {root / CURRENT}"):
        _append(root / HISTORY, json.dumps(asdict(entry)).encode() + b"\n")
        replace_file(root / CURRENT, entry.snapshot.encode() + b"\n")


def read_moves(root: Path, current: str | None) -> list[Move]:
    """The moves that took effect, oldest first, without damaged lines and those whose process died in between."""
    with storage_errors(f"reading {root / HISTORY}"):
        try:
            lines = (root / HISTORY).read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
    moves = [entry for entry in map(_parse, lines) if entry is not None]
    following = [entry.previous for entry in moves[1:]] + [current]
    return [
        entry
        for entry, then in zip(moves, following, strict=True)
        if then != entry.previous or entry.snapshot == entry.previous
    ]


def way_back(moves: list[Move], current: str | None) -> list[str]:
    """Snapshots to roll back to, nearest first: what was current before, with rolled-back stretches cut out."""
    stack: list[str] = []
    for entry in moves:
        if entry.action == "rollback" and entry.snapshot in stack:
            del stack[len(stack) - stack[::-1].index(entry.snapshot) :]
        else:
            if entry.previous is not None and stack[-1:] != [entry.previous]:
                stack.append(entry.previous)
            stack.append(entry.snapshot)
    while stack and stack[-1] == current:
        stack.pop()
    return list(dict.fromkeys(reversed(stack)))


def _append(path: Path, line: bytes) -> None:
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        end = os.lseek(descriptor, 0, os.SEEK_END)
        torn = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
        if torn:  # a line that was being written when its process died
            end = os.pread(descriptor, end, 0).rfind(b"\n") + 1
            os.ftruncate(descriptor, end)
        while line:
            written = os.pwrite(descriptor, line, end)
            line, end = line[written:], end + written
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        sync(path.parent)


def _parse(line: bytes) -> Move | None:
    try:
        fields = json.loads(line)
        entry = Move(fields["action"], fields["snapshot"], fields["previous"], float(fields["time"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    ids = [entry.snapshot] + ([] if entry.previous is None else [entry.previous])
    return entry if all(isinstance(known, str) and is_snapshot_id(known) for known in ids) else None
