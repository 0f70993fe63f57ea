"""How long does each live page take over ten million rows of samples' metadata and signals?

Measured: seconds of wall time in which the server answers (tables to HTML), for every page as it opens and for searches, moved
thresholds and lineage, over a store of generated rows (benchmarks/rig/made_store.py) that a nightly run has left: rows in the
order of their ids (`maintain`), answers kept (`report`). Each page is opened by a reader of its own, which has seen no
other; the median of several. Before that, all are opened once on a store without kept answers. A line for each tells both
seconds. The result: the slowest page against the second that it may take. The limit is what DuckDB takes to count the ids of
samples and decisions. Quality is the share of pages that say with kept answers what they said with none.
"""

from __future__ import annotations

import shutil
import time
from statistics import median
from urllib.parse import parse_qs

from benchmarks.rig import made_store
from benchmarks.rig.contract import Bench, Result
from dashboards import app, reader, report
from dashboards.asked import Asked
from dashboards.page import Mill
from dashboards.reader import Reader
from pipeline.step import Filter, load
from storage.kept import FOLDER

SIZE = 10_000_000
PAIRS = 3
GOAL = 1.0
SECOND = 1.0
FILTERS: tuple[tuple[str, dict], ...] = (
    ("filters.caption_length", {}),
    ("filters.language", {"languages": ["en", "fr"]}),
    ("filters.image_text_score", {}),
    ("filters.size", {}),
)
MOVED = (
    ("thresholds", "filter=filters.language"),
    ("thresholds", "filter=filters.image_text_score"),
    ("thresholds", "filter=filters.size"),
    ("corpus", "words=bird+house"),
    ("corpus", "lang=fr&fate=dropped"),
    ("corpus", "signal=image_text_score.score&low=0.9&order=lowest"),
    ("corpus", "signal=width&order=lowest"),
    ("duplicates", "at=5"),
    ("lineage", "words=a+red+bird+on+the+river"),
)
"""Pages as a person goes on: (name, query)."""


def run(bench: Bench) -> list[Result]:
    """The slowest page."""
    store = made_store.write(bench.folder("sql") / f"v{made_store.VERSION}-{bench.size}", bench.size)
    steps = [load(use, Filter)(**settings) for use, settings in FILTERS]
    mill = Mill(store, filters=lambda: steps)  # type: ignore[arg-type, return-value]
    shutil.rmtree(store.path.joinpath(*FOLDER), ignore_errors=True)
    visits = (*((page.name, "") for page in app.PAGES), *MOVED)
    patience, reader.PATIENCE_S = reader.PATIENCE_S, 600.0
    first = {visit: opened(mill, *visit) for visit in visits}
    reader.PATIENCE_S = patience
    shutil.rmtree(store.path.joinpath(*FOLDER), ignore_errors=True)
    report.content(store)
    again, same = {}, 0
    for visit in visits:
        looks = [opened(mill, *visit) for _ in range(bench.pairs)]
        again[visit] = median(seconds for seconds, _ in looks)
        same += all(page == first[visit][1] for _, page in looks)
    for (name, query), seconds in again.items():
        night, _ = first[name, query]
        print(
            f"{f'{name}?{query}'.rstrip('?')}: {seconds:.2f} s; with nothing kept {night:.2f} s", flush=True
        )
    slowest = max(again, key=lambda visit: again[visit])
    took = again[slowest]
    began = time.perf_counter()
    with store.connect() as db:
        db.sql(
            "SELECT (SELECT count(sample_id) FROM samples), (SELECT count(sample_id) FROM decisions)"
        ).fetchall()
    limit = time.perf_counter() - began
    return [
        Result(
            "pages",
            took,
            SECOND,
            f"a second, for {slowest[0]}",
            "s",
            SECOND / took,
            limit,
            same / len(visits),
            1,
        )
    ]


def opened(mill: Mill, name: str, query: str) -> tuple[float, bytes]:
    """Seconds in which a reader that has seen no other page answers with this one, and what it says."""
    [page] = [page for page in app.PAGES if page.name == name]
    began = time.perf_counter()
    answer = app.answered(mill, Reader(mill.store), page, Asked(parse_qs(query)))
    return time.perf_counter() - began, bytes(answer.body)
