"""The TOML that the documentation shows is TOML that Millrace takes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from flows import config

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```toml\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = [
    (doc, text)
    for doc in ("docs/collecting.md", "docs/preparing.md", "docs/operating.md", "docs/s3.md", "README.md")
    for text in BLOCK.findall((ROOT / doc).read_text())
]


def test_there_is_something_to_check() -> None:
    assert len(BLOCKS) >= 6


@pytest.mark.parametrize(("doc", "text"), BLOCKS)
def test_a_block_is_a_configuration(doc: str, text: str, tmp_path: Path) -> None:
    read = config.parse(config.resolve(tomllib.loads(text), tmp_path))
    assert read.source_steps or read.annotator_steps or read.fetch


def test_the_defaults_that_are_shown_are_the_defaults() -> None:
    (shown,) = (tomllib.loads(text)["fetch"] for doc, text in BLOCKS if "per_host" in text)
    shown.pop("contact")
    defaults = config.Config().fetch.model_dump(mode="json")
    assert {name: defaults[name] for name in shown} == shown
    (kept,) = (tomllib.loads(text)["maintain"] for doc, text in BLOCKS if "keep_hours" in text)
    assert config.Config().maintain.model_dump(mode="json") == kept
