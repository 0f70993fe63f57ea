"""The model card of a checkpoint: what it is, what it was trained on and how that was made, its scores and its limits.

Every figure is asked of the store: the data from the tables at the versions that the snapshot pins, the rest from the
checkpoint's metadata and the newest evaluation of it.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from dashboards import bias
from dashboards.ask import ask, ask_one
from dashboards.charts import figure, percent
from dashboards.masking import shown
from model.config import ModelConfig
from storage.contamination import recorded
from storage.errors import SnapshotNotFound
from storage.snapshot import Snapshot
from storage.store import Store

Row = Mapping[str, Any]
STAGES = """
WITH dropped AS (
    SELECT stage, coalesce(reason, 'unstated') AS reason, count(*) AS rows, count(DISTINCT source) AS sources
    FROM decisions WHERE NOT kept GROUP BY 1, 2)
FROM dropped ORDER BY stage <> 'collect', stage <> 'filter', stage, rows DESC, reason
"""
ALONE = (
    "SELECT count(*) FROM members JOIN samples USING (sample_id) WHERE split = 'train' AND image_id IS NULL"
)
JUDGED = "SELECT count(DISTINCT sample_id), count(DISTINCT sample_id) FILTER (NOT kept) FROM decisions"


def write(store: Store, meta: Row, name: str) -> str:
    """The card of a checkpoint, by its metadata, as Markdown with the header that model hubs read.

    Raises:
        SnapshotNotFound: its snapshot is not in the store.
    """
    snapshot = Snapshot.open(store, meta["snapshot"])
    if snapshot.content_hash != meta["content_hash"]:
        raise SnapshotNotFound(
            f"the snapshot {meta['snapshot']!r} that checkpoint {meta['checkpoint_id']} was trained on is not in "
            f"{store.path}: there is another one of that name"
        )
    with snapshot.connect() as db:
        [(alone,)] = db.sql(ALONE).fetchall()
        told = ask(db, "distribution", snapshot=snapshot.name)
        found = bias.report(db, snapshot.name)
        data = [
            *sources(ask(db, "licences_and_sources", snapshot=snapshot.name)),
            *splits(ask(db, "splits", snapshot=snapshot.name)),
            *prepared(db, snapshot),
        ]
    with store.connect() as db:
        seen = ask(db, "rows_trained_on", checkpoint=meta["checkpoint_id"])
        scores = ask(db, "scores", checkpoint=meta["checkpoint_id"])
        lineage = ask_one(db, "lineage", checkpoint=meta["checkpoint_id"])
    languages = [one["value"] for one in told if one["dimension"] == "language" and one["value"] != "(none)"]
    parts = [
        header(languages),
        [f"# {text(name)}", "", summary(meta), ""],
        use(),
        ["## Data", "", pinned(snapshot), "", *data, *trained_on(seen)],
        evaluation(scores, meta),
        balance(found, told),
        training(meta),
        limits(sum(one["rows"] for one in seen), languages, doubts(meta, snapshot, lineage, scores, alone)),
    ]
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def header(languages: Sequence[str]) -> list[str]:
    """The YAML that model hubs read."""
    tags = ["multimodal", "image-to-text", "text-to-image", "millrace"]
    listed = {"language": languages, "tags": tags} if languages else {"tags": tags}
    lines = [f"{key}: {json.dumps(list(values), ensure_ascii=False)}" for key, values in listed.items()]
    return ["---", "library_name: transformers", *lines, "license: other", "---", ""]


def summary(meta: Row) -> str:
    """What it is, in a sentence or two."""
    config = ModelConfig.model_validate(meta["model"])
    pictures = ", ".join(f"{m.grid[0]} × {m.grid[1]} codes a picture" for m in config.modalities if m.grid)
    return (
        f"A decoder-only Mixture-of-Transformers of {figure(meta['parameters'])} parameters over text and pictures "
        f"({pictures}), trained by Millrace. It describes pictures, answers "
        "questions about them, draws them from captions, and continues and translates texts, as far as its data teaches "
        "it that. This card was written from the store that the model was trained from."
    )


def use() -> list[str]:
    """How to load it."""
    return [
        "## Use",
        "",
        'The classes are Millrace\'s own (`pip install "millrace[hub]"`); no code is loaded from this folder.',
        "",
        "```python",
        "from model.hub import GPT4ForConditionalGeneration, GPT4Processor, GPT4Tokenizer",
        "",
        'path = "."  # this folder',
        "model = GPT4ForConditionalGeneration.from_pretrained(path)",
        "tokenizer = GPT4Tokenizer.from_pretrained(path)",
        "input_ids = tokenizer.encode(",
        '    "Translate the following English text to French: \'Hello, how are you?\'", return_tensors="pt"',
        ")",
        "print(tokenizer.decode(model.generate(input_ids)[0]))",
        "",
        "processor = GPT4Processor.from_pretrained(path)",
        'described = model.generate(**processor(images=picture, text="what is it?"))  # a PIL picture',
        "print(processor.decode(described[0]))",
        'drawn = model.generate(**processor(text="a red circle", draw=True), do_sample=True)',
        'processor.decode_images(drawn[0])[0].save("drawn.png")',
        "```",
        "",
    ]


def pinned(snapshot: Snapshot) -> str:
    return f"Snapshot {code(snapshot.name)}, content hash `{snapshot.content_hash}`, {figure(snapshot.rows)} rows."


def sources(rows: Sequence[Row]) -> list[str]:
    """Every source with every licence."""
    columns = {"source": "source", "licence": "licence", "rows": "rows", "pictures": "pictures"}
    columns |= {"authors": "authors named", "held_out": "evaluation set"}
    return ["### Sources and licences", "", *table(rows, columns)]


def splits(rows: Sequence[Row]) -> list[str]:
    return ["### Splits", "", *table(rows, {"split": "split", "rows": "rows", "pictures": "pictures"})]


def prepared(db: Any, snapshot: Snapshot) -> list[str]:
    """Which annotators ran, and which rows were dropped, by stage and reason."""
    made = [one.name for one in snapshot.store.declared() if one.name in snapshot.versions]
    counts = [
        {"annotator": name, "rows": db.sql(f'SELECT count(*) FROM "{name}"').fetchall()[0][0]}
        for name in sorted(made)
    ]
    dropped = db.sql(STAGES).to_arrow_table().to_pylist()
    [(judged, lost)] = db.sql(JUDGED).fetchall()
    return [
        "### How it was prepared",
        "",
        f"Of {figure(judged)} rows that came in, {figure(lost)} were dropped "
        f"({percent(lost / judged) if judged else '–'}); a row may be dropped by several stages.",
        "",
        *table(dropped, {"stage": "stage", "reason": "reason", "rows": "rows dropped", "sources": "sources"}),
        *titled("Annotators:", table(counts, {"annotator": "annotator", "rows": "rows annotated"})),
    ]


def trained_on(rows: Sequence[Row]) -> list[str]:
    columns = {"licence": "licence", "rows": "training rows", "seen": "seen by this checkpoint"}
    return ["### What its batches held", "", *table(rows, columns)] if rows else []


def evaluation(scores: Sequence[Row], meta: Row) -> list[str]:
    """The newest evaluation of this checkpoint."""
    if not scores:
        none = f"Not evaluated: `millrace evaluate --checkpoint {meta['checkpoint_id']}` does that."
        return ["## Evaluation", "", none, ""]
    rows = [
        {**one, "value": figure(one["value"]), "bounds": f"{one['low']:.3f} to {one['high']:.3f}"}
        for one in scores
    ]
    columns = {"task": "task", "subset": "subset", "metric": "metric", "value": "value"}
    columns |= {"bounds": "95% bounds", "n": "items"}
    return [
        "## Evaluation",
        "",
        f"On held-out rows of snapshot {code(scores[0]['snapshot'])}.",
        "",
        *table(rows, columns),
    ]


def balance(found: Row, told: Sequence[Row]) -> list[str]:
    """Who is spoken of, whom a stage drops more often than others, and what was found of personal or unsafe data."""
    groups = [
        {**one, "share": percent(one["share_kept"])}
        for one in found["groups"]
        if one["came_in"] or one["kept"]
    ]
    flagged = [
        {**one, "times": "∞" if one["ratio"] == float("inf") else figure(one["ratio"])}
        for one in found["removal"]
        if one["flagged"]
    ]
    spread = [
        {**one, "share": percent(one["share"])} for one in told if one["dimension"] in ("language", "task")
    ]
    none = "No stage drops texts of a group at least twice as often as the rest, beyond chance."
    names = {"group_name": "group", "came_in": "came in", "kept": "in the snapshot", "share": "share"}
    losing = {"group_name": "group", "stage": "stage", "reason": "reason", "times": "times as often"}
    signals = {"signal": "signal", "rows": "came in", "kept": "in the snapshot"}
    return [
        "## Bias and safety",
        "",
        *titled("Texts that speak of groups of people, by lists of words:", table(groups, names)),
        *titled(
            "Stages that drop texts of a group far more often than others:",
            table(flagged, losing) or [none, ""],
        ),
        *titled(
            "Rows in which annotators found personal or unsafe content:", table(found["safety"], signals)
        ),
        *titled(
            "Languages and tasks:",
            table(spread, {"dimension": "", "value": "", "rows": "rows", "share": "share"}),
        ),
    ]


def training(meta: Row) -> list[str]:
    """Sizes, tokenizers, steps and settings, from the checkpoint itself."""
    config, train = ModelConfig.model_validate(meta["model"]), meta["train"]
    told = {
        "checkpoint": f"`{meta['checkpoint_id']}`",
        "run": code(meta["run_id"]),
        "optimizer steps": f"{figure(meta['step'])} of {figure(meta['steps'])}",
        "seed": train["seed"],
        "optimizer": f"{train['optimizer']['name']}, batches of {train['batch']['rows']} rows of "
        f"{train['batch']['row_length']} tokens",
        "parameters": figure(meta["parameters"]),
        "layers, width, heads": f"{config.depth}, {config.width}, {config.heads}",
        "ids": ", ".join(f"{figure(m.size)} of {m.name}" for m in config.modalities),
        "text tokenizer": f"`{meta['text_tokenizer']}`",
        "image tokenizer": f"`{meta['image_tokenizer']}`",
    }
    rows = [{"what": key, "value": value} for key, value in told.items()]
    return ["## Training", "", *table(rows, {"what": "", "value": ""}, plain=("value",))]


def limits(rows: int, languages: Sequence[str], doubts: Sequence[str]) -> list[str]:
    """What it cannot be expected to do; `doubts` are those of this checkpoint."""
    known = ", ".join(map(text, languages)) or "no stated language"
    said = [
        f"It knows what its {figure(rows)} training rows show, in {known}; of anything else its answers are made up.",
        "Its answers may be wrong, and may repeat what is one-sided in its data: see the figures above.",
        "Pictures are read and drawn at the resolution of the image tokenizer; finer detail is lost.",
        "Nobody has tested it for decisions about people; it must not be used for them.",
        "The licences above are those of the data; whoever passes the model on decides what follows from them.",
    ]
    return ["## Limits", "", *(f"- {one}" for one in [*said, *doubts]), ""]


def doubts(meta: Row, snapshot: Snapshot, lineage: Row, scores: Sequence[Row], alone: int) -> list[str]:
    """What there is to be said against this checkpoint; `alone` training rows have no picture."""
    said = []
    if not alone or not meta["train"]["batch"]["text_share"]:
        said.append(
            "Training showed it no text without a picture: prompts of text alone, translations among them, are beyond what "
            "it was taught."
        )
    if meta["step"] < (meta["steps"] or 0):
        said.append("Training had not ended at this checkpoint.")
    if not scores:
        said.append("Nothing is known of how well it does: no evaluation is recorded.")
    if recorded(snapshot.store, snapshot.name):
        said.append(
            "Training rows were rows of evaluation sets, too, and that was allowed: its scores may flatter it."
        )
    if lineage.get("amended_by"):
        said.append(
            f"Rows of its snapshot were taken back since: snapshot {code(lineage['amended_by'])} replaced it."
        )
    return said


def titled(sentence: str, lines: Sequence[str]) -> list[str]:
    """A sentence above what it speaks of; nothing without that."""
    return [sentence, "", *lines] if lines else []


def table(rows: Sequence[Row], columns: Mapping[str, str], plain: Sequence[str] = ()) -> list[str]:
    """Rows as a Markdown table of some columns by their headings; nothing without rows. Values are escaped, but those
    of `plain` columns."""
    if not rows:
        return []
    lines = [list(columns.values()), ["---"] * len(columns)]
    lines += [[str(row[key]) if key in plain else text(row[key]) for key in columns] for row in rows]
    return [*("| " + " | ".join(cells) + " |" for cells in lines), ""]


def text(value: object) -> str:
    """A value that strangers may have written, in one line, with nothing that Markdown or HTML would act on."""
    if value is None or isinstance(value, bool):
        return {None: "–", True: "yes", False: "no"}[value]
    if isinstance(value, int | float):
        return figure(value)
    line = " ".join((shown(str(value)) or "–").split())
    escaped = html.escape(line, quote=False)
    return "".join(f"\\{sign}" if sign in "\\`*_[]|#" else sign for sign in escaped)


def code(value: object) -> str:
    """A name in one line, as code."""
    return f"`{' '.join(str(value).replace('`', chr(39)).split())}`"
