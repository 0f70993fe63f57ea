"""Which rows each filter keeps; a null verdict counts as kept."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from pipeline.filters.aspect_ratio import AspectRatio
from pipeline.filters.caption_length import CaptionLength
from pipeline.filters.caption_spam import CaptionSpam
from pipeline.filters.contact_details import ContactDetails
from pipeline.filters.licence import Licence
from pipeline.filters.size import Size
from pipeline.step import Filter


def kept(step: Filter, **columns: list[Any]) -> list[bool]:
    types = {"text": pa.string(), "task": pa.string(), "licence": pa.string()}
    rows = pa.table({name: pa.array(values, types.get(name, pa.int32())) for name, values in columns.items()})
    assert set(step.reads) == set(columns)
    verdicts = step.keep(rows).to_pylist()
    assert len(verdicts) == rows.num_rows
    return [verdict is not False for verdict in verdicts]


def test_size_judges_the_original() -> None:
    sides = {"original_width": [32, 31, 500, None], "original_height": [32, 500, 31, None]}
    assert kept(Size(), **sides) == [True, False, False, True]
    assert kept(Size(width=1, height=1), **sides) == [True] * 4
    assert Size.reason == "too_small"


def test_licence_keeps_what_is_allowed_and_nothing_else() -> None:
    licences = ["CC0-1.0", "CC-BY-NC-4.0", "cc0-1.0", "", None]
    assert kept(Licence(allow=("CC0-1.0", "MIT")), licence=licences) == [True, False, False, False, False]
    assert kept(Licence(allow=()), licence=licences) == [False] * 5


def test_aspect_ratio_of_either_orientation() -> None:
    sides = {"original_width": [300, 301, 100, 100, None], "original_height": [100, 100, 300, 301, None]}
    assert kept(AspectRatio(), **sides) == [True, False, True, False, True]


def captions(step: Filter, *texts: str | None, task: str = "caption") -> list[bool]:
    return kept(step, text=list(texts), task=[task] * len(texts))


def test_caption_length_in_words_and_characters() -> None:
    step = CaptionLength(min_words=2, max_words=5, min_characters=4, max_characters=20)
    assert captions(step, "a dog", "dog", "a b", "a b c d e f", "abcdefghijk lmnopqrstu", None) == [
        True, False, False, False, False, True,
    ]  # fmt: skip


def test_caption_length_counts_characters_where_there_are_no_spaces() -> None:
    step = CaptionLength(min_words=4)
    assert captions(step, "红色圆形", "红圆", "red circle") == [True, False, False]


def test_caption_length_leaves_other_tasks_alone() -> None:
    step = CaptionLength(min_words=3)
    assert captions(step, "yes", task="vqa") == [True]
    assert captions(step, "yes", task="caption") == [False]


@pytest.mark.parametrize(
    "text",
    [
        "BUY NOW!!! cheap watches",
        "Click here for more",
        "see http://example.com/deal",
        "more at www.example.com",
        "pictures by shop.example.com",
        "free shipping, lowest price",
        "#cat #dog #love #instagood",
        "cheap watches cheap watches cheap watches cheap watches",
        "Jetzt kaufen: rote Schuhe",
        "Cliquez ici",
        "立即购买，全国包邮",
    ],
)
def test_spam_is_dropped(text: str) -> None:
    assert captions(CaptionSpam(), text) == [False]


@pytest.mark.parametrize(
    "text",
    [
        "a red circle above a blue star",
        "a red circle, a red square, a red star and a red heart",
        "a shop here in town",
        "a man who wants his money back",
        "the elevator is out of order",
        "don't miss the detail in the corner",
        "a #1 trophy",
        "Boyle found that volume is inversely proportional to pressure.",
        "two birds! look!",
        "蓝色背景上有两个红色圆形",
        "e.g. a node.js logo",
        None,
    ],
)
def test_plain_captions_stay(text: str | None) -> None:
    assert captions(CaptionSpam(), text) == [True]


def test_spam_filter_judges_captions_only_and_can_be_told_otherwise() -> None:
    assert captions(CaptionSpam(), "see http://example.com", task="text") == [True]
    assert captions(CaptionSpam(tasks=("text",)), "see http://example.com", task="text") == [False]
    assert captions(CaptionSpam(urls=False), "see http://example.com") == [True]
    assert captions(CaptionSpam(calls=(), hints=()), "click here") == [True]


def test_each_row_of_a_repeated_text_gets_its_own_verdict() -> None:
    assert captions(CaptionSpam(), "click here", "a dog", "click here", None) == [False, True, False, True]


def test_contact_details_by_count() -> None:
    columns = {
        "contact_details.emails": [0, 1, 0, None],
        "contact_details.telephones": [0, 0, 2, None],
    }
    assert kept(ContactDetails(), **columns) == [True, False, False, True]
    assert kept(ContactDetails(emails=1), **columns) == [True, True, False, True]
    assert kept(ContactDetails(telephones=2), **columns) == [True, False, True, True]
