"""No address or number of a person gets onto the page, whatever stands around it."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.masking import hides_picture, hides_text, shown, shown_path

NAME = st.text(string.ascii_lowercase + string.digits, min_size=2, max_size=12)
AROUND = st.text(max_size=40)


@given(NAME, NAME, st.sampled_from(["com", "org", "example.net"]), AROUND, AROUND)
def test_an_address_is_masked_in_any_text(user: str, host: str, end: str, before: str, after: str) -> None:
    address = f"{user}@{host}.{end}"
    assert address not in (shown(f"{before} {address} {after}") or "")
    assert address not in (shown_path(f"{before}/{address}/{after}") or "")


@pytest.mark.parametrize(
    "number",
    [
        "+1 212-555-0123",
        "(212) 555-0123",
        "+44 20 7946 0123",
        "01 99 00 12 34",
        "+49 30 23125 123",
        "0171 2345678",
        "+4930123456",
    ],
)
def test_a_number_is_masked(number: str) -> None:
    found = shown(f"two red circles, tel. {number}, on a white background") or ""
    assert number not in found
    assert found.startswith("two red circles") and found.endswith("white background")


@pytest.mark.parametrize(
    "spelled", ["anna (at) example (dot) com", "anna at example dot com", "anna[at]example.org"]
)
def test_a_spelled_out_address_is_not_shown(spelled: str) -> None:
    assert "anna" not in (shown(f"write to {spelled}") or "")


@pytest.mark.parametrize(
    "text", ["three red stars", "in 1984 there were 12,500 of them", "100% of 24 × 36 cm", "每年2024"]
)
def test_other_texts_stay(text: str) -> None:
    assert shown(text) == text


def test_texts_are_shortened_and_freed_of_what_turns_the_words_around() -> None:
    assert shown("x" * 1000) == "x" * 279 + "…"
    assert "\u202e" not in (shown("abc\u202edef\x00") or "")
    assert shown(None) is None


@pytest.mark.parametrize("reason", ["contact_details", "pii", "consent_refused", "licence", "opt_out"])
def test_texts_of_some_reasons_are_hidden(reason: str) -> None:
    assert hides_text(reason)


def test_pictures_of_some_reasons_are_hidden() -> None:
    assert hides_picture("consent_refused") and hides_picture("licence")
    assert not hides_picture("contact_details") and not hides_picture("duplicate") and not hides_picture(None)
