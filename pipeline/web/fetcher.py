"""One URL to bytes: one deadline for the whole of it, limits, redirects by hand, consent at every step of the way.

Lives in one event loop. Whose turn it is, and whether to try again, is decided in `pipeline.web.client`.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from pipeline.refused import FORGOTTEN, Refused
from pipeline.web import consent
from pipeline.web.addresses import Gate
from pipeline.web.body import Body
from pipeline.web.consent import Consent
from pipeline.web.errors import FetchError
from pipeline.web.ledger import Attempt, Decision, Fetched, kept_headers, now, redacted
from pipeline.web.settings import FetchSettings

DNS_SECONDS = 60
KEEP_ALIVE_S = 10.0
REDIRECTS = (301, 302, 303, 307, 308)
IMAGES, PAGES, ANYTHING = "image/*, */*;q=0.5", "text/html, application/xhtml+xml, */*;q=0.5", "*/*"
PAGE_TYPES = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True)
class Wish:
    """How a URL is asked for."""

    accept: str
    peek: bool
    bare: bool


@dataclass
class Trip:
    """One try of a URL: where its redirects have led it so far, and the time that it has left."""

    found: Fetched
    tried: Attempt
    wish: Wish
    left: float
    """Seconds of its deadline; waiting for a host's turn takes none."""
    target: URL | None = None
    """What is asked next; None before the first request."""
    requests: int = 0

    @property
    def host(self) -> str:
        """Host and port that are asked next."""
        return authority(self.target) if self.target is not None else ""


class Fetcher:
    """Fetches over connections that are kept."""

    def __init__(self, settings: FetchSettings, refused: Refused) -> None:
        self.settings, self._refused = settings, refused
        self.consent = Consent(settings, self._for_consent)
        self.asides: deque[Fetched] = deque()
        """robots.txt, tdmrep.json, pages and lists: what was fetched beside the pictures, for the ledger."""
        connector = aiohttp.TCPConnector(
            limit=0,
            resolver=Resolver(),
            ttl_dns_cache=DNS_SECONDS,
            keepalive_timeout=KEEP_ALIVE_S,
            socket_factory=Gate(settings.allow).socket,
            happy_eyeballs_delay=None,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            headers={"User-Agent": settings.agent, "Accept-Encoding": "gzip, deflate"},
            trust_env=False,
            requote_redirect_url=False,
        )

    async def close(self) -> None:
        await self._session.close()

    def trip(
        self, url: str, number: int, accept: str = IMAGES, peek: bool = False, *, bare: bool = False
    ) -> Trip:
        """A try of a URL, to be made by `step`; `peek` reads no body but a page's, `bare` asks for no consent (for
        robots.txt itself)."""
        tried = Attempt(url, number)
        return Trip(Fetched(url, attempts=[tried]), tried, Wish(accept, peek, bare), self.settings.deadline)

    async def step(self, trip: Trip) -> bool:
        """Asks one host, and follows redirects within it; False if they lead to another, which has a queue of its
        own."""
        loop = asyncio.get_running_loop()
        began, found, tried = loop.time(), trip.found, trip.tried
        try:
            if trip.target is None:
                trip.target = parsed(found.url)
            tried.host = trip.host
            async with asyncio.timeout(trip.left):
                if not await self._follow(trip, trip.target):
                    return False
            tried.status, tried.bytes = 200, len(found.body or b"")
        except TimeoutError:
            fail(found, tried, FetchError("deadline", f"not complete after {self.settings.deadline:g} s"))
        except FetchError as error:
            fail(found, tried, error)
        finally:
            trip.left -= loop.time() - began
            tried.milliseconds = round((self.settings.deadline - trip.left) * 1000)
        return True

    async def _follow(self, trip: Trip, target: URL) -> bool:
        here = trip.host
        while True:
            if target.scheme not in ("http", "https") or not target.host:
                raise FetchError("forbidden_address", f"{target.scheme or 'no'} scheme")
            if self._refused.url(str(target)):
                raise FetchError(FORGOTTEN)
            if trip.host != here:
                return False
            if trip.requests > self.settings.redirects:
                raise FetchError("too_many_redirects", f"more than {self.settings.redirects}")
            trip.requests += 1
            if not trip.wish.bare:
                trip.found.consent, _ = await self.consent.before(target)
                if not trip.found.consent.allowed:
                    raise refusal(trip.found.consent)
            answer = await self._request(trip.found, target, trip.wish)
            if answer is None:
                return True
            trip.target = target = answer

    async def _request(self, found: Fetched, target: URL, wish: Wish) -> URL | None:
        """Fills in the body, or returns where a redirect points."""
        found.asked = authority(target)
        answered = False
        try:
            response = await self._session.get(target, headers={"Accept": wish.accept}, allow_redirects=False)
            answered = True
            try:
                return await self._answer(found, target, response, wish)
            finally:
                response.release() if response.content.at_eof() else response.close()
        except (aiohttp.ClientError, OSError, ValueError, asyncio.IncompleteReadError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise translated(error, answered) from error

    async def _answer(
        self, found: Fetched, target: URL, response: aiohttp.ClientResponse, wish: Wish
    ) -> URL | None:
        headers = {name.lower(): value for name, value in response.headers.items()}
        status, location = response.status, headers.get("location")
        if status in REDIRECTS and location is not None:
            return joined(target, location)
        if status != 200:
            raise FetchError(f"http_{status}", "", status, retry_after(headers.get("retry-after")))
        found.headers = kept_headers(headers)
        found.final_url, found.fetched_at = redacted(str(target)), now()
        found.media_type, found.charset = content_type(headers.get("content-type", ""))
        if not wish.bare:
            pairs = ((name.lower(), value) for name, value in response.headers.items())
            self._refuse(found, consent.refused_by_headers(pairs, self.settings))
        if wish.peek and found.media_type not in PAGE_TYPES:
            return None
        if wish.bare:
            found.body = await beginning(response)
            return None
        limit, announced = self.settings.max_bytes, headers.get("content-length", "")
        if announced.isdigit() and int(announced[:18]) > limit:
            raise FetchError("too_large", f"{announced[:18]} bytes announced, over {limit}", status)
        body = Body(headers.get("content-encoding", ""), limit)
        async for chunk in response.content.iter_any():
            body.add(chunk)
        found.body = body.finish()
        if found.media_type in PAGE_TYPES:
            self._refuse(found, consent.refused_by_page(found.body, self.settings))
        return None

    def _refuse(self, found: Fetched, decision: Decision | None) -> None:
        if decision is not None:
            found.consent = Decision(False, decision.basis, decision.evidence, found.final_url or "")
            raise refusal(found.consent)

    async def _for_consent(self, url: URL) -> Fetched:
        """robots.txt or tdmrep.json; its request is in the ledger too."""
        trip = self.trip(str(url), 1, ANYTHING, bare=True)
        while not await self.step(trip):  # whoever waits for a robots.txt has its turn already
            pass
        self.asides.append(replace(trip.found, body=None))
        return trip.found


async def beginning(response: aiohttp.ClientResponse) -> bytes:
    """A robots.txt up to the length that RFC 9309 asks for; a longer one is cut, not ignored."""
    body = Body(response.headers.get("content-encoding", ""), consent.ROBOTS_BYTES)
    try:
        async for chunk in response.content.iter_any():
            body.add(chunk)
    except FetchError as error:
        if error.reason != "too_large":
            raise
        return body.so_far()
    return body.finish()


def translated(error: Exception, answered: bool) -> FetchError:
    """The client library's exceptions as error classes; `answered` says that an answer had begun."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return FetchError("dns", str(error.os_error)[:200])
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return FetchError("bad_url", f"{type(error).__name__}: {str(error)[:200]}")
    detail = f"{type(error).__name__}: {redacted(str(error))[:200]}"
    # Headers may have come in the same packet as the broken chunk: then no answer was handed out.
    begun = answered or "chunk" in str(getattr(error.__cause__, "message", ""))
    return FetchError("incomplete" if begun else "connection", detail)


class Resolver(AbstractResolver):
    """The system's resolver, with threads of its own: slow name servers must not queue up behind other work."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(256, "dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()

        def look_up() -> list[tuple]:
            return socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)

        try:
            found = await loop.run_in_executor(self._threads, look_up)
        except UnicodeError as error:
            raise OSError(str(error)) from error
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=address[1], family=kind, proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]  # fmt: skip

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def fail(found: Fetched, tried: Attempt, error: FetchError) -> None:
    """Writes down what went wrong."""
    found.body, found.error, found.detail = None, error.reason, error.detail
    tried.outcome, tried.status = error.reason, error.status
    found.wait = error.wait or 0.0


def refusal(decision: Decision) -> FetchError:
    """The site says no."""
    return FetchError("consent_refused", f"{decision.basis}: {decision.evidence}"[:300])


def authority(target: URL) -> str:
    """Host and port as a host's queue, pauses and rows in the ledger are named: without a user or a usual port."""
    return (target.host_port_subcomponent or "").lower()


def parsed(url: str) -> URL:
    """The URL, absolute.

    Raises:
        FetchError: it is none.
    """
    try:
        target = URL(url)
        _ = target.port, target.host, str(target)
    except (ValueError, UnicodeError, TypeError) as error:
        raise FetchError("bad_url", str(error)[:200]) from error
    if not target.scheme:
        raise FetchError("bad_url", "relative, and there is no base_url")
    return target


def joined(base: URL, location: str) -> URL:
    """Where a redirect points.

    Raises:
        FetchError: that is no URL.
    """
    try:
        location = location.encode("latin-1", "surrogateescape").decode("utf-8", "replace")
        target = base.join(URL(location))
        _ = target.port, target.host
    except (ValueError, UnicodeError) as error:
        raise FetchError("bad_url", f"redirect: {str(error)[:200]}") from error
    return target


def content_type(value: str) -> tuple[str | None, str | None]:
    """Media type and charset of a Content-Type header."""
    kind, _, rest = value.partition(";")
    charset = None
    for parameter in rest.split(";"):
        name, _, text = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = text.strip().strip("\"'").lower() or None
    return kind.strip().lower() or None, charset


def retry_after(value: str | None) -> float | None:
    """Seconds that a server asks to wait (RFC 9110: a number, or a date), at most a day."""
    if not value:
        return None
    if value.strip().isdigit():
        return min(float(value.strip()[:9]), 86_400.0)
    try:
        then = parsedate_to_datetime(value.strip())
    except (ValueError, TypeError, IndexError):
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return min(max(0.0, (then - datetime.now(UTC)).total_seconds()), 86_400.0)
