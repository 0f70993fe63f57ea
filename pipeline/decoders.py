"""Pictures are decoded in processes of their own, with a limit on memory and time: a hostile file ends one of them,
not the run. Its verdict is `decoder_died`; what waited behind it goes to the process that takes its place.

Each process has a sender, a reader, and a picture in store, so that it never waits for a thread of this one.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import resource
import select
import signal
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any

from storage import faces, media
from storage.limits import Limits
from storage.media import MediaError, Picture

MEMORY = 2 << 30
"""Bytes that a decoder may take, unless the configuration says otherwise."""
SECONDS = 60.0
"""A picture that takes longer ends its decoder."""
LOOK_EVERY_S = 1.0
LONGEST = 1 << 30
"""Bytes of a stored picture, at most."""
IN_STORE = 4
"""Pictures that a process has been sent: the one at work, and what lasts until a thread of this process has its turn."""

PRELOADED = ["__main__", "pipeline.decoders", "pipeline.stage", "pandas"]
"""Modules that the processes find imported when they are forked; the last two are for those that do other work of the mill:
pyarrow imports pandas, if it is there, to make its first array, which takes a second."""
READY = b"ready"

Done = Callable[[Picture | MediaError], None]


class DecoderError(Exception):
    """No picture can be decoded here; the message says what to change."""


@dataclass(frozen=True)
class Job:
    """A picture to decode, and whom to tell."""

    raw: bytes
    done: Done


@dataclass
class Child:
    """A process, its connection, and what it was sent and has not answered."""

    process: Any
    link: Connection
    sent: deque[Job] = field(default_factory=deque)
    since: float = 0.0
    """When the picture at work became it."""
    begun: bool = False
    """Whether it has said that it is ready."""

    def __post_init__(self) -> None:
        self._ready = select.poll()
        self._ready.register(self.link.fileno(), select.POLLIN)

    def answers(self, seconds: float) -> bool:
        """Whether it says something (or has ended) within that time. `Connection.poll` would make a selector each
        time."""
        return bool(self._ready.poll(seconds * 1000))


class Decoders:
    """Some decoding processes, which start with the first picture, or before it with `start`."""

    def __init__(self, limits: Limits, processes: int, memory: int) -> None:
        self._limits, self._processes, self._memory = limits, processes, memory
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._lanes: list[Lane] = []

    def start(self) -> None:
        """Starts the processes: that takes a while, in which the first pictures may be fetched."""
        if not self._lanes:
            self._limits.check()  # here, where it can be told
            self._lanes = [Lane(self._jobs, self._limits, self._memory) for _ in range(self._processes)]

    def __enter__(self) -> Decoders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lane in self._lanes:
            if kind is not None:
                lane.stop()
        for _ in self._lanes:
            self._jobs.put(None)
        for lane in self._lanes:
            lane.join()

    @property
    def failed(self) -> BaseException | None:
        """A mistake of this program, for whoever waits for pictures to raise."""
        return next((lane.failed for lane in self._lanes if lane.failed), None)

    def submit(self, raw: bytes, done: Done) -> None:
        """Decodes a picture; `done` is called in another thread."""
        if not raw:
            done(decode(raw, self._limits))
            return
        self.start()
        self._jobs.put(Job(raw, done))

    def decode_all(self, pictures: Iterable[bytes]) -> list[Picture | MediaError]:
        """Decodes pictures, in their order, and waits for them.

        Raises:
            DecoderError: no process can be started; whatever a file does is a MediaError in its place.
        """
        answers: SimpleQueue[tuple[int, Picture | MediaError]] = SimpleQueue()
        asked = 0
        for raw in pictures:
            self.submit(raw, partial(_put, answers, asked))
            asked += 1
        found: dict[int, Picture | MediaError] = {}
        while len(found) < asked:
            try:
                place, answer = answers.get(timeout=LOOK_EVERY_S)
            except Empty:
                if self.failed is not None:
                    raise self.failed from None
                continue
            found[place] = answer
        return [found[place] for place in range(asked)]


def prepare() -> ForkServerContext:
    """Starts the process that decoders are forked from, and does not wait for it: it takes half a second to import what
    they need."""
    context = multiprocessing.get_context("forkserver")  # a fork of a process with threads may hang
    inner = multiprocessing.parent_process() is not None  # a worker's decoders do no other work of the mill
    context.set_forkserver_preload(PRELOADED[:2] if inner else PRELOADED)
    # Ctrl-C is for this process, which ends the others: one that is still importing would die of it with a traceback
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _put(answers: SimpleQueue[tuple[int, Picture | MediaError]], place: int, answer: Any) -> None:
    answers.put((place, answer))


class Lane:
    """One process at a time, and the two threads that keep it busy."""

    def __init__(self, jobs: SimpleQueue[Job | None], limits: Limits, memory: int) -> None:
        self._jobs, self._settings = jobs, (limits, memory)
        self._lock, self._room = threading.Lock(), threading.Semaphore(IN_STORE)
        self._stopped = self._closing = False
        self._child: Child | None = None
        self._reader: threading.Thread | None = None
        self.failed: BaseException | None = None
        self._sender = threading.Thread(target=self._send, name="decode", daemon=True)
        self._sender.start()

    def stop(self) -> None:
        """Ends the process at once; what waits is answered."""
        self._stopped = True
        if self._child is not None:
            self._child.process.kill()

    def join(self) -> None:
        """Waits until all is answered and the process has ended."""
        self._sender.join()
        if self._reader is not None and self._child is not None:
            self._reader.join()
            self._child.process.join()

    def _start(self) -> Child:
        context = prepare()
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, *self._settings), daemon=True)
        process.start()
        theirs.close()
        give_up_reading(ours, SECONDS)
        return Child(process, ours)

    def _send(self) -> None:
        try:
            self._child = self._start()
            self._reader = threading.Thread(target=self._read, name="decode", daemon=True)
            self._reader.start()
            while (job := self._jobs.get()) is not None:
                self._wait_for_room()
                if self.failed is not None:  # no verdict on a picture: whoever waits for it raises that
                    continue
                if self._stopped:
                    self._tell(job, MediaError("decoder_died", "the run was stopped"))
                else:
                    self._pass_on(job)
        except Exception as error:  # no process can be started: the run cannot go on
            self.failed = error
            return
        self._closing = True
        if self._child is not None:
            for _ in range(IN_STORE):  # all that was sent has been answered
                self._wait_for_room()
            with contextlib.suppress(OSError):
                self._child.link.send_bytes(b"")

    def _wait_for_room(self) -> None:
        while not self._stopped and not self._room.acquire(timeout=0.5):
            pass

    def _pass_on(self, job: Job) -> None:
        with self._lock:
            child = self._child
            assert child is not None
            if not child.sent:
                child.since = time.monotonic()
            child.sent.append(job)
        with contextlib.suppress(OSError):  # it died: the reader sees that, too
            child.link.send_bytes(job.raw)

    def _read(self) -> None:
        try:
            while (child := self._child) is not None:
                answer = self._answer(child)
                if answer is None:
                    if not self._buried(child):
                        return
                    continue
                job = child.sent.popleft()
                child.since = time.monotonic()
                self._room.release()
                self._tell(job, answer)
        except Exception as error:
            self.failed, self._stopped = error, True

    def _answer(self, child: Child) -> Picture | MediaError | None:
        """The next one; None if the process ended, took too long, or said what no decoder says."""
        try:
            while True:
                while not child.answers(LOOK_EVERY_S):
                    if child.sent and time.monotonic() - child.since > SECONDS:
                        child.process.kill()
                if child.begun:
                    return received(child.link) if child.sent else None  # nobody asked it
                child.begun = child.link.recv_bytes(len(READY)) == READY
                child.since = time.monotonic()
        except (EOFError, OSError):
            return None
        except Exception:  # a file has taken the process: nothing that it says counts
            child.process.kill()
            return None

    def _buried(self, child: Child) -> bool:
        """Replaces a process that ended; False if that is what it was told to."""
        child.process.kill()
        child.process.join()
        if self._closing and not child.sent:
            return False
        if not child.begun and not self._stopped:
            raise DecoderError(
                f"a process that decodes pictures ended before it began (exit status {child.process.exitcode}): "
                "is there memory for it? [fetch] decoder_memory is what it may take"
            )
        self._lock.acquire()  # until all that was sent has been sent again: nothing new comes before it
        culprit = child.sent.popleft() if child.sent else None
        left, child.sent = list(child.sent), deque()
        try:
            fresh = None if self._stopped else self._start()
        except BaseException:
            self._lock.release()
            raise
        if fresh is not None:
            fresh.sent, fresh.since, self._child = deque(left), time.monotonic(), fresh
        threading.Thread(target=self._send_again, args=(fresh, left), name="decode", daemon=True).start()
        if culprit is not None:
            self._room.release()
            self._tell(culprit, MediaError("decoder_died", f"exit status {child.process.exitcode}"))
        for job in left if fresh is None else ():
            self._room.release()
            self._tell(job, MediaError("decoder_died", "the run was stopped"))
        return fresh is not None

    def _send_again(self, fresh: Child | None, left: list[Job]) -> None:
        """In a thread of its own, for the reader must read meanwhile: the process may wait for that."""
        try:
            with contextlib.suppress(OSError):
                for job in left:
                    if fresh is not None:
                        fresh.link.send_bytes(job.raw)
        finally:
            self._lock.release()

    def _tell(self, job: Job, answer: Picture | MediaError) -> None:
        try:
            job.done(answer)
        except Exception as error:
            self.failed = error


def give_up_reading(link: Connection, seconds: float) -> None:
    """A process that says half a message must not hold its reader for ever."""
    with socket.socket(fileno=os.dup(link.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(seconds), 0))


def serve(link: Connection, limits: Limits, memory: int) -> None:
    """What a decoder does: it takes no more memory than it may beside what it began with, and ends with the server that
    forked it, which ends with the run."""
    most = address_space() + memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Path(os.devnull).open("wb") as nowhere:  # libtiff and others talk about every damaged file
        os.dup2(nowhere.fileno(), 2)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    limits.check()
    with contextlib.suppress(EOFError, OSError):
        link.send_bytes(READY)
        while raw := link.recv_bytes():
            send(link, decode(raw, limits))


def address_space() -> int:
    """Bytes that this process has mapped: libraries, and what their threads reserve on a machine of many cores."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def send(link: Connection, found: Picture | MediaError) -> None:
    """Plain JSON and bytes: nothing that the other end would have to execute, should a file have taken this process."""
    if isinstance(found, MediaError):
        link.send_bytes(json.dumps({"reason": found.reason, "detail": found.detail}).encode())
        return
    pictures = (found, *found.panels)
    told = [{n: v for n, v in vars(one).items() if n not in ("image", "panels")} for one in pictures]
    link.send_bytes(json.dumps({"pictures": told}).encode())
    for one in pictures:
        link.send_bytes(one.image)


def received(link: Connection) -> Picture | MediaError:
    """The other end of `send`.

    Raises:
        EOFError, OSError: the decoder ended.
    """
    told = json.loads(link.recv_bytes(1 << 20))
    if "reason" in told:
        return MediaError(**told)
    whole, *pieces = (
        Picture(**one | {"box": tuple(one["box"]) if one["box"] else None}, image=link.recv_bytes(LONGEST))
        for one in told["pictures"]
    )
    return replace(whole, panels=tuple(pieces))


def decode(raw: bytes, limits: Limits) -> Picture | MediaError:
    """The stored picture, or why there is none."""
    try:
        return media.normalise(raw, limits)
    except faces.NoFaceDetector:  # ends the process, and the next one does not begin
        raise
    except Exception as error:  # whatever it is, it is this file's
        return _apart(media.verdict(error))


def _apart(error: MediaError) -> MediaError:
    """The same verdict without a traceback: that would hold the picture's memory until the collector looks."""
    return MediaError(error.reason, error.detail)
