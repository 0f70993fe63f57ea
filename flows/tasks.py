"""Tasks by their own metrics: what a checkpoint answers to held-out rows, beside a trivial baseline; every item is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np
import pyarrow as pa
from prefect import flow

from flows import artifacts, drawing, evaluate
from flows.checkpoints import Loaded, load
from flows.config import Config, ConfigError, read
from flows.progress import bar, say
from model.answering import Answerer
from model.clip import ImageTextModel, ImageTextModelMissing
from model.clip_config import OWN
from model.evaluate import Score
from model.outcome import ALL, Asked, Outcome
from model.png import png
from model.tasks import task as tasks
from model.tasks.task import Examined, Given, Hands, Task
from pipeline.annotators.contact_details import count_emails, count_telephones
from pipeline.annotators.personal_numbers import count_all
from pipeline.step import digest
from storage import clock
from storage.beginning import using
from storage.groups_of_people import spoken_of
from storage.snapshot import Snapshot
from storage.store import Store


@dataclass(frozen=True)
class Room:
    """A store, a snapshot, and what the tasks are lent of them."""

    store: Store
    config: Config
    snapshot: Snapshot
    size: int
    """Side of the pictures that models see, pixels."""

    def given(
        self, answer: Callable[[Sequence[Asked]], list[str]], loaded: Loaded | None, **done: Outcome
    ) -> Given:
        """What a task is run on, for a checkpoint or for whoever answers."""
        asked, examined = self.config.evaluate, None
        if loaded is not None:
            examined = Examined(loaded.model, loaded.tokenizers, self.codes(loaded))
        return Given(self.snapshot, answer, asked.split, asked.max_items, examined, self.hands(loaded), done)

    def hands(self, loaded: Loaded | None) -> Hands:
        """What tasks may need: pictures, the corpus's own grammar, detectors."""
        parse = evaluate.parser(self.config)
        return Hands(
            pixels=self.pixels,
            attributes=parse,
            judge=self.judge(parse) if loaded is not None else None,
            draw=self.draw(loaded) if loaded is not None else None,
            alike=self.alike() if loaded is not None else None,
            personal=personal,
            people=spoken_of,
        )

    def codes(self, loaded: Loaded) -> Callable[[Sequence[str]], np.ndarray]:
        """Finds the codes of pictures; all of them are read once."""
        found: list[tuple[np.ndarray, dict[str, int]]] = []

        def codes(ids: Sequence[str]) -> np.ndarray:
            if self.snapshot.image_tokenizer != loaded.tokenizers.image.id:
                return loaded.tokenizers.image.encode(self.pixels(ids, loaded.tokenizers.image.size))
            if not found:
                found.append(evaluate.codes_of(self.store, self.snapshot, loaded, []))
            table, place = found[0]
            return table[[place[one] for one in ids]]

        return codes

    def pixels(self, ids: Sequence[str], size: int = 0) -> np.ndarray:
        """uint8 [n, size, size, 3] of pictures, usually at the side that models of this room see."""
        with self.snapshot.connect() as db:
            known = evaluate.pictures(db, list(ids), size or self.size)
        return np.stack([known[one] for one in ids])

    def file(self, image_id: str) -> bytes:
        """The stored file of a picture."""
        with self.snapshot.connect() as db:
            found = db.execute("SELECT image FROM images WHERE image_id = ?", [image_id]).fetchone()
        assert found is not None, "an item's picture is a member's"
        return bytes(found[0])

    def judge(self, parse: Any) -> Callable[[], Any] | None:
        """The judge of drawn pictures, where the configuration says what it may tell."""
        asked = self.config.evaluate
        if not asked.judged or parse is None:
            return None
        return lambda: drawing.ready(self.store, self.snapshot, asked, parse, self.size)

    def draw(self, loaded: Loaded) -> Callable[[Sequence[tuple[str, str]]], np.ndarray]:
        """Draws as the configuration says."""

        def draw(wishes: Sequence[tuple[str, str]]) -> np.ndarray:
            held = [{"lang": lang, "text": text} for lang, text in wishes]
            return drawing.draw(loaded, held, self.config.evaluate)

        return draw

    def alike(self) -> Callable[[Sequence[np.ndarray], Sequence[str]], np.ndarray] | None:
        """Likeness by the configured image-text model, if it is at hand and knows the world; the filtering network of
        the corpus would judge by what it was taught of it."""
        named = self.config.image_text
        if named.model == OWN:
            return None
        try:
            model = ImageTextModel.load(named.model, named.pretrained, named.cache)
        except ImageTextModelMissing as error:
            say(f"no CLIP score: {error}")
            return None

        def alike(pictures: Sequence[np.ndarray], texts: Sequence[str]) -> np.ndarray:
            seen = model.encode_images([png(one) for one in pictures])
            return (seen * model.encode_texts(texts)).sum(1)

        return alike


def personal(text: str) -> int:
    """Addresses and numbers of people in a text: e-mail, telephone, bank account, card, IP."""
    return count_emails(text) + count_telephones(text) + sum(count_all(text).values())


def chosen(config: Config, names: Sequence[str] = ()) -> list[Task]:
    """The tasks of these names, or of the configuration, in the order in which they are run.

    Raises:
        TaskError: no such task, or a setting of it is wrong, or stands in the wrong place.
    """
    asked = names or config.evaluate.tasks or tasks.NAMES
    settings = dict(config.evaluate.settings)
    drawn = {"drawn": max(2, config.evaluate.drawn)}  # the judge learns from all others
    if settings.get(drawing.TASK, {}).keys() & drawn:
        raise tasks.TaskError(f"[evaluate.settings.{drawing.TASK}] drawn: say it as [evaluate] drawn")
    settings[drawing.TASK] = settings.get(drawing.TASK, {}) | drawn
    made = {name: tasks.load(name, settings.get(name)) for name in dict.fromkeys(asked)}
    return [made[name] for name in tasks.NAMES if name in made]


def needed(some: Sequence[Task], config: Config) -> list[Task]:
    """The tasks, preceded by those whose answers they look at: all that answer, if none is named."""
    if not any(one.after for one in some) or any(one.answers for one in some):
        return list(some)
    return [*(one for one in chosen(config, tasks.NAMES) if one.answers), *some]


def run_all(
    room: Room, some: Sequence[Task], answer: Callable[[Sequence[Asked]], list[str]], loaded: Loaded | None
) -> dict[str, Outcome]:
    """The outcome of every task that has something to go by."""
    done: dict[str, Outcome] = {}
    for one in some:
        found = one.run(room.given(answer, loaded, **done))
        if found is None:
            say(f"{one.name()}: nothing to ask")
        else:
            done[one.name()] = found
    return done


def answerer(room: Room, loaded: Loaded) -> Callable[[Sequence[Asked]], list[str]]:
    """The checkpoint, ready to answer."""

    def answer(asked: Sequence[Asked]) -> list[str]:
        with bar(f"answer {asked[0].task}" if asked else "answer", len(asked), "items") as shown:
            heard = Answerer(
                loaded.model,
                loaded.tokenizers,
                room.codes(loaded),
                heard=lambda done, total: shown.update(done),
            )
            return heard(asked)

    return answer


def name_of(
    checkpoint: str,
    snapshot: Snapshot,
    config: Config,
    task: Task,
    measures: Sequence[str],
    others: Sequence[Task] = (),
) -> str:
    """The evaluation of one task on a checkpoint and a snapshot's held-out rows under these settings, by measures that could be
    taken (a CLIP score asks for weights); `others` are the tasks whose answers it looks at."""
    asked = config.evaluate
    said: list[Any] = [asked.split, asked.max_items, asked.attributes, asked.judged]
    said += [asked.guidance, asked.top_p, asked.candidates]
    said += [[one.name(), one.model_dump(mode="json")] for one in others]
    if task.name() == drawing.TASK:
        said += [config.image_text.model, config.image_text.pretrained, sorted(measures)]
    told = [checkpoint, snapshot.content_hash, task.name(), task.model_dump(mode="json"), said]
    return f"task-{task.name()}-{digest(told)[:12]}"


def keep(store: Store, evaluation: str, loaded: Loaded, outcome: Outcome, scores: Sequence[Score]) -> None:
    """Appends scores and items, once."""
    items = [{"evaluation_id": evaluation, **row} for row in outcome.kept()]
    if items:
        store.append("answers", pa.Table.from_pylist(items), parts=[evaluation])
    same = {
        "evaluation_id": evaluation,
        "checkpoint_id": loaded.id,
        "snapshot": loaded.snapshot,
        "recorded_at": clock.after(store, "evaluations"),
    }
    rows = [{**same, **asdict(one)} for one in scores]
    store.append("evaluations", pa.Table.from_pylist(rows), parts=[evaluation])


def run(config: Config, checkpoint: str, names: Sequence[str] = ()) -> dict[str, Any]:
    """Runs tasks on a checkpoint; rows go to `evaluations` and `answers`.

    Raises:
        ConfigError: no such checkpoint, or nothing was held out that any of the tasks asks.
    """
    store, wanted = config.open_store(), chosen(config, names)
    loaded = load(store, checkpoint)
    snapshot = Snapshot.open(store, loaded.snapshot)
    room = Room(store, config, snapshot, loaded.tokenizers.image.size)
    all_ = needed(wanted, config)
    done = run_all(room, all_, answerer(room, loaded), loaded)
    made: list[dict[str, Any]] = []
    for one in wanted:
        if one.name() not in done:
            continue
        others = [other for other in all_ if one.after and not other.after]
        outcome = done[one.name()]
        evaluation = name_of(loaded.id, snapshot, config, one, [*outcome.found], others)
        scores = outcome.scores()
        keep(store, evaluation, loaded, outcome, scores)
        made += [{"evaluation": evaluation, **asdict(score)} for score in scores]
    if not made:
        raise ConfigError(
            f"snapshot {loaded.snapshot} holds no {config.evaluate.split} rows for {', '.join(t.name() for t in wanted)}: "
            "mark a source held_out, or raise [splits] test"
        )
    baselines = {task: outcome.baseline for task, outcome in done.items() if outcome.baseline}
    return {"checkpoint": loaded.id, "snapshot": snapshot.name, "scores": made, "baselines": baselines}


def side_by_side(done: dict[str, Any]) -> list[dict[str, Any]]:
    """The scores for a person: each over all items and by group, with its bounds, beside the baseline's."""
    named = {(one["task"], one["subset"], one["metric"]): one for one in done["scores"]}
    rows = []
    for (task, subset, metric), one in named.items():
        before = f"{done['baselines'].get(task, '')}_"
        if len(before) > 1 and metric.startswith(before):
            continue
        trivial = named.get((task, subset, before + metric), {}).get("value") if len(before) > 1 else None
        rows.append(
            {
                "task": task,
                "subset": subset,
                "metric": metric,
                "value": one["value"],
                "95% bounds": f"{one['low']:.3f} to {one['high']:.3f}" if isfinite(one["low"]) else "",
                "n": one["n"],
                "baseline": trivial,
                "which": before[:-1] if trivial is not None else "",
            }
        )
    return rows


@flow(name="evaluate-tasks")
def evaluate_tasks(
    config: str = "millrace.toml", checkpoint: str = "latest", names: list[str] | None = None
) -> dict[str, Any]:
    """Measures tasks on the held-out rows of a checkpoint's snapshot, each by its own metrics.

    Args:
        config: The TOML file that says what to do.
        checkpoint: Id of a checkpoint or name of its run, or latest.
        names: Tasks, such as vqa; those of [evaluate] tasks if there are none, or all.
    """
    settings = read(config)
    with using(settings.open_store()):
        done = run(settings, checkpoint, names or ())
    found = [row for row in side_by_side(done) if row["subset"] == ALL]
    artifacts.tasks(done["checkpoint"], found)
    for row in found:
        if row["baseline"] is not None:
            say(
                f"{row['task']}: {row['metric']} {row['value']:.4g} of {row['n']:,}; {row['which']} {row['baseline']:.4g}"
            )
    return done


def start(config_path: str, checkpoint: str = "latest", names: Sequence[str] = ()) -> dict[str, Any]:
    """Runs the flow here."""
    return evaluate_tasks(config=config_path, checkpoint=checkpoint, names=list(names))
