"""A filter that drops a group thrice as often as the rest is flagged and a fair one is not; associations by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from dashboards import bias, report
from dashboards.ask import ask
from pipeline.annotators.language import Language
from storage.groups_of_people import TERMS
from storage.store import Store
from storage.tables import signal_table
from tests.dashboards.conftest import append, decided, sample

Fate = Callable[[str, Random], str | None]


def fill(
    store: Store, texts: list[tuple[str, str]], fate: Fate, labels: list[str] | None = None, seed: int = 0
) -> Store:
    """Rows of (lang, text), of which `fate` says the reason to drop in the stage `filter`, or None."""
    draw = Random(seed)
    samples = [
        sample("s", str(i), None, text, lang=lang, label=labels[i] if labels else None)
        for i, (lang, text) in enumerate(texts)
    ]
    append(store, "decisions", [decided(row) for row in samples])
    append(store, "decisions", [decided(row, "filter", fate(row["text"], draw)) for row in samples])
    append(store, "samples", samples)
    return store


def captions(n: int) -> list[tuple[str, str]]:
    """Of every four, one each of a woman, a man, Japanese people and nobody."""
    says = ("a woman by the sea", "a man by the sea", "Japanese gardeners at work", "a harbour at night")
    return [("en", says[i % 4]) for i in range(n)]


def unfair(text: str, draw: Random) -> str | None:
    return "too_dull" if draw.random() < (0.15 if "woman" in text else 0.05) else None


def fair(text: str, draw: Random) -> str | None:
    return "too_dull" if draw.random() < 0.08 else None


def removal(store: Store) -> list[dict[str, Any]]:
    with store.connect() as db:
        return bias.removal(ask(db, "removal_by_group", bias.over()))


def test_a_filter_that_drops_a_group_thrice_as_often_is_flagged(empty: Store) -> None:
    rows = removal(fill(empty, captions(4_000), unfair))
    [flagged] = [row for row in rows if row["flagged"]]
    assert (flagged["group_name"], flagged["stage"], flagged["reason"], flagged["seen"]) == (
        "women",
        "filter",
        "too_dull",
        1_000,
    )
    assert 2 < flagged["ratio"] < 4 and 1 < flagged["ratio_low"] < flagged["ratio"]
    assert flagged["rest_seen"] == 3_000


@pytest.mark.parametrize("seed", range(12))
def test_a_fair_filter_is_not_flagged_in_a_corpus_of_any_size(empty: Store, seed: int) -> None:
    rows = removal(fill(empty, captions((40, 400, 2_000)[seed % 3]), fair, seed=seed))
    assert len(rows) >= 3 and not [row for row in rows if row["flagged"]]


def test_a_few_rows_are_no_finding(empty: Store) -> None:
    few = [("en", "a woman by the sea")] * 12 + [("en", "a harbour")] * 400
    rows = removal(
        fill(empty, few, lambda text, draw: "odd" if "woman" in text and draw.random() < 0.5 else None)
    )
    [row] = [row for row in rows if row["group_name"] == "women"]
    assert row["dropped"] < bias.LEAST_DROPPED and row["ratio"] == math.inf and not row["flagged"]


def test_the_bound_is_katz_by_hand() -> None:
    low = math.exp(math.log((30 / 100) / (20 / 200)) - 1.96 * math.sqrt(1 / 30 - 1 / 100 + 1 / 20 - 1 / 200))
    assert bias.ratio_bound(30, 100, 20, 200, 1.96) == pytest.approx(low)
    assert bias.ratio_bound(0, 100, 20, 200, 1.96) == 0
    assert bias.ratio_bound(50, 100, 0, 200, 1.96) > 2  # nothing of the rest: half a row


def test_mutual_information_by_hand(empty: Store) -> None:
    texts = (
        [("en", "a woman cooking")] * 6
        + [("en", "a man cooking")] * 2
        + [("en", "a man driving")] * 6
        + [("en", "a tree")] * 2
    )
    labels = ["kitchen"] * 8 + ["road"] * 6 + ["garden"] * 2
    fill(empty, texts, lambda *_: None, labels)
    with empty.connect() as db:
        rows = ask(db, "group_associations", bias.over(), snapshot=None, least=2, n=9)
    found = {(row["group_name"], row["what"], row["word"]): row for row in rows}
    assert found["women", "word", "cooking"]["pmi"] == pytest.approx(math.log2(6 * 16 / (6 * 8)))
    assert found["men", "word", "driving"]["pmi"] == pytest.approx(math.log2(6 * 16 / (8 * 6)))
    assert found["men", "label", "kitchen"]["pmi"] == pytest.approx(math.log2(2 * 16 / (8 * 8)))
    assert found["women", "label", "kitchen"]["together"] == 6
    assert set(found) == {
        ("women", "word", "cooking"), ("men", "word", "driving"), ("men", "word", "cooking"),
        ("women", "label", "kitchen"), ("men", "label", "kitchen"), ("men", "label", "road"),
    }  # fmt: skip
    with empty.connect() as db:  # less than the least support is not told
        few = ask(db, "group_associations", bias.over(), snapshot=None, least=3, n=9)
    assert ("men", "label", "kitchen") not in {(row["group_name"], row["what"], row["word"]) for row in few}


@pytest.mark.parametrize(
    ("lang", "text", "groups"),
    [
        ("en", "Two WOMEN, laughing", {"women"}),
        ("en", "a wooden mannequin and a womanizer's chair in Germany", set()),
        ("en", "a South-African man", {"men", "Africa"}),
        ("en-GB", "the girls' school", {"women"}),
        ("de", "Man sieht Frauen am Meer", {"women"}),
        ("de", "der alte Mann und das Meer", {"men"}),
        ("fr", "des femmes japonaises", {"women", "East Asia"}),
        ("es", "niñas y niños en la playa", {"women", "men"}),
        ("zh", "一个印度尼西亚女孩在看书", {"women", "South and Southeast Asia"}),
        ("fi", "man woman", set()),
        ("en", "a tree", set()),
    ],
)
def test_terms_are_whole_words_of_the_texts_own_language(
    empty: Store, lang: str, text: str, groups: set[str]
) -> None:
    fill(empty, [(lang, text), ("en", "a tree")], lambda *_: None)
    with empty.connect() as db:
        rows = ask(db, "group_mentions", bias.over(), snapshot=None)
    assert {row["group_name"] for row in rows if row["came_in"]} == groups
    assert len(rows) == len(TERMS)


def test_distribution_adds_up(filled: Store) -> None:
    with filled.connect() as db:
        rows = ask(db, "distribution", snapshot="snapshot-1")
    for dimension in ("source", "language", "licence", "task", "label"):
        own = [row for row in rows if row["dimension"] == dimension]
        assert sum(row["rows"] for row in own) == 6 and sum(row["share"] for row in own) == pytest.approx(1)


def test_the_page_and_the_command_tell_of_it(empty: Store, tmp_path: Path) -> None:
    from flows.cli import app

    fill(empty, captions(4_000), unfair)
    page = report.write(empty, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "1 flagged" in page and "women: too_dull" in page
    config = tmp_path / "millrace.toml"
    config.write_text(f'[store]\npath = "{empty.path}"\n')
    told = json.loads(CliRunner().invoke(app, ["stats", "bias", "--json", "--config", str(config)]).stdout)
    [(title, flagged)] = [(title, rows) for title, rows in told.items() if title.startswith("Flagged")]
    assert [row["group_name"] for row in flagged] == ["women"], title


def test_what_evaluation_sets_took_is_listed(filled: Store, empty: Store, tmp_path: Path) -> None:
    held = sample("exam", "h", None, "once upon a time", held_out=True)
    leaks = [sample("web", str(i), None, "once upon a time") for i in range(3)]
    append(empty, "decisions", [decided(row) for row in (held, *leaks)])
    append(
        empty,
        "decisions",
        [decided(row, "decontaminate", "contaminated", held["sample_id"]) for row in leaks],
    )
    append(empty, "samples", [held, *leaks])
    with empty.connect() as db:
        [row] = bias.contamination(db)
    assert (row["evaluation_set"], row["source"], row["what"], row["dropped"], row["held_rows"]) == (
        "exam",
        "web",
        "text",
        3,
        1,
    )
    assert {one["sample_id"] for one in row["examples"]} == {leak["sample_id"] for leak in leaks}
    assert "3 training rows dropped" in report.write(empty, tmp_path / "r.html").read_text(encoding="utf-8")
    with filled.connect() as db:
        assert [(row["evaluation_set"], row["dropped"]) for row in bias.contamination(db)] == [("heldout", 0)]


def test_texts_without_a_stated_language_count_in_the_detected_one(empty: Store, tmp_path: Path) -> None:
    texts = ["a woman by the sea", "eine Frau am Meer", "kvinna vid havet", "a woman at work"]
    rows = [sample("s", str(i), None, text, lang=None) for i, text in enumerate(texts)]
    rows[3]["lang"] = "en"
    append(empty, "decisions", [decided(row) for row in rows])
    append(empty, "samples", rows)
    asked = {"snapshot": None, "least": 1, "n": 9}

    def women() -> tuple[int, int, int, set[int]]:
        with empty.connect() as db:
            row = next(
                r for r in ask(db, "group_mentions", bias.over(), **asked) if r["group_name"] == "women"
            )
            told = {
                r["together"]
                for r in ask(db, "group_associations", bias.over(), **asked)
                if r["word"] == "sea"
            }
        return row["came_in"], row["texts"], row["texts_left_out"], told

    assert women() == (1, 1, 3, set())
    page = report.write(empty, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "3 other texts are left out" in page
    empty.declare(signal_table("language", "sample_id", Language.columns))
    found = zip(rows, ("en", "de", "sv", "fr"), strict=True)
    append(empty, "language", [{"sample_id": row["sample_id"], "lang": lang} for row, lang in found])
    assert women() == (3, 3, 1, {1})  # Swedish has no list; what is stated goes before what is detected


def test_signals_that_are_no_numbers_are_passed_over(empty: Store) -> None:
    row = sample("s", "0", None, "call me")
    append(empty, "samples", [row])
    columns = pa.schema([("emails", pa.int32()), ("country", pa.string())])
    empty.declare(signal_table("contact_details", "sample_id", columns))
    append(empty, "contact_details", [{"sample_id": row["sample_id"], "emails": 2, "country": "DE"}])
    with empty.connect() as db:
        found = {r["signal"]: r["rows"] for r in ask(db, "safety", snapshot=None)}
    assert found["looked_at"] == found["contact_details_emails"] == 1
