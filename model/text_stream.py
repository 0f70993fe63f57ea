"""Text as it is being made: ids in, complete characters out, and strings that end it.

A token of a byte-level vocabulary may be a part of a character, so what ids spell is known only when the character's
last byte has come.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

BROKEN = "\ufffd"
"""What bytes that are no (or not yet a) character decode to."""
WINDOW = 16
"""Ids decoded again and again before the earlier of them are let go."""


class TextStream:
    """Decodes one text id by id. All that `add` and `end` return is what the tokenizer makes of all ids at once,
    without one space at its start.

    With `stops` the text ends before the first of these strings: `stopped` says so, and what could yet become one of
    them is held back.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Iterable[str] = ()) -> None:
        self.tokenizer, self.stops = tokenizer, tuple(filter(None, stops))
        self.stopped = False
        self._special = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        self._ids: list[int] = []
        self._told = 0
        """Characters of the text of `_ids` that were passed on."""
        self._held, self._started = "", False

    def add(self, ids: Iterable[int]) -> str:
        """The characters that are certain now; special tokens and ids of other modalities say nothing."""
        new = "".join(self._characters(i) for i in ids if not self.stopped)
        return self._passed(new)

    def end(self) -> str:
        """The rest, once no more ids will come."""
        rest = self._text()[self._told :]
        self._told += len(rest)
        return self._passed(rest, last=True)

    def _text(self) -> str:
        return self.tokenizer.decode(self._ids, skip_special_tokens=False)

    def _characters(self, token: int) -> str:
        if token in self._special or self.tokenizer.id_to_token(token) is None:
            return ""
        self._ids.append(token)
        text = self._text()
        known = len(text) - text.endswith(BROKEN)
        new = text[self._told : known]
        self._told = max(self._told, known)
        if len(self._ids) > WINDOW and known == len(text):
            self._ids = self._ids[
                -1:
            ]  # what joins the next token to it (a space, or nothing) shows only beside it
            self._told = len(self._text())
        return new

    def _passed(self, new: str, last: bool = False) -> str:
        """What of the new characters can be told; the rest is held back."""
        if self.stopped:
            return ""
        if new and not self._started:
            self._started, new = True, new.removeprefix(" ")
        text = self._held + new
        found = [place for stop in self.stops if (place := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = 0 if last else max((_overlap(text, stop) for stop in self.stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of the text that `stop` begins with."""
    most = min(len(text), len(stop) - 1)
    return next((n for n in range(most, 0, -1) if text.endswith(stop[:n])), 0)


@dataclass(frozen=True)
class StopStrings:
    """Strings that end a row of output, wherever tokens begin and end. The row's ids go on to the one that completes
    a string; `cut` leaves the string itself out of the text."""

    tokenizer: Tokenizer
    strings: Sequence[str]

    def watch(self) -> TextStream:
        """Follows one row."""
        return TextStream(self.tokenizer, self.strings)

    def cut(self, text: str) -> str:
        """The text up to the first of the strings."""
        places = [place for stop in self.strings if stop and (place := text.find(stop)) >= 0]
        return text[: min(places)] if places else text
