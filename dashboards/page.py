"""What a page of the dashboard is: a title, a question, and a function that answers it from the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dashboards.ask import Session
from dashboards.asked import Asked
from dashboards.reader import Answers
from pipeline.step import Filter
from storage.store import Store

Content = dict[str, Any]


@dataclass(frozen=True)
class Mill:
    """What the pages look at: a store, and what its configuration says of it now."""

    store: Store
    filters: Callable[[], Sequence[Filter]] = tuple
    """The configured filters, in their order."""
    save: Callable[[int, str, str, float], None] | None = None
    """Writes (place, use, setting, value) of a filter into the configuration; None where there is none to write to."""
    drift_limit: float = 0.2
    config: Path | None = None
    errors: tuple[type[Exception], ...] = ()
    """What a person can cause in a configuration: told on the page."""


@dataclass(frozen=True)
class Seen:
    """The tables as one page sees them: one version of each, whatever is written meanwhile."""

    mill: Mill
    db: Session
    answers: Answers
    """What was computed for these versions already."""


@dataclass(frozen=True)
class Page:
    """A page; its template is `pages/<name>.html`, which sees what `content` returns."""

    name: str
    title: str
    asks: str
    """The one question that it answers."""
    content: Callable[[Seen, Asked], Content]
    live: Callable[[Content], bool] = field(default=lambda content: False)
    """Whether what it shows is still growing: the browser then asks again every few seconds."""

    @property
    def path(self) -> str:
        return "/" if self.name == "overview" else f"/{self.name}"
