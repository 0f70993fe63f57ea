"""Distillation: states come to the teacher's vectors, and with them pictures find their captions; a shuffled teacher
teaches nothing of the kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from model.config import ConfigError, OptimizerConfig, TrainConfig
from model.corpus import Corpus
from model.distil import Distil, Teacher, Vectors
from model.generate import Model
from model.objectives_config import DistilConfig
from model.optim import Optimizer
from model.retrieval import pairs, recalls, retrieval_scores
from model.sequences import Sequences
from model.tokenizers import Tokenizers
from model.train import train
from model.transformer import MATRICES, Transformer
from storage.snapshot import Snapshot, schema_of
from storage.store import Store

KINDS, EACH = 12, 4
"""Planted kinds of pictures, each with a caption of its own, and pictures of each."""


def planted(tokenizers: Tokenizers, seed: int) -> tuple[Corpus, Teacher]:
    """Pictures whose codes tell their kind but for noise, a caption of two words for each kind, and a teacher that knows
    which belong together."""
    rng = np.random.default_rng(seed)
    words = [tokenizers.encode(word)[0] for word in ("dark", "light", "sombre", "claire", "very", "not")]
    kinds = np.repeat(np.arange(KINDS), EACH)
    codes = np.where(
        rng.random((len(kinds), 16)) < 0.2, rng.integers(0, 25, (len(kinds), 16)), 2 * kinds[:, None]
    )
    names = [f"{i:03d}" for i in range(len(kinds))]
    samples = pa.table(
        {
            "sample_id": names,
            "image_id": names,
            "lang": ["en"] * len(kinds),
            "task": ["caption"] * len(kinds),
        }
    )
    ids = [[words[kind % 6], words[kind // 6]] for kind in kinds]
    tokens = pa.table({"sample_id": names, "prompt_ids": [[]] * len(kinds), "ids": ids})
    images = pa.table({"image_id": names, "codes": codes.tolist()})
    ways = np.linalg.qr(np.random.default_rng(9).normal(size=(KINDS, KINDS)))[0]
    near = ways[kinds] + rng.normal(0, 0.02, (2, len(kinds), KINDS))
    near = (near / np.linalg.norm(near, axis=2, keepdims=True)).astype(np.float32)
    place = np.arange(len(kinds))
    return Corpus.of(samples, tokens, images), Teacher(Vectors(near[0], place), Vectors(near[1], place))


def taught(tokenizers: Tokenizers, corpus: Corpus, teacher: Teacher, steps: int = 60) -> Model:
    """A small network after some steps of distillation alone."""
    config = tokenizers.model_config(
        "tiny", width=32, depth=2, heads=2, kv_heads=1, hidden=64, teacher_width=teacher.width
    )
    network, sequences = Transformer(config).initialise(0), Sequences(config, tokenizers.vocabulary)
    rule = OptimizerConfig(name="adamw", lr=5e-3, warmup=5)
    optimizer = Optimizer(network, rule, matrices=MATRICES)
    distil = Distil.of(DistilConfig(weight=1.0, items=24), teacher, corpus, sequences, 64, 0)
    for step in range(steps):
        sum(distil.losses(network, distil.items(step), "cpu")).backward()
        optimizer.step(step, steps)
    return Model(network.eval().requires_grad_(False), sequences)


def test_a_stored_teacher_makes_held_out_pictures_find_their_captions_a_shuffled_one_does_not(
    tokenizers: Tokenizers,
) -> None:
    corpus, teacher = planted(tokenizers, 0)
    held, _ = planted(tokenizers, 1)
    shuffled = Teacher(teacher.image.shuffled(0, 0), teacher.text.shuffled(0, 1))
    found = {}
    for name, one in (("stored", teacher), ("shuffled", shuffled)):
        scores = retrieval_scores(taught(tokenizers, corpus, one), held, 1000)
        found[name] = {score.metric: score.value for score in scores}
        assert [s.n for s in scores] == [KINDS * EACH] * 3 + [KINDS] * 3
    for way in ("text_of_image@1", "image_of_text@1"):
        assert found["stored"][way] > 0.8
        assert found["shuffled"][way] < 0.5
    assert found["stored"]["text_of_image@10"] >= found["stored"]["text_of_image@5"] > 0.9


def test_the_control_keeps_every_vector_and_hardly_any_in_its_place(tokenizers: Tokenizers) -> None:
    _, teacher = planted(tokenizers, 0)
    place = teacher.image.place.copy()
    place[5] = -1
    there = Vectors(teacher.image.values, place)
    mixed = there.shuffled(0, 0)
    assert sorted(mixed.place) == sorted(place) and mixed.place[5] == -1
    assert (mixed.place == place).mean() < 0.2
    assert (mixed.place != there.shuffled(0, 1).place).any(), "pictures and texts are shuffled apart"
    assert (mixed.place == there.shuffled(0, 0).place).all()


def test_losses_are_those_of_the_formulas(tokenizers: Tokenizers) -> None:
    corpus, teacher = planted(tokenizers, 0)
    model = taught(tokenizers, corpus, teacher, steps=3)
    distil = Distil.of(
        DistilConfig(weight=1.0, items=6, temperature=0.2), teacher, corpus, model.sequences, 64, 0
    )
    items = distil.items(2)
    pictures, texts = distil.members(2)[::2], -1 - distil.members(2)[1::2]
    assert (corpus.picture[texts] == pictures).all()
    state = model.network.pooled(items.batch.tokens(), items.batch.units >= 0)
    image = torch.nn.functional.normalize(model.network.projections["image"](state[::2]))
    text = torch.nn.functional.normalize(model.network.projections["text"](state[1::2]))
    of_image, of_text = (torch.from_numpy(v) for v in (teacher.image.of(pictures), teacher.text.of(texts)))
    cosine = torch.cat([(image * of_image).sum(1), (text * of_text).sum(1)])
    nce = [(a @ b.T / 0.2).log_softmax(1).diagonal() for a, b in ((image, of_text), (text, of_image))]
    found = distil.losses(model.network, items, "cpu")
    torch.testing.assert_close(found[0], (1 - cosine).mean())
    torch.testing.assert_close(found[1], -torch.cat(nce).mean())


def test_the_vectors_are_those_that_the_snapshot_pins(
    tiny_store: tuple[Store, Snapshot], settings: Callable[..., TrainConfig], made_rows
) -> None:
    store, snapshot = tiny_store
    corpus = Corpus.of(*made_rows)
    config = settings(objectives={"distil": {"weight": 1.0}})
    teacher = Teacher.of(snapshot, corpus, config)
    for table, key, vectors, names in (
        ("image_embeddings", "image_id", teacher.image, corpus.image_ids),
        ("text_embeddings", "sample_id", teacher.text, corpus.sample_ids),
    ):
        stored = {r[key]: r["embedding"] for r in store.read(table).to_pylist()}
        for i, name in enumerate(names):
            vector = stored.get(name.decode())
            assert (vectors.place[i] < 0) == (vector is None)
            if vector is not None:
                assert vectors.of(np.array([i]))[0].tolist() == vector
    assert (teacher.text.place < 0).sum() == 24, "answers have none"


def test_a_snapshot_without_vectors_is_refused(
    bare_store: tuple[Store, Snapshot], settings: Callable[..., TrainConfig]
) -> None:
    with pytest.raises(ConfigError, match=r"pins no image_embeddings.*annotators\.image_embeddings"):
        train(*bare_store, settings(objectives={"distil": {"weight": 1.0}}), run_id="r")


@pytest.fixture
def bare_store(tmp_path: Path, tiny_store: tuple[Store, Snapshot]) -> tuple[Store, Snapshot]:
    """A snapshot that was made before there were vectors."""
    store, snapshot = tiny_store
    [row] = store.read("snapshots", where=f"snapshot = '{snapshot.name}'").to_pylist()
    versions = {k: v for k, v in snapshot.versions.items() if not k.endswith("_embeddings")}
    fresh = {k: v for k, v in row.items() if k != "part"} | {"versions": json.dumps(versions)}
    store.delete("snapshots", [snapshot.name])
    store.append("snapshots", pa.Table.from_pylist([fresh], schema_of(store, fresh)), parts=["bare"])
    return store, Snapshot.open(store, snapshot.name)


def test_recall_counts_equal_captions_as_right_and_ties_as_wrong() -> None:
    likeness = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.8], [0.5, 0.5, 0.5], [0.1, 0.0, 0.7]])
    found = {s.metric: (s.value, s.n) for s in recalls(likeness, np.array([0, 1, 2, 2]))}
    assert found["text_of_image@1"] == (
        2 / 4,
        4,
    )  # of the third all are as near, of the second another is nearer
    assert found["text_of_image@5"] == (1.0, 4)
    assert found["image_of_text@1"] == (1 / 3, 3)  # the first text: nearer to its picture than all others
    same = {s.metric: s.value for s in recalls(np.ones((20, 20)), np.arange(20))}
    assert set(same.values()) == {0.0}


def test_pairs_take_the_wanted_language_and_no_picture_twice(corpus: Corpus) -> None:
    pictures, texts = pairs(corpus, 10, "caption", "fr")
    assert len(set(pictures.tolist())) == 10 and (corpus.picture[texts] == pictures).all()
    assert {(corpus.langs[corpus.lang[i]], corpus.tasks[corpus.task[i]]) for i in texts} == {
        ("fr", "caption")
    }
    assert len(pairs(corpus, 99, "caption", "de")[0]) == 24, "another language will do"
    assert len(pairs(corpus, 99, "nothing", "de")[0]) == 0
