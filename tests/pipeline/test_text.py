"""Text is valid, composed and plain afterwards, or dropped with a reason."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import text
from pipeline.text import clean, clean_column, normalise_key, to_bytes


@pytest.mark.parametrize(
    ("raw", "want"),
    [
        (b"two red circles", "two red circles"),
        (b"  two\t red \n circles ", "two red\ncircles"),
        (b"NUL\0 and \x07bell \x1b[31m", "NUL and bell [31m"),
        ("\ufeffbyte order mark".encode(), "byte order mark"),
        ("cafe\u0301".encode(), "caf\u00e9"),
        ("non\u00a0breaking\u3000space".encode(), "non breaking space"),
        ("zero\u200bwidth soft\u00adhyphen".encode(), "zerowidth softhyphen"),
        ("over\u202eride\u202c".encode(), "override"),
        ("a\r\nb\rc\u2028d\x85e".encode(), "a\nb\nc\nd\ne"),
        (b"one\n\n\n\n\ntwo", "one\n\ntwo"),
        ("👩\u200d🚀 ❤\ufe0f 🏴\U000e0067\U000e0062\U000e007f".encode(), None),
        ("हिन्दी ქართული 中文".encode(), None),
    ],
)
def test_a_text_is_cleaned(raw: bytes, want: str | None):
    assert clean(raw) == (raw.decode() if want is None else want, None)


@pytest.mark.parametrize("raw", [None, b"", b"   \n", b"\0\0", "\u200b\ufeff".encode()])
def test_nothing_is_no_text_and_no_reason_to_drop(raw: bytes | None):
    assert clean(raw) == (None, None)


def test_a_caption_of_two_megabytes_is_dropped():
    assert clean(b"a" * 2_000_000) == (None, "text_too_long")
    assert clean(b"abcd", limit=3) == (None, "text_too_long")
    assert clean(b"a" * text.MAX_BYTES)[1] is None


def test_a_text_that_is_not_utf8_is_dropped_but_a_stray_byte_is_not():
    assert clean("café".encode("latin-1")) == (None, "invalid_utf8")
    assert clean(bytes(range(128, 256))) == (None, "invalid_utf8")
    assert clean(b"a long caption, " * 20 + b"\xff") == (("a long caption, " * 20).strip(), None)


def test_surrogates_are_joined_or_go():
    assert clean("\ud83d\ude00 joined".encode("utf-8", "surrogatepass")) == ("😀 joined", None)
    assert clean("lone \ud83d half".encode("utf-8", "surrogatepass")) == ("lone half", None)


def test_escaped_bytes_come_back():
    raw = b"ok \xff\xfe"
    assert to_bytes(raw.decode("utf-8", "surrogateescape")) == raw


def test_endless_combining_marks_are_cut_short():
    found, why = clean(("a" + "\u0316\u0301" * 50_000 + " b").encode())
    assert why is None and found is not None
    assert len(found) < 80 and found.endswith("b")


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_what_comes_out_is_valid_and_stays_as_it_is(raw: bytes):
    found, why = clean(raw)
    if found is None:
        return
    assert why is None
    assert unicodedata.is_normalized("NFC", found)
    assert found == found.strip() and "  " not in found and "\n\n\n" not in found
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in found if c != "\n")
    assert clean(found.encode()) == (found, None)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_cleaning_any_string_twice_is_cleaning_it_once(value: str):
    found, why = clean(value.encode())
    assert why is None
    if found is not None:
        assert clean(found.encode()) == (found, None)


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.binary(max_size=30), st.text(max_size=30).map(str.encode)), max_size=20)
)
def test_a_column_is_cleaned_like_its_values(values: list[bytes | None]):
    texts, reasons = clean_column(pa.array(values, pa.binary()))
    assert list(zip(texts.to_pylist(), reasons.to_pylist(), strict=True)) == [
        clean(value) for value in values
    ]


def test_a_column_in_chunks_and_of_strings():
    chunks = pa.chunked_array([["a b"], ["a  b", None]])
    assert clean_column(chunks)[0].to_pylist() == ["a b", "a b", None]


def test_a_key_forgets_case_white_space_and_composition():
    same = ["Straße  am\nMEER", "STRASSE AM MEER", " strasse am meer"]
    assert len({normalise_key(value) for value in same}) == 1
    assert normalise_key("cafe\u0301") == normalise_key("CAF\u00c9")
    assert normalise_key("a red star") != normalise_key("a red star.")


@settings(deadline=None)
@given(st.text())
def test_a_key_is_its_own_key(value: str):
    assert normalise_key(normalise_key(value)) == normalise_key(value)
