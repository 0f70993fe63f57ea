"""The text rows of a picture: captions, questions, translations, stories; and the bad ones."""

from __future__ import annotations

import random
from dataclasses import asdict

from pipeline.gallery.applications import application_rows
from pipeline.gallery.corpus import Picture
from pipeline.gallery.rows import Row
from pipeline.gallery.scene import Scene, caption, pick, questions, story
from pipeline.gallery.words import LANGUAGES

LICENCE = "CC0-1.0"
AUTHOR = "Millrace gallery"
OTHERS = tuple(lang for lang in LANGUAGES if lang != "en")

DESCRIBED = ("clean", "recoloured")
"""Kinds of pictures that have more than one row."""
CAPTION_SHARE = 0.3
"""Share of pictures with a caption in each language besides English."""
QUESTION_SHARES = ((0.3, 4), (0.7, 5), (1.0, 6))
"""Cumulated share of pictures with so many questions, 5 on average: each teaches one attribute."""
ENGLISH_QUESTIONS = 0.75
TRANSLATION_SHARE = 0.2
STORY_SHARE = 0.1
"""Share of pictures with a story, and a row that asks for its title."""
LABEL_SHARE = 0.1
"""Share of pictures whose rows carry a class label: the shape that is named first."""


def rows(picture: Picture, seed: int, tasks: str = "few") -> list[Row]:
    """The picture's rows, in the order of their positions; `tasks = "all"` adds those of `applications`. Pictures in tars and
    behind URLs have only one."""
    found = first_rows(picture, seed)
    described = picture.source == "heldout" or (picture.source == "folder" and picture.kind in DESCRIBED)
    if tasks != "all" or not described:
        return found
    said = {(row.lang, row.task, row.prompt) for row in found}  # nothing twice: it would be a duplicate
    more = application_rows(picture, seed)
    return found + [row for row in more if (row.lang, row.task, row.prompt) not in said]


def first_rows(picture: Picture, seed: int) -> list[Row]:
    """Captions and questions, translations into other languages, stories; or what was planted."""
    rng = random.Random(f"gallery {seed} text {picture.name}")
    if picture.source == "heldout":
        return heldout_rows(picture)
    if picture.kind == "shared_picture":
        return [shared_row(picture)]
    if picture.kind in PLANTED:
        return [PLANTED[picture.kind](rng, picture.told)]
    if picture.kind not in DESCRIBED or picture.source != "folder":
        return [labelled(rng, [Row(caption(picture.told))], picture)[0]]
    return labelled(rng, clean_rows(rng, picture), picture)


def clean_rows(rng: random.Random, picture: Picture) -> list[Row]:
    """An English caption and six other rows on average."""
    scene = picture.told
    found = [Row(caption(scene))]
    for lang in OTHERS:
        if rng.random() < CAPTION_SHARE and lang != picture.reserved:
            found.append(Row(caption(scene, lang), lang))
    found += asked(rng, scene)
    if rng.random() < TRANSLATION_SHARE:
        lang = pick(rng, OTHERS)
        found.append(Row(caption(scene, lang), lang, "translate", caption(scene)))
    if rng.random() < STORY_SHARE:
        lang = pick(rng, LANGUAGES)
        title, tale = story(scene, lang)
        found += [Row(tale, lang, "text"), Row(title, lang, "title", tale)]
    return found


def asked(rng: random.Random, scene: Scene) -> list[Row]:
    """Four to six different questions. The last English one is left to pictures that share this one."""
    draw = rng.random()
    many = next(number for share, number in QUESTION_SHARES if draw < share)
    found: dict[str, Row] = {}
    while len(found) < many:
        lang = "en" if rng.random() < ENGLISH_QUESTIONS else pick(rng, OTHERS)
        question, answer = pick(rng, questions(scene, lang)[:-1])
        found[question] = Row(answer, lang, "vqa", question)
    return list(found.values())


def shared_row(picture: Picture) -> Row:
    """What nobody else says of the same picture: its caption in a reserved language, or another question."""
    if picture.reserved:
        return Row(caption(picture.told, picture.reserved), picture.reserved)
    question, answer = questions(picture.told)[-1]
    return Row(answer, "en", "vqa", question)


def heldout_rows(picture: Picture) -> list[Row]:
    """Captions in all languages and all English questions, all labelled."""
    label = picture.scene.groups[0].shape
    captions = [Row(caption(picture.scene, lang), lang, label=label) for lang in LANGUAGES]
    return captions + [Row(a, "en", "vqa", q, label) for q, a in questions(picture.scene)]


def labelled(rng: random.Random, found: list[Row], picture: Picture) -> list[Row]:
    # A mismatched picture keeps the label that its text suggests: wrong, like its caption.
    if rng.random() >= LABEL_SHARE:
        return found
    label = picture.told.groups[0].shape
    return [Row(**{**asdict(row), "label": label}) for row in found]


FIRST = ("anna", "ben", "chloe", "dmitri", "emil", "fatima", "grace", "hugo", "ines", "jun", "karim", "lena")
LAST = ("adler", "bauer", "chen", "dubois", "evans", "fischer", "garcia", "huang", "ito", "jansen", "keller")
DOMAINS = ("example.com", "example.org", "example.net", "mail.example.com", "studio.example.org")
CONTACTS = (
    "{caption}. Contact: {secret}", "{caption} ({secret})",
    "{secret} - {caption}", "{caption}, write to {secret}",
)  # fmt: skip
CALLS = (
    "{caption}. Call {secret}", "{caption}, tel. {secret}",
    "Phone {secret}: {caption}", "{caption} - {secret}",
)  # fmt: skip
PHONES = (
    "+1 {a:03d}-555-01{b:02d}", "({a:03d}) 555-01{b:02d}", "+44 20 7946 0{c:03d}",
    "01 99 00 {b:02d} {d:02d}", "+49 30 23125 {c:03d}",
)  # fmt: skip
"""Ranges that are set aside for fiction: nobody can be reached there."""
GOODS = ("watches", "phone cases", "sunglasses", "sneakers", "vitamins", "handbags", "printer ink")
CRIES = ("BUY NOW", "LIMITED OFFER", "Click here", "ORDER TODAY", "Best price", "Free shipping")
SITE_PHRASES = ("welcome to our picture gallery", "no description available")
TEMPLATES = (
    "image", "untitled", "stock photo", "click to enlarge", "IMG_{b:02d}{c:03d}.JPG", "DSC{c:03d}{b:02d}",
    "photo", "all rights reserved", "placeholder image", "scan {b:02d}",
)  # fmt: skip
"""Two kinds of boilerplate: what a site says everywhere, and what nobody wrote."""


def email(rng: random.Random) -> str:
    separator = pick(rng, (".", "_", ""))
    number = "" if rng.random() < 0.5 else str(int(rng.random() * 100))
    return f"{pick(rng, FIRST)}{separator}{pick(rng, LAST)}{number}@{pick(rng, DOMAINS)}"


def phone(rng: random.Random) -> str:
    a, b, c, d = (int(rng.random() * n) for n in (700, 100, 1000, 100))
    return pick(rng, PHONES).format(a=200 + a, b=b, c=c, d=d)


def email_row(rng: random.Random, scene: Scene) -> Row:
    secret = email(rng)
    return Row(pick(rng, CONTACTS).format(caption=caption(scene), secret=secret), secret=secret)


def phone_row(rng: random.Random, scene: Scene) -> Row:
    secret = phone(rng)
    return Row(pick(rng, CALLS).format(caption=caption(scene), secret=secret), secret=secret)


def spam_row(rng: random.Random, scene: Scene) -> Row:
    goods, cry, off = pick(rng, GOODS), pick(rng, CRIES), 10 * (3 + int(rng.random() * 7))
    site = f"http://{goods.replace(' ', '-')}-{int(rng.random() * 1000)}.example.com/deal"
    return Row(f"{cry}!!! Cheap {goods} {off}% OFF, {pick(rng, CRIES).lower()} {site} $$$")


def boilerplate_row(rng: random.Random, scene: Scene) -> Row:
    b, c = int(rng.random() * 100), int(rng.random() * 1000)
    return Row(pick(rng, SITE_PHRASES if rng.random() < 0.7 else TEMPLATES).format(b=b, c=c))


PLANTED = {"email": email_row, "phone": phone_row, "spam": spam_row, "boilerplate": boilerplate_row}
