"""One holder at a time, over threads and processes."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

_LOCKS: dict[tuple[int, Path], FileLock] = {}
_GUARD = threading.Lock()


def lock(path: Path) -> FileLock:
    """The process's one lock on a file: a second Store on the same folder must not wait for the first."""
    with _GUARD:
        return _LOCKS.setdefault((os.getpid(), path), FileLock(path))


class FileLock:
    """flock on a file: a holder that dies lets go. A thread may take it again while it holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = threading.RLock()
        self._depth = 0
        self._file = -1

    def __enter__(self) -> FileLock:
        self._take(wait=True)
        return self

    @contextmanager
    def tried(self) -> Iterator[bool]:
        """Takes it if nobody else has it, and says whether."""
        taken = self._take(wait=False)
        try:
            yield taken
        finally:
            if taken:
                self.__exit__(None, None, None)

    def _take(self, *, wait: bool) -> bool:
        if not self._thread.acquire(blocking=wait):
            return False
        try:
            if self._depth == 0:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                try:
                    fcntl.flock(self._file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BaseException:
                    os.close(self._file)
                    raise
            self._depth += 1
        except BlockingIOError:
            self._thread.release()
            return False
        except BaseException:
            self._thread.release()
            raise
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            fcntl.flock(self._file, fcntl.LOCK_UN)  # also where a forked child has the file open
            os.close(self._file)
        self._thread.release()
