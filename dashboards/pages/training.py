"""Training: the curves of one run or of several over each other, as they grow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dashboards import sections
from dashboards.ask import ask
from dashboards.asked import Asked
from dashboards.charts import FULL, HALF, colours, figure, lines
from dashboards.page import Content, Page, Seen

RUNS, COMPARED = 30, 4
QUIET = timedelta(minutes=30)
"""A run that said nothing for so long is not looked at again every few seconds."""


def content(seen: Seen, asked: Asked) -> Content:
    """Runs to choose from, a chart for each figure with a line for each chosen run, and the last values side by side."""
    runs = [row for row in ask(seen.db, "last_runs", n=RUNS) if row["kind"] == "train"]
    names = [row["run_id"] for row in runs]
    chosen = asked.several("run", names)[:COMPARED] or names[:1]
    measured = {run: _measured(seen, run) for run in chosen}
    figures = dict.fromkeys(name for points in measured.values() for name in points)
    ordered = sorted(figures, key=lambda name: ("loss" not in name, "/ s" not in name, name))
    plots = []
    for name in ordered:
        series = {run: points[name] for run, points in measured.items() if points.get(name)}
        ends = "; ".join(f"{run} at {figure(points[-1][1])}" for run, points in series.items())
        width = FULL if "loss" in name else HALF
        plots.append(
            {
                "title": name,
                "main": width == FULL,
                "chart": lines(series, f"{name} by step: {ends}.", width=width),
            }
        )
    return {
        "runs": runs,
        "chosen": chosen,
        "plots": plots,
        "legend": sections.legend(colours(chosen)) if chosen else [],
        "last": [{"name": n, "values": [_last(measured[run].get(n, [])) for run in chosen]} for n in ordered],
        "growing": any(_growing(row) for row in runs if row["run_id"] in chosen),
    }


def _measured(seen: Seen, run: str) -> dict[str, list[tuple[float, float]]]:
    return seen.answers.once(("measured", run), lambda: sections.measured(seen.db, run))


def _last(points: list[tuple[float, float]]) -> float | None:
    return points[-1][1] if points else None


def _growing(row: dict) -> bool:
    return row["state"] == "started" and row["last_word"] > datetime.now(UTC) - QUIET


PAGE = Page(
    "training",
    "Training",
    "How does the loss fall, how fast does it go, and which run does better?",
    content,
    live=lambda content: content["growing"],
)
