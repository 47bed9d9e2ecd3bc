"""With keys nothing but the probes answers without one; admin calls want the admin key; no key is ever printed."""

from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from service.access import Keys, caller_of
from service.errors import KeyRequired
from service.settings import Settings
from tests.support.service_client import ServiceClient, in_process

pytestmark = pytest.mark.anyio

API_KEYS = SecretStr("first-key, second-key")
ADMIN_KEY = SecretStr("admin-key")


@pytest.fixture
async def locked(store_root: Path) -> AsyncIterator[ServiceClient]:
    async with in_process(store_root, api_keys=API_KEYS, admin_key=ADMIN_KEY) as client:
        yield client


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_probes_need_no_key(locked: ServiceClient, path: str) -> None:
    assert (await locked.get(path)).status_code == 200


@pytest.mark.parametrize("path", ["/recommend/u", "/experts", "/docs", "/openapi.json", "/nothing", "/livez/"])
async def test_everything_else_does(locked: ServiceClient, path: str) -> None:
    refused = await locked.get(path)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.headers["x-request-id"] == refused.json()["request_id"]
    assert refused.json()["type"] == "urn:problem-type:magnet:key-required"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer first-key"},
        {"authorization": "bearer second-key"},
        {"X-API-Key": "second-key"},
        {"X-API-Key": "admin-key"},
    ],
)
async def test_each_key_opens_either_way(locked: ServiceClient, headers: dict[str, str]) -> None:
    assert (await locked.get("/experts", headers=headers)).status_code == 200


@pytest.mark.parametrize("wrong", ["", "first-key2", "first", "first-key, second-key", "ключ"])
async def test_wrong_keys_open_nothing_and_are_not_repeated(locked: ServiceClient, wrong: str) -> None:
    refused = await locked.get("/experts", headers=[(b"X-API-Key", wrong.encode())])
    assert refused.status_code == 401
    assert not wrong or wrong not in refused.text


async def test_admin_calls_refuse_ordinary_keys(locked: ServiceClient) -> None:
    refused = await locked.post("/admin/rollback", headers={"X-API-Key": "first-key"})
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:problem-type:magnet:admin-key-required")
    assert refused.json()["detail"] == "this is not the admin key"
    assert (await locked.post("/admin/rollback")).json()["detail"] == "expected the admin key, found none"
    assert (await locked.post("/admin/rollback", headers={"X-API-Key": "admin-key"})).status_code != 403


async def test_without_an_admin_key_admin_calls_are_refused(client: ServiceClient) -> None:
    assert (await client.post("/admin/rollback")).status_code == 403


async def test_without_keys_nothing_asks_for_one(client: ServiceClient) -> None:
    assert (await client.get("/experts")).status_code == 200


def test_keys_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("one\n\n two \n")
    keys = Keys.read(Settings(api_keys_file=file))
    for key, is_known in (("one", True), ("two", True), ("three", False), ("", False)):
        caller = caller_of({"headers": [(b"x-api-key", key.encode())]})
        with nullcontext() if is_known else pytest.raises(KeyRequired):
            keys.check("/experts", caller)


def test_a_file_without_a_key_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ValueError, match=r"expected at least one key in .*empty"):
        Keys.read(Settings(api_keys_file=tmp_path / "empty"))
    with pytest.raises(ValueError, match="expected a readable file"):
        Keys.read(Settings(admin_key_file=tmp_path / "missing"))


def test_other_addresses_than_loopback_need_keys(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="without API keys"):
        Settings(host="0.0.0.0", admin_key=SecretStr("only-the-admin"))
    assert Settings(host="0.0.0.0", api_keys_file=tmp_path / "keys").host == "0.0.0.0"


def test_settings_do_not_show_keys() -> None:
    settings = Settings(api_keys=API_KEYS, admin_key=ADMIN_KEY)
    assert "first-key" not in repr(settings) + str(Keys.read(settings))
