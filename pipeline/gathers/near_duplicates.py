"""The same picture again: re-encoded, resized, brightened or lettered anew, in this corpus or anything ingested before."""

from __future__ import annotations

from typing import ClassVar

import duckdb
import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline import lookalikes
from pipeline.asking import decisions, folded
from pipeline.lookalikes import Likeness, Orientations
from pipeline.matching import components
from pipeline.step import Gather, Gathered, StepError


class NearDuplicates(Gather):
    """Groups near-copies of pictures, drops rows whose picture group, prompt, language and text all agree.

    A picture once grouped stays in its group, and a row once kept stays kept. Of new rows that agree the one
    with the largest original stays. Held-out and training rows are apart: `decontaminate` judges those.
    """

    version: ClassVar[int] = 3
    reads: ClassVar[tuple[str, ...]] = ("perceptual_hash",)
    writes: ClassVar[tuple[str, ...]] = ("groups",)
    radius: int = Field(12, ge=0, le=15, description="Most differing bits of one of the 64-bit hashes.")
    tolerance: float = Field(16.0, ge=0, le=255, description="Most error of the worst cells, in levels.")
    lines: float = Field(0.83, ge=0, le=1, description="Least share of their lines that two copies agree in.")
    relabelled: bool = Field(True, description="Whether the same drawing with other letters is a copy.")
    orientations: Orientations = Field(
        "none", description="Whether mirrored pictures are copies (flip), and turned ones too (all)."
    )
    neighbours: int = Field(512, ge=2, description="Most look-alikes held against a picture, per lookup.")
    prefer: str = Field(
        "",
        pattern=r"^([a-z0-9_]+\.[a-z0-9_]+)?$",
        description="Of equally large originals the one with most of this stays: picture_quality.sharpness …",
    )

    def tables(self) -> tuple[str, ...]:
        return (*self.reads, *filter(None, [self.prefer.partition(".")[0]]))

    def gather(self, db: duckdb.DuckDBPyConnection) -> Gathered:
        groups = self._group(db)
        db.register("fresh_groups", groups)
        return Gathered(decisions(db, _drops(db, self.prefer)), {"groups": groups})

    def _group(self, db: duckdb.DuckDBPyConnection) -> pa.Table:
        """Rows of `groups` for the pictures that have none."""
        what = Likeness(**self.model_dump(include=set(Likeness.__dataclass_fields__)))
        old, total = lookalikes.number(db)
        found = [np.empty((2, 0), np.int64), *lookalikes.same_pictures(db, old, what)]
        leader = _leaders(total, old, *np.concatenate(found, axis=1))
        db.register("leaders", pa.table({"n": np.arange(old, total), "leader": leader[old:]}))
        return db.sql(
            "SELECT p.image_id, coalesce(first.group_id, first.image_id) AS group_id FROM leaders "
            "JOIN pictures p USING (n) JOIN pictures first ON first.n = leader ORDER BY p.image_id"
        ).to_arrow_table()


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


def _drops(db: duckdb.DuckDBPyConnection, prefer: str) -> str:
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
    score, join = _preferred(db, prefer)
    return (
        "SELECT sample_id, 'duplicate' AS reason, best AS detail FROM ("
        "SELECT sample_id, stays, first_value(sample_id) OVER (PARTITION BY says ORDER BY stays DESC, "
        f"labelled DESC, coalesce(original_width::BIGINT * original_height, 0) DESC, {score}sample_id) AS best "
        f"FROM said LEFT JOIN images USING (image_id) {join}"
        "WHERE says IN (SELECT says FROM said GROUP BY says HAVING count(*) > 1)"
        ") WHERE sample_id <> best AND NOT stays"
    )


def _preferred(db: duckdb.DuckDBPyConnection, prefer: str) -> tuple[str, str]:
    """A term of ORDER BY for the signal that is preferred, and the JOIN that it needs.

    Raises:
        StepError: no annotator of that name has made it.
    """
    if not prefer:
        return "", ""
    table, column = prefer.split(".")
    try:
        names = db.sql(f'SELECT * FROM "{table}" LIMIT 0').columns
    except duckdb.CatalogException:
        names = []
    if column not in names:
        raise StepError(
            f'prefer = "{prefer}": there is no such signal; add [[annotators]] use = "annotators.{table}"'
        )
    key = "image_id" if "image_id" in names else "sample_id"
    return f'preferred."{column}" DESC NULLS LAST, ', f'LEFT JOIN "{table}" preferred USING ({key}) '
