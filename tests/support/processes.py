"""What Linux says about processes that a test started."""

from __future__ import annotations

from pathlib import Path


def workers_of(parent: int) -> list[int]:
    """The worker processes of `magnet-serve --workers`; multiprocessing's own helper process is none."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def private_bytes(process: int) -> int:
    """Memory that a process has written to and shares with nobody; pages of files that it only read can be dropped."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))


def descriptors(process: int) -> int:
    """How many files, sockets and pipes a process has open."""
    return len(list(Path(f"/proc/{process}/fd").iterdir()))
