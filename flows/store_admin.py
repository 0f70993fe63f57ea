"""What a person asks of a store without a flow: statistics, SQL, catalog, backup, report, a first configuration."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from dashboards import ask
from flows import config as configuration
from flows.config import ConfigError
from storage import backup as backups
from storage import catalog as catalogs
from storage import migrations, question
from storage.beginning import using
from storage.store import Store

TOPICS = ("corpus", "fetch", "contamination", "bias")
FETCH = ("fetch_by_host", "fetch_by_outcome", "consents")
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
        WHERE evaluation_id = (SELECT evaluation_id FROM evaluations WHERE NOT starts_with(evaluation_id, 'task-')
                               ORDER BY recorded_at DESC LIMIT 1)
        ORDER BY task, metric, subset""",
}


def opened(config: Path) -> Store:
    """The configuration's store, which must exist."""
    return configuration.read(config).open_store()


def query(config: Path, text: str) -> list[dict[str, Any]]:
    """Answers one DuckDB query over a consistent view of the tables."""
    return question.ask(opened(config), text).to_pylist()


def stats(config: Path, topic: str = "corpus") -> dict[str, list[dict[str, Any]]]:
    """Title to rows of each question about a topic.

    Raises:
        ConfigError: there is no such topic.
    """
    if topic not in TOPICS:
        raise ConfigError(f'no statistics about "{topic}": there are {", ".join(TOPICS)}')
    asked = STATS if topic == "corpus" else {ask.question(name): ask.text(name) for name in FETCH}
    with opened(config).connect() as db:
        if topic == "bias":
            from dashboards import bias

            return bias.tables(db, ask.ask_one(db, "newest")["snapshot"])
        if topic == "contamination":
            return {ask.question("contamination"): ask.ask(db, "contamination", n=5)}
        return {title: db.sql(text).to_arrow_table().to_pylist() for title, text in asked.items()}


def catalog(config: Path) -> Path:
    return catalogs.rebuild(opened(config))


def report(config: Path) -> Path:
    """Writes the report of the newest snapshot and checkpoint, and their cards beside it; returns its path."""
    from dashboards import report as page

    with using(store := opened(config)):
        return page.write_all(store, planted_truth(config))[0]


def planted_truth(config: Path) -> Path | None:
    """What the demo planted in its corpus, if this is a demo's configuration."""
    path = config.parent / "data" / "truth.parquet"
    return path if path.exists() else None


def backup(config: Path, target: Path) -> Path:
    return backups.backup(opened(config), target)


def restore(config: Path, source: Path) -> Path:
    store = configuration.read(config).store
    return backups.restore(source, store.path, store.tables)


def migrate(config: Path) -> int:
    return migrations.migrate(Path(configuration.read(config).store.path))


FIRST = """\
# Millrace on a folder of pictures. More settings: examples/ and `millrace --help`
[store]
path = {store}

[[sources]]
use = "sources.folder"
name = "pictures"
path = {path}
lang = {lang}
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

[splits]
test = 0.1  # one picture in ten is held out, with its copies; a large folder can spare less

[tokens.image]
steps = 1000  # the first ingest fits it once: half a minute on two idle cores; 2000 for thousands of pictures
# What the image tokenizer must reach on held-out pictures: dB, and the share of its codes that are in use. The defaults,
# 26 and 0.25, take thousands of pictures: raise them as your folder grows.
least_psnr = 16
least_usage = 0.1

[train]
seconds = 180
"""


def init(pictures: Path, config: Path, licence: str, lang: str) -> None:
    """Writes a first configuration for a folder of pictures.

    Raises:
        ConfigError: no such folder, no such licence, or the file is there already.
    """
    if licence and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", licence):
        raise ConfigError(f'"{licence}" is no SPDX id: they have no spaces, e.g. CC-BY-4.0, CC0-1.0 or MIT')
    pictures = pictures.expanduser()
    if not pictures.is_dir():
        raise ConfigError(f"{pictures} is not a folder")
    if config.exists():
        raise ConfigError(f"{config} exists already; name another with --config")
    text = FIRST.format(
        store=quoted("store" if config.stem == "millrace" else f"stores/{config.stem}"),
        path=quoted(str(pictures.resolve()).replace("$", "$$")),  # $NAME is an environment variable
        lang=quoted(lang),
        licence=f"licence = {quoted(licence)}\n" if licence else "",
    )
    config.write_text(text, encoding="utf-8")


def quoted(text: str) -> str:
    """A string of TOML, which is one of JSON, but for the characters that JSON leaves alone or doubles."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
