"""Real captions hold next to no personal data: what the detectors flag in them is read, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.annotators.contact_details import ContactDetails
from pipeline.annotators.personal_numbers import PersonalNumbers

CAPTIONS = {
    "textbook-figures": "SELECT unnest([alt, caption]) AS text FROM '{}/captions.parquet'",
    "emoji-multilingual": "SELECT short_name || ': ' || array_to_string(keywords, ', ') AS text FROM '{}/captions.parquet'",
    "picture-words": "SELECT caption AS text FROM '{}/captions.parquet'",
    "recipes-en": "SELECT text FROM '{0}/recipes.parquet' UNION ALL SELECT unnest([title, alt]) FROM '{0}/images.parquet'",
    "parallel-text": "SELECT unnest([text, english]) AS text FROM '{}/tatoeba_x_eng.parquet'",
}
NUMBERS = ("9876-5432", "1-800-446-2581")
"""Telephone numbers that stand in the sentences of Tatoeba, in several languages: looked at, and rightly found."""


def flagged(folder: Path, query: str) -> Iterator[tuple[str, dict[str, int]]]:
    """Texts with something found in them, and what; the last one says how many texts there were."""
    texts = duckdb.sql(f"FROM ({query.format(folder)}) WHERE text <> ''").to_arrow_table()
    n = texts.num_rows
    table = pa.table(
        {"sample_id": pa.array(map(str, range(n))), "prompt": pa.nulls(n, pa.string()), "text": texts["text"]}
    )
    for step in (ContactDetails(), PersonalNumbers()):
        for row, text in zip(step.annotate(table, {}).to_pylist(), texts["text"].to_pylist(), strict=True):
            if found := {name: count for name, count in row.items() if name != "sample_id" and count}:
                yield text, found
    yield "", {"texts": n}


def test_false_positives_in_ten_thousand_captions(real_data: Callable[[str], Path]) -> None:
    texts, false = 0, []
    for name, query in CAPTIONS.items():
        *found, (_, counts) = flagged(real_data(name), query)
        texts += counts["texts"]
        false += [(name, *one) for one in found if not any(number in one[0] for number in NUMBERS)]
    assert texts > 200_000
    assert 10_000 * len(false) / texts <= 0.1, false
