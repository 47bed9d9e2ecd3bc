"""The console is served under a strict policy, needs nothing from elsewhere, and calls what the service has."""

import re
import tomllib
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import SecretStr

from service.routes.console import FILES
from tests.support import layout
from tests.support.service_client import ServiceClient, in_process

pytestmark = pytest.mark.anyio

FOLDER = layout.ROOT / "service" / "console"
SCRIPTS = sorted(name for name in FILES if name.endswith(".js"))
PAGES = sorted(name for name in FILES if name.endswith(".html"))
MAX_LINES = 200
SVG = "http://www.w3.org/2000/svg"  # a name, which no browser asks for
# What turns text into markup or code; names of items and users must stay text.
MARKUP = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|\beval\b|new Function")


class Page(HTMLParser):
    """Elements with their attributes, and the text inside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def addresses(self) -> list[str]:
        return [value for _, given in self.elements for name in ("src", "href") if (value := given.get(name))]


@pytest.fixture
async def locked(store_root: Path) -> AsyncIterator[ServiceClient]:
    async with in_process(store_root, api_keys=SecretStr("ordinary"), admin_key=SecretStr("admin")) as client:
        yield client


async def test_the_page_is_served_under_a_strict_policy(client: ServiceClient) -> None:
    page = await client.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(entry.split(" ", 1) for entry in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert not {"script-src", "style-src", "connect-src"} & set(policy), "default-src is enough"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


async def test_only_the_frame_of_the_report_may_have_style_inside(client: ServiceClient) -> None:
    policy = (await client.get("/console/report.html")).headers["content-security-policy"]
    assert "style-src 'self' 'unsafe-inline'" in policy
    assert "frame-src blob:" in policy
    assert "script-src" not in policy, "default-src lets nothing inline run"
    assert '"iframe", { sandbox: "allow-same-origin"' in FILES["report.js"].decode(), "a frame that may run nothing"


@pytest.mark.parametrize("name", PAGES)
async def test_pages_have_nothing_inline_and_nothing_from_elsewhere(name: str) -> None:
    page = Page(FILES[name].decode())
    inline = [name for _, given in page.elements for name in given if name.startswith("on") or name == "style"]
    assert inline == []
    assert not any(tag == "style" for tag, _ in page.elements)
    assert all("src" in given for tag, given in page.elements if tag == "script")
    assert page.addresses()
    assert all(re.match(r"/(?!/)|#", value) for value in page.addresses())


async def test_everything_the_page_and_its_modules_name_is_served(client: ServiceClient) -> None:
    named = {
        value for name in PAGES for value in Page(FILES[name].decode()).addresses() if value.startswith("/console/")
    }
    for script in SCRIPTS:
        named |= {
            f"/console/{name}" for name in re.findall(r'(?:from "\./|"/console/)([^"]+)"', FILES[script].decode())
        }
    assert named == {f"/console/{name}" for name in FILES if name != "index.html"}
    for path in named:
        assert (await client.get(path)).status_code == 200, path


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("console.css", "text/css"), ("main.js", "text/javascript"), ("icon.svg", "image/svg+xml")],
)
async def test_assets_have_their_type_and_are_asked_for_again(
    client: ServiceClient, name: str, media_type: str
) -> None:
    asset = await client.get(f"/console/{name}")
    assert asset.headers["content-type"].split(";")[0] == media_type
    assert asset.headers["x-content-type-options"] == "nosniff"
    again = await client.get(f"/console/{name}", headers={"If-None-Match": asset.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fapp.py", "%2e%2e%2fapp.py", "__init__.py", ""])
async def test_nothing_else_is_served(client: ServiceClient, name: str) -> None:
    refused = await client.get(f"/console/{name}")
    assert (refused.status_code, refused.json()["type"]) == (404, "urn:problem-type:magnet:unknown-route")


@pytest.mark.parametrize("script", SCRIPTS)
async def test_modules_are_small_and_make_no_markup_from_text(script: str) -> None:
    source = FILES[script].decode()
    assert source.count("\n") < MAX_LINES
    assert MARKUP.findall(source) == []
    addresses = source.replace(SVG, "")
    assert not re.search(r"https?:|//[a-z]+\.", addresses), "a request to elsewhere"


async def test_the_console_calls_only_what_the_interface_has(client: ServiceClient) -> None:
    source = FILES["api.js"].decode()
    called = {re.sub(r"\$\{[^}]*\}", "{}", path) for path in re.findall(r'["`](/[^"`]*)["`]', source)}
    document = (await client.get("/openapi.json")).json()
    offered = {re.sub(r"\{[^}]*\}", "{}", path) for path in document["paths"]}
    assert {"/recommend/{}", "/explain", "/media/{}"} <= called
    assert called <= offered
    others = [name for name in SCRIPTS if name != "api.js" and "fetch(" in FILES[name].decode()]
    assert others == [], "calls belong into api.js"


async def test_the_page_needs_no_key_and_gives_nothing_away(locked: ServiceClient) -> None:
    assert (await locked.get("/")).status_code == 200
    assert (await locked.get("/console/main.js")).status_code == 200
    for path in ("/users", "/snapshot", "/console", "/media/0"):
        assert (await locked.get(path)).status_code == 401, path


async def test_every_file_is_in_the_distribution() -> None:
    project = tomllib.loads((layout.ROOT / "pyproject.toml").read_text())
    packed = project["tool"]["setuptools"]["package-data"]["*"]
    files = [file for file in FOLDER.iterdir() if file.is_file()]
    assert {file.name for file in files} == set(FILES)
    assert [file.name for file in files if f"*{file.suffix}" not in packed] == []
