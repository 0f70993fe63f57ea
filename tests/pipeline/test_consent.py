"""Signs of consent: what they bind, what they do not, and that reading them takes no longer for being hostile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.web.consent import Location, _robots, forbids, refused_by_headers, refused_by_page
from pipeline.web.ledger import Fetched
from pipeline.web.settings import FetchSettings

WORDS = FetchSettings().refusals
OURS = FetchSettings()


@pytest.mark.parametrize(
    ("value", "refuses"),
    [
        ("noai", True), ("NOAI, noindex", True), ("noindex", False), ("none", True), ("index, noimageai", True),
        ("otherbot: noai", False), ("millrace: noai", True), ("otherbot: noindex, millrace: noml", True),
        ("otherbot: noai, noimageai", False), ("max-snippet:20, noai", True),
        ("unavailable_after: 25 Jun 2027 15:00:00 PST, noai", True),
        ("unavailable_after: Wednesday, 03-Feb-27 15:00:00 GMT, noai", True), ("noaii", False), ("", False),
    ],
)  # fmt: skip
def test_words_of_a_robots_tag(value: str, refuses: bool):
    assert forbids(value, WORDS, "millrace") is refuses


def test_every_line_of_a_header_counts():
    lines = [("x-robots-tag", "noindex"), ("x-robots-tag", "noai")]
    found = refused_by_headers(lines, OURS)
    assert found is not None and (found.allowed, found.basis, found.evidence) == (
        False,
        "x-robots-tag",
        "noai",
    )
    assert refused_by_headers(lines, OURS.model_copy(update={"consent": ("robots",)})) is None


@pytest.mark.parametrize(
    ("page", "basis"),
    [
        (b'<meta name="robots" content="noai">', "meta"),
        (b"<META CONTENT='none' NAME=ROBOTS>", "meta"),
        (b'<meta name="millrace" content="noml">', "meta"),
        (b'<meta name="tdm-reservation" content="1">', "tdmrep"),
        (b'<meta name="otherbot" content="noai">', None),
        (b'<meta name="robots" content="noindex"><p>noai', None),
    ],
)
def test_meta_elements_of_a_page(page: bytes, basis: str | None):
    found = refused_by_page(page, OURS)
    assert (found and found.basis) == basis


@pytest.mark.parametrize(
    ("location", "path", "fits"),
    [
        ("/", "/a", True), ("/a", "/b", False), ("/*.png", "/x/y.png", True), ("/*.png$", "/x.png?1", False),
        ("/a$", "/a", True), ("/a$", "/ab", False), ("/a*b*c", "/axxbyyc", True), ("/a*b*c", "/axxcyyb", False),
        ("*", "/anything", True), ("", "/anything", True), ("/a*a$", "/a", False), ("/*$", "/x", True),
    ],
)  # fmt: skip
def test_locations_are_those_of_robots_txt(location: str, path: str, fits: bool):
    assert Location.parse(location).fits(path) is fits


@pytest.mark.timeout(10)
@given(st.integers(1, 60), st.integers(100, 2000))
def test_a_hostile_location_or_page_takes_no_time(stars: int, length: int):
    assert not Location.parse("*a" * stars + "b$").fits("/" + "a" * length)
    hostile = b"<meta " + b"a" * length + b">" + b"<meta " + b"a " * length + b">"
    assert refused_by_page(hostile * (200_000 // len(hostile)), OURS) is None


def test_a_robots_txt_that_cannot_be_read_gives_no_consent():
    assert _robots(Fetched("u", error="http_404")) == (None, "HTTP 404: no robots.txt", None)
    for error in ("http_500", "http_503", "http_429", "deadline", "incomplete", "bad_encoding"):
        assert _robots(Fetched("u", error=error))[2] == error, error


def test_our_name_is_found_in_a_robots_txt():
    rules, _, _ = _robots(Fetched("u", body=b"User-agent: millrace\nDisallow: /a\n\nUser-agent: *\nAllow: /"))
    assert rules is not None
    assert not rules.can_fetch("http://x.test/a", OURS.user_agent)
    assert rules.can_fetch("http://x.test/b", OURS.user_agent)
