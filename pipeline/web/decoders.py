"""Pictures are decoded in processes of their own, with a limit on memory and time: a hostile file ends one of them,
not the run. Its verdict is `decoder_died`; what waited behind it goes to the process that takes its place.

Each process has a sender, a reader, and a picture in store, so that it never waits for a thread of this one.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import resource
import signal
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from storage import media
from storage.media import Limits, MediaError, Picture

SECONDS = 60.0
"""A picture that takes longer ends its decoder."""
IN_STORE = 2
"""Pictures that a process has been sent: the one at work, and the next."""

Done = Callable[[Picture | MediaError], None]


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


class Decoders:
    """Some decoding processes; they are started by the first picture."""

    def __init__(self, limits: Limits, processes: int, memory: int) -> None:
        self._settings, self._processes = (limits, memory), processes
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._lanes: list[Lane] = []

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

    def submit(self, raw: bytes, done: Done) -> None:
        """Decodes a picture; `done` is called in another thread."""
        if not raw:
            done(decode(raw, self._settings[0]))
            return
        self._jobs.put(Job(raw, done))
        if not self._lanes:
            self._lanes = [Lane(self._jobs, *self._settings) for _ in range(self._processes)]


class Lane:
    """One process at a time, and the two threads that keep it busy."""

    def __init__(self, jobs: SimpleQueue[Job | None], limits: Limits, memory: int) -> None:
        self._jobs, self._settings = jobs, (limits, memory)
        self._lock, self._room = threading.Lock(), threading.Semaphore(IN_STORE)
        self._stopped = self._closing = False
        self._child = self._start()
        self._threads = [
            threading.Thread(target=work, name="decode", daemon=True) for work in (self._send, self._read)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the process at once."""
        self._stopped = True
        self._child.process.kill()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(SECONDS)
        self._child.process.join(5)

    def _start(self) -> Child:
        context = multiprocessing.get_context("forkserver")  # a fork of a process with threads may hang
        context.set_forkserver_preload(["pipeline.web.decoders"])
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, *self._settings), daemon=True)
        process.start()
        theirs.close()
        return Child(process, ours)

    def _send(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._room.acquire()
            with self._lock:
                child = self._child
                child.sent.append(job)
            with contextlib.suppress(OSError):  # it died: the reader sees that, too
                child.link.send_bytes(job.raw)
        self._closing = True
        for _ in range(IN_STORE):  # all that was sent has been answered
            self._room.acquire()
        with contextlib.suppress(OSError):
            self._child.link.send_bytes(b"")

    def _read(self) -> None:
        while True:
            child = self._child
            try:
                while not child.link.poll(SECONDS):
                    if child.sent:
                        child.process.kill()
                answer = received(child.link)
            except (EOFError, OSError):
                if not self._buried(child):
                    return
                continue
            job = child.sent.popleft()
            self._room.release()
            job.done(answer)

    def _buried(self, child: Child) -> bool:
        """Replaces a process that ended; False if that is what it was told to."""
        child.process.join()
        if self._closing and not child.sent:
            return False
        culprit = child.sent.popleft() if child.sent else None
        with (
            self._lock
        ):  # what was sent comes first at the new one, too: answers come in the order of the pictures
            fresh = None if self._stopped else self._start()
            left, child.sent = list(child.sent), deque()
            if fresh is not None:
                fresh.sent, self._child = deque(left), fresh
                with contextlib.suppress(OSError):
                    for job in left:
                        fresh.link.send_bytes(job.raw)
        if culprit is not None:
            self._room.release()
            culprit.done(MediaError("decoder_died", f"exit status {child.process.exitcode}"))
        if fresh is None:
            for job in left:
                self._room.release()
                job.done(MediaError("decoder_died", "the run was stopped"))
        return fresh is not None


def serve(link: Connection, limits: Limits, memory: int) -> None:
    """What a decoder does: it takes no more memory than it may, and ends with the server that forked it, which ends
    with the run."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    with contextlib.suppress(EOFError, OSError):
        while raw := link.recv_bytes():
            send(link, decode(raw, limits))


def send(link: Connection, found: Picture | MediaError) -> None:
    """Plain JSON and bytes: nothing that the other end would have to execute, should a file have taken this process."""
    if isinstance(found, MediaError):
        link.send_bytes(json.dumps({"reason": found.reason, "detail": found.detail}).encode())
        return
    told = {name: value for name, value in vars(found).items() if name != "image"}
    link.send_bytes(json.dumps(told).encode())
    link.send_bytes(found.image)


def received(link: Connection) -> Picture | MediaError:
    """The other end of `send`.

    Raises:
        EOFError, OSError: the decoder ended.
    """
    told = json.loads(link.recv_bytes(1 << 20))
    return MediaError(**told) if "reason" in told else Picture(**told, image=link.recv_bytes())


def decode(raw: bytes, limits: Limits) -> Picture | MediaError:
    """The stored picture, or why there is none."""
    try:
        return media.normalise(raw, limits)
    except MediaError as error:
        return MediaError(error.reason, error.detail)
