"""The whole mill in one flow: ingest → train → evaluate → report."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.config import read
from flows.evaluate import evaluate
from flows.ingest import ingest
from flows.report import report
from flows.tasks import evaluate_tasks
from flows.train import train


@flow(name="mill")
def mill(config: str = "millrace.toml") -> dict[str, Any]:
    """Brings in what is new, trains on it, scores the result, and writes the report.

    Args:
        config: The TOML file that says what to do.
    """
    ingested = ingest(config=config)
    trained = train(config=config, snapshot=ingested["snapshot"])
    scored = evaluate(config=config, checkpoint=trained["checkpoint"])
    done = {"ingest": ingested, "train": trained, "evaluate": scored}
    if names := read(config).evaluate.tasks:
        done["tasks"] = evaluate_tasks(config=config, checkpoint=trained["checkpoint"], names=list(names))
    return {**done, "report": report(config=config)}
