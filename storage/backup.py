"""A consistent copy of a store while flows go on writing, and the way back.

Data files never change once a commit names them, so a copy needs no lock: versions are pinned, the files of
every commit up to them are copied, then the logs up to them, then what rows point at (checkpoints,
tokenizers). backup.json goes last, with the sha256 of every file; restore checks each against it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from storage.blocklist import KEY
from storage.errors import BackupError, StoreFull, is_full
from storage.log import Log
from storage.meta import FILE as META
from storage.meta import replace
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
        names = (META, "generations.json", KEY)
        single = [file for name in names if (file := store.path / name).exists()]
        small = {file.name: file.read_bytes() for file in single}
    sums: dict[str, str] = {}
    try:
        for name, version in versions.items():
            for file in table_files(store, name, version):
                copy(store.path, target, file, sums)
        for folder in FOLDERS:
            for file in sorted((store.path / folder).rglob("*")):
                if file.is_file() and not file.is_symlink():
                    copy(store.path, target, file, sums)
        for file_name, content in small.items():
            (target / file_name).parent.mkdir(parents=True, exist_ok=True)
            (target / file_name).touch(mode=store.path.joinpath(file_name).stat().st_mode & 0o777)
            (target / file_name).write_bytes(content)
            sums[file_name] = hashlib.sha256(content).hexdigest()
        manifest = {"schema_version": SCHEMA_VERSION, "versions": versions, "files": sums}
        replace(target / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True))
    except OSError as error:
        raise refused(error, target) from error


def restore(source: str | Path, target: str | Path) -> Path:
    """Puts a backup back as a store in a folder that is empty or not there, and returns that folder.

    Raises:
        BackupError: not a whole backup, a file is damaged, or the folder is not empty.
        StoreFull: no room; the folder is as it was.
    """
    source, target = Path(source).expanduser().absolute(), Path(target).expanduser().absolute()
    try:
        manifest = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BackupError(f"{source} is not a whole backup: it has no readable {MANIFEST}") from None
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BackupError(f"{target} is not empty: a backup is only restored into an empty folder")
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(parents=True)
        for name, expected in manifest["files"].items():
            sums: dict[str, str] = {}
            if not (source / name).is_file():
                raise BackupError(f"{source / name} is missing: the backup is damaged, nothing was restored")
            copy(source, scratch, source / name, sums)
            if sums[name] != expected:
                raise BackupError(
                    f"{source / name} is damaged: the backup cannot be used, nothing was restored"
                )
        scratch.replace(target)
    except OSError as error:
        raise refused(error, target) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def table_files(store: Store, table: str, version: int) -> Iterator[Path]:
    """Data files of every commit up to a version that are still there, then the commits themselves."""
    folder = store.path / "tables" / table
    log = folder / "_delta_log"
    names = {name for one in range(version + 1) for name in Log(folder).added(one)}
    yield from (folder / name for name in sorted(names) if (folder / name).exists())
    yield from (log / f"{one:020}.json" for one in range(version + 1))


def copy(base: Path, target: Path, file: Path, sums: dict[str, str]) -> None:
    """Copies a file to the same place below `target` and notes its sha256."""
    name = file.relative_to(base).as_posix()
    place = target / name
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.name == KEY:  # readable by its owner only, wherever it lies
        place.touch(mode=0o600)
    digest = hashlib.sha256()
    with file.open("rb") as source, place.open("wb") as out:
        while block := source.read(BLOCK):
            digest.update(block)
            out.write(block)
    sums[name] = digest.hexdigest()


def refused(error: OSError, target: Path) -> BackupError | StoreFull:
    """A plain message for what the system says."""
    if is_full(error):
        return StoreFull(f"{target}: no room left on the device; free some space or name another folder")
    return BackupError(f"{error.filename or target}: {error.strerror}")
