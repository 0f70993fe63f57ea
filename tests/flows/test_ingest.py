"""The ingest flow on a small gallery: the counts add up, nothing is done twice, what is done stays done."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dashboards.truth import score
from storage.snapshot import content_hash

SOURCES = ("folder", "tars", "urls", "heldout")
DATA = ("images", "samples", "decisions", "groups", "splits", "text_tokens", "image_tokens")


def caption(mill: Any, file: str, text: str, **more: str) -> None:
    """Adds a line to the folder's captions."""
    with (mill.path / "data/folder/captions.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(
            json.dumps({"file": file, "text": text, "lang": "en", "licence": "CC0-1.0", **more}) + "\n"
        )


def noise(seed: int, side: int = 64) -> bytes:
    """A picture like no other, as PNG."""
    rng = np.random.default_rng(seed)
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def test_counts_add_up_to_the_row_for_every_source(milled: Any) -> None:
    truth = Counter(pq.read_table(milled.path / "data/truth.parquet")["source"].to_pylist())
    check = milled.sql("SELECT source, came_in, kept, dropped, adds_up FROM funnel_check")
    assert {source: came_in for source, came_in, *_ in check} == dict(truth)
    assert all(came_in == kept + dropped and adds_up for _, came_in, kept, dropped, adds_up in check)
    reasons = milled.sql("SELECT source, reason, count(*) FROM verdicts WHERE NOT kept GROUP BY ALL")
    assert all(reason for _, reason, _ in reasons)
    for source, _, _, dropped, _ in check:
        assert sum(n for s, _, n in reasons if s == source) == dropped


def test_every_row_is_judged_once_by_each_stage_it_reaches(milled: Any) -> None:
    assert milled.sql("SELECT count(*) - count(DISTINCT (sample_id, stage)) FROM decisions") == [(0,)]
    assert milled.sql(
        "SELECT count(*) FROM samples ANTI JOIN (SELECT sample_id FROM decisions WHERE stage = 'collect') "
        "USING (sample_id)"
    ) == [(0,)]


def test_every_source_brings_pictures_of_its_own(milled: Any) -> None:
    kept = dict(
        milled.sql(
            "SELECT s.source, count(DISTINCT image_id) FROM samples s JOIN verdicts USING (sample_id) "
            "WHERE kept GROUP BY 1"
        )
    )
    assert set(kept) == set(SOURCES)
    assert all(n >= 10 for n in kept.values()), kept


def test_a_snapshot_holds_what_was_kept(milled: Any) -> None:
    [(kept,)] = milled.sql("SELECT count(*) FROM verdicts WHERE kept")
    snapshot = milled.snapshot()
    assert snapshot.rows == kept == snapshot.samples().num_rows
    assert snapshot.text_tokens().num_rows == kept
    assert set(snapshot.image_tokens()["image_id"].to_pylist()) == set(
        snapshot.samples(columns=["image_id"])["image_id"].drop_null().to_pylist()
    )


def test_held_out_rows_and_their_copies_are_never_trained_on(milled: Any) -> None:
    assert milled.sql("SELECT DISTINCT split FROM splits JOIN samples USING (sample_id) WHERE held_out") == [
        ("test",)
    ]
    shared = milled.sql(
        "WITH shown AS (SELECT coalesce(group_id, image_id) AS g, held_out, split FROM samples "
        "JOIN splits USING (sample_id) JOIN verdicts USING (sample_id) LEFT JOIN groups USING (image_id) "
        "WHERE kept) "
        "SELECT count(*) FROM shown WHERE split = 'train' AND g IN (SELECT g FROM shown WHERE held_out)"
    )
    assert shared == [(0,)]


def test_planted_copies_and_leaks_are_found_and_little_else(milled: Any) -> None:
    found = {line["kind"]: line for line in score(milled.store(), milled.path / "data/truth.parquet")}
    for kind in ("exact_copy", "reencoded_copy"):
        assert found[kind]["planted"] > 0
        assert found[kind]["recall"] >= 0.99, found[kind]
        assert found[kind]["precision"] >= 0.99, found[kind]
    for kind in ("leaked_exact", "leaked_reencoded"):
        assert found[kind]["planted"] > 0
        assert found[kind]["recall"] == 1, found[kind]


def test_a_second_ingest_writes_nothing(mill: Any) -> None:
    before = mill.store().versions()
    done = mill.ingest()
    assert done["parts_made"] == 0
    assert mill.store().versions() == before


def test_every_duckdb_of_an_ingest_keeps_to_the_configurations_memory(
    mill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from storage import store, views

    limits, connection = set(), views.connection
    monkeypatch.setattr(
        store.views, "connection", lambda path, limit, n: limits.add(limit) or connection(path, limit, n)
    )
    mill.change('runner = "threads"', 'runner = "threads"\nmemory_limit = "1500MB"')
    (mill.path / "data/folder/zzz.png").write_bytes(noise(5))
    caption(mill, "zzz.png", "grey noise on a grey background")
    assert mill.ingest()["parts_made"] > 0
    assert limits == {"1500MB"}


def test_one_more_picture_costs_one_more_part_and_touches_no_other(mill: Any) -> None:
    before = {table: set(mill.store().files(table)) for table in DATA}
    rows = set(mill.sql("SELECT sample_id, part FROM samples"))
    (mill.path / "data/folder/zzz.png").write_bytes(noise(1))
    caption(mill, "zzz.png", "grey noise on a grey background")
    mill.ingest()
    after = set(mill.sql("SELECT sample_id, part FROM samples"))
    assert rows < after
    assert len(after - rows) == 1
    [(sample_id, part)] = after - rows
    assert part not in {p for _, p in rows}
    assert mill.sql(f"SELECT kept FROM verdicts WHERE sample_id = '{sample_id}'") == [(True,)]
    for table, files in before.items():
        assert files < set(mill.store().files(table)), f"{table}: files of other parts were rewritten"
    assert mill.snapshot().rows == len(mill.snapshot().samples())


def decided(mill: Any, version: int | None = None) -> set[tuple]:
    """Every decision, whichever part it came in."""
    rows = mill.store().read("decisions", version=version).drop(["part"]).to_pylist()
    return {tuple(row.values()) for row in rows}


def test_a_threshold_is_decided_again_without_reading_a_picture_again(mill: Any) -> None:
    first, before = mill.snapshot(), mill.store().versions()
    mill.change("min_words = 2", "min_words = 7")
    stricter = mill.ingest()
    assert mill.snapshot().rows < first.rows
    mill.change("min_words = 7", "min_words = 2")
    again = mill.ingest()
    assert (again["snapshot"], again["kept"]) == (first.name, first.rows)
    assert mill.snapshot().name == first.name, "the latest is what the last ingest gave"
    assert len(mill.store().read("snapshots")) == 2
    assert stricter["snapshot"] != first.name
    after = mill.store().versions()
    assert after["decisions"] > before["decisions"]
    store = mill.store()
    for table in ("images", "samples", "groups", "perceptual_hash", "image_tokens", "text_tokens"):
        assert store.files(table) == store.files(table, before[table]), f"{table} was written again"
    assert decided(mill) == decided(mill, before["decisions"])


def test_what_a_gather_dropped_comes_back_when_it_is_asked_no_more(mill: Any) -> None:
    dropped = "SELECT count(*) FROM verdicts WHERE reason = 'duplicate'"
    [(duplicates,)], before = mill.sql(dropped), mill.snapshot()
    mill.change('[[gathers]]\nuse = "gathers.near_duplicates"\n', "")
    without = mill.ingest()
    assert duplicates > 0 and mill.sql(dropped) == [(0,)]
    assert without["kept"] > before.rows
    text = mill.config.read_text()
    leak = '[[gathers]]\nuse = "gathers.decontaminate"'
    mill.config.write_text(text.replace(leak, f'[[gathers]]\nuse = "gathers.near_duplicates"\n{leak}'))
    assert mill.ingest()["snapshot"] == before.name


def test_an_older_snapshot_reads_the_same_after_later_ingests(mill: Any) -> None:
    first = mill.snapshot()
    rows = first.samples()
    mill.change("min_words = 2", "min_words = 7")
    mill.ingest()
    assert mill.snapshot().name != first.name
    assert first.samples().equals(rows)


def reword(mill: Any, origin: str, position: int, text: str) -> None:
    """Changes a caption of a picture in the folder's table."""
    path = mill.path / "data/folder/captions.jsonl"
    lines = path.read_text("utf-8").splitlines()
    mine = [number for number, line in enumerate(lines) if json.loads(line)["file"] == origin]
    lines[mine[position]] = json.dumps(json.loads(lines[mine[position]]) | {"text": text}, ensure_ascii=False)
    path.write_text("\n".join(lines) + "\n", "utf-8")


def test_a_changed_caption_replaces_its_row_each_time_also_by_an_old_one(mill: Any) -> None:
    [(origin, position, sample_id, text)] = mill.sql(
        "SELECT origin, position, sample_id, text FROM samples JOIN verdicts USING (sample_id) WHERE kept "
        "AND samples.source = 'folder' AND lang = 'en' AND task = 'caption' ORDER BY sample_id LIMIT 1"
    )
    rows = {table: len(mill.store().read(table)) for table in ("samples", "images", "text_tokens", "splits")}
    first, stages = mill.snapshot(), f"SELECT stage FROM decisions WHERE sample_id = '{sample_id}' ORDER BY 1"
    judged = mill.sql(stages)
    seen = set()
    for said in ("a dotted something on the moon", "a striped nothing in the sea", text):
        reword(mill, origin, position, said)
        done = mill.ingest()
        assert mill.sql(f"SELECT text FROM samples WHERE sample_id = '{sample_id}'") == [(said,)]
        assert mill.sql(stages) == judged
        assert {table: len(mill.store().read(table)) for table in rows} == rows
        seen.add(str(mill.sql(f"SELECT ids FROM text_tokens WHERE sample_id = '{sample_id}'")))
    assert len(seen) == 3
    assert done["snapshot"] == first.name
    assert mill.sql("SELECT count(*) FROM funnel_check WHERE NOT adds_up") == [(0,)]


def test_a_changed_picture_replaces_the_picture_of_its_rows(mill: Any) -> None:
    [(origin, image_id)] = mill.sql(
        "SELECT origin, image_id FROM samples JOIN verdicts USING (sample_id) "
        "WHERE kept AND samples.source = 'folder' ORDER BY sample_id LIMIT 1"
    )
    rows = mill.sql("SELECT count(*) FROM samples")
    (mill.path / "data/folder" / origin).write_bytes(noise(2))
    mill.ingest()
    shown = mill.sql(f"SELECT DISTINCT image_id FROM samples WHERE source = 'folder' AND origin = '{origin}'")
    assert len(shown) == 1
    assert shown != [(image_id,)]
    assert mill.sql("SELECT count(*) FROM samples") == rows
    assert mill.snapshot().image_tokens().num_rows == len(
        set(mill.snapshot().samples()["image_id"].to_pylist())
    )


def test_unreadable_files_are_rows_with_a_reason(mill: Any) -> None:
    for name, content in (
        ("cut.png", noise(3)[:300]),
        ("lies.jpg", b"this is no picture"),
        ("none.png", b""),
    ):
        (mill.path / "data/folder" / name).write_bytes(content)
        caption(mill, name, "a picture that cannot be read")
    caption(mill, "nowhere.png", "a picture that is not there")
    mill.ingest()
    found = dict(
        mill.sql(
            "SELECT origin, reason FROM samples JOIN verdicts USING (sample_id) "
            "WHERE origin IN ('cut.png', 'lies.jpg', 'none.png', 'nowhere.png') AND NOT kept"
        )
    )
    assert set(found) == {"cut.png", "lies.jpg", "none.png", "nowhere.png"}
    assert found["nowhere.png"] == "missing_file"
    assert all(found.values())
    assert mill.sql("SELECT count(*) FROM funnel_check WHERE NOT adds_up") == [(0,)]


@pytest.mark.slow
def test_threads_and_processes_give_the_same_snapshot(milled: Any, fresh: Any) -> None:
    fresh.change('runner = "threads"', 'runner = "processes"')
    fresh.ingest()
    assert fresh.snapshot().content_hash == milled.snapshot().content_hash
    for table in ("images", "samples", "decisions", "groups", "splits", "text_tokens", "image_tokens"):
        assert content_hash(fresh.store(), table) == content_hash(milled.store(), table), table


def test_the_place_of_a_project_does_not_matter(milled: Any, mill: Any) -> None:
    """A project may be moved: nothing is new to the ingest, and no path of the old place is in its tables."""
    assert mill.ingest()["parts_made"] == 0
    for column in ("origin", "url", "document_id", "version"):
        assert mill.sql(f"SELECT count(*) FROM samples WHERE contains({column}, '{milled.path}')") == [(0,)]


def test_a_part_that_a_kill_left_staged_is_committed_first(mill: Any) -> None:
    """Staged work of a dead run is not done again, and not left behind."""
    from flows.config import read
    from pipeline import stage
    from pipeline.collect import Origin

    (mill.path / "data/folder/zzz.png").write_bytes(noise(4))
    caption(mill, "zzz.png", "more grey noise on a grey background")
    config, store = read(mill.config), mill.store()
    [job] = stage.plan_collect(store, Origin("folder", config.source_steps["folder"]), config.media)
    stage.work_collect(store, job, config.media)
    assert len(os.listdir(store.folder("staging"))) == 1
    mill.ingest()
    assert os.listdir(store.folder("staging")) == []
    assert mill.sql("SELECT part FROM samples WHERE origin = 'zzz.png'") == [(job.key,)]
