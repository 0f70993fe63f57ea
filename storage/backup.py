"""A consistent copy of a store while flows go on writing, and the way back.

Data files never change once a commit names them, so a copy needs no lock: versions are pinned, the files of
every commit up to them are copied, then the logs up to them, then what rows point at (checkpoints,
tokenizers). backup.json goes last, with the sha256 of every file; restore checks each against it.
A backup is whole wherever the tables lay: restored, they lie in the folder, or in a bucket that is named then.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa

from storage.blocklist import KEY
from storage.errors import BackupError, StoreFull, is_full
from storage.location import BucketFolder, Folder, Location
from storage.log import Log, commit_file
from storage.meta import FILE as META
from storage.meta import Meta, replace, text
from storage.store import Store
from storage.tables import SCHEMA_VERSION
from storage.upkeep import MAINTAIN

MANIFEST = "backup.json"
FOLDERS = ("checkpoints", "tokenizers", "filtering", "judges", "reports")
BLOCK = 1 << 20


def backup(store: Store, target: str | Path) -> Path:
    """Copies a store as it is now into an empty folder, and returns that folder.

    Raises:
        BackupError: the folder is not empty, or inside the store.
        StoreFull: no room.
    """
    target = Path(target).expanduser().absolute()
    if target == store.path or store.path in target.parents:
        raise BackupError(f"{target} is inside the store: name a folder elsewhere")
    if target.exists() and any(target.iterdir()):
        raise BackupError(f"{target} is not empty: name an empty folder for the backup")
    with store.lock(MAINTAIN):  # nothing is vacuumed or pruned under the copy
        copy_store(store, target)
    return target


def copy_store(store: Store, target: Path) -> None:
    """Copies all that belongs to a store, the manifest last."""
    with store.lock():
        versions = store.versions()
        small = {META: text(store.metadata()).encode()}
        for name in ("generations.json", KEY):
            if (file := store.path / name).exists():
                small[name] = file.read_bytes()
    sums: dict[str, str] = {}
    try:
        for name, version in versions.items():
            place = store.place(name)
            for one in table_files(place, version):
                with place.open(one) as source:
                    copy(source, Folder(target), f"tables/{name}/{one}", sums)
        for folder in FOLDERS:
            for file in sorted((store.path / folder).rglob("*")):
                if file.is_file() and not file.is_symlink():
                    with file.open("rb") as content:
                        copy(content, Folder(target), file.relative_to(store.path).as_posix(), sums)
        for named, written in small.items():
            copy(io.BytesIO(written), Folder(target), named, sums)
        manifest = {"schema_version": SCHEMA_VERSION, "versions": versions, "files": sums}
        replace(target / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True))
    except OSError as error:
        raise refused(error, target) from error


def restore(source: str | Path, target: str | Path, tables: str = "") -> Path:
    """Puts a backup back as a store in a folder that is empty or not there, and returns that folder.

    Args:
        tables: s3://bucket/folder for the tables, where no store lies; "" puts them into the folder.

    Raises:
        BackupError: not a whole backup, a file is damaged, or the folder is not empty.
        StoreFull: no room; the folder is as it was.
        StoreUnreachable: the bucket does not answer, or refuses.
    """
    source, target = Path(source).expanduser().absolute(), Path(target).expanduser().absolute()
    try:
        manifest = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BackupError(f"{source} is not a whole backup: it has no readable {MANIFEST}") from None
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BackupError(f"{target} is not empty: a backup is only restored into an empty folder")
    home = BucketFolder.parse(tables) if tables else None
    if home is not None and home.read(META) is not None:
        raise BackupError(f"{home} holds a store: a backup is only restored where none is")
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(parents=True)
        for name, expected in manifest["files"].items():
            put_back(source, home if home and name.startswith("tables/") else Folder(scratch), name, expected)
        if home is not None:
            Meta.open(scratch, create=False, any_version=True).move(home)
        scratch.replace(target)
    except OSError as error:
        raise refused(error, target) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def put_back(source: Path, place: Location, name: str, expected: str) -> None:
    """Copies a file of a backup to its place, if it is what the backup says."""
    sums: dict[str, str] = {}
    if not (source / name).is_file():
        raise BackupError(f"{source / name} is missing: the backup is damaged, nothing was restored")
    with (source / name).open("rb") as opened:
        copy(opened, place, name, sums)
    if sums[name] != expected:
        raise BackupError(f"{source / name} is damaged: the backup cannot be used, nothing was restored")


def table_files(place: Location, version: int) -> Iterator[str]:
    """Names of the data files of every commit up to a version that are still there, then of the commits themselves."""
    log = Log(place)
    yield from place.sizes(sorted(log.named(version)))
    yield from (f"{log.folder.name}/{commit_file(one)}" for one in range(version + 1))


def copy(source: IO[bytes] | pa.NativeFile, place: Location, name: str, sums: dict[str, str]) -> None:
    """Copies an open file to its name below a place, and notes its sha256."""
    digest = hashlib.sha256()
    *folders, last = name.split("/")
    for folder in folders:
        place = place / folder
    if last == KEY and isinstance(place, Folder):  # readable by its owner only, wherever it lies
        place.path.mkdir(parents=True, exist_ok=True)
        (place.path / last).touch(mode=0o600)
    with place.create(last) as out:
        while block := source.read(BLOCK):
            digest.update(block)
            out.write(block)
    sums[name] = digest.hexdigest()


def refused(error: OSError, target: Path) -> BackupError | StoreFull:
    """A plain message for what the system says."""
    if is_full(error):
        return StoreFull(f"{target}: no room left on the device; free some space or name another folder")
    return BackupError(f"{error.filename or target}: {error.strerror}")
