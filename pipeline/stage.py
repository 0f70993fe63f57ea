"""The mill's stages over a store: what is done is skipped, the rest is computed, staged, and committed once.

A stage is cut into parts. `work_*` functions are pure (they read committed tables and stage a part) and run in any
number of threads or processes; one committer then moves the staged parts into the tables.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import collect as collecting
from pipeline import cursors, upstream
from pipeline.collect import Origin
from pipeline.decoders import MEMORY, Decoders
from pipeline.refused import Refused
from pipeline.step import Annotator, Filter, Gather, Shard, Source, digest
from storage import generations, parts, tables
from storage.limits import Limits
from storage.store import Store

BATCH_ROWS = 1024
"""Rows an annotator is given at once: enough to vectorise, few enough to hold decoded."""

IMAGE_COLUMNS = frozenset(tables.TABLES["images"].schema.names) - {"image_id", "part"}
FILTER = "filter"


@dataclass(frozen=True)
class Job:
    """A part still to be made: its key, and what a worker needs to make it."""

    key: str
    part: str = ""
    origin: Origin | None = None
    shard: Shard | None = None


# --- collect ----------------------------------------------------------------------------------------------

WHOLE = f"""
SELECT DISTINCT origin, version, part FROM samples WHERE source = ? AND position < {collecting.FIRST_PIECE}
AND sample_id NOT IN ({collecting.PASSAGES})
"""
"""What the source gave, but for passages and pieces: those that are left of others would keep a replaced part alive."""


def plan_collect(store: Store, origin: Origin, limits: Limits) -> list[Job]:
    """Lists a source's shards that no committed part holds."""
    assert isinstance(origin.source, Source)
    with store.over("samples") as db:
        known = db.sql(WHOLE, params=[origin.name, origin.name]).to_arrow_table()
    present = set(known["part"].unique().to_pylist())
    jobs = []
    for shard in origin.source.shards(known.select(["origin", "version"])):
        key = collecting.part_key(origin, shard, limits)
        while key not in present and store.has("samples", key):  # replaced since, and back again
            key = digest([key, "again"])
        jobs.append(Job(key, origin=origin, shard=shard))
    return _missing(store, "samples", jobs)


LISTED = "listed"


def unchanged(store: Store, origin: Origin, limits: Limits, state: str | None) -> bool:
    """Whether a source was listed whole in this very state, and all of it is stored still."""
    return state is not None and cursors.read(store, origin.name, LISTED) == _mark(
        store, origin, limits, state
    )


def listed(store: Store, origin: Origin, limits: Limits, state: str | None) -> None:
    """Notes that all is committed of what a source listed in this state, which was taken before it listed."""
    if state is not None:
        cursors.write(store, origin.name, LISTED, _mark(store, origin, limits, state))


def _mark(store: Store, origin: Origin, limits: Limits, state: str) -> str:
    present = store.read("samples", ["part"], where=f"source = '{origin.name}'")["part"].unique().to_pylist()
    settings = [origin.fingerprint(), collecting.policy(limits)]
    return digest([*settings, state, sorted(filter(None, present))])


def work_collect(store: Store, job: Job, limits: Limits, memory: int = MEMORY) -> str:
    """Reads a shard and has it decoded, in a process that may take so many bytes, into a staged part."""
    if not parts.staged(store, job.key):
        assert job.origin is not None and job.shard is not None
        with Decoders(limits, 1, memory) as decoders:
            tables = collecting.collect(job.origin, job.shard, limits, decoders, Refused.of(store))
        parts.stage(store, job.key, tables)
    return job.key


def _missing(store: Store, table: str, jobs: Sequence[Job]) -> list[Job]:
    missing = set(store.missing(table, [job.key for job in jobs]))
    return [job for job in jobs if job.key in missing]


def sample_parts(store: Store) -> list[str]:
    """Keys of the parts that hold samples, in a fixed order."""
    return sorted(store.read("samples", ["part"])["part"].unique().drop_null().to_pylist())


# --- annotate ---------------------------------------------------------------------------------------------


def plan_annotate(
    store: Store, annotator: Annotator, models: Mapping[str, str], fingerprint: str = ""
) -> list[Job]:
    """Lists the parts whose rows lack this annotator's columns, under its present fingerprint: its own, unless one
    is given that covers what it reads, too (`pipeline.upstream`)."""
    if annotator.table() not in tables.TABLES:
        doc = (type(annotator).__doc__ or "").strip().split("\n")[0]
        store.declare(tables.signal_table(annotator.table(), annotator.key, annotator.columns, doc))
    fingerprint, generation = fingerprint or annotator.fingerprint(models), 0
    if "tokenizer_id" not in annotator.columns.names:  # tokens of several tokenizers live side by side
        generation = generations.current(store, annotator.table(), fingerprint, {})
    jobs = [Job(digest([fingerprint, generation, part]), part=part) for part in sample_parts(store)]
    return _missing(store, annotator.table(), jobs)


def work_annotate(store: Store, job: Job, annotator: Annotator, models: Mapping[str, Any]) -> str:
    """Annotates the rows (or the pictures) that one part brought in."""
    if not parts.staged(store, job.key):
        rows = _rows_of_part(store, annotator, job.part)
        made = [
            annotator.annotate(rows.slice(start, BATCH_ROWS), models)
            for start in range(0, rows.num_rows, BATCH_ROWS)
        ]
        names = [annotator.key, *annotator.columns.names]
        schema = pa.schema([pa.field(annotator.key, pa.string()), *annotator.columns])
        table = pa.concat_tables([t.select(names) for t in made]) if made else schema.empty_table()
        parts.stage(store, job.key, {annotator.table(): table})
    return job.key


def _rows_of_part(store: Store, step: Annotator, part: str) -> pa.Table:
    base = "images" if step.key == "image_id" else "samples"
    query = f"{_select(step.key, step.reads, base)} WHERE {base}.part = ? ORDER BY {base}.{step.key}"
    with store.over(*_read(step.reads, base)) as db:
        return db.sql(query, params=[part]).to_arrow_table()


def filtered_rows(reads: Sequence[str]) -> str:
    """SELECT of sample_id and what filters read, over every row: what `Filter.keep` is given."""
    return _select("sample_id", reads, "samples")


def _select(key: str, reads: Sequence[str], base: str) -> str:
    """SELECT of a key and columns of `samples`, `images` and signals ("annotator.column")."""
    source = base
    for table in _read(reads, base)[1:]:
        by = "image_id" if table == "images" else _key_of(table)
        source += f' LEFT JOIN "{table}" ON {base}.{by} = "{table}".{by}'
    listed = [f"{base}.{key}"]
    for column in dict.fromkeys(reads):
        if column == key:
            continue
        if "." in column:
            table, name = column.split(".", 1)
            listed.append(f'"{table}"."{name}" AS "{column}"')
        else:
            listed.append(f"{'images' if column in IMAGE_COLUMNS else base}.{column}")
    return f"SELECT {', '.join(listed)} FROM {source}"


def _read(reads: Sequence[str], base: str) -> list[str]:
    """The tables that hold these columns, the base first."""
    pictures = ["images"] if base == "samples" and IMAGE_COLUMNS & set(reads) else []
    return [base, *pictures, *sorted({column.split(".")[0] for column in reads if "." in column})]


def _key_of(table: str) -> str:
    from pipeline.step import load  # a signal's key is its annotator's

    return load(f"annotators.{table}", Annotator).key  # type: ignore[attr-defined]


# --- filter -----------------------------------------------------------------------------------------------


def filter_policy(
    filters: Sequence[Filter],
    annotators: Sequence[Annotator],
    limits: Limits,
    models: Mapping[str, str] = {},
) -> str:
    """Fingerprint of the whole chain and of the annotations that it reads; `models` by name to hash."""
    read = {table for f in filters for table in upstream.signals(f)}
    made = upstream.fingerprints(annotators, models)
    listed = [made[a.table()] for a in annotators if a.table() in read]
    return digest([[f.fingerprint() for f in filters], listed, collecting.policy(limits)])


def plan_filter(store: Store, policy: str) -> list[Job]:
    """Lists the parts that this chain of filters has not judged."""
    generation = generations.current(store, "decisions", policy, {"stage": FILTER})
    jobs = [Job(digest([FILTER, policy, generation, part]), part=part) for part in sample_parts(store)]
    return _missing(store, "decisions", jobs)


def work_filter(store: Store, job: Job, filters: Sequence[Filter], policy: str) -> str:
    """Judges one part's rows; the first filter that drops a row names the reason."""
    if not parts.staged(store, job.key):
        rows = _collected(store, filters, job.part)
        parts.stage(store, job.key, {"decisions": judge(rows, filters, policy)})
    return job.key


def _collected(store: Store, filters: Sequence[Filter], part: str) -> pa.Table:
    """What filters read of one part's rows that could be collected."""
    reads = ["source", *(column for f in filters for column in f.reads)]
    query = (
        f"{_select('sample_id', reads, 'samples')} JOIN decisions d ON d.sample_id = samples.sample_id "
        f"AND d.stage = '{collecting.STAGE}' AND d.kept "
        "WHERE samples.part = ? ORDER BY samples.sample_id"
    )
    with store.over(*_read(reads, "samples"), "decisions") as db:
        return db.sql(query, params=[part]).to_arrow_table()


def judge(rows: pa.Table, filters: Sequence[Filter], policy: str) -> pa.Table:
    """n rows to n decisions of the stage `filter`."""
    reason = pa.nulls(rows.num_rows, pa.string())
    for step in filters:
        drop = pc.invert(pc.fill_null(step.keep(rows), True))
        if isinstance(drop, pa.ChunkedArray):
            drop = drop.combine_chunks()
        reason = pc.if_else(pc.and_(pc.is_null(reason), drop), step.reason or step.name(), reason)
    return decision_rows(rows["sample_id"], rows["source"], FILTER, reason, None, policy)


def decision_rows(ids: Any, source: Any, stage: str, reason: Any, detail: Any, policy: str) -> pa.Table:
    """Decisions in the columns of the table; a null reason means kept."""
    n = len(ids)
    return pa.table(
        {
            "sample_id": ids,
            "source": source,
            "stage": pa.repeat(stage, n),
            "kept": pc.is_null(reason),
            "reason": reason,
            "detail": detail if detail is not None else pa.nulls(n, pa.string()),
            "policy": pa.repeat(policy, n),
        }
    )


# --- gather -----------------------------------------------------------------------------------------------


def gather_policy(gather: Gather, before: str, read: Sequence[str] = ()) -> str:
    """Fingerprint of a gather after all that decided before it, and of the annotations that it reads."""
    return digest([gather.fingerprint(), before, *read])


def renew(store: Store, gather: Gather, policy: str) -> int:
    """Forgets what a gather decided under another policy; returns its generation.

    All of them are renewed before the first one runs: a row that a later one dropped is no candidate of it.
    """
    return generations.current(store, "decisions", policy, {"stage": gather.name()})


def retire(store: Store, stages: Collection[str]) -> None:
    """Forgets what gathers decided that are no longer asked: their rows would be dropped for a rule that is gone."""
    known = store.read("decisions", ["stage"])["stage"].unique().to_pylist()
    for stage in sorted({*known} - {collecting.STAGE, FILTER, *stages}):
        generations.current(store, "decisions", "", {"stage": stage})


def run_gather(store: Store, gather: Gather, policy: str, read: Sequence[str] = ()) -> int:
    """Asks the whole corpus one question about the rows that are still in; returns how many were decided.

    `read`: fingerprints of the annotations that it reads, and on which its own tables hang, too.
    """
    stage, generation = gather.name(), renew(store, gather, policy)
    own = digest([gather.fingerprint(), *read]) if read else gather.fingerprint()
    for table in gather.writes:
        generations.current(store, table, own, {})
    with store.connect() as db:
        candidates(db, stage)
        rows, mark = counted(db, "candidates")
        if not rows:
            return 0
        incumbents(db, stage)
        found = gather.gather(db)
        sources = db.sql(
            "SELECT sample_id, source FROM samples SEMI JOIN candidates USING (sample_id)"
        ).to_arrow_table()
    key = digest([stage, policy, generation, mark])
    decided = found.decisions.join(sources, "sample_id")
    judged = decision_rows(
        decided["sample_id"], decided["source"], stage, decided["reason"], decided["detail"], policy
    )
    parts.stage(store, key, {**found.tables, "decisions": judged.sort_by("sample_id")})
    parts.commit(store, [key])
    return rows


def counted(db: duckdb.DuckDBPyConnection, chosen: str) -> tuple[int, str]:
    """How many rows of `samples` a relation of ids chooses, and a mark of which: the sum of 128-bit hashes, whatever
    their order. Parts enter it: a row that changed is another row."""
    row = "concat_ws(chr(31), sample_id, part)"
    halves = (f"sum(md5_number_{half}({row})::HUGEINT)" for half in ("lower", "upper"))
    query = f"SELECT count(*), {', '.join(halves)} FROM samples SEMI JOIN {chosen} USING (sample_id)"
    [(rows, low, high)] = db.sql(query).fetchall()
    return int(rows), f"{low}-{high}"


def candidates(db: duckdb.DuckDBPyConnection, stage: str) -> None:
    """Makes `candidates(sample_id)`: kept by every stage so far and not yet decided by this one."""
    db.execute(
        "CREATE OR REPLACE TEMP TABLE candidates AS SELECT sample_id FROM samples "
        "ANTI JOIN (SELECT sample_id FROM decisions WHERE NOT kept OR stage = ?) USING (sample_id)",
        [stage],
    )


def incumbents(db: duckdb.DuckDBPyConnection, stage: str) -> None:
    """Makes `incumbents(sample_id)`: those that this stage kept earlier."""
    db.execute(
        "CREATE OR REPLACE TEMP TABLE incumbents AS SELECT sample_id FROM decisions d "
        "WHERE stage = ? AND kept",
        [stage],
    )


# --- what would be kept -------------------------------------------------------------------------------------


def passing(store: Store, filters: Sequence[Filter], gathers: Sequence[Gather]) -> pa.Table:
    """sample_id of the rows that these alone would keep, as if nothing had been decided before; stores nothing.

    A filter's decision names only the first reason, and a gather sees only what came so far: neither tells what a
    shorter chain would say. Parts are judged one by one; ids alone are held.
    """
    kept = pa.table({"sample_id": pa.array([], pa.string())})
    for part in sample_parts(store):
        judged = judge(_collected(store, filters, part), filters, "")
        kept = pa.concat_tables([kept, judged.filter(judged["kept"]).select(["sample_id"])])
    for gather in gathers:
        with store.connect() as db:
            db.execute("CREATE TEMP VIEW decisions AS SELECT * FROM memory.main.decisions WHERE false")
            db.register("passed", kept)
            db.execute("CREATE TEMP TABLE candidates AS SELECT sample_id FROM passed")
            db.execute("CREATE TEMP TABLE incumbents AS SELECT sample_id FROM passed WHERE false")
            found = gather.gather(db).decisions
        kept = found.filter(found["kept"]).select(["sample_id"])
    return kept
