"""A search in the corpus: what was asked for as temporary views, over which the questions of the page are asked.

Only the tables that a search needs are joined, and what a person typed enters as a literal of SQL: it can be looked for, and
nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from dashboards.ask import Session
from storage.store import Store
from storage.views import literal, name

RADIUS = 18
"""Bits of 64 in which the hashes of pictures that look alike may differ; near-copies differ in few."""
FATES = ("kept", "dropped")
EMBEDDINGS = "image_embeddings"
SHOWN = ("sample_id", "image_id", "source", "lang", "task", "prompt", "text")


@dataclass(frozen=True)
class Signal:
    """A number that is known of rows: where it stands."""

    sql: str
    table: str = ""
    key: str = ""
    doc: str = ""


@dataclass(frozen=True)
class Search:
    """What is looked for; what is empty is not asked."""

    words: str = ""
    source: str = ""
    lang: str = ""
    task: str = ""
    fate: str = ""
    signal: str = ""
    low: float | None = None
    high: float | None = None
    like: str = ""
    """Id of a stored picture …"""
    hash: int | None = None
    """… or the hashes of one that is not."""
    colour_hash: int | None = None
    meaning: bool = False
    """Whether the likeness of the stored picture is that of its embedding."""

    @property
    def by_picture(self) -> bool:
        return bool(self.like) or self.hash is not None


def signals(store: Store) -> dict[str, Signal]:
    """Every number that is stored of rows or their pictures, by its name; hashes are numbers that say nothing."""
    found = {
        "text length": Signal("length(s.text)", doc="Characters of the text."),
        "width": Signal('"images".width', "images", "image_id", "Stored width, in pixels."),
        "height": Signal('"images".height', "images", "image_id", "Stored height, in pixels."),
        "original_bytes": Signal(
            '"images".original_bytes', "images", "image_id", "Length of the original file."
        ),
    }
    for table in store.declared():
        for column in table.columns:
            kind = column.type
            number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
            if number and not column.name.endswith("hash") and column.name not in (*table.key, "part"):
                place = f"{name(table.name)}.{name(column.name)}"
                found[f"{table.name}.{column.name}"] = Signal(place, table.name, table.key[0], column.doc)
    return found


def prepare(db: Session, search: Search, known: Mapping[str, Signal], *, once: bool = False) -> None:
    """Makes `within` (what is asked, but for the signal's bounds) and `found` (within them too): the columns that are shown,
    value and distance (of pictures); and `lost` (sample_id, reason), the rows that a stage dropped. `once`: they are looked for
    now, and not by each question."""
    signal = known.get(search.signal)
    value = f"({signal.sql})::DOUBLE" if signal else "NULL::DOUBLE"
    joined = ""
    if signal and signal.table:
        of = name(signal.table)
        told = f"(FROM {of} WHERE {signal.key} IN (SELECT {signal.key} FROM samples))" if once else of
        joined += f" LEFT JOIN {told} {of} ON {of}.{signal.key} = s.{signal.key}"
    if search.by_picture:
        db.execute(f"CREATE OR REPLACE TEMP VIEW alike AS {_alike(search)}")
        joined += " JOIN alike ON alike.image_id = s.image_id"
    db.execute(
        "CREATE OR REPLACE TEMP VIEW lost AS SELECT sample_id, coalesce(reason, 'unstated') AS reason FROM losses"
    )
    where = " AND ".join(_conditions(search)) or "true"
    columns = ", ".join(f"s.{column}" for column in SHOWN)
    distance = "alike.distance" if search.by_picture else "0.0"
    met = f"SELECT {columns}, {value} AS value, {distance} AS distance FROM samples s{joined} WHERE {where}"
    if once:
        db.execute(f"CREATE OR REPLACE TEMP TABLE met AS {met}")
        met = "FROM met"
    db.execute(f"CREATE OR REPLACE TEMP VIEW within AS {met}")
    bounds = [
        f"value {sign} {end!r}" for sign, end in ((">=", search.low), ("<=", search.high)) if end is not None
    ]
    db.execute(
        f"CREATE OR REPLACE TEMP VIEW found AS FROM within WHERE {' AND '.join(bounds) if bounds and signal else 'true'}"
    )


def _conditions(search: Search) -> list[str]:
    """SQL of everything but the picture and the signal's bounds."""
    made = []
    for word in search.words.lower().split():
        made.append(
            f"(contains(lower(s.text), {literal(word)}) OR contains(lower(coalesce(s.prompt, '')), {literal(word)}))"
        )
    for column in ("source", "lang", "task"):
        if wanted := getattr(search, column):
            made.append(f"s.{column} = {literal(wanted)}")
    if search.fate in FATES:
        made.append(f"s.sample_id {'NOT IN' if search.fate == 'kept' else 'IN'} (SELECT sample_id FROM lost)")
    return made


def _alike(search: Search) -> str:
    """SELECT of image_id and distance of the pictures that are like one."""
    if search.like and search.meaning:
        one = f"(SELECT any_value(embedding) FROM {EMBEDDINGS} WHERE image_id = {literal(search.like)})"
        return (
            f"SELECT image_id, 1 - list_cosine_similarity(embedding, {one}) AS distance FROM {EMBEDDINGS} "
            "ORDER BY distance, image_id LIMIT 200"
        )
    if search.like:
        of = f"FROM perceptual_hash WHERE image_id = {literal(search.like)}"
        grey, colour = f"(SELECT any_value(hash) {of})", f"(SELECT any_value(colour_hash) {of})"
    else:
        grey = str(search.hash)
        colour = "NULL::BIGINT" if search.colour_hash is None else str(search.colour_hash)
    return (
        f"SELECT * FROM (SELECT image_id, least(bit_count(xor(hash, {grey}))::INTEGER, "
        f"bit_count(xor(colour_hash, {colour}))::INTEGER)::DOUBLE AS distance FROM perceptual_hash WHERE NOT flat) "
        f"WHERE distance <= {RADIUS}"
    )
