"""A filter with another threshold, tried on rows that are stored: the filter itself judges, and nothing is written.

Of very many rows a random sample of about `MOST_ROWS` is judged, the same one each time: its shares are off by .9% at most.
Where each row would change sides is found by judging all of them at `STEPS` values of the setting: that serves any filter
whose setting has a "more" and a "less", whatever it measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from dashboards import thin
from dashboards.ask import Session, ask
from pipeline import stage
from pipeline.step import Filter
from storage.store import Store

MOST_ROWS, STEPS = 12_000, 24
FEW = 1_500
"""Rows on which the range of a setting is looked for."""
DOUBLINGS = 18


@dataclass(frozen=True)
class Grid:
    """Values of a setting, and which rows are kept at each: bool [values, rows]."""

    values: Sequence[float]
    kept: np.ndarray

    @property
    def rising(self) -> bool:
        """Whether more rows are kept as the setting grows."""
        return bool(self.kept[-1].sum() >= self.kept[0].sum())


@dataclass(frozen=True)
class Rows:
    """The rows that a filter is tried on."""

    table: pa.Table
    of: int
    """How many there are in all."""


def settings(step: Filter) -> dict[str, float]:
    """The numbers that a filter can be set to, as they are."""
    values = {name: getattr(step, name) for name in type(step).model_fields}
    return {k: v for k, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def moved(step: Filter, setting: str, value: float) -> Filter | None:
    """The filter with another value, None if it does not take that one."""
    whole = isinstance(getattr(step, setting), int)
    try:
        return type(step)(**{**step.model_dump(), setting: round(value) if whole else value})
    except ValidationError:
        return None


def read(db: Session, store: Store, step: Filter) -> Rows:
    """What the filter reads of the rows that could be collected."""
    count = sum(row["kept"] for row in ask(db, "fates_by_stage") if row["stage"] == "collect")
    share = thin.share(MOST_ROWS, count)
    collected = "SELECT sample_id FROM decisions WHERE stage = 'collect' AND kept"
    query = f"{stage.filtered_rows(step.reads)} WHERE samples.sample_id IN ({collected}) ORDER BY samples.sample_id"
    with thin.thinned(db, store, share) as some:
        return Rows(some.con.sql(query).to_arrow_table(), count)


def keeps(step: Filter, rows: pa.Table) -> np.ndarray:
    """bool [rows]; what a filter cannot see, it keeps."""
    found = pc.fill_null(step.keep(rows), True)
    return np.asarray(found.to_numpy(zero_copy_only=False), bool)


def grid(step: Filter, setting: str, rows: pa.Table) -> Grid:
    """The rows judged over the range of values in which the verdict on some of them changes."""
    low, high = _range(step, setting, rows.slice(0, FEW))
    spread = np.linspace(low, high, STEPS)
    values = sorted(
        {float(round(v)) for v in spread}
        if isinstance(getattr(step, setting), int)
        else {float(v) for v in spread}
    )
    steps = [(value, made) for value in values if (made := moved(step, setting, value)) is not None]
    return Grid([value for value, _ in steps], np.stack([keeps(made, rows) for _, made in steps]))


def _range(step: Filter, setting: str, rows: pa.Table) -> tuple[float, float]:
    """The values around the present one between which something changes; a little on both sides if nothing does."""
    now = float(getattr(step, setting))
    unit = 1.0 if isinstance(getattr(step, setting), int) else 0.01
    tried = sorted({now, *(now + sign * unit * 2**k for k in range(DOUBLINGS) for sign in (1, -1))})
    steps = [(value, made) for value in tried if (made := moved(step, setting, value)) is not None]
    counts = [int(keeps(made, rows).sum()) for _, made in steps]
    values = [value for value, _ in steps]
    changes = [i for i in range(1, len(counts)) if counts[i] != counts[i - 1]]
    at = values.index(now)
    first = min([at - 1, *(i - 1 for i in changes)])
    last = max([at + 1, *changes])
    return values[max(first, 0)], values[min(last, len(values) - 1)]


def flips(found: Grid) -> np.ndarray:
    """Rows that change sides between each value and the next: int [values - 1]."""
    return (found.kept[1:] != found.kept[:-1]).sum(1)


def nearest(found: Grid, kept: np.ndarray, value: float, wanted: bool, n: int) -> np.ndarray:
    """Positions of rows on one side that change it soonest as the setting moves; those that never do are left out."""
    changing = np.flatnonzero((kept == wanted) & (found.kept.any(0) != found.kept.all(0)))
    changed = found.kept[:, changing]
    place = (changed[1:] != changed[:-1]).argmax(0) if len(changing) else np.empty(0, int)
    middles = (np.asarray(found.values)[1:] + np.asarray(found.values)[:-1]) / 2
    order = np.argsort(np.abs(middles[place] - value), kind="stable") if len(changing) else place
    return changing[order][:n]


def summary(step: Filter) -> str:
    """A filter's own first sentence."""
    return (type(step).__doc__ or step.name()).strip().split("\n")[0].replace("`", "")


def shown(value: Any) -> str:
    """A setting as TOML has it."""
    return f"{value:g}" if isinstance(value, float) else str(value)
