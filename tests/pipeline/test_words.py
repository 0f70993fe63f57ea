"""Words in any script: marks stay with their letters, and scripts without spaces give characters."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.annotators.text_stats import words as counted
from pipeline.words import words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("हिन्दी में एक बिल्ली", ["हिन्दी", "में", "एक", "बिल्ली"]),
        ("a well-known cat - the miller's", ["a", "well-known", "cat", "the", "miller", "s"]),
        ("cafe\u0301s, snake_case", ["cafe\u0301s", "snake", "case"]),
        ("猫が、好き", ["猫", "が", "好", "き"]),
        ("-- ! _ 。", []),
        ("مُحَمَّد يقرأ", ["مُحَمَّد", "يقرأ"]),
    ],
)
def test_words(text: str, said: list[str]) -> None:
    assert words(text) == said


@pytest.mark.parametrize("text", ["हिन्दी में एक बिल्ली", "ไทย is ก่อน", "一只 cat", "Les cafe\u0301s noirs"])
def test_there_are_as_many_as_text_stats_counts(text: str) -> None:
    assert len(words(text)) == counted(pa.array([text]))[0].as_py()
