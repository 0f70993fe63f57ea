"""The forget flow: what was named leaves tables, files, snapshots and reports, and may not come in again.

Nothing of it is told to Prefect: a command writes it into the store's journal and calls the flow without it, and of what was
typed into the form of the page the run's parameters keep nothing.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES
from prefect.context import FlowRunContext
from pydantic import Field

from dashboards import report as page
from flows.config import Config, read
from flows.progress import bar, say
from flows.retrain import retrain as retrain_flow
from flows.store_admin import planted_truth
from pipeline import forgetting
from pipeline.forgetting import Named
from pipeline.gathers.near_duplicates import NearDuplicates
from storage import amend, beginning, blocklist, meta, takedown
from storage.errors import NothingNamed, RowsInUse
from storage.store import Store
from storage.takedown import Takedown

PICTURES = "pictures.json"
"""In the folder of an evaluation: what was drawn, and for which caption."""
WAIT_S = 20.0
"""Seconds that Prefect's database may be busy."""


def planned(config: Config, named: Named, by: str) -> Takedown:
    """What would go; changes nothing but that the store has a salt."""
    alike = next((step for step in config.gather_steps if isinstance(step, NearDuplicates)), None)
    bases = {name: getattr(source, "base_url", None) for name, source in config.source_steps.items()}
    return forgetting.planned(config.open_store(), named, by, config.media, alike, bases)


def asked(config: Config, named: Named, by: str) -> dict[str, Any] | None:
    """Plans a takedown and writes it down, so that it will be done; None if all of it was done before."""
    store = config.open_store()
    with beginning.alone(store, wait):
        found = planned(config, named, by)
        if not found.samples and not found.pictures and known(store, found):
            return None
        with idle(store, found.snapshots):
            takedown.write_down(store, found)
    return found.summary()


def known(store: Store, found: Takedown) -> bool:
    """Whether all that was named stands on the blocklist."""
    held = {(row["kind"], row["digest"]) for row in store.read("blocklist", ["kind", "digest"]).to_pylist()}
    return all((one.kind, one.digest) in held for one in found.entries)


def wait() -> None:
    say("somebody is bringing rows in or reading them: waiting until they have ended")


@contextmanager
def idle(store: Store, snapshots: Sequence[str]) -> Iterator[None]:
    """No run trains on these snapshots; whoever begins one meanwhile has to wait, since nobody may use the store.

    Raises:
        RowsInUse: one does.
    """
    former = [row["snapshot"] for name in snapshots for row in amend.former(store, name)]
    rows = store.read("runs", ["run_id", "snapshot"], where="kind = 'train'").to_pylist()
    runs = {one["run_id"] for one in rows if one["snapshot"] in (*snapshots, *former)}
    with ExitStack() as held:
        for name in sorted(runs):
            if not held.enter_context(store.lock(f"run-{name}").tried()):
                raise RowsInUse(
                    f"run {name} is training on rows that are to be forgotten: stop it (it saves), forget, and start it "
                    "again: it goes on without them"
                )
        yield


def finish(config: Config, path: Path) -> list[dict[str, Any]]:
    """Does all that was written down and is not done yet; what it was."""
    store, done = config.open_store(), []
    with beginning.alone(store, wait):
        for one in takedown.waiting(store):
            with idle(store, takedown.held(store, one)), bar("forget", None, "takedowns", quiet=True):
                told = takedown.carry_out(store, one)
                clear_reports(store, one.texts, planted_truth(path))
                takedown.record(store, one, told)
            done.append(told | around(store, told))
        takedown.sweep(store)
    return done


def around(store: Store, told: dict[str, Any]) -> dict[str, Any]:
    """What lies outside of the store and may hold something of what went: for a person to look after."""
    seen = {one["checkpoint_id"] for one in told["checkpoints"]}
    runs = store.read("runs", ["kind", "config"]).to_pylist()
    exports = [json.loads(one["config"] or "{}") for one in runs if one["kind"] == "export"]
    copies = store.path.parent.glob(f"{store.path.name}.ablate-*")
    return {
        "exports": sorted({one["folder"] for one in exports if one.get("checkpoint") in seen}),
        "copies": sorted(str(one) for one in copies),
    }


def clear_reports(store: Store, texts: Sequence[str], truth: Path | None) -> None:
    """Removes pictures that were drawn for a text that is gone, what kills left half written, and older cards, which may quote
    what is gone; writes the report and the newest cards anew, if there are any."""
    reports = store.folder("reports")
    for left in list(reports.rglob(".*.[0-9]*")):
        left.unlink()
    for folder in [one for one in reports.iterdir() if one.is_dir()]:
        clear_drawn(folder, texts)
    older = list(reports.glob(page.CARDS))
    for card in older:
        card.unlink()
    if older:
        page.cards(store, page.content(store, truth=truth))
    if (written := reports / "report.html").exists():
        try:
            page.write(store, written, truth=truth)
        except BaseException:
            written.unlink()  # rather none than one that still shows it
            raise


def clear_drawn(folder: Path, texts: Sequence[str]) -> None:
    """Leaves in the folder of an evaluation only pictures that are listed, and for captions that are none of these texts."""
    listing = folder / PICTURES
    listed = json.loads(listing.read_text(encoding="utf-8")) if listing.exists() else []
    with closing(blocklist.scratch()) as db:
        keys = blocklist.fold(db, [one["caption"] for one in listed])
    left = [one for one, key in zip(listed, keys, strict=True) if key not in texts]
    for file in {one.name for one in folder.glob("[0-9]*.png")} - {one["file"] for one in left}:
        (folder / file).unlink()
    if left != listed:
        meta.replace(listing, json.dumps(left, ensure_ascii=False, indent=1))


# --- Prefect ----------------------------------------------------------------------------------------------


def hide() -> None:
    """Takes what was typed into the form out of Prefect's database: out of this run's parameters, and those of former ones that
    ended before they came so far; and out of freed pages of the file where there is one (a Postgres clears up by itself)."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    ours = FlowFilter(id=FlowFilterId(any_=[context.flow_run.flow_id]))
    ended = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=sorted(TERMINAL_STATES))))
    with get_client(sync_client=True) as client:
        runs = [context.flow_run, *client.read_flow_runs(flow_filter=ours, flow_run_filter=ended)]
        typed = [one for one in runs if any((one.parameters.get("what") or {}).values())]
        for one in typed:
            shown = {name: value for name, value in one.parameters.items() if name != "what"}
            client.update_flow_run(one.id, parameters=shown).raise_for_status()
    if typed:
        squeeze(Path(os.environ.get("PREFECT_HOME", ".prefect")) / "prefect.db")


def squeeze(file: Path) -> None:
    """Writes an SQLite database anew without what was deleted, or says that somebody kept it busy for too long."""
    if not file.exists():
        return
    try:
        with closing(sqlite3.connect(file, timeout=WAIT_S)) as db:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.OperationalError as error:
        say(f"{file} may still hold what was typed in ({error}): `sqlite3 {file} VACUUM` clears it")


def rows(told: dict[str, Any]) -> list[dict[str, Any]]:
    """What a takedown touches, as lines of one table."""
    of_tables = [{"what": f"table {name}", "rows": n} for name, n in sorted(told["counts"].items())]
    amended = told.get("amended", {})
    snapshots = [
        {"what": f"snapshot {name}" + (f", now {amended[name]}" if amended.get(name) else ""), "rows": None}
        for name in told["snapshots"]
    ]
    saw = [
        {"what": f"checkpoint {one['checkpoint_id']} of run {one['run_id']}", "rows": one["rows"]}
        for one in told["checkpoints"]
    ]
    outside = [
        {"what": f"{kind}: {name}", "rows": None}
        for kind, name in (*(("exported model", one) for one in told.get("exports", ())),
                           *(("copy of the store", one) for one in told.get("copies", ())))
    ]  # fmt: skip
    return of_tables + snapshots + saw + outside


def sentence(told: dict[str, Any], gone: bool = True) -> str:
    """The same in a line."""
    return (
        f"takedown {told['request_id']}: {told['rows']:,} rows and {told['pictures']:,} pictures "
        f"{'are gone' if gone else 'would go'}; {len(told['snapshots']):,} snapshots held them, "
        f"{len(told['checkpoints']):,} checkpoints saw them"
        f"{': retrain makes one that did not' if gone and told['checkpoints'] else ''}"
    )


@flow(name="forget")
def forget(
    config: str = "millrace.toml",
    what: Annotated[Named, Field(description="What is to be forgotten.")] = Named(),
    sure: Annotated[
        bool, Field(description="Really do it; without this, it only says what would go.")
    ] = False,
    requested_by: Annotated[str, Field(description="Who answers for it; enters the record.")] = "",
    retrain: Annotated[bool, Field(description="Ingest, train, evaluate and promote afterwards.")] = False,
) -> dict[str, Any]:
    """Removes rows and pictures for good, amends the snapshots that held them, and lets none come in again.

    What was written down and not completed is completed first. Nothing of what was named is stored or logged.

    Args:
        config: The TOML file that says what to do.
        what: What is to be forgotten.
        sure: Really do it; without this, it only says what would go.
        requested_by: Who answers for it; enters the record.
        retrain: Ingest, train, evaluate and promote afterwards.
    """
    hide()
    settings, wished = read(config), any(what.model_dump().values())
    done, would = finish(settings, Path(config)), None
    if wished and sure:
        if asked(settings, what, requested_by):
            done += finish(settings, Path(config))
        else:
            say("all of it was forgotten before")
    elif wished:
        would = planned(settings, what, requested_by).summary()
        say(sentence(would, gone=False))
    elif not done:
        raise NothingNamed("nothing was named, and nothing waits to be completed")
    for told in [*done, *([would] if would else [])]:
        create_table_artifact(key="forget", table=rows(told), description=sentence(told, told is not would))
    for told in done:
        say(sentence(told))
    if done and retrain:
        retrain_flow(config=config)
    return {"done": done, "would": would}


def start(config: str, retrain: bool = False) -> dict[str, Any]:
    """Runs the flow here on what was written down."""
    return forget(config=config, sure=True, retrain=retrain)
