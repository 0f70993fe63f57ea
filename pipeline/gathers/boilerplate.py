"""Captions that belong to the site, not to the picture: the same words under many different pictures."""

from __future__ import annotations

from typing import ClassVar

import duckdb
from pydantic import Field

from pipeline.asking import decisions, folded
from pipeline.step import Gather, Gathered

FAMILIES = (
    r"(img|dsc|dscn|dscf|pxl|image|photo|picture|pic|screenshot|untitled|file|scan|bild|foto)[ _\-]*\d*( ?\(\d+\))?(\.(jpe?g|png|gif|webp|bmp|tiff?))?",
    r"[\w\-]+\.(jpe?g|png|gif|webp|bmp|tiff?)",
    r"(stock|royalty[- ]free) (photo|image|picture|illustration|vector)s?\b.*",
    r".*\b(all rights reserved|image (coming soon|not available|unavailable)|no image available|click to (enlarge|zoom)).*",
    r"(image|photo|picture) may contain:.*",
    r"(no|default|placeholder|image|alt)([ _\-](caption|description|image|text|placeholder))+",
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
            "CREATE OR REPLACE TEMP TABLE worn AS SELECT says, count(DISTINCT picture) AS pictures FROM captioned "
            "GROUP BY says HAVING count(DISTINCT picture) >= greatest(?, ? * (SELECT count(DISTINCT picture) FROM captioned))",
            [self.pictures, self.share],
        )
        written = " OR ".join(
            f"regexp_full_match(says, '{f.replace(chr(39), chr(39) * 2)}')" for f in self.families
        )
        return Gathered(
            decisions(
                db,
                "SELECT sample_id, 'boilerplate' AS reason, "
                "CASE WHEN pictures IS NULL THEN 'template' ELSE 'on ' || pictures || ' pictures' END AS detail "
                "FROM captioned JOIN candidates USING (sample_id) LEFT JOIN worn USING (says) "
                f"WHERE pictures IS NOT NULL OR {written or 'false'}",
            )
        )
