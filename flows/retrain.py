"""The retrain flow: ingest what is new → train → evaluate → promote → report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from flows import artifacts
from flows.config import read
from flows.evaluate import evaluate
from flows.ingest import ingest
from flows.progress import log, say
from flows.promote import promote
from flows.report import report
from flows.train import train
from storage import champions
from storage.store import Store

NEW = """
SELECT count(*) FROM snapshot_members WHERE snapshot = ? AND split = 'train' AND sample_id NOT IN (
    SELECT m.sample_id FROM snapshot_members m JOIN checkpoints c USING (snapshot) WHERE c.checkpoint_id = ?)
"""


@flow(name="retrain")
def retrain(
    config: str = "millrace.toml",
    least_new: Annotated[
        int,
        Field(ge=0, description="Training rows that the champion never saw; with fewer, nothing is trained."),
    ] = 0,
    promote_if_better: Annotated[
        bool, Field(description="Whether the new checkpoint takes the champion's place if the gate lets it.")
    ] = True,
) -> dict[str, Any]:
    """Brings in what is new, trains on it, scores the result, and promotes it if it is better.

    Args:
        config: The TOML file that says what to do.
        least_new: Training rows that the champion never saw; with fewer, nothing is trained.
        promote_if_better: Whether the new checkpoint takes the champion's place if the gate lets it.
    """
    told: dict[str, str] = {}
    try:
        return parts(config, least_new, promote_if_better, told)
    finally:
        if told:
            artifacts.retrained(told)


def parts(config: str, least_new: int, promote_if_better: bool, told: dict[str, str]) -> dict[str, Any]:
    """One part after the other; what each came to goes into the run's log, and into `told`."""

    def tell(part: str, outcome: str) -> None:
        told[part] = outcome
        log(f"{part}: {outcome}")

    ingested = ingest(config=config)
    tell(
        "ingest",
        f"snapshot {ingested['snapshot']}, {ingested['kept']:,} of {ingested['came_in']:,} rows kept",
    )
    new = unseen(read(Path(config)).open_store(), ingested["snapshot"])
    if new < least_new:
        why = f"{new:,} training rows are new to the champion, {least_new:,} are asked for: nothing to train"
        say(why)
        told["train"] = why
        return {"ingest": ingested, "new": new, "train": None}
    trained = train(config=config, snapshot=ingested["snapshot"])
    tell("train", f"checkpoint {trained['checkpoint']} at step {trained['step']:,}")
    scored = evaluate(config=config, checkpoint=trained["checkpoint"])
    tell("evaluate", f"{len(scored['scores']):,} scores")
    decided = None
    if promote_if_better:
        decided = promote(config=config, checkpoint=trained["checkpoint"])
        tell("promote", f"{decided['outcome']}: {decided['reason']}")
    return {
        "ingest": ingested,
        "new": new,
        "train": trained,
        "evaluate": scored,
        "promote": decided,
        "report": report(config=config),
    }


def unseen(store: Store, snapshot: str) -> int:
    """Training rows of a snapshot that the champion's lacks: all of them where there is no champion."""
    with store.connect() as db:
        row = db.execute(NEW, [snapshot, champions.champion(store) or ""]).fetchone()
    assert row is not None
    return int(row[0])


def start(config: str, least_new: int = 0, promote_if_better: bool = True) -> dict[str, Any]:
    """Runs the flow here."""
    return retrain(config=config, least_new=least_new, promote_if_better=promote_if_better)
