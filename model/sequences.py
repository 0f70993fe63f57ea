"""What a sequence looks like: the one place that training and inference both read.

Reading:  <boi> codes <eoi>  then, as branches that never see each other,  <lang> <task> prompt <sep> text <eos>
Drawing:  <bos> <lang> caption <boi> codes <eoi>;  without a caption  <bos> <boi> codes <eoi>
Text:     <bos> <lang> <task> prompt <sep> text <eos>
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from model.config import ModelConfig, Vocabulary


@dataclass(frozen=True)
class Sequences:
    """Builds id lists for one model and one vocabulary."""

    config: ModelConfig
    vocabulary: Vocabulary

    @property
    def codes(self) -> int:
        """Codes of a picture."""
        return self.config.modalities[self.config.modality("image")].length

    def picture(self, codes: Iterable[int]) -> list[int]:
        """A picture to be read."""
        low = self.config.offsets[self.config.modality("image")]
        return [self.vocabulary["<boi>"], *(int(code) + low for code in codes), self.vocabulary["<eoi>"]]

    def question(self, lang: str | None, task: str | None, prompt: Iterable[int] = ()) -> list[int]:
        """What follows a picture, up to where the answer starts."""
        return [*self.vocabulary.tags(lang, task), *map(int, prompt), self.vocabulary["<sep>"]]

    def answer(self, ids: Iterable[int]) -> list[int]:
        """The text and its end."""
        return [*map(int, ids), self.vocabulary["<eos>"]]

    def wish(self, lang: str | None = None, caption: Iterable[int] | None = None) -> list[int]:
        """What precedes the codes of a picture to be drawn; without a caption, of any picture."""
        head = [] if caption is None else [*self.vocabulary.tags(lang, None), *map(int, caption)]
        return [self.vocabulary["<bos>"], *head, self.vocabulary["<boi>"]]

    def text(self, lang: str | None, task: str | None, prompt: Iterable[int] = ()) -> list[int]:
        """What precedes a text that no picture goes with."""
        return [self.vocabulary["<bos>"], *self.question(lang, task, prompt)]

    def places(self, ids: list[int]) -> list[int]:
        """For each id the index of a code within its picture; 0 for text."""
        low, place, out = self.config.offsets[1], -1, []
        for i in ids:
            place = place + 1 if i >= low else -1
            out.append(max(place, 0))
        return out
