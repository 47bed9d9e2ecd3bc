"""The console while answers are late, missing or of another kind: nothing is doubled, lost or attributed wrongly."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.e2e.console.conftest import sign_in
from tests.support.events import event, sent

USER = "user/001"
FIRST_PAGE = 20
KEY = {"X-API-Key": "ordinary"}


def cards(page: Page) -> Locator:
    """The recommendations on the page."""
    return page.get_by_role("list", name="Recommendations, best first").get_by_role("listitem")


def open_user(page: Page, address: str, user: str = USER) -> None:
    """The page of a user whose recommendations fill more than one page."""
    page.goto(f"{address}/#/user?user={quote(user, safe='')}")
    expect(cards(page)).to_have_count(FIRST_PAGE)


@contextmanager
def held(page: Page, part: str) -> Iterator[list[Route]]:
    """Requests whose address contains `part` wait until the end of the block, then all of them go on."""
    waiting: list[Route] = []
    page.route(lambda url: part in url, lambda route: waiting.append(route))
    yield waiting
    page.wait_for_timeout(200)  # lets a request that should not be there come too
    for route in waiting:
        route.continue_()
    page.unroute_all()


def test_a_page_is_appended_once_however_often_it_is_asked_for(page: Page, address: str) -> None:
    open_user(page, address)
    with held(page, "/recommend/") as waiting:
        page.get_by_role("button", name="Show more").dblclick()
    assert len(waiting) == 1
    expect(cards(page)).to_have_count(2 * FIRST_PAGE)
    expect(page.get_by_text("40 items")).to_be_visible()
    ranks = page.locator(".rank").all_inner_texts()
    assert ranks == [str(rank) for rank in range(1, 2 * FIRST_PAGE + 1)]


def test_no_page_of_another_ranking_is_appended(page: Page, address: str) -> None:
    open_user(page, address)
    busy = page.locator(".ranking [aria-busy]")
    with held(page, "/recommend/"):
        page.get_by_role("slider", name="visual").press("End")
        expect(busy).to_have_count(1)
        expect(page.get_by_role("button", name="Show more")).to_be_disabled()
    expect(busy).to_have_count(0)
    page.get_by_role("button", name="Show more").click()
    expect(cards(page)).to_have_count(2 * FIRST_PAGE)


def test_a_late_answer_of_a_page_that_was_left_takes_no_focus(page: Page, address: str) -> None:
    with held(page, "/explain/"):
        page.evaluate("user => location.hash = `#/user?user=${user}`", quote(USER))
        page.wait_for_function("document.querySelector('[aria-busy]')")
        page.get_by_role("link", name="Find", exact=True).click()
        field = page.get_by_label("Items", exact=True)
        expect(page.locator("main:not([aria-busy])")).to_be_visible()
        with page.expect_response(lambda answer: "query=Thing" in answer.url):
            field.fill("Thing")
    page.wait_for_load_state("networkidle")
    expect(field).to_be_focused()


def test_a_late_move_of_a_slider_leaves_the_next_page_its_address(page: Page, address: str) -> None:
    open_user(page, address)
    page.evaluate(
        """() => {
            const slider = document.getElementById("slider-visual");
            slider.value = "4";
            slider.dispatchEvent(new Event("input"));
            location.hash = "#/experts";
        }"""
    )
    expect(page.get_by_role("heading", level=1)).to_have_text("Experts")
    page.wait_for_timeout(400)  # longer than sliders wait
    assert page.url.endswith("#/experts")


def test_a_failed_page_is_told_at_the_button_until_the_next_try(address: str, browser: Browser) -> None:
    page = browser.new_page()
    sign_in(page, address)
    open_user(page, address)
    page.route("**/recommend/**", lambda route: route.abort())
    more = page.get_by_role("button", name="Show more")
    more.click()
    told = page.locator(".ranking > ul ~ [role=status]")
    expect(told).to_have_text("The service does not answer.")
    expect(more).to_be_focused()
    page.unroute_all()
    more.click()
    expect(cards(page)).to_have_count(2 * FIRST_PAGE)
    expect(told).to_be_empty()
    page.close()


def test_a_history_that_is_not_there_any_more_is_not_called_empty(page: Page, address: str) -> None:
    open_user(page, address)

    def without_history(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"because": None})

    page.route(lambda url: "/explain?" in url, without_history)
    page.get_by_role("link", name="Why ").first.click()
    expect(page.get_by_text("can no longer be computed")).to_be_visible()
    expect(page.get_by_text("No history stands behind")).to_have_count(0)
    page.unroute_all()


@pytest.mark.parametrize("refused", ["ключ", "wrong"])
def test_a_refused_key_is_told_and_asked_for_again(address: str, browser: Browser, refused: str) -> None:
    page = browser.new_page()
    page.goto(address)
    field = page.get_by_label("API key")
    expect(field).to_be_focused()
    field.fill(refused)
    page.keyboard.press("Enter")
    words = "letters, digits and signs of ASCII" if refused == "ключ" else "does not accept the key"
    expect(page.get_by_role("alert")).to_contain_text(words)
    expect(field).to_be_focused()
    field.fill("ordinary")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Whose recommendations?")
    expect(page.get_by_role("main")).to_be_focused()
    page.close()


def test_the_page_shows_the_snapshot_that_is_served_now(page: Page) -> None:
    page.get_by_role("link", name="Snapshot").click()
    title = page.get_by_role("heading", level=1)
    expect(title).to_contain_text("tiny-0")
    for button, dataset in (("Serve ", "tiny-1"), ("Roll back", "tiny-0")):
        page.get_by_label("Admin key").fill("admin")
        page.get_by_role("button", name=button).click()
        expect(title).to_contain_text(dataset)
        expect(page.get_by_role("row").filter(has_text=dataset).get_by_text("served", exact=True)).to_be_visible()
        expect(page.get_by_role("status").filter(has_text="Now serving")).to_be_focused()


def test_the_link_to_the_page_that_is_shown_loads_it_again(page: Page) -> None:
    page.get_by_role("link", name="Experts").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Experts")
    with page.expect_response("**/experts"):
        page.get_by_role("link", name="Experts").click()


def test_somebody_forgotten_meanwhile_is_ranked_anew(page: Page, address: str, request: pytest.FixtureRequest) -> None:
    user = request.node.name
    seen = sent(event(user, "item/002"), event(user, "item/004"))
    httpx.post(f"{address}/events", json=seen, headers=KEY).raise_for_status()
    page.get_by_label("Users", exact=True).fill(user)
    page.get_by_role("link", name=f"Open “{user}”").click()
    expect(cards(page)).to_have_count(FIRST_PAGE)
    httpx.delete(f"{address}/users/{quote(user, safe='')}", headers=KEY).raise_for_status()
    page.get_by_role("button", name="Show more").click()
    expect(page.get_by_text("20 items · popular")).to_be_visible()
    expect(page.locator(".rank").first).to_have_text("1")
    expect(cards(page)).to_have_count(FIRST_PAGE)
