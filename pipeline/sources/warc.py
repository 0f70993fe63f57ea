"""Pages in WARC and ARC files, with the pictures that lie beside them.

`origin` is the file's name and the offset of the record. A picture that has a record of its own in the file is taken
from there, through revisits too; others are fetched only if `fetch_missing` says so, and of a stretch that was read
before only those that are due for another try. WAT files (links) give pairs, WET files (texts) give texts. A file that
breaks off keeps what came before, and a row says where.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline import files, records
from pipeline.formats.archive import Archive, Broken, Record
from pipeline.formats.html import MAX_BYTES, read_page
from pipeline.formats.pictures import Picture
from pipeline.formats.survey import gives_rows, is_links, is_text, survey, unpacked, url_key
from pipeline.formats.survey import packed as packed_index
from pipeline.formats.wat import read_links
from pipeline.records import SourceError
from pipeline.step import Shard, digest
from pipeline.web import ledger
from pipeline.web.client import Web
from pipeline.web.consent import refused_by_headers
from pipeline.web.errors import FetchError
from pipeline.web.pages import PageSource, Place, refusal, refused_row
from pipeline.web.source import Known
from pipeline.web.urls import redacted

SHARD_BYTES = 32 << 20
"""Of the file: its pictures are in memory while a shard is read."""


class Warc(PageSource):
    """Pages and their pictures from archives of the web."""

    unfingerprinted: ClassVar[frozenset[str]] = frozenset({"path", "shard_rows"})

    path: str = Field(
        description='A WARC or ARC file, or a pattern ("crawl/*.warc.gz", "s3://bucket/*.warc.gz").'
    )
    fetch_missing: bool = Field(
        False,
        description="Fetch pictures that the file does not hold; otherwise their rows say not_archived.",
    )
    shard_rows: int = Field(64, gt=0, description="Pages in a part.")

    def check(self) -> None:
        files.look_for(self.path)

    def shards(self, known: Known, web: Web) -> Generator[Shard, None, str | None]:
        """Stretches of records, found by reading each new file's headers once.

        Raises:
            SourceError: no such file.
        """
        done = set(json.loads(known.cursor)) if known.cursor else set()
        seen: list[str] = []
        mark = self.fingerprint()[:8]
        for name, path in records.relative(records.files(self.path)).items():
            try:
                identity = records.identity(path)
                seen.append(digest([name, identity]))
                version = f"{identity} {mark}"
                due = _places(known.due, name, version)
                if seen[-1] in done and not due:
                    continue
                with path.open("rb") as file:
                    found = survey(Archive(file), self.shard_rows, SHARD_BYTES)
            except (SourceError, OSError) as error:
                detail = str(error)
                yield Shard(digest([name, detail]), {"name": name, "unreadable": detail}, 1)
                continue
            images, revisits = packed_index(found.images), {str(k): v for k, v in found.revisits.items()}
            fine = _places(known.rows, name, version) if due else []
            for start, end, rows in found.stretches:
                again = _within(due, start, end)
                if seen[-1] in done and not again:
                    continue
                yield Shard(
                    digest([name, identity, start, end, *([again] if again else [])]),
                    {"name": name, "path": str(path), "version": version, "start": start, "end": end,
                     "images": images, "revisits": revisits,
                     "fine": _within(fine, start, end) if again else []},
                    rows,
                )  # fmt: skip
        return json.dumps(seen)

    def read(self, shard: Shard, web: Web) -> Iterator[dict[str, Any]]:
        """The rows of a stretch that are not fine yet; of a file that breaks off, the last says where."""
        told = shard.payload
        if "unreadable" in told:
            yield {"origin": told["name"], "position": 0, "error": "unreadable", "detail": told["unreadable"]}
            return
        fine = {(origin, position) for _, origin, position in told["fine"]}
        for row in self._rows(told, web):
            if (row["origin"], row["position"]) not in fine:
                yield {**row, "version": told["version"]}

    def _rows(self, told: Mapping[str, Any], web: Web) -> Iterator[dict[str, Any]]:
        """All rows of a stretch."""
        with files.at(told["path"]).open("rb") as file, files.at(told["path"]).open("rb") as beside:
            reading = _Reading(self, web, Archive(beside), unpacked(told["images"]), told["revisits"])
            try:
                for record in Archive(file).records(told["start"], told["end"]):
                    if gives_rows(record) or str(record.offset) in told["revisits"]:
                        yield from reading.rows(record, f"{told['name']}#{record.offset}")
            except Broken as broken:
                where = f"{told['name']}#{broken.offset} broken"
                yield {"origin": where, "position": 0, "error": "broken_archive", "detail": str(broken)}


class _Reading:
    """One shard: pictures are looked up in the file, each once."""

    def __init__(
        self, source: Warc, web: Web, archive: Archive, images: dict[bytes, int], revisits: dict[str, int]
    ) -> None:
        self._source, self._web, self._archive = source, web, archive
        self._images, self._revisits = images, revisits
        self._taken: dict[int, dict[str, Any]] = {}

    def rows(self, record: Record, origin: str) -> Iterator[dict[str, Any]]:
        """The rows of one record; one that cannot be used is a row that says why."""
        date = _date(record.date)
        base = {"page_url": redacted(record.uri) or None, "fetched_at": date}
        try:
            if not record.found:
                raise FetchError(f"http_{record.status}")
            if record.kind == "revisit":
                record = self._original(record)
            if is_text(record):
                yield {
                    **base,
                    "origin": origin,
                    "position": 0,
                    "task": "text",
                    "text": record.payload(MAX_BYTES),
                }
                return
            if is_links(record):
                page, headers = read_links(record.payload(MAX_BYTES))
                if page is None:
                    return
                pairs = list(headers.items())
            else:
                page = read_page(record.payload(MAX_BYTES), record.uri, record.charset)
                pairs = record.pairs
        except FetchError as error:
            yield {**base, "origin": origin, "position": 0, "error": error.reason, "detail": str(error)}
            return
        if (decision := refusal(page, pairs, self._web.settings)) is not None:
            yield {**base, "origin": origin, "position": 0, **refused_row(decision)}
            return
        yield from self._source.page_rows(page, origin, self._place(), fetched_at=date)

    def _original(self, record: Record) -> Record:
        """The record whose content a revisit has, under the revisit's own URL."""
        offset = self._revisits.get(str(record.offset))
        if offset is None:
            raise FetchError("missing_original", "a revisit of what the file does not hold")
        found = self._archive.record(offset)
        if found.uri == record.uri:
            raise FetchError("unchanged", f"a revisit of the page at byte {offset}")
        found.uri = record.uri
        return found

    def _place(self) -> Place:
        def place(picture: Picture) -> dict[str, Any]:
            offset = self._images.get(url_key(picture.url))
            if offset is not None:
                if offset not in self._taken:
                    self._taken[offset] = self._picture(offset)
                return self._taken[offset]
            if self._source.fetch_missing:
                return {"fetch": picture.url}
            return {"error": "not_archived", "detail": "the file does not hold this picture"}

        return place

    def _picture(self, offset: int) -> dict[str, Any]:
        try:
            record = self._archive.record(offset)
            if (decision := refused_by_headers(record.pairs, self._web.settings)) is not None:
                return refused_row(decision)
            http = ledger.as_json(ledger.kept_headers(record.headers))
            return {"image": record.payload(self._source.max_bytes), "http": http}
        except FetchError as error:
            return {"error": error.reason, "detail": error.args[0]}
        except Broken as broken:
            return {"error": "broken_archive", "detail": str(broken)}


def _places(rows: pa.Table, name: str, version: str) -> list[tuple[int, str, int]]:
    """(offset, origin, position) of a file's rows in one version."""
    if not rows.num_rows:
        return []
    ours = pc.and_(pc.starts_with(rows["origin"], f"{name}#"), pc.equal(rows["version"], version))
    rows = rows.filter(ours)
    found = []
    for origin, position in zip(rows["origin"].to_pylist(), rows["position"].to_pylist(), strict=True):
        offset = origin.removeprefix(f"{name}#").partition(" ")[0]
        if offset.isdecimal():
            found.append((int(offset), origin, position))
    return sorted(found)


def _within(places: Iterable[tuple[int, str, int]], start: int, end: int | None) -> list[list[Any]]:
    """Those of a stretch."""
    return [list(place) for place in places if start <= place[0] and (end is None or place[0] < end)]


def _date(stated: str | None) -> datetime | None:
    """The moment of a capture; None where none is stated."""
    try:
        found = datetime.fromisoformat(stated or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None and found.year > 1900 else None
