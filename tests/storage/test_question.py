"""A question in SQL gets its answer, and whatever it tries beyond that leaves no trace on the disk."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from storage import question, snapshot
from storage.errors import QuestionRefused
from storage.store import Store
from storage.tables import TABLES, signal_table


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Rows, a snapshot, a checkpoint, an annotator's table, and versions that are no longer the newest.

    One for all tests, since none of them may change it.
    """
    store = Store.open(tmp_path_factory.mktemp("filled") / "store")

    def add(table, **columns):
        store.append(table, pa.table(columns), parts=[f"p{store.version('samples')}"])

    add("samples", sample_id=["a", "b"], source=["s", "s"], text=["one", "two"])
    add("decisions", sample_id=["a", "b"], source=["s", "s"], stage=["collect"] * 2, kept=[True, True])
    add("splits", sample_id=["a", "b"], split=["train", "test"])
    snapshot.create(store, "first")
    add("samples", sample_id=["c", "d"], source=["s", "s"], text=["secret", "four"])
    store.delete("samples", ["c", "d"])
    add(signal_table("nice", "sample_id", pa.schema([("score", pa.float32())])), sample_id=["a"], score=[0.5])
    add("batch_plan", run_id=["r"], step=[0], slot=[0], sample_ids=[["a"]])
    add("checkpoints", checkpoint_id=["k"], run_id=["r"], step=[1], snapshot=["first"])
    return store


def disk(*folders: Path) -> dict[str, bytes]:
    """Every file below some folders, with its content; locks and times say nothing."""
    files = (file for folder in folders for file in folder.rglob("*") if file.is_file())
    return {str(file): file.read_bytes() for file in files if ".locks" not in file.parts}


def answer(store: Store, text: str) -> list[tuple]:
    return [tuple(row.values()) for row in question.ask(store, text).to_pylist()]


# what it may ask


def test_every_view_answers_as_it_does_without_the_lock(filled):
    with filled.connect(overview=True) as open_to_all:
        views = open_to_all.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        assert {*TABLES, "nice", "snapshot_members", "leaderboard"} <= {view for (view,) in views}
        for (view,) in views:
            asked = f'SELECT * FROM "{view}" ORDER BY ALL'
            assert question.ask(filled, asked).equals(open_to_all.sql(asked).to_arrow_table()), view


def test_the_lineage_may_be_asked(filled):
    [row] = answer(filled, "SELECT sample_id, times_seen FROM checkpoint_rows('k') WHERE times_seen > 0")
    assert row == ("a", 1)
    kinds = answer(filled, "SELECT DISTINCT what FROM sample_history('a') ORDER BY 1")
    assert kinds == [("checkpoint",), ("decision",), ("snapshot",), ("training step",)]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("FROM samples SELECT sample_id ORDER BY 1", ("a",)),
        ("WITH few AS (FROM samples LIMIT 1) SELECT count(*) FROM few", (1,)),
        ("WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT max(i) FROM n", (3,)),
        ("(SELECT 1)", (1,)),
        ("VALUES (1)", (1,)),
        ("TABLE splits ORDER BY sample_id", ("a", None, "train", "p1")),
        ("SELECT 1; -- and no more", (1,)),
        ("/* EXPLAIN */ SELECT 'COPY x TO y; SELECT 2'", ("COPY x TO y; SELECT 2",)),
        ("SELECT copy FROM (SELECT 1 AS copy)", (1,)),
        ("SELECT sum(i) FROM range(4) t(i), unnest([1, 2])", (12,)),
        ("SELECT count(*) > 5 FROM duckdb_views()", (True,)),
        ("PIVOT (SELECT source FROM samples) ON source USING count(*)", (2,)),
        ("SELECT s FROM (SELECT source FROM samples) PIVOT (count(*) FOR source IN ('s'))", (2,)),
        ("SELECT now() > '2020-01-01'::TIMESTAMPTZ", (True,)),
    ],
)  # fmt: skip
def test_ordinary_questions_are_answered(text, first, filled):
    assert answer(filled, text)[0] == first


@pytest.mark.parametrize("text", ["DESCRIBE samples", "SHOW TABLES", "SHOW ALL TABLES", "SUMMARIZE samples"])
def test_what_there_is_may_be_asked(text, filled):
    assert answer(filled, text)


@pytest.mark.parametrize(
    "how",
    ["EXPLAIN", "explain analyze", "EXPLAIN/* a */ANALYZE", "-- why\nEXPLAIN", "EXPLAIN (ANALYZE, FORMAT json)"],
)  # fmt: skip
def test_a_question_may_be_explained(how, filled):
    [(kind, plan)] = answer(filled, f"{how} SELECT count(*) FROM samples")
    assert ("analyzed" in kind) == ("ANALYZE" in how.upper())
    assert plan


def test_an_answer_larger_than_memory_spills_and_cleans_up(filled):
    small = Store.open(filled.path, memory_limit="60MB")
    asked = "SELECT count(*) FROM (SELECT DISTINCT i, md5(i::VARCHAR) FROM range(2_000_000) t(i))"
    assert answer(small, asked) == [(2_000_000,)]
    assert [one for one in (filled.path / ".tmp").rglob("*") if one.is_file()] == []


@pytest.mark.parametrize("folder", ['it\'s a "store"', "a[1]", "what? *", "été 猫"])
def test_a_store_of_an_odd_name_can_be_asked(folder, tmp_path):
    store = Store.open(tmp_path / folder)
    store.append("samples", pa.table({"sample_id": ["a"]}), parts=["p"])
    assert answer(store, "SELECT sample_id FROM samples") == [("a",)]


# what it may not do

SERIALIZED = "SELECT json_serialize_sql('WITH a AS (COPY (SELECT 1) TO ''{file}'') FROM a')"
INSIDE, OUTSIDE, DATA = "{store}/.tmp/out.csv", "{other}/out.csv", "{data}"
FILES = pytest.mark.parametrize("file", [OUTSIDE, INSIDE, "{store}/tables/samples/out.parquet", DATA])


def tried(store: Store, other: Path, text: str) -> str:
    """Asks what must be refused, and returns what was said; nothing on the disk may change."""
    files = {"store": store.path, "other": other, "data": store.files("samples")[0]}
    for name, path in files.items():
        text = text.replace("{" + name + "}", str(path))
    before = disk(store.path, other)
    with pytest.raises((QuestionRefused, duckdb.Error)) as refused:
        question.ask(store, text)
    assert disk(store.path, other) == before
    return str(refused.value)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A folder that is none of the store's, with somebody's file."""
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "mine.csv").write_text("secret\n1\n")
    (folder / "mine.json").write_text('{"secret": 1}\n')
    return folder


@FILES
@pytest.mark.parametrize(
    "text",
    [
        "COPY (SELECT 1) TO '{file}'",
        "COPY samples TO '{file}' (FORMAT parquet, USE_TMP_FILE false)",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}'",
        "EXPLAIN/**/ANALYZE COPY (SELECT 1) TO '{file}'",
        "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{file}'",
        "WITH a AS (COPY (SELECT 1 AS x) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)) FROM a",
        "EXPLAIN ANALYZE WITH a AS (COPY (SELECT 1 AS x) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)) FROM a",
        "WITH a AS (WITH b AS (SELECT 1) COPY b TO '{file}') FROM a",
        "WITH a AS (COPY (SELECT 1 AS x) TO '{file}' (USE_TMP_FILE false)) PIVOT a ON x USING count(*)",
        "FROM query('WITH a AS (COPY (SELECT 1) TO ''{file}'') FROM a')",
        "SELECT 1; COPY (SELECT 1) TO '{file}'",
        "ATTACH '{file}' AS other",
        "EXPORT DATABASE '{file}'",
        "FROM enable_logging(storage = 'file', storage_path = '{file}')",
        "FROM enable_profiling(format = 'json', save_location = '{file}')",
        "SET temp_directory = '{file}'",
        "SET log_query_path = '{file}'",
    ],
)
def test_no_file_is_written(text, file, filled, other):
    assert tried(filled, other, text.replace("{file}", file))


@FILES
def test_no_file_is_written_by_sql_that_a_function_runs(file, filled, other):
    """A tree that DuckDB itself wrote down, which its own function executes: in a SELECT, a COPY."""
    with filled.connect() as con:
        tree = con.sql(
            SERIALIZED.replace("{file}", file.replace("{data}", filled.files("samples")[0]))
        ).fetchall()
    text = json.dumps(json.loads(tree[0][0])).replace("'", "''")
    assert "json_execute_serialized_sql" in tried(
        filled, other, f"FROM json_execute_serialized_sql('{text}')"
    )
    pivot = f"PIVOT (FROM json_execute_serialized_sql('{text}')) ON Count USING count(*)"
    assert "json_execute_serialized_sql" in tried(filled, other, pivot)


@pytest.mark.parametrize(
    "file", ["{other}/mine.csv", "/etc/passwd", "{store}/store.json", "http://127.0.0.1:9/x.csv"]
)
@pytest.mark.parametrize(
    "text",
    [
        "FROM read_csv('{file}')",
        "FROM READ_TEXT('{file}')",
        "FROM system.main.read_blob('{file}')",
        'SELECT (SELECT count(*) FROM "read_text"(\'{file}\'))',
        "FROM sniff_csv('{file}')",
        "FROM glob('{file}')",
        "FROM '{file}'",
        'FROM "{file}"',
        "FROM query_table('{file}')",
        "FROM query('FROM read_text(''{file}'')')",
        "PIVOT (FROM read_text('{file}')) ON size USING count(*)",
        "EXPLAIN ANALYZE FROM read_text('{file}')",
        "IMPORT DATABASE '{file}'",
    ],
)  # fmt: skip
def test_no_other_file_is_read(text, file, filled, other):
    assert "secret" not in tried(filled, other, text.replace("{file}", file))


def test_no_row_of_an_old_version_is_read(filled, other):
    """Rows that were taken back lie in the files of older versions until a vacuum."""
    [old] = set(filled.files("samples", filled.version("samples") - 1)) - set(filled.files("samples"))
    for text in (f"FROM '{old}'", f"FROM read_parquet('{old}')"):
        assert tried(filled, other, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-- nothing",
        "EXPLAIN",
        "SELECT 1; SELECT 2",
        "EXPLAIN SELECT 1; SELECT 2",
        "INSTALL httpfs",
        "LOAD httpfs",
        "FORCE INSTALL httpfs FROM 'http://127.0.0.1:9'",
        "SET memory_limit = '1GB'",
        "RESET memory_limit",
        "SET VARIABLE a = 1",
        "PRAGMA memory_limit = '1GB'",
        "PRAGMA table_info('samples')",
        "USE memory",
        "ATTACH ':memory:' AS other",
        "DETACH memory",
        "CREATE TABLE mine AS SELECT 1",
        "CREATE VIEW mine AS SELECT 1",
        "CREATE MACRO mine() AS 1",
        "CREATE SECRET mine (TYPE http)",
        "DROP VIEW samples",
        "ALTER VIEW samples RENAME TO mine",
        "COMMENT ON VIEW samples IS 'mine'",
        "INSERT INTO samples (sample_id) VALUES ('z')",
        "UPDATE samples SET text = 'z'",
        "DELETE FROM samples",
        "WITH a AS (DELETE FROM samples RETURNING *) FROM a",
        "WITH a AS (INSERT INTO samples (sample_id) VALUES ('z') RETURNING *) FROM a",
        "EXPLAIN ANALYZE DELETE FROM samples",
        "MERGE INTO samples USING splits USING (sample_id) WHEN MATCHED THEN DELETE",
        "CALL enable_logging()",
        "FROM checkpoint()",
        "BEGIN",
        "VACUUM",
        "CHECKPOINT",
        "PREPARE mine AS SELECT 1",
        "EXECUTE mine",
    ],
)
def test_nothing_but_one_question_is_taken(text, filled, other):
    assert "query" in tried(filled, other, text)


def test_what_is_refused_is_named(filled, other):
    said = tried(filled, other, "SELECT * FROM read_csv('/etc/passwd'), glob('*')")
    assert "glob, read_csv could do more" in said
    assert "COPY could do more" in tried(filled, other, "WITH a AS (COPY samples TO '{other}/x') FROM a")
    assert "one SELECT" in tried(filled, other, "CREATE TABLE x AS SELECT 1")


def test_the_connection_is_locked_whatever_comes_through(filled, other):
    """The last of the three: as if the looks at the text had let everything pass."""
    versions = filled.versions()
    before = disk(filled.path, other)
    for text in (
        f"COPY (SELECT 1) TO '{other}/x.csv'",
        f"ATTACH '{other}/x.db'",
        f"FROM read_csv('{other}/mine.csv')",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET allowed_directories = ['/']",
        "LOAD httpfs",
    ):
        with filled.connect(versions) as con:
            question.lock(con, filled.files("samples"))
            assert con.sql("SELECT count(*) FROM samples").fetchall() == [(2,)]
            with pytest.raises(duckdb.Error):
                con.execute(text)
    assert disk(filled.path, other) == before


def test_lineage_macros_are_among_the_functions(filled):
    with filled.connect() as con:
        assert {"checkpoint_rows", "sample_history"} <= question.allowed(con)
        assert not {"read_csv", "glob", "query", "enable_logging", "seq_scan"} & question.allowed(con)
