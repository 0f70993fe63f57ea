"""Held-out items that leaked into training sources."""

from __future__ import annotations

from typing import ClassVar

import duckdb
from pydantic import Field

from pipeline.asking import decisions
from pipeline.step import Gather, Gathered
from storage.contamination import LEAST_CHARACTERS, says
from storage.views import literal

APART = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Khmer}\p{Lao}\p{Myanmar}])"
"""Scripts without spaces: each letter counts as a word."""
CONTAMINATED, NEAR = "contaminated", "contaminated_text"


class Decontaminate(Gather):
    """Drops a training row whose picture is a held-out one or a near-copy, or whose text is held out, or overlaps.

    Whole texts are compared among rows without a picture only: that two pictures share a caption is no leak. Texts
    overlap where they share a run of `words` words, 13 as in GPT-3 (Brown et al. 2020, appendix C): lower case and
    no punctuation. A held-out text that is shorter, but no shorter than `least_words`, must be contained whole.
    """

    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("groups",)
    guards: ClassVar[bool] = True
    sets: tuple[str, ...] = Field((), description="Held-out sources that are guarded; empty for all of them.")
    min_characters: int = Field(
        LEAST_CHARACTERS,
        ge=1,
        description="Shorter texts, prompt included, are nobody's own. More than 8 leaves some to the snapshot's gate.",
    )
    words: int = Field(13, ge=3, le=100, description="Words in a row that two texts may not share.")
    least_words: int = Field(
        8, ge=3, description="Held-out texts of fewer words are compared whole to whole only."
    )
    captions: bool = Field(
        False, description="Whether texts of rows with a picture are compared by words, too."
    )

    def gather(self, db: duckdb.DuckDBPyConnection) -> Gathered:
        self._guard(db)
        key, comparable = says(self.min_characters)
        judged = (
            "(SELECT sample_id, image_id, prompt, text FROM samples SEMI JOIN candidates USING (sample_id) "
            "WHERE NOT coalesce(held_out, false)) s"
        )
        return Gathered(
            decisions(
                db,
                "SELECT sample_id, min(reason) AS reason, min_by(held, (reason, held)) AS detail FROM ("
                f"SELECT sample_id, held, '{CONTAMINATED}' AS reason FROM {judged} LEFT JOIN groups g USING (image_id) "
                "JOIN guarded_pictures ON picture = coalesce(g.group_id, s.image_id) UNION ALL "
                f"SELECT sample_id, held, '{CONTAMINATED}' FROM {judged} JOIN guarded_texts ON says = {key} "
                f"WHERE {comparable} UNION ALL "
                f"SELECT sample_id, held, '{NEAR}' FROM ({self._overlaps(db, judged)})) GROUP BY sample_id",
            )
        )

    def _guard(self, db: duckdb.DuckDBPyConnection) -> None:
        """Makes `guarded_pictures`, `guarded_texts` and `guarded_words(words, says, held)` of the held-out rows."""
        key, comparable = says(self.min_characters)
        chosen = f"AND source IN ({', '.join(map(literal, self.sets))})" if self.sets else ""
        db.execute(
            "CREATE OR REPLACE TEMP TABLE guarded_pictures AS "
            "SELECT coalesce(g.group_id, s.image_id) AS picture, min(s.sample_id) AS held FROM samples s "
            f"LEFT JOIN groups g USING (image_id) WHERE s.held_out AND s.image_id IS NOT NULL {chosen} GROUP BY 1"
        )
        db.execute(
            f"CREATE OR REPLACE TEMP TABLE guarded_texts AS SELECT {key} AS says, min(sample_id) AS held "
            f"FROM samples WHERE held_out AND {comparable} {chosen} GROUP BY 1"
        )
        held = f"SELECT sample_id, text FROM samples WHERE held_out {chosen} AND {self._worded()}"
        sizes = f"least({self.words}, len(w))"
        db.execute(
            "CREATE OR REPLACE TEMP TABLE guarded_words AS SELECT words, says, min(held) AS held FROM ("
            f"SELECT {sizes} AS words, unnest({runs(sizes)}) AS says, sample_id AS held "
            f"FROM ({split(held)}) WHERE len(w) >= {min(self.least_words, self.words)}) GROUP BY words, says"
        )

    def _worded(self) -> str:
        return f"text IS NOT NULL{'' if self.captions else ' AND image_id IS NULL'}"

    def _overlaps(self, db: duckdb.DuckDBPyConnection, judged: str) -> str:
        """SQL of (sample_id, held): rows that share a run of words.

        Runs of training texts stream past those of the held-out ones, which alone are kept in memory: left to itself,
        DuckDB cannot tell which side of the join is the small one.
        """
        sizes = [row[0] for row in db.sql("SELECT DISTINCT words FROM guarded_words ORDER BY 1").fetchall()]
        texts = split(f"SELECT sample_id, text FROM {judged} WHERE {self._worded()}")
        db.execute("CREATE OR REPLACE TEMP TABLE overlapping (sample_id VARCHAR, held VARCHAR)")
        db.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")
        for size in sizes:
            db.execute(
                "INSERT INTO overlapping SELECT sample_id, held FROM "
                f"(SELECT sample_id, unnest({runs(str(size))}) AS says FROM ({texts}) WHERE len(w) >= {size}) "
                f"JOIN (SELECT says, held FROM guarded_words WHERE words = {size}) USING (says)"
            )
        db.execute("RESET disabled_optimizers")
        return "SELECT sample_id, held FROM overlapping"


def split(texts: str) -> str:
    """SQL of (sample_id, w): the words of a relation's texts, in lower case and without punctuation."""
    apart = f"regexp_replace(lower(nfc_normalize(text)), '{APART}', ' \\1 ', 'g')"
    plain = f"trim(regexp_replace({apart}, '[^\\p{{L}}\\p{{N}}\\p{{M}}]+', ' ', 'g'))"
    return f"SELECT sample_id, string_split({plain}, ' ') AS w FROM ({texts})"


def runs(size: str) -> str:
    """SQL of each run of so many words in `w`, as a number of 64 bits."""
    run = f"md5_number_lower(array_to_string(w[i : i + {size} - 1], ' '))"
    return f"list_distinct(list_transform(range(1, len(w) - {size} + 2), lambda i: {run}))"
