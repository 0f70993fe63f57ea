"""What a sequence looks like: the one place that training and inference both read.

Reading:  <boi> codes <eoi>  then, as branches that never see each other,  <lang> <task> prompt <sep> text
<eos>
Drawing:  <bos> <lang> caption <boi> codes <eoi>;  without a caption  <bos> <boi> codes <eoi>
Text:     <bos> <lang> <task> prompt <sep> text <eos>
Mixed:    texts and pictures in any order, after <bos> unless a picture comes first; then what reading appends
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from model.config import Modality, ModelConfig, Vocabulary


@dataclass(frozen=True)
class Text:
    """A piece of text: its ids."""

    ids: tuple[int, ...]


@dataclass(frozen=True)
class Picture:
    """A picture: its codes from 0 up, row by row; fewer than a whole one has if it was cut short."""

    codes: tuple[int, ...]


Part = Text | Picture


class PromptError(ValueError):
    """Ids that no model can go on from; the message says which, and what to change."""


@dataclass(frozen=True)
class Sequences:
    """Builds id lists for one model and one vocabulary."""

    config: ModelConfig
    vocabulary: Vocabulary

    @property
    def codes(self) -> int:
        """Codes of a picture."""
        return self._image.length

    def picture(self, codes: Sequence[int] | np.ndarray) -> list[int]:
        """A picture to be read."""
        known = self.vocabulary.specials
        shifted = (np.asarray(codes) + self._low).tolist()
        return [known["<boi>"], *shifted, known["<eoi>"]]

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

    def document(self, parts: Iterable[Part]) -> list[int]:
        """Texts and pictures in the order in which they are to be read: a prompt for more of both. For an answer
        append `question(…)`.

        Raises:
            PromptError: a picture is not whole, or an id is unknown.
        """
        ids: list[int] = []
        for part in parts:
            if not ids and not isinstance(part, Picture):
                ids.append(self.vocabulary["<bos>"])
            ids += self.picture(part.codes) if isinstance(part, Picture) else part.ids
        return self.checked(ids or [self.vocabulary["<bos>"]])

    def parts(self, ids: Iterable[int]) -> list[Part]:
        """The texts and pictures that ids spell, such as those that a model made; what only opens, closes or
        ends is left out."""
        low, vocabulary = self.config.offsets[1], self.vocabulary
        unsaid = {vocabulary[name] for name in ("<bos>", "<eos>", "<boi>", "<eoi>")}
        runs: list[tuple[bool, list[int]]] = []
        for i in ids:
            if not runs or runs[-1][0] != (i >= low) or i == self._image.begin:
                runs.append((i >= low, []))
            if i not in unsaid:
                runs[-1][1].append(i)
        return [
            Picture(tuple(i - low for i in run)) if codes else Text(tuple(run)) for codes, run in runs if run
        ]

    def checked(self, ids: Sequence[int]) -> list[int]:
        """The same ids.

        Raises:
            PromptError: there are none, one is unknown, or codes are not exactly a whole picture between `<boi>` and
                `<eoi>` (the last picture may go on).
        """
        if not len(ids):
            raise PromptError("an empty prompt: give at least one id, such as <bos>")
        low, left = self.config.offsets[1], 0
        for place, i in enumerate(ids):
            if not 0 <= i < self.config.size:
                raise PromptError(f"id {i} at place {place} is not one of the model's {self.config.size}")
            if (i >= low) != (left > 1) or (left == 1 and i != self._image.end):
                raise PromptError(
                    f"id {i} at place {place}: pictures are <boi>, exactly {self.codes} codes from {low} up, "
                    "and <eoi>, with nothing in between"
                )
            left = self.codes + 1 if i == self._image.begin else max(left - 1, 0)
        return list(map(int, ids))

    def opens(self, ids: Sequence[int]) -> bool:
        """Whether a code must come next."""
        since = next((n for n, i in enumerate(reversed(ids)) if i == self._image.begin), self.codes)
        return since < self.codes

    @property
    def after_picture(self) -> int:
        """Position of what follows a picture that is read: its branches all start there."""
        return 2 + self.extent

    def blocks(self, ids: Iterable[int]) -> list[int]:
        """For each id the number (from 1) of the whole, closed picture whose code it is; else 0."""
        low, out, run, number = self.config.offsets[1], [], 0, 0
        for i in ids:
            out.append(0)
            if i >= low:
                run += 1
                continue
            if run == self.codes and i == self._image.end:
                number += 1
                out[-1 - run : -1] = [number] * run
            run = 0
        return out

    def forced(self, cursor: Cursor) -> int | None:
        """The id that must come next: a whole picture is closed."""
        return self._image.end if cursor.place == self.codes - 1 else None

    def cursor(self, first: int = 0) -> Cursor:
        """Positions and places from a first position on."""
        return Cursor(self.config.offsets[1], self._image.begin, self.extent, self._places, first)

    def located(self, ids: np.ndarray, inner: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a cursor tells of the tokens of many runs, one run after the other, at once: positions `[n, 2]` and
        places `[n]` of ids, each the token number `inner` of a run that starts at position `first`."""
        at, code = np.arange(len(ids)), ids >= self._low
        after_code = np.concatenate([[False], code[:-1]]) & (inner > 0)
        begun = np.maximum.accumulate(np.where(code & ~after_code, at, 0))
        places = np.where(code, at - begun, 0)
        texts, ended = (np.cumsum(x) for x in (~code, ~code & after_code))
        before = at - inner - 1  # the last token of the run before
        texts, ended = (x - np.where(before < 0, 0, x[before]) for x in (texts, ended))
        positions = first + texts - ~code + self.extent * ended
        return positions[:, None] + np.where(code[:, None], self.coordinates[places], 0), places

    @cached_property
    def _low(self) -> int:
        """First id that is a code."""
        return self.config.offsets[self.config.modality("image")]

    @cached_property
    def coordinates(self) -> np.ndarray:
        """The two coordinates of each code `[codes, 2]`, counted from the picture's first."""
        return np.array(self._places, np.int64).reshape(-1, 2)

    @cached_property
    def _image(self) -> Modality:
        return self.config.modalities[self.config.modality("image")]

    @cached_property
    def extent(self) -> int:
        """Positions that a picture takes up."""
        grid = self._image.grid or (0, 0)
        return max(grid) if self.config.rope_2d else self.codes

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        """The two coordinates of each code, counted from the picture's first."""
        columns = (self._image.grid or (0, 1))[1]
        return [divmod(i, columns) if self.config.rope_2d else (i, i) for i in range(self.codes)]


@dataclass
class Cursor:
    """Walks along one path of tokens."""

    low: int
    """First id that is a code."""
    begin: int | None
    """The id that opens a picture."""
    extent: int
    places: list[tuple[int, int]]
    position: int
    place: int = -1
    """Index of the last code within its picture; -1 outside of pictures."""
    drawing: bool = False
    """Whether a code must come next."""

    def copy(self) -> Cursor:
        return replace(self)

    def step(self, token: int) -> tuple[int, int, int]:
        """The next token's two coordinates, and its index within its picture (0 for text)."""
        if token < self.low:
            if self.place >= 0:
                self.position, self.place = self.position + self.extent, -1
            self.position += 1
            self.drawing = token == self.begin
            return self.position - 1, self.position - 1, 0
        self.place += 1
        self.drawing = self.place < len(self.places) - 1
        row, column = self.places[self.place]
        return self.position + row, self.position + column, self.place
