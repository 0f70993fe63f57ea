"""What a run leaves in the Prefect UI for a person: tables in Markdown, and a bar while the work is long."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact

from flows.printing import beside
from storage.store import Store

T = TypeVar("T")
EVERY_S = 2.0
"""Least time between two updates of a bar: each is a request."""


class Stages:
    """A bar over stages whose number is known before."""

    def __init__(self, key: str, total: int, about: str) -> None:
        self.total, self.done, self.told = max(total, 1), 0, time.monotonic()
        made = create_progress_artifact(progress=0.0, key=key, description=about)
        assert isinstance(made, UUID)  # we are in no event loop
        self.artifact = made

    def advance(self) -> None:
        """One more is done."""
        self.done += 1
        if time.monotonic() - self.told > EVERY_S:
            self.tell(min(99.0, 100.0 * self.done / self.total))

    def end(self) -> None:
        """All is done, also where the number was only a guess: no run that has completed shows a bar that has not."""
        self.tell(100.0)

    def of(self, things: Iterable[T]) -> Iterator[T]:
        """The things one by one; each is done when the next one is asked for."""
        for one in things:
            yield one
            self.advance()

    def tell(self, percent: float) -> None:
        self.told = time.monotonic()
        update_progress_artifact(artifact_id=self.artifact, progress=percent)


class Unseen(Stages):
    """The same without a bar, for who runs stages by hand."""

    def __init__(self) -> None:
        self.total, self.done, self.told = 1, 0, time.monotonic()

    def tell(self, percent: float) -> None:
        self.told = time.monotonic()


SOURCES = "SELECT source, came_in, kept, dropped, adds_up FROM funnel_check ORDER BY source"


def funnel(store: Store, snapshot: str, kept: int, came_in: int) -> None:
    """What came in, what each stage dropped, and why."""
    with store.connect() as db:
        sources = rows(db.execute(SOURCES))
        stages = rows(db.execute("SELECT source, stage, came_in, kept, dropped, reasons FROM funnel"))
    for one in stages:
        one["reasons"] = ", ".join(f"{name} {n:,}" for name, n in (one["reasons"] or {}).items())
    parts = [
        f"Snapshot `{snapshot}`: **{kept:,}** of {came_in:,} rows kept.",
        table(sources),
        "## By stage",
        table(stages),
    ]
    create_markdown_artifact(
        key="funnel", markdown="\n\n".join(parts), description=f"{kept:,} of {came_in:,} rows kept"
    )


MEASURED = """
SELECT m.name AS metric, arg_max(m.value, m.step) AS value, max(m.step) AS step FROM metrics m
JOIN checkpoints c USING (run_id) WHERE c.checkpoint_id = ? AND m.step <= c.step GROUP BY m.name ORDER BY m.name
"""


def checkpoint(store: Store, done: Mapping[str, Any]) -> None:
    """Where a training ended: the newest value of everything that it measured."""
    with store.connect() as db:
        measured = rows(db.execute(MEASURED, [done["checkpoint"]]))
    about = f"Checkpoint `{done['checkpoint']}` at step {done['step']:,}: `{done['path']}`"
    create_markdown_artifact(
        key="checkpoint", markdown=f"{about}\n\n{table(measured)}", description=f"Step {done['step']:,}"
    )


def scores(done: Mapping[str, Any], baseline: str) -> None:
    """The scores of an evaluation beside the baseline's; no text of the corpus, since nobody could forget it there."""
    about = f"Checkpoint `{done['checkpoint']}` on held-out rows."
    create_markdown_artifact(
        key="scores",
        markdown=f"{about}\n\n{table(beside(done['scores'], baseline))}",
        description=f"Checkpoint {done['checkpoint']}",
    )


def tasks(checkpoint: str, found: Sequence[Mapping[str, Any]]) -> None:
    """The scores of single tasks beside their baselines'; no text of the corpus."""
    about = f"Checkpoint `{checkpoint}` on held-out rows, task by task."
    create_markdown_artifact(
        key="tasks", markdown=f"{about}\n\n{table(found)}", description=f"Checkpoint {checkpoint}"
    )


def retrained(told: Mapping[str, str]) -> None:
    """What each part of a retraining came to; each has more at its own page."""
    parts = [{"part": part, "outcome": outcome} for part, outcome in told.items()]
    create_markdown_artifact(key="retrain", markdown=table(parts), description=list(told.values())[-1])


def report(store: Store, path: Path, cards: Sequence[Path] = ()) -> None:
    """Where the report and the cards beside it lie, and its first table. A link would be one to a file, which a
    browser opens from no page."""
    with store.connect() as db:
        sources = rows(db.execute(SOURCES))
    where = f"`{path.resolve()}` on {cell(socket.gethostname())}: open it there in a browser, or copy it; it is one file."
    if cards:
        where += f" Beside it: {', '.join(f'`{card.name}`' for card in cards)}."
    create_markdown_artifact(
        key="report", markdown=f"{where}\n\n{table(sources)}", description=str(path.resolve())
    )


def rows(answer: Any) -> list[dict[str, Any]]:
    """A DuckDB answer as dictionaries."""
    names = [one[0] for one in answer.description]
    return [dict(zip(names, one, strict=True)) for one in answer.fetchall()]


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; numbers stand to the right."""
    if not found:
        return "(no rows)"
    names = list(found[0])
    numbers = {name for name in names if all(is_number(row[name]) for row in found)}
    lines = [
        [name.replace("_", " ") for name in names],
        ["---:" if name in numbers else "---" for name in names],
    ]
    return "\n".join(map(_line, [*lines, *([cell(row[name]) for name in names] for row in found)]))


def is_number(value: Any) -> bool:
    return isinstance(value, int | float | None) and not isinstance(value, bool)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def cell(value: Any) -> str:
    """A value as a person reads it; nothing in it is Markdown."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    text = " ".join(str(value).split())
    return "".join(f"\\{c}" if c in "\\|`*_<>[]" else c for c in text)
