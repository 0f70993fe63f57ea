"""Nearly the same text again: a few words changed, cut off or added, in this corpus or anything ingested before."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import duckdb
import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline.asking import decisions
from pipeline.matching import components
from pipeline.minhash import agreement, bands, jaccard
from pipeline.shingles import Worded
from pipeline.step import Gather, Gathered
from pipeline.vectors import cells

PAIRS = 1 << 14
"""Signatures that are compared at once: 16 MB of each side at 256 permutations."""
WORDS = 1 << 20
"""Words of texts that are compared exactly at once."""
SURE = 3.0
"""Standard deviations of the estimate beyond which nobody looks at the texts."""
PICTURE = {
    "documents": ("s.image_id IS NULL", "''"),
    "joint": ("true", "coalesce(g.group_id, s.image_id, '')"),
    "text": ("true", "''"),
}
"""Which rows are judged, and the picture that they must share."""


class TextDuplicates(Gather):
    """Drops all but one of the rows whose texts and prompts are nearly the same.

    Task, language and held-out must agree, and what `judge` says of pictures. Rows are grouped by locality-sensitive
    hashing of their MinHash signatures, each band by itself, and by connected components of what then turns out to be
    alike. A row once kept stays kept. Of new rows a labelled one stays, then the longest text, then the one with the
    largest original picture.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("text_minhash",)
    threshold: float = Field(0.8, gt=0, lt=1, description="Least Jaccard index of the words' runs.")
    recall: float = Field(0.95, gt=0, lt=1, description="Least chance to find a pair at the threshold.")
    judge: Literal["documents", "joint", "text"] = Field(
        "documents",
        description="Rows without a picture; rows of one picture group; or all rows, whatever their picture.",
    )
    exact: bool = Field(True, description="Read the texts of pairs on which the signatures leave a doubt.")
    neighbours: int = Field(8, ge=1, le=64, description="Rows of a band that each is held against.")

    def tables(self) -> tuple[str, ...]:
        return (*self.reads, *(("groups",) if self.judge == "joint" else ()))

    def gather(self, db: duckdb.DuckDBPyConnection) -> Gathered:
        self._list(db)
        permutations = _number(db)
        count, rows = bands(self.threshold, permutations, self.recall) if permutations else (0, 0)
        _band(db, count, rows)
        for band in range(count):
            db.execute(f"INSERT INTO alike BY NAME {candidate_pairs(band, self.neighbours)}")
        found = list(self._verified(db, permutations)) if count else []
        _group(db, np.concatenate([np.empty((2, 0), np.int64), *found], axis=1))
        return Gathered(decisions(db, _DROPS))

    def _list(self, db: duckdb.DuckDBPyConnection) -> None:
        """Makes `asked`: the rows that have a signature, and what became of them in earlier rounds.

        `state` is 0 for a row that was kept, 1 for one that was dropped for `rival`, 2 for a candidate.
        """
        judged, picture = PICTURE[self.judge]
        db.execute(
            "CREATE OR REPLACE TEMP TABLE asked AS SELECT s.sample_id, state, rival, "
            "s.label IS NOT NULL AS labelled, m.words, "
            "coalesce(i.original_width::BIGINT * i.original_height, 0) AS pixels, "
            "hash(coalesce(s.held_out, false), coalesce(s.task, ''), coalesce(s.lang, ''), m.run, "
            f"{picture}) AS kind FROM samples s JOIN ("
            "SELECT sample_id, 2 AS state, NULL AS rival FROM candidates UNION ALL "
            "SELECT sample_id, 0, NULL FROM incumbents UNION ALL "
            f"SELECT sample_id, 1, detail FROM decisions WHERE stage = '{self.name()}' AND NOT kept"
            ") USING (sample_id) JOIN text_minhash m USING (sample_id) "
            "LEFT JOIN groups g ON g.image_id = s.image_id LEFT JOIN images i ON i.image_id = s.image_id "
            f"WHERE m.signature IS NOT NULL AND {judged}"
        )

    def _verified(self, db: duckdb.DuckDBPyConnection, permutations: int) -> Iterator[np.ndarray]:
        """The pairs [2, m] of positions that are alike, by their signatures, and by their texts where in doubt."""
        slack = SURE * math.sqrt(self.threshold * (1 - self.threshold) / permutations)
        if not self.exact:  # the estimate misses as many pairs at the threshold as the bands may
            slack = 1.65 * slack / SURE
        doubtful = [np.empty((2, 0), np.int64)]
        for pairs, alike in _estimated(db, permutations):
            likely = alike >= self.threshold - slack
            sure = alike >= self.threshold + slack if self.exact else likely
            yield pairs[:, sure]
            doubtful.append(pairs[:, likely & ~sure])
        yield _exactly(db, np.concatenate(doubtful, axis=1), self.threshold)


def _number(db: duckdb.DuckDBPyConnection) -> int:
    """Makes `entries(n, head, …)` of the rows, earlier ones first; returns the number of permutations, 0 without rows.

    `head` is the first row with that very signature: only heads are looked at further.
    """
    db.execute(
        "CREATE OR REPLACE TEMP TABLE entries AS SELECT *, min(n) OVER (PARTITION BY same) AS head FROM ("
        "SELECT a.*, hash(kind, signature) AS same, "
        "row_number() OVER (ORDER BY state = 2, sample_id) - 1 AS n "
        "FROM asked a JOIN text_minhash USING (sample_id))"
    )
    found = db.sql(
        "SELECT any_value(octet_length(signature)) // 4 FROM text_minhash SEMI JOIN entries USING (sample_id)"
    )
    return int(found.fetchall()[0][0] or 0)


def _band(db: duckdb.DuckDBPyConnection, count: int, rows: int) -> None:
    """Makes `banded(n, fresh, b0, b1, …)`, a hash for each band of each head, and an empty `alike(later, earlier)`."""
    width = rows * 4
    columns = "".join(
        f", hash(kind, signature[{band * width + 1}:{(band + 1) * width}]) AS b{band}"
        for band in range(count)
    )
    db.execute(
        f"CREATE OR REPLACE TEMP TABLE banded AS SELECT n, state = 2 AS fresh{columns} "
        "FROM entries JOIN text_minhash USING (sample_id) WHERE n = head"
    )
    db.execute("CREATE OR REPLACE TEMP TABLE alike (later BIGINT, earlier BIGINT)")


def candidate_pairs(band: int, neighbours: int) -> str:
    """SQL of (later, earlier): new rows with those before them that share a band, `neighbours` of them and the first.

    It looks at one band only: bands may be asked on different machines. However many rows share a band, the work
    grows with their number, and they stay connected through the rows next to them.
    """
    before = ", ".join(f"lag(n, {step}) OVER (bucket)" for step in range(1, neighbours + 1))
    return (
        f"WITH shared AS (SELECT b{band} AS key FROM banded GROUP BY 1 HAVING count(*) > 1 AND bool_or(fresh)) "
        "SELECT later, earlier FROM ("
        f"SELECT n AS later, fresh, unnest([first_value(n) OVER (bucket), {before}]) AS earlier "
        f"FROM banded JOIN shared ON key = b{band} WINDOW bucket AS (PARTITION BY key ORDER BY n)"
        ") WHERE fresh AND earlier < later"
    )


def _estimated(db: duckdb.DuckDBPyConnection, permutations: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunks of the pairs [2, m] in `alike`, each pair once, and the agreement of their signatures [m]."""
    found = db.sql(
        "SELECT later, earlier, x.signature, y.signature FROM (SELECT DISTINCT later, earlier FROM alike) "
        "JOIN entries a ON a.n = later JOIN text_minhash x ON x.sample_id = a.sample_id "
        "JOIN entries b ON b.n = earlier JOIN text_minhash y ON y.sample_id = b.sample_id"
    ).to_arrow_reader(PAIRS)
    for batch in found:
        later, earlier = (batch.column(at).to_numpy() for at in range(2))
        a, b = (cells(batch.column(at), 4 * permutations).view("<u4") for at in (2, 3))
        yield np.stack([later, earlier]), agreement(a, b)


def _exactly(db: duckdb.DuckDBPyConnection, pairs: np.ndarray, threshold: float) -> np.ndarray:
    """Those of the pairs [2, m] whose texts are alike; only these texts are read."""
    wanted = np.unique(pairs)
    db.register("wanted", pa.table({"n": wanted}))
    db.execute(
        "CREATE OR REPLACE TEMP TABLE read AS SELECT n, prompt, text, m.run, m.words "
        "FROM wanted JOIN entries USING (n) JOIN samples USING (sample_id) "
        "JOIN text_minhash m USING (sample_id) ORDER BY n"
    )
    size = db.sql("SELECT words FROM read ORDER BY n").to_arrow_table()["words"].to_numpy()
    pairs = pairs[:, np.lexsort(pairs)]
    taken = np.cumsum(size[np.searchsorted(wanted, pairs)].sum(0)) // WORDS
    chunks = np.split(pairs, np.flatnonzero(np.diff(taken)) + 1, axis=1)
    return np.concatenate([chunk[:, _alike(db, chunk) >= threshold] for chunk in chunks], axis=1)


def _alike(db: duckdb.DuckDBPyConnection, pairs: np.ndarray) -> np.ndarray:
    """The Jaccard index of each pair of `read`: float64 [m]."""
    wanted = np.unique(pairs)
    db.register("wanted", pa.table({"n": wanted}))
    rows = db.sql("SELECT prompt, text, run FROM read SEMI JOIN wanted USING (n) ORDER BY n").to_arrow_table()
    prompts, texts = (rows[name].combine_chunks() for name in ("prompt", "text"))
    hashes, starts = Worded.read(prompts, texts).shingles(rows["run"].to_numpy())
    i, j = np.searchsorted(wanted, pairs)
    return jaccard(hashes, starts, i, j)


def _group(db: duckdb.DuckDBPyConnection, pairs: np.ndarray) -> None:
    """Makes `grouped(n, together)` of the heads that are alike, with what was dropped earlier tied to what it was
    dropped for."""
    ties = db.sql(
        "SELECT a.head, b.head AS other FROM entries a JOIN entries b ON a.rival = b.sample_id "
        "WHERE a.state = 1 AND a.head <> b.head"
    ).to_arrow_table()
    pairs = np.concatenate([pairs, np.stack([column.to_numpy() for column in ties.columns])], axis=1)
    heads, (a, b) = np.unique(pairs, return_inverse=True)
    label = heads[components(len(heads), a, b)]
    db.register("components", pa.table({"n": heads, "together": label}))
    db.execute("CREATE OR REPLACE TEMP TABLE grouped AS SELECT * FROM components")
    db.unregister("components")


_DROPS = """
SELECT sample_id, 'near_duplicate' AS reason, best AS detail FROM (
    SELECT sample_id, state, first_value(sample_id) OVER (
        PARTITION BY coalesce(together, head)
        ORDER BY state = 0 DESC, state = 1, labelled DESC, words DESC, pixels DESC, sample_id) AS best
    FROM entries LEFT JOIN grouped ON grouped.n = head)
WHERE state = 2 AND sample_id <> best
"""
"""The candidates that are not the best of their group. A row kept earlier is; one dropped earlier never is."""
