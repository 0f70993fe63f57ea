"""What a scene teaches beyond captions and questions: translations both ways, titles, summaries, questions about a text."""

from __future__ import annotations

import random

from pipeline.gallery.corpus import Picture
from pipeline.gallery.rows import Row
from pipeline.gallery.scene import Scene, caption, pick, questions, story
from pipeline.gallery.words import LANGUAGES

OTHERS = tuple(lang for lang in LANGUAGES if lang != "en")
TRANSLATION_SHARE = 0.3
"""Share of pictures whose caption is translated into each other language, and of those translated from it."""
STORY_SHARE = 0.4
"""Share of pictures with a story of which title, summary and questions are asked."""
QUESTIONS = 2


def application_rows(picture: Picture, seed: int) -> list[Row]:
    """Rows of a picture that needs none of them to be answered. Held-out pictures have a story each."""
    rng = random.Random(f"gallery {seed} applications {picture.name}")
    scene = picture.told
    if picture.source == "heldout":
        return [*story_rows(rng, scene)]
    found = []
    for lang in OTHERS:
        for source, target in (("en", lang), (lang, "en")):
            if rng.random() < TRANSLATION_SHARE:
                found.append(Row(caption(scene, target), target, "translate", caption(scene, source)))
    return found + (story_rows(rng, scene) if rng.random() < STORY_SHARE else [])


def story_rows(rng: random.Random, scene: Scene) -> list[Row]:
    """A story's title, its summary (what is seen, in one line), and questions that it answers."""
    lang = pick(rng, LANGUAGES)
    title, tale = story(scene, lang)
    found = [Row(title, lang, "title", tale), Row(caption(scene, lang), lang, "summarize", tale)]
    asked = dict(questions(scene, lang))
    for question in sorted(asked, key=lambda _: rng.random())[:QUESTIONS]:
        found.append(Row(asked[question], lang, "qa", f"{tale} {question}"))
    return found
