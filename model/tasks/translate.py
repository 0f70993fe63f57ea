"""Texts from one language into another, both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from model import measures, templates
from model.outcome import Asked
from model.tasks.task import AnswerTask, Given, Measure

ASKED = """
WITH held AS (
    SELECT s.* FROM samples s JOIN members m USING (sample_id) WHERE m.split = $split AND s.text IS NOT NULL),
known AS (
    SELECT DISTINCT text FROM samples JOIN members m USING (sample_id) WHERE m.split = 'train'),
told AS (
    SELECT text, min(lang) AS lang FROM held WHERE task <> 'translate' AND lang IS NOT NULL
    GROUP BY text HAVING count(DISTINCT lang) = 1),
captions AS (
    SELECT image_id, lang, min_by(sample_id, sample_id) AS sample_id, min_by(text, sample_id) AS text,
           min_by(source, sample_id) AS source, min_by(label, sample_id) AS label
    FROM held WHERE task = 'caption' AND image_id IS NOT NULL AND lang IS NOT NULL GROUP BY image_id, lang),
pairs AS (
    SELECT s.sample_id, NULL AS prompt_id, coalesce(told.lang, '') AS from_lang, coalesce(s.lang, '') AS lang, s.prompt,
           s.text AS expected, s.source, s.label
    FROM held s LEFT JOIN told ON told.text = s.prompt WHERE s.task = 'translate' AND s.prompt IS NOT NULL
    UNION ALL
    SELECT b.sample_id, a.sample_id, a.lang, b.lang, a.text, b.text, b.source, b.label
    FROM captions a JOIN captions b USING (image_id) WHERE $captions AND a.lang <> b.lang
      AND ($hub NOT IN (SELECT lang FROM captions) OR $hub IN (a.lang, b.lang)))
SELECT p.*, coalesce(p.label, '') AS label, known.text IS NOT NULL AS seen
FROM pairs p LEFT JOIN known ON known.text = p.expected
QUALIFY row_number() OVER (PARTITION BY from_lang, lang ORDER BY md5(sample_id || coalesce(prompt_id, ''))) <= $most
ORDER BY sample_id, from_lang
"""


class Translate(AnswerTask):
    """Translates, by pair of languages; captions of one picture in two languages are each other's translation. Beside it
    stands the source, copied."""

    measures: ClassVar[Mapping[str, Measure]] = {
        "exact": measures.exact,
        "chrf": measures.chrf,
        "chrf++": measures.chrf_plus,
        "bleu": measures.bleu,
    }
    baseline: ClassVar[str] = "copy"
    captions: bool = Field(True, description="Whether captions of one picture are translated, too.")
    hub: str = Field("en", description="Captions are translated from and into this language, if any has it.")

    def items(self, given: Given) -> list[Asked]:
        asked = {
            "split": given.split,
            "most": given.most,
            "captions": self.captions,
            "hub": self.hub,
        }
        with given.snapshot.connect() as db:
            found = db.sql(ASKED, params=asked).to_arrow_table().to_pylist()
        return [self.item(row) for row in found]

    def item(self, row: Mapping[str, Any]) -> Asked:
        pair = f"{row['from_lang'] or '?'}→{row['lang'] or '?'}"
        facets = {name: row[name] for name in ("source", "label") if row[name]}
        return Asked(
            row["sample_id"],
            row["lang"],
            row["expected"],
            row["prompt"],
            part=pair,
            prompt_id=row["prompt_id"] or "",
            subsets=(pair, "seen text" if row["seen"] else "new text"),
            facets=facets,
            task=self.name(),
        )

    def trivial(self, asked: Sequence[Asked], given: Given) -> list[str] | None:
        return [one.prompt for one in asked]

    def words(self, asked: Asked) -> str:
        """The template that the command line and the server know, too."""
        source = asked.part.partition("→")[0]
        return templates.translation(asked.prompt, templates.name_of(source), templates.name_of(asked.lang))
