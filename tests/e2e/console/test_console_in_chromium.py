"""The console in a real browser: a key is asked for, steering re-ranks, names stay text, and everybody can use it."""

from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.e2e.console.conftest import HOSTILE

USER, ITEM = "user/001", "item/002"
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
