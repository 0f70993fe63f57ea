"""Pictures that show nearly the same as another one, by the vectors of an image-text model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import duckdb
import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline import clusters, vectors
from pipeline.asking import decisions
from pipeline.matching import components
from pipeline.step import Gather, Gathered, StepError

AUTO = 1000
"""Items of a cluster, on average, where nobody says how many clusters there are."""
PER_CLUSTER = 64
"""Vectors for each centroid that the clusters are fitted on, drawn by the hash of their ids …"""
MOST_FITTED = 100_000
"""… and at most so many in all: 200 MB of 512 numbers each."""
PAGE = 8192
"""Rows read at once."""


class SemanticDuplicates(Gather):
    """Drops rows whose pictures are, to an image-text model, nearly those of other rows.

    Abbas et al., "SemDeDup", 2023 (arXiv 2303.09540): vectors are put into clusters, and within each cluster those are
    duplicates whose cosine is at least 1 - `epsilon`. Here each vector goes into its `probes` nearest clusters, so that
    few pairs are parted by a border. Clusters do not know of each other: they may be asked on different machines, and
    one at a time is in memory. Of what hangs together stays what was kept before; else what is labelled, then the one with
    the largest original. Held-out rows are left alone.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("image_embeddings",)
    epsilon: float = Field(0.05, gt=0, lt=1, description="Most distance of duplicates, 1 - cosine.")
    text: bool = Field(
        False, description="Judge row by row, and only rows whose texts are as near as their pictures."
    )
    clusters: int = Field(0, ge=0, le=1 << 20, description="How many; 0 for one in a thousand items.")
    probes: int = Field(2, ge=1, le=64, description="Clusters that each item is looked for in.")
    seed: int = Field(0, ge=0, description="Of the first centroids and of the batches that move them.")

    def tables(self) -> tuple[str, ...]:
        return (*self.reads, *(("text_embeddings",) if self.text else ()))

    def gather(self, db: duckdb.DuckDBPyConnection) -> Gathered:
        """Raises StepError if texts shall count and have no vectors."""
        items = self._list(db)
        if items:
            count = min(items, self.clusters or -(-items // AUTO))
            self._spread(db, _fitted(db, count, self.seed))
            pairs = np.concatenate([np.empty((2, 0), np.int64), *self._pairs(db)], axis=1)
            label = components(items, *pairs)
            db.register("labels", pa.table({"n": np.arange(items), "together": label}))
            db.execute("CREATE OR REPLACE TEMP TABLE grouped AS SELECT * FROM labels")
            db.unregister("labels")
        else:
            db.execute("CREATE OR REPLACE TEMP TABLE grouped (n BIGINT, together BIGINT)")
        return Gathered(decisions(db, _DROPS.format(join="sample_id" if self.text else "image_id")))

    def _list(self, db: duckdb.DuckDBPyConnection) -> int:
        """Makes `items(n, image_id, sample_id, fresh, …)`: pictures, or rows if texts count; returns how many."""
        known = "SELECT 1 FROM information_schema.tables WHERE table_name = 'text_embeddings'"
        if self.text and not db.sql(known).fetchall():
            raise StepError(
                f'{self.module()} text = true: add [[annotators]] use = "annotators.text_embeddings"'
            )
        told = "JOIN text_embeddings t USING (sample_id)" if self.text else ""
        where = "AND t.embedding IS NOT NULL" if self.text else ""
        db.execute(
            "CREATE OR REPLACE TEMP TABLE asked AS SELECT s.sample_id, s.image_id, a.fresh, "
            "s.label IS NOT NULL AS labelled, coalesce(i.original_width::BIGINT * i.original_height, 0) AS pixels "
            "FROM (SELECT sample_id, true AS fresh FROM candidates UNION ALL "
            "SELECT sample_id, false FROM incumbents) a JOIN samples s USING (sample_id) "
            f"JOIN image_embeddings e USING (image_id) LEFT JOIN images i USING (image_id) {told} "
            f"WHERE NOT coalesce(s.held_out, false) AND e.embedding IS NOT NULL {where}"
        )
        key = "sample_id" if self.text else "image_id"
        db.execute(
            "CREATE OR REPLACE TEMP TABLE items AS SELECT *, "
            "row_number() OVER (ORDER BY fresh, labelled DESC, pixels DESC, key) - 1 AS n FROM ("
            f"SELECT {key} AS key, any_value(image_id) AS image_id, bool_and(fresh) AS fresh, "
            f"bool_or(labelled) AS labelled, any_value(pixels) AS pixels FROM asked GROUP BY {key})"
        )
        [(many,)] = db.sql("SELECT count(*) FROM items").fetchall()
        return int(many)

    def _spread(self, db: duckdb.DuckDBPyConnection, centroids: np.ndarray) -> None:
        """Makes `spread(cluster, n)`, reading a page of vectors at a time."""
        reader = db.sql(
            "SELECT n, embedding FROM items JOIN image_embeddings USING (image_id)"
        ).to_arrow_reader(PAGE)
        found = []
        for page in reader:
            near = clusters.nearest(vectors.matrix(page["embedding"])[0], centroids, self.probes)
            n = np.repeat(page["n"].to_numpy(), near.shape[1])
            found.append(pa.table({"cluster": near.reshape(-1).astype(np.int32), "n": n}))
        db.register("pages", pa.concat_tables(found))
        db.execute("CREATE OR REPLACE TEMP TABLE spread AS SELECT cluster, n FROM pages")
        db.unregister("pages")

    def _pairs(self, db: duckdb.DuckDBPyConnection) -> Iterator[np.ndarray]:
        """Pairs [2, m] of items and the first of those they hang together with, cluster by cluster; ones without a new item
        are left out."""
        asked = db.sql(
            "SELECT cluster FROM spread JOIN items USING (n) GROUP BY 1 HAVING bool_or(fresh) AND count(*) > 1 ORDER BY 1"
        ).fetchall()
        told = "JOIN text_embeddings t ON t.sample_id = items.key" if self.text else ""
        columns = "e.embedding, t.embedding AS said" if self.text else "e.embedding"
        for (cluster,) in asked:
            rows = db.sql(
                f"SELECT n, fresh, {columns} FROM spread JOIN items USING (n) "
                f"JOIN image_embeddings e USING (image_id) {told} WHERE cluster = ? ORDER BY n",
                params=[cluster],
            ).to_arrow_table()
            sides = [vectors.matrix(rows[name])[0] for name in rows.column_names[2:]]
            n, fresh = rows["n"].to_numpy(), rows["fresh"].to_numpy()
            first = clusters.together(sides, fresh, 1 - self.epsilon)
            later = np.flatnonzero(first != np.arange(len(first)))
            yield n[np.stack([later, first[later]])]


def _fitted(db: duckdb.DuckDBPyConnection, count: int, seed: int) -> np.ndarray:
    most = max(count, min(PER_CLUSTER * count, MOST_FITTED))
    drawn = db.sql(
        "SELECT embedding FROM (SELECT n, image_id, key FROM items ORDER BY md5(key) LIMIT ?) "
        "JOIN image_embeddings USING (image_id) ORDER BY md5(key)",
        params=[most],
    ).to_arrow_table()
    return clusters.fit(vectors.matrix(drawn["embedding"])[0], count, seed)


_DROPS = """
SELECT sample_id, 'semantic_duplicate' AS reason, best.key AS detail
FROM candidates JOIN asked USING (sample_id) JOIN items ON items.key = asked.{join}
JOIN grouped ON grouped.n = items.n JOIN items best ON best.n = grouped.together
WHERE items.fresh AND items.n <> best.n
"""
"""Items are numbered in the order in which they are preferred: the first of a group is its best."""
