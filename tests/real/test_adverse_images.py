"""884 hostile and odd pictures: each is kept or refused, as Pillow judges or for a stated cause."""

from __future__ import annotations

from typing import Any

import pytest

from storage.media import FORMATS, MediaError, Picture

FRAMES = {
    "pillow/test_extents_transparency.gif": "Pillow counts 2; there is one image block",
}
LAYERS = {"PSD", "ICO"}
"""Pillow calls layers and sizes frames."""


@pytest.fixture(scope="module")
def verdicts(adverse: Any) -> dict[str, Picture | MediaError]:
    return adverse.verdicts


@pytest.fixture(scope="module")
def expected(adverse: Any) -> list[dict[str, str]]:
    return adverse.expected


def test_every_file_has_a_verdict(verdicts, expected):
    assert len(expected) == 884
    assert set(verdicts) == {row["file"] for row in expected}


def test_verdicts_are_pillows_or_differ_for_a_stated_cause(verdicts, expected, adverse):
    unexplained = []
    for row in expected:
        ours = verdicts[row["file"]]
        if not adverse.rightly(row, ours.reason if isinstance(ours, MediaError) else None):
            unexplained.append((row["file"], row["format"], row["result"], row["message"], str(ours)[:200]))
    assert not unexplained


def test_the_exceptions_are_needed(verdicts, expected, adverse):
    rows = {row["file"]: row for row in expected}
    for file in adverse.different:
        assert rows[file]["result"] == "error" and isinstance(verdicts[file], Picture), file
    assert {row["format"] for row in expected} >= {"DDS", "BLP", "TGA", "FLI"}
    assert not set(adverse.other_formats) & set(FORMATS)


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
