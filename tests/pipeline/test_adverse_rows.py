"""Hostile pictures and captions through a whole ingest: each row is kept, or dropped with a reason."""

from __future__ import annotations

import gc
import io
import json
import struct
import weakref
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import splits, stage
from pipeline.annotators.perceptual_hash import PerceptualHash
from pipeline.annotators.text_stats import TextStats
from pipeline.collect import Origin
from pipeline.decoders import decode
from pipeline.filters.aspect_ratio import AspectRatio
from pipeline.filters.caption_length import CaptionLength
from pipeline.filters.size import Size
from pipeline.gathers.decontaminate import Decontaminate
from pipeline.gathers.near_duplicates import NearDuplicates
from pipeline.sources.folder import Folder
from pipeline.sources.url_list import UrlList
from pipeline.step import Source
from pipeline.web import intake
from pipeline.web.settings import FetchSettings
from storage import media, parts
from storage.limits import Limits
from storage.store import Store
from tests.serving import Answer, answering

LIMITS = Limits()
ANNOTATORS = (PerceptualHash(), TextStats())
FILTERS = (Size(), AspectRatio(), CaptionLength())
GATHERS = (NearDuplicates(), Decontaminate())
SIDE = 30_000
"""Of the bomb: 900 megapixels in about 110 KB."""
MEMORY = 512 << 20
"""Of a decoder: too little for the bomb."""

DROPPED = {
    "truncated.jpg": "truncated",
    "bomb.png": "too_many_pixels",
    "drawing.png": "not_an_image",
    "page.jpg": "not_an_image",
    "empty.jpg": "not_an_image",
    "pixel.png": "too_small",
    "long.png": "text_too_long",
    "latin1.png": "invalid_utf8",
    "longprompt.png": "text_too_long",
}
"""What is made below and does not stay, with the reason that the decisions give."""
MODES = {"cmyk.jpg": "CMYK", "palette.png": "P", "rgba.png": "RGBA", "la.png": "LA", "deep.png": "I;16"}


def drawing(seed: int, width: int = 64, height: int = 48) -> Image.Image:
    """A smooth picture without symmetry, like no other."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def bomb() -> bytes:
    """A PNG of SIDE x SIDE black pixels, one bit each."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    packer, row = zlib.compressobj(9), b"\0" * (SIDE // 8 + 1)
    rows = b"".join(packer.compress(row * 1000) for _ in range(SIDE // 1000)) + packer.flush()
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 1, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def halves(mode: str, left: object, right: object) -> Image.Image:
    """64 x 48 in two colours."""
    picture = Image.new(mode, (64, 48), left)
    picture.paste(right, (32, 0, 64, 48))
    return picture


def turned() -> bytes:
    """The drawing 7 as a camera stores it that was held on its side."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a secret description"
    return encoded(drawing(7).transpose(Image.Transpose.ROTATE_90), exif=exif)


def deep() -> np.ndarray:
    """16-bit grey whose mean is 127 of 255."""
    ramp = np.linspace(0, 2 * 127 * 257, 64).round().astype(np.uint16)
    return np.tile(ramp, (48, 1))


def animation(kind: str, seed: int) -> bytes:
    frames = [drawing(seed + n) for n in range(3)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=80)


@cache
def pictures() -> dict[str, bytes]:
    palette = halves("P", 0, 1)
    palette.putpalette([200, 30, 30, 20, 40, 220])
    jpeg = encoded(drawing(1, 320, 240), "JPEG")
    return {
        "truncated.jpg": jpeg[: len(jpeg) * 2 // 3],
        "bomb.png": bomb(),
        "turned.png": turned(),
        "deep.png": encoded(Image.fromarray(deep())),
        "moving.gif": animation("GIF", 10),
        "waving.webp": animation("WEBP", 20),
        "cmyk.jpg": encoded(halves("CMYK", (0, 255, 255, 0), (255, 0, 0, 0)), "JPEG", quality=95),
        "palette.png": encoded(palette),
        "rgba.png": encoded(halves("RGBA", (200, 0, 0, 255), (0, 0, 0, 0))),
        "la.png": encoded(halves("LA", (90, 255), (0, 0))),
        "drawing.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="90" height="90"/>',
        "page.jpg": b"<!doctype html><html><body>404</body></html>",
        "empty.jpg": b"",
        "pixel.png": encoded(Image.new("RGB", (1, 1), "red")),
        "flat1.png": encoded(Image.new("RGB", (64, 64), "red")),
        "flat2.png": encoded(Image.new("RGB", (64, 64), "blue")),
        "flat3.jpg": encoded(Image.new("RGB", (80, 60), (250, 0, 0)), "JPEG"),
    }


LONG = " ".join(
    f"a long caption with one broken byte at its {place} end" for place in ("left", "right", "upper", "lower")
)
CAPTIONS: dict[str, bytes | None] = {
    "long.png": b"word " * 400_000,
    "nul.png": b"a \0red\0 circle\0",
    "latin1.png": "un café".encode("latin-1"),
    "stray.png": LONG.encode() + b" \xff",
    "null.png": None,
    "only-nul.png": b"\0\0\0",
}
"""Texts of the pictures that are whole; each lies beside its picture as it is written here."""
STATED = {
    "longprompt.png": {"prompt": "word " * 400_000, "text": "an answer", "task": "vqa"},
    "nulljson.png": {"text": None, "lang": "en"},
}
"""The same as JSON."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every adverse picture with a caption, and every adverse caption with a picture."""
    root = tmp_path_factory.mktemp("adverse")
    for name, raw in pictures().items():
        (root / name).write_bytes(raw)
        plain = name.startswith("flat")
        (root / name).with_suffix(".txt").write_text("a plain colour" if plain else f"a picture of {name}")
    for seed, (name, raw) in enumerate(CAPTIONS.items(), 100):
        (root / name).write_bytes(encoded(drawing(seed)))
        if raw is not None:
            (root / name).with_suffix(".txt").write_bytes(raw)
    for seed, (name, row) in enumerate(STATED.items(), 200):
        (root / name).write_bytes(encoded(drawing(seed)))
        (root / name).with_suffix(".json").write_text(json.dumps(row))
    return root


def ingest(store: Store, source: Source | None, name: str = "folder") -> int:
    """Collect (if there is a source) to splits, as the ingest flow does it; returns how many parts were made."""
    made = 0

    def commit(jobs: list[str]) -> None:
        nonlocal made
        parts.commit(store, jobs)
        made += len(jobs)

    if source is not None:
        jobs = stage.plan_collect(store, Origin(name, source), LIMITS)
        commit([stage.work_collect(store, job, LIMITS, MEMORY) for job in jobs])
    for annotator in ANNOTATORS:
        jobs = stage.plan_annotate(store, annotator, {})
        commit([stage.work_annotate(store, job, annotator, {}) for job in jobs])
    policy = stage.filter_policy(FILTERS, ANNOTATORS, LIMITS)
    commit([stage.work_filter(store, job, FILTERS, policy) for job in stage.plan_filter(store, policy)])
    for gather in GATHERS:
        policy = stage.gather_policy(gather, policy)
        stage.run_gather(store, gather, policy)
    splits.assign_all(store, splits.Splits())
    return made


class Ended:
    """An ingested store, and how each of its rows ended."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def sql(self, query: str) -> list[tuple]:
        with self.store.connect() as db:
            return db.sql(query).fetchall()

    def column(self, name: str) -> dict:
        """A column of `samples` and `images` by file."""
        rows = self.sql(f"SELECT origin, {name} FROM samples LEFT JOIN images USING (image_id)")
        return dict(rows)

    def pixels(self, file: str) -> np.ndarray:
        with Image.open(io.BytesIO(self.column("image")[file])) as picture:
            assert picture.mode == "RGB"
            assert not picture.getexif()
            return np.asarray(picture).astype(int)


@pytest.fixture(scope="module")
def ended(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    store = Store.open(tmp_path_factory.mktemp("ended") / "store")
    assert ingest(store, Folder(path=str(folder), licence="CC0-1.0")) > 0
    return Ended(store)


def test_every_row_is_kept_or_dropped_for_the_reason_of_its_kind(ended: Ended, folder: Path) -> None:
    verdicts = {
        origin: (kept, at, reason)
        for origin, kept, at, reason in ended.sql(
            "SELECT origin, kept, stage, reason FROM samples JOIN verdicts USING (sample_id)"
        )
    }
    files = {path.name for path in folder.iterdir() if path.suffix not in (".txt", ".json")}
    assert set(verdicts) == files
    assert verdicts == {
        name: (False, "collect", DROPPED[name]) if name in DROPPED else (True, None, None) for name in files
    }


def test_nothing_is_lost_on_the_way(ended: Ended) -> None:
    [(source, came_in, kept, dropped, adds_up)] = ended.sql("SELECT * FROM funnel_check")
    assert (source, came_in, dropped, adds_up) == ("folder", kept + dropped, len(DROPPED), True)
    collected = ended.sql("SELECT count(*), count(DISTINCT sample_id) FROM decisions WHERE stage = 'collect'")
    assert collected == [(came_in, came_in)]
    passed = {"filter", "near_duplicates", "decontaminate"}
    for at in passed:
        assert ended.sql(f"SELECT count(*) FROM decisions WHERE stage = '{at}'") == [(kept,)]
    assert ended.sql("SELECT count(*) FROM splits") == [(kept,)]


def test_a_dropped_picture_leaves_its_row_and_no_pixels(ended: Ended) -> None:
    images = ended.column("image_id")
    for name in pictures():
        assert (images[name] is None) == (name in DROPPED), name
    assert ended.sql("SELECT count(*) FROM images ANTI JOIN samples USING (image_id)") == [(0,)]


def test_the_bomb_is_judged_by_its_header(ended: Ended, folder: Path) -> None:
    assert (folder / "bomb.png").stat().st_size < 200_000
    assert SIDE * SIDE > MEMORY  # decoded, it would be out_of_memory
    [(detail,)] = ended.sql("SELECT detail FROM decisions WHERE reason = 'too_many_pixels'")
    assert str(SIDE * SIDE) in detail


def test_a_picture_that_takes_too_much_memory_costs_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (8_000, 7_000), (9, 90, 200)).save(tmp_path / "in" / "large.png")
    (tmp_path / "in" / "small.png").write_bytes(encoded(drawing(1)))
    store = Store.open(tmp_path / "store")
    source = Folder(path=str(tmp_path / "in"))
    [job] = stage.plan_collect(store, Origin("folder", source), LIMITS)
    parts.commit(store, [stage.work_collect(store, job, LIMITS, memory=150 << 20)])
    ended = Ended(store).sql("SELECT origin, reason FROM samples JOIN decisions USING (sample_id) ORDER BY 1")
    assert ended == [("large.png", "out_of_memory"), ("small.png", None)]


def test_a_refused_picture_holds_no_memory_until_the_collector_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next picture needs it."""
    held = []

    def no_memory(picture: Image.Image, *_: object) -> bytes:
        held.append(weakref.ref(picture))
        raise MemoryError

    monkeypatch.setattr(media, "_finished", no_memory)
    gc.disable()
    try:
        assert decode(encoded(drawing(1)), LIMITS).reason == "out_of_memory"
        assert held[0]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "said", ["encoder error -9 when writing image file", "out of memory error when reading"]
)
def test_a_codec_without_memory_says_so(said: str) -> None:
    assert media.verdict(OSError(said)).reason == "out_of_memory"


def test_a_turned_picture_is_stored_upright_and_says_nothing(ended: Ended) -> None:
    assert np.array_equal(ended.pixels("turned.png"), np.asarray(drawing(7)).astype(int))
    assert ended.sql("SELECT width, height, original_width, original_height FROM signals JOIN images "
                     "USING (image_id) WHERE origin = 'turned.png'") == [(64, 48, 48, 64)]  # fmt: skip
    assert b"secret" not in ended.column("image")["turned.png"]


def test_sixteen_bits_keep_their_mean(ended: Ended) -> None:
    assert deep().mean() / 257 == pytest.approx(127, abs=0.01)
    stored = ended.pixels("deep.png")
    assert stored.mean() == pytest.approx(127, abs=0.5)
    assert np.abs(stored[..., 0] - deep() / 257).max() <= 1


def test_the_first_frame_is_stored_and_the_others_are_counted(ended: Ended) -> None:
    frames = ended.column("frames")
    assert {name for name, count in frames.items() if count == 3} == {"moving.gif", "waving.webp"}
    assert {count for name, count in frames.items() if count != 3} == {1, None}
    for name, seed in (("moving.gif", 10), ("waving.webp", 20)):
        first, second = (np.asarray(drawing(seed + n)).astype(int) for n in (0, 1))
        stored = ended.pixels(name)
        assert np.abs(stored - first).mean() < 12 < np.abs(stored - second).mean(), name


@pytest.mark.parametrize(
    ("file", "left", "right"),
    [
        ("cmyk.jpg", (255, 0, 0), (0, 255, 255)),
        ("palette.png", (200, 30, 30), (20, 40, 220)),
        ("rgba.png", (200, 0, 0), (255, 255, 255)),
        ("la.png", (90, 90, 90), (255, 255, 255)),
    ],
)
def test_every_mode_has_its_colours_and_is_recorded(
    ended: Ended, file: str, left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    stored = ended.pixels(file)
    assert np.abs(stored[24, 8] - left).max() <= 4
    assert np.abs(stored[24, 56] - right).max() <= 4
    assert {name: ended.column("original_mode")[name] for name in MODES} == MODES


def test_a_flat_picture_is_a_group_of_itself(ended: Ended) -> None:
    """All flat pictures hash alike; these share their caption too, and still none is another's duplicate."""
    rows = ended.sql(
        "SELECT origin, perceptual_hash_flat, group_id = image_id, "
        "(SELECT count(*) FROM groups others WHERE others.group_id = groups.group_id) "
        "FROM signals JOIN groups USING (image_id) WHERE origin LIKE 'flat%' ORDER BY origin"
    )
    assert rows == [(name, True, True, 1) for name in ("flat1.png", "flat2.png", "flat3.jpg")]


def test_captions_are_cleaned_and_their_length_is_recorded(ended: Ended) -> None:
    texts, lengths = ended.column("text"), ended.column("text_bytes")
    assert texts["nul.png"] == "a red circle"
    assert texts["stray.png"] == LONG
    assert {
        texts[name] for name in ("long.png", "latin1.png", "null.png", "only-nul.png", "nulljson.png")
    } == {None}
    for name, raw in CAPTIONS.items():
        assert lengths[name] == (None if raw is None else len(raw)), name
    assert lengths["nulljson.png"] is None
    assert lengths["long.png"] == 2_000_000


def test_a_second_ingest_finds_nothing_to_do(ended: Ended, folder: Path) -> None:
    versions = ended.store.versions()
    assert ingest(ended.store, Folder(path=str(folder), licence="CC0-1.0")) == 0
    assert ended.store.versions() == versions


def test_what_is_served_as_a_picture_is_judged_as_a_file_is(folder: Path, tmp_path: Path) -> None:
    names = [*pictures()]
    (tmp_path / "list.csv").write_text(
        "\n".join(["url,text", *(f"/{name},a caption of {name}" for name in names)])
    )
    store = Store.open(tmp_path / "store")

    def answer(path: str) -> Answer:
        return 200, {"Content-Type": "image/png"}, (folder / path.lstrip("/")).read_bytes()

    with answering(answer) as base:
        source = UrlList(path=str(tmp_path / "list.csv"), base_url=base)
        intake.run(store, Origin("urls", source), LIMITS, FetchSettings(allow=("127.0.0.0/8",), consent=()))
        ingest(store, None, "urls")
    with store.connect() as db:
        found = dict(
            db.sql(
                "SELECT split_part(origin, '/', -1), coalesce(reason, '') "
                "FROM samples JOIN verdicts USING (sample_id)"
            ).fetchall()
        )
        assert db.sql("SELECT came_in, adds_up FROM funnel_check").fetchall() == [(len(names), True)]
    assert found == {name: DROPPED.get(name, "") for name in names}
