"""Rows for people and for scripts: a table in the terminal, or one JSON document."""

from __future__ import annotations

import json
import math
import sys
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

WIDE = 10_000
SHOWN = 200
"""Rows of a table; scripts get all."""
FEW = 5
"""So many rows that do not fit beside each other are printed one below the other."""


def show(value: Any, as_json: bool) -> None:
    """Prints a dictionary or rows: JSON for scripts, a table for people."""
    if as_json:
        print(json.dumps(plain(value), indent=1, default=str, ensure_ascii=False, allow_nan=False))
        return
    rows = value if isinstance(value, list) else [{"": k, " ": v} for k, v in value.items()]
    print_rows(rows)


def tell(sentence: str, value: Any, as_json: bool) -> None:
    """Prints what was done: a sentence for people, one JSON document for scripts."""
    if as_json:
        show(value, True)
    else:
        print(sentence)


def plain(value: Any) -> Any:
    """The value with null for what JSON has no number for: infinity, and not a number."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_rows(rows: list[dict[str, Any]], limit: int = SHOWN, total: int | None = None) -> None:
    """Prints rows as a table; `total` is how many there are if these are only the first of them."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDE)  # a script wants a row in a line
    if not rows:
        console.print("[dim](no rows)")
        return
    grid = Grid(header_style="bold", box=None, pad_edge=False)
    for name in rows[0]:
        number = all(isinstance(r[name], int | float) or r[name] is None for r in rows)
        grid.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows[:limit]:
        grid.add_row(*[_cell(v) for v in row.values()])
    if len(rows) <= FEW and len(rows[0]) > 2 and console.measure(grid).maximum > console.width:
        for row in rows:  # a table of them would be all folds
            print_rows([{"": name, " ": value} for name, value in row.items()])
            console.print()
        return
    console.print(grid, highlight=False)
    more = (len(rows) if total is None else total) - min(len(rows), limit)
    if more:
        console.print(f"[dim]… and {more:,} rows more (--json prints all)")


def print_scores(scores: list[dict[str, Any]], baseline: str) -> None:
    """Prints the scores of an evaluation, each beside the baseline's."""
    print_rows(beside(scores, baseline))


def beside(scores: list[dict[str, Any]], baseline: str) -> list[dict[str, Any]]:
    """The scores of an evaluation, each beside the baseline's, whose metrics begin with its name."""
    named = {(one["task"], one["subset"], one["metric"]): one for one in scores}
    return [
        {
            "task": task,
            "subset": subset,
            "metric": metric,
            "value": one["value"],
            "95% bounds": f"{one['low']:.3f} to {one['high']:.3f}",
            "n": one["n"],
            baseline.replace("_", " "): named.get((task, subset, f"{baseline}_{metric}"), {}).get("value"),
        }
        for (task, subset, metric), one in sorted(named.items())
        if not metric.startswith(baseline)
    ]


def _cell(value: Any) -> str:
    if value is None:
        return "[dim]·[/]"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, bytes):
        return f"<{len(value):,} bytes>"
    if (
        isinstance(value, list) and value and all(isinstance(pair, tuple) for pair in value)
    ):  # a map of DuckDB
        value = ", ".join(
            f"{key} {count:,}" if isinstance(count, int) else f"{key} {count}" for key, count in value
        )
    if isinstance(value, datetime):
        value = value.isoformat(" ", "seconds")
    text = escape(str(value))
    return text if len(text) <= 200 else text[:199] + "…"
