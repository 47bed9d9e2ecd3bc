"""The GPU index's logic, with a FAISS index on the CPU in the device's place: batches, filters, failures, fallback."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from service.retrieval import choice
from service.retrieval.choice import build_index
from service.retrieval.faiss_gpu import MAX_DEPTH, FaissGpuIndex
from service.retrieval.protocol import CandidateIndex
from tests.contract.candidate_index import CandidateIndexContract, exact
from tests.support.service_client import in_process

F32 = NDArray[np.float32]


class TestFaissGpuOnACpuIndex(CandidateIndexContract):
    def build(self, vectors: NDArray[np.floating]) -> CandidateIndex:
        return FaissGpuIndex(vectors, faiss.IndexFlatIP)


class Watched:
    """A CPU index that counts its searches, waits at a gate, keeps the device's limit of k, and can fail."""

    def __init__(self, width: int) -> None:
        self.index: Any = faiss.IndexFlatIP(width)
        self.gate = threading.Event()
        self.gate.set()
        self.sizes: list[int] = []
        self.threads: set[str] = set()
        self.failure: RuntimeError | None = None

    def add(self, vectors: F32) -> None:
        self.index.add(vectors)

    def search(self, queries: F32, k: int) -> Any:
        assert k <= MAX_DEPTH
        self.sizes.append(len(queries))
        self.threads.add(threading.current_thread().name)
        assert self.gate.wait(10)
        if self.failure is not None:
            raise self.failure
        return self.index.search(queries, k)


def watched(vectors: F32) -> tuple[FaissGpuIndex, Watched]:
    made: list[Watched] = []

    def make(width: int) -> Watched:
        made.append(Watched(width))
        return made[0]

    return FaissGpuIndex(vectors, make), made[0]


def random(rows: int, seed: int = 0, width: int = 8) -> F32:
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def test_whoever_waits_shares_one_search() -> None:
    vectors, queries = random(500), random(9, seed=1)
    index, device = watched(vectors)
    device.gate.clear()
    with ThreadPoolExecutor(9) as pool:
        asked = [pool.submit(index.search, queries[:1], 5)]
        deadline = time.monotonic() + 10
        while not device.sizes and time.monotonic() < deadline:
            time.sleep(0.001)
        asked += [pool.submit(index.search, queries[n : n + 1], 5 + n) for n in range(1, 9)]
        while index._waiting.qsize() < 8 and time.monotonic() < deadline:
            time.sleep(0.001)
        device.gate.set()
        found = [future.result() for future in asked]
    assert device.sizes == [1, 8]
    assert device.threads == {"faiss-gpu"}
    for number, rows in enumerate(found):
        assert rows[0].tolist() == exact(vectors, queries[number], 5 + number).tolist()


@pytest.mark.parametrize(("depth", "n_allowed"), [(10, 3990), (10, 100), (10, 4), (10, 0), (3000, 4000), (3000, 3500)])
def test_filters_and_depths_beyond_the_limit_hold(depth: int, n_allowed: int) -> None:
    vectors, query = random(4000), random(1, seed=1)
    allowed = np.zeros(4000, np.bool_)
    allowed[np.random.default_rng(2).permutation(4000)[:n_allowed]] = True
    index, _ = watched(vectors)
    rows = index.search(query, depth, allowed)[0]
    expected = exact(vectors, query[0], depth, allowed)
    assert rows[: len(expected)].tolist() == expected.tolist()
    assert (rows[len(expected) :] == -1).all()


def test_after_a_failure_answers_stay_right_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    vectors, query = random(300), random(1, seed=1)
    index, device = watched(vectors)
    device.failure = RuntimeError("CUDA error 700")
    for _ in range(2):
        assert index.search(query, 5)[0].tolist() == exact(vectors, query[0], 5).tolist()
    assert len(device.sizes) == 1  # a device in an unknown state is left alone
    assert "CUDA error 700" in (index.warning or "")
    assert "CUDA error 700" in caplog.text


def test_an_index_that_nobody_uses_any_more_ends_its_thread() -> None:
    def owners() -> int:
        return sum(thread.name == "faiss-gpu" for thread in threading.enumerate())

    gc.collect()
    before = owners()
    index: FaissGpuIndex | None = FaissGpuIndex(random(10), faiss.IndexFlatIP)
    assert owners() >= 1
    del index
    gc.collect()
    deadline = time.monotonic() + 10
    while owners() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert owners() <= before


def test_choice(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    vectors = random(10)
    monkeypatch.setattr(choice, "no_device", lambda: "no device today")
    for wanted in ("auto", "cpu"):
        index = build_index(vectors, wanted)
        assert (index.name, index.warning) == ("faiss-cpu flat", None)
    assert caplog.text == ""
    index = build_index(vectors, "gpu")
    assert (index.name, index.warning) == ("faiss-cpu flat", "candidates come from the CPU: no device today")
    assert "no device today" in caplog.text
    monkeypatch.setattr(choice, "no_device", lambda: None)
    monkeypatch.setattr(choice, "FaissGpuIndex", lambda given: FaissGpuIndex(given, faiss.IndexFlatIP))
    assert build_index(vectors, "auto").name == build_index(vectors, "gpu").name == "faiss-gpu flat float16"
    monkeypatch.setattr(choice, "FaissGpuIndex", _out_of_memory)
    assert "out of memory" in (build_index(vectors, "gpu").warning or "")


def _out_of_memory(_: object) -> CandidateIndex:
    raise RuntimeError("out of memory")


@pytest.mark.anyio
async def test_the_service_says_it_and_answers(store_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "no_device", lambda: "no device today")
    async with in_process(store_root, index="gpu") as client:
        ready = await client.json("/readyz")
        assert (ready["status"], ready["index"]) == ("degraded", "faiss-cpu flat")
        assert "no device today" in ready["degraded"][0]
        wanted = await client.recommend("user/001", k=50)
    monkeypatch.setattr(choice, "no_device", lambda: None)
    monkeypatch.setattr(choice, "FaissGpuIndex", lambda given: FaissGpuIndex(given, faiss.IndexFlatIP))
    async with in_process(store_root, index="gpu") as client:
        assert (await client.json("/readyz"))["index"] == "faiss-gpu flat float16"
        assert (await client.recommend("user/001", k=50))["items"] == wanted["items"]
