"""What annotators see in pictures and texts."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageEnhance

from pipeline.annotators.contact_details import ContactDetails, count_emails, count_telephones
from pipeline.annotators.image_codes import ImageCodes
from pipeline.annotators.perceptual_hash import PerceptualHash
from pipeline.annotators.text_stats import TextStats
from pipeline.annotators.text_tokens import TextTokens
from pipeline.likeness import colour_distance
from pipeline.signatures import SIDE
from pipeline.tokens.text_bpe import TextBPE, fit


def blobs(seed: int, size: int = 96) -> Image.Image:
    """A picture with soft shapes, different for each seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def seen(*images: bytes) -> list[dict]:
    sizes = np.array([Image.open(io.BytesIO(image)).size for image in images], np.int32).reshape(-1, 2)
    rows = pa.table(
        {
            "image_id": [str(i) for i in range(len(images))],
            "image": pa.array(images, pa.binary()),
            "width": sizes[:, 0],
            "height": sizes[:, 1],
        }
    )
    return PerceptualHash().annotate(rows, {}).to_pylist()


def distance(a: dict, b: dict) -> tuple[int, float]:
    """(bits, colour error) between two annotated pictures."""
    bits = min((a[h] ^ b[h]).bit_count() if a[h] ^ b[h] >= 0 else ((a[h] ^ b[h]) + 2**64).bit_count()
               for h in ("hash", "colour_hash"))  # fmt: skip
    x, y = (np.frombuffer(v["thumbnail"], np.uint8).reshape(1, SIDE, SIDE, 3) for v in (a, b))
    return bits, float(min(colour_distance(x, y)[0], colour_distance(y, x)[0]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("change", ["jpeg", "smaller", "larger", "brighter", "darker"])
def test_a_copy_is_near_its_original(seed: int, change: str) -> None:
    picture = blobs(seed)
    copy = {
        "jpeg": lambda: encoded(picture, "JPEG", quality=60),
        "smaller": lambda: encoded(picture.resize((61, 61))),
        "larger": lambda: encoded(picture.resize((250, 250))),
        "brighter": lambda: encoded(ImageEnhance.Brightness(picture).enhance(1.15)),
        "darker": lambda: encoded(ImageEnhance.Brightness(picture).enhance(0.8)),
    }[change]()
    bits, error = distance(*seen(encoded(picture), copy))
    assert bits <= 7
    assert error <= 16


def test_the_same_layout_in_another_colour_is_far() -> None:
    red, green = (np.full((64, 64, 3), 250, np.uint8) for _ in range(2))
    red[20:34, 20:34], green[20:34, 20:34] = (200, 30, 30), (30, 140, 60)
    bits, error = distance(*seen(encoded(Image.fromarray(red)), encoded(Image.fromarray(green))))
    assert bits <= 7, "the hash alone cannot tell them apart"
    assert error > 40


def test_other_pictures_are_far() -> None:
    pictures = seen(*(encoded(blobs(seed)) for seed in range(20)))
    assert min(distance(a, b)[0] for i, a in enumerate(pictures) for b in pictures[:i]) > 7


def test_flat_pictures_are_marked() -> None:
    plain = Image.new("RGB", (64, 64), (120, 180, 90))
    noisy = Image.fromarray(np.random.default_rng(0).integers(118, 123, (64, 64, 3), dtype=np.uint8))
    assert [row["flat"] for row in seen(encoded(plain), encoded(noisy), encoded(blobs(1)))] == [
        True,
        True,
        False,
    ]


def test_no_rows_give_no_rows() -> None:
    assert seen() == []


def test_equal_pictures_get_equal_hashes_whatever_they_are_batched_with() -> None:
    alone = seen(encoded(blobs(3)))[0]
    among = seen(*(encoded(blobs(seed)) for seed in range(6)))[3]
    assert alone["hash"] == among["hash"] and alone["thumbnail"] == among["thumbnail"]


def stats(text: str | None) -> dict:
    rows = pa.table(
        {"sample_id": ["a"], "text": pa.array([text], pa.string()), "text_bytes": pa.array([60], pa.int64())}
    )
    return TextStats().annotate(rows, {}).to_pylist()[0]


@pytest.mark.parametrize(
    ("text", "characters", "words"),
    [
        ("two red circles", 15, 3),
        ("ein Haus, ein Baum – 2 Vögel", 28, 6),
        ("蓝色背景上有两个红色圆形", 12, 12),
        ("一只cat和2只dog", 11, 7),
        ("सेब का पेड़", 11, 3),
        ("", 0, 0),
    ],
)
def test_words_are_counted_in_every_script(text: str, characters: int, words: int) -> None:
    row = stats(text)
    assert (row["characters"], row["words"]) == (characters, words)


def test_digits_and_capitals() -> None:
    assert stats("BUY 2 for 10")["digits"] == 3
    assert stats("BUY 2 for 10")["capitals"] == 3
    assert stats(None) == {
        "sample_id": "a",
        "characters": None,
        "words": None,
        "digits": None,
        "capitals": None,
        "lost": None,
    }


def test_what_denoising_took_is_counted_in_bytes() -> None:
    assert stats("Straße")["lost"] == 60 - 7


@pytest.mark.parametrize(
    "text",
    [
        "write to anna.bauer@example.com",
        "mail: <j_doe+news@mail.example.co.uk>",
        "发邮件到 wang@example.cn 联系",
        "jörg@bücher.example",
        "someone＠example.com",
        "lena [at] example [dot] org",
        "lena (at) example.org",
        "lena at example dot org",
    ],
)
def test_emails_are_found(text: str) -> None:
    assert count_emails(text) == 1
    assert count_telephones(text) == 0


@pytest.mark.parametrize(
    "text",
    [
        "a cat @ the window",
        "meet at noon dot dot dot",
        "@handle on a wall",
        "we were at a dot on the map",
        "3 apples @ 2.50 each",
        "foo@localhost",
    ],
)
def test_what_is_no_email(text: str) -> None:
    assert count_emails(text) == 0


@pytest.mark.parametrize(
    "text",
    [
        "call +1 415-555-0132",
        "a dog (415) 555-0132",
        "415.555.0132 for a tour",
        "+44 20 7946 0958",
        "Tél. 01 99 00 12 34",
        "01 99 00 12 34",
        "Telefon: 030/1234567",
        "+49 (0)30 23125 123",
        "手机 13812345678",
        "电话：010-12345678",
        "ring us, phone 9876-5432",
        "0049 30 1234567",
    ],
)
def test_telephone_numbers_are_found(text: str) -> None:
    assert count_telephones(text) == 1


@pytest.mark.parametrize(
    "text",
    [
        "built 1914-1918",
        "on 2026-11-23 at 10:30",
        "23.11.2026",
        "11/23/2026",
        "ISBN 978-3-16-148410-0",
        "1,000,000 people",
        "10 000 000 stars",
        "pi is 3.14159265358979",
        "coordinates 48.858370, 2.294481",
        "the years 1990, 1991, 1992, 1993",
        "file 20240115_123456.jpg",
        "IP 192.168.100.200",
        "300000000 m/s",
        "PhysRev.50.1066",
        "the philosopher Thales (624–546 BC)",
        "two circles above 3 squares",
        "00000000",
    ],
)
def test_what_is_no_telephone_number(text: str) -> None:
    assert count_telephones(text) == 0


def test_prompt_and_text_are_both_read_and_nothing_is_copied() -> None:
    rows = pa.table(
        {
            "sample_id": ["a", "b", "c"],
            "prompt": ["who is at a@example.com?", None, None],
            "text": [None, "call (415) 555-0132 or (415) 555-0133", "a red circle"],
        }
    )
    found = ContactDetails().annotate(rows, {})
    assert found["emails"].to_pylist() == [1, 0, 0]
    assert found["telephones"].to_pylist() == [0, 2, 0]
    assert found.schema.names == ["sample_id", "emails", "telephones"]


class Averages:
    """Stands for an image tokenizer: a real one needs torch; what is tested here is the batching."""

    id, size = "averages", 8

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode(self, images: np.ndarray) -> np.ndarray:
        self.batches.append(len(images))
        return images.reshape(len(images), -1, 3).mean(1).astype(np.int32)


def test_codes_are_made_in_batches_of_one_size() -> None:
    images = [encoded(Image.new("RGB", (20, 20), (10 * i, 0, 200))) for i in range(7)]
    rows = pa.table({"image_id": [str(i) for i in range(7)], "image": images})
    tokenizer = Averages()
    made = ImageCodes(batch=3).annotate(rows, {"image_tokenizer": tokenizer})
    assert tokenizer.batches == [3, 3, 3]
    assert made["codes"].to_pylist() == [[10 * i, 0, 200] for i in range(7)]
    assert set(made["tokenizer_id"].to_pylist()) == {"averages"}
    assert ImageCodes.table() == "image_tokens"
    assert ImageCodes().annotate(rows.slice(0, 0), {"image_tokenizer": tokenizer}).num_rows == 0


def test_text_tokens_of_prompt_and_text() -> None:
    tokenizer = TextBPE(fit(["what is this? a red circle"] * 9, 300))
    rows = pa.table(
        {"sample_id": ["a", "b"], "prompt": ["what is this?", None], "text": ["a red circle", None]}
    )
    made = TextTokens().annotate(rows, {"text_tokenizer": tokenizer}).to_pylist()
    assert tokenizer.decode(made[0]["prompt_ids"]) == "what is this?"
    assert tokenizer.decode(made[0]["ids"]) == "a red circle"
    assert made[1] == {"sample_id": "b", "tokenizer_id": tokenizer.id, "prompt_ids": [], "ids": []}
