"""Which rows made this checkpoint, and which checkpoints saw this row.

    checkpoint → its run and snapshot → the snapshot's members, and how often the run's batches held them
    sample → its decisions, the snapshots that hold it, the steps that read it, the checkpoints after them

The same as SQL in every connection: storage.traces. That reads the newest version of every table; the functions here take
what the snapshot pins, so a row that was changed or went since has the source and the licence that it had in training.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from storage import champions
from storage.blocklist import Blocklist
from storage.errors import LineageNotFound

if TYPE_CHECKING:
    from storage.store import Store

NEAR = 3
"""Ids that a mistyped one is compared with in the answer."""
SHORTEST = 6
"""Characters from which on the beginning of a sample's id stands for it."""


def find(store: Store, name: str) -> dict[str, Any]:
    """The newest checkpoint by its id (or its beginning) or by the name of its run, the newest of all, or the champion;
    those whose weights were pruned, too.

    Raises:
        LineageNotFound: there is none of that name; the message has those that are named alike.
    """
    if name == champions.CHAMPION:
        name = champions.champion(store) or name
    found = candidates(rows := checkpoints(store), name)
    if found:
        return found[-1]
    if not rows:
        raise LineageNotFound(f"no checkpoint in {store.path}: `millrace train` makes one")
    names = {row[key] for row in rows for key in ("run_id", "checkpoint_id")}
    near = get_close_matches(name, sorted(names), NEAR)
    hint = f"did you mean {' or '.join(near)}? " if near else f"the newest is {rows[-1]['checkpoint_id']}. "
    raise LineageNotFound(f"no checkpoint {name!r} in {store.path}: {hint}`millrace stats` lists them")


def checkpoints(store: Store) -> list[dict[str, Any]]:
    """The rows of `checkpoints`, oldest first."""
    return (
        store.read("checkpoints").sort_by([("recorded_at", "ascending"), ("step", "ascending")]).to_pylist()
    )


def candidates(rows: Sequence[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Those that a person may mean: by an id or its beginning, by the name of a run, or all for "latest"."""
    return [
        row
        for row in rows
        if name in ("latest", row["run_id"]) or row["checkpoint_id"].startswith(name or " ")
    ]


def about(store: Store, checkpoint_id: str) -> dict[str, Any]:
    """What is known of a checkpoint: its run with settings and code, its snapshot, its evaluations and exports.

    Raises:
        LineageNotFound: no such checkpoint.
    """
    return _asked(store, checkpoint_id, "checkpoint_about").to_pylist()[0]


def counts(store: Store, checkpoint_id: str) -> list[dict[str, Any]]:
    """How many rows of each source, licence and split a checkpoint's snapshot holds, and how often its batches did.

    Raises:
        LineageNotFound: no such checkpoint.
    """
    return _asked(store, checkpoint_id, "checkpoint_counts").to_pylist()


def checkpoint(store: Store, checkpoint_id: str) -> pa.Table:
    """Every row of the snapshot that a checkpoint was trained on: split, source, licence, times seen.

    Raises:
        LineageNotFound: no such checkpoint.
    """
    return _asked(store, checkpoint_id, "checkpoint_rows")


def _asked(store: Store, checkpoint_id: str, macro: str) -> pa.Table:
    """What a macro says of a checkpoint, its rows as they were when it was trained."""
    found = [row for row in checkpoints(store) if row["checkpoint_id"] == checkpoint_id]
    if not found:
        find(store, checkpoint_id)  # what it may be taken for is not what was asked for
        raise LineageNotFound(f"no checkpoint {checkpoint_id!r} in {store.path}: give the whole id")
    with store.connect(pinned(store, found[-1]["snapshot"])) as con:
        return con.sql(f"FROM {macro}(?)", params=[checkpoint_id]).to_arrow_table()


def pinned(store: Store, snapshot: str) -> dict[str, int]:
    """The newest versions, but of `samples` that which a snapshot holds still."""
    name = snapshot.replace("'", "''")
    held = store.read("snapshots", ["versions"], where=f"snapshot = '{name}'")["versions"].to_pylist()
    newest = store.versions()
    return {**newest, "samples": json.loads(held[-1])["samples"]} if held else newest


def sample(store: Store, sample_id: str) -> dict[str, Any]:
    """A row with its decisions, snapshots, training steps and checkpoints, and whether it was forgotten.

    Raises:
        LineageNotFound: no such sample; the message has those with an id alike, or of that origin.
    """
    with store.connect() as con:
        sample_id = _whole(con, sample_id)
        rows = con.sql("SELECT * FROM samples WHERE sample_id = ?", params=[sample_id]).to_arrow_table()
        row = rows.to_pylist()
        history = con.sql("FROM sample_history(?)", params=[sample_id]).to_arrow_table().to_pylist()
        forgotten = Blocklist.load(store).holds("sample", sample_id)
        if not row and not history and not forgotten:
            raise LineageNotFound(f"no sample {sample_id!r} in {store.path}{_near(con, sample_id)}")
    groups: dict[str, list[dict[str, Any]]] = {
        "decision": [], "snapshot": [], "training step": [], "checkpoint": [],
    }  # fmt: skip
    for one in history:
        groups[one.pop("what")].append(one)
    return {
        "sample": row[0] if row else None,
        "forgotten": forgotten,
        "decisions": [
            {"stage": one["name"], "outcome": one["detail"], "detail": one["more"]}
            for one in groups["decision"]
        ],
        "snapshots": [
            {"snapshot": one["name"], "split": one["detail"], "content_hash": one["more"]}
            for one in groups["snapshot"]
        ],
        "steps": [
            {"run_id": one["name"], "step": one["step"], "slot": one["slot"]}
            for one in groups["training step"]
        ],
        "checkpoints": [
            {
                "checkpoint_id": one["name"],
                "run_id": one["detail"].removeprefix("run "),
                "step": one["step"],
                "times_seen": one["times_seen"],
            }
            for one in groups["checkpoint"]
        ],
    }


def _whole(con: duckdb.DuckDBPyConnection, beginning: str) -> str:
    """The id of the one sample that begins so; what is no beginning of one id stays as it is."""
    if len(beginning) < SHORTEST:
        return beginning
    query = "SELECT sample_id FROM samples WHERE starts_with(sample_id, ?) LIMIT 2"
    found = con.execute(query, [beginning]).fetchall()
    return found[0][0] if len(found) == 1 else beginning


def _near(con: duckdb.DuckDBPyConnection, word: str) -> str:
    """Samples that a person may have meant, as the end of a message."""
    alike = (
        "SELECT sample_id FROM samples WHERE levenshtein(sample_id, $word) <= length($word) // 3 "
        "OR starts_with(sample_id, $word) ORDER BY levenshtein(sample_id, $word), 1 LIMIT $most"
    )
    of = "SELECT sample_id FROM samples WHERE $word IN (origin, url, image_id, document_id) ORDER BY 1 LIMIT $most"
    for query, words in ((of, "of that origin, URL, picture or document there are"), (alike, "did you mean")):
        found = [one for (one,) in con.execute(query, {"word": word, "most": NEAR}).fetchall()]
        if found:
            return f": {words} {' or '.join(found)}{'?' * words.startswith('did')}"
    return ': `millrace sql "SELECT sample_id, source, origin FROM samples"` lists them'
