"""`make bench BENCH=retrieval`: one worker over 10,000, 100,000 and 1,000,000 items, nothing cached or made ahead.

The swap is what happens before one: every hash checked, the index opened, the first scores computed.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from model_store import Store
from model_store.snapshot import CANDIDATE_INDEX_FILE, Snapshot
from service.deployment import Deployment
from tests.benchmarks.generated import Size, snapshot
from tests.benchmarks.load import Load, wrk
from tests.benchmarks.servers import Server, service
from tests.benchmarks.tables import Result, Table, spread
from training.export.candidate_index import INDEX_RECALL

SIZES = (Size(10_000, 100_000), Size(100_000, 100_000), Size(1_000_000, 100_000))
PLAIN = {"metrics": "false", "ahead_memory_mb": "0", "cache_memory_mb": "0", "router_memory_mb": "0"}
ROUNDS = 3
SECONDS = 2
WARM_UP = 1
PARTS = {
    "the items' parts": ("item_parts",),
    "histories' side of items": ("item_history",),
    "the experts' side of items": ("item_experts", "item_logits"),
    "item-item rows": ("item_item_indptr", "item_item_items", "item_item_values"),
    "users": ("user_vectors", "user_logits", "history_indptr", "history_items"),
    "titles and ids": ("item_records_bytes", "item_records_offsets", "item_ids_bytes", "user_ids_bytes"),
}


def run(folder: Path) -> None:
    """Measure and keep."""
    loads: list[list[str]] = []
    starts: list[list[str]] = []
    parts: list[list[str]] = []
    for size in SIZES:
        root = folder / size.name
        opened = Store(root).open(snapshot(root, size), verify="size")
        with tempfile.TemporaryDirectory() as state, service(root, Path(state), **PLAIN) as server:
            name = f"{size.items:,}"
            starts.append([name, *_starting(server, root, opened)])
            loads.append([name, *_loads(server, size)])
            memory = server.memory()
        starts[-1] += [f"{memory[kind]:,.0f}" for kind in ("anonymous", "mapped")]
        parts = [[part, f"{_bytes(opened, arrays) / 2**20:,.0f}"] for part, arrays in PARTS.items()]
        index = opened.file(CANDIDATE_INDEX_FILE)
        parts.append(["the candidate index", f"{index.stat().st_size / 2**20:,.0f}" if index is not None else "0"])
    users = f"{SIZES[0].users:,} users, nothing cached, nothing made ahead"
    tables = [
        Table(
            f"Calls of one worker by size of the catalogue ({users}), {ROUNDS} rounds",
            [
                "items",
                "p50, ms, 1 connection",
                "p99",
                "requests/s, 1 connection",
                "16 connections",
                "pages waited for from disk, per 1,000 requests",
            ],
            loads,
        ),
        Table(
            "Starting, and what a worker holds; mapped pages are shared by all workers",
            [
                "items",
                "index",
                "share of the nearest found",
                "ready after, s",
                "swap, s",
                "own MiB",
                "mapped MiB touched",
            ],
            starts,
        ),
        Table(f"The parts of the snapshot of {SIZES[-1].items:,} items on disk, all mapped", ["part", "MiB"], parts),
    ]
    Result("retrieval", tables).keep()


def _starting(server: Server, root: Path, opened: Snapshot) -> list[str]:
    began = time.perf_counter()
    served = Deployment(root).load(opened.id, "hash")
    swap = time.perf_counter() - began
    recall = opened.manifest.candidates.recall.get(INDEX_RECALL, 1.0)
    return [served.index_name, f"{recall:.4f}", f"{server.ready_seconds:.1f}", f"{swap:.1f}"]


def _loads(server: Server, size: Size) -> list[str]:
    wrk(server.address, 1, WARM_UP, users=(size.users // 2, size.users))
    one: list[Load] = []
    many: list[Load] = []
    faults = server.read_faults()
    for turn in range(ROUNDS):
        first = turn * size.users // 8
        one.append(wrk(server.address, 1, SECONDS, users=(first, size.users)))
        many.append(wrk(server.address, 16, SECONDS, users=(first + size.users // 16, size.users)))
    return [
        spread([load.p50 for load in one]),
        spread([load.p99 for load in one]),
        spread([load.rate for load in one], 0),
        spread([load.rate for load in many], 0),
        f"{1000 * (server.read_faults() - faults) / sum(load.count for load in one + many):.1f}",
    ]


def _bytes(opened: Snapshot, arrays: tuple[str, ...]) -> int:
    return sum(opened.array(name).nbytes for name in arrays)
