"""Pictures are decoded in processes of their own, with a limit on memory and time: a hostile file ends one of them,
not the run. The others go on, and the file's verdict is `decoder_died`."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from types import TracebackType

from pebble import ProcessExpired, ProcessPool

from storage import media
from storage.media import Limits, MediaError, Picture

SECONDS = 60.0
"""A picture that takes longer ends its decoder."""

Done = Callable[[Picture | MediaError], None]


class Decoders:
    """A pool of decoding processes."""

    def __init__(self, limits: Limits, processes: int, memory: int) -> None:
        self._limits = limits
        context = multiprocessing.get_context("forkserver")  # a fork of a process with threads may hang
        context.set_forkserver_preload(["pipeline.web.decoders"])
        self._pool = ProcessPool(
            max_workers=processes, initializer=limit, initargs=(memory,), context=context
        )

    def __enter__(self) -> Decoders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._pool.close()
        else:
            self._pool.stop()
        self._pool.join(10)

    def submit(self, raw: bytes, done: Done) -> None:
        """Decodes a picture; `done` is called in another thread."""
        future = self._pool.schedule(decode, args=(raw, self._limits), timeout=SECONDS)
        future.add_done_callback(lambda over: done(verdict(over)))


def decode(raw: bytes, limits: Limits) -> Picture | MediaError:
    """The stored picture, or why there is none."""
    try:
        return media.normalise(raw, limits)
    except MediaError as error:
        return error


def verdict(over: Future) -> Picture | MediaError:
    """What came of a picture, also when its decoder did not come back."""
    try:
        return over.result()
    except TimeoutError:
        return MediaError("decoder_died", f"took longer than {SECONDS:g} s")
    except ProcessExpired as error:
        return MediaError("decoder_died", f"exit status {error.exitcode}")
    except (CancelledError, RuntimeError) as error:
        return MediaError("decoder_died", str(error)[:200])


def limit(memory: int) -> None:
    """What a new decoder does first: it takes no more memory than it may, and ends with the server that forked it,
    which ends with the run."""
    import ctypes
    import signal

    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
