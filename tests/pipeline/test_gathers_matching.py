"""Pairs within a Hamming radius, whole and in slices, and connected components, against the plain way of finding them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.matching import Slice, components, hamming_pairs, needed, slice_pairs, slices


def plain_pairs(hashes: np.ndarray, first_new: int, radius: int) -> set[tuple[int, int]]:
    words = [int(h) & (2**64 - 1) for h in hashes]
    return {
        (i, j)
        for i in range(first_new, len(words))
        for j in range(i)
        if (words[i] ^ words[j]).bit_count() <= radius
    }


def found_pairs(*args, **options) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for i, j in hamming_pairs(*args, **options) for a, b in zip(i, j, strict=True)]


@pytest.mark.parametrize("radius", [0, 3, 7, 11])
@pytest.mark.parametrize("first_new", [0, 150, 299, 300])
def test_every_pair_within_the_radius_once(radius: int, first_new: int) -> None:
    rng = np.random.default_rng(radius)
    seeds = rng.integers(-(2**63), 2**63, 20)
    flips = np.array(
        [sum(1 << int(b) for b in rng.choice(63, rng.integers(0, 8), replace=False)) for _ in range(300)]
    )
    hashes = rng.choice(seeds, 300) ^ flips
    found = found_pairs(hashes, first_new, radius, flips=radius // 4, cap=2000)
    assert len(found) == len(set(found))
    assert set(found) == plain_pairs(hashes, first_new, radius)


def test_beyond_what_is_certain_most_pairs_are_found() -> None:
    rng = np.random.default_rng(1)
    hashes = rng.integers(-(2**63), 2**63, 4000)
    bits = [rng.choice(64, 10, replace=False) for _ in range(2000)]
    hashes[2000:] = hashes[:2000] ^ np.array([sum(1 << int(b) for b in few) for few in bits], np.uint64).view(
        np.int64
    )
    found = set(found_pairs(hashes, 0, 12))
    assert found <= plain_pairs(hashes, 0, 12)
    assert 0.6 < np.mean([(i + 2000, i) in found for i in range(2000)]) < 1


@pytest.mark.parametrize("first_new", [0, 400])
def test_slices_find_the_same_from_no_more_than_they_need(first_new: int) -> None:
    rng = np.random.default_rng(2)
    hashes = rng.choice(rng.integers(-(2**63), 2**63, 60), 500) ^ (1 << rng.integers(0, 63, 500))
    found: list[tuple[int, int]] = []
    sizes = []
    for piece in slices(16):
        have = needed(hashes, first_new, piece)
        sizes.append(len(have))
        for i, j in slice_pairs(hashes[have], int(np.searchsorted(have, first_new)), 9, piece):
            found += zip(have[i].tolist(), have[j].tolist(), strict=True)
    assert max(sizes) < 250
    assert sorted(found) == sorted(found_pairs(hashes, first_new, 9))


def test_slices_cover_every_value_of_a_band_once() -> None:
    assert slices(1) == [Slice(band) for band in range(4)]
    assert [(piece.low, piece.high) for piece in slices(3)[:3]] == [
        (0, 21845),
        (21845, 43690),
        (43690, 65536),
    ]


def test_what_a_new_one_asks_for_can_differ_from_what_it_is() -> None:
    hashes = np.random.default_rng(3).integers(-(2**63), 2**63, 50)
    asked = hashes[:10] ^ 1
    assert found_pairs(hashes, 40, 0, asked=asked) == []
    assert sorted(found_pairs(hashes, 40, 1, asked=asked)) == [(40 + i, i) for i in range(10)]


def test_small_chunks_find_the_same() -> None:
    hashes = np.random.default_rng(0).integers(0, 8, 200)
    assert sorted(found_pairs(hashes, 0, 7, chunk=50)) == sorted(found_pairs(hashes, 0, 7))


def test_many_equal_hashes_stay_connected_at_linear_cost() -> None:
    hashes = np.zeros(5000, np.int64)
    pairs = found_pairs(hashes, 0, 7, cap=16)
    assert len(pairs) <= 16 * 5000
    assert set(components(5000, *np.array(pairs).T).tolist()) == {0}


@given(st.integers(1, 30), st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=40))
def test_components_are_those_of_the_graph(n: int, edges: list[tuple[int, int]]) -> None:
    edges = [(a % n, b % n) for a, b in edges]
    group = list(range(n))
    for _ in range(n):
        for a, b in edges:
            group[a] = group[b] = min(group[a], group[b])
    a, b = np.array(edges, np.int64).reshape(-1, 2).T
    assert components(n, a, b).tolist() == group
