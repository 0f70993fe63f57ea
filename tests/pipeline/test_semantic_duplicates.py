"""Clusters of vectors, and pictures that a model takes for the same: planted, and against brute force."""

from __future__ import annotations

import tracemalloc
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import clusters, vectors
from pipeline.annotators.image_embeddings import ImageEmbeddings
from pipeline.annotators.text_embeddings import TextEmbeddings
from pipeline.gathers.semantic_duplicates import SemanticDuplicates as Gather
from pipeline.step import StepError
from storage.tables import signal_table

DIM = 24


def unit(matrix: np.ndarray) -> np.ndarray:
    return (matrix / np.linalg.norm(matrix, axis=-1, keepdims=True)).astype(np.float32)


def near(vector: np.ndarray, cosine: float, rng: np.random.Generator) -> np.ndarray:
    """A vector of that cosine to another one."""
    other = rng.normal(size=vector.shape)
    other = unit(other - (other @ vector) * vector)
    return unit(cosine * vector + (1 - cosine**2) ** 0.5 * other)


def test_centroids_find_what_lies_together() -> None:
    rng = np.random.default_rng(0)
    centres = unit(rng.normal(size=(8, DIM)))
    truth = np.repeat(np.arange(8), 60)
    drawn = np.stack([near(centres[t], 0.97, rng) for t in truth])
    found = clusters.fit(drawn, 24, seed=0)
    assert (found == clusters.fit(drawn, 24, seed=0)).all() and (
        found != clusters.fit(drawn, 24, seed=1)
    ).any()
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    label = clusters.nearest(drawn, found, 1)[:, 0]
    for one in np.unique(label):  # a cluster may be a part of a heap, and not parts of two
        assert len(set(truth[label == one])) == 1
    two = clusters.nearest(drawn, found, 2)
    assert (two[:, 0] == label).all() and (two[:, 1] != label).all()
    close = np.sort(drawn @ found.T, axis=1)[:, ::-1]
    assert np.allclose(np.take_along_axis(drawn @ found.T, two, 1), close[:, :2])


def test_what_hangs_together_does_so_by_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "CELLS", 7 * 50)
    rng = np.random.default_rng(1)
    sides = [unit(rng.normal(size=(50, 3))) for _ in range(2)]
    fresh = rng.random(50) < 0.5
    for chosen, least in ((sides[:1], 0.97), (sides, 0.8)):
        expected = np.arange(50)
        for i, j in combinations(range(50), 2):
            if (fresh[i] or fresh[j]) and all(side[i] @ side[j] >= least for side in chosen):
                one, other = sorted((expected[i], expected[j]))
                expected[expected == other] = one
        assert (clusters.together(chosen, fresh, least) == expected).all()
        assert 1 < len(set(expected)) < 50


def test_a_vector_that_comes_very_often_costs_no_pair_of_each_two() -> None:
    equal = np.tile(unit(np.ones((1, 8))), (20_000, 1))
    tracemalloc.start()
    first = clusters.together([equal], np.ones(20_000, bool), 0.95)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not first.any() and most < 200e6  # the pairs alone are 3.2 GB


@pytest.fixture
def seen(corpus: Any) -> Any:
    for table in (
        signal_table("image_embeddings", "image_id", ImageEmbeddings.columns),
        signal_table("text_embeddings", "sample_id", TextEmbeddings.columns),
    ):
        corpus.db.register("schema_of", table.schema.empty_table())
        corpus.db.execute(f"CREATE TABLE {table.name} AS SELECT * FROM schema_of")
    return corpus


def show(corpus: Any, image: str, vector: np.ndarray, side: int = 100, **about: Any) -> None:
    """A picture with a vector, and a caption of it."""
    row = {"image_id": image, "original_width": side, "original_height": side}
    corpus.insert("images", pa.Table.from_pylist([row]))
    column = vectors.column(vector[None], np.array([True]))
    corpus.insert("image_embeddings", pa.table({"image_id": [image], "embedding": column}))
    corpus.sample(f"s-{image}", image, f"caption of {image}", **about)


def say(corpus: Any, sample_id: str, vector: np.ndarray) -> None:
    column = vectors.column(vector[None], np.array([True]))
    corpus.insert("text_embeddings", pa.table({"sample_id": [sample_id], "embedding": column}))


def dropped(decisions: dict[str, Any]) -> dict[str, str]:
    return {one: detail for one, (kept, _, detail) in decisions.items() if not kept}


@pytest.mark.parametrize(("count", "probes"), [(1, 1), (12, 2)])
def test_planted_copies_go_and_all_else_stays(seen: Any, count: int, probes: int) -> None:
    rng = np.random.default_rng(2)
    copies = {}
    for i, vector in enumerate(unit(rng.normal(size=(120, DIM)))):
        show(seen, f"p{i:03}", vector, side=200)
        if i % 6 == 0:
            show(seen, f"q{i:03}", near(vector, 0.97, rng))
            copies[f"s-q{i:03}"] = f"p{i:03}"
        elif i % 6 == 1:
            show(seen, f"r{i:03}", near(vector, 0.9, rng))  # like it, and not enough
    seen.sample("text only", None, "a text without a picture")
    seen.sample("not encoded", "unknown", "a picture without a vector")
    found = seen.run(Gather(epsilon=0.05, clusters=count, probes=probes))
    assert dropped(found) == copies
    assert {reason for _, reason, _ in found.values()} == {None, "semantic_duplicate"}


def test_the_best_of_a_group_stays(seen: Any) -> None:
    rng = np.random.default_rng(3)
    one, two = unit(rng.normal(size=(2, DIM)))
    show(seen, "a", one, side=50)
    show(seen, "b", near(one, 0.99, rng), side=90)
    show(seen, "c", two, side=90)
    show(seen, "d", near(two, 0.99, rng), side=50, label="cat")
    seen.sample("second row of a", "a", "another text")
    assert dropped(seen.run(Gather())) == {"s-a": "b", "second row of a": "b", "s-c": "d"}


def test_what_was_kept_stays_and_decides_later(seen: Any) -> None:
    rng = np.random.default_rng(4)
    [one] = unit(rng.normal(size=(1, DIM)))
    show(seen, "a", one, side=50)
    assert dropped(seen.run(Gather())) == {}
    show(seen, "b", near(one, 0.99, rng), side=900)
    seen.sample("later row of a", "a", "another text")
    assert dropped(seen.run(Gather())) == {"s-b": "a"}


def test_held_out_rows_neither_go_nor_make_others_go(seen: Any) -> None:
    rng = np.random.default_rng(5)
    [one] = unit(rng.normal(size=(1, DIM)))
    for name in "abc":
        show(seen, name, near(one, 0.999, rng), held_out=name != "b")
    assert dropped(seen.run(Gather())) == {}


def test_texts_may_have_to_agree_too(seen: Any) -> None:
    rng = np.random.default_rng(6)
    one, text, other = unit(rng.normal(size=(3, DIM)))
    for name, said in (("a", text), ("b", near(text, 0.99, rng)), ("c", other)):
        show(seen, name, near(one, 0.999, rng))
        say(seen, f"s-{name}", said)
    seen.sample("answer", "b", "yes")
    assert set(dropped(seen.run(Gather(text=True)))) == {"s-b"}


def test_texts_without_vectors_are_told(seen: Any) -> None:
    seen.db.execute("DROP TABLE text_embeddings")
    with pytest.raises(StepError, match=r"annotators\.text_embeddings"):
        seen.run(Gather(text=True))


def test_an_empty_corpus_has_no_duplicates(seen: Any) -> None:
    seen.sample("text only", None, "a text")
    assert dropped(seen.run(Gather())) == {}
