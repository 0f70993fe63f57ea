"""Held-out items that leaked into training sources."""

from __future__ import annotations

from typing import ClassVar

import duckdb
from pydantic import Field

from pipeline.asking import decisions, folded
from pipeline.step import Gather, Gathered


class Decontaminate(Gather):
    """Drops a training row whose picture is a held-out one or a near-copy, or whose text is a held-out text.

    Texts are compared among rows without a picture only: that two pictures share a caption is no leak.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("groups",)
    min_characters: int = Field(8, ge=1, description="Shorter texts, prompt included, are nobody's own.")

    def gather(self, db: duckdb.DuckDBPyConnection) -> Gathered:
        key = f"concat_ws(chr(31), coalesce({folded('prompt')}, ''), {folded('text')})"
        db.execute(
            "CREATE OR REPLACE TEMP TABLE guarded_pictures AS "
            "SELECT coalesce(g.group_id, s.image_id) AS picture, min(s.sample_id) AS held FROM samples s "
            "LEFT JOIN groups g USING (image_id) WHERE s.held_out AND s.image_id IS NOT NULL GROUP BY 1"
        )
        db.execute(
            f"CREATE OR REPLACE TEMP TABLE guarded_texts AS SELECT md5_number({key}) AS says, "
            "min(sample_id) AS held FROM samples WHERE held_out AND image_id IS NULL AND text IS NOT NULL "
            f"AND length({key}) > {self.min_characters} GROUP BY 1"
        )
        judged = (
            "(SELECT sample_id, image_id, prompt, text FROM samples SEMI JOIN candidates USING (sample_id) "
            "WHERE NOT coalesce(held_out, false)) s"
        )
        return Gathered(
            decisions(
                db,
                "SELECT sample_id, 'contaminated' AS reason, min(held) AS detail FROM ("
                f"SELECT sample_id, held FROM {judged} LEFT JOIN groups g USING (image_id) "
                "JOIN guarded_pictures ON picture = coalesce(g.group_id, s.image_id) UNION ALL "
                f"SELECT sample_id, held FROM {judged} JOIN guarded_texts ON says = md5_number({key}) "
                "WHERE image_id IS NULL AND text IS NOT NULL) GROUP BY 1",
            )
        )
