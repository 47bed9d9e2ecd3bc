"""The console in a browser, before a real service with keys; what a page complains about fails its test."""

import json
import shutil
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.service_client import on_a_port, promoted
from tests.support.tiny_snapshot import write_tiny_pair_snapshot

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<img src=x onerror=\"document.title='pwned'\">"
WIDTHS = {"desk": 1200, "phone": 360}
PATIENCE_MS = 30_000  # on a busy machine
REPORT = "<!doctype html><html lang=en><title>r</title><style>h1{color:rgb(1,2,3)}</style><h1>How it was fitted</h1>"
HISTORY = {
    "router": [
        {"step": step, "loss": 9 / step, "load_entropy": 0.9, "pair_entropy": 0.9 / step, "load/dominant-visual": 0.2}
        | ({"stage_switch": 1.0} if step == 2 else {})
        for step in (1, 2, 3)
    ]
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with keys, over a small store with an item that has a hostile title and one earlier snapshot."""
    if CHROMIUM is None:
        pytest.skip("Chromium not found: install the package `chromium` to test the console in a browser")
    root = tmp_path_factory.mktemp("store")
    promoted(root, write_tiny_pair_snapshot(root, seed=1, n_users=20, n_items=60))
    files = {"report.html": REPORT.encode(), "MODEL_CARD.md": b"# Card", "history.json": json.dumps(HISTORY).encode()}
    promoted(root, write_tiny_pair_snapshot(root, n_users=20, n_items=60, files=files))
    state = str(tmp_path_factory.mktemp("state"))
    with on_a_port(root, MAGNET_STATE=state, MAGNET_API_KEYS="ordinary", MAGNET_ADMIN_KEY="admin") as address:
        put = httpx.put(
            f"{address}/items/{quote('item/001', safe='')}",
            json={"title": HOSTILE, "categories": [HOSTILE]},
            headers={"X-API-Key": "ordinary"},
        )
        assert put.status_code == 200, put.text
        yield address


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def sign_in(page: Page, address: str) -> None:
    """Open the console and give it the key it asks for."""
    page.goto(address)
    page.get_by_label("API key").fill("ordinary")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Whose recommendations?")


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, address: str, browser: Browser) -> Iterator[Page]:
    """A page that has been given the key; fails on whatever the browser complains about afterwards."""
    complaints: list[str] = []
    page = browser.new_page(viewport={"width": WIDTHS[request.param], "height": 900})
    sign_in(page, address)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    yield page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the window"
    page.close()
    assert complaints == []
