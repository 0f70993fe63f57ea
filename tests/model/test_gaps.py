"""Where something was forgotten, batches hold padding, and everything else lies where it lay."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from model.batches import Batches
from model.config import BatchConfig
from model.corpus import Corpus
from model.tokenizers import Tokenizers

TEXT, PICTURE = "00071", "image0011"
"""A text whose picture stays, and a picture that goes with its three texts."""


def without(table: pa.Table, column: str, *values: str) -> pa.Table:
    return table.filter(pc.invert(pc.is_in(table[column], pa.array(values))))


@pytest.fixture(scope="module")
def amended(made_rows: tuple[pa.Table, ...], corpus: Corpus) -> Corpus:
    """The corpus without them, and with what `storage.amend` keeps of their places."""
    samples, tokens, images = made_rows
    ids = [TEXT, *samples.filter(pc.equal(samples["image_id"], PICTURE))["sample_id"].to_pylist()]
    at = [corpus.sample_ids.tolist().index(one.encode()) for one in ids]
    picture = corpus.image_ids.tolist().index(PICTURE.encode())
    texts = [
        {"picture_of": int(corpus.picture[i]), "place": i, "lang": corpus.langs[corpus.lang[i]]}
        | {"task": corpus.tasks[corpus.task[i]], "prompt_tokens": len(corpus.prompt(i))}
        | {"text_tokens": len(corpus.text(i))}
        for i in sorted(at)
    ]
    gaps = pa.Table.from_pylist([*texts, dict.fromkeys(texts[0]) | {"place": picture}])
    left = [without(table, "sample_id", *ids) for table in (samples, tokens)]
    return Corpus.of(*left, without(images, "image_id", PICTURE), gaps)


def made(corpus: Corpus, tokenizers: Tokenizers) -> Batches:
    config = BatchConfig(rows=4, row_length=96, text_share=0.2, text_tasks=("vqa",))
    return Batches(corpus, config, tokenizers.model_config("tiny"), tokenizers.vocabulary, 0)


def test_all_else_keeps_its_place_and_nothing_is_learned_there(
    corpus: Corpus, amended: Corpus, tokenizers: Tokenizers
) -> None:
    before, after, emptied = made(corpus, tokenizers), made(amended, tokenizers), 0
    gone = {
        TEXT,
        *(corpus.sample_ids[corpus.picture == corpus.image_ids.tolist().index(PICTURE.encode())].astype(str)),
    }
    for step in range(30):
        names = [[one for one in row if one not in gone] for row in before.sample_ids(step)]
        assert after.sample_ids(step) == names
        old, new = before.batch(step), after.batch(step)
        empty = (old.units >= 0) & (new.units < 0)
        emptied += int(empty.any())
        assert (new.targets[empty] == -1).all()
        assert (new.ids[empty] == tokenizers.vocabulary["<pad>"]).all()
        for name in vars(old):
            assert getattr(old, name)[~empty].equal(getattr(new, name)[~empty]), (step, name)
    assert emptied > 5


def test_nothing_of_it_is_in_the_arrays(corpus: Corpus, amended: Corpus) -> None:
    assert len(amended.sample_ids) == len(corpus.sample_ids) and len(amended.codes) == len(corpus.codes)
    assert amended.gone.sum() == 4 and amended.gone_picture.sum() == 1
    assert not amended.codes[amended.gone_picture].any()
    assert all(
        not np.any(amended.text(i)) and not np.any(amended.prompt(i)) for i in np.flatnonzero(amended.gone)
    )
