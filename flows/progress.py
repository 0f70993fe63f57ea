"""Progress for people: bars with rate and time left in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

console = Console(stderr=True)
LOG_EVERY_S = 15.0


class Rate(ProgressColumn):
    """Units a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        unit = task.fields.get("unit", "")
        return Text(f"{speed:,.0f} {unit}/s" if speed else "", style="cyan")


@dataclass
class Bar:
    """A running count of something, shown as a bar or logged."""

    title: str
    total: float | None
    unit: str
    progress: Progress | None = None
    task: int | None = None
    done: float = 0
    started: float = field(default_factory=time.monotonic)
    logged: float = field(default_factory=time.monotonic)

    def advance(self, by: float = 1, note: str = "") -> None:
        self.update(self.done + by, note)

    def update(self, done: float, note: str = "", total: float | None = None) -> None:
        self.done = done
        self.total = total if total is not None else self.total
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, completed=done, note=note, total=self.total)  # type: ignore[arg-type]
        elif time.monotonic() - self.logged > LOG_EVERY_S:
            self.logged = time.monotonic()
            console.print(self.line(note), highlight=False)
            log(self.line(note))

    def line(self, note: str = "") -> str:
        took = max(time.monotonic() - self.started, 1e-9)
        rate = self.done / took
        left = f", {(self.total - self.done) / rate:,.0f} s left" if self.total and rate else ""
        of = f" of {self.total:,.0f}" if self.total else ""
        return f"{self.title}: {self.done:,.0f}{of} {self.unit}, {rate:,.0f}/s{left} {note}".rstrip()


@contextmanager
def bar(title: str, total: float | None, unit: str = "rows", *, quiet: bool = False) -> Iterator[Bar]:
    """Shows a bar on a terminal; elsewhere logs a line every 15 s and one at the end (`quiet`: if anything was done)."""
    if not console.is_terminal:
        shown = Bar(title, total, unit)
        yield shown
        took = time.monotonic() - shown.started
        if shown.done or not quiet:
            ended = f"{title}: {shown.done:,.0f} {unit} in {took:,.1f} s"
            console.print(ended, highlight=False)
            log(ended)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=console, refresh_per_second=4) as progress:
        task = progress.add_task(title, total=total, unit=unit, note="")
        yield Bar(title, total, unit, progress, task)


def say(text: str) -> None:
    """A line for the person at the terminal, on standard error so that --json output stays clean, and for the run's log."""
    # a log has no width: an address must not be cut
    console.print(text, highlight=False, soft_wrap=not console.is_terminal)
    sys.stderr.flush()
    log(Text.from_markup(text).plain)


def log(text: str) -> None:
    """A line of the run's log in the Prefect UI; none outside a flow, or where Prefect was never imported."""
    context = sys.modules.get("prefect.context")
    if context and (context.FlowRunContext.get() or context.TaskRunContext.get()):
        sys.modules["prefect.logging"].get_run_logger().info(text)
