"""The captions of the benchmark, the truth about them, and a small run that holds both peers against it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks import minhash, minhash_memory
from benchmarks.rig import captions
from benchmarks.rig.contract import Bench
from pipeline.matching import components


def test_captions_are_the_same_for_the_same_seed_and_hold_edited_ones(tmp_path: Path) -> None:
    drawn = captions.drawn(400, 0)
    assert drawn == captions.drawn(400, 0) != captions.drawn(400, 1)
    assert drawn[:100] == captions.drawn(100, 0)
    table = pq.read_table(captions.write(tmp_path / "c.parquet", 400))
    assert table["text"].to_pylist() == drawn
    assert all(text == " ".join(text.split()) for text in drawn)
    assert 40 < len(drawn) - len(np.unique(captions.groups(tmp_path / "c.parquet", 2, 0.8))) < 100


@pytest.mark.parametrize("run", [1, 2, 5])
@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_the_truth_is_that_of_brute_force(tmp_path: Path, run: int, threshold: float) -> None:
    texts = [text.lower().split() for text in captions.drawn(250, 3)]
    sets = [{tuple(text[at : at + run]) for at in range(max(len(text) - run, 0) + 1)} for text in texts]
    near = [
        (i, j)
        for i in range(len(sets))
        for j in range(i)
        if len(sets[i] & sets[j]) >= threshold * len(sets[i] | sets[j])
    ]
    path = captions.write(tmp_path / "c.parquet", 250, seed=3)
    expected = components(len(sets), *np.array(near).T)
    assert captions.groups(path, run, threshold).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("kept", "recall", "precision"),
    [
        ([1, 0, 0, 1, 1, 0], 1.0, 1.0),
        ([0, 1, 0, 1, 0, 1], 1.0, 1.0),
        ([1, 1, 1, 1, 1, 1], 0.0, 0.0),
        ([1, 1, 0, 1, 1, 0], 2 / 3, 1.0),
        ([0, 0, 0, 1, 1, 0], 1.0, 0.75),
        ([1, 0, 0, 0, 1, 0], 1.0, 0.75),
    ],
)
def test_quality_counts_what_is_too_many_and_what_should_have_stayed(kept, recall, precision) -> None:
    group = np.array([0, 0, 0, 3, 4, 4])
    assert captions.quality(group, np.array(kept, bool)) == pytest.approx((recall, precision))


def test_ours_keeps_what_the_truth_keeps(tmp_path: Path) -> None:
    [result] = minhash_memory.run(Bench(size=3000, pairs=1, work=tmp_path))
    assert result.quality_ours > 0.98
    assert result.ours < result.peer
    assert (tmp_path / "minhash" / "ours" / "kept.parquet").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_both_peers_find_as_much(tmp_path: Path) -> None:
    results = minhash.run(Bench(size=3000, pairs=1, work=tmp_path))
    assert {result.peer_name.split()[0] for result in results} == {"text-dedup", "datatrove"}
    for result in results:
        assert min(result.ours, result.peer, result.ratio) > 0
        assert result.quality_ours > 0.98
        assert result.quality_peer > 0.7, "recall as ours; what is put together is not compared"
