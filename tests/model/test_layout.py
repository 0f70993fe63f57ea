"""Batches are laid out many rows at once; one run after the other, as `model.sequences` writes them, gives the same."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import torch

from model.batches import Batch, Batches, Unit
from model.config import BatchConfig, ModelConfig
from model.corpus import Corpus
from model.plan import BLOCK
from model.rows import Rows
from model.tokenizers import Tokenizers
from tests.model.reading import SMALL, VARIANTS

SETTINGS = [
    {},
    {"draw_share": 0.6, "caption_dropout": 0.5},
    {"draw_share": 0.5, "text_loss_when_drawing": True, "image_loss_when_reading": True},
    {"text_share": 0.5, "texts_per_picture": 1},
    {"text_share": 0.4, "text_tasks": ("vqa",), "texts_per_picture": 3},
    {"rows": 1, "row_length": 300},
]


def written(batches: Batches, step: int, see_whole_picture: bool) -> Batch:
    """The batch of a step, run by run."""
    rows = Rows(batches.config.rows, batches.config.row_length, batches.sequences)
    for r, units in enumerate(batches.plan(step)):
        for number, unit in enumerate(units):
            {"read": read, "draw": draw, "text": text}[unit.kind](
                batches, rows, r, number, unit, see_whole_picture
            )
    return rows.batch()


def read(b: Batches, rows: Rows, row: int, number: int, unit: Unit, see_whole_picture: bool) -> None:
    c, s, n = b.corpus, b.sequences, b.codes
    loss = (0, n) if b.config.image_loss_when_reading else (0, 0)
    run = rows.add(row, s.picture(c.codes[unit.picture]), 0, number, 0, loss)
    if see_whole_picture:
        rows.columns["blocks"][row, run.start + 1 : run.stop - 1] = number + 1
    for branch, i in enumerate(unit.texts, 1):
        question = s.question(c.langs[c.lang[i]], c.tasks[c.task[i]], c.prompt(i))
        ids = question + s.answer(c.text(i))
        rows.add(row, ids, s.after_picture, number, branch, (len(question) - 1, len(ids) - 1))


def draw(b: Batches, rows: Rows, row: int, number: int, unit: Unit, _: bool) -> None:
    c, s, n = b.corpus, b.sequences, b.codes
    wish, first = s.wish(), 0
    if unit.captioned:
        i = unit.texts[0]
        wish = s.wish(c.langs[c.lang[i]], c.text(i))
        first = len(wish) - 2 - len(c.text(i))
    picture = s.picture(c.codes[unit.picture])
    start = first if b.config.text_loss_when_drawing and unit.captioned else len(wish) - 1
    rows.add(row, wish + picture[1:], 0, number, 0, (start, len(wish) - 1 + n))


def text(b: Batches, rows: Rows, row: int, number: int, unit: Unit, _: bool) -> None:
    c, s, i = b.corpus, b.sequences, unit.texts[0]
    start = s.text(c.langs[c.lang[i]], c.tasks[c.task[i]], c.prompt(i))
    ids = start + s.answer(c.text(i))
    rows.add(row, ids, 0, number, 0, (len(start) - 1, len(ids) - 1))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("variant", ["default", "plain"])
def test_laid_out_at_once_is_written_run_by_run(
    corpus: Corpus, tokenizers: Tokenizers, settings: dict, variant: str
) -> None:
    config = BatchConfig(**{"rows": 4, "row_length": 120, **settings})
    model = ModelConfig.preset("tiny", tokenizers.modalities(), **SMALL, **VARIANTS[variant])
    batches = Batches(corpus, config, model, tokenizers.vocabulary, seed=1)
    kinds = set()
    for step in (0, 1, BLOCK - 1, BLOCK, 5 * BLOCK + 3):
        wanted, found = written(batches, step, model.see_whole_picture), batches.batch(step)
        for name, column in vars(wanted).items():
            assert torch.equal(getattr(found, name), column), name
        kinds |= {unit.kind for row in batches.plan(step) for unit in row}
    asked = {"draw"} if config.draw_share else set()
    assert kinds == asked | {"read"} | (
        {"text"} if config.text_share and config.text_tasks == ("vqa",) else set()
    )


def test_a_corpus_without_pictures_is_laid_out_all_the_same(made_rows, tokenizers: Tokenizers) -> None:
    samples, tokens, images = made_rows
    alone = samples.set_column(
        samples.column_names.index("image_id"), "image_id", pa.nulls(len(samples), pa.string())
    )
    corpus = Corpus.of(alone, tokens, images.slice(0, 0))
    config = BatchConfig(rows=4, row_length=120, text_share=1.0)
    model = ModelConfig.preset("tiny", tokenizers.modalities(), **SMALL)
    batches = Batches(corpus, config, model, tokenizers.vocabulary, seed=1)
    found, wanted = batches.batch(0), written(batches, 0, model.see_whole_picture)
    assert (found.targets >= 0).any()
    for name, column in vars(wanted).items():
        assert torch.equal(getattr(found, name), column), name


def test_a_step_is_the_same_whichever_came_before(
    corpus: Corpus, tokenizers: Tokenizers, tmp_path: Path
) -> None:
    config = BatchConfig(rows=4, row_length=120)
    model = ModelConfig.preset("tiny", tokenizers.modalities(), **SMALL)
    one = Batches(corpus, config, model, tokenizers.vocabulary, seed=1)
    other = Batches(corpus, config, model, tokenizers.vocabulary, seed=1)
    in_turn = {step: one.batch(step) for step in range(3 * BLOCK)}
    for step in (40, 3, 17, 16, 15, 0, 47):
        assert all(
            torch.equal(a, b) for a, b in zip(vars(in_turn[step]).values(), vars(other.batch(step)).values())
        )
        assert one.sample_ids(step) == other.sample_ids(step)
