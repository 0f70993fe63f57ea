"""What can go wrong in the store, each with a line that says what to do.

StoreError
├── StoreNotFound          nothing there, or not a store
├── StoreTooNew            made by a newer schema
├── StoreOlder             made by an older schema: `millrace migrate`
├── StoreCorrupt           a log or a file that cannot be read
├── StoreFull              no room left on the device
├── StoreUnreachable       the bucket of the tables does not answer, or refuses
├── StoreElsewhere         the tables lie in another place than the configuration says
├── StoreConflict          other writers won every time
│   └── TableMoved         another machine's commit came first: look again
├── PartConflict           some parts of a commit are there, others are not
├── SnapshotNotFound  SnapshotExists  SnapshotIncomplete  SnapshotContaminated  LicenceNotAllowed
├── BackupError
├── QuestionRefused        a query that could do more than ask
├── NothingNamed           a takedown that names nothing
├── RowsInUse              a run trains on rows that are to be forgotten
└── LineageNotFound
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa
from deltalake.exceptions import CommitFailedError, DeltaError


class StoreError(Exception):
    """The store cannot do what was asked; the message says why and what to do."""


class StoreNotFound(StoreError):
    """There is no store at the path."""


class StoreTooNew(StoreError):
    """The store was written by a newer schema than this program knows."""


class StoreOlder(StoreError):
    """The store was written by an older schema and has to be migrated."""


class StoreCorrupt(StoreError):
    """A transaction log or a data file cannot be read."""


class StoreFull(StoreError):
    """The device has no room left; what was committed before stays readable."""


class StoreConflict(StoreError):
    """A commit lost against other writers too many times."""


class StoreUnreachable(StoreError):
    """The bucket of the tables does not answer, or refuses; what was committed before is safe."""


class StoreElsewhere(StoreError):
    """The tables lie in another place than the configuration says."""


class TableMoved(StoreConflict):
    """What a commit was to be built on is not the newest version any more: another machine was faster."""


class PartConflict(StoreError):
    """Only some of the parts of one commit are in the table already."""


class SnapshotNotFound(StoreError):
    """No snapshot has that name."""


class SnapshotExists(StoreError):
    """The name is taken by a snapshot with other content."""


class SnapshotIncomplete(StoreError):
    """Kept rows lack their split or their tokens."""


class SnapshotWithdrawn(StoreError):
    """A snapshot holds rows that were taken back since."""


class SnapshotContaminated(StoreError):
    """Training rows of a snapshot are rows of an evaluation set."""


class LicenceNotAllowed(StoreError):
    """Kept rows have licences outside `licences.allow`."""


class BackupError(StoreError):
    """A backup or restore was refused."""


class QuestionRefused(StoreError):
    """A query in SQL is not one question, or could do more than read the tables."""


class NothingNamed(StoreError):
    """It was not said what is to be forgotten."""


class RowsInUse(StoreError):
    """A run is training on rows that are to be forgotten."""


class LineageNotFound(StoreError):
    """No sample or checkpoint has that id."""


NO_ROOM = ("os error 28", "os error 27", "os error 122", "No space left", "File too large", "quota exceeded")
"""ENOSPC, EFBIG and EDQUOT as Rust, Python and DuckDB spell them."""


def is_full(error: BaseException) -> bool:
    """Whether an error of any library below means that the device is full."""
    return any(sign in str(error) for sign in NO_ROOM)


def first_line(error: BaseException) -> str:
    """The part of a library's message that a person can read."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


UNREACHABLE = re.compile(r"StoreUnreachable: (.+)\s*$")


def unreachable(error: BaseException) -> StoreUnreachable | None:
    """What DuckDB was told when it could not read a bucket: it only repeats the words of the exception."""
    found = UNREACHABLE.search(str(error)) if isinstance(error, duckdb.Error) else None
    return StoreUnreachable(found.group(1)) if found else None


def nothing(error: BaseException) -> StoreError | None:
    """No better words for an error."""
    return None


@contextmanager
def translated(
    table: str, explained: Callable[[BaseException], StoreError | None] = nothing
) -> Iterator[None]:
    """Turns what delta-rs, DuckDB and the system raise into the store's own errors; conflicts pass.

    Args:
        explained: what an error says about the place where the table lies; its words are then the only ones.
    """
    try:
        yield
    except (StoreError, CommitFailedError):
        raise
    except (DeltaError, OSError, duckdb.Error, pa.ArrowInvalid) as error:
        if told := unreachable(error) or explained(error):
            raise told from None
        if isinstance(error, duckdb.Error) and not isinstance(
            error, duckdb.IOException | duckdb.InvalidInputException
        ):
            raise
        if is_full(error):
            raise StoreFull(
                f"{table}: no room left on the device, nothing was added. Free some space and run it again: "
                "what was committed is kept."
            ) from error
        if isinstance(error, duckdb.Error) and "parquet" not in str(error).lower():
            raise
        raise StoreCorrupt(
            f"{table}: {first_line(error)}. Restore the store from a backup with `millrace restore`."
        ) from error
