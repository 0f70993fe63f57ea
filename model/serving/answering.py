"""A checkpoint that answers: its network, its tokenizers, and the prompts that requests become in its own ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from model import templates
from model.generate import Model
from model.rows import Rows
from model.sequences import Part, Picture, PromptError, Text
from model.serving.pictures import Shown
from model.tokenizers import Tokenizers


@dataclass(frozen=True)
class Answering:
    """A checkpoint with all that belongs to it."""

    id: str
    model: Model
    tokenizers: Tokenizers
    card: str = ""
    """The model card, Markdown."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What a list of models tells of it."""

    @property
    def side(self) -> int:
        """Side of the pictures that it reads and draws, pixels."""
        return self.tokenizers.image.size

    def codes(self, shown: Sequence[Shown]) -> None:
        """Reads pictures as codes, all at once; each keeps its own."""
        new = list({id(one): one for one in shown if one.codes_by != self.tokenizers.image.id}.values())
        if new:
            read = self.tokenizers.image.encode(np.stack([one.pixels(self.side) for one in new]))
            for one, codes in zip(new, read, strict=True):
                one.codes, one.codes_by = tuple(map(int, codes)), self.tokenizers.image.id

    def pictures(self, codes: Sequence[Sequence[int]]) -> np.ndarray:
        """uint8 pictures `[n, side, side, 3]` of codes; one by one, as convolutions differ in their last bits from one batch
        size to another, and equal codes are to give equal bytes."""
        return np.concatenate([self.tokenizers.image.decode(np.array([one], np.int32)) for one in codes])

    @torch.inference_mode()
    def embed(self, paths: Sequence[Sequence[int]], pictured: Sequence[bool]) -> np.ndarray:
        """States at length 1 of rows of ids: float32 `[n, width]`; in the teacher's space if there was a teacher."""
        rows = Rows(len(paths), max(map(len, paths)), self.model.sequences)
        for row, ids in enumerate(paths):
            run = rows.add(row, ids, 0, 0, 0, (0, 0))
            if pictured[row] and self.model.network.config.see_whole_picture:
                rows.columns["blocks"][row, run.start + 1 : run.stop - 1] = 1
        batch = rows.batch()
        tokens, own = batch.tokens(str(self.model.device)), (batch.units >= 0).to(self.model.device)
        if self.model.network.config.teacher_width:
            is_text = torch.tensor([not one for one in pictured], device=self.model.device)
            return self.model.network.projected(tokens, own, is_text).cpu().numpy()
        return F.normalize(self.model.network.pooled(tokens, own), dim=1).cpu().numpy()


@dataclass(frozen=True)
class Asked:
    """What a request wants a row to go on from, in words and pictures."""

    words: str = ""
    shown: tuple[Shown, ...] = ()
    lang: str | None = None
    """Of the answer, if one is asked for; else `usual`, where the model knows that."""
    usual: str | None = None
    task: str | None = None
    made: str = "text"
    """text, image, or mixed."""
    go_on: bool = False
    """Whether the words are the beginning of the text that is wanted, not a question."""
    ids: tuple[int, ...] = ()
    """In place of words."""

    def prompt(self, who: Answering, most: int) -> list[int]:
        """The ids, in the forms that the model was trained on where there is one.

        Raises:
            PromptError: they are unknown or too many, or wish for a language that the model has no tag of.
        """
        if not self.ids and len(self.words) > 16 * most:
            raise PromptError(f"the prompt has {len(self.words):,} characters, far beyond {most:,} tokens")
        s, meant = who.model.sequences, templates.read(self.words, who.model.sequences.vocabulary)
        words = self.ids or tuple(who.tokenizers.encode(meant.text) if meant.text else ())
        for kind, name in (("lang", self.lang), ("task", self.task)):
            if name and f"<{kind}:{name}>" not in s.vocabulary.specials:
                known = [tag for tag in s.vocabulary.specials if tag.startswith(f"<{kind}:")]
                raise PromptError(f"this model has no {kind} {name}; it has {' '.join(known) or 'none'}")
        lang, task = meant.lang or self.lang or self.usual, meant.task or self.task
        parts: list[Part] = []
        if self.shown:
            who.codes(self.shown)
            parts += [Picture(one.codes) for one in self.shown]
        made = self._ids(who, parts, words, lang, task)
        if len(made) > most:
            raise PromptError(f"the prompt has {len(made):,} tokens, and at most {most:,} are read")
        return s.checked(made)

    def _ids(
        self, who: Answering, parts: list[Part], words: tuple[int, ...], lang: str | None, task: str | None
    ) -> list[int]:
        s = who.model.sequences
        if self.go_on and task is None:
            return [*s.text(lang, "text"), *words]
        if self.made == "text" and parts:
            asked = task or ("vqa" if words else "caption")
            return [*s.document(parts), *s.question(lang, asked, words)]
        if self.made == "text":
            return s.text(lang, task, words)
        if self.made == "image" and not parts:
            return s.wish(lang, words)
        return s.document([*parts, Text((*s.vocabulary.tags(lang, None), *words))])
