"""24 modules of two OpenStax books, in English and Polish: every figure, every word, counted by regular expressions."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.sources.cnxml import CNXML
from pipeline.web.client import Web
from pipeline.web.source import Known

BOOKS = {"astronomy": ("en", 12), "fizyka": ("pl", 12)}


@pytest.fixture(scope="module")
def library(real_data: Callable[[str], Path]) -> Path:
    return real_data("web-library-inputs") / "cnxml-library"


@pytest.fixture(scope="module")
def modules(library: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in library.glob("*/modules/*/index.cnxml")}


def rows(library: Path, **options: Any) -> list[dict[str, Any]]:
    source, web = CNXML(path=f"{library}/*/modules/*/index.cnxml", **options), Web()
    found = [row for shard in source.shards(Known(), web) for row in source.read(shard, web)]
    assert len({(row["origin"], row["position"]) for row in found}) == len(found)
    return found


def test_every_figure_is_a_row_for_each_text_said_of_it(library: Path, modules: dict[str, str]) -> None:
    assert len(modules) == 24
    assert sum(len(re.findall(r"<figure[\s>]", text)) for text in modules.values()) == 76
    found = [row for row in rows(library, documents=False) if row["error"] == "missing_file"]
    assert {row["task"] for row in found} == {"caption"}
    wanted: dict[tuple[str, str], set[str]] = {}
    for module, text in modules.items():
        for alt, src in re.findall(r'<media[^>]*\salt="([^"]*)"[^>]*>\s*<image[^>]*\ssrc="([^"]*)"', text):
            said = wanted.setdefault((module, src.rpartition("/")[2]), set())
            said.add(" ".join(html.unescape(alt).split()))
    assert len(wanted) == 77  # one stands in an exercise, not in a figure
    pictures: dict[tuple[str, str], set[str]] = {}
    for row in found:
        name = row["detail"].removesuffix(" is not in the folder of pictures")
        pictures.setdefault((row["origin"], name), set()).add(row["text"].decode())
    assert set(pictures) == set(wanted)
    assert all(wanted[key] <= said for key, said in pictures.items())
    assert len(found) == 77 + 76  # alternative texts and captions
    assert {row["origin"] for row in rows(library, documents=False) if row["error"] == "no_picture"} == {
        "m65852",
        "m65853",
    }


def test_no_word_of_a_module_is_lost(library: Path, modules: dict[str, str]) -> None:
    told: dict[str, str] = {}
    for row in rows(library):
        told[row["origin"]] = f"{told.get(row['origin'], '')} {(row['text'] or b'').decode()}"
    assert set(told) == set(modules)
    for module, text in modules.items():
        text = re.sub(r"(?s)<metadata.*?</metadata>|<m:annotation.*?</m:annotation(?:-xml)?>", " ", text)
        text = html.unescape(re.sub(r"""(?s)<!--.*?-->|<(?:[^>"]|"[^"]*")+>""", " ", text))
        words = set(re.findall(r"[^\W\d_]{3,}", text))
        assert len(words) > 20
        assert [word for word in words if word not in told[module]] == []


def test_paragraphs_stand_in_reading_order(library: Path, modules: dict[str, str]) -> None:
    found = [row for row in rows(library) if row["origin"] == "m65809"]
    assert [(row["position"], row["task"], row["text"].decode()[:24]) for row in found] == [
        (0, "text", "Wstęp"),
        (1, "caption", "Zdjęcie wykonane przy uż"),
        (2, "caption", "Obserwowalna część Wszec"),
        (3, "text", "W rozdziale tym poznamy "),
    ]


def test_terms_come_from_the_collections(library: Path) -> None:
    assert {(row.get("lang"), row.get("licence")) for row in rows(library)} == {(None, None)}
    found = rows(library, collections=f"{library}/*/collections/*.collection.xml")
    for book, (lang, count) in BOOKS.items():
        ids = {path.name for path in (library / book / "modules").iterdir()}
        assert len(ids) == count
        assert {(r["lang"], r["licence"]) for r in found if r["origin"] in ids} == {(lang, "CC-BY-4.0")}
