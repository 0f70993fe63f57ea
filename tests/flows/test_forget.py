"""`millrace forget` on a store that flows really filled: nothing of it is found anywhere afterwards, and it stays out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.cli import app
from flows.config import read
from storage import lineage, takedown
from storage.snapshot import Snapshot
from tests.flows.guests import GUESTS, HELD_OUT, SECRET, drawn, put

pytestmark = pytest.mark.slow


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def forgotten(mill: Any, *named: object) -> dict[str, Any]:
    result = run("forget", *named, "--yes", "--json", "-c", mill.config)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)[-1]


@pytest.fixture
def mine(guests: Any, tmp_path: Path) -> Any:
    """A copy of it to change."""
    return guests.copy(tmp_path / "mill")


def one(mill: Any, text: str) -> tuple[str, str]:
    """Ids of the row that says a text, and of its picture."""
    [found] = mill.sql(f"SELECT sample_id, image_id FROM samples WHERE text = '{text}'")
    return found


def test_a_dry_run_says_what_would_go_and_changes_nothing(mine: Any) -> None:
    before = mine.store().versions(), mine.snapshot().content_hash
    result = run("forget", "--text", f"  {SECRET.upper()} .", "--dry-run", "--json", "-c", mine.config)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["rows"], told["pictures"], told["snapshots"]) == (1, 1, [mine.snapshot().name])
    assert told["counts"]["samples"] == told["counts"]["images"] == told["counts"]["members"] == 1
    assert {row["rows"] for row in told["checkpoints"]} == {1}
    assert (mine.store().versions(), mine.snapshot().content_hash) == before


@pytest.mark.parametrize("kind", ["like", "source", "licence"])
def test_what_is_named_goes_with_its_picture(kind: str, mine: Any, tmp_path: Path) -> None:
    _, picture = one(mine, SECRET)
    copy = tmp_path / "copy.jpg"
    drawn(3).resize((80, 80)).save(copy, quality=80)
    named = {
        "like": copy,
        "source": "guests",
        "licence": "CC0-1.0",
    }
    rows = GUESTS if kind in ("source", "licence") else 1
    done = forgotten(mine, f"--{kind}", named[kind])
    assert (done["rows"], done["pictures"]) == (rows, rows)
    assert mine.sql(f"SELECT count(*) FROM samples WHERE text = '{SECRET}'") == [(0,)]
    assert mine.sql(f"SELECT count(*) FROM images WHERE image_id = '{picture}'") == [(0,)]
    assert mine.sql("SELECT bool_and(adds_up) FROM funnel_check") == [(True,)]
    assert mine.sql("SELECT count(*) FROM samples") == [(GUESTS + HELD_OUT - rows,)]


def test_a_picture_stays_as_long_as_another_row_shows_it(mine: Any) -> None:
    image = drawn(3)
    put(mine.path / "data/guests", "again", image, "the same picture in quite other words")
    mine.ingest()
    sample, picture = one(mine, SECRET)
    assert forgotten(mine, "--sample", sample)["pictures"] == 0
    assert mine.sql(f"SELECT count(*) FROM images WHERE image_id = '{picture}'") == [(1,)]
    assert forgotten(mine, "--picture", picture)["rows"] == 1
    assert mine.sql(f"SELECT count(*) FROM images WHERE image_id = '{picture}'") == [(0,)]


def test_the_snapshot_is_amended_and_older_names_lead_to_it(mine: Any) -> None:
    before = mine.snapshot()
    sample, _ = one(mine, SECRET)
    rest = before.samples()
    done = forgotten(mine, "--sample", sample)
    after = mine.snapshot()
    assert done["amended"] == {before.name: after.name} == {before.name: f"{before.name}-1"}
    assert after.content_hash != before.content_hash and after.rows == before.rows - 1
    assert Snapshot.open(mine.store(), before.name) == after
    assert after.samples().equals(rest.filter(pc_not(rest["sample_id"], sample)))
    assert mine.sql("SELECT what, name, amended_by FROM affected WHERE what = 'snapshot'") == [
        ("snapshot", before.name, after.name)
    ]


def pc_not(column: Any, value: str) -> Any:
    import pyarrow.compute as pc

    return pc.not_equal(column, value)


def test_a_run_goes_on_in_the_same_order_with_padding_where_the_row_was(mine: Any) -> None:
    """All other rows stay in their places, and the row itself is neither read nor learned."""
    from model.batches import Batches
    from model.corpus import load_corpus
    from model.tokenizers import Tokenizers

    sample, _ = one(mine, SECRET)

    def made() -> tuple[Batches, list[list[list[str]]]]:
        config, snapshot = read(mine.config).train, mine.snapshot()
        corpus = load_corpus(mine.store(), snapshot, "train", in_place=True)
        tokenizers = Tokenizers.of(mine.store(), snapshot)
        batches = Batches(
            corpus,
            config.batch,
            tokenizers.model_config(config.preset, **config.model),
            tokenizers.vocabulary,
            0,
        )
        return batches, [batches.sample_ids(step) for step in range(40)]

    (batches, before), seen = made(), 0
    forgotten(mine, "--sample", sample)
    amended, after = made()
    assert after == [[[one for one in row if one != sample] for row in step] for step in before]
    for step, rows in enumerate(before):
        old, new = batches.batch(step), amended.batch(step)
        empty = (old.units >= 0) & (new.units < 0)
        seen += bool(empty.any())
        assert bool(empty.any()) == any(sample in row for row in rows)
        assert (new.targets[empty] == -1).all() and len(new.ids[empty].unique()) <= 1
        for name in ("ids", "units", "positions", "targets", "places", "branches"):
            assert getattr(old, name)[~empty].equal(getattr(new, name)[~empty]), name
    assert seen > 3


def test_training_goes_on_where_it_was_and_says_which_checkpoints_saw_the_row(mine: Any) -> None:
    sample, _ = one(mine, SECRET)
    saw = {row["checkpoint_id"] for row in lineage.sample(mine.store(), sample)["checkpoints"]}
    runs = mine.sql("SELECT DISTINCT run_id FROM checkpoints")
    done = forgotten(mine, "--sample", sample)
    assert {row["checkpoint_id"] for row in done["checkpoints"]} == saw != set()
    result = run("train", "-c", mine.config, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["step"] == 12
    assert mine.sql("SELECT DISTINCT run_id FROM checkpoints") == runs
    told = lineage.sample(mine.store(), sample)
    assert told["forgotten"] and told["sample"] is None and told["decisions"] == []
    assert {row["checkpoint_id"] for row in told["checkpoints"]} >= saw
    [(newest,)] = mine.sql("SELECT checkpoint_id FROM checkpoints WHERE step = 12")
    assert sum(row["rows"] for row in lineage.counts(mine.store(), newest)) == GUESTS + HELD_OUT - 1
    assert "forgotten" in run("lineage", "sample", sample, "-c", mine.config).stdout


def test_it_does_not_come_in_again(mine: Any) -> None:
    """Neither the row, nor its picture under another name, nor a near-copy, nor its text beside another picture."""
    picture = mine.path / "data/guests/g03.png"
    forgotten(mine, "--like", picture, "--text", SECRET)
    before = mine.snapshot().samples()["sample_id"].to_pylist()
    put(mine.path / "data/guests", "renamed", drawn(3), "something else altogether, for once")
    drawn(3).resize((88, 88)).save(mine.path / "data/guests/smaller.jpg", quality=85)
    put(mine.path / "data/guests", "other", drawn(77), SECRET.title() + "!")
    put(mine.path / "data/guests", "new", drawn(78), "a guest that nobody has asked to forget")
    mine.ingest()
    assert mine.sql("SELECT count(*) FROM decisions WHERE reason = 'forgotten' AND detail IS NULL") == [(4,)]
    assert mine.sql("SELECT bool_and(adds_up) FROM funnel_check") == [(True,)]
    assert mine.sql("SELECT count(*) FROM samples") == [(GUESTS + HELD_OUT - 1 + 5,)]
    after = mine.snapshot().samples()["sample_id"].to_pylist()
    assert set(before) < set(after) and len(after) == len(before) + 1
    told = "origin, text, prompt, url, page_url, image_id, label, author, licence, version, http"
    rows = mine.sql(f"SELECT {told} FROM samples WHERE origin LIKE 'forgotten %'")
    assert len(rows) == 4 and all(set(row[1:]) == {None} for row in rows)


def test_the_record_tells_who_and_how_much_and_not_what_and_naming_it_again_does_nothing(mine: Any) -> None:
    sample, picture = one(mine, SECRET)
    forgotten(mine, "--text", SECRET, "--by", "privacy desk")
    [record] = takedown.records(mine.store())
    assert (record["requested_by"], record["rows"], record["pictures"]) == ("privacy desk", 1, 1)
    assert record["genuine"]
    versions = mine.store().versions()
    again = run("forget", "--text", SECRET, "--yes", "-c", mine.config)
    assert again.exit_code == 0 and "forgotten before" in again.stdout
    assert mine.store().versions() == versions
    said = json.dumps(record, default=str)
    assert not any(one in said for one in (SECRET, sample, picture))
    key = mine.path / "store/forget.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.write_bytes(b"another")
    assert not takedown.records(mine.store())[0]["genuine"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--yes"], "nothing was named"),
        (["--text", "x"], "--dry-run"),
        (["--like", "nowhere.png", "--yes"], "nowhere.png"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments: list[str], word: str, mine: Any) -> None:
    result = run("forget", *arguments, "-c", mine.config)
    assert result.exit_code != 0 and word in result.output + result.stderr
    assert "Traceback" not in result.output
