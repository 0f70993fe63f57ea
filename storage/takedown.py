"""A takedown: rows and pictures leave every table, every file and every snapshot, and may not come in again.

What is to be done is written down first, in `<store>/forgetting/` (readable by its owner only), and each step may be done
twice: whatever kills it, the next call does the rest. The order: what may not come in again, so that nothing does; the
amended snapshots, so that training never reads a snapshot that only lost rows; then the rows; then the record.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage import amend, blocklist, catalog, clock, kept, parts, purge
from storage.blocklist import Entry
from storage.contamination import folded
from storage.snapshot import listing
from storage.store import Store
from storage.tables import TABLES, Table
from storage.upkeep import MAINTAIN

JOURNAL = "forgetting"
DERIVED = ("cache", ".tmp")
"""Folders of a store with nothing that could not be made again."""
HELD = "SELECT DISTINCT snapshot FROM snapshot_members SEMI JOIN doomed USING (sample_id) ORDER BY 1"
UNTOUCHED = {"batch_plan", "forgotten", "blocklist", "gaps", "snapshots"}
"""Tables that hold ids or digests alone. A plan's are kept: which checkpoint saw a row must be told for as long as there is
one."""
TRAINED = """
SELECT c.checkpoint_id, c.run_id, c.step, c.snapshot, count(DISTINCT t.sample_id) AS rows
FROM (SELECT DISTINCT checkpoint_id, run_id, step, snapshot FROM checkpoints) c
JOIN trained_on t ON t.run_id = c.run_id AND t.step < c.step SEMI JOIN doomed ON doomed.sample_id = t.sample_id
GROUP BY ALL ORDER BY c.run_id, c.step
"""


@dataclass(frozen=True)
class Takedown:
    """What is to go, as the journal holds it until it is gone."""

    request_id: str
    requested_by: str
    named: Sequence[Mapping[str, str]]
    """Kind and salted digest of each thing that was named."""
    entries: Sequence[Entry]
    samples: Sequence[str]
    pictures: Sequence[str]
    urls: Sequence[str]
    """Addresses that no other row has."""
    texts: Sequence[str]
    """Folded texts that no other row says: nobody may quote them."""
    counts: Mapping[str, int] = field(default_factory=dict)
    snapshots: Sequence[str] = ()
    checkpoints: Sequence[Mapping[str, Any]] = ()

    def relations(self) -> dict[str, pa.Table]:
        """What the conditions ask."""
        return {
            "doomed": pa.table({"sample_id": pa.array(self.samples, pa.string())}),
            "doomed_pictures": pa.table({"image_id": pa.array(self.pictures, pa.string())}),
            "doomed_urls": pa.table({"url": pa.array(self.urls, pa.string())}),
            "doomed_texts": pa.table({"text": pa.array(self.texts, pa.string())}),
        }

    def summary(self) -> dict[str, Any]:
        """What a person is told of it."""
        return {
            "request_id": self.request_id,
            "rows": len(self.samples),
            "pictures": len(self.pictures),
            "counts": dict(self.counts),
            "snapshots": list(self.snapshots),
            "checkpoints": [dict(one) for one in self.checkpoints],
        }


def condition(table: Table) -> str | None:
    """SQL of the rows of a table that go; None where none do."""
    names = set(table.schema.names)
    if table.name in UNTOUCHED:
        return None
    found = []
    if "sample_id" in names:
        found.append("sample_id IN (SELECT sample_id FROM doomed)")
    elif "image_id" in names:
        found.append("image_id IN (SELECT image_id FROM doomed_pictures)")
    elif "url" in names:
        found.append("url IN (SELECT url FROM doomed_urls)")
    if table.name == "consents":
        found.append("evidence_url IN (SELECT url FROM doomed_urls)")
    if table.name == "answers":  # also of other rows, if a model said it or was asked it
        said = ("expected", "output", "trivial")
        found += [f"{folded(name)} IN (SELECT text FROM doomed_texts)" for name in said]
        found.append("prompt_id IN (SELECT sample_id FROM doomed)")
    return " OR ".join(found) or None


def tables(store: Store) -> list[Table]:
    """Every table from which rows may have to go; `samples` last, by which the others are found."""
    all_of_them = [*TABLES.values(), *store.declared()]
    return sorted(
        (one for one in all_of_them if condition(one)), key=lambda one: (one.name == "samples", one.name)
    )


def weighed(store: Store, planned: Takedown) -> Takedown:
    """The same, with what it will touch: rows of each table, snapshots, checkpoints."""
    given = planned.relations()
    counts = {
        one.name: n for one in tables(store) if (n := purge.holding(store, one.name, condition(one) or "", given))
    }  # fmt: skip
    found = {"counts": counts, "snapshots": held(store, planned), "checkpoints": saw(store, planned)}
    return Takedown(**{**vars(planned), **found})


def held(store: Store, planned: Takedown) -> list[str]:
    """Names of the snapshots that hold rows that are to go, and have not been amended."""
    amended = {row["snapshot"] for row in listing(store) if row["amended_by"]}
    return [row["snapshot"] for row in _asked(store, planned, HELD) if row["snapshot"] not in amended]


def saw(store: Store, planned: Takedown) -> list[dict[str, Any]]:
    """The checkpoints whose batches held rows that are to go, or are gone, and how many."""
    return _asked(store, planned, TRAINED)


def _asked(store: Store, planned: Takedown, query: str) -> list[dict[str, Any]]:
    with store.connect() as db:
        db.register("doomed", planned.relations()["doomed"])
        return db.sql(query).to_arrow_table().to_pylist()


def write_down(store: Store, planned: Takedown) -> Path:
    """Puts a takedown into the journal: from here on it will be done, and nothing of it comes in meanwhile."""
    _block(store, planned)
    folder = store.path / JOURNAL
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / f"{planned.request_id}.json"
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump(asdict(planned), out)
        out.flush()
        os.fsync(out.fileno())
    scratch.replace(file)
    return file


def sweep(store: Store) -> None:
    """Removes what a kill left half written in the journal: it was never promised, and says what it was about. The caller
    keeps others out, as for `carry_out`."""
    for left in (store.path / JOURNAL).glob(".*"):
        left.unlink()


def waiting(store: Store) -> list[Takedown]:
    """What was written down and is not done, oldest first."""
    files = (store.path / JOURNAL).glob("[!.]*.json")
    found = []
    for file in sorted(files, key=lambda one: one.stat().st_mtime_ns):
        raw = json.loads(file.read_text())
        found.append(Takedown(**{**raw, "entries": [Entry(**one) for one in raw["entries"]]}))
    return found


def carry_out(store: Store, planned: Takedown) -> dict[str, Any]:
    """Does all of a takedown that is left to do, and returns what it was; the caller keeps out whoever brings rows in or
    reads them (`beginning.alone`)."""
    request, given = planned.request_id, planned.relations()
    with store.lock(MAINTAIN), store.lock("snapshot"), store.lock():
        parts.sweep(store, alone=True)
        _block(store, planned)
        names = held(store, planned)
        for row in [one for one in listing(store) if one["snapshot"] in names]:
            amend.amend(store, row, given["doomed"], request)
        with purge.asking(store, given) as con:
            for one in tables(store):
                purge.purge(store, one.name, condition(one) or "", con)
        with store.lock(
            kept.LOCK
        ):  # an answer that is being written is swept, or sees that there was a takedown
            for name in DERIVED:
                purge.clear(store.path / name)
        if (store.path / catalog.FILE).exists():
            catalog.rebuild(store)
        amended = amend.made(store, request)
        now = {"snapshots": sorted(amended), "amended": amended, "checkpoints": saw(store, planned)}
        return planned.summary() | now  # more may have come since it was written down


def record(store: Store, planned: Takedown, done: Mapping[str, Any]) -> dict[str, Any]:
    """Signs a takedown off: its row, and then its journal goes."""
    key = blocklist.key_of(store.path, create=True)
    assert key is not None
    row = {
        "request_id": planned.request_id,
        "requested_by": planned.requested_by,
        "named": json.dumps(list(planned.named), sort_keys=True),
        "rows": len(planned.samples),
        "pictures": len(planned.pictures),
        "counts": json.dumps(planned.counts, sort_keys=True),
        "affected": json.dumps(
            {"snapshots": done["amended"], "checkpoints": done["checkpoints"]}, sort_keys=True
        ),
        "recorded_at": clock.after(store, "forgotten"),
    }
    row["seal"] = blocklist.seal(key, sealed(row))
    store.append("forgotten", _typed(store, "forgotten", [row]), parts=[planned.request_id])
    (store.path / JOURNAL / f"{planned.request_id}.json").unlink(missing_ok=True)
    return row


def sealed(row: Mapping[str, Any]) -> str:
    """What the seal of a record covers."""
    told = {name: value for name, value in row.items() if name not in ("seal", "part")}
    return json.dumps(told | {"recorded_at": told["recorded_at"].isoformat()}, sort_keys=True)


def records(store: Store) -> list[dict[str, Any]]:
    """Every takedown that is complete, oldest first, and whether its record is as it was written."""
    key = blocklist.key_of(store.path) or b""
    rows = store.read("forgotten").sort_by("recorded_at").to_pylist()
    return [
        {name: value for name, value in row.items() if name not in ("seal", "part")}
        | {"genuine": row["seal"] == blocklist.seal(key, sealed(row))}
        for row in rows
    ]


def _block(store: Store, planned: Takedown) -> None:
    entries = blocklist.rows(planned.entries, planned.request_id)
    store.append("blocklist", _typed(store, "blocklist", entries), parts=[planned.request_id])


def _typed(store: Store, table: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    schema = pa.schema([(f.name, f.type) for f in store.table(table).schema if f.name != "part"])
    return pa.Table.from_pylist(list(rows), schema=schema)
