"""884 hostile and odd pictures through a whole ingest: each row is kept, or dropped with a reason."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.sources.parquet import Parquet
from storage.media import MediaError


@pytest.fixture(scope="module")
def source(adverse: Any, tmp_path_factory: pytest.TempPathFactory) -> Parquet:
    """The files in a table: a folder is listed by endings, and these should be judged by what they are."""
    path = tmp_path_factory.mktemp("adverse") / "adverse.parquet"
    names, bodies = list(adverse.files), list(adverse.files.values())
    pq.write_table(pa.table({"key": names, "image": pa.array(bodies, pa.binary())}), path, row_group_size=200)
    return Parquet(path=str(path), shard_rows=200, licence="HPND")


@pytest.fixture(scope="module")
def ingested(adverse: Any, source: Parquet, fresh_ingest: Callable[[], Any]) -> Any:
    ingest = fresh_ingest()
    assert ingest.run({"adverse": source}, adverse.limits) > 3
    return ingest


@pytest.fixture(scope="module")
def reasons(ingested: Any) -> dict[str, str | None]:
    """What `collect` decided, by file."""
    rows = ingested.sql(
        "SELECT origin, reason FROM samples JOIN decisions USING (sample_id) WHERE stage = 'collect'"
    )
    assert len(rows) == len(dict(rows)) == 884
    return dict(rows)


def test_every_file_is_one_row_and_the_counts_add_up(ingested: Any, reasons: dict, adverse: Any) -> None:
    assert set(reasons) == set(adverse.files)
    [(came_in, _)] = ingested.adds_up().values()
    assert came_in == 884
    assert sum(reason is None for reason in reasons.values()) > 700


def test_the_ingest_decides_as_the_decoder_does(reasons: dict, adverse: Any) -> None:
    verdicts = adverse.verdicts
    assert reasons == {
        name: ours.reason if isinstance(ours, MediaError) else None for name, ours in verdicts.items()
    }


def test_it_keeps_what_pillow_reads_or_differs_for_a_stated_cause(reasons: dict, adverse: Any) -> None:
    wrong = {row["file"]: reasons[row["file"]] for row in adverse.expected
             if not adverse.rightly(row, reasons[row["file"]])}  # fmt: skip
    assert not wrong


def test_rows_point_at_the_pictures_that_were_stored(ingested: Any, adverse: Any) -> None:
    images = dict(ingested.sql("SELECT origin, image_id FROM samples"))
    verdicts = adverse.verdicts
    assert images == {name: getattr(ours, "image_id", None) for name, ours in verdicts.items()}
    stored = ingested.sql("SELECT image_id, image, width, height FROM images")
    assert {row[0] for row in stored} == set(filter(None, images.values()))
    for _, image, width, height in stored:
        with Image.open(io.BytesIO(image)) as picture:
            picture.load()
            assert (picture.mode, picture.size) == ("RGB", (width, height))


def test_no_flat_picture_is_grouped_with_another(ingested: Any) -> None:
    crowded = ingested.sql(
        "SELECT group_id FROM groups JOIN perceptual_hash USING (image_id) "
        "GROUP BY group_id HAVING bool_or(flat) AND count(*) > 1"
    )
    assert crowded == []
    assert ingested.sql("SELECT count(*) > 10 FROM perceptual_hash WHERE flat") == [(True,)]


def test_of_each_group_of_copies_one_row_stays(ingested: Any) -> None:
    """Nothing else goes after `collect`: the rows have no captions, and no filter was asked for."""
    later = ingested.sql("SELECT DISTINCT stage, reason FROM decisions WHERE NOT kept AND stage <> 'collect'")
    assert later == [("near_duplicates", "duplicate")]
    per_group = ingested.sql(
        "SELECT count(*) FILTER (kept) FROM verdicts JOIN samples USING (sample_id) "
        "JOIN groups USING (image_id) GROUP BY group_id"
    )
    assert set(per_group) == {(1,)}


def test_another_ingest_of_the_same_files_does_nothing(ingested: Any, source: Parquet, adverse: Any) -> None:
    versions = ingested.store.versions()
    assert ingested.run({"adverse": source}, adverse.limits) == 0
    assert ingested.store.versions() == versions


def test_where_the_table_lies_does_not_matter(
    ingested: Any, source: Parquet, adverse: Any, tmp_path: Path
) -> None:
    moved = tmp_path / "adverse.parquet"
    moved.write_bytes(Path(source.path).read_bytes())
    assert ingested.run({"adverse": source.model_copy(update={"path": str(moved)})}, adverse.limits) == 0
