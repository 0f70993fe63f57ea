"""Pictures told apart by class, with many labels or few."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from model.measures import Counted, mean
from model.outcome import Asked, Outcome
from model.retrieval import picture_states
from model.tasks.task import Given, Task, rows

KNOWN = """
SELECT image_id, min(label) AS label FROM samples s JOIN members m USING (sample_id)
WHERE m.split = 'train' AND image_id IS NOT NULL AND label IS NOT NULL
GROUP BY image_id ORDER BY md5(image_id)
"""


class Classify(Task):
    """Names the class whose few labelled training pictures lie nearest, by the network's states: accuracy after 1, 5, 20 …
    labels a class (the few-label curve) and after all; beside it stands the same by pixels."""

    labels: tuple[int, ...] = Field((1, 5, 20), description="Labelled pictures of each class.")
    pictures: int = Field(500, ge=1, description="Held-out pictures to be named.")
    most: int = Field(5_000, ge=1, description="Labelled training pictures that are used at most.")

    def run(self, given: Given) -> Outcome | None:
        if given.examined is None:
            return None
        with given.snapshot.connect() as db:
            known = db.execute(KNOWN).fetchmany(self.most)
        asked = self.items(given)
        if not asked or len({label for _, label in known}) < 2:
            return None
        ids = [image for image, _ in known]
        labels = np.array([label for _, label in known])
        right = np.array([one.expected for one in asked])
        shown = [one.image_id for one in asked]
        mine, theirs = (picture_states(given.examined.model, given.codes(some)) for some in (ids, shown))
        found, said = self.curve(mine, theirs, labels, right)
        beside: dict[str, Counted] = {}
        if given.hands.pixels:
            flat = [
                given.hands.pixels(some).reshape(len(some), -1).astype(np.float32) for some in (ids, shown)
            ]
            beside, _ = self.curve(flat[0], flat[1], labels, right)
        return Outcome(self.name(), asked, said, found, "nearest_pixels" if beside else "", beside)

    def items(self, given: Given) -> list[Asked]:
        """Held-out pictures with a label."""
        found: dict[str, Asked] = {}
        for task in ("caption", "vqa", "text"):
            for row in rows(given.wide(), task):
                if row["label"] and row["image_id"]:
                    one = Asked(row["sample_id"], "", row["label"], image_id=row["image_id"])
                    found.setdefault(row["image_id"], one)
        order = np.random.Generator(np.random.Philox(0)).permutation(len(found))[: self.pictures]
        return [found[sorted(found)[at]] for at in order.tolist()]

    def curve(
        self, known: np.ndarray, asked: np.ndarray, labels: np.ndarray, right: np.ndarray
    ) -> tuple[dict[str, Counted], list[str]]:
        """Whether the nearest mean of a class is the right one, with so many labels of each and with all of them."""
        place = within(labels)
        found, said = {}, np.array([])
        for few in (*self.labels, None):
            chosen = place < few if few else np.ones(len(labels), bool)
            said = nearest_mean(known[chosen], labels[chosen], asked)
            found[f"accuracy@{few}" if few else "accuracy"] = mean(said == right)
        return found, said.tolist()


def within(labels: np.ndarray) -> np.ndarray:
    """The place of each item among those of its class: int64."""
    seen: dict[str, int] = {}
    out = np.empty(len(labels), np.int64)
    for at, label in enumerate(labels.tolist()):
        out[at] = seen[label] = seen.get(label, -1) + 1
    return out


def nearest_mean(known: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """For each of the asked `[n, width]` the class whose known members have the nearest mean."""
    names = np.unique(labels)
    means = np.stack([known[labels == name].mean(0) for name in names])
    return names[((means**2).sum(1) - 2 * asked @ means.T).argmin(1)]
