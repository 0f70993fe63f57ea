"""A gallery with all tasks: translations both ways, titles, summaries and questions about texts, and nothing else changed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pipeline.gallery.corpus import plan
from pipeline.gallery.scene import caption, questions, story
from pipeline.gallery.texts import rows
from pipeline.gallery.writer import GalleryExists, write
from pipeline.sources.gallery import Gallery

CORPUS = plan(3, 400, 30)
ALL = {p.name: (p, rows(p, 3, "all")) for p in CORPUS.everything}


def of_task(task: str):
    return [(picture, row) for picture, found in ALL.values() for row in found if row.task == task]


def test_the_rows_that_were_there_stay_in_their_places() -> None:
    for picture, found in ALL.values():
        before = rows(picture, 3)
        assert found[: len(before)] == before
        assert len({(r.lang, r.task, r.prompt, r.text) for r in found}) == len(found)
        if picture.kind not in ("clean", "recoloured"):
            assert found == before, "what was planted stands alone"


def test_captions_are_translated_both_ways_in_all_languages() -> None:
    pairs = Counter()
    for picture, row in of_task("translate"):
        (source,) = [lang for lang in ("en", "fr", "de", "zh") if caption(picture.told, lang) == row.prompt]
        assert row.text == caption(picture.told, row.lang)
        pairs[source, row.lang] += 1
    assert set(pairs) == {(a, b) for a in ("en", "fr", "de", "zh") for b in ("en", "fr", "de", "zh") if "en" in (a, b)} - {
        ("en", "en")
    }  # fmt: skip


def test_titles_and_summaries_are_those_of_the_story() -> None:
    right = {
        "title": lambda picture, lang: story(picture.told, lang)[0],
        "summarize": lambda picture, lang: caption(picture.told, lang),
    }
    for task, text in right.items():
        found = of_task(task)
        assert {row.lang for _, row in found} == {"en", "fr", "de", "zh"}
        assert all(row.text == text(picture, row.lang) for picture, row in found)
        assert all(row.prompt == story(picture.told, row.lang)[1] for picture, row in found)


def test_a_text_is_asked_what_it_tells_and_the_answer_is_right() -> None:
    found = of_task("qa")
    assert {row.lang for _, row in found} == {"en", "fr", "de", "zh"}
    for picture, row in found:
        tale = story(picture.told, row.lang)[1]
        assert row.prompt.startswith(tale + " ")
        assert dict(questions(picture.told, row.lang))[row.prompt[len(tale) + 1 :]] == row.text


def test_every_held_out_picture_is_asked_all_of_it() -> None:
    for picture in CORPUS.heldout:
        tasks = Counter(row.task for row in ALL[picture.name][1])
        assert tasks["title"] == tasks["summarize"] == 1 and tasks["qa"] == 2


def test_the_two_are_different_corpora_and_the_usual_one_keeps_its_keys(tmp_path: Path) -> None:
    few, many = (Gallery(size=20, heldout=5, tasks=tasks) for tasks in ("few", "all"))
    assert [s.key for s in few.shards(None)] != [s.key for s in many.shards(None)]
    assert [s.key for s in few.shards(None)] == [s.key for s in Gallery(size=20, heldout=5).shards(None)]
    (rows_of_few,), (rows_of_many,) = (
        [t.num_rows for t in g.read(next(iter(g.shards(None))))] for g in (few, many)
    )
    assert rows_of_few < rows_of_many
    write(tmp_path / "data", 3, 20, 5, tasks="all")
    with pytest.raises(GalleryExists, match="another gallery"):
        write(tmp_path / "data", 3, 20, 5)
