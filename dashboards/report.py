"""One self-contained HTML file about the newest snapshot and checkpoint of a store.

It asks nothing of a network: style, charts and pictures are inside, and its own policy forbids the rest.
Captions come from strangers, so the template escapes every value, and contact details are masked. It tells of
the tables as they are now, so what was taken down is gone from the next report. Equal tables, equal file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from dashboards import bias, charts, masking, pictures, sections
from dashboards.ask import ask, ask_one
from dashboards.truth import score
from storage.errors import StoreError
from storage.store import Store

Content = dict[str, Any]


class UnknownCheckpoint(StoreError):
    """The store has no such checkpoint; the message names some that it has."""


def write(store: Store, path: Path, *, checkpoint: str | None = None, truth: Path | None = None) -> Path:
    """Writes the report in one step and returns its path. `truth` is the demo corpus's truth.parquet.

    Raises:
        UnknownCheckpoint: the store has no checkpoint of that id.
    """
    page = render(content(store, checkpoint, truth))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(page, encoding="utf-8", newline="\n")
    scratch.replace(path)
    return path


def content(store: Store, checkpoint: str | None = None, truth: Path | None = None) -> Content:
    """All that the page shows; every part of it may be empty."""
    with store.connect() as db:
        newest = ask_one(db, "newest")
        snapshot = newest["snapshot"]
        chosen = known(db, checkpoint) if checkpoint else newest["checkpoint_id"]
        lineage = sections.lineage(db, chosen, store.path / "tokenizers")
        scores = sections.scores(db, chosen)
        evaluation = scores.get("evaluation_id")
        found: Content = {
            "newest": newest,
            "checkpoint": chosen,
            "totals": ask_one(db, "totals", snapshot=snapshot),
            "funnel": sections.funnel(db),
            "languages": sections.languages(db, snapshot),
            "licences": sections.licences(db, snapshot),
            "kept": sections.kept(db, snapshot),
            "dropped": sections.dropped(db),
            "duplicates": sections.duplicates(db),
            "contamination": bias.leaks(db),
            "balance": bias.section(db, snapshot),
            "training": sections.training(db, lineage.get("run_id") or newest["run_id"]),
            "scores": scores,
            "answers": sections.answers(db, evaluation),
            "lineage": lineage,
        }
        found["pictures"] = pictures.stored(db, shown_ids(found))
    found["planted"] = score(store, truth) if truth else []
    inside = bool(evaluation) and Path(str(evaluation)).name == evaluation
    found["drawn"] = pictures.drawn(store.path / "reports" / str(evaluation)) if inside else []
    return found


def known(db: Any, checkpoint: str) -> str:
    """The checkpoint's id, if the store has it."""
    ids = [row["checkpoint_id"] for row in ask(db, "checkpoints")]
    if checkpoint not in ids:
        listed = f"there are {', '.join(ids[:5])}" if ids else "`millrace train` makes one"
        raise UnknownCheckpoint(f"no checkpoint {checkpoint!r} in the store: {listed}")
    return checkpoint


def shown_ids(found: Content) -> Iterable[str | None]:
    """Ids of all pictures that the page shows."""
    yield from (row["image_id"] for row in found["kept"])
    yield from (row["image_id"] for reason in found["dropped"] for row in reason["examples"])
    for group in found["duplicates"]["shown"]:
        yield from (row["image_id"] for row in group["pictures"] if not row["hidden"])
    for pair in found["contamination"]["pairs"]:
        yield from (pair["image_id"], pair["held_image_id"])
    for task in found["answers"]:
        yield from (row["image_id"] for row in (*task["right"], *task["wrong"]))


@cache
def environment() -> jinja2.Environment:
    """Templates that escape every value and fail on a name that is not there."""
    folder = files("dashboards")
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(figure=charts.figure, percent=charts.percent, bytes=human_bytes, shown=masking.shown)
    made.tests["share"] = sections.is_share
    return made


def render(found: Content) -> str:
    """The page."""
    return environment().get_template("report.html").render(found)


def human_bytes(number: int) -> str:
    """12,345,678 as "12.3 MB"."""
    value = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
