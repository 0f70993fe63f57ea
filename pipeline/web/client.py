"""Many URLs to bytes, politely: `Web` runs the fetcher in a thread of its own and answers from any thread.

An answer is final when it is a body, an error that will not pass, or one that a later run should try again:
`Attempt.next_due` says when.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import TracebackType
from urllib.parse import urlsplit

import uvloop

from pipeline.web.errors import PASSING, TRANSIENT, FetchError
from pipeline.web.fetcher import ANYTHING, IMAGES, Fetcher, fail, parsed
from pipeline.web.hosts import Hosts
from pipeline.web.ledger import Attempt, Fetched, now
from pipeline.web.settings import FetchSettings

LONGEST_WAIT = 10.0
"""A server that asks for a longer pause (Retry-After) is left for a later run, in seconds."""

Done = Callable[[Fetched], None]
How = tuple[str, bool]
"""What is accepted, and whether the headers are enough."""


class Web:
    """A client of the web: `with Web(settings) as web: web.get(url)`."""

    def __init__(self, settings: FetchSettings | None = None) -> None:
        self.settings = settings or FetchSettings()
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fetch", daemon=True)
        self._ends_at = (
            None if self.settings.run_deadline is None else time.monotonic() + self.settings.run_deadline
        )
        self._waiting: dict[int, tuple[str, int, Done]] = {}
        """Asked for and not yet answered: so that the run's end can answer them."""
        self._numbers = 0
        self.over = False
        """Whether the run's time is over: everything still asked for is answered at once."""

    def __enter__(self) -> Web:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    async def _begin(self) -> None:
        self._fetcher, self._hosts = Fetcher(self.settings), Hosts(self.settings)
        if self._ends_at is not None:
            self._loop.call_later(max(0.0, self._ends_at - time.monotonic()), self._out_of_time)

    async def _end(self) -> None:
        self._hosts.drop_all()
        for task in (others := asyncio.all_tasks() - {asyncio.current_task()}):
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._fetcher.close()

    # --- from any thread

    def get(self, url: str, accept: str = ANYTHING) -> Fetched:
        """What comes of one URL, after its retries."""
        return self.ask(url, accept).result()

    def get_many(self, urls: Iterable[str], accept: str = ANYTHING) -> Iterator[Fetched]:
        """What comes of each URL, in their order, several at a time; at most four times `concurrency` are held."""
        under_way: deque[Future[Fetched]] = deque()
        for url in urls:
            under_way.append(self.ask(url, accept))
            if len(under_way) >= 4 * self.settings.concurrency:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

    def ask(self, url: str, accept: str = ANYTHING, *, peek: bool = False) -> Future[Fetched]:
        """A future of what comes of a URL; with `peek`, of its headers and a page's meta elements only."""
        future: Future[Fetched] = Future()

        def answered(found: Fetched) -> None:
            self._fetcher.asides.append(replace(found, body=None))
            future.set_result(found)

        self.submit(url, answered, accept, peek=peek)
        return future

    def submit(
        self, url: str, done: Done, accept: str = IMAGES, tries: int = 0, *, peek: bool = False
    ) -> None:
        """Asks for a URL that failed `tries` times in earlier runs; `done` is called in the fetcher's thread."""
        self._loop.call_soon_threadsafe(self._submit, url, done, (accept, peek), tries)

    @property
    def stuck(self) -> int:
        """Requests, waiting or under way, at hosts that keep us waiting."""
        return self._hosts.stuck

    def hold(self, size: int) -> None:
        """Counts bytes that wait to be decoded, or (negative) no longer do; fetching waits while there are too many."""
        self._loop.call_soon_threadsafe(self._hosts.hold, size)

    def asides(self) -> list[Fetched]:
        """What was fetched beside pictures since the last call (robots.txt, pages, lists), without bodies."""
        made, self._fetcher.asides = self._fetcher.asides, []
        return made

    # --- in the fetcher's thread

    def _submit(self, url: str, done: Done, how: How, tries: int) -> None:
        self._numbers += 1
        ticket = self._numbers
        self._waiting[ticket] = (url, tries, done)
        if self.over:
            self._give_up(ticket, "run_deadline", "the run's time was over")
            return
        self._queue(ticket, Fetched(url), how, tries)

    def _queue(self, ticket: int, so_far: Fetched, how: How, tries: int) -> None:
        if ticket not in self._waiting:
            return
        host = host_of(so_far.url)
        pause = self._hosts.paused(host)
        if pause > LONGEST_WAIT:
            self._give_up(
                ticket, "postponed", f"its host asked for a pause of {pause:.0f} s", pause, so_far.attempts
            )
            return
        self._hosts.submit(host, partial(self._work, ticket, so_far, how, tries))

    async def _work(self, ticket: int, so_far: Fetched, how: How, tries: int) -> None:
        host = host_of(so_far.url)
        pause = self._hosts.paused(host)
        if pause > LONGEST_WAIT:  # said while this one stood in the queue
            self._give_up(
                ticket, "postponed", f"its host asked for a pause of {pause:.0f} s", pause, so_far.attempts
            )
            return
        try:
            await self._mind_delay(host, so_far.url)
            found = await self._fetcher.attempt(so_far.url, tries + 1, *how)
        except Exception as error:  # what nobody thought of is a verdict on this URL, not on the run
            found = Fetched(so_far.url)
            found.attempts.append(Attempt(so_far.url, tries + 1, host))
            fail(
                found,
                found.attempts[0],
                FetchError("connection", f"{type(error).__name__}: {str(error)[:200]}"),
            )
        tried, wait = found.attempts[-1], found.wait
        found.attempts = so_far.attempts + found.attempts
        if wait:
            self._hosts.pause(host, wait)
        if wait > LONGEST_WAIT:  # nothing of this host can be had in this run
            for work in self._hosts.take(host):
                await work()
        if found.error in PASSING:
            tried.next_due = tried.recorded_at + timedelta(seconds=max(self.settings.retry_later, wait))
        again = len(found.attempts) <= self.settings.retries and wait <= LONGEST_WAIT
        if found.error in TRANSIENT and again and not self.over:
            wait = wait or backoff(found.url, len(found.attempts))
            self._loop.call_later(wait, self._queue, ticket, found, how, tries + 1)
            return
        self._finish(ticket, found)

    async def _mind_delay(self, host: str, url: str) -> None:
        """Takes over the pause between requests that robots.txt asks for, as soon as it has been read."""
        policies, state = self._fetcher.consent, self._hosts.host(host)
        if state.delay is not None or "robots" not in self.settings.consent:
            return
        state.delay = 0.0
        try:
            async with asyncio.timeout(self.settings.deadline):
                asked = (await policies.policy(parsed(url))).delay(self.settings.user_agent)
        except (FetchError, TimeoutError, ValueError):
            return
        if asked:
            state.delay = min(asked, self.settings.deadline)
            self._hosts.pause(host, state.delay)

    def _finish(self, ticket: int, found: Fetched) -> None:
        if (asked := self._waiting.pop(ticket, None)) is not None:
            asked[2](found)

    def _give_up(
        self, ticket: int, reason: str, detail: str, wait: float = 0.0, before: list[Attempt] | None = None
    ) -> None:
        """Answers without asking: the URL is due again."""
        url, tries, _ = self._waiting[ticket]
        found = Fetched(url)
        tried = Attempt(url, tries + 1 + len(before or []), host_of(url) or None)
        found.attempts = [*(before or []), tried]
        fail(found, tried, FetchError(reason, detail))
        tried.next_due = now() + timedelta(seconds=wait)
        self._finish(ticket, found)

    def _out_of_time(self) -> None:
        self.over = True
        self._hosts.drop_all()
        for ticket in list(self._waiting):
            self._give_up(ticket, "run_deadline", f"the run's {self.settings.run_deadline:g} s were over")


def host_of(url: str) -> str:
    """The host and port that a URL names; "" where it names none."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""


def backoff(url: str, number: int) -> float:
    """0.5 s, 1 s, 2 s …, spread by the URL so that a host's requests do not come back all at once."""
    spread = hashlib.blake2b(url.encode("utf-8", "surrogatepass"), digest_size=1).digest()[0] / 255
    return 0.5 * 2 ** (number - 1) * (0.75 + 0.5 * spread)
