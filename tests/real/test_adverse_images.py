"""884 hostile and odd pictures: each is kept or refused, as Pillow judges or for a stated cause."""

from __future__ import annotations

import csv
import os
import tarfile
import time
from pathlib import Path

import pytest

from storage.media import FORMATS, Limits, MediaError, Picture, normalise

DATA = (
    Path(os.environ.get("MILLRACE_REAL_DATA", Path(__file__).parents[2] / "../shared/data"))
    / "adverse-images"
)
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no real data here")

LIMITS = Limits(min_side=1, max_side=256)
LONGEST = 5.0
"""Seconds that no file may take: twenty times the slowest, so that a busy machine does not fail the test."""

OTHER_FORMATS = {
    "DDS": "textures of games, not on the list of formats",
    "BLP": "textures of games, not on the list of formats",
    "TGA": "has no signature: any bytes could pass for one",
    "FLI": "an animation format, not on the list",
    "SPIDER": "has no signature",
    "MSP": "not on the list",
}
"""Formats that Pillow reads and we refuse as `not_an_image`."""

DIFFERENT = {
    "pillow/psd-oob-write-overflow.psd": "broken in a layer; the merged picture is whole",
}
FRAMES = {
    "pillow/test_extents_transparency.gif": "Pillow counts 2; there is one image block",
}
LAYERS = {"PSD", "ICO"}
"""Pillow calls layers and sizes frames."""


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Picture | MediaError]:
    found: dict[str, Picture | MediaError] = {}
    with tarfile.open(DATA / "images.tar.gz") as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is None:
                continue
            raw, began = file.read(), time.monotonic()
            try:
                found[member.name.removeprefix("./")] = normalise(raw, LIMITS)
            except MediaError as error:
                found[member.name.removeprefix("./")] = error
            assert time.monotonic() - began < LONGEST, member.name
    return found


@pytest.fixture(scope="module")
def expected() -> list[dict[str, str]]:
    with (DATA / "expect_pillow13.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_file_has_a_verdict(verdicts, expected):
    assert len(expected) == 884
    assert set(verdicts) == {row["file"] for row in expected}


def test_verdicts_are_pillows_or_differ_for_a_stated_cause(verdicts, expected):
    unexplained = []
    for row in expected:
        ours = verdicts[row["file"]]
        if row["format"] in OTHER_FORMATS:
            right = isinstance(ours, MediaError) and ours.reason == "not_an_image"
        else:
            right = isinstance(ours, Picture) == (row["result"] == "ok" or row["file"] in DIFFERENT)
        if not right:
            unexplained.append((row["file"], row["format"], row["result"], row["message"], str(ours)[:200]))
    assert not unexplained


def test_the_exceptions_are_needed(verdicts, expected):
    rows = {row["file"]: row for row in expected}
    for file in DIFFERENT:
        assert rows[file]["result"] == "error" and isinstance(verdicts[file], Picture), file
    assert {row["format"] for row in expected} >= {"DDS", "BLP", "TGA", "FLI"}
    assert not set(OTHER_FORMATS) & set(FORMATS)


def test_bombs_are_refused_for_their_pixels(verdicts, expected):
    bombs = [row["file"] for row in expected if "Bomb" in row["error"]]
    assert len(bombs) == 5
    for file in bombs:
        ours = verdicts[file]
        known = isinstance(ours, MediaError) and ours.reason in ("too_many_pixels", "not_an_image")
        assert known, (file, ours)
    assert sum(verdicts[file].reason == "too_many_pixels" for file in bombs) >= 4


def test_what_is_no_image_says_so(verdicts, expected):
    for row in expected:
        if row["error"] == "UnidentifiedImageError":
            ours = verdicts[row["file"]]
            assert isinstance(ours, MediaError), row["file"]
            assert ours.reason in ("not_an_image", "decode_error", "unsupported_mode", "truncated"), row[
                "file"
            ]


def test_mode_size_and_frames_are_recorded_as_pillow_reads_them(verdicts, expected):
    for row in expected:
        ours = verdicts[row["file"]]
        if not isinstance(ours, Picture) or row["result"] != "ok":
            continue
        assert ours.original_mode == row["mode"], row["file"]
        assert (ours.original_width, ours.original_height) == (int(float(row["w"])), int(float(row["h"])))
        assert ours.original_bytes == int(row["bytes"])
        if row["file"] not in FRAMES and row["format"] not in LAYERS:
            assert ours.frames == int(float(row["frames"])), row["file"]


def test_the_same_drawing_interlaced_or_not_is_one_picture(verdicts):
    interlaced = [name for name in verdicts if name.startswith("pngsuite/basi")]
    assert len(interlaced) == 15
    for name in interlaced:
        ours, twin = verdicts[name], verdicts[name.replace("basi", "basn")]
        assert isinstance(ours, Picture) and isinstance(twin, Picture)
        assert ours.image_id == twin.image_id, name
