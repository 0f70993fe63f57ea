"""The translation template: what was put in comes out, and what is no template is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import Vocabulary
from model.templates import LANGUAGES, WORDS, Prompt, language, read, translation, worded

TAGS = ("<lang:en>", "<lang:fr>", "<lang:de>", "<lang:zh-Hant>", "<task:translate>")
VOCABULARY = Vocabulary(size=99, specials={tag: i for i, tag in enumerate(("<bos>", "<sep>", *TAGS))})


def test_the_prompt_of_the_design_is_a_translation() -> None:
    asked = "Translate the following English text to French: 'Hello, how are you?'"
    assert read(asked, VOCABULARY) == Prompt("Hello, how are you?", "fr", "translate")


@given(st.text())
def test_any_text_comes_out_as_it_was_put_in(text: str) -> None:
    assert read(translation(text, "English", "German"), VOCABULARY) == Prompt(text, "de", "translate")


@given(st.text(alphabet="Translate the following English text to French: '‘’\"“”.\n ", max_size=120))
def test_whatever_is_asked_has_an_answer_that_loses_no_text(text: str) -> None:
    prompt = read(text, VOCABULARY)
    assert prompt == Prompt(text) or (prompt.lang == "fr" and prompt.text in text)


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz ", min_size=1, max_size=20))
def test_an_unknown_language_stays_plain_text(name: str) -> None:
    asked = translation("Hello", "English", name)
    known = language(name, VOCABULARY) in ("en", "fr", "de", "zh-Hant")
    assert (read(asked, VOCABULARY) == Prompt(asked)) != known


@pytest.mark.parametrize(
    ("asked", "lang", "text"),
    [
        ("translate the following English text into FRENCH: 'it's \"so\"'", "fr", 'it\'s "so"'),
        ("Translate the following English text to German: “a 'b' c”", "de", "a 'b' c"),
        ("Translate the following French text to zh-hant: 'bonjour'", "zh-Hant", "bonjour"),
        ("Translate the following German text to <lang:fr>: 'ja: nein'.", "fr", "ja: nein"),
        ("  Translate the following English text to French:\n'two\nlines'\n", "fr", "two\nlines"),
        ("Translate the following English text to French: ''", "fr", ""),
    ],
)
def test_the_template_as_people_write_it(asked: str, lang: str, text: str) -> None:
    assert read(asked, VOCABULARY) == Prompt(text, lang, "translate")


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "Translate the following English text to French: Hello",  # no quotes
        "Translate the following English text to French: 'Hello”",  # quotes of two kinds
        "Translate the following English text to French: 'Hello' and smile",
        "Translate the following English text to Klingon: 'Hello'",
        "Translate the following Klingon text to French: 'Qapla'",
        "Translate the following English text to Welsh: 'Hello'",  # a language, but without a tag
        "Please translate the following English text to French: 'Hello'",
    ],
)
def test_all_else_is_plain_text(asked: str) -> None:
    assert read(asked, VOCABULARY) == Prompt(asked)


def test_without_a_tag_for_the_task_nothing_is_a_translation() -> None:
    small = Vocabulary(size=9, specials={"<lang:fr>": 0})
    asked = translation("Hello", "English", "French")
    assert read(asked, small) == Prompt(asked)


def test_names_of_languages_have_codes() -> None:
    assert all(name == name.lower() and code.isalpha() and len(code) == 2 for name, code in LANGUAGES.items())
    assert len(set(LANGUAGES.values())) == len(LANGUAGES)


TASKED = Vocabulary(
    size=99,
    specials={
        t: i for i, t in enumerate((*TAGS, "<lang:zh>", "<lang:sv>", *(f"<task:{one}>" for one in WORDS)))
    },
)


@given(st.sampled_from(sorted(WORDS)), st.sampled_from(("en", "fr", "de", "zh", "sv")), st.text())
def test_the_words_of_a_task_are_taken_apart_again(task: str, lang: str, text: str) -> None:
    prompt = "" if task == "caption" else text
    assert read(worded(task, lang, text), TASKED) == Prompt(prompt, lang, task)
    assert read(worded(task, lang, text), VOCABULARY).task is None, (
        "a model without the tag reads it as it is"
    )


@pytest.mark.parametrize(
    "asked", ["Describe this picture in one sentence. Please.", "Answer in French.", "What is it?"]
)
def test_other_words_stay_as_they_are(asked: str) -> None:
    assert read(asked, TASKED) == Prompt(asked)
