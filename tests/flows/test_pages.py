"""The Prefect UI in a real browser: what a person reads there, and the retraining that they start and approve.

MILLRACE_SHOTS=FOLDER keeps a picture of each page; docs/images/retrain.png is its run.png.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATIENCE_MS = 120_000


@pytest.fixture
def page() -> Iterator[Any]:
    """A page of Debian's Chromium, driven by Playwright."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine: `apt-get install chromium`")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        made = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        made.set_default_timeout(PATIENCE_MS)
        yield made
        browser.close()


def shoot(page: Any, name: str) -> None:
    """Keeps a picture of the page for people, where they want one."""
    if folder := os.environ.get("MILLRACE_SHOTS"):
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(1500)  # what glides is at its place
        page.screenshot(path=Path(folder) / f"{name}.png")


def run_of(serving: Any, **wanted: Any) -> str:
    """The page of the one run with such a state or flow."""
    assert serving.wait_until(lambda: serving.runs(**wanted), 240), serving.command.said()
    return f"{serving.url}/runs/flow-run/{serving.runs(**wanted)[0]['id']}"


@pytest.fixture
def ready(mill: Any) -> Any:
    """A store with a champion, pictures that are new to it, and a gate that asks a person."""
    from flows import promote, train

    mill.change("steps = 60", "steps = 1")
    train.start(str(mill.config))
    promote.start(str(mill.config))
    for seed in range(5):
        mill.add_noise(seed)
    settings = "\n[promote]\napproval = true\ngain = -1.0\nmost_fall = 1.0\n[evaluate]\nmax_items = 5\npictures = 1\n"
    mill.config.write_text(mill.config.read_text() + settings)
    return mill


def test_a_person_retrains_in_the_browser(ready: Any, up: Any, page: Any) -> None:
    """From the list of deployments to the artifact; a wrong value is refused, and the person's word decides."""
    serving = up(ready)
    page.goto(f"{serving.url}/deployments")
    page.get_by_role("link", name="ingest").first.wait_for()
    shoot(page, "deployments")
    page.get_by_role("link", name="ingest").first.click()
    page.get_by_text("daily-at-0200").first.wait_for()  # its schedule, and a switch for it
    shoot(page, "schedule")

    # the list shows ten on a page, and this one is on the next
    page.goto(f"{serving.url}/deployments/deployment/{serving.deployments()['retrain']['id']}")
    page.get_by_role("button", name="Run", exact=True).first.click()
    page.get_by_text("Custom run").first.click()
    page.get_by_text("Training rows that the champion never saw; with fewer, nothing is trained.").wait_for()
    shoot(page, "form")
    page.locator("input[type=number]").fill("-1")
    page.get_by_role("button", name="Submit").click()
    page.get_by_text("-1 is less than the minimum of 0").first.wait_for()
    shoot(page, "refused")
    page.locator("input[type=number]").fill("1")
    page.get_by_role("button", name="Submit").click()

    page.goto(run_of(serving, state="PAUSED"))
    page.get_by_text("a person is asked").first.wait_for()
    page.get_by_role("button", name="Resume").first.click()
    page.get_by_text("Promote it?").wait_for()
    shoot(page, "approval")
    page.get_by_role("button", name="Submit").click()

    [run] = serving.runs(flow="retrain")
    assert run["parameters"]["least_new"] == 1
    assert serving.finished(run["id"]) == "COMPLETED", serving.command.said()
    page.goto(f"{serving.url}/runs/flow-run/{run['id']}")
    page.get_by_text("promote: promoted").first.wait_for()
    shoot(page, "run")
    shown = (
        ("retrain", "retrain", "outcome"),
        ("ingest", "funnel", "By stage"),
        ("evaluate", "scores", "95% bounds"),
        ("report", "report", "open it there in a browser"),
    )
    for flow, key, words in shown:
        [made] = serving.runs(flow=flow)
        page.goto(f"{serving.url}/runs/flow-run/{made['id']}")
        page.get_by_text("Artifacts").first.click()
        page.locator(
            "a[href*='/artifacts/']", has_text=key
        ).first.click()  # the flow's link may have the same name
        page.get_by_text(words).first.wait_for()
        shoot(page, f"artifact-{key}")
    assert ready.sql("SELECT outcome, decided_by FROM promotions ORDER BY recorded_at DESC LIMIT 1") == [
        ("promoted", "person")
    ]
