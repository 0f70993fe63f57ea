"""Pictures that find their captions, and captions that find their pictures."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from model.measures import Counted, mean
from model.outcome import Asked, Outcome
from model.retrieval import ranked
from model.tasks.task import Given, Task, rows

NEAREST = (1, 5, 10)


class Retrieval(Task):
    """Recall at 1, 5 and 10 both ways by the network's own states, over pictures with one caption each; beside it stands what
    guessing finds."""

    pictures: int = Field(500, ge=2, description="Pictures, each with one caption.")
    lang: str = Field("en", description="Language of the captions, where a picture has one in it.")
    longest: int = Field(160, ge=8, description="Tokens of a caption that are read.")

    def run(self, given: Given) -> Outcome | None:
        if given.examined is None:
            return None
        found = self.captions(given)
        if len({row["expected"] for row in found}) < 2:
            return None
        hits = ranked(
            given.examined.model,
            given.codes([row["image_id"] for row in found]),
            [(row["lang"], given.examined.tokenizers.encode(row["expected"])) for row in found],
            self.longest,
        )
        asked, measured, said = self.laid_out(found, hits)
        chance = self.chance(found)
        return Outcome(self.name(), asked, said, measured, "chance", chance)

    def captions(self, given: Given) -> list[dict]:
        """One caption of each picture, in an order of no meaning."""
        best: dict[str, dict] = {}
        for row in rows(given.wide(), "caption"):
            known = best.get(row["image_id"])
            if row["image_id"] and (
                known is None or (row["lang"] == self.lang) > (known["lang"] == self.lang)
            ):
                best[row["image_id"]] = row
        order = np.random.Generator(np.random.Philox(0)).permutation(len(best))[: self.pictures]
        ids = sorted(best)
        return [best[ids[at]] for at in order.tolist()]

    def laid_out(
        self, found: list[dict], hits: tuple[np.ndarray, np.ndarray]
    ) -> tuple[list[Asked], dict[str, Counted], list[str]]:
        """An item for each picture: how many captions are nearer than its own, and how many pictures than it."""
        text, image = hits
        asked = [
            Asked(row["sample_id"], row["lang"], row["expected"], image_id=row["image_id"]) for row in found
        ]
        measured = {f"text_of_image@{k}": mean(text < k) for k in NEAREST}
        measured |= {f"image_of_text@{k}": mean(image < k) for k in NEAREST}
        said = [f"own caption at {a + 1}, own picture at {b + 1}" for a, b in zip(text, image, strict=True)]
        return asked, measured, said

    def chance(self, found: list[dict]) -> dict[str, Counted]:
        """What guessing finds: captions that several pictures share are found by any of them."""
        texts = [row["expected"] for row in found]
        different, counts = np.unique(texts, return_counts=True)
        own = dict(zip(different.tolist(), counts.tolist(), strict=True))
        n = len(found)
        found_text = [min(1.0, k / len(different)) for k in NEAREST for _ in texts]
        kept = {f"text_of_image@{k}": mean(found_text[i * n : (i + 1) * n]) for i, k in enumerate(NEAREST)}
        return kept | {
            f"image_of_text@{k}": mean([1 - (1 - own[t] / n) ** k for t in texts]) for k in NEAREST
        }
