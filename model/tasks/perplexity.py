"""What held-out texts cost the model."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
from pydantic import Field

from model.cost import costs
from model.measures import ratio
from model.outcome import Asked, Outcome
from model.tasks.task import Examined, Given, Task, asked_of, rows

TASKS = """
SELECT DISTINCT s.task FROM samples s JOIN members m USING (sample_id) WHERE m.split = $split AND s.text IS NOT NULL ORDER BY 1
"""
KNOWN = """
SELECT text FROM samples s JOIN members m USING (sample_id) WHERE m.split = 'train' AND text IS NOT NULL
ORDER BY md5(s.sample_id) LIMIT $most
"""


class Perplexity(Task):
    """Bits per byte of held-out texts after their picture and prompt, by language, source and task; beside it stands what they
    cost by how frequent each token is in training."""

    known: int = Field(20_000, ge=1, description="Training texts in which tokens are counted.")
    longest: int = Field(512, ge=8, description="Tokens of a text that are read.")

    def run(self, given: Given) -> Outcome | None:
        if given.examined is None:
            return None
        asked = self.items(given)
        if not asked:
            return None
        bits = costs(given.examined.model, given.examined.tokenizers, given.codes, asked, self.longest)
        sizes = [len(self.cut(one.expected, given.examined).encode()) for one in asked]
        found = {"bits_per_byte": ratio(bits, sizes)}
        beside = {"bits_per_byte": ratio(self.by_frequency(asked, given, given.examined), sizes)}
        return Outcome(self.name(), asked, [""] * len(asked), found, "token_frequency", beside)

    def items(self, given: Given) -> list[Asked]:
        """Texts of every task."""
        with given.snapshot.connect() as db:
            tasks = [task for (task,) in db.sql(TASKS, params={"split": given.split}).fetchall()]
        found = []
        for task in tasks:
            for row in rows(given, task):
                one = asked_of(row, task, picture=True)
                subsets = (f"source {row['source']}", f"task {task}", f"{one.lang} source {row['source']}")
                found.append(replace(one, subsets=tuple(name.strip() for name in subsets)))
        return [one for one in found if one.expected]

    def cut(self, text: str, examined: Examined) -> str:
        """As much of a text as is read."""
        ids = examined.tokenizers.encode(text)
        return text if len(ids) <= self.longest else examined.tokenizers.decode(ids[: self.longest])

    def by_frequency(self, asked: list[Asked], given: Given, examined: Examined) -> np.ndarray:
        """Bits of each text if tokens came by their frequency in training alone, each seen once more than it was."""
        seen: Counter[int] = Counter()
        with given.snapshot.connect() as db:
            for (text,) in db.sql(KNOWN, params={"most": self.known}).fetchall():
                seen.update(examined.tokenizers.encode(text))
        size = examined.model.sequences.vocabulary.size
        total = sum(seen.values()) + size
        texts = [examined.tokenizers.encode(one.expected)[: self.longest] for one in asked]
        return np.array([sum(math.log2(total / (seen[i] + 1)) for i in ids) for ids in texts])
