"""What is left of an earlier text goes, also when a kill came between the commit and that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows import ingest
from flows.config import read
from flows.work import make

STORY = " ".join(f"Sentence number {n} is here." for n in range(20))
TOML = """
[store]
path = "store"
[segment]
passage_tokens = 64
[[sources]]
use = "sources.parquet"
name = "shelf"
path = "texts.parquet"
task = "text"
"""


class Killed(BaseException):
    pass


class Alone:
    """Makes parts as they come, without Prefect."""

    def each(self, function: Any, store: Any, chunks: Any, label: str) -> Iterator[list[str]]:
        for jobs in chunks:
            yield make(function, str(store.path), store.memory_limit, jobs)

    def warm(self) -> None: ...

    @contextmanager
    def of(self, parts: int, alone: bool = False) -> Iterator[Alone]:
        yield self


def test_a_run_that_collects_nothing_removes_what_a_kill_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: Any) -> int:
        raise Killed

    (tmp_path / "millrace.toml").write_text(TOML)
    config = read(tmp_path / "millrace.toml")
    store = config.open_store(create=True)
    site = ingest.Site(store, config, Alone())  # type: ignore[arg-type]
    for text in (STORY, "Short now."):
        pq.write_table(pa.table({"key": ["a"], "text": [text]}), tmp_path / "texts.parquet")
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(ingest, "forget_former", kill)
            ingest.collect(site)
    assert len(store.read("samples", ["origin"])) > 1
    assert ingest.collect(site) == (0, {})
    assert store.read("samples", ["text"])["text"].to_pylist() == ["Short now."]
    assert len(store.read("decisions", ["part"])) == 1
