"""Which language a text is in, beside the one that its source states."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field, field_validator

from pipeline.formats.languages import tag
from pipeline.step import Annotator

UNKNOWN = "und"
"""BCP 47 for a language that is not determined."""
SAME = (
    ("no", "nb", "nn", "da"),
    ("hr", "bs", "sr", "sh"),
    ("id", "ms"),
    ("zh", "yue", "wuu", "cmn"),
    ("gl", "pt"),
)
"""Languages that short texts hardly tell apart: one stated and another one found is no contradiction."""
_LETTER = re.compile(r"[^\W\d_]")
_KANA = re.compile(r"[\u3041-\u30ff\uff66-\uff9d]")
_HAN = re.compile(r"[\u3400-\u9fff]")
_SIGNS = re.compile(r"(?:https?://|www\.)\S+|\S+@\S+|[#@]\w+|[\d_]+")
"""What says nothing of a language."""


class Language(Annotator):
    """Detects a text's language by its n-grams, and compares it with the stated one.

    The detector is py3langid (after Lui and Baldwin 2012, "langid.py"): naive Bayes over byte n-grams. Texts in Han
    characters without kana count as Chinese.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("text", "lang")
    columns: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field(
                "lang",
                pa.string(),
                metadata={"doc": "BCP 47 language found; und if unknown, null without a text."},
            ),
            pa.field(
                "confidence", pa.float32(), metadata={"doc": "Of the most likely language, from 0 to 1."}
            ),
            pa.field(
                "agrees",
                pa.bool_(),
                metadata={
                    "doc": "Whether it is the stated language, or one much like it; null if either is unknown."
                },
            ),
        ]
    )
    min_confidence: float = Field(0.5, ge=0, le=1, description="Below it, the language is unknown.")
    min_letters: int = Field(
        3, ge=1, description="Texts with fewer letters have no known language; one is enough in Han."
    )
    languages: tuple[str, ...] = Field(
        (), description="Languages to choose among, in ISO 639-1; empty for all."
    )

    @field_validator("languages")
    @classmethod
    def _are_known(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted({_its(code) for code in languages} - set(_detector(()).labels)):
            raise ValueError(f"the detector does not know {', '.join(unknown)}")
        return languages

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        coded = _chunk(rows["text"].cast(pa.string())).dictionary_encode()
        found = [self.detect(text) for text in coded.dictionary.to_pylist()]
        langs = pa.array([lang for lang, _ in found], pa.string()).take(coded.indices)
        confidence = pa.array([sure for _, sure in found], pa.float32()).take(coded.indices)
        agrees = [
            agree(stated, lang)
            for stated, lang in zip(rows["lang"].to_pylist(), langs.to_pylist(), strict=True)
        ]
        return pa.table(
            [rows["sample_id"], langs, confidence, pa.array(agrees, pa.bool_())],
            names=["sample_id", *self.columns.names],
        )

    def detect(self, text: str) -> tuple[str, float]:
        """(language, confidence); the language is `und` below the least confidence, or where there are too few letters."""
        told = _SIGNS.sub(" ", text)
        han, kana = _HAN.search(told), _KANA.search(told)
        if not (han or kana) and len(_LETTER.findall(told)) < self.min_letters:
            return UNKNOWN, 0.0
        lang, confidence = _detector(self.languages).classify(told)
        if han and not kana and lang == "ja":
            lang = "zh"
        lang = {"no": "nb"}.get(lang, lang)
        return (lang if confidence >= self.min_confidence else UNKNOWN), float(confidence)


def agree(stated: str | None, found: str | None) -> bool | None:
    """Whether a found language is the stated one, or one much like it; null if either is not known."""
    stated = tag(stated)
    if stated is None or found is None or found == UNKNOWN:
        return None
    first = stated.split("-")[0]
    return first == found or any(first in same and found in same for same in SAME)


def _its(code: str) -> str:
    return {"nb": "no"}.get(code, code)


@cache
def _detector(languages: tuple[str, ...]) -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    detector = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    detector.set_languages({_its(code) for code in languages} or None)
    return detector


def _chunk(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
