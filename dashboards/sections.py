"""What each section of the report shows: asked of the store, masked, and ready for the template."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dashboards import charts
from dashboards.ask import Db, ask, ask_one
from dashboards.charts import Bar, Interval, Segment
from dashboards.masking import hides_picture, hides_text, shown, shown_path, withheld

Row = dict[str, Any]

KEPT_PICTURES, PER_REASON, GROUPS, PER_ANSWER = 35, 4, 9, 6
CAPTION, PROMPT = 120, 70
"""Characters of a text, and of what it answers, below a small picture."""
MOST_BARS = 40
"""Bars of one chart; the table below it has every row."""
SAMPLE = re.compile("[0-9a-f]{32}")
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+|\s+")


def legend(colours: dict[str, str]) -> list[tuple[str, str]]:
    """(class, words) of each colour; those that share one stand as "other"."""
    own = [(colour, name) for name, colour in colours.items() if colour != "rest"]
    return [*own, ("rest", "other")] if "rest" in colours.values() else own


def funnel(db: Db) -> Row:
    """Each source's rows: came in, kept, dropped by reason, and whether the sum is right."""
    fates = ask(db, "fates_by_source")
    checks = ask(db, "sum_check")
    total: dict[str, int] = {}
    for fate in fates:
        if fate["reason"] is not None:
            total[fate["reason"]] = total.get(fate["reason"], 0) + fate["rows"]
    reasons = sorted(total, key=lambda reason: (-total[reason], reason))
    colours = charts.colours(reasons, {"kept": "kept"})
    for check in checks:
        own = [fate for fate in fates if fate["source"] == check["source"]]
        check["reasons"] = [(fate["reason"], fate["rows"]) for fate in own if fate["reason"] is not None]
        named = [("kept", check["kept"]), *sorted(check["reasons"], key=lambda pair: reasons.index(pair[0]))]
        check["segments"] = [Segment(name, colours[name], rows) for name, rows in named]
    bars = [Bar(c["source"] or "(none)", c["segments"], f"{c['came_in']:,}") for c in checks[:MOST_BARS]]
    whole = {name: sum(c[name] for c in checks) for name in ("came_in", "kept", "dropped")}
    summary = "Of {came_in:,} rows that came in, {kept:,} were kept and {dropped:,} dropped.".format(**whole)
    return {
        "rows": checks,
        "total": {**whole, "adds_up": all(c["adds_up"] for c in checks)},
        "chart": charts.stacked(bars, summary, share=True),
        "legend": legend(colours) if checks else [],
        "stages": ask(db, "fates_by_stage"),
    }


def _by(rows: Sequence[Row], outer: str, inner: str, summary: str) -> Row:
    """Rows counted by two columns: a bar for each value of the one, cut by the other."""
    total: dict[str, int] = {}
    for row in rows:
        total[row[inner]] = total.get(row[inner], 0) + row["rows"]
    inner_names = sorted(total, key=lambda name: (-total[name], name))
    colours = charts.colours(inner_names)
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row[outer], []).append(row)
    bars = []
    for name, own in list(grouped.items())[:MOST_BARS]:
        own = sorted(own, key=lambda row: inner_names.index(row[inner]))
        cuts = [Segment(row[inner], colours[row[inner]], row["rows"]) for row in own]
        bars.append(Bar(name, cuts, f"{sum(row['rows'] for row in own):,}"))
    return {
        "rows": rows,
        "inner": inner_names,
        "chart": charts.stacked(bars, summary),
        "legend": legend(colours) if rows else [],
    }


def languages(db: Db, snapshot: str | None) -> Row:
    """Rows of each language, by task."""
    rows = ask(db, "languages_and_tasks", snapshot=snapshot)
    found = _by(rows, "lang", "task", "Rows of each language, by task; the table has the figures.")
    matrix: dict[str, Row] = {}
    for row in rows:
        line = matrix.setdefault(
            row["lang"], {"lang": row["lang"], "tasks": {}, "rows": 0, "characters": 0.0}
        )
        line["tasks"][row["task"]] = row["rows"]
        line["rows"] += row["rows"]
        line["characters"] += row["rows"] * (row["characters"] or 0)
    return {
        **found,
        "tasks": found["inner"],
        "matrix": list(matrix.values()),
        "splits": ask(db, "splits", snapshot=snapshot),
    }


def licences(db: Db, snapshot: str | None) -> Row:
    """Rows of each source, by licence."""
    rows = _licence_shown(ask(db, "licences_and_sources", snapshot=snapshot))
    return _by(rows, "source", "licence", "Rows of each source, by licence; the table has the figures.")


def _licence_shown(rows: list[Row]) -> list[Row]:
    """A licence is free text of the source, and may name a person to write to."""
    for row in rows:
        row["licence"] = shown(row["licence"], 60)
    return rows


def kept(db: Db, snapshot: str | None) -> list[Row]:
    """Kept pictures with their texts."""
    rows = [_shown(row) for row in ask(db, "kept_pictures", snapshot=snapshot, n=KEPT_PICTURES)]
    for row in rows:
        row["text"], row["prompt"] = shown(row["text"], CAPTION), shown(row["prompt"], PROMPT)
    return rows


def dropped(db: Db) -> list[Row]:
    """Each reason with its number of rows and a few examples, of which some are hidden."""
    found: dict[str, Row] = {}
    for row in ask(db, "dropped_examples", n=PER_REASON):
        reason = row["reason"]
        entry = found.setdefault(
            reason,
            {"reason": reason, "rows": row["rows"], "hides": hides_text(reason), "examples": []},
        )
        entry["examples"].append(_hidden(row) if hides_text(reason) else _shown(row))
        if hides_picture(reason):
            row["image_id"] = None
        if row["detail"] and SAMPLE.fullmatch(row["detail"]):
            row["detail"] = f"because of {row['detail'][:8]}…"
    return list(found.values())


def _shown(row: Row) -> Row:
    for name in ("text", "prompt", "detail", "expected", "output"):
        if name in row:
            row[name] = shown(row[name])
    if "origin" in row:
        row["origin"] = shown_path(row["origin"])
    return row


def _hidden(row: Row) -> Row:
    """A row whose texts, and the path that may repeat them, are not shown."""
    row.update(text=withheld(row["text"]), detail=None, origin=None)
    row["prompt"] = withheld(row["prompt"]) if row["prompt"] else None
    return row


def duplicates(db: Db, skip: int = 0, n: int = GROUPS) -> Row:
    """Groups of near-copies, side by side, of the `listed` ones that can be leafed through."""
    listed: dict[str, list[Row]] = {}
    for row in ask(db, "duplicate_listed"):
        listed.setdefault(row["group_id"], []).append(row)
    groups = list(listed.values())[skip : skip + n]
    ids = [row["said_by"] for group in groups for row in group if row["said_by"]]
    texts = {row["sample_id"]: row for row in ask(db, "rows_by_id", ids=ids)} if ids else {}
    for row in (row for group in groups for row in group):
        said = texts.get(row["said_by"], {})
        row |= {
            "text": said.get("text"),
            "lang": said.get("lang"),
            "hidden": any(map(hides_picture, row["reasons"])),
        }
        _shown(row)
    shown = [{"size": group[0]["size"], "pictures": group} for group in groups]
    return {**ask_one(db, "duplicate_totals"), "listed": len(listed), "shown": shown}


def training(db: Db, run: str | None) -> Row:
    """A chart of the losses, one each for rates and whatever else a run measured, and their figures."""
    if run is None:
        return {"run": None, "rows": [], "charts": []}
    broken: dict[str, int] = {}
    series = measured(db, run, broken)
    losses = [name for name in series if "loss" in name]
    others = [
        [name] for name in sorted(series.keys() - set(losses), key=lambda name: ("/ s" not in name, name))
    ]
    drawn = [_curves({name: series[name] for name in names}) for names in [losses, *others] if names]
    return {
        "run": run,
        "rows": [_ends(name, points, broken[name]) for name, points in series.items()],
        "charts": drawn,
    }


def measured(db: Db, run: str, broken: dict[str, int] | None = None) -> dict[str, list[tuple[float, float]]]:
    """(step, value) of each figure of a run; `broken` gets how many values of each were not finite."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in ask(db, "training_curves", run=run):
        name = _words(row["name"])
        if broken is not None:
            broken[name] = broken.get(name, 0) + row["not_finite"]
        points = series.setdefault(name, [])
        if row["value"] is not None:
            points.append((row["step"], row["value"]))
    return series


def _ends(name: str, points: list[tuple[float, float]], broken: int) -> Row:
    values = [value for _, value in points] or [float("nan")]
    return {
        "name": name,
        "first": values[0],
        "lowest": min(values),
        "highest": max(values),
        "last": values[-1],
        "step": points[-1][0] if points else None,
        "not_finite": broken,
    }


def _curves(series: dict[str, list[tuple[float, float]]]) -> Row:
    loss = any("loss" in name for name in series)
    title = "Loss by modality" if loss else " ".join(series)
    ends = [
        f"{name} from {charts.figure(p[0][1])} to {charts.figure(p[-1][1])}"
        for name, p in series.items()
        if p
    ]
    summary = f"{title} by step: {'; '.join(ends)}."
    return {
        "title": title,
        "main": loss,
        "chart": charts.lines(series, summary, width=charts.FULL if loss else charts.HALF),
        "legend": legend(charts.colours(list(series))) if loss else [],
    }


def _words(name: str) -> str:
    return name.replace("_", " ").replace("per second", "/ s")


def scores(db: Db, checkpoint: str | None) -> Row:
    """The newest evaluation of a checkpoint; each score beside the baseline's of the same task and subset.

    A metric that begins with BASELINE is the baseline's score.
    """
    rows = ask(db, "scores", checkpoint=checkpoint) if checkpoint else []
    baselines = {
        (r["task"], r["subset"], r["metric"].removeprefix(BASELINE)): r for r in rows if _is_baseline(r)
    }
    tasks: dict[str, Row] = {}
    for row in rows:
        if not _is_baseline(row):
            row["baseline"] = baselines.get((row["task"], row["subset"], row["metric"]), {})
            tasks.setdefault(row["task"], {"task": row["task"], "rows": []})["rows"].append(row)
    for task in tasks.values():
        main = [row for row in task["rows"] if row["metric"] == "exact" or row["subset"] == "all"]
        task["chart"] = _interval_chart(task["task"], main)
        task["tables"] = [(False, main), (True, [row for row in task["rows"] if row not in main])]
        task["compared"] = any(row["baseline"] for row in task["rows"])
    return {
        "tasks": list(tasks.values()),
        "single": single_tasks(db, checkpoint) if checkpoint else [],
        **({k: rows[0][k] for k in ("evaluation_id", "recorded_at", "snapshot")} if rows else {}),
    }


def single_tasks(db: Db, checkpoint: str) -> list[Row]:
    """What `evaluate --task` measured, over all items and by pair of languages, each beside its task's baseline: the metric of
    the same name with the baseline's before it."""
    rows = [
        row
        for row in ask(db, "task_scores", checkpoint=checkpoint)
        if row["subset"] == "all" or "→" in row["subset"]
    ]
    names: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        names.setdefault((row["task"], row["subset"]), set()).add(row["metric"])
    found = {(row["task"], row["subset"], row["metric"]): row for row in rows}
    told = []
    for (task, subset, metric), row in found.items():
        known = names[task, subset]
        if any(metric.endswith(f"_{other}") for other in known):
            continue
        beside = [
            other for other in sorted(known) if other.endswith(f"_{metric}") and not other.startswith("real_")
        ]
        base = found[task, subset, beside[0]] if beside else {}
        which = beside[0].removesuffix(f"_{metric}") if beside else ""
        told.append({**row, "baseline": base, "which": which})
    return told


BASELINE = "nearest_pixels_"
"""What the evaluation puts before the metrics of its baseline, the nearest training picture by pixels."""


def _is_baseline(row: Row) -> bool:
    return row["metric"].startswith(BASELINE)


def is_share(row: Row) -> bool:
    """Whether a score can be shown as percent."""
    return row["value"] is not None and 0 <= row["value"] <= 1 and (row["high"] is None or row["high"] <= 1)


def _interval_chart(task: str, rows: Sequence[Row]) -> Markup:
    drawn = [
        Interval(
            f"{_words(row['metric'])} · {row['subset']}",
            row["value"],
            row["low"],
            row["high"],
            row["baseline"].get("value"),
            row["baseline"].get("low"),
            row["baseline"].get("high"),
        )
        for row in rows
        if is_share(row)
    ]
    said = "; ".join(f"{one.label} {charts.percent(one.value)}" for one in drawn[:8])
    return charts.intervals(drawn[:MOST_BARS], f"Scores of {task} with their confidence intervals: {said}.")


def answers(db: Db, evaluation: str | None) -> list[Row]:
    """Right and wrong answers of each task, the words that differ marked."""
    tasks: dict[str, Row] = {}
    for row in ask(db, "answers", evaluation=evaluation, n=PER_ANSWER) if evaluation else []:
        task = tasks.setdefault(row["task"], {"task": row["task"], "right": [], "wrong": []})
        _shown(row)
        row["marked"] = differing(row["expected"] or "", row["output"] or "")
        task["right" if row["correct"] else "wrong"].append(row)
    return list(tasks.values())


def differing(expected: str, output: str) -> list[tuple[str, bool]]:
    """Stretches of the output, and whether each differs from what was expected."""
    want, said = WORD.findall(expected), WORD.findall(output)
    matcher = difflib.SequenceMatcher(None, want, said, autojunk=False)
    stretches = [("".join(said[a:b]), kind != "equal") for kind, _, _, a, b in matcher.get_opcodes() if b > a]
    return stretches


def lineage(db: Db, checkpoint: str | None, tokenizers: Path) -> Row:
    """What made a checkpoint, back to the licences of its rows."""
    if checkpoint is None:
        return {}
    found = ask_one(db, "lineage", checkpoint=checkpoint)
    found["versions"] = sorted(_object(found["versions"]).items())
    found["quality"] = quality(tokenizers, found["image_tokenizer"])
    return {**found, "licences": _licence_shown(ask(db, "rows_trained_on", checkpoint=checkpoint))}


def quality(tokenizers: Path, name: str | None) -> dict[str, float]:
    """What the image tokenizer reached at its gate, if it is told."""
    if not name or Path(name).name != name:
        return {}
    try:
        found = _object((tokenizers / name / "quality.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, int | float)}


def _object(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
