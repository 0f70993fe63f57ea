"""Titles for articles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from model import measures
from model.outcome import Asked
from model.tasks.summarize import first_sentence
from model.tasks.task import AnswerTask, Given, Measure


class Title(AnswerTask):
    """Gives a text its title; beside it stands the text's own first sentence."""

    measures: ClassVar[Mapping[str, Measure]] = {
        "exact": measures.exact,
        "rouge_l": measures.rouge_l,
        "chrf": measures.chrf,
    }
    baseline: ClassVar[str] = "first_sentence"
    templates: ClassVar[Mapping[str, str]] = {
        "en": "Give the following text a title, and say nothing else: {prompt}",
        "fr": "Donne un titre au texte suivant, sans rien ajouter : {prompt}",
        "de": "Gib dem folgenden Text einen Titel, und sage sonst nichts: {prompt}",
        "zh": "请给下面的文字起一个标题，不要说别的：{prompt}",
    }

    def trivial(self, asked: Sequence[Asked], given: Given) -> list[str] | None:
        return [first_sentence(one.prompt) for one in asked]
