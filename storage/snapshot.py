"""A named, frozen set of table versions and rows: what a training run reads, and nothing else.

Delta commits one table at a time, so `create` pins versions while no part is half committed, checks that
every kept row has its split and its tokens there, writes `members`, and the row in `snapshots` last.

The content hash is sha256 over the sha256 of each member's row as JSON (columns of CONTENT, split, text ids,
codes), in the order of sample_id. It does not depend on files, parts, the order of rows, or times. DuckDB
sorts only ids and digests and spills, so memory is bounded.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from storage import clock, contamination, views
from storage.digests import Digests, standing
from storage.errors import LicenceNotAllowed, SnapshotExists, SnapshotIncomplete, SnapshotNotFound
from storage.store import Store
from storage.tables import Table
from storage.views import literal

CONTENT = (
    "sample_id",
    "document_id",
    "position",
    "source",
    "image_id",
    "prompt",
    "text",
    "lang",
    "task",
    "label",
    "licence",
    "author",
    "consent",
    "held_out",
)
"""Columns of `samples` that a snapshot's hash covers: what a run may read, not when or from where it came."""
INPUTS = ("samples", "images", "decisions", "splits", "groups", "text_tokens", "image_tokens")
BATCH = 4_096


@dataclass(frozen=True)
class Snapshot:
    """A committed snapshot. Every reading method gives rows in the order of their ids."""

    name: str
    content_hash: str
    versions: Mapping[str, int]
    text_tokenizer: str | None
    image_tokenizer: str | None
    rows: int
    licences: Mapping[str, int]
    store: Store = field(repr=False, compare=False)

    @classmethod
    def open(cls, store: Store, name: str = "latest") -> Snapshot:
        """The snapshot of that name, or the newest one; of one from which rows were forgotten, what took its place.

        Raises:
            SnapshotNotFound: there is none.
        """
        rows = listing(store)
        found = rows[-1:] if name == "latest" else [row for row in rows if row["snapshot"] == name]
        while found and (after := found[-1]["amended_by"]):
            found = [row for row in rows if row["snapshot"] == after]
        if not found:
            known = ", ".join(row["snapshot"] for row in rows[-5:])
            hint = f"there are {known}" if known else "`millrace ingest` makes one"
            raise SnapshotNotFound(f"no snapshot {name!r} in {store.path}: {hint}")
        return Snapshot.from_row(store, found[-1])

    @classmethod
    def from_row(cls, store: Store, row: Mapping[str, Any]) -> Snapshot:
        """The snapshot that a row of `snapshots` describes."""
        return cls(
            name=row["snapshot"],
            content_hash=row["content_hash"],
            versions=json.loads(row["versions"]),
            text_tokenizer=row["text_tokenizer"],
            image_tokenizer=row["image_tokenizer"],
            rows=row["rows"],
            licences=json.loads(row["licences"]),
            store=store,
        )

    def connect(self, *, memory_limit: str = "", threads: int = 2) -> duckdb.DuckDBPyConnection:
        """DuckDB over the pinned versions; its `members` holds this snapshot's rows only."""
        con = self.store.connect(self.versions, memory_limit=memory_limit, threads=threads)
        con.execute("ALTER VIEW members RENAME TO all_members")
        con.execute(
            "CREATE VIEW members AS SELECT * FROM all_members WHERE "
            f"part = {literal(members_part(self.name, self.content_hash))}"
        )
        return con

    def samples(self, split: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Members of a split (of all if None) with columns of `samples`, and `split`."""
        names = list(columns) if columns is not None else [*CONTENT, "split"]
        picked = ", ".join(f"m.{one}" if one == "split" else f"s.{views.name(one)}" for one in names)
        return self._table(
            f"SELECT {picked} FROM members m JOIN samples s USING (sample_id) {of(split)} ORDER BY sample_id"
        )

    def text_tokens(self, split: str | None = None) -> pa.Table:
        """sample_id, prompt_ids, ids under the pinned text tokenizer."""
        return self._table(
            "SELECT t.sample_id, t.prompt_ids, t.ids FROM members m JOIN text_tokens t USING (sample_id) "
            f"{of(split)} AND t.tokenizer_id = {literal(self.text_tokenizer or '')} ORDER BY sample_id"
        )

    def image_tokens(self, split: str | None = None) -> pa.Table:
        """image_id, codes under the pinned image tokenizer, each picture once."""
        return self._table(
            f"SELECT image_id, codes FROM image_tokens SEMI JOIN ({pictures(split)}) USING (image_id) "
            f"WHERE tokenizer_id = {literal(self.image_tokenizer or '')} ORDER BY image_id"
        )

    def images(
        self, split: str | None = None, columns: Sequence[str] = ("image_id", "image"), batch: int = 256
    ) -> Iterator[pa.RecordBatch]:
        """Streams the members' pictures, each once."""
        picked = ", ".join(views.name(one) for one in columns)
        con = self.connect(memory_limit="1GB")  # the sort spills beyond
        try:
            chosen = f"SELECT {picked} FROM images SEMI JOIN ({pictures(split)}) USING (image_id)"
            yield from con.sql(f"{chosen} ORDER BY image_id").to_arrow_reader(batch)
        finally:
            con.close()

    def _table(self, query: str) -> pa.Table:
        con = self.connect()
        try:
            return con.sql(query).to_arrow_table()
        finally:
            con.close()


def create(
    store: Store,
    name: str | None = None,
    *,
    text_tokenizer: str | None = None,
    image_tokenizer: str | None = None,
    licences: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    stages: Sequence[str] = (),
    allow_contaminated: bool = False,
    remedy: str = contamination.ADD,
) -> Snapshot:
    """Freezes the rows that every stage kept. Equal content gives back the snapshot that there is.

    Args:
        text_tokenizer: every kept row with a text must have ids under it; None makes a data snapshot.
        image_tokenizer: every kept picture must have codes under it.
        licences: the allowed SPDX ids; None allows all, and a null licence is allowed by no list.
        sources: only rows of these sources.
        stages: a row counts as kept only when each of these has decided.
        allow_contaminated: take training rows that are held-out ones too; `runs` says so then.
        remedy: what SnapshotContaminated says to change.

    Raises:
        SnapshotIncomplete: no row was kept, or kept rows lack a split, a picture or tokens.
        LicenceNotAllowed: kept rows have other licences.
        SnapshotContaminated: training rows share a picture, its group or a text with held-out rows.
        SnapshotExists: the name is taken by other content.
    """
    with store.lock("snapshot"):
        with store.lock():  # no part is half committed while the versions are read
            versions = store.versions()
        asked = [text_tokenizer, image_tokenizer, listed(licences), listed(sources), listed(stages)]
        seen = (*INPUTS, *({"blocklist"} & set(versions)))  # a takedown changes rows, and no version
        key = digest([{table: versions.get(table, -1) for table in seen}, asked])
        known = listing(store)
        if store.has("snapshots", key):
            row = next(row for row in known if row["part"] == key)
            if not allow_contaminated:
                contamination.refuse(
                    contamination.recorded(store, row["snapshot"]), f"snapshot {row['snapshot']}", remedy
                )
            return Snapshot.from_row(store, row)
        con = store.connect(versions)
        try:
            choose(con, sources, stages)
            counts = gate(con, licences)
            check(con, text_tokenizer, image_tokenizer)
            found = contamination.leaks(con, "SELECT sample_id FROM chosen WHERE split = 'train'")
            if not allow_contaminated:
                contamination.refuse(found, "this snapshot", remedy)
            content = hash_members(con, text_tokenizer, image_tokenizer, store, versions)
            for row in known:
                if row["content_hash"] == content and row["amended_by"] is None:
                    if found:
                        contamination.record(store, row["snapshot"], found)
                    if row is not known[-1]:
                        bring_forward(store, row, key)
                    return Snapshot.from_row(store, row)
            name = name or content[:12]
            if any(row["snapshot"] == name for row in known):
                raise SnapshotExists(f"snapshot {name!r} exists with other content: choose another name")
            picked = f"SELECT {literal(name)} AS snapshot, sample_id, split FROM chosen ORDER BY sample_id"
            members = con.sql(picked)
            part = members_part(name, content)
            store.append("members", members.to_arrow_reader(BATCH), parts=[part])
        finally:
            con.close()
        held = {**pinned(store, versions), "members": store.version("members")}
        row = {
            "snapshot": name,
            "content_hash": content,
            "versions": json.dumps(held, sort_keys=True),
            "text_tokenizer": text_tokenizer,
            "image_tokenizer": image_tokenizer,
            "rows": sum(counts.values()),
            "licences": json.dumps(counts, sort_keys=True, ensure_ascii=False),
            "recorded_at": clock.after(store, "snapshots"),
        }
        if found:
            contamination.record(store, name, found)
        store.append("snapshots", pa.Table.from_pylist([row], schema_of(store, row)), parts=[key])
        return Snapshot.from_row(store, row)


def bring_forward(store: Store, row: Mapping[str, Any], key: str) -> None:
    """Makes an older snapshot the newest again: the content went back to it, and `latest` means what is now.

    Its new row is written before the old one goes; a kill in between leaves both, of which the newer one counts.
    """
    fresh = {column: value for column, value in row.items() if column != "part"}
    fresh["recorded_at"] = clock.after(store, "snapshots")
    store.append("snapshots", pa.Table.from_pylist([fresh], schema_of(store, fresh)), parts=[key])
    store.delete("snapshots", [row["snapshot"]], {"part": row["part"]})


def choose(con: duckdb.DuckDBPyConnection, sources: Sequence[str] | None, stages: Sequence[str]) -> None:
    """Makes the table `chosen`: rows kept by every stage, with their split."""
    within = f"AND s.source IN ({quoted(sources)})" if sources is not None else ""
    decided = (
        f"AND len(list_distinct(list(stage) FILTER (stage IN ({quoted(stages)})))) = {len(set(stages))}"
        if stages
        else ""
    )
    con.execute(
        f"""
        CREATE TEMP TABLE chosen AS
        WITH kept AS (SELECT sample_id FROM decisions GROUP BY sample_id HAVING bool_and(kept) {decided})
        SELECT s.sample_id, s.image_id, s.text IS NOT NULL AS has_text, s.licence, p.split
        FROM samples s SEMI JOIN kept USING (sample_id) LEFT JOIN splits p USING (sample_id)
        WHERE true {within}
        """
    )


def gate(con: duckdb.DuckDBPyConnection, allowed: Sequence[str] | None) -> dict[str, int]:
    """Counts the licences of the chosen rows; see `refuse`."""
    counts = dict(
        con.sql("SELECT coalesce(licence, ''), count(*) FROM chosen GROUP BY 1 ORDER BY 2 DESC, 1").fetchall()
    )
    refuse(counts, allowed)
    return counts


def refuse(counts: Mapping[str, int], allowed: Sequence[str] | None) -> None:
    """Raises LicenceNotAllowed if rows have licences outside the list; "" is no licence, and never allowed."""
    if allowed is None:
        return
    named = set(allowed) - {""}
    refused = Counter({licence: n for licence, n in counts.items() if licence not in named})
    if refused:
        shown = ", ".join(f"{licence or 'no licence'} ({n:,} rows)" for licence, n in refused.most_common(8))
        raise LicenceNotAllowed(
            f"kept rows have licences that licences.allow does not name: {shown}. "
            'Add them, or drop the rows with [[filters]] use = "filters.licence"'
        )


def check(con: duckdb.DuckDBPyConnection, text_tokenizer: str | None, image_tokenizer: str | None) -> None:
    """Raises SnapshotIncomplete unless every chosen row has all that a run will ask for."""
    lacking = {
        "a split": "SELECT * FROM chosen WHERE split IS NULL",
        "their picture": "SELECT * FROM chosen ANTI JOIN images USING (image_id) WHERE image_id IS NOT NULL",
    }
    if text_tokenizer is not None:
        lacking[f"text tokens of {text_tokenizer}"] = (
            "SELECT * FROM chosen ANTI JOIN (SELECT sample_id FROM text_tokens "
            f"WHERE tokenizer_id = {literal(text_tokenizer)}) USING (sample_id) WHERE has_text"
        )
    if image_tokenizer is not None:
        lacking[f"image codes of {image_tokenizer}"] = (
            "SELECT * FROM chosen ANTI JOIN (SELECT image_id FROM image_tokens "
            f"WHERE tokenizer_id = {literal(image_tokenizer)}) USING (image_id) WHERE image_id IS NOT NULL"
        )
    total = count(con, "FROM chosen")
    if not total:
        raise SnapshotIncomplete("no row was kept by every stage: `millrace stats` shows where they went")
    for what, query in lacking.items():
        if missing := count(con, f"FROM ({query})"):
            raise SnapshotIncomplete(
                f"{missing:,} of {total:,} kept rows lack {what}: run `millrace ingest` again"
            )


def hash_members(
    con: duckdb.DuckDBPyConnection,
    text_tokenizer: str | None,
    image_tokenizer: str | None,
    store: Store | None = None,
    versions: Mapping[str, int] = {},
) -> str:
    """sha256 hex over the chosen rows with their split, text ids and codes, and over the tokenizers' ids.

    With a store, at these versions: digests that it keeps (`storage.digests`) are taken where they hold.
    """
    columns = ", ".join(f"'{one}': s.{one}" for one in CONTENT)
    made = f"""
        WITH texts AS (SELECT sample_id, prompt_ids, ids FROM text_tokens
                       WHERE tokenizer_id = {literal(text_tokenizer or "")}),
             codes AS (SELECT image_id, sha256(array_to_string(codes, ',')) AS codes FROM image_tokens
                       WHERE tokenizer_id = {literal(image_tokenizer or "")})
        SELECT sample_id, c.split, unhex(sha256(to_json({{{columns}, 'split': c.split, 'prompt_ids': t.prompt_ids,
                                                         'ids': t.ids, 'codes': i.codes}}))) AS row_digest
        FROM fresh c JOIN samples s USING (sample_id) LEFT JOIN texts t USING (sample_id)
             LEFT JOIN codes i ON i.image_id = s.image_id
    """
    digests = Digests(store, versions, digest(made)) if store is not None else None
    standing(con, digests)
    con.execute("CREATE OR REPLACE TEMP TABLE fresh AS FROM chosen ANTI JOIN digests USING (sample_id)")
    con.execute(f"INSERT INTO digests {made}")
    if digests is not None and count(con, "FROM fresh"):
        digests.keep(con, "digests")
    total = hashlib.sha256(json.dumps([text_tokenizer, image_tokenizer]).encode())
    return _fold(con, "SELECT lower(hex(row_digest)) FROM digests ORDER BY sample_id, row_digest", total)


def content_hash(store: Store, table: str, version: int | None = None) -> str:
    """sha256 hex over a table's `hashed` columns, rows in the order of its key, however they are stored."""
    form = store.table(table)
    columns = ", ".join(f"'{one}': {views.name(one)}" for one in form.hashed if not binary(form, one))
    blobs = [f"sha256({views.name(one)})" for one in form.hashed if binary(form, one)]
    parts = [f"to_json({{{columns}}})", *blobs]
    keys = ", ".join(views.name(one) for one in form.key)
    con = store.connect({table: store.version(table) if version is None else version})
    try:
        query = (
            f"SELECT row_digest FROM (SELECT {keys}, sha256(concat_ws(',', {', '.join(parts)})) "
            f"AS row_digest FROM {views.name(table)}) ORDER BY {keys}, row_digest"
        )
        return _fold(con, query, hashlib.sha256(json.dumps(sorted(form.hashed)).encode()))
    finally:
        con.close()


def _fold(con: duckdb.DuckDBPyConnection, query: str, total: hashlib._Hash) -> str:
    for batch in con.sql(query).to_arrow_reader(65_536):
        total.update("".join(batch.column(0).to_pylist()).encode())
    return total.hexdigest()


def binary(table: Table, column: str) -> bool:
    return pa.types.is_binary(table.schema.field(column).type)


def pinned(store: Store, versions: Mapping[str, int]) -> dict[str, int]:
    """What a snapshot holds still: the data and every annotator's columns, not the history of runs."""
    names = [*INPUTS, *(table.name for table in store.declared())]
    return {one: versions[one] for one in names if one in versions}


def listing(store: Store) -> list[dict[str, Any]]:
    """Rows of `snapshots`, oldest first; of a name that comes twice the newer one."""
    rows = sorted(store.read("snapshots").to_pylist(), key=lambda row: (row["recorded_at"], row["snapshot"]))
    newest = {row["snapshot"]: row for row in rows}
    return [row for row in rows if row is newest[row["snapshot"]]]


def schema_of(store: Store, row: Mapping[str, Any]) -> pa.Schema:
    return pa.schema([store.table("snapshots").schema.field(one).remove_metadata() for one in row])


def members_part(name: str, content: str) -> str:
    """A try that was killed before its snapshot's row leaves members that no snapshot refers to."""
    return f"{name}@{content[:16]}"


def of(split: str | None) -> str:
    return f"WHERE m.split = {literal(split)}" if split is not None else "WHERE true"


def pictures(split: str | None) -> str:
    return f"SELECT s.image_id FROM members m JOIN samples s USING (sample_id) {of(split)}"


def quoted(words: Sequence[str]) -> str:
    return ", ".join(literal(word) for word in words)


def count(con: duckdb.DuckDBPyConnection, source: str) -> int:
    return con.sql(f"SELECT count(*) {source}").fetchall()[0][0]


def listed(words: Sequence[str] | None) -> list[str] | None:
    return sorted(set(words)) if words is not None else None


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
