"""The evaluate flow: what a checkpoint says of held-out pictures, item by item, beside a pixel nearest neighbour."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from prefect import flow

from flows import artifacts, drawing
from flows.checkpoints import Loaded, load
from flows.config import Config, ConfigError, read
from flows.progress import bar, say
from flows.say import write_picture
from flows.tokenizers import decoded
from model.corpus import load_corpus
from model.evaluate import Answer, Item, Score, answer_items, nearest_by_pixels, scores
from model.labels import label_scores
from model.retrieval import retrieval_scores
from pipeline.step import digest
from storage import catalog, clock, media
from storage.beginning import using
from storage.snapshot import Snapshot
from storage.store import Store

NEIGHBOURS = 20_000
"""Training pictures that the baseline may look at."""
BASELINE = "nearest_pixels"
"""Its scores stand beside the model's under a metric of this name's beginning."""
EXAMPLES = 4


def held_out(snapshot: Snapshot, config: Config) -> list[dict[str, Any]]:
    """Up to `max_items` held-out rows of each task and language, drawn by the hash of their ids; `seen` says
    whether training showed the same text."""
    with snapshot.connect() as db:
        rows = db.sql(
            """
            WITH known AS (
                SELECT DISTINCT text FROM samples JOIN members m USING (sample_id) WHERE m.split = 'train'),
            drawn AS (
                SELECT s.*, row_number() OVER (PARTITION BY task, lang ORDER BY md5(sample_id)) AS place
                FROM samples s JOIN members m USING (sample_id)
                WHERE m.split = ? AND s.image_id IS NOT NULL AND s.text IS NOT NULL)
            SELECT task, coalesce(lang, '') AS lang, sample_id, image_id, coalesce(prompt, '') AS prompt, d.text,
                   known.text IS NOT NULL AS seen
            FROM drawn d LEFT JOIN known ON known.text = d.text WHERE place <= ? ORDER BY sample_id""",
            params=[config.evaluate.split, config.evaluate.max_items],
        )
        return rows.to_arrow_table().to_pylist()


def parser(config: Config) -> Callable[[str], dict[str, Any] | None] | None:
    """Takes a caption apart into attributes, if the configuration names a module that can.

    Raises:
        ConfigError: no such module, or it has no `attributes`.
    """
    name = config.evaluate.attributes
    if not name:
        return None
    try:
        return importlib.import_module(name).attributes
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f'[evaluate] attributes = "{name}": no module with a function `attributes`'
        ) from error


def scored(parse: Callable[[str], dict[str, Any] | None]) -> Callable[[str], dict[str, Any] | None]:
    """The attributes to be scored: `unseen` only says which subset an item belongs to."""

    def visible(text: str) -> dict[str, Any] | None:
        parsed = parse(text)
        return parsed and {name: value for name, value in parsed.items() if name != "unseen"}

    return visible


def subsets(row: dict[str, Any], parse: Callable[[str], dict[str, Any] | None] | None) -> tuple[str, ...]:
    """Which groups an item is reported under, its language and "all" apart."""
    found = ["seen_text" if row["seen"] else "new_text"] if row["task"] == "caption" else []
    if parse and (parsed := parse(row["text"])):
        found.append("unseen_combination" if parsed.get("unseen") else "seen_combination")
    return tuple(f"{row['lang']}/{name}" if row["lang"] else name for name in found)


def items_of(rows: list[dict[str, Any]], place: dict[str, int], parse: Any) -> list[Item]:
    return [
        Item(
            r["sample_id"],
            place[r["image_id"]],
            r["lang"],
            r["task"],
            r["prompt"],
            r["text"],
            subsets(r, parse),
        )
        for r in rows
    ]


def codes_of(
    store: Store, snapshot: Snapshot, loaded: Loaded, asked: list[str]
) -> tuple[np.ndarray, dict[str, int]]:
    """Codes int32 [pictures, codes] and each picture's place among them; encoded anew where the snapshot's are of another
    image tokenizer than the model's."""
    if snapshot.image_tokenizer != loaded.tokenizers.image.id:
        pixels = decoded(store, pa.chunked_array([pa.array(asked)]), loaded.tokenizers.image.size)
        return loaded.tokenizers.image.encode(pixels), {name: i for i, name in enumerate(asked)}
    table = snapshot.image_tokens()
    flat = table["codes"].combine_chunks().flatten().to_numpy()
    return flat.reshape(table.num_rows, -1), {name: i for i, name in enumerate(table["image_id"].to_pylist())}


def baseline(snapshot: Snapshot, answers: list[Answer], image_of: dict[str, str], size: int) -> list[Answer]:
    """The text of the training picture nearest in pixels, for every caption item."""
    out: list[Answer] = []
    for lang in sorted({a.lang for a in answers if a.task == "caption"}):
        asked = [a for a in answers if a.task == "caption" and a.lang == lang]
        with snapshot.connect() as db:
            known = db.sql(
                """
                SELECT image_id, min_by(text, s.sample_id) AS text FROM samples s JOIN members m USING (sample_id)
                WHERE m.split = 'train' AND task = 'caption' AND coalesce(lang, '') = ? AND text IS NOT NULL
                      AND image_id IS NOT NULL
                GROUP BY image_id ORDER BY md5(image_id) LIMIT ?""",
                params=[lang, NEIGHBOURS],
            ).to_arrow_table()
            if not known.num_rows:
                continue
            ids = known["image_id"].to_pylist()
            pixels = pictures(db, [*ids, *(image_of[a.sample_id] for a in asked)], size)
        texts = known["text"].to_pylist()
        near = nearest_by_pixels(
            np.stack([pixels[i] for i in ids]), np.stack([pixels[image_of[a.sample_id]] for a in asked])
        )
        out += [replace(a, output=texts[i]) for a, i in zip(asked, near, strict=True)]
    return out


def pictures(db: duckdb.DuckDBPyConnection, ids: list[str], size: int) -> dict[str, np.ndarray]:
    """uint8 [size, size, 3] of each picture."""
    db.register("wanted_pictures", pa.table({"image_id": sorted(set(ids))}))
    reader = db.sql(
        "SELECT image_id, image FROM images SEMI JOIN wanted_pictures USING (image_id)"
    ).to_arrow_reader(512)
    return {
        image_id: media.pixels(image, size)
        for batch in reader
        for image_id, image in zip(batch["image_id"].to_pylist(), batch["image"].to_pylist(), strict=True)
    }


def answered(
    store: Store, config: Config, loaded: Loaded, parse: Any = None
) -> tuple[Snapshot, list[dict[str, Any]], list[Answer]]:
    """The checkpoint's snapshot, its held-out rows with a picture and a text, and what the checkpoint answers."""
    snapshot = Snapshot.open(store, loaded.snapshot)
    rows = held_out(snapshot, config)
    if not rows:
        return snapshot, [], []
    codes, place = codes_of(store, snapshot, loaded, sorted({row["image_id"] for row in rows}))
    with bar("evaluate", len(rows), "items") as shown:
        answers = answer_items(
            loaded.model,
            loaded.tokenizers,
            codes,
            items_of(rows, place, parse),
            progress=lambda done, total: shown.update(done),
        )
    return snapshot, rows, answers


def of_states(store: Store, config: Config, loaded: Loaded) -> list[Score]:
    """What the network's states tell of held-out items: their class, and which picture and caption belong together."""
    corpus = load_corpus(store, Snapshot.open(store, loaded.snapshot), config.evaluate.split)
    asked, longest = config.evaluate, config.train.batch.row_length
    found = label_scores(loaded.model, corpus, asked.labelled, longest)
    return found + retrieval_scores(loaded.model, corpus, asked.retrieval, longest=longest)


def check_any(found: list[Score], loaded: Loaded, config: Config) -> None:
    """Raises ConfigError if nothing could be scored, and no single task is to be measured that may ask for no picture."""
    if not found and not config.evaluate.tasks:
        raise ConfigError(
            f"snapshot {loaded.snapshot} holds no {config.evaluate.split} rows with a picture and a text: "
            "mark a source held_out, or raise [splits] test"
        )


def run(config: Config, checkpoint: str) -> dict[str, Any]:
    """Scores a checkpoint; rows go to `evaluations` and `answers`, drawn pictures to the reports folder."""
    store = config.open_store()
    loaded, parse = load(store, checkpoint), parser(config)
    snapshot, rows, answers = answered(store, config, loaded, parse)
    image_of = {r["sample_id"]: r["image_id"] for r in rows}
    near = baseline(snapshot, answers, image_of, loaded.tokenizers.image.size)
    found = scores(answers, parse and scored(parse)) + [
        replace(score, metric=f"{BASELINE}_{score.metric}") for score in scores(near)
    ]
    found += of_states(store, config, loaded) + drawing.scores(store, config, loaded, parse)
    check_any(found, loaded, config)
    evaluation = name_of(loaded.id, snapshot, config)
    keep(store, evaluation, loaded, found, answers)
    folder = store.folder("reports") / evaluation
    draw(loaded, answers, config, folder)
    return {
        "evaluation": evaluation,
        "checkpoint": loaded.id,
        "scores": [asdict(score) for score in found],
        "examples": examples(answers),
        "pictures": str(folder),
    }


def draw(loaded: Loaded, answers: list[Answer], config: Config, folder: Path) -> None:
    """Draws pictures from held-out captions, English ones if there are, and lists them in pictures.json."""
    captions = sorted(
        (a for a in answers if a.task == "caption"), key=lambda a: (a.lang != "en", a.sample_id)
    )
    wanted = list(dict.fromkeys((a.lang, a.expected) for a in captions))[: config.evaluate.pictures]
    folder.mkdir(parents=True, exist_ok=True)
    listed: list[dict[str, str]] = []
    if wanted:
        held = [{"lang": lang, "text": text} for lang, text in wanted]
        drawn = drawing.draw(loaded, held, config.evaluate)
        for i, ((_, text), pixels) in enumerate(zip(wanted, drawn, strict=True)):
            write_picture(pixels, folder / f"{i:02d}.png")
            listed.append({"file": f"{i:02d}.png", "caption": text})
    (folder / "pictures.json").write_text(json.dumps(listed, ensure_ascii=False, indent=1), encoding="utf-8")


def keep(store: Store, evaluation: str, loaded: Loaded, found: list[Score], answers: list[Answer]) -> None:
    """Appends the rows, once: an evaluation is named by its checkpoint, snapshot and settings."""
    same = {
        "evaluation_id": evaluation,
        "checkpoint_id": loaded.id,
        "snapshot": loaded.snapshot,
        "recorded_at": clock.after(store, "evaluations"),
    }
    keep_answers(store, evaluation, answers)
    if rows := [{**same, **asdict(score)} for score in found]:
        store.append("evaluations", pa.Table.from_pylist(rows), parts=[evaluation])


def keep_answers(store: Store, evaluation: str, answers: list[Answer]) -> None:
    """Appends what was said of each item, once."""
    items = [
        {"evaluation_id": evaluation, "sample_id": a.sample_id, "task": a.task, "expected": a.expected}
        | {"output": a.output, "correct": a.correct}
        for a in answers
    ]
    if items:
        store.append("answers", pa.Table.from_pylist(items), parts=[evaluation])


def name_of(checkpoint: str, snapshot: Snapshot, config: Config) -> str:
    """The evaluation of a checkpoint on a snapshot's held-out rows under these settings."""
    return digest([checkpoint, snapshot.content_hash, config.evaluate.model_dump(mode="json")])[:12]


def examples(answers: list[Answer]) -> list[dict[str, Any]]:
    """A few captions to show, English ones if there are."""
    captions = sorted(
        (a for a in answers if a.task == "caption"), key=lambda a: (a.lang != "en", a.sample_id)
    )
    return [{"said": a.output, "right": a.correct, "expected": a.expected} for a in captions[:EXAMPLES]]


@flow(name="evaluate")
def evaluate(config: str = "millrace.toml", checkpoint: str = "latest") -> dict[str, Any]:
    """Scores a checkpoint on the held-out rows of its snapshot.

    Args:
        config: The TOML file that says what to do.
        checkpoint: Id of a checkpoint or name of its run, or latest.
    """
    settings = read(config)
    with using(store := settings.open_store()):
        done = run(settings, checkpoint)
        catalog.refresh(store)
    artifacts.scores(done, BASELINE)
    for row in done["scores"]:
        if row["metric"] == "exact" and row["subset"] in ("all", "en"):
            say(f"{row['task']} ({row['subset']}): exact {row['value']:.1%} of {row['n']:,}")
        if row["task"] == drawing.TASK and row["metric"] == drawing.ALL:
            say(f"{row['task']} ({row['subset']}): {row['value']:.1%} of {row['n']:,} as the caption says")
        if row["metric"] == "accuracy" or row["metric"].endswith("@1"):
            say(f"{row['task']}: {row['metric']} {row['value']:.1%} of {row['n']:,}")
    return done


def start(config_path: str, checkpoint: str = "latest") -> dict[str, Any]:
    """Runs the flow here."""
    return evaluate(config=config_path, checkpoint=checkpoint)
