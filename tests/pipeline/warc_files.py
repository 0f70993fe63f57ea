"""Small archives of the web: pages and pictures as records of WARC files."""

from __future__ import annotations

import gzip
from pathlib import Path

PAGE = b"<html lang=en><p>A bear walks.</p><img src=/bear.png alt='A bear'><img src=/none.png alt='Nothing'>"
PICTURE = b"\x89PNG picture"


def record(kind: str, uri: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [
        "WARC/1.0", f"WARC-Type: {kind}", f"WARC-Target-URI: {uri}", "WARC-Date: 2026-01-02T03:04:05Z",
        *headers, f"Content-Length: {len(body) if length is None else length}",
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body + b"\r\n\r\n"


def response(
    uri: str, body: bytes, kind: str = "text/html", *headers: str, status: str = "200 OK", warc: str = "X: y"
) -> bytes:
    http = (
        "\r\n".join([f"HTTP/1.1 {status}", f"Content-Type: {kind}", *headers]).encode() + b"\r\n\r\n" + body
    )
    return record("response", uri, http, "Content-Type: application/http; msgtype=response", warc)


SITE = "http://a.example"
PARTS = [
    record("warcinfo", "", b"software: test\r\n"),
    response(f"{SITE}/1", PAGE),
    response(f"{SITE}/bear.png", PICTURE, "image/png"),
    response(f"{SITE}/2", b"<p>Second page"),
    response(f"{SITE}/3", b"<p>Third page"),
]


def written(path: Path, parts: list[bytes], packed: bool = True) -> Path:
    path.write_bytes(b"".join(gzip.compress(part, mtime=0) if packed else part for part in parts))
    return path
