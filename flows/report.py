"""The report flow: one self-contained HTML file about the newest snapshot and checkpoint."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from dashboards import report as page
from flows import artifacts
from flows.config import read
from flows.store_admin import planted_truth
from storage import catalog
from storage.beginning import using


@flow(name="report")
def report(config: str = "millrace.toml") -> str:
    """Writes report.html, a data card, a model card and a fresh catalog.duckdb; returns the report's path.

    Args:
        config: The TOML file that says what to do.
    """
    settings = read(config)
    store = settings.open_store()
    catalog.rebuild(store)
    with using(store):
        path, *cards = page.write_all(store, planted_truth(Path(config)))
    artifacts.report(store, path, cards)
    return str(path)
