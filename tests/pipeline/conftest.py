"""A corpus in memory: the tables of a store, in the DuckDB that a gather is given."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.annotators.perceptual_hash import PerceptualHash
from pipeline.collect import Origin
from pipeline.step import Gather, Gathered
from pipeline.web import intake
from pipeline.web.settings import FetchSettings
from pipeline.web.source import WebSource
from storage.limits import Limits
from storage.store import Store
from storage.tables import PART, TABLES, signal_table

LOCAL = FetchSettings(allow=("127.0.0.0/8",), consent=(), retries=0, deadline=20, decoders=1)
"""A fetcher that may ask the servers of the tests."""


class Corpus:
    """Adds samples and pictures, runs gathers over them, and writes down what they decide."""

    def __init__(self) -> None:
        self.db = duckdb.connect(config={"threads": 1})
        hashes = signal_table("perceptual_hash", "image_id", PerceptualHash.columns)
        for table in [*TABLES.values(), hashes]:
            self.db.register("schema_of", table.schema.empty_table())
            self.db.execute(f"CREATE TABLE {table.name} AS SELECT * FROM schema_of")
            self.db.unregister("schema_of")

    def insert(self, table: str, rows: pa.Table) -> None:
        self.db.register("incoming", rows)
        self.db.execute(f"INSERT INTO {table} BY NAME SELECT * FROM incoming")
        self.db.unregister("incoming")

    def sample(self, sample_id: str, image: str | None = None, text: str | None = None, **more: Any) -> str:
        row = {
            "sample_id": sample_id,
            "document_id": sample_id,
            "source": "s",
            "task": "caption",
            "lang": "en",
        }
        row |= {"image_id": image, "text": text, "held_out": False, **more}
        schema = pa.schema([f for f in TABLES["samples"].schema if f.name in row])
        self.insert("samples", pa.Table.from_pylist([row], schema=schema))
        return sample_id

    def picture(self, image_id: str, image: Image.Image | np.ndarray, side: int | None = None) -> str:
        """Stores a picture as PNG, annotated; `side` overrides its original size."""
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        out = io.BytesIO()
        image.convert("RGB").save(out, "PNG")
        row = {"image_id": image_id, "image": out.getvalue(), "width": image.width, "height": image.height}
        row |= {"original_width": side or image.width, "original_height": side or image.height}
        rows = pa.Table.from_pylist([row])
        self.insert("images", rows)
        self.insert("perceptual_hash", PerceptualHash().annotate(rows, {}))
        return image_id

    def run(self, gather: Gather) -> dict[str, tuple[bool, str | None, str | None]]:
        """One round: sample_id to (kept, reason, detail) of what was undecided; tables are appended to."""
        stage = gather.name()
        self.db.execute(
            "CREATE OR REPLACE TEMP TABLE candidates AS SELECT sample_id FROM samples "
            f"WHERE sample_id NOT IN (SELECT sample_id FROM decisions WHERE NOT kept OR stage = '{stage}')"
        )
        self.db.execute(
            "CREATE OR REPLACE TEMP TABLE incumbents AS "
            f"SELECT sample_id FROM decisions WHERE stage = '{stage}' AND kept"
        )
        found: Gathered = gather.gather(self.db)
        for table, rows in found.tables.items():
            self.insert(table, rows)
        self.insert(
            "decisions", found.decisions.append_column("stage", pa.repeat(stage, len(found.decisions)))
        )
        return {r["sample_id"]: (r["kept"], r["reason"], r["detail"]) for r in found.decisions.to_pylist()}

    def groups(self) -> dict[str, str]:
        return dict(self.db.execute("SELECT image_id, group_id FROM groups").fetchall())


@pytest.fixture
def corpus() -> Corpus:
    assert PART.name == "part"
    return Corpus()


class Mill:
    """A store that web sources are taken into, and what became of their rows."""

    def __init__(self, path: Path) -> None:
        self.store = Store.open(path)

    def take(
        self, source: WebSource, name: str = "web", settings: FetchSettings = LOCAL, **about: Any
    ) -> int:
        """One walk; how many parts it made."""
        limits = Limits(**{"min_side": 1, **about})
        self.taken = intake.run(self.store, Origin(name, source), limits, settings)
        return self.taken.parts

    def rows(self, query: str = "SELECT * FROM found ORDER BY origin, position") -> list[dict[str, Any]]:
        """`found`: samples, each with the verdict of collecting it as `reason` and `detail`."""
        with self.store.connect() as db:
            db.execute(
                "CREATE TEMP VIEW found AS SELECT s.*, d.reason, d.detail FROM samples s "
                "JOIN decisions d ON d.sample_id = s.sample_id AND d.stage = 'collect'"
            )
            return db.sql(query).to_arrow_table().to_pylist()


@pytest.fixture
def mill(tmp_path: Path) -> Mill:
    return Mill(tmp_path / "mill")


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of `faults.py` in a process of its own; every name that ends in .test leads to it."""
    command = [sys.executable, str(Path(__file__).with_name("faults.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        real = socket.getaddrinfo

        def named(host: Any, port: Any, *args: Any, **about: Any) -> Any:
            return real("127.0.0.1" if str(host).endswith(".test") else host, port, *args, **about)

        monkeypatch.setattr(socket, "getaddrinfo", named)
        yield int(server.stdout.readline())
        server.kill()
