"""Many URLs to bytes, politely: `Web` runs the fetcher in a thread of its own and answers from any thread.

An answer is final when it is a body, an error that will not pass, or one that a later run should try again:
`Attempt.next_due` says when.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from types import TracebackType

import uvloop

from pipeline.refused import FORGOTTEN, Refused
from pipeline.web.errors import PASSING, TRANSIENT, FetchError
from pipeline.web.fetcher import ANYTHING, IMAGES, Fetcher, Trip, authority, fail, parsed
from pipeline.web.hosts import MOST_HELD, Hosts
from pipeline.web.ledger import Attempt, Fetched, now
from pipeline.web.settings import FetchSettings

LONGEST_WAIT = 10.0
"""A server that asks for a longer pause (Retry-After) is left for a later run, in seconds."""

LONGEST_REST = 30 * 86_400.0
"""Each run that fails doubles the time until the next try, up to this, in seconds."""

FREED = 4 << 20
"""Bytes that are told in one portion."""

Done = Callable[[Fetched], None]


@dataclass
class Ticket:
    """A URL that was asked for and is not answered yet."""

    url: str
    done: Done
    accept: str = IMAGES
    peek: bool = False
    tries: int = 0
    """How often it failed in earlier runs."""
    attempts: list[Attempt] = field(default_factory=list)
    """Those of this run."""
    trip: Trip | None = None
    """The one under way."""
    answered: bool = False

    def __post_init__(self) -> None:
        self._home = host_of(self.url)

    @property
    def host(self) -> str:
        """The one that is asked next."""
        return (self.trip.host if self.trip else "") or self._home

    @property
    def number(self) -> int:
        """Of the next attempt."""
        return self.tries + len(self.attempts) + 1


class Web:
    """A client of the web: `with Web(settings) as web: web.get(url)`."""

    def __init__(self, settings: FetchSettings | None = None, refused: Refused | None = None) -> None:
        self.settings, self._refused = settings or FetchSettings(), refused or Refused.nothing()
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fetch", daemon=True)
        limit = self.settings.run_deadline
        self._ends_at = None if limit is None else time.monotonic() + limit
        self._waiting: dict[int, Ticket] = {}
        self._gate, self._closed = threading.Lock(), False
        self._freed = 0
        """Bytes held (or, negative, freed) that the fetcher has not been told of."""
        self.over = False
        """Whether the run's time is over: everything still asked for is answered at once."""
        self.failed: BaseException | None = None
        """A mistake of this program, for whoever waits for answers to raise."""

    def __enter__(self) -> Web:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._gate:
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    async def _begin(self) -> None:
        self._fetcher, self._hosts = Fetcher(self.settings, self._refused), Hosts(self.settings)
        if self._ends_at is not None:
            self._loop.call_later(max(0.0, self._ends_at - time.monotonic()), self._stop)

    async def _end(self) -> None:
        self._stop()  # whoever waits in another thread is answered
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
        self.submit_all([Ticket(url, done, accept, peek, tries)])

    def submit_all(self, tickets: Sequence[Ticket]) -> None:
        """Asks for many URLs at once."""
        with self._gate:
            if not self._closed:
                self._loop.call_soon_threadsafe(self._submit, tickets)
                return
        for ticket in tickets:
            self._give_up(ticket, "run_deadline", "the fetcher was closed")

    @property
    def stuck(self) -> int:
        """Requests, waiting or under way, at hosts that keep us waiting."""
        return self._hosts.stuck

    def hold(self, size: int) -> None:
        """Counts bytes that wait to be decoded, or (negative) no longer do; fetching waits while there are too many.

        What was freed is told in portions, unless fetching waits for it: a call into the other thread wakes it.
        """
        with self._gate:
            self._freed += size
            told = self._freed
            if self._closed or (-FREED < told < FREED and self._hosts.held < MOST_HELD - FREED):
                return
            self._freed = 0
            self._loop.call_soon_threadsafe(self._hosts.hold, told)

    @property
    def waiting_asides(self) -> int:
        """How many `asides` would give."""
        return len(self._fetcher.asides)

    def asides(self) -> list[Fetched]:
        """What was fetched beside pictures since the last call (robots.txt, pages, lists), without bodies."""
        waiting = self._fetcher.asides
        return [waiting.popleft() for _ in range(len(waiting))]

    # --- in the fetcher's thread

    def _submit(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            self._waiting[id(ticket)] = ticket
            if self._refused.url(ticket.url):  # not asked for, and in no ledger
                self._answer(ticket, Fetched(ticket.url, error=FORGOTTEN))
            elif self.over:
                self._give_up(ticket, "run_deadline", "the run's time was over")
            else:
                self._queue(ticket)

    def _queue(self, ticket: Ticket) -> None:
        if not ticket.answered and not self._postponed(ticket):
            self._hosts.submit(ticket.host, partial(self._work, ticket))

    def _postponed(self, ticket: Ticket) -> bool:
        """Answers at once if its host asked for a longer pause than a run waits."""
        pause = self._hosts.paused(ticket.host)
        if pause > LONGEST_WAIT:
            self._give_up(ticket, "postponed", f"its host asked for a pause of {pause:.0f} s", pause)
        return pause > LONGEST_WAIT

    async def _work(self, ticket: Ticket) -> None:
        if ticket.answered or self._postponed(ticket):  # the host said so while this one stood in its queue
            return
        try:
            trip = ticket.trip = ticket.trip or self._fetcher.trip(
                ticket.url, ticket.number, ticket.accept, ticket.peek
            )
            host, url = ticket.host, str(trip.target or ticket.url)
            answered = await self._fetcher.step(trip)
            self._learn(host, url)
            if not answered:  # redirected to another host: in its queue
                self._queue(ticket)
                return
            ticket.trip = None
            await self._after(ticket, trip.found)
        except Exception as error:  # nobody thought of this one: the URL gets a verdict, the run its end
            self.failed = error
            self._give_up(ticket, "connection", f"{type(error).__name__}: {str(error)[:200]}")

    async def _after(self, ticket: Ticket, found: Fetched) -> None:
        """Tries again soon, or answers."""
        tried, wait = found.attempts[-1], found.wait
        ticket.attempts.append(tried)
        found.attempts = ticket.attempts
        if wait:
            self._hosts.pause(found.asked or ticket.host, wait)
        if wait > LONGEST_WAIT:  # nothing of this host can be had in this run
            for work in self._hosts.take(found.asked or ticket.host):
                await work()
        if found.error in PASSING:
            earlier_runs = (ticket.number - 2) // (self.settings.retries + 1)
            pause = min(self.settings.retry_later * 2.0 ** min(earlier_runs, 30), LONGEST_REST)
            tried.next_due = tried.recorded_at + timedelta(seconds=max(pause, wait))
        again = len(ticket.attempts) <= self.settings.retries and wait <= LONGEST_WAIT
        if found.error in TRANSIENT and again and not self.over:
            self._loop.call_later(wait or backoff(ticket.url, len(ticket.attempts)), self._queue, ticket)
            return
        self._answer(ticket, found)

    def _learn(self, host: str, url: str) -> None:
        """Takes over the pause that a host's robots.txt asks for, once it has been read."""
        if self._hosts.host(host).known:
            return
        asked = 0.0
        with contextlib.suppress(FetchError, ValueError):
            policy = self._fetcher.consent.known(parsed(url))
            asked = (policy.delay(self.settings.user_agent) if policy else None) or 0.0
        self._hosts.learn(host, asked)

    def _answer(self, ticket: Ticket, found: Fetched) -> None:
        if ticket.answered:
            return
        ticket.answered = True
        self._waiting.pop(id(ticket), None)
        try:
            ticket.done(found)
        except Exception as error:
            self.failed = error

    def _give_up(self, ticket: Ticket, reason: str, detail: str, wait: float = 0.0) -> None:
        """Answers without asking: the URL is due again."""
        if ticket.trip is not None:  # it had been redirected, and waited for its turn
            found, tried = ticket.trip.found, ticket.trip.tried
        else:
            found, tried = Fetched(ticket.url), Attempt(ticket.url, ticket.number)
        tried.host = ticket.host or None
        found.attempts = [*ticket.attempts, tried]
        fail(found, tried, FetchError(reason, detail))
        tried.next_due = now() + timedelta(seconds=wait)
        self._answer(ticket, found)

    def _stop(self) -> None:
        self.over = True
        self._hosts.drop_all()
        for ticket in list(self._waiting.values()):
            self._give_up(ticket, "run_deadline", "the run's time was over")


def host_of(url: str) -> str:
    """The host that a URL names, and its port unless that is the usual one; "" where it names none."""
    try:
        return authority(parsed(url))
    except FetchError:
        return ""


def backoff(url: str, number: int) -> float:
    """0.5 s, 1 s, 2 s …, spread by the URL so that a host's requests do not come back all at once."""
    spread = hashlib.blake2b(url.encode("utf-8", "surrogatepass"), digest_size=1).digest()[0] / 255
    return 0.5 * 2 ** (number - 1) * (0.75 + 0.5 * spread)
