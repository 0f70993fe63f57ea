"""The same picture again: re-encoded, resized or brightened, in this corpus or anything ingested before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import duckdb
import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline.asking import decisions, folded
from pipeline.matching import SIDE, components, hamming_pairs, same_picture
from pipeline.step import Gather, Gathered

PAIRS = 1 << 16
"""Look-alikes whose thumbnails are held at once: at most 100 MB."""


class NearDuplicates(Gather):
    """Groups near-copies of pictures, drops rows whose picture group, prompt, language and text all agree.

    A picture once grouped stays in its group, and a row once kept stays kept. Of new rows that agree the one
    with the largest original stays. Held-out and training rows are apart: `decontaminate` judges those.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("perceptual_hash",)
    writes: ClassVar[tuple[str, ...]] = ("groups",)
    radius: int = Field(9, ge=0, le=15, description="Most differing bits of one of the 64-bit hashes.")
    tolerance: float = Field(16.0, ge=0, le=255, description="Most error of the worst cells, in levels.")
    neighbours: int = Field(512, ge=2, description="Most look-alikes held against a picture, per band.")

    def gather(self, db: duckdb.DuckDBPyConnection) -> Gathered:
        groups = self._group(db)
        db.register("fresh_groups", groups)
        return Gathered(decisions(db, _drops(db)), {"groups": groups})

    def _group(self, db: duckdb.DuckDBPyConnection) -> pa.Table:
        """Rows of `groups` for the pictures that have none."""
        old = _number(db)
        hashes, others, flat = _columns(db, "SELECT hash, other_hash, flat FROM pictures ORDER BY n")
        solid = np.flatnonzero(~flat.astype(bool))
        first_new = int(np.searchsorted(solid, old))
        found = [np.empty((2, 0), np.int64)]
        for pairs in _batches([hashes[solid], others[solid]], first_new, self.radius, self.neighbours):
            pairs = solid[pairs]
            found.append(pairs[:, _agree(db, pairs, self.tolerance)])
        leader = _leaders(len(hashes), old, *np.concatenate(found, axis=1))
        db.register("leaders", pa.table({"n": np.arange(old, len(hashes)), "leader": leader[old:]}))
        return db.sql(
            "SELECT p.image_id, coalesce(first.group_id, first.image_id) AS group_id FROM leaders "
            "JOIN pictures p USING (n) JOIN pictures first ON first.n = leader ORDER BY p.image_id"
        ).to_arrow_table()


def _number(db: duckdb.DuckDBPyConnection) -> int:
    """Makes `pictures(n, image_id, hash, other_hash, flat, group_id)`, returns how many are grouped.

    Those come first; among them, as among the others, held-out pictures lead.
    """
    db.execute(
        "CREATE OR REPLACE TEMP TABLE pictures AS "
        "SELECT row_number() OVER (ORDER BY g.group_id IS NULL, h.image_id IS NULL, p.image_id) - 1 AS n, "
        "p.image_id, p.hash, p.other_hash, coalesce(p.flat, true) AS flat, g.group_id FROM perceptual_hash p "
        "LEFT JOIN groups g USING (image_id) "
        "LEFT JOIN (SELECT DISTINCT image_id FROM samples WHERE held_out) h USING (image_id) "
        "WHERE p.hash IS NOT NULL"
    )
    [(grouped,)] = db.sql("SELECT count(*) FROM pictures WHERE group_id IS NOT NULL").fetchall()
    return int(grouped)


def _batches(hashes: list[np.ndarray], first_new: int, radius: int, neighbours: int) -> Iterator[np.ndarray]:
    """Look-alikes by any of the hashes, as arrays of positions [2, about PAIRS]."""
    waiting: list[np.ndarray] = []
    for words in hashes:
        for pair in hamming_pairs(words, first_new, radius, neighbours):
            pairs = np.stack(pair)
            waiting += [pairs[:, at : at + PAIRS] for at in range(0, pairs.shape[1], PAIRS)]
            while waiting and sum(block.shape[1] for block in waiting) >= PAIRS:
                yield waiting.pop()
    if waiting:
        yield np.concatenate(waiting, axis=1)


def _agree(db: duckdb.DuckDBPyConnection, pairs: np.ndarray, tolerance: float) -> np.ndarray:
    """Which pairs of positions [2, m] have thumbnails that agree: bool [m]."""
    wanted = np.unique(pairs)
    db.register("wanted", pa.table({"n": wanted}))
    [found] = (
        db.sql(
            "SELECT thumbnail FROM wanted JOIN pictures USING (n) JOIN perceptual_hash USING (image_id) "
            "ORDER BY n"
        )
        .to_arrow_table()
        .columns
    )
    thumbnails = np.concatenate(
        [np.frombuffer(b"".join(chunk.to_pylist()), np.uint8) for chunk in found.chunks]
    ).reshape(-1, SIDE, SIDE, 3)
    a, b = np.searchsorted(wanted, pairs)
    step = 1 << 9
    return np.concatenate(
        [
            same_picture(thumbnails[a[at : at + step]], thumbnails[b[at : at + step]], tolerance)
            for at in range(0, len(a), step)
        ]
    )


def _leaders(n: int, old: int, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """The position whose group each picture joins: int64 [n].

    A direct match with an old picture decides, the first of several; new pictures without one are chained.
    """
    direct = np.full(n, n)
    np.minimum.at(direct, i[j < old], j[j < old])
    among_new = j >= old
    chained = components(n, i[among_new], j[among_new])
    reached = np.full(n, n)  # an old group that some member of the chain matches
    np.minimum.at(reached, chained, direct)
    via = np.where(reached[chained] < n, reached[chained], chained)
    return np.where(direct < n, direct, via)


def _drops(db: duckdb.DuckDBPyConnection) -> str:
    """SQL of (sample_id, reason, detail) of the candidates that say what another row says.

    Of the rows kept before, only those of the candidates' picture groups are looked at.
    """
    db.execute(
        "CREATE OR REPLACE TEMP TABLE asked AS "
        "SELECT sample_id, stays, coalesce(g.group_id, s.image_id) AS picture FROM samples s JOIN ("
        "SELECT sample_id, false AS stays FROM candidates UNION ALL SELECT sample_id, true FROM incumbents"
        ") USING (sample_id) LEFT JOIN ("
        "SELECT image_id, group_id FROM groups UNION ALL SELECT image_id, group_id FROM fresh_groups"
        ") g USING (image_id)"
    )
    key = ", ".join(
        [
            "held_out",
            "coalesce(picture, '')",
            f"coalesce({folded('prompt')}, chr(30))",
            "coalesce(lang, '')",
            "coalesce(task, '')",
            f"coalesce({folded('text')}, chr(30) || coalesce(label, ''))",
        ]
    )
    db.execute(
        "CREATE OR REPLACE TEMP TABLE said AS "
        "SELECT sample_id, image_id, stays, label IS NOT NULL AS labelled, "
        f"md5_number(concat_ws(chr(31), {key})) AS says FROM samples JOIN asked USING (sample_id) "
        "WHERE (image_id IS NOT NULL OR text IS NOT NULL) AND (NOT stays OR coalesce(picture, '') IN "
        "(SELECT coalesce(picture, '') FROM asked WHERE NOT stays))"
    )
    return (
        "SELECT sample_id, 'duplicate' AS reason, best AS detail FROM ("
        "SELECT sample_id, stays, first_value(sample_id) OVER (PARTITION BY says ORDER BY stays DESC, "
        "labelled DESC, coalesce(original_width::BIGINT * original_height, 0) DESC, sample_id) AS best "
        "FROM said LEFT JOIN images USING (image_id) "
        "WHERE says IN (SELECT says FROM said GROUP BY says HAVING count(*) > 1)"
        ") WHERE sample_id <> best AND NOT stays"
    )


def _columns(db: duckdb.DuckDBPyConnection, query: str) -> list[np.ndarray]:
    return [column.to_numpy() for column in db.sql(query).to_arrow_table().columns]
