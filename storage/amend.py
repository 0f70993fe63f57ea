"""A snapshot without the rows that were forgotten: another hash, and the same order of batches for all other rows.

Where a batch held what was forgotten it holds padding, so its place and its length are kept (`gaps`), and nothing else of
it: not even its id. A run that was begun on the former snapshot goes on with the amended one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from storage import snapshot as snapshots
from storage.restate import restate
from storage.snapshot import Snapshot, hash_members, listing, members_part
from storage.store import Store
from storage.views import literal

PLACE = ("split", "picture_of", "place", "lang", "task", "prompt_tokens", "text_tokens")
"""Columns of `gaps` that say where something was."""

RANKED = """
CREATE TEMP TABLE shown AS
SELECT split, image_id, row_number() OVER (PARTITION BY split ORDER BY image_id) - 1 AS place, alone FROM (
    SELECT m.split, s.image_id, bool_and(m.sample_id IN (SELECT sample_id FROM doomed)) AS alone
    FROM members m JOIN samples s USING (sample_id) WHERE s.image_id IS NOT NULL GROUP BY ALL)
SEMI JOIN (SELECT image_id FROM image_tokens WHERE tokenizer_id = {image}) USING (image_id);
CREATE TEMP TABLE told AS
SELECT m.split, m.sample_id, s.image_id, coalesce(s.lang, '') AS lang, coalesce(s.task, '') AS task,
       coalesce(len(t.prompt_ids), 0)::INTEGER AS prompt_tokens, len(t.ids)::INTEGER AS text_tokens,
       row_number() OVER (PARTITION BY m.split ORDER BY m.sample_id) - 1 AS place
FROM members m JOIN samples s USING (sample_id) JOIN text_tokens t USING (sample_id)
WHERE t.tokenizer_id = {text} AND len(t.ids) > 0
"""
"""Pictures and texts of each split in the order of their ids, as `model.corpus` has them; `alone`: only doomed rows show it."""
GAPS = """
SELECT split, NULL::BIGINT AS picture_of, place, NULL AS lang, NULL AS task, NULL::INTEGER AS prompt_tokens,
       NULL::INTEGER AS text_tokens FROM shown WHERE alone
UNION ALL
SELECT told.split, coalesce(shown.place, -1), told.place, lang, task, prompt_tokens, text_tokens
FROM told SEMI JOIN doomed USING (sample_id) LEFT JOIN shown USING (split, image_id)
ORDER BY 1, 2 NULLS FIRST, 3
"""


def amend(store: Store, row: dict[str, Any], doomed: pa.Table, request: str) -> str:
    """Puts a snapshot without some rows (`doomed`: sample_id) in the place of one that holds such, before they are purged; its
    name.

    Killed anywhere, it makes the same snapshot again; what was written is not written twice.
    """
    part, known = part_of(row["snapshot"], request), listing(store)
    after = next((one["snapshot"] for one in known if one["part"] == part), None)
    if after is None:
        with Snapshot.from_row(store, row).connect() as con:
            con.register("doomed", doomed)
            after = _write(store, con, row, {one["snapshot"] for one in known}, part)
    old = f"snapshot = {literal(row['snapshot'])}"
    restate(store, "snapshots", "amended_by", f"CASE WHEN {old} THEN {literal(after)} ELSE amended_by END")
    return after


def made(store: Store, request: str) -> dict[str, str]:
    """Which snapshots a takedown has amended, and what took their places."""
    rows = {row["snapshot"]: row for row in listing(store)}
    after = {name: row["amended_by"] for name, row in rows.items() if row["amended_by"]}
    return {name: new for name, new in after.items() if rows[new]["part"] == part_of(name, request)}


def part_of(name: str, request: str) -> str:
    """Key of the part that amends a snapshot for a takedown."""
    return snapshots.digest(["amended", name, request])


def _write(
    store: Store, con: duckdb.DuckDBPyConnection, row: dict[str, Any], taken: set[str], part: str
) -> str:
    """Its gaps, its members and then itself."""
    empty = [dict(zip(PLACE, one, strict=True)) for one in _gaps(store, con, row)]
    con.execute(
        "CREATE TEMP TABLE chosen AS SELECT m.sample_id, m.split, coalesce(s.licence, '') AS licence "
        "FROM members m JOIN samples s USING (sample_id) ANTI JOIN doomed USING (sample_id)"
    )
    held = hash_members(con, row["text_tokenizer"], row["image_tokenizer"])
    content = hashlib.sha256(json.dumps([held, empty]).encode()).hexdigest()
    root = re.sub(r"-[0-9]+$", "", row["snapshot"])
    name = next(one for n in count(1) if (one := f"{root}-{n}") not in taken)
    own = members_part(name, content)
    if empty:
        rows = pa.Table.from_pylist([{"snapshot": name, **one} for one in empty], _schema(store))
        store.append("gaps", rows, parts=[own])
    members = con.sql(f"SELECT {literal(name)} AS snapshot, sample_id, split FROM chosen ORDER BY sample_id")
    store.append("members", members.to_arrow_reader(snapshots.BATCH), parts=[own])
    licences = dict(con.sql("SELECT licence, count(*) FROM chosen GROUP BY 1 ORDER BY 2 DESC, 1").fetchall())
    fresh = {name: value for name, value in row.items() if name not in ("part", "amended_by")} | {
        "snapshot": name,
        "content_hash": content,
        "versions": json.dumps(
            json.loads(row["versions"]) | {"members": store.version("members")}, sort_keys=True
        ),
        "rows": sum(licences.values()),
        "licences": json.dumps(licences, sort_keys=True, ensure_ascii=False),
    }  # it keeps its time: what was the newest is the newest
    store.append("snapshots", pa.Table.from_pylist([fresh], snapshots.schema_of(store, fresh)), parts=[part])
    return name


def _schema(store: Store) -> pa.Schema:
    return pa.schema([(f.name, f.type) for f in store.table("gaps").schema if f.name != "part"])


def _gaps(store: Store, con: duckdb.DuckDBPyConnection, row: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What the amended snapshot's batches leave empty, with what was left empty before; in a fixed order."""
    text, image = row["text_tokenizer"], row["image_tokenizer"]
    if text is None or image is None:  # nothing trains on it
        return []
    con.execute(RANKED.format(text=literal(text), image=literal(image)))
    new, before = con.sql(GAPS).fetchall(), _stored(store, row["snapshot"])
    found = {tuple(one) for one in before}
    for split, picture, place, *more in new:
        old = [one for one in before if one[0] == split]
        pictures = [one[2] for one in old if one[1] is None]
        if picture is None:
            found.add((split, None, moved(place, pictures), *more))
        else:
            texts = [one[2] for one in old if one[1] is not None]
            shown = moved(picture, pictures) if picture >= 0 else -1
            found.add((split, shown, moved(place, texts), *more))
    return sorted(found, key=lambda one: (one[0], one[1] is not None, one[2]))


def moved(rank: int, gaps: Sequence[int]) -> int:
    """Place of the thing with so many things before it that are still there, where other places are gaps."""
    free = np.sort(np.array(gaps, np.int64)) - np.arange(len(gaps))
    return rank + int(np.searchsorted(free, rank, side="right"))


def _stored(store: Store, name: str) -> Iterable[tuple[Any, ...]]:
    rows = store.read("gaps", list(PLACE), where=f"snapshot = {literal(name)}")
    return [tuple(row[column] for column in PLACE) for row in rows.to_pylist()]


def gaps(snapshot: Snapshot, split: str) -> pa.Table:
    """Where a split of a snapshot is empty: texts and pictures by their places, in ascending order of them."""
    where = f"snapshot = {literal(snapshot.name)} AND split = {literal(split)}"
    return snapshot.store.read("gaps", list(PLACE), where=where).sort_by("place")


def former(store: Store, name: str) -> list[dict[str, Any]]:
    """The snapshots in whose place one stands, the first one first."""
    rows = listing(store)
    found: list[dict[str, Any]] = []
    while before := next((row for row in rows if row["amended_by"] == name), None):
        found.insert(0, before)
        name = before["snapshot"]
    return found
