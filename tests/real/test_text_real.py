"""Real texts in many languages: repaired where broken, left alone where not, cut where sentences end, told by language."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from pipeline.annotators.language import Language, agree
from pipeline.denoise import Denoise
from pipeline.filters.repetition import Repetition
from pipeline.segment import estimated, passages
from pipeline.sentences import sentences
from pipeline.text import clean

SPOKEN = {
    "eng": "en", "deu": "de", "fra": "fr", "spa": "es", "pol": "pl", "rus": "ru", "ita": "it", "por": "pt", "nld": "nl",
    "cmn": "zh", "jpn": "ja", "kor": "ko", "ara": "ar", "heb": "he", "hin": "hi", "ben": "bn", "tur": "tr", "ukr": "uk",
    "ces": "cs", "ell": "el", "fin": "fi", "hun": "hu",
}  # fmt: skip
UNSPACED = ("cmn", "jpn")


@pytest.fixture(scope="module")
def said(real_data: Callable[[str], Path]) -> dict[str, list[str]]:
    """Up to 400 sentences of Tatoeba for each language."""
    file = real_data("parallel-text") / "tatoeba_x_eng.parquet"
    rows = duckdb.sql(
        f"SELECT lang, text FROM '{file}' UNION ALL SELECT DISTINCT 'eng', english FROM '{file}' ORDER BY hash(text)"
    ).fetchall()
    found = defaultdict(list)
    for lang, text in rows:
        if len(found[lang]) < 400:
            found[lang].append(text.strip())
    return found


@pytest.fixture(scope="module")
def paragraphs(real_data: Callable[[str], Path]) -> dict[str, list[str]]:
    """Paragraphs of textbooks in English, Spanish and Polish."""
    file = real_data("parallel-text") / "textbook_paragraphs.parquet"
    rows = duckdb.sql(
        f"SELECT lang_a, text_a FROM '{file}' UNION ALL SELECT lang_b, text_b FROM '{file}'"
    ).fetchall()
    found = defaultdict(list)
    for lang, text in rows:
        found[lang].append(text)
    return found


def test_what_is_not_broken_is_left_alone(said: dict[str, list[str]], paragraphs: dict[str, list[str]]):
    denoise = Denoise()
    for texts in [*said.values(), *paragraphs.values()]:
        for text in texts:
            found, _, told = denoise.clean(text.encode(), "text")
            assert found == clean(text.encode())[0], told


def test_mojibake_of_every_language_is_repaired(said: dict[str, list[str]]):
    repaired = broken = 0
    for text in (clean(text.encode())[0] or "" for texts in said.values() for text in texts):
        if not text.isascii():
            broken += 1
            repaired += Denoise().clean(text.encode().decode("latin-1").encode(), "text")[0] == text
    assert broken > 5000 and repaired / broken > 0.99


def joined(texts: list[str], joint: str) -> Iterator[tuple[str, set[int]]]:
    """Five one-sentence texts in a row, and where all but the last end."""
    for start in range(0, len(texts) - 5, 5):
        ends, at = set(), 0
        for text in texts[start : start + 4]:
            ends.add(at + len(text))
            at += len(text) + len(joint)
        yield joint.join(texts[start : start + 5]), ends


@pytest.mark.parametrize("code", SPOKEN)
def test_sentences_end_where_their_texts_ended(said: dict[str, list[str]], code: str):
    one = [t for t in said[code] if t[-1] in ".!?。！？؟।;" and not re.search(r"[.!?。！？؟।].*\w", t[:-1])]
    right = found = wanted = 0
    for text, ends in joined(one, "" if code in UNSPACED else " "):
        at, cuts = 0, set()
        for piece in sentences(text, SPOKEN[code])[:-1]:
            cuts.add(at + len(piece.rstrip()))
            at += len(piece)
        right, found, wanted = right + len(cuts & ends), found + len(cuts), wanted + len(ends)
    assert wanted > 150 and 2 * right / (found + wanted) > 0.98


def test_long_sections_are_cut_between_sentences_and_nothing_is_lost(real_data: Callable[[str], Path]):
    file = real_data("titles-summaries") / "section_titles.parquet"
    rows = duckdb.sql(
        f"SELECT lang, text FROM '{file}' WHERE length(text) > 2000 ORDER BY hash(text) LIMIT 150"
    ).fetchall()
    ended = cuts = 0
    for lang, text in rows:
        pieces = passages(text, 256, estimated, lang)
        assert "".join("".join(pieces).split()) == "".join(text.split())
        assert max(estimated(pieces)) <= 256
        cuts += len(pieces) - 1
        ended += sum(piece[-1] in '.!?…:)”"»' or "\n" in piece[-3:] for piece in pieces[:-1])
    assert cuts > 500 and ended / cuts > 0.9


def test_prose_of_textbooks_is_no_repetition(paragraphs: dict[str, list[str]]):
    texts = random.Random(0).sample(paragraphs["en"] + paragraphs["es"] + paragraphs["pl"], 3000)
    assert sum(map(Repetition().repeats, texts)) / len(texts) < 0.03


def test_languages_are_found(said: dict[str, list[str]]):
    step = Language()
    rows = [(lang, *step.detect(text)) for code, lang in SPOKEN.items() for text in said[code]]
    known = [(lang, found) for lang, found, _ in rows if found != "und"]
    assert len(known) / len(rows) > 0.9
    assert sum(lang == found for lang, found in known) / len(known) > 0.98
    certain = [(lang, found) for lang, found, confidence in rows if confidence > 0.8]
    assert sum(agree(lang, found) is False for lang, found in certain) / len(rows) < 0.001


def test_captions_of_textbooks_do_not_contradict_their_language(real_data: Callable[[str], Path]):
    file = real_data("textbook-figures") / "captions.parquet"
    step = Language()
    rows = duckdb.sql(f"SELECT lang, caption FROM '{file}' WHERE caption <> ''").fetchall()
    found = [(lang, *step.detect(text)) for lang, text in rows]
    assert sum(lang == told for lang, told, _ in found) / len(found) > 0.98
    assert not [1 for lang, told, sure in found if sure > 0.8 and agree(lang, told) is False]
