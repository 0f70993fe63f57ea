"""The CNXML source: figures and texts in reading order, pictures beside the modules or fetched, nothing loaded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from PIL import Image

from pipeline.errors import SourceError
from pipeline.formats import mathml
from pipeline.formats.cnxml import BrokenModule, Figure, read_module
from pipeline.sources.cnxml import CNXML
from pipeline.web.client import Web
from pipeline.web.source import COLUMNS, WITHDRAWN, Known
from tests.serving import folder

if TYPE_CHECKING:
    from tests.pipeline.conftest import Mill

MODULE = """<document xmlns="http://cnx.rice.edu/cnxml" xmlns:m="http://www.w3.org/1998/Math/MathML">
<title>Orbits</title>
<metadata xmlns:md="http://cnx.rice.edu/mdml"><md:content-id>m1</md:content-id><md:title>Orbits</md:title>{terms}</metadata>
<content>
<para id="p1">A <term>planet</term> moves (<link target-id="f1"/>)<!-- why --> around:
  <list><item>the Sun,</item><item>a star</item></list> and that is all.</para>
<figure id="f1"><title>Kepler.</title><media alt="An ellipse"><image mime-type="image/png" src="../../media/a.png"/></media>
<caption>Its <emphasis>path</emphasis></caption></figure>
<section><title>Law</title><equation><m:math><m:msup><m:mi>P</m:mi><m:mn>2</m:mn></m:msup></m:math></equation>
<figure id="f2"><subfigure><media alt="left"><image src="l.png"/></media></subfigure>
<subfigure><media alt="right"><image src="r.png" for="pdf"/><image src="../../media/b.png"/></media><caption>(b)</caption></subfigure>
<caption>Both</caption></figure></section>
</content>
<glossary><definition><term>orbit</term><meaning>a path</meaning></definition></glossary>
</document>"""  # noqa: E501 - as such files are
TERMS = '<md:language>pl</md:language><md:license url="http://creativecommons.org/licenses/by/4.0/"/>'


def picture(colour: int = 0) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 20), (colour, 9, 9)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A book of one module and one of its pictures."""
    (tmp_path / "modules" / "m1").mkdir(parents=True)
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "a.png").write_bytes(picture())
    write(tmp_path, MODULE.format(terms=TERMS))
    return tmp_path


def write(book: Path, text: str, module: str = "m1") -> None:
    (book / "modules" / module).mkdir(exist_ok=True)
    (book / "modules" / module / "index.cnxml").write_text(text)


def source(book: Path, **options: Any) -> CNXML:
    return CNXML(path=f"{book}/modules/*/index.cnxml", **options)


def rows(made: CNXML, known: Known | None = None) -> list[dict[str, Any]]:
    web = Web()
    found = [row for shard in made.shards(known or Known(), web) for row in made.read(shard, web)]
    assert len({(row["origin"], row["position"]) for row in found}) == len(found)
    return found


def known(found: list[dict[str, Any]]) -> Known:
    return Known(pa.Table.from_pylist([{n: row[n] for n in COLUMNS.names} for row in found], COLUMNS))


def test_texts_and_figures_stand_in_reading_order(book: Path):
    found = rows(source(book))
    assert [(r["task"], r["text"].decode(), r.get("error")) for r in found] == [
        ("text", "Orbits", None),
        ("text", "A planet moves around:", None),
        ("text", "the Sun,", None),
        ("text", "a star", None),
        ("text", "and that is all.", None),
        ("caption", "An ellipse", None),
        ("caption", "Kepler. Its path", None),
        ("text", "Law", None),
        ("text", "P^2", None),
        ("text", "Both", None),  # of two pictures, so it is said of neither
        ("caption", "left", "missing_file"),
        ("caption", "right", "missing_file"),
        ("caption", "(b)", "missing_file"),
        ("text", "orbit: a path", None),
    ]
    assert [r["position"] for r in found] == list(range(len(found)))
    assert {(r["origin"], r["document"], r["lang"], r["licence"]) for r in found} == {
        ("m1", "m1", "pl", "CC-BY-4.0")
    }
    assert [r["image"] for r in found if "image" in r] == [picture()] * 2
    assert "b.png" in found[11]["detail"]  # the one for screens, not the one for print


def test_only_figures_without_documents(book: Path):
    found = rows(source(book, documents=False, task="label"))
    assert [(r["position"], r["task"]) for r in found] == [(n, "label") for n in range(5)]
    write(book, '<document xmlns="http://cnx.rice.edu/cnxml"><content><para>x</para></content></document>')
    assert [(r["origin"], r["error"]) for r in rows(source(book, documents=False))] == [("m1", "no_picture")]


def test_terms_come_from_the_module_then_its_collection_then_the_settings(book: Path):
    (book / "all.collection.xml").write_text(
        '<col:collection xmlns:col="http://cnx.rice.edu/collxml" xml:lang="de"><metadata '
        'xmlns:md="http://cnx.rice.edu/mdml"><md:license url="https://creativecommons.org/licenses/by-nc/4.0/deed.de"/>'
        '</metadata><col:content><col:module document="m1"/><col:module document="m2"/></col:content></col:collection>'
    )
    write(book, MODULE.format(terms="").replace(">m1<", ">m2<"), "m2")
    write(book, MODULE.format(terms="").replace(">m1<", ">m3<"), "m3")
    made = source(
        book, collections=f"{book}/*.collection.xml", lang="fr", licence="CC0-1.0", author="OpenStax"
    )
    assert {(r["origin"], r["lang"], r["licence"], r["author"]) for r in rows(made)} == {
        ("m1", "pl", "CC-BY-4.0", "OpenStax"),
        ("m2", "de", "CC-BY-NC-4.0", "OpenStax"),
        ("m3", "fr", "CC0-1.0", "OpenStax"),
    }
    (book / "all.collection.xml").write_text("<x/>")
    with pytest.raises(SourceError, match=r"all.collection.xml: not a CNXML collection, but <x>"):
        rows(made)


def test_a_module_comes_again_when_it_or_a_picture_changes(book: Path):
    first = rows(source(book))
    assert rows(source(book), known(first)) == []
    (book / "media" / "b.png").write_bytes(picture(1))
    second = rows(source(book), known(first))
    assert [r.get("image") for r in second if r["position"] in (11, 12)] == [picture(1)] * 2
    assert {r["version"] for r in first}.isdisjoint(r["version"] for r in second)
    write(book, MODULE.format(terms="").replace("<glossary>", "<x>").replace("</glossary>", "</x>")[:-300])
    [broken] = rows(source(book), known(second))
    assert (broken["origin"], broken["error"]) == ("m1 (module)", "broken_module")
    assert rows(source(book), known([*second, broken])) == []
    write(book, '<document xmlns="http://cnx.rice.edu/cnxml"><content><para>x</para></content></document>')
    third = rows(source(book), known([*second, broken]))
    assert [(r["position"], r.get("error")) for r in third] == [(0, None)] + [
        (n, WITHDRAWN) for n in range(1, 14)
    ]


def test_what_is_due_comes_again_and_ids_that_collide_stay_apart(book: Path):
    write(book, MODULE.format(terms=""), "m9")
    first = rows(source(book))
    assert {r["origin"] for r in first} == {"m1", "m9/index.cnxml"}
    of_one = [r for r in first if r["origin"] == "m1"]
    due = Known(known(first).rows, known(of_one[:1]).rows)
    assert {r["origin"] for r in rows(source(book), due)} == {"m1"}


def test_pictures_are_taken_from_their_folder_only(book: Path, tmp_path: Path):
    (tmp_path / "secret.png").write_bytes(picture(7))
    (book / "media" / "link.png").symlink_to(tmp_path / "secret.png")
    (book / "media" / "folder.png").mkdir()
    for src in ("../../secret.png", str(tmp_path / "secret.png"), "link.png", "folder.png", "..", "a/"):
        write(book, MODULE.format(terms="").replace("../../media/a.png", src))
        assert not [r for r in rows(source(book)) if r.get("image")], src
    found = rows(source(book, media=str(book / "media")))
    assert [r["error"] for r in found if r["task"] == "caption"] == ["missing_file"] * 5


def test_entities_and_document_types_load_nothing(book: Path):
    (book / "secret.txt").write_text("secret")
    for declared, used in [
        (f'<!ENTITY x SYSTEM "file://{book}/secret.txt">', "&x;"),
        ("<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;'>", "&b;"),
    ]:
        write(book, f"<!DOCTYPE document [{declared}]>" + MODULE.format(terms="").replace("a star", used))
        [broken] = rows(source(book))
        assert (broken["error"], broken["detail"]) == ("broken_module", "declares entities of its own")
    old = '<!DOCTYPE document PUBLIC "-//CNX//DTD CNXML 0.5//EN" "http://127.0.0.1:9/cnxml.dtd">'
    write(book, old + MODULE.format(terms=""))
    assert len(rows(source(book))) == 14
    with pytest.raises(BrokenModule, match="not a CNXML document, but <html>"):
        read_module(b"<html/>")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "b.png").write_bytes(picture(3))
    with folder(tmp_path / "served") as url:
        yield url


def test_pictures_that_are_not_in_the_folder_are_fetched(mill: Mill, book: Path, served: str):
    made = source(book, base_url=f"{served}/")
    mill.take(source(book))
    mill.take(made)  # what was missing has a place now
    pictured = [r for r in mill.rows() if r["task"] == "caption"]
    assert [(r["position"], r["reason"], r["url"]) for r in pictured] == [
        (5, None, None),
        (6, None, None),
        (10, "http_404", f"{served}/l.png"),
        (11, None, f"{served}/b.png"),
        (12, None, f"{served}/b.png"),
    ]
    assert len({r["image_id"] for r in pictured if r["image_id"]}) == 2
    assert mill.take(made) == 0


@pytest.mark.parametrize(
    ("formula", "line"),
    [
        ("<msup><mi>a</mi><mrow><mi>x</mi><mo>+</mo><mn>1</mn></mrow></msup>", "a^(x+1)"),
        ("<mi>E</mi><mo>=</mo><mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mi>c</mi></mfrac>", "E = (a+b)/c"),
        ("<msubsup><mi>x</mi><mn>1</mn><mn>2</mn></msubsup><msqrt><mn>2</mn></msqrt>", "x_1^2√(2)"),
        ("<mfenced open='[' close=']' separators=','><mi>a</mi><mi>b</mi></mfenced>", "[a, b]"),
        ("<mn>2</mn><mo>\u2062</mo><mi>cm</mi><mspace/><mtext>or so</mtext>", "2 cm or so"),
        ("<semantics><mi>x</mi><annotation encoding='tex'>\\xi</annotation></semantics>", "x"),
        ("<mtable><mtr><mtd><mi>a</mi></mtd></mtr><mtr><mtd><mi>b</mi></mtd></mtr></mtable>", "a b"),
        ("<mover><mi>B</mi><mo>→</mo></mover><msup><mi>y</mi></msup>", "B→y"),
    ],
)  # fmt: skip
def test_a_formula_is_a_line(formula: str, line: str):
    assert mathml.text(etree.fromstring(f"<math>{formula}</math>")) == line


TAGS = "para title figure subfigure media image caption list item math msup mfrac section note term entry table content"
TREES = st.recursive(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="<&"), max_size=5),
    lambda inner: st.builds(
        lambda tag, attribute, parts: f"<{tag} {attribute}>{''.join(parts)}</{tag}>",
        st.sampled_from(TAGS.split()),
        st.sampled_from(["", 'src="../../media/a.png"', 'alt="x"', 'src=""']),
        st.lists(inner, max_size=4),
    ),
    max_leaves=25,
)


@settings(max_examples=150, deadline=None)
@given(st.one_of(TREES.map(lambda tree: f"<document>{tree}</document>".encode()), st.binary(max_size=80)))
def test_any_tree_is_a_module_or_broken(raw: bytes):
    try:
        module = read_module(raw)
    except BrokenModule as error:
        assert len(str(error).splitlines()) == 1
        return
    images = {image for media in etree.fromstring(raw).iter("media") for image in media.iter("image")}
    named = sum(1 for image in images if image.get("src"))
    figures = [part for part in module.parts if isinstance(part, Figure)]
    assert len(figures) <= named
    assert all(part == " ".join(part.split()) != "" for part in module.parts if isinstance(part, str))
