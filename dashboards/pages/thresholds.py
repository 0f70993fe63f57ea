"""Thresholds: what a filter would keep with another value, rows on both sides of it, and the value written down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dashboards import charts, samples, trial
from dashboards.ask import ask
from dashboards.asked import Asked
from dashboards.charts import Bin, Marker, Segment
from dashboards.page import Content, Mill, Page, Seen
from pipeline.step import Filter

EXAMPLES = 12
SAID = {
    "saved": "Saved: the next ingest judges by it. No picture is read again.",
    "same": "The configuration has this value already.",
}


class NotSaved(Exception):
    """A threshold could not be written down; the message says why."""


def content(seen: Seen, asked: Asked) -> Content:
    """The filters to choose from, and one of them tried."""
    filters = [step for step in seen.mill.filters() if trial.settings(step)]
    shown: Content = {
        "filters": [(step.module(), step.module().removeprefix("filters.")) for step in filters],
        "tried": None,
        "said": SAID.get(asked.text("said"), ""),
        "can_save": seen.mill.save is not None,
        "config": seen.mill.config.name if seen.mill.config else "",
    }
    if not filters:
        return shown
    names = [step.module() for step in filters]
    step = filters[names.index(asked.choice("filter", names, names[0]))]
    known = trial.settings(step)
    setting = asked.choice("setting", known, next(iter(known)))
    missing = {read.split(".")[0] for read in step.reads if "." in read} - set(seen.mill.store.tables())
    if missing:
        return {
            **shown,
            "step": step,
            "setting": setting,
            "settings": list(known),
            "missing": sorted(missing),
        }
    value = asked.number(f"{setting}.to")
    return {**shown, **tried(seen, step, setting, known[setting] if value is None else value)}


def tried(seen: Seen, step: Filter, setting: str, value: float) -> Content:
    """Counts at both values, the spread of where rows change sides, and examples."""
    rows = seen.answers.once(("rows", step.reads), lambda: trial.read(seen.db, seen.mill.store, step))
    told: Content = {"step": step, "setting": setting, "settings": list(trial.settings(step)), "of": rows.of}
    told |= {"about": trial.summary(step), "doc": type(step).model_fields[setting].description or ""}
    if not rows.table.num_rows:
        return told
    key = ("grid", step.module(), step.model_dump_json(), setting)
    found = seen.answers.once(key, lambda: trial.grid(step, setting, rows.table))
    then = trial.moved(step, setting, value) or step
    now_kept, kept = trial.keeps(step, rows.table), trial.keeps(then, rows.table)
    value = float(getattr(then, setting))
    return {
        **told,
        "tried": True,
        "rows": rows.table.num_rows,
        "now": getattr(step, setting),
        "value": getattr(then, setting),
        "whole": isinstance(getattr(step, setting), int),
        "low": min(found.values[0], value),
        "high": max(found.values[-1], value),
        "kept_now": int(now_kept.sum()),
        "kept": int(kept.sum()),
        "gone": int((now_kept & ~kept).sum()),
        "back": int((kept & ~now_kept).sum()),
        "spread": spread(found, setting, float(getattr(step, setting)), value),
        "just_kept": examples(seen, rows.table, trial.nearest(found, kept, value, True, EXAMPLES)),
        "just_dropped": examples(seen, rows.table, trial.nearest(found, kept, value, False, EXAMPLES)),
    }


def spread(found: trial.Grid, setting: str, now: float, value: float) -> Any:
    """A histogram of the values at which rows change sides, what would be dropped in another colour."""
    bins = []
    for low, high, count in zip(found.values, found.values[1:], trial.flips(found), strict=False):
        middle = (low + high) / 2
        stays = middle <= value if found.rising else middle >= value
        bins.append(
            Bin(low, high, [Segment("kept" if stays else "dropped", "kept" if stays else "base", int(count))])
        )
    markers = [Marker(now, f"now {charts.figure(now)}", "marker now")] if now != value else []
    markers.append(Marker(value, charts.figure(value)))
    total = int(trial.flips(found).sum())
    return charts.histogram(
        bins, f"Values of {setting} at which {total:,} rows change sides.", unit=setting, markers=markers
    )


def examples(seen: Seen, rows: pa.Table, places: np.ndarray) -> list[dict[str, Any]]:
    """The rows at these places, in that order."""
    ids = rows["sample_id"].take(pa.array(places, pa.int64())).to_pylist()
    found = {row["sample_id"]: row for row in ask(seen.db, "rows_by_id", ids=ids)} if ids else {}
    measured = {name: rows[name] for name in rows.column_names if name != "sample_id"}
    shown = []
    for place, one in zip(places.tolist(), ids, strict=True):
        told = {n: c[place].as_py() for n, c in measured.items()}
        numbers = [
            f"{n.split('.')[-1]} {charts.figure(v)}" for n, v in told.items() if isinstance(v, int | float)
        ]
        shown.append({**found[one], "note": " · ".join(numbers[:2])})
    return samples.told(shown)


def save(mill: Mill, form: Asked) -> str:
    """Writes the value that a form holds into the configuration; returns the key of what to say.

    Raises:
        NotSaved: there is no configuration to write to, or it takes no such value.
    """
    steps = list(mill.filters())
    names = [step.module() for step in steps]
    name, setting, value = form.choice("filter", names), form.text("setting"), form.number("value")
    if (
        mill.save is None
        or not name
        or value is None
        or setting not in trial.settings(steps[names.index(name)])
    ):
        raise NotSaved(
            "nothing was saved: the configuration has no such filter, or it cannot be written from here"
        )
    at = names.index(name)
    made = trial.moved(steps[at], setting, value)
    if made is None:
        raise NotSaved(f"nothing was saved: {name} takes no {setting} = {value:g}")
    if getattr(made, setting) == getattr(steps[at], setting):
        return "same"
    mill.save(at, name, setting, getattr(made, setting))
    return "saved"


PAGE = Page("thresholds", "Thresholds", "What would be kept if a filter's threshold were another?", content)
