"""The worker: one thread that owns the network, and makes all answers in one batch that rows join and leave at any step.

A new champion takes its place beside the old one, which finishes what it has begun: no request is lost by a switch.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from model.cost import TOKENS
from model.serving.answering import Answering
from model.serving.making import Making, Told
from model.serving.settings import ServeConfig
from model.serving.slots import Slots
from model.text_stream import TextStream

EMBEDDED = 64
"""Texts and pictures whose states are made in one turn, at most."""


class Busy(Exception):
    """The queue is full; `seconds` is about when there will be room."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"the queue is full: come again in {seconds} s")
        self.seconds = seconds


class Stopped(Exception):
    """The worker has ended."""


class _Runner:
    """A checkpoint and the rows that it is making."""

    def __init__(self, who: Answering, places: int) -> None:
        self.who, self.places = who, places
        self.pools = {guided: self._empty(guided) for guided in (False, True)}
        """By whether they are guided. The dictionary never changes its size: other threads count its rows."""

    @property
    def rows(self) -> int:
        return sum(len(pool.rows) for pool in self.pools.values())

    def drop(self, pool: Slots) -> None:
        """Begins anew, without the rows of a pool that cannot be relied on any more."""
        for guided, one in self.pools.items():
            if one is pool:
                self.pools[guided] = self._empty(guided)

    def _empty(self, guided: bool) -> Slots:
        return Slots(self.who.model, self.places, guided=guided)


@dataclass(frozen=True)
class _Embedding:
    """A text or picture whose state is wanted."""

    prepare: Callable[[Answering], tuple[list[int], bool]]
    found: Future[tuple[np.ndarray, int, str]]


class Engine:
    """Answers until it is stopped."""

    def __init__(self, who: Answering, settings: ServeConfig) -> None:
        self.settings = settings
        self._runners = [_Runner(who, settings.rows)]
        self._waiting: deque[Making] = deque()
        self._embeddings: deque[_Embedding] = deque()
        self._read: deque[tuple[_Embedding, Answering, list[int], bool]] = deque()
        """Of those the ones whose ids are known, and who knows them."""
        self._next: Answering | None = None
        self._stopping = False
        self._bell = threading.Condition()
        self._waited = 0
        self._seconds = 0.5
        """About how long an answer takes, for those who are told to come again."""
        self.steps = self.tokens = self.switches = 0
        self._thread = threading.Thread(target=self._work, name="answers", daemon=True)
        self._thread.start()

    # --- from any thread

    @property
    def who(self) -> Answering:
        """The checkpoint that takes new requests."""
        return self._next or self._runners[-1].who

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def running(self) -> int:
        """Answers that are being made."""
        return sum(runner.rows for runner in self._runners)

    @property
    def waiting(self) -> int:
        """Answers that wait for a place."""
        return len(self._waiting) + len(self._embeddings) + len(self._read)

    def submit(self, rows: Sequence[Making]) -> None:
        """Takes all rows of a request, or none.

        Raises:
            Busy: too many wait already.
            Stopped: nobody answers any more.
        """
        with self._bell:
            self._refuse(len(rows))
            self._waiting += rows
            self._bell.notify()

    def embed(
        self, wanted: Sequence[Callable[[Answering], tuple[list[int], bool]]]
    ) -> list[Future[tuple[np.ndarray, int, str]]]:
        """Futures of states: vector, tokens read, checkpoint. Raises as `submit` does."""
        made: list[_Embedding] = [_Embedding(one, Future()) for one in wanted]
        with self._bell:
            self._refuse(-(-len(made) // EMBEDDED))
            self._embeddings += made
            self._bell.notify()
        return [one.found for one in made]

    def switch(self, who: Answering) -> None:
        """New requests go to another checkpoint from now on."""
        with self._bell:
            self._next = who
            self._bell.notify()

    def stop(self) -> None:
        """Finishes what was taken, and ends."""
        with self._bell:
            self._stopping = True
            self._bell.notify()
        self._thread.join()

    def _refuse(self, more: int) -> None:
        if self._stopping or not self.alive:
            raise Stopped("the server is stopping")
        embeddings = -(-(len(self._embeddings) + len(self._read)) // EMBEDDED)
        held = len(self._waiting) + embeddings + self.running
        if held + more > self.settings.rows + self.settings.queue:
            raise Busy(max(1, round(self._seconds * held / self.settings.rows)))

    # --- in the worker's thread

    def _work(self) -> None:
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        with torch.inference_mode():
            while self._turn():
                pass

    def _turn(self) -> bool:
        """One step of all rows; False once there is nothing left to do."""
        with self._bell:
            while not (self.waiting or self.running or self._next or self._stopping):
                self._bell.wait()
            if self._stopping and not (self.waiting or self.running):
                return False
            if self._next is not None:
                self._runners.append(_Runner(self._next, self.settings.rows))
                self._next, self.switches = None, self.switches + 1
            taken = self._due()
            some = 0 if self._read else min(EMBEDDED, len(self._embeddings))
            wanted = [self._embeddings.popleft() for _ in range(some)]
        self._ready(self._runners[-1].who, wanted)
        self._embed()
        self._begin(self._runners[-1], taken)
        for runner in self._runners:
            for pool in list(runner.pools.values()):
                if pool.rows:
                    self.steps += 1
                    self._guarded(runner, pool, pool.step)
        self._runners = [r for r in self._runners if r.rows or r is self._runners[-1]]
        return True

    def _due(self) -> list[Making]:
        """Those whose turn it is: newcomers wait a few steps for each other, since reading several prompts at once takes
        little longer than reading one."""
        free, now = self.settings.rows - self.running, time.monotonic()
        self._waiting = deque(row for row in self._waiting if not self._expired(row, now))
        if not self._waiting or free <= 0:
            return []
        self._waited += 1
        if self.running and len(self._waiting) < free // 2 and self._waited <= self.settings.gather:
            return []
        self._waited = 0
        return [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]

    def _expired(self, row: Making, now: float) -> bool:
        if not row.over(now):
            return False
        if not row.cancelled:
            row.tell(Told(error=Busy(max(1, round(self._seconds)))))
        return True

    def _begin(self, runner: _Runner, taken: Sequence[Making]) -> None:
        groups: dict[float, list[tuple[Making, list[int]]]] = {}
        for row in taken:
            try:
                ids = row.prepare(runner.who)
            except Exception as error:  # whatever is wrong with a request ends that request alone
                row.tell(Told(error=error))
                continue
            watch = TextStream(runner.who.tokenizers.text, row.stop_strings)
            row.begin(len(ids), watch)
            guided = row.sampling.modalities != "text" and row.sampling.guidance != 1
            groups.setdefault(row.sampling.guidance if guided else 1.0, []).append((row, ids))
        for weight, members in groups.items():
            for few in at_once(members, lambda member: len(member[1])):
                pool, rows = runner.pools[weight != 1], [row for row, _ in few]  # a failed one was replaced
                self._guarded(runner, pool, partial(pool.take_in, rows, [ids for _, ids in few]), rows)

    def _guarded(
        self, runner: _Runner, pool: Slots, work: Callable[[], Any], newcomers: Sequence[Making] = ()
    ) -> None:
        """Does a step, and tells what it made. A mistake of ours ends the answers that were in it, and not the server."""
        try:
            work()
            self._tell(runner, pool)
        except Exception as error:
            for row in {id(row): row for row in (*pool.rows, *newcomers)}.values():
                row.tell(Told(error=error))
            runner.drop(pool)

    def _tell(self, runner: _Runner, pool: Slots) -> None:
        """Takes what was chosen, says it, and lets ended rows go."""
        now, said = time.monotonic(), []
        for r, row in enumerate(pool.rows):
            if row.fresh:
                row.fresh, self.tokens = False, self.tokens + 1
                said += [(r, one) for one in row.take(runner.who.model.sequences, now)]
        drawn = [one.codes for _, one in said if one.codes]
        pictures = iter(runner.who.pictures(drawn) if drawn else ())
        for r, one in said:
            pixels = next(pictures) if one.codes else None
            pool.rows[r].tell(replace(one, pixels=pixels, checkpoint=runner.who.id))
        gone = [r for r, one in said if one.finish]
        for r in gone:
            self._seconds += 0.1 * (now - pool.rows[r].since - self._seconds)
        pool.let_go(gone)

    def _ready(self, who: Answering, wanted: Sequence[_Embedding]) -> None:
        """Finds the ids of what is to be embedded."""
        for one in wanted:
            if one.found.set_running_or_notify_cancel():
                try:
                    self._read.append((one, who, *one.prepare(who)))
                except Exception as error:
                    one.found.set_exception(error)

    def _embed(self) -> None:
        """Makes as many states as fit into one step."""
        if not self._read:
            return
        who = self._read[0][1]
        same = [one for one in self._read if one[1] is who]
        few = next(at_once(same, lambda one: len(one[2])))
        for _ in few:
            self._read.popleft()
        try:
            states = who.embed([ids for _, _, ids, _ in few], [pictured for *_, pictured in few])
        except Exception as error:
            for one, *_ in few:
                one.found.set_exception(error)
            return
        for (one, _, ids, _), state in zip(few, states, strict=True):
            one.found.set_result((state, len(ids), who.id))


def at_once(some: Sequence[Any], length: Callable[[Any], int]) -> Iterator[list[Any]]:
    """Cuts a sequence, in its order, where the longest times how many would go beyond TOKENS: that bounds a step."""
    few: list[Any] = []
    longest = 0
    for one in some:
        longest = max(longest, length(one))
        if few and longest * (len(few) + 1) > TOKENS:
            yield few
            few, longest = [], length(one)
        few.append(one)
    if few:
        yield few
