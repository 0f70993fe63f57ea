"""Rows leave every version of every table, snapshots are amended, and a kill anywhere leaves a store that reads right."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from storage import amend, blocklist, catalog, parts, purge, takedown
from storage.blocklist import Blocklist, Entry
from storage.errors import StoreCorrupt
from storage.snapshot import Snapshot, create, listing
from storage.store import Store
from storage.tables import signal_table

TOKENS = {"text_tokenizer": "tt", "image_tokenizer": "it"}
GONE = "b2"


@pytest.fixture
def used(store, ingest):
    """Two parts, a snapshot after each, an annotator's table, a changed text, and a run that saw all rows."""
    ingest("one", ["a1", "b2", "c3"], text="first words of")
    create(store, "first", **TOKENS)
    store.append(
        signal_table("looks", "image_id", pa.schema([("sharp", pa.float32())])),
        pa.table({"image_id": store.read("images")["image_id"], "sharp": pa.array([1, 2, 3], pa.float32())}),
        parts=["looks"],
    )
    ingest("two", ["d4", "b2"], text="other words of", pictures=["d4", "new b2"])
    create(store, "second", **TOKENS)
    plan = {"run_id": ["r"] * 2, "step": [0, 1], "sample_ids": [["a1", "b2"], ["c3"]]}
    store.append("batch_plan", pa.table(plan), parts=["plan"])
    saved = {
        "checkpoint_id": ["early", "late"],
        "run_id": ["r", "r"],
        "step": [0, 2],
        "snapshot": ["first"] * 2,
    }
    store.append("checkpoints", pa.table(saved), parts=["saved"])
    return store


def everything(store: Store) -> dict[str, bytes]:
    return {
        str(one.relative_to(store.path)): one.read_bytes() for one in store.path.rglob("*") if one.is_file()
    }


def asked(store: Store, name: str = "takedown") -> takedown.Takedown:
    """What `pipeline.forgetting` makes of the id of a row, of both its versions and both its pictures."""
    key = blocklist.key_of(store.path, create=True)
    assert key is not None
    with store.cursor() as db:
        rows = f"({purge.everything(store, 'samples')})"
        own = f"SELECT DISTINCT image_id FROM {rows} WHERE sample_id = '{GONE}' ORDER BY 1"
        pictures = [one for (one,) in db.sql(own).fetchall()]
    named = [{"kind": "sample", "digest": blocklist.digest(key, "sample", GONE)}]
    entries = [Entry("sample", named[0]["digest"])]
    return takedown.weighed(
        store,
        takedown.Takedown(name, "somebody", named, entries, [GONE], pictures, [], ["first words of b2"]),
    )


def done(store: Store) -> None:
    for one in takedown.waiting(store):
        takedown.record(store, one, takedown.carry_out(store, one))
    takedown.sweep(store)


def test_rows_leave_every_version_and_delta_reads_them_all(used: Store) -> None:
    before = {table: used.versions()[table] for table in ("samples", "images", "looks", "members")}
    planned = asked(used)
    assert planned.counts["samples"] == 1 and planned.counts["looks"] == 1 and len(planned.pictures) == 2
    assert planned.snapshots == ["first", "second"]
    assert [(one["checkpoint_id"], one["rows"]) for one in planned.checkpoints] == [("late", 1)]
    takedown.write_down(used, planned)
    done(used)
    for table, newest in before.items():
        for version in range(newest + 1):
            seen = DeltaTable(used.path / "tables" / table, version=version).to_pyarrow_table()
            key = "sample_id" if "sample_id" in seen.column_names else "image_id"
            assert not set(seen[key].to_pylist()) & {GONE, *planned.pictures}, (table, version)
            ours = used.read(table, version=version)
            assert sorted(ours[key].to_pylist()) == sorted(seen[key].to_pylist())
    texts = (b"first words of b2", b"other words of b2")
    assert not [name for name, data in everything(used).items() if any(one in data for one in texts)]
    assert takedown.waiting(used) == [] and [one["genuine"] for one in takedown.records(used)] == [True]
    refused = Blocklist.load(used)
    assert refused.holds("sample", GONE) and not refused.holds("sample", "a1")


def test_answers_go_whose_prompt_or_baseline_was_the_rows_text(used: Store) -> None:
    said = {
        "evaluation_id": ["translate-1"] * 4,
        "sample_id": ["a1", "a1", "c3", "c3"],
        "part_of": ["en→fr", "fr→en", "en→fr", "fr→en"],
        "prompt_id": [GONE, "c3", None, "a1"],
        "output": ["x", "y", "z", "w"],
        "trivial": [None, "First words of b2.", "copied", None],
    }
    used.append("answers", pa.table(said), parts=["translate-1"])
    planned = asked(used)
    assert planned.counts["answers"] == 2
    takedown.write_down(used, planned)
    done(used)
    assert sorted(used.read("answers")["output"].to_pylist()) == ["w", "z"]


def test_the_log_tells_the_new_sizes_also_where_it_had_a_checkpoint(used: Store) -> None:
    folder = used.path / "tables/samples"
    DeltaTable(folder).create_checkpoint()
    takedown.write_down(used, asked(used))
    done(used)
    table = DeltaTable(folder)
    assert (folder / "_delta_log/_last_checkpoint").exists()
    actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    for one in actions:
        assert one["size_bytes"] == (folder / one["path"]).stat().st_size
    assert sum(one["num_records"] for one in actions) == used.read("samples").num_rows == 3
    again = Store.open(used.path)
    again.append("samples", pa.table({"sample_id": ["z"]}), parts=["z"])
    assert DeltaTable(folder).to_pyarrow_table().num_rows == again.read("samples").num_rows == 4


def test_snapshots_are_amended_in_their_order_and_only_once(used: Store) -> None:
    first, second = (Snapshot.open(used, name) for name in ("first", "second"))
    takedown.write_down(used, asked(used))
    done(used)
    assert [(row["snapshot"], row["amended_by"]) for row in listing(used)] == [
        ("first", "first-1"), ("first-1", None), ("second", "second-1"), ("second-1", None),
    ]  # fmt: skip
    assert Snapshot.open(used).name == "second-1"
    assert Snapshot.open(used, "first").samples()["sample_id"].to_pylist() == ["a1", "c3"]
    assert {first.content_hash, second.content_hash}.isdisjoint(
        Snapshot.open(used, one).content_hash for one in ("first", "second")
    )
    [row] = amend.former(used, "second-1")
    assert row["content_hash"] == second.content_hash
    fresh = create(used, **TOKENS)  # without padding: another one, and the newest
    assert fresh.name not in ("first-1", "second-1") and Snapshot.open(used).name == fresh.name
    assert amend.gaps(fresh, "train").num_rows == 0


def test_gaps_keep_places_also_when_more_is_forgotten_later(used: Store) -> None:
    texts = Snapshot.open(used, "second").samples("train")["sample_id"].to_pylist()
    takedown.write_down(used, asked(used))
    done(used)
    one = takedown.Takedown("later", "x", [], [], ["c3"], [], [], [])
    takedown.write_down(used, takedown.weighed(used, one))
    done(used)
    twice = Snapshot.open(used, "second")
    assert twice.name == "second-2"
    gaps = amend.gaps(twice, "train").to_pylist()
    assert [row["place"] for row in gaps if row["picture_of"] is not None] == [
        texts.index("b2"),
        texts.index("c3"),
    ]
    assert {row["text_tokens"] for row in gaps if row["picture_of"] is not None} == {2}
    assert [row["content_hash"] for row in amend.former(used, twice.name)][-1] != twice.content_hash
    assert len(amend.former(used, twice.name)) == 2


def test_what_comes_after_it_was_written_down_is_reached_and_recorded(used: Store, ingest) -> None:
    """A snapshot and a run that began meanwhile; of two takedowns that wait, each tells of what it amended itself."""
    takedown.write_down(used, asked(used))
    assert Blocklist.load(used).holds("sample", GONE), "nothing of it comes in from here on"
    ingest("three", ["e5"])
    create(used, "third", **TOKENS)
    plan = {"run_id": ["later"], "step": [0], "sample_ids": [[GONE]]}
    used.append("batch_plan", pa.table(plan), parts=["later"])
    saved = {"checkpoint_id": ["saw it"], "run_id": ["later"], "step": [1], "snapshot": ["third"]}
    used.append("checkpoints", pa.table(saved), parts=["later"])
    another = takedown.Takedown("another", "x", [], [], ["c3"], [], [], [])
    takedown.write_down(used, takedown.weighed(used, another))
    done(used)
    told = {one["request_id"]: json.loads(one["affected"]) for one in takedown.records(used)}
    assert told["takedown"]["snapshots"] == {"first": "first-1", "second": "second-1", "third": "third-1"}
    assert told["another"]["snapshots"] == {
        "first-1": "first-2",
        "second-1": "second-2",
        "third-1": "third-2",
    }
    assert [one["checkpoint_id"] for one in told["takedown"]["checkpoints"]] == ["saw it", "late"]


def test_places_among_gaps() -> None:
    free = [place for place in range(12) if place not in (0, 3, 4, 9)]
    assert [amend.moved(rank, [4, 0, 9, 3]) for rank in range(len(free))] == free


def test_a_staged_part_is_cleared_and_commits_what_is_left(used: Store, rows) -> None:
    parts.stage(used, "waiting", rows([GONE, "e5"], text="staged words of"))
    takedown.write_down(used, asked(used))
    done(used)
    assert not [n for n, data in everything(used).items() if b"staged words of b2" in data]
    parts.commit(used, ["waiting"])
    assert sorted(used.read("samples")["sample_id"].to_pylist()) == ["a1", "c3", "d4", "e5"]


def test_what_kills_left_is_no_obstacle_and_goes(used: Store) -> None:
    """Half a data file and one that no commit names, half a part, also of another machine, half a log and half a journal."""
    file, table = Path(used.files("samples")[0]), used.path / "tables/samples"
    half = file.read_bytes()[:-40]
    left = [table / "part-half.parquet", table / "_delta_log/.purge-00000000000000000001.json"]
    for owner in (f"{parts.machine()}.999999999", "elsewhere.1"):
        left.append(used.path / f"staging/.key.{owner}/samples.parquet")
        left[-1].parent.mkdir(parents=True)
    takedown.write_down(used, asked(used))
    left.append(used.path / takedown.JOURNAL / ".another.json.1")
    for one in left:
        one.write_bytes(half)
    left.append(Path(shutil.copy(file, table / "part-unnamed.parquet")))
    assert asked(used).counts["samples"] == 1
    done(used)
    assert not [one for one in left if one.exists()]
    assert sorted(used.read("samples")["sample_id"].to_pylist()) == ["a1", "c3", "d4"]


def test_a_table_that_lost_its_log_loses_no_more(used: Store) -> None:
    """Nothing is known of its files, so none is taken for a killed writer's."""
    shutil.rmtree(used.path / "tables/looks/_delta_log")
    files = sorted((used.path / "tables/looks").glob("*.parquet"))
    again = Store.open(used.path)
    with purge.asking(again, {}) as con:
        purge.purge(again, "looks", "true", con)
    assert files and all(one.exists() for one in files)


def test_two_that_make_the_salt_at_once_have_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(8):
            folder = tmp_path / str(number)
            folder.mkdir()
            made = list(pool.map(lambda _, of=folder: blocklist.key_of(of, create=True), range(8)))
            assert set(made) == {(folder / "forget.key").read_bytes()}


def test_a_blocklist_without_its_key_is_told(used: Store) -> None:
    takedown.write_down(used, asked(used))
    done(used)
    assert Blocklist.load(used).holds("sample", GONE)
    (used.path / "forget.key").unlink()
    with pytest.raises(StoreCorrupt, match=r"forget\.key"):
        Blocklist.load(used)


def test_looks_are_known_under_their_mask_and_only_if_both_hashes_are_near() -> None:
    held = Entry("looks", blocklist.masked(b"salt", (0b1111, -5)), 2)
    blocked = Blocklist(b"salt", [held])
    assert blocked.holds_looks((0b1100, -5)) and blocked.holds_looks((0b1111, -6))
    assert not blocked.holds_looks((0b1000, -5)) and not blocked.holds_looks((0b1111, 5))
    assert not blocked.holds_looks((0b1111, None))
    assert f"{0b1111:016x}" not in held.digest


def test_a_backup_takes_the_key_along_and_nobody_else_may_read_it(used: Store, tmp_path) -> None:
    from storage.backup import backup, restore

    takedown.write_down(used, asked(used))
    done(used)
    backup(used, tmp_path / "backup")
    again = Store.open(restore(tmp_path / "backup", tmp_path / "again"))
    assert Blocklist.load(again).holds("sample", GONE)
    for folder in (tmp_path / "backup", again.path):
        assert (folder / "forget.key").stat().st_mode & 0o777 == 0o600


KILLED = "import sys; from pathlib import Path; from tests.storage import killed; killed.main(Path(sys.argv[1]), *sys.argv[2:])"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_before_any_of_its_writes_it_is_done_by_the_next_call(
    store: Store, ingest, rows, child
) -> None:
    """It ends as if nothing had happened, and nothing is found. Until then a snapshot reads as it was, or as it will be: never
    with a row less under its old hash."""
    ingest("one", ["a1", GONE], text="first words of")
    create(store, "held", **TOKENS)
    parts.stage(store, "waiting", {"samples": rows([GONE, "e5"], text="staged words of")["samples"]})
    catalog.rebuild(store)
    takedown.write_down(store, asked(store))
    process = child(KILLED, store.path, "held", GONE, "words of b2")
    out, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    found = json.loads(out)
    assert found["wrong"] == [] and found["writes"] > 40, found
