"""Statements of rights as SPDX ids; HTML as text; languages as BCP 47 tags."""

from __future__ import annotations

import time

import pytest

from pipeline.formats import rights
from pipeline.formats.languages import captions, tag
from pipeline.formats.markup import by_language, plain


@pytest.mark.parametrize(
    ("stated", "known"),
    [
        ("http://creativecommons.org/licenses/by/4.0/", "CC-BY-4.0"),
        ("https://creativecommons.org/licenses/by-sa/4.0", "CC-BY-SA-4.0"),
        ("https://www.creativecommons.org/licenses/by-nc-nd/3.0/deed.fi", "CC-BY-NC-ND-3.0"),
        ("https://creativecommons.org/licenses/by-sa/3.0/de/deed.en", "CC-BY-SA-3.0-DE"),
        ("http://creativecommons.org/licenses/by-nd-nc/1.0/", "CC-BY-NC-ND-1.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/legalcode", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/deed.en", "CC-PDM-1.0"),
        ("This work is licensed under http://creativecommons.org/licenses/by/2.5/.", "CC-BY-2.5"),
        ("CC BY-SA 4.0", "CC-BY-SA-4.0"),
        ("cc-by-sa-3.0", "CC-BY-SA-3.0"),
        ("CC-BY-NC-SA-3.0-IGO", "CC-BY-NC-SA-3.0-IGO"),
        ("CC0", "CC0-1.0"),
        ("CC0-1.0", "CC0-1.0"),
        ("https://www.nationalarchives.gov.uk/doc/open-government-licence/version/3/", "OGL-UK-3.0"),
    ],
)
def test_well_known_rights_have_their_spdx_id(stated: str, known: str) -> None:
    assert rights.licence(stated) == known


@pytest.mark.parametrize(
    "stated",
    [
        "http://rightsstatements.org/vocab/InC/1.0/",
        "http://creativecommons.org/licenses/by-sa/3.0/es/",  # a port without an SPDX id is not the unported one
        "CC BY",  # which version?
        "Public domain",
        "In copyright",
        "https://elsewhere.example/creativecommons.org/licenses/by/4.0/",
        "http://creativecommons.org/licenses/by/9.9/",
    ],
)
def test_what_has_no_id_stays_as_it_is_stated(stated: str) -> None:
    assert rights.licence(stated) == stated


def test_of_several_statements_the_one_with_an_id_wins() -> None:
    assert rights.licence("All rights understood", None, "", "CC BY 4.0") == "CC-BY-4.0"
    assert rights.licence("See the page", "http://rightsstatements.org/vocab/NoC-US/1.0/") == (
        "http://rightsstatements.org/vocab/NoC-US/1.0/"
    )
    assert rights.licence(None, "", "  ") is None


def test_an_endless_statement_is_cut() -> None:
    assert len(rights.licence("x" * 10_000_000) or "") == rights.LONGEST


def test_html_becomes_text_and_its_languages_are_kept() -> None:
    html = (
        '<div lang="en" class="description"><span class="language en"><b>English: </b></span>A <i lang="fr">bon</i> cat'
        '</div>\n<div lang="de"><span class="language de">Deutsch:</span> Eine Katze<br>schl&auml;ft</div>'
    )
    assert by_language(html) == [("en", "A bon cat"), ("de", "Eine Katze\nschläft")]
    assert by_language("<p>no language</p>") == [(None, "no language")]
    assert by_language("<p></p>") == []
    assert plain("a <script>bad()</script>b <!-- c --> &lt;d&gt;") == "a b <d>"
    assert plain('<i>Night</i><div style="display: none;">label QS:Len</div> in Nice') == "Night\nin Nice"
    assert plain("1 < 2 & 3 > 2") == "1 < 2 & 3 > 2"


@pytest.mark.parametrize(
    "unit", ["<b>", "<!--", "<a ", "<a b='", "<?", "</", "<div lang=en>x", "&", "<![CDATA["]
)
def test_hostile_html_takes_no_time(unit: str) -> None:
    began = time.monotonic()
    by_language(unit * (200_000 // len(unit)))
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("code", "known"),
    [
        *[
            ("eng", "en"),
            ("GER", "de"),
            ("en_GB", "en-GB"),
            ("zh-Hant", "zh-Hant"),
            ("und", None),
            ("", None),
        ],
        *[("x" * 99, None), (None, None), (7, None), ("none", None), ("@none", None)],
    ],
)
def test_languages_are_bcp_47(code: object, known: str | None) -> None:
    assert tag(code) == known


def test_a_caption_in_each_language_and_what_has_none_goes_with_all() -> None:
    title = [("en", "Map"), ("de", "Karte")]
    assert captions([title, [(None, "f. 1r")], [("en", "Old.")]]) == [
        ("en", "Map\nf. 1r\nOld."),
        ("de", "Karte\nf. 1r"),
    ]
    assert captions([[(None, "one")], []]) == [(None, "one")]
    assert captions([[], []]) == []
