"""The drift flow: how far the newest snapshot lies from the one that the champion was trained on; beyond the limit it says so
in an event, which starts retraining."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.events import emit_event

from flows.checkpoints import CHAMPION, row_of
from flows.config import Config, read
from flows.progress import say
from storage import drift as drifting
from storage.snapshot import Snapshot

DETECTED = "millrace.drift.detected"
SHOWN = 20


def run(config: Config, snapshot: str = "latest", against: str = "") -> dict[str, Any]:
    """The drift of every column, and which of them are beyond their limit.

    Raises:
        ConfigError: there is no champion, and no other snapshot was named.
        SnapshotNotFound: no such snapshot.
    """
    store = config.open_store()
    before = Snapshot.open(store, against or row_of(store, CHAMPION)["snapshot"])
    now = Snapshot.open(store, snapshot)
    found = drifting.measure(store, before.name, now.name)
    limits = config.drift
    beyond = [one.column for one in found if one.psi > limits.limits.get(one.column, limits.limit)]
    return {
        "snapshot": now.name,
        "against": before.name,
        "beyond": beyond,
        "columns": [asdict(one) for one in found],
    }


@flow(name="drift")
def drift(config: str = "millrace.toml", snapshot: str = "latest", against: str = "") -> dict[str, Any]:
    """Measures how far a snapshot lies from the one that the champion was trained on.

    Args:
        config: The TOML file that says what to do.
        snapshot: The snapshot to look at.
        against: Another snapshot to hold it against.
    """
    done = run(read(Path(config)), snapshot, against)
    table = [{key: str(value) for key, value in row.items()} for row in done["columns"][:SHOWN]]
    create_table_artifact(
        key="drift", table=table, description=f"From {done['against']} to {done['snapshot']}"
    )
    if done["beyond"]:
        emit_event(
            event=DETECTED,
            resource={"prefect.resource.id": f"millrace.snapshot.{done['snapshot']}"},
            payload={"against": done["against"], "columns": done["beyond"]},
        )
    said = f"beyond the limit: {', '.join(done['beyond'])}" if done["beyond"] else "nothing beyond the limit"
    say(f"from snapshot {done['against']} to {done['snapshot']}: {said}")
    return done


def start(config: str, snapshot: str = "latest", against: str = "") -> dict[str, Any]:
    """Runs the flow here."""
    return drift(config=config, snapshot=snapshot, against=against)
