"""Collages fall into the panels that they were made of, long pages into tiles, and single pictures stay whole."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from pipeline import stage
from pipeline.collect import FIRST_PIECE, Origin, Rows, collect, forget_former
from pipeline.decoders import MEMORY, Decoders
from pipeline.sources.folder import Folder
from pipeline.sources.parquet import Parquet
from pipeline.step import RAW, Shard
from pipeline.web.source import WITHDRAWN
from storage import media, panels, parts, trim
from storage.limits import Limits
from storage.store import Store
from storage.trim import Box
from tests.pipeline.test_trim import drawing, jpeg, night, photo, raw

PIECES = Limits(panels=True, min_side=1)


def spans(total: int, parts: list[float], gutter: int, margin: int) -> list[tuple[int, int]]:
    inner = total - 2 * margin - gutter * (len(parts) - 1)
    ends = np.cumsum([0, *parts]) / sum(parts) * inner
    return [
        (margin + round(a) + n * gutter, margin + round(b) + n * gutter)
        for n, (a, b) in enumerate(pairwise(ends))
    ]


def collage(
    seed: int, grid: list[list[float]], gutter: int, margin: int, colour: str
) -> tuple[Image.Image, list[Box]]:
    """Rows of panels of these widths, and where each lies."""
    draw = np.random.default_rng(seed)
    page = Image.new("RGB", (480, 440), colour)
    boxes: list[Box] = []
    heights = spans(440, [float(draw.uniform(0.7, 1.3)) for _ in grid], gutter, margin)
    for row, (top, bottom) in zip(grid, heights, strict=True):
        for left, right in spans(480, row, gutter, margin):
            page.paste(photo(seed + len(boxes), (right - left, bottom - top)), (left, top))
            boxes.append((left, top, right, bottom))
    return page, boxes


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other))
    return max(0, width) * max(0, height) / (areas - max(0, width) * max(0, height))


GRIDS = [
    [[1, 1]], [[1], [1]], [[2, 1]], [[1, 1], [1, 1]], [[1, 1, 1], [1, 1]], [[1], [1, 2], [2, 1, 1]],
    [[1] * 3] * 3, [[1] * 4] * 4,
]  # fmt: skip


@pytest.mark.parametrize("colour", ["black", "white"])
@pytest.mark.parametrize(("gutter", "margin"), [(4, 0), (6, 6), (16, 9)])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_a_collage_falls_into_its_panels_in_reading_order(
    grid: list[list[float]], gutter: int, margin: int, colour: str
) -> None:
    page, boxes = collage(1, grid, gutter, margin, colour)
    assert panels.boxes(np.asarray(page)) == boxes
    if gutter < 6:  # a JPEG's blocks are wider: its traces meet in the middle
        return
    found = panels.boxes(np.asarray(jpeg(page)))
    assert len(found) == len(boxes)
    assert min(map(overlap, found, boxes)) >= 0.95


@pytest.mark.parametrize("seed", range(10))
def test_one_picture_is_one(seed: int) -> None:
    assert not panels.boxes(np.asarray(photo(seed)))
    assert not panels.boxes(np.asarray(jpeg(photo(seed, (300, 120)))))


def things() -> Image.Image:
    """Two objects on white: their edges are not straight."""
    picture = Image.new("RGB", (200, 150), "white")
    for x in (20, 120):
        ImageDraw.Draw(picture).ellipse((x, 30, x + 60, 120), fill="#804020")
    return picture


def table() -> Image.Image:
    picture = Image.new("RGB", (200, 150), "white")
    for x in range(0, 200, 50):
        ImageDraw.Draw(picture).line((x, 0, x, 149), fill="black", width=3)
    return picture


@pytest.mark.parametrize("scene", [night, drawing, things, table])
def test_what_stands_on_one_ground_is_one(scene) -> None:  # type: ignore[no-untyped-def]
    assert not panels.boxes(np.asarray(scene().convert("RGB")))


@pytest.mark.parametrize("turned", [False, True])
def test_a_long_page_is_cut_where_it_is_quiet(turned: bool) -> None:
    page = Image.new("RGB", (200, 1500), "white")
    pen = ImageDraw.Draw(page)
    for line in range(100):
        if line % 12:
            pen.text((10, 15 * line), "a line of the page", fill="black")
    if turned:
        page = page.transpose(Image.Transpose.ROTATE_90)
    found = panels.boxes(np.asarray(page))
    along = 0 if turned else 1
    assert len(found) > 2
    assert sum((b[2] - b[0]) * (b[3] - b[1]) for b in found) == 200 * 1500
    cuts = [box[along] for box in found[1:]]
    assert (np.asarray(page.convert("L")).min(along)[cuts] > 250).all()


@pytest.mark.parametrize("size", [(400, 400), (400, 5000), (5000, 400)])
def test_a_page_of_many_bands_is_looked_at_a_few_times(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every gutter of a ruled page is looked at on both sides, but not as far as the page goes."""
    page = np.full((size[1], size[0], 3), 255, np.uint8)
    lines = page if size[1] >= size[0] else page.swapaxes(0, 1)
    gap = max(6, round(0.008 * max(size)))
    for start in range(gap, len(lines) - 12, gap + 12):
        lines[start : start + 12] = np.random.default_rng(start).integers(0, 200, (12, lines.shape[1], 3))
    looked, bar = [], trim.bar
    monkeypatch.setattr(trim, "bar", lambda rgb: looked.append(rgb.shape[0] * rgb.shape[1]) or bar(rgb))
    panels.boxes(page)
    assert sum(looked) < 40 * min(page.shape[0] * page.shape[1], 2 * panels.DECODED**2)


# --- rows


def rows_of(picture: Image.Image, limits: Limits = PIECES, **columns: object) -> dict[str, pa.Table]:
    rows = Rows(Origin("s", Folder(path="x")), limits)
    rows.add(
        {**dict.fromkeys(RAW.names), "origin": "a", "text": b"four views", **columns},
        media.normalise(raw(picture), limits),
        None,
        None,
    )
    return rows.tables()


def test_each_panel_is_a_row_behind_its_picture_and_the_counts_add_up() -> None:
    page, boxes = collage(2, [[1, 1], [1, 1]], 8, 0, "white")
    made = rows_of(page, position=3)
    samples = made["samples"].sort_by("position").to_pylist()
    assert [row["text"] for row in samples] == ["four views", None, None, None, None]
    assert [row["position"] for row in samples] == [3, *(FIRST_PIECE + 3 * panels.MOST + n for n in range(4))]
    assert len({row["document_id"] for row in samples}) == 1
    assert len({row["sample_id"] for row in samples}) == len(made["decisions"]) == len(made["images"]) == 5
    left, top, right, bottom = boxes[1]
    assert f"{left}, {top} to {right}, {bottom} of 480 x 440" in made["decisions"]["detail"].to_pylist()
    sizes = {(row["width"], row["height"]) for row in made["images"].to_pylist()}
    assert {(b[2] - b[0], b[3] - b[1]) for b in boxes} <= sizes
    assert len(rows_of(page, Limits())["samples"]) == 1


def test_panels_have_full_size_where_the_whole_is_shrunk() -> None:
    page, _ = collage(2, [[1, 1], [1, 1]], 8, 0, "white")
    found = media.normalise(raw(page), Limits(panels=True, max_side=120))
    assert max(found.width, found.height) == 120
    assert [max(one.width, one.height) for one in found.panels] == [120] * 4


def test_a_document_has_the_panels_of_a_picture_once() -> None:
    page, _ = collage(2, [[1, 1]], 8, 0, "white")
    picture = media.normalise(raw(page), PIECES)
    rows = Rows(Origin("s", Folder(path="x")), PIECES)
    for position in range(3):
        rows.add(
            {**dict.fromkeys(RAW.names), "origin": "a", "position": position, "text": b"x"},
            picture,
            None,
            None,
        )
    made = rows.tables()
    assert len(made["samples"]) == 3 + 2 and len(made["images"]) == 3


def test_former_panels_are_withdrawn_with_their_origin_and_new_ones_are_not() -> None:
    page, _ = collage(2, [[1, 1]], 8, 0, "white")
    rows = Rows(Origin("s", Folder(path="x")), PIECES)
    bare = dict.fromkeys(RAW.names) | {"origin": "a"}
    rows.add({**bare, "text": b"now two"}, media.normalise(raw(page), PIECES), None, None)
    for place in range(3):  # the picture had three
        rows.add({**bare, "position": FIRST_PIECE + place}, None, WITHDRAWN, None)
    decided = rows.tables()["decisions"]
    assert sorted(map(str, decided["reason"].to_pylist())) == ["None", "None", "None", WITHDRAWN]


def test_decoding_processes_hand_over_panels(tmp_path: Path) -> None:
    page, _ = collage(3, [[1, 1, 1]], 8, 4, "black")
    (tmp_path / "page.png").write_bytes(raw(page))
    (tmp_path / "one.png").write_bytes(raw(photo(9)))
    source = Folder(path=str(tmp_path))
    shards: list[Shard] = list(source.shards(RAW.empty_table()))
    with Decoders(PIECES, 1, MEMORY) as decoders:
        made = [collect(Origin("s", source), shard, PIECES, decoders) for shard in shards]
    images = pa.concat_tables([one["images"] for one in made])
    assert len(images) == 5
    assert set(images["image"].to_pylist()) == {
        one.image
        for whole in (page, photo(9))
        for found in [media.normalise(raw(whole), PIECES)]
        for one in (found, *found.panels)
    }
    decided = pa.concat_tables([one["decisions"] for one in made])
    assert len(decided) == 5 and all(decided["kept"].to_pylist())


def test_panels_that_are_no_longer_wanted_or_shown_go(tmp_path: Path) -> None:
    store, file = Store.open(tmp_path / "store"), tmp_path / "pictures.parquet"
    origin = Origin("s", Parquet(path=str(file)))
    page, _ = collage(2, [[1, 1], [1, 1]], 8, 0, "white")

    def night(limits: Limits, *pictures: Image.Image) -> tuple[int, int]:
        """(rows that went, rows that are there)."""
        columns = {"key": [str(n) for n in range(len(pictures))], "image": [raw(one) for one in pictures]}
        pq.write_table(pa.table(columns), file)
        jobs = stage.plan_collect(store, origin, limits)
        parts.commit(store, [stage.work_collect(store, job, limits) for job in jobs])
        again = stage.plan_collect(store, origin, limits)  # as after a kill
        former = forget_former(store, "s")
        assert jobs and not again and not forget_former(store, "s")
        rows = store.read("samples", ["part"])
        assert len(rows) == len(store.read("decisions", ["part"])) and len(set(rows["part"].to_pylist())) == 1
        return former, len(rows)

    one, plain = photo(9), Limits(min_side=1)
    assert night(PIECES, page, one) == (0, 6)
    assert night(plain, page, one) == (4, 2)
    assert night(PIECES, page, one) == (0, 6)
    assert night(PIECES, photo(3), one) == (4, 2)


def test_former_panels_do_not_keep_a_replaced_part_alive(tmp_path: Path) -> None:
    """A kill came before they were forgotten, and then the settings were set back."""
    store, file = Store.open(tmp_path / "store"), tmp_path / "pictures.parquet"
    page, _ = collage(2, [[1, 1]], 8, 0, "white")
    pq.write_table(pa.table({"key": ["a"], "image": [raw(page)]}), file)
    origin = Origin("s", Parquet(path=str(file)))
    for limits in (PIECES, Limits(min_side=1), PIECES):
        [job] = stage.plan_collect(store, origin, limits)
        parts.commit(store, [stage.work_collect(store, job, limits)])
    assert len(store.read("samples", ["part"])) == 3 and not forget_former(store, "s")
