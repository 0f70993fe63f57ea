"""Shards of a web source into staged parts: list, read, fetch, decode, assemble, several shards at a time.

The next shard is opened as soon as the requests at hosts that answer would not keep the fetcher busy; so a run goes
on while some hosts drip, and a kill loses no more than the few shards that are open. A shard is staged when each of
its rows has its picture or its reason.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.collect import Origin, Rows
from pipeline.decoders import Decoders
from pipeline.refused import Refused
from pipeline.step import RAW, Shard
from pipeline.web import ledger
from pipeline.web.client import Ticket, Web
from pipeline.web.ledger import Fetched
from pipeline.web.source import Known, WebSource
from storage.limits import Limits
from storage.media import MediaError, Picture

MOST_URLS = 32_768
"""Open at a time, however slow their hosts are."""
MOST_BYTES = 256 << 20
"""Of stored pictures in open shards."""
READERS = 8
"""Shards read at a time: reading one may itself wait for the network."""
LISTED_AHEAD = 4
MOMENT_S = 0.01
MOST_ASIDES = 5_000
"""Requests beside pictures (lists, manifests, pages, consents) that are held until a shard takes them along."""
ORDER = {"images": "image_id", "samples": "sample_id", "decisions": "sample_id"}
"""Answers come in any order; the part does not tell."""

Found = Picture | MediaError | None


@dataclass
class Open:
    """A shard under way."""

    key: str
    rows: Rows
    waiting: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """URL to the rows that show its picture."""
    fetched: list[Fetched] = field(default_factory=list)


class Harvest:
    """One walk over a source. Iterating yields (key, tables) of each shard that is complete, and now and then a part
    of the ledger alone."""

    def __init__(
        self,
        origin: Origin,
        known: Known,
        limits: Limits,
        web: Web,
        decoders: Decoders,
        refused: Refused | None = None,
    ) -> None:
        assert isinstance(origin.source, WebSource)
        self.refused = refused
        self.origin, self.source, self.known, self.limits = origin, origin.source, known, limits
        self.web, self.decoders = web, decoders
        self.cursor: str | None = None
        """Where the source stopped; only known after the last shard."""
        self.fetched = 0
        """URLs that have an outcome."""
        self.complete = False
        """Whether every shard was listed; false if the run's time was over before."""
        self._events: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        """What the threads of the fetcher, the decoders and the readers leave for this one to do."""
        self._listed: queue.Queue[Shard | BaseException | None] = queue.Queue(LISTED_AHEAD)
        self._open: dict[str, Open] = {}
        self._urls = self._reading = self._expected = 0
        """URLs of open shards, shards being read, and the rows that those are expected to have."""
        self._all_listed = self._stopped = False
        self._error: BaseException | None = None
        self._done: deque[tuple[str, dict[str, pa.Table]]] = deque()

    def parts(
        self, key_of: Callable[[Shard], str | None]
    ) -> Generator[tuple[str, dict[str, pa.Table]], None, None]:
        """The parts of all shards for which `key_of` gives a key; it gives None for what is done already.

        Raises:
            SourceError: the source cannot be listed or read; what was complete before has been yielded.
        """
        lister = threading.Thread(target=self._list, name="list", daemon=True)
        lister.start()
        readers = ThreadPoolExecutor(READERS, "read")
        try:
            while True:
                while self._done:
                    yield self._done.popleft()
                if self.web.waiting_asides >= MOST_ASIDES:
                    asides = self.web.asides()
                    yield ledger.key(asides), ledger.tables(asides)
                if error := self.web.failed or self.decoders.failed:
                    raise error
                if not self._open and not self._reading and self._all_listed:
                    break
                if self._wants_more() and self._take(readers, key_of):
                    continue
                self._work_off()
        finally:
            self._stopped = True
            readers.shutdown(wait=False, cancel_futures=True)
        if self._error is not None:
            raise self._error

    def _work_off(self) -> None:
        """Waits for something to do, and a moment more for what comes with it: waking up for each picture would take
        the interpreter from the threads that fetch and decode."""
        try:
            event = self._events.get(timeout=0.25)
        except queue.Empty:
            return
        event()
        time.sleep(MOMENT_S)
        for _ in range(self._events.qsize()):
            self._events.get()()

    # --- listing and reading

    def _list(self) -> None:
        """In a thread of its own: a walk may wait for the network between two shards."""
        try:
            walk = self.source.shards(self.known, self.web)
            while not self._stopped:
                try:
                    shard = next(walk)
                except StopIteration as end:
                    self.cursor = end.value
                    break
                self._put(shard)
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, item: Shard | BaseException | None) -> None:
        while not self._stopped:
            try:
                self._listed.put(item, timeout=0.5)
            except queue.Full:
                continue
            self._events.put(lambda: None)  # wakes the loop
            return

    def _wants_more(self) -> bool:
        if self._all_listed or self._reading >= READERS:
            return False
        if self.web.over:
            self._all_listed = True
            return False
        if self._urls >= MOST_URLS or sum(one.rows.bytes for one in self._open.values()) >= MOST_BYTES:
            return False
        return self._urls + self._expected - self.web.stuck < 4 * self.web.settings.concurrency

    def _take(self, readers: ThreadPoolExecutor, key_of: Callable[[Shard], str | None]) -> bool:
        """Opens the next shard that is listed; False if none is yet."""
        try:
            shard = self._listed.get_nowait()
        except queue.Empty:
            return False
        if shard is None:
            self._all_listed = self.complete = True
        elif isinstance(shard, BaseException):
            self._fail(shard)
        elif (key := key_of(shard)) is not None and key not in self._open:
            self._reading += 1
            self._expected += shard.rows or 0
            future = readers.submit(lambda: list(self.source.read(shard, self.web)))
            future.add_done_callback(
                lambda read: self._events.put(lambda: self._opened(key, read, shard.rows or 0))
            )
        return True

    def _fail(self, error: BaseException) -> None:
        """The source cannot go on: what is open is finished, then the error is raised."""
        self._error, self._all_listed = self._error or error, True

    def _opened(self, key: str, read: Future[list[dict[str, Any]]], expected: int) -> None:
        self._reading -= 1
        self._expected -= expected
        if error := read.exception():
            self._fail(error)
            return
        shard = self._open[key] = Open(key, Rows(self.origin, self.limits, self.refused))
        tries: dict[str, int] = {}
        for row in read.result():
            url = row.pop("fetch", None)
            row = {name: row.get(name) for name in RAW.names}
            if row["image"] is not None and not row["error"]:
                url = "\0" + hashlib.blake2b(row["image"], digest_size=16).hexdigest()
                if url not in shard.waiting:  # a picture and its document may both bring it
                    self._decode(shard, url, row["image"])
                row["image"] = None
            elif url is None or row["error"]:
                shard.rows.add(row, None, row["error"], row["detail"])
                continue
            else:
                tries[url] = max(tries.get(url, 0), self.known.tries.get(row["origin"], 0))
            shard.waiting.setdefault(url, []).append(row)
        self._urls += len(shard.waiting)
        fetched = self._on_fetched(shard)
        self.web.submit_all([Ticket(url, fetched, tries=tried) for url, tried in tries.items()])
        self._close_if_whole(shard)

    # --- pictures

    def _on_fetched(self, shard: Open) -> Callable[[Fetched], None]:
        """In the fetcher's thread: a body goes straight on to a decoder."""

        def fetched(found: Fetched) -> None:
            body, found.body = found.body, None
            if body is None:
                self._events.put(lambda: self._known(shard, found.url, None, found))
                return
            size = len(body)
            self.web.hold(size)

            def decoded(picture: Picture | MediaError) -> None:
                self.web.hold(-size)
                self._events.put(lambda: self._known(shard, found.url, picture, found))

            self.decoders.submit(body, decoded)

        return fetched

    def _decode(self, shard: Open, url: str, image: bytes) -> None:
        self.decoders.submit(
            image, lambda picture: self._events.put(lambda: self._known(shard, url, picture, None))
        )

    def _known(self, shard: Open, url: str, found: Found, fetched: Fetched | None) -> None:
        """A picture, or why there is none: its rows are complete."""
        self._urls -= 1
        self.fetched += fetched is not None
        picture = found if isinstance(found, Picture) else None
        reason, detail = (found.reason, found.detail) if isinstance(found, MediaError) else (None, None)
        told: dict[str, Any] = {}
        if fetched is not None:
            shard.fetched.append(fetched)
            if fetched.error:
                reason, detail = fetched.error, fetched.detail
            told = ledger.about(fetched)
        for row in shard.waiting.pop(url):
            own = {name: value for name, value in row.items() if value is not None}
            shard.rows.add({**dict.fromkeys(RAW.names), **told, **own}, picture, reason, detail)
        self._close_if_whole(shard)

    def _close_if_whole(self, shard: Open) -> None:
        if shard.waiting:
            return
        del self._open[shard.key]
        tables = {name: rows.sort_by(ORDER[name]) for name, rows in shard.rows.tables().items()}
        tables |= ledger.tables(shard.fetched + self.web.asides())
        self._done.append((shard.key, tables))
