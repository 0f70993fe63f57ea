"""The live pages in a real browser: nothing fails there, nothing is asked of another address, and controls do what they say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from dashboards.app import PAGES
from dashboards.page import Mill
from pipeline.annotators.perceptual_hash import PerceptualHash
from pipeline.filters.size import Size
from storage.store import Store
from storage.tables import signal_table
from tests.dashboards.browser import chromium
from tests.dashboards.browser import page as opened
from tests.dashboards.pages_served import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass
class Browser:
    """A page of Debian's Chromium, and what went wrong on it."""

    page: Any
    url: str = ""
    wrong: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def over(self, url: str) -> None:
        """Pages of another server from now on."""
        self.url, self.wrong, self.asked = url, [], []

    def open(self, path: str) -> None:
        answer = self.page.goto(self.url + path)
        assert answer.status == 200
        self.page.wait_for_load_state("networkidle")

    def expect_nothing_wrong(self) -> None:
        elsewhere = [one for one in self.asked if not one.startswith((self.url, "data:"))]
        assert (self.wrong, elsewhere) == ([], [])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if chromium() is None:
        pytest.skip("no Chromium on this machine: `apt-get install chromium`")
    with opened() as page:
        made = Browser(page)
        page.on("pageerror", lambda error: made.wrong.append(str(error)))
        page.on("console", lambda said: made.wrong.append(said.text) if said.type == "error" else None)
        page.on("requestfailed", lambda request: made.wrong.append(request.url))
        page.on("request", lambda request: made.asked.append(request.url))
        yield made


@pytest.fixture(scope="module")
def full(filled: Store) -> Mill:
    signed = PerceptualHash().annotate(filled.read("images", ["image_id", "image", "width", "height"]), {})
    filled.append(
        signal_table("perceptual_hash", "image_id", PerceptualHash.columns), signed, parts=["hashes"]
    )
    return Mill(filled, filters=lambda: [Size(width=32, height=32)])


def test_every_page_opens_on_an_empty_store(browser: Browser, tmp_path: Path) -> None:
    with serving(Mill(Store.open(tmp_path / "empty"))) as client:
        browser.over(str(client.base_url))
        for page in PAGES:
            browser.open(page.path)
            assert browser.page.locator("h1").inner_text() == page.title
            assert browser.page.locator(".empty").count()
    browser.expect_nothing_wrong()


def test_every_page_opens_on_a_full_store(browser: Browser, full: Mill) -> None:
    with serving(full) as client:
        browser.over(str(client.base_url))
        for page in PAGES:
            browser.open(page.path)
            assert browser.page.locator("h1").inner_text() == page.title
            assert browser.page.title() == f"{page.title} · Millrace"  # no text of the corpus has run
        browser.open("/corpus?signal=text+length&words=a")
    browser.expect_nothing_wrong()


def test_a_slider_that_moves_shows_what_would_be_kept(browser: Browser, full: Mill) -> None:
    with serving(full) as client:
        browser.over(str(client.base_url))
        browser.open("/thresholds?filter=filters.size&setting=width")
        dropped = browser.page.locator(".tiles li:has-text('more dropped') b")
        assert dropped.inner_text() == "0"
        browser.page.locator("input[type=range]").press("End")
        browser.page.locator(".tiles li:has-text('more dropped') b:text-matches('[1-9]')").wait_for()
        assert re.search(r"width\.to=\d+", browser.page.url)
        assert (
            browser.page.evaluate("document.activeElement.type") == "range"
        )  # the keyboard stays where it is
        browser.page.reload()
        assert dropped.inner_text() != "0"  # the address holds it
    browser.expect_nothing_wrong()


def test_a_threshold_is_saved_from_the_page(browser: Browser, full: Mill) -> None:
    saved: list[tuple[int, str, str, float]] = []
    with serving(replace(full, save=lambda *told: saved.append(told))) as client:
        browser.over(str(client.base_url))
        browser.open("/thresholds?filter=filters.size&setting=width&width.to=64")
        browser.page.get_by_role("button", name="Save width = 64").click()
        browser.page.get_by_text("Saved: the next ingest judges by it").wait_for()
    assert saved == [(0, "filters.size", "width", 64)]
    browser.expect_nothing_wrong()


def test_typing_searches(browser: Browser, full: Mill) -> None:
    with serving(full) as client:
        browser.over(str(client.base_url))
        browser.open("/corpus")
        browser.page.locator("#words").press_sequentially("red square")
        browser.page.get_by_role("heading", name="2 rows").wait_for()
        assert browser.page.locator("#words").input_value() == "red square"
        browser.page.keyboard.press("Tab")
        assert browser.page.evaluate("document.activeElement.id") == "source"
    browser.expect_nothing_wrong()
