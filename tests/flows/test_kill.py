"""kill -9 at random moments of an ingest and of a training: what is done afterwards ends in the same bits."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from storage.snapshot import content_hash

pytestmark = [pytest.mark.slow, pytest.mark.timeout(450)]

TRIES = 20
"""Draws of a moment until it falls into the work; each miss makes the next draw shorter."""
KILLS = int(os.environ.get("MILLRACE_TORTURE", 3))
TRAIN_KILLS = 5 if "MILLRACE_TORTURE" in os.environ else 2
TABLES = ("images", "samples", "decisions", "groups", "splits", "text_tokens", "image_tokens", "members")


def say_everything(mill: Any) -> dict[str, str]:
    """A hash of each table's content, and of the snapshot's."""
    store = mill.store()
    return {"snapshot": mill.snapshot().content_hash} | {t: content_hash(store, t) for t in TABLES}


def kill_within(one: Any, began: Any, seconds: float) -> bool:
    """Waits until the work has begun, then for some seconds, then kills; False if the work ended before."""
    while one.alive() and not began():
        time.sleep(0.01)
    deadline = time.monotonic() + seconds
    while one.alive() and time.monotonic() < deadline:
        time.sleep(0.005)
    if not one.alive():
        return False
    one.kill()
    return True


def killed(
    whole: Any, folder: Path, start: Callable[[Any], Any], moments: Sequence[tuple[str, float]]
) -> Any:
    """A copy of a project whose command was killed that often while it worked, each time at the drawn moment.

    A moment is the file that says that the work has begun, and the seconds after it. Work that ends before is
    no kill: it starts again on another copy, with less time to wait.
    """
    for attempt in range(TRIES):
        mill = whole.copy(folder / str(attempt))
        for begun, seconds in moments:
            one = start(mill)
            landed = kill_within(one, lambda: any(mill.path.glob(begun)), seconds * 0.7**attempt)
            assert one.gone(), [Path(f"/proc/{pid}/cmdline").read_text() for pid in one.family()]
            if not landed:
                break
        else:
            return mill
    pytest.fail(f"the work ended before each of {TRIES} kills")


@pytest.fixture(scope="module")
def undisturbed(gallery: Any, tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> dict[str, Any]:
    """What an ingest in peace makes, and how long it takes from its first file on."""
    mill = gallery.copy(tmp_path_factory.mktemp("peace") / "project")
    began = time.monotonic()
    mill.ingest()
    return {"seconds": time.monotonic() - began, "content": say_everything(mill)}


@pytest.mark.parametrize("number", range(KILLS))
def test_an_ingest_that_is_killed_ends_in_the_same_snapshot(
    number: int, undisturbed: dict[str, Any], fresh: Any, command: Any, tmp_path: Path
) -> None:
    """With worker processes, a server of its own, or twice in a row: nobody is left, and nothing is lost."""
    dice, own = random.Random(number), number % 3 == 0
    if own:
        fresh.change('runner = "threads"', 'runner = "processes"')
    moments = [
        ("store/store.json", dice.uniform(0, undisturbed["seconds"]))
        for _ in range(2 if number % 3 == 2 else 1)
    ]
    mill = killed(fresh, tmp_path, lambda mill: command(mill, "ingest", own_server=own), moments)
    done = mill.ingest()
    assert say_everything(mill) == undisturbed["content"]
    assert os.listdir(mill.store().folder("staging")) == []
    assert mill.sql("SELECT count(*) FROM funnel_check WHERE NOT adds_up") == [(0,)]
    assert mill.ingest() == {**done, "parts_made": 0}


def test_what_was_committed_before_a_kill_can_be_read_and_stays(
    fresh: Any, command: Any, wait_until: Any
) -> None:
    """The tables answer beside the dead process's half-done work, and no committed row goes."""
    one = command(fresh, "ingest")
    log = fresh.path / "store/tables/samples/_delta_log"
    assert wait_until(lambda: not one.alive() or len(list(log.glob("*.json"))) > 1), one.said()
    one.kill()
    assert one.gone()
    rows = set(fresh.sql("SELECT sample_id, image_id, text FROM samples"))
    assert rows
    assert fresh.sql(
        "SELECT count(*) FROM samples ANTI JOIN images USING (image_id) WHERE image_id IS NOT NULL"
    ) == [(0,)]
    fresh.ingest()
    assert rows <= set(fresh.sql("SELECT sample_id, image_id, text FROM samples"))


def test_sql_answers_while_an_ingest_writes(fresh: Any, command: Any, wait_until: Any) -> None:
    """Each answer is one consistent view: counts only grow, and every kept row has its picture."""
    from flows.store_admin import query

    one = command(fresh, "ingest")
    assert wait_until(lambda: not one.alive() or (fresh.path / "store/store.json").exists()), one.said()
    asked = (
        "SELECT count(*) AS n, (SELECT count(*) FROM samples s ANTI JOIN images USING (image_id) "
        "WHERE s.image_id IS NOT NULL) AS lost FROM samples"
    )
    answers = []
    while one.alive():
        answers += query(fresh.config, asked)
    one.wait()
    assert answers, "the ingest was over before the first answer"
    counts = [row["n"] for row in answers]
    assert counts == sorted(counts)
    assert {row["lost"] for row in answers} == {0}


@pytest.fixture(scope="module")
def trained(milled: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A training in peace: its weights, and how long it took."""
    from flows import train

    mill = milled.copy(tmp_path_factory.mktemp("trained") / "project")
    began = time.monotonic()
    done = train.start(str(mill.config))
    return {
        "seconds": time.monotonic() - began,
        "checkpoint": done["checkpoint"],
        "weights": (Path(done["path"]) / "model.safetensors").read_bytes(),
        "plan": plan(mill),
    }


def plan(mill: Any) -> list[tuple]:
    return mill.sql("SELECT step, slot, sample_ids FROM batch_plan ORDER BY step, slot")


@pytest.mark.parametrize("number", range(TRAIN_KILLS))
def test_a_training_that_is_killed_ends_in_the_same_weights(
    number: int, trained: dict[str, Any], milled: Any, command: Any, tmp_path: Path
) -> None:
    dice = random.Random(100 + number)
    moments = [
        ("store/checkpoints/*/run.json", dice.uniform(0, trained["seconds"])) for _ in range(1 + number % 2)
    ]
    mill = killed(milled, tmp_path, lambda mill: command(mill, "train"), moments)
    last = command(mill, "train", "--json")
    last.wait()
    done = last.answer()
    assert done["checkpoint"] == trained["checkpoint"]
    assert (Path(done["path"]) / "model.safetensors").read_bytes() == trained["weights"]
    assert plan(mill) == trained["plan"]
    assert mill.sql("SELECT count(*) - count(DISTINCT (run_id, step, name)) FROM metrics") == [(0,)]
    assert mill.sql("SELECT count(*) - count(DISTINCT checkpoint_id) FROM checkpoints") == [(0,)]
