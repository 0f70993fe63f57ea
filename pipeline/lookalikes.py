"""Pairs of pictures that are the same, among those of a store that are not grouped yet and all others.

Held in memory: 73 bytes of every picture (its hashes, a glimpse). What decides is read for a few thousand pairs at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import duckdb
import numpy as np
import pyarrow as pa

from pipeline import likeness
from pipeline.likeness import Looks
from pipeline.matching import hamming_pairs
from pipeline.signatures import COARSE, GRID, SIDE, colour_hash, grey_hash, turned
from pipeline.vectors import cells

PAIRS = 1 << 14
"""Look-alikes that are looked at closely at once: at most 60 MB of layouts and thumbnails."""
BATCH = 1 << 14
"""New pictures that are turned at once."""
Orientations = Literal["none", "flip", "all"]
TURNS = {"none": (0,), "flip": (0, 4), "all": tuple(range(8))}
"""Quarter turns to the left, plus 4 where the picture is mirrored then."""


@dataclass(frozen=True)
class Likeness:
    """When two pictures are the same."""

    radius: int
    tolerance: float
    lines: float
    relabelled: bool
    orientations: Orientations
    neighbours: int


def number(db: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """Makes `pictures(n, image_id, group_id)`, returns how many are grouped, and how many there are.

    Those that are come first; among them, as among the others, held-out pictures lead.
    """
    db.execute(
        "CREATE OR REPLACE TEMP TABLE pictures AS "
        "SELECT row_number() OVER (ORDER BY g.group_id IS NULL, h.image_id IS NULL, p.image_id) - 1 AS n, "
        "p.image_id, g.group_id FROM perceptual_hash p LEFT JOIN groups g USING (image_id) "
        "LEFT JOIN (SELECT DISTINCT image_id FROM samples WHERE held_out) h USING (image_id) "
        "WHERE p.hash IS NOT NULL"
    )
    [counts] = db.sql("SELECT count(group_id), count(*) FROM pictures").fetchall()
    return counts


def same_pictures(db: duckdb.DuckDBPyConnection, old: int, what: Likeness) -> Iterator[np.ndarray]:
    """Pairs (i, j) of positions in `pictures`, j < i, i ≥ old, that show the same: int64 [2, m]."""
    for turn in TURNS[what.orientations]:
        waiting, count = [np.empty((2, 0), np.int64)], 0
        for pairs in _near(db, old, turn, what):
            if pairs.size:
                waiting.append(pairs)
                count += pairs.shape[1]
            if count >= PAIRS:
                yield from _agreeing(db, np.concatenate(waiting, axis=1), turn, what)
                waiting, count = waiting[:1], 0
        yield from _agreeing(db, np.concatenate(waiting, axis=1), turn, what)


def _near(db: duckdb.DuckDBPyConnection, old: int, turn: int, what: Likeness) -> Iterator[np.ndarray]:
    """Pairs whose hashes are near and that are plausible at a glance, i turned: int64 [2, m], some of them twice."""
    for column in ("hash", "colour_hash"):
        known = db.sql(
            f"SELECT n, {column}, glimpse FROM pictures JOIN perceptual_hash USING (image_id) "
            f"WHERE NOT flat AND {column} IS NOT NULL ORDER BY n"
        ).to_arrow_table()
        n, hashes = known["n"].to_numpy(), known[column].to_numpy()
        glimpses = cells(known["glimpse"], COARSE, COARSE, 3)
        first = int(np.searchsorted(n, old))
        asked = _turned_hashes(db, column, old, turn) if turn else None
        for i, j in hamming_pairs(hashes, first, what.radius, asked=asked, cap=what.neighbours):
            for at in range(0, len(i), PAIRS):
                one, other = i[at : at + PAIRS], j[at : at + PAIRS]
                likely = likeness.plausible(
                    turned(glimpses[one], turn), glimpses[other], what.tolerance, what.relabelled
                )
                yield n[np.stack([one[likely], other[likely]])]


def _turned_hashes(db: duckdb.DuckDBPyConnection, column: str, old: int, turn: int) -> np.ndarray:
    """What the new pictures' hashes are after a turn, those that have the hash in order of n: int64."""
    source, made, shape = {
        "hash": ("layout", grey_hash, (GRID, GRID)),
        "colour_hash": ("thumbnail", colour_hash, (SIDE, SIDE, 3)),
    }[column]
    reader = db.sql(
        f"SELECT {source} FROM pictures JOIN perceptual_hash USING (image_id) "
        f"WHERE NOT flat AND {column} IS NOT NULL AND n >= {old} ORDER BY n"
    ).to_arrow_reader(BATCH)
    hashes = [made(turned(cells(batch.column(0), *shape), turn)) for batch in reader]
    return np.concatenate([np.empty(0, np.int64), *hashes])


def _agreeing(
    db: duckdb.DuckDBPyConnection, pairs: np.ndarray, turn: int, what: Likeness
) -> Iterator[np.ndarray]:
    """Those of some pairs that show the same when the first is turned: int64 [2, m]."""
    for start in range(0, pairs.shape[1], PAIRS):
        block = pairs[:, start : start + PAIRS]
        wanted = np.unique(block)
        db.register("wanted", pa.table({"n": wanted}))
        found = db.sql(
            "SELECT layout, thumbnail FROM wanted JOIN pictures USING (n) "
            "JOIN perceptual_hash USING (image_id) ORDER BY n"
        ).to_arrow_table()
        looks = Looks(cells(found["layout"], GRID, GRID), cells(found["thumbnail"], SIDE, SIDE, 3))
        i, j = np.searchsorted(wanted, block)
        yield block[
            :,
            likeness.same(
                looks.turned(turn).take(i), looks.take(j), what.tolerance, what.lines, what.relabelled
            ),
        ]
