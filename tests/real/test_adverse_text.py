"""The big list of naughty strings goes through cleaning: no crash, nothing lost without a reason."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.text import clean, clean_column, normalise_key

DATA = (
    Path(os.environ.get("MILLRACE_REAL_DATA", Path(__file__).parents[2] / "../shared/data")) / "adverse-text"
)
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no real data here")


@pytest.fixture(scope="module")
def strings() -> list[str]:
    return json.loads((DATA / "blns.json").read_text())


def test_every_string_is_kept_and_stays_clean(strings: list[str]):
    assert len(strings) > 500
    for value in strings:
        found, why = clean(value.encode())
        assert why is None
        if found is None:
            visible = [c for c in value if unicodedata.category(c)[0] not in "ZC"]
            assert not visible, repr(value)
            continue
        assert clean(found.encode()) == (found, None)
        assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in found if c != "\n")
        assert normalise_key(found) == normalise_key(normalise_key(found))


def test_what_looks_like_code_or_a_path_passes_unchanged(strings: list[str]):
    plain = [s for s in strings if s.isascii() and s.isprintable() and "  " not in s and s == s.strip() and s]
    assert len(plain) > 250
    texts, reasons = clean_column(pa.array([s.encode() for s in plain]))
    assert texts.to_pylist() == plain
    assert reasons.null_count == len(plain)


def test_the_raw_file_passes_as_lines():
    lines = (DATA / "blns.txt").read_bytes().split(b"\n")
    assert {clean(line)[1] for line in lines} <= {None, "invalid_utf8"}
