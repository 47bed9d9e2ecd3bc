"""What is said of the store's snapshots, and the documents that the served one came with."""

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.service_client import ServiceClient, in_process, promoted
from tests.support.tiny_snapshot import write_tiny_pair_snapshot

pytestmark = pytest.mark.anyio

DOCUMENTS = {
    "report.html": b"<!doctype html><title>A run</title>",
    "MODEL_CARD.md": b"# Model card",
    "history.json": json.dumps({"router": [{"step": 1, "loss": 0.5}]}).encode(),
}


async def test_every_snapshot_of_the_store_is_listed_and_one_is_current(tmp_path: Path) -> None:
    first = promoted(tmp_path, write_tiny_pair_snapshot(tmp_path, seed=0))
    second = write_tiny_pair_snapshot(tmp_path, seed=1)
    async with in_process(tmp_path) as client:
        listed = (await client.json("/snapshots"))["snapshots"]
        assert {line["snapshot"]: line["current"] for line in listed} == {first: True, second: False}
        assert {line["dataset"] for line in listed} == {"tiny-0", "tiny-1"}
        manifest = tmp_path / "snapshots" / second / "manifest.json"
        manifest.chmod(0o644)
        manifest.write_text("{}")
        damaged = {line["snapshot"]: line for line in (await client.json("/snapshots"))["snapshots"]}[second]
        assert damaged["problem"]
        assert damaged["model"] is None


async def test_documents_are_served_so_that_nothing_in_them_runs(tmp_path: Path) -> None:
    promoted(tmp_path, write_tiny_pair_snapshot(tmp_path, files=DOCUMENTS))
    async with in_process(tmp_path) as client:
        report = await client.get("/snapshot/report")
        assert (report.status_code, report.content) == (200, DOCUMENTS["report.html"])
        assert report.headers["content-type"] == "text/html; charset=utf-8"
        policy = report.headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "sandbox"} <= set(policy)
        assert not any(entry.startswith("script-src") for entry in policy)
        assert (await client.get("/snapshot/model-card")).headers["content-type"] == "text/markdown; charset=utf-8"
        assert (await client.json("/snapshot/history"))["router"] == [{"step": 1, "loss": 0.5}]


async def test_what_a_snapshot_came_without_is_no_failure(client: ServiceClient) -> None:
    missing = await client.json("/snapshot/model-card", status=404)
    assert missing["type"] == "urn:problem-type:magnet:unknown-document"
    assert (await client.get("/snapshot/manifest.json")).status_code == 422


async def test_documents_of_a_snapshot_that_was_pruned_are_not_there(tmp_path: Path) -> None:
    snapshot = promoted(tmp_path, write_tiny_pair_snapshot(tmp_path, files=DOCUMENTS))
    async with in_process(tmp_path) as client:
        await client.get("/snapshot/report")
        folder = tmp_path / "snapshots" / snapshot
        folder.chmod(0o755)
        folder.rename(tmp_path / "pruned")
        gone = await client.json("/snapshot/report", status=404)
    assert gone["type"] == "urn:problem-type:magnet:unknown-document"


async def test_documents_need_the_key(tmp_path: Path) -> None:
    promoted(tmp_path, write_tiny_pair_snapshot(tmp_path, files=DOCUMENTS))
    async with in_process(tmp_path, api_keys=SecretStr("ordinary")) as client:
        for path in ("/snapshots", "/snapshot/report", "/snapshot/history"):
            assert (await client.get(path)).status_code == 401, path
