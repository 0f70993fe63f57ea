"""A batch is a function of seed, step and corpus, and holds what the settings ask for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from model.batches import Batch, BatchError, Batches
from model.config import BatchConfig
from model.corpus import Corpus, CorpusError
from model.tokenizers import Tokenizers


def make(corpus: Corpus, tokenizers: Tokenizers, seed: int = 0, **changes: object) -> Batches:
    config = BatchConfig.model_validate({"rows": 4, "row_length": 96} | changes)
    return Batches(corpus, config, tokenizers.model_config("tiny"), tokenizers.vocabulary, seed)


def same(a: Batch, b: Batch) -> bool:
    return all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


def test_any_step_at_once_equals_all_steps_in_turn(corpus: Corpus, tokenizers: Tokenizers) -> None:
    walked = make(corpus, tokenizers)
    batches = [walked.batch(step) for step in range(20)]
    for step in (19, 3, 11):
        assert same(make(corpus, tokenizers).batch(step), batches[step])
    assert not same(make(corpus, tokenizers, seed=1).batch(3), batches[3])
    assert not same(batches[3], batches[4])


def test_the_order_of_the_tables_does_not_matter(corpus: Corpus, tokenizers: Tokenizers, made_rows) -> None:
    rng = np.random.default_rng(0)
    shuffled = [table.take(rng.permutation(len(table))) for table in made_rows]
    assert same(make(Corpus.of(*shuffled), tokenizers).batch(5), make(corpus, tokenizers).batch(5))


def test_a_mapped_corpus_gives_the_same_batches(
    corpus: Corpus, tokenizers: Tokenizers, tmp_path: Path
) -> None:
    corpus.save(tmp_path / "cache")
    corpus.save(tmp_path / "cache")
    mapped = Corpus.mapped(tmp_path / "cache")
    assert isinstance(mapped.ids.base, np.memmap)
    assert same(make(mapped, tokenizers).batch(5), make(corpus, tokenizers).batch(5))
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_every_picture_is_seen_once_an_epoch(corpus: Corpus, tokenizers: Tokenizers) -> None:
    batches = make(corpus, tokenizers, draw_share=0.0, fill=0.5)
    seen = [unit.picture for step in range(200) for row in batches.plan(step) for unit in row]
    counts = Counter(seen)
    assert set(counts) == set(range(len(corpus.codes)))
    assert min(counts.values()) > 10
    assert max(counts.values()) - min(counts.values()) <= 1


def test_shares_and_weights_are_kept(corpus: Corpus, tokenizers: Tokenizers) -> None:
    batches = make(corpus, tokenizers, draw_share=0.4, caption_dropout=0.25, language_weights={"fr": 0.0})
    units = [unit for step in range(300) for row in batches.plan(step) for unit in row]
    drawn = [unit for unit in units if unit.kind == "draw"]
    assert abs(len(drawn) / len(units) - 0.4) < 0.02
    assert abs(np.mean([not unit.captioned for unit in drawn]) - 0.25) < 0.05
    texts = Counter(
        (corpus.langs[corpus.lang[i]], corpus.tasks[corpus.task[i]]) for u in units for i in u.texts
    )
    assert set(texts) == {("en", "caption"), ("en", "vqa")}
    assert all(corpus.tasks[corpus.task[u.texts[0]]] == "caption" for u in drawn)


def test_a_task_in_one_language_can_be_weighted(corpus: Corpus, tokenizers: Tokenizers) -> None:
    weights = {"caption": 1.0, "caption:en": 8.0, "vqa": 0.0}
    batches = make(corpus, tokenizers, draw_share=0.0, task_weights=weights, texts_per_picture=1)
    texts = Counter(
        corpus.langs[corpus.lang[i]] for s in range(300) for r in batches.plan(s) for u in r for i in u.texts
    )
    assert abs(texts["en"] / texts.total() - 8 / 9) < 0.03


def test_rows_are_well_filled(corpus: Corpus, tokenizers: Tokenizers) -> None:
    batches = make(corpus, tokenizers)
    filled = np.mean([(batches.batch(step).units >= 0).float().mean() for step in range(50)])
    assert filled > 0.85
    planned = sum(1 for step in range(50) for row in batches.plan(step) for _ in row)
    assert planned > 0.97 * 50 * batches.per_step


def test_targets_are_the_next_tokens_of_texts_and_drawn_codes(corpus: Corpus, tokenizers: Tokenizers) -> None:
    batch = make(corpus, tokenizers, draw_share=0.5).batch(0)
    vocabulary = tokenizers.vocabulary
    low = vocabulary.size
    specials = set(vocabulary.specials.values()) - {vocabulary["<eos>"]}
    wanted = batch.targets[batch.targets >= 0].tolist()
    assert any(t >= low for t in wanted) and any(t < low for t in wanted)
    assert not specials & set(wanted)
    for row in range(4):
        where = (batch.targets[row] >= 0).nonzero().squeeze(1)
        assert torch.equal(batch.targets[row, where], batch.ids[row, where + 1])
        assert torch.equal(batch.units[row, where], batch.units[row, where + 1])
        assert torch.equal(batch.branches[row, where], batch.branches[row, where + 1])


def test_no_token_sees_another_unit_or_branch(corpus: Corpus, tokenizers: Tokenizers) -> None:
    batch = make(corpus, tokenizers).batch(0)
    mask = batch.tokens().mask
    assert mask is not None
    for row in range(4):
        query, key = mask[row, 0].nonzero().unbind(1)
        other = query != key
        query, key = query[other], key[other]
        assert (batch.units[row, query] == batch.units[row, key]).all()
        same_path = (batch.branches[row, key] == 0) | (batch.branches[row, key] == batch.branches[row, query])
        assert same_path.all()
        read = (batch.blocks[row, key] > 0) & (batch.blocks[row, key] == batch.blocks[row, query])
        assert ((key < query) | read).all()
        assert read.any() == (batch.blocks[row] > 0).any()


def test_samples_in_the_plan_are_those_in_the_batch(corpus: Corpus, tokenizers: Tokenizers) -> None:
    batches = make(corpus, tokenizers)
    names = batches.sample_ids(7)
    assert [len(row) for row in names] == [sum(len(u.texts) for u in row) for row in batches.plan(7)]
    eos = tokenizers.vocabulary["<eos>"]
    ends = (batches.batch(7).ids == eos).sum(1).tolist()
    read = [sum(len(u.texts) for u in row if u.kind == "read") for row in batches.plan(7)]
    assert ends == read


def test_too_short_rows_are_an_error_that_says_so(corpus: Corpus, tokenizers: Tokenizers) -> None:
    with pytest.raises(BatchError, match="row_length"):
        make(corpus, tokenizers, row_length=16)


def test_pictures_without_codes_are_an_error(made_rows) -> None:
    samples, tokens, images = made_rows
    with pytest.raises(CorpusError, match="3 samples"):
        Corpus.of(samples, tokens, images.slice(1))


def test_texts_alone_come_as_often_as_their_task_and_language_weigh(
    corpus: Corpus, tokenizers: Tokenizers
) -> None:
    asked = {"text_share": 1.0, "text_tasks": ("caption", "vqa"), "fill": 0.5}
    batches = make(corpus, tokenizers, task_weights={"caption:fr": 6.0, "vqa": 0.5}, **asked)
    seen: Counter[str] = Counter()
    for step in range(300):
        for unit in (unit for row in batches.plan(step) for unit in row):
            text = unit.texts[0]
            seen[f"{corpus.tasks[corpus.task[text]]} {corpus.langs[corpus.lang[text]]}"] += 1
    share = {name: n / seen["caption en"] for name, n in seen.items()}
    assert share["caption fr"] == pytest.approx(6, rel=0.1)
    assert share["vqa en"] == pytest.approx(0.5, rel=0.15)
    assert same(make(corpus, tokenizers, task_weights={"vqa": 0.5}, **asked).batch(7),
                make(corpus, tokenizers, task_weights={"vqa": 0.5}, **asked).batch(7))  # fmt: skip


def test_texts_alone_of_one_weight_come_once_an_epoch(corpus: Corpus, tokenizers: Tokenizers) -> None:
    asked = {"text_share": 1.0, "text_tasks": ("vqa",), "task_weights": {"caption": 0.0}, "fill": 0.5}
    batches = make(corpus, tokenizers, **asked)
    seen = Counter(unit.texts[0] for step in range(50) for row in batches.plan(step) for unit in row)
    assert len(seen) == 24 and max(seen.values()) - min(seen.values()) <= 1
