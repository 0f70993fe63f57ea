"""What a person asks of a store without a flow: statistics, SQL, catalog, backup, report, a first configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows import config as configuration
from flows.config import ConfigError
from storage import backup as backups
from storage import catalog as catalogs
from storage import migrations
from storage.store import Store

STATS = {
    "Funnel": "SELECT * FROM funnel",
    "Why rows were dropped": """
        SELECT source, stage, reason, count(*) AS rows FROM decisions WHERE NOT kept
        GROUP BY ALL ORDER BY source, rows DESC""",
    "Languages and tasks": """
        SELECT task, lang, count(*) AS rows, count(DISTINCT image_id) AS pictures,
               round(avg(length(text)), 1) AS characters
        FROM samples SEMI JOIN (SELECT sample_id FROM verdicts WHERE kept) USING (sample_id)
        GROUP BY ALL ORDER BY rows DESC LIMIT 40""",
    "Snapshots": "SELECT snapshot, rows, recorded_at FROM snapshots ORDER BY recorded_at DESC LIMIT 10",
    "Checkpoints": """
        SELECT checkpoint_id, run_id, step, snapshot, recorded_at FROM checkpoints
        ORDER BY recorded_at DESC LIMIT 10""",
    "Scores": """
        SELECT task, metric, subset, value, low, high, n FROM evaluations
        WHERE evaluation_id = (SELECT evaluation_id FROM evaluations ORDER BY recorded_at DESC LIMIT 1)
        ORDER BY task, metric, subset""",
}


def opened(config: Path) -> Store:
    """The configuration's store, which must exist."""
    return Store.open(configuration.read(config).store.path, create=False)


def rows(store: Store, query: str) -> list[dict[str, Any]]:
    with store.connect() as db:
        return db.sql(query).to_arrow_table().to_pylist()


def query(config: Path, text: str) -> list[dict[str, Any]]:
    """Answers one DuckDB query over a consistent view of the tables.

    Raises:
        ConfigError: it is not one question, but none, several, or something that writes.
    """
    import duckdb

    store = opened(config)
    asked = [one.type for one in duckdb.extract_statements(text)]
    if asked not in ([duckdb.StatementType.SELECT], [duckdb.StatementType.MULTI]):  # the latter is a PIVOT
        raise ConfigError("the query must be one SELECT (or FROM, WITH, DESCRIBE, SHOW, SUMMARIZE, PIVOT)")
    return rows(store, text)


def stats(config: Path) -> dict[str, list[dict[str, Any]]]:
    store = opened(config)
    with store.connect() as db:
        return {title: db.sql(text).to_arrow_table().to_pylist() for title, text in STATS.items()}


def catalog(config: Path) -> Path:
    return catalogs.rebuild(opened(config))


def report(config: Path) -> Path:
    """Writes the report of the newest snapshot and checkpoint; returns its path."""
    from dashboards import report as page

    store = opened(config)
    return page.write(store, store.folder("reports") / "report.html")


def backup(config: Path, target: Path) -> str:
    backups.backup(opened(config), target)
    return f"backed up to {target}"


def restore(config: Path, source: Path) -> str:
    path = configuration.read(config).store.path
    backups.restore(source, path)
    return f"restored into {path}"


def migrate(config: Path) -> str:
    done = migrations.migrate(Path(configuration.read(config).store.path))
    return f"store is at schema version {done}"


FIRST = """\
# Millrace on a folder of pictures. More settings: examples/ and `millrace --help`
[store]
path = "store"

[[sources]]
use = "sources.folder"
name = "pictures"
path = "{path}"
lang = "{lang}"
{licence}
[[annotators]]
use = "annotators.perceptual_hash"

[[filters]]
use = "filters.size"
[[filters]]
use = "filters.aspect_ratio"
[[filters]]
use = "filters.caption_length"

[[gathers]]
use = "gathers.near_duplicates"

[train]
seconds = 300
"""


def init(pictures: Path, config: Path, licence: str, lang: str) -> str:
    """Writes a first configuration for a folder of pictures.

    Raises:
        ConfigError: no such folder, or the file is there already.
    """
    if not pictures.is_dir():
        raise ConfigError(f"{pictures} is not a folder")
    if config.exists():
        raise ConfigError(f"{config} exists already; name another with --config")
    import json

    line = f"licence = {json.dumps(licence)}\n" if licence else ""
    path = json.dumps(str(pictures.expanduser().resolve()))[1:-1]
    config.write_text(FIRST.format(path=path, lang=lang, licence=line), encoding="utf-8")
    return f"wrote {config}; next: millrace ingest --config {config}"
