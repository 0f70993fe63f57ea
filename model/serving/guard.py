"""What stands before the API: who may ask, how much, and how long they may take to say it.

A request is taken whole before anything is done with it, within a limit of bytes (its own, and of all that are held at once)
and seconds; one whose client goes away is given up. Keys are compared by their hashes, in constant time, and held nowhere else.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable, Iterable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.serving.refusals import refusal
from model.serving.settings import ServeConfig

RETRY_AFTER = "5"
"""Seconds."""
OPEN = ("/", "/healthz")
"""Asked without a key: a page that asks for one, and whether the server lives."""
POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data: blob:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Keys:
    """API keys, as hashes; without any, all may ask."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._known = [hashlib.sha256(key.encode()).digest() for key in keys if key]

    def __bool__(self) -> bool:
        return bool(self._known)

    def let(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether a request's headers hold one: `Authorization: Bearer …`. All are looked at, whichever fits."""
        if not self._known:
            return True
        said = next((value for name, value in headers if name == b"authorization"), b"")
        kind, _, key = said.partition(b" ")
        asked = hashlib.sha256(key.strip()).digest()
        fits = [hmac.compare_digest(asked, known) for known in self._known]
        return kind.lower() == b"bearer" and any(fits)


class Guard:
    """ASGI middleware."""

    def __init__(
        self, app: ASGIApp, settings: ServeConfig, keys: Keys, answered: Callable[[str, int, float], None]
    ) -> None:
        self.app, self.settings, self.keys, self.answered = app, settings, keys, answered
        self.held = 0
        """Bytes of all requests that are heard or answered now."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status, heard = time.monotonic(), [0], Heard(self)

        async def patient(message: Message) -> None:
            """Sends, to a client that takes what it asked for."""
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                given = {name.decode() for name, _ in message["headers"]}
                more = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n not in given]
                message = {**message, "headers": [*message["headers"], *more]}
            async with asyncio.timeout(self.settings.seconds):
                await send(message)

        try:
            refused = await self._refused(scope, receive, heard)
            if heard.gone:
                return
            if refused is not None:
                await refused(scope, receive, patient)
            else:
                await while_there(self.app, scope, heard.body, receive, patient)
        except TimeoutError:
            return  # it does not read: the connection is closed, and its rows end
        except Exception:
            status[0] = 500
            raise
        finally:
            heard.forget()
            route = getattr(scope.get("route"), "path", "other")
            self.answered(route, status[0] or 499, time.monotonic() - began)

    async def _refused(self, scope: Scope, receive: Receive, heard: Heard) -> Response | None:
        """Takes the whole request; the answer to one that is not taken."""
        most, close = self.settings.max_body, {"connection": "close"}
        if scope["path"] not in OPEN and not self.keys.let(scope["headers"]):
            said = {"www-authenticate": "Bearer", **close}
            wanted = "give a key of this server: Authorization: Bearer …"
            return refusal(401, wanted, code="invalid_api_key", headers=said)
        too_large = refusal(413, f"a request has at most {most:,} bytes", code="too_large", headers=close)
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not length.isdigit() or len(length) > 15 or int(length) > most:
            return too_large
        try:
            async with asyncio.timeout(self.settings.patience):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        heard.gone = True
                        return None
                    heard.add(message.get("body", b""))
                    if heard.size > most:
                        return too_large
                    if self.held > self.settings.max_held:
                        full = "too many large requests at once: come again"
                        return refusal(
                            429, full, code="queue_full", headers={"retry-after": RETRY_AFTER, **close}
                        )
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            late = f"the request did not come within {self.settings.patience:g} s"
            return refusal(408, late, code="too_slow", headers=close)
        return None


class Heard:
    """The body of a request, as far as it came; its bytes count among those that are held."""

    def __init__(self, guard: Guard) -> None:
        self._guard, self._parts, self.size = guard, list[bytes](), 0
        self.gone = False
        """Whether its client left before all was said."""

    def add(self, part: bytes) -> None:
        self._parts.append(part)
        self.size += len(part)
        self._guard.held += len(part)

    @property
    def body(self) -> bytes:
        """All of it, held once."""
        self._parts = [b"".join(self._parts)]
        return self._parts[0]

    def forget(self) -> None:
        self._guard.held -= self.size
        self._parts, self.size = [], 0


async def while_there(app: ASGIApp, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
    """Has an app answer a request that was received, as long as its client is there: rows of one who has gone would keep their
    places."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    gone = asyncio.Event()

    async def next_message() -> Message:
        if left:
            return left.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    answering: asyncio.Future[None] = asyncio.ensure_future(app(scope, next_message, send))
    watching: asyncio.Future[None] = asyncio.ensure_future(watch())
    try:
        await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            await answering
    finally:
        watching.cancel()
        if not answering.done():
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
