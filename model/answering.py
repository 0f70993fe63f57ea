"""Items put to a model of our own, in the sequences that it was trained on: with the picture that is asked about, or text
alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from model.generate import Model, Question, Sampling, generate, read_pictures
from model.outcome import Asked
from model.tokenizers import Tokenizers

BATCH = 128
LONGEST = 1024
"""Tokens of a prompt; of a longer one the end is read, where a question stands."""
Heard = Callable[[int, int], None]


@dataclass(frozen=True)
class Answerer:
    """A model that answers greedily."""

    model: Model
    tokenizers: Tokenizers
    codes: Callable[[Sequence[str]], np.ndarray]
    """Ids of pictures to int codes `[n, codes]`."""
    most_tokens: int = 96
    heard: Heard = lambda done, total: None

    def __call__(self, asked: Sequence[Asked]) -> list[str]:
        """What is said of each item, in order."""
        said: dict[int, list[int]] = {}
        told = {
            place: tuple(self.tokenizers.encode(one.prompt)[-LONGEST:]) for place, one in enumerate(asked)
        }
        shown = sorted((place for place in told if asked[place].image_id), key=lambda p: asked[p].image_id)
        alone = sorted((p for p in told if not asked[p].image_id), key=lambda p: (len(told[p]), p))
        for places, ask in ((shown, self._of_pictures), (alone, self._of_texts)):
            for start in range(0, len(places), BATCH):
                part = places[start : start + BATCH]
                found = ask([asked[place] for place in part], [told[place] for place in part])
                said |= dict(zip(part, found, strict=True))
                self.heard(len(said), len(asked))
        return [self.tokenizers.decode(said[place]) for place in range(len(asked))]

    @property
    def _sampling(self) -> Sampling:
        return Sampling(max_tokens=self.most_tokens, modalities="text")

    def _of_pictures(self, asked: Sequence[Asked], told: Sequence[tuple[int, ...]]) -> list[list[int]]:
        ids = list(dict.fromkeys(one.image_id for one in asked))
        questions = [
            Question(ids.index(one.image_id), one.lang, one.task, prompt)
            for one, prompt in zip(asked, told, strict=True)
        ]
        return read_pictures(self.model, self.codes(ids), questions, self._sampling, batch=BATCH)

    def _of_texts(self, asked: Sequence[Asked], told: Sequence[tuple[int, ...]]) -> list[list[int]]:
        s = self.model.sequences
        prompts = [s.text(one.lang, one.task, prompt) for one, prompt in zip(asked, told, strict=True)]
        return generate(self.model, prompts, self._sampling)
