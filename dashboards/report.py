"""One self-contained HTML file about the newest snapshot and checkpoint of a store.

It asks nothing of a network: style, charts and pictures are inside, and its own policy forbids the rest.
Captions come from strangers, so the template escapes every value, and contact details are masked. It tells of
the tables as they are now, so what was taken down is gone from the next report. Equal tables, equal file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from dashboards import bias, charts, masking, pictures, sections
from dashboards.ask import Session, ask, ask_one, keep
from dashboards.truth import score
from storage.errors import StoreError
from storage.kept import Kept
from storage.store import Store

Content = dict[str, Any]
Sections = Sequence[tuple[str, str]]
"""Names of parts, and their titles."""

DATA: Sections = (
    ("funnel", "Funnel"),
    ("languages", "Languages"),
    ("licences", "Licences"),
    ("kept", "Kept"),
    ("dropped", "Dropped"),
    ("duplicates", "Duplicates"),
    ("planted", "Planted defects"),
    ("contamination", "Evaluation sets"),
    ("balance", "Balance"),
)
MODEL: Sections = (
    ("training", "Training"),
    ("scores", "Scores"),
    ("answers", "Answers"),
    ("drawn", "Drawn"),
    ("lineage", "Lineage"),
)
DATA_CARD: Sections = (("about_data", "What it is"), *DATA)
MODEL_CARD: Sections = (("about_model", "What it is"), *MODEL[1:4], MODEL[0], MODEL[4])
CARDS = "*-card-*.html"


class UnknownCheckpoint(StoreError):
    """The store has no such checkpoint; the message names some that it has."""


def write(store: Store, path: Path, *, checkpoint: str | None = None, truth: Path | None = None) -> Path:
    """Writes the report in one step and returns its path. `truth` is the demo corpus's truth.parquet.

    Raises:
        UnknownCheckpoint: the store has no checkpoint of that id.
    """
    return put(Path(path), render(content(store, checkpoint, truth)))


def write_all(store: Store, truth: Path | None = None) -> list[Path]:
    """Writes the report and both cards into the store's folder of reports; returns the paths, the report's first."""
    found = content(store, truth=truth)
    return [put(store.folder("reports") / "report.html", render(found)), *cards(store, found)]


def cards(store: Store, found: Content) -> list[Path]:
    """Writes a data card of the newest snapshot and a model card of the newest checkpoint, where there are any; those of
    earlier ones stay as they are. Returns the paths."""
    wanted = (
        ("data-card", found["newest"]["snapshot"], DATA_CARD, "Data card"),
        ("model-card", found["checkpoint"], MODEL_CARD, "Model card"),
    )
    folder = store.folder("reports")
    return [
        put(folder / f"{kind}-{file_name(name)}.html", render(found, shown, title))
        for kind, name, shown, title in wanted
        if name
    ]


def file_name(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^\w.-]", "-", name)


def put(path: Path, page: str) -> Path:
    """Writes a page in one step, and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(page, encoding="utf-8", newline="\n")
    scratch.replace(path)
    return path


def content(store: Store, checkpoint: str | None = None, truth: Path | None = None) -> Content:
    """All that the page shows; every part of it may be empty."""
    versions = store.versions()
    with store.connect(versions) as con:
        db = Session(con, Kept(store, versions))
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
        keep(db, bias.over(), snapshot=snapshot)  # what the pages ask beside
        found["pictures"] = pictures.stored(db, shown_ids(found))
        found["frozen"] = ask_one(db, "frozen", snapshot=snapshot)
        found["takedowns"] = len(store.read("forgotten", ["request_id"]))
        found["spoken"] = [row["lang"] for row in found["languages"]["matrix"] if row["lang"] != "(none)"]
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


def render(found: Content, shown: Sections = (*DATA, *MODEL), title: str = "Millrace report") -> str:
    """The page, of these sections; what was planted is told of where anything was."""
    listed = [one for one in shown if one[0] != "planted" or found["planted"]]
    return environment().get_template("report.html").render(found, sections=listed, title=title)


def human_bytes(number: int) -> str:
    """12,345,678 as "12.3 MB"."""
    value = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
