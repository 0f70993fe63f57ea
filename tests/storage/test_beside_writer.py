"""A reader beside a writer that commits 200 times: no error, and nothing older than what was there when it looked anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import duckdb
import pytest

from storage import catalog
from storage.store import Store

COMMITS = 200
WRITER = """
import sys
import pyarrow as pa
from storage.store import Store

store = Store.open(sys.argv[1])
with open(sys.argv[2], "ab", buffering=0) as done:
    for n in range(int(sys.argv[3])):
        rows = pa.table({"sample_id": [f"s{n}"], "source": ["s"]})
        decided = rows.append_column("stage", [["collect"]]).append_column("kept", [[n % 3 > 0]])
        store.append("decisions", decided, parts=[f"p{n}"])
        store.append("samples", rows, parts=[f"p{n}"])
        done.write(b".")
"""
QUERIES = ("FROM funnel", "FROM source_quality", "FROM languages", "FROM duplicates", "FROM sample('s7')")


def whole(con: duckdb.DuckDBPyConnection) -> int:
    """Asks what pages ask; returns how many rows there are, each of which has its decision."""
    for query in QUERIES:
        con.sql(query).fetchall()
    (counts,) = con.sql(
        "SELECT count(*), count(*) FILTER (d.kept IS NOT NULL) FROM samples LEFT JOIN decisions d USING (sample_id)"
    ).fetchall()
    assert counts[0] == counts[1]
    return counts[0]


@pytest.mark.slow
def test_a_reader_is_never_stale_while_another_process_commits(
    tmp_path: Path, child: Callable[..., Popen[str]]
) -> None:
    store, done = Store.open(tmp_path / "store"), tmp_path / "done"
    done.touch()
    writer = child(WRITER, store.path, done, COMMITS)
    seen: list[tuple[int, int]] = []
    while not seen or seen[-1][0] < COMMITS:
        assert writer.poll() in (None, 0), writer.communicate()[1]
        committed = done.stat().st_size
        with store.connect(overview=True) as con:
            found = whole(con)
        with duckdb.connect(catalog.rebuild(store), read_only=True) as con:
            assert whole(con) >= found
        assert committed <= found <= COMMITS
        seen.append((committed, found))
    assert seen[-1] == (COMMITS, COMMITS)
    assert any(0 < committed < COMMITS for committed, _ in seen), "the writer was done before anyone looked"
    assert [found for _, found in seen] == sorted(found for _, found in seen)
