"""Noise goes, what only looks like noise stays, and what a text lost adds up."""

from __future__ import annotations

import pytest
from ftfy import badness
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.denoise import _ODD, Denoise
from pipeline.markup import stripped, unescaped
from pipeline.repeats import collapsed, suspected
from pipeline.text import clean

ALL_OFF = Denoise(mojibake=False, markup=False, tails=False, sites=False, repeats=False)


def cleaned(text: str, task: str = "caption", **settings: bool | tuple[str, ...]) -> str | None:
    return Denoise(**settings).clean(text.encode(), task)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("noisy", "want"),
    [
        ("cafÃ© au lait", "café au lait"),
        ("â€œHelloâ€\x9d", "“Hello”"),
        ("SÃ£o Paulo &amp;amp; more", "São Paulo & more"),
        ("Ã\x83Â©tÃ©", None),
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("Tom &lt;b&gt;and&lt;/b&gt; Jerry", "Tom and Jerry"),
        ("caf&eacute; &#20013;&#x6587;&nbsp;!", "café 中文 !"),
        ("<p>Hello <b>world</b></p><br/>again", "Hello world again"),
        ("<script>alert(1)</script>a <a href='x'>link</a><!-- no -->", "a link"),
        ("A red barn #barn #red https://x.y", "A red barn"),
        ("A red barn https://x.y/z?a=b#c (www.x.y)", "A red barn"),
        ("A barn. Read more: https://x.y", "A barn."),
        ("红色谷仓#谷仓#红色", "红色谷仓"),
        ("A red barn | Example.com", "A red barn"),
        ("A red barn – Wikimedia Commons", "A red barn"),
        ("A red barn - Flickr", "A red barn"),
        ("red barn red barn red barn", "red barn"),
        ("Red barn, red barn, red barn.", "Red barn."),
        ("A brown dog runs A brown dog runs", "A brown dog runs"),
        ("the barn the barn the barn the end", "the barn the end"),
        ("no no no no", "no"),
        ("红色谷仓红色谷仓红色谷仓", "红色谷仓"),
    ],
)
def test_noise_goes(noisy: str, want: str | None):
    found = cleaned(noisy)
    assert found != noisy and (want is None or found == want)


@pytest.mark.parametrize(
    "text",
    [
        "a < b and b > c, R&D, <3",
        "AT&T; and x &copy 2 &unknown;",
        "Use the <b> tag, List<T>, x <y> z",
        "“curly” ‘quotes’ ｆｕｌｌ ﬁne — …",
        "Año, naïve, Ærø, Straße, Škoda, żółć, Ελλάδα, мама, 中文, हिन्दी",
        "New York, New York",
        "very very very good",
        "1 1 1 1 1",
        "He is #1, she is #2",
        "Logo of Amazon.com",
        "A pen - 10 cm",
        "To reach them, visit www.oercommons.org/hubs",
        "#barn #red",
        "https://x.y",
        "A barn (Photo: X. Y. Zed)",
    ],
)
def test_what_only_looks_like_noise_stays(text: str):
    assert cleaned(text) == text
    assert Denoise().clean(text.encode())[2] is None


def test_a_text_keeps_its_end_and_its_refrain():
    refrain = "Row the boat. Row the boat. Row the boat. See https://x.y #row"
    assert cleaned(refrain, "text") == refrain
    assert cleaned("&lt;b&gt; is bold in <i>HTML</i> &amp;amp;", "text") == "<b> is bold in HTML &amp;"


def test_credits_go_and_letters_are_folded_when_asked():
    for credit in (
        " (Photo by Ann Lee)",
        ". Photo: X. Y. Zed",
        " © 2014 NASA",
        ", Foto von Max",
        " - Image courtesy of NASA",
    ):
        assert cleaned(f"A red barn{credit}") == f"A red barn{credit}"
        if credit not in (". Photo: X. Y. Zed", " © 2014 NASA"):
            assert (cleaned(f"A red barn{credit}", credits=True) or "").rstrip(".") == "A red barn"
    assert cleaned("“ﬁne”", fold=("quotes", "ligatures")) == '"fine"'
    assert cleaned("ｆｕｌｌ", fold=("widths",)) == "full"


def test_each_repair_can_be_switched_off():
    noisy = "cafÃ© &amp; cafÃ© &amp; cafÃ© &amp; | x.com #one https://x.y"
    assert ALL_OFF.clean(noisy.encode())[0] == noisy
    assert cleaned("a &amp; b", markup=False) == "a &amp; b"
    assert cleaned("a barn #red", tails=False) == "a barn #red"
    assert cleaned("a barn | x.com", sites=False) == "a barn | x.com"
    assert cleaned("a b a b a b", repeats=False) == "a b a b a b"
    assert cleaned("cafÃ©", mojibake=False) == "cafÃ©"


def test_what_is_lost_is_told_by_kind():
    raw = "  cafÃ© &amp; barn #red".encode()
    text, reason, told = Denoise().clean(raw)
    assert (text, reason, told) == ("café & barn", None, "mojibake 2, unicode 2, markup 4, tail 5")
    assert Denoise().clean(None) == (None, None, None)
    assert Denoise().clean(b"a" * 300_000) == (None, "text_too_long", None)


def test_mojibake_is_repaired_whichever_way_it_came():
    for text in ("Über den Wolken schöner Städte", "L’été à Orléans, déjà", "Где-то далеко гудят поезда"):
        for encoding in ("latin-1", "cp1252"):
            wrong = text.encode().decode(encoding, "ignore")
            if wrong.encode(encoding) == text.encode():
                assert cleaned(wrong) == text


NOISE = st.lists(
    st.sampled_from(
        ["a", "red", "barn", " ", "  ", "\n", "&amp;", "&lt;b&gt;", "<b>", "</b>", "<", "#red", "| x.com", "©", "Ã©",
         "https://x.y", ".", ",", "é", "中文", "\x00", "\u200b", "-", "&", "Photo by Ann", "👩‍🚀"]
    ),
    max_size=24,
).map("".join)  # fmt: skip


@given(st.one_of(NOISE, st.text(max_size=60)), st.sampled_from(["caption", "text"]))
def test_losses_add_up_and_the_text_is_clean(value: str, task: str):
    raw = value.encode()
    text, reason, told = Denoise(credits=True, fold=("quotes",)).clean(raw, task)
    assert reason is None
    lost = sum(int(part.rsplit(" ", 1)[1]) for part in told.split(", ")) if told else 0
    assert len((text or "").encode()) + lost == len(raw)
    assert (told is None) == ((text or "").encode() == raw)
    if text is not None:
        assert clean(text.encode()) == (text, None)


@given(st.one_of(NOISE, st.text(max_size=60)))
def test_all_off_is_plain_cleaning(value: str):
    assert ALL_OFF.clean(value.encode())[:2] == clean(value.encode())


@given(
    st.lists(st.sampled_from(["red", "Red,", "barn", "barn.", "-", "the", "1"]), max_size=20).map(" ".join)
)
def test_the_quick_look_never_misses_a_repetition(text: str):
    found = collapsed(text)
    assert found == text or suspected(text.encode())
    assert set(found.split()) <= set(text.split())


WESTERN = st.characters(codec="cp1252") | st.sampled_from("вЂГўВРСβ€ΒΞā√≈‚ДЖ中ŁžÂÃ ")


@settings(max_examples=1000)
@given(st.text(WESTERN, max_size=12))
def test_the_quick_look_never_misses_mojibake(text: str):
    assert _ODD.search(text) or not badness.is_bad(text)


def test_hostile_lengths_take_no_longer_than_they_must():
    for unit in ("<a ", "&#1;", "#a ", "<b", "a a b ", "http://", "<!--", "| ", "中文"):
        assert Denoise(credits=True).clean((unit * (200_000 // len(unit.encode()))).encode())[1] is None


def test_entities_and_tags_by_themselves():
    assert unescaped("&amp;amp;lt;", 2) == "&lt;" and unescaped("&amp;amp;lt;", 3) == "<"
    assert stripped("a<br>b<hr/>c") == "a b c"
    assert stripped("</div> left over </i>") == "</div> left over </i>"
