"""The reader of pages: what is content, which picture is meant, what is said of it, and that rubbish does no harm."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.formats import html, img
from pipeline.formats.charset import decode
from pipeline.formats.html import Page, read_page
from pipeline.formats.pictures import Picture

URL = "https://site.example/a/page.html"
TEXT = "The bear walks along the river and catches a fish. It eats the fish on a stone in the sun. "


def read(body: str, head: str = "", url: str = URL) -> Page:
    return read_page(f"<!doctype html><html><head>{head}</head><body>{body}</body></html>".encode(), url)


def order(page: Page) -> list[str]:
    """Texts, and the last part of the pictures' URLs, in the order of the page."""
    return [s.text or "<" + s.picture.url.rpartition("/")[2] + ">" for s in page.segments]  # type: ignore[union-attr]


def only(page: Page) -> Picture:
    assert len(page.pictures) == 1, page.pictures
    return page.pictures[0]


def url_of(attributes: str) -> str | None:
    pictures = read(f"<p>{TEXT}</p><img {attributes}>").pictures
    return pictures[0].url if pictures else None


def test_text_and_pictures_keep_their_order() -> None:
    page = read(
        "<article><h1>Bears</h1><p>One <b>bold</b> word.</p><p>Two<img src=a.jpg> parts.</p>"
        "<ul><li>x</li><li>y</li></ul><figure><img src=b.jpg><figcaption>A cub</figcaption></figure>"
        "<pre>a\n  b</pre></article>"
    )
    assert order(page) == [
        "Bears\n\nOne bold word.\n\nTwo",
        "<a.jpg>",
        "parts.\nx\ny",
        "<b.jpg>",
        "A cub\n\na\n  b",
    ]


def test_what_stands_around_the_content_is_left_out() -> None:
    around = {
        "nav": "<nav>Home About</nav>",
        "header": "<header>Site name</header>",
        "footer": "<footer>Imprint of the house</footer>",
        "aside": "<aside>Buy this</aside>",
        "form": "<form><label>Your mail</label><input></form>",
        "script": "<script>var x = 'code';</script><style>p {}</style>",
        "hidden": "<div hidden>One</div><div style='display: none'>Two</div><p aria-hidden=true>Three</p>",
        "cookies": "<div class='cookie-banner'>We use cookies</div>",
        "role": "<div role=navigation>Menu</div>",
        "noscript": "<noscript>Please enable it</noscript>",
        "links": "<ul><li><a href=1>Topic one</a></li><li><a href=2>Topic two</a></li></ul>",
        "idle heading": "<h3>Read also</h3>",
        "comment": "<!-- secret -->",
    }
    page = read("".join(around.values()) + f"<h2>Title</h2><p>{TEXT * 3}</p>" + "".join(around.values()))
    assert page.text == "Title\n\n" + (TEXT * 3).strip()


@pytest.mark.parametrize(
    "wrapper",
    [
        "<form>{}</form>", "<div class='has-sidebar cookie-consent-shown'>{}</div>", "<header>{}</header>",
        "<body style='display:none'>{}", "<div class=sidebar>{}</div>", "<div id=menu><div class=ads>{}</div></div>",
        "<table><tr><td>{}</td></tr></table>", "<aside>{}</aside>", "<center><font>{}</font></center>", "{}",
        "<nav>{}</nav>",
    ],
)  # fmt: skip
def test_the_main_text_is_not_lost_by_a_name(wrapper: str) -> None:
    page = read(wrapper.format(f"<h1>Title</h1><p>{TEXT * 5}</p><img src=a.png alt=Bear>"))
    assert (TEXT * 5).strip() in page.text
    assert "<a.png>" in order(page)


def test_links_within_a_text_stay() -> None:
    linked = "<p>The <a href=1>bear</a> and the <a href=2>river</a> are near <a href=3>the town</a>.</p>"
    single = f"<p>{TEXT}</p><p><a href=x>A sentence that is one link.</a></p><p>{TEXT}</p>"
    page = read(linked + single)
    assert "The bear and the river are near the town." in page.text
    assert "A sentence that is one link." in page.text


def test_main_is_preferred_to_what_is_beside_it() -> None:
    page = read(f"<div>Beside</div><main><p>{TEXT * 3}</p></main><div>Below</div>")
    assert page.text == (TEXT * 3).strip()


@pytest.mark.parametrize(
    ("attributes", "url"),
    [
        ("src=a.jpg", "https://site.example/a/a.jpg"),
        ("src=' /x y.jpg#part '", "https://site.example/x%20y.jpg"),
        ("src='//other.example/ü.jpg?a=1&amp;b=2'", "https://other.example/%C3%BC.jpg?a=1&b=2"),
        ("src=a.jpg srcset='s.jpg 320w, m.jpg 1024w, l.jpg 9000w'", "https://site.example/a/m.jpg"),
        ("src=a.jpg srcset='s.jpg 4000w, m.jpg 5000w'", "https://site.example/a/s.jpg"),
        ("src=a.jpg srcset='b.jpg 2x, c.jpg, d.jpg 1.5x'", "https://site.example/a/b.jpg"),
        ("srcset='a,b.jpg 1x,c,d.jpg 2x'", "https://site.example/a/c,d.jpg"),
        ("src=placeholder.gif data-src=real.jpg", "https://site.example/a/real.jpg"),
        ("src='data:image/gif;base64,R0lGODlhAQABAAAAACw=' data-original=real.jpg", "https://site.example/a/real.jpg"),
        ("src=small.jpg data-lazy-src=real.jpg", "https://site.example/a/real.jpg"),
        ("src=small.jpg data-srcset='s.jpg 100w, real.jpg 900w'", "https://site.example/a/real.jpg"),
        ("src=google-pixel.png", "https://site.example/a/google-pixel.png"),
        ("src='data:image/png;base64,AAAA'", None),
        ("src=''", None),
        ("src=javascript:alert(1)", None),
        ("src=file:///etc/passwd", None),
        ("src=http://[broken/", None),
        ("src=spacer.gif", None),
        ("src=a.gif width=1 height=1", None),
        ("src=a.gif style='width:1px;height:1px'", None),
        (f"src={'a' * 5000}.jpg", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_picture_that_is_meant(attributes: str, url: str | None) -> None:
    assert url_of(attributes) == url


def test_picture_sources_of_types_that_can_be_read() -> None:
    page = read(
        "<picture><source type=image/jxl srcset='x.jxl 800w'><source type=image/webp srcset='w.webp 800w'>"
        "<img src=a.jpg alt=Bear></picture>"
    )
    assert only(page).url.endswith("/w.webp")


def test_a_fallback_is_not_the_same_picture_twice() -> None:
    lazy = "<img data-src=big.jpg alt=Bear><noscript><img src=small.jpg alt=Bear></noscript>"
    assert [p.url[-7:] for p in read(lazy).pictures] == ["big.jpg"]
    unknown = "<img class=lazy alt=Bear><noscript><img src=small.jpg alt=Bear></noscript>"
    assert [p.url[-9:] for p in read(unknown).pictures] == ["small.jpg"]


def test_what_is_said_of_a_picture() -> None:
    page = read(
        "<figure><a href=x><img src=a.jpg alt=' A  bear ' title=Ursus width=640 height=480px></a>"
        "<figcaption>A <i>brown</i> bear</figcaption></figure>"
    )
    assert only(page) == Picture(
        "https://site.example/a/a.jpg", "A bear", "A brown bear", "Ursus", width=640, height=480
    )
    assert only(page).texts == ("A bear", "A brown bear", "Ursus")
    same = read("<figure><img src=a.jpg alt=Bear title=Bear><figcaption>Bear</figcaption></figure>")
    assert only(same).texts == ("Bear",)


def test_a_caption_of_several_pictures_is_said_of_none() -> None:
    page = read("<figure><img src=a.jpg><img src=b.jpg><figcaption>Left and right</figcaption></figure>")
    assert [p.caption for p in page.pictures] == [None, None]
    assert "Left and right" in page.text


def test_captions_of_older_pages() -> None:
    wordpress = "<div class='wp-caption'><img src=a.jpg><p class='wp-caption-text'>A bear</p></div>"
    wiki = "<div class='thumb tright'><div class=thumbinner><img src=a.jpg><div class=thumbcaption>A bear</div></div></div>"
    assert only(read(wordpress)).caption == only(read(wiki)).caption == "A bear"


def test_base_changes_what_is_relative() -> None:
    page = read(
        "<img src=a.jpg>", head="<base href='//cdn.example/deep/'><base href='http://second.example'>"
    )
    assert only(page).url == "https://cdn.example/deep/a.jpg"


def test_the_head() -> None:
    page = read_page(
        b"<html lang=en_gb><head><title> Bears\n of Spain </title><meta name=author content='A. Bear'>"
        b"<link rel=license href='https://creativecommons.org/licenses/by-sa/4.0/deed.en'>"
        b"<meta name=Robots content='NoAI, noindex'><meta name=other content=x></head><body>x",
        URL,
    )
    assert (page.head.title, page.head.lang, page.head.author) == ("Bears of Spain", "en-gb", "A. Bear")
    assert (page.head.licence, page.head.robots) == ("CC-BY-SA-4.0", (("robots", "noai, noindex"),))


def test_two_licences_are_none() -> None:
    links = "<a rel=license href=https://creativecommons.org/licenses/by/{}/>x</a>"
    assert read(links.format("4.0") * 2).head.licence == "CC-BY-4.0"
    assert read(links.format("4.0") + links.format("3.0")).head.licence is None


@pytest.mark.parametrize(
    ("raw", "header", "text"),
    [
        ("žluť".encode(), None, "žluť"),
        ("žluť".encode(), "iso-8859-1", "žluť"),
        ("žluť".encode("iso-8859-2"), "ISO-8859-2", "žluť"),
        (b"<meta charset='windows-1251'>" + "медведь".encode("cp1251"), None, "медведь"),
        (b"<meta http-equiv=Content-Type content='text/html; charset=Shift_JIS'>" + "熊".encode("cp932"), None, "熊"),
        (b"<meta charset=gb2312>" + "熊".encode("gb18030"), None, "熊"),
        (b"\xff\xfe" + "žluť".encode("utf-16-le"), "utf-8", "žluť"),
        (b"\xef\xbb\xbf" + "žluť".encode(), "latin1", "žluť"),
        ("熊".encode("iso2022_jp"), "iso-2022-jp", "熊"),
        (b"caf\xe9 \x93x\x94", "no-such-thing", "café “x”"),
        (b"caf\xe9", "unicode_escape", "café"),
        (b"+AGE-", "utf-7", "+AGE-"),
    ],
)  # fmt: skip
def test_encodings(raw: bytes, header: str | None, text: str) -> None:
    assert decode(raw, header).endswith(text)


def test_wbr_and_emoji_do_not_cut_a_word() -> None:
    page = read(
        "<p>super<wbr>cali <img class=emoji alt=🐻 src=bear.png> fine" + "<wbr>x" * 3000 + "</p><p>after</p>"
    )
    assert page.text.startswith("supercali 🐻 fine") and page.text.endswith("after")


def test_a_long_text_is_several_segments() -> None:
    page = read("<p>" + "word " * 10_000 + "</p><p>end</p>")
    texts = [s.text or "" for s in page.segments]
    assert len(texts) > 2 and max(map(len, texts)) <= html.SEGMENT + 10
    assert " ".join(" ".join(texts).split()) == ("word " * 10_000 + "end")


@pytest.mark.parametrize(
    "raw",
    [
        b"", b" ", b"\0", b"<", b"<!--", b"<!doctype", b"\xff\xfe", b"%PDF-1.7\x00\xff", b"<html", b"<p" * 1000,
        b"<base href='http://['><img src=a>", b"<![CDATA[", b"&#xD800;&#1114112;&bogus;", b"<svg><title>t</title>",
    ],
)  # fmt: skip
def test_rubbish_is_an_empty_page_or_a_text(raw: bytes) -> None:
    page = read_page(raw, URL)
    assert page.pictures == () or page.pictures[0].url.startswith("https://")
    assert isinstance(page.text, str)


HOSTILE = {
    "deep blocks": (b"<div>" * 200_000 + b"deep", "nested too deeply"),
    "deep words": (b"<p>" + b"<span>" * 200_000, "nested too deeply"),
    "attributes": (b"<p>x</p><div " + b" ".join(b"a%d=1" % n for n in range(50_000)) + b"><p>y</p>", None),
    "quotes in names": (
        b"<p>x</p><div o' " + b" ".join(b"a%d=1" % n for n in range(50_000)) + b"><p>y</p>",
        None,
    ),
    "a hidden tag": (b'<div x"=" >" ' + b" ".join(b"a%d=1" % n for n in range(50_000)) + b"><p>y</p>", None),
    "after a script": (
        b"<script>'<a b='</script><div " + b" ".join(b"a%d" % n for n in range(50_000)) + b">y",
        None,
    ),
    "an end tag": (b"<p>x</p " + b" ".join(b"a%d" % n for n in range(50_000)) + b">y", None),
    "open comments": (b"<!--" * 300_000, "empty"),
    "quoted": (b"<p>x</p><div " + b" ".join(b"a%d='>'" % n for n in range(50_000)) + b"><p>y</p>", None),
    "long": (b"<p>" + b"word " * 2_000_000, "too many bytes"),
    "wide": (b"<p>x</p>" * 1_000_000, "too many tags"),
    "pictures": (b"".join(b"<img src=%d.jpg>" % n for n in range(3000)), "too many pictures"),
    "open tags": (b"<a " * 100_000, "empty"),
    "open quotes": (b"<p a='" * 100_000, "empty"),
    "candidates": (b"<img srcset='" + b"a 1w," * 100_000 + b"'>", None),
    "metas": (b"<meta" * 100_000, None),
    "noscripts": (b"<p>" + b"<img src=a><noscript><img src=b></noscript>" * 20_000, "too many pictures"),
    "links": (b"<a href=x>y</a>" * 100_000, None),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pages_take_little_time(name: str) -> None:
    raw, cut = HOSTILE[name]
    began = time.process_time()
    page = read_page(raw, URL)
    assert time.process_time() - began < 5
    assert page.cut == cut
    assert len(page.pictures) <= html.MAX_PICTURES


def test_it_is_deterministic() -> None:
    raw = ("<p>x<img src=a.jpg alt=a>" * 50).encode()
    assert read_page(raw, URL) == read_page(raw, URL)


TOKENS = (
    "<p> </p> <div> </div> <img\tsrc=a.jpg> <img\tsrc='b> <a\thref=x> </a> <figure> <figcaption> </figure> <nav> "
    "<main> <noscript> <picture> <source\tsrcset='x\t2x'> <table> <td> text more &amp; &#0; \0 \ud7ff < > ' \" <!-- "
    "--> <base\thref=//[> <meta\tcharset=utf-16> <body\tclass=ads> <h1> <svg> <template> <pre> <br> <li> </ul> 熊"
)
PIECES = st.sampled_from(TOKENS.split(" "))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PIECES, max_size=60).map(" ".join).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"<figure><img src=a.jpg><noscript><img src=a.jpg></figure>")
def test_any_pieces_make_a_page(raw: bytes) -> None:
    page = read_page(raw, URL)
    for segment in page.segments:
        assert (segment.text is None) != (segment.picture is None)
        assert segment.text is None or segment.text.strip()
    shown = {segment.picture for segment in page.segments if segment.picture}
    assert shown <= set(page.pictures)
    assert all(picture.url.startswith(("http://", "https://")) for picture in page.pictures)
    assert page == read_page(raw, URL)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=300), st.sampled_from([None, "utf-8", "utf-16", "shift_jis", "big5", "gb18030", "x"])
)
def test_any_bytes_make_a_page(raw: bytes, charset: str | None) -> None:
    assert isinstance(read_page(raw, URL, charset).text, str)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80), st.text(max_size=80))
def test_any_link_is_none_or_a_url_of_the_web(base: str, link: str) -> None:
    for url in (img.absolute(URL, link), img.absolute(base, link)):
        assert url is None or ((url.isascii() or "://" in url) and url.startswith(("http://", "https://")))
        assert url is None or not set(url) & set(" \t\r\n")
    assert all(isinstance(number, float) for _, number, _ in img.candidates(link))
