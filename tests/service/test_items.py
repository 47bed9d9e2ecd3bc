"""Items that come, change and go while they are served."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import JsonValue

from model_store.encoders import ContentEncoder
from model_store.store import Store
from service.content import ItemContent
from service.new_items import nearest
from service.served import ServedSnapshot
from tests.support.events import event, sent
from tests.support.service_client import ServiceClient, in_process, promoted
from tests.support.tiny_encoder import tiny_item_encoder
from tests.support.tiny_snapshot import EXPERTS, FEATURE_WIDTH, MODALITIES, write_tiny_pair_snapshot
from training.encoders.catalogue import encoder_for

pytestmark = pytest.mark.anyio
USER = "user/001"
NEW = "brand/new ☃"
WHOLE = 8  # a row of the tiny snapshot that has every modality
PATH = "/items/brand%2Fnew%20%E2%98%83"
COLD: dict[str, JsonValue] = {"weight": 0.5, "cold_scale": 2.0, "alpha_visual": 0.4, "alpha_textual": 0.6}


def write_snapshot(root: Path, *, seed: int = 0) -> str:
    encoder = tiny_item_encoder(MODALITIES, FEATURE_WIDTH, width=8, n_experts=len(EXPERTS), residual_width=4)
    files = {"item_encoder.onnx": encoder}
    return write_tiny_pair_snapshot(root, seed=seed, n_items=120, files=files, item_item_facts=COLD)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    promoted(root, write_snapshot(root))
    return root


@pytest.fixture
async def open_client(root: Path, tmp_path: Path) -> AsyncIterator[ServiceClient]:
    async with in_process(root, state=tmp_path / "state") as client:
        yield client


@pytest.fixture
def served(root: Path) -> ServedSnapshot:
    return ServedSnapshot(Store(root).open())


def features_like(served: ServedSnapshot, row: int) -> dict[str, list[float]]:
    """Raw features that make an item the twin of `row` in content."""
    return {
        name: (
            served.snapshot.array(f"features_{name}")[row].astype(np.float32)
            + served.snapshot.parameter(f"feature_mean_{name}")
        ).tolist()
        for name in MODALITIES[1:]
    }


async def ranks(client: ServiceClient, user: str = USER, **params: Any) -> dict[str, dict[str, Any]]:
    answer = await client.recommend(user, k=200, explain="full", **params)
    return {item["item"]: item for item in answer["items"]}


async def test_readiness_names_what_encodes_items(open_client: ServiceClient, client: ServiceClient) -> None:
    assert (await open_client.json("/readyz"))["onnx"] == {"item_encoder": "CPUExecutionProvider"}
    assert (await client.json("/readyz"))["onnx"] == {}  # a snapshot without an encoder of items


async def test_a_new_item_is_in_the_next_answer_and_adds_up(open_client: ServiceClient, served: ServedSnapshot) -> None:
    client = open_client
    assert NEW not in await ranks(client)
    body = {"title": "Brand new", "categories": ["fresh"], "features": features_like(served, WHOLE)}
    done = (await client.put(PATH, json=body)).json()
    assert done == {
        "item": NEW,
        "snapshot": served.id,
        "recommendable": True,
        "modalities": {"behaviour": True, "visual": True, "textual": True},
        "inferred": ["behaviour"],
    }
    item = (await ranks(client))[NEW]
    assert (item["title"], item["inferred"]) == ("Brand new", ["behaviour"])
    assert item["score"] == pytest.approx(sum(term["contribution"] for term in item["experts"]), abs=1e-9)
    assert item["score"] == pytest.approx(sum(item["modality_amounts"].values()), abs=1e-9)
    assert sum(t["weight"] for t in item["experts"] if t["weight"]) == pytest.approx(1, abs=5e-6)
    assert sum(share["amount"] for share in item["because"]) == pytest.approx(item["score"], abs=5e-3)
    explained = await client.json("/explain", user=USER, item=NEW)
    assert explained["score"] == pytest.approx(item["score"], abs=1e-4)
    assert explained["inferred"] == ["behaviour"]
    assert list(await ranks(client, category="fresh")) == [NEW]
    assert NEW in await ranks(client, user="nobody", category="fresh")
    assert (await client.json(PATH))["interactions"] == 0
    assert [found["item"] for found in (await client.json("/items", query="brand NEW"))["items"]] == [NEW]


async def test_an_answer_with_a_new_item_is_explained_as_shown(
    open_client: ServiceClient, served: ServedSnapshot
) -> None:
    await open_client.put(PATH, json={"title": "Brand new", "features": features_like(served, WHOLE)})
    answer = await open_client.recommend(USER, k=120)
    assert NEW in {item["item"] for item in answer["items"]}
    await open_client.put(PATH, json={"title": "Old hat", "features": features_like(served, WHOLE + 1)})
    await open_client.delete("/items/item%2F002")
    for item in answer["items"]:
        found = await open_client.json("/explain", recommendation_id=answer["recommendation_id"], item=item["item"])
        assert (found["score"], found["experts"], found["title"]) == (item["score"], item["experts"], item["title"])
        assert found["inferred"] == item.get("inferred")


async def test_its_item_item_share_is_what_its_neighbours_say(
    open_client: ServiceClient, served: ServedSnapshot
) -> None:
    """The history's items that resemble it speak for it: weight · κ · Σ_m α_m S^m, by hand for one history item."""
    source = WHOLE
    await open_client.post("/events", json=sent(event("newcomer", served.snapshot.item_id(source))))
    await open_client.put(PATH, json={"features": {"visual": features_like(served, source)["visual"]}})
    item = (await ranks(open_client, user="newcomer"))[NEW]
    amounts = {term["name"]: term["contribution"] for term in item["experts"]}
    looks = served.snapshot.array("features_visual")
    rows, cosines = nearest(looks, looks[source].astype(np.float32), 10)
    assert rows[0] == source
    degree = max(float(served.snapshot.array("neighbours_visual_values")[source].astype(float).sum()), cosines[0])
    expected = 0.5 * 2.0 * 0.4 * cosines[0] / np.sqrt(cosines.sum() * degree)
    assert amounts["item-item"] == pytest.approx(expected, rel=1e-3)


async def test_clicking_a_new_item_hides_it_as_seen(open_client: ServiceClient, served: ServedSnapshot) -> None:
    await open_client.put(PATH, json={"features": features_like(served, WHOLE)})
    await open_client.post("/events", json=sent(event(USER, NEW)))
    assert NEW not in await ranks(open_client)
    assert NEW in await ranks(open_client, exclude_seen=False)


async def test_hidden_items_are_gone_everywhere_until_they_are_put_again(
    open_client: ServiceClient, served: ServedSnapshot
) -> None:
    client = open_client
    await client.put(PATH, json={"features": features_like(served, WHOLE)})
    for path, item in ((PATH, NEW), ("/items/item%2F001", "item/001")):
        assert (await client.delete(path)).json() == {"item": item, "hidden": True}
        assert item not in await ranks(client, exclude_seen=False)
        assert item not in await ranks(client, user="nobody")
        await client.json(path, 404)
        await client.json("/explain", 404, user=USER, item=item)
        await client.json(f"/similar/{path.removeprefix('/items/')}", 404)
        similar = await client.json("/similar/item%2F002", k=150)
        assert item not in [found["item"] for found in similar["items"]]
        assert item not in [found["item"] for found in (await client.json("/items", limit=100))["items"]]
    await client.put(PATH, json={"features": features_like(served, WHOLE)})
    assert NEW in await ranks(client, exclude_seen=False)


async def test_changing_a_known_item_changes_what_people_read(open_client: ServiceClient) -> None:
    before = (await ranks(open_client, exclude_seen=False))["item/002"]
    done = (await open_client.put("/items/item%2F002", json={"title": "Renamed", "categories": ["moved"]})).json()
    assert (done["recommendable"], done["inferred"]) == (True, [])
    after = (await ranks(open_client, exclude_seen=False, category="moved"))["item/002"]
    assert (after["title"], after["score"]) == ("Renamed", before["score"])
    assert "item/002" not in await ranks(open_client, exclude_seen=False, category="blue")


async def test_new_items_survive_restart_and_swap_and_reach_other_workers(root: Path, tmp_path: Path) -> None:
    second = write_snapshot(root, seed=1)
    async with in_process(root, state=tmp_path / "s") as one, in_process(root, state=tmp_path / "s") as other:
        features = features_like(one.service.deployment.require(), WHOLE)
        await one.put(PATH, json={"features": features})
        await one.delete("/items/item%2F001")
        await other.service.catch_up()
        found = await ranks(other, exclude_seen=False)
        assert (NEW in found, "item/001" in found) == (True, False)
        await other.service.watcher.activate(second)
        found = await ranks(other, exclude_seen=False)
        assert (NEW in found, "item/001" in found) == (True, False)
        await other.service.watcher.rollback()
    async with in_process(root, state=tmp_path / "s") as again:
        found = await ranks(again, exclude_seen=False)
        assert (NEW in found, "item/001" in found) == (True, False)


async def test_pages_do_not_move_when_items_come(open_client: ServiceClient, served: ServedSnapshot) -> None:
    whole = [item["item"] for item in (await open_client.recommend(USER, k=80))["items"]]
    first = await open_client.recommend(USER, k=40)
    await open_client.put(PATH, json={"features": features_like(served, served.snapshot.history(1)[0])})
    second = await open_client.json(first["next"])
    assert [item["item"] for item in second["items"]] == whole[40:]


async def test_a_picture_becomes_features_by_the_trainings_own_encoder(tmp_path: Path) -> None:
    bundle = encoder_for(tmp_path, "filter-bank", "image")
    encoder = ContentEncoder.open(bundle)
    snapshot = write_tiny_pair_snapshot(
        tmp_path, encoders={"visual": bundle.name}, feature_widths={"visual": encoder.width}, n_items=30
    )
    promoted(tmp_path, snapshot)
    picture = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 30, 30)).save(picture, "PNG")
    async with in_process(tmp_path) as client:
        body = {"image": base64.b64encode(picture.getvalue()).decode()}
        done = (await client.put("/items/item%2F001", json=body)).json()
        assert done["recommendable"]
        info = await client.json("/items/item%2F001")
        shown = await client.get(f"/media/{info['image']}")
        assert (shown.status_code, shown.headers["content-type"]) == (200, "image/webp")
        live = client.service.mirror.items["item/001"]
        assert live.content is not None
        expected = encoder.encode_images([picture.getvalue()])[0][0]
        np.testing.assert_allclose(ItemContent.read(live.content).features["visual"], expected, atol=1e-5)
        broken = await client.put("/items/x", json={"image": base64.b64encode(b"no picture").decode()})
        assert (broken.status_code, broken.json()["type"]) == (422, "urn:problem-type:magnet:invalid-request")


@pytest.mark.parametrize(
    "body",
    [
        {"features": {"visual": [1.0]}},
        {"features": {"smell": [1.0] * FEATURE_WIDTH}},
        {"features": {"visual": [1e300] * FEATURE_WIDTH}},
        {"features": {"visual": ["NaN"] * FEATURE_WIDTH}},
        {"title": 5},
        {"surplus": 1},
        {"image": "&&"},
    ],
)
async def test_what_cannot_be_an_item_is_refused(open_client: ServiceClient, body: dict[str, Any]) -> None:
    refused = await open_client.put(PATH, json=body)
    assert refused.status_code == 422, refused.text
    assert NEW not in await ranks(open_client)


async def test_a_model_that_cannot_score_new_items_says_so(client: ServiceClient) -> None:
    done = (await client.put(PATH, json={"title": "Brand new"})).json()
    assert (done["recommendable"], done["modalities"]) == (False, {})
    assert (await client.get(PATH)).status_code == 404


async def test_an_item_that_the_encoder_cannot_read_stops_nothing_else(tmp_path: Path) -> None:
    too_wide = tiny_item_encoder(MODALITIES, FEATURE_WIDTH + 1, width=8, n_experts=len(EXPERTS), residual_width=4)
    promoted(tmp_path, write_tiny_pair_snapshot(tmp_path, n_items=60, files={"item_encoder.onnx": too_wide}))
    async with in_process(tmp_path) as client:
        done = await client.put(PATH, json={"features": {"visual": [1.0] * FEATURE_WIDTH}})
        assert (done.status_code, done.json()["recommendable"]) == (200, False)
        assert (await client.delete("/items/item%2F001")).status_code == 200
        assert "item/001" not in await ranks(client, exclude_seen=False)
