"""Modules in CNXML, the format of OpenStax's textbooks: figures with what is said of them, and the text around them.

`origin` is the module's id, `position` a place in reading order. Pictures lie in a folder beside the modules, or are
fetched. A module is read again when its file or one of its pictures changes; what it no longer holds is withdrawn.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import Field

from pipeline import files
from pipeline.errors import SourceError
from pipeline.files import File, S3File
from pipeline.formats.cnxml import BrokenModule, Figure, Module, Terms, read_collection, read_module
from pipeline.step import Shard, digest
from pipeline.text import to_bytes
from pipeline.web.client import Web
from pipeline.web.source import WITHDRAWN, Known, WebSource
from pipeline.web.urls import redacted

_SRC = re.compile(rb"""\ssrc\s*=\s*["']([^"']*)["']""")
_ID = re.compile(rb"<(?:\w+:)?content-id>\s*([\w.@-]{1,100})\s*<")
FAILED = " (module)"
"""Ends the origin of a row that says why a module could not be read; the rows of its earlier reading stay."""


class CNXML(WebSource):
    """Textbook modules: a caption row for each text of a figure, and the paragraphs between them."""

    unfingerprinted: ClassVar[frozenset[str]] = frozenset(
        {"path", "collections", "media", "base_url", "shard_rows"}
    )

    path: str = Field(description='A module, or a pattern ("books/modules/*/index.cnxml", "s3://…").')
    collections: str | None = Field(
        None, description="Collection files whose language and licence hold for modules that state none."
    )
    media: str = Field(
        "../../media", description="The folder of pictures; a relative one is looked for from each module."
    )
    base_url: str | None = Field(
        None, description="Where pictures that are not in that folder are fetched, by their names."
    )
    documents: bool = Field(True, description="Paragraphs too, in reading order with the figures.")
    shard_rows: int = Field(16, gt=0, description="Modules in a part.")

    def check(self) -> None:
        for pattern in (self.collections, self.path):
            if pattern:
                files.look_for(pattern)

    def shards(self, known: Known, web: Web) -> Generator[Shard, None, str | None]:
        """Lists the modules that are new, changed or due again.

        Raises:
            SourceError: no such file, or a collection that cannot be read.
        """
        terms, settings, listing = self._terms(), self.fingerprint(), cache(_listing)
        due = {origin.removesuffix(FAILED) for origin in known.due["origin"].to_pylist()}
        pairs = known.rows.group_by(["origin", "version"]).aggregate([]).to_pylist()
        before = {(row["origin"].removesuffix(FAILED), row["version"]) for row in pairs}
        origins = due | {origin for origin, _ in before}
        taken: set[str] = set()
        held: list[list[Any]] = []
        for name, path in files.relative(files.files(self.path)).items():
            raw, wrong = _read(path, self.max_bytes)
            found = _ID.search(raw)
            module = found[1].decode("utf-8", "replace") if found else _called(path)
            origin = name if module in taken else module
            taken.add(origin)
            own, there = terms.get(module, Terms()), listing(_beside(path, self.media))
            names = dict.fromkeys(
                _name(unescape(src.decode("utf-8", "replace"))) for src in _SRC.findall(raw)
            )
            pictures = [[picture, there.get(picture, bool(self.base_url))] for picture in names]
            about = [settings, hashlib.sha256(raw).hexdigest(), wrong, pictures, own.lang, own.licence]
            version = digest(about)[:16]
            if origin in due or (origin, version) not in before:
                positions = known.positions(origin) if origin in origins else []
                held.append([str(path), origin, version, own.lang, own.licence, positions])
            if len(held) == self.shard_rows:
                yield _shard(held)
                held = []
        if held:
            yield _shard(held)
        return None

    def read(self, shard: Shard, web: Web) -> Iterator[dict[str, Any]]:
        """The rows of the shard's modules, and rows that withdraw what those held before."""
        listing = cache(_listing)
        for where, origin, version, lang, licence, before in shard.payload["modules"]:
            path, made = files.at(where), 0
            base = {"origin": origin, "version": version}
            raw, wrong = _read(path, self.max_bytes)
            try:
                module = None if wrong else read_module(raw)
            except BrokenModule as error:
                module, wrong = None, {"error": "broken_module", "detail": str(error)}
            if module is None:
                yield {**base, "origin": origin + FAILED, "position": 0, **(wrong or {})}
                continue
            folder = _beside(path, self.media)
            told = {
                "lang": module.terms.lang or lang or self.lang,
                "licence": module.terms.licence or licence or self.licence,
                "author": self.author,
            }
            for row in self._rows(module, folder, listing(folder)):
                yield {**row, **base, "document": origin, "position": made, **told}
                made += 1
            if not made:
                yield {**base, "position": 0, "error": "no_picture", "detail": "a module without figures"}
            for position in before:
                if position >= max(made, 1):
                    gone = {"error": WITHDRAWN, "detail": "the module no longer holds it"}
                    yield {**base, "position": position, **gone}

    def _rows(self, module: Module, folder: File, there: dict[str, str]) -> Iterator[dict[str, Any]]:
        for part in module.parts:
            if isinstance(part, Figure):
                picture = self._picture(part.name, folder, there)
                for text in part.texts or (None,):
                    said = None if text is None else to_bytes(text)
                    yield {"task": self.task or "caption", "text": said, **picture}
            elif self.documents:
                yield {"task": "text", "text": to_bytes(part)}

    def _picture(self, name: str, folder: File, there: dict[str, str]) -> dict[str, Any]:
        """Where a picture's bytes come from, or what is wrong."""
        if name in there:
            raw, wrong = _read(folder / name, self.max_bytes)
            return wrong or {"image": raw}
        if self.base_url and name:
            url = f"{self.base_url.rstrip('/')}/{quote(name)}"
            return {"fetch": url, "url": redacted(url)}
        return {"error": "missing_file", "detail": f"{name[:200]} is not in the folder of pictures"}

    def _terms(self) -> dict[str, Terms]:
        """What collections state, by the ids of their modules; the first collection counts."""
        found: dict[str, Terms] = {}
        for path in files.files(self.collections) if self.collections else ():
            raw, wrong = _read(path, self.max_bytes)
            try:
                terms, modules = read_collection(raw)
            except BrokenModule as error:
                detail = wrong["detail"] if wrong else str(error)
                raise SourceError(f"{path.name}: {detail}") from None
            found = dict.fromkeys(modules, terms) | found
        return found


def _shard(modules: list[list[Any]]) -> Shard:
    """Positions known before are no part of the key: they do not change what a module holds now."""
    return Shard(digest([module[1:3] for module in modules]), {"modules": modules})


def _beside(module: File, folder: str) -> File:
    """A folder that is named from a module's own."""
    place = files.at(folder)
    if isinstance(place, S3File) or place.is_absolute():
        return place
    if isinstance(module, Path):
        return Path(os.path.normpath(module.parent / place))
    key = posixpath.normpath(posixpath.join(posixpath.dirname(module.key), folder))
    return replace(module, key=key, size=-1, mtime=0)


def _listing(folder: File) -> dict[str, str]:
    """The files of a folder by name, each with what tells its versions apart; links out of it are left out."""
    if isinstance(folder, S3File):
        return {file.name: f"{file.size}-{file.mtime}" for file in folder.below(recursive=False)}
    found: dict[str, str] = {}
    home = folder.resolve()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                inside = not entry.is_symlink() or Path(entry.path).resolve().parent == home
                if entry.is_file() and inside:
                    about = entry.stat()
                    found[entry.name] = f"{about.st_size}-{about.st_mtime_ns}"
    except OSError:
        return found
    return found


def _called(path: File) -> str:
    """What a module without an id is called: its file's name, or its folder's if the file is an index."""
    if path.stem != "index":
        return path.stem
    return (path.path if isinstance(path, S3File) else path.absolute()).parent.name or path.stem


def _name(src: str) -> str:
    return src.replace("\\", "/").rpartition("/")[2]


def _read(path: File, limit: int) -> tuple[bytes, dict[str, str] | None]:
    """A file's bytes, or none and what is wrong with it."""
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except FileNotFoundError:
        return b"", {"error": "missing_file", "detail": "gone since it was listed"}
    except OSError as error:
        return b"", {"error": "unreadable", "detail": error.strerror or type(error).__name__}
    if len(raw) > limit:
        return b"", {"error": "too_large", "detail": f"over {limit} bytes"}
    return raw, None
