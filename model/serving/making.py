"""An answer that is being made: a row of the batch, from when it is asked for until its last token."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from model.sampling import Sampling
from model.sequences import Sequences
from model.text_stream import TextStream

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Told:
    """What is heard of an answer: text as it comes, a picture's codes once it is whole, and at last why it ended."""

    text: str = ""
    codes: tuple[int, ...] | None = None
    pixels: np.ndarray | None = None
    """uint8 `[size, size, 3]` of the codes."""
    finish: Finish | None = None
    error: Exception | None = None
    prompt_tokens: int = 0
    new_tokens: int = 0
    checkpoint: str = ""


@dataclass
class Making:
    """One row.

    Args:
        prepare: makes the prompt's ids, given who answers: who that is shows only when its turn comes.
        tell: hears what is made, in the worker's thread; must return at once.
        key: with the seed, decides the row's random draws.
        step_by_step: whether text is told token by token.
    """

    prepare: Callable[[Any], list[int]]
    sampling: Sampling
    tell: Callable[[Told], None]
    key: int = 0
    stop_strings: tuple[str, ...] = ()
    step_by_step: bool = False
    ends_at: float = float("inf")
    """Moment of the monotonic clock at which it ends, finished or not."""
    since: float = field(default_factory=time.monotonic)
    cancelled: bool = False
    """Set when nobody listens any more."""

    last: int = -1
    """The token that was chosen last."""
    fresh: bool = False
    """Whether that has not been taken yet."""
    turn: int = 0
    prompt_tokens: int = 0
    _codes: list[int] | None = None
    """Of the picture that is being drawn."""
    _held: str = ""
    """Text that is told later."""

    def begin(self, prompt: int, watch: TextStream) -> None:
        """Its turn has come: the prompt has so many tokens."""
        self.prompt_tokens, self._watch = prompt, watch
        self.draws = np.random.Generator(np.random.Philox(key=[self.sampling.seed, self.key]))

    def over(self, now: float) -> bool:
        """Whether it ends without being finished."""
        return self.cancelled or now >= self.ends_at

    def take(self, sequences: Sequences, now: float) -> list[Told]:
        """What the last token adds; the last of a row's tellings says why it ended."""
        token, known, told = self.last, sequences.vocabulary, []
        self.turn += 1
        finish: Finish | None = None
        if token == known["<eos>"]:
            finish = "stop"
        elif token == known["<eoi>"]:
            if self._codes is not None and len(self._codes) == sequences.codes:
                told += [*self._flushed(), Told(codes=tuple(self._codes))]
            self._codes = None
            finish = "stop" if self.sampling.modalities == "image" else None
        elif token >= sequences.config.offsets[1]:
            self._codes = [*(self._codes or ()), token - sequences.config.offsets[1]]
        else:
            self._held += self._watch.add([token])
            finish = "stop" if self._watch.stopped else None
        if finish is None and (self.turn >= self.sampling.max_tokens or self.over(now)):
            finish = "length"
        if finish is not None:
            self._held += self._watch.end()
            return [*told, self._end(finish)]
        return [*told, *self._flushed()] if self.step_by_step else told

    def _flushed(self) -> list[Told]:
        text, self._held = self._held, ""
        return [Told(text=text)] if text else []

    def _end(self, finish: Finish) -> Told:
        return Told(text=self._held, finish=finish, prompt_tokens=self.prompt_tokens, new_tokens=self.turn)
