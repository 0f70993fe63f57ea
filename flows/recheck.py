"""The recheck flow: rows whose sites no longer let us keep them lose their text and picture."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows import tokenizers
from flows.config import Config, read
from flows.progress import bar, say
from pipeline import splits
from pipeline.web import recheck as asking
from storage import snapshot
from storage.beginning import using
from storage.errors import SnapshotIncomplete


@flow(name="recheck")
def recheck(config: str = "millrace.toml", days: int = 30) -> dict[str, Any]:
    """Asks robots.txt, headers, pages and TDMRep again, and drops the rows whose consent was withdrawn.

    Args:
        config: The TOML file that says what to do.
        days: Consents younger than this are not asked again.
    """
    settings = read(Path(config))
    bases = {name: getattr(source, "base_url", None) for name, source in settings.source_steps.items()}
    with using(store := settings.open_store()):
        with bar("recheck", None, "URLs") as shown:
            done = asking.run(store, settings.fetch, bases, timedelta(days=days), shown.update)
            shown.update(done.asked, total=done.asked)
        made = renew(settings) if done.withdrawn else ""
    if done.withdrawn:
        say(f"snapshot {made}: training reads it from now on" if made else "nothing is left for a snapshot")
    create_table_artifact(key="recheck", table=[asdict(done)], description="Consents asked again")
    say(f"{done.asked:,} addresses asked, {done.refused:,} refuse, {done.withdrawn:,} rows withdrawn")
    return asdict(done)


def renew(settings: Config) -> str:
    """A snapshot without the withdrawn rows, so that "latest" no longer holds them; its name, or "" if there is none."""
    store = settings.open_store()
    splits.assign_all(store, settings.splits)
    if not (store.folder("tokenizers") / "current.json").exists():
        return ""
    models = tokenizers.ready(store, settings)
    try:
        made = snapshot.create(
            store,
            text_tokenizer=models["text_tokenizer"].id,
            image_tokenizer=models["image_tokenizer"].id,
            licences=settings.licences.allow,
            allow_contaminated=settings.decontaminate.allow,
        )
    except SnapshotIncomplete:  # nothing is left; training refuses the older ones
        return ""
    return made.name


def start(config: str, days: int) -> dict[str, Any]:
    """Runs the flow here."""
    return recheck(config=config, days=days)
