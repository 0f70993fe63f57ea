"""URLs to bytes: one deadline for the whole request, limits, few retries, and only public addresses.

A host name is resolved here and the connection goes to the address that was checked, at every redirect:
there is no second look-up that could answer otherwise. Whether a site wants to be read (robots.txt and the
like) is decided before a URL comes here.

Error classes: bad_url, forbidden_address, dns, connection, deadline, incomplete, bad_encoding, too_large,
too_many_redirects, http_<status>.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import socket
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpcore
import httpx
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from storage.tables import TABLES

TRANSIENT = frozenset(
    ["dns", "connection", "incomplete"] + [f"http_{n}" for n in (408, 425, 429, 500, 502, 503, 504)]
)
"""Error classes worth another try soon."""
RETRY_LATER = timedelta(hours=1)
"""When a URL that failed by a transient error or a deadline is due again."""
LONGEST_WAIT = 10.0
"""A server that asks for a longer pause (Retry-After) is left for later, in seconds."""
DNS_SECONDS = 60.0


class FetchSettings(BaseModel):
    """How URLs are fetched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    concurrency: int = Field(default=16, ge=1, le=512, description="Requests under way at once.")
    deadline: float = Field(
        default=30.0, gt=0, description="For one request from DNS to the last byte, in seconds."
    )
    retries: int = Field(default=2, ge=0, le=10, description="Further tries after a transient error.")
    redirects: int = Field(default=5, ge=0, le=20, description="Most redirects followed.")
    max_bytes: int = Field(
        default=64 << 20, gt=0, description="Longest body taken, after decompression, in bytes."
    )
    allow_private: bool = Field(default=False, description="Also connect to private and loopback addresses.")
    user_agent: str = Field(
        default="millrace/0.1", description="Who asks; add a page or an address to reach you at."
    )


@dataclass
class Attempt:
    """One request and its outcome: a row of the ledger."""

    url: str
    attempt: int
    host: str | None = None
    outcome: str = "ok"
    status: int | None = None
    bytes: int | None = None
    milliseconds: int = 0
    next_due: datetime | None = None
    recorded_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class Fetched:
    """What came of a URL: a body, or an error class."""

    url: str
    body: bytes | None = None
    error: str | None = None
    detail: str | None = None
    media_type: str | None = None
    attempts: list[Attempt] = field(default_factory=list)


class FetchError(Exception):
    """A request that gave no body; `reason` is the error class."""

    def __init__(
        self, reason: str, detail: str = "", status: int | None = None, wait: float | None = None
    ) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail, self.status, self.wait = reason, detail, status, wait


def fetch_many(
    urls: Iterable[str], settings: FetchSettings, base_url: str | None = None
) -> Iterator[Fetched]:
    """Fetches URLs side by side and yields what came of each, in their order; relative ones under `base_url`.

    Requests go on in a thread while the caller works; at most four times `concurrency` bodies are held.
    """
    loop = asyncio.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(32, "dns"))  # slow name servers must not queue up
    thread = threading.Thread(target=loop.run_forever, name="fetch", daemon=True)
    thread.start()
    fetcher = Fetcher(settings)
    under_way: deque[Future[Fetched]] = deque()
    try:
        for url in urls:
            under_way.append(asyncio.run_coroutine_threadsafe(fetcher.fetch(url, base_url), loop))
            if len(under_way) >= 4 * settings.concurrency:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()
        asyncio.run_coroutine_threadsafe(fetcher.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def ledger(fetched: Iterable[Attempt]) -> pa.Table:
    """The attempts as rows of the `attempts` table."""
    schema = pa.schema([column for column in TABLES["attempts"].schema if column.name != "part"])
    return pa.Table.from_pylist([vars(attempt) for attempt in fetched], schema=schema)


class Fetcher:
    """Fetches one URL at a time per call, over connections that are kept; lives in one event loop."""

    def __init__(self, settings: FetchSettings) -> None:
        self.settings = settings
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=settings.concurrency,
            max_keepalive_connections=settings.concurrency,
            keepalive_expiry=10.0,
            network_backend=CheckedBackend(settings.allow_private),
        )

    async def close(self) -> None:
        await self._pool.aclose()

    async def fetch(self, url: str, base_url: str | None = None) -> Fetched:
        """What came of a URL; network trouble is an error class in the answer, never an exception."""
        found = Fetched(url)
        async with self._slots:
            for number in range(1, self.settings.retries + 2):
                wait = await self._attempt(found, number, base_url)
                if wait is None or number > self.settings.retries:
                    break
                await asyncio.sleep(wait)
        return found

    async def _attempt(self, found: Fetched, number: int, base_url: str | None) -> float | None:
        """One try; how long to wait for the next, or None for no other."""
        attempt = Attempt(found.url, number)
        found.attempts.append(attempt)
        began = time.monotonic()
        try:
            target = _target(found.url, base_url)
            attempt.host = target.host
            async with asyncio.timeout(self.settings.deadline):
                found.body, found.media_type = await self._follow(target)
            found.error = found.detail = None
            attempt.status, attempt.bytes = 200, len(found.body)
            return None
        except TimeoutError:
            error = FetchError("deadline", f"not complete after {self.settings.deadline:g} s")
        except FetchError as raised:
            error = raised
        finally:
            attempt.milliseconds = round((time.monotonic() - began) * 1000)
        found.error, found.detail = error.reason, error.detail
        attempt.outcome, attempt.status = error.reason, error.status
        if error.reason in TRANSIENT or error.reason == "deadline":
            attempt.next_due = attempt.recorded_at + max(RETRY_LATER, timedelta(seconds=error.wait or 0))
        if error.reason not in TRANSIENT or (error.wait or 0) > LONGEST_WAIT:
            return None
        return error.wait if error.wait is not None else _backoff(found.url, number)

    async def _follow(self, target: httpx.URL) -> tuple[bytes, str | None]:
        for _ in range(self.settings.redirects + 1):
            if target.scheme not in ("http", "https") or not target.host:
                raise FetchError("forbidden_address", f"{target.scheme or 'no'} scheme")
            answer = await self._request(target)
            if not isinstance(answer, httpx.URL):
                return answer
            target = answer
        raise FetchError("too_many_redirects", f"more than {self.settings.redirects}")

    async def _request(self, target: httpx.URL) -> tuple[bytes, str | None] | httpx.URL:
        """Body and media type, or where a redirect points."""
        headers: dict[bytes | str, bytes | str] = {
            "Host": target.netloc.decode("ascii"),
            "User-Agent": self.settings.user_agent,
            "Accept": "image/*, */*;q=0.5",
            "Accept-Encoding": "gzip",
        }
        answered = False
        try:
            url = httpcore.URL(
                scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path
            )
            async with self._pool.stream("GET", url, headers=headers) as response:
                answered = True
                return await self._answer(target, response)
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            detail = f"{type(error).__name__}: {str(error)[:200]}"
            raise FetchError("incomplete" if answered else "connection", detail) from error
        except httpcore.TimeoutException as error:
            raise FetchError("deadline", type(error).__name__) from error

    async def _answer(
        self, target: httpx.URL, response: httpcore.Response
    ) -> tuple[bytes, str | None] | httpx.URL:
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in response.headers}
        status = response.status
        if status in (301, 302, 303, 307, 308) and "location" in headers:
            try:
                return target.join(headers["location"])
            except (httpx.InvalidURL, UnicodeError, ValueError) as error:
                raise FetchError("bad_url", f"redirect: {error}", status) from error
        if status != 200:
            raise FetchError(f"http_{status}", "", status, _retry_after(headers.get("retry-after")))
        limit, announced = self.settings.max_bytes, headers.get("content-length", "")
        if announced.isdigit() and int(announced[:18]) > limit:
            raise FetchError("too_large", f"{announced[:18]} bytes announced, over {limit}", status)
        body = Body(headers.get("content-encoding", ""), limit)
        async for chunk in response.aiter_stream():
            body.add(chunk)
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        return body.finish(), media_type or None


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


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to addresses that were checked, and to no other."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._inner = httpcore.AnyIOBackend()
        self._answers: dict[tuple[str, int], tuple[float, asyncio.Future[list[str]]]] = {}

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.AsyncNetworkStream:  # fmt: skip
        addresses = await self._resolve(host, port)
        allowed = [a for a in addresses if self._allow_private or is_public(a)]
        if not allowed:
            raise FetchError("forbidden_address", "a private, loopback or reserved address")
        for address in allowed[:-1][:2]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.ConnectError:
                continue
        return await self._inner.connect_tcp(allowed[-1], port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Any = None
    ) -> httpcore.AsyncNetworkStream:
        raise FetchError("forbidden_address", "a local socket")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)

    async def _resolve(self, host: str, port: int) -> list[str]:
        """Addresses of a host; asked once, however many requests wait for the answer."""
        now = time.monotonic()
        expires, answer = self._answers.get((host, port), (0.0, None))
        if answer is None or expires < now:
            answer = asyncio.ensure_future(self._look_up(host, port))
            answer.add_done_callback(
                lambda done: done.cancelled() or done.exception()
            )  # seen, if by nobody else
            self._answers[host, port] = (now + DNS_SECONDS, answer)
        try:
            return await asyncio.shield(answer)
        except FetchError:
            self._answers.pop((host, port), None)
            raise

    async def _look_up(self, host: str, port: int) -> list[str]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise FetchError("dns", str(error)[:200]) from error
        return list(dict.fromkeys(str(address[4][0]) for address in found))


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet, also when it hides a private one inside IPv6."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
        if inner is None and found in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast


def _target(url: str, base_url: str | None) -> httpx.URL:
    try:
        target = httpx.URL(url)
        if base_url and not target.scheme:
            target = httpx.URL(base_url).join(target)
    except (httpx.InvalidURL, UnicodeError, ValueError, TypeError) as error:
        raise FetchError("bad_url", str(error)[:200]) from error
    if not target.scheme:
        raise FetchError("bad_url", "relative, and there is no base_url")
    return target


def _retry_after(value: str | None) -> float | None:
    """Seconds that a server asks to wait, if it says so in seconds."""
    return min(float(value), 86400.0) if value and value.strip().isdigit() else None


def _backoff(url: str, number: int) -> float:
    """0.5 s, 1 s, 2 s …, spread by the URL so that a host's requests do not come back all at once."""
    spread = hashlib.blake2b(url.encode("utf-8", "surrogatepass"), digest_size=1).digest()[0] / 255
    return 0.5 * 2 ** (number - 1) * (0.75 + 0.5 * spread)
