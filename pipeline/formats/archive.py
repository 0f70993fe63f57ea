"""Records of WARC and ARC files, one after the other or from any offset, plain or gzipped record by record.

`warcio` reads the headers in all their dialects; finding records, limits and errors are ours: its own iterator takes
a broken gzip stream for the end of a record and says so on stderr only.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from warcio.limitreader import LimitReader
from warcio.recordloader import ArcWarcRecordLoader

from pipeline.web.body import Body
from pipeline.web.errors import FetchError

LINE = 64 << 10
"""Longest line of a header."""
HEADER_BYTES = 1 << 20
"""Longest header of a record."""
PIECE = 64 << 10
MEMBER_BYTES = 8 << 30
"""Longest gzip member, unpacked."""
HTML = frozenset({"text/html", "application/xhtml+xml"})
HTTP_KINDS = frozenset({"response", "revisit"})


class Broken(Exception):
    """The file cannot be read on from `offset`."""

    def __init__(self, offset: int, detail: str) -> None:
        super().__init__(f"at byte {offset}: {detail}")
        self.offset, self.detail = offset, detail


class _Bad(Exception):
    """What is wrong at the place that is being read."""


class Plain:
    """Bytes of a file as they are."""

    def __init__(self, file: IO[bytes], offset: int) -> None:
        self._file = file
        self.left: int | None = None
        """Bytes that a header may still have."""
        file.seek(offset)

    def read(self, length: int = -1) -> bytes:
        return self._file.read(length)

    def readline(self, length: int | None = None) -> bytes:
        return self._counted(self._file.readline(min(LINE, LINE if length is None else length)), length)

    def _counted(self, line: bytes, length: int | None) -> bytes:
        if len(line) >= LINE and not line.endswith(b"\n") and (length is None or length > LINE):
            raise _Bad(f"a line of over {LINE} bytes")
        if self.left is not None:
            self.left -= len(line)
            if self.left < 0:
                raise _Bad(f"a header of over {HEADER_BYTES} bytes")
        return line

    def tell(self) -> int:
        return self._file.tell()


class Member(Plain):
    """The unpacked bytes of one gzip member."""

    def __init__(self, file: IO[bytes], offset: int) -> None:
        super().__init__(file, offset)
        self._unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._held, self._total = b"", 0

    def _fill(self) -> bool:
        """Unpacks on; False at the member's end."""
        while not self._held and not self._unpacker.eof:
            packed = self._unpacker.unconsumed_tail or self._file.read(PIECE)
            if not packed:
                raise _Bad("the file ends within a gzip member")
            try:
                self._held = self._unpacker.decompress(packed, PIECE)
            except zlib.error as error:
                raise _Bad(f"gzip: {error}") from None
            self._total += len(self._held)
            if self._total > MEMBER_BYTES:
                raise _Bad(f"a gzip member of over {MEMBER_BYTES} bytes")
        return bool(self._held)

    def read(self, length: int = -1) -> bytes:
        parts = []
        while length != 0 and self._fill():
            part = self._held if length < 0 else self._held[:length]
            self._held = self._held[len(part) :]
            length -= len(part) if length > 0 else 0
            parts.append(part)
        return b"".join(parts)

    def readline(self, length: int | None = None) -> bytes:
        most = min(LINE, LINE if length is None else length)
        line = b""
        while len(line) < most and not line.endswith(b"\n") and self._fill():
            end = self._held.find(b"\n", 0, most - len(line)) + 1 or most - len(line)
            line += self._held[:end]
            self._held = self._held[end:]
        return self._counted(line, length)

    def end(self) -> int:
        """Where the next member begins; what is left of this one is passed over."""
        while self._fill():
            self._held = b""
        return self._file.tell() - len(self._unpacker.unused_data)


@dataclass
class Record:
    """One record: its headers, and its content as long as no later record has been read."""

    offset: int
    kind: str
    uri: str
    date: str | None = None
    digest: str | None = None
    refers_to: tuple[str, str] | None = None
    """(URI, date) of the original of a revisit."""
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    """Of HTTP, in lower case, the first of each name; empty where there are none."""
    pairs: list[tuple[str, str]] = field(default_factory=list)
    """All of them: a site may forbid in a second line what the first allows."""
    media_type: str = ""
    charset: str | None = None
    wrong: str | None = None
    content: LimitReader | None = None

    @property
    def found(self) -> bool:
        """Whether what was asked for was there."""
        return self.status is None or 200 <= self.status < 300

    @property
    def is_page(self) -> bool:
        """Whether it holds a page, perhaps one that says that there is none."""
        moved = self.status is not None and 300 <= self.status < 400
        return self.kind in ("response", "resource", "revisit") and self.media_type in HTML and not moved

    @property
    def is_image(self) -> bool:
        return self.kind in ("response", "resource") and self.media_type.startswith("image/") and self.found

    def payload(self, limit: int) -> bytes:
        """The body, unchunked and unpacked.

        Raises:
            FetchError: it is longer than the limit, or not what its headers say.
            Broken: the file breaks off within it.
        """
        if self.wrong or self.content is None:
            raise FetchError("bad_record", self.wrong or "no content")
        raw = self._raw(limit)
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            raw = unchunked(raw)
        return unpacked(raw, self.headers.get("content-encoding", ""), limit)

    def _raw(self, limit: int) -> bytes:
        assert self.content is not None
        if self.content.limit > limit:
            raise FetchError("too_large", f"{self.content.limit} bytes, over {limit}")
        wanted = self.content.limit
        try:
            raw = self.content.read()
        except _Bad as bad:
            raise Broken(self.offset, str(bad)) from None
        if len(raw) < wanted:
            raise Broken(self.offset, "the file ends within a record")
        return raw


def unchunked(raw: bytes) -> bytes:
    """A chunked body as one; a body that was unchunked when it was archived stays.

    Raises:
        FetchError: it begins with a chunk and then breaks its own rules.
    """
    parts: list[bytes] = []
    at = 0
    while True:
        end = raw.find(b"\r\n", at, at + 1024)
        head = raw[at:end].split(b";")[0].strip() if end >= 0 else b""
        try:
            if not head or len(head) > 8:
                raise ValueError
            size = int(head.decode("ascii"), 16)
        except ValueError:
            if at == 0:
                return raw
            raise FetchError("bad_chunks", f"at byte {at} of the body") from None
        if size <= 0:
            return b"".join(parts)
        part = raw[end + 2 : end + 2 + size]
        if len(part) < size:
            raise FetchError("bad_chunks", "the body ends within a chunk")
        parts.append(part)
        at = end + 2 + size
        if raw[at : at + 2] != b"\r\n":
            raise FetchError("bad_chunks", f"at byte {at} of the body")
        at += 2


def unpacked(raw: bytes, encoding: str, limit: int) -> bytes:
    """A body without its Content-Encoding; one that was unpacked when it was archived stays.

    Raises:
        FetchError: it is longer than the limit, broken, or packed in a way that is not read here.
    """
    encoding = encoding.strip().lower()
    if encoding in ("gzip", "x-gzip") and raw[:2] != b"\x1f\x8b":
        return raw
    if encoding == "deflate" and raw[:1] != b"\x78":
        raw, encoding = (raw, "") if raw.lstrip()[:1] == b"<" else (b"\x78\x9c" + raw, "deflate")
    if encoding == "br" and raw.lstrip()[:1] == b"<":
        return raw
    body = Body(encoding, limit)
    for at in range(0, len(raw), 1 << 20):
        body.add(raw[at : at + (1 << 20)])
    return body.finish()


class Archive:
    """Reads records of one file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        file.seek(0)
        self.packed = file.read(2) == b"\x1f\x8b"
        self._size = file.seek(0, 2)
        self._loader = ArcWarcRecordLoader(verify_http=False, arc2warc=True)
        logging.getLogger("warcio").setLevel(logging.ERROR)

    def records(self, start: int = 0, end: int | None = None) -> Iterator[Record]:
        """The records that begin between two offsets, which must be those of records.

        Raises:
            Broken: the file cannot be read on.
        """
        offset = start
        while offset < self._size and (end is None or offset < end):
            try:
                stream = self._stream(offset)
                record = self._parse(stream, offset)
                if record is None:
                    return
                yield record
                offset = self._next(stream, record)
            except _Bad as bad:
                raise Broken(offset, str(bad)) from None

    def record(self, offset: int) -> Record:
        """The record that begins there.

        Raises:
            Broken: there is none.
        """
        try:
            record = self._parse(self._stream(offset), offset)
        except _Bad as bad:
            raise Broken(offset, str(bad)) from None
        if record is None:
            raise Broken(offset, "no record")
        return record

    def _stream(self, offset: int) -> Plain:
        return Member(self._file, offset) if self.packed else Plain(self._file, offset)

    def _parse(self, stream: Plain, offset: int) -> Record | None:
        """The record at the stream's place, or None at its end."""
        stream.left = HEADER_BYTES
        try:
            parsed = self._loader.parse_record_stream(stream, no_record_parse=True)
        except EOFError:
            return None
        except _Bad:
            raise
        except Exception as error:  # the headers of rubbish raise many things
            raise _Bad(f"no record: {str(error)[:200]}") from None
        record = _described(parsed, offset)
        if record.wrong is None and not self.packed and stream.tell() + parsed.length > self._size:
            raise _Bad("the file ends within a record")
        self._read_http(record)
        stream.left = None
        return record

    def _read_http(self, record: Record) -> None:
        """The HTTP headers, if the record's content begins with some."""
        content, web = record.content, record.uri.lower().startswith(("http:", "https:"))
        if record.kind not in HTTP_KINDS or content is None or content.limit == 0 or not web:
            return
        record.media_type, record.charset = "", None
        try:
            http = self._loader.http_parser.parse(content)
        except _Bad:
            raise
        except Exception as error:
            record.wrong = f"no HTTP headers: {str(error)[:100]}"
            return
        record.pairs = [(name.lower(), value) for name, value in http.headers]
        record.headers = dict(reversed(record.pairs))
        code = http.get_statuscode()
        record.status = int(code) if code.isascii() and code.isdigit() and len(code) == 3 else None
        record.media_type, record.charset = _media_type(record.headers.get("content-type", ""))

    def _next(self, stream: Plain, record: Record) -> int:
        """Where the next record begins, past the empty lines that end this one."""
        content = record.content
        if isinstance(stream, Member):
            while content is not None and content.limit and content.read(PIECE):
                continue
            if content is not None and content.limit:
                raise _Bad("its gzip member ends within a record")
            rest = stream.read(PIECE).strip()
            if rest:
                many = "several records in one gzip member: `warcio recompress` mends the file"
                raise _Bad(many if rest[:5] == b"WARC/" else "its content is longer than it says")
            return stream.end()
        if content is not None and content.limit:
            stream._file.seek(content.limit, 1)
        while (line := stream.readline()) and not line.strip():
            continue
        return stream.tell() - len(line)


def _described(parsed: Any, offset: int) -> Record:
    """A record as its own headers describe it."""
    headers = parsed.rec_headers
    stated = (headers.get_header("Content-Length") or "").strip()
    wrong = (
        None
        if stated.isascii() and stated.isdigit() and len(stated) < 16
        else f"Content-Length: {stated[:40]!r}"
    )
    content = parsed.raw_stream if wrong is None and isinstance(parsed.raw_stream, LimitReader) else None
    refers = headers.get_header("WARC-Refers-To-Target-URI"), headers.get_header("WARC-Refers-To-Date")
    media_type, charset = _media_type(headers.get_header("Content-Type") or "")
    return Record(
        offset,
        (parsed.rec_type or "").lower(),
        (headers.get_header("WARC-Target-URI") or "").strip(),
        headers.get_header("WARC-Date"),
        headers.get_header("WARC-Payload-Digest"),
        (refers[0].strip("<>"), refers[1]) if refers[0] and refers[1] else None,
        media_type=media_type,
        charset=charset,
        wrong=wrong,
        content=content,
    )


def _media_type(stated: str) -> tuple[str, str | None]:
    """Media type and charset of a Content-Type."""
    kind, _, rest = stated.partition(";")
    for part in rest.split(";"):
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return kind.strip().lower(), value.strip().strip("\"'") or None
    return kind.strip().lower(), None
