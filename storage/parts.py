"""Resumable work: a part is staged whole, then committed exactly once, whatever dies in between.

A part is what one piece of work made: rows for one table or several. It is staged as a folder of Parquet
files that appears in one rename. Committing goes table by table; each commit registers the part in that
table's log, so that a second try skips what the first one did. `samples` goes last: a part that is in
`samples` is complete.

A commit replaces rows of the same key (a changed input file, a decision under a new policy); pictures are
stored once.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.commits import until_it_holds
from storage.errors import StoreError, translated
from storage.rows import batch_rows, conformed, grouped, parquet_options, plain
from storage.store import Store
from storage.tables import TABLES, Table

ELSEWHERE_S = 24 * 3600.0
"""Age at which half a part of another machine is taken for a dead process's: whether that lives cannot be seen from here."""


def stage(store: Store, key: str, tables: Mapping[str, pa.Table]) -> Path:
    """Writes a part's rows under <store>/staging/<key>/, which appears complete or not at all.

    Raises:
        StoreError: a column that its table does not have.
        StoreFull: no room; nothing was staged.
    """
    target = place(store, key)
    if target.is_dir():
        return target
    scratch = target.with_name(f".{key}.{machine()}.{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with translated("staging"):
            scratch.mkdir(parents=True)
            for name, rows in tables.items():
                table = store.table(name)
                groups = grouped(conformed(rows.to_batches(), table, key), plain(table))
                file = scratch / f"{name}.parquet"
                with pq.ParquetWriter(file, plain(table), **parquet_options(plain(table))) as out:
                    for group in groups:
                        out.write_table(group)
            scratch.rename(target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        if target.is_dir():  # another process staged the same part meanwhile
            return target
        raise
    return target


def staged(store: Store, key: str) -> bool:
    """Whether a part waits to be committed."""
    return place(store, key).is_dir()


def waiting(store: Store) -> list[str]:
    """Keys of all parts that wait to be committed."""
    return sorted(one.name for one in store.folder("staging").iterdir() if not one.name.startswith("."))


def commit(store: Store, keys: Sequence[str]) -> int:
    """Commits staged parts, one commit for each table, and returns how many rows were added.

    Parts that were committed before are skipped, so it may be repeated after a kill at any point.

    Raises:
        StoreError: a part was neither staged nor committed.
        StoreFull: no room; run it again with more of it.
    """
    with store.lock():
        sweep(store)
        parts = {key: place(store, key) for key in dict.fromkeys(keys)}
        gone = [key for key, folder in parts.items() if not folder.is_dir()]
        for key in gone:
            if not any(store.has(table, key) for table in store.tables()):
                raise StoreError(f"part {key} was never staged in {store.path}")
            del parts[key]
        added = Batch(store, parts).commit()
        for key, folder in parts.items():
            done = folder.with_name(f".done-{key}")
            folder.rename(done)
            shutil.rmtree(done, ignore_errors=True)
    return added


def discard(store: Store, key: str) -> None:
    """Forgets a staged part."""
    shutil.rmtree(place(store, key), ignore_errors=True)


def place(store: Store, key: str) -> Path:
    """Where a part is staged."""
    if not key or key.startswith(".") or "/" in key:
        raise StoreError(f"{key!r} cannot be the key of a part: it names a folder")
    return store.folder("staging") / key


def sweep(store: Store, *, alone: bool = False) -> int:
    """Removes what killed processes left half written or half removed; returns how many folders. The caller holds the
    store's lock; `alone`: he knows that nobody writes a part, here or elsewhere."""
    removed = 0
    for one in store.folder("staging").glob(".*"):
        if alone or one.name.startswith(".done-") or abandoned(one):
            shutil.rmtree(one, ignore_errors=True)
            removed += 1
    return removed


def abandoned(scratch: Path) -> bool:
    """Whether nobody writes to half a part any more."""
    rest, _, owner = scratch.name.rpartition(".")
    if rest.endswith(f".{machine()}"):
        return owner.isdigit() and not alive(int(owner))
    try:
        return time.time() - scratch.stat().st_mtime > ELSEWHERE_S
    except FileNotFoundError:  # it was finished or removed meanwhile
        return False


def machine() -> str:
    """This machine's name, as part of a file's."""
    return socket.gethostname().replace(".", "-").replace("/", "-")


def pictures_waiting(store: Store) -> pa.Table:
    """`image_id` of every picture that rows of a staged part show: they may count on one that is stored."""
    files = sorted(store.folder("staging").glob("[!.]*/samples.parquet"))
    found = [pq.read_table(file, columns=["image_id"]) for file in files]
    return pa.concat_tables([pa.table({"image_id": pa.array([], pa.string())}), *found])


def alive(process: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class Batch:
    """Some staged parts on their way into the tables."""

    def __init__(self, store: Store, parts: Mapping[str, Path]) -> None:
        self.store = store
        self.parts = parts

    def commit(self) -> int:
        """Pictures first, samples last, and before anything what changed samples leave behind elsewhere."""
        names = {file.stem for folder in self.parts.values() for file in folder.glob("*.parquet")}
        changed = self._changed_samples()
        if changed:
            for table in [*TABLES.values(), *self.store.declared()]:
                if table.key[0] == "sample_id" and table.name not in names:
                    self.store.delete(table.name, changed)
        order = sorted(names, key=lambda name: (name == "samples", name != "images", name))
        return sum(self._table(self.store.table(name), changed) for name in order)

    def _files(self, table: str) -> dict[str, Path]:
        files = {key: folder / f"{table}.parquet" for key, folder in self.parts.items()}
        return {key: file for key, file in files.items() if file.exists()}

    def _todo(self, table: str) -> dict[str, Path]:
        """Files of the parts that the table does not have yet."""
        files = self._files(table)
        return {key: files[key] for key in self.store.missing(table, list(files))}

    def _changed_samples(self) -> list[str]:
        """Incoming ids that `samples` has from an earlier part: their input changed."""
        incoming = keys_of(("sample_id",), self._todo("samples"))
        return self.store.present("samples", [key[0] for key in incoming])

    def _table(self, table: Table, changed: list[str]) -> int:
        """Commits what a table does not have yet; begun again if another machine's commit comes between."""
        return until_it_holds(lambda: self._once(table, changed))

    def _once(self, table: Table, changed: list[str]) -> int:
        seen = self.store.seen(table.name)  # before anything is looked at
        files = self._todo(table.name)
        if not files:
            return 0
        wanted: set[tuple[str, ...]] | None = None
        if table.key[0].endswith("_id"):
            keys = keys_of(table.key, files)
            wanted = set(keys)
            if table.name == "images":
                wanted -= {(one,) for one in self.store.present("images", [key[0] for key in keys])}
            elif len(wanted) == len(keys):
                wanted = None  # nothing comes twice, so nothing needs to be looked at again
            if table.name != "images":
                seen = self._replace(table, changed, seen)
        # Of a key that comes twice, the later part's row is taken.
        ordered = list(files.values())[::-1] if wanted is not None else list(files.values())
        if not self.store.write(table, batches(table, ordered, wanted), parts=list(files), at=seen):
            return 0
        return sum(pq.read_metadata(file).num_rows for file in ordered) if wanted is None else len(wanted)

    def _replace(self, table: Table, changed: list[str], seen: int | None) -> int | None:
        """Removes the rows that the incoming ones stand for, but none that an earlier try has written; the version that
        the incoming ones are to follow."""

        def delete(ids: Sequence[str], where: Mapping[str, str] | None = None) -> None:
            nonlocal seen
            removed = self.store.delete(table.name, ids, where, at=seen)
            seen = seen + 1 if removed and seen is not None else seen

        if table.key[0] == "sample_id" and changed:
            todo = self._todo(table.name)
            written = {part: file for part, file in self._files(table.name).items() if part not in todo}
            new = {key[0] for key in keys_of(("sample_id",), written)}
            delete([one for one in changed if one not in new])
        collected = self._files("samples")  # what comes with its sample is new if the sample is
        later = {part: file for part, file in self._todo(table.name).items() if part not in collected}
        keys = keys_of(table.key, later)
        for rest in sorted({key[1:] for key in keys}):
            where = dict(zip(table.key[1:], rest, strict=True))
            delete([key[0] for key in keys if key[1:] == rest], where)
        return seen


def keys_of(key: Sequence[str], files: Mapping[str, Path]) -> list[tuple[str, ...]]:
    """The keys of all staged rows."""
    found: list[tuple[str, ...]] = []
    for file in files.values():
        columns = pq.read_table(file, columns=list(key))
        found += zip(*(columns.column(name).to_pylist() for name in key), strict=True)
    return found


def batches(
    table: Table, files: Sequence[Path], wanted: set[tuple[str, ...]] | None
) -> Iterator[pa.RecordBatch]:
    """Staged rows, a few at a time; of each wanted key the first one."""
    left = None if wanted is None else set(wanted)
    for file in files:
        with pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(batch_size=batch_rows(table)):
                if left is None:
                    yield batch
                    continue
                keys = zip(*(batch.column(name).to_pylist() for name in table.key), strict=True)
                mask = []
                for key in keys:
                    mask.append(key in left)
                    left.discard(key)
                if any(mask):
                    yield batch.filter(pa.array(mask))
