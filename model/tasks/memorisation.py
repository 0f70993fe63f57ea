"""Outputs that nearly repeat what training showed."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from pydantic import Field
from rapidfuzz import fuzz, process

from model.evaluate import nearest_by_pixels
from model.measures import Counted, mean
from model.outcome import Asked, Outcome
from model.png import data_url, png
from model.tasks.task import Given, Task, answered

KNOWN = """
SELECT text, min(s.sample_id) FROM samples s JOIN members m USING (sample_id)
WHERE m.split = 'train' AND length(text) >= $least GROUP BY text ORDER BY md5(text) LIMIT $most
"""
PICTURES = """
SELECT image_id, min(s.sample_id) FROM samples s JOIN members m USING (sample_id)
WHERE m.split = 'train' AND image_id IS NOT NULL GROUP BY image_id ORDER BY md5(image_id) LIMIT $most
"""


class Memorisation(Task):
    """The share of outputs, texts of other tasks and drawn pictures, that nearly repeat one of the training rows that are
    looked at; beside it stands the share of what would have been right: a corpus that repeats itself makes repeats right."""

    after = True
    likeness: float = Field(
        0.9, gt=0, le=1, description="Share of letters from which on a text repeats another."
    )
    least: int = Field(20, ge=1, description="Shorter texts are nobody's own, in characters.")
    known: int = Field(20_000, ge=1, description="Different training texts that are looked at.")
    texts: int = Field(1_000, ge=1, description="Outputs that are looked at, at most.")
    pictures: int = Field(50, ge=0, description="Pictures that are drawn and looked at.")
    shown: int = Field(5_000, ge=1, description="Training pictures that are looked at.")
    difference: float = Field(
        3.0, ge=0, description="Mean difference of a repeated picture's pixels, of 255."
    )

    def run(self, given: Given) -> Outcome | None:
        told = [(a, said) for a, said in answered(given) if max(len(a.expected), len(said)) >= self.least]
        order = np.random.Generator(np.random.Philox(0)).permutation(len(told))[: self.texts]
        told = [told[at] for at in sorted(order.tolist())]
        with given.snapshot.connect() as db:
            known = dict(db.sql(KNOWN, params={"least": self.least, "most": self.known}).fetchall())
        asked, said, found, beside = list[Asked](), list[str](), dict[str, Counted](), dict[str, Counted]()
        if told and known:
            asked, said = [one for one, _ in told], [said for _, said in told]
            found["repeats"] = mean(self.repeats(said, known))
            beside["repeats"] = mean(self.repeats([one.expected for one in asked], known))
        if not asked:
            return None
        parts = self.drawn(given)
        asked = [Asked(a.sample_id, a.lang, a.expected, part=f"{a.task} {a.part}".strip()) for a in asked]
        return Outcome(self.name(), asked, said, found, "references", beside, parts=parts)

    def repeats(self, texts: Sequence[str], known: dict[str, str]) -> list[bool]:
        """Whether each text is that of a training row, or nearly."""
        folded = {fold(text) for text in known}
        choices = sorted(folded)
        seen: dict[str, bool] = {}
        for text in map(fold, texts):
            if text not in seen:
                near = text in folded or process.extractOne(
                    text, choices, scorer=fuzz.ratio, score_cutoff=100 * self.likeness
                )
                seen[text] = bool(near) and len(text) >= self.least
        return [seen[fold(text)] for text in texts]

    def drawn(self, given: Given) -> list[Outcome]:
        """The shares of drawn and of held-out pictures that nearly repeat a training picture."""
        hands, outcome = given.hands, given.done.get("caption")
        if hands.draw is None or hands.pixels is None or outcome is None or not self.pictures:
            return []
        shown = list({one.image_id: one for one in outcome.asked if one.image_id}.values())[: self.pictures]
        with given.snapshot.connect() as db:
            rows = db.sql(PICTURES, params={"most": self.shown}).fetchall()
        if not shown or not rows:
            return []
        known = self.seen([image_id for image_id, _ in rows], given)
        made = hands.draw([(one.lang, one.expected) for one in shown])
        real = self.seen([one.image_id for one in shown], given)
        repeats, nearest = self.near(made, known)
        found = {"picture_repeats": mean(repeats)}
        beside = {"picture_repeats": mean(self.near(real, known)[0])}
        of = ["" if not repeated else rows[at][1] for repeated, at in zip(repeats, nearest, strict=True)]
        asked = [  # a takedown of the repeated row takes the repeat, too
            Asked(one.sample_id, "", one.expected, part="picture", prompt_id=row)
            for one, row in zip(shown, of, strict=True)
        ]
        said = [data_url(png(one)) for one in made]
        return [Outcome(self.name(), asked, said, found, "references", beside)]

    def seen(self, ids: Sequence[str], given: Given) -> np.ndarray:
        """Pictures as a model would draw them, through its image tokenizer: what that blurs is no difference."""
        if given.examined is not None:
            return given.examined.tokenizers.image.decode(given.codes(ids))
        assert given.hands.pixels is not None
        return given.hands.pixels(ids)

    def near(self, shown: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether the nearest known picture differs by no more than the limit, and which one it is: bool and int `[n]`."""
        nearest = nearest_by_pixels(known, shown)
        apart = np.abs(known[nearest].astype(np.float32) - shown.astype(np.float32))
        return apart.reshape(len(shown), -1).mean(1) <= self.difference, nearest


def fold(text: str) -> str:
    """A text without what makes no other text: case, spaces, forms of letters."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
