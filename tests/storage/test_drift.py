"""Drift that was planted is found in its column, and two samples of one distribution do not drift."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from storage import drift, snapshot
from storage.store import Store
from storage.tables import signal_table

TOKENS = {"text_tokenizer": "tt", "image_tokenizer": "it"}
SCORE = signal_table(
    "score", "sample_id", pa.schema([("value", pa.float32()), ("vector", pa.list_(pa.float32()))])
)


@pytest.fixture
def grown(store: Store, ingest: Callable[..., None]) -> Callable[..., dict[str, drift.Drift]]:
    """Two snapshots: 400 rows of source s, then so many more; the drift between them by column."""

    def add(part: str, number: int, values: np.ndarray, turn: float, source: str) -> None:
        ids = [f"{part}{n}" for n in range(number)]
        ingest(part, ids, source=source)
        vectors = [[1.0, turn + 0.01 * n / number] for n in range(number)]
        made = pa.table(
            {
                "sample_id": ids,
                "value": pa.array(values, pa.float32()),
                "vector": pa.array(vectors, pa.list_(pa.float32())),
            }
        )
        store.append(SCORE, made, parts=[part])

    def grow(shift: float = 0.0, turn: float = 0.0, source: str = "s") -> dict[str, drift.Drift]:
        draw = np.random.default_rng(0)
        add("early", 400, draw.normal(size=400), 0.0, "s")
        first = snapshot.create(store, "first", **TOKENS)
        add("late", 400, draw.normal(size=400) + shift, turn, source)
        second = snapshot.create(store, "second", **TOKENS)
        return {one.column: one for one in drift.measure(store, first.name, second.name)}

    return grow


def test_more_of_the_same_does_not_drift(grown: Callable[..., dict[str, drift.Drift]]) -> None:
    found = grown()
    assert {"source", "lang", "score_value", "score_vector"} <= set(found)
    assert max(one.psi for one in found.values()) < 0.02


def test_another_source_is_seen_in_the_mix_and_named(grown: Callable[..., dict[str, drift.Drift]]) -> None:
    found = grown(source="other")
    assert found["source"].psi > 0.5 > 0.02 > found["score_value"].psi
    assert (found["source"].most, found["source"].before, found["source"].now) == ("other", 0.0, 0.5)


def test_a_shifted_score_and_a_turned_vector_are_seen_in_their_columns(
    grown: Callable[..., dict[str, drift.Drift]],
) -> None:
    found = grown(shift=2.0, turn=0.5)
    assert min(found["score_value"].psi, found["score_vector"].psi) > 0.2
    assert found["source"].psi == 0.0
    assert list(found)[:2] in (["score_value", "score_vector"], ["score_vector", "score_value"])


def test_values_that_are_missing_or_no_numbers_are_a_bin_of_their_own(
    store: Store, ingest: Callable[..., Any]
) -> None:
    ingest("p", [f"a{n}" for n in range(100)])
    nothing = pa.table(
        {
            "sample_id": [f"a{n}" for n in range(60)],
            "value": pa.array([float("nan"), float("inf"), *map(float, range(58))], pa.float32()),
            "vector": pa.array([[1.0]] * 60, pa.list_(pa.float32())),
        }
    )
    store.append(SCORE, nothing, parts=["p"])
    name = snapshot.create(store, "first", **TOKENS).name
    assert {one.psi for one in drift.measure(store, name, name)} == {0.0}


def test_very_large_snapshots_are_measured_on_a_random_sample(
    store: Store, ingest: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, names = np.random.default_rng(0), []
    for part, shift in (("early", 0.0), ("late", 2.0)):
        ids = [hashlib.md5(f"{part}{n}".encode()).hexdigest() for n in range(1_500)]
        ingest(part, ids)
        values = pa.array(draw.normal(size=len(ids)) + shift, pa.float32())
        store.append(SCORE, pa.table({"sample_id": ids, "value": values}), parts=[part])
        names.append(snapshot.create(store, part, **TOKENS).name)
    whole = {one.column: one for one in drift.measure(store, *names)}
    monkeypatch.setattr(drift, "MOST", 1_000)
    some = {one.column: one for one in drift.measure(store, *names)}
    assert some.keys() == whole.keys()
    assert whole["score_value"].psi > 0.2
    assert some["score_value"].psi == pytest.approx(whole["score_value"].psi, rel=0.25)
    assert some["score_value"].psi != whole["score_value"].psi
    assert some["source"].psi == 0.0
