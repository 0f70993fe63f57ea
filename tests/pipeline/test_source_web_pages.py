"""Pages by URL and by sitemap, from a real server: pairs, documents, refusals, changes, failures."""

from __future__ import annotations

import gzip
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from pipeline.formats import sitemap
from pipeline.records import SourceError
from pipeline.sources.web_pages import WebPages
from pipeline.web.client import Web
from pipeline.web.settings import FetchSettings
from pipeline.web.source import Known
from tests.serving import Answer, answering

if TYPE_CHECKING:
    from tests.pipeline.conftest import Mill

ALL_SIGNS = FetchSettings(allow=("127.0.0.0/8",), retries=0)
LOCAL = FetchSettings(allow=("127.0.0.0/8",), consent=(), retries=0)
PAGE = (
    "<html lang=en><title>Bears</title><link rel=license href=https://creativecommons.org/licenses/by/4.0/>"
    "<body><h1>Bears</h1><p>A bear walks.</p><figure><img src=/red.png alt='A bear'><figcaption>It walks"
    "</figcaption></figure><p>It sleeps.</p><img src=/blue.png></body>"
)


def picture(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(out, "PNG")
    return out.getvalue()


class Site:
    """A site whose files a test changes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"/red.png": picture("red"), "/blue.png": picture("blue")}
        self.status: dict[str, int] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.asked: Counter[str] = Counter()
        self.url = ""

    def put(
        self, path: str, body: str | bytes, kind: str = "text/html; charset=utf-8", **headers: str
    ) -> str:
        self.files[path] = body.encode() if isinstance(body, str) else body
        self.headers[path] = {"Content-Type": kind, **{n.replace("_", "-"): v for n, v in headers.items()}}
        return self.url + path

    def sitemap(self, path: str, **changed: str) -> str:
        pages = "".join(
            f"<url><loc>{self.url}/{n}</loc><lastmod>{t}</lastmod></url>" for n, t in changed.items()
        )
        return self.put(path, f"<urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'>{pages}</urlset>")


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()

    def answer(path: str) -> Answer:
        made.asked[path] += 1
        status = made.status.get(path, 200 if path in made.files else 404)
        return status, made.headers.get(path, {}), made.files.get(path, b"")

    with answering(answer) as made.url:
        yield made


def rows(source: WebPages, settings: FetchSettings = LOCAL) -> list[dict[str, Any]]:
    with Web(settings) as web:
        found = [row for shard in source.shards(Known(), web) for row in source.read(shard, web)]
    places = [(row["origin"], row["position"]) for row in found]
    assert len(set(places)) == len(places)
    return found


def kept(mill: Mill) -> set[tuple[str, int, str | None, bool]]:
    return {
        (
            r["origin"].partition("//")[2].partition("/")[2],
            r["position"],
            r["text"],
            r["image_id"] is not None,
        )
        for r in mill.rows()
        if r["reason"] is None
    }


def reasons(mill: Mill) -> dict[str, str]:
    return {r["origin"].partition("//")[2].partition("/")[2]: r["reason"] for r in mill.rows() if r["reason"]}


def test_a_page_is_a_document_and_pairs(site: Site) -> None:
    url = site.put("/a", PAGE)
    found = rows(WebPages(urls=(url,)))
    document = [r for r in found if r["task"] == "text"]
    assert [r["position"] for r in document] == [0, 1, 2, 3]
    assert {r["origin"] for r in document} == {r["document"] for r in document} == {url}
    assert [r.get("text") for r in document] == [
        b"Bears\n\nA bear walks.",
        None,
        b"It walks\n\nIt sleeps.",
        None,
    ]
    assert [r.get("fetch") for r in document] == [None, f"{site.url}/red.png", None, f"{site.url}/blue.png"]
    pairs = [r for r in found if r["task"] == "caption"]
    assert [(r["text"], r["position"], r["fetch"]) for r in pairs] == [
        (b"A bear", 0, f"{site.url}/red.png"),
        (b"It walks", 1, f"{site.url}/red.png"),
    ]
    assert {r["origin"] for r in pairs} == {f"{url} {site.url}/red.png"}
    assert {r["document"] for r in pairs}.isdisjoint({url})
    assert {(r["lang"], r["licence"], r["page_url"]) for r in found} == {("en", "CC-BY-4.0", url)}


def test_what_is_not_wanted_is_left_out(site: Site) -> None:
    url = site.put(
        "/a", "<p>Text<img src=s.png width=16 height=16 alt=icon><img src=b.png alt=big width=300>"
    )
    assert {r["task"] for r in rows(WebPages(urls=(url,), documents=False))} == {"caption"}
    assert {r["task"] for r in rows(WebPages(urls=(url,), pairs=False))} == {"text"}
    large = rows(WebPages(urls=(url,), min_side=32))
    assert {r["fetch"].rpartition("/")[2] for r in large if "fetch" in r} == {"b.png"}


def test_it_is_taken_in_whole_and_each_picture_is_fetched_once(site: Site, mill: Mill) -> None:
    source = WebPages(urls=(site.put("/a", PAGE), site.put("/b", PAGE)))
    assert mill.take(source, settings=LOCAL) == 1
    assert kept(mill) >= {
        ("a", 0, "Bears\n\nA bear walks.", False),
        ("a", 1, None, True),
        ("b", 3, None, True),
    }
    assert len(kept(mill)) == 12
    assert site.asked == {"/a": 1, "/b": 1, "/red.png": 1, "/blue.png": 1}
    assert mill.take(source, settings=LOCAL) == 0
    assert site.asked["/a"] == 1


@pytest.mark.parametrize(
    ("head", "headers"),
    [
        ("<meta name=robots content='noindex, NoAI'>", {}),
        ("<meta name=millrace content=noimageai>", {}),
        ("<meta name=tdm-reservation content=1>", {}),
        ("", {"X_Robots_Tag": "noml"}),
        ("", {"TDM_Reservation": "1"}),
    ],
)
def test_a_page_that_says_no_gives_no_text_and_no_picture(
    site: Site, mill: Mill, head: str, headers: dict[str, str]
) -> None:
    url = site.put("/a", head + PAGE, **headers)
    mill.take(WebPages(urls=(url,)), settings=ALL_SIGNS)
    [row] = mill.rows()
    assert (row["reason"], row["consent"], row["text"]) == ("consent_refused", "refused", None)
    assert site.asked["/red.png"] == 0
    assert {r.get("error") for r in rows(WebPages(urls=(url,)), LOCAL)} == {None}


def test_other_words_for_robots_are_no_refusal(site: Site) -> None:
    head = "<meta name=robots content='noindex, nofollow, max-image-preview:none'><meta name=otherbot content=noai>"
    found = rows(WebPages(urls=(site.put("/a", head + PAGE),)), ALL_SIGNS)
    assert len(found) == 6 and {r.get("error") for r in found} == {None}


def test_what_fails_is_a_row(site: Site, mill: Mill, tmp_path: Path) -> None:
    site.put("/file", b"%PDF-1.7", "application/pdf")
    site.put("/empty", "<nav>Menu</nav>")
    site.put("/lost", "<p>Text<img src=/none.png alt=Gone>")
    listed = tmp_path / "list.csv"
    listed.write_text(
        "url\n"
        + "".join(f"{site.url}/{n}\n" for n in ("file", "empty", "none", "lost"))
        + "mailto:x\nbad,bad\n"
    )
    mill.take(WebPages(path=str(listed)), settings=LOCAL)
    found = reasons(mill)
    assert found["file (page)"] == "not_a_page" and found["empty"] == "empty_page"
    assert found["none (page)"] == found["lost"] == "http_404"
    assert Counter(r["reason"] for r in mill.rows()) == {
        "not_a_page": 1, "empty_page": 1, "http_404": 3, "bad_url": 1, "bad_row": 1, None: 1,
    }  # fmt: skip


def test_relative_urls_hold_after_a_redirect(site: Site) -> None:
    site.put("/deep/page", "<p>Text</p><img src=x.png alt=X>")
    site.status["/old"] = 301
    url = site.put("/old", "", Location="/deep/page")
    found = rows(WebPages(urls=(url,)))
    assert {r["fetch"] for r in found if "fetch" in r} == {f"{site.url}/deep/x.png"}
    assert {r["page_url"] for r in found} == {f"{site.url}/deep/page"}
    assert found[0]["origin"] == url


def test_only_changed_pages_are_read_again_and_what_went_is_withdrawn(site: Site, mill: Mill) -> None:
    site.put("/a", PAGE)
    site.put("/b", "<p>Other text")
    source = WebPages(sitemaps=(site.sitemap("/sitemap.xml", a="2026-01-01", b="2026-01-01"),))
    mill.take(source, settings=LOCAL)
    assert len(kept(mill)) == 7
    site.put("/a", "<p>New text")
    mill.take(source, settings=LOCAL)
    assert (site.asked["/a"], site.asked["/b"]) == (1, 1)
    site.sitemap("/sitemap.xml", a="2026-02-02T10:00:00Z", b="2026-01-01")
    mill.take(source, settings=LOCAL)
    assert (site.asked["/a"], site.asked["/b"]) == (2, 1)
    assert kept(mill) == {("a", 0, "New text", False), ("b", 0, "Other text", False)}
    assert set(reasons(mill).values()) <= {"withdrawn"}


@pytest.mark.parametrize(("status", "left"), [(500, 6), (404, 0)])
def test_a_page_that_fails_later_keeps_its_rows_and_one_that_is_gone_does_not(
    site: Site, mill: Mill, status: int, left: int
) -> None:
    site.put("/a", PAGE)
    source = WebPages(sitemaps=(site.sitemap("/sitemap.xml", a="2026-01-01"),))
    mill.take(source, settings=LOCAL)
    site.status["/a"] = status
    site.sitemap("/sitemap.xml", a="2026-02-02")
    mill.take(source, settings=LOCAL)
    assert len(kept(mill)) == left


def test_a_picture_that_failed_in_passing_is_tried_again_with_its_page(site: Site, mill: Mill) -> None:
    soon = LOCAL.model_copy(update={"retry_later": 0.0})
    source = WebPages(urls=(site.put("/a", PAGE),))
    site.status["/red.png"] = 503
    mill.take(source, settings=soon)
    assert Counter(r["reason"] for r in mill.rows()) == {"http_503": 3, None: 3}
    del site.status["/red.png"]
    mill.take(source, settings=soon)
    assert Counter(r["reason"] for r in mill.rows()) == {None: 6}


def test_a_page_with_a_picture_due_again_keeps_what_is_fine(site: Site, mill: Mill) -> None:
    soon = LOCAL.model_copy(update={"retry_later": 0.0})
    source = WebPages(urls=(site.put("/a", PAGE), site.put("/b", PAGE.replace("red", "blue"))))
    site.status["/red.png"] = 503
    mill.take(source, settings=soon)
    fine = kept(mill)
    assert len(fine) == 3 + 6
    site.status["/blue.png"] = 404
    for tries in (2, 3):
        mill.take(source, settings=soon)
        assert (site.asked["/a"], site.asked["/red.png"]) == (tries, tries)
    assert (site.asked["/b"], site.asked["/blue.png"]) == (1, 1) and kept(mill) == fine
    del site.status["/red.png"]
    mill.take(source, settings=soon)
    assert len(kept(mill)) == 12 and site.asked["/blue.png"] == 1
    assert mill.take(source, settings=soon) == 0


@pytest.mark.parametrize(("status", "left"), [(503, 3), (404, 0)])
def test_a_page_that_fails_while_a_picture_of_it_is_due(
    site: Site, mill: Mill, status: int, left: int
) -> None:
    soon = LOCAL.model_copy(update={"retry_later": 0.0})
    source = WebPages(urls=(site.put("/a", PAGE),))
    site.status["/red.png"] = 503
    mill.take(source, settings=soon)
    site.status |= {"/a": status, "/blue.png": 404}
    mill.take(source, settings=soon)
    assert len(kept(mill)) == left and reasons(mill)["a (page)"] == f"http_{status}"
    site.status = {"/blue.png": 404}
    mill.take(source, settings=soon)
    assert len(kept(mill)) == (6 if left else 0) and site.asked["/blue.png"] == 1
    assert reasons(mill).get("a (page)") == ("withdrawn" if left else "http_404")


def test_an_index_speaks_for_its_own_site_only(site: Site) -> None:
    other = site.url.replace("127.0.0.1", "127.0.0.2")
    stray = site.put("/stray.xml", f"<urlset><url><loc>{other}/a</loc></url></urlset>", "application/xml")
    lists = f"<sitemap><loc>{other}/stray.xml</loc></sitemap><sitemap><loc>{stray}</loc></sitemap>"
    index = site.put("/index.xml", f"<sitemapindex>{lists}</sitemapindex>", "application/xml")
    assert rows(WebPages(sitemaps=(index,))) == [] and site.asked == {"/index.xml": 1, "/stray.xml": 1}


def test_sitemaps_of_sitemaps(site: Site) -> None:
    site.put("/a", PAGE)
    site.put("/b", PAGE)
    one = site.sitemap("/one.xml", a="2026-01-01")
    two = site.put(
        "/two.txt.gz", gzip.compress(f"{site.url}/b\nhttp://other.example/c\n".encode()), "application/gzip"
    )
    lists = "".join(
        f"<sitemap><loc>{u}</loc></sitemap>" for u in (one, two, f"{site.url}/index.xml", f"{site.url}/no")
    )
    index = site.put("/index.xml", f"<sitemapindex>{lists}</sitemapindex>", "application/xml")
    found = rows(WebPages(sitemaps=(index,), pairs=False))
    assert {r["origin"] for r in found if not r.get("error")} == {f"{site.url}/a", f"{site.url}/b"}
    assert [r["error"] for r in found if r.get("error")] == ["http_404"]
    assert site.asked["/index.xml"] == 1
    assert len({r["origin"] for r in rows(WebPages(sitemaps=(index,), pairs=False, limit=1))}) == 1
    few = rows(WebPages(sitemaps=(index,), pairs=False, max_sitemaps=2))
    assert {r["origin"] for r in few} == {f"{site.url}/a"}


@pytest.mark.parametrize(
    ("raw", "pages", "wrong"),
    [
        (b"<urlset><url><loc> http://a.example/x </loc></url>", 1, "broken XML"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><urlset><url><loc>http://a.example/</loc></url></urlset>", 1, None),
        (b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/hostname'>]><urlset><url><loc>http://a.example/&e;</loc></url>"
         b"</urlset>", 1, None),
        (b"<html>not found</html>", 0, "not a sitemap"),
        (b"", 0, "not a sitemap"),
        (b"\x1f\x8bbroken", 0, "broken gzip: Error -3 while decompressing data: unknown compression method"),
        (b"http://a.example/1\r\nrubbish\nhttps://a.example/2", 2, None),
        (b"<urlset/>", 0, None),
    ],
)  # fmt: skip
def test_what_a_sitemap_lists(raw: bytes, pages: int, wrong: str | None) -> None:
    found = sitemap.parse(raw, "http://a.example/sitemap.xml")
    assert (len(found.pages), found.wrong) == (pages, wrong)
    assert all(url.startswith("http") and "root:" not in url for url, _ in found.pages)


def test_a_bomb_of_entities_or_gzip_ends_at_its_limit() -> None:
    levels = "".join(f"<!ENTITY e{n} '{f'&e{n - 1};' * 10}'>" for n in range(1, 12))
    bomb = f"<!DOCTYPE x [<!ENTITY e0 'x'>{levels}]><urlset><url><loc>http://a.example/&e11;</loc></url></urlset>"
    assert len(sitemap.parse(bomb.encode(), "http://a.example/").pages) <= 1
    packed = gzip.compress(b"x" * (sitemap.MAX_BYTES + 1), 1)
    assert sitemap.parse(packed, "http://a.example/").wrong == "longer than the limit, or cut off"


def test_it_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="say path, urls or sitemaps"):
        rows(WebPages())
    with pytest.raises(SourceError, match="no such file"):
        rows(WebPages(path=str(tmp_path / "none.csv")))
