"""Looks for a text and a picture in every file of a folder, however it is packed: the scan that a takedown has to pass."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import sqlite3
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8")
DATA_URI = re.compile(rb"data:[a-z]+/[a-z0-9.+-]+;base64,([A-Za-z0-9+/=]+)")
NEAR = 12.0
"""Levels of mean difference below which two pictures are the same."""


@dataclass
class Needles:
    """What must not be found: a text, a picture's bytes (any of some encodings) and its pixels."""

    text: str
    encoded: list[bytes]
    pixels: np.ndarray
    """uint8 [16, 16, 3]."""
    found: list[str] = field(default_factory=list)

    def look(self, place: str, data: bytes) -> None:
        """Searches bytes, and what they are when they are unpacked."""
        folded = data.lower()
        if self.text.lower().encode() in folded or json.dumps(self.text)[1:-1].lower().encode() in folded:
            self.found.append(f"text: {place}")
        for one in self.encoded:
            if one[len(one) // 3 :][:64] in data:
                self.found.append(f"bytes: {place}")
        for name, inner in unpacked(place, data):
            self.look(name, inner)
        if data.startswith(PICTURES) and alike(data, self.pixels):
            self.found.append(f"pixels: {place}")

    def cell(self, place: str, value: Any) -> None:
        """Searches a value of a table."""
        if isinstance(value, bytes):
            self.look(place, value)
            shape = self.pixels.shape
            if (
                len(value) == self.pixels.size
                and differ(np.frombuffer(value, np.uint8).reshape(shape), self.pixels) < NEAR
            ):
                self.found.append(f"thumbnail: {place}")
        elif isinstance(value, str):
            self.look(place, value.encode("utf-8", "surrogatepass"))
        elif isinstance(value, dict | list | tuple):
            for one in value.values() if isinstance(value, dict) else value:
                if not isinstance(one, int | float):
                    self.cell(place, one)


def differ(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def small(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB").resize((16, 16), Image.Resampling.BOX))


def alike(data: bytes, pixels: np.ndarray) -> bool:
    try:
        return differ(small(Image.open(io.BytesIO(data))), pixels) < NEAR
    except OSError:
        return False


def unpacked(place: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """What is inside of bytes that hold other files."""
    if data.startswith(b"\x1f\x8b"):
        yield f"{place} (gzip)", gzip.decompress(data)
    elif data.startswith(b"\x28\xb5\x2f\xfd"):
        with pa.input_stream(io.BytesIO(data), compression="zstd") as stream:
            yield f"{place} (zstd)", stream.read()
    elif data.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield f"{place}/{name}", archive.read(name)
    for number, found in enumerate(DATA_URI.findall(data)):
        yield f"{place} (data {number})", base64.b64decode(found)


def scan(folder: Path, needles: Needles) -> list[str]:
    """Opens every file below a folder; where one of the needles was found."""
    needles.found = []
    for file in sorted(one for one in folder.rglob("*") if one.is_file() and not one.is_symlink()):
        place, data = str(file.relative_to(folder)), file.read_bytes()
        needles.look(place, data)
        if data[:4] == b"PAR1":
            _parquet(place, data, needles)
        elif data.startswith(b"SQLite format 3"):
            _sqlite(place, file, needles)
        elif file.suffix == ".duckdb":
            _duckdb(place, file, needles)
        elif file.suffix in (".json", ".ipynb"):
            try:
                needles.cell(place, json.loads(data))
            except ValueError:  # a document in each line
                needles.cell(place, [json.loads(line) for line in data.splitlines() if line.strip()])
    return sorted(set(needles.found))


def _parquet(place: str, data: bytes, needles: Needles) -> None:
    table = pq.read_table(io.BytesIO(data))
    for name in table.column_names:
        if pa.types.is_list(table.schema.field(name).type) and not pa.types.is_string(
            table.schema.field(name).type.value_type
        ):
            continue
        for value in table[name].to_pylist():
            needles.cell(f"{place}:{name}", value)


def _sqlite(place: str, file: Path, needles: Needles) -> None:
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            for row in db.execute(f'SELECT * FROM "{name}"'):
                for value in row:
                    needles.cell(f"{place}:{name}", value)


def _duckdb(place: str, file: Path, needles: Needles) -> None:
    with duckdb.connect(file, read_only=True) as db:
        for (sql,) in db.sql("SELECT sql FROM duckdb_views() WHERE NOT internal").fetchall():
            needles.cell(place, sql)
        for (name,) in db.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall():
            for row in db.sql(f'FROM "{name}"').fetchall():
                needles.cell(f"{place}:{name}", row)
