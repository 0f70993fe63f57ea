"""A store that is made for a first attempt, and goes again if the attempt fails before anything came in."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from storage import parts
from storage.store import MEMORY_LIMIT, Store

IN_USE = ".locks/in-use"
"""Locked, by any number at once, by all who bring something in."""
LISTINGS = "cursors"
"""The table of where sources were left: alone, it says that they were looked at and held nothing."""


@contextmanager
def begun(path: str | Path, memory_limit: str = MEMORY_LIMIT, tables: str = "") -> Iterator[Store]:
    """Opens the store in a folder, and makes one where there is no such folder: after an error that came before any
    row did, the folder is gone again, unless somebody else has begun to use it. What lies in a bucket stays: other machines
    may use it.

    Raises:
        StoreError: as `Store.open` does.
    """
    new = not Path(path).expanduser().exists()
    store, lock, held = _held(path, memory_limit, tables)
    with held:
        try:
            yield store
        except Exception:
            if new and not store.home.remote and _alone(lock) and _empty(store):
                _remove(store.path)
            raise


@contextmanager
def using(store: Store) -> Iterator[None]:
    """While rows are read to be written elsewhere, nothing is forgotten; any number may use a store at once."""
    with _opened(store.path / IN_USE) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


@contextmanager
def alone(store: Store, busy: Callable[[], None]) -> Iterator[None]:
    """Waits until nobody brings something in or uses the store, and keeps all out meanwhile; tells if it has to wait."""
    with _opened(store.path / IN_USE) as lock:
        if not _alone(lock):
            busy()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _held(path: str | Path, memory_limit: str, tables: str) -> tuple[Store, int, ExitStack]:
    """The store, a lock that says it is in use, and what lets go of it; opened again if the store was taken away before the
    lock was there."""
    while True:
        store = Store.open(path, memory_limit=memory_limit, tables=tables)
        file = store.path / IN_USE
        with ExitStack() as held, suppress(FileNotFoundError):
            lock = held.enter_context(_opened(file))
            fcntl.flock(lock, fcntl.LOCK_SH)
            if _there(file, lock):
                return store, lock, held.pop_all()


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    """A file to lock; let go at the end."""
    file.parent.mkdir(exist_ok=True)
    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield lock
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)  # also where a forked child has the file open
        os.close(lock)


def _there(file: Path, lock: int) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(file.stat(), os.fstat(lock))
    except FileNotFoundError:
        return False


def _alone(lock: int) -> bool:
    """Whether nobody else uses the store; whoever comes now has to wait, and then finds it gone."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _empty(store: Store) -> bool:
    return not set(store.tables()) - {LISTINGS} and not parts.waiting(store)


def _remove(folder: Path) -> None:
    """Takes a store away in one step: who opens it meanwhile finds all of it, or nothing."""
    gone = folder.with_name(f".{folder.name}.{os.getpid()}")
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
