"""The benchmark of image dedupe: its files, its truth, how it counts, and what our side finds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import image_dedupe
from benchmarks.rig.contract import Bench, BenchmarkError
from pipeline.gallery import corpus


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(size=600, pairs=1, work=tmp_path_factory.mktemp("bench"))


def test_there_are_as_many_files_as_asked_for_and_the_truth_names_them(bench: Bench) -> None:
    folder, truth = image_dedupe.files(bench)
    names = {file.name for file in folder.iterdir()}
    assert len(names) == 600
    assert truth
    assert {name for pair in truth for name in pair} <= names
    kinds = {p.name + p.suffix: p for p in corpus.plan(0, 630).everything}
    assert all({kinds[a].kind, kinds[b].kind} & image_dedupe.SAME for a, b in truth)


def test_our_side_finds_what_was_planted(bench: Bench, tmp_path: Path) -> None:
    folder, truth = image_dedupe.files(bench)
    answer = image_dedupe.deduped(Path(sys.executable), "ours", folder, tmp_path / "ours.json")
    recall, precision, f1 = image_dedupe.scores(answer["pairs"], truth)
    assert recall >= 0.99
    assert precision >= 0.99
    assert f1 == pytest.approx(2 * recall * precision / (recall + precision))
    assert answer["seconds"] > 0
    assert answer["cpu_seconds"] > 0


def test_a_side_that_fails_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="absent"):
        image_dedupe.deduped(Path(sys.executable), "ours", tmp_path / "absent", tmp_path / "ours.json")


def test_pairs_count_whatever_their_order() -> None:
    truth = {("a", "b"), ("c", "d")}
    assert image_dedupe.scores([["b", "a"], ["a", "c"]], truth) == (0.5, 0.5, 0.5)
    assert image_dedupe.scores([], truth) == (0, 0, 0)
