"""Whose turn it is: requests wait in a queue per host, and start when their host and a place are free.

Places are for requests that move. One that takes longer than the settings' patience counts as slow: it goes on,
but its place goes to another, so that ten thousand slow hosts do not stop the fast ones. What remains bounded is
the number of open connections. Lives in one event loop.
"""

from __future__ import annotations

import asyncio
import resource
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pipeline.web.settings import FetchSettings

SPARE_FILES = 4096
"""File descriptors left for connections that are kept after their answer, for the store and all else."""
MOST_OPEN = 16_384
MOST_REMEMBERED = 20_000
IDLE_S = 60.0
"""Of more hosts, those are forgotten that nobody has asked for so long, in seconds."""
LOOK_EVERY_S = 0.25
MOST_HELD = 48 << 20
LONGEST_DELAY = 60.0
"""A robots.txt that asks for a longer pause between two requests gets this one, in seconds."""

Work = Callable[[], Awaitable[None]]


@dataclass
class Host:
    """A host's queue, and when it may be asked again."""

    queue: deque[Work] = field(default_factory=deque)
    active: int = 0
    free_at: float = 0.0
    """Loop time before which no further request to it starts."""
    refused_until: float = 0.0
    """Loop time until which it asked to be left alone (Retry-After)."""
    moved_at: float = 0.0
    """Loop time of its last end of a request."""
    delay: float = 0.0
    """What its robots.txt asks for, in seconds; it counts where it is longer than the settings' own."""
    known: bool = False
    """Whether its robots.txt was read, if it is asked for: until then it gets one request at a time."""
    waits: bool = False
    """Whether it stands in the line of hosts that may start a request."""

    def idle(self, now: float) -> bool:
        """Whether it may be forgotten: nothing waits for it, and it asked for nothing."""
        last = max(self.moved_at + IDLE_S, self.free_at, self.refused_until)
        return not (self.queue or self.active or self.waits) and last < now


class Hosts:
    """Starts each piece of work when it is its turn."""

    def __init__(self, settings: FetchSettings) -> None:
        self.settings = settings
        self._loop = asyncio.get_running_loop()
        self._hosts: dict[str, Host] = {}
        self._line: deque[Host] = deque()
        self._fast = self._open = 0
        self._most_open = raise_file_limit()
        self._tasks: set[asyncio.Task[None]] = set()
        self.held = 0
        """Bytes of bodies that are fetched and not yet decoded: no request starts while there are too many."""
        self.stuck = 0
        """Pieces of work at hosts that keep us waiting, as of the last look; may be read from any thread."""
        self._look()

    def submit(self, name: str, work: Work) -> None:
        """Queues work for a host."""
        host = self.host(name)
        host.queue.append(work)
        self._line_up(host)
        self._pump()

    def host(self, name: str) -> Host:
        """The host of that name; new ones count as having just moved."""
        if name not in self._hosts:
            self._hosts[name] = Host(moved_at=self._loop.time())
        return self._hosts[name]

    def pause(self, name: str, seconds: float) -> None:
        """Leaves a host alone for a while, as it asked."""
        host = self.host(name)
        host.refused_until = max(host.refused_until, self._loop.time() + seconds)
        host.free_at = max(host.free_at, host.refused_until)

    def paused(self, name: str) -> float:
        """Seconds for which a host has asked to be left alone still."""
        return max(0.0, self.host(name).refused_until - self._loop.time())

    def learn(self, name: str, delay: float) -> None:
        """Takes over what a host's robots.txt asks for between two requests, in seconds."""
        host = self.host(name)
        host.known, host.delay = True, min(delay, LONGEST_DELAY)
        host.free_at = max(host.free_at, self._loop.time() + host.delay)
        self._line_up(host)
        self._pump()

    def _room(self, host: Host) -> bool:
        most = self.settings.per_host if host.known or "robots" not in self.settings.consent else 1
        return host.active < most

    def _look(self) -> None:
        now = self._loop.time()
        stale = now - self.settings.patience
        self.stuck = sum(
            len(host.queue) + host.active
            for host in self._hosts.values()
            if (host.queue or host.active) and host.moved_at < stale
        )
        if len(self._hosts) > MOST_REMEMBERED:
            self._hosts = {name: host for name, host in self._hosts.items() if not host.idle(now)}
        self._loop.call_later(LOOK_EVERY_S, self._look)

    def hold(self, size: int) -> None:
        """Counts bytes of bodies that wait to be decoded, or (negative) that no longer do."""
        self.held += size
        if size < 0:
            self._pump()

    def take(self, name: str) -> list[Work]:
        """Takes what waits for a host out of its queue."""
        host = self.host(name)
        taken = list(host.queue)
        host.queue.clear()
        return taken

    def drop_all(self) -> list[Work]:
        """Takes everything out of the queues and cancels what is under way."""
        left = [work for host in self._hosts.values() for work in host.queue]
        for host in self._hosts.values():
            host.queue.clear()
        for task in list(self._tasks):
            task.cancel()
        return left

    def _line_up(self, host: Host) -> None:
        if host.waits or not host.queue or not self._room(host):
            return
        host.waits = True
        wait = host.free_at - self._loop.time()
        if wait > 0:
            self._loop.call_later(wait, self._ready, host)
        else:
            self._line.append(host)

    def _ready(self, host: Host) -> None:
        host.waits = False
        self._line_up(host)
        self._pump()

    def _pump(self) -> None:
        most = self.settings.concurrency
        while self._line and self._fast < most and self._open < self._most_open and self.held < MOST_HELD:
            host = self._line.popleft()
            host.waits = False
            if host.free_at > self._loop.time():
                self._line_up(host)
                continue
            if host.queue and self._room(host):
                self._start(host)
            self._line_up(host)

    def _start(self, host: Host) -> None:
        work = host.queue.popleft()
        host.active += 1
        self._fast += 1
        self._open += 1
        pause = max(self.settings.delay, host.delay)
        if pause:
            host.free_at = max(host.free_at, self._loop.time() + pause)
        task = self._loop.create_task(self._run(host, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, host: Host, work: Work) -> None:
        slow = False

        def give_up_place() -> None:
            nonlocal slow
            slow = True
            self._fast -= 1
            self._pump()

        timer = self._loop.call_later(self.settings.patience, give_up_place)
        try:
            await work()
        finally:
            timer.cancel()
            host.active -= 1
            host.moved_at = self._loop.time()
            self._open -= 1
            if not slow:
                self._fast -= 1
            self._line_up(host)
            self._pump()


def raise_file_limit() -> int:
    """Lets this process have as many files open as it may, and returns how many connections that allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN + SPARE_FILES
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
        soft = max(soft, most)
    return max(16, min(MOST_OPEN, soft - min(SPARE_FILES, soft // 2)))
