"""What is meant by what was named, and that it is neither asked for nor taken again: a web source, passages, panels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import numpy as np
import pytest
from PIL import Image

from pipeline import forgetting
from pipeline.collect import Origin, Rows
from pipeline.forgetting import Named
from pipeline.refused import Refused
from pipeline.segment import Segment
from pipeline.sources.folder import Folder
from pipeline.sources.url_list import UrlList
from pipeline.step import RAW
from pipeline.web.settings import FetchSettings
from storage import blocklist, lineage, media, parts, takedown
from storage.blocklist import Blocklist, Entry
from storage.errors import NothingNamed
from storage.limits import Limits
from storage.store import Store
from tests.pipeline.faults import picture
from tests.serving import Answer, answering

if TYPE_CHECKING:
    from tests.pipeline.conftest import Mill

SETTINGS = FetchSettings(allow=("127.0.0.0/8",), consent=(), retries=0, deadline=20, decoders=1)
LONG = " ".join(f"Sentence number {n} of a long story ends here." for n in range(40))


def forget(store: Store, base: str | None = None, **named: tuple[str, ...]) -> takedown.Takedown:
    planned = forgetting.planned(store, Named(**named), "somebody", Limits(), bases={"web": base})
    takedown.write_down(store, planned)
    takedown.record(store, planned, takedown.carry_out(store, planned))
    return planned


@pytest.fixture
def site() -> Iterator[tuple[str, list[str]]]:
    """A site, and the paths that it was asked for."""
    asked: list[str] = []

    def answer(path: str) -> Answer:
        asked.append(path)
        return 200, {"Content-Type": "image/png"}, picture(len(path))

    with answering(answer) as url:
        yield url, asked


def test_a_url_and_a_host_are_not_asked_for_again(
    mill: Mill, site: tuple[str, list[str]], tmp_path: Path
) -> None:
    base, asked = site
    listing = tmp_path / "list.csv"
    listing.write_text("url,text\n" + "".join(f"{name}.png,about {name}\n" for name in ("a", "bb", "ccc")))
    source = UrlList(path=str(listing), base_url=base + "/")
    mill.take(source, settings=SETTINGS)
    planned = forget(mill.store, f"{base}/", urls=(f"{base}/bb.png",))
    assert (len(planned.samples), planned.counts["attempts"]) == (1, 1)
    assert mill.rows("SELECT url FROM attempts WHERE url LIKE '%bb.png'") == []

    asked.clear()
    listing.write_text(listing.read_text() + "dddd.png,about dddd\n")
    mill.take(source, settings=SETTINGS)
    assert asked == ["/dddd.png"]
    assert mill.rows("SELECT came_in, kept, adds_up FROM funnel_check") == [
        {"came_in": 4, "kept": 3, "adds_up": True}
    ]
    [bare] = mill.rows("SELECT * FROM found WHERE reason = 'forgotten'")
    assert not any("bb" in str(value) for value in bare.values())

    forget(mill.store, f"{base}/", hosts=("127.0.0.1",))
    asked.clear()
    listing.write_text(listing.read_text() + "eeeee.png,about eeeee\n")
    mill.take(source, settings=SETTINGS)
    assert asked == [] and mill.rows("SELECT url FROM attempts") == []
    assert mill.rows("SELECT kept, adds_up FROM funnel_check") == [{"kept": 0, "adds_up": True}]


@pytest.mark.parametrize("where", ["/bb.png", "http://localhost:{port}/bb.png"])
def test_a_redirect_to_what_was_forgotten_is_not_followed(mill: Mill, where: str, tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(path: str) -> Answer:
        asked.append(path)
        if path == "/moved.png":
            return 302, {"Location": where}, b""
        return 200, {"Content-Type": "image/png"}, picture(len(path))

    with answering(answer) as base:
        where = where.format(port=base.rpartition(":")[2])
        forget(mill.store, urls=(urljoin(base, where),))
        listing = tmp_path / "list.csv"
        listing.write_text("url,text\nmoved.png,about it\na.png,about a\n")
        mill.take(UrlList(path=str(listing), base_url=base + "/"), settings=SETTINGS)
    assert sorted(asked) == ["/a.png", "/moved.png"]
    assert mill.rows("SELECT came_in, kept, adds_up FROM funnel_check") == [
        {"came_in": 2, "kept": 1, "adds_up": True}
    ]
    assert mill.rows("SELECT reason FROM decisions WHERE NOT kept") == [{"reason": "forgotten"}]


def collected(store: Store, rows: Rows, part: str) -> list[str]:
    """Ids of the rows, committed."""
    made = rows.tables()
    parts.stage(store, part, made)
    parts.commit(store, [part])
    return made["samples"]["sample_id"].to_pylist()


def test_rows_of_a_forgotten_source_are_known_as_forgotten(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    rows = Rows(Origin("s", Folder(path="x")), Limits())
    for name in ("a", "b"):
        rows.add(
            {**dict.fromkeys(RAW.names), "origin": name, "text": f"text {name}".encode()}, None, None, None
        )
    ids = collected(store, rows, "p")
    forget(store, sources=("s",))
    assert [lineage.sample(store, one)["forgotten"] for one in ids] == [True, True]


def test_passages_go_with_their_text_and_come_as_one_bare_row(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    origin = Origin("s", Folder(path="x"), segment=Segment(passage_tokens=64, tasks=("caption",)))

    def made(refused: Refused | None = None) -> Rows:
        rows = Rows(origin, Limits(), refused)
        for name, text in (("long", LONG), ("short", "a short text that stays")):
            rows.add({**dict.fromkeys(RAW.names), "origin": name, "text": text.encode()}, None, None, None)
        return rows

    ids = collected(store, made(), "p")
    assert len(ids) > 3
    planned = forget(store, samples=(ids[0],))
    assert sorted(planned.samples) == sorted(ids[:-1])
    again = made(Refused.of(store)).tables()
    assert again["decisions"]["reason"].to_pylist() == ["forgotten", None]
    assert again["samples"]["text"].to_pylist() == [None, "a short text that stays"]


def test_panels_go_with_their_picture(tmp_path: Path) -> None:
    store, limits = Store.open(tmp_path / "store"), Limits(panels=True)
    sheet = np.full((440, 480, 3), 255, np.uint8)
    for n, (top, left) in enumerate(((0, 0), (0, 244), (224, 0), (224, 244))):
        sheet[top : top + 216, left : left + 236] = np.random.default_rng(n).integers(0, 200, (216, 236, 3))
    file = tmp_path / "sheet.png"
    Image.fromarray(sheet).save(file)
    rows = Rows(Origin("s", Folder(path="x")), limits)
    whole = media.normalise(file.read_bytes(), limits)
    rows.add({**dict.fromkeys(RAW.names), "origin": "a", "text": b"four views"}, whole, None, None)
    ids = collected(store, rows, "p")
    planned = forget(store, pictures=(whole.image_id,))
    assert len(ids) == 5 and sorted(planned.samples) == sorted(ids) and len(planned.pictures) == 5
    assert store.read("images").num_rows == store.read("samples").num_rows == 0


def test_texts_are_known_whatever_their_case_and_white_space() -> None:
    with blocklist.scratch() as db:
        [key] = blocklist.fold(db, ["Ein  Café am\tSee."])
    blocked = Blocklist(b"salt", [Entry("text", blocklist.digest(b"salt", "text", key))])
    assert blocked.holds_text("ein cafe\u0301 am see!") and blocked.holds_text(None, "EIN CAFÉ AM SEE")
    assert not blocked.holds_text("ein cafe am see") and not blocked.holds_text(None)


def test_a_host_is_the_host_alone_and_not_those_below_it() -> None:
    blocked = Blocklist(b"salt", [Entry("host", blocklist.digest(b"salt", "host", "example.org"))])
    for url in ("http://example.org/a", "https://u:p@EXAMPLE.org:8443/b?c#d", "http://example.org"):
        assert blocked.holds_url(url), url
    for url in ("http://www.example.org/a", "http://other.org/example.org", "example.org/a", None):
        assert not blocked.holds_url(url), url


def test_something_must_be_named(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    with pytest.raises(NothingNamed):
        forgetting.planned(store, Named(), "somebody", Limits())
    assert forgetting.planned(store, Named(hosts=("a.example",)), "x", Limits()).samples == []
    for slip in (
        {"samples": ("nosuch",)},
        {"sources": ("nosuch",)},
        {"licences": ("CC-1",)},
        {"pictures": ("0f",)},
    ):
        with pytest.raises(NothingNamed, match="nothing was done"):
            forgetting.planned(store, Named(**slip), "somebody", Limits())
