"""Feeds damaged files to every reader, in a process with little memory: `hostile_files.py SEED COUNT WORKDIR`.

Prints one JSON object per reader: how many inputs were tried and refused, and how long the slowest took. Whatever is
not the reader's own kind of error ends the process, as does a gigabyte of memory or ten seconds for one input.
"""

from __future__ import annotations

import io
import json
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from model_store.errors import StoreError
from model_store.events import read_events, write_events
from model_store.pictures import decode_picture
from model_store.snapshot import Snapshot
from tests.support.events import event
from tests.support.forged import writable_copy
from tests.support.mutations import mutated
from tests.support.tiny_snapshot import write_tiny_pair_snapshot
from training.data.dataset import load_dataset
from training.errors import TrainingError

MEMORY_BYTES = 2**30
SECONDS = 10
SEALED = {"snapshot"}
"""Readers that must notice every change."""
Read = Callable[[], object]


def interactions(form: str, work: Path) -> tuple[list[Path], Read]:
    """A dataset directory whose interactions are `form`, with feature arrays and an item table."""
    users, items = [f"u{n % 7}" for n in range(60)], [f"i{n % 11}" for n in range(60)]
    ratings, times = [float(n % 5 + 1) for n in range(60)], [float(n) for n in range(60)]
    columns = {"user_id": users, "item_id": items, "rating": ratings, "timestamp": times}
    if form == "parquet":
        file = work / "interactions.parquet"
        pq.write_table(pa.table(columns), file)
    else:
        tab = "\t" if form == "inter" else ","
        file = work / ("x.inter" if form == "inter" else "interactions.csv")
        lines = [tab.join(columns), *(tab.join(map(str, row)) for row in zip(*columns.values(), strict=True))]
        file.write_text("\n".join(lines) + "\n")
    return [file], lambda: load_dataset(work)


def features(work: Path) -> tuple[list[Path], Read]:
    """A dataset whose feature array and item table are damaged."""
    _, read = interactions("inter", work)
    array, table = work / "image_feat.npy", work / "items.csv"
    np.save(array, np.random.default_rng(0).normal(size=(11, 4)).astype(np.float32))
    table.write_text("item_id,title,categories\n" + "".join(f'i{n},"Thing, {n}",a|b\n' for n in range(11)))
    return [array, table], read


def events(work: Path) -> tuple[list[Path], Read]:
    """A file of events."""
    file = work / "events.jsonl"
    write_events(file, [event(f"u{n}", "i", "rating", value=1.0, recommendation_id="r") for n in range(20)])
    return [file], lambda: sum(1 for _ in read_events(file))


def snapshot(work: Path) -> tuple[list[Path], Read]:
    """Every file of a snapshot, opened as at a start that checks sizes only, and as it is activated."""
    folder = work / "store" / "snapshots" / write_tiny_pair_snapshot(work / "store", n_items=30)
    copied = writable_copy(folder, work / "copy")

    def read() -> None:
        Snapshot.open(copied, "size")
        Snapshot.open(copied, "hash")

    return sorted(path for path in copied.rglob("*") if path.is_file()), read


def pictures(work: Path) -> tuple[list[Path], Read]:
    """Pictures of every accepted format."""
    files = []
    image = Image.effect_noise((48, 32), 60).convert("RGB")
    for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        files.append(work / f"picture.{form.lower()}")
        content = io.BytesIO()
        image.save(content, form)
        files[-1].write_bytes(content.getvalue())

    def read() -> None:
        for file in files:
            decode_picture(file)

    return files, read


READERS: dict[str, Callable[[Path], tuple[list[Path], Read]]] = {
    "pictures": pictures,
    "inter": lambda work: interactions("inter", work),
    "csv": lambda work: interactions("csv", work),
    "parquet": lambda work: interactions("parquet", work),
    "features": features,
    "events": events,
    "snapshot": snapshot,
}


def damaged(reader: str, seed: int, count: int, work: Path) -> dict[str, float]:
    """Damage one file at a time, read, and put it back."""
    files, read = READERS[reader](work)
    read()
    chance = random.Random(seed)
    refused, slowest = 0, 0.0
    for _ in range(count):
        file = chance.choice(files)
        content = file.read_bytes()
        harmed = mutated(content, chance)
        file.write_bytes(harmed)
        signal.alarm(SECONDS)
        began = time.monotonic()
        try:
            read()
            assert reader not in SEALED or harmed == content, "a damaged file was taken for a sound one"
        except (StoreError, TrainingError):
            refused += 1
        except BaseException:
            print(f"{reader}: {file} with seed {seed}, as it is now", file=sys.stderr)
            raise
        signal.alarm(0)
        slowest = max(slowest, time.monotonic() - began)
        file.write_bytes(content)
    return {"inputs": count, "refused": refused, "slowest_seconds": round(slowest, 3)}


def main(seed: int, count: int, work: Path) -> None:
    """Every reader in turn; memory is bounded from the second on, for the first one loads the libraries."""
    for reader in READERS:
        folder = work / reader
        folder.mkdir()
        print(json.dumps({"reader": reader, **damaged(reader, seed, count, folder)}), flush=True)
        if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES,) * 2)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
