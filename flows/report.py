"""The report flow: one self-contained HTML file about the newest snapshot and checkpoint."""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_link_artifact

from flows import store_admin
from flows.config import read
from storage import catalog


@flow(name="report")
def report(config: str = "millrace.toml") -> str:
    """Writes report.html and a fresh catalog.duckdb; returns the report's path.

    Args:
        config: The TOML file that says what to do.
    """
    catalog.rebuild(read(config).open_store())
    path = store_admin.report(Path(config))
    create_link_artifact(key="report", link=path.resolve().as_uri(), link_text="report.html")
    return str(path)
