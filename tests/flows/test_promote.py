"""A better checkpoint becomes champion, a worse one is refused, a rollback restores; every decision is a row."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from flows import evaluate, promote, retrain, train
from flows.checkpoints import load, row_of
from flows.config import ConfigError, read
from model.evaluate import Answer
from storage import champions
from storage.snapshot import Snapshot

FIRST, SECOND = "seed-0", "seed-1"
"""Two runs on one snapshot, a step of training each."""


@pytest.fixture(scope="module")
def contest(milled: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    mill = milled.copy(tmp_path_factory.mktemp("contest") / "project")
    mill.change("steps = 60", "steps = 1\nseed = 0")
    train.start(str(mill.config), "latest", FIRST)
    mill.change("seed = 0", "seed = 1")
    train.start(str(mill.config), "latest", SECOND)
    return mill


@pytest.fixture
def arena(contest: Any, tmp_path: Any) -> Any:
    return contest.copy(tmp_path / "arena")


@pytest.fixture
def right(arena: Any) -> Callable[..., None]:
    """Plants what a run's checkpoint says of each held-out row: right in this share of a task's rows."""

    def plant(run: str, share: float, **of_task: float) -> None:
        config, store = read(arena.config), arena.store()
        row, snapshot = row_of(store, run), arena.snapshot()
        answers, seen = [], dict[str, int]()
        for item in evaluate.held_out(snapshot, config):
            task = item["task"]
            place = seen[task] = seen.get(task, -1) + 1
            correct = place % 10 < 10 * of_task.get(task, share)
            said = item["text"] if correct else "something else"
            answers.append(Answer(item["sample_id"], task, item["lang"], item["text"], said))
        evaluate.keep_answers(store, evaluate.name_of(row["checkpoint_id"], snapshot, config), answers)

    return plant


def decided(arena: Any, run: str, **more: Any) -> dict[str, Any]:
    return promote.start(str(arena.config), run, **more)


def test_the_first_is_promoted_a_better_one_takes_its_place_and_a_rollback_restores_it(
    arena: Any, right: Callable[..., None]
) -> None:
    right(FIRST, 0.2)
    right(SECOND, 0.7)
    first, second = (row_of(arena.store(), run)["checkpoint_id"] for run in (FIRST, SECOND))
    assert champions.champion(arena.store()) is None
    with pytest.raises(ConfigError, match="no champion yet"):
        load(arena.store(), "champion")

    assert decided(arena, FIRST)["outcome"] == "promoted"
    assert load(arena.store(), "champion").id == first
    made = decided(arena, SECOND)
    assert (made["outcome"], made["champion"], made["decided_by"]) == ("promoted", first, "rule")
    assert made["low"] > 0 and made["gain"] == pytest.approx(0.5, abs=0.05)
    assert load(arena.store(), "champion").id == second
    assert decided(arena, SECOND)["outcome"] == "unchanged"

    assert promote.rollback(read(arena.config))["checkpoint_id"] == first
    assert load(arena.store(), "champion").id == first
    with pytest.raises(ConfigError, match="nothing to roll back to"):
        promote.rollback(read(arena.config))
    assert arena.sql("SELECT outcome, checkpoint_id FROM promotions ORDER BY recorded_at") == [
        ("promoted", first),
        ("promoted", second),
        ("rolled_back", first),
    ]


def test_a_worse_one_is_refused_and_so_is_one_that_is_not_better_beyond_chance(
    arena: Any, right: Callable[..., None]
) -> None:
    right(FIRST, 0.5)
    right(SECOND, 0.3)
    decided(arena, FIRST)
    made = decided(arena, SECOND)
    assert made["outcome"] == "refused" and "not better beyond chance" in made["reason"]
    assert champions.champion(arena.store()) == row_of(arena.store(), FIRST)["checkpoint_id"]
    assert decided(arena, SECOND, force=True)["decided_by"] == "force"
    assert champions.champion(arena.store()) == row_of(arena.store(), SECOND)["checkpoint_id"]
    again = decided(arena, FIRST)
    assert again["outcome"] == "promoted"


def test_one_that_gains_over_all_and_loses_a_task_is_refused_by_its_name(
    arena: Any, right: Callable[..., None]
) -> None:
    tasks = dict(
        arena.sql("SELECT task, count(*) FROM samples WHERE held_out AND image_id IS NOT NULL GROUP BY 1")
    )
    victim = min(tasks, key=lambda task: tasks[task])
    arena.change(
        "[splits]" if "[splits]" in arena.config.read_text() else "[tokens.text]",
        "[promote]\nleast_items = 5\n[tokens.text]",
    )
    right(FIRST, 0.5, **{victim: 1.0})
    right(SECOND, 1.0, **{victim: 0.5})
    decided(arena, FIRST)
    made = decided(arena, SECOND)
    assert made["outcome"] == "refused" and f"task {victim} 100.0% to" in made["reason"]
    assert json.loads(made["groups"])["all"]["after"] > json.loads(made["groups"])["all"]["before"]


def test_both_are_really_asked_where_nothing_was_kept(arena: Any) -> None:
    decided(arena, FIRST)
    made = decided(arena, SECOND)
    asked = len(evaluate.held_out(arena.snapshot(), read(arena.config)))
    assert made["outcome"] in ("promoted", "refused") and made["items"] == asked > 50
    whole = json.loads(made["groups"])["all"]
    shares = arena.sql("SELECT avg(correct::INT) FROM answers GROUP BY evaluation_id")
    assert sorted(share for (share,) in shares) == pytest.approx(sorted([whole["before"], whole["after"]]))
    assert arena.sql("SELECT count(DISTINCT evaluation_id), count(*) FROM answers") == [(2, 2 * asked)]


def test_retraining_waits_for_enough_that_the_champion_never_saw(arena: Any) -> None:
    decided(arena, FIRST)
    assert retrain.unseen(arena.store(), Snapshot.open(arena.store()).name) == 0
    done = retrain.start(str(arena.config), least_new=1)
    assert done["new"] == 0 and done["train"] is None


@pytest.mark.parametrize("answer", [True, False])
def test_a_person_who_is_asked_has_the_last_word(
    arena: Any, right: Callable[..., None], prefect_api: str, answer: bool
) -> None:
    arena.change("[tokens.text]", "[promote]\napproval = true\n[tokens.text]")
    right(FIRST, 0.2)
    right(SECOND, 0.7)
    decided(arena, FIRST)
    with ThreadPoolExecutor(1) as person:
        answered = person.submit(answers, prefect_api, answer)
        made = decided(arena, SECOND)
        answered.result()
    assert (made["outcome"], made["decided_by"]) == ("promoted" if answer else "refused", "person")


def answers(api: str, promote_it: bool) -> None:
    """What the form in the UI does: waits until a run is paused, and resumes it with an answer."""
    paused = {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}
    deadline = time.monotonic() + 120
    while not (runs := httpx.post(f"{api}/flow_runs/filter", json=paused, timeout=60).json()):
        assert time.monotonic() < deadline, "no run is paused"
        time.sleep(0.5)
    body = {"run_input": {"promote": promote_it}}
    told = httpx.post(f"{api}/flow_runs/{runs[0]['id']}/resume", json=body, timeout=60).json()
    assert told["status"] == "ACCEPT", told
