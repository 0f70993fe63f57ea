"""Long texts that say the same again and again."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import pyarrow as pa
from pydantic import Field

from pipeline.step import Filter
from pipeline.words import words


class Repetition(Filter):
    """Keeps a text whose lines and word runs do not repeat too much; rows of other tasks pass.

    The measures and bounds are those of MassiveText (Rae et al. 2021, arXiv 2112.11446, table A1): the share of lines that
    occurred before, the share of characters in the commonest run of 2, 3 or 4 words, and that of characters within runs of 5
    to 10 words which occurred before.
    """

    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("task", "text")
    min_words: int = Field(50, ge=1, description="Shorter texts pass.")
    lines: float = Field(0.3, ge=0, le=1, description="Most of the lines that are repetitions.")
    commonest: tuple[float, float, float] = Field(
        (0.2, 0.18, 0.16), description="Most of the characters that the commonest run of 2, 3, 4 words takes."
    )
    repeated: tuple[float, ...] = Field(
        (0.15, 0.14, 0.13, 0.12, 0.11, 0.1),
        description="Most of the characters in runs of 5, 6 … words that occurred before.",
        max_length=12,
    )
    tasks: tuple[str, ...] = Field(("text",), description="Tasks that are judged.")

    def keep(self, rows: pa.Table) -> pa.Array | pa.ChunkedArray:
        judged = zip(rows["task"].to_pylist(), rows["text"].to_pylist(), strict=True)
        return pa.array(
            [task not in self.tasks or text is None or not self.repeats(text) for task, text in judged]
        )

    def repeats(self, text: str) -> bool:
        """Whether a text goes beyond one of the bounds."""
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) > 2 and (len(lines) - len(set(lines))) / len(lines) > self.lines:
            return True
        said = words(text.casefold())
        if len(said) < self.min_words:
            return False
        total = sum(map(len, said))
        if any(share_of_commonest(said, n, total) > most for n, most in enumerate(self.commonest, 2)):
            return True
        return any(share_repeated(said, n, total) > most for n, most in enumerate(self.repeated, 5))


def share_of_commonest(words: list[str], n: int, total: int) -> float:
    """Characters of the commonest run of n words, all times that it occurs, over all characters; 0 if it occurs once."""
    runs = Counter(zip(*(words[start:] for start in range(n)), strict=False))
    [(run, times)] = runs.most_common(1) or [((), 0)]
    return times * sum(map(len, run)) / total if times > 1 else 0.0


def share_repeated(words: list[str], n: int, total: int) -> float:
    """Characters of words that lie in a run of n words which occurred before, each counted once, over all characters."""
    seen, inside = set[tuple[str, ...]](), set[int]()
    for start, run in enumerate(zip(*(words[at:] for at in range(n)), strict=False)):
        if run in seen:
            inside.update(range(start, start + n))
        seen.add(run)
    return sum(len(words[at]) for at in inside) / total
