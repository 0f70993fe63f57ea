"""Debian's Chromium as tests and pictures of pages use it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIZE = {"width": 1360, "height": 900}


def chromium() -> str | None:
    """Where it is, None if it is not here."""
    return shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def page(**more: Any) -> Iterator[Any]:
    """A page of a browser that ends with the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        made = started.new_page(viewport=SIZE, color_scheme="light", **more)
        made.set_default_timeout(60_000)
        yield made
        started.close()
