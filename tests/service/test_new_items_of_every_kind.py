"""New items for models of every scoring kind: without a graph of their own, their neighbours carry the evidence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model_store.scoring import scorer_for
from model_store.snapshot import Snapshot
from model_store.store import Store
from service.added import AddedItems
from service.new_items import EncodedItem, ItemEncoder
from tests.support.every_kind import KINDS, write_kind
from tests.support.service_client import ServiceClient, in_process, promoted
from tests.support.tiny_snapshot import MODALITIES

pytestmark = pytest.mark.anyio
N_ITEMS = 60
TWIN = 8
"""A row that has every modality."""
USERS = (0, 1, 4)


def raw_features(snapshot: Snapshot, row: int) -> dict[str, NDArray[np.float32]]:
    """Features that make an item the twin of `row` in content."""
    return {
        name: snapshot.array(f"features_{name}")[row].astype(np.float32) + snapshot.parameter(f"feature_mean_{name}")
        for name in MODALITIES[1:]
    }


def encoded(snapshot: Snapshot) -> EncodedItem:
    found = ItemEncoder.of(snapshot).encode(raw_features(snapshot, TWIN))
    assert found is not None
    return found


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def snapshot(kind: str, tmp_path: Path) -> Snapshot:
    return Store(tmp_path).open(write_kind(tmp_path, kind))


@pytest.fixture
def one_warm(kind: str, tmp_path: Path) -> Snapshot:
    """Nobody has taken anything but the twin."""
    degree = np.zeros(N_ITEMS, np.int32)
    degree[TWIN] = 3
    return Store(tmp_path).open(write_kind(tmp_path, kind, {"item_degree": degree}))


@pytest.fixture
async def open_client(snapshot: Snapshot, tmp_path: Path) -> AsyncIterator[ServiceClient]:
    promoted(tmp_path, snapshot.id)
    async with in_process(tmp_path, state=tmp_path / "state") as client:
        yield client


def test_who_resembles_one_warm_item_alone_is_scored_as_that_one(one_warm: Snapshot) -> None:
    item = encoded(one_warm)
    added, scorer = AddedItems(one_warm, [item]), scorer_for(one_warm)
    assert item.inferred == MODALITIES
    for user_row in USERS:
        state = scorer.known_user(user_row)
        found, expected = added.score(state, np.array([0])), scorer.score(state, np.array([TWIN]))
        np.testing.assert_allclose(found.contributions, expected.contributions, atol=1e-5)
        np.testing.assert_allclose(found.weights, expected.weights, atol=1e-6)
        np.testing.assert_allclose(found.amounts, expected.amounts, atol=1e-5)
        np.testing.assert_allclose(
            added.expert_vectors(np.array([0])), scorer.expert_vectors(np.array([TWIN])), atol=2e-3
        )
        because, of_twin = added.because(state, 0), scorer.because(state, TWIN)
        np.testing.assert_allclose(because.exact, of_twin.exact, atol=1e-5)
        np.testing.assert_allclose(because.attributed, of_twin.attributed, atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.split()[0] not in ("pair", "item")])
def test_where_the_score_is_linear_in_the_item_it_is_the_neighbours_mean(kind: str, snapshot: Snapshot) -> None:
    item = encoded(snapshot)
    added, scorer = AddedItems(snapshot, [item]), scorer_for(snapshot)
    neighbours = np.unique(np.concatenate([rows for rows, _ in item.near.values()]))
    neighbours = neighbours[snapshot.array("item_degree")[neighbours] > 0]
    assert len(neighbours) > 3
    scores = np.array([scorer.score(scorer.known_user(user), neighbours).scores for user in range(19)])
    found = np.array([added.score(scorer.known_user(user), np.array([0])).scores[0] for user in range(19)])
    assert ((scores.min(axis=1) - 1e-4 <= found) & (found <= scores.max(axis=1) + 1e-4)).all()
    if kind != "popularity":  # more users than neighbours: the shares can be read off, and are shares
        shares = np.linalg.lstsq(scores, found, rcond=None)[0]
        np.testing.assert_allclose(scores @ shares, found, atol=1e-3)


def test_what_resembles_nothing_that_was_taken_is_not_guessed(kind: str, tmp_path: Path) -> None:
    cold = Store(tmp_path).open(write_kind(tmp_path, kind, {"item_degree": np.zeros(N_ITEMS, np.int32)}))
    assert ItemEncoder.of(cold).encode(raw_features(cold, TWIN)) is None
    assert ItemEncoder.of(cold).encode({}) is None


async def test_it_is_recommended_explained_and_similar(open_client: ServiceClient, snapshot: Snapshot) -> None:
    features = {name: values.tolist() for name, values in raw_features(snapshot, TWIN).items()}
    put = await open_client.put("/items/new", json={"categories": ["fresh"], "features": features})
    assert put.json()["recommendable"]
    assert put.json()["inferred"] == list(MODALITIES)
    (item,) = (await open_client.recommend("user/001", category="fresh", explain="full"))["items"]
    assert (item["item"], item["inferred"]) == ("new", list(MODALITIES))
    assert sum(item["modality_amounts"].values()) == pytest.approx(item["score"], abs=1e-6)
    explained = await open_client.json("/explain", user="user/001", item="new")
    assert explained["score"] == pytest.approx(item["score"], abs=1e-4)
    twin = snapshot.item_id(TWIN)
    for by in ("visual", "textual"):
        likes = (await open_client.json("/similar/new", by=by, k=3))["items"]
        assert likes[0]["item"] == twin
        assert likes[0]["similarity"] == pytest.approx(1, abs=1e-2)
        back = (await open_client.json(f"/similar/{twin.replace('/', '%2F')}", by=by, k=1))["items"]
        assert back[0]["item"] == "new"
    overall = (await open_client.json("/similar/new", k=5))["items"]
    assert len(overall) == 5
    assert "new" not in [found["item"] for found in overall]
