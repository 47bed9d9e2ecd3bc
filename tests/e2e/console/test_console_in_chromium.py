"""The console in a real browser: a key is asked for, steering re-ranks, names stay text, and everybody can use it."""

import json
import shutil
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.service_client import on_a_port, promoted
from tests.support.tiny_snapshot import write_tiny_pair_snapshot

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<img src=x onerror=\"document.title='pwned'\">"
USER, ITEM = "user/001", "item/002"
WIDTHS = {"desk": 1200, "phone": 360}
VIEWS = {
    "find": "#/",
    "user": f"#/user?user={quote(USER)}",
    "steered": f"#/user?user={quote(USER)}&steer=visual:4",
    "stranger": "#/user?user=nobody",
    "explain": f"#/explain?user={quote(USER)}&item={quote(ITEM)}",
    "similar": f"#/similar?item={quote(ITEM)}",
    "experts": "#/experts",
    "snapshot": "#/snapshot",
    "missing": "#/nowhere",
}
SERIOUS = {"serious", "critical"}
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


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, address: str, browser: Browser) -> Iterator[Page]:
    """A page that has been given the key; fails on whatever the browser complains about afterwards."""
    complaints: list[str] = []
    page = browser.new_page(viewport={"width": WIDTHS[request.param], "height": 900})
    page.goto(address)
    page.get_by_label("API key").fill("ordinary")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Whose recommendations?")
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    yield page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the window"
    page.close()
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
    expect(page.get_by_title("without steering").first).to_be_visible()
    assert "steer=visual%3A4" in page.url
    page.get_by_role("button", name="Show more").click()
    expect(cards).to_have_count(40)
    expect(cards.nth(20).get_by_role("link").first).to_be_focused()
    page.get_by_role("link", name="Why ").first.click()
    expect(page.get_by_role("region", name="Terms of the score")).to_be_visible()
    assert page.get_by_text("as it was recommended").count() == 1


def test_places_are_compared_within_the_category(page: Page, address: str) -> None:
    page.goto(f"{address}/#/user?user={quote(USER)}&category=red")
    cards = page.get_by_role("list", name="Recommendations, best first").get_by_role("listitem")
    expect(cards.first).to_be_visible()
    moved = page.get_by_title("without steering")
    assert moved.count() == 0, "a category alone steers nothing"
    for category, turn in (
        ("red", lambda: page.get_by_role("slider", name="visual").press("End")),
        ("green", lambda: page.get_by_label("category").select_option("green")),
    ):
        with (
            page.expect_response(lambda answer: "k=200" in answer.url) as usual,
            page.expect_response(lambda answer: "steer=visual%3A4" in answer.url) as steered,
        ):
            turn()
        assert f"category={category}" in usual.value.url
        before = {item["item"]: item["rank"] for item in usual.value.json()["items"]}
        after = {item["item"]: item["rank"] for item in steered.value.json()["items"]}
        said = [f"place {before[item]} without steering" for item, rank in after.items() if before[item] != rank]
        assert said
        expect(moved).to_have_count(len(said))
        assert [mark.get_attribute("title") for mark in moved.all()] == said


@pytest.mark.parametrize("view", ["user?user=..", "user?user=.", "similar?item=.."])
def test_ids_that_browsers_drop_from_addresses_are_refused_in_words(page: Page, address: str, view: str) -> None:
    page.goto(f"{address}/#/{view}")
    expect(page.get_by_role("alert")).to_contain_text("browsers drop it from every address")


def test_what_items_are_called_stays_text(page: Page) -> None:
    page.get_by_label("Items", exact=True).fill("onerror")
    page.get_by_role("list", name="Items found").get_by_role("link", name=HOSTILE).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    page.get_by_role("link", name="visual", exact=True).click()
    expect(page.get_by_role("link", name="visual", exact=True)).to_have_attribute("aria-current", "page")
    assert page.title() == f"{HOSTILE} · MAGNET"
    assert page.locator("img[src=x]").count() == 0
    page.get_by_label("How does it score for").fill(USER)
    page.keyboard.press("Enter")
    expect(page.get_by_text("computed now, without steering")).to_be_visible()


def test_experts_curves_and_report(page: Page) -> None:
    page.get_by_role("link", name="Experts").click()
    expect(page.get_by_role("region", name="Experts and their measured use")).to_be_visible()
    page.get_by_role("link", name="Snapshot").click()
    expect(page.get_by_role("img", name="Routing entropy")).to_be_visible()
    assert page.get_by_text("second stage, step 2").count() == 2
    page.get_by_role("link", name="Training report").click()
    title = page.frame_locator("iframe").get_by_role("heading", name="How it was fitted")
    expect(title).to_have_css("color", "rgb(1, 2, 3)")
    page.get_by_role("link", name="Back to the snapshot").click()
    expect(page.get_by_role("heading", name="Snapshots in the store")).to_be_visible()


def test_another_snapshot_is_served_with_the_admin_key_alone(page: Page) -> None:
    page.get_by_role("link", name="Snapshot").click()
    expect(page.get_by_role("heading", name="Snapshots in the store")).to_be_visible()
    served = page.get_by_role("heading", level=1).inner_text()
    page.get_by_label("Admin key").fill("admin")
    page.get_by_role("button", name="Serve ").click()
    expect(page.get_by_text("Now serving")).to_be_visible()
    assert page.evaluate("Object.keys(sessionStorage).length") == 1
    page.reload()
    expect(page.get_by_role("heading", level=1)).not_to_have_text(served)
    page.get_by_label("Admin key").fill("admin")
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_text("Now serving")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text(served)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(address: str, browser: Browser, theme: str) -> None:
    page = browser.new_page(color_scheme="dark" if theme == "dark" else "light")
    page.goto(address)
    found = {"key": Axe().run(page).response["violations"]}
    page.get_by_label("API key").fill("ordinary")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Whose recommendations?")
    for name, view in VIEWS.items():
        page.goto(f"{address}/{view}")
        page.locator("main:not([aria-busy]) h1").wait_for()
        found[name] = Axe().run(page).response["violations"]
    page.goto(f"{address}/console/report.html")
    page.frame_locator("iframe").get_by_role("heading").wait_for()
    found["report"] = Axe().run(page).response["violations"]
    page.close()
    serious = {
        (name, violation["id"], node["html"])
        for name, violations in found.items()
        for violation in violations
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    }
    assert serious == set()
