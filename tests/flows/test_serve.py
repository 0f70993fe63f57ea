"""`millrace serve`: the champion answers, its successor takes over, and what was begun is finished when it ends. And the
page, in a browser."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from flows import comparing, train
from flows.config import ConfigError, read
from flows.serve import KEYS, fetcher, run
from model.serving.pictures import FetchRefused
from storage import champions
from tests.flows.serving import until
from tests.serving import folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def trained(milled: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    mill = milled.copy(tmp_path_factory.mktemp("serve") / "project")
    mill.change("steps = 60", "steps = 1\nseed = 0")
    train.start(str(mill.config), "latest", "first")
    mill.change("seed = 0", "seed = 1")
    train.start(str(mill.config), "latest", "second")
    mill.config.write_text(mill.config.read_text() + "\n[serve]\nlook = 0.2\nmax_tokens = 5000\n")
    return mill


@pytest.fixture(scope="module")
def ids(trained: Any) -> list[str]:
    rows = trained.sql("SELECT run_id, checkpoint_id FROM checkpoints ORDER BY step")
    return [dict(rows)[name] for name in ("first", "second")]


@pytest.fixture(scope="module")
def served(trained: Any, ids: list[str], lasting: Callable[..., Any]) -> Any:
    """The running command, and its address."""
    champions.record(trained.store(), champions.PROMOTED, ids[0], "the first")
    from flows.server import free_port

    port = free_port()
    command = lasting(trained, "serve", "--port", str(port))
    url = f"http://127.0.0.1:{port}"

    def up() -> bool:
        assert command.alive(), command.said()
        try:
            return httpx.get(f"{url}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    assert until(up), command.said()
    return command, url


@pytest.fixture
def page() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine: `apt-get install chromium`")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        made = browser.new_page()
        made.set_default_timeout(60_000)
        yield made
        browser.close()


def test_a_person_asks_draws_and_translates(served: Any, page: Any, tmp_path: Path, ids: list[str]) -> None:
    _, url = served
    asked, wrong = [], []
    page.on("request", lambda one: asked.append(one.url))
    page.on("console", lambda one: wrong.append(one.text) if one.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(url)
    page.locator("#model", has_text=ids[0]).wait_for()
    picture = tmp_path / "a.png"
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(picture)
    page.get_by_label("Picture").set_input_files(picture)
    page.get_by_alt_text("The picture that is asked about").wait_for()
    answer = page.get_by_role("status")

    def go() -> None:
        page.get_by_role("button", name="Go").click()
        page.locator("#go:enabled").wait_for()
        assert "bad" not in (answer.get_attribute("class") or ""), answer.inner_text()

    go()
    page.get_by_label("Question").fill("what colour is it?")
    go()
    page.get_by_label("Task").select_option("draw")
    page.get_by_label("What shall be drawn?").fill("a red circle")
    go()
    drawn = answer.get_by_role("img")
    assert drawn.evaluate("one => one.decode().then(() => one.naturalWidth)") == 256
    page.get_by_label("Task").select_option("translate")
    page.get_by_label("From").wait_for()
    go()
    page.get_by_text("What this checkpoint was trained on").click()
    page.get_by_text("Sources and licences").wait_for()
    if folder := os.environ.get("MILLRACE_SHOTS"):
        page.screenshot(path=Path(folder) / "serve.png", full_page=True)
    assert wrong == []
    assert all(one.startswith((url, "data:", "blob:")) for one in asked)
    names = page.evaluate(
        "[...document.querySelectorAll('input,select,textarea')].every(one => one.labels.length)"
    )
    assert names


def test_the_readme_asks_it_by_curl(served: Any, tmp_path: Path) -> None:
    _, url = served
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    [asked] = re.findall(r"^```sh\n(curl .*?)^```", readme, re.DOTALL | re.MULTILINE)
    Image.new("RGB", (32, 32), "yellow").save(tmp_path / "star.png")
    script = asked.replace("localhost:8000", url.removeprefix("http://"))
    said = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert '"choices"' in said and '"b64_json"' in said and '"error"' not in said


def test_a_checkpoint_through_the_server_says_what_it_says_itself(
    trained: Any, served: Any, ids: list[str]
) -> None:
    _, url = served
    asked = comparing.Wish(
        ids[0], base_url=f"{url}/v1", model="millrace", names=("caption", "vqa"), most=4, api_key_env=""
    )
    done = comparing.run(trained.config, asked)
    assert done["unanswered"] == 0 and len(done["items"]) >= 8
    for one in done["items"]:  # an endpoint is given more tokens, since its words may be shorter
        assert one["theirs"].startswith(one["ours"].strip()), one
    assert any(one["ours"].strip() for one in done["items"])


@pytest.mark.parametrize("allowed", [True, False])
def test_pictures_behind_urls_come_by_the_rules_of_fetching(
    trained: Any, allowed: bool, tmp_path: Path
) -> None:
    settings = read(trained.config)
    picture = tmp_path / "seen.png"
    Image.new("RGB", (40, 40), "yellow").save(picture)
    near = {"allow": ("127.0.0.0/8",) if allowed else (), "run_deadline": 0.01}
    changed = {
        "serve": settings.serve.model_copy(update={"remote_images": True}),
        "fetch": settings.fetch.model_copy(update=near),
    }
    with (
        folder(picture.parent) as url,
        fetcher(settings.model_copy(update=changed), settings.open_store()) as fetch,
    ):
        if allowed:
            assert fetch(f"{url}/seen.png") == picture.read_bytes()
            with pytest.raises(FetchRefused):
                fetch(f"{url}/none.png")
        else:
            with pytest.raises(FetchRefused, match="forbidden_address"):
                fetch(f"{url}/seen.png")
    with fetcher(settings, settings.open_store()) as none:
        assert none is None


def test_a_new_champion_answers_and_the_end_is_graceful(trained: Any, served: Any, ids: list[str]) -> None:
    command, url = served
    heard: list[str] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            told = httpx.post(f"{url}/v1/completions", json={"prompt": "a", "max_tokens": 5}, timeout=60)
            heard.append(told.json()["system_fingerprint"] if told.status_code == 200 else told.text)

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for one in asking:
        one.start()
    assert until(lambda: len(heard) > 5)
    champions.record(trained.store(), champions.PROMOTED, ids[1], "the second")
    assert until(lambda: ids[1] in heard, 60), command.said()
    over.set()
    for one in asking:
        one.join(60)
    assert set(heard) == set(ids)
    body = {"prompt": "a", "max_tokens": 400, "temperature": 5, "seed": 1, "stream": True, "n": 4}
    with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        command.process.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert sum('"finish_reason": "' in line for line in rest) == 4
    command.wait(60)
    assert "answers from now on" in command.said() and "stopped" in command.said()


def test_other_machines_are_let_in_only_with_a_key(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEYS, raising=False)
    with pytest.raises(ConfigError, match=KEYS):
        run(trained.config, "", 0, "0.0.0.0")
