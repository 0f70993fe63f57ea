"""Pictures drawn from words."""

from __future__ import annotations

from dataclasses import replace
from hashlib import md5

import numpy as np
from pydantic import Field

from model.evaluate import Score
from model.frechet import frechet
from model.judge import Judge
from model.measures import Counted, mean
from model.outcome import ALL, Asked, Outcome
from model.png import data_url, png
from model.tasks.caption import combination
from model.tasks.task import Given, Task, asked_of, rows

AGREEMENT = "agreement"
CLIP = 100
"""What the cosine of picture and text is multiplied by."""


class TextToImage(Task):
    """Draws held-out captions. An independent judge says whether all that it can tell is as the caption says; features of the
    judge's last hidden layer give a Fréchet distance to the real pictures; an image-text model says how well pictures go with
    their captions. Beside it stand pictures that were drawn for another caption; real ones are scored, too: the ceiling."""

    drawn: int = Field(200, ge=2, description="Pictures to be drawn.")
    lang: str = Field("en", description="Language of the captions.")

    def run(self, given: Given) -> Outcome | None:
        hands = given.hands
        if hands.draw is None or hands.pixels is None:
            return None
        judged: Judge | None = hands.judge() if hands.judge else None
        asked = self.items(given)
        if len(asked) < 2:
            return None
        drawn = hands.draw([(one.lang, one.expected) for one in asked])
        real = hands.pixels([one.image_id for one in asked])
        found: dict[str, Counted] = {}
        beside: dict[str, Counted] = {}
        further: list[Score] = []
        if judged and hands.attributes:
            agrees = [agreement(judged, shown, asked, given) for shown in (drawn, np.roll(drawn, 1, 0), real)]
            found[AGREEMENT], beside[AGREEMENT], found[f"real_{AGREEMENT}"] = agrees
            further = self.distances(judged, drawn, real)
        if hands.alike:
            texts = [one.expected for one in asked]
            alike = [clip(hands.alike(list(shown), texts)) for shown in (drawn, np.roll(drawn, 1, 0), real)]
            found["clip_score"], beside["clip_score"], found["real_clip_score"] = alike
        if not found:
            return None
        said = [data_url(png(one)) for one in drawn]
        return Outcome(self.name(), asked, said, found, "shuffled", beside, further=further)

    def items(self, given: Given) -> list[Asked]:
        """The first caption of each of some pictures; only such as can be taken apart, if any can. The judge learns from
        held-out pictures, too: from those that come after these in the order of their ids' hashes."""
        found, shown = [], set[str]()
        for row in rows(given.wide(), "caption"):
            if row["lang"] != self.lang or not row["image_id"] or row["image_id"] in shown:
                continue
            if given.hands.attributes and given.hands.attributes(row["expected"]) is None:
                continue
            shown.add(row["image_id"])
            one = asked_of(row, self.name(), picture=True)
            found.append(replace(one, subsets=combination(given, one.expected)))
        return sorted(found, key=lambda one: place(one.image_id))[: self.drawn]

    def distances(self, judged: Judge, drawn: np.ndarray, real: np.ndarray) -> list[Score]:
        """Drawn pictures to real ones, and one half of the real ones to the other: as near as so few can come."""
        features, true = judged.features(drawn), judged.features(real)
        half = len(real) // 2
        apart = {
            "judge_frechet": frechet(features, true),
            "judge_frechet_halves": frechet(features[:half], true[half:][:half]),
            "real_judge_frechet_halves": frechet(true[:half], true[half:][:half]),
        }
        nan = float("nan")
        return [
            Score(self.name(), metric, ALL, value, nan, nan, len(real)) for metric, value in apart.items()
        ]


def agreement(judged: Judge, shown: np.ndarray, asked: list[Asked], given: Given) -> Counted:
    """Whether the judge finds all that it can tell in pictures as the captions say."""
    assert given.hands.attributes is not None
    wanted = [given.hands.attributes(one.expected) or {} for one in asked]
    names = sorted({place.rsplit(" ", 1)[0] for place in judged.classes})
    return mean(np.logical_and.reduce([judged.agrees(shown, wanted, name) for name in names]))


def clip(cosines: np.ndarray) -> Counted:
    """CLIP score (Hessel et al. 2021, arXiv 2104.08718), as the usual 0 to 100."""
    return mean(np.maximum(cosines, 0) * CLIP)


def place(image_id: str) -> str:
    """What pictures are put in order by, as DuckDB's md5 does."""
    return md5(image_id.encode(), usedforsecurity=False).hexdigest()
