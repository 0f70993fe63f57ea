"""`millrace demo`: the whole main job on the embedded demo corpus, with a summary that says what came of it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from rich.markup import escape
from rich.table import Table as Grid

from flows import server
from flows.config import read
from flows.progress import bar, console, say
from pipeline.gallery.corpus import GalleryTooLarge
from pipeline.gallery.server import serve
from pipeline.gallery.writer import GalleryExists, write

SEED = 2026
"""Not one of the seeds on which thresholds were chosen."""


class DemoError(Exception):
    """The demo cannot run here; the message says what to do."""


@dataclass(frozen=True)
class Size:
    """How large a demo is."""

    pictures: int
    seconds: float
    gallery: str = "few"
    """Which tasks the gallery has rows of."""
    text_share: float = 0.0
    draw_share: float = 0.15
    judged: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    """What is measured by its own metrics at the end."""


QUICK = Size(pictures=20_000, seconds=600, tasks=("vqa",))
FULL = Size(
    pictures=50_000,
    seconds=2_500,
    gallery="all",
    text_share=0.25,
    draw_share=0.2,
    judged=("shape", "colour"),
    tasks=(
        "vqa",
        "translate",
        "qa",
        "summarize",
        "title",
        "text_to_image",
        "retrieval",
        "classify",
        "perplexity",
        "safety",
        "bias",
    ),
)


def run(
    path: Path, *, full: bool = False, size: int | None = None, seconds: float | None = None
) -> dict[str, Any]:
    """Makes the corpus, turns the mill once, prints the summary, and returns it."""
    began = time.monotonic()
    chosen = FULL if full else QUICK
    pictures, budget = size or chosen.pictures, seconds or chosen.seconds
    path.mkdir(parents=True, exist_ok=True)
    try:
        with bar("draw the gallery", pictures, "pictures") as shown:
            corpus = write(
                path / "data",
                SEED,
                pictures,
                tasks=chosen.gallery,
                progress=lambda done, total: shown.update(done, total=total),
            )
    except GalleryExists as error:
        raise DemoError(f"{error}; or run the demo elsewhere with --path") from error
    except GalleryTooLarge as error:
        raise DemoError(f"--size: {error}") from error
    config = path / "millrace.toml"
    with serve(corpus.path) as base_url, server.api():
        from flows.mill import mill

        config.write_text(configuration(chosen, base_url, budget), encoding="utf-8")
        say("Prefect is ready; turning the mill")
        done = mill(config=str(config))
    done["seconds"] = round(time.monotonic() - began, 1)
    done["config"] = str(config)
    done["planted"] = planted(config, corpus.truth)
    summary(done, config)
    return done


def configuration(size: Size, base_url: str, seconds: float) -> str:
    """What stands in the demo's TOML."""
    template = Template(resources.files("flows").joinpath("demo.toml").read_text("utf-8"))
    return template.substitute(
        base_url=base_url,
        seconds=f"{seconds:g}",
        text_share=f"{size.text_share:g}",
        draw_share=f"{size.draw_share:g}",
        judged=json.dumps(size.judged),
        tasks=json.dumps(size.tasks),
    )


def planted(config: Path, truth: Path) -> list[dict[str, Any]]:
    """Precision and recall of what the pipeline found against what the gallery planted."""
    from dashboards.truth import score

    return score(read(config).open_store(), truth)


def summary(done: dict[str, Any], config: Path) -> None:
    """What a person wants to know at the end."""
    store = read(config).open_store()
    with store.connect() as db:
        funnel = (
            db.sql(
                "SELECT c.source, c.came_in, c.kept, c.dropped, c.adds_up, "
                "(SELECT string_agg(reason || ' ' || n, ', ' ORDER BY n DESC) FROM "
                "(SELECT reason, count(*) AS n FROM verdicts v WHERE v.source = c.source AND NOT v.kept GROUP BY reason)) "
                "AS why FROM funnel_check c ORDER BY c.source"
            )
            .to_arrow_table()
            .to_pylist()
        )
    _grid("What came in and what was kept", funnel)
    _grid("Planted defects, and what the pipeline found of them", done["planted"])
    english, others = scores(done["evaluate"]["scores"])
    _grid("English captions of held-out pictures: share that is right", english)
    _grid("Exactly right, with 95% bounds", others)
    _grid("Tasks on held-out rows, beside what a trivial answer reaches", tasked(done))
    _grid("Four generated captions", done["evaluate"]["examples"])
    say(f"\n[bold green]done[/] in {done['seconds']:,.0f} s")
    say(f"drawn pictures   {done['evaluate']['pictures']}")
    say(f"report           {done['report']}")
    say("\nnext:")
    say(f"  millrace stats -c {config}")
    say(f'  millrace sql -c {config} "SELECT reason, count(*) FROM decisions WHERE NOT kept GROUP BY ALL"')
    say(
        f'  millrace generate -c {config} "two red circles above a blue star on a grey background" -o drawn.png'
    )
    say("  millrace init ~/Pictures   # your own folder of pictures")


def scores(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The English caption's scores by metric, combinations never drawn in training apart; and exact scores by task
    and language."""
    columns = {
        "en": "all",
        "en/seen_combination": "seen combinations",
        "en/unseen_combination": "unseen combinations",
    }
    english: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["task"] == "caption" and row["subset"] in columns:
            english.setdefault(row["metric"], {"metric": row["metric"]})[columns[row["subset"]]] = row[
                "value"
            ]
    others = [
        {name: row[name] for name in ("task", "subset", "value", "low", "high", "n")}
        for row in rows
        if row["metric"] == "exact"
        and "/" not in row["subset"]
        and (row["task"], row["subset"]) != ("caption", "all")
    ]
    return list(english.values()), others


def tasked(done: dict[str, Any]) -> list[dict[str, Any]]:
    """The scores of single tasks over all items, and of each pair of languages."""
    from flows.tasks import side_by_side

    if "tasks" not in done:
        return []
    rows = side_by_side(done["tasks"])
    return [row for row in rows if row["subset"] == "all" or "→" in row["subset"]]


def _grid(title: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    grid = Grid(title=title, title_justify="left", title_style="bold", header_style="dim", box=None)
    for name in rows[0]:
        grid.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        grid.add_row(*[_cell(row.get(name)) for name in rows[0]])
    console.print()
    console.print(grid, highlight=False)


def _cell(value: Any) -> str:
    if value is None or value != value:
        return "·"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else escape(str(value))
