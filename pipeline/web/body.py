"""A body as it comes in: decompressed piece by piece, and stopped at the limit."""

from __future__ import annotations

import zlib
from typing import Any

from pipeline.web.errors import FetchError


class Body:
    """Collects a body, decompressed, and stops at the limit."""

    def __init__(self, encoding: str, limit: int) -> None:
        self._limit, self._size, self._fed = limit, 0, False
        self._parts: list[bytes] = []
        self._decoder: Any = None
        kind = encoding.strip().lower()
        if kind in ("gzip", "x-gzip"):
            self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
        elif kind == "deflate":
            self._decoder = zlib.decompressobj()
        elif kind not in ("", "identity"):
            raise FetchError("bad_encoding", f"Content-Encoding: {kind[:40]}", 200)

    def add(self, chunk: bytes) -> None:
        """Takes the next bytes.

        Raises:
            FetchError: the body is longer than the limit, or not what its encoding says.
        """
        self._fed = self._fed or bool(chunk)
        if self._decoder is None:
            self._keep(chunk)
            return
        try:
            while chunk and not self._decoder.eof:  # by pieces: it may unpack to a thousand times its size
                self._keep(self._decoder.decompress(chunk, 1 << 18))
                chunk = self._decoder.unconsumed_tail
        except zlib.error as error:
            raise FetchError("bad_encoding", str(error), 200) from error

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit:
            raise FetchError("too_large", f"over {self._limit} bytes", 200)
        self._parts.append(part)

    def so_far(self) -> bytes:
        """What came before the limit."""
        return b"".join(self._parts)

    def finish(self) -> bytes:
        """The whole body.

        Raises:
            FetchError: a compressed body breaks off.
        """
        if self._decoder is not None and self._fed:
            self._keep(self._decoder.flush())
            if not self._decoder.eof:
                raise FetchError("incomplete", "the compressed body breaks off", 200)
        return b"".join(self._parts)
