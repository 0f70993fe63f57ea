"""A checkpoint beside another one, or beside any OpenAI-compatible endpoint: the same held-out items, scores side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flows import tasks
from flows.checkpoints import Loaded, load
from flows.config import Config, ConfigError, read
from flows.endpoint import Endpoint
from model.compare import Contest, contests
from model.outcome import Asked, Outcome
from model.tasks.task import AnswerTask
from storage.beginning import using
from storage.snapshot import Snapshot


@dataclass(frozen=True)
class Wish:
    """Who is to be compared, and on what."""

    checkpoint: str = "latest"
    other: str = ""
    base_url: str = ""
    model: str = ""
    api_key_env: str = "OPENAI_API_KEY"
    names: Sequence[str] = ()
    most: int = 100


def run(config: str | Path, wish: Wish) -> dict[str, Any]:
    """Asks both, and returns the contests and every item with both answers.

    Raises:
        ConfigError: not one of another checkpoint and an endpoint is named, or nothing was held out to ask.
        EndpointError: the endpoint cannot be asked.
    """
    if bool(wish.other) == bool(wish.base_url):
        raise ConfigError(
            "name what to compare with: --with CHECKPOINT, or --openai-base-url URL --model NAME"
        )
    settings = few(read(config), wish.most)
    store = settings.open_store()
    with using(store):
        loaded = load(store, wish.checkpoint)
        snapshot = Snapshot.open(store, loaded.snapshot)
        room = tasks.Room(store, settings, snapshot, loaded.tokenizers.image.size)
        second = load(store, wish.other) if wish.other else None
        done, found, items = {"unanswered": 0}, list[Contest](), list[dict[str, Any]]()
        for task in comparable(settings, wish):
            asked = task.items(room.given(lambda asked: [], None))
            if not asked:
                continue
            trivial = task.trivial(asked, room.given(lambda asked: [], None))
            ask = answering(room, second, wish, task, done)
            theirs = task.measured(asked, ask(asked), trivial)  # first: a wrong address is told at once
            mine = task.measured(asked, tasks.answerer(room, loaded)(asked), trivial)
            found += contests(theirs, mine)
            items += told(task.name(), mine, theirs)
    if not found:
        raise ConfigError(f"snapshot {snapshot.name} holds no {settings.evaluate.split} rows to ask both")
    names = {"ours": loaded.id, "theirs": second.id if second else wish.model}
    return {**names, "rows": [row(one) for one in found], **done, "items": items}


def few(config: Config, most: int) -> Config:
    """The configuration with so many items of each task and language."""
    return config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"max_items": most})})


def comparable(config: Config, wish: Wish) -> list[AnswerTask]:
    """The tasks that a text answers.

    Raises:
        ConfigError: one that is named asks for more.
    """
    made = tasks.chosen(config, wish.names)
    found = [one for one in made if isinstance(one, AnswerTask)]
    if wish.names and len(found) < len(made):
        others = ", ".join(one.name() for one in made if not one.answers)
        raise ConfigError(f"--task {others}: only tasks that a text answers can be compared")
    return found


def answering(
    room: tasks.Room, second: Loaded | None, wish: Wish, task: AnswerTask, done: dict[str, int]
) -> Callable[[Sequence[Asked]], list[str]]:
    """Who else is asked."""
    if second is not None:
        return tasks.answerer(room, second)
    endpoint = Endpoint(wish.base_url, wish.model, task.words, room.file, wish.api_key_env)

    def ask(asked: Sequence[Asked]) -> list[str]:
        said = endpoint(asked)
        done["unanswered"] += endpoint.unanswered
        return said

    return ask


def row(one: Contest) -> dict[str, Any]:
    """A contest as a person reads it."""
    told = asdict(one)
    return {
        "task": one.task,
        "subset": one.subset,
        "metric": one.metric,
        "ours": told["after"],
        "theirs": told["before"],
        "baseline": one.trivial,
        "gain": one.gain,
        "low": one.low,
        "high": one.high,
        "p": one.p,
        "n": one.n,
    }


def told(task: str, mine: Outcome, theirs: Outcome) -> list[dict[str, Any]]:
    """Every item with both answers."""
    both = zip(mine.asked, mine.said, theirs.said, strict=True)
    return [
        {
            "task": task,
            "sample_id": a.sample_id,
            "part": a.part,
            "expected": a.expected,
            "ours": b,
            "theirs": c,
        }
        for a, b, c in both
    ]
