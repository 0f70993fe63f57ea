"""What an archive holds and where: its pages by shard, its pictures by URL, the originals of its revisits."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from dataclasses import dataclass, field

from pipeline.formats.archive import Archive, Broken, Record
from pipeline.formats.img import absolute

Stretch = tuple[int, int | None, int]
"""Offset of the first record, offset after the last (None for the file's end), records that give rows."""
_ENTRY = struct.Struct("<8sQ")


@dataclass
class Survey:
    """An index of one file."""

    stretches: list[Stretch] = field(default_factory=list)
    images: dict[bytes, int] = field(default_factory=dict)
    """Key of a picture's URL to the offset of its record."""
    revisits: dict[int, int] = field(default_factory=dict)
    """Offset of a revisit of a page to that of the original."""


def gives_rows(record: Record) -> bool:
    """Whether a record is a page, a page's links (WAT), or a page's text (WET)."""
    return record.is_page or is_links(record) or is_text(record)


def is_links(record: Record) -> bool:
    return record.kind == "metadata" and record.media_type == "application/json"


def is_text(record: Record) -> bool:
    return record.kind == "conversion" and record.media_type == "text/plain"


def survey(archive: Archive, rows: int, size: int) -> Survey:
    """Reads all headers of a file once; a file that breaks off is described up to there."""
    made = Survey()
    originals: dict[object, int] = {}
    start, held, at = 0, 0, 0
    try:
        for record in archive.records():
            at = record.offset
            if held >= rows or (at - start >= size and held):
                made.stretches.append((start, at, held))
                start, held = at, 0
            record = _resolved(record, originals, made)
            held += gives_rows(record)
            if record.is_image:
                made.images.setdefault(url_key(record.uri), at)
    except Broken:
        held += 1  # the break itself is a row
    if held:
        made.stretches.append((start, None, held))
    return made


def _resolved(record: Record, originals: dict[object, int], made: Survey) -> Record:
    """Notes originals, and finds that of a revisit: by its URI and date, or by its payload's digest."""
    if record.kind != "revisit":
        if record.is_page or record.is_image:
            kind = "page" if record.is_page else "image"
            for mark in ((record.uri, record.date), record.digest):
                if mark is not None:
                    originals.setdefault((kind, mark), record.offset)
        return record
    for mark in (record.refers_to, record.digest):
        if mark is None:
            continue
        if (found := originals.get(("image", mark))) is not None:
            made.images.setdefault(url_key(record.uri), found)
            return record
        if (found := originals.get(("page", mark))) is not None:
            made.revisits[record.offset] = found
            record.media_type, record.status = "text/html", 200
            return record
    return record


def url_key(url: str) -> bytes:
    """Eight bytes of a URL's hash; http and https are the same picture."""
    made = absolute(url, url) or url
    return hashlib.blake2b(made.partition("://")[2].encode("utf-8", "replace"), digest_size=8).digest()


def packed(images: dict[bytes, int]) -> str:
    """The index of pictures as a short string, for a shard's payload."""
    raw = b"".join(_ENTRY.pack(key, offset) for key, offset in sorted(images.items()))
    return base64.b85encode(zlib.compress(raw, 6)).decode()


def unpacked(text: str) -> dict[bytes, int]:
    """The index that `packed` made a string of."""
    return dict(_ENTRY.iter_unpack(zlib.decompress(base64.b85decode(text))))
