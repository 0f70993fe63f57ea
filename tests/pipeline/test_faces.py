"""Faces are found where the detector says, and nothing is said where there is none.

YuNet's weights are not part of the project: a file of the same layout, written by hand, takes white squares for faces.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw

from pipeline.annotators.faces import Faces
from pipeline.collect import policy
from pipeline.decoders import MEMORY, Decoders
from pipeline.filters.faces import Faces as Keeping
from storage.faces import NoFaceDetector
from storage.limits import Limits
from storage.media import Picture, normalise
from tests.pipeline.onnx_file import white_squares
from tests.pipeline.test_trim import raw


def people(*corners: tuple[int, int], size: tuple[int, int] = (320, 320)) -> bytes:
    picture = Image.new("RGB", size, "black")
    for x, y in corners:
        ImageDraw.Draw(picture).rectangle((x, y, x + 7, y + 7), fill="white")
    return raw(picture)


def rows(*pictures: bytes) -> pa.Table:
    ids = [str(n) for n in range(len(pictures))]
    return pa.table({"image_id": ids, "image": pa.array(pictures, pa.binary())})


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "yunet.onnx").write_bytes(white_squares())
    return tmp_path / "yunet.onnx"


def test_faces_are_counted_and_placed(weights: Path) -> None:
    none, two, wide = (
        Faces(model=str(weights))
        .annotate(rows(people(), people((80, 40), (240, 160)), people((160, 80), size=(640, 320))), {})
        .to_pylist()
    )
    assert none == {"image_id": "0", "count": 0, "boxes": [], "largest": 0, "surest": 0}
    assert two["count"] == 2 and len(two["boxes"]) == 8
    centres = {
        (
            round(320 * (two["boxes"][n] + two["boxes"][n + 2]) / 2),
            round(320 * (two["boxes"][n + 1] + two["boxes"][n + 3]) / 2),
        )
        for n in (0, 4)
    }
    assert centres == {(84, 44), (244, 164)}
    assert two["largest"] == pytest.approx(16 * 16 / 320**2, rel=0.01)
    assert two["surest"] == pytest.approx(1, abs=0.01)
    assert wide["count"] == 0  # half the size: a cell is a quarter white


def test_without_weights_nothing_is_said(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(NoFaceDetector, match="no weights are named; it takes"):
        Faces().annotate(rows(people()), {})
    with pytest.raises(NoFaceDetector, match="there is no file"):
        Faces(model=str(tmp_path / "absent.onnx")).annotate(rows(people()), {})
    (tmp_path / "other.onnx").write_bytes(b"no weights")
    with pytest.raises(NoFaceDetector, match="cannot read"):
        Faces(model=str(tmp_path / "other.onnx")).annotate(rows(people()), {})
    with pytest.raises(NoFaceDetector, match="has sha256"):
        Faces(model=str(weights), sha256="0" * 64).annotate(rows(people()), {})
    right = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert Faces(model=str(weights), sha256=right).annotate(rows(people((8, 8))), {})[
        "count"
    ].to_pylist() == [1]


def test_the_weights_count_and_not_where_they_lie(tmp_path: Path, weights: Path) -> None:
    step, moved = Faces(model=str(weights)), tmp_path / "moved.onnx"
    moved.write_bytes(weights.read_bytes())
    before = step.fingerprint()
    assert Faces(model=str(moved)).fingerprint() == before
    assert step.annotate(rows(people((8, 8))), {})["count"].to_pylist() == [1]
    weights.write_bytes(b"other weights")
    assert step.fingerprint() != before
    with pytest.raises(NoFaceDetector, match="cannot read"):  # none is kept of the ones before
        step.annotate(rows(people((8, 8))), {})


def test_pictures_of_people_are_dropped() -> None:
    table = pa.table(
        {"faces.count": [0, 1, 3, None], "faces.largest": pa.array([0, 0.2, 0.01, None], pa.float32())}
    )
    assert Keeping().keep(table).to_pylist() == [True, False, False, None]
    assert Keeping(most=3, largest=0.1).keep(table).to_pylist() == [True, False, True, None]


def test_faces_are_stored_blurred_where_that_is_asked_for(weights: Path) -> None:
    seen = raw_pixels(normalise(people((80, 40), (240, 160)), Limits()))
    kept = raw_pixels(normalise(people((80, 40), (240, 160)), Limits(blur_faces=str(weights))))
    for x, y in ((80, 40), (240, 160)):
        assert seen[y : y + 8, x : x + 8].min() == 255
        assert len(np.unique(kept[y : y + 8, x : x + 8].reshape(-1, 3), axis=0)) > 8  # no edge is left
        kept[y - 12 : y + 20, x - 12 : x + 20] = seen[y - 12 : y + 20, x - 12 : x + 20] = 0
    assert np.array_equal(kept, seen)


def test_a_run_that_cannot_find_faces_does_not_begin(tmp_path: Path, weights: Path) -> None:
    Limits(blur_faces=str(weights)).check()
    with pytest.raises(NoFaceDetector, match=r"\[media\] blur_faces: there is no file"):
        Limits(blur_faces=str(tmp_path / "absent.onnx")).check()
    with (
        pytest.raises(NoFaceDetector, match="there is no file"),
        Decoders(Limits(blur_faces=str(tmp_path / "absent.onnx")), 1, MEMORY) as decoders,
    ):
        decoders.decode_all([people()])


def test_a_detector_that_is_lost_is_no_verdict_on_a_picture(tmp_path: Path, weights: Path) -> None:
    lost = tmp_path / "lost.onnx"
    with pytest.raises(NoFaceDetector):
        normalise(people(), Limits(blur_faces=str(lost)))
    limits = Limits(blur_faces=str(weights))
    limits.check()
    weights.write_bytes(b"others")  # what a run began with, it goes on with
    assert normalise(people((80, 40)), limits).width == 320


def test_pictures_are_read_again_when_the_weights_are_others(tmp_path: Path, weights: Path) -> None:
    plain, blurred = Limits(), Limits(blur_faces=str(weights))
    assert policy(plain) != policy(blurred)
    moved = tmp_path / "moved.onnx"
    moved.write_bytes(weights.read_bytes())
    assert policy(Limits(blur_faces=str(moved))) == policy(blurred)
    moved.write_bytes(b"others")
    assert policy(Limits(blur_faces=str(moved))) != policy(blurred)


def raw_pixels(picture: Picture) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(picture.image)).convert("RGB"))
