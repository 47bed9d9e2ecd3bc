"""Takes the README's pictures in Chromium, from a store with the demo catalogue: `make pictures`, after `make demo`."""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from pathlib import Path
from urllib.parse import quote

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.service_client import on_a_port

FOLDER = Path(__file__).with_name("pictures")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DESK = {"width": 1200, "height": 860}
TALL = {"width": 1200, "height": 1240}
PHONE = {"width": 390, "height": 860}
LARGEST_KB = 200
COLOURS = 256
QUIET_MS = 2000


def main() -> None:
    """Serve the store on a free port, take every picture, and say how large it is."""
    parser = argparse.ArgumentParser(description="Take the README's pictures.")
    parser.add_argument("--store", type=Path, default=Path("demo/store"), help="a store with the demo catalogue")
    store = parser.parse_args().store
    with tempfile.TemporaryDirectory() as state, on_a_port(store, MAGNET_STATE=state) as address:
        user = httpx.get(f"{address}/users", params={"limit": 4}).json()["users"][3]
        best = httpx.get(f"{address}/recommend/{quote(user, safe='')}", params={"k": 1}).json()["items"][0]["item"]
        asked = f"user={quote(user, safe='')}"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            take(browser, f"{address}/#/user?{asked}&steer=visual:2", "recommendations", DESK)
            take(browser, f"{address}/#/explain?{asked}&item={quote(best, safe='')}", "explanation", TALL)
            take(browser, f"{address}/#/user?{asked}", "phone-dark", PHONE, dark=True)
            take(browser, f"{address}/snapshot/report#routing-over-time", "report", TALL)


def take(browser: Browser, address: str, name: str, size: dict[str, int], *, dark: bool = False) -> None:
    """One picture, reduced to few colours: a page has no more."""
    page = browser.new_page(
        viewport={"width": size["width"], "height": size["height"]}, color_scheme="dark" if dark else "light"
    )
    page.goto(address)
    page.locator("h1").wait_for()
    page.locator("main:not([aria-busy])").wait_for()
    settle(page)
    path = FOLDER / f"{name}.png"
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(COLOURS, kmeans=2).save(path, optimize=True)
    page.close()
    kilobytes = path.stat().st_size / 1e3
    if kilobytes > LARGEST_KB:
        raise SystemExit(f"{path}: expected at most {LARGEST_KB} kB, found {kilobytes:.0f}")
    print(f"{path.name}: {kilobytes:.0f} kB")


def settle(page: Page) -> None:
    """Wait until no further picture comes."""
    before = -1
    while before != (before := page.locator("img").count()):
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(QUIET_MS)


if __name__ == "__main__":
    main()
