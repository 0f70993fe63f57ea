"""What the sources that read files share: which column means what, default values, rows in batches."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from pipeline import records
from pipeline.dotted import Absent, at_path, only
from pipeline.files import File
from pipeline.formats import rights
from pipeline.records import SourceError
from pipeline.step import RAW, Source, Step
from pipeline.text import to_bytes
from pipeline.web.urls import redacted

ALIASES: dict[str, tuple[str, ...]] = {
    "file": ("file", "file_name", "filename", "image_file", "image_path", "filepath", "path", "image", "img"),
    "image": ("image", "image_bytes", "img", "jpg", "png", "webp", "bytes"),
    "url": ("url", "image_url", "img_url", "src", "link"),
    "text": ("text", "caption", "captions", "texts", "alt", "alt_text", "description", "answer"),
    "prompt": ("prompt", "question", "instruction"),
    "lang": ("lang", "language"),
    "task": ("task",),
    "label": ("label", "class", "cls"),
    "page_url": ("page_url", "page", "source_url"),
    "licence": ("licence", "license"),
    "author": ("author", "credit", "creator"),
    "consent": ("consent",),
    "document": ("document", "document_id", "doc_id"),
    "position": ("position",),
    "key": ("key", "id"),
}
"""Names by which a column is recognised, the first found wins; upper and lower case do not matter."""

TEXTUAL = ("prompt", "lang", "task", "label", "url", "page_url", "licence", "author", "consent", "document")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:[-_@][A-Za-z0-9]{2,8})*")
_URI = re.compile(r"https?://\S+", re.I)
BATCH_ROWS = 256
BATCH_BYTES = 32 << 20


FIELDS = ("text", *TEXTUAL, "position")
"""What a record may state beside what its row is found by: a file, a URL, bytes."""


@dataclass(slots=True)
class Stated:
    """A record of a table: what its row is found by, and the rest as JSON, field to value."""

    number: int
    key: str = ""
    line: str = ""
    texts: int = 1
    position: int | None = None
    wrong: str | None = None


class RowSettings(Step):
    """Settings that sources share: values for rows that state none, and names of columns."""

    licence: str | None = Field(default=None, description="SPDX id of rows that state no licence.")
    lang: str | None = Field(default=None, description="BCP 47 language of rows that state none.")
    task: str | None = Field(
        default=None, description="caption, vqa, translate, title, summarize, text or label."
    )
    author: str | None = Field(default=None, description="Whom to credit where a row does not say.")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description='Field to column name, e.g. {text = "short_name"}; others are recognised by their names.',
    )
    max_bytes: int = Field(default=64 << 20, gt=0, description="Longer pictures are not read, in bytes.")

    @field_validator("columns")
    @classmethod
    def _known_fields(cls, columns: dict[str, str]) -> dict[str, str]:
        unknown = sorted(set(columns) - set(ALIASES))
        if unknown:
            raise ValueError(f"unknown field {', '.join(unknown)}; there are {', '.join(ALIASES)}")
        return columns

    def recognise(self, names: Iterable[str], fields: Iterable[str] = ALIASES) -> dict[str, str]:
        """Field to column, for those of the columns that mean something."""
        present = {name.lower(): name for name in reversed(list(names))}
        found = {f: c for f, c in self.columns.items() if f in fields and c in present.values()}
        for field in fields:
            if field not in self.columns:
                taken = {*found.values(), *self.columns.values()}
                free = (present[a] for a in ALIASES[field] if a in present and present[a] not in taken)
                if name := next(free, None):
                    found[field] = name
        return found

    def check_columns(self, names: Iterable[str], where: str, needed: str | None = None) -> None:
        """Holds the settings against the columns that there are.

        Raises:
            SourceError: a column named in the settings is missing, or none is recognised as the needed one.
        """
        names = list(names)
        there = f"there are {', '.join(names) or 'none'}"
        for field, column in self.columns.items():
            if column not in names:
                raise SourceError(f'{where}: no column "{column}" for {field}; {there}')
        if needed and needed not in self.recognise(names):
            raise SourceError(
                f'{where}: which column holds the {needed}? Say columns = {{{needed} = "…"}}; {there}'
            )

    def stated(self, path: File, needed: str, items: str | None = None) -> Iterator[Stated]:
        """The records of a table that state a file or a URL (`needed`), and those that cannot be used.

        Of JSON documents whose list lies at `items`, a list of one is its item, and a reply may hold no records.

        Raises:
            SourceError: the table cannot be read, or has no such column.
        """
        kinds: dict[tuple[str, ...], dict[str, str]] = {}
        absent: dict[str, str] = {}
        dotted = any("." in column for column in self.columns.values())
        for record in records.read(path, items=items):
            values = self._with_dotted(record.values, absent) if dotted else record.values
            names = tuple(values)
            if names not in kinds and record.wrong is None:
                kinds[names] = self.recognise(names, (needed, *FIELDS))
            rest = _fields(values, kinds.get(names, {}), items is not None)
            key = _key(rest.pop(needed, None))
            if record.wrong is not None or not key:
                yield Stated(record.number, wrong=record.wrong or f"states no {needed}")
                continue
            text, position = rest.get("text"), rest.get("position")
            count = 1 if isinstance(text, str | bytes | None) else len(as_texts(text))
            place = None if position is None else as_position(position)
            yield Stated(record.number, key, _LINE(rest), count, place)
        there = dict.fromkeys(name for names in kinds for name in names)
        for field, column in self.columns.items():
            if column in absent and column not in there:
                raise SourceError(f'{path.name}: {field} = "{column}": {absent[column]}')
        if kinds or items is None:
            self.check_columns(there, path.name, needed)

    def named(
        self, path: File, needed: str, spelt: Callable[[str], str]
    ) -> tuple[dict[str, list[bytes]], list[Stated]]:
        """The same of a JSONL table, by what names a row, which `spelt` writes in one way: its lines as they are, to be read by
        `unfold(lines, needed)` where they are new; and what cannot be used."""
        found, wrong = dict[str, list[bytes]](), list[Stated]()
        kinds, known = dict[tuple[str, ...], str | None](), dict[Any, list[bytes]]()
        for number, values, line in records.lines(path):
            try:  # most lines are like others before them, and a table has many
                lines = known[values[kinds[tuple(values)]]]
            except (KeyError, TypeError):
                why, key = records.no_object(values), ""
                if not why:
                    names = tuple(values)
                    if names not in kinds:
                        kinds[names] = self.recognise(names, (needed, *FIELDS)).get(needed)
                    column = kinds[names]
                    key = _key(values[column]) if column is not None else ""
                if not key:
                    wrong.append(Stated(number, wrong=why or f"states no {needed}"))
                    continue
                lines = found.setdefault(spelt(key), [])
                known[values[kinds[names]]] = lines
            lines.append(line.strip(b" \t\r\n"))
        self.check_columns(dict.fromkeys(name for names in kinds for name in names), path.name, needed)
        return found, wrong

    def _with_dotted(self, values: dict[str, Any], absent: dict[str, str]) -> dict[str, Any]:
        """The values, and those that dotted names of columns lead to; `absent` is told which lead nowhere."""
        found = dict[str, Any]()
        for column in self.columns.values():
            if "." in column and column not in values and column.partition(".")[0] in values:
                try:
                    found[column] = at_path(values, column)
                except Absent as error:
                    absent.setdefault(column, str(error))
        return values | found if found else values

    def unfold(self, lines: str, needed: str = "") -> list[dict[str, Any]]:
        """The rows of RAW that the lines of `stated` hold, or of `named`, where `needed` says what it looked for."""
        found = []
        for line in lines.split("\n") if lines else ():
            values = (
                records.parse_json(line.encode("utf-8", "surrogateescape")) if needed else json.loads(line)
            )
            columns = self.recognise(values, (needed, *FIELDS)) if needed else {name: name for name in values}
            fields = _fields(values, columns) if needed else values
            found += self.rows(fields, {field: field for field in fields})
        return found

    def rows(self, record: Mapping[str, Any], columns: Mapping[str, str]) -> list[dict[str, Any]]:
        """The rows of RAW that a record holds: one for each of its texts, one if it has none."""
        row: dict[str, Any] = {name: getattr(self, name) for name in ("licence", "lang", "task", "author")}
        for field in TEXTUAL:
            value = as_text(record.get(columns.get(field, "")))
            if value is not None:
                row[field] = redacted(value) if field in ("url", "page_url") else value
        position = as_position(record.get(columns.get("position", "")))
        if position is not None:
            row["position"] = position
        texts = as_texts(record.get(columns.get("text", "")))
        return [{**row, "lang": lang or row["lang"], "text": as_bytes(text)} for lang, text in texts]


def _fields(values: Mapping[str, Any], columns: Mapping[str, str], single: bool = False) -> dict[str, Any]:
    """Field to value; `single`: what a reply lists is its one item, but for texts."""
    fields = {field: values[name] for field, name in columns.items()}
    if single:
        fields = {field: value if field == "text" else only(value) for field, value in fields.items()}
    if "licence" in fields:
        fields["licence"] = _licence(fields["licence"], single)
    return fields


def _key(value: Any) -> str:
    """What names a row, as text; "" if that is none."""
    value = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    return value.replace("\0", "").strip() if isinstance(value, str) else ""


def _licence(value: Any, names: bool) -> Any:
    """A stated licence: the SPDX id of a URI, or of a name, if there is one; else as it is stated."""
    return _spdx(value, names) if isinstance(value, str | bytes) else _spdx.__wrapped__(value, names)


@lru_cache(maxsize=1024)  # a table states few, over and over
def _spdx(value: Any, names: bool) -> Any:
    text = as_text(value)
    if text is None or not (names or _URI.fullmatch(text)):
        return value
    found = rights.licence(text) or ""
    return value if _URI.match(found) else found


class RowSource(RowSettings, Source):
    """A source of files on this machine or in a bucket."""


def _plain(value: Any) -> str:
    """What JSON cannot hold, as text: bytes come back through their surrogates."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


_LINE = json.JSONEncoder(default=_plain).encode


def as_bytes(value: Any) -> bytes | None:
    """A cell as the text's bytes; null for nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        return to_bytes(value)
    if isinstance(value, dict | list):
        return to_bytes(json.dumps(value, ensure_ascii=False, default=_plain))
    return to_bytes(str(value))


def as_texts(value: Any) -> list[tuple[str | None, Any]]:
    """The texts of a cell, one or more, each with the language that it is filed under: {"en": "a bear"}."""
    filed = _by_language(value)
    if filed is not None:
        return [(lang, text) for lang, text in filed.items() if text is not None] or [(None, None)]
    if isinstance(value, list | tuple):
        return [(None, text) for text in value] or [(None, None)]
    return [(None, value)]


def _by_language(value: Any) -> dict[str, Any] | None:
    """Language to text of an object, or of pairs, which is how Arrow gives a map; None for another thing."""
    pairs = list(value.items()) if isinstance(value, dict) else value
    if not isinstance(pairs, list) or not pairs:
        return None
    for pair in pairs:
        if (
            not isinstance(pair, tuple | list)
            or len(pair) != 2
            or not isinstance(pair[1], str | bytes | None)
        ):
            return None
        if not isinstance(pair[0], str) or not _LANGUAGE.fullmatch(pair[0]):
            return None
    return {lang.replace("_", "-").replace("@", "-"): text for lang, text in pairs}


def as_text(value: Any) -> str | None:
    """A cell as a short valid string: a language, a licence, a URL; null for nothing."""
    raw = as_bytes(value)
    if raw is None:
        return None
    text = raw.decode("utf-8", "replace").replace("\0", "").strip()
    return text or None


def as_position(value: Any) -> int | None:
    """A cell as a place within a document, or null where it is none."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number < 2**31 else None


def places(rows: list[dict[str, Any]]) -> list[int]:
    """A position for each row of one origin: those stated if they are all there and differ, else 0, 1, 2 …"""
    stated = [row.get("position") for row in rows]
    if None in stated or len(set(stated)) < len(stated):
        return list(range(len(rows)))
    return [place for place in stated if place is not None]


class Positions:
    """Hands out positions so that no two rows of a source share (origin, position)."""

    def __init__(self) -> None:
        self._next: dict[bytes, int] = {}

    def take(self, origin: str, stated: int | None = None, rows: int = 1) -> int:
        """The first of `rows` positions of an origin: the one stated, or the next that is free."""
        key = hashlib.blake2b(origin.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        first = max(stated or 0, self._next.get(key, 0))
        self._next[key] = first + rows
        return first


def unseen(origins: list[str], versions: list[str], known: pa.Table) -> list[bool]:
    """Which (origin, version) pairs are not in `known`."""
    if not known.num_rows or not origins:
        return [True] * len(origins)
    ours = pa.array([f"{origin}\0{version}" for origin, version in zip(origins, versions, strict=True)])
    theirs = pc.binary_join_element_wise(
        known["origin"].cast(pa.string()), known["version"].cast(pa.string()), "\0"
    )
    return pc.invert(pc.is_in(ours, value_set=theirs)).to_pylist()


def batches(rows: Iterable[Mapping[str, Any]]) -> Iterator[pa.RecordBatch]:
    """Rows in the columns of RAW, in batches that are small in rows and in bytes."""
    held: list[Mapping[str, Any]] = []
    size = 0
    for row in rows:
        held.append(row)
        size += len(row.get("image") or b"") + len(row.get("text") or b"")
        if len(held) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield pa.RecordBatch.from_pylist(held, schema=RAW)
            held, size = [], 0
    if held:
        yield pa.RecordBatch.from_pylist(held, schema=RAW)
