"""The maintain flow: fewer and bigger files, and none that nothing needs: no old versions, no orphans, no spare checkpoints."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.config import Config, read
from flows.progress import bar, say
from model import checkpoint as checkpoints
from pipeline.annotators.own_captions import OwnCaptions
from storage import parts, upkeep
from storage.store import Store

REFERRED = """
SELECT checkpoint_id FROM evaluations
UNION SELECT config ->> 'checkpoint' FROM runs WHERE kind = 'export'
UNION SELECT checkpoint_id FROM promotions WHERE outcome <> 'refused'  -- a rollback leads back to them
"""


def run(config: Config) -> dict[str, Any]:
    """Does all of it, in an order in which a kill loses nothing and costs the next call no more than what was left."""
    store, asked = config.open_store(), config.maintain
    with store.lock(upkeep.MAINTAIN), bar("maintain", len(store.tables()), "tables") as shown:
        with store.lock():
            swept = parts.sweep(store)
        pictures = upkeep.drop_orphans(store)
        pruned = prune(store, asked.keep_checkpoints, referred(store, config))
        upkeep.place_checkpoints(store, lambda: there(store))
        tables = upkeep.tidy(
            store,
            keep_hours=asked.keep_hours,
            copied=asked.copied_mb << 20,
            progress=lambda table: shown.advance(note=table),
        )
    freed = sum(one.bytes_freed for one in tables) + sum(one["bytes_freed"] for one in pruned)
    return {
        "tables": [asdict(one) for one in tables],
        "checkpoints": pruned,
        "pictures_dropped": pictures,
        "staging_swept": swept,
        "bytes_freed": freed,
    }


def referred(store: Store, config: Config) -> set[str]:
    """Ids of checkpoints that are never pruned: evaluated, exported or promoted ones, and those by which rows are captioned."""
    with store.connect() as db:
        found = {one for (one,) in db.sql(REFERRED).fetchall() if one}
        known = [one for (one,) in db.sql("SELECT checkpoint_id FROM checkpoints").fetchall()]
    named = [step.checkpoint for step in config.annotator_steps if isinstance(step, OwnCaptions)]
    return found | {one for one in known for name in named if one.startswith(name)}


def prune(store: Store, keep: int, spare: Collection[str]) -> list[dict[str, Any]]:
    """Removes all but the newest `keep` checkpoints of every run and those to be spared, and what kills left of others."""
    done = []
    for root in sorted(one for one in store.folder("checkpoints").iterdir() if one.is_dir()):
        with store.lock(f"run-{root.name}").tried() as free:
            if not free:  # it is training, and prunes by itself
                continue
            sizes = {folder: size(folder) for folder in root.iterdir() if folder.is_dir()}
            for folder in checkpoints.sweep(root):
                done.append(gone(root, folder, None, sizes[folder]))
            for one in checkpoints.prune(root, keep, spare):
                done.append(gone(root, one.folder, one.id, sizes[one.folder]))
    return done


def gone(root: Path, folder: Path, checkpoint: str | None, freed: int) -> dict[str, Any]:
    """A line about a checkpoint that was removed; one that was never complete has no id."""
    return {"run_id": root.name, "step": int(folder.name), "checkpoint_id": checkpoint, "bytes_freed": freed}


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def there(store: Store) -> list[str]:
    """Folders of all complete checkpoints, relative to the store."""
    return [
        str(folder.relative_to(store.path))
        for root in store.folder("checkpoints").iterdir()
        for folder in checkpoints.complete(root)
    ]


def rows(done: dict[str, Any]) -> list[dict[str, Any]]:
    """What was done, as lines of one table: only what changed."""
    tables = [
        {
            "what": f"table {one['table']}",
            "files before": one["files_before"],
            "files after": one["files_after"],
            "old files removed": one["files_removed"],
            "MB freed": one["bytes_freed"] / 1e6,
        }
        for one in done["tables"]
        if one["files_removed"] or one["files_before"] != one["files_after"]
    ]
    pruned = [
        {
            "what": f"checkpoint {one['checkpoint_id'] or '(incomplete)'} of run {one['run_id']} at step {one['step']:,}",
            "files before": None,
            "files after": None,
            "old files removed": None,
            "MB freed": one["bytes_freed"] / 1e6,
        }
        for one in done["checkpoints"]
    ]
    return tables + pruned


def sentence(done: dict[str, Any]) -> str:
    """What was done, in a line."""
    before, after = (sum(one[key] for one in done["tables"]) for key in ("files_before", "files_after"))
    return (
        f"{before:,} files of tables put together to {after:,}; {done['bytes_freed'] / 1e6:,.1f} MB freed; "
        f"{len(done['checkpoints']):,} checkpoints pruned, {done['pictures_dropped']:,} orphaned pictures dropped, "
        f"{done['staging_swept']:,} dead parts swept"
    )


@flow(name="maintain")
def maintain(config: str = "millrace.toml") -> dict[str, Any]:
    """Puts small files together and removes what nothing needs; safe beside flows and readers, and whenever it is killed.

    Args:
        config: The TOML file that says what to do.
    """
    done = run(read(config))
    create_table_artifact(key="maintain", table=rows(done), description=sentence(done))
    say(sentence(done))
    return done


def start(config: str) -> dict[str, Any]:
    """Runs the flow here."""
    return maintain(config=config)
