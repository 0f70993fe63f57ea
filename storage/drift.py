"""How far one snapshot's rows lie from another's: source, language and task by their shares, signals by their deciles, vectors
by their likeness to the earlier mean.

The measure is the population stability index, sum((p - q) ln(p / q)) over bins, with half a row added to each bin (Siddiqi,
"Credit Risk Scorecards", 2006). What two samples of one and the same distribution would differ by, (bins - 1)(1/n + 1/m), is
taken off: below it nothing can be told.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from storage.views import bound, name

if TYPE_CHECKING:
    from storage.store import Store

SHARES = ("source", "lang", "task", "licence")
BINS = 10
MOST = 500_000
"""Rows of a snapshot that are looked at, about."""
VERSION = 1
"""Raised when the same rows give another measure."""
OTHERS = "none"


@dataclass(frozen=True)
class Drift:
    """One column's."""

    column: str
    psi: float
    most: str
    """The bin that moved most."""
    before: float
    """Its share of the earlier rows."""
    now: float


SCHEMA = pa.schema(
    [
        ("column", pa.string()),
        ("psi", pa.float64()),
        ("most", pa.string()),
        ("before", pa.float64()),
        ("now", pa.float64()),
    ]
)
"""Of rows of `Drift`."""


def measure(store: Store, before: str, now: str, versions: Mapping[str, int] | None = None) -> list[Drift]:
    """The drift of every column from the snapshot `before` to the snapshot `now`, the largest first; of very large ones as
    a random sample shows it, drawn by the rows' ids, which are digests."""
    with store.connect(versions) as db:
        kinds = {row[0]: row[1] for row in db.execute("DESCRIBE signals").fetchall()}
        own = {row[0] for row in db.execute("DESCRIBE samples").fetchall()}
        signals = {column: kind for column, kind in kinds.items() if column not in own}
        numbers = [column for column, kind in signals.items() if _is_number(kind)]
        vectors = [column for column, kind in signals.items() if kind in ("FLOAT[]", "DOUBLE[]")]
        wanted = ", ".join(name(column) for column in (*SHARES, *numbers, *vectors))
        [(largest,)] = db.execute(
            "SELECT coalesce(max(rows), 0) FROM snapshots WHERE snapshot IN ($now, $before)",
            {"now": now, "before": before},
        ).fetchall()
        some = f"AND sample_id < {bound(MOST / largest)}" if largest > MOST else ""
        db.execute(
            f"CREATE TEMP TABLE drifting AS SELECT m.snapshot = $now AS late, {wanted} "
            f"FROM signals JOIN snapshot_members m USING (sample_id) WHERE m.snapshot = $now {some} "
            f"UNION ALL SELECT false, {wanted} "
            f"FROM signals JOIN snapshot_members m USING (sample_id) WHERE m.snapshot = $before {some}",
            {"now": now, "before": before},
        )
        found = [
            *(_of_shares(db, column, f"coalesce({name(column)}, '{OTHERS}')") for column in SHARES),
            *_of_numbers(db, numbers),
            *_of_vectors(db, vectors),
        ]
    return sorted((one for one in found if one), key=lambda one: -one.psi)


def _is_number(kind: str) -> bool:
    return kind in ("DOUBLE", "FLOAT", "INTEGER", "BIGINT", "SMALLINT", "TINYINT") or kind.startswith(
        "DECIMAL"
    )


def _of_numbers(db: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> Iterator[Drift | None]:
    for column in columns:
        yield _of_deciles(db, column, f"{name(column)}::DOUBLE")


def _of_vectors(db: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> Iterator[Drift | None]:
    """By each row's cosine with the mean of the earlier rows."""
    for column in columns:
        numbered = f"SELECT unnest({name(column)}) AS value, generate_subscripts({name(column)}, 1) AS place FROM drifting"
        means = f"SELECT place, avg(value) AS mean FROM ({numbered} WHERE NOT late) GROUP BY place"
        mean = db.execute(f"SELECT list(mean ORDER BY place) FROM ({means})").fetchone()
        if mean and mean[0]:
            alike = f"list_cosine_similarity({name(column)}::DOUBLE[], {[float(value) for value in mean[0]]})"
            like = f"CASE WHEN len({name(column)}) = {len(mean[0])} THEN {alike} END"
            yield _of_deciles(db, column, like)


def _of_deciles(db: duckdb.DuckDBPyConnection, column: str, value: str) -> Drift | None:
    """Bins are the deciles of the earlier rows; rows without a value are a bin of their own."""
    quantiles = [n / BINS for n in range(1, BINS)]
    earlier = f"SELECT {value} AS v FROM drifting WHERE NOT late"
    row = db.execute(f"SELECT quantile_cont(v, {quantiles}) FROM ({earlier}) WHERE isfinite(v)").fetchone()
    if row is None or row[0] is None:
        return None
    edges = sorted(set(row[0]))
    cases = " ".join(f"WHEN {value} <= {edge!r} THEN 'up to {edge!r}'" for edge in edges)
    bins = f"CASE WHEN {value} IS NULL THEN '{OTHERS}' {cases} ELSE 'above {edges[-1]!r}' END"
    return _of_shares(db, column, bins)


def _of_shares(db: duckdb.DuckDBPyConnection, column: str, value: str) -> Drift | None:
    rows = db.execute(
        f"SELECT {value} AS bin, count(*) FILTER (NOT late), count(*) FILTER (late) FROM drifting GROUP BY 1 ORDER BY 1"
    ).fetchall()
    earlier, later = sum(row[1] for row in rows), sum(row[2] for row in rows)
    if not earlier or not later:
        return None
    return _drift(column, [(str(bin), n, m) for bin, n, m in rows], earlier, later)


def _drift(column: str, bins: Sequence[tuple[str, int, int]], earlier: int, later: int) -> Drift:
    found = []
    for bin, n, m in bins:
        p, q = (n + 0.5) / (earlier + 0.5 * len(bins)), (m + 0.5) / (later + 0.5 * len(bins))
        found.append(((p - q) * math.log(p / q), bin, n / earlier, m / later))
    chance = (len(bins) - 1) * (1 / earlier + 1 / later)
    _, most, before, now = max(found)
    return Drift(column, max(0.0, sum(one[0] for one in found) - chance), most, before, now)
