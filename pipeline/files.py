"""A file, wherever it lies: on this machine, or in a bucket ("s3://bucket/folder/*.tar").

Paths of this machine stay `pathlib.Path`; objects are `S3File`, which has the same `open`, `name`, `suffix` and `/`.
What a file is known by (name below the common folder, size, beginning and end) is the same in both places.
"""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TypeAlias, TypeVar

import pyarrow.parquet as pq

from pipeline.errors import SourceError
from pipeline.s3 import S3File
from storage.bucket import SCHEME

File: TypeAlias = Path | S3File
Item = TypeVar("Item")
Result = TypeVar("Result")

ENDS = 64 << 10
AT_ONCE = 8
"""Files of a bucket asked for at once: each takes a round trip, and may be as long as the limit on pictures."""


def at(path: str) -> File:
    """The file, folder or pattern of that name.

    Raises:
        SourceError: a URI of another kind, or one with a mistake in it.
    """
    if path.startswith(SCHEME):
        return S3File.parse(path)
    if "://" in path:
        kind = path.partition("://")[0]
        raise SourceError(f'path = "{kind}://…": a path of this machine or s3://bucket/… is read here')
    return Path(path)


def files(pattern: str) -> list[File]:
    """The file of that name, or those that a pattern ("shards/*.tar") names, in the order of their paths.

    Raises:
        SourceError: there is none.
    """
    place = at(pattern)
    if isinstance(place, S3File):
        return list(_objects(place))
    if place.is_file():
        return [place]
    found = sorted(Path(name) for name in glob.glob(pattern, recursive=True))  # noqa: PTH207 - absolute patterns
    found = [path for path in found if path.is_file()]
    if not found:
        raise _none(pattern)
    return [*found]


def look_for(pattern: str) -> None:
    """Looks for a first file of this machine of that name or pattern; a bucket is not asked.

    Raises:
        SourceError: there is none.
    """
    place = at(pattern)
    if isinstance(place, S3File) or place.is_file():
        return
    if not any(Path(name).is_file() for name in glob.iglob(pattern, recursive=True)):  # noqa: PTH207
        raise _none(pattern)


def _none(pattern: str) -> SourceError:
    return SourceError(f'path = "{pattern}": no such file, and no file that the pattern fits')


def _objects(place: S3File) -> list[S3File]:
    """The object of that key, or those that a pattern of keys names."""
    exact = place.info()
    if exact is not None:
        return [exact]
    parts = place.key.split("/")
    first = next((n for n, part in enumerate(parts) if re.search(r"[*?[]", part)), len(parts) - 1)
    home = S3File(place.bucket, "/".join(parts[:first]), place.query)
    deep = len(parts) - first > 1 or parts[-1] == "**"
    found = [file for file in home.below(deep) if _fits(file.key.split("/")[first:], parts[first:])]
    if not found:
        raise _none(place.shown)
    return sorted(found, key=lambda file: file.path)


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a key's parts fit a pattern's, by the rules of `glob`: ** is any folders, none of them hidden."""
    if not pattern or not parts:
        return not parts and all(part == "**" for part in pattern)
    hidden = parts[0].startswith(".") and not pattern[0].startswith(".")
    if pattern[0] == "**":
        return _fits(parts, pattern[1:]) or (not hidden and _fits(parts[1:], pattern))
    return not hidden and fnmatch.fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def identity(path: File) -> str:
    """Digest of a file's size, beginning and end: the same wherever and whenever the file was copied.

    Raises:
        SourceError: the file cannot be read.
    """
    try:
        with path.open("rb", buffering=ENDS) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            head = file.read(ENDS)
            file.seek(max(0, size - ENDS))
            tail = file.read(ENDS)
    except OSError as error:
        raise SourceError(f"{path.name}: cannot be read: {error.strerror or error}") from None
    return hashlib.sha256(b"%d\0%b%b" % (size, head, tail)).hexdigest()[:32]


def relative(paths: Sequence[File]) -> dict[str, File]:
    """The paths by what tells them apart: names below the folder that they share."""
    if len(paths) == 1:
        return {paths[0].name: paths[0]}
    pure = [PurePosixPath("/", path.key) if isinstance(path, S3File) else path for path in paths]
    home = os.path.commonpath([path.parent for path in pure])
    return {path.relative_to(home).as_posix(): file for path, file in zip(pure, paths, strict=True)}


@contextmanager
def reading(path: File) -> Iterator[None]:
    """Puts errors of a bucket, met by a reader of Arrow's, into words."""
    try:
        yield
    except OSError as error:
        if isinstance(path, S3File):
            raise path.explained(error) from None
        raise


def parquet(path: File) -> pq.ParquetFile:
    """Opens a Parquet file; of one in a bucket, what is needed comes in few large requests."""
    if isinstance(path, Path):
        return pq.ParquetFile(path)
    with reading(path):
        return pq.ParquetFile(path.native(), pre_buffer=True)


def each(function: Callable[[Item], Result], items: Iterable[Item], where: File | None) -> Iterator[Result]:
    """A function's results in the order of the items; over files of a bucket, several are under way at once."""
    if not isinstance(where, S3File):
        yield from map(function, items)
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        under_way: deque[Future[Result]] = deque()
        for item in items:
            under_way.append(pool.submit(function, item))
            if len(under_way) == AT_ONCE:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
