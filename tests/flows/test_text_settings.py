"""[denoise] and [segment] hold for all sources, and a source may have its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.config import ConfigError, read

TOML = """
[denoise]
credits = true
[segment]
passage_tokens = 256
tokenizer = "bpe.json"
[[sources]]
use = "sources.folder"
name = "one"
path = "one"
[[sources]]
use = "sources.folder"
name = "two"
path = "two"
denoise = {tails = false}
segment = {document_tokens = 512, tokenizer = "other.json"}
"""


def test_a_source_may_have_its_own(tmp_path: Path) -> None:
    (tmp_path / "millrace.toml").write_text(TOML)
    one, two = read(tmp_path / "millrace.toml").origins.values()
    assert (one.denoise.credits, one.denoise.tails, one.segment.passage_tokens) == (True, True, 256)
    assert (two.denoise.credits, two.denoise.tails, two.segment.passage_tokens) == (False, False, None)
    assert one.segment.tokenizer == str(tmp_path / "bpe.json")
    assert two.segment.tokenizer == str(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("credits = true", "credit = true", "unknown setting `denoise.credit`; allowed here: credits"),
        ("passage_tokens = 256", "passage_tokens = 3", "segment.passage_tokens"),
        ("tails = false", "tail = false", "unknown setting"),
    ],
)
def test_a_mistake_is_told_where_it_is(tmp_path: Path, old: str, new: str, told: str) -> None:
    (tmp_path / "millrace.toml").write_text(TOML.replace(old, new))
    with pytest.raises(ConfigError, match=told):
        read(tmp_path / "millrace.toml")
