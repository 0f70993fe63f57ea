"""The report flow: one self-contained HTML file about the newest snapshot and checkpoint."""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_link_artifact

from dashboards import report as page
from flows.config import read
from storage import catalog
from storage.store import Store


@flow(name="report")
def report(config: str = "millrace.toml") -> str:
    """Writes report.html and a fresh catalog.duckdb; returns the report's path.

    Args:
        config: The TOML file that says what to do.
    """
    settings = read(config)
    store = Store.open(settings.store.path, create=False)
    catalog.rebuild(store)
    truth = Path(config).parent / "data" / "truth.parquet"  # the demo's planted truth, if this is the demo
    path = page.write(store, store.folder("reports") / "report.html", truth=truth if truth.exists() else None)
    create_link_artifact(key="report", link=path.resolve().as_uri(), link_text="report.html")
    return str(path)
