"""Captions that are only a date, and captions that are alike but for a word."""

from __future__ import annotations

import pytest

from pipeline.gathers.boilerplate import Boilerplate


def judge(corpus, captions: list[str], **settings: float | bool) -> dict[str, str | None]:
    """Each caption under a picture of its own: caption to the detail of its verdict, None for kept."""
    for at, text in enumerate(captions):
        corpus.sample(f"{at:04d}", f"p{at}", text)
    verdicts = corpus.run(Boilerplate(**settings))
    return {text: verdicts[f"{at:04d}"][2] for at, text in enumerate(captions)}


@pytest.mark.parametrize(
    "text",
    ["2019-05-03", "12 May 2014 14:33:02", "May 12, 2014", "Monday, May 12th, 2014", "3. Mai 2014", "12 de mayo de 2014",
     "12 mai 2014 à 14h30", "2014年5月12日", "20190503", "03.05.2019 14:33", "12 maja 2014", "12 мая 2014", "March 2014",
     "2019-05-03T10:20:30Z", "5/3/19", "1er juin 2012", "12 dicembre 2010", "Sonntag, 3. Oktober 2010",
     "12/31/2015 11:59 PM"],
)  # fmt: skip
def test_a_date_describes_nothing(corpus, text: str):
    assert judge(corpus, [text]) == {text: "template"}


@pytest.mark.parametrize(
    "text",
    ["May flowers in 2014", "2014", "12 eggs", "A march on 12 May 2014", "may", "Room 12.05", "3 x 4", "1984", "mars 12 rover"],
)  # fmt: skip
def test_a_text_with_a_date_stays(corpus, text: str):
    assert judge(corpus, [text]) == {text: None}


def test_captions_alike_but_for_a_word_go_where_there_are_many(corpus):
    names = [
        "lamps",
        "chairs",
        "tables",
        "sofas",
        "beds",
        "desks",
        "shelves",
        "rugs",
        "mirrors",
        "clocks",
        "vases",
        "stools",
    ]
    told = [f"Buy {name} here" for name in names] + [f"Photo album page {n} of 99" for n in range(12)]
    others = ["a cat on a mat", "Buy me a boat", "here comes the sun", "page after page of it"]
    found = judge(corpus, told + others, pictures=10, share=0.1)
    assert {found[text] for text in told} == {"but for a word on 12 pictures"}
    assert {found[text] for text in others} == {None}


def test_few_pictures_or_few_different_words_are_no_template(corpus):
    colours = [f"a {colour} circle on white" for colour in ("red", "blue", "green")] * 7
    few = [f"Buy {name} here" for name in ("lamps", "chairs", "beds")]
    assert set(judge(corpus, colours + few, pictures=10, share=0.0).values()) == {None}


def test_frames_can_be_left_alone(corpus):
    told = [f"Buy number{chr(97 + n)} here" for n in range(12)]
    assert set(judge(corpus, told, pictures=10, share=0.0, frames=False).values()) == {None}
