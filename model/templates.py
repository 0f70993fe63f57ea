"""Prompts that people write in words, and what they ask of the model: the one place for the command line, the server and
the Hugging Face classes.

There is a template for each task, such as "Translate the following English text to French: 'Hello'", in four languages but for
that one. All other text is a prompt as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from model.config import Vocabulary

TRANSLATE = "translate"
LANGUAGES = {
    "afrikaans": "af", "albanian": "sq", "amharic": "am", "arabic": "ar", "armenian": "hy", "azerbaijani": "az",
    "basque": "eu", "belarusian": "be", "bengali": "bn", "bosnian": "bs", "breton": "br", "bulgarian": "bg",
    "burmese": "my", "catalan": "ca", "chinese": "zh", "croatian": "hr", "czech": "cs", "danish": "da", "dutch": "nl",
    "english": "en", "esperanto": "eo", "estonian": "et", "finnish": "fi", "french": "fr", "galician": "gl",
    "georgian": "ka", "german": "de", "greek": "el", "gujarati": "gu", "hausa": "ha", "hebrew": "he", "hindi": "hi",
    "hungarian": "hu", "icelandic": "is", "igbo": "ig", "indonesian": "id", "irish": "ga", "italian": "it",
    "japanese": "ja", "kannada": "kn", "kazakh": "kk", "khmer": "km", "korean": "ko", "kurdish": "ku", "lao": "lo",
    "latin": "la", "latvian": "lv", "lithuanian": "lt", "luxembourgish": "lb", "macedonian": "mk", "malay": "ms",
    "malayalam": "ml", "maltese": "mt", "marathi": "mr", "mongolian": "mn", "nepali": "ne", "norwegian": "no",
    "occitan": "oc", "pashto": "ps", "persian": "fa", "polish": "pl", "portuguese": "pt", "punjabi": "pa",
    "quechua": "qu", "romanian": "ro", "russian": "ru", "serbian": "sr", "sinhala": "si", "slovak": "sk",
    "slovenian": "sl", "somali": "so", "spanish": "es", "swahili": "sw", "swedish": "sv", "tagalog": "tl",
    "tajik": "tg", "tamil": "ta", "tatar": "tt", "telugu": "te", "thai": "th", "tibetan": "bo", "turkish": "tr",
    "ukrainian": "uk", "urdu": "ur", "uzbek": "uz", "vietnamese": "vi", "welsh": "cy", "wolof": "wo", "xhosa": "xh",
    "yiddish": "yi", "yoruba": "yo", "zulu": "zu",
}  # fmt: skip
"""English names of languages to their BCP 47 codes."""
QUOTES = {"'": "'", '"': '"', "‘": "’", "“": "”", "«": "»"}
"""What opens a quoted text, and what closes it."""
WORDS = {
    "caption": {
        "en": "Describe this picture in one sentence.",
        "fr": "Décris cette image en une phrase.",
        "de": "Beschreibe dieses Bild in einem Satz.",
        "zh": "请用一句话描述这张图片。",
    },
    "vqa": {
        "en": "{prompt} Answer with one word or a few.",
        "fr": "{prompt} Réponds en un mot ou quelques-uns.",
        "de": "{prompt} Antworte mit einem Wort oder wenigen.",
        "zh": "{prompt}请用一个词或几个词回答。",
    },
    "qa": {
        "en": "{prompt} Answer from the text, with one word or a few.",
        "fr": "{prompt} Réponds d'après le texte, en un mot ou quelques-uns.",
        "de": "{prompt} Antworte nach dem Text, mit einem Wort oder wenigen.",
        "zh": "{prompt}请根据文字，用一个词或几个词回答。",
    },
    "summarize": {
        "en": "Summarise the following text in one sentence: {prompt}",
        "fr": "Résume le texte suivant en une phrase : {prompt}",
        "de": "Fasse den folgenden Text in einem Satz zusammen: {prompt}",
        "zh": "请用一句话概括下面的文字：{prompt}",
    },
    "title": {
        "en": "Give the following text a title, and say nothing else: {prompt}",
        "fr": "Donne un titre au texte suivant, sans rien ajouter : {prompt}",
        "de": "Gib dem folgenden Text einen Titel, und sage sonst nichts: {prompt}",
        "zh": "请给下面的文字起一个标题，不要说别的：{prompt}",
    },
}
"""How a person asks for each task, by language; in any other, in English, with the language's name at the end."""
_ELSEWHERE = re.compile(r"(?P<asked>.*) Answer in (?P<lang>[^.]{1,60})\.", re.DOTALL)
_TEMPLATE = re.compile(
    r"\s*translate\s+the\s+following\s+(?P<source>[^'\":]{1,60}?)\s+text\s+(?:in)?to\s+(?P<target>[^'\"]{1,60}?)\s*:"
    r"\s*(?P<open>['\"‘“«])(?P<text>.*)(?P<close>['\"’”»])\s*\.?\s*",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Prompt:
    """What is asked: the tags of language and task, if any, and the text that they are about."""

    text: str
    lang: str | None = None
    task: str | None = None


def read(text: str, vocabulary: Vocabulary) -> Prompt:
    """What a prompt in words asks for. A translation between languages of which one has no name or tag, or by a model
    that has no tag for the task, is plain text like any other."""
    found = _TEMPLATE.fullmatch(text)
    if not found:
        return _of_task(text, vocabulary) or Prompt(text)
    if QUOTES[found["open"]] != found["close"] or f"<task:{TRANSLATE}>" not in vocabulary.specials:
        return Prompt(text)
    source, target = (language(found[part], vocabulary) for part in ("source", "target"))
    if source is None or target is None or f"<lang:{target}>" not in vocabulary.specials:
        return Prompt(text)
    return Prompt(found["text"], target, TRANSLATE)


def language(name: str, vocabulary: Vocabulary) -> str | None:
    """The code of a language by its English name, or by its code or tag where the vocabulary has that; else None."""
    bare = name.strip().removeprefix("<lang:").removesuffix(">")
    known = {
        tag[len("<lang:") : -1].lower(): tag[len("<lang:") : -1]
        for tag in vocabulary.specials
        if is_lang(tag)
    }
    return LANGUAGES.get(" ".join(bare.lower().split())) or known.get(bare.lower())


def is_lang(tag: str) -> bool:
    """Whether a special token asks for a language."""
    return tag.startswith("<lang:")


def worded(task: str, lang: str, prompt: str) -> str:
    """A prompt in the words of its task, which `read` takes apart again."""
    known = WORDS[task]
    ending = "" if lang in known or not lang else f" Answer in {name_of(lang)}."
    return known.get(lang, known["en"]).replace("{prompt}", prompt) + ending


def name_of(lang: str) -> str:
    """The English name of a language, or its code."""
    return next((name.title() for name, code in LANGUAGES.items() if code == lang), lang)


def _of_task(text: str, vocabulary: Vocabulary) -> Prompt | None:
    """What the words of a task ask for, if they are and the model has tags for task and language."""
    elsewhere = _ELSEWHERE.fullmatch(text)
    spoken = language(elsewhere["lang"], vocabulary) if elsewhere else None
    for task, by_lang in WORDS.items():
        for lang, template in by_lang.items():
            before, _, after = template.partition("{prompt}")
            said, answered = text, lang
            if elsewhere and spoken and lang == "en":
                said, answered = elsewhere["asked"], spoken
            inside = said[len(before) : len(said) - len(after)]
            whole = "{prompt}" in template or said == template
            tags = {f"<task:{task}>", f"<lang:{answered}>"}
            if whole and said == before + inside + after and tags <= set(vocabulary.specials):
                return Prompt(inside, answered, task)
    return None


def translation(text: str, source: str, target: str) -> str:
    """The template filled in, which `read` takes apart again: the languages by their English names."""
    return f"Translate the following {source} text to {target}: '{text}'"
