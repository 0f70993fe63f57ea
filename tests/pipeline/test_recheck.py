"""Consent asked again: what a site takes back leaves the store, what cannot be asked stays."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.sources.url_list import UrlList
from pipeline.web import recheck
from pipeline.web.settings import FetchSettings
from tests.pipeline.faults import picture
from tests.serving import Answer, answering

if TYPE_CHECKING:
    from tests.pipeline.conftest import Mill

SETTINGS = FetchSettings(allow=("127.0.0.0/8",), retries=0, deadline=20, decoders=1)


class Site:
    """A site that changes its mind: `says` holds headers by path, `robots` its robots.txt."""

    says: dict[str, dict[str, str]] = {}
    robots: bytes = b""
    page: bytes = b"<title>x</title>"


def answer(path: str) -> Answer:
    if path.startswith(("/gone", "/.well-known")):
        return 404, {}, b""
    body, kind = picture(len(path)), "image/png"
    if path == "/robots.txt":
        body, kind = Site.robots, "text/plain"
    elif path == "/page":
        body, kind = Site.page, "text/html"
    return 200, {"Content-Type": kind, **Site.says.get(path, {})}, body


@pytest.fixture
def site() -> Iterator[str]:
    Site.says, Site.robots, Site.page = {}, b"", b"<title>x</title>"
    with answering(answer) as url:
        yield url


@pytest.fixture
def taken(mill: Mill, site: str, tmp_path: Path) -> Mill:
    lines = [
        "a.png,one,",
        "private/bb.png,two,",
        "ccc.png,three,",
        f"dddd.png,four,{site}/page",
        "gone.png,five,",
    ]
    (tmp_path / "list.csv").write_text("\n".join(["url,text,page_url", *lines]))
    mill.take(UrlList(path=str(tmp_path / "list.csv"), base_url=site + "/"), settings=SETTINGS)
    return mill


def again(mill: Mill, site: str, days: int = 0) -> recheck.Rechecked:
    return recheck.run(mill.store, SETTINGS, {"web": site + "/"}, timedelta(days=days))


def test_nothing_is_lost_while_nothing_has_changed(taken: Mill, site: str):
    done = again(taken, site)
    assert (done.asked, done.refused, done.withdrawn) == (6, 0, 0)  # five pictures and a page
    assert taken.rows("SELECT kept FROM funnel_check") == [{"kept": 4}]


def test_what_a_site_takes_back_leaves_the_store(taken: Mill, site: str):
    Site.says["/ccc.png"] = {"X-Robots-Tag": "noai"}
    Site.robots = b"User-agent: *\nDisallow: /private"
    Site.page = b'<meta name="robots" content="noai">'
    done = again(taken, site)
    assert (done.refused, done.withdrawn) == (3, 3)
    found = {row["origin"]: (row["text"], row["image_id"] is not None, row["reason"]) for row in taken.rows()}
    assert found == {
        "a.png": ("one", True, None),
        "private/bb.png": (None, False, "consent_withdrawn"),
        "ccc.png": (None, False, "consent_withdrawn"),
        "dddd.png": (None, False, "consent_withdrawn"),
        "gone.png": ("five", False, "http_404"),
    }
    assert taken.store.read("images").num_rows == 1
    assert taken.rows("SELECT came_in, kept, adds_up FROM funnel_check") == [
        {"came_in": 5, "kept": 1, "adds_up": True}
    ]
    evidence = {
        row["url"]: row["evidence"] for row in taken.store.read("consents").to_pylist() if not row["allowed"]
    }
    assert evidence[f"{site}/ccc.png"] == "noai"


def test_a_row_that_was_dropped_before_says_why(taken: Mill, site: str):
    Site.robots = b"User-agent: *\nDisallow: /gone"
    assert again(taken, site).withdrawn == 1
    found = taken.rows("SELECT reason, detail FROM decisions WHERE NOT kept")
    assert found == [{"reason": "consent_withdrawn", "detail": "before: http_404"}]
    assert [row["text"] for row in taken.rows() if row["origin"] == "gone.png"] == [None]


def test_a_site_that_cannot_be_asked_keeps_its_rows(taken: Mill, site: str):
    done = recheck.run(taken.store, SETTINGS, {"web": "http://127.0.0.1:9/"}, timedelta(0))
    assert done.withdrawn == 0 and done.unreachable >= 4


def test_young_consents_are_not_asked_again(taken: Mill, site: str):
    assert again(taken, site, days=1).asked == 1  # the page, which nobody has asked for yet
    assert again(taken, site, days=1).asked == 0
    assert again(taken, site).asked == 6
    twice = taken.rows("SELECT url FROM consents GROUP BY url, recorded_at HAVING count(*) > 1")
    assert twice == []
