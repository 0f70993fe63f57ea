"""How much a caption says: words, their variety, the things that it names and how it relates them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from pipeline.annotators.language import UNKNOWN, Language
from pipeline.formats.languages import tag
from pipeline.function_words import RELATING_JA, RELATING_ZH, other, relating
from pipeline.step import Annotator
from pipeline.words import words

_CLAUSE = re.compile(r"[.!?;:,()\[\]\n。！？；：，、（）]+|\s[–—|-]\s")
_SENTENCE = re.compile(r"[.!?\n。！？；;]+")
_BY_SCRIPT = {"zh": re.compile(RELATING_ZH), "ja": re.compile(RELATING_JA)}
_FILLERS = {
    "zh": re.compile("[，、,的了有是一二两三四五六七八九十个只位条张和与\\s]+"),
    "ja": re.compile("[、，のがをはもてるたいますです一二三\\s]+"),
}
Measured = tuple[int, float | None, float | None, int | None, int | None]


class CaptionComplexity(Annotator):
    """Counts words, distinct words, word length, things and relations of a text, without a model.

    After the complexity filter of CAT (Radenovic et al. 2023, arXiv 2301.02280), which counts how the objects of a
    caption are related in its parse. Here there is no parser: a thing is a run of content words within a clause, and a
    relation is a stretch of relating words (prepositions and words of place) between two things of a clause, as listed
    in `pipeline/function_words.py` for English, French, German, Spanish, Polish, Chinese and Japanese. The language is the
    stated one, else the one detected.
    """

    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("text", "lang")
    columns: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("words", pa.int32(), metadata={"doc": "Words; in scripts without spaces, characters."}),
            pa.field(
                "distinct",
                pa.float32(),
                metadata={"doc": "Share of the words that differ, case aside; null without words."},
            ),
            pa.field(
                "word_length", pa.float32(), metadata={"doc": "Mean letters of a word; null without words."}
            ),
            pa.field(
                "things",
                pa.int32(),
                metadata={"doc": "Runs of content words; null in a language without lists."},
            ),
            pa.field(
                "relations",
                pa.int32(),
                metadata={"doc": "Relating words between two of them; null likewise."},
            ),
        ]
    )
    detect: bool = Field(
        True, description="Detect the language of texts that state none; else things are null there."
    )

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        detector, known = Language(), dict[tuple[str, str | None], Measured]()
        found: list[Measured | None] = []
        for text, stated in zip(rows["text"].to_pylist(), rows["lang"].to_pylist(), strict=True):
            if text is None:
                found.append(None)
                continue
            if (text, stated) not in known:
                lang = (tag(stated) or (detector.detect(text)[0] if self.detect else UNKNOWN)).split("-")[0]
                known[text, stated] = measured(text, lang)
            found.append(known[text, stated])
        columns = zip(*[one or (None,) * 5 for one in found], strict=True) if found else [()] * 5
        made = [
            pa.array(list(values), field.type) for values, field in zip(columns, self.columns, strict=True)
        ]
        return pa.table([rows["sample_id"], *made], names=["sample_id", *self.columns.names])


def measured(text: str, lang: str) -> Measured:
    """(words, distinct share, mean word length, things, relations) of a text in a language."""
    said = [word.casefold() for word in words(text)]
    things, relations = content(text, lang)
    if not said:
        return 0, None, None, things, relations
    return len(said), len(set(said)) / len(said), sum(map(len, said)) / len(said), things, relations


def content(text: str, lang: str) -> tuple[int | None, int | None]:
    """(things, relations) of a text; null for a language without lists."""
    things = relations = 0
    if lang not in _BY_SCRIPT and relating(lang) is None:
        return None, None
    for clause in (_SENTENCE if lang in _BY_SCRIPT else _CLAUSE).split(text):
        # each clause as a string of kinds: c content, r relating, o other
        kinds = _unspaced(clause, lang) if lang in _BY_SCRIPT else _spaced(clause, lang)
        things += len(re.findall("c+", kinds))
        relations += len(re.findall("c(?=o*r[ro]*c)", kinds))
    return things, relations


def _spaced(clause: str, lang: str) -> str:
    joins, others = relating(lang) or frozenset(), other(lang)
    said = map(str.casefold, words(clause))
    return "".join("r" if word in joins else "o" if word in others else "c" for word in said)


def _unspaced(clause: str, lang: str) -> str:
    kinds, at = [], 0
    for found in [*_BY_SCRIPT[lang].finditer(clause), None]:
        between = clause[at : found.start() if found else len(clause)]
        kinds.append("c" if _FILLERS[lang].sub("", between) else "o")
        if found:
            kinds.append("r")
            at = found.end()
    return "".join(kinds)
