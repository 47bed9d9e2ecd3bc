"""People the model has not seen go through the snapshot's own graph, which is held to the reference at load."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from model_store.encoders.session import CPU
from model_store.errors import SnapshotCorrupt, StoreError
from model_store.store import Store
from service.served import ServedSnapshot
from service.user_encoder import ENCODER, UserEncoder
from tests.support.events import event, sent
from tests.support.exported_encoder import exported_user_encoder
from tests.support.service_client import ServiceClient, in_process, promoted
from tests.support.tiny_snapshot import write_tiny_pair_snapshot

pytestmark = pytest.mark.anyio
CAP = 20
N_ITEMS = 120


def write(root: Path, seed: int, graph: bytes | None = None) -> str:
    files = {} if graph is None else {ENCODER: graph}
    return write_tiny_pair_snapshot(root, seed=seed, n_items=N_ITEMS, history_cap=CAP, files=files)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def graph(root: Path) -> bytes:
    return exported_user_encoder(Store(root).open(write(root, seed=0)))


@pytest.fixture(scope="module")
def with_graph(root: Path, graph: bytes) -> str:
    return promoted(root, write(root, seed=0, graph=graph))


@pytest.fixture
async def open_client(root: Path, with_graph: str, tmp_path: Path) -> AsyncIterator[ServiceClient]:
    async with in_process(root, state=tmp_path / "state") as client:
        yield client


def test_the_graph_is_the_reference_for_any_history(root: Path, with_graph: str) -> None:
    served = ServedSnapshot(Store(root).open(with_graph))
    assert served.user_encoder is not None
    random = np.random.default_rng(5)
    for length in [0, 1, 2, 3, 7, CAP - 1, CAP, CAP + 1, N_ITEMS]:
        history = random.choice(N_ITEMS, length, replace=False).astype(np.int32)
        found, expected = served.encode_user(history), served.scorer.encode_user(history)
        np.testing.assert_array_equal(found.history_rows, expected.history_rows)
        np.testing.assert_allclose(found.vector, expected.vector, atol=1e-5)
        np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5)
        np.testing.assert_array_equal(found.item_item.rows, expected.item_item.rows)
        np.testing.assert_array_equal(found.item_item.amounts, expected.item_item.amounts)


async def test_newcomers_and_sessions_go_through_it(
    open_client: ServiceClient, client: ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = UserEncoder.encode

    def counted(self: UserEncoder, history_rows: np.ndarray[tuple[int], np.dtype[np.int32]]) -> object:
        encoded.append(len(history_rows))
        return encode(self, history_rows)

    monkeypatch.setattr(UserEncoder, "encode", counted)
    await open_client.post("/events", json=sent(event("newcomer", "item/001"), event("newcomer", "item/004")))
    assert (await open_client.recommend("newcomer"))["strategy"] == "folded-in"
    await open_client.post("/recommend/session", json={"items": ["item/001", "item/002", "item/005"]})
    await open_client.recommend("user/001")  # its vector is stored
    assert encoded == [2, 3]
    assert (await open_client.json("/readyz"))["onnx"] == {"user_encoder": CPU}
    assert (await client.json("/readyz"))["onnx"] == {}  # a snapshot without graphs


@pytest.mark.parametrize("kind", ["another snapshot's", "no graph at all"])
async def test_a_graph_that_says_something_else_refuses_the_snapshot(
    open_client: ServiceClient, root: Path, with_graph: str, graph: bytes, kind: str
) -> None:
    wrong = write(root, seed=1, graph=graph if kind == "another snapshot's" else b"not a graph")
    expected = SnapshotCorrupt if kind == "another snapshot's" else StoreError
    with pytest.raises(expected):
        ServedSnapshot(Store(root).open(wrong))
    promoted(root, wrong)
    try:
        await open_client.service.watcher.catch_up()
        ready = await open_client.json("/readyz")
        assert (ready["snapshot"], ready["status"]) == (with_graph, "degraded")
        assert wrong in ready["degraded"][0]
    finally:
        promoted(root, with_graph)
