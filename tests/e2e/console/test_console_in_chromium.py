"""The console in a real browser: a key is asked for, steering re-ranks, names stay text, and nothing is blocked."""

import shutil
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.support.service_client import on_a_port, promoted
from tests.support.tiny_snapshot import write_tiny_pair_snapshot

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<img src=x onerror=\"document.title='pwned'\">"
USER = "user/001"
WIDTHS = {"desk": 1200, "phone": 390}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with keys, over a small store with an item that has a hostile title."""
    if CHROMIUM is None:
        pytest.skip("Chromium not found: install the package `chromium` to test the console in a browser")
    root = tmp_path_factory.mktemp("store")
    promoted(root, write_tiny_pair_snapshot(root, n_users=20, n_items=60))
    state = str(tmp_path_factory.mktemp("state"))
    with on_a_port(root, MAGNET_STATE=state, MAGNET_API_KEYS="ordinary", MAGNET_ADMIN_KEY="admin") as address:
        put = httpx.put(
            f"{address}/items/{quote('item/001', safe='')}",
            json={"title": HOSTILE, "categories": [HOSTILE]},
            headers={"X-API-Key": "ordinary"},
        )
        assert put.status_code == 200, put.text
        yield address


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, address: str) -> Iterator[Page]:
    """A page that has been given the key; fails on whatever the browser complains about afterwards."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTHS[request.param], "height": 900})
        page.goto(address)
        page.get_by_label("API key").fill("ordinary")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Whose recommendations?")
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        yield page
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the window"
        browser.close()
    assert complaints == []


def test_from_a_user_to_an_explanation(page: Page) -> None:
    page.get_by_label("Users", exact=True).fill(USER)
    page.get_by_role("link", name=USER, exact=True).click()
    cards = page.get_by_role("list", name="Recommendations, best first").get_by_role("listitem")
    expect(cards).to_have_count(20)
    before = cards.all_inner_texts()
    slider = page.get_by_role("slider", name="visual")
    slider.focus()
    with page.expect_response(lambda answer: "steer=visual%3A4" in answer.url):
        page.keyboard.press("End")
    expect(cards.first).not_to_have_text(before[0])
    assert "steer=visual%3A4" in page.url
    page.get_by_role("link", name="Why ").first.click()
    expect(page.get_by_role("region", name="Terms of the score")).to_be_visible()
    assert page.get_by_text("as it was recommended").count() == 1


def test_what_items_are_called_stays_text(page: Page) -> None:
    page.get_by_label("Items", exact=True).fill("onerror")
    page.get_by_role("list", name="Items found").get_by_role("link", name=HOSTILE).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    page.get_by_role("link", name="visual", exact=True).click()
    expect(page.get_by_role("link", name="visual", exact=True)).to_have_attribute("aria-current", "page")
    assert page.title() == f"{HOSTILE} · MAGNET"
    assert page.locator("img[src=x]").count() == 0


def test_experts_and_snapshot(page: Page) -> None:
    page.get_by_role("link", name="Experts").click()
    expect(page.get_by_role("region", name="Experts and their measured use")).to_be_visible()
    page.get_by_role("link", name="Snapshot").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Snapshot")
    page.get_by_label("Admin key").focus()
    assert page.evaluate("sessionStorage.length") == 1
