"""Splits are sticky, follow pictures and documents, and never make a training row a test row."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.splits import Splits, assign, assign_all, overtaken
from storage import parts
from storage.store import Store
from storage.tables import TABLES


def split(corpus, chosen: Splits = Splits(validation=0.25, test=0.25)) -> dict[str, tuple[str, str]]:
    """Assigns what has no split yet; sample_id to (cluster, split) of those rows."""
    corpus.db.execute(
        "CREATE OR REPLACE TEMP TABLE fresh AS "
        "SELECT sample_id FROM samples ANTI JOIN splits USING (sample_id)"
    )
    rows = assign(corpus.db, "fresh", chosen)
    corpus.insert("splits", rows)
    return {row["sample_id"]: (row["cluster_id"], row["split"]) for row in rows.to_pylist()}


def group(corpus, **groups: str) -> None:
    for image, leader in groups.items():
        corpus.db.execute("INSERT INTO groups (image_id, group_id) VALUES (?, ?)", [image, leader])


def test_rows_of_one_picture_group_share_a_split(corpus) -> None:
    group(corpus, p="p", q="p", r="r")
    for sample, image in (("1", "p"), ("2", "q"), ("3", "r"), ("4", "ungrouped"), ("5", "ungrouped")):
        corpus.sample(sample, image)
    found = split(corpus)
    assert found["1"] == found["2"]
    assert found["4"] == found["5"]
    assert len({cluster for cluster, _ in found.values()}) == 3


def test_documents_and_pictures_chain(corpus) -> None:
    corpus.sample("1", "p", document_id="d")
    corpus.sample("2", None, document_id="d")
    corpus.sample("3", "p", document_id="e")
    corpus.sample("4", "q", document_id="e")
    corpus.sample("5", "q", document_id="f")
    corpus.sample("6", "r", document_id="g")
    found = split(corpus)
    assert {found[s] for s in "12345"} == {found["1"]}
    assert found["1"][0] == "1", "the cluster is named after its first member"
    assert found["6"][0] == "6"


def test_parts_of_a_long_document_are_one_document(corpus) -> None:
    corpus.sample("1", None, document_id="d.0")
    corpus.sample("2", None, document_id="d.7")
    corpus.sample("3", None, document_id="e.0")
    found = split(corpus)
    assert found["1"] == found["2"] and found["3"][0] == "3"


def test_documents_of_two_sources_are_two(corpus) -> None:
    corpus.sample("1", None, document_id="d", source="a")
    corpus.sample("2", None, document_id="d", source="b")
    found = split(corpus)
    assert found["1"][0] != found["2"][0]


def test_rows_without_picture_and_document_stand_alone(corpus) -> None:
    for at in range(5):
        corpus.sample(str(at), None, document_id=None)
    assert len({cluster for cluster, _ in split(corpus).values()}) == 5


def test_shares_and_seed(corpus) -> None:
    corpus.db.execute(
        "INSERT INTO samples (sample_id, document_id, source, held_out) "
        "SELECT md5(i::VARCHAR), i::VARCHAR, 's', false FROM range(20000) t(i)"
    )
    first = split(corpus, Splits(validation=0.1, test=0.2, seed=1))
    shares = {
        name: sum(s == name for _, s in first.values()) / 20000 for name in ("train", "validation", "test")
    }
    assert shares["validation"] == pytest.approx(0.1, abs=0.01)
    assert shares["test"] == pytest.approx(0.2, abs=0.01)
    corpus.db.execute("DELETE FROM splits")
    assert split(corpus, Splits(validation=0.1, test=0.2, seed=1)) == first
    corpus.db.execute("DELETE FROM splits")
    assert split(corpus, Splits(validation=0.1, test=0.2, seed=2)) != first


def test_nothing_is_held_out_when_nothing_is_asked(corpus) -> None:
    for at in range(50):
        corpus.sample(str(at))
    assert {s for _, s in split(corpus, Splits(validation=0, test=0)).values()} == {"train"}


def test_held_out_sources_and_all_that_hangs_together_with_them_are_test(corpus) -> None:
    corpus.sample("held", "p", held_out=True)
    corpus.sample("same", "p")
    corpus.sample("other", "q")
    found = split(corpus, Splits(validation=0, test=0))
    assert found["held"][1] == found["same"][1] == "test"
    assert found["other"][1] == "train"


def place(corpus, sample: str, image: str, where: str) -> None:
    corpus.sample(sample, image, document_id=sample)
    corpus.db.execute(
        "INSERT INTO splits (sample_id, cluster_id, split) VALUES (?, ?, ?)", [sample, sample, where]
    )


@pytest.mark.parametrize("where", ["train", "validation", "test"])
def test_new_rows_share_the_split_of_their_cluster(corpus, where: str) -> None:
    place(corpus, "old", "p", where)
    corpus.sample("new", "p")
    corpus.sample("more", None, document_id="new")
    assert split(corpus) == {"new": ("old", where), "more": ("old", where)}


@pytest.mark.parametrize(
    ("a", "b", "wins"),
    [
        ("train", "test", "b"),
        ("test", "train", "a"),
        ("train", "validation", "b"),
        ("validation", "test", "b"),
    ],
)
def test_when_clusters_merge_held_out_wins_and_old_rows_stay(corpus, a: str, b: str, wins: str) -> None:
    place(corpus, "a", "p", a)
    place(corpus, "b", "q", b)
    corpus.sample("m1", "p", document_id="m")
    corpus.sample("m2", "q", document_id="m")
    found = split(corpus)
    assert found["m1"] == found["m2"] == (wins, {"a": a, "b": b}[wins])
    standing = dict(corpus.db.execute("SELECT sample_id, split FROM splits").fetchall())
    assert (standing["a"], standing["b"]) == (a, b)


def test_a_held_out_row_that_joins_a_training_cluster_is_test_and_the_training_rows_stay(corpus) -> None:
    place(corpus, "old", "p", "train")
    corpus.sample("held", "p", held_out=True)
    assert split(corpus)["held"][1] == "test"
    assert corpus.db.execute("SELECT split FROM splits WHERE sample_id = 'old'").fetchall() == [("train",)]
    corpus.sample("later", "p")
    assert split(corpus)["later"][1] == "test", "held-out wins for what comes after"


def test_training_rows_are_overtaken_by_held_out_rows_that_come_later(corpus) -> None:
    group(corpus, p="p", p2="p", q="q")
    place(corpus, "near", "p", "train")
    place(corpus, "far", "q", "train")
    place(corpus, "tested", "p", "test")
    corpus.sample("same-document", None, document_id="d")
    corpus.db.execute(
        "INSERT INTO splits (sample_id, cluster_id, split) VALUES ('same-document', 'x', 'train')"
    )
    corpus.sample("held", "p2", document_id="d", held_out=True)
    corpus.db.execute("CREATE TEMP TABLE late AS SELECT 'held' AS sample_id")
    rows = assign(corpus.db, "late", Splits())
    lost = overtaken(corpus.db, rows).to_pylist()
    assert {row["sample_id"]: row["detail"] for row in lost} == {"near": "held", "same-document": "held"}


def test_training_rows_are_not_overtaken_by_training_rows(corpus) -> None:
    place(corpus, "old", "p", "train")
    corpus.sample("new", "p")
    corpus.db.execute("CREATE TEMP TABLE late AS SELECT 'new' AS sample_id")
    assert overtaken(corpus.db, assign(corpus.db, "late", Splits())).num_rows == 0


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.booleans()), min_size=1, max_size=14),
    cuts=st.sets(st.integers(0, 14)),
)
def test_no_picture_or_document_of_new_rows_straddles(
    corpus, rows: list[tuple[int, int, bool]], cuts: set[int]
) -> None:
    corpus = type(corpus)()
    seen: dict[str, str] = {}
    for at, (picture, document, held) in enumerate(rows):
        corpus.sample(f"{at:02d}", f"p{picture}", document_id=f"d{document}", held_out=held)
        if at in cuts or at == len(rows) - 1:
            new = {sample: where for sample, (_, where) in split(corpus).items()}
            assert not set(new) & set(seen), "nobody is assigned twice"
            for one, first in new.items():
                for two, second in new.items():
                    if rows[int(one)][0] == rows[int(two)][0] or rows[int(one)][1] == rows[int(two)][1]:
                        assert first == second
            seen |= new
    assert len(seen) == len(rows)
    assert all(seen[f"{at:02d}"] == "test" for at, row in enumerate(rows) if row[2])


def test_shares_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ValidationError, match="leave nothing to train on"):
        Splits(validation=0.5, test=0.5)


def test_a_store_gets_each_split_once(tmp_path) -> None:
    import pyarrow as pa

    store = Store.open(tmp_path / "store")
    ids = [f"{at:032x}" for at in range(30)]
    samples = {"sample_id": ids, "document_id": ids, "source": ["s"] * 30}
    decisions = {
        "sample_id": ids,
        "source": ["s"] * 30,
        "stage": ["collect"] * 30,
        "kept": [i % 3 > 0 for i in range(30)],
    }
    parts.stage(store, "one", {"samples": pa.table(samples), "decisions": pa.table(decisions)})
    parts.commit(store, ["one"])
    assert assign_all(store, Splits()) == 20
    version = store.version("splits")
    assert assign_all(store, Splits()) == 0
    assert store.version("splits") == version
    assert store.read("splits").num_rows == 20
    assert set(store.read("splits").schema.names) == set(TABLES["splits"].schema.names)


def test_a_store_drops_training_rows_that_are_overtaken_and_the_counts_add_up(tmp_path) -> None:
    import pyarrow as pa

    store = Store.open(tmp_path / "store")

    def ingest(part: str, ids: list[str], held_out: bool) -> None:
        n = len(ids)
        samples = {"sample_id": ids, "document_id": ids, "source": [part] * n, "held_out": [held_out] * n}
        samples["image_id"] = [sample[-1] for sample in ids]
        decisions = {"sample_id": ids, "source": [part] * n, "stage": ["collect"] * n, "kept": [True] * n}
        parts.stage(store, part, {"samples": pa.table(samples), "decisions": pa.table(decisions)})
        parts.commit(store, [part])
        assign_all(store, Splits(validation=0, test=0))

    ingest("web", ["a1", "a2", "a3"], held_out=False)
    ingest("benchmark", ["b2"], held_out=True)
    lost = store.read("decisions", where="NOT kept").to_pylist()
    assert [(r["sample_id"], r["stage"], r["reason"], r["detail"]) for r in lost] == [
        ("a2", "split", "contaminated", "b2")
    ]
    with store.connect() as db:
        assert db.sql("SELECT source, came_in, kept, dropped, adds_up FROM funnel_check").fetchall() == [
            ("benchmark", 1, 1, 0, True),
            ("web", 3, 2, 1, True),
        ]
