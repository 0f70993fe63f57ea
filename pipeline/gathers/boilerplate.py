"""Captions that belong to the site, not to the picture: the same words under many different pictures."""

from __future__ import annotations

from typing import ClassVar

import duckdb
from pydantic import Field

from pipeline.asking import decisions, folded
from pipeline.step import Gather, Gathered

MONTH = (
    r"(jan(uary|uar|vier|eiro)?|feb(ruary|ruar)?|f[ée]vr(ier|\.)?|fev(ereiro)?|mar(ch|s|zo|ço|ca)?|märz|apr(il|\.)?|avril|abril"
    r"|aprile|may|mai|mayo|maio|maggio|maja|june?|juin|juni|junio|junho|giugno|july?|juil(let)?|juli|julio|julho|luglio"
    r"|aug(ust)?|août|agosto|sept?(ember|embre|iembre)?|settembre|setembro|o[ck]t(ober|obre|ubre)?|ottobre|outubro"
    r"|nov(ember|embre|iembre|embro)?|d[eé][czs](ember|embre|iembre|embro)?|dicembre|enero|febrero|gennaio|febbraio|stycznia"
    r"|lutego|kwietnia|czerwca|lipca|sierpnia|września|października|listopada|grudnia|января|февраля|марта|апреля|мая|июня"
    r"|июля|августа|сентября|октября|ноября|декабря)\.?"
)
WEEKDAY = (
    r"((mon|tues?|wed(nes)?|thu(rs)?|fri|sat(ur)?|sun)(day)?|(mon|diens|donners|frei|sams|sonn)tag|mittwoch"
    r"|lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche|lunes|martes|mi[ée]rcoles|jueves|viernes|s[áa]bado|domingo)"
)
TH = r"(st|nd|rd|th|er|\.|º|ª)?"
TIME = (
    r"([ t,]*(at |à |um |a las |alle |o |às )?\d{1,2}[:.h]\d{2}([:.]\d{2})?([.,]\d+)? ?"
    r"(am|pm|a\.m\.|p\.m|uhr|z|utc|gmt|[+-]\d{2}:?\d{2})?)?"
)
DATES = (
    r"(\d{4}[-./_ ]\d{1,2}[-./_ ]\d{1,2}|\d{1,2}[-./_ ]\d{1,2}[-./_ ](\d{4}|\d{2})|(19|20)\d{2}[01]\d[0-3]\d)"
    + TIME,
    rf"({WEEKDAY},? )?(the )?\d{{1,2}}{TH} ?(of |de )?{MONTH},?( (de |del )?\d{{4}})?" + TIME,
    rf"({WEEKDAY},? )?{MONTH} \d{{1,2}}{TH}(,? \d{{4}})?" + TIME,
    rf"{MONTH},?( de)? \d{{4}}",
    r"\d{4} ?年( ?\d{1,2} ?月)?( ?\d{1,2} ?[日号])?[ ,]*(\d{1,2}[:时時点]\d{1,2}([:分]\d{1,2})?[分秒]?)?",
)
"""Captions that are a date, and perhaps a time, and nothing else: in digits, or in one of nine languages."""
ENDING = r"(\.(jpe?g|png|gif|webp|bmp|tiff?|svg))"
FAMILIES = (
    # what a camera or a program called the file
    r"(img|dsc|dscn|dscf|pxl|image|photo|picture|pic|screenshot|screen shot|untitled|file|scan|bild|foto"
    r"|imagen?|图片|照片)"
    r"[ _\-]*[\d_\-]*( ?\(\d+\))?" + ENDING + "?",
    r"[\w\-]+" + ENDING,
    *DATES,
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


FRAMED = """
CREATE OR REPLACE TEMP TABLE framed AS
WITH words AS (
    SELECT DISTINCT says, string_split(says, ' ') AS word FROM captioned WHERE len(string_split(says, ' ')) BETWEEN 3 AND 10),
frames AS (
    SELECT says, hash(list_transform(word, lambda x, i: CASE WHEN i = blank THEN '' ELSE x END)) AS frame
    FROM words, unnest(range(1, len(word) + 1)) AS t(blank)
    UNION ALL
    SELECT says, hash(['', regexp_replace(says, '\\d+', '', 'g')]) FROM words WHERE regexp_matches(says, '\\d')),
worn AS (
    SELECT frame, count(DISTINCT picture) AS pictures FROM frames JOIN captioned USING (says) GROUP BY frame
    HAVING pictures >= greatest(?, ? * (SELECT count(DISTINCT picture) FROM captioned))
       AND count(DISTINCT says) >= ? * pictures)
SELECT says, max(pictures) AS pictures FROM frames JOIN worn USING (frame) GROUP BY says
"""
"""Captions of three to ten words that are equal but for one word, or for their numbers, which nearly always differs."""


class Boilerplate(Gather):
    """Drops captions that stand under suspiciously many different pictures, alike but for a word, or that nobody wrote."""

    version: ClassVar[int] = 2
    pictures: int = Field(
        20, ge=2, description="Different pictures under which a caption becomes suspicious …"
    )
    share: float = Field(
        0.003, ge=0, le=1, description="… if they are also this share of all captioned pictures."
    )
    frames: bool = Field(
        True, description='Judge captions that differ in one word, or in their numbers, as one: "Buy … here".'
    )
    frame_variety: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Such captions are suspicious if so many of their pictures differ in that word.",
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
        share = self.share if self.frames else 2.0  # of all pictures: never reached
        db.execute(FRAMED, [self.pictures, share, self.frame_variety])
        return Gathered(decisions(db, self._drops()))

    def _drops(self) -> str:
        families = [family.replace("'", "''") for family in self.families]
        unwritten = " OR ".join(f"regexp_full_match(says, '{family}')" for family in families) or "false"
        return (
            "SELECT sample_id, 'boilerplate' AS reason, "
            "CASE WHEN worn.pictures IS NOT NULL THEN 'on ' || worn.pictures || ' pictures' "
            "WHEN framed.pictures IS NOT NULL THEN 'but for a word on ' || framed.pictures || ' pictures' "
            "ELSE 'template' END AS detail "
            "FROM captioned JOIN candidates USING (sample_id) LEFT JOIN worn USING (says) LEFT JOIN framed USING (says) "
            f"WHERE worn.pictures IS NOT NULL OR framed.pictures IS NOT NULL OR {unwritten}"
        )
