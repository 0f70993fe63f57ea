"""The texts that fit their pictures worst: a share of each source and language."""

from __future__ import annotations

from typing import ClassVar

import duckdb
from pydantic import Field

from pipeline.asking import decisions
from pipeline.step import Gather, Gathered


class LowestScores(Gather):
    """Drops the lowest share of image-text scores of every source and language.

    A row is ranked among all that ever came this far; those that were kept before stay. So do held-out rows, and those
    without a score (null or NaN): they are not counted.
    """

    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("image_text_score",)
    share: float = Field(0.1, gt=0, lt=1, description="Share that goes, of each source and language.")

    def gather(self, db: duckdb.DuckDBPyConnection) -> Gathered:
        return Gathered(
            decisions(
                db,
                "WITH asked AS (SELECT sample_id, true AS fresh FROM candidates UNION ALL "
                f"SELECT sample_id, false FROM decisions WHERE stage = '{self.name()}'), ranked AS ("
                "SELECT sample_id, fresh, row_number() OVER (PARTITION BY source, lang ORDER BY score, sample_id) "
                "AS place, count(*) OVER (PARTITION BY source, lang) AS many "
                "FROM asked JOIN samples USING (sample_id) JOIN image_text_score USING (sample_id) "
                "WHERE NOT isnan(score) AND NOT coalesce(held_out, false)) "
                "SELECT sample_id, 'mismatched' AS reason, NULL::VARCHAR AS detail "
                f"FROM ranked WHERE fresh AND place <= floor(many * {self.share})",
            )
        )
