"""Pictures described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from model import measures
from model.evaluate import nearest_by_pixels
from model.outcome import Asked
from model.tasks.task import AnswerTask, Given, Measure, asked_of, rows

KNOWN = """
SELECT image_id, min_by(text, s.sample_id) AS text FROM samples s JOIN members m USING (sample_id)
WHERE m.split = 'train' AND task = 'caption' AND coalesce(lang, '') = $lang AND text IS NOT NULL AND image_id IS NOT NULL
GROUP BY image_id ORDER BY md5(image_id) LIMIT $most
"""


class Caption(AnswerTask):
    """Describes a picture; beside it stands the text of the training picture that is nearest by its pixels."""

    measures: ClassVar[Mapping[str, Measure]] = {
        "exact": measures.exact,
        "chrf": measures.chrf,
        "bleu": measures.bleu,
        "cider": measures.cider_d,
    }
    baseline: ClassVar[str] = "nearest_pixels"
    neighbours: int = Field(20_000, ge=1, description="Training pictures that the baseline may look at.")

    def items(self, given: Given) -> list[Asked]:
        found = []
        for row in rows(given, self.name()):
            if row["image_id"]:
                one = self.item(row)
                found.append(replace(one, subsets=(*one.subsets, *combination(given, one.expected))))
        return found

    def item(self, row: Mapping[str, Any]) -> Asked:
        return asked_of(row, self.name(), picture=True)

    def trivial(self, asked: Sequence[Asked], given: Given) -> list[str] | None:
        if given.hands.pixels is None:
            return None
        said: dict[int, str] = {}
        for lang in sorted({one.lang for one in asked}):
            places = [place for place, one in enumerate(asked) if one.lang == lang]
            with given.snapshot.connect() as db:
                known = db.sql(KNOWN, params={"lang": lang, "most": self.neighbours}).fetchall()
            if not known:
                said |= dict.fromkeys(places, "")
                continue
            shown = given.hands.pixels([asked[place].image_id for place in places])
            near = nearest_by_pixels(given.hands.pixels([image for image, _ in known]), shown)
            said |= {place: known[at][1] for place, at in zip(places, near.tolist(), strict=True)}
        return [said[place] for place in range(len(asked))] if any(said.values()) else None


def combination(given: Given, text: str) -> tuple[str, ...]:
    """Whether training ever shows what a text tells of; nothing where texts cannot be taken apart."""
    parsed = given.hands.attributes(text) if given.hands.attributes else None
    if not parsed:
        return ()
    return ("unseen combination" if parsed.get("unseen") else "seen combination",)
