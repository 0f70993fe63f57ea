"""Languages are found, left open where nothing tells, and held against what is stated."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.annotators.language import Language, agree
from pipeline.filters.language import Language as KeepLanguage

SAID = {
    "en": "A brown dog runs across the green field near the barn.",
    "fr": "Un chien brun court à travers le champ vert près de la grange.",
    "de": "Ein brauner Hund läuft über das grüne Feld neben der Scheune.",
    "es": "Un perro marrón corre por el campo verde cerca del granero.",
    "pl": "Brązowy pies biegnie przez zielone pole obok stodoły.",
    "zh": "一只棕色的狗跑过谷仓旁边的绿色田野。",
    "ja": "茶色い犬が納屋の近くの緑の野原を走っています。",
    "ar": "كلب بني يركض عبر الحقل الأخضر بالقرب من الحظيرة",
    "ru": "Коричневая собака бежит по зелёному полю возле сарая.",
    "hi": "एक भूरा कुत्ता हरे मैदान में दौड़ रहा है।",
}


@pytest.mark.parametrize("lang", SAID)
def test_a_sentence_tells_its_language(lang: str):
    found, confidence = Language().detect(SAID[lang])
    assert found == lang and confidence > 0.7
    assert Language(languages=tuple(SAID)).detect(SAID[lang])[0] == lang


@pytest.mark.parametrize(
    "text", ["", "12 / 5", "#1", "DSC_0001 2014", "https://example.com/a-long-english-path", "☃ ❤", "a"]
)
def test_what_has_no_words_has_no_language(text: str):
    assert Language().detect(text)[0] == "und"


def test_below_the_least_confidence_it_is_unknown():
    assert Language(min_confidence=1.0).detect("taxi radio")[0] == "und"
    assert Language(min_confidence=0.0).detect("taxi radio")[0] != "und"


def test_han_without_kana_is_chinese():
    assert Language(min_confidence=0).detect("東京駅")[0] == "zh"
    assert Language().detect("東京の駅です")[0] == "ja"


def test_columns():
    rows = pa.table(
        {
            "sample_id": list("abcde"),
            "text": [SAID["en"], SAID["en"], None, "12", SAID["de"]],
            "lang": pa.array(["en-GB", "fr", "en", "en", None], pa.string()),
        }
    )
    made = Language().annotate(rows, {})
    assert made.select(Language.columns.names).schema.types == Language.columns.types
    assert made["lang"].to_pylist() == ["en", "en", None, "und", "de"]
    assert made["agrees"].to_pylist() == [True, False, None, None, None]
    assert made["confidence"].to_pylist()[2:4] == [None, 0.0]


def test_tags_that_mean_the_same_or_nearly_agree():
    assert agree("eng", "en") and agree("zh-Hant-TW", "zh") and agree("nn", "nb") and agree("sr", "hr")
    assert agree("fr", "en") is False and agree(None, "en") is None and agree("mul", "en") is None
    assert agree("en", "und") is None


def test_unknown_languages_are_refused_by_name():
    with pytest.raises(ValidationError, match="klingon"):
        Language(languages=("en", "klingon"))


def kept(**settings: object) -> list[bool]:
    rows = pa.table(
        {
            "sample_id": list("abcdefg"),
            "lang": pa.array(["en", "en", "fr", "de-AT", None, None, "en"], pa.string()),
            "language.lang": pa.array(["en", "de", "und", "de", None, "fr", "fr"], pa.string()),
            "language.confidence": pa.array([0.99, 0.99, 0.1, 0.9, None, 0.95, 0.6], pa.float32()),
            "language.agrees": pa.array([True, False, None, True, None, None, False], pa.bool_()),
        }
    )
    return KeepLanguage(**settings).keep(rows).to_pylist()  # type: ignore[arg-type]


def test_only_wanted_languages_stay():
    assert kept(languages=("en", "fr"), agree=False) == [True, False, True, False, True, True, True]


def test_who_contradicts_with_certainty_goes():
    assert kept() == [True, False, True, True, True, True, True]
    assert kept(min_confidence=0.5) == [True, False, True, True, True, True, False]
    assert kept(agree=False) == [True] * 7
