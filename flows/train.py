"""The train flow: a snapshot in, a checkpoint out, metrics on the way; a killed run goes on where it stopped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import pyarrow as pa
from prefect import flow
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from pydantic import Field

from flows import artifacts, launcher
from flows.config import Config, read
from flows.progress import bar, say
from model import checkpoint as checkpoints
from model import train as training
from pipeline.step import digest
from storage import amend, catalog, clock, contamination
from storage.errors import SnapshotWithdrawn, StoreFull
from storage.snapshot import Snapshot
from storage.store import Store

ARTIFACT_EVERY = 10
"""Percent between updates of the progress artifact."""


def run_name(config: Config, snapshot: Snapshot) -> str:
    """Equal settings on an equal snapshot are the same run: it resumes, or is done already."""
    settings = config.train.model_dump(mode="json", exclude_defaults=True, exclude={"parallel"})
    return f"run-{digest([settings, snapshot.content_hash])[:12]}"


def begun(config: Config, snapshot: Snapshot) -> str:
    """The run that these settings make on a snapshot; of one that was amended, that which its former self left unfinished."""
    store = snapshot.store
    for row in amend.former(store, snapshot.name):
        name = run_name(config, Snapshot.from_row(store, row))
        ended = store.read("runs", ["state"], where=f"run_id = '{name}'")["state"].to_pylist()
        if (store.folder("checkpoints") / name / training.RUN).exists() and "finished" not in ended:
            return name
    return run_name(config, snapshot)


class Asked(threading.Event):
    """Whether the run is asked to save and end, and who else is to be told so."""

    def __init__(self) -> None:
        super().__init__()
        self.tell: Callable[[], None] = lambda: None

    def set(self) -> None:
        super().set()
        self.tell()

    def pass_on(self, tell: Callable[[], None]) -> None:
        """Whom to tell; at once if it was asked already."""
        self.tell = tell
        if self.is_set():
            tell()


@contextmanager
def stopping() -> Iterator[Asked]:
    """SIGTERM asks the run to save and end; handlers can be set in the main thread only."""
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


WITHDRAWN = """
SELECT count(*) FROM members m JOIN decisions d ON d.sample_id = m.sample_id
WHERE m.snapshot = ? AND d.stage = 'collect' AND d.reason IN ('consent_withdrawn', 'withdrawn')
"""


def refuse_withdrawn(store: Store, name: str) -> None:
    """A snapshot pins old versions of the tables, and with them what sites have taken back since.

    Raises:
        SnapshotWithdrawn: it holds such rows.
    """
    with store.connect() as db:
        [(rows,)] = db.execute(WITHDRAWN, [name]).fetchall()
    if rows:
        raise SnapshotWithdrawn(
            f"snapshot {name} holds {rows:,} rows that were withdrawn since: `millrace ingest` makes one without them"
        )


def refuse_contaminated(pinned: Snapshot, config: Config) -> None:
    """Whoever made the snapshot: none of its training rows may be a row of an evaluation set, unless that is allowed.

    Raises:
        SnapshotContaminated: some are.
    """
    with pinned.connect() as db:
        found = contamination.leaks(db, "SELECT sample_id FROM members WHERE split = 'train'")
    if found and config.decontaminate.allow:
        contamination.record(pinned.store, pinned.name, found)
    elif found:
        contamination.refuse(found, f"snapshot {pinned.name}", config.decontaminating())


def run(config: Config, snapshot: str = "latest", name: str = "", workers: int = 1) -> Path:
    """Trains on a snapshot, with so many workers; returns the folder of the final checkpoint."""
    store = config.open_store()
    pinned = Snapshot.open(store, snapshot)
    refuse_withdrawn(store, pinned.name)
    refuse_contaminated(pinned, config)
    name = name or begun(config, pinned)
    artifact = create_progress_artifact(progress=0.0, key="training", description=name)
    assert isinstance(artifact, UUID)  # we are in no event loop
    shown_percent = 0
    with bar("train", config.train.steps, "steps") as shown, stopping() as asked:

        def progress(at: training.Progress) -> None:
            nonlocal shown_percent
            shown.update(at.step, f"loss {at.loss:.3f}, {at.tokens_per_second:,.0f} tokens/s", total=at.steps)
            percent = 100 * at.step // max(at.steps, 1)
            if percent >= shown_percent + ARTIFACT_EVERY:
                shown_percent = percent
                update_progress_artifact(artifact_id=artifact, progress=float(percent))

        try:
            if workers == 1:
                path = training.train(
                    store, pinned, config.train, run_id=name, progress=progress, stop=asked.is_set
                )
            else:
                path = launcher.launch(
                    store,
                    pinned,
                    config.train,
                    run_id=name,
                    workers=workers,
                    progress=progress,
                    stopping=asked.pass_on,
                )
        except Exception:
            failed(store, name, pinned.name)
            raise
    update_progress_artifact(artifact_id=artifact, progress=100.0)
    return path


def failed(store: Store, run_id: str, snapshot: str) -> None:
    """Records that a run did not end well; it may still go on later. A full disk may have no room for that either."""
    now = clock.after(store, "runs")
    row = {"run_id": run_id, "kind": "train", "state": "failed", "snapshot": snapshot, "recorded_at": now}
    with suppress(StoreFull):
        store.append("runs", pa.Table.from_pylist([row]), parts=[f"{run_id}/failed/{now.isoformat()}"])


@flow(name="train")
def train(
    config: str = "millrace.toml",
    snapshot: str = "latest",
    run_id: str = "",
    allow_contaminated: bool = False,
    workers: Annotated[int, Field(ge=1)] = 1,
) -> dict[str, Any]:
    """Trains the model on a snapshot and saves a checkpoint.

    Args:
        config: The TOML file that says what to do.
        snapshot: Name of a snapshot, or latest.
        run_id: Name of the run; an unfinished one goes on. Empty: taken from the settings.
        allow_contaminated: Train even where training rows are held-out ones.
        workers: Processes that train together on this machine, one for each GPU.
    """
    settings = read(config).allowing(allow_contaminated)
    path = run(settings, snapshot, run_id, workers)
    saved = checkpoints.read(path)
    done = {"checkpoint": saved.id, "step": saved.step, "path": str(path)}
    store = settings.open_store()
    artifacts.checkpoint(store, done)
    catalog.refresh(store)
    say(f"checkpoint {saved.id} at step {saved.step:,}: {path}")
    return done


def start(
    config_path: str,
    snapshot: str = "latest",
    run_id: str = "",
    allow_contaminated: bool = False,
    workers: int = 1,
) -> dict[str, Any]:
    """Runs the flow here."""
    return train(config_path, snapshot, run_id, allow_contaminated, workers)
