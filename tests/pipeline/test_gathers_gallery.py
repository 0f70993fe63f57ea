"""Near-duplicates against what the gallery planted: every kind of copy is found, and nothing else is grouped."""

from __future__ import annotations

import hashlib
import itertools

import pyarrow as pa
import pytest

from pipeline.annotators.perceptual_hash import PerceptualHash
from pipeline.gallery import corpus as gallery
from pipeline.gallery import pictures
from pipeline.gathers.near_duplicates import NearDuplicates
from storage.limits import Limits
from storage.media import normalise

SEED, SIZE, HELD_OUT = 5, 1500, 200


@pytest.fixture(scope="module")
def drawn() -> list[tuple[gallery.Picture, str, bytes, int]]:
    """Every readable picture with its image_id, as stored, and its side."""
    found = []
    for picture in gallery.plan(SEED, SIZE, HELD_OUT).everything:
        if picture.kind not in gallery.UNREADABLE:
            stored = normalise(pictures.encoded(picture, SEED), Limits())
            found.append((picture, stored.image_id, stored.image, stored.width))
    return found


def grouped(corpus, drawn, step: NearDuplicates) -> dict[str, str]:
    """Name of each picture to its group."""
    seen = {image_id: (image, side) for _, image_id, image, side in drawn}
    rows = pa.table(
        {
            "image_id": list(seen),
            "image": pa.array([image for image, _ in seen.values()], pa.binary()),
            **{
                name: pa.array([side for _, side in seen.values()], pa.int32())
                for name in ("width", "height")
            },
        }
    )
    corpus.insert("perceptual_hash", PerceptualHash().annotate(rows, {}))
    corpus.run(step)
    groups = corpus.groups()
    return {picture.name: groups[image_id] for picture, image_id, _, _ in drawn}


def test_all_planted_copies_are_found_and_nothing_else_is(corpus, drawn) -> None:
    groups = grouped(corpus, drawn, NearDuplicates())
    copies = {*gallery.COPIES, *gallery.LEAKS, "shared_picture"}
    planted: dict[str, list[str]] = {}
    for picture, *_ in drawn:
        planted.setdefault(picture.of if picture.kind in copies else picture.name, []).append(picture.name)
    together: dict[str, list[str]] = {}
    for name, group in groups.items():
        together.setdefault(group, []).append(name)
    wanted, found = (
        {pair for names in sets.values() for pair in itertools.combinations(sorted(names), 2)}
        for sets in (planted, together)
    )
    assert len(wanted) > 80
    assert len(wanted & found) / len(wanted) >= 0.99
    assert len(wanted & found) / len(found) >= 0.99
    leaked = [picture for picture, *_ in drawn if picture.kind == "leaked_reencoded"]
    assert leaked
    assert all(groups[picture.name] == groups[picture.of] for picture in leaked)


@pytest.mark.parametrize("orientations", ["none", "all"])
def test_no_recoloured_picture_is_grouped_with_its_model(corpus, drawn, orientations: str) -> None:
    groups = grouped(corpus, drawn, NearDuplicates(orientations=orientations))
    recoloured = [picture for picture, *_ in drawn if picture.kind == "recoloured" and picture.of in groups]
    assert len(recoloured) > 20
    assert [picture.name for picture in recoloured if groups[picture.name] == groups[picture.of]] == []


def test_equal_bytes_are_one_picture(drawn) -> None:
    stored = {picture.name: (image_id, image) for picture, image_id, image, _ in drawn}
    exact = [picture for picture, *_ in drawn if picture.kind == "exact_copy"]
    assert exact
    assert all(stored[picture.name][0] == stored[picture.of][0] for picture in exact)
    assert all(hashlib.sha256(image).hexdigest() == image_id for image_id, image in stored.values())
