"""A snapshot whose training rows are rows of an evaluation set is refused, or taken knowingly and written down."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pyarrow as pa
import pytest

from storage import contamination, parts, snapshot
from storage.errors import SnapshotContaminated
from storage.store import Store


@pytest.fixture
def add(store: Store, rows: Callable[..., dict[str, pa.Table]]) -> Callable[..., None]:
    """Commits rows with their split: text "<text>" for all of them if given, without a picture if asked for."""

    def run(
        key: str, ids: Sequence[str], *, held_out: bool = False, text: str = "", bare: bool = False, **more
    ) -> None:
        tables = rows(ids, **more)
        samples, n = tables["samples"], len(ids)
        if text:
            samples = samples.set_column(samples.column_names.index("text"), "text", pa.array([text] * n))
        if bare:
            at = samples.column_names.index("image_id")
            samples = samples.set_column(at, "image_id", pa.nulls(n, pa.string()))
        tables["samples"] = samples.append_column("held_out", pa.array([held_out] * n))
        if bare:
            del tables["images"]
        parts.stage(store, key, tables)
        parts.commit(store, [key])
        split = "test" if held_out else "train"
        store.append("splits", pa.table({"sample_id": list(ids), "split": [split] * n}), parts=[key])

    return run


def test_a_clean_store_passes_and_says_nothing(store, add) -> None:
    add("p", ["a", "b"])
    add("h", ["c"], held_out=True, source="exam")
    made = snapshot.create(store)
    assert made.rows == 3 and contamination.recorded(store, made.name) == []


def test_a_shared_picture_is_refused_with_number_set_and_remedy(store, add) -> None:
    add("p", ["a", "b", "c"], pictures=["x", "x", "y"])
    add("h", ["d"], held_out=True, source="exam", pictures=["x"])
    with pytest.raises(
        SnapshotContaminated, match=r"2 share a picture with exam.*decontaminate.*allow = true"
    ):
        snapshot.create(store)
    assert store.read("snapshots").num_rows == 0


def test_the_remedy_is_the_callers(store, add) -> None:
    add("p", ["a"], pictures=["x"])
    add("h", ["d"], held_out=True, source="exam", pictures=["x"])
    with pytest.raises(SnapshotContaminated, match=r"picture with exam\. Say other\. Then run.*allow = true"):
        snapshot.create(store, remedy="Say other.")


def test_a_near_copy_is_refused_by_its_group(store, add) -> None:
    add("p", ["a", "b"], pictures=["x", "y"])
    add("h", ["c"], held_out=True, source="exam", pictures=["z"])
    ids = dict(store.read("samples", ["sample_id", "image_id"]).to_pandas().itertuples(index=False))
    groups = pa.table({"image_id": [ids["a"], ids["c"]], "group_id": [ids["c"]] * 2})
    store.append("groups", groups, parts=["g"])
    with pytest.raises(SnapshotContaminated, match="1 share a picture with exam"):
        snapshot.create(store)


def test_texts_count_without_a_picture_only(store, add) -> None:
    add("h", ["a"], held_out=True, source="exam", text="Once upon a time there was a star.", bare=True)
    add("p", ["b"], text="once upon a time  there was a star")
    snapshot.create(store, "clean")
    add("q", ["c"], text="once upon a time  there was a star", bare=True)
    with pytest.raises(SnapshotContaminated, match="1 share a text with exam"):
        snapshot.create(store)
    add("r", ["d"], text="yes", bare=True)
    add("s", ["e"], text="yes", bare=True, held_out=True, source="exam")
    with pytest.raises(SnapshotContaminated, match="of 1, 1 share a text"):  # "yes" is nobody's own
        snapshot.create(store)


def test_rows_that_were_dropped_or_are_not_trained_on_may_be_held_out_ones(store, add) -> None:
    add("h", ["a"], held_out=True, source="exam", pictures=["x"])
    add("p", ["b"], pictures=["x"], kept=False)
    assert snapshot.create(store).rows == 1


def test_taken_knowingly_it_is_written_down_and_refused_again_without(store, add) -> None:
    add("p", ["a"], pictures=["x"])
    add("h", ["b"], held_out=True, source="exam", pictures=["x"])
    made = snapshot.create(store, "mine", allow_contaminated=True)
    assert contamination.recorded(store, "mine") == [{"evaluation_set": "exam", "what": "picture", "rows": 1}]
    [run] = store.read("runs").to_pylist()
    assert (run["snapshot"], run["state"], json.loads(run["config"])["allowed"]) == (
        "mine",
        "contaminated",
        True,
    )
    with pytest.raises(SnapshotContaminated, match="snapshot mine would train on held-out rows"):
        snapshot.create(store)
    assert snapshot.create(store, allow_contaminated=True) == made
    assert store.read("runs").num_rows == 1


def test_an_evaluation_set_that_comes_later_makes_a_pinned_snapshot_no_worse_and_the_next_one_refused(
    store, add
) -> None:
    add("p", ["a"], pictures=["x"])
    made = snapshot.create(store, "before")
    add("h", ["b"], held_out=True, source="exam", pictures=["x"])
    with pytest.raises(SnapshotContaminated):
        snapshot.create(store)
    with made.connect() as db:
        assert contamination.leaks(db, "SELECT sample_id FROM members WHERE split = 'train'") == []
