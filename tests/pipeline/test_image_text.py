"""Vectors of pictures and texts beside the rows, and what is decided by how well they agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import upstream, vectors
from pipeline.annotators.image_embeddings import ImageEmbeddings
from pipeline.annotators.image_text_score import ImageTextScore as Score
from pipeline.annotators.perceptual_hash import PerceptualHash
from pipeline.annotators.text_embeddings import TextEmbeddings
from pipeline.filters.image_text_score import ImageTextScore as ScoreFilter
from pipeline.gathers.lowest_scores import LowestScores
from pipeline.step import StepError
from storage.tables import signal_table


class Model:
    """Stands for an image-text model: a vector is drawn by the length of what is encoded."""

    id, pretrained, scale = "m" * 16, True, 100.0

    def encode_images(self, images: Sequence[Any]) -> np.ndarray:
        return self._vectors([memoryview(image).nbytes for image in images])

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return self._vectors([len(text) for text in texts])

    def _vectors(self, seeds: list[int]) -> np.ndarray:
        drawn = [np.random.default_rng(seed).normal(size=4) for seed in seeds]
        return np.array([one / np.linalg.norm(one) for one in drawn], np.float32).reshape(-1, 4)


MODELS = {"image_text_model": Model()}


def test_vectors_survive_the_way_through_a_column() -> None:
    rng = np.random.default_rng(0)
    for present in ([True, False, True, True], [False, False], [True], []):
        where = np.array(present, bool)
        stored = rng.normal(size=(int(where.sum()), 3)).astype(np.float32)
        column = vectors.column(stored, where)
        assert column.type == vectors.VECTOR and column.is_valid().to_pylist() == present
        for chunks in (
            column,
            pa.chunked_array([column[:1], column[1:]]),
            pa.concat_arrays([column, column])[: len(column)],
        ):
            found, there = vectors.matrix(chunks)
            assert (there == where).all() and len(found) == len(stored)
            assert (found == stored).all() if len(stored) else True


def test_each_picture_has_a_vector() -> None:
    rows = pa.table({"image_id": ["a", "b", "c"], "image": [b"x", b"xyz", b"x"]})
    made = ImageEmbeddings().annotate(rows, MODELS)
    found, there = vectors.matrix(made["embedding"])
    assert there.all() and (found[0] == found[2]).all()
    assert (found == Model().encode_images([b"x", b"xyz", b"x"])).all()


def test_only_texts_about_a_picture_have_one() -> None:
    rows = pa.table(
        {
            "sample_id": list("abcdef"),
            "text": ["one", None, "three words here", "four", "", "six"],
            "task": ["caption", "caption", "caption", "vqa", "caption", None],
            "image_id": ["i", "i", None, "i", "i", "i"],
        }
    )
    made = TextEmbeddings().annotate(rows, MODELS)
    found, there = vectors.matrix(made["embedding"])
    assert there.tolist() == [True, False, False, False, True, False]
    assert (found == Model().encode_texts(["one", ""])).all()
    asked = TextEmbeddings(tasks=("vqa",)).annotate(rows, MODELS)
    assert asked["embedding"].is_valid().to_pylist() == [False, False, False, True, False, False]


def test_the_score_is_the_cosine_of_what_is_stored() -> None:
    rng = np.random.default_rng(1)
    shown, told = np.array([1, 1, 0, 1, 0], bool), np.array([1, 0, 1, 1, 0], bool)
    seen, said = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in rng.normal(size=(2, 3, 5)))
    rows = pa.table(
        {
            "sample_id": list("abcde"),
            "image_embeddings.embedding": vectors.column(seen, shown),
            "text_embeddings.embedding": vectors.column(said, told),
        }
    )
    scores = Score().annotate(rows, {})["score"].to_pylist()
    assert scores[1] is scores[2] is scores[4] is None
    assert scores[0] == pytest.approx(float(seen[0] @ said[0]), abs=1e-6)
    assert scores[3] == pytest.approx(float(seen[2] @ said[2]), abs=1e-6)
    nothing = rows.slice(4)
    assert Score().annotate(nothing, {})["score"].to_pylist() == [None]


def test_the_filter_judges_only_what_was_scored() -> None:
    rows = pa.table({"image_text_score.score": pa.array([0.1, 0.3, None, 0.2], pa.float64())})
    assert ScoreFilter(least=0.2).keep(rows).to_pylist() == [False, True, None, True]
    rows = pa.table(
        {"image_text_score.score": pa.chunked_array([pa.array([float("nan"), 0.1], pa.float32())])}
    )
    assert ScoreFilter(least=0.2).keep(rows).to_pylist() == [None, False]


# --- a share of each source and language


def scored(corpus: Any, scores: dict[str, float | None], **about: Any) -> None:
    for sample_id in scores:
        corpus.sample(sample_id, "i", "a text", **about)
    rows = {"sample_id": list(scores), "score": pa.array(scores.values(), pa.float32())}
    corpus.insert("image_text_score", pa.table(rows))


@pytest.fixture
def judged(corpus: Any) -> Any:
    table = signal_table("image_text_score", "sample_id", Score.columns)
    corpus.db.register("schema_of", table.schema.empty_table())
    corpus.db.execute("CREATE TABLE image_text_score AS SELECT * FROM schema_of")
    return corpus


def dropped(decisions: dict[str, Any]) -> set[str]:
    assert {reason for kept, reason, _ in decisions.values() if not kept} <= {"mismatched"}
    return {sample_id for sample_id, (kept, _, _) in decisions.items() if not kept}


def test_a_share_goes_from_each_source_and_language(judged: Any) -> None:
    rng = np.random.default_rng(2)
    worst = set()
    for source, lang, offset in (("s", "en", 0.0), ("s", "fr", -0.5), ("t", "en", 0.5), ("t", None, 0.9)):
        values = rng.permutation(20) / 100 + offset
        scores = {f"{source}-{lang}-{i}": float(v) for i, v in enumerate(values)}
        scored(judged, scores, source=source, lang=lang)
        worst |= set(sorted(scores, key=lambda one: scores[one])[:4])
    scored(judged, {"unscored": None})
    assert dropped(judged.run(LowestScores(share=0.2))) == worst


def test_later_rows_are_held_against_all_that_came_before(judged: Any) -> None:
    scored(judged, {f"a{i:02}": i / 100 for i in range(20)})
    assert dropped(judged.run(LowestScores(share=0.25))) == {f"a{i:02}" for i in range(5)}
    scored(judged, {"low": 0.005, "high": 0.3})
    later = judged.run(LowestScores(share=0.25))
    assert set(later) == {"low", "high"} and dropped(later) == {"low"}


def test_held_out_rows_and_scores_that_are_no_number_stay_and_do_not_count(judged: Any) -> None:
    scored(judged, {f"h{i}": i / 100 for i in range(5)}, held_out=True)
    scored(judged, {f"n{i}": float("nan") for i in range(5)})
    scored(judged, {f"a{i}": 0.5 + i / 100 for i in range(10)})
    assert dropped(judged.run(LowestScores(share=0.2))) == {"a0", "a1"}
    scored(judged, {"m": float("nan")}, lang="fr")
    assert dropped(judged.run(LowestScores(share=0.99))) == set()


# --- what hangs on what


def test_a_score_is_stale_when_the_model_is_another() -> None:
    chain = [Score(), ImageEmbeddings(), TextEmbeddings(), PerceptualHash()]
    order = [one.name() for one in upstream.ordered(chain)]
    assert order.index("image_text_score") > max(
        order.index("image_embeddings"), order.index("text_embeddings")
    )
    one, two = (upstream.fingerprints(chain, {"image_text_model": name}) for name in ("one", "two"))
    changed = {table for table in one if one[table] != two[table]}
    assert changed == upstream.modelled(chain) == {"image_embeddings", "text_embeddings", "image_text_score"}
    assert one["perceptual_hash"] == PerceptualHash().fingerprint()


def test_annotators_that_read_each_other_are_refused() -> None:
    class One(PerceptualHash):
        reads = ("two.column",)
        table = classmethod(lambda cls: "one")

    class Two(PerceptualHash):
        reads = ("one.column",)
        table = classmethod(lambda cls: "two")

    with pytest.raises(StepError, match="read each other"):
        upstream.ordered([One(), Two()])
