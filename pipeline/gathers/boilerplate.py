"""Captions that belong to the site, not to the picture: the same words under many different pictures."""

from __future__ import annotations

from typing import ClassVar

import duckdb
from pydantic import Field

from pipeline.asking import decisions, folded
from pipeline.step import Gather, Gathered

ENDING = r"(\.(jpe?g|png|gif|webp|bmp|tiff?|svg))"
FAMILIES = (
    # what a camera or a program called the file
    r"(img|dsc|dscn|dscf|pxl|image|photo|picture|pic|screenshot|screen shot|untitled|file|scan|bild|foto"
    r"|imagen?|图片|照片)"
    r"[ _\-]*[\d_\-]*( ?\(\d+\))?" + ENDING + "?",
    r"[\w\-]+" + ENDING,
    # what stands where a description should
    r"(thumbnail|logo|icon|banner|avatar|spacer|null|none|n/a|caption|description|alt text|placeholder)",
    r"ohne titel|sans titre|sin título",
    r"(no|default|placeholder|sample|insert) (image|photo|picture|caption|description|title|text|alt text)"
    r"( here| provided| available| found| text)*",
    r"(this )?(image|photo|picture) (may contain|contains|might contain)\b.*",
    r"(image|photo|picture) (coming soon|not available|unavailable|not found)",
    # what a site says
    r"(stock|royalty[- ]free|free stock) (photo|image|picture|illustration|vector|footage)s?\b.*",
    r"(click|tap)( here)?( on)?( the)?( image| photo)? (to|for) (enlarge|zoom|view|a larger|full)\b.*",
    r"((copyright|©|\(c\)).{0,60}|.{0,60}\ball rights reserved)",
)
"""What a caption as a whole may look like when nobody wrote it, folded to lower case."""


class Boilerplate(Gather):
    """Drops captions that stand under suspiciously many different pictures, or that nobody wrote."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("groups",)
    pictures: int = Field(
        20, ge=2, description="Different pictures under which a caption becomes suspicious …"
    )
    share: float = Field(
        0.003, ge=0, le=1, description="… if they are also this share of all captioned pictures."
    )
    families: tuple[str, ...] = Field(FAMILIES, description="Regular expressions (RE2) of whole captions.")
    task: str = Field("caption", description="Task that is judged.")

    def gather(self, db: duckdb.DuckDBPyConnection) -> Gathered:
        db.execute(
            "CREATE OR REPLACE TEMP TABLE captioned AS SELECT sample_id, "
            f"{folded('text')} AS says, coalesce(g.group_id, s.image_id) AS picture "
            "FROM samples s LEFT JOIN groups g USING (image_id) "
            "WHERE task = ? AND s.image_id IS NOT NULL AND text IS NOT NULL",
            [self.task],
        )
        db.execute(
            "CREATE OR REPLACE TEMP TABLE worn AS SELECT says, count(DISTINCT picture) AS pictures "
            "FROM captioned GROUP BY says HAVING pictures >= "
            "greatest(?, ? * (SELECT count(DISTINCT picture) FROM captioned))",
            [self.pictures, self.share],
        )
        return Gathered(decisions(db, self._drops()))

    def _drops(self) -> str:
        families = [family.replace("'", "''") for family in self.families]
        unwritten = " OR ".join(f"regexp_full_match(says, '{family}')" for family in families) or "false"
        return (
            "SELECT sample_id, 'boilerplate' AS reason, "
            "CASE WHEN pictures IS NULL THEN 'template' ELSE 'on ' || pictures || ' pictures' END AS detail "
            "FROM captioned JOIN candidates USING (sample_id) LEFT JOIN worn USING (says) "
            f"WHERE pictures IS NOT NULL OR {unwritten}"
        )
