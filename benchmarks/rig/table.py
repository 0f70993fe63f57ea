"""docs/benchmarks.md: a row for every result, with the day and the commit that it was measured on."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.rig.contract import Result

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
HEAD = "| name | ours | peer | ratio | limit | date | commit |\n|---|---|---|---|---|---|---|\n"


def append(results: Sequence[Result], document: Path) -> None:
    """Adds a row for each result at the end of the document, whose last thing is the table."""
    text = document.read_text(encoding="utf-8") if document.exists() else "# Benchmarks\n"
    if HEAD not in text:
        text = text.rstrip("\n") + "\n\n" + HEAD
    if not text.endswith("\n"):
        text += "\n"
    day, version = f"{datetime.now(UTC):%Y-%m-%d}", commit()
    rows = "".join(row(result, day, version) for result in results)
    document.parent.mkdir(parents=True, exist_ok=True)
    document.write_text(text + rows, encoding="utf-8")


def row(result: Result, day: str, version: str) -> str:
    """One row of the table."""
    ours, peer, ratio, limit = (
        f"{value:.4g}" for value in (result.ours, result.peer, result.ratio, result.limit)
    )
    cells = (
        result.name,
        f"{ours} {result.unit}",
        f"{peer} {result.unit} ({result.peer_name})",
        ratio,
        f"{limit} {result.unit}",
        day,
        version,
    )
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n"


def commit() -> str:
    """The commit that lies here, with a + if files differ from it; "unknown" without git."""
    try:
        found = _git("rev-parse", "--short", "HEAD").strip()
        return found + "+" * bool(_git("status", "--porcelain", "--untracked-files=no").strip())
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout
