"""Long texts into passages, and long documents into shorter ones, within a number of tokens.

A row whose text is too long becomes several rows of the same document: the first keeps its origin, those that follow add
" ¶00001", " ¶00002" … to it, at the same position, so that `ORDER BY position, origin` is reading order and every
`sample_id` is unique and stable. A document that is too long becomes several: the first keeps its id, those that follow
add the place at which they begin (".12", ".12¶00001"). It happens while rows are collected, after denoising.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline import sentences
from pipeline.step import digest
from pipeline.tokens.text_bpe import TextBPE
from storage.settings import Settings

Count = Callable[[Sequence[str]], Sequence[int]]
"""Tokens of each text."""
MARK = "¶"
"""Before the number of a passage, in its origin."""
PASSAGE = re.compile(rf" {MARK}[0-9]{{5}}$")
LETTERS = bytes(n for n in range(128) if chr(n).isalpha() or n == 32)
"""Of which the estimate takes two for a token; any other byte is one, as in a byte-level BPE that never saw its script."""
_FINER = (sentences.clauses, sentences.words, sentences.groups, sentences.characters)


class Segment(Settings):
    """How long a text and a document may be; longer ones are cut. Nothing is cut by default."""

    passage_tokens: int | None = Field(
        None, ge=32, description="Most tokens of a text; longer ones are cut between sentences."
    )
    document_tokens: int | None = Field(
        None,
        ge=32,
        description="Most tokens of a document's texts and pictures; longer ones are cut between rows.",
    )
    image_tokens: int = Field(256, ge=1, description="Tokens that a picture counts for in a document.")
    tokenizer: str | None = Field(
        None,
        description="File of a fitted text tokenizer; without one, tokens are estimated, rather too many.",
    )
    tasks: tuple[str, ...] = Field(("text",), description="Tasks whose texts are cut into passages.")

    def fingerprint(self) -> str:
        """Digest of what decides where cuts fall: of the tokenizer its content, not its place."""
        if not self.cuts:
            return "nothing is cut"
        named = _tokenizer(self.tokenizer).id if self.tokenizer else None
        return digest([self.model_dump(mode="json", exclude={"tokenizer"}), named])

    @property
    def cuts(self) -> bool:
        """Whether there is anything to do."""
        return self.passage_tokens is not None or self.document_tokens is not None

    def count(self, texts: Sequence[str]) -> Sequence[int]:
        """Tokens of each text: exact under `tokenizer`, else an estimate."""
        return tokens(_tokenizer(self.tokenizer))(texts) if self.tokenizer else estimated(texts)

    def passages(self, text: str | None, raw: dict[str, Any]) -> list[str]:
        """The passages of a row's text: one if it is short, or of another task, or answers a prompt."""
        most = self.passage_tokens
        if most is None or not text or raw["task"] not in self.tasks or raw["prompt"] is not None:
            return [text] if text else []
        return [text] if len(text) <= most // 4 else passages(text, most, self.count, raw["lang"])


@cache
def _tokenizer(path: str) -> TextBPE:
    return TextBPE.load(path)


def tokens(tokenizer: TextBPE) -> Count:
    """Counts by a fitted tokenizer."""

    def count(texts: Sequence[str]) -> Sequence[int]:
        return np.diff(tokenizer.encode_batch(pa.array(texts, pa.string())).offsets.to_numpy()).tolist()

    return count


def estimated(texts: Sequence[str]) -> Sequence[int]:
    """A careful guess: a token for two letters of ASCII, and for each other byte of UTF-8; a space is put before a text."""
    found = []
    for text in texts:
        raw = text.encode()
        rest = len(raw.translate(None, LETTERS))
        found.append(rest + (len(raw) - rest + 2) // 2)
    return found


# --- passages ---------------------------------------------------------------------------------------------


def passages(text: str, most: int, count: Count = estimated, lang: str | None = None) -> list[str]:
    """A text in pieces of at most so many tokens (32 or more), which give it back but for white space between them.

    Cuts fall between sentences. A sentence that is too long begins a passage of its own, and is cut after a comma, else
    between words, else between characters.
    """
    if count([text])[0] <= most:
        return [text]
    found: list[str] = []
    run: list[str] = []
    for sentence, size in _counted(sentences.sentences(text, lang), count):
        if size > most:
            found += [*_filled(run, most, count), *_filled(_finer(sentence, most, count), most, count)]
            run = []
        else:
            run.append(sentence)
    found += _filled(run, most, count)
    return [piece for one in found if (piece := one.strip())]


def _counted(pieces: Sequence[str], count: Count) -> list[tuple[str, int]]:
    return list(zip(pieces, count([piece.strip() for piece in pieces]), strict=True))


def _finer(piece: str, most: int, count: Count, level: int = 0) -> list[str]:
    """Pieces of a piece, each within the bound, as coarse as may be."""
    if level == len(_FINER):
        return [piece]
    made: list[str] = []
    for part, size in _counted(_FINER[level](piece), count):
        made += [part] if size <= most else _finer(part, most, count, level + 1)
    return made


def _filled(pieces: Sequence[str], most: int, count: Count) -> list[str]:
    """Neighbouring pieces joined while they are within the bound; each piece is."""
    groups: list[list[str]] = []
    total = 0
    for piece, size in _counted(pieces, count):
        if not groups or total + size > most:
            groups.append([])
            total = 0
        groups[-1].append(piece)
        total += size
    joined = count(["".join(group).strip() for group in groups])
    found: list[str] = []
    for group, size in zip(groups, joined, strict=True):
        if size <= most or len(group) == 1:
            found.append("".join(group))
        else:  # white space between the pieces took tokens of its own
            half = len(group) // 2
            found += _filled(group[:half], most, count) + _filled(group[half:], most, count)
    return found


def passage_origin(origin: str, number: int) -> str:
    """Origin of a row's passage; the first one, number 0, is the row itself."""
    return f"{origin} {MARK}{number:05d}" if number else origin


# --- documents --------------------------------------------------------------------------------------------


def cut_documents(
    samples: Sequence[dict[str, Any]],
    kept: Sequence[bool],
    settings: Segment,
    whole: Callable[[int], int] = lambda position: position,
) -> None:
    """Gives rows of `samples` beyond a document's bound the id of a document of their own.

    A picture without a text stays with the row behind it, which is where its caption stands, or at a document's end with
    the row before; a piece of a picture stays with the row at the position `whole` of its own. What is longer than the
    bound by itself is one document. Rows that were dropped count for nothing. The bound holds for the rows of one part:
    sources keep a document's rows together unless they say otherwise.
    """
    most = settings.document_tokens
    if most is None:
        return
    documents: dict[str, list[tuple[int, int, str, int]]] = {}
    for at, row in enumerate(samples):
        place = row["position"]
        documents.setdefault(row["document_id"], []).append((whole(place), place, row["origin"], at))
    for members in documents.values():
        if len(members) < 2:
            continue
        rows = [samples[at] for *_, at in sorted(members)]
        fates = [kept[at] for *_, at in sorted(members)]
        sizes = _sizes(rows, fates, settings)
        if sum(sizes) <= most:
            continue
        total, ending = 0, ""
        for block in _blocks(rows, whole):
            size = sum(sizes[i] for i in block)
            if total and size and total + size > most:
                total, ending = 0, _place(rows[block[0]])
            total += size
            for i in block:
                rows[i]["document_id"] += ending


def _sizes(rows: Sequence[dict[str, Any]], kept: Sequence[bool], settings: Segment) -> list[int]:
    texts = [(row["prompt"] or "") + (row["text"] or "") for row in rows]
    return [
        (size + settings.image_tokens * (row["image_id"] is not None)) * counts
        for row, size, counts in zip(rows, settings.count(texts), kept, strict=True)
    ]


def _blocks(rows: Sequence[dict[str, Any]], whole: Callable[[int], int]) -> list[list[int]]:
    """Places of neighbouring rows that stay together."""
    blocks: list[list[int]] = []
    waits = False
    for i, row in enumerate(rows):
        piece = whole(row["position"]) != row["position"]
        if blocks and (waits or piece):
            blocks[-1].append(i)
        else:
            blocks.append([i])
        if not piece:
            waits = row["image_id"] is not None and row["text"] is None
    if waits and len(blocks) > 1:
        last = blocks.pop()
        blocks[-1] += last
    return blocks


def _place(row: dict[str, Any]) -> str:
    found = PASSAGE.search(row["origin"])
    return f".{row['position']}" + (found[0].strip() if found else "")
