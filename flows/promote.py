"""The promote flow: a checkpoint against the champion on the same held-out rows, and which of them answers from now on.

A challenger is promoted if it is right more often beyond chance (a paired bootstrap) and no task, language or source falls by
more than its limit. Every decision is a row of `promotions`; `rollback` goes one step back.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput

from flows import evaluate
from flows.checkpoints import load, row_of
from flows.config import Config, ConfigError, PromoteConfig, read
from flows.progress import say
from model.compare import Change, Pair, changes, fallen
from storage import champions
from storage.beginning import using
from storage.snapshot import Snapshot
from storage.store import Store

PATIENCE_S = 24 * 3600
"""How long a person may take to approve."""
RULE, PERSON, FORCE = "rule", "person", "force"
ASKED = """
SELECT a.correct AS after, b.correct AS before, a.task, s.lang, s.source
FROM answers a JOIN answers b USING (sample_id) LEFT JOIN samples s USING (sample_id)
WHERE a.evaluation_id = ? AND b.evaluation_id = ?
"""


class Approval(RunInput):
    """What a person is asked where `[promote] approval` is set."""

    promote: bool = True


def run(config: Config, checkpoint: str = "latest", force: bool = False) -> dict[str, Any]:
    """Decides on a checkpoint, and returns the decision.

    Raises:
        ConfigError: no such checkpoint, or nothing was held out to ask.
    """
    store = config.open_store()
    challenger, champion = row_of(store, checkpoint), champions.champion(store)
    if champion == challenger["checkpoint_id"]:
        return {"outcome": "unchanged", "checkpoint_id": champion, "reason": "it is the champion already"}
    if champion is None or force:
        why = "promoted by hand" if champion else "the first one"
        return promoted(store, challenger["checkpoint_id"], why, FORCE if force else RULE, champion=champion)
    found = compared(store, config, champion, challenger)
    told = {
        "champion": champion,
        "snapshot": challenger["snapshot"],
        "items": found["all"].items,
        "gain": found["all"].gain,
        "low": found["all"].low,
        "high": found["all"].high,
        "groups": json.dumps({name: asdict(one) for name, one in found.items()}, ensure_ascii=False),
    }
    if why := refusal(found, config.promote):
        return champions.record(
            store, champions.REFUSED, challenger["checkpoint_id"], why, decided_by=RULE, **told
        )
    why = f"right {found['all'].gain:+.1%} more often ({found['all'].low:+.1%} to {found['all'].high:+.1%})"
    if config.promote.approval and not approved(why):
        why = f"a person did not approve: {why}"
        return champions.record(
            store, champions.REFUSED, challenger["checkpoint_id"], why, decided_by=PERSON, **told
        )
    return promoted(
        store, challenger["checkpoint_id"], why, PERSON if config.promote.approval else RULE, **told
    )


def promoted(store: Store, checkpoint: str, why: str, by: str, **told: Any) -> dict[str, Any]:
    """Makes it the champion."""
    return champions.record(store, champions.PROMOTED, checkpoint, why, decided_by=by, **told)


def compared(store: Store, config: Config, champion: str, challenger: dict[str, Any]) -> dict[str, Change]:
    """What the challenger gains on the held-out rows of its snapshot, over all and by task, language and source.

    Raises:
        ConfigError: nothing was held out to ask.
    """
    snapshot = Snapshot.open(store, challenger["snapshot"])
    with using(store):
        both = [asked(store, config, one, snapshot) for one in (challenger["checkpoint_id"], champion)]
    with store.connect() as db:
        rows = db.execute(ASKED, both).fetchall()
    if not rows:
        raise ConfigError(
            f"snapshot {challenger['snapshot']} holds no {config.evaluate.split} rows to ask both models: mark a source "
            "held_out, or promote by hand with --force"
        )
    return changes(
        Pair(before, after, (f"task {task}", f"language {lang or 'none'}", f"source {source}"))
        for after, before, task, lang, source in rows
    )


def asked(store: Store, config: Config, checkpoint: str, snapshot: Snapshot) -> str:
    """The evaluation under which the answers of a checkpoint to a snapshot's held-out rows are kept; it is asked unless they
    are there."""
    evaluation = evaluate.name_of(checkpoint, snapshot, config)
    if not store.has("answers", evaluation):
        loaded = replace(load(store, checkpoint), snapshot=snapshot.name)
        _, _, answers = evaluate.answered(store, config, loaded, evaluate.parser(config))
        evaluate.keep_answers(store, evaluation, answers)
    return evaluation


def refusal(found: dict[str, Change], settings: PromoteConfig) -> str:
    """Why the challenger may not be promoted; nothing if it may."""
    whole = found["all"]
    if whole.low <= settings.gain:
        bounds = f"{whole.gain:+.1%}, {whole.low:+.1%} to {whole.high:+.1%} of {whole.items:,} held-out rows"
        return f"not better beyond chance: {bounds}; the lower bound must be above {settings.gain:+.1%}"
    fell = fallen(found, settings.most_fall, settings.falls, settings.least_items)
    if fell:
        said = ", ".join(f"{name} {one.before:.1%} to {one.after:.1%}" for name, one in fell.items())
        return f"better over all ({whole.gain:+.1%}), but fell too far: {said}"
    return ""


def approved(why: str) -> bool:
    """Waits for a person in the UI; whoever does not answer in time has not approved."""
    say("a person is asked: Resume, at the page of this run of promote in the Prefect UI, opens the form")
    form = Approval.with_initial_data(
        description=f"The challenger is {why}. Promote it? Switched off, it is refused.", promote=True
    )
    try:
        return pause_flow_run(wait_for_input=form, timeout=PATIENCE_S).promote
    except FlowPauseTimeout:
        return False


@flow(name="promote")
def promote(config: str = "millrace.toml", checkpoint: str = "latest", force: bool = False) -> dict[str, Any]:
    """Holds a checkpoint against the champion, and promotes it if it is better and no group falls too far.

    Args:
        config: The TOML file that says what to do.
        checkpoint: Id of a checkpoint or name of its run, or latest.
        force: Promote it whatever the scores say; the decision says so.
    """
    done = run(read(Path(config)), checkpoint, force)
    shown = {key: str(value) for key, value in done.items() if key != "groups"}
    create_table_artifact(key="promotion", table=[shown])
    say(f"{done['checkpoint_id']}: {done['outcome']}; {done['reason']}")
    return done


def rollback(config: Config) -> dict[str, Any]:
    """Makes the former champion answer again.

    Raises:
        ConfigError: there is none before this one, or its weights are gone.
    """
    store = config.open_store()
    before, now = champions.former(store), champions.champion(store)
    if before is None:
        raise ConfigError(f"nothing to roll back to: {now or 'none'} is the first champion of {store.path}")
    load(store, before)
    return champions.record(
        store, champions.ROLLED_BACK, before, f"instead of {now}", champion=now, decided_by=PERSON
    )


def start(config: str, checkpoint: str = "latest", force: bool = False) -> dict[str, Any]:
    """Runs the flow here."""
    return promote(config=config, checkpoint=checkpoint, force=force)
