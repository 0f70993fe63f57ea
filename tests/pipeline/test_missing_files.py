"""What a source names on this machine and is not there is told before anything is read, as it is told by reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import files
from pipeline.errors import SourceError
from pipeline.step import Source, load
from pipeline.web.source import Known, WebSource

NAMED = {
    "sources.folder": {"path": "pictures"},
    "sources.parquet": {"path": "data/*.parquet"},
    "sources.webdataset": {"path": "shards/*.tar"},
    "sources.url_list": {"path": "urls.csv"},
    "sources.warc": {"path": "crawl/**/*.warc.gz"},
    "sources.web_pages": {"path": "pages.csv"},
    "sources.cnxml": {"path": "modules/*/index.cnxml"},
}


def source(use: str, **settings: Any) -> Source | WebSource:
    return load(use, (Source, WebSource))(**settings)  # type: ignore[return-value]


def listed(one: Source | WebSource) -> None:
    """Lists a source that has not been read before; it does not come to asking the web."""
    if isinstance(one, WebSource):
        list(one.shards(Known(), None))  # type: ignore[arg-type]
    else:
        list(one.shards(Known().rows))


@pytest.mark.parametrize("use", NAMED)
def test_what_is_not_there_is_told_early_as_it_is_told_late(use: str, tmp_path: Path) -> None:
    one = source(use, path=str(tmp_path / NAMED[use]["path"]))
    with pytest.raises(SourceError, match="no such") as early:
        one.check()
    with pytest.raises(SourceError) as late:
        listed(one)
    assert str(early.value) == str(late.value)


@pytest.mark.parametrize("use", NAMED)
def test_what_is_there_is_not_read(use: str, tmp_path: Path) -> None:
    """A file that is none of the kind is for reading to judge."""
    place = tmp_path / NAMED[use]["path"].replace("**", "2026/11").replace("*", "one")
    place.parent.mkdir(parents=True, exist_ok=True)
    if use == "sources.folder":
        place.mkdir()
    else:
        place.write_bytes(b"garbage")
    one = source(use, path=str(tmp_path / NAMED[use]["path"]))
    assert one.check() is None


def test_a_missing_collection_is_told_too(tmp_path: Path) -> None:
    module = tmp_path / "index.cnxml"
    module.write_text("<document/>")
    one = source("sources.cnxml", path=str(module), collections=str(tmp_path / "*.collection.xml"))
    with pytest.raises(SourceError, match=r"collection\.xml.*no such file"):
        one.check()


@pytest.mark.parametrize("use", NAMED)
def test_no_bucket_is_asked(use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.S3File, "filesystem", lambda _: pytest.fail("a bucket was asked"))
    assert source(use, path="s3://bucket/somewhere/*").check() is None


def test_sources_of_the_web_have_nothing_to_look_for() -> None:
    named = {
        "sources.web_pages": {"urls": ("http://127.0.0.1:9/",)},
        "sources.iiif": {"urls": ("http://127.0.0.1:9/",)},
    }
    assert [source(use, **settings).check() for use, settings in named.items()] == [None, None]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.tar").mkdir()
    with pytest.raises(SourceError, match="no such file"):
        source("sources.webdataset", path=str(tmp_path / "*.tar")).check()
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="no such folder"):
        source("sources.folder", path=str(tmp_path / "file")).check()
