"""How long do questions take over ten million samples, and how does pandas do on the same Parquet?

Measured: seconds of wall time of each view that people ask and of each file in dashboards/queries, with nothing kept, over a
store of generated rows (benchmarks/rig/made_store.py: samples, 29 million decisions, three annotators' signals, snapshot
members), in one DuckDB of two threads that has looked at the files before; the median of several. Left out are questions
about groups of people, which read every text, pictures' bytes, the demo's truth, and tokens, which are not made. A line for
each tells its seconds. The results: three of them in pandas, in a process of its own that reads only the columns that it
needs by pyarrow; and the heaviest that the overview asks (totals) also as the page asks it: in a new DuckDB, its answer kept.
The worst ratio stands last. The limit is what DuckDB takes to read the columns of source, licence, time, stage, reason and fate
and to count their values. Quality is 1 if both sides' counts agree, else 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import duckdb

from benchmarks.rig import made_store
from benchmarks.rig.contract import Bench, BenchmarkError, Result
from dashboards import ask
from dashboards.reader import Reader
from storage import views
from storage.store import Store

SIZE = 10_000_000
PAIRS = 3
GOAL = 5.0
PATIENCE_S = 60.0
"""After so long a question is given up, and told as such."""
PEERS = {
    "source_quality": "SELECT source, came_in, dropped FROM source_quality",
    "languages": "SELECT lang, came_in, kept FROM languages",
    "totals": "totals",
}
"""What pandas is given, too: SQL by which the answers are compared, or a query's name."""
LEFT_OUT = {
    "group_mentions",
    "group_associations",
    "removal_by_group",
    "planted_rows",
    "picture",
    "bias_by_group",
}
VALUES: dict[str, Any] = {
    "snapshot": made_store.SNAPSHOT,
    "checkpoint": made_store.CHECKPOINT,
    "evaluation": made_store.EVALUATION,
    "run": made_store.RUN,
    "n": 20,
    "least": 5,
    "evaluations": [made_store.EVALUATION],
}
MACROS = (
    f"FROM run_curve('{made_store.RUN}')",
    f"FROM snapshot_diff('{made_store.EARLIER}', '{made_store.SNAPSHOT}')",
)
SCRIPT = Path(__file__).parent / "rig" / "pandas_once.py"


def run(bench: Bench) -> list[Result]:
    """Each question that pandas is asked, too; the heaviest last."""
    store = made_store.write(bench.folder("sql") / f"v{made_store.VERSION}-{bench.size}", bench.size)
    took: dict[str, float] = {}
    with store.connect(overview=True, memory_limit="4GB") as db:
        for name, question in questions().items():
            found = seconds(db, question, bench.pairs)
            took[name] = found if found is not None else PATIENCE_S
            print(
                f"{name}: {f'{found:.2f} s' if found is not None else f'over {PATIENCE_S:.0f} s'}", flush=True
            )
        ours = {name: answer(db, name, sql) for name, sql in PEERS.items()}
        limit = seconds(db, lambda con: con.sql(COUNTED).fetchall(), bench.pairs) or PATIENCE_S
    results = []
    for name in PEERS:
        theirs, found_there, version = pandas(store, name, bench.pairs)
        asked = {"counted anew": (took[name], ours[name])}
        if name in ask.KEPT:
            asked["as a page asks it"] = as_page(store, name, bench.pairs)
        for how, (spent, counts) in asked.items():
            peer, same = f"pandas {version}, {name}, {how}", float(counts == found_there)
            results.append(Result("sql", spent, theirs, peer, "s", theirs / spent, limit, same, 1.0))
    return sorted(results, key=lambda result: -result.ratio)


def as_page(store: Store, name: str, times: int) -> tuple[float, dict[str, list[int]]]:
    """Median seconds in which a reader that has seen nothing answers a query, after a first one; and the answer."""
    took = []
    for _ in range(times + 1):
        began = time.perf_counter()
        with Reader(store).looking() as (db, _):
            [row] = ask.ask(db, name, **VALUES)
        took.append(time.perf_counter() - began)
    return median(took[1:]), {"all": [int(value) for value in row.values()]}


def answer(db: duckdb.DuckDBPyConnection, name: str, sql: str) -> dict[str, list[int]]:
    """The counts of a question, by its first column; of the only row of a query by "all"."""
    if sql in ask.names():
        [row] = ask.ask(db, name, **VALUES)
        return {"all": [int(value) for value in row.values()]}
    return {row[0]: list(row[1:]) for row in db.sql(sql).fetchall()}


COUNTED = """
SELECT (SELECT count(source) + count(licence) + count(fetched_at) FROM samples),
       (SELECT count(source) + count(stage) + count(reason) + count(kept) FROM decisions)
"""


def questions() -> dict[str, Callable[[duckdb.DuckDBPyConnection], object]]:
    """Each question by its name: views, macros, and the queries that need no more than `VALUES`; not those that ask
    what a search has found."""
    told: dict[str, Callable[[duckdb.DuckDBPyConnection], object]] = {}
    for name in ("funnel", "funnel_check", *(view.name for view in views.OVERVIEW if not view.takes)):
        if name not in LEFT_OUT:
            told[name] = lambda db, name=name: db.sql(f"FROM {name} LIMIT 200").fetchall()  # type: ignore[misc]
    for macro in MACROS:
        told[macro.removeprefix("FROM ")] = lambda db, macro=macro: db.sql(macro).fetchall()  # type: ignore[misc]
    for name in ask.names():
        if name not in LEFT_OUT and not name.startswith("search_") and ask.parameters(name) <= set(VALUES):
            told.setdefault(name, lambda db, name=name: ask.ask(db, name, **VALUES))  # type: ignore[misc]
    return told


def seconds(
    db: duckdb.DuckDBPyConnection, question: Callable[[duckdb.DuckDBPyConnection], object], times: int
) -> float | None:
    """Median of several answers after one that warms up; of the first alone if that took long; None if it was given up."""
    found: list[float] = []
    for _ in range(times + 1):
        ends = threading.Timer(PATIENCE_S, db.interrupt)
        ends.start()
        began = time.perf_counter()
        try:
            question(db)
        except duckdb.InterruptException:
            return None
        finally:
            ends.cancel()
        found.append(time.perf_counter() - began)
        if found[0] > PATIENCE_S / 6:
            return found[0]
    return median(found[1:])


def pandas(store: Store, view: str, times: int) -> tuple[float, dict[str, list[int]], str]:
    """Seconds of pandas, its answer, and its version.

    Raises:
        BenchmarkError: it failed, most likely for lack of memory.
    """
    files = {table: store.files(table) for table in ("samples", "decisions", "images", "members")}
    done = subprocess.run(
        [sys.executable, "-P", str(SCRIPT), view, json.dumps(files), str(times)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise BenchmarkError(f"pandas ended with {done.returncode}: {done.stderr[-500:]}")
    told = json.loads(done.stdout)
    return median(told["seconds"]), told["answer"], told["version"]
